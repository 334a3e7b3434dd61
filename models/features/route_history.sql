-- How often a carrier has flown to a destination so far, and how late: one row at each landing, counting it and all before.
--
-- The event time is the landing and not the departure: a running total is right only in the order in which it grows.
with

flights as (
    select * from {{ ref('stg_flights') }}
),

-- Two flights of a route may land in the same minute: one row, or the history would tie.
landings as (
    select
        carrier,
        dest,
        landed_at,
        count(*) as landed_flights,
        sum(arr_delay) as arr_delay,
        count(*) filter (where arr_delay > 15) as late_flights
    from flights
    where landed_at is not null
    group by carrier, dest, landed_at
),

running as (
    select
        carrier,
        dest,
        landed_at,
        sum(landed_flights) over so_far as landed_flights,
        sum(arr_delay) over so_far as arr_delay,
        sum(late_flights) over so_far as late_flights
    from landings
    window so_far as (
        partition by carrier, dest
        order by landed_at
        rows between unbounded preceding and current row
    )
)

select
    carrier,
    dest,
    landed_at as event_timestamp,
    landed_flights::bigint as route_flights,
    {{ dbt.cast('arr_delay', 'double precision') }} / landed_flights as route_mean_arr_delay,
    {{ dbt.cast('late_flights', 'double precision') }} / landed_flights as route_late_share
from running
order by carrier, dest, event_timestamp
