{{ config(materialized='view') }} select user_id, changed_at, plan from {{ ref('plan_changes') }}
