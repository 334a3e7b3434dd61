-- One row an aircraft, as registered.
with

planes as (
    select * from {{ ref('planes') }}
)

select
    tailnum,
    year as manufacture_year,
    manufacturer,
    model,
    engines,
    seats
from planes
