{#- Fails on rows of a feature view that are equal in (keys, event time, created). Only their content decides which of
    them wins. Rows with a null key or time never win and are left out. Rows of a static view must not be equal in their
    keys. In a window view with an event_key, versions of one event must not be equal in (event_key, created); without one
    every row is an event of its own. -#}
{% test unique_feature_rows(model) %}
{%- if execute -%}
{%- set view = pit_join._view_of(model) -%}
{%- if view.aggregations and not view.event_key -%}
    {{ exceptions.raise_compiler_error(view.name ~ ' is a window view without event_key: every row is an event of its own, so no row can be a duplicate; remove the test unique_feature_rows, or declare an event_key') }}
{%- endif -%}
{%- set version = [view.event_timestamp, view.created_timestamp] | select('string') | list -%}
{{ pit_join._doubled(model, view.event_key + [view.created_timestamp] if view.event_key else view['keys'].values() | list + version) }}
{%- endif -%}
{% endtest %}
