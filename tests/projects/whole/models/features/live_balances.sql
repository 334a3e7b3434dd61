{{ config(materialized='view', schema='live') }}
select
    "Customer" as customer_id,
    "At" as noted_at,
    "Balance" as live_balance
from {{ source('crm', 'Account Balances') }}
