{#-
    CTEs up to `_pit_rows`, as those of `_added_history`, for minima, maxima, first and last values. Every event counts from
    when it happens to a window's length later. The events that a key gets at one instant, or between two of a grid, are one
    row of `_pit_cells`. They leave together, too: each window is a frame of cells.
-#}
{% macro _framed_history(view, features, span) -%}
{%- set wanted = pit_join._wanted_aggregations(features, view.aggregations) -%}
{%- set windows = wanted | map(attribute='window') | unique | list -%}
{%- set longest = pit_join._longest_window(view) -%}
{%- set keys = view.key_names | join(', ') -%}
{%- set seen = dict(span, before=none) -%}
{%- set placed = pit_join._placed('_pit_available_at', seen) -%}
{%- set conditions = [] -%}
{%- if span.from and longest -%}
    {%- do conditions.append('_pit_available_at + ' ~ longest ~ ' > ' ~ span.before) -%}
{%- endif -%}
{%- if span.to and not span.dense -%}
    {%- do conditions.append('_pit_available_at < ' ~ span.to) -%}
{%- endif -%}
{{ pit_join._window_events(view, wanted) }},

_pit_counted as (
    select *
    from events
    {%- if conditions %}
    where {{ conditions | join(' and ') }}
    {%- endif %}
),

_pit_cells as (
    select
        {{ keys }},
        {{ placed }} as _pit_time
        {%- for item in wanted %},
        {{ pit_join._aggregate(item, 'events.' ~ item.input, 'events.' ~ pit_join._version(view) | join(', events.'), none) | indent(8) }} as {{ item.alias }}
        {%- endfor %}
    from _pit_counted as events
    group by {{ keys }}, {{ placed }}
),

_pit_changes as {{ pit_join._materialized() ~ ' ' if span.dense }}(
    select * from _pit_cells
    {%- for window in view.aggregations | map(attribute='window') | unique if window is not none %}
    union all by name
    select
        {{ keys }},
        {%- if span.step and window % span.step %}
        {{ pit_join._placed('(_pit_available_at + ' ~ pit_join._microseconds(window, 'window') ~ ')', seen) }} as _pit_time
    from _pit_counted
        {%- else %}
        _pit_time + {{ pit_join._microseconds(window, 'window') }} as _pit_time
    from _pit_cells
        {%- endif %}
    {%- endfor %}
    {%- if span.from %}
    union all by name
    -- A key whose events have all left is not new.
    select distinct
        {{ keys }},
        {{ span.before }} as _pit_time
    from events
    where _pit_available_at <= {{ span.before }}
    {%- endif %}
),
{%- if span.dense %}

{{ pit_join._grid(keys, span) }},
{%- endif %}

_pit_merged as (
    select
        {{ keys }},
        _pit_time
        {%- for item in wanted %},
        any_value({{ item.alias }}) as {{ item.alias }}
        {%- endfor %}
    from {{ '(select * from _pit_changes union all by name select * from _pit_grid) as changes' if span.dense else '_pit_changes' }}
    group by {{ keys }}, _pit_time
),

_pit_rows as (
    select
        {{ keys }},
        _pit_time
        {%- for item in wanted %}
        {%- set call = {'first': 'first_value', 'last': 'last_value'}.get(item.function, item.function) %},
        cast({{ call }}({{ item.alias }}{{ ' ignore nulls' if call != item.function }}) over frame_{{ windows.index(item.window) + 1 }} as {{ item.data_type }}) as {{ pit_join._identifier(item.as) }}
        {%- endfor %}
    from _pit_merged
    window
        {%- for window in windows %}
        -- As 128 bits, in which no time less a window overflows.
        frame_{{ loop.index }} as (
            partition by {{ keys }} order by cast(_pit_time as hugeint)
            range between {{ 'unbounded' if window is none else 'cast(' ~ (window - 1) ~ ' as hugeint)' }} preceding and current row
        ){{ ',' if not loop.last }}
        {%- endfor %}
)
{%- endmacro %}
