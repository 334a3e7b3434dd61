{#- Whether a history can be computed by frames: an event counts from when it happens to a window's length later. -#}
{% macro _has_frames(view, features, span) -%}
    {%- set others = [] -%}
    {%- for item in view.aggregations -%}
        {%- if item.function not in ('count', 'sum', 'avg', 'min', 'max', 'first', 'last') or (span.step and item.window and item.window % span.step) -%}
            {%- do others.append(item) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(not (view.created_timestamp or view.event_key or others)) }}
{%- endmacro %}


{#-
    CTEs up to `_pit_rows`, as those of `_added_history`, for features that need no running sums. The events that a key gets
    at one instant, or between two of a grid, are one row of `_pit_cells`. They leave together, too: each window is a frame of cells.
    Floats are added up in one unit; where one is not enough, the instants are asked for one by one.
-#}
{% macro _framed_history(view, features, span) -%}
{%- set floats = {} -%}
{%- for item in view.aggregations if item.function in ('sum', 'avg') and pit_join._is_float(item.column_type) -%}
    {%- do floats.update({item.column: {'unit': 'units.unit_' ~ (floats | length + 1), 'count_bits': none}}) if item.column not in floats -%}
{%- endfor -%}
{%- set wanted = pit_join._wanted_aggregations(features, view.aggregations, floats) -%}
{%- set measures = pit_join._measures(wanted) -%}
{%- set windows = wanted | map(attribute='window') | unique | list -%}
{%- set longest = pit_join._longest_window(view) -%}
{%- set keys = view.key_names | join(', ') -%}
{%- set placed = pit_join._placed('_pit_available_at', dict(span, before=none)) -%}
{%- set tiled = wanted | rejectattr('function', 'in', ['count', 'sum', 'avg']) | list -%}
{%- set held = measures.keys() | list + tiled | map(attribute='alias') | list -%}
{%- set conditions = ['units.fit'] if floats else [] -%}
{%- if span.from and longest -%}
    {%- do conditions.append('_pit_available_at + ' ~ longest ~ ' > ' ~ span.before) -%}
{%- endif -%}
{%- if span.to and not span.dense -%}
    {%- do conditions.append('_pit_available_at < ' ~ span.to) -%}
{%- endif -%}
{{ pit_join._window_events(view, wanted) }},
{%- if floats %}

{{ pit_join._units(view, floats) }},
{%- endif %}

_pit_cells as (
    select
        {{ keys }},
        {{ placed }} as _pit_time
        {%- for name, measure in measures.items() %},
        sum({{ measure.value | indent(8) }}) as {{ name }}
        {%- endfor %}
        {%- for item in tiled %},
        {{ pit_join._aggregate(item, 'events.' ~ item.input, 'events.' ~ pit_join._version(view) | join(', events.'), none) | indent(8) }} as {{ item.alias }}
        {%- endfor %}
    from events
    {%- if floats %}
    cross join units
    {%- endif %}
    {%- if conditions %}
    where {{ conditions | join(' and ') }}
    {%- endif %}
    group by {{ keys }}, {{ placed }}
),

_pit_changes as {{ pit_join._materialized() ~ ' ' if span.dense }}(
    select * from _pit_cells
    {%- for window in windows if window is not none %}
    union all by name
    select
        {{ keys }},
        _pit_time + {{ pit_join._microseconds(window, 'window') }} as _pit_time
    from _pit_cells
    {%- endfor %}
    {%- if span.from %}
    union all by name
    -- A key whose events have all left is not new.
    select distinct
        {{ keys }},
        {{ span.before }} as _pit_time
    from events
    {%- if floats %}
    cross join units
    {%- endif %}
    where _pit_available_at <= {{ span.before }}{{ ' and units.fit' if floats }}
    {%- endif %}
),
{%- if span.dense %}

{{ pit_join._grid(keys, span) }},
{%- endif %}

_pit_merged as (
    select
        {{ keys }},
        _pit_time
        {%- for name in held %},
        any_value({{ name }}) as {{ name }}
        {%- endfor %}
    from {{ '(select * from _pit_changes union all by name select * from _pit_grid) as changes' if span.dense else '_pit_changes' }}
    group by {{ keys }}, _pit_time
),

sums as (
    select
        {{ keys }},
        _pit_time
        {%- for window in windows %}
        {%- set slot = loop.index %}
        {%- for name in measures %},
        coalesce(sum({{ name }}) over frame_{{ slot }}, 0) as {{ name }}_{{ slot }}
        {%- endfor %}
        {%- endfor %}
        {%- for item in tiled %}
        {%- set call = {'first': 'first_value', 'last': 'last_value'}.get(item.function, item.function) %},
        {{ call }}({{ item.alias }}{{ ' ignore nulls' if call != item.function }}) over frame_{{ windows.index(item.window) + 1 }} as {{ item.alias }}
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
),
{%- if floats %}

-- Empty, unless one unit is not enough.
_pit_unframed as (
    select *
    from {{ view.relation }}
    where not (select fit from units)
),
{%- endif %}

_pit_rows as (
    select *
    from (
        select
            {{ keys }},
            _pit_time
            {%- for item in wanted %},
            cast({{ 'sums.' ~ item.alias if item in tiled else pit_join._summed(item, windows, measures) | indent(12) }} as {{ item.data_type }}) as {{ pit_join._identifier(item.as) }}
            {%- endfor %}
        from sums
        {%- if floats %}
        cross join units
        union all
        select
            {{ keys }},
            _pit_time
            {%- for item in wanted %},
            {{ pit_join._identifier(item.as) }}
            {%- endfor %}
        from (
            with {{ pit_join._asked_history(dict(view, relation='_pit_unframed'), features, span) | indent(12) }}

            select * from _pit_rows
        ) as asked
        {%- endif %}
    ) as found
    order by {{ keys }}, _pit_time
)
{%- endmacro %}


{#- CTE `units`: the units in which floats of columns are added up exactly, and whether all columns have one. -#}
{% macro _units(view, floats) -%}
units as {{ pit_join._materialized() }} (
    select
        *,
        {% for column in floats %}coalesce(fit_{{ loop.index }}, true){{ ' and ' if not loop.last }}{% endfor %} as fit
    from (
        select
            {%- for column in floats %}
            {%- set value = 'cast(' ~ pit_join._identifier(column) ~ ' as double)' %}
            {%- set within = ' filter (where ' ~ value ~ ' <> 0 and isfinite(' ~ value ~ '))' %}
            {%- set least, greatest = 'log2(min(abs(' ~ value ~ '))' ~ within ~ ')', 'log2(max(abs(' ~ value ~ '))' ~ within ~ ')' %}
            -- One bit more at both ends, since logarithms are rounded; 53 bits are those of a float, and 93 may be added up.
            coalesce(cast(floor({{ least }}) as integer), 0) - 54 as unit_{{ loop.index }},
            count_if(not isfinite({{ value }})) = 0
            and ceil({{ greatest }}) + 1 - (floor({{ least }}) - 54) <= 93
            and {{ least }} > -900 and {{ greatest }} < 900 as fit_{{ loop.index }}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ view.relation }}
    ) as found
)
{%- endmacro %}
