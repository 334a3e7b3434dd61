-- Every airport with its place and time zone: the package's list and the few that it lacks.
with

airports as (
    select * from {{ ref('airports') }}
),

additions as (
    select * from {{ ref('airport_additions') }}
),

all_airports as (
    select * from airports
    union all
    select * from additions
)

select
    faa as airport,
    name as airport_name,
    lat as latitude,
    lon as longitude,
    tzone as time_zone
from all_airports
