{#- Fails unless `pit-join audit --replay` has found the present SQL of a feature view clean. It looks for the result that
    the last replay has kept below `target/pit_join`, and builds nothing. -#}
{% test replay_is_clean(model) %}
{%- if execute -%}
{%- if adapter.type() != 'duckdb' -%}
    {{ pit_join._only_on_duckdb('the test replay_is_clean') }}
{%- endif -%}
{%- set view = pit_join._view_of(model) -%}
{#- From the adapter: with a question to the flags, dbt's record of the project would be of one command only. -#}
{%- set kept = adapter.config.project_target_path ~ '/pit_join/' ~ adapter.config.target_name -%}
select
    {{ pit_join._literal(view.name) }} as view,
    'run pit-join audit --replay, which has not found the present SQL of this view clean' as what_to_do
where not exists (
    select 1
    from glob({{ pit_join._literal(kept ~ '/replay/*.clean.json') }})
    where ends_with(file, '/' || md5({{ pit_join._literal(pit_join._replayed_code(view.name)) }}) || '.clean.json')
)
{%- endif -%}
{% endtest %}
