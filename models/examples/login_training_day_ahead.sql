-- The same for a decision a day ahead, with the user's and the referrer's activity: one view in two roles. As an audit
-- wants it: with the time and status of each value, nulls left null.
{{ config(materialized='table') }}

{{ pit_join.training_set(
    ref('login_labels'),
    [
        'user_activity:*',
        {'view': 'user_activity', 'as': 'referrer', 'join_keys': {'user_id': 'referred_by'}, 'features': ['login_count_30d']},
    ],
    gap='1 day', full_feature_names=true, provenance=true, defaults=false
) }}
