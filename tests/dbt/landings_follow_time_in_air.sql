-- Fails for a flight that would have landed before it can have: departure and time in the air leave at least five minutes
-- for both taxiways, and in all of 2013 never four hours. An hour wrong, or a day, would show.
with

flights as (
    select * from {{ ref('stg_flights') }}
)

select
    flight_id,
    departed_at,
    air_time,
    landed_at
from flights
where
    landed_at is not null
    and (
        air_time is null
        or landed_at - air_time * interval '1' minute
        not between departed_at + interval '5' minute and departed_at + interval '4' hour
    )
