with newest as (
    with history as (
        select
            *,
            greatest(_pit_event + 21600000000 /* lag: 6 hours */, _pit_created) as _pit_available_at
        from (
            select
                *,
                "user_id" as _pit_key_1,
                case when typeof("loaded_at") = 'TIMESTAMPTZ_NS' then epoch_ns("loaded_at") // 1000 + (epoch_ns("loaded_at") % 1000 > 0)::int else epoch_us(cast("loaded_at" as timestamptz)) end as _pit_created,
                case when typeof("event_timestamp") = 'TIMESTAMPTZ_NS' then epoch_ns("event_timestamp") // 1000 + (epoch_ns("event_timestamp") % 1000 > 0)::int else epoch_us(cast("event_timestamp" as timestamptz)) end as _pit_event
            from "warehouse"."main"."user_activity"
        ) as timed
        where
            _pit_event is not null and _pit_created is not null
            and _pit_event <= 9223372036854775807 /* never */ - 21600000000 /* lag: 6 hours */
    )

    select
        max(_pit_event) filter (where "login_count_30d" is not null) as "login_count_30d",
        max(_pit_event) filter (where "session_duration_avg" is not null) as "session_duration_avg",
        max(_pit_available_at) as _pit_available
    from history
    where
        _pit_available_at <= 1774051200000000 /* 2026-03-21 00:00:00 UTC */
        and not coalesce("is_deleted", false)
),

features as (
    select 'login_count_30d' as feature, "login_count_30d" as newest from newest union all
    select 'session_duration_avg' as feature, "session_duration_avg" as newest from newest
)

select
    feature,
    make_timestamptz(newest) as newest
from features
where coalesce(newest < 1774051200000000 /* 2026-03-21 00:00:00 UTC */ - 1296000000000 /* within: 15 days */, true)
