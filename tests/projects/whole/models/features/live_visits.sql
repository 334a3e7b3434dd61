{{ config(materialized='view') }}
select
    customer_id,
    seen_at as noted_at,
    page as live_page
from {{ source('lake', 'visits') }}
