-- The feature view of the small example: every setting that a view can have, over data that fit on a page.
with

logins as (
    select * from {{ ref('user_logins') }}
)

select
    user_id,
    event_timestamp,
    loaded_at,
    login_count_30d,
    session_duration_avg,
    is_deleted
from logins
order by user_id, event_timestamp, loaded_at
