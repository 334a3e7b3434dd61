with _pit_spine as (
    select
        *,
        struct(`event_timestamp`, `user_id`, `referred_by`) as _pit_row,
        case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end - 86400000000 /* gap: 1 day */ as _pit_time
    from "warehouse"."main"."login_labels"
),

-- What the views are asked, once each.
_pit_asked as (
    select
        *,
        struct(`event_timestamp`, `user_id`, `referred_by`) as _pit_row,
        case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end - 86400000000 /* gap: 1 day */ as _pit_time
    from (select distinct `event_timestamp`, `user_id`, `referred_by` from "warehouse"."main"."login_labels") as asked
),

`user_activity` as (
    with history as (
        select
            *,
            greatest(_pit_event + 21600000000 /* lag: 6 hours */, _pit_created) as _pit_available_at
        from (
            select
                true as _pit_row_id,
                coalesce(`is_deleted`, false) as _pit_deleted,
                `event_timestamp` as _pit_event_timestamp,
                struct(`is_deleted` as c1, `login_count_30d` as c2, `session_duration_avg` as c3, not (`session_duration_avg` = 0 and cast(`session_duration_avg` as string) = '-0.0') as c4) as _pit_content,
                `user_id` as _pit_key_1,
                case typeof(`loaded_at`) when 'timestamp' then unix_micros(cast(`loaded_at` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`loaded_at` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`loaded_at` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `loaded_at` is of type ' || typeof(`loaded_at`)) end as _pit_created,
                case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end as _pit_event
            from "warehouse"."main"."user_activity"
        ) as timed
        where
            _pit_event is not null and _pit_created is not null
            and _pit_event <= 9223372036854775807 /* never */ - 21600000000 /* lag: 6 hours */
    ),

    stacked as (
        select
            _pit_key_1,
            _pit_available_at as _pit_at,
            0 as _pit_side,
            struct(_pit_event, _pit_created, _pit_content, _pit_deleted, _pit_event_timestamp) as _pit_known,
            null as _pit_row,
            null as _pit_time
        from history
        where _pit_key_1 is not null
        union all
        select
            spine.`user_id`,
            _pit_time,
            1,
            null,
            _pit_row,
            _pit_time
        from _pit_asked as spine
        where _pit_time is not null and spine.`user_id` is not null
    ),

    filled as (
        select
            _pit_row,
            _pit_time,
            _pit_key_1,
            min(_pit_side) over whole_key = 0 as _pit_later,
            max(_pit_known) over so_far as _pit_won
        from stacked
        window
            -- Of the same order, so that Spark goes through the rows once.
            whole_key as (
                partition by _pit_key_1
                order by _pit_at, _pit_side
                rows between unbounded preceding and unbounded following
            ),
            so_far as (
                partition by _pit_key_1
                order by _pit_at, _pit_side
                rows between unbounded preceding and current row
            )
    ),

    matched as (
        select
            _pit_row,
            _pit_time,
            _pit_key_1,
            case when _pit_won is not null then true end as _pit_row_id,
            _pit_won._pit_event,
            _pit_won._pit_created,
            _pit_won._pit_deleted,
            _pit_won._pit_event_timestamp,
            _pit_won._pit_content.c2 as _pit_value_1,
            _pit_won._pit_content.c3 as _pit_value_2,
            _pit_later
        from filled
        where _pit_row is not null
        union all
        -- Rows that ask for nothing, of which one task would have to do all.
        select
            _pit_row,
            _pit_time,
            spine.`user_id`,
            null,
            null,
            null,
            null,
            null,
            null,
            null,
            null
        from _pit_asked as spine
        where _pit_time is null or spine.`user_id` is null
    ),

    judged as (
        select
            matched._pit_row,
            matched._pit_row_id,
            matched._pit_time - matched._pit_event as _pit_age,
            matched._pit_event_timestamp,
            matched._pit_value_1,
            matched._pit_value_2,
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
            case when _pit_status in ('PRESENT', 'OUTSIDE_MAX_AGE') then _pit_event_timestamp end as _pit_event_timestamp,
            case when _pit_status = 'PRESENT' then _pit_value_1 end as _pit_value_1,
            case when _pit_status = 'PRESENT' then _pit_value_2 end as _pit_value_2,
            case when _pit_status = 'PRESENT' then _pit_row_id end as _pit_row_id
        from judged
    )

    select
        chosen._pit_row,
        chosen._pit_age,
        chosen._pit_event_timestamp as `user_activity__event_timestamp`,
        coalesce(chosen._pit_value_1, cast('0' as bigint)) as `login_count_30d`,
        chosen._pit_value_2 as `session_duration_avg`,
        case
            when chosen._pit_status = 'PRESENT' and chosen._pit_value_1 is null and chosen._pit_value_2 is null then 'NULL_VALUE'
            else chosen._pit_status
        end as `user_activity__status`
    from chosen
),

`referrer` as (
    with history as (
        select
            *,
            greatest(_pit_event + 21600000000 /* lag: 6 hours */, _pit_created) as _pit_available_at
        from (
            select
                true as _pit_row_id,
                coalesce(`is_deleted`, false) as _pit_deleted,
                `event_timestamp` as _pit_event_timestamp,
                struct(`is_deleted` as c1, `login_count_30d` as c2, `session_duration_avg` as c3, not (`session_duration_avg` = 0 and cast(`session_duration_avg` as string) = '-0.0') as c4) as _pit_content,
                `user_id` as _pit_key_1,
                case typeof(`loaded_at`) when 'timestamp' then unix_micros(cast(`loaded_at` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`loaded_at` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`loaded_at` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `loaded_at` is of type ' || typeof(`loaded_at`)) end as _pit_created,
                case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end as _pit_event
            from "warehouse"."main"."user_activity"
        ) as timed
        where
            _pit_event is not null and _pit_created is not null
            and _pit_event <= 9223372036854775807 /* never */ - 21600000000 /* lag: 6 hours */
    ),

    stacked as (
        select
            _pit_key_1,
            _pit_available_at as _pit_at,
            0 as _pit_side,
            struct(_pit_event, _pit_created, _pit_content, _pit_deleted, _pit_event_timestamp) as _pit_known,
            null as _pit_row,
            null as _pit_time
        from history
        where _pit_key_1 is not null
        union all
        select
            spine.`referred_by`,
            _pit_time,
            1,
            null,
            _pit_row,
            _pit_time
        from _pit_asked as spine
        where _pit_time is not null and spine.`referred_by` is not null
    ),

    filled as (
        select
            _pit_row,
            _pit_time,
            _pit_key_1,
            min(_pit_side) over whole_key = 0 as _pit_later,
            max(_pit_known) over so_far as _pit_won
        from stacked
        window
            -- Of the same order, so that Spark goes through the rows once.
            whole_key as (
                partition by _pit_key_1
                order by _pit_at, _pit_side
                rows between unbounded preceding and unbounded following
            ),
            so_far as (
                partition by _pit_key_1
                order by _pit_at, _pit_side
                rows between unbounded preceding and current row
            )
    ),

    matched as (
        select
            _pit_row,
            _pit_time,
            _pit_key_1,
            case when _pit_won is not null then true end as _pit_row_id,
            _pit_won._pit_event,
            _pit_won._pit_created,
            _pit_won._pit_deleted,
            _pit_won._pit_event_timestamp,
            _pit_won._pit_content.c2 as _pit_value_1,
            _pit_later
        from filled
        where _pit_row is not null
        union all
        -- Rows that ask for nothing, of which one task would have to do all.
        select
            _pit_row,
            _pit_time,
            spine.`referred_by`,
            null,
            null,
            null,
            null,
            null,
            null,
            null
        from _pit_asked as spine
        where _pit_time is null or spine.`referred_by` is null
    ),

    judged as (
        select
            matched._pit_row,
            matched._pit_row_id,
            matched._pit_time - matched._pit_event as _pit_age,
            matched._pit_event_timestamp,
            matched._pit_value_1,
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
            case when _pit_status in ('PRESENT', 'OUTSIDE_MAX_AGE') then _pit_event_timestamp end as _pit_event_timestamp,
            case when _pit_status = 'PRESENT' then _pit_value_1 end as _pit_value_1,
            case when _pit_status = 'PRESENT' then _pit_row_id end as _pit_row_id
        from judged
    )

    select
        chosen._pit_row,
        chosen._pit_age,
        chosen._pit_event_timestamp as `referrer__event_timestamp`,
        coalesce(chosen._pit_value_1, cast('0' as bigint)) as `referrer__login_count_30d`,
        case
            when chosen._pit_status = 'PRESENT' and chosen._pit_value_1 is null then 'NULL_VALUE'
            else chosen._pit_status
        end as `referrer__status`
    from chosen
)

select
    _pit_spine.* except (_pit_row, _pit_time),
    `login_count_30d`,
    `session_duration_avg`,
    `referrer__login_count_30d`,
    `user_activity__event_timestamp`,
    `user_activity__status`,
    `referrer__event_timestamp`,
    `referrer__status`
from _pit_spine
inner join `user_activity` on _pit_spine._pit_row = `user_activity`._pit_row
inner join `referrer` on _pit_spine._pit_row = `referrer`._pit_row
