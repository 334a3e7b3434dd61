{#- Fails where a stored training set differs from the same set computed now by another plan. That is the portable join,
    not the adapter's own, and ranges for windows. The plans share the atoms of the rule and the statuses; each finds the
    winning row on its own, ties included. The arguments are those of `training_set`; the result has the rows of each side
    that the other lacks. -#}
{% test point_in_time_correct(model, spine, features, event_timestamp='event_timestamp', gap=none, full_feature_names=false, provenance=false, defaults=true) %}
{%- set recomputed = pit_join._training_set(spine, features, {
    'event_timestamp': event_timestamp, 'gap': gap, 'full_feature_names': full_feature_names, 'provenance': provenance,
    'defaults': defaults, 'plans': {'join': 'portable', 'windows': 'range'}
}) -%}
{%- if execute -%}
with recomputed as (
    {{ recomputed | indent(4) }}
)

select 'stored, not recomputed' as side, surplus.* from (select * from {{ model }} except all select * from recomputed) as surplus
union all
select 'recomputed, not stored' as side, surplus.* from (select * from recomputed except all select * from {{ model }}) as surplus
{%- endif -%}
{% endtest %}
