-- One row an airport and hour (UTC).
with

weather as (
    select * from {{ ref('weather') }}
)

select
    origin as airport,
    time_hour as observed_hour,
    temp,
    humid as humidity,
    wind_dir,
    wind_speed,
    precip,
    pressure,
    visib as visibility
from weather
