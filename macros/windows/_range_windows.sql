{#-
    The plan 'range', a join of every instant asked with the events of its keys in the longest window. Each window
    aggregates its own events of these. Time is cut into stretches as long as the longest window, so that only events and
    instants of one stretch are joined:

        stretches     |   0   |   1   |   2   |
        an event          [-------)               from when it is known to when it leaves: it is placed in both stretches
        an instant asked      ^                   is joined with the events that were placed in its own stretch

    One CTE `windowed`: `_pit_query`, `_pit_newest` and a column for each aggregation.
-#}
{% macro _range_windows(view, wanted) -%}
{%- set longest = pit_join._longest_window(view) -%}
{%- set lag = view.lag or 0 -%}
{%- set version = 'events.' ~ pit_join._version(view) | join(', events.') -%}
{%- if longest -%}
{%- set stretch = pit_join._microseconds(longest, 'stretch') -%}
placed as (
    select
        events.*,
        _pit_available_at // {{ stretch }} + _pit_step as _pit_stretch
    from events
    cross join (values (0), (1)) as steps(_pit_step)
    where (_pit_event + {{ lag + longest - 1 }}) // {{ longest }} >= _pit_available_at // {{ longest }} + _pit_step
),

{% endif -%}
windowed as (
    select
        asked._pit_query,
        max(events._pit_event) as _pit_newest,
        {%- for item in wanted %}
        {%- set within = 'asked._pit_at < ' ~ pit_join._leaves(view, item.window, 'events') if item.window is not none and item.window != longest else none %}
        {{ pit_join._aggregate(item, 'events.' ~ item.input, version, within) | indent(8) }} as {{ item.alias }}{{ ',' if not loop.last }}
        {%- endfor %}
    from asked
    inner join {{ 'placed as events' if longest else 'events' }}
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
)
{%- endmacro %}


{#- One aggregate over the rows for which `within` holds; `version` and then the value itself order the events. -#}
{% macro _aggregate(item, value, version, within) -%}
{%- set ordered = 'row(' ~ version ~ ', ' ~ value ~ ')' -%}
{%- set calls = {
    'count': 'count(' ~ value ~ ')',
    'count_distinct': 'count(distinct ' ~ value ~ ')',
    'sum': 'sum(' ~ value ~ ')',
    'avg': 'avg(' ~ value ~ ')',
    'min': 'min(' ~ value ~ ')',
    'max': 'max(' ~ value ~ ')',
    'stddev': 'stddev_samp(' ~ value ~ ')',
    'first': 'arg_min(' ~ value ~ ', ' ~ ordered ~ ')',
    'last': 'arg_max(' ~ value ~ ', ' ~ ordered ~ ')',
    'last_n': 'arg_max(' ~ value ~ ', ' ~ ordered ~ ', ' ~ item.n ~ ')',
} -%}
{%- set conditions = [within] if within else [] -%}
{%- if item.function == 'stddev' and pit_join._is_float(item.column_type) -%}
{%- set usable = pit_join._usable(value) -%}
case
    when count(*) filter (where {{ (conditions + ['not ' ~ usable]) | join(' and ') }}) > 0 then 'nan'::double
    else {{ calls.stddev }} filter (where {{ (conditions + [usable]) | join(' and ') }})
end
{%- else -%}
{%- if item.function in ('first', 'last', 'last_n') -%}
    {%- do conditions.append(value ~ ' is not null') -%}
{%- endif -%}
{{ calls[item.function] }}{% if conditions %} filter (where {{ conditions | join(' and ') }}){% endif %}
{%- endif -%}
{%- endmacro %}


{#- Whether the square of a float is finite, as a deviation needs it. -#}
{% macro _usable(value) -%}
abs({{ value }}) < 1e150 /* finite when squared */
{%- endmacro %}
