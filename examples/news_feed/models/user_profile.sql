-- What is known of a reader: a new row each night, of the last three nights.
with

nights as (
    select
        users.user_id,
        timestamptz '2026-03-08 00:00:00+00' + to_days(nights.night::integer) as event_timestamp,
    from range(12) as users (user_id)
    cross join range(3) as nights (night)
),

valued as (
    select *, {{ noise(var('user_features'), 'user_id, event_timestamp') }} as noise from nights
)

select
    user_id,
    event_timestamp,
    {{ spread('noise', 'user', var('user_features')) }}
from valued
order by user_id, event_timestamp
