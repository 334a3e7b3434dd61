{#-
    CTE `tiles_W`: minima, maxima, first and last events of one window at each instant asked. A range of instants is
    covered by two tiles that may overlap, each as long as a power of two; each level of tiles is then passed down to the
    next smaller one, until a tile is a single instant. An event that counts at the instants 2 to 7:

        instants asked   0   1   2   3   4   5   6   7   8
        level 2                  [-------------]
        level 2                          [-------------]
        level 1                  [-----] [-----] [-----]
        level 0                  [-] [-] [-] [-] [-] [-]
-#}
{% macro _tiles(view, items, window, late) -%}
{%- set newest = late and window == pit_join._longest_window(view) -%}
{%- set name = 'tiles_' ~ (window or 'lifetime') -%}
{%- set version = 'events.' ~ pit_join._version(view) | join(', events.') -%}
{#- The position of the value in row(version, value). -#}
{%- set place = pit_join._version(view) | length + 1 -%}
{%- set columns = items | map(attribute='alias') | list + (['_pit_newest'] if newest else []) -%}
{{ name }}_spans as (
    select
        {%- for key in view.key_names %}
        events.{{ key }},
        {%- endfor %}
        {%- for item in items %}
        {%- set value = 'events.' ~ item.input %}
        {%- if item.function in ('min', 'max') %}
        {{ value }} as {{ item.alias }},
        {%- else %}
        {%- set ordered = 'row(' ~ version ~ ', ' ~ value ~ (', events._pit_number)' if item.function == 'last_n' else ')') %}
        case when {{ value }} is not null then {{ '[' ~ ordered ~ ']' if item.function == 'last_n' else ordered }} end as {{ item.alias }},
        {%- endif %}
        {%- endfor %}
        events._pit_event as _pit_newest,
        events._pit_available_at,
        {{ pit_join._window_end(view, window, 'events') }} as _pit_end
    from events
),

{{ pit_join._counted_ranges(name, view, none if late or window is none else pit_join._microseconds(window, 'window')) }},

-- Many events count at the same instants.
{{ name }}_shared as (
    select
        _pit_first,
        _pit_last
        {%- for column in columns %},
        {{ pit_join._best(column, items) }} as {{ column }}
        {%- endfor %}
    from {{ name }}_ranges
    group by _pit_first, _pit_last
),

{{ name }}_laid as (
    select
        _pit_level,
        _pit_start
        {%- for column in columns %},
        {{ pit_join._best(column, items) }} as {{ column }}
        {%- endfor %}
    from (
        select
            *,
            case when _pit_begins then _pit_first else _pit_last + 1 - (1::bigint << _pit_level) end as _pit_start
        from (
            select
                *,
                cast(floor(log2(_pit_last - _pit_first + 1)) as integer) as _pit_level
            from {{ name }}_shared
        ) as levelled
        cross join (values (true), (false)) as edges(_pit_begins)
    ) as started
    group by _pit_level, _pit_start
),

{{ name }}_levels as (
    select *
    from {{ name }}_laid
    where _pit_level = (select max(_pit_level) from {{ name }}_laid)
    union all
    select
        _pit_level,
        _pit_start
        {%- for column in columns %},
        {{ pit_join._best(column, items) }} as {{ column }}
        {%- endfor %}
    from (
        select _pit_level - 1 as _pit_level, _pit_start + _pit_half * (1::bigint << (_pit_level - 1)) as _pit_start{% for column in columns %}, {{ column }}{% endfor %}
        from {{ name }}_levels
        cross join (values (0), (1)) as halves(_pit_half)
        where _pit_level > 0
        union all
        select *
        from {{ name }}_laid
        where _pit_level = (select any_value(_pit_level) - 1 from {{ name }}_levels)
    ) as handed_down
    group by _pit_level, _pit_start
),

{{ name }} as (
    select
        _pit_start as _pit_query
        {%- for item in items %},
        {%- if item.function in ('min', 'max') %}
        {{ item.alias }}
        {%- elif item.function == 'last_n' %}
        nullif(list_transform({{ item.alias }}, lambda x: x[{{ place }}]), []) as {{ item.alias }}
        {%- else %}
        {{ item.alias }}[{{ place }}] as {{ item.alias }}
        {%- endif %}
        {%- endfor %}
        {%- if newest %},
        _pit_newest
        {%- endif %}
    from {{ name }}_levels
    where _pit_level = 0
)
{%- endmacro %}


{#- The aggregate that merges two tiles into one. -#}
{% macro _best(column, items) -%}
{%- set function = (items | selectattr('alias', 'equalto', column) | map(attribute='function') | list or ['max'])[0] -%}
{%- if function == 'last_n' -%}
list_reverse_sort(list_distinct(flatten(list({{ column }}))))[:{{ (items | selectattr('alias', 'equalto', column) | list)[0].n }}]
{%- else -%}
{{ 'min' if function in ('min', 'first') else 'max' }}({{ column }})
{%- endif -%}
{%- endmacro %}
