with history as not materialized (
    select
        *,
        greatest(_pit_event + 21600000000 /* lag: 6 hours */, _pit_created) as _pit_available_at
    from (
        select
            case tableoid when '"warehouse"."main"."user_activity"'::regclass then ctid else cast('a feature view cannot be partitioned; read the partitions through a view: ' || tableoid::regclass as tid) end as _pit_row_id,
            coalesce("is_deleted", false) as _pit_deleted,
            "user_id" as _pit_key_1,
            cast(extract(epoch from case when isfinite("loaded_at") then "loaded_at" end) * 1000000 as bigint) as _pit_created,
            cast(extract(epoch from case when isfinite("event_timestamp") then "event_timestamp" end) * 1000000 as bigint) as _pit_event
        from "warehouse"."main"."user_activity"
        offset 0 -- so that no instant is computed twice
    ) as timed
    where
        _pit_event is not null and _pit_created is not null
        and _pit_event <= 9223372036854775807 /* never */ - 21600000000 /* lag: 6 hours */
),

-- A row that became known after one with a later event never wins, nor does one that became known with it.
known as (
    select *
    from (
        select
            *,
            max(_pit_event) over (partition by _pit_key_1 order by _pit_available_at) as _pit_newest
        from history
    ) as so_far
    where _pit_event = _pit_newest
),

-- The rows of each key in the order in which they win.
by_key as (
    select distinct on (_pit_key_1) *
    from (
        select
            _pit_key_1,
            array_agg(_pit_available_at order by _pit_available_at, _pit_created) as _pit_available_at,
            array_agg(_pit_row_id order by _pit_available_at, _pit_created) as _pit_row_id,
            array_agg(_pit_event order by _pit_available_at, _pit_created) as _pit_event,
            array_agg(_pit_created order by _pit_available_at, _pit_created) as _pit_created,
            array_agg(_pit_deleted order by _pit_available_at, _pit_created) as _pit_deleted
        from known
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
        won._pit_event,
        won._pit_created,
        won._pit_deleted,
        by_key._pit_key_1 is not null as _pit_later,
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
            by_key._pit_event[placed._pit_place] as _pit_event,
            by_key._pit_created[placed._pit_place] as _pit_created,
            by_key._pit_deleted[placed._pit_place] as _pit_deleted,
            by_key._pit_available_at[placed._pit_place] = by_key._pit_available_at[placed._pit_place - 1]
            and by_key._pit_created[placed._pit_place] = by_key._pit_created[placed._pit_place - 1] as _pit_tied
    ) as won
        on true
),

doubles as (
    select distinct
        _pit_key_1,
        _pit_event,
        _pit_created
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
        where doubles._pit_key_1 = history._pit_key_1 and doubles._pit_event = history._pit_event and doubles._pit_created = history._pit_created
    )
),

winners as (
    select *
    from (
        select
            tied.*,
            row_number() over (
                partition by tied._pit_key_1, tied._pit_event, tied._pit_created
                order by
                    content."is_deleted" desc nulls last,
                    content."login_count_30d" desc nulls last,
                    content."session_duration_avg" desc nulls last,
                    content."event_timestamp" desc
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
        joined._pit_created,
        case when winners._pit_row_id is null then joined._pit_row_id else winners._pit_row_id end as _pit_row_id,
        case when winners._pit_row_id is null then joined._pit_deleted else winners._pit_deleted end as _pit_deleted,
        joined._pit_later
    from joined
    left join winners
        on joined._pit_key_1 = winners._pit_key_1 and joined._pit_event = winners._pit_event and joined._pit_created = winners._pit_created
),

judged as (
    select
        matched._pit_row,
        matched._pit_row_id,
        matched._pit_time - matched._pit_event as _pit_age,
        case
            when matched._pit_time is null or matched._pit_key_1 is null then 'NULL_KEY'
            when matched._pit_deleted then 'NOT_FOUND'
            when matched._pit_time - matched._pit_event > 2592000000000 /* ttl: 30 days */ then 'OUTSIDE_MAX_AGE'
            when matched._pit_row_id is not null then 'PRESENT'
            when matched._pit_later then 'NOT_YET_KNOWN'
            else 'NOT_FOUND'
        end as _pit_status
    from matched
),

chosen as (
    select
        _pit_row,
        _pit_status,
        case when _pit_status = 'PRESENT' then _pit_age end as _pit_age,
        case when _pit_status = 'PRESENT' then _pit_row_id end as _pit_row_id
    from judged
)

select distinct on (chosen._pit_row)
    chosen._pit_row,
    chosen._pit_age,
    coalesce(source."login_count_30d", 0) as "logins",
    case
        when chosen._pit_status = 'PRESENT' and source."login_count_30d" is null then 'NULL_VALUE'
        else chosen._pit_status
    end as _pit_status
from chosen
left join "warehouse"."main"."user_activity" as source on chosen._pit_row_id = source.ctid
