{#-
    The plan 'range', a join of every instant asked with the events of its keys in the longest window. Each window
    aggregates its own events of these. Time is cut into stretches as long as the longest window, so that only events and
    instants of one stretch are joined:

        stretches     |   0   |   1   |   2   |
        an event          [-------)               from when it is known to when it leaves: it is placed in both stretches
        an instant asked      ^                   is joined with the events that were placed in its own stretch

    Sums that the engine would round, or that could overflow on the way, are those of whole numbers, as in the plan 'stacked'.
    The last CTE is `windowed`: `_pit_query`, `_pit_newest` and a column for each aggregation.
-#}
{% macro _range_windows(view, wanted) -%}
{%- set longest = pit_join._longest_window(view) -%}
{%- set lag = view.lag or 0 -%}
{%- set version = 'events.' ~ pit_join._version(view) | join(', events.') -%}
{%- set spread = wanted | selectattr('function', 'equalto', 'stddev') | list -%}
{%- set sums = [] -%}
{%- for item in wanted if item.function in ('sum', 'avg') and (pit_join._is_float(item.column_type) or pit_join._is_wide(item.column_type)) -%}
    {%- do sums.append(item) -%}
{%- endfor -%}
{%- set measures = pit_join._measures(sums) -%}
{%- set floats = pit_join._float_inputs(sums) -%}
{%- set windows = sums | map(attribute='window') | unique | list -%}
{%- set events = 'measured' if sums or spread else 'events' -%}
{%- if sums or spread -%}
{{ pit_join._measured(view, sums + spread, measures, false) }},

{% endif -%}
{%- if longest -%}
{%- set stretch = pit_join._microseconds(longest, 'stretch') -%}
placed as (
    select
        *,
        _pit_available_at // {{ stretch }} + _pit_step as _pit_stretch
    from {{ events }}
    cross join (values (0), (1)) as steps(_pit_step)
    where (_pit_event + {{ lag + longest - 1 }}) // {{ longest }} >= _pit_available_at // {{ longest }} + _pit_step
),

{% endif -%}
sums as (
    select
        asked._pit_query,
        {%- for item in wanted if item not in sums + spread %}
        {{ pit_join._aggregate(item, 'events.' ~ item.input, version, pit_join._within(view, item.window)) | indent(8) }} as {{ item.alias }},
        {%- endfor %}
        {%- for window in windows %}
        {%- set within = pit_join._within(view, window) %}
        {%- set slot = loop.index %}
        {%- for name in measures %}
        coalesce(sum(events.{{ name }}){{ ' filter (where ' ~ within ~ ')' if within }}, 0) as {{ name }}_{{ slot }},
        {%- endfor %}
        {%- endfor %}
        max(events._pit_event) as _pit_newest
    from asked
    inner join {{ 'placed' if longest else events }} as events
        on
            {%- for key in view.key_names %}
            asked.{{ key }} = events.{{ key }} and
            {%- endfor %}
            {%- if longest %}
            asked._pit_at // {{ stretch }} = events._pit_stretch and
            asked._pit_at < {{ pit_join._leaves(view, longest, 'events') }} and
            {%- endif %}
            {%- if view.event_key %}
            (events._pit_until is null or asked._pit_at < events._pit_until) and
            {%- endif %}
            {{ pit_join._is_known('asked._pit_at', false) }}
    group by asked._pit_query
),
{%- if floats %}

{{ pit_join._float_sums(view, floats, windows, {'plan': 'range', 'late': false}) }},
{%- endif %}
{%- if spread %}

{{ pit_join._deviations(view, spread, {'plan': 'range', 'measures': {}}) }},
{%- endif %}

windowed as (
    select
        sums._pit_query,
        {%- for item in wanted %}
        {%- if item in sums %}
        {{ pit_join._summed(item, windows, measures) | indent(8) }} as {{ item.alias }},
        {%- else %}
        {{ 'deviations' if item in spread else 'sums' }}.{{ item.alias }},
        {%- endif %}
        {%- endfor %}
        sums._pit_newest
    from sums
    {%- if floats %}
    left join float_sums on sums._pit_query = float_sums._pit_query
    {%- endif %}
    {%- if spread %}
    left join deviations on sums._pit_query = deviations._pit_query
    {%- endif %}
)
{%- endmacro %}


{#- The condition that an event is in a window, where events of the longest window are joined; none if it is that one. -#}
{% macro _within(view, window) -%}
    {%- if window is none or window == pit_join._longest_window(view) -%}
        {{ return(none) }}
    {%- endif -%}
    {{ return('asked._pit_at < ' ~ pit_join._leaves(view, window, 'events')) }}
{%- endmacro %}


{#- One aggregate over the rows for which `within` holds; `version` and then the value itself order the events. -#}
{% macro _aggregate(item, value, version, within) -%}
{%- set ordered = 'row(' ~ version ~ ', ' ~ value ~ ')' -%}
{%- set calls = {
    'count': 'count(' ~ value ~ ')',
    'count_distinct': 'count(distinct ' ~ value ~ ')',
    'sum': 'sum(' ~ value ~ ')',
    'min': 'min(' ~ value ~ ')',
    'max': 'max(' ~ value ~ ')',
    'first': 'arg_min(' ~ value ~ ', ' ~ ordered ~ ')',
    'last': 'arg_max(' ~ value ~ ', ' ~ ordered ~ ')',
    'last_n': 'arg_max(' ~ value ~ ', ' ~ ordered ~ ', ' ~ item.n ~ ')',
} -%}
{%- set conditions = [within] if within else [] -%}
{%- if item.function in ('first', 'last', 'last_n') -%}
    {%- do conditions.append(value ~ ' is not null') -%}
{%- endif -%}
{%- set filter = ' filter (where ' ~ conditions | join(' and ') ~ ')' if conditions else '' -%}
{%- if item.function == 'avg' -%}
cast({{ calls.sum }}{{ filter }} as double) / {{ calls.count }}{{ filter }}
{%- else -%}
{{ calls[item.function] }}{{ filter }}
{%- endif -%}
{%- endmacro %}
