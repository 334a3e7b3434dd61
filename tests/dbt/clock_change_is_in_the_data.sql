-- Fails if the week no longer holds what makes it hard, or if an instant moved. Counted once by hand from the source.
{% set clock_change = dbt.cast("'2013-03-10 07:00:00+00'", 'timestamptz') %}

with

flights as (
    select * from {{ ref('stg_flights') }}
),

legs as (
    select * from {{ ref('aircraft_last_leg') }}
),

routes as (
    select * from {{ ref('route_history') }}
),

-- The next leg of the aircraft, to find those that were reported on two legs at once.
following as (
    select
        known_at,
        lead(event_timestamp) over (partition by tailnum order by event_timestamp) as next_departure
    from legs
),

found as (
    select
        (
            -- Under way when New York's clocks went forward.
            select count(*)
            from flights
            where
                departed_at < {{ clock_change }}
                and landed_at > {{ clock_change }}
        ) as under_way,
        (
            -- Reported at 02:03 in Florida, a time that the clocks jumped over: meant is three minutes after the change.
            select count(*)
            from flights
            where dest = 'PBI' and arr_time = 203 and landed_at = {{ clock_change }} + interval '3' minute
        ) as at_a_skipped_time,
        (
            select count(*)
            from flights
            where {{ wall_time('landed_at', 'dest_time_zone') }}::date > flight_date and arr_time != 2400
        ) as landed_next_day,
        (
            select count(*)
            from flights
            where arr_time = 2400 and landed_at is not null
        ) as landed_at_2400,
        (
            select count(*)
            from flights
            where {{ wall_time('departed_at', "'America/New_York'") }}::date > flight_date
        ) as left_next_day,
        (
            select count(*)
            from following
            where known_at > next_departure
        ) as on_two_legs,
        -- Rows that hold two landings of a route in one minute.
        (select count(landed_at) from flights) - (select count(*) from routes) as landed_together
)

select *
from found
where
    under_way != 11
    or at_a_skipped_time != 1
    or landed_next_day != 254
    or landed_at_2400 != 3
    or left_next_day != 38
    or on_two_legs != 2
    or landed_together != 11
