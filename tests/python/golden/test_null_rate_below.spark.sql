with snapshot as (
    select
        coalesce(case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end >= 1774051200000000 /* 2026-03-21 00:00:00 UTC */ - 2592000000000 /* ttl: 30 days */, true) as _pit_found,
        cast(`login_count_30d` as double) as `login_count_30d`,
        cast(`session_duration_avg` as double) as `session_duration_avg`
    from (
        with numbered as (
            select
                source.*,
                struct(
                    source.`user_id`, 0,
                    row_number() over (
                        partition by source.`user_id`, 0
                        order by
                            source.`loaded_at`,
                            source.`is_deleted` desc nulls last,
                            source.`login_count_30d` desc nulls last,
                            source.`session_duration_avg` desc nulls last,
                            (source.`session_duration_avg` = 0 and cast(source.`session_duration_avg` as string) = '-0.0'),
                            source.`event_timestamp` desc
                    )
                ) as _pit_row_id
            from "warehouse"."main"."user_activity" as source
        ),

        history as (
            select
                *,
                greatest(_pit_event + 21600000000 /* lag: 6 hours */, _pit_created) as _pit_available_at
            from (
                select
                    _pit_row_id,
                    `user_id` as _pit_key_1,
                    case typeof(`loaded_at`) when 'timestamp' then unix_micros(cast(`loaded_at` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`loaded_at` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`loaded_at` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `loaded_at` is of type ' || typeof(`loaded_at`)) end as _pit_created,
                    case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end as _pit_event
                from numbered
            ) as timed
            where
                _pit_event is not null and _pit_created is not null
                and _pit_event <= 9223372036854775807 /* never */ - 21600000000 /* lag: 6 hours */
        ),

        -- Rows of one version share a rank.
        ranked as (
            select
                _pit_key_1,
                _pit_row_id,
                rank() over (partition by _pit_key_1 order by _pit_event desc, _pit_created desc) as _pit_rank
            from history
            where
                _pit_key_1 is not null
                and _pit_available_at <= 1774051200000000 /* 2026-03-21 00:00:00 UTC */
        ),

        newest as (
            select
                _pit_key_1,
                _pit_row_id,
                count(*) over (partition by _pit_key_1) as _pit_ties
            from ranked
            where _pit_rank = 1
        ),

        -- Rows equal in (keys, event time, created): the greatest by content wins.
        decided as (
            select
                newest._pit_row_id,
                row_number() over (
                    partition by newest._pit_key_1
                    order by
                        content.`is_deleted` desc nulls last,
                        content.`login_count_30d` desc nulls last,
                        content.`session_duration_avg` desc nulls last,
                        (content.`session_duration_avg` = 0 and cast(content.`session_duration_avg` as string) = '-0.0'),
                        content.`event_timestamp` desc
                ) as _pit_rank
            from newest
            inner join numbered as content on newest._pit_row_id = content._pit_row_id
            where newest._pit_ties > 1
        ),

        winners as (
            select _pit_row_id
            from newest
            where _pit_ties = 1
            union all
            select _pit_row_id
            from decided
            where _pit_rank = 1
        )

        select
            `user_id`,
            `event_timestamp`,
            `login_count_30d`,
            `session_duration_avg`
        from numbered
        where
            _pit_row_id in (select _pit_row_id from winners)
            and not coalesce(`is_deleted`, false)
    ) as snapshot
),

features as (
    select 'login_count_30d' as feature, count(*) as rows, count(*) filter (where `login_count_30d` is null and _pit_found) as nulls from snapshot union all
    select 'session_duration_avg' as feature, count(*) as rows, count(*) filter (where `session_duration_avg` is null and _pit_found) as nulls from snapshot
)

select
    feature,
    rows,
    nulls
from features
where rows = 0 or nulls >= 0.6 * rows
