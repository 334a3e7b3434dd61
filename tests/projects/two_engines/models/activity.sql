select user_id, event_timestamp, loaded_at, logins, amount, score, plan, gone from {{ ref('raw') }}
