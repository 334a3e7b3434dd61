{#-
    The distance of the values of a feature view at one instant from their profile.

    view     the name of a feature view
    profile  a relation made by `feature_profile`
    as_of    an instant such as '2026-03-18 14:30' (naive is UTC); none is the time at which the query runs

    Grain: one row for each feature. Columns: `feature`, `kind`; `baseline_rows` and `rows`, and of both the nulls and what was
    missing; `psi`, the population stability index; `js`, the Jensen-Shannon distance (base 2); `ks`, of numbers the greatest distance of the
    distribution functions, which may be greater by up to `ks_error`; `noise`, how unlikely that is by chance, in standard deviations;
    `baseline` and `current`, the shares of the bins, which end at `uppers` or are named by `labels`. Null for a feature without a profile.
    Example: {{ pit_join.drift('user_activity', ref('user_activity_in_march')) }}
-#}
{% macro drift(view, profile, as_of=none) -%}
    {{ return(adapter.dispatch('drift', 'pit_join')(view, profile, as_of)) }}
{%- endmacro %}

{% macro duckdb__drift(view, profile, as_of) -%}
{%- set declared = pit_join._view(view) -%}
{%- if not execute -%}
    {{ return('') }}
{%- endif -%}
{%- set features = pit_join._profiled_features(declared) -%}
with snapshot as materialized (
    {{ pit_join._profiled_snapshot(declared, as_of, features) | indent(4) }}
)

select *
from (
    {{ pit_join._drift_statement('snapshot', features, [], profile) | indent(4) }}
) as drifts
{%- endmacro %}


{% macro default__drift(view, profile, as_of) -%}
    {{ pit_join._only_on_duckdb('drift') }}
{%- endmacro %}
