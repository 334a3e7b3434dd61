{#-
    The rows of a history that decide the rows of a spine, with the columns that a join reads.

    A key of the spine needs the rows known by its last instant that can count at its first, or later. If one of them is known
    at the first instant, then each row of the spine with this key has a winner among them, and the same one as in the whole
    history, since each row left out is older, or known too late. Of any other key the whole history is taken: it tells a
    row that is too old from one that is not yet known.
-#}
{% macro _pruned(spine, request, ties) -%}
{%- set view = pit_join._prepared(request.view, request['keys']) -%}
{%- set keys = view.key_names -%}
{#- Any column of an event may be read by a condition. -#}
{%- set columns = [] -%}
{%- if not view.aggregations -%}
    {%- set read = view['keys'].values() | list + [view.event_timestamp, view.created_timestamp, view.deleted] -%}
    {%- for column in read + request.features | map(attribute='column') | list + (view.columns | list if ties else []) if column and column not in columns -%}
        {%- do columns.append(column) -%}
    {%- endfor -%}
{%- endif -%}
{%- set strict = pit_join._is_strict(view) -%}
{%- set reach = pit_join._reach(view) -%}
with {{ pit_join._asked_of_keys(spine, view, reach) }},

history as {{ pit_join._not_materialized() }} (
    {{ pit_join._history(view, ['*']) | indent(4) }}
),

-- Keys of which no row is sure to count at their first instant.
undecided as {{ pit_join._materialized() }} (
    select asked.*
    from asked
    anti join history
        on
            {%- for key in keys %}
            asked.{{ key }} = history.{{ key }} and
            {%- endfor %}
            {{ pit_join._is_known('asked._pit_first', strict) }}
            {%- if reach is not none %}
            and history._pit_event >= asked._pit_from
            {%- endif %}
),

needed as (
    select
        {%- for key in keys %}
        asked.{{ key }},
        {%- endfor %}
        {%- if reach is not none %}
        case when undecided._pit_last is null then asked._pit_from else {{ pit_join._before_all() }} end as _pit_from,
        {%- endif %}
        case when undecided._pit_last is null then asked._pit_last else {{ pit_join._never() }} end as _pit_last
    from asked
    left join undecided using ({{ keys | join(', ') }})
)

select
    {%- for column in columns %}
    history.{{ pit_join._identifier(column) }}{{ ',' if not loop.last }}
    {%- else %}
    {{ pit_join._all_columns_but('history', keys + pit_join._version(view) + ['_pit_available_at']) }}
    {%- endfor %}
from history
semi join needed
    on
        {%- for key in keys %}
        history.{{ key }} = needed.{{ key }} and
        {%- endfor %}
        {{ pit_join._is_known('needed._pit_last', false) }}
        {%- if reach is not none %}
        and history._pit_event >= needed._pit_from
        {%- endif %}
{%- endmacro %}


{#- The share of a history that `_pruned` would leave, estimated from a sample of so many percent of its rows. -#}
{% macro _pruned_share(spine, view, percent) -%}
{%- set reach = pit_join._reach(view) -%}
with history as (
    {{ pit_join._history(view) | indent(4) }}
),

sampled as {{ pit_join._materialized() }} (
    select *
    from history
    tablesample system ({{ percent }}%) repeatable (1)
),

near as (
    select sampled.*
    from sampled
    semi join {{ pit_join._named(spine, 'spine') }}
        on {% for column in view.spine_keys %}{{ column }} = sampled._pit_key_{{ loop.index }}{{ ' and ' if not loop.last }}{% endfor %}
    where
        sampled._pit_available_at <= (select max(_pit_time) from {{ spine }})
        {%- if reach is not none %}
        and sampled._pit_event >= (select min({{ pit_join._from('_pit_time', reach) }}) from {{ spine }})
        {%- endif %}
)

-- A sample without a row says nothing.
select coalesce((select count(*) from near) / nullif((select count(*) from sampled), 0), 1) as share
{%- endmacro %}


{#- CTE `asked`: each key of a spine, its first and last instant, and the first event time that counts. -#}
{% macro _asked_of_keys(spine, view, reach) -%}
asked as {{ pit_join._materialized() }} (
    select
        {%- for column in view.spine_keys %}
        {{ column }} as _pit_key_{{ loop.index }},
        {%- endfor %}
        {%- if reach is not none %}
        {{ pit_join._from('min(_pit_time)', reach) }} as _pit_from,
        {%- endif %}
        min(_pit_time) as _pit_first,
        max(_pit_time) as _pit_last
    from {{ pit_join._named(spine, 'spine') }}
    where _pit_time is not null and {{ view.spine_keys | join(' is not null and ') }} is not null
    group by {{ view.key_names | join(', ') }}
)
{%- endmacro %}


{#- The greatest age of an event that counts, in microseconds; none where an event of any age counts. -#}
{% macro _reach(view) -%}
    {%- if not view.aggregations -%}
        {{ return(view.ttl) }}
    {%- endif -%}
    {%- set longest = pit_join._longest_window(view) -%}
    {{ return(none if longest is none else longest + (view.lag or 0)) }}
{%- endmacro %}


{#- The first event time that counts at an instant. -#}
{% macro _from(at, reach) -%}
greatest({{ at }}, {{ pit_join._before_all() }} + {{ pit_join._microseconds(reach, 'reach') }}) - {{ pit_join._microseconds(reach, 'reach') }}
{%- endmacro %}


{% macro _is_strict(view) -%}
    {{ return(view.closed == 'left' if view.aggregations else not view.inclusive) }}
{%- endmacro %}
