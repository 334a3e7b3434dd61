with history as not materialized (
    select
        *,
        greatest(_pit_event + 21600000000 /* lag: 6 hours */, _pit_created) as _pit_available_at
    from (
        select
            rowid as _pit_row_id,
            coalesce("is_deleted", false) as _pit_deleted,
            0 /* no keys */ as _pit_key_1,
            case when typeof("loaded_at") = 'TIMESTAMPTZ_NS' then epoch_ns("loaded_at") // 1000 + (epoch_ns("loaded_at") % 1000 > 0)::int else epoch_us(cast("loaded_at" as timestamptz)) end as _pit_created,
            case when typeof("event_timestamp") = 'TIMESTAMPTZ_NS' then epoch_ns("event_timestamp") // 1000 + (epoch_ns("event_timestamp") % 1000 > 0)::int else epoch_us(cast("event_timestamp" as timestamptz)) end as _pit_event
        from "warehouse"."main"."user_activity"
    ) as timed
    where
        _pit_event is not null and _pit_created is not null
        and _pit_event <= 9223372036854775807 /* never */ - 21600000000 /* lag: 6 hours */
),

-- A row that became known after a newer one never wins; of the rows that became known together only the newest does.
-- (As one number, and with a frame that ends behind the rows known together, so that DuckDB compares and sorts less.)
known as (
    select *
    from history
    qualify
        _pit_event::hugeint * 18446744073709551616 /* above 64 bits of created */ + _pit_created >= max(_pit_event::hugeint * 18446744073709551616 /* above 64 bits of created */ + _pit_created) over (
            partition by _pit_key_1
            order by _pit_available_at
            range between unbounded preceding and current row
        )
),

joined as (
    select
        spine._pit_row,
        spine._pit_time,
        0 /* no keys */ as _pit_key_1,
        known._pit_row_id,
        known._pit_event,
        known._pit_created,
        known._pit_deleted
    from spine
    asof left join known
        on
            0 /* no keys */ = known._pit_key_1 and
            -- Never null, since DuckDB 1.5 takes a null time for the latest of all, and equal the nulls of composite keys.
            _pit_available_at <= coalesce(spine._pit_time, -9223372036854775807 /* before all */)
),

-- Rows equal in (keys, event time, created) to another one that was joined. Mostly there are none, and all below is empty.
-- (A semi join, since DuckDB makes a grouping of the whole history of such an `exists`.)
doubles as (
    select history.*
    from history
    semi join joined
        on joined._pit_key_1 = history._pit_key_1 and joined._pit_event = history._pit_event and joined._pit_created = history._pit_created and joined._pit_row_id <> history._pit_row_id
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
        inner join "warehouse"."main"."user_activity" as content on tied._pit_row_id = content.rowid
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
        case when winners._pit_row_id is null then joined._pit_deleted else winners._pit_deleted end as _pit_deleted
    from joined
    left join winners
        on joined._pit_key_1 = winners._pit_key_1 and joined._pit_event = winners._pit_event and joined._pit_created = winners._pit_created
),

unmatched as (
    select distinct _pit_key_1
    from matched
    where _pit_row_id is null and _pit_key_1 is not null
),

-- Keys with a history of which nothing was known yet.
later as (
    select distinct history._pit_key_1
    from history
    inner join unmatched
        on history._pit_key_1 = unmatched._pit_key_1
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
            when later._pit_key_1 is not null then 'NOT_YET_KNOWN'
            else 'NOT_FOUND'
        end as _pit_status
    from matched
    left join later
        on matched._pit_key_1 = later._pit_key_1
),

chosen as (
    select
        _pit_row,
        _pit_status,
        case when _pit_status = 'PRESENT' then _pit_age end as _pit_age,
        case when _pit_status = 'PRESENT' then _pit_row_id end as _pit_row_id
    from judged
)

select
    chosen._pit_row,
    chosen._pit_age,
    coalesce(source."login_count_30d", 0) as "logins",
    case
        when chosen._pit_status = 'PRESENT' and source."login_count_30d" is null then 'NULL_VALUE'
        else chosen._pit_status
    end as _pit_status
from chosen
left join "warehouse"."main"."user_activity" as source on chosen._pit_row_id = source.rowid
