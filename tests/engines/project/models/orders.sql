-- Events of orders, of which some are corrected, and one is deleted.
with users as (
    select * from (values ('ann', 1), ('bob', 2), ('it''s', 3)) as t(user_id, number)
),

steps as (
    select * from (values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11)) as t(step)
)

select
    user_id,
    number * 100 + step as order_id,
    {{ naive('2026-03-01 00:00:00') }} + (step * number) * interval 2 hour as ordered_at,
    {{ naive('2026-03-01 00:05:00') }} + (step * number) * interval 2 hour as loaded_at,
    false as is_deleted,
    cast(step * number * 1.25 as decimal(12, 2)) as amount,
    case when step % 5 > 0 then cast(step * 1.5 as double) end as weight
from users
cross join steps
union all
select
    user_id,
    number * 100 + 4,
    {{ naive('2026-03-01 09:00:00') }},
    {{ naive('2026-03-01 21:00:00') }},
    number = 3,
    cast(99.99 as decimal(12, 2)),
    cast(7 as double)
from users
