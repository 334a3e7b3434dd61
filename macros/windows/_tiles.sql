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
{% macro _tiles(view, items, window, newest) -%}
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

{{ pit_join._counted_ranges(name, view) }},

{{ name }}_laid as (
    select
        _pit_level,
        _pit_start
        {%- for column in columns %},
        {{ pit_join._best(column, items) }} as {{ column }}
        {%- endfor %}
    from (
        select *, cast(floor(log2(_pit_last - _pit_first + 1)) as integer) as _pit_level
        from {{ name }}_ranges
    ) as levelled
    cross join lateral (values (_pit_first), (_pit_last + 1 - (1::bigint << _pit_level))) as starts(_pit_start)
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


{#-
    CTEs up to `X_levels`, whose level 0 holds the merged spans at each instant asked. The rows of `X_spans` (keys,
    `_pit_slot`, `_pit_available_at`, `_pit_end`, more) are merged slot by slot, and never subtracted again. A range of
    instants is cut into tiles that do not overlap, and the contents of a tile are passed down to its two halves. A span
    that counts at the instants 1 to 6:

        instants asked   0   1   2   3   4   5   6   7
        level 1                  [-----] [-----]
        level 0              [-]                 [-]

    laid    {column: an aggregate over the spans that lie on one tile}
    merged  {column: an aggregate over a tile's own row (`_pit_own`) and the row passed down to it, each at most one}
-#}
{% macro _cut_tiles(name, view, laid, merged) -%}
{{ pit_join._counted_ranges(name, view) }},

{{ name }}_laid as (
    select
        _pit_slot,
        _pit_level,
        _pit_tile,
        {%- for column, expression in laid.items() %}
        {{ expression }} as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select
            *,
            -- The tiles of this level that lie within the range: from _pit_from on, before _pit_to.
            (_pit_first + (1::bigint << _pit_level) - 1) >> _pit_level as _pit_from,
            (_pit_last + 1) >> _pit_level as _pit_to
        from {{ name }}_ranges
        cross join generate_series(0, (select cast(log2(count(*) + 2) as integer) from asked)) as levels(_pit_level)
        where (_pit_last - _pit_first + 1) >> _pit_level > 0
    ) as levelled
    -- Of these, the ones that no tile of the next level covers: an odd first and an even last.
    cross join lateral (
        values
        (case when _pit_from < _pit_to and _pit_from % 2 = 1 then _pit_from end),
        (case when _pit_from < _pit_to and _pit_to % 2 = 1 then _pit_to - 1 end)
    ) as tiles(_pit_tile)
    where _pit_tile is not null
    group by _pit_slot, _pit_level, _pit_tile
),

{{ name }}_levels as (
    select *
    from {{ name }}_laid
    where _pit_level = (select max(_pit_level) from {{ name }}_laid)
    union all
    select
        _pit_slot,
        _pit_level,
        _pit_tile,
        {%- for column, expression in merged.items() %}
        {{ expression }} as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select _pit_slot, _pit_level - 1 as _pit_level, _pit_tile * 2 + _pit_half as _pit_tile, {{ laid.keys() | join(', ') }}, false as _pit_own
        from {{ name }}_levels
        cross join (values (0), (1)) as halves(_pit_half)
        where _pit_level > 0
        union all
        select *, true
        from {{ name }}_laid
        where _pit_level = (select any_value(_pit_level) - 1 from {{ name }}_levels)
    ) as handed_down
    group by _pit_slot, _pit_level, _pit_tile
)
{%- endmacro %}


{#- CTE `deviations`: sample deviations at each instant asked. Sums of squares would lose all digits where values are large
    or differ much, so counts, means and squared distances are merged instead. -#}
{% macro _deviations(view, items) -%}
{%- set usable = pit_join._usable('value') -%}
{%- set own = 'any_value(mean) filter (where _pit_own)' -%}
{%- set other = 'any_value(mean) filter (where not _pit_own)' -%}
{#- The mean of a tile moves towards the mean passed down, in proportion to the latter's share of the values. -#}
{%- set mean %}coalesce({{ own }} + ({{ other }} - {{ own }}) * (sum(counted) filter (where not _pit_own) / nullif(sum(counted), 0)), any_value(mean)){% endset -%}
deviations_spans as (
    {%- for item in items %}
    select
        {{ view.key_names | join(', ') }},
        {{ loop.index }} as _pit_slot,
        cast({{ item.input }} as double) as value,
        _pit_available_at,
        {{ pit_join._window_end(view, item.window, 'events') }} as _pit_end
    from events
    where {{ item.input }} is not null
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

{{ pit_join._cut_tiles(
    'deviations',
    view,
    {
        'counted': 'count(*) filter (where ' ~ usable ~ ')',
        'mean': 'avg(value) filter (where ' ~ usable ~ ')',
        'squares': 'count(*) filter (where ' ~ usable ~ ') * var_pop(value) filter (where ' ~ usable ~ ')',
        'wild': 'count(*) filter (where not ' ~ usable ~ ')',
    },
    {
        'counted': 'sum(counted)',
        'mean': mean,
        'squares': 'sum(squares) + coalesce(pow(max(mean) - min(mean), 2) * (min(counted) / nullif(sum(counted), 0)) * max(counted), 0)',
        'wild': 'sum(wild)',
    },
) }},

deviations as (
    select
        _pit_tile as _pit_query,
        {%- for item in items %}
        any_value(case when wild > 0 then 'nan'::double when counted > 1 then sqrt(squares / (counted - 1)) end) filter (where _pit_slot = {{ loop.index }}) as {{ item.alias }}{{ ',' if not loop.last }}
        {%- endfor %}
    from deviations_levels
    where _pit_level = 0
    group by _pit_tile
)
{%- endmacro %}


{#- CTE `residues`: sums at each instant asked of the values that are too small for the running sums, see `_measures`. -#}
{% macro _residues(view, inputs, windows) -%}
residues_spans as (
    {%- for input in inputs %}
    {%- set outer = loop %}
    {%- for window in windows %}
    select
        {{ view.key_names | join(', ') }},
        '{{ input ~ '_' ~ loop.index }}' as _pit_slot,
        cast({{ input }} as double) as value,
        _pit_available_at,
        {{ pit_join._window_end(view, window, 'events') }} as _pit_end
    from events
    where abs({{ input }}) < (select {{ input }}_small from scales) and {{ input }} <> 0
    {%- if not (loop.last and outer.last) %}
    union all
    {%- endif %}
    {%- endfor %}
    {%- endfor %}
),

{{ pit_join._cut_tiles('residues', view, {'total': 'sum(value)'}, {'total': 'sum(total)'}) }},

residues as (
    select
        _pit_tile as _pit_query
        {%- for input in inputs %}
        {%- for window in windows %},
        any_value(total) filter (where _pit_slot = '{{ input ~ '_' ~ loop.index }}') as {{ input ~ '_' ~ loop.index }}
        {%- endfor %}
        {%- endfor %}
    from residues_levels
    where _pit_level = 0
    group by _pit_tile
)
{%- endmacro %}
