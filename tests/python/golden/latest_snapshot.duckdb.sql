with history as (
    select
        "user_id",
        epoch_us("event_timestamp") as _pit_event,
        epoch_us("loaded_at") as _pit_created,
        rowid as _pit_number
    from "warehouse"."main"."user_activity"
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
        greatest(_pit_event + 21600000000, _pit_created) <= epoch_us(cast('2026-03-21 00:00:00+00' as timestamp with time zone))
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
    inner join "warehouse"."main"."user_activity" as source on newest._pit_number = source.rowid
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
from "warehouse"."main"."user_activity"
where
    rowid in (select _pit_number from winners)
    and not coalesce("is_deleted", false)
