-- Where an airport is: one row each, known before all flights.
with

airports as (
    select * from {{ ref('stg_airports') }}
)

select
    airport,
    {{ instant_of('make_date(2013, 1, 1)::timestamp') }} as event_timestamp,
    latitude,
    longitude
from airports
order by airport, event_timestamp
