select user_id, changed_at, max(seats) as seats, max(score) as score
from {{ ref('plan_changes') }}
where changed_at is not null and user_id is not null
group by user_id, changed_at
