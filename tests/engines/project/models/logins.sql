-- One row for each user and six hours; some are known late, some end the user, and one is restated.
with users as (
    select * from (values ('ann'), ('bob'), ('it''s'), ('Ann'), (cast(null as {{ 'string' if target.type == 'spark' else 'varchar' }}))) as t(user_id)
),

steps as (
    select * from (values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) as t(step)
)

select
    user_id,
    {{ zoned('2026-03-01 00:00:00') }} + step * interval 6 hour as event_timestamp,
    {{ zoned('2026-03-01 00:00:00') }} + step * interval 6 hour + (step % 3) * interval 90 minute as loaded_at,
    user_id = 'bob' and step = 7 as is_deleted,
    case when step % 4 > 0 then cast(step * 3 as bigint) end as logins,
    step * 0.25 as minutes,
    cast(step as decimal(12, 2)) / 4 as spent
from users
cross join steps
union all
select
    'ann',
    {{ zoned('2026-03-01 06:00:00') }},
    {{ zoned('2026-03-02 06:00:00') }},
    false,
    cast(77 as bigint),
    0.5,
    cast(1 as decimal(12, 2))
