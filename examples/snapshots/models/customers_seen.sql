-- The snapshot stores `seen_at` with each new row: when dbt saw it.
{{ config(materialized='view') }}
select
    *,
    now() as seen_at
from {{ ref('customers') }}
