with users as (
    select * from (values ('ann'), ('bob'), ('it''s'), ('nobody'), (cast(null as {{ 'string' if target.type == 'spark' else 'varchar' }}))) as t(user_id)
),

steps as (
    select * from (values (0), (1), (2), (3), (4), (5), (6), (7), (7)) as t(step)
)

select
    user_id,
    {{ zoned('2026-03-01 02:00:00') }} + step * interval 7 hour as event_timestamp,
    step as label
from users
cross join steps
