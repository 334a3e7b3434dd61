-- Fails if the week no longer holds what makes it hard, or if an instant moved. Counted once by hand from the source.
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
                departed_at < timestamptz '2013-03-10 07:00:00+00'
                and landed_at > timestamptz '2013-03-10 07:00:00+00'
        ) as under_way,
        (
            -- Reported at 02:03 in Florida, a time that the clocks jumped over: meant is three minutes after the change.
            select count(*)
            from flights
            where dest = 'PBI' and arr_time = 203 and landed_at = timestamptz '2013-03-10 07:03:00+00'
        ) as at_a_skipped_time,
        (
            select count(*)
            from flights
            where timezone(dest_time_zone, landed_at)::date > flight_date and arr_time != 2400
        ) as landed_next_day,
        (
            select count(*)
            from flights
            where arr_time = 2400 and landed_at is not null
        ) as landed_at_2400,
        (
            select count(*)
            from flights
            where timezone('America/New_York', departed_at)::date > flight_date
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
    row(
        under_way, at_a_skipped_time, landed_next_day, landed_at_2400, left_next_day, on_two_legs, landed_together
    ) is distinct from row(11, 1, 254, 3, 38, 2, 11)
