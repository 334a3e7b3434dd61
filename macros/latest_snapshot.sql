{#-
    The latest values of a feature view, as known at one instant: the contents of an online store.

    view    the name of a feature view
    as_of   an instant such as '2026-03-18 14:30' (naive is UTC) or '2026-03-18T14:30:00+02:00'; none is the time at
            which the query runs
    For a window view: the windows at that instant, for each key that has events by then. For a static view: its rows,
    which have no time, whatever the instant.

    Grain: one row for each key that has a value, so at most one for a view without keys; columns: the join keys, the
    event time (a static view has none), every feature. A key whose newest row is marked deleted has no row. Values older
    than the ttl are kept (a reader judges age at its own time), and defaults are not applied, so that a reader can tell
    null from missing.
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
    The newest known row of each key, whole. Rows are ranked by keys and times alone; their contents are compared only
    where these tie, and read only for the winners.
-#}
{% macro _ranked_snapshot(history, as_of) -%}
{%- set view = pit_join._prepared(history, {}) -%}
{%- set keys = view.key_names | join(', ') -%}
{%- set numbered = '' if view.physical else pit_join._numbered(view) -%}
{%- if numbered -%}
    {%- do view.update({'relation': 'numbered'}) -%}
{%- endif -%}
with {% if numbered -%}
{{ numbered }},

{% endif -%}
history as (
    {{ pit_join._history(view, [pit_join._row_id_of(view)]) | indent(4) }}
),

-- Rows of one version share a rank.
ranked as (
    select
        {{ keys }},
        _pit_row_id,
        rank() over (partition by {{ keys }} order by {{ pit_join._version(view) | join(' desc, ') }} desc) as _pit_rank
    from history
    where
        {{ view.key_names | join(' is not null and ') }} is not null
        and {{ pit_join._is_known(pit_join._as_of(as_of), not view.inclusive) }}
),

newest as (
    select
        {{ keys }},
        _pit_row_id,
        count(*) over (partition by {{ keys }}) as _pit_ties
    from ranked
    where _pit_rank = 1
),

-- Rows equal in (keys, event time, created): the greatest by content wins.
decided as (
    select
        newest._pit_row_id,
        row_number() over (
            partition by {% for key in view.key_names %}newest.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
            order by
                {{ pit_join._tie_order(view, 'content') | indent(16) }}
        ) as _pit_rank
    from newest
    inner join {{ view.relation }} as content on newest._pit_row_id = content.{{ view.row_id }}
    where newest._pit_ties > 1
),

winners as (
    select _pit_row_id
    from newest
    where _pit_ties = 1
    union all
    select _pit_row_id
    from decided
    where _pit_rank = 1
)

select
    {{ pit_join._snapshot_columns(view) | indent(4) }}
from {{ view.relation }}
where
    {{ view.row_id }} in (select _pit_row_id from winners)
    {%- if view.deleted %}
    and not coalesce({{ pit_join._mark(view) }}, false)
    {%- endif %}
{%- endmacro %}


{#-
    The newest known row of each key, in one pass over an ordered table. The table must be stored in the order (keys,
    event time, created) and have no ties: see `_history_facts`. The last known row of each key wins, whenever it became
    known. The result is in the order of the keys.
-#}
{% macro _ordered_snapshot(history, as_of) -%}
{%- set view = pit_join._prepared(history, {}) -%}
with history as (
    {{ pit_join._history(view, ['*']) | indent(4) }}
),

-- {{ pit_join._in_stored_order() }}
known as (
    select
        *,
        {%- for key in view.key_names %}
        lead({{ key }}) over () as _pit_next_{{ loop.index }}{{ ',' if not loop.last }}
        {%- endfor %}
    from history
    where
        {{ view.key_names | join(' is not null and ') }} is not null
        and {{ pit_join._is_known(pit_join._as_of(as_of), not view.inclusive) }}
)

select
    {{ pit_join._snapshot_columns(view) | indent(4) }}
from known
where
    {% if view.key_names | length > 1 %}({% endif %}
    {%- for key in view.key_names -%}
    {{ key }} is distinct from _pit_next_{{ loop.index }}{{ ' or ' if not loop.last }}
    {%- endfor -%}
    {%- if view.key_names | length > 1 %}){% endif %}
    {%- if view.deleted %}
    and not coalesce({{ pit_join._mark(view) }}, false)
    {%- endif %}
{%- endmacro %}


{% macro _snapshot_columns(view) -%}
{{ pit_join._selected_keys(view) }}{{ ',\n' if view['keys'] }}
{%- for column in ([] if view.static else [view.event_timestamp]) + view.columns.keys() | list -%}
{{ pit_join._identifier(column) }}{{ ',\n' if not loop.last }}
{%- endfor -%}
{%- endmacro %}


{#- The keys of a row of a view's relation, under the names of the entity. -#}
{% macro _selected_keys(view, separator=',\n') -%}
{%- for key, column in view['keys'].items() -%}
{{ pit_join._identifier(column) }}{{ ' as ' ~ pit_join._identifier(key) if key != column }}{{ separator if not loop.last }}
{%- endfor -%}
{%- endmacro %}


{#- The snapshot of a window view: its windows at one instant, for all keys with known events. -#}
{% macro _window_snapshot(view, as_of) -%}
{%- set quote = pit_join._identifier -%}
{%- set keys, columns = [], [] -%}
{%- for key, column in view['keys'].items() %}{% do keys.append(quote(key)) %}{% do columns.append(quote(column)) %}{% endfor -%}
with _pit_spine as {{ pit_join._materialized() }} (
    select
        *,
        {{ pit_join._row_id(keys or ['_pit_key_1'], []) | indent(8) }} as _pit_row,
        {{ pit_join._as_of(as_of) }} as _pit_time
    from (
        {%- if keys %}
        select distinct {{ pit_join._selected_keys(view, ', ') }}
        from {{ view.relation }}
        where {{ columns | join(' is not null and ') }} is not null
        {%- else %}
        select {{ pit_join._only_key() }} as _pit_key_1
        {%- endif %}
    ) as distinct_keys
),

-- Each event is compared with one instant of its key, so no plan does less.
_pit_values as (
    {{ pit_join.window_features('_pit_spine', view, pit_join._plain_features(view), {'provenance': '_pit', 'plan': 'range'}) | indent(4) }}
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
