with recomputed as (
    with _pit_spine as (
        select
            *,
            struct(`event_timestamp`, `user_id`) as _pit_row,
            case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end as _pit_time
        from "warehouse"."main"."login_labels"
    ),

    -- What the views are asked, once each.
    _pit_asked as (
        select
            *,
            struct(`event_timestamp`, `user_id`) as _pit_row,
            case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end as _pit_time
        from (select distinct `event_timestamp`, `user_id` from "warehouse"."main"."login_labels") as asked
    ),

    `user_activity` as (
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
                    coalesce(`is_deleted`, false) as _pit_deleted,
                    `user_id` as _pit_key_1,
                    case typeof(`loaded_at`) when 'timestamp' then unix_micros(cast(`loaded_at` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`loaded_at` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`loaded_at` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `loaded_at` is of type ' || typeof(`loaded_at`)) end as _pit_created,
                    case typeof(`event_timestamp`) when 'timestamp' then unix_micros(cast(`event_timestamp` as timestamp)) when 'timestamp_ntz' then cast(cast(cast(cast(`event_timestamp` as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second) as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast(`event_timestamp` as date)) * 86400000000 else raise_error('a time is of type timestamp, timestamp_ntz or date, and `event_timestamp` is of type ' || typeof(`event_timestamp`)) end as _pit_event
                from numbered
            ) as timed
            where
                _pit_event is not null and _pit_created is not null
                and _pit_event <= 9223372036854775807 /* never */ - 21600000000 /* lag: 6 hours */
        ),

        ordered as (
            select
                history.*,
                row_number() over (
                    partition by history._pit_key_1
                    order by
                        history._pit_event desc, history._pit_created desc,
                        content.`is_deleted` desc nulls last,
                        content.`login_count_30d` desc nulls last,
                        content.`session_duration_avg` desc nulls last,
                        (content.`session_duration_avg` = 0 and cast(content.`session_duration_avg` as string) = '-0.0'),
                        content.`event_timestamp` desc,
                        history._pit_row_id
                ) as _pit_order
            from history
            inner join numbered as content on history._pit_row_id = content._pit_row_id
        ),

        stacked as (
            select
                _pit_key_1,
                _pit_available_at as _pit_at,
                0 as _pit_side,
                _pit_order,
                null as _pit_row
            from ordered
            union all
            select
                spine.`user_id`,
                _pit_time,
                1,
                null,
                _pit_row
            from _pit_asked as spine
            where _pit_time is not null and spine.`user_id` is not null
        ),

        filled as (
            select
                _pit_row,
                _pit_key_1,
                min(_pit_order) over (
                    partition by _pit_key_1
                    order by _pit_at, _pit_side
                    rows between unbounded preceding and current row
                ) as _pit_order
            from stacked
        ),

        matched as (
            select
                spine._pit_row,
                spine._pit_time,
                spine.`user_id` as _pit_key_1,
                ordered._pit_row_id,
                ordered._pit_event,
                ordered._pit_created,
                ordered._pit_deleted
            from _pit_asked as spine
            left join filled on spine._pit_row = filled._pit_row
            left join ordered
                on filled._pit_key_1 = ordered._pit_key_1 and filled._pit_order = ordered._pit_order
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
            coalesce(source.`login_count_30d`, cast('0' as bigint)) as `login_count_30d`,
            source.`session_duration_avg` as `session_duration_avg`,
            case
                when chosen._pit_status = 'PRESENT' and source.`login_count_30d` is null and source.`session_duration_avg` is null then 'NULL_VALUE'
                else chosen._pit_status
            end as _pit_status
        from chosen
        left join numbered as source on chosen._pit_row_id = source._pit_row_id
    )

    select
        _pit_spine.* except (_pit_row, _pit_time),
        `login_count_30d`,
        `session_duration_avg`
    from _pit_spine
    inner join `user_activity` on _pit_spine._pit_row = `user_activity`._pit_row
)

select 'stored, not recomputed' as side, surplus.* from (select * from "warehouse"."main"."login_training" except all select * from recomputed) as surplus
union all
select 'recomputed, not stored' as side, surplus.* from (select * from recomputed except all select * from "warehouse"."main"."login_training") as surplus
