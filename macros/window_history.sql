{#-
    The history of a window view, for a model that stores it: one row for every instant at which a feature changes, expiry
    of events included. Each row is a pure function of what was known by its instant, so a part of it (a batch) can be
    computed again at any later time and gives the same rows, but for the last digits of deviations.

    view        the name of a window view, given as text; its events are read whole, whatever the batch of the model
    grid        look only every '1 hour' or '1 day' (counted from 1970-01-01 UTC): a change is seen at the next such instant
    dense       with a grid: a row at every instant of it from a key's first change to its last
    start, end  only rows with start <= event_timestamp < end: '2026-03-01', '2026-03-01T00:00:00+02:00', a datetime, or none

    Grain: one row a key and instant: the join keys, `event_timestamp` (timestamptz), all features without defaults. A row
    that equals the one before it is left out, unless the grid is dense.
    Join it as of an instant: for `closed: right` with event_timestamp <= T, for `closed: left` with event_timestamp < T
    (`inclusive: false` on the model).

    Example: {{ pit_join.window_history('carrier_delays', grid='1 day') }}
-#}
{% macro window_history(view, grid=none, dense=false, start=none, end=none) -%}
    {{ return(adapter.dispatch('window_history', 'pit_join')(view, grid, dense, start, end)) }}
{%- endmacro %}


{% macro default__window_history(view, grid, dense, start, end) -%}
{%- set quote = pit_join._identifier -%}
{%- set view = pit_join._view(view) -%}
{%- if not execute -%}
    {{ return('') }}
{%- endif -%}
{%- set step = pit_join._duration(grid, 'grid') -%}
{%- if not view.aggregations -%}
    {{ exceptions.raise_compiler_error(view.name ~ ' declares no aggregations, so it has no windows whose history could be made') }}
{%- elif dense and not step or step == 0 -%}
    {{ exceptions.raise_compiler_error("window_history: a dense history needs a grid such as '1 day'") }}
{%- endif -%}
{%- set features = pit_join._plain_features(view) -%}
{%- set key_names = [] -%}
{%- for key in view['keys'] %}{% do key_names.append('_pit_key_' ~ loop.index) %}{% endfor -%}
{%- set keys = key_names | join(', ') -%}
{%- set from = pit_join._as_of(start) if start is not none else none -%}
{%- set to = pit_join._as_of(end) if end is not none else none -%}
{%- set compared = key_names + [] -%}
{%- for feature in features %}{% do compared.append(quote(feature.name)) %}{% endfor -%}
{%- set added = [] -%}
{%- for item in view.aggregations if item.function == 'count' or (item.function in ('sum', 'avg') and not pit_join._is_float(item.column_type)) -%}
    {%- do added.append(item) -%}
{%- endfor -%}
{#- Called by name, so that dbt knows on which macros a model depends. #}
{%- if added | length == features | length -%}
with {{ pit_join._added_history(view, features, key_names, step, dense, from, to) }},
{%- else -%}
with {{ pit_join._asked_history(view, features, key_names, step, dense, from, to) }},
{%- endif %}

_pit_compared as (
    select
        *,
        {%- for column in ([] if dense else compared) %}
        {{ 'or ' if not loop.first }}{{ column }} is distinct from lag({{ column }}) over ()
        {%- else %}
        true
        {%- endfor %} as _pit_changed
    from _pit_rows
)

select
    {%- for key in view['keys'] %}
    _pit_key_{{ loop.index }} as {{ quote(key) }},
    {%- endfor %}
    make_timestamptz(_pit_time) as event_timestamp
    {%- for feature in features %},
    {{ quote(feature.name) }}
    {%- endfor %}
from _pit_compared
where
    _pit_changed
    and _pit_time < {{ to or 9223372036854775807 }}
    {%- if from %}
    and _pit_time >= {{ from }}
    {%- endif %}
order by {{ keys }}, _pit_time
{%- endmacro %}


{#-
    CTEs up to `_pit_rows` (keys, `_pit_time`, features; in this order) of features that are counts or exact sums: what comes
    and what goes is added up. All that lies before the first row asked for comes together in one row before it, and
    every event goes in the end, so that the running sums are 0 where the next key begins.
-#}
{% macro _added_history(view, features, key_names, step, dense, from, to) -%}
{%- set wanted = pit_join._wanted_aggregations(features, view.aggregations) -%}
{%- set measures = pit_join._measures(wanted) -%}
{%- set windows = wanted | map(attribute='window') | unique | list -%}
{%- set longest = pit_join._longest_window(view.aggregations) -%}
{%- set keys = key_names | join(', ') -%}
{%- set lag = view.lag or 0 -%}
{%- set far = '9223372036854775807' -%}
{%- set before = pit_join._before(from, step) if from else none -%}
{%- set conditions = [] -%}
{%- if from %}{% do conditions.append('greatest(measured._pit_known, ' ~ pit_join._window_end(longest, lag, view.event_key, 'measured') ~ ') > ' ~ before) %}{% endif -%}
{%- if to and not dense %}{% do conditions.append('measured._pit_known < ' ~ to) %}{% endif -%}
{{ pit_join._window_events(view.relation, view['keys'], wanted, view.event_timestamp, view.created_timestamp, view.event_key, view.deleted, view.types.keys() | list, view.types, view.lag) }},

{{ pit_join._measured(key_names, wanted, measures, lag, view.event_key, false) }},

_pit_counted as (
    select
        {{ keys }},
        {%- for window in windows %}
        {%- set leaves = pit_join._window_end(window, lag, view.event_key, 'measured') %}
        case when _pit_known < {{ leaves }} then {{ leaves }} end as _pit_end_{{ loop.index }},
        {%- endfor %}
        {{ measures.keys() | join(', ') }},
        _pit_known
    from measured
    {%- if conditions %}
    where {{ conditions | join(' and ') }}
    {%- endif %}
),

_pit_changes as {{ pit_join._materialized() ~ ' ' if dense }}(
    select
        {{ keys }},
        {{ pit_join._placed('_pit_known', step, before) }} as _pit_time
        {%- for window in windows %}
        {%- set slot = loop.index %}
        {%- for name in measures %},
        case when _pit_end_{{ slot }} is not null then {{ name }} end as {{ name }}_{{ slot }}
        {%- endfor %}
        {%- endfor %}
    from _pit_counted
    {%- for window in windows %}
    {%- set gone = loop.index %}
    union all
    select
        {{ keys }},
        {{ pit_join._placed('_pit_end_' ~ gone, step, before, never=window is none) }}
        {%- for window in windows %}
        {%- set slot = loop.index %}
        {%- for name in measures %},
        {{ '-' ~ name if slot == gone else 'null' }}
        {%- endfor %}
        {%- endfor %}
    from _pit_counted
    where _pit_end_{{ gone }} is not null
    {%- endfor %}
    {%- if from %}
    union all
    -- A key that had events and has none any more is not new.
    select distinct
        {{ keys }},
        {{ before }}
        {%- for window in windows %}{% for name in measures %},
        null
        {%- endfor %}{% endfor %}
    from events
    where _pit_known <= {{ before }}
    {%- endif %}
),

{%- if dense %}

_pit_grid as (
    select
        {{ keys }},
        {{ pit_join._instants('_pit_time', step, from, to, '_pit_time < ' ~ far) }} as _pit_time
    from _pit_changes
    group by {{ keys }}
),
{%- endif %}

_pit_ordered as (
    select *
    from _pit_changes
    {%- if dense %}
    union all by name
    select *
    from _pit_grid
    {%- endif %}
    order by {{ keys }}, _pit_time
),

sums as (
    select
        {{ keys }},
        _pit_time,
        {%- for window in windows %}
        {%- set slot = loop.index %}
        {%- for name in measures %}
        coalesce(sum({{ name }}_{{ slot }}) over (rows unbounded preceding), 0) as {{ name }}_{{ slot }},
        {%- endfor %}
        {%- endfor %}
        {%- for column in key_names + ['_pit_time'] %}
        lead({{ column }}) over () is not distinct from {{ column }}{{ ' and ' if not loop.last }}
        {%- endfor %} as _pit_goes_on
    from _pit_ordered
),

_pit_rows as (
    select
        {{ keys }},
        _pit_time
        {%- for item in wanted %},
        cast({{ pit_join._summed(item, windows, measures) }} as {{ item.data_type }}) as {{ pit_join._identifier(item.as) }}
        {%- endfor %}
    from sums
    where not _pit_goes_on
)
{%- endmacro %}


{#- The same of all other features: the windows are looked at whenever an event comes or goes. -#}
{% macro _asked_history(view, features, key_names, step, dense, from, to) -%}
{%- set keys = key_names | join(', ') -%}
{%- set named = {} -%}
{%- for key in view['keys'] %}{% do named.update({key: '_pit_key_' ~ loop.index}) %}{% endfor -%}
_pit_changes as {{ pit_join._materialized() }} (
    with {{ pit_join._window_events(view.relation, view['keys'], [], view.event_timestamp, view.created_timestamp, view.event_key, view.deleted, view.types.keys() | list, view.types, view.lag) | indent(4) }}

    select distinct
        {{ keys }},
        {{ pit_join._placed('_pit_at', step) }} as _pit_time
    from (
        select
            {{ keys }},
            _pit_known as _pit_at
        from events
        {%- for window in view.aggregations | map(attribute='window') | unique %}
        {%- set leaves = pit_join._window_end(window, view.lag or 0, view.event_key, 'events') %}
        union all
        select
            {{ keys }},
            {{ leaves }}
        from events
        where _pit_known < {{ leaves }} and {{ leaves }} < 9223372036854775807
        {%- endfor %}
    ) as changes
),

_pit_asked as (
    {%- if dense %}
    select
        {{ keys }},
        {{ pit_join._instants('_pit_time', step, from, to) }} as _pit_time
    from _pit_changes
    group by {{ keys }}
    {%- else %}
    select *
    from _pit_changes
    {%- if from or to %}
    where {{ '_pit_time >= ' ~ from if from }}{{ ' and ' if from and to }}{{ '_pit_time < ' ~ to if to }}
    {%- endif %}
    {%- if from %}
    union all
    -- What was before, to compare the first rows with.
    select distinct
        {{ keys }},
        {{ pit_join._before(from, step) }}
    from _pit_changes
    where _pit_time < {{ from }}
    {%- endif %}
    {%- endif %}
),

_pit_spine as (
    select
        *,
        row_number() over (order by {{ keys }}, _pit_time) as _pit_row
    from _pit_asked
),

_pit_values as (
    {{ pit_join.window_features(
        '_pit_spine', view.relation, named, features, view.aggregations, view.event_timestamp, view.created_timestamp, view.lag, 'right',
        view.event_key, view.deleted, view.types.keys() | list, view.types
    ) | indent(4) }}
),

_pit_rows as (
    select
        _pit_spine.*
        {%- for feature in features %},
        _pit_values.{{ pit_join._identifier(feature.name) }}
        {%- endfor %}
    from _pit_spine
    inner join _pit_values on _pit_spine._pit_row = _pit_values._pit_row
    order by _pit_spine._pit_row
)
{%- endmacro %}


{#- When a change is seen: at the next instant of the grid, and not before the row that comes before those asked for. A
    change that may `never` be stays where it is. -#}
{% macro _placed(at, step, before=none, never=false) -%}
    {%- set seen = pit_join._on_grid(at, step) if step else at -%}
    {%- set seen = 'case when ' ~ at ~ ' < 9223372036854775807 then ' ~ seen ~ ' else ' ~ at ~ ' end' if step and never else seen -%}
    {{ return('greatest(' ~ seen ~ ', ' ~ before ~ ')' if before else seen) }}
{%- endmacro %}


{#- The instant of the row before those from `from` on. -#}
{% macro _before(from, step) -%}
    {{ return('(' ~ pit_join._on_grid(from, step) ~ ' - ' ~ step ~ ')' if step else '(' ~ from ~ ' - 1)') }}
{%- endmacro %}


{#- All instants of a grid from the first to the last of a key (an aggregate), one a row. -#}
{% macro _instants(at, step, from, to, filter=none) -%}
    {%- set first = 'min(' ~ at ~ ')' -%}
    {%- set last = 'max(' ~ at ~ ')' ~ (' filter (where ' ~ filter ~ ')' if filter else '') -%}
    {{ return('unnest(generate_series('
        ~ ('greatest(' ~ first ~ ', ' ~ pit_join._on_grid(from, step) ~ ')' if from else first) ~ ', '
        ~ ('least(' ~ last ~ ', ' ~ to ~ ' - 1)' if to else last) ~ ', ' ~ step ~ '))') }}
{%- endmacro %}


{#- The first instant of a grid that is not before `at`. -#}
{% macro _on_grid(at, step) -%}
    {{ return('(' ~ at ~ ' + (' ~ step ~ ' - ' ~ at ~ ' % ' ~ step ~ ') % ' ~ step ~ ')') }}
{%- endmacro %}


{#- All features of a view under their own names, without defaults. -#}
{% macro _plain_features(view) -%}
    {%- set features = [] -%}
    {%- for name in view.columns -%}
        {%- do features.append({'column': name, 'name': name, 'default': none}) -%}
    {%- endfor -%}
    {{ return(features) }}
{%- endmacro %}
