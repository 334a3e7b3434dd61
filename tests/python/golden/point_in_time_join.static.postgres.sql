with numbered as materialized (
    select
        source.*,
        row_number() over () as _pit_row_id
    from "warehouse"."main"."user_activity" as source
),

history as (
    select
        *,
        _pit_event as _pit_available_at
    from (
        select
            _pit_row_id,
            "user_id" as _pit_key_1,
            -9223372036854775806 /* always */ as _pit_event
        from numbered
    ) as timed
    where
        _pit_event is not null
),

ordered as (
    select
        history.*,
        row_number() over (
            partition by history._pit_key_1
            order by
                history._pit_event desc,
                content."login_count_30d" desc nulls last,
                content."session_duration_avg" desc nulls last,
                history._pit_row_id
        ) as _pit_order
    from history
    inner join numbered as content on history._pit_row_id = content._pit_row_id
),

stacked as (
    select
        _pit_key_1,
        _pit_available_at as _pit_at,
        0 as _pit_side,
        _pit_order,
        null as _pit_row
    from ordered
    union all
    select
        spine."user_id",
        _pit_time,
        1,
        null,
        _pit_row
    from spine
    where _pit_time is not null and spine."user_id" is not null
),

filled as (
    select
        _pit_row,
        _pit_key_1,
        min(_pit_order) over (
            partition by _pit_key_1
            order by _pit_at, _pit_side
            rows between unbounded preceding and current row
        ) as _pit_order
    from stacked
),

matched as (
    select
        spine._pit_row,
        spine._pit_time,
        spine."user_id" as _pit_key_1,
        ordered._pit_row_id,
        ordered._pit_available_at as _pit_event
    from spine
    left join filled on spine._pit_row = filled._pit_row
    left join ordered
        on filled._pit_key_1 = ordered._pit_key_1 and filled._pit_order = ordered._pit_order
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
left join numbered as source on chosen._pit_row_id = source._pit_row_id
