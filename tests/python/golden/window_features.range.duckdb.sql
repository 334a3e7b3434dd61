with timed as (
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
    ) as rows_asked
    where _pit_at is not null and _pit_key_1 is not null
),

classed as (
    select
        *,
        case
            when _pit_input_1_class < 99 then cast(cast(_pit_input_1 as double) / pow(2.0, 20 * ((_pit_input_1_class) - 50)) / pow(2.0, 20 * ((_pit_input_1_class) - 50)) * pow(2.0, 73) as hugeint)
            else 0
        end as _pit_input_1_whole
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
        pow(2.0, 20 * (coalesce(_pit_input_1[1], 0) - 50)) as _pit_input_1_s_unit,
        coalesce(_pit_input_1[2], 0) as _pit_input_1_t,
        pow(2.0, 20 * (coalesce(_pit_input_1[2], 0) - 50)) as _pit_input_1_t_unit
    from (
        select
            list_reverse_sort(list(distinct _pit_input_1_class) filter (where _pit_input_1 <> 0 and isfinite(_pit_input_1))) as _pit_input_1
        from classed
    ) as found
),

measured as (
    select
        events.*,
        case when events._pit_input_1 is not null then 1 end as _pit_input_1_n,
        case when events._pit_input_1_class = classes._pit_input_1_s then events._pit_input_1_whole end as _pit_input_1_s,
        case when events._pit_input_1_class = classes._pit_input_1_t then events._pit_input_1_whole end as _pit_input_1_t,
        case
            when isnan(events._pit_input_1) then 1::hugeint
            when events._pit_input_1 = 'infinity' then 4398046511104::hugeint /* above 42 bits of NaN */
            when events._pit_input_1 = '-infinity' then 19342813113834066795298816::hugeint /* above 42 bits of infinity */
        end as _pit_input_1_odd
    from classed as events
    cross join classes
),

placed as (
    select
        *,
        _pit_available_at // 864000000000 /* stretch: 10 days */ + _pit_step as _pit_stretch
    from measured
    cross join (values (0), (1)) as steps(_pit_step)
    where (_pit_event + 863999999999) // 864000000000 >= _pit_available_at // 864000000000 + _pit_step
),

