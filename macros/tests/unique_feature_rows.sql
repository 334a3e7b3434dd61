{#- Fails on rows of a feature view that are equal in (keys, event time, created): which of them wins is then a matter
    of their content only. Rows with a null key or time never win and are left out. -#}
{% test unique_feature_rows(model) %}
{%- if execute -%}
{%- set view = pit_join._view_of(model) -%}
{%- set version = [view.event_timestamp] + ([view.created_timestamp] if view.created_timestamp else []) -%}
{%- set identity = [] -%}
{%- for column in view['keys'] + version %}{% do identity.append(pit_join._identifier(column)) %}{% endfor -%}
select
    {{ identity | join(',\n    ') }},
    count(*) as rows_found
from {{ model }}
where {{ identity | join(' is not null and ') }} is not null
group by {{ identity | join(', ') }}
having count(*) > 1
{%- endif -%}
{% endtest %}
