-- Hourly weather of an airport.
with

weather as (
    select * from {{ ref('stg_weather') }}
)

select
    airport,
    observed_hour as event_timestamp,
    temp,
    humidity,
    wind_dir,
    wind_speed,
    precip,
    pressure,
    visibility
from weather
order by airport, event_timestamp
