{#-
    The facts of a feature view's table by which a build chooses a plan, in one streaming pass. One row:
    rows; dated, the rows with a key, an event time and, where declared, a created time; unordered, rows that are not
    stored in the order (keys, event time, created); tied, rows equal in these to the one before; late, rows that did
    not become known after the one before; newest, the greatest event time in microseconds UTC. Of a window view also
    floats: of each column of floats that is added up the number of NaN and infinities, the least magnitude but 0, the greatest,
    and for a deviation the class of all values, if they are of one (see `_wholes.sql`).

    If no row is unordered, tied and late are exact; otherwise they have no meaning. Of a static view newest is null.
-#}
{% macro _history_facts(history) -%}
    {{ return(adapter.dispatch('_history_facts', 'pit_join')(history)) }}
{%- endmacro %}

{#- No order of the rows is known, so that each may be late, or tied with any other. -#}
{% macro default___history_facts(history) -%}
{%- set view = pit_join._prepared(history, {}) -%}
with history as (
    {{ pit_join._history(view) | indent(4) }}
)

select
    (select count(*) from {{ view.relation }}) as rows,
    count(*) as dated,
    count(*) as unordered,
    count(*) as tied,
    count(*) as late,
    {{ 'cast(null as bigint)' if view.static else 'max(_pit_event)' }} as newest
from history
where {{ view.key_names | join(' is not null and ') }} is not null
{%- endmacro %}

{% macro duckdb___history_facts(history) -%}
{%- set view = pit_join._prepared(history, {}) -%}
{%- if view.aggregations -%}
    {{ return(pit_join._event_facts(view)) }}
{%- endif -%}
{%- set version = pit_join._version(view) -%}
{#- The comparison of two rows: a < b, or a = b and the rest is smaller. -#}
{%- set before = namespace(sql='false') -%}
{%- for column in (view.key_names + version) | reverse -%}
    {%- set smaller = column ~ ' < _pit_before' ~ column -%}
    {%- set before.sql = smaller if loop.first else smaller ~ ' or (' ~ column ~ ' = _pit_before' ~ column ~ ' and (' ~ before.sql ~ '))' -%}
{%- endfor -%}
with history as (
    {{ pit_join._history(view) | indent(4) }}
),

-- {{ pit_join._in_stored_order() }}
dated as (
    select
        *,
        {%- for column in view.key_names + version + ['_pit_available_at'] %}
        lag({{ column }}) over () as _pit_before{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from history
    where {{ view.key_names | join(' is not null and ') }} is not null
)

select
    (select count(*) from {{ view.relation }}) as rows,
    count(*) as dated,
    count_if({{ before.sql }}) as unordered,
    count_if({% for column in view.key_names + version %}{{ column }} = _pit_before{{ column }}{{ ' and ' if not loop.last }}{% endfor %}) as tied,
    {%- if view.created_timestamp %}
    count_if(
        {% for column in view.key_names %}{{ column }} = _pit_before{{ column }} and {% endfor %}_pit_available_at <= _pit_before_pit_available_at
        and not ({% for column in version %}{{ column }} = _pit_before{{ column }}{{ ' and ' if not loop.last }}{% endfor %})
    ) as late,
    {%- else %}
    0 as late,
    {%- endif %}
    {{ 'cast(null as bigint)' if view.static else 'max(_pit_event)' }} as newest
from dated
{%- endmacro %}


{#- The same facts for the events of a window view. `late` counts the events known late; with an event_key it counts all
    events, since each may be superseded. -#}
{% macro _event_facts(view) -%}
{%- set dated = view.key_names + pit_join._version(view) -%}
{%- set columns, spread = [], [] -%}
{%- for item in view.aggregations if item.function in ('sum', 'avg', 'stddev') and pit_join._is_float(item.column_type) -%}
    {%- do columns.append(item.column) if item.column not in columns -%}
    {%- do spread.append(item.column) if item.function == 'stddev' -%}
{%- endfor -%}
{%- set read = [] -%}
{%- for column in columns -%}
    {%- set value, name = pit_join._identifier(column), '_pit_float_' ~ loop.index -%}
    {%- do read.append('cast(' ~ value ~ ' as double) as ' ~ name) -%}
    {%- do read.append(pit_join._class(value, 'double') ~ ' as ' ~ name ~ '_class') if column in spread -%}
{%- endfor -%}
with timed as (
    {{ pit_join._timed(view, read) | indent(4) }}
)

select
    count(*) as rows,
    count(*) filter (where {{ dated | join(' is not null and ') }} is not null) as dated,
    0 as unordered,
    0 as tied,
    {{ 'count(*)' if view.event_key else 'count_if(case when _pit_event <= ' ~ (pit_join._last_event(view) or pit_join._never()) ~ ' then _pit_created > _pit_event + ' ~ (view.lag or 0) ~ ' end)' if view.created_timestamp else '0' }} as late,
    max(_pit_event) as newest,
    [
        {%- for column in columns %}
        {%- set float = '_pit_float_' ~ loop.index %}
        {
            'column': {{ pit_join._literal(column) }},
            'odd': count_if(not isfinite({{ float }})),
            'least': min(abs({{ float }})) filter (where {{ float }} <> 0),
            'greatest': max(abs({{ float }})),
            'class': {{ 'case when min(' ~ float ~ '_class) = max(' ~ float ~ '_class) then min(' ~ float ~ '_class) end' if column in spread else 'null' }}
        }{{ ',' if not loop.last }}
        {%- endfor %}
    ] as floats
from timed
{%- endmacro %}


{#- The values of columns that several rows of a relation share, with the number of these rows. Nulls are left out.
    Without columns all rows are equal. -#}
{% macro _doubled(relation, columns) -%}
{%- set names = [] -%}
{%- for column in columns %}{% do names.append(pit_join._identifier(column)) %}{% endfor -%}
select
    {%- for name in names %}
    {{ name }},
    {%- endfor %}
    count(*) as rows_found
from {{ relation }}
{%- if names %}
where {{ names | join(' is not null and ') }} is not null
group by {{ names | join(', ') }}
{%- endif %}
having count(*) > 1
{%- endmacro %}
