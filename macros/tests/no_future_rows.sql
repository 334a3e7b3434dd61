{#- Fails on rows of a feature view whose event time or created time lies after `as_of`. By default that is the time of
    the test. One such row would win for ever. -#}
{% test no_future_rows(model, as_of=none) %}
{%- if execute -%}
{%- set view = pit_join._view_of(model) -%}
select *
from {{ model }}
where
    {{ pit_join._time_of(view, view.event_timestamp) }} > {{ pit_join._as_of(as_of) }}
    {%- if view.created_timestamp %}
    or {{ pit_join._time_of(view, view.created_timestamp) }} > {{ pit_join._as_of(as_of) }}
    {%- endif %}
{%- endif -%}
{% endtest %}
