{#-
    The plan 'stacked', which takes about as long for one hot key as for many cold ones. Sums and counts: sums run over the
    events in the order in which they become known, and a window is the sum at its end less the sum at its begin. All else
    (events known late or superseded, distinct values, minima, maxima, first and last events, deviations) is put on the
    range of instants at which it counts: see `_counted_ranges`.
    The last CTE is `windowed`: `_pit_query`, `_pit_newest` and a column for each aggregation.
-#}
{% macro _stacked_windows(key_names, wanted, longest, lag, event_key, created_timestamp, late) -%}
{%- set late = late and (created_timestamp or event_key) -%}
{%- set sums = wanted | selectattr('function', 'in', ['count', 'sum', 'avg']) | list -%}
{%- set spread = wanted | selectattr('function', 'equalto', 'stddev') | list -%}
{%- set distinct = wanted | selectattr('function', 'equalto', 'count_distinct') | list -%}
{%- set tiled = wanted | selectattr('function', 'in', ['min', 'max', 'first', 'last', 'last_n']) | list -%}
{%- set measures = pit_join._measures(sums) -%}
{%- set floats = pit_join._float_inputs(sums) -%}
{%- set windows = [] -%}
{%- for item in sums if item.window not in windows -%}
    {%- do windows.append(item.window) -%}
{%- endfor -%}
{%- set tile_windows = [longest] if late else [] -%}
{%- for item in tiled if item.window not in tile_windows -%}
    {%- do tile_windows.append(item.window) -%}
{%- endfor -%}
{{ pit_join._measured(key_names, sums, measures, lag, event_key, late) }},

{{ pit_join._running_sums(key_names, measures, windows, late) }},
{%- if late %}

{{ pit_join._late_sums(key_names, measures, windows, lag, event_key) }},
{%- endif %}
{%- if floats %}

{{ pit_join._residues(key_names, floats, windows, lag, event_key) }},
{%- endif %}
{%- for item in distinct %}

{{ pit_join._distinct_counts(key_names, item, lag, event_key) }},
{%- endfor %}
{%- if spread %}

{{ pit_join._deviations(key_names, spread, lag, event_key) }},
{%- endif %}
{%- for window in tile_windows %}

{{ pit_join._tiles(key_names, tiled | selectattr('window', 'equalto', window) | list, window, lag, event_key, created_timestamp, late and window == longest) }},
{%- endfor %}

windowed as (
    select
        asked._pit_query,
        {%- for item in wanted %}
        {%- if item in tiled %}
        {{ 'tiles_' ~ (item.window or 'lifetime') ~ '.' ~ item.alias }} as {{ item.alias }},
        {%- elif item in distinct %}
        {{ 'distinct_' ~ item.alias }}.total as {{ item.alias }},
        {%- elif item in spread %}
        deviations.{{ item.alias }},
        {%- else %}
        {{ pit_join._summed(item, windows, measures, late) | indent(8) }} as {{ item.alias }},
        {%- endif %}
        {%- endfor %}
        {%- if late %}
        tiles_{{ longest or 'lifetime' }}._pit_newest
        {%- elif longest %}
        case when asked._pit_at < sums._pit_newest + {{ longest }} then sums._pit_newest - {{ lag }} end as _pit_newest
        {%- else %}
        sums._pit_newest - {{ lag }} as _pit_newest
        {%- endif %}
    from asked
    left join sums on asked._pit_query = sums._pit_query
    {%- if late %}
    left join late_sums on asked._pit_query = late_sums._pit_query
    {%- endif %}
    {%- for item in distinct %}
    left join distinct_{{ item.alias }} on asked._pit_query = distinct_{{ item.alias }}._pit_query
    {%- endfor %}
    {%- if floats %}
    left join residues on asked._pit_query = residues._pit_query
    {%- endif %}
    {%- if spread %}
    left join deviations on asked._pit_query = deviations._pit_query
    {%- endif %}
    {%- for window in tile_windows %}
    left join tiles_{{ window or 'lifetime' }} on asked._pit_query = tiles_{{ window or 'lifetime' }}._pit_query
    {%- endfor %}
)
{%- endmacro %}


{#-
    CTE `sums`: for each instant asked the sum of each measure over each window, and the newest event; of events that are
    known when they happen. Sums run on from key to key, in one pass over the sorted events: a window is the difference
    of two of them. A row without measures before all others of a key holds what was summed up before it.
-#}
{% macro _running_sums(key_names, measures, windows, late) -%}
ordered as (
    select *
    from (
        select
            {{ key_names | join(', ') }},
            {%- for name in measures %}
            {{ name }},
            {%- endfor %}
            _pit_known
        from measured
        {%- if late %}
        where not _pit_late
        {%- endif %}
        union all
        select distinct
            {{ key_names | join(', ') }},
            {%- for name in measures %}
            null,
            {%- endfor %}
            -9223372036854775808
        from asked
    ) as events_and_begins
    order by {{ key_names | join(', ') }}, _pit_known
),

-- Of events that became known at one instant the last has the sum.
running as (
    select *
    from (
        select
            {{ key_names | join(', ') }},
            _pit_known,
            {%- for name, measure in measures.items() %}
            {{ measure.running }} as {{ name }},
            {%- endfor %}
            {%- for column in key_names + ['_pit_known'] %}
            lead({{ column }}) over () is not distinct from {{ column }}{{ ' and ' if not loop.last }}
            {%- endfor %} as _pit_goes_on
        from ordered
    ) as summed
    where not _pit_goes_on
),

-- The instants asked, and for each window the instant at which it begins.
points as (
    select _pit_query, {{ key_names | join(', ') }}, _pit_at, 0 as _pit_slot
    from asked
    {%- for window in windows %}
    union all
    select _pit_query, {{ key_names | join(', ') }}, {{ '-9223372036854775808' if window is none else '_pit_at - ' ~ window }}, {{ loop.index }}
    from asked
    {%- endfor %}
),

found as (
    select
        points._pit_query,
        points._pit_slot,
        running._pit_known
        {%- for name in measures %},
        running.{{ name }}
        {%- endfor %}
    from points
    asof join running
        on
            {%- for key in key_names %}
            points.{{ key }} = running.{{ key }} and
            {%- endfor %}
            points._pit_at >= running._pit_known
),

sums as (
    select
        _pit_query,
        {%- for name in measures %}
        {%- for window in windows %}
        max({{ name }}) filter (where _pit_slot = 0) - max({{ name }}) filter (where _pit_slot = {{ loop.index }}) as {{ name }}_{{ loop.index }},
        {%- endfor %}
        {%- endfor %}
        nullif(max(_pit_known) filter (where _pit_slot = 0), -9223372036854775808) as _pit_newest
    from found
    group by _pit_query
)
{%- endmacro %}


{#-
    A CTE with the rows of `spans` (keys, `_pit_known`, `_pit_end`, more) and the first and the last of the instants asked at which they
    count; those that never count for anybody are gone. `asked` numbers the instants of a key one after the other.
-#}
{% macro _counted_ranges(name, spans, key_names) -%}
{{ name }} as (
    select
        spans.*,
        first_asked._pit_query as _pit_first,
        last_asked._pit_query as _pit_last
    from {{ spans }} as spans
    asof join asked as first_asked
        on
            {%- for key in key_names %}
            spans.{{ key }} = first_asked.{{ key }} and
            {%- endfor %}
            spans._pit_known <= first_asked._pit_at
    asof join asked as last_asked
        on
            {%- for key in key_names %}
            spans.{{ key }} = last_asked.{{ key }} and
            {%- endfor %}
            spans._pit_end > last_asked._pit_at
    where first_asked._pit_query <= last_asked._pit_query
)
{%- endmacro %}


{#- The instant at which a version leaves a window. -#}
{% macro _window_end(window, lag, event_key, relation) -%}
    {%- set until = 'coalesce(' ~ relation ~ '._pit_until, 9223372036854775807)' if event_key else '9223372036854775807' -%}
    {%- set end = relation ~ '._pit_event + ' ~ (lag + (window or 0)) -%}
    {{ return(until if window is none else 'least(' ~ end ~ ', ' ~ until ~ ')' if event_key else end) }}
{%- endmacro %}


{#- CTE `late_sums`: what events that were known late or superseded add to each window at each instant asked. -#}
{% macro _late_sums(key_names, measures, windows, lag, event_key) -%}
late_spans as (
    {%- for window in windows %}
    select
        *,
        {{ loop.index }} as _pit_slot,
        {{ pit_join._window_end(window, lag, event_key, 'measured') }} as _pit_end
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

{{ pit_join._counted_ranges('late_ranges', 'late_spans', key_names) }},

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


{#- CTE `distinct_X`: for each instant asked how many different values are in the window: the times at which a value is in it
    are melted into one another, and each such time counts one. -#}
{% macro _distinct_counts(key_names, item, lag, event_key) -%}
{%- set name = 'distinct_' ~ item.alias -%}
{%- set keys = key_names | join(', ') -%}
{{ name }}_spans as (
    select
        {{ keys }},
        min(_pit_known) as _pit_known,
        max(_pit_end) as _pit_end
    from (
        select
            *,
            sum(case when _pit_known <= _pit_before then 0 else 1 end) over (
                partition by {{ keys }}, {{ item.input }} order by _pit_known, _pit_end rows unbounded preceding
            ) as _pit_island
        from (
            select
                *,
                max(_pit_end) over (
                    partition by {{ keys }}, {{ item.input }} order by _pit_known, _pit_end
                    rows between unbounded preceding and 1 preceding
                ) as _pit_before
            from (
                select *, {{ pit_join._window_end(item.window, lag, event_key, 'events') }} as _pit_end
                from events
                where {{ item.input }} is not null
            ) as ends
            where _pit_known < _pit_end
        ) as befores
    ) as islands
    group by {{ keys }}, {{ item.input }}, _pit_island
),

{{ pit_join._counted_ranges(name ~ '_ranges', name ~ '_spans', key_names) }},

{{ name }}_changes as (
    select
        _pit_query,
        sum(_pit_change) as _pit_change
    from (
        select _pit_first as _pit_query, 1 as _pit_change
        from {{ name }}_ranges
        union all
        select _pit_last + 1, -1
        from {{ name }}_ranges
    ) as changes
    group by _pit_query
),

{{ name }} as (
    select
        asked._pit_query,
        sum({{ name }}_changes._pit_change) over (order by asked._pit_query rows unbounded preceding) as total
    from asked
    left join {{ name }}_changes on asked._pit_query = {{ name }}_changes._pit_query
)
{%- endmacro %}
