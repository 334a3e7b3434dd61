with _pit_changes as materialized (
    with timed as (
        select
            *,
            _pit_event as _pit_available_at
        from (
            select
                *,
                "tailnum" as _pit_key_1,
                case when typeof("event_timestamp") = 'TIMESTAMPTZ_NS' then epoch_ns("event_timestamp") // 1000 + (epoch_ns("event_timestamp") % 1000 > 0)::int else epoch_us(cast("event_timestamp" as timestamptz)) end as _pit_event
            from "warehouse"."main"."aircraft_landings"
        ) as timed
        where
            _pit_event is not null
            and _pit_event <= 9223372036854775807 /* never */ - 604800000000 /* window: 7 days */
    ),

    events as (
        select
            _pit_key_1,
            _pit_event,
            _pit_available_at
        from timed
        where
            _pit_key_1 is not null
    )

    select distinct
        _pit_key_1,
        _pit_at as _pit_time
    from (
        select
            _pit_key_1,
            _pit_available_at as _pit_at
        from events
        union all
        select
            _pit_key_1,
            events._pit_event + 604800000000 /* window: 7 days */
        from events
        where _pit_available_at < events._pit_event + 604800000000 /* window: 7 days */ and events._pit_event + 604800000000 /* window: 7 days */ < 9223372036854775807 /* never */
    ) as changes
),

_pit_asked as (
    select *
    from _pit_changes
    where _pit_time >= epoch_us(cast('2026-03-03 00:00:00+00' as timestamp with time zone)) and _pit_time < epoch_us(cast('2026-03-05 00:00:00+00' as timestamp with time zone))
    union all
    -- The state before, for comparison with the first rows.
    select distinct
        _pit_key_1,
        (epoch_us(cast('2026-03-03 00:00:00+00' as timestamp with time zone)) - 1)
    from _pit_changes
    where _pit_time < epoch_us(cast('2026-03-03 00:00:00+00' as timestamp with time zone))
),

_pit_spine as (
    select
        *,
        row_number() over (order by _pit_key_1, _pit_time) as _pit_row
    from _pit_asked
),

