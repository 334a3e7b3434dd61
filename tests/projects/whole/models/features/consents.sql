{{ config(materialized='view') }}
select
    "CustomerID",
    given_at as noted_at,
    channel,
    withdrawn
from {{ ref('raw_consents') }}
