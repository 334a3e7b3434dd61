with history as (
    select
        source.*,
        epoch_us(source."event_timestamp") as _pit_event,
        epoch_us(source."loaded_at") as _pit_created
    from "warehouse"."main"."user_activity" as source
),

known as (
    select history.*
    from history
    where
        "user_id" is not null and
        _pit_event is not null and
        _pit_created is not null and
        greatest(_pit_event + 21600000000, _pit_created) <= epoch_us(cast('2026-03-21 00:00:00+00' as timestamp with time zone))
),

ranked as (
    select
        known.*,
        row_number() over (
            partition by "user_id"
            order by
                _pit_event desc,
                _pit_created desc,
                "is_deleted" desc nulls last,
                "login_count_30d" desc nulls last,
                "session_duration_avg" desc nulls last,
                "event_timestamp" desc
        ) as _pit_rank
    from known
)

select
    "user_id",
    "event_timestamp",
    "login_count_30d",
    "session_duration_avg"
from ranked
where
    _pit_rank = 1
    and not coalesce("is_deleted", false)
