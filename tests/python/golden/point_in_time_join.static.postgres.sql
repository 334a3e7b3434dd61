with history as not materialized (
    select
        *,
        _pit_event as _pit_available_at
    from (
        select
            case tableoid when '"warehouse"."main"."user_activity"'::regclass then ctid else cast('a feature view cannot be partitioned; read the partitions through a view: ' || tableoid::regclass as tid) end as _pit_row_id,
            "user_id" as _pit_key_1,
            -9223372036854775806 /* always */ as _pit_event
        from "warehouse"."main"."user_activity"
        offset 0 -- so that no instant is computed twice
    ) as timed
    where
        _pit_event is not null
),

-- The rows of each key in the order in which they win.
by_key as (
    select distinct on (_pit_key_1) *
    from (
        select
            _pit_key_1,
            array_agg(_pit_available_at order by _pit_available_at) as _pit_available_at,
            array_agg(_pit_row_id order by _pit_available_at) as _pit_row_id
        from history
        where _pit_key_1 is not null
        group by _pit_key_1
    ) as grouped
),

joined as materialized (
    select
        spine._pit_row,
        spine._pit_time,
        spine."user_id" as _pit_key_1,
        won._pit_row_id,
        won._pit_available_at as _pit_event,
        won._pit_tied
    from spine
    left join by_key
        on spine."user_id" = by_key._pit_key_1
    left join lateral (
        select width_bucket(spine._pit_time, by_key._pit_available_at) as _pit_place
        offset 0
    ) as placed
        on true
    left join lateral (
        select
            by_key._pit_available_at[placed._pit_place] as _pit_available_at,
            by_key._pit_row_id[placed._pit_place] as _pit_row_id,
            by_key._pit_available_at[placed._pit_place] = by_key._pit_available_at[placed._pit_place - 1] as _pit_tied
    ) as won
        on true
),

doubles as (
    select distinct
        _pit_key_1,
        _pit_event
    from joined
    where _pit_tied
),

-- The greatest by content wins.
tied as (
    select *
    from history
    where exists (
        select 1
        from doubles
        where doubles._pit_key_1 = history._pit_key_1 and doubles._pit_event = history._pit_event
    )
),

winners as (
    select *
    from (
        select
            tied.*,
            row_number() over (
                partition by tied._pit_key_1, tied._pit_event
                order by
                    content."login_count_30d" desc nulls last,
                    content."session_duration_avg" desc nulls last
            ) as _pit_rank
        from tied
        inner join "warehouse"."main"."user_activity" as content on tied._pit_row_id = content.ctid
    ) as ranked
    where _pit_rank = 1
),

matched as (
    select
        joined._pit_row,
        joined._pit_time,
        joined._pit_key_1,
        joined._pit_event,
        case when winners._pit_row_id is null then joined._pit_row_id else winners._pit_row_id end as _pit_row_id
    from joined
    left join winners
        on joined._pit_key_1 = winners._pit_key_1 and joined._pit_event = winners._pit_event
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

select distinct on (chosen._pit_row)
    chosen._pit_row,
    chosen._pit_age,
    source."session_duration_avg" as "seconds",
    case
        when chosen._pit_status = 'PRESENT' and source."session_duration_avg" is null then 'NULL_VALUE'
        else chosen._pit_status
    end as _pit_status
from chosen
left join "warehouse"."main"."user_activity" as source on chosen._pit_row_id = source.ctid
