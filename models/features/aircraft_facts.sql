-- What does not change about an aircraft: one row each, valid from the beginning of its year of manufacture.
with

planes as (
    select * from {{ ref('stg_planes') }}
)

select
    tailnum,
    -- Where the year is not known an instant before any flight serves: a null event time would hide the row for ever.
    {{ instant_of('make_date(coalesce(manufacture_year, 1900), 1, 1)::timestamp') }} as event_timestamp,
    manufacture_year,
    manufacturer,
    model,
    engines,
    seats
from planes
order by tailnum, event_timestamp
