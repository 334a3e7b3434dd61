{{ config(materialized='view') }}
select user_id, event_timestamp, label from {{ ref('labels') }}
