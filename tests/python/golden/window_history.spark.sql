with _pit_changes as (
    with timed as (
        select
            *,
            _pit_event as _pit_available_at
        from (
            select
                *,
                `carrier` as _pit_key_1,
                case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end as _pit_event
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
            _pit_available_at
        from timed
        where
            _pit_key_1 is not null
    )

    select distinct
        _pit_key_1,
        (_pit_at + (86400000000 /* grid: 1 day */ - _pit_at % 86400000000) % 86400000000) as _pit_time
    from (
        select
            _pit_key_1,
            _pit_available_at as _pit_at
        from events
        union all
        select
            _pit_key_1,
            events._pit_event + 86400000000 /* window: 1 day */
        from events
        where _pit_available_at < events._pit_event + 86400000000 /* window: 1 day */ and events._pit_event + 86400000000 /* window: 1 day */ < 9223372036854775807 /* never */
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
),

_pit_spine as (
    select
        *,
        struct(
            _pit_key_1, 0,
            row_number() over (
                partition by _pit_key_1, 0
                order by
                    _pit_time
            )
        ) as _pit_row
    from _pit_asked
),

_pit_values as (
    with timed as (
        select
            *,
            _pit_event as _pit_available_at
        from (
            select
                *,
                `carrier` as _pit_key_1,
                case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end as _pit_event
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
            `arr_delay` as _pit_input_2,
            case when (`arr_delay` > 15
            ) then 1 end as _pit_input_3,
            _pit_available_at
        from timed
        where
            _pit_key_1 is not null
    ),

    -- The instants asked. All windows below are closed on the right, so a window that is closed on the left is computed one
    -- microsecond earlier.
    asked as (
        select distinct
            spine.`_pit_key_1` as _pit_key_1,
            _pit_time as _pit_at
        from _pit_spine as spine
        where _pit_time is not null and spine.`_pit_key_1` is not null
    ),

    moves as (
        select
            _pit_key_1,
            _pit_available_at as _pit_at,
            0 as _pit_side,
            _pit_event as _pit_newest,
            case when _pit_available_at < events._pit_event + 86400000000 /* window: 1 day */ then case when _pit_input_1 is not null then 1 end end as _pit_input_1_n_1,
            case when _pit_available_at < events._pit_event + 604800000000 /* window: 7 days */ then case when _pit_input_1 is not null then 1 end end as _pit_input_1_n_2,
            case when _pit_available_at < events._pit_event + 86400000000 /* window: 1 day */ then case when _pit_input_2 is not null then 1 end end as _pit_input_2_n_1,
            case when _pit_available_at < events._pit_event + 86400000000 /* window: 1 day */ then cast(_pit_input_2 as decimal(38, 0)) end as _pit_input_2_s_1,
            case when _pit_available_at < events._pit_event + 604800000000 /* window: 7 days */ then case when _pit_input_2 is not null then 1 end end as _pit_input_2_n_2,
            case when _pit_available_at < events._pit_event + 604800000000 /* window: 7 days */ then cast(_pit_input_2 as decimal(38, 0)) end as _pit_input_2_s_2,
            case when _pit_available_at < events._pit_event + 86400000000 /* window: 1 day */ then case when _pit_input_3 is not null then 1 end end as _pit_input_3_n_1,
            case when _pit_available_at < events._pit_event + 604800000000 /* window: 7 days */ then case when _pit_input_3 is not null then 1 end end as _pit_input_3_n_2
        from events
        union all
        select
            _pit_key_1,
            events._pit_event + 86400000000 /* window: 1 day */,
            0,
            null,
            -(case when _pit_input_1 is not null then 1 end),
            null,
            -(case when _pit_input_2 is not null then 1 end),
            -cast(_pit_input_2 as decimal(38, 0)),
            null,
            null,
            -(case when _pit_input_3 is not null then 1 end),
            null
        from events
        where _pit_available_at < events._pit_event + 86400000000 /* window: 1 day */
        union all
        select
            _pit_key_1,
            events._pit_event + 604800000000 /* window: 7 days */,
            0,
            null,
            null,
            -(case when _pit_input_1 is not null then 1 end),
            null,
            null,
            -(case when _pit_input_2 is not null then 1 end),
            -cast(_pit_input_2 as decimal(38, 0)),
            null,
            -(case when _pit_input_3 is not null then 1 end)
        from events
        where _pit_available_at < events._pit_event + 604800000000 /* window: 7 days */
        union all
        select
            _pit_key_1,
            _pit_at,
            1,
            null,
            null,
            null,
            null,
            null,
            null,
            null,
            null,
            null
        from asked
    ),

    summed as (
        select
            _pit_key_1,
            _pit_at,
            _pit_side,
            max(_pit_newest) over so_far as _pit_newest,
            coalesce(sum(_pit_input_1_n_1) over so_far, 0) as _pit_input_1_n_1,
            coalesce(sum(_pit_input_1_n_2) over so_far, 0) as _pit_input_1_n_2,
            coalesce(sum(_pit_input_2_n_1) over so_far, 0) as _pit_input_2_n_1,
            coalesce(sum(_pit_input_2_s_1) over so_far, 0) as _pit_input_2_s_1,
            coalesce(sum(_pit_input_2_n_2) over so_far, 0) as _pit_input_2_n_2,
            coalesce(sum(_pit_input_2_s_2) over so_far, 0) as _pit_input_2_s_2,
            coalesce(sum(_pit_input_3_n_1) over so_far, 0) as _pit_input_3_n_1,
            coalesce(sum(_pit_input_3_n_2) over so_far, 0) as _pit_input_3_n_2
        from moves
        window so_far as (
            partition by _pit_key_1
            order by _pit_at, _pit_side
            rows between unbounded preceding and current row
        )
    ),

    running as (
        select
            _pit_key_1,
            _pit_at,
            case when _pit_at < summed._pit_newest + 604800000000 /* window: 7 days */ then _pit_newest end as _pit_newest,
            _pit_input_1_n_1 as _pit_value_1,
            _pit_input_1_n_2 as _pit_value_2,
            case when _pit_input_2_n_1 > 0 then cast(_pit_input_2_s_1 as double) / _pit_input_2_n_1 end as _pit_value_3,
            case when _pit_input_2_n_2 > 0 then cast(_pit_input_2_s_2 as double) / _pit_input_2_n_2 end as _pit_value_4,
            _pit_input_3_n_1 as _pit_value_5,
            _pit_input_3_n_2 as _pit_value_6
        from summed
        where _pit_side = 1
    ),

    windowed as (
        select *
        from running
        where _pit_newest is not null
    ),

    -- The instant from which a key has events, where no event was found.
    known as (
        select
            events._pit_key_1, 
            min(events._pit_available_at) as _pit_available_at
        from events
        inner join (
            select distinct asked._pit_key_1
            from asked
            left join windowed
                on asked._pit_key_1 = windowed._pit_key_1 and asked._pit_at = windowed._pit_at
            where windowed._pit_newest is null
        ) as without
            on events._pit_key_1 = without._pit_key_1
        group by events._pit_key_1
    ),

    valued as (
        select
            spine._pit_row,
            spine._pit_time,
            windowed._pit_newest,
            coalesce(windowed._pit_value_1, 0) as _pit_value_1,
            coalesce(windowed._pit_value_2, 0) as _pit_value_2,
            windowed._pit_value_3,
            windowed._pit_value_4,
            coalesce(windowed._pit_value_5, 0) as _pit_value_5,
            coalesce(windowed._pit_value_6, 0) as _pit_value_6,
            case
                when spine._pit_time is null or spine.`_pit_key_1` is null then 'NULL_KEY'
                when windowed._pit_newest is not null then 'PRESENT'
                when known._pit_available_at is null then 'NOT_FOUND'
                when _pit_available_at <= spine._pit_time then 'PRESENT'
                else 'NOT_YET_KNOWN'
            end as _pit_status
        from _pit_spine as spine
        left join windowed
            on
                spine.`_pit_key_1` = windowed._pit_key_1 and
                spine._pit_time = windowed._pit_at
        left join known
            on spine.`_pit_key_1` = known._pit_key_1
    )

    select
        _pit_row,
        _pit_time - _pit_newest as _pit_age,
        cast(_pit_value_1 as bigint) as `carrier_landings_24h`,
        cast(_pit_value_2 as bigint) as `carrier_landings_7d`,
        cast(_pit_value_3 as double) as `carrier_arr_delay_24h`,
        cast(_pit_value_4 as double) as `carrier_arr_delay_7d`,
        cast(_pit_value_5 as bigint) as `carrier_late_landings_24h`,
        cast(_pit_value_6 as bigint) as `carrier_late_landings_7d`,
        case
            when _pit_status = 'PRESENT' and _pit_value_1 is null and _pit_value_2 is null and _pit_value_3 is null and _pit_value_4 is null and _pit_value_5 is null and _pit_value_6 is null then 'NULL_VALUE'
            else _pit_status
        end as _pit_status
    from valued
),

_pit_rows as (
    select
        _pit_spine._pit_key_1, _pit_spine._pit_time,
        _pit_values.`carrier_landings_24h`,
        _pit_values.`carrier_landings_7d`,
        _pit_values.`carrier_arr_delay_24h`,
        _pit_values.`carrier_arr_delay_7d`,
        _pit_values.`carrier_late_landings_24h`,
        _pit_values.`carrier_late_landings_7d`
    from _pit_spine
    inner join _pit_values on _pit_spine._pit_row = _pit_values._pit_row
),

_pit_compared as (
    select
        *,
        row_number() over of_key = 1
        or `carrier_landings_24h` is distinct from lag(`carrier_landings_24h`) over of_key
        or `carrier_landings_7d` is distinct from lag(`carrier_landings_7d`) over of_key
        or `carrier_arr_delay_24h` is distinct from lag(`carrier_arr_delay_24h`) over of_key
        or `carrier_arr_delay_7d` is distinct from lag(`carrier_arr_delay_7d`) over of_key
        or `carrier_late_landings_24h` is distinct from lag(`carrier_late_landings_24h`) over of_key
        or `carrier_late_landings_7d` is distinct from lag(`carrier_late_landings_7d`) over of_key as _pit_changed
    from _pit_rows
    window of_key as (partition by _pit_key_1 order by _pit_time)
)

select
    _pit_key_1 as `carrier`,
    timestamp_micros(_pit_time) as event_timestamp,
    `carrier_landings_24h`,
    `carrier_landings_7d`,
    `carrier_arr_delay_24h`,
    `carrier_arr_delay_7d`,
    `carrier_late_landings_24h`,
    `carrier_late_landings_7d`
from _pit_compared
where
    _pit_changed
    and _pit_time < 9223372036854775807 /* never */
order by _pit_key_1, _pit_time
