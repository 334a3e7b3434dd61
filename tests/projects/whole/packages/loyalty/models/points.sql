{{ config(access='public') }}
select
    customer_id,
    recorded_at as noted_at,
    cents // 100 as points
from {{ ref('whole', 'raw_purchases') }}
where {{ is_real('customer_id') }}
