with timed as (
    select
        *,
        _pit_event as _pit_available_at
    from (
        select
            *,
            "carrier" as _pit_key_1,
            case when typeof("event_timestamp") = 'TIMESTAMPTZ_NS' then epoch_ns("event_timestamp") // 1000 + (epoch_ns("event_timestamp") % 1000 > 0)::int else epoch_us(cast("event_timestamp" as timestamptz)) end as _pit_event
        from "warehouse"."main"."carrier_landings"
    ) as timed
    where
        _pit_event is not null
        and _pit_event <= 9223372036854775807 /* never */ - 604800000000 /* window: 7 days */
),

events as (
    select
        _pit_key_1,
        _pit_event,
        1 as _pit_input_1,
        "arr_delay" as _pit_input_2,
        case when (arr_delay > 15
        ) then 1 end as _pit_input_3,
        _pit_available_at
    from timed
    where
        _pit_key_1 is not null
),

measured as (
    select
        events.*,
        cast(events._pit_input_2 as hugeint) * 17179869184 /* 34 bits of count */ + 1 as _pit_input_2_p,
        1 as _pit_input_1_n,
        case when events._pit_input_3 is not null then 1 end as _pit_input_3_n
    from events
),

_pit_counted as (
    select
        _pit_key_1,
        case when _pit_available_at < measured._pit_event + 86400000000 /* window: 1 day */ then measured._pit_event + 86400000000 /* window: 1 day */ end as _pit_end_1,
        case when _pit_available_at < measured._pit_event + 604800000000 /* window: 7 days */ then measured._pit_event + 604800000000 /* window: 7 days */ end as _pit_end_2,
        _pit_input_2_p, _pit_input_1_n, _pit_input_3_n,
        _pit_available_at
    from measured
),

_pit_changes as (
    select
        _pit_key_1,
        (_pit_available_at + (86400000000 /* grid: 1 day */ - _pit_available_at % 86400000000) % 86400000000) as _pit_time,
        case when _pit_end_1 is not null then _pit_input_2_p end as _pit_input_2_p_1,
        case when _pit_end_2 is not null then _pit_input_2_p end as _pit_input_2_p_2,
        case when _pit_end_1 is not null then _pit_input_1_n end as _pit_input_1_n_1,
        case when _pit_end_2 is not null then _pit_input_1_n end as _pit_input_1_n_2,
        case when _pit_end_1 is not null then _pit_input_3_n end as _pit_input_3_n_1,
        case when _pit_end_2 is not null then _pit_input_3_n end as _pit_input_3_n_2
    from _pit_counted
    union all
    select
        _pit_key_1,
        (_pit_end_1 + (86400000000 /* grid: 1 day */ - _pit_end_1 % 86400000000) % 86400000000),
        -_pit_input_2_p,
        null,
        -_pit_input_1_n,
        null,
        -_pit_input_3_n,
        null
    from _pit_counted
    where _pit_end_1 is not null
    union all
    select
        _pit_key_1,
        (_pit_end_2 + (86400000000 /* grid: 1 day */ - _pit_end_2 % 86400000000) % 86400000000),
        null,
        -_pit_input_2_p,
        null,
        -_pit_input_1_n,
        null,
        -_pit_input_3_n
    from _pit_counted
    where _pit_end_2 is not null
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
        coalesce(sum(_pit_input_2_p_1) over (rows unbounded preceding), 0) as _pit_input_2_p_1,
        coalesce(sum(_pit_input_2_p_2) over (rows unbounded preceding), 0) as _pit_input_2_p_2,
        coalesce(sum(_pit_input_1_n_1) over (rows unbounded preceding), 0) as _pit_input_1_n_1,
        coalesce(sum(_pit_input_1_n_2) over (rows unbounded preceding), 0) as _pit_input_1_n_2,
        coalesce(sum(_pit_input_3_n_1) over (rows unbounded preceding), 0) as _pit_input_3_n_1,
        coalesce(sum(_pit_input_3_n_2) over (rows unbounded preceding), 0) as _pit_input_3_n_2,
        lead(_pit_key_1) over () is not distinct from _pit_key_1
        and lead(_pit_time) over () is not distinct from _pit_time as _pit_goes_on
    from _pit_ordered
),

_pit_rows as (
    select
        _pit_key_1,
        _pit_time,
        cast(sums._pit_input_1_n_1 as bigint) as "carrier_landings_24h",
        cast(sums._pit_input_1_n_2 as bigint) as "carrier_landings_7d",
        cast(case when (sums._pit_input_2_p_1 & 17179869183 /* 34 bits of count */) > 0 then cast((sums._pit_input_2_p_1 >> 34) as double) / (sums._pit_input_2_p_1 & 17179869183 /* 34 bits of count */) end as double) as "carrier_arr_delay_24h",
        cast(case when (sums._pit_input_2_p_2 & 17179869183 /* 34 bits of count */) > 0 then cast((sums._pit_input_2_p_2 >> 34) as double) / (sums._pit_input_2_p_2 & 17179869183 /* 34 bits of count */) end as double) as "carrier_arr_delay_7d",
        cast(sums._pit_input_3_n_1 as bigint) as "carrier_late_landings_24h",
        cast(sums._pit_input_3_n_2 as bigint) as "carrier_late_landings_7d"
    from sums
    where not _pit_goes_on
),

-- DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
_pit_compared as (
    select
        *,
        _pit_key_1 is distinct from lag(_pit_key_1) over ()
        or "carrier_landings_24h" is distinct from lag("carrier_landings_24h") over ()
        or "carrier_landings_7d" is distinct from lag("carrier_landings_7d") over ()
        or "carrier_arr_delay_24h" is distinct from lag("carrier_arr_delay_24h") over ()
        or "carrier_arr_delay_7d" is distinct from lag("carrier_arr_delay_7d") over ()
        or "carrier_late_landings_24h" is distinct from lag("carrier_late_landings_24h") over ()
        or "carrier_late_landings_7d" is distinct from lag("carrier_late_landings_7d") over () as _pit_changed
    from _pit_rows
)

select
    _pit_key_1 as "carrier",
    make_timestamptz(_pit_time) as event_timestamp,
    "carrier_landings_24h",
    "carrier_landings_7d",
    "carrier_arr_delay_24h",
    "carrier_arr_delay_7d",
    "carrier_late_landings_24h",
    "carrier_late_landings_7d"
from _pit_compared
where
    _pit_changed
    and _pit_time < 9223372036854775807 /* never */
order by _pit_key_1, _pit_time
