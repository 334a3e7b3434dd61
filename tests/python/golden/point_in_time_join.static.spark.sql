with history as (
    select
        *,
        _pit_event as _pit_available_at
    from (
        select
            true as _pit_row_id,
            struct(`login_count_30d` as c1, `session_duration_avg` as c2) as _pit_content,
            `user_id` as _pit_key_1,
            -9223372036854775806 /* always */ as _pit_event
        from "warehouse"."main"."user_activity"
    ) as timed
    where
        _pit_event is not null
),

stacked as (
    select
        _pit_key_1,
        _pit_available_at as _pit_at,
        0 as _pit_side,
        struct(_pit_event, _pit_content) as _pit_known,
        null as _pit_row,
        null as _pit_time
    from history
    where _pit_key_1 is not null
    union all
    select
        spine.`user_id`,
        _pit_time,
        1,
        null,
        _pit_row,
        _pit_time
    from spine
    where _pit_time is not null and spine.`user_id` is not null
),

filled as (
    select
        _pit_row,
        _pit_time,
        _pit_key_1,
        max(_pit_known) over so_far as _pit_won
    from stacked
    window
        so_far as (
            partition by _pit_key_1
            order by _pit_at, _pit_side
            rows between unbounded preceding and current row
        )
),

matched as (
    select
        _pit_row,
        _pit_time,
        _pit_key_1,
        case when _pit_won is not null then true end as _pit_row_id,
        _pit_won._pit_event,
        _pit_won._pit_content.c2 as _pit_value_1,
        cast(null as boolean) as _pit_later
    from filled
    where _pit_row is not null
    union all
    -- Rows that ask for nothing, of which one task would have to do all.
    select
        _pit_row,
        _pit_time,
        spine.`user_id`,
        null,
        null,
        null,
        null
    from spine
    where _pit_time is null or spine.`user_id` is null
),

judged as (
    select
        matched._pit_row,
        matched._pit_row_id,
        cast(null as bigint) as _pit_age,
        matched._pit_value_1,
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
        _pit_value_1,
        _pit_row_id
    from judged
)

select
    chosen._pit_row,
    chosen._pit_age,
    chosen._pit_value_1 as `seconds`,
    case
        when chosen._pit_status = 'PRESENT' and chosen._pit_value_1 is null then 'NULL_VALUE'
        else chosen._pit_status
    end as _pit_status
from chosen
