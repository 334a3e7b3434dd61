{{ config(alias='Events of purchases') }}
select
    purchase_id,
    customer_id,
    cents,
    bought_at as noted_at,
    recorded_at,
    cancelled
from {{ ref('eph_purchases') }}
order by customer_id, noted_at, recorded_at
