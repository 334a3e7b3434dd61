-- How a carrier did on each day (UTC), counted by flights that landed in that day: the nightly batch.
--
-- The row describes the whole day, so its event time is the end of the day and not its beginning: dated at the beginning,
-- it would be known before most of its flights had left.
with

flights as (
    select * from {{ ref('stg_flights') }}
),

landed as (
    select
        *,
        date_trunc('day', {{ wall_time('landed_at') }}) + interval '1' day as day_end
    from flights
    where landed_at is not null
),

daily as (
    select
        carrier,
        day_end,
        count(*) as carrier_flights_1d,
        avg({{ dbt.cast('dep_delay', 'double precision') }}) as carrier_dep_delay_1d,
        avg({{ dbt.cast('arr_delay', 'double precision') }}) as carrier_arr_delay_1d,
        avg({{ dbt.cast('(arr_delay > 15)::integer', 'double precision') }}) as carrier_late_share_1d
    from landed
    group by carrier, day_end
)

select
    carrier,
    {{ instant_of('day_end') }} as event_timestamp,
    carrier_flights_1d,
    carrier_dep_delay_1d,
    carrier_arr_delay_1d,
    carrier_late_share_1d
from daily
order by carrier, event_timestamp
