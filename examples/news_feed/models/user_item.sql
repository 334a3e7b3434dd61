-- What a reader and an article have to do with each other, such as how alike they are: of a part of the pairs, from up to
-- 40 days ago.
with

pairs as (
    select
        users.user_id,
        articles.item_id,
        timestamptz '2026-03-10 00:00:00+00' - to_hours((hash(users.user_id, articles.item_id) % 960)::bigint)
            as event_timestamp,
    from range(12) as users (user_id)
    cross join range(570) as articles (item_id)
    where hash(articles.item_id, users.user_id) % 3 = 0
),

valued as (
    select *, {{ noise(var('pair_features'), 'user_id, item_id') }} as noise from pairs
)

select
    user_id,
    item_id,
    event_timestamp,
    {{ spread('noise', 'pair', var('pair_features')) }}
from valued
order by user_id, item_id, event_timestamp
