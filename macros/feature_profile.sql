{#-
    The profile of each feature of a feature view at one instant, its values counted in bins. From it `drift` measures how far later
    values have moved. Store it as a model, or compute it from an earlier instant where it is needed.

    view    the name of a feature view
    as_of   an instant such as '2026-03-18 14:30' (naive is UTC); none is the time at which the query runs

    Grain: one row for each feature. Columns: `feature`; `kind` (number, text, or other, of which only nulls are counted);
    `rows`, `nulls`, `missing` (older than the ttl), `nans`; `least` and `mean`; `edges`, the ends of the bins of a number, or
    `categories`, those of a text; `counts` of the bins, and of NaN, null and missing; `entities`, `bins`, `groups`, `noise` and `squares`
    say how far shares differ by chance. Of a sensitive feature only nulls are counted. The view must have a row.
    Example: {{ pit_join.feature_profile('user_activity', as_of='2026-03-01') }}
-#}
{% macro feature_profile(view, as_of=none) -%}
    {{ return(adapter.dispatch('feature_profile', 'pit_join')(view, as_of)) }}
{%- endmacro %}

{% macro duckdb__feature_profile(view, as_of) -%}
{%- set declared = pit_join._view(view) -%}
{%- if not execute -%}
    {{ return('') }}
{%- endif -%}
{%- set features = pit_join._profiled_features(declared) -%}
with snapshot as materialized (
    {{ pit_join._profiled_snapshot(declared, as_of, features) | indent(4) }}
),

ends as materialized (
    {{ pit_join._edges_statement('snapshot', features, []) | indent(4) }}
)

select *
from (
    {{ pit_join._profile_statement('snapshot', features, [], 'ends') | indent(4) }}
) as profiles
{%- endmacro %}


{#- The features of a view as `_profile_statement` takes them. -#}
{% macro _profiled_features(view) -%}
    {%- set found, sensitive = [], pit_join._sensitive_features(view) -%}
    {%- for name, column in view.columns.items() -%}
        {%- set family = pit_join._type_of(column.data_type).family -%}
        {%- set kind = {'integer': 'number', 'decimal': 'number', 'float': 'number', 'text': 'text', 'BOOLEAN': 'text'}.get(family, 'other') -%}
        {%- do found.append({'name': name, 'kind': 'other' if name in sensitive else kind, 'value': pit_join._identifier(name), 'found': '_pit_found', 'edges': none}) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{#- The names of the features of a view whose values stay out of statistics. -#}
{% macro _sensitive_features(view) -%}
    {%- set found = [] -%}
    {%- for name, feature in view.columns.items() if name in view.sensitive or feature.column in view.sensitive -%}
        {%- do found.append(name) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{#- The values of a view at an instant, cast as profiles count them. Those older than the ttl are not found. -#}
{% macro _profiled_snapshot(view, as_of, features) -%}
{%- set event = none if view.static else pit_join._time_of(view, view.event_timestamp) -%}
select
    {{ 'coalesce(' ~ event ~ ' >= ' ~ pit_join._as_of(as_of) ~ ' - ' ~ pit_join._microseconds(view.ttl, 'ttl') ~ ', true)' if view.ttl and event else 'true' }} as _pit_found
    {%- for feature in features %},
    {{ {'number': 'cast(' ~ feature.value ~ ' as ' ~ pit_join._type_name('double') ~ ')', 'text': 'cast(' ~ feature.value ~ ' as varchar)'}.get(feature.kind, 'case when ' ~ feature.value ~ ' is not null then true end') }} as {{ feature.value }}
    {%- endfor %}
from (
    {{ pit_join.latest_snapshot(view.name, as_of) | indent(4) }}
) as snapshot
{%- endmacro %}


{% macro default__feature_profile(view, as_of) -%}
    {{ pit_join._only_on_duckdb('feature_profile') }}
{%- endmacro %}

{% macro _only_on_duckdb(what) -%}
    {{ exceptions.raise_compiler_error(what ~ ' runs on DuckDB, and not on ' ~ adapter.type()) }}
{%- endmacro %}
