-- Fails for a carrier's day that does not count exactly the flights that landed in the 24 hours before its event time.
-- The view groups by date; this counts by elapsed time.
with

days as (
    select * from {{ ref('carrier_daily_delay') }}
),

flights as (
    select * from {{ ref('stg_flights') }}
),

recounted as (
    select
        days.carrier,
        days.event_timestamp,
        days.carrier_flights_1d,
        count(flights.flight_id) as landed_flights
    from days
    left join flights
        on
            days.carrier = flights.carrier
            and days.event_timestamp - interval '24' hour <= flights.landed_at
            and days.event_timestamp > flights.landed_at
    group by days.carrier, days.event_timestamp, days.carrier_flights_1d
)

select
    carrier,
    event_timestamp
from recounted
where carrier_flights_1d != landed_flights

union all

-- None may be in no day at all.
select
    null as carrier,
    null as event_timestamp
where (select sum(carrier_flights_1d) from days) != (select count(landed_at) from flights)
