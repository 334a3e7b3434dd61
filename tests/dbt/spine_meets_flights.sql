-- Warns about a row of the spine that is no scheduled departure of a flight that landed, or has the wrong label. A warning:
-- the spine is the analyst's, and may ask about other moments.
{{ config(severity='warn') }}

with

spine as (
    select * from {{ ref('flight_spine') }}
),

flights as (
    select * from {{ ref('stg_flights') }}
)

select
    spine.carrier,
    spine.flight,
    spine.event_timestamp
from spine
left join flights
    on
        spine.carrier = flights.carrier
        and spine.flight = flights.flight_number
        and spine.tailnum = flights.tailnum
        and spine.origin = flights.origin
        and spine.dest = flights.dest
        and spine.event_timestamp = flights.scheduled_departure_at
where
    flights.landed_at is null
    or spine.arrived_late != (flights.arr_delay > 15)::integer
