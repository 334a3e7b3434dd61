with recursive timed as (
    select
        *,
        greatest(_pit_event, _pit_created) as _pit_available_at
    from (
        select
            *,
            "user_id" as _pit_key_1,
            case when typeof("loaded_at") = 'TIMESTAMPTZ_NS' then epoch_ns("loaded_at") // 1000 + (epoch_ns("loaded_at") % 1000 > 0)::int else epoch_us(cast("loaded_at" as timestamptz)) end as _pit_created,
            case when typeof("event_timestamp") = 'TIMESTAMPTZ_NS' then epoch_ns("event_timestamp") // 1000 + (epoch_ns("event_timestamp") % 1000 > 0)::int else epoch_us(cast("event_timestamp" as timestamptz)) end as _pit_event
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
        "session_duration_avg" + 0::float as _pit_input_1,
        row_number() over () as _pit_number, -- any numbers will do: they tell equal events apart
        _pit_available_at
    from timed
    where
        _pit_key_1 is not null
),

-- The instants asked, in the order of keys and times. All windows below are closed on the right, so a window that is closed
-- on the left is computed one microsecond earlier.
asked as (
    select
        row_number() over (order by _pit_key_1, _pit_at) as _pit_query,
        *
    from (
        select distinct
            spine."user_id" as _pit_key_1,
            _pit_time - 1 as _pit_at
        from spine
        union all
        -- No rows: keys get the type that they have beside those of events, which decides their order.
        select
            _pit_key_1,
            null
        from events
        where false
    ) as rows_asked
    where _pit_at is not null and _pit_key_1 is not null
),

classed as (
    select
        *,
        case when _pit_input_1_class < 99 then cast(cast(_pit_input_1 as double) / pow(2.0, 20 * ((_pit_input_1_class) - 50)) / pow(2.0, 20 * ((_pit_input_1_class) - 50)) * pow(2.0, 73) as hugeint) else 0 end as _pit_input_1_whole
    from (
        select
            *,
            case
                when not isfinite(_pit_input_1) then 99
                when _pit_input_1 = 0 then 50
                else 50 + cast(floor((log2(abs(cast(_pit_input_1 as double))) + 20) / 40) as integer)
            end as _pit_input_1_class
        from events
    ) as events
),

classes as (
    select
        coalesce(_pit_input_1[1], 0) as _pit_input_1_s,
        coalesce(_pit_input_1[2], 0) as _pit_input_1_t
    from (
        select
            list_reverse_sort(list(distinct _pit_input_1_class) filter (where _pit_input_1 <> 0 and isfinite(_pit_input_1))) as _pit_input_1
        from classed
    ) as found
),

measured as (
    select
        events.*,
        events._pit_available_at <> events._pit_event as _pit_late,
        case
            when isfinite(events._pit_input_1) then 1::hugeint
            when isnan(events._pit_input_1) then 2147483649::hugeint /* above 31 bits of all */
            when events._pit_input_1 = 'infinity' then 4611686018427387905::hugeint /* above 31 bits of NaN */
            when events._pit_input_1 = '-infinity' then 9903520314283042199192993793::hugeint /* above 31 bits of infinity */
        end as _pit_input_1_c,
        case when events._pit_input_1_class = classes._pit_input_1_s then events._pit_input_1_whole end as _pit_input_1_s,
        case when events._pit_input_1_class = classes._pit_input_1_t then events._pit_input_1_whole end as _pit_input_1_t
    from classed as events
    cross join classes
),

ordered as (
    select *
    from (
        select
            _pit_key_1,
            _pit_input_1_c,
            _pit_input_1_s,
            _pit_input_1_t,
            _pit_available_at
        from measured
        where not _pit_late
        union all
        select distinct
            _pit_key_1,
            null,
            null,
            null,
            -9223372036854775807 /* before all */
        from asked
    ) as events_and_begins
    order by _pit_key_1, _pit_available_at
),

-- Of events that became known at one instant the last has the sum.
-- DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
running as (
    select *
    from (
        select
            _pit_key_1,
            _pit_available_at,
            coalesce(sum(_pit_input_1_c) over (rows unbounded preceding), 0) as _pit_input_1_c,
            coalesce(sum(_pit_input_1_s) over (rows unbounded preceding), 0) as _pit_input_1_s,
            coalesce(sum(_pit_input_1_t) over (rows unbounded preceding), 0) as _pit_input_1_t,
            lead(_pit_key_1) over () is not distinct from _pit_key_1
            and lead(_pit_available_at) over () is not distinct from _pit_available_at as _pit_goes_on
        from ordered
    ) as summed
    where not _pit_goes_on
),

-- The instants asked, and for each window the instant at which it begins.
points as (
    select _pit_query, _pit_key_1, _pit_at, 0 as _pit_slot
    from asked
    union all
    select _pit_query, _pit_key_1, _pit_at - 864000000000 /* window: 10 days */, 1
    from asked
),

found as (
    select
        points._pit_query,
        points._pit_slot,
        running._pit_available_at,
        running._pit_input_1_c,
        running._pit_input_1_s,
        running._pit_input_1_t
    from points
    asof join running
        on
            points._pit_key_1 = running._pit_key_1 and
            _pit_available_at <= points._pit_at
),

sums as (
    select
        _pit_query,
        max(_pit_input_1_c) filter (where _pit_slot = 0) - max(_pit_input_1_c) filter (where _pit_slot = 1) as _pit_input_1_c_1,
        max(_pit_input_1_s) filter (where _pit_slot = 0) - max(_pit_input_1_s) filter (where _pit_slot = 1) as _pit_input_1_s_1,
        max(_pit_input_1_t) filter (where _pit_slot = 0) - max(_pit_input_1_t) filter (where _pit_slot = 1) as _pit_input_1_t_1,
        nullif(max(_pit_available_at) filter (where _pit_slot = 0), -9223372036854775807 /* before all */) as _pit_newest
    from found
    group by _pit_query
),

late_spans as (
    select
        *,
        1 as _pit_slot,
        measured._pit_event + 864000000000 /* window: 10 days */ as _pit_end
    from measured
    where _pit_late
),

late_begun as (
    -- DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
    select * exclude (_pit_asked)
    from (
        select
            *,
            count(case when _pit_asked = 1 then 1 end) over (rows unbounded preceding) as _pit_before
        from (
            select
                *,
                null as _pit_asked
            from late_spans
            union all by name
            select _pit_key_1, _pit_at as _pit_available_at, 1 as _pit_asked
            from asked
            order by _pit_key_1, _pit_available_at, _pit_asked nulls first
        ) as rows_and_asked
    ) as counted
    where _pit_asked is null
),

late_ranges as (
    select
        * exclude (_pit_before),
        _pit_before + 1 as _pit_first
    from (
        -- DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
        select * exclude (_pit_asked)
        from (
            select
                *,
                count(case when _pit_asked = 1 then 1 end) over (rows unbounded preceding) as _pit_last
            from (
                select
                    *,
                    null as _pit_asked
                from late_begun
                union all by name
                select _pit_key_1, _pit_at as _pit_end, 1 as _pit_asked
                from asked
                order by _pit_key_1, _pit_end, _pit_asked nulls first
            ) as rows_and_asked
        ) as counted
        where _pit_asked is null
    ) as placed
    where _pit_before < _pit_last
),

late_changes as (
    select
        _pit_query,
        coalesce(sum(_pit_input_1_c) filter (where _pit_begins and _pit_slot = 1), 0)
        - coalesce(sum(_pit_input_1_c) filter (where not _pit_begins and _pit_slot = 1), 0) as _pit_input_1_c_1,
        coalesce(sum(_pit_input_1_s) filter (where _pit_begins and _pit_slot = 1), 0)
        - coalesce(sum(_pit_input_1_s) filter (where not _pit_begins and _pit_slot = 1), 0) as _pit_input_1_s_1,
        coalesce(sum(_pit_input_1_t) filter (where _pit_begins and _pit_slot = 1), 0)
        - coalesce(sum(_pit_input_1_t) filter (where not _pit_begins and _pit_slot = 1), 0) as _pit_input_1_t_1
    from (
        select *, _pit_first as _pit_query, true as _pit_begins
        from late_ranges
        union all
        select *, _pit_last + 1, false
        from late_ranges
    ) as changes
    group by _pit_query
),

late_sums as (
    select
        asked._pit_query,
        coalesce(sum(late_changes._pit_input_1_c_1) over until_then, 0) as _pit_input_1_c_1,
        coalesce(sum(late_changes._pit_input_1_s_1) over until_then, 0) as _pit_input_1_s_1,
        coalesce(sum(late_changes._pit_input_1_t_1) over until_then, 0) as _pit_input_1_t_1
    from asked
    left join late_changes on asked._pit_query = late_changes._pit_query
    window until_then as (order by asked._pit_query rows unbounded preceding)
),

-- A slot is 100 times the number of an input and a window, and the class of the values.
residues_spans as (
    select
        _pit_key_1,
        100 + _pit_input_1_class as _pit_slot,
        _pit_input_1_whole as whole,
        _pit_available_at,
        measured._pit_event + 864000000000 /* window: 10 days */ as _pit_end
    from measured
    cross join classes
    where _pit_input_1_class not in (classes._pit_input_1_s, classes._pit_input_1_t, 99) and _pit_input_1 <> 0
),

residues_begun as (
    -- DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
    select * exclude (_pit_asked)
    from (
        select
            *,
            count(case when _pit_asked = 1 then 1 end) over (rows unbounded preceding) as _pit_before
        from (
            select
                *,
                null as _pit_asked
            from residues_spans
            union all by name
            select _pit_key_1, _pit_at as _pit_available_at, 1 as _pit_asked
            from asked
            order by _pit_key_1, _pit_available_at, _pit_asked nulls first
        ) as rows_and_asked
    ) as counted
    where _pit_asked is null
),

residues_ranges as (
    select
        * exclude (_pit_before),
        _pit_before + 1 as _pit_first
    from (
        -- DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
        select * exclude (_pit_asked)
        from (
            select
                *,
                count(case when _pit_asked = 1 then 1 end) over (rows unbounded preceding) as _pit_last
            from (
                select
                    *,
                    null as _pit_asked
                from residues_begun
                union all by name
                select _pit_key_1, _pit_at as _pit_end, 1 as _pit_asked
                from asked
                order by _pit_key_1, _pit_end, _pit_asked nulls first
            ) as rows_and_asked
        ) as counted
        where _pit_asked is null
    ) as placed
    where _pit_before < _pit_last
),

residues_changes as (
    select
        case when _pit_begins then _pit_first else _pit_last + 1 end as _pit_query,
        _pit_slot,
        sum(case when _pit_begins then whole else -(whole) end) as total
    from residues_ranges
    cross join (values (true), (false)) as edges(_pit_begins)
    group by case when _pit_begins then _pit_first else _pit_last + 1 end, _pit_slot
),

residues_sums as (
    select
        asked._pit_query,
        slots._pit_slot,
        sum(changes.total) over residues_until_then as total
    from asked
    cross join (select distinct _pit_slot from residues_changes) as slots
    left join residues_changes as changes on asked._pit_query = changes._pit_query and slots._pit_slot = changes._pit_slot
    window residues_until_then as (partition by slots._pit_slot order by asked._pit_query rows unbounded preceding)
),

residues as (
    select
        _pit_query,
        list({'class': _pit_slot % 100, 'total': total}) filter (where _pit_slot // 100 = 1) as _pit_input_1_1
    from residues_sums
    where total <> 0
    group by _pit_query
),

-- The two greatest classes of each sum, and all others as one float.
float_parts as (
    select
        _pit_query,
        case when _pit_all_1 is null then _pit_input_1_1_s_class else coalesce(_pit_all_1[1].class, 0) end as _pit_input_1_1_s_class,
        case when _pit_all_1 is null then _pit_input_1_1_t_class else coalesce(_pit_all_1[2].class, 0) end as _pit_input_1_1_t_class,
        case when _pit_all_1 is null then _pit_input_1_1_s else coalesce(_pit_all_1[1].total, 0) end as _pit_input_1_1_s_total,
        case when _pit_all_1 is null then _pit_input_1_1_t else coalesce(_pit_all_1[2].total, 0) end as _pit_input_1_1_t_total,
        coalesce(list_reduce(
            list_transform(list_reverse(_pit_all_1[3:]), lambda one: (
                cast(one.total as double)
                + case when abs((one.total - cast(cast(one.total as double) as hugeint))) < 9007199254740992 then cast((one.total - cast(cast(one.total as double) as hugeint)) as double) else cast((((one.total - cast(cast(one.total as double) as hugeint)) >> 24) | cast((one.total - cast(cast(one.total as double) as hugeint)) & 16777215 <> 0 as hugeint)) as double) * 16777216 end
            ) / pow(2.0, 73) * pow(2.0, 20 * (one.class - 50)) * pow(2.0, 20 * (one.class - 50))),
            lambda less, greater: less + greater,
            0::double
        ), 0) as _pit_input_1_1_others
    from (
        select
            *,
            case when _pit_input_1_1_residues is not null then
                list_reverse_sort(list_filter(_pit_input_1_1_residues || [{'class': _pit_input_1_1_s_class, 'total': _pit_input_1_1_s}, {'class': _pit_input_1_1_t_class, 'total': _pit_input_1_1_t}], lambda one: one.total <> 0))
            end as _pit_all_1
        from (
            select
                sums._pit_query,
                (sums._pit_input_1_s_1 + late_sums._pit_input_1_s_1) as _pit_input_1_1_s,
                classes._pit_input_1_s as _pit_input_1_1_s_class,
                (sums._pit_input_1_t_1 + late_sums._pit_input_1_t_1) as _pit_input_1_1_t,
                classes._pit_input_1_t as _pit_input_1_1_t_class,
                residues._pit_input_1_1 as _pit_input_1_1_residues
            from sums
            left join late_sums on sums._pit_query = late_sums._pit_query
            left join residues on sums._pit_query = residues._pit_query
            cross join classes
        ) as summed
    ) as listed
),

-- Classes are 40 powers of two apart.
float_wholes as (
    select
        _pit_query,
        case
            when _pit_input_1_1_s_class = _pit_input_1_1_t_class + 1 and abs((_pit_input_1_1_s_total + (_pit_input_1_1_t_total >> 40))) < 77371252455336267181195264 then (_pit_input_1_1_s_total + (_pit_input_1_1_t_total >> 40)) * 1099511627776 + (_pit_input_1_1_t_total & 1099511627775)
            when _pit_input_1_1_s_class = _pit_input_1_1_t_class + 1 then (_pit_input_1_1_s_total + (_pit_input_1_1_t_total >> 40)) | cast(_pit_input_1_1_t_total & 1099511627775 <> 0 as hugeint)
            else _pit_input_1_1_s_total
        end as _pit_input_1_1_whole,
        case when _pit_input_1_1_s_class = _pit_input_1_1_t_class + 1 and abs((_pit_input_1_1_s_total + (_pit_input_1_1_t_total >> 40))) < 77371252455336267181195264 then pow(2.0, 20 * (_pit_input_1_1_t_class - 50)) else pow(2.0, 20 * (_pit_input_1_1_s_class - 50)) end as _pit_input_1_1_unit,
        _pit_input_1_1_others + case when _pit_input_1_1_s_class = _pit_input_1_1_t_class + 1 then 0 else (
            cast(_pit_input_1_1_t_total as double)
            + case when abs((_pit_input_1_1_t_total - cast(cast(_pit_input_1_1_t_total as double) as hugeint))) < 9007199254740992 then cast((_pit_input_1_1_t_total - cast(cast(_pit_input_1_1_t_total as double) as hugeint)) as double) else cast((((_pit_input_1_1_t_total - cast(cast(_pit_input_1_1_t_total as double) as hugeint)) >> 24) | cast((_pit_input_1_1_t_total - cast(cast(_pit_input_1_1_t_total as double) as hugeint)) & 16777215 <> 0 as hugeint)) as double) * 16777216 end
        ) / pow(2.0, 73) * pow(2.0, 20 * (_pit_input_1_1_t_class - 50)) * pow(2.0, 20 * (_pit_input_1_1_t_class - 50)) end as _pit_input_1_1_others
    from float_parts
),

-- Where the greatest classes alone exceed the largest float, and others take that back, all are added in units of 2^64.
float_sums as (
    select
        _pit_query,
        case
            when isfinite((
            cast(_pit_input_1_1_whole as double)
            + case when abs((_pit_input_1_1_whole - cast(cast(_pit_input_1_1_whole as double) as hugeint))) < 9007199254740992 then cast((_pit_input_1_1_whole - cast(cast(_pit_input_1_1_whole as double) as hugeint)) as double) else cast((((_pit_input_1_1_whole - cast(cast(_pit_input_1_1_whole as double) as hugeint)) >> 24) | cast((_pit_input_1_1_whole - cast(cast(_pit_input_1_1_whole as double) as hugeint)) & 16777215 <> 0 as hugeint)) as double) * 16777216 end
        ) / pow(2.0, 73) * _pit_input_1_1_unit * _pit_input_1_1_unit) then (
            cast(_pit_input_1_1_whole as double)
            + case when abs((_pit_input_1_1_whole - cast(cast(_pit_input_1_1_whole as double) as hugeint))) < 9007199254740992 then cast((_pit_input_1_1_whole - cast(cast(_pit_input_1_1_whole as double) as hugeint)) as double) else cast((((_pit_input_1_1_whole - cast(cast(_pit_input_1_1_whole as double) as hugeint)) >> 24) | cast((_pit_input_1_1_whole - cast(cast(_pit_input_1_1_whole as double) as hugeint)) & 16777215 <> 0 as hugeint)) as double) * 16777216 end
        ) / pow(2.0, 73) * _pit_input_1_1_unit * _pit_input_1_1_unit + _pit_input_1_1_others
            else ((
            cast(_pit_input_1_1_whole as double)
            + case when abs((_pit_input_1_1_whole - cast(cast(_pit_input_1_1_whole as double) as hugeint))) < 9007199254740992 then cast((_pit_input_1_1_whole - cast(cast(_pit_input_1_1_whole as double) as hugeint)) as double) else cast((((_pit_input_1_1_whole - cast(cast(_pit_input_1_1_whole as double) as hugeint)) >> 24) | cast((_pit_input_1_1_whole - cast(cast(_pit_input_1_1_whole as double) as hugeint)) & 16777215 <> 0 as hugeint)) as double) * 16777216 end
        ) / pow(2.0, 73) * (_pit_input_1_1_unit * pow(2.0, -32)) * (_pit_input_1_1_unit * pow(2.0, -32)) + _pit_input_1_1_others * pow(2.0, -64)) * pow(2.0, 64)
        end as _pit_input_1_1
    from float_wholes
),

tiles_864000000000_spans as (
    select
        events._pit_key_1,
        case when events._pit_input_1 is not null then [row(events._pit_event, events._pit_created, events._pit_input_1, events._pit_number)] end as _pit_value_2,
        events._pit_event as _pit_newest,
        events._pit_available_at,
        events._pit_event + 864000000000 /* window: 10 days */ as _pit_end
    from events
),

tiles_864000000000_begun as (
    -- DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
    select * exclude (_pit_asked)
    from (
        select
            *,
            count(case when _pit_asked = 1 then 1 end) over (rows unbounded preceding) as _pit_before
        from (
            select
                *,
                null as _pit_asked
            from tiles_864000000000_spans
            union all by name
            select _pit_key_1, _pit_at as _pit_available_at, 1 as _pit_asked
            from asked
            order by _pit_key_1, _pit_available_at, _pit_asked nulls first
        ) as rows_and_asked
    ) as counted
    where _pit_asked is null
),

tiles_864000000000_ranges as (
    select
        * exclude (_pit_before),
        _pit_before + 1 as _pit_first
    from (
        -- DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
        select * exclude (_pit_asked)
        from (
            select
                *,
                count(case when _pit_asked = 1 then 1 end) over (rows unbounded preceding) as _pit_last
            from (
                select
                    *,
                    null as _pit_asked
                from tiles_864000000000_begun
                union all by name
                select _pit_key_1, _pit_at as _pit_end, 1 as _pit_asked
                from asked
                order by _pit_key_1, _pit_end, _pit_asked nulls first
            ) as rows_and_asked
        ) as counted
        where _pit_asked is null
    ) as placed
    where _pit_before < _pit_last
),

-- Many events count at the same instants.
tiles_864000000000_shared as (
    select
        _pit_first,
        _pit_last,
        list_reverse_sort(list_distinct(flatten(list(_pit_value_2))))[:3] as _pit_value_2,
        max(_pit_newest) as _pit_newest
    from tiles_864000000000_ranges
    group by _pit_first, _pit_last
),

tiles_864000000000_laid as (
    select
        _pit_level,
        _pit_start,
        list_reverse_sort(list_distinct(flatten(list(_pit_value_2))))[:3] as _pit_value_2,
        max(_pit_newest) as _pit_newest
    from (
        select
            *,
            case when _pit_begins then _pit_first else _pit_last + 1 - (1::bigint << _pit_level) end as _pit_start
        from (
            select
                *,
                cast(floor(log2(_pit_last - _pit_first + 1)) as integer) as _pit_level
            from tiles_864000000000_shared
        ) as levelled
        cross join (values (true), (false)) as edges(_pit_begins)
    ) as started
    group by _pit_level, _pit_start
),

tiles_864000000000_levels as (
    select *
    from tiles_864000000000_laid
    where _pit_level = (select max(_pit_level) from tiles_864000000000_laid)
    union all
    select
        _pit_level,
        _pit_start,
        list_reverse_sort(list_distinct(flatten(list(_pit_value_2))))[:3] as _pit_value_2,
        max(_pit_newest) as _pit_newest
    from (
        select _pit_level - 1 as _pit_level, _pit_start + _pit_half * (1::bigint << (_pit_level - 1)) as _pit_start, _pit_value_2, _pit_newest
        from tiles_864000000000_levels
        cross join (values (0), (1)) as halves(_pit_half)
        where _pit_level > 0
        union all
        select *
        from tiles_864000000000_laid
        where _pit_level = (select any_value(_pit_level) - 1 from tiles_864000000000_levels)
    ) as handed_down
    group by _pit_level, _pit_start
),

tiles_864000000000 as (
    select
        _pit_start as _pit_query,
        nullif(list_transform(_pit_value_2, lambda x: x[3]), []) as _pit_value_2,
        _pit_newest
    from tiles_864000000000_levels
    where _pit_level = 0
),

windowed as (
    select
        asked._pit_query,
        case when ((sums._pit_input_1_c_1 + late_sums._pit_input_1_c_1) & 2147483647) > 0 then
            case
                when (sums._pit_input_1_c_1 + late_sums._pit_input_1_c_1) < 2147483648 then float_sums._pit_input_1_1
                -- Above 31 bits that count all, 31 bits each count NaN, infinity and -infinity.
                when ((sums._pit_input_1_c_1 + late_sums._pit_input_1_c_1) >> 31) % 2147483648 > 0 or (((sums._pit_input_1_c_1 + late_sums._pit_input_1_c_1) >> 62) % 2147483648 > 0 and (sums._pit_input_1_c_1 + late_sums._pit_input_1_c_1) >> 93 > 0) then 'nan'::double
                when ((sums._pit_input_1_c_1 + late_sums._pit_input_1_c_1) >> 62) % 2147483648 > 0 then 'infinity'::double
                else '-infinity'::double
            end
        end as _pit_value_1,
        tiles_864000000000._pit_value_2,
        tiles_864000000000._pit_newest
    from asked
    left join sums on asked._pit_query = sums._pit_query
    left join late_sums on asked._pit_query = late_sums._pit_query
    left join float_sums on asked._pit_query = float_sums._pit_query
    left join tiles_864000000000 on asked._pit_query = tiles_864000000000._pit_query
),

-- The instant from which a key has events, where no event was found.
known as (
    select
        _pit_key_1,
        min(_pit_available_at) as _pit_available_at
    from events
    semi join (
        select asked.*
        from asked
        left join windowed on asked._pit_query = windowed._pit_query
        where windowed._pit_newest is null
    ) as without using (_pit_key_1)
    group by _pit_key_1
),

valued as (
    select
        spine._pit_row,
        spine._pit_time,
        windowed._pit_newest,
        windowed._pit_value_1,
        windowed._pit_value_2,
        case
            when spine._pit_time is null or spine."user_id" is null then 'NULL_KEY'
            when windowed._pit_newest is not null then 'PRESENT'
            when known._pit_available_at is null then 'NOT_FOUND'
            when _pit_available_at <= spine._pit_time - 1 then 'PRESENT'
            else 'NOT_YET_KNOWN'
        end as _pit_status
    from spine
    left join asked
        on
            spine."user_id" = asked._pit_key_1 and
            spine._pit_time - 1 = asked._pit_at
    left join windowed on asked._pit_query = windowed._pit_query
    left join known
        on spine."user_id" = known._pit_key_1
)

select
    _pit_row,
    _pit_time - _pit_newest as _pit_age,
    coalesce(cast(_pit_value_1 as double), 0) as "total",
    cast(_pit_value_2 as double[]) as "some",
    case
        when _pit_status = 'PRESENT' and _pit_value_1 is null and _pit_value_2 is null then 'NULL_VALUE'
        else _pit_status
    end as _pit_status
from valued
