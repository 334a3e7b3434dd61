{#-
    The features of one window view at each row of a spine. They are aggregates over the events of the row's keys in a
    window that ends at its time, exact to the microsecond. docs/concepts.md says which events count.

    spine     the name of a relation made by `spine_rows` (it holds `_pit_row` and `_pit_time`)
    history   a mapping: the declaration of a window view, or the same written by hand; see below
    features  [{column, name, default}]: aggregations, their names in the result, SQL defaults
    options   a mapping of the options of the computation; see below

    The history, one row for each version of an event; `relation`, `keys`, `event_timestamp`, `created_timestamp`, `lag`
    and `deleted` as for `point_in_time_join`, and:

    aggregations  all aggregations of the view: see `_aggregations`
    closed        'left': T - window <= event, known before T; 'right': T - window < event, known at T ('left')
    event_key     columns that name the versions of one event: of those created by T the newest counts
    types         {column: declared type} of all columns: together they tell tied versions apart

    The options:

    join_keys   {key: column of the spine}, for keys that have another name in the spine
    plan        'range' compares every event with every row of its keys (best where windows are small); 'stacked' uses
                running sums and tiles, and its work never grows quadratically ('stacked')
    late        whether events may become known late or be superseded; false only where it was checked (true)
    floats      {column: {unit, count_bits, class}} of columns of floats that were checked: all are whole numbers of up to 93
                bits in units of 2^unit. With `count_bits` (or none) a count of so many bits fits into 128 bits beside their
                sum. With `class` (or none) all are of that class, see `_wholes.sql`. Features are the same without it, and
                take longer ({})
    provenance  a name N: also return N__event_timestamp, and call the status N__status

    Grain: one row for each row of the spine: `_pit_row`, `_pit_status`, `_pit_age` (microseconds from the newest event of
    the longest window to T, else null), the features. Empty windows: counts are 0, all else is null.
    Order: not guaranteed.
-#}
{% macro window_features(spine, history, features, options={}) -%}
    {{ return(adapter.dispatch('window_features', 'pit_join')(spine, history, features, options)) }}
{%- endmacro %}


{% macro duckdb__window_features(spine, history, features, options={}) -%}
{%- set asked = pit_join._completed(options, {
    'join_keys': {}, 'plan': 'stacked', 'late': true, 'provenance': none, 'floats': {}
}, 'the options of window_features') -%}
{%- if asked.plan not in ('range', 'stacked') -%}
    {{ exceptions.raise_compiler_error("unknown plan '" ~ asked.plan ~ "'; there are range and stacked") }}
{%- endif -%}
{%- set view = pit_join._prepared(history, asked.join_keys) -%}
{%- set keys = view.key_names | join(', ') -%}
{%- set strict = view.closed == 'left' -%}
{%- set wanted = pit_join._wanted_aggregations(features, view.aggregations, asked.floats) -%}
{#- Smaller tiles are computed from larger ones by recursion. -#}
with {{ 'recursive ' if asked.plan == 'stacked' }}{{ pit_join._window_events(view, wanted) }},

-- The instants asked, in the order of keys and times. All windows below are closed on the right, so a window that is closed
-- on the left is computed one microsecond earlier.
asked as (
    select
        row_number() over (order by {{ keys }}, _pit_at) as _pit_query,
        *
    from (
        select distinct
            {%- for column in view.spine_keys %}
            {{ column }} as _pit_key_{{ loop.index }},
            {%- endfor %}
            {{ pit_join._last_instant('_pit_time', strict) }} as _pit_at
        from {{ pit_join._named(spine, 'spine') }}
        union all
        -- No rows: keys get the type that they have beside those of events, which decides their order.
        select
            {{ keys }},
            null
        from events
        where false
    ) as rows_asked
    where _pit_at is not null and {{ view.key_names | join(' is not null and ') }} is not null
),

{% if asked.plan == 'range' -%}
{{ pit_join._range_windows(view, wanted) }}
{%- else -%}
{{ pit_join._stacked_windows(view, wanted, asked.late) }}
{%- endif %},

-- The instant from which a key has events, where no event was found.
known as (
    select
        {{ keys }},
        min(_pit_available_at) as _pit_available_at
    from events
    semi join (
        select asked.*
        from asked
        left join windowed on asked._pit_query = windowed._pit_query
        where windowed._pit_newest is null
    ) as without using ({{ keys }})
    group by {{ keys }}
),

{% set found -%}
left join asked
    on
        {%- for column in view.spine_keys %}
        {{ column }} = asked._pit_key_{{ loop.index }} and
        {%- endfor %}
        {{ pit_join._last_instant('spine._pit_time', strict) }} = asked._pit_at
left join windowed on asked._pit_query = windowed._pit_query
{%- endset -%}
{{ pit_join._valued(view, wanted, pit_join._named(spine, 'spine') ~ '\n' ~ found, asked.provenance) }}
{%- endmacro %}


{% macro default__window_features(spine, history, features, options={}) -%}
{%- set asked = pit_join._completed(options, {
    'join_keys': {}, 'plan': 'stacked', 'late': true, 'provenance': none, 'floats': {}
}, 'the options of window_features') -%}
{%- set view = pit_join._prepared(history, asked.join_keys) -%}
{%- set keys = view.key_names | join(', ') -%}
{%- set strict = view.closed == 'left' -%}
{%- set wanted = pit_join._wanted_aggregations(features, view.aggregations) -%}
with {{ pit_join._window_events(view, wanted) }},

-- The instants asked. All windows below are closed on the right, so a window that is closed on the left is computed one
-- microsecond earlier.
asked as (
    select distinct
        {%- for column in view.spine_keys %}
        {{ column }} as _pit_key_{{ loop.index }},
        {%- endfor %}
        {{ pit_join._last_instant('_pit_time', strict) }} as _pit_at
    from {{ pit_join._named(spine, 'spine') }}
    where _pit_time is not null and {{ view.spine_keys | join(' is not null and ') }} is not null
),

{{ pit_join._portable_windows(view, wanted, asked.plan) }},

-- The instant from which a key has events, where no event was found.
known as (
    select
        {% for key in view.key_names %}events.{{ key }}, {% endfor %}
        min(events._pit_available_at) as _pit_available_at
    from events
    inner join (
        select distinct {% for key in view.key_names %}asked.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
        from asked
        left join windowed
            on {% for key in view.key_names %}asked.{{ key }} = windowed.{{ key }} and {% endfor %}asked._pit_at = windowed._pit_at
        where windowed._pit_newest is null
    ) as without
        on {% for key in view.key_names %}events.{{ key }} = without.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
    group by {% for key in view.key_names %}events.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
),

{% set found -%}
left join windowed
    on
        {%- for column in view.spine_keys %}
        {{ column }} = windowed._pit_key_{{ loop.index }} and
        {%- endfor %}
        {{ pit_join._last_instant('spine._pit_time', strict) }} = windowed._pit_at
{%- endset -%}
{{ pit_join._valued(view, wanted, pit_join._named(spine, 'spine') ~ '\n' ~ found, asked.provenance) }}
{%- endmacro %}


{#- The CTE `valued` and the final select. `rows` are those of the spine, joined with `windowed`; `known` is when a key without an event
    in its windows has some. -#}
{% macro _valued(view, wanted, rows, provenance) -%}
{%- set strict = view.closed == 'left' -%}
valued as (
    select
        spine._pit_row,
        spine._pit_time,
        windowed._pit_newest,
        {%- for item in wanted %}
        {{ 'coalesce(windowed.' ~ item.alias ~ ', 0) as ' ~ item.alias if item.function in ('count', 'count_distinct') else 'windowed.' ~ item.alias }},
        {%- endfor %}
        case
            when spine._pit_time is null or {{ view.spine_keys | join(' is null or ') }} is null then 'NULL_KEY'
            when windowed._pit_newest is not null then 'PRESENT'
            when known._pit_available_at is null then 'NOT_FOUND'
            when {{ pit_join._is_known('spine._pit_time', strict) }} then 'PRESENT'
            else 'NOT_YET_KNOWN'
        end as _pit_status
    from {{ rows | indent(4) }}
    left join known
        on {% for column in view.spine_keys %}{{ column }} = known._pit_key_{{ loop.index }}{{ ' and ' if not loop.last }}{% endfor %}
)

select{{ pit_join._each_once('_pit_row') }}
    _pit_row,
    _pit_time - _pit_newest as _pit_age,
    {%- if provenance %}
    {{ pit_join._as_time('_pit_newest', view.types.get(view.event_timestamp)) }} as {{ pit_join._identifier(provenance ~ '__event_timestamp') }},
    {%- endif %}
    {%- for item in wanted %}
    {{ pit_join._defaulted('cast(' ~ item.alias ~ ' as ' ~ pit_join._type_name(item.data_type) ~ ')', item.default) }} as {{ pit_join._identifier(item.as) }},
    {%- endfor %}
    case
        when _pit_status = 'PRESENT'{% for item in wanted %} and {{ item.alias }} is null{% endfor %} then 'NULL_VALUE'
        else _pit_status
    end as {{ pit_join._identifier(provenance ~ '__status') if provenance else '_pit_status' }}
from valued
{%- endmacro %}


{#- The requested aggregations, each with more entries. They are `as`, its name in the result, `alias`, its name within the
    query, `input`, the column of `events` that it aggregates (shared by aggregations with one column and one condition),
    and `floats`, what is known of its column, see `window_features`. -#}
{% macro _wanted_aggregations(features, aggregations, floats={}) -%}
    {%- set by_name = {} -%}
    {%- for aggregation in aggregations -%}
        {%- do by_name.update({aggregation.name: aggregation}) -%}
    {%- endfor -%}
    {%- set inputs = {} -%}
    {%- set wanted = [] -%}
    {%- for feature in features -%}
        {%- set item = {} -%}
        {%- do item.update(by_name[feature.column]) -%}
        {%- set input = inputs.setdefault(item.column ~ '|' ~ item.where, '_pit_input_' ~ (inputs | length + 1)) -%}
        {%- do item.update({'as': feature.name, 'default': feature.get('default'), 'alias': '_pit_value_' ~ loop.index, 'input': input, 'floats': floats.get(item.column)}) -%}
        {%- do wanted.append(item) -%}
    {%- endfor -%}
    {{ return(wanted) }}
{%- endmacro %}
