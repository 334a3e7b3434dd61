{#- Fails for each feature of a feature view that has too many nulls. The `rate`, such as 0.05, is that of keys with a row at `as_of`
    whose value is null.
    `features` are names; all by default. Without any rows each fails. -#}
{% test null_rate_below(model, rate, as_of=none, features=none) %}
{%- if execute -%}
{%- set view = pit_join._view_of(model) -%}
with snapshot as {{ pit_join._materialized() ~ ' ' if pit_join._materialized() }}(
    {{ pit_join._profiled_snapshot(view, as_of, pit_join._profiled_features(view)) | indent(4) }}
),

features as (
    {%- for name in pit_join._tested_features(view, features) %}
    select {{ pit_join._literal(name) }} as feature, count(*) as rows, count(*) filter (where {{ pit_join._identifier(name) }} is null and _pit_found) as nulls from snapshot{{ ' union all' if not loop.last }}
    {%- endfor %}
)

select
    feature,
    rows,
    nulls
from features
where rows = 0 or nulls >= {{ rate }} * rows
{%- endif -%}
{% endtest %}
