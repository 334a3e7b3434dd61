{#- Fails for each feature of a feature view whose newest value is older than `within`, such as '24 hours'. The newest one
    is that known at `as_of`.
    `features` are names; all by default. -#}
{% test fresh_within(model, within, as_of=none, features=none) %}
{%- if execute -%}
{%- set view = pit_join._view_of(model) -%}
{%- if view.static -%}
    {{ exceptions.raise_compiler_error(view.name ~ ' is a static view: its rows have no time, so none can be old; remove the test fresh_within') }}
{%- endif -%}
with newest as (
    {{ pit_join._newest_statement(view.name, pit_join._as_of(as_of)) | indent(4) }}
),

features as (
    {%- for name in pit_join._tested_features(view, features) %}
    select {{ pit_join._literal(name) }} as feature, {{ pit_join._identifier(name) }} as newest from newest{{ ' union all' if not loop.last }}
    {%- endfor %}
)

select
    feature,
    {{ pit_join._time_at("newest") }} as newest
from features
where coalesce(newest < {{ pit_join._as_of(as_of) }} - {{ pit_join._microseconds(pit_join._duration(within, 'within'), 'within') }}, true)
{%- endif -%}
{% endtest %}
