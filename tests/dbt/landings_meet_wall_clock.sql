-- Fails for a flight whose landing is not the reported `arr_time`: the first time after its departure and time in the air
-- at which the destination's clocks show it. This is the other way to define the landing, from the columns that
-- `stg_flights` does not use, and so proves its time zones, days and the clock change.
with

flights as (
    select * from {{ ref('stg_flights') }}
),

touch_downs as (
    select
        *,
        departed_at + air_time * interval '1' minute as earliest_at,
        floor(arr_time / 100) * interval '1' hour + arr_time % 100 * interval '1' minute as since_midnight
    from flights
    where landed_at is not null
),

days as (
    select *
    from (values (-1), (0), (1)) as days (later)
),

candidates as (
    select
        *,
        {{
            instant_of(wall_time('earliest_at', 'dest_time_zone') ~ '::date + later + since_midnight', 'dest_time_zone')
        }} as candidate_at
    from touch_downs
    cross join days
),

reported as (
    select
        flight_id,
        landed_at,
        min(candidate_at) filter (where candidate_at >= earliest_at) as reported_at
    from candidates
    group by flight_id, landed_at
)

select *
from reported
where landed_at is distinct from reported_at
