select * from {{ ref('plan_changes') }}
