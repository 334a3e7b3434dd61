{{ config(
    materialized='incremental',
    incremental_strategy='microbatch',
    batch_size='day',
    begin='2026-03-01',
    lookback=0,
    on_schema_change='append_new_columns',
) }}

{% set batch = model.batch or {} %}

{{ pit_join.window_history('purchases', start=batch.event_time_start, end=batch.event_time_end) }}
