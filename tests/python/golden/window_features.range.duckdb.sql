with timed as (
    select
        *,
        greatest(_pit_event, _pit_created) as _pit_available_at
    from (
        select
            *,
            "user_id" as _pit_key_1,
            case when typeof("loaded_at") = 'TIMESTAMPTZ_NS' then epoch_ns("loaded_at") // 1000 + (epoch_ns("loaded_at") % 1000 > 0)::int else epoch_us(cast("loaded_at" as timestamptz)) end as _pit_created,
            case when typeof("event_timestamp") = 'TIMESTAMPTZ_NS' then epoch_ns("event_timestamp") // 1000 + (epoch_ns("event_timestamp") % 1000 > 0)::int else epoch_us(cast("event_timestamp" as timestamptz)) end as _pit_event
        from "warehouse"."main"."user_activity"
    ) as timed
    where _pit_event is not null and _pit_created is not null
),

events as (
    select
        _pit_key_1,
        _pit_event, _pit_created,
        "session_duration_avg" as _pit_input_1,
        row_number() over () as _pit_number, -- any numbers will do: they tell equal events apart
        _pit_available_at
    from timed
    where
        _pit_key_1 is not null
),

-- The instants asked, in the order of keys and times. All windows below are closed on the right, so a window that is closed
-- on the left is computed one microsecond earlier.
asked as (
    select
        row_number() over (order by _pit_key_1, _pit_at) as _pit_query,
        *
    from (
        select distinct
            spine."user_id" as _pit_key_1,
            _pit_time - 1 as _pit_at
        from spine
    ) as rows_asked
    where _pit_at is not null and _pit_key_1 is not null
),

placed as (
    select
        events.*,
        _pit_available_at // 864000000000 /* stretch: 10 days */ + _pit_step as _pit_stretch
    from events
    cross join (values (0), (1)) as steps(_pit_step)
    where (_pit_event + 863999999999) // 864000000000 >= _pit_available_at // 864000000000 + _pit_step
),

windowed as (
    select
        asked._pit_query,
        max(events._pit_event) as _pit_newest,
        sum(events._pit_input_1) as _pit_value_1,
        arg_max(events._pit_input_1, row(events._pit_event, events._pit_created, events._pit_input_1), 3) filter (where events._pit_input_1 is not null) as _pit_value_2
    from asked
    inner join placed as events
        on
            asked._pit_key_1 = events._pit_key_1 and
            asked._pit_at // 864000000000 /* stretch: 10 days */ = events._pit_stretch and
            asked._pit_at < events._pit_event + 864000000000 /* window: 10 days */ and
            _pit_available_at <= asked._pit_at
    group by asked._pit_query
),

-- The instant from which a key has events, where no event was found.
known as (
    select
        _pit_key_1,
        min(_pit_available_at) as _pit_available_at
    from events
    semi join (
        select asked.*
        from asked
        left join windowed on asked._pit_query = windowed._pit_query
        where windowed._pit_newest is null
    ) as without using (_pit_key_1)
    group by _pit_key_1
),

valued as (
    select
        spine._pit_row,
        spine._pit_time,
        windowed._pit_newest,
        windowed._pit_value_1,
        windowed._pit_value_2,
        case
            when spine._pit_time is null or spine."user_id" is null then 'NULL_KEY'
            when windowed._pit_newest is not null then 'PRESENT'
            when known._pit_available_at is null then 'NOT_FOUND'
            when _pit_available_at <= spine._pit_time - 1 then 'PRESENT'
            else 'NOT_YET_KNOWN'
        end as _pit_status
    from spine
    left join asked
        on
            spine."user_id" = asked._pit_key_1 and
            spine._pit_time - 1 = asked._pit_at
    left join windowed on asked._pit_query = windowed._pit_query
    left join known
        on spine."user_id" = known._pit_key_1
)

select
    _pit_row,
    _pit_time - _pit_newest as _pit_age,
    coalesce(cast(_pit_value_1 as double), 0) as "total",
    cast(_pit_value_2 as double[]) as "some",
    case
        when _pit_status = 'PRESENT' and _pit_value_1 is null and _pit_value_2 is null then 'NULL_VALUE'
        else _pit_status
    end as _pit_status
from valued
