select
    "Country Code",
    timestamptz '2026-03-01 00:00:00+00' as noted_at,
    case when "Country Code" = 'NO' then 'north' else 'south' end as region
from {{ ref('countries') }}
group by all
