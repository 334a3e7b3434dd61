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
)

select *
from (
    with base as materialized (
        select *
        from user_activity_then
    ),

    grouped as materialized (
        select
            _pit_group,
            unnest(_pit_features, max_depth := 2)
        from (
            select
                0 as _pit_group,
                [
                    {'feature': 'login_count_30d', 'counts': list_concat(
                        list_resize(coalesce(map_values(histogram(case when (_pit_found) and not isnan("login_count_30d") then "login_count_30d" end, coalesce((select edges from base where feature = 'login_count_30d'), []))), []), len(coalesce((select edges from base where feature = 'login_count_30d'), [])) + 1, 0),
                        [coalesce(sum(case when _pit_found then cast(isnan("login_count_30d") as integer) end), 0), count(*) filter (where (_pit_found) and "login_count_30d" is null), count(*) filter (where not (_pit_found))]
                    )},
                    {'feature': 'session_duration_avg', 'counts': list_concat(
                        list_resize(coalesce(map_values(histogram(case when (_pit_found) and not isnan("session_duration_avg") then "session_duration_avg" end, coalesce((select edges from base where feature = 'session_duration_avg'), []))), []), len(coalesce((select edges from base where feature = 'session_duration_avg'), [])) + 1, 0),
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
                from base
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
    ),

    fine as (
        select
            old.feature,
            old.bin,
            old.rows as old_rows,
            coalesce(new.rows, 0) as new_rows
        from (select feature, unnest(counts) as rows, generate_subscripts(counts, 1) as bin from base) as old
        left join (select feature, bin, sum(rows) as rows from bins group by feature, bin) as new
            on old.feature = new.feature and old.bin = new.bin
    ),

    together as (
        select
            fine.feature,
            coarse,
            sum(old_rows) as old_rows,
            sum(new_rows) as new_rows,
            sum(sum(old_rows)) over (partition by fine.feature) as old_all,
            sum(sum(new_rows)) over (partition by fine.feature) as new_all,
            max(fine.bin) as last_bin
        from fine
        inner join coarse on fine.feature = coarse.feature and fine.bin = coarse.bin
        group by fine.feature, coarse
        having sum(old_rows) > 0 or sum(new_rows) > 0
    ),

    shared as (
        select
            *,
            old_rows / old_all as p,
            new_rows / new_all as q,
            greatest(old_rows, 0.5) / old_all as p0,
            greatest(new_rows, 0.5) / new_all as q0
        from together
    ),

    distances as (
        select
            shared.feature,
            any_value(old_all) as old_rows,
            any_value(new_all) as new_rows,
            coalesce(sum(new_rows) filter (where coarse = 1002), 0) as nulls,
            coalesce(sum(new_rows) filter (where coarse = 1003), 0) as missing,
            sum((q0 - p0) * ln(q0 / p0)) as psi,
            sqrt(greatest(0, sum(case when p > 0 then p * log2(2 * p / (p + q)) else 0 end + case when q > 0 then q * log2(2 * q / (p + q)) else 0 end) / 2)) as js,
            sum(2 * power(p - q, 2) / (p + q)) as apart,
            count(*) - 1 as freedom,
            list(p order by coarse) as baseline,
            list(q order by coarse) as current,
            list(case when coarse < 999 and base.kind = 'number' then coalesce(base.edges[last_bin], 'infinity') end order by coarse) as uppers,
            list(case coarse when 999 then 'other' when 1001 then 'NaN' when 1002 then 'null' when 1003 then 'missing' else base.categories[coarse] end order by coarse) as labels
        from shared
        inner join base on shared.feature = base.feature
        group by shared.feature
    ),

    -- Only values: nulls and what was not found have no place in the order.
    ks as (
        select
            feature,
            max(abs(sum_old - sum_new)) as ks,
            max(case when alone then 0 else greatest(p, q) end) as ks_error
        from (
            select
                fine.feature,
                old_rows / nullif(sum(old_rows) over whole, 0) as p,
                new_rows / nullif(sum(new_rows) over whole, 0) as q,
                sum(old_rows) over upto / nullif(sum(old_rows) over whole, 0) as sum_old,
                sum(new_rows) over upto / nullif(sum(new_rows) over whole, 0) as sum_new,
                coalesce(base.edges[fine.bin] - base.edges[fine.bin - 1] <= abs(base.edges[fine.bin]) * 1e-15 + 1e-299, false) as alone
            from fine
            inner join base on fine.feature = base.feature
            where base.kind = 'number' and fine.bin <= len(base.counts) - 3
            window
                whole as (partition by fine.feature),
                upto as (partition by fine.feature order by fine.bin)
        ) as sums
        group by feature
    )

    select
        asked.feature,
        base.kind,
        distances.old_rows as baseline_rows,
        coalesce(distances.new_rows, 0) as rows,
        base.counts[-2] as baseline_nulls,
        base.counts[-1] as baseline_missing,
        cast(distances.nulls as bigint) as nulls,
        cast(distances.missing as bigint) as missing,
        distances.psi,
        distances.js,
        ks.ks,
        ks.ks_error,
        (
            select ((1 - 2 / (9 * other)) * power(ratio, 1 / 3) - (1 - 2 / (9 * freedom))) / sqrt(2 / (9 * other) * power(ratio, 2 / 3) + 2 / (9 * freedom))
            from (
                select
                    freedom,
                    ratio,
                    freedom * (least(coalesce(base.groups, 1000000), coalesce(noise.groups, 1000000)) - 1) as other
                from (
                    select
                        greatest(1, least(distances.freedom, power(base.noise + noise.noise, 2) / nullif(power(sqrt(base.squares) + sqrt(noise.squares), 2), 0))) as freedom,
                        distances.apart / greatest(base.noise + noise.noise, greatest(distances.freedom, 1) * (1 / distances.old_rows + 1 / distances.new_rows)) as ratio
                ) as noisy
            ) as tested
            where base.noise is not null and noise.noise is not null
        ) as noise,
        distances.baseline,
        distances.current,
        distances.uppers,
        distances.labels
    from (select unnest(['login_count_30d', 'session_duration_avg']) as feature) as asked
    left join base on asked.feature = base.feature
    left join distances on asked.feature = distances.feature
    left join ks on asked.feature = ks.feature
    left join noise on asked.feature = noise.feature
    order by asked.feature
) as drifts
