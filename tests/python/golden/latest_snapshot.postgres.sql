with history as (
    select
        *,
        greatest(_pit_event + 21600000000 /* lag: 6 hours */, _pit_created) as _pit_available_at
    from (
        select
            case tableoid when '"warehouse"."main"."user_activity"'::regclass then ctid else cast('a feature view cannot be partitioned; read the partitions through a view: ' || tableoid::regclass as tid) end as _pit_row_id,
            "user_id" as _pit_key_1,
            cast(extract(epoch from case when isfinite("loaded_at") then "loaded_at" end) * 1000000 as bigint) as _pit_created,
            cast(extract(epoch from case when isfinite("event_timestamp") then "event_timestamp" end) * 1000000 as bigint) as _pit_event
        from "warehouse"."main"."user_activity"
    ) as timed
    where
        _pit_event is not null and _pit_created is not null
        and _pit_event <= 9223372036854775807 /* never */ - 21600000000 /* lag: 6 hours */
),

-- Rows of one version share a rank.
ranked as (
    select
        _pit_key_1,
        _pit_row_id,
        rank() over (partition by _pit_key_1 order by _pit_event desc, _pit_created desc) as _pit_rank
    from history
    where
        _pit_key_1 is not null
        and _pit_available_at <= 1774051200000000 /* 2026-03-21 00:00:00 UTC */
),

newest as (
    select
        _pit_key_1,
        _pit_row_id,
        count(*) over (partition by _pit_key_1) as _pit_ties
    from ranked
    where _pit_rank = 1
),

-- Rows equal in (keys, event time, created): the greatest by content wins.
decided as (
    select
        newest._pit_row_id,
        row_number() over (
            partition by newest._pit_key_1
            order by
                content."is_deleted" desc nulls last,
                content."login_count_30d" desc nulls last,
                content."session_duration_avg" desc nulls last,
                (content."session_duration_avg" = 0 and cast(content."session_duration_avg" as text) = '-0'),
                content."event_timestamp" desc
        ) as _pit_rank
    from newest
    inner join "warehouse"."main"."user_activity" as content on newest._pit_row_id = content.ctid
    where newest._pit_ties > 1
),

winners as (
    select _pit_row_id
    from newest
    where _pit_ties = 1
    union all
    select _pit_row_id
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
    ctid in (select _pit_row_id from winners)
    and not coalesce("is_deleted", false)
