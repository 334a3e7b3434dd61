{{ config(
    materialized='incremental',
    incremental_strategy='microbatch',
    batch_size='day',
    begin='2026-03-01',
    lookback=0,
    event_time='seen_on',
) }}
select
    customer_id,
    date_trunc('day', seen_at at time zone 'UTC') at time zone 'UTC' as seen_on,
    count(*) as visits_of_day
from {{ ref('stg_visits') }}
group by all
