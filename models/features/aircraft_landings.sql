-- The events behind the windows of an aircraft: one row a landing.
with

flights as (
    select * from {{ ref('stg_flights') }}
),

landed as (
    select * from flights
    where landed_at is not null and tailnum is not null
)

select
    tailnum,
    landed_at as event_timestamp,
    dest
from landed
order by tailnum, event_timestamp
