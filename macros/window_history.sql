{#-
    The history of a window view, for a model that stores it. It has one row for every instant at which a feature changes,
    also by the expiry of an event. Each row is a pure function of the events known by its instant, so a part of the
    history (a batch) can be computed again at any later time, with the same rows.

    view        the name of a window view, as text; its events are read whole, whatever the batch of the model
    grid        look only every '1 hour' or '1 day' (counted from 1970-01-01 UTC): a change is seen at the next such instant
    dense       with a grid: a row at every instant of the grid from a key's first change to its last
    start, end  only rows with start <= event_timestamp < end: '2026-03-01', '2026-03-01T00:00:00+02:00', a datetime, or none

    Grain: one row for each key and instant: the join keys, `event_timestamp` (timestamptz), all features without defaults.
    A row that equals the one before it is left out, unless the grid is dense.
    Join the history as of an instant T: for `closed: right` with event_timestamp <= T, for `closed: left` with
    event_timestamp < T (`inclusive: false` on the model).

    Example: {{ pit_join.window_history('carrier_delays', grid='1 day') }}
-#}
{% macro window_history(view, grid=none, dense=false, start=none, end=none) -%}
    {{ return(adapter.dispatch('window_history', 'pit_join')(view, grid, dense, start, end)) }}
{%- endmacro %}


{% macro duckdb__window_history(view, grid, dense, start, end) -%}
{%- set view, features, span = pit_join._asked_of_history(view, grid, dense, {'start': start, 'end': end}) -%}
{%- if not execute -%}
    {{ return('') }}
{%- endif -%}
{%- set compared = view.key_names + [] -%}
{%- for feature in features %}{% do compared.append(pit_join._identifier(feature.name)) %}{% endfor -%}
{%- set parts = pit_join._history_parts(view, features, span) -%}
{%- set in_order = parts | length == 1 and parts[0].form == 'added' and not parts[0].fits -%}
with {{ pit_join._history_rows(view, features, span, parts) }},

{% if not dense -%}
-- {{ pit_join._in_stored_order() }}
{% endif -%}
_pit_compared as (
    select
        *,
        {%- for column in ([] if dense else compared) %}
        {{ 'or ' if not loop.first }}{{ column }} is distinct from lag({{ column }}) over ()
        {%- else %}
        true
        {%- endfor %} as _pit_changed
    from {{ '_pit_rows' if in_order or dense else '(select * from _pit_rows order by ' ~ view.key_names | join(', ') ~ ', _pit_time) as ordered' }}
)

{{ pit_join._changed_rows(view, features, span) }}
{%- endmacro %}


{% macro default__window_history(view, grid, dense, start, end) -%}
{%- set view, features, span = pit_join._asked_of_history(view, grid, dense, {'start': start, 'end': end}) -%}
{%- if not execute -%}
    {{ return('') }}
{%- endif -%}
with {{ pit_join._asked_history(view, features, span) }},

_pit_compared as (
    select
        *,
        {%- if dense %}
        true as _pit_changed
        {%- else %}
        row_number() over of_key = 1
        {%- for feature in features %}
        {%- set column = pit_join._identifier(feature.name) %}
        or {{ column }} is distinct from lag({{ column }}) over of_key
        {%- endfor %} as _pit_changed
        {%- endif %}
    from _pit_rows
    {%- if not dense %}
    window of_key as (partition by {{ view.key_names | join(', ') }} order by _pit_time)
    {%- endif %}
)

{{ pit_join._changed_rows(view, features, span) }}
{%- endmacro %}


{#- The view, its features and the span of a history, checked; nothing while dbt parses. -#}
{% macro _asked_of_history(view, grid, dense, bounds) -%}
{%- set view = pit_join._view(view) -%}
{%- if not execute -%}
    {{ return((none, none, none)) }}
{%- endif -%}
{%- set step = pit_join._duration(grid, 'grid') -%}
{%- if not view.aggregations -%}
    {{ exceptions.raise_compiler_error(view.name ~ ' declares no aggregations, so it has no windows whose history could be made') }}
{%- elif dense and not step or step == 0 -%}
    {{ exceptions.raise_compiler_error("window_history: a dense history needs a grid such as '1 day'") }}
{%- endif -%}
{%- set view = pit_join._prepared(view, {}) -%}
{%- set span = {
    'step': step,
    'dense': dense,
    'from': pit_join._as_of(bounds.start) if bounds.start is not none else none,
    'to': pit_join._as_of(bounds.end) if bounds.end is not none else none,
} -%}
{%- do span.update({'before': pit_join._before(span) if span.from else none}) -%}
{{ return((view, pit_join._plain_features(view), span)) }}
{%- endmacro %}


{#- The final select: the rows of the CTE `_pit_compared` that are changes within the span. -#}
{% macro _changed_rows(view, features, span) -%}
select
    {%- for key in view['keys'] %}
    _pit_key_{{ loop.index }} as {{ pit_join._identifier(key) }},
    {%- endfor %}
    {{ pit_join._time_at('_pit_time') }} as event_timestamp
    {%- for feature in features %},
    {{ pit_join._identifier(feature.name) }}
    {%- endfor %}
from _pit_compared
where
    _pit_changed
    and _pit_time < {{ span.to or pit_join._never() }}
    {%- if span.from %}
    and _pit_time >= {{ span.from }}
    {%- endif %}
order by {{ view.key_names | join(', ') }}, _pit_time
{%- endmacro %}


{#-
    CTEs up to `_pit_rows` (keys, `_pit_time`, features; in this order) for counts, sums and deviations. They are running sums
    over the events that enter and leave each window. All changes before the first requested row are merged into one row
    before it, and every event leaves in the end, so that the running sums are 0 where the next key begins. `units` has the
    unit and the class of columns of floats.
-#}
{% macro _added_history(view, features, span) -%}
{%- set wanted = pit_join._wanted_aggregations(features, view.aggregations, pit_join._found_units(view)) -%}
{%- set spread = wanted | selectattr('function', 'equalto', 'stddev') | list -%}
{%- set measured = wanted | map(attribute='window') | unique | list -%}
{%- set measures = pit_join._measures(wanted, measured) -%}
{%- set summed = [] -%}
{%- for name, measure in measures.items() -%}
    {%- if 'slot' in measure -%}
        {%- do summed.append({'name': name, 'slot': measure.slot, 'enters': 'null' if measure.slot else name, 'leaves': name}) -%}
    {%- else -%}
        {%- for window in measured -%}
            {%- set enters = 'case when _pit_end_' ~ loop.index ~ ' is not null then ' ~ name ~ ' end' -%}
            {%- do summed.append({'name': name ~ '_' ~ loop.index, 'slot': loop.index, 'enters': enters, 'leaves': '-' ~ name}) -%}
        {%- endfor -%}
    {%- endif -%}
{%- endfor -%}
{%- set distinct = wanted | selectattr('function', 'equalto', 'count_distinct') | list -%}
{#- Windows of the other features: the instants at which their events leave have rows, too. -#}
{%- set windows = (measured + (view.aggregations | map(attribute='window') | list)) | unique | list -%}
{%- set keys = view.key_names | join(', ') -%}
{%- set conditions = [] -%}
{#- The events of distinct values are all needed: which one is the last before a gap depends on the next. -#}
{%- if span.from and not distinct -%}
    {%- set ends = pit_join._window_end(view, pit_join._longest_window(view), 'measured') -%}
    {%- do conditions.append('greatest(measured._pit_available_at, ' ~ ends ~ ') > ' ~ span.before) -%}
{%- endif -%}
{%- if span.to and not span.dense and not distinct -%}
    {%- do conditions.append('measured._pit_available_at < ' ~ span.to) -%}
{%- endif -%}
{{ pit_join._window_events(view, wanted) }},

{{ pit_join._measured(view, wanted, measures, false) }},

_pit_counted as (
    select
        {{ keys }},
        {%- for window in windows %}
        {%- set ends = pit_join._window_end(view, window, 'measured') %}
        case when _pit_available_at < {{ ends }} then {{ ends }} end as _pit_end_{{ loop.index }},
        {%- endfor %}
        {{ measures.keys() | join(', ') }},
        _pit_available_at
    from measured
    {%- if conditions %}
    where {{ conditions | join(' and ') }}
    {%- endif %}
),

_pit_changes as {{ pit_join._materialized() ~ ' ' if span.dense }}(
    select
        {{ keys }},
        {{ pit_join._placed('_pit_available_at', span) }} as _pit_time
        {%- for sum in summed %},
        {{ sum.enters }} as {{ sum.name }}
        {%- endfor %}
    from _pit_counted
    {%- for window in windows %}
    {%- set gone = loop.index %}
    union all
    select
        {{ keys }},
        {{ pit_join._placed('_pit_end_' ~ gone, span, never=window is none) }}
        {%- for sum in summed %},
        {{ sum.leaves if sum.slot == gone else 'null' }}
        {%- endfor %}
    from _pit_counted
    where _pit_end_{{ gone }} is not null
    {%- endfor %}
    {%- if span.from %}
    union all
    -- A key whose events have all left is not new.
    select distinct
        {{ keys }},
        {{ span.before }}
        {%- for sum in summed %},
        null
        {%- endfor %}
    from events
    where _pit_available_at <= {{ span.before }}
    {%- endif %}
),
{%- if span.dense %}

{{ pit_join._grid(keys, span) }},
{%- endif %}

_pit_ordered as (
    select *
    from _pit_changes
    {%- if span.dense %}
    union all by name
    select *
    from _pit_grid
    {%- endif %}
    order by {{ keys }}, _pit_time
),

-- {{ pit_join._in_stored_order() }}
sums as (
    select
        {{ keys }},
        _pit_time,
        {%- for sum in summed %}
        coalesce(sum({{ sum.name }}) over (rows unbounded preceding), 0) as {{ sum.name }},
        {%- endfor %}
        {%- for column in view.key_names + ['_pit_time'] %}
        {{ 'and ' if not loop.first }}lead({{ column }}) over () is not distinct from {{ column }}
        {%- endfor %} as _pit_goes_on
    from _pit_ordered
),

{%- if spread %}

-- The sums of each deviation under names of their own.
spread as (
    select
        *
        {%- for item in spread %},
        {%- set slot = measured.index(item.window) + 1 %}
        {%- for part in pit_join._deviation_parts('', '') %}
        {{ item.input }}_{{ part }}_{{ slot }} as {{ item.alias }}_{{ part }},
        {%- endfor %}
        {{ pit_join._summed(dict(item, function='count'), measured, measures) }} as {{ item.alias }}_counted
        {%- endfor %}
    from sums
),

squared as (
    {%- set prefixes = [] %}
    {%- for item in spread %}{% do prefixes.append(item.alias ~ '_') %}{% endfor %}
    {{ pit_join._squared('spread', prefixes) | indent(4) }}
),
{%- endif %}

_pit_rows as (
    select
        {{ keys }},
        _pit_time
        {%- for item in wanted %},
        {%- if item in spread %}
        {%- set of = {'class': pit_join._one_class(item), 'counted': 'cast(sums.' ~ item.alias ~ '_counted as double)', 'squares': 'sums.' ~ item.alias ~ '_squares'} %}
        cast({{ pit_join._deviation(item, of) | indent(8) }} as {{ item.data_type }}) as {{ pit_join._identifier(item.as) }}
        {%- else %}
        cast({{ pit_join._summed(item, measured, measures) | indent(8) }} as {{ item.data_type }}) as {{ pit_join._identifier(item.as) }}
        {%- endif %}
        {%- endfor %}
    from {{ 'squared as sums' if spread else 'sums' }}
    where not _pit_goes_on
)
{%- endmacro %}


{#- The same CTEs for all other features. The windows are computed at each instant at which an event enters or leaves. -#}
{% macro _asked_history(view, features, span) -%}
{%- set keys = view.key_names | join(', ') -%}
{%- set join_keys = {} -%}
{%- for key in view['keys'] %}{% do join_keys.update({key: view.key_names[loop.index0]}) %}{% endfor -%}
_pit_changes as {{ pit_join._materialized() ~ ' ' if pit_join._materialized() }}(
    with {{ pit_join._window_events(view, []) | indent(4) }}

    select distinct
        {{ keys }},
        {{ pit_join._placed('_pit_at', dict(span, before=none)) }} as _pit_time
    from (
        select
            {{ keys }},
            _pit_available_at as _pit_at
        from events
        {%- for window in view.aggregations | map(attribute='window') | unique %}
        {%- set ends = pit_join._window_end(view, window, 'events') %}
        union all
        select
            {{ keys }},
            {{ ends }}
        from events
        where _pit_available_at < {{ ends }} and {{ ends }} < {{ pit_join._never() }}
        {%- endfor %}
    ) as changes
),

_pit_asked as (
    {%- if span.dense %}
    select
        {{ keys }},
        {{ pit_join._instants('_pit_time', span) | indent(8) }} as _pit_time
    from _pit_changes
    group by {{ keys }}
    {%- else %}
    select *
    from _pit_changes
    {%- if span.from or span.to %}
    where {{ '_pit_time >= ' ~ span.from if span.from }}{{ ' and ' if span.from and span.to }}{{ '_pit_time < ' ~ span.to if span.to }}
    {%- endif %}
    {%- if span.from %}
    union all
    -- The state before, for comparison with the first rows.
    select distinct
        {{ keys }},
        {{ span.before }}
    from _pit_changes
    where _pit_time < {{ span.from }}
    {%- endif %}
    {%- endif %}
),

_pit_spine as {{ pit_join._materialized() ~ ' ' if pit_join._materialized() }}(
    select
        *,
        {{ pit_join._row_id(view.key_names, ['_pit_time']) | indent(8) }} as _pit_row
    from _pit_asked
),

_pit_values as (
    {{ pit_join.window_features('_pit_spine', dict(view, closed='right'), features, {'join_keys': join_keys}) | indent(4) }}
),

_pit_rows as (
    select
        {% for key in view.key_names %}_pit_spine.{{ key }}, {% endfor %}_pit_spine._pit_time
        {%- for feature in features %},
        _pit_values.{{ pit_join._identifier(feature.name) }}
        {%- endfor %}
    from _pit_spine
    inner join _pit_values on _pit_spine._pit_row = _pit_values._pit_row
)
{%- endmacro %}


{#- The instant at which a change is seen: the next one of the grid. It is not before the instant of the row before the
    requested ones. With `never`, a change that never happens stays where it is. -#}
{% macro _placed(at, span, never=false) -%}
{%- set seen = pit_join._on_grid(at, span.step) if span.step else at -%}
{%- if span.step and never -%}
{%- set seen %}case when {{ at }} < {{ pit_join._never() }} then {{ seen }} else {{ at }} end{% endset -%}
{%- endif -%}
{{ 'greatest(' ~ seen ~ ', ' ~ span.before ~ ')' if span.before else seen }}
{%- endmacro %}


{#- The instant of the row before the requested ones. -#}
{% macro _before(span) -%}
({{ pit_join._on_grid(span.from, span.step) ~ ' - ' ~ pit_join._microseconds(span.step, 'grid') if span.step else span.from ~ ' - 1' }})
{%- endmacro %}


{#- All instants of a grid from a key's first to its last, one a row; an aggregate. -#}
{% macro _instants(at, span, filter=none) -%}
{%- set first = 'min(' ~ at ~ ')' -%}
{%- set last = 'max(' ~ at ~ ')' ~ (' filter (where ' ~ filter ~ ')' if filter else '') -%}
{{ pit_join._series(
    'greatest(' ~ first ~ ', ' ~ pit_join._on_grid(span.from, span.step) ~ ')' if span.from else first,
    'least(' ~ last ~ ', ' ~ span.to ~ ' - 1)' if span.to else last,
    pit_join._microseconds(span.step, 'grid')
) }}
{%- endmacro %}


{#- CTE `_pit_grid`: all instants of a grid from a key's first change to its last. -#}
{% macro _grid(keys, span) -%}
_pit_grid as (
    select
        {{ keys }},
        {{ pit_join._instants('_pit_time', span, '_pit_time < ' ~ pit_join._never()) | indent(8) }} as _pit_time
    from _pit_changes
    group by {{ keys }}
)
{%- endmacro %}


{#- The first instant of a grid that is not before `at`. -#}
{% macro _on_grid(at, step) -%}
({{ at }} + ({{ pit_join._microseconds(step, 'grid') }} - {{ at }} % {{ step }}) % {{ step }})
{%- endmacro %}


{#- All features of a view under their own names, without defaults. -#}
{% macro _plain_features(view) -%}
    {%- set features = [] -%}
    {%- for name in view.columns -%}
        {%- do features.append({'column': name, 'name': name, 'default': none}) -%}
    {%- endfor -%}
    {{ return(features) }}
{%- endmacro %}
