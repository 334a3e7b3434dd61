{#-
    The latest values of a feature view, as known at one instant: what an online store holds.

    view    the name of a feature view
    as_of   an instant such as '2026-03-18 14:30' (naive is UTC) or '2026-03-18T14:30:00+02:00'; none is the moment at
            which the query runs
    Of a window view: the windows as they are at that instant, for each key that has events by then.

    Grain: one row a key that has a value; columns: the join keys, the event time, every feature. A key whose newest
    row is marked deleted has none. Values older than the ttl are kept (a reader judges age at its own time), and
    defaults are not applied, so that a reader can tell null from missing.
    Example: {{ pit_join.latest_snapshot('user_activity', as_of='2026-03-18 14:30') }}
-#}
{% macro latest_snapshot(view, as_of=none) -%}
    {{ return(adapter.dispatch('latest_snapshot', 'pit_join')(view, as_of)) }}
{%- endmacro %}

{% macro default__latest_snapshot(view, as_of) -%}
{%- set view = pit_join._view(view) -%}
{%- if not execute -%}
    {{ return('') }}
{%- endif -%}
{%- if view.aggregations -%}
    {{ return(pit_join._window_snapshot(view, as_of)) }}
{%- endif -%}
{{ return(pit_join._ranked_snapshot(view, as_of)) }}
{%- endmacro %}


{#-
    The newest known row of each key, whole. Rows are ranked by keys and times alone; what they hold is compared only
    where these tie, and read only of the winners. `history` is a stored copy to read instead.
-#}
{% macro _ranked_snapshot(view, as_of, history=none) -%}
{%- set quote = pit_join._identifier -%}
{%- set version = ['_pit_event'] + (['_pit_created'] if view.created_timestamp else []) -%}
{%- set keys = [] -%}
{%- for key in view['keys'] %}{% do keys.append(quote(key)) %}{% endfor -%}
{%- set physical = history is not none or (view.physical and pit_join._has_row_numbers()) -%}
{%- set row_id = 'rowid' if physical else '_pit_row_id' -%}
{%- set source = (history or view.relation) if physical else 'numbered' -%}
{% if physical -%}
with history as (
{%- else -%}
with numbered as {{ pit_join._materialized() }} (
    select
        source.*,
        row_number() over (order by {{ keys | join(', ') }}) as _pit_row_id
    from {{ view.relation }} as source
),

history as (
{%- endif %}
    select
        {{ keys | join(', ') }},
        {{ pit_join._instant(quote(view.event_timestamp), view.types[view.event_timestamp], round_up=true) }} as _pit_event,
        {%- if view.created_timestamp %}
        {{ pit_join._instant(quote(view.created_timestamp), view.types[view.created_timestamp], round_up=true) }} as _pit_created,
        {%- endif %}
        {{ row_id }} as _pit_number
    from {{ source }}
),

ranked as (
    select
        history.*,
        rank() over (partition by {{ keys | join(', ') }} order by {{ version | join(' desc, ') }} desc) as _pit_rank
    from history
    where
        {{ pit_join._is_known(view, as_of, version) | indent(8) }}
),

newest as (
    select
        {{ keys | join(', ') }},
        _pit_number,
        count(*) over (partition by {{ keys | join(', ') }}) as _pit_ties
    from ranked
    where _pit_rank = 1
),

-- Rows equal in (keys, event time, created): the greatest by content stands for them all.
decided as (
    select
        newest._pit_number,
        row_number() over (
            partition by {% for key in keys %}newest.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
            order by
                {%- if view.deleted %}
                source.{{ quote(view.deleted) }} desc nulls last,
                {%- endif %}
                {%- for column in view.columns %}
                source.{{ quote(column) }} desc nulls last,
                {%- endfor %}
                source.{{ quote(view.event_timestamp) }} desc
        ) as _pit_rank
    from newest
    inner join {{ source }} as source on newest._pit_number = source.{{ row_id }}
    where newest._pit_ties > 1
),

winners as (
    select _pit_number
    from newest
    where _pit_ties = 1
    union all
    select _pit_number
    from decided
    where _pit_rank = 1
)

select
    {{ pit_join._snapshot_columns(view) | indent(4) }}
from {{ source }}
where
    {{ row_id }} in (select _pit_number from winners)
    {%- if view.deleted %}
    and not coalesce({{ quote(view.deleted) }}, false)
    {%- endif %}
{%- endmacro %}


{#-
    The same in one pass over a table that is stored in the order (keys, event time, created) and has no ties: see
    `_history_facts`. Of the rows that are known the last of each key wins, whenever it became known. The result is in the
    order of the keys.
-#}
{% macro _ordered_snapshot(view, as_of) -%}
{%- set quote = pit_join._identifier -%}
{%- set version = ['_pit_event'] + (['_pit_created'] if view.created_timestamp else []) -%}
with history as (
    select
        *,
        {%- if view.created_timestamp %}
        {{ pit_join._instant(quote(view.created_timestamp), view.types[view.created_timestamp], round_up=true) }} as _pit_created,
        {%- endif %}
        {{ pit_join._instant(quote(view.event_timestamp), view.types[view.event_timestamp], round_up=true) }} as _pit_event
    from {{ view.relation }}
),

known as (
    select
        *,
        {%- for key in view['keys'] %}
        lead({{ quote(key) }}) over () as _pit_next_{{ loop.index }}{{ ',' if not loop.last }}
        {%- endfor %}
    from history
    where
        {{ pit_join._is_known(view, as_of, version) | indent(8) }}
)

select
    {{ pit_join._snapshot_columns(view) | indent(4) }}
from known
where
    {% if view['keys'] | length > 1 %}({% endif %}
    {%- for key in view['keys'] -%}
    {{ quote(key) }} is distinct from _pit_next_{{ loop.index }}{{ ' or ' if not loop.last }}
    {%- endfor -%}
    {%- if view['keys'] | length > 1 %}){% endif %}
    {%- if view.deleted %}
    and not coalesce({{ quote(view.deleted) }}, false)
    {%- endif %}
{%- endmacro %}


{#- Whether a row of `history` was known at an instant; rows without a key or a time never are. -#}
{% macro _is_known(view, as_of, version) -%}
{%- for key in view['keys'] -%}
{{ pit_join._identifier(key) }} is not null and
{% endfor -%}
{%- for column in version -%}
{{ column }} is not null and
{% endfor -%}
{{ pit_join._available_at(view.created_timestamp, view.lag) }} {{ '<=' if view.inclusive else '<' }} {{ pit_join._as_of(as_of) }}
{%- endmacro %}


{% macro _snapshot_columns(view) -%}
{%- for column in view['keys'] + [view.event_timestamp] + view.columns.keys() | list -%}
{{ pit_join._identifier(column) }}{{ ',\n' if not loop.last }}
{%- endfor -%}
{%- endmacro %}


{#- Whether rows of a stored table have numbers of their own. -#}
{% macro _has_row_numbers() -%}
    {{ return(adapter.dispatch('_has_row_numbers', 'pit_join')()) }}
{%- endmacro %}

{% macro duckdb___has_row_numbers() -%}
    {{ return(true) }}
{%- endmacro %}

{% macro default___has_row_numbers() -%}
    {{ return(false) }}
{%- endmacro %}


{#- An instant of the caller's as microseconds UTC. -#}
{% macro _as_of(as_of) -%}
    {%- if as_of is none -%}
        {{ return(pit_join._instant('current_timestamp', 'timestamptz')) }}
    {%- endif -%}
    {%- set found = modules.re.fullmatch('([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2})(:[0-9]{2}(?:[.][0-9]{1,6})?)?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?', as_of | string) -%}
    {%- if not found -%}
        {{ exceptions.raise_compiler_error("cannot read the instant '" ~ as_of ~ "'; write for example '2026-03-18 14:30' (UTC) or '2026-03-18T14:30:00+02:00'") }}
    {%- endif -%}
    {%- set day, minute, second, zone = found.groups() -%}
    {%- set text = day ~ ' ' ~ (minute or '00:00') ~ (second or ':00') ~ ('+00' if zone in (none, 'Z') else zone) -%}
    {{ return(pit_join._instant('cast(' ~ pit_join._literal(text) ~ ' as timestamp with time zone)', 'timestamptz')) }}
{%- endmacro %}


{#- The same of a window view: its windows as they are at one instant, for all keys that have known events. -#}
{% macro _window_snapshot(view, as_of) -%}
{%- set quote = pit_join._identifier -%}
{%- set keys = [] -%}
{%- set named = {} -%}
{%- for key in view['keys'] %}{% do keys.append(quote(key)) %}{% do named.update({key: key}) %}{% endfor -%}
with _pit_spine as {{ pit_join._materialized() }} (
    select
        *,
        row_number() over () as _pit_row,
        {{ pit_join._as_of(as_of) }} as _pit_time
    from (
        select distinct {{ keys | join(', ') }}
        from {{ view.relation }}
        where {% for key in keys %}{{ key }} is not null{{ ' and ' if not loop.last }}{% endfor %}
    ) as distinct_keys
),

_pit_values as (
    {{ pit_join.window_features(
        '_pit_spine', view.relation, named, pit_join._plain_features(view), view.aggregations, view.event_timestamp, view.created_timestamp,
        view.lag, view.closed, view.event_key, view.deleted, view.types.keys() | list, view.types, provenance='_pit'
    ) | indent(4) }}
)

select
    {%- for key in keys %}
    _pit_spine.{{ key }},
    {%- endfor %}
    _pit_values._pit__event_timestamp as {{ quote(view.event_timestamp) }}
    {%- for name in view.columns %},
    _pit_values.{{ quote(name) }}
    {%- endfor %}
from _pit_spine
inner join _pit_values on _pit_spine._pit_row = _pit_values._pit_row
where _pit_values._pit__status in ('PRESENT', 'NULL_VALUE')
{%- endmacro %}
