-- One row a scheduled flight, every time an instant.
--
-- The source has one time in UTC, the hour of the scheduled departure, and four wall times without a date. Durations are
-- safer than wall times: a delay needs no date and no time zone, and a wall time repeats when clocks go back. So only the
-- scheduled times are converted, and what happened follows from the delays:
--     departed_at = scheduled departure + departure delay
--     landed_at   = scheduled arrival (wall time at the destination) + arrival delay
-- The wall times `dep_time` and `arr_time` are not used; the tests prove that both definitions meet them to the minute.
-- The source's arrival is that at the gate, some minutes after touch-down: never earlier than the landing.
with

flights as (
    select * from {{ ref('flights') }}
),

airports as (
    select * from {{ ref('stg_airports') }}
),

departures as (
    select
        flights.*,
        airports.time_zone as dest_time_zone,
        -- All origins are in New York. The day is the one of the schedule, however late the flight left.
        {{ wall_time('flights.time_hour', "'America/New_York'") }}::date as flight_date,
        flights.time_hour + flights.sched_dep_time % 100 * interval '1' minute as scheduled_departure_at,
        floor(flights.sched_arr_time / 100) * interval '1' hour
        + flights.sched_arr_time % 100 * interval '1' minute as arrival_since_midnight
    from flights
    left join airports on flights.dest = airports.airport
),

arrivals as (
    select
        *,
        -- Wall time at the destination, on the day of departure and on the next.
        {{ instant_of('flight_date + arrival_since_midnight', 'dest_time_zone') }} as arrival_on_same_day,
        {{ instant_of('flight_date + 1 + arrival_since_midnight', 'dest_time_zone') }} as arrival_on_next_day
    from departures
),

scheduled as (
    select
        *,
        -- No flight takes a day, so the first of the two after the departure is the one meant.
        case
            when arrival_on_same_day > scheduled_departure_at then arrival_on_same_day
            else arrival_on_next_day
        end as scheduled_arrival_at
    from arrivals
)

select
    concat_ws('-', carrier, flight, origin, flight_date) as flight_id,
    flight_date,
    carrier,
    flight as flight_number,
    tailnum,
    origin,
    dest,
    dest_time_zone,
    scheduled_departure_at,
    scheduled_arrival_at,
    -- Null if the flight was cancelled.
    scheduled_departure_at + dep_delay * interval '1' minute as departed_at,
    -- Null if it was cancelled or diverted.
    scheduled_arrival_at + arr_delay * interval '1' minute as landed_at,
    dep_delay,
    arr_delay,
    air_time,
    dep_time,
    arr_time
from scheduled
