-- What an aircraft did last, out of New York: one row a leg that has landed.
--
-- The leg is dated by its departure but known only from its landing on, so a departure in between sees the leg before.
-- Two tail numbers were reported on two legs at once (N705TW on 8 March, N713TW on 7 March); the rule needs no special
-- case for them: of the legs that have landed, the one that left last counts.
with

flights as (
    select * from {{ ref('stg_flights') }}
),

landed as (
    select * from flights
    -- A flight without a tail number is no history of any aircraft.
    where landed_at is not null and tailnum is not null
)

select
    tailnum,
    departed_at as event_timestamp,
    landed_at as known_at,
    origin as last_origin,
    dest as last_dest,
    dep_delay as last_dep_delay,
    arr_delay as last_arr_delay,
    air_time as last_air_time,
    landed_at
from landed
order by tailnum, event_timestamp, known_at
