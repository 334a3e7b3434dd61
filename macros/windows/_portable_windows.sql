{#-
    The windows of engines without the plans of DuckDB. Counts, sums and averages of integers and decimals are running sums
    over the events that enter and leave each window, so that the work for a key grows with its events and not with their
    square. All else, all aggregations of a view with an event_key, and all by the plan 'range', is aggregated from the
    pairs of an instant asked and an event in its longest window.

    The CTEs up to `windowed` have, for each key and instant asked with an event in the longest window, `_pit_newest`, the
    newest event time, and a column for each aggregation.
-#}
{% macro _portable_windows(view, wanted, plan) -%}
{%- set keys = view.key_names -%}
{%- set added, compared = [], [] -%}
{%- for item in wanted -%}
    {%- do (added if plan != 'range' and pit_join._adds_up(item, view) else compared).append(item) -%}
{%- endfor -%}
{%- if added -%}
{{ pit_join._running_windows(view, added) }},

{% endif -%}
{%- if compared -%}
{{ pit_join._ranged_windows(view, compared) }},

{% endif -%}
windowed as (
    {%- if not added %}
    select *
    from ranged
    {%- elif not compared %}
    select *
    from running
    where _pit_newest is not null
    {%- else %}
    select
        running.*
        {%- for item in compared %},
        ranged.{{ item.alias }}
        {%- endfor %}
    from running
    left join ranged
        on {% for key in keys %}running.{{ key }} = ranged.{{ key }} and {% endfor %}running._pit_at = ranged._pit_at
    where running._pit_newest is not null
    {%- endif %}
)
{%- endmacro %}


{#- Whether an aggregation is a running sum that is exact and cannot overflow on the way. -#}
{% macro _adds_up(item, view) -%}
    {%- set number = item.function == 'count' or (item.function in ('sum', 'avg') and not pit_join._is_float(item.column_type) and not pit_join._is_wide(item.column_type)) -%}
    {{ return(number and not view.event_key) }}
{%- endmacro %}


{#- CTEs `moves`, `summed` and `running`: the running sums. What an event adds when it becomes known it takes back when it leaves. -#}
{% macro _running_windows(view, items) -%}
{%- set keys = view.key_names | join(', ') -%}
{%- set windows = items | map(attribute='window') | unique | list -%}
{%- set longest = pit_join._longest_window(view) -%}
{%- set measures = {} -%}
{%- for item in items -%}
    {%- set slot = '_' ~ (windows.index(item.window) + 1) -%}
    {%- do measures.update({item.input ~ '_n' ~ slot: {'slot': windows.index(item.window), 'value': 'case when ' ~ item.input ~ ' is not null then 1 end'}}) -%}
    {%- if item.function in ('sum', 'avg') -%}
        {%- set scale = pit_join._scale(item.column_type) if pit_join._is_decimal(item.column_type) else 0 -%}
        {%- do measures.update({item.input ~ '_s' ~ slot: {'slot': windows.index(item.window), 'value': 'cast(' ~ item.input ~ ' as decimal(38, ' ~ scale ~ '))'}}) -%}
    {%- endif -%}
{%- endfor -%}
moves as (
    select
        {{ keys }},
        _pit_available_at as _pit_at,
        0 as _pit_side,
        _pit_event as _pit_newest
        {%- for name, measure in measures.items() %},
        {%- set ends = none if windows[measure.slot] is none else pit_join._leaves(view, windows[measure.slot], 'events') %}
        {{ 'case when _pit_available_at < ' ~ ends ~ ' then ' ~ measure.value ~ ' end' if ends else measure.value }} as {{ name }}
        {%- endfor %}
    from events
    {%- for window in windows if window is not none %}
    {%- set slot, ends = windows.index(window), pit_join._leaves(view, window, 'events') %}
    union all
    select
        {{ keys }},
        {{ ends }},
        0,
        null
        {%- for name, measure in measures.items() %},
        {{ '-' ~ measure.value if measure.slot == slot and measure.value[:4] != 'case' else '-(' ~ measure.value ~ ')' if measure.slot == slot else 'null' }}
        {%- endfor %}
    from events
    where _pit_available_at < {{ ends }}
    {%- endfor %}
    union all
    select
        {{ keys }},
        _pit_at,
        1,
        null
        {%- for name in measures %},
        null
        {%- endfor %}
    from asked
),

summed as (
    select
        {{ keys }},
        _pit_at,
        _pit_side,
        max(_pit_newest) over so_far as _pit_newest
        {%- for name in measures %},
        coalesce(sum({{ name }}) over so_far, 0) as {{ name }}
        {%- endfor %}
    from moves
    window so_far as (
        partition by {{ keys }}
        order by _pit_at, _pit_side
        rows between unbounded preceding and current row
    )
),

running as (
    select
        {{ keys }},
        _pit_at,
        {{ '_pit_newest' if longest is none else 'case when _pit_at < ' ~ pit_join._leaves({'lag': view.lag}, longest, 'summed').replace('_pit_event', '_pit_newest') ~ ' then _pit_newest end as _pit_newest' }}
        {%- for item in items %},
        {%- set slot = '_' ~ (windows.index(item.window) + 1) %}
        {%- set count, sum = item.input ~ '_n' ~ slot, item.input ~ '_s' ~ slot %}
        {%- if item.function == 'count' %}
        {{ count }} as {{ item.alias }}
        {%- else %}
        case when {{ count }} > 0 then {{ pit_join._total(sum, count, item.data_type) if item.function == 'sum' else 'cast(' ~ sum ~ ' as ' ~ pit_join._type_name('double') ~ ') / ' ~ count }} end as {{ item.alias }}
        {%- endif %}
        {%- endfor %}
    from summed
    where _pit_side = 1
)
{%- endmacro %}


{#- CTEs to `ranged`: each instant asked with the events of its keys in the longest window; see `_range_windows` for the stretches. -#}
{% macro _ranged_windows(view, items) -%}
{%- set longest, lag = pit_join._longest_window(view), view.lag or 0 -%}
{%- set order = [] -%}
{%- for column in pit_join._version(view) %}{% do order.append('events.' ~ column) %}{% endfor -%}
{%- if longest -%}
{%- set stretch = pit_join._microseconds(longest, 'stretch') -%}
placed as (
    select
        events.*,
        {{ pit_join._divided('_pit_available_at', stretch) }} + _pit_step as _pit_stretch
    from events
    cross join (values (0), (1)) as steps(_pit_step)
    where {{ pit_join._divided('(_pit_event + ' ~ (lag + longest - 1) ~ ')', longest) }} >= {{ pit_join._divided('_pit_available_at', longest) }} + _pit_step
),

{% endif -%}
ranged as (
    select
        {%- for key in view.key_names %}
        asked.{{ key }},
        {%- endfor %}
        asked._pit_at,
        {%- for item in items %}
        {{ pit_join._portable_aggregate(item, order, pit_join._within(view, item.window)) | indent(8) }} as {{ item.alias }},
        {%- endfor %}
        max(events._pit_event) as _pit_newest
    from asked
    inner join {{ 'placed' if longest else 'events' }} as events
        on
            {%- for key in view.key_names %}
            asked.{{ key }} = events.{{ key }} and
            {%- endfor %}
            {%- if longest %}
            {{ pit_join._divided('asked._pit_at', stretch) }} = events._pit_stretch and
            asked._pit_at < {{ pit_join._leaves(view, longest, 'events') }} and
            {%- endif %}
            {%- if view.event_key %}
            (events._pit_until is null or asked._pit_at < events._pit_until) and
            {%- endif %}
            {{ pit_join._is_known('asked._pit_at', false) }}
    group by {% for key in view.key_names %}asked.{{ key }}, {% endfor %}asked._pit_at
)
{%- endmacro %}


{#- One aggregate over the pairs for which `within` holds. -#}
{% macro _portable_aggregate(item, order, within) -%}
{%- set value = 'events.' ~ item.input -%}
{%- set conditions = ([within] if within else []) + [value ~ ' is not null'] -%}
{%- set filter = ' filter (where ' ~ conditions | join(' and ') ~ ')' -%}
{%- set double = pit_join._type_name('double') -%}
{%- set ordered = pit_join._ordered(value, item.column_type) -%}
{%- set counted = 'count(*)' ~ filter -%}
{%- if item.function == 'count' -%}
{{ counted }}
{%- elif item.function == 'count_distinct' -%}
count(distinct case when {{ conditions | join(' and ') }} then {{ value }} end)
{%- elif item.function in ('sum', 'avg') -%}
{%- set sum = 'sum(' ~ pit_join._addend(value, item.column_type) ~ ')' ~ filter -%}
{{ 'cast(' ~ sum ~ ' as ' ~ double ~ ')' if pit_join._is_float(item.column_type) else pit_join._total(sum, counted, item.data_type) }}{{ ' / nullif(' ~ counted ~ ', 0)' if item.function == 'avg' }}
{%- elif item.function == 'stddev' -%}
{{ pit_join._sample_deviation(value, item.column_type, conditions) }}
{%- elif item.function in ('min', 'max') -%}
{{ pit_join._extreme(item.function, value, item.column_type, conditions) }}
{%- else -%}
{{ pit_join._chosen(item.function, value, order + [ordered], {'conditions': conditions, 'n': item.n}) }}
{%- endif -%}
{%- endmacro %}
