{#-
    The plan 'stacked', which takes about as long for one hot key as for many cold ones. Sums and counts are running sums
    over the events in the order in which they become known; a window is the sum at its end less the sum at its start.
    So are deviations of values of one class, and distinct and newest values where no event is late. Everything else (events
    known late or superseded, minima, maxima, first events) is assigned to the range of instants at which it counts: see
    `_counted_ranges`.
    The last CTE is `windowed`: `_pit_query`, `_pit_newest` and a column for each aggregation.
-#}
{% macro _stacked_windows(view, wanted, late) -%}
{%- set late = late and (view.created_timestamp or view.event_key) -%}
{%- set longest = pit_join._longest_window(view) -%}
{%- set deviations = wanted | selectattr('function', 'equalto', 'stddev') | list -%}
{%- set sums = [] -%}
{%- set summed = ['count', 'sum', 'avg'] + ([] if late else ['count_distinct', 'last', 'last_n']) -%}
{%- for item in wanted if item.function in summed or (item in deviations and pit_join._one_class(item)) -%}
    {%- do sums.append(item) -%}
{%- endfor -%}
{%- set distinct = wanted | selectattr('function', 'equalto', 'count_distinct') | list if late else [] -%}
{%- set tiled = wanted | selectattr('function', 'in', ['min', 'max', 'first'] + (['last', 'last_n'] if late else [])) | list -%}
{%- set looked_up = {} -%}
{%- for item in sums if item.function in ('last', 'last_n') -%}
    {%- do looked_up.update({item.input: [item.n or 1, looked_up.get(item.input, 0)] | max}) -%}
{%- endfor -%}
{%- set floats = pit_join._float_inputs(sums) -%}
{%- set windows = sums | map(attribute='window') | unique | list -%}
{%- set measures = pit_join._measures(sums, windows) -%}
{%- set tile_windows = [longest] if late else [] -%}
{%- for item in tiled if item.window not in tile_windows -%}
    {%- do tile_windows.append(item.window) -%}
{%- endfor -%}
{{ pit_join._measured(view, sums + (deviations | reject('in', sums) | list), measures, late) }},

{{ pit_join._running_sums(view, measures, windows, late) }},
{%- if late %}

{{ pit_join._late_sums(view, measures, windows) }},
{%- endif %}
{%- if floats %}

{{ pit_join._float_sums(view, floats, windows, {'plan': 'stacked', 'late': late}) }},
{%- endif %}
{%- for input, length in looked_up.items() %}

{{ pit_join._newest_values(view, input, length) }},
{%- endfor %}
{%- for item in distinct %}

{{ pit_join._distinct_counts(view, item) }},
{%- endfor %}
{%- if deviations %}

{{ pit_join._deviations(view, deviations, {'plan': 'stacked', 'windows': windows, 'measures': measures, 'late': late}) }},
{%- endif %}
{%- for window in tile_windows %}

{{ pit_join._tiles(view, tiled | selectattr('window', 'equalto', window) | list, window, late) }},
{%- endfor %}

windowed as (
    select
        asked._pit_query,
        {%- for item in wanted %}
        {%- if item in tiled %}
        {{ 'tiles_' ~ (item.window or 'lifetime') ~ '.' ~ item.alias }},
        {%- elif item in distinct %}
        {{ 'distinct_' ~ item.alias }}_sums.total as {{ item.alias }},
        {%- elif item in deviations %}
        deviations.{{ item.alias }},
        {%- else %}
        {{ pit_join._summed(item, windows, measures, late) | indent(8) }} as {{ item.alias }},
        {%- endif %}
        {%- endfor %}
        {%- if late %}
        tiles_{{ longest or 'lifetime' }}._pit_newest
        {%- else %}
        {%- set newest = 'sums._pit_newest' ~ (' - ' ~ pit_join._microseconds(view.lag, 'lag') if view.lag else '') %}
        {%- if longest %}
        case when asked._pit_at < sums._pit_newest + {{ pit_join._microseconds(longest, 'window') }} then {{ newest }} end as _pit_newest
        {%- else %}
        {{ newest }}{{ ' as _pit_newest' if view.lag }}
        {%- endif %}
        {%- endif %}
    from asked
    left join sums on asked._pit_query = sums._pit_query
    {%- if late %}
    left join late_sums on asked._pit_query = late_sums._pit_query
    {%- endif %}
    {%- for input in looked_up %}
    left join {{ input }}_newest on asked._pit_query = {{ input }}_newest._pit_query
    {%- endfor %}
    {%- for item in distinct %}
    left join distinct_{{ item.alias }}_sums on asked._pit_query = distinct_{{ item.alias }}_sums._pit_query
    {%- endfor %}
    {%- if floats %}
    left join float_sums on asked._pit_query = float_sums._pit_query
    {%- endif %}
    {%- if deviations %}
    left join deviations on asked._pit_query = deviations._pit_query
    {%- endif %}
    {%- for window in tile_windows %}
    left join tiles_{{ window or 'lifetime' }} on asked._pit_query = tiles_{{ window or 'lifetime' }}._pit_query
    {%- endfor %}
)
{%- endmacro %}


{#-
    CTE `sums`: for each instant asked the sum of each measure over each window, and the newest event. It covers events
    that are known when they happen. The running sums continue from key to key, in one pass over the sorted events: a
    window is the difference of two sums. A row without measures before all others of a key holds the sum up to that key.
-#}
{% macro _running_sums(view, measures, windows, late) -%}
{%- set keys = view.key_names | join(', ') -%}
ordered as (
    select *
    from (
        select
            {{ keys }},
            {%- for name in measures %}
            {{ name }},
            {%- endfor %}
            _pit_available_at
        from measured
        {%- if late %}
        where not _pit_late
        {%- endif %}
        union all
        select distinct
            {{ keys }},
            {%- for name in measures %}
            null,
            {%- endfor %}
            {{ pit_join._before_all() }}
        from asked
    ) as events_and_begins
    order by {{ keys }}, _pit_available_at
),

-- Of events that became known at one instant the last has the sum.
-- {{ pit_join._in_stored_order() }}
running as (
    select *
    from (
        select
            {{ keys }},
            _pit_available_at,
            {%- for name, measure in measures.items() %}
            {{ measure.running }} as {{ name }},
            {%- endfor %}
            {%- for column in view.key_names + ['_pit_available_at'] %}
            {{ 'and ' if not loop.first }}lead({{ column }}) over () is not distinct from {{ column }}
            {%- endfor %} as _pit_goes_on
        from ordered
    ) as summed
    where not _pit_goes_on
),

-- The instants asked, and for each window the instant at which it begins.
points as (
    select _pit_query, {{ keys }}, _pit_at, 0 as _pit_slot
    from asked
    {%- for window in windows %}
    union all
    select _pit_query, {{ keys }}, {{ pit_join._before_all() if window is none else '_pit_at - ' ~ pit_join._microseconds(window, 'window') }}, {{ loop.index }}
    from asked
    {%- endfor %}
),

found as (
    select
        points._pit_query,
        points._pit_slot,
        running._pit_available_at
        {%- for name in measures %},
        running.{{ name }}
        {%- endfor %}
    from points
    asof join running
        on
            {%- for key in view.key_names %}
            {{ pit_join._asof_equal(view, loop.index0, 'points.' ~ key, 'running.' ~ key) }} and
            {%- endfor %}
            {{ pit_join._is_known('points._pit_at', false) }}
),

sums as (
    select
        _pit_query,
        {%- for name, measure in measures.items() %}
        {%- if 'slot' in measure %}
        max({{ name }}) filter (where _pit_slot = {{ measure.slot }}) as {{ name }},
        {%- else %}
        {%- for window in windows %}
        max({{ name }}) filter (where _pit_slot = 0) - max({{ name }}) filter (where _pit_slot = {{ loop.index }}) as {{ name }}_{{ loop.index }},
        {%- endfor %}
        {%- endif %}
        {%- endfor %}
        nullif(max(_pit_available_at) filter (where _pit_slot = 0), {{ pit_join._before_all() }}) as _pit_newest
    from found
    group by _pit_query
)
{%- endmacro %}


{#- CTE `late_sums`: the sums over late or superseded events for each window at each instant asked. -#}
{% macro _late_sums(view, measures, windows) -%}
late_spans as (
    {%- for window in windows %}
    select
        *,
        {{ loop.index }} as _pit_slot,
        {{ pit_join._window_end(view, window, 'measured') }} as _pit_end
    from measured
    where _pit_late
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- else %}
    select *, 0 as _pit_slot, 0 as _pit_end
    from measured
    where false
    {%- endfor %}
),

{{ pit_join._counted_ranges('late', view) }},

late_changes as (
    select
        _pit_query
        {%- for name in measures %}
        {%- for window in windows %}
        {%- set slot = '_pit_slot = ' ~ loop.index %},
        coalesce(sum({{ name }}) filter (where _pit_begins and {{ slot }}), 0)
        - coalesce(sum({{ name }}) filter (where not _pit_begins and {{ slot }}), 0) as {{ name }}_{{ loop.index }}
        {%- endfor %}
        {%- endfor %}
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
        asked._pit_query
        {%- for name in measures %}
        {%- for window in windows %},
        coalesce(sum(late_changes.{{ name }}_{{ loop.index }}) over until_then, 0) as {{ name }}_{{ loop.index }}
        {%- endfor %}
        {%- endfor %}
    from asked
    left join late_changes on asked._pit_query = late_changes._pit_query
    window until_then as (order by asked._pit_query rows unbounded preceding)
)
{%- endmacro %}
