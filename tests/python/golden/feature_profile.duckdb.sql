with snapshot as materialized (
    select
        coalesce(case when typeof("event_timestamp") = 'TIMESTAMPTZ_NS' then epoch_ns("event_timestamp") // 1000 + (epoch_ns("event_timestamp") % 1000 > 0)::int else epoch_us(cast("event_timestamp" as timestamptz)) end >= 1774051200000000 /* 2026-03-21 00:00:00 UTC */ - 2592000000000 /* ttl: 30 days */, true) as _pit_found,
        cast("login_count_30d" as double) as "login_count_30d",
        cast("session_duration_avg" as double) as "session_duration_avg"
    from (
        with history as (
            select
                *,
                greatest(_pit_event + 21600000000 /* lag: 6 hours */, _pit_created) as _pit_available_at
            from (
                select
                    rowid as _pit_row_id,
                    "user_id" as _pit_key_1,
                    case when typeof("loaded_at") = 'TIMESTAMPTZ_NS' then epoch_ns("loaded_at") // 1000 + (epoch_ns("loaded_at") % 1000 > 0)::int else epoch_us(cast("loaded_at" as timestamptz)) end as _pit_created,
                    case when typeof("event_timestamp") = 'TIMESTAMPTZ_NS' then epoch_ns("event_timestamp") // 1000 + (epoch_ns("event_timestamp") % 1000 > 0)::int else epoch_us(cast("event_timestamp" as timestamptz)) end as _pit_event
                from "warehouse"."main"."user_activity"
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
                        content."is_deleted" desc nulls last,
                        content."login_count_30d" desc nulls last,
                        content."session_duration_avg" desc nulls last,
                        signbit(content."session_duration_avg"),
                        content."event_timestamp" desc
                ) as _pit_rank
            from newest
            inner join "warehouse"."main"."user_activity" as content on newest._pit_row_id = content.rowid
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
            "user_id",
            "event_timestamp",
            "login_count_30d",
            "session_duration_avg"
        from "warehouse"."main"."user_activity"
        where
            rowid in (select _pit_row_id from winners)
            and not coalesce("is_deleted", false)
    ) as snapshot
),

ends as materialized (
    select
        described.*,
        entities.entities
    from (
        select unnest([
            {'feature': 'login_count_30d', 'kind': 'number', 'least': q0[1], 'mean': m0, 'edges': coalesce(list_sort(list_filter(list_distinct(flatten(list_transform(q0[2:], lambda value, i: case
                when value = q0[2:][i + 1] or (i > 1 and value = q0[2:][i - 1]) then [value - abs(value) * 2.3e-16 - 1e-300, value]
                else [value]
            end))), lambda edge: isfinite(edge))), []), 'categories': cast(null as varchar[])},
            {'feature': 'session_duration_avg', 'kind': 'number', 'least': q1[1], 'mean': m1, 'edges': coalesce(list_sort(list_filter(list_distinct(flatten(list_transform(q1[2:], lambda value, i: case
                when value = q1[2:][i + 1] or (i > 1 and value = q1[2:][i - 1]) then [value - abs(value) * 2.3e-16 - 1e-300, value]
                else [value]
            end))), lambda edge: isfinite(edge))), []), 'categories': cast(null as varchar[])}
        ], max_depth := 2)
        from (
            select
                quantile_disc(case when (_pit_found) and isfinite("login_count_30d") then "login_count_30d" end, [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17, 0.18, 0.19, 0.2, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26, 0.27, 0.28, 0.29, 0.3, 0.31, 0.32, 0.33, 0.34, 0.35, 0.36, 0.37, 0.38, 0.39, 0.4, 0.41, 0.42, 0.43, 0.44, 0.45, 0.46, 0.47, 0.48, 0.49, 0.5, 0.51, 0.52, 0.53, 0.54, 0.55, 0.56, 0.57, 0.58, 0.59, 0.6, 0.61, 0.62, 0.63, 0.64, 0.65, 0.66, 0.67, 0.68, 0.69, 0.7, 0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77, 0.78, 0.79, 0.8, 0.81, 0.82, 0.83, 0.84, 0.85, 0.86, 0.87, 0.88, 0.89, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0]) as q0,
                avg(case when (_pit_found) and isfinite("login_count_30d") then "login_count_30d" end) as m0,
                quantile_disc(case when (_pit_found) and isfinite("session_duration_avg") then "session_duration_avg" end, [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17, 0.18, 0.19, 0.2, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26, 0.27, 0.28, 0.29, 0.3, 0.31, 0.32, 0.33, 0.34, 0.35, 0.36, 0.37, 0.38, 0.39, 0.4, 0.41, 0.42, 0.43, 0.44, 0.45, 0.46, 0.47, 0.48, 0.49, 0.5, 0.51, 0.52, 0.53, 0.54, 0.55, 0.56, 0.57, 0.58, 0.59, 0.6, 0.61, 0.62, 0.63, 0.64, 0.65, 0.66, 0.67, 0.68, 0.69, 0.7, 0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77, 0.78, 0.79, 0.8, 0.81, 0.82, 0.83, 0.84, 0.85, 0.86, 0.87, 0.88, 0.89, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0]) as q1,
                avg(case when (_pit_found) and isfinite("session_duration_avg") then "session_duration_avg" end) as m1,
                count(*) as _pit_rows
            from snapshot
        ) as measured
    ) as described
    cross join (select count(*) as entities from snapshot) as entities
)

select *
from (
    with grouped as materialized (
        select
            _pit_group,
            unnest(_pit_features, max_depth := 2)
        from (
            select
                0 as _pit_group,
                [
                    {'feature': 'login_count_30d', 'counts': list_concat(
                        list_resize(coalesce(map_values(histogram(case when (_pit_found) and not isnan("login_count_30d") then "login_count_30d" end, coalesce((select edges from ends where feature = 'login_count_30d'), []))), []), len(coalesce((select edges from ends where feature = 'login_count_30d'), [])) + 1, 0),
                        [coalesce(sum(case when _pit_found then cast(isnan("login_count_30d") as integer) end), 0), count(*) filter (where (_pit_found) and "login_count_30d" is null), count(*) filter (where not (_pit_found))]
                    )},
                    {'feature': 'session_duration_avg', 'counts': list_concat(
                        list_resize(coalesce(map_values(histogram(case when (_pit_found) and not isnan("session_duration_avg") then "session_duration_avg" end, coalesce((select edges from ends where feature = 'session_duration_avg'), []))), []), len(coalesce((select edges from ends where feature = 'session_duration_avg'), [])) + 1, 0),
                        [coalesce(sum(case when _pit_found then cast(isnan("session_duration_avg") as integer) end), 0), count(*) filter (where (_pit_found) and "session_duration_avg" is null), count(*) filter (where not (_pit_found))]
                    )}
                ] as _pit_features
            from snapshot
            group by _pit_group
        ) as counted
    ),

    bins as materialized (
        select
            feature,
            _pit_group,
            unnest(counts) as rows,
            generate_subscripts(counts, 1) as bin
        from grouped
    ),

    counted as (
        select
            described.*,
            case when entities >= 2000 then 20 else 10 end as bins,
            fine.counts
        from ends as described
        inner join (
            select feature, list(cast(rows as bigint) order by bin) as counts
            from (select feature, bin, sum(rows) as rows from bins group by feature, bin) as summed
            group by feature
        ) as fine on described.feature = fine.feature
    ),

    coarse as materialized (
        select
            feature,
            bin,
            case
                when bin > length then 1000 + bin - length
                when kind = 'text' and bin = length then 999
                when kind = 'text' then case when rows >= greatest(values / 100, 5) then bin else 999 end
                else least(bins - 1, cast(floor(bins * (before + rows / 2) / greatest(values, 1)) as bigint))
            end as coarse
        from (
            select
                feature,
                kind,
                bins,
                rows,
                bin,
                length,
                sum(case when bin <= length then rows else 0 end) over (partition by feature) as values,
                coalesce(sum(rows) over (partition by feature order by bin rows between unbounded preceding and 1 preceding), 0) as before
            from (
                select feature, kind, bins, unnest(counts) as rows, generate_subscripts(counts, 1) as bin, len(counts) - 3 as length
                from counted
            ) as counts
        ) as placed
    ),

    kept as materialized (
        select counts.feature, _pit_group, coarse, sum(rows) as rows
        from bins as counts
        inner join coarse on counts.feature = coarse.feature and counts.bin = coarse.bin
        group by counts.feature, _pit_group, coarse
    ),

    shares as materialized (
        select feature, coarse, sum(rows) as rows, sum(sum(rows)) over (partition by feature) as total
        from kept
        group by feature, coarse
        having sum(rows) > 0
    ),

    noise as (
        select
            feature,
            cast(null as double) as groups,
            (count(*) - 1) / any_value(total) as noise,
            (count(*) - 1) / power(any_value(total), 2) as squares
        from shares
        group by feature
    )

    select
        counted.feature,
        kind,
        cast(list_sum(counts) as bigint) as rows,
        counts[-2] as nulls,
        counts[-1] as missing,
        counts[-3] as nans,
        least,
        mean,
        edges,
        categories,
        counts,
        cast(entities as bigint) as entities,
        bins,
        noise.groups,
        noise.noise,
        noise.squares
    from counted
    left join noise on counted.feature = noise.feature
    order by counted.feature
) as profiles
