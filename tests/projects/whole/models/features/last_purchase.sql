select
    customer_id,
    bought_at as noted_at,
    recorded_at,
    cancelled,
    sku as "order",
    cents
from {{ ref('stg_purchases') }}
order by customer_id, noted_at, recorded_at
