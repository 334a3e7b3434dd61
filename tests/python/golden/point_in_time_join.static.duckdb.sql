with history as not materialized (
    select
        *,
        _pit_event as _pit_available_at
    from (
        select
            rowid as _pit_row_id,
            "user_id" as _pit_key_1,
            -9223372036854775806 /* always */ as _pit_event
        from "warehouse"."main"."user_activity"
    ) as timed
    where
        _pit_event is not null
),

-- Of several rows of a key, an error that the test unique_feature_rows finds, the greatest by content wins.
single as (
    select history.*
    from history
    inner join "warehouse"."main"."user_activity" as content on history._pit_row_id = content.rowid
    qualify row_number() over (
        partition by history._pit_key_1
        order by
            content."login_count_30d" desc nulls last,
            content."session_duration_avg" desc nulls last
    ) = 1
),

matched as (
    select
        spine._pit_row,
        spine._pit_time,
        spine."user_id" as _pit_key_1,
        known._pit_row_id,
        known._pit_available_at as _pit_event
    from spine
    left join single as known
        on
            case when spine._pit_time is not null then spine."user_id" end = known._pit_key_1
),

judged as (
    select
        matched._pit_row,
        matched._pit_row_id,
        cast(null as bigint) as _pit_age,
        case
            when matched._pit_time is null or matched._pit_key_1 is null then 'NULL_KEY'
            when matched._pit_row_id is not null then 'PRESENT'
            else 'NOT_FOUND'
        end as _pit_status
    from matched
),

chosen as (
    select
        _pit_row,
        _pit_status,
        case when _pit_status = 'PRESENT' then _pit_age end as _pit_age,
        _pit_row_id
    from judged
)

select
    chosen._pit_row,
    chosen._pit_age,
    source."session_duration_avg" as "seconds",
    case
        when chosen._pit_status = 'PRESENT' and source."session_duration_avg" is null then 'NULL_VALUE'
        else chosen._pit_status
    end as _pit_status
from chosen
left join "warehouse"."main"."user_activity" as source on chosen._pit_row_id = source.rowid
