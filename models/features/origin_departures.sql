-- The events behind the windows of an origin: one row a departure, known when it happens.
with

flights as (
    select * from {{ ref('stg_flights') }}
),

departed as (
    select * from flights
    where departed_at is not null
)

select
    origin as airport,
    departed_at as event_timestamp,
    dep_delay
from departed
order by airport, event_timestamp
