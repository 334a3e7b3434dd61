-- The events behind the windows of a carrier: one row a landing, since a delay is known from then on.
with

flights as (
    select * from {{ ref('stg_flights') }}
),

landed as (
    select * from flights
    where landed_at is not null
)

select
    carrier,
    landed_at as event_timestamp,
    arr_delay
from landed
order by carrier, event_timestamp
