with numbered as  (
    select
        source.*,
        row_number() over (order by "user_id") as _pit_row_id
    from "warehouse"."main"."user_activity" as source
),

history as (
    select
        "user_id",
        cast(extract(epoch from "event_timestamp") * 1000000 as bigint) as _pit_event,
        cast(extract(epoch from "loaded_at") * 1000000 as bigint) as _pit_created,
        _pit_row_id as _pit_number
    from numbered
),

ranked as (
    select
        history.*,
        rank() over (partition by "user_id" order by _pit_event desc, _pit_created desc) as _pit_rank
    from history
    where
        "user_id" is not null and
        _pit_event is not null and
        _pit_created is not null and
        greatest(_pit_event + 21600000000, _pit_created) <= cast(extract(epoch from cast('2026-03-21 00:00:00+00' as timestamp with time zone)) * 1000000 as bigint)
),

newest as (
    select
        "user_id",
        _pit_number,
        count(*) over (partition by "user_id") as _pit_ties
    from ranked
    where _pit_rank = 1
),

-- Rows equal in (keys, event time, created): the greatest by content stands for them all.
decided as (
    select
        newest._pit_number,
        row_number() over (
            partition by newest."user_id"
            order by
                source."is_deleted" desc nulls last,
                source."login_count_30d" desc nulls last,
                source."session_duration_avg" desc nulls last,
                source."event_timestamp" desc
        ) as _pit_rank
    from newest
    inner join numbered as source on newest._pit_number = source._pit_row_id
    where newest._pit_ties > 1
),

winners as (
    select _pit_number
    from newest
    where _pit_ties = 1
    union all
    select _pit_number
    from decided
    where _pit_rank = 1
)

select
    "user_id",
    "event_timestamp",
    "login_count_30d",
    "session_duration_avg"
from numbered
where
    _pit_row_id in (select _pit_number from winners)
    and not coalesce("is_deleted", false)
