with _pit_changes as (
    with timed as (
        select
            *,
            _pit_event as _pit_available_at
        from (
            select
                *,
                `tailnum` as _pit_key_1,
                case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end as _pit_event
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
    where _pit_time >= 1772496000000000 /* 2026-03-03 00:00:00 UTC */ and _pit_time < 1772668800000000 /* 2026-03-05 00:00:00 UTC */
    union all
    -- The state before, for comparison with the first rows.
    select distinct
        _pit_key_1,
        (1772496000000000 /* 2026-03-03 00:00:00 UTC */ - 1)
    from _pit_changes
    where _pit_time < 1772496000000000 /* 2026-03-03 00:00:00 UTC */
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
                `tailnum` as _pit_key_1,
                case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end as _pit_event
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
            `dest` as _pit_input_1,
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

    placed as (
        select
            events.*,
            _pit_available_at div 604800000000 /* stretch: 7 days */ + _pit_step as _pit_stretch
        from events
        cross join (values (0), (1)) as steps(_pit_step)
        where (_pit_event + 604799999999) div 604800000000 >= _pit_available_at div 604800000000 + _pit_step
    ),

    ranged as (
        select
            asked._pit_key_1,
            asked._pit_at,
            count(distinct case when events._pit_input_1 is not null then events._pit_input_1 end) as _pit_value_1,
            max(events._pit_event) as _pit_newest
        from asked
        inner join placed as events
            on
                asked._pit_key_1 = events._pit_key_1 and
                asked._pit_at div 604800000000 /* stretch: 7 days */ = events._pit_stretch and
                asked._pit_at < events._pit_event + 604800000000 /* window: 7 days */ and
                _pit_available_at <= asked._pit_at
        group by asked._pit_key_1, asked._pit_at
    ),

    windowed as (
        select *
        from ranged
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
        cast(_pit_value_1 as bigint) as `destinations_7d`,
        case
            when _pit_status = 'PRESENT' and _pit_value_1 is null then 'NULL_VALUE'
            else _pit_status
        end as _pit_status
    from valued
),

_pit_rows as (
    select
        _pit_spine._pit_key_1, _pit_spine._pit_time,
        _pit_values.`destinations_7d`
    from _pit_spine
    inner join _pit_values on _pit_spine._pit_row = _pit_values._pit_row
),

_pit_compared as (
    select
        *,
        row_number() over of_key = 1
        or `destinations_7d` is distinct from lag(`destinations_7d`) over of_key as _pit_changed
    from _pit_rows
    window of_key as (partition by _pit_key_1 order by _pit_time)
)

select
    _pit_key_1 as `tailnum`,
    timestamp_micros(_pit_time) as event_timestamp,
    `destinations_7d`
from _pit_compared
where
    _pit_changed
    and _pit_time < 1772668800000000 /* 2026-03-05 00:00:00 UTC */
    and _pit_time >= 1772496000000000 /* 2026-03-03 00:00:00 UTC */
order by _pit_key_1, _pit_time
