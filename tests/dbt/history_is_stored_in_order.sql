-- Fails for a feature view that is not stored in the order (keys, event time, created): the join is fastest in that order.
-- Row ids are the order of storage.
{{ config(enabled=target.type == 'duckdb') }}

{% set orders = {
    'airport_weather': 'airport, event_timestamp',
    'airport_places': 'airport, event_timestamp',
    'aircraft_last_leg': 'tailnum, event_timestamp, known_at',
    'carrier_daily_delay': 'carrier, event_timestamp',
    'aircraft_facts': 'tailnum, event_timestamp',
    'route_history': 'carrier, dest, event_timestamp',
    'origin_departures': 'airport, event_timestamp',
    'carrier_landings': 'carrier, event_timestamp',
    'aircraft_landings': 'tailnum, event_timestamp',
    'user_activity': 'user_id, event_timestamp, loaded_at',
} %}

{% for view_name, columns in orders.items() %}
    select '{{ view_name }}' as view_name
    from (
        select row({{ columns }}) < lag(row({{ columns }})) over (order by rowid) as is_out_of_order
        from {{ ref(view_name) }}
    )
    where is_out_of_order
    {{ 'union all' if not loop.last }}
{% endfor %}
