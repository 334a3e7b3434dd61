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
        "dest" as _pit_input_1,
        _pit_available_at
    from timed
    where
        _pit_key_1 is not null
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

_pit_counted as (
    select
        _pit_key_1,
        case when _pit_available_at < measured._pit_event + 604800000000 /* window: 7 days */ then measured._pit_event + 604800000000 /* window: 7 days */ end as _pit_end_1,
        _pit_input_1_begun_1, _pit_input_1_ended_1,
        _pit_available_at
    from measured
),

_pit_changes as (
    select
        _pit_key_1,
        greatest(_pit_available_at, (1772496000000000 /* 2026-03-03 00:00:00 UTC */ - 1)) as _pit_time,
        _pit_input_1_begun_1 as _pit_input_1_begun_1,
        null as _pit_input_1_ended_1
    from _pit_counted
    union all
    select
        _pit_key_1,
        greatest(_pit_end_1, (1772496000000000 /* 2026-03-03 00:00:00 UTC */ - 1)),
        null,
        _pit_input_1_ended_1
    from _pit_counted
    where _pit_end_1 is not null
    union all
    -- A key whose events have all left is not new.
    select distinct
        _pit_key_1,
        (1772496000000000 /* 2026-03-03 00:00:00 UTC */ - 1),
        null,
        null
    from events
    where _pit_available_at <= (1772496000000000 /* 2026-03-03 00:00:00 UTC */ - 1)
),

_pit_ordered as (
    select *
    from _pit_changes
    order by _pit_key_1, _pit_time
),

-- DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
sums as (
    select
        _pit_key_1,
        _pit_time,
        coalesce(sum(_pit_input_1_begun_1) over (rows unbounded preceding), 0) as _pit_input_1_begun_1,
        coalesce(sum(_pit_input_1_ended_1) over (rows unbounded preceding), 0) as _pit_input_1_ended_1,
        lead(_pit_key_1) over () is not distinct from _pit_key_1
        and lead(_pit_time) over () is not distinct from _pit_time as _pit_goes_on
    from _pit_ordered
),

_pit_rows as (
    select
        _pit_key_1,
        _pit_time,
        cast(sums._pit_input_1_begun_1 - sums._pit_input_1_ended_1 as bigint) as "destinations_7d"
    from sums
    where not _pit_goes_on
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
    and _pit_time < 1772668800000000 /* 2026-03-05 00:00:00 UTC */
    and _pit_time >= 1772496000000000 /* 2026-03-03 00:00:00 UTC */
order by _pit_key_1, _pit_time
