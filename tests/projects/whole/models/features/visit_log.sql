{{ config(materialized='incremental', incremental_strategy='append') }}
select
    customer_id,
    seen_at as noted_at,
    page as logged_page
from {{ ref('stg_visits') }}
{% if is_incremental() %}
where seen_at > (select max(noted_at) from {{ this }})
{% endif %}
