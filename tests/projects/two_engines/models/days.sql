{#- dbt-postgres replaces the rows of a batch by their key, and dbt-duckdb all rows of its span. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='microbatch',
    batch_size='month',
    begin='2026-01-01',
    lookback=0,
    unique_key=['user_id', 'event_timestamp'] if target.type == 'postgres' else none,
) }}

{#- While dbt parses there is no batch. -#}
{% set batch = model.batch or {} %}

{{ pit_join.window_history('events', grid='1 day', start=batch.event_time_start, end=batch.event_time_end) }}