_pit_values as (
    with recursive timed as (
        select
            *,
            _pit_event as _pit_available_at
        from (
            select
                *,
                "tailnum" as _pit_key_1,
                case when typeof("event_timestamp") = 'TIMESTAMPTZ_NS' then epoch_ns("event_timestamp") // 1000 + (epoch_ns("event_timestamp") % 1000 > 0)::int else epoch_us(cast("event_timestamp" as timestamptz)) end as _pit_event
            from "warehouse"."main"."aircraft_landings"
        ) as timed
        where
            _pit_event is not null
            and _pit_event <= 9223372036854775807 /* never */ - 604800000000 /* window: 7 days */
    ),

    events as (
        select
            _pit_key_1,
            _pit_event,
            "dest" as _pit_input_1,
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
                spine."_pit_key_1" as _pit_key_1,
                _pit_time as _pit_at
            from _pit_spine as spine
            union all
            -- No rows: keys get the type that they have beside those of events, which decides their order.
            select
                _pit_key_1,
                null
            from events
            where false
        ) as rows_asked
        where _pit_at is not null and _pit_key_1 is not null
    ),

    repeats as (
        select
            *,
            lag(_pit_available_at) over same_1 as _pit_input_1_before,
            lead(_pit_available_at) over same_1 as _pit_input_1_after
        from events
        window
            same_1 as (partition by _pit_key_1, _pit_input_1 order by _pit_available_at)
    ),

    measured as (
        select
            events.*,
            case when events._pit_input_1 is not null and (events._pit_input_1_before is null or events._pit_input_1_before + 604800000000 /* window: 7 days */ < events._pit_available_at) then 1 end as _pit_input_1_begun_1,
            case when events._pit_input_1 is not null and (events._pit_input_1_after is null or events._pit_available_at + 604800000000 /* window: 7 days */ < events._pit_input_1_after) then 1 end as _pit_input_1_ended_1
        from repeats as events
    ),

    ordered as (
        select *
        from (
            select
                _pit_key_1,
                _pit_input_1_begun_1,
                _pit_input_1_ended_1,
                _pit_available_at
            from measured
            union all
            select distinct
                _pit_key_1,
                null,
                null,
                -9223372036854775807 /* before all */
            from asked
        ) as events_and_begins
        order by _pit_key_1, _pit_available_at
    ),

    -- Of events that became known at one instant the last has the sum.
    -- DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
    running as (
        select *
        from (
            select
                _pit_key_1,
                _pit_available_at,
                count(_pit_input_1_begun_1) over (rows unbounded preceding) as _pit_input_1_begun_1,
                count(_pit_input_1_ended_1) over (rows unbounded preceding) as _pit_input_1_ended_1,
                lead(_pit_key_1) over () is not distinct from _pit_key_1
                and lead(_pit_available_at) over () is not distinct from _pit_available_at as _pit_goes_on
            from ordered
        ) as summed
        where not _pit_goes_on
    ),

    -- The instants asked, and for each window the instant at which it begins.
    points as (
        select _pit_query, _pit_key_1, _pit_at, 0 as _pit_slot
        from asked
        union all
        select _pit_query, _pit_key_1, _pit_at - 604800000000 /* window: 7 days */, 1
        from asked
    ),

    found as (
        select
            points._pit_query,
            points._pit_slot,
            running._pit_available_at,
            running._pit_input_1_begun_1,
            running._pit_input_1_ended_1
        from points
        asof join running
            on
                points._pit_key_1 = running._pit_key_1 and
                _pit_available_at <= points._pit_at
    ),

    sums as (
        select
            _pit_query,
            max(_pit_input_1_begun_1) filter (where _pit_slot = 0) as _pit_input_1_begun_1,
            max(_pit_input_1_ended_1) filter (where _pit_slot = 1) as _pit_input_1_ended_1,
            nullif(max(_pit_available_at) filter (where _pit_slot = 0), -9223372036854775807 /* before all */) as _pit_newest
        from found
        group by _pit_query
    ),

    windowed as (
        select
            asked._pit_query,
            sums._pit_input_1_begun_1 - sums._pit_input_1_ended_1 as _pit_value_1,
            case when asked._pit_at < sums._pit_newest + 604800000000 /* window: 7 days */ then sums._pit_newest end as _pit_newest
        from asked
        left join sums on asked._pit_query = sums._pit_query
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
            coalesce(windowed._pit_value_1, 0) as _pit_value_1,
            case
                when spine._pit_time is null or spine."_pit_key_1" is null then 'NULL_KEY'
                when windowed._pit_newest is not null then 'PRESENT'
                when known._pit_available_at is null then 'NOT_FOUND'
                when _pit_available_at <= spine._pit_time then 'PRESENT'
                else 'NOT_YET_KNOWN'
            end as _pit_status
        from _pit_spine as spine
        left join asked
            on
                spine."_pit_key_1" = asked._pit_key_1 and
                spine._pit_time = asked._pit_at
        left join windowed on asked._pit_query = windowed._pit_query
        left join known
            on spine."_pit_key_1" = known._pit_key_1
    )

    select
        _pit_row,
        _pit_time - _pit_newest as _pit_age,
        cast(_pit_value_1 as bigint) as "destinations_7d",
        case
            when _pit_status = 'PRESENT' and _pit_value_1 is null then 'NULL_VALUE'
            else _pit_status
        end as _pit_status
    from valued
),

_pit_rows as (
    select
        _pit_spine.*,
        _pit_values."destinations_7d"
    from _pit_spine
    inner join _pit_values on _pit_spine._pit_row = _pit_values._pit_row
    order by _pit_spine._pit_row
),

-- DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
_pit_compared as (
    select
        *,
        _pit_key_1 is distinct from lag(_pit_key_1) over ()
        or "destinations_7d" is distinct from lag("destinations_7d") over () as _pit_changed
    from _pit_rows
)

select
    _pit_key_1 as "tailnum",
    make_timestamptz(_pit_time) as event_timestamp,
    "destinations_7d"
from _pit_compared
where
    _pit_changed
    and _pit_time < epoch_us(cast('2026-03-05 00:00:00+00' as timestamp with time zone))
    and _pit_time >= epoch_us(cast('2026-03-03 00:00:00+00' as timestamp with time zone))
order by _pit_key_1, _pit_time
