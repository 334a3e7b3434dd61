-- The source as it is on one day: on the second c1 has changed, and c2 is gone.
select
    customer_id,
    tier,
    city,
    cast(moved_at as timestamptz) as moved_at
from (
    values
    (1, 'c1', 'free', 'Oslo', '2026-01-05 09:00:00+00'),
    (1, 'c2', 'gold', 'Rome', '2026-01-05 09:00:00+00'),
    (2, 'c1', 'gold', 'Paris', '2026-01-07 09:00:00+00')
) as states (day, customer_id, tier, city, moved_at)
where day = {{ var('day', 1) }}