sums as (
    select
        asked._pit_query,
        arg_max(events._pit_input_1, row(events._pit_event, events._pit_created, events._pit_input_1), 3) filter (where events._pit_input_1 is not null) as _pit_value_2,
        coalesce(sum(events._pit_input_1_n), 0) as _pit_input_1_n_1,
        coalesce(sum(events._pit_input_1_s), 0) as _pit_input_1_s_1,
        coalesce(sum(events._pit_input_1_t), 0) as _pit_input_1_t_1,
        coalesce(sum(events._pit_input_1_odd), 0) as _pit_input_1_odd_1,
        max(events._pit_event) as _pit_newest
    from asked
    inner join placed as events
        on
            asked._pit_key_1 = events._pit_key_1 and
            asked._pit_at // 864000000000 /* stretch: 10 days */ = events._pit_stretch and
            asked._pit_at < events._pit_event + 864000000000 /* window: 10 days */ and
            _pit_available_at <= asked._pit_at
    group by asked._pit_query
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

residues_placed as (
    select
        *,
        _pit_available_at // 864000000000 /* stretch: 10 days */ + _pit_step as _pit_stretch
    from residues_spans
    cross join (values (0), (1)) as steps(_pit_step)
    where (_pit_end - 1) // 864000000000 >= _pit_available_at // 864000000000 + _pit_step
),

residues_sums as (
    select
        asked._pit_query,
        spans._pit_slot,
        sum(whole) as total
    from asked
    inner join residues_placed as spans
        on
            asked._pit_key_1 = spans._pit_key_1 and
            asked._pit_at // 864000000000 /* stretch: 10 days */ = spans._pit_stretch and
            asked._pit_at < spans._pit_end and
            _pit_available_at <= asked._pit_at
    group by asked._pit_query, spans._pit_slot
),

-- Classes are added from the smallest to the greatest, so that it does not matter which of them are here.
residues_added as (
    select
        _pit_query,
        _pit_slot // 100 as _pit_item,
        list_reduce(
            list_sort(list({
                'class': _pit_slot % 100,
                'near': cast(total as double) / pow(2.0, 73) * pow(2.0, 20 * ((_pit_slot % 100) - 50)) * pow(2.0, 20 * ((_pit_slot % 100) - 50)),
                'lacking': cast(total - cast(cast(total as double) as hugeint) as double) / pow(2.0, 73) * pow(2.0, 20 * ((_pit_slot % 100) - 50)) * pow(2.0, 20 * ((_pit_slot % 100) - 50))
            })),
            lambda one, other: {'class': other.class, 'near': other.near + one.near, 'lacking': other.lacking + one.lacking}
        ) as total
    from residues_sums
    where total is not null
    group by _pit_query, _pit_slot // 100
),

residues as (
    select
        _pit_query,
        any_value(total) filter (where _pit_item = 1) as _pit_input_1_1
    from residues_added
    group by _pit_query
),

windowed as (
    select
        sums._pit_query,
        case when sums._pit_input_1_n_1 > 0 then
            case
                when sums._pit_input_1_odd_1 = 0 then (
                    case
                        when isfinite(cast(sums._pit_input_1_s_1 as double) / pow(2.0, 73) * (classes._pit_input_1_s_unit) * (classes._pit_input_1_s_unit) + (cast(sums._pit_input_1_t_1 as double) / pow(2.0, 73) * (classes._pit_input_1_t_unit) * (classes._pit_input_1_t_unit) + coalesce(residues._pit_input_1_1.near, 0)) + (cast(sums._pit_input_1_s_1 - cast(cast(sums._pit_input_1_s_1 as double) as hugeint) as double) / pow(2.0, 73) * (classes._pit_input_1_s_unit) * (classes._pit_input_1_s_unit) + (cast(sums._pit_input_1_t_1 - cast(cast(sums._pit_input_1_t_1 as double) as hugeint) as double) / pow(2.0, 73) * (classes._pit_input_1_t_unit) * (classes._pit_input_1_t_unit) + coalesce(residues._pit_input_1_1.lacking, 0)))) then cast(sums._pit_input_1_s_1 as double) / pow(2.0, 73) * (classes._pit_input_1_s_unit) * (classes._pit_input_1_s_unit) + (cast(sums._pit_input_1_t_1 as double) / pow(2.0, 73) * (classes._pit_input_1_t_unit) * (classes._pit_input_1_t_unit) + coalesce(residues._pit_input_1_1.near, 0)) + (cast(sums._pit_input_1_s_1 - cast(cast(sums._pit_input_1_s_1 as double) as hugeint) as double) / pow(2.0, 73) * (classes._pit_input_1_s_unit) * (classes._pit_input_1_s_unit) + (cast(sums._pit_input_1_t_1 - cast(cast(sums._pit_input_1_t_1 as double) as hugeint) as double) / pow(2.0, 73) * (classes._pit_input_1_t_unit) * (classes._pit_input_1_t_unit) + coalesce(residues._pit_input_1_1.lacking, 0)))
                        else (cast(sums._pit_input_1_s_1 as double) / pow(2.0, 73) * (classes._pit_input_1_s_unit / 4294967296) * (classes._pit_input_1_s_unit / 4294967296) + (cast(sums._pit_input_1_t_1 as double) / pow(2.0, 73) * (classes._pit_input_1_t_unit / 4294967296) * (classes._pit_input_1_t_unit / 4294967296) + coalesce(residues._pit_input_1_1.near, 0) / 4294967296 / 4294967296) + (cast(sums._pit_input_1_s_1 - cast(cast(sums._pit_input_1_s_1 as double) as hugeint) as double) / pow(2.0, 73) * (classes._pit_input_1_s_unit / 4294967296) * (classes._pit_input_1_s_unit / 4294967296) + (cast(sums._pit_input_1_t_1 - cast(cast(sums._pit_input_1_t_1 as double) as hugeint) as double) / pow(2.0, 73) * (classes._pit_input_1_t_unit / 4294967296) * (classes._pit_input_1_t_unit / 4294967296) + coalesce(residues._pit_input_1_1.lacking, 0) / 4294967296 / 4294967296))) * 18446744073709551616::double
                    end
                )
                -- 42 bits each count NaN, infinity and -infinity.
                when sums._pit_input_1_odd_1 % 4398046511104 > 0 or ((sums._pit_input_1_odd_1 // 4398046511104) % 4398046511104 > 0 and sums._pit_input_1_odd_1 // 19342813113834066795298816 > 0) then 'nan'::double
                when (sums._pit_input_1_odd_1 // 4398046511104) % 4398046511104 > 0 then 'infinity'::double
                else '-infinity'::double
            end
        end as _pit_value_1,
        sums._pit_value_2,
        sums._pit_newest
    from sums
    cross join classes
    left join residues on sums._pit_query = residues._pit_query
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
