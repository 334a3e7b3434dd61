{{ config(materialized='view') }}
select
    *,
    label = 'last' as is_last
from {{ ref('moments') }}
