with timed as (
    select
        *,
        greatest(_pit_event, _pit_created) as _pit_available_at
    from (
        select
            *,
            `user_id` as _pit_key_1,
            case typeof(`loaded_at`) when 'timestamp' then unix_micros(cast(`loaded_at` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`loaded_at` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`loaded_at` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `loaded_at` is of type ' || typeof(`loaded_at`)) end as _pit_created,
            case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end as _pit_event
        from "warehouse"."main"."user_activity"
    ) as timed
    where
        _pit_event is not null and _pit_created is not null
        and _pit_event <= 9223372036854775807 /* never */ - 864000000000 /* window: 10 days */
),

events as (
    select
        _pit_key_1,
        _pit_event, _pit_created,
        `session_duration_avg` + 0 as _pit_input_1,
        _pit_available_at
    from timed
    where
        _pit_key_1 is not null
),

-- The instants asked. All windows below are closed on the right, so a window that is closed on the left is computed one
-- microsecond earlier.
asked as (
    select distinct
        spine.`user_id` as _pit_key_1,
        _pit_time - 1 as _pit_at
    from spine
    where _pit_time is not null and spine.`user_id` is not null
),

placed as (
    select
        events.*,
        _pit_available_at div 864000000000 /* stretch: 10 days */ + _pit_step as _pit_stretch
    from events
    cross join (values (0), (1)) as steps(_pit_step)
    where (_pit_event + 863999999999) div 864000000000 >= _pit_available_at div 864000000000 + _pit_step
),

ranged as (
    select
        asked._pit_key_1,
        asked._pit_at,
        cast(sum(cast(events._pit_input_1 as double)) filter (where events._pit_input_1 is not null) as double) as _pit_value_1,
        nullif(transform(slice(sort_array(collect_list(named_struct('rank', struct(events._pit_event, events._pit_created, events._pit_input_1), 'value', events._pit_input_1)) filter (where events._pit_input_1 is not null), false), 1, 3), one -> one.value), array()) as _pit_value_2,
        max(events._pit_event) as _pit_newest
    from asked
    inner join placed as events
        on
            asked._pit_key_1 = events._pit_key_1 and
            asked._pit_at div 864000000000 /* stretch: 10 days */ = events._pit_stretch and
            asked._pit_at < events._pit_event + 864000000000 /* window: 10 days */ and
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
        windowed._pit_value_1,
        windowed._pit_value_2,
        case
            when spine._pit_time is null or spine.`user_id` is null then 'NULL_KEY'
            when windowed._pit_newest is not null then 'PRESENT'
            when known._pit_available_at is null then 'NOT_FOUND'
            when _pit_available_at <= spine._pit_time - 1 then 'PRESENT'
            else 'NOT_YET_KNOWN'
        end as _pit_status
    from spine
    left join windowed
        on
            spine.`user_id` = windowed._pit_key_1 and
            spine._pit_time - 1 = windowed._pit_at
    left join known
        on spine.`user_id` = known._pit_key_1
)

select
    _pit_row,
    _pit_time - _pit_newest as _pit_age,
    coalesce(cast(_pit_value_1 as double), 0) as `total`,
    cast(_pit_value_2 as array<double>) as `some`,
    case
        when _pit_status = 'PRESENT' and _pit_value_1 is null and _pit_value_2 is null then 'NULL_VALUE'
        else _pit_status
    end as _pit_status
from valued
