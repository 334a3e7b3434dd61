-- Fails for a feature out of its range, and for a row that is known before it can be.
select 'aircraft_last_leg' as view_name
from {{ ref('aircraft_last_leg') }}
where known_at <= event_timestamp or landed_at != known_at

union all

select 'carrier_daily_delay' as view_name
from {{ ref('carrier_daily_delay') }}
where
    carrier_flights_1d < 1
    or carrier_late_share_1d not between 0 and 1
    or carrier_arr_delay_1d not between -120 and 1440

union all

select 'route_history' as view_name
from {{ ref('route_history') }}
where
    route_flights < 1
    or route_late_share not between 0 and 1
    or route_mean_arr_delay not between -120 and 1440

union all

-- Facts are older than any flight, or a spine could not see them.
select 'aircraft_facts' as view_name
from {{ ref('aircraft_facts') }}
where event_timestamp > (select min(flights.scheduled_departure_at) from {{ ref('stg_flights') }} as flights)
