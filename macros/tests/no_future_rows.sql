{#- Fails on rows of a feature view whose event time or created time lies after `as_of`. By default that is the time of
    the test. One such row would win for ever. The rows of a static view have no time, so the test is an error there. -#}
{% test no_future_rows(model, as_of=none) %}
{%- if execute -%}
{%- set view = pit_join._view_of(model) -%}
{%- if view.static -%}
    {{ exceptions.raise_compiler_error(view.name ~ ' is a static view: its rows have no time, so none can lie in the future; remove the test no_future_rows') }}
{%- endif -%}
select *
from {{ model }}
where
    {{ pit_join._time_of(view, view.event_timestamp) }} > {{ pit_join._as_of(as_of) }}
    {%- if view.created_timestamp %}
    or {{ pit_join._time_of(view, view.created_timestamp) }} > {{ pit_join._as_of(as_of) }}
    {%- endif %}
{%- endif -%}
{% endtest %}
