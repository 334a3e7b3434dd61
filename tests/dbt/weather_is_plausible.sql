-- Fails for an hour that is given twice, is no full hour, or has a value that New York's weather does not have.
with

weather as (
    select * from {{ ref('stg_weather') }}
)

select airport
from weather
where
    {{ wall_time('observed_hour') }} != date_trunc('hour', {{ wall_time('observed_hour') }})
    or temp not between -20 and 120
    or humidity not between 0 and 100
    or wind_dir not between 0 and 360
    or wind_speed not between 0 and 120
    or precip not between 0 and 5
    or pressure not between 950 and 1060
    or visibility not between 0 and 10

union all

select airport
from weather
group by airport, observed_hour
having count(*) > 1
