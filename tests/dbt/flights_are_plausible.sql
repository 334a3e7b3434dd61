-- Fails for a flight with a value that no flight of 2013 has, or with an event without the one before it.
with

flights as (
    select * from {{ ref('stg_flights') }}
)

select flight_id
from flights
where
    scheduled_arrival_at - scheduled_departure_at not between interval '30' minute and interval '13' hour
    or dep_delay not between -60 and 1440
    or arr_delay not between -120 and 1440
    or air_time not between 15 and 720
    or landed_at <= departed_at
    -- Cancelled, diverted or landed: no other combination.
    or (departed_at is null and landed_at is not null)
    or (departed_at is null) != (dep_time is null)
    or (landed_at is null) != (air_time is null)
    -- An aircraft that flew has a tail number.
    or (departed_at is not null and tailnum is null)
