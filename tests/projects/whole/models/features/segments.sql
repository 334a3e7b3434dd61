{{ config(materialized='external', location='exports/segments.parquet') }}
select
    customer_id,
    recorded_at as noted_at,
    case when cents >= 500 then 'big' when cents is not null then 'small' end as segment
from {{ ref('stg_purchases') }}
order by customer_id, noted_at
