-- The shortest training set: a spine and a view. The unit tests beside it show the rule case by case.
{{ config(materialized='table') }}

{{ pit_join.training_set(ref('login_labels'), ['user_activity:*']) }}
