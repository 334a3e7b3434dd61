{{ config(
    database='Archive',
    schema='Money',
    alias='Balances',
    meta={'pit_join': {'entity': 'customer', 'join_keys': 'customer_id', 'ttl': '36 hours'}},
) }}
select
    "Customer" as customer_id,
    "At" as noted_at,
    "Balance" as balance
from {{ source('crm', 'Account Balances') }}
order by customer_id, noted_at
