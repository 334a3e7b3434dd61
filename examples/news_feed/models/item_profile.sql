-- What is known of an article, from its publication on and once more a day later. Some are published after the example's
-- instant, 10 March 2026: nobody may know them then.
with

articles as (
    select
        articles.item_id,
        timestamptz '2026-03-08 00:00:00+00' + to_minutes((articles.item_id * 37 % 3000)::bigint) as published_at,
    from range(570) as articles (item_id)
),

versions as (
    select
        articles.item_id,
        articles.published_at + to_days(versions.version::integer) as event_timestamp,
    from articles
    cross join range(2) as versions (version)
),

valued as (
    select *, {{ noise(var('item_features'), 'item_id, event_timestamp') }} as noise from versions
)

select
    item_id,
    event_timestamp,
    {{ spread('noise', 'item', var('item_features')) }}
from valued
order by item_id, event_timestamp
