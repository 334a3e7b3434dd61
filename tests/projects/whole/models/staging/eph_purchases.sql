{{ config(materialized='ephemeral') }}
select
    purchase_id,
    customer_id,
    sku,
    cents,
    bought_at,
    recorded_at,
    cancelled
from {{ ref('raw_purchases') }}
where {{ is_real('customer_id') }}
