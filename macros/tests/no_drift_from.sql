{#- Fails for each feature of a feature view whose values at `as_of` have moved from `profile`. That is a relation made by
    `feature_profile`; the stability index must be over `psi`, by more than chance. All features are tested together. Those
    with fewer than `min_rows` rows on a side, or without a profile, fail as well, since they cannot be judged. -#}
{% test no_drift_from(model, profile, as_of=none, psi=0.2, min_rows=500) %}
{%- if execute -%}
{%- set view = pit_join._view_of(model) -%}
with drifts as (
    {{ pit_join.drift(view.name, profile, as_of) | indent(4) }}
)

select
    feature,
    case
        when baseline_rows is null then 'the profile does not have the feature'
        when least(baseline_rows, rows) < {{ min_rows }} or noise is null then 'there are too few rows to judge a drift'
        else 'the values have drifted'
    end as problem,
    psi,
    noise,
    baseline_rows,
    rows
from drifts
where
    baseline_rows is null
    or least(baseline_rows, rows) < {{ min_rows }}
    or noise is null
    or (psi > {{ psi }} and noise > {{ pit_join._least_noise() }})
{%- endif -%}
{% endtest %}
