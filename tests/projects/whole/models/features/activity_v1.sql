select
    customer_id,
    seen_at as noted_at,
    landed_at,
    page
from {{ ref('stg_visits') }}
order by customer_id, noted_at
