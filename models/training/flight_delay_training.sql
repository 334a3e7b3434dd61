-- The training set of the service flight_delay_v1 as a table that dbt keeps: the same features, so the same rows as
-- `pit-join build-training-set --spine flight_spine --service flight_delay_v1`.
{{ config(materialized='table') }}

{{ pit_join.training_set(
    ref('flight_spine'),
    [
        {'view': 'airport_weather', 'as': 'origin_weather', 'join_keys': {'airport': 'origin'}, 'features': ['*']},
        {'view': 'airport_weather', 'as': 'dest_weather', 'join_keys': {'airport': 'dest'}, 'features': ['*']},
        'aircraft_last_leg:last_dest',
        'aircraft_last_leg:last_dep_delay',
        'aircraft_last_leg:last_arr_delay',
        'aircraft_last_leg:last_air_time',
        'carrier_daily_delay:*',
        'aircraft_facts:manufacture_year',
        'aircraft_facts:engines',
        'aircraft_facts:seats',
        'route_history:*',
        {'view': 'origin_departures', 'join_keys': {'airport': 'origin'}, 'features': ['*']},
        'carrier_landings:*',
        'aircraft_landings:destinations_7d',
    ]
) }}
