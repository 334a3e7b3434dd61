-- Fails for a flight whose departure, read on New York's clocks, is not the reported `dep_time` (midnight is 2400 there).
with

flights as (
    select * from {{ ref('stg_flights') }}
),

local_departures as (
    select
        *,
        {{ wall_time('departed_at', "'America/New_York'") }} as wall_time
    from flights
    where dep_time is not null
)

select
    flight_id,
    dep_time,
    departed_at
from local_departures
where
    departed_at is null
    or extract(hour from wall_time) * 100 + extract(minute from wall_time) != dep_time % 2400
