{#-
    The joins of PostgreSQL. Where the model declares an index that begins with the keys and the event time, each row of the
    spine looks up its winner in it. Otherwise the instants of each key are gathered into a sorted array, in which a row of
    the spine finds its place by halving: the history is sorted once, and neither many rows of a key nor many rows of
    the spine that ask for it make the work grow faster than they do.
-#}
{% macro postgres___joined(spine, view, carried, options) -%}
    {%- if pit_join._index_of(view) -%}
        {{ return(pit_join._joined_by_index(spine, view, carried, options)) }}
    {%- endif -%}
    {{ return(pit_join._joined_by_place(spine, view, carried)) }}
{%- endmacro %}

{% macro postgres___tells(view, features) -%}
    {%- set by_index, values = pit_join._index_of(view) is not none, [] -%}
    {%- for feature in features if by_index %}{% do values.append('_pit_value_' ~ loop.index) %}{% endfor -%}
    {{ return({'later': not view.static, 'carried': by_index, 'values': values, 'also': [], 'once': not by_index}) }}
{%- endmacro %}

{#- Whether each row of the spine looks its row up by an index. Then nothing has to be joined by row numbers. -#}
{% macro _is_looked_up(request) -%}
    {{ return(adapter.dispatch('_is_looked_up', 'pit_join')(request)) }}
{%- endmacro %}

{% macro default___is_looked_up(request) -%}
    {{ return(false) }}
{%- endmacro %}

{% macro postgres___is_looked_up(request) -%}
    {%- set index = pit_join._index_of(pit_join._prepared(request.view, request['keys'])) if not request.view.aggregations -%}
    {{ return(index and index.unique) }}
{%- endmacro %}


{#- CTEs up to `matched`. Of rows of one version any is joined at first. -#}
{% macro _joined_by_place(spine, view, carried) -%}
{%- set keys = view.key_names | join(', ') -%}
{%- set order = ['_pit_available_at'] + (['_pit_created'] if view.created_timestamp else []) -%}
{%- set gathered = ['_pit_available_at'] -%}
{%- for column in carried if column != '_pit_event' or view.created_timestamp %}{% do gathered.append(column) %}{% endfor -%}
{%- set same = ['_pit_available_at'] + (['_pit_created'] if view.created_timestamp else []) -%}
{%- set known = 'known' if view.created_timestamp else 'history' -%}
{% if view.created_timestamp -%}
-- A row that became known after one with a later event never wins, nor does one that became known with it.
known as (
    select *
    from (
        select
            *,
            max(_pit_event) over (partition by {{ keys }} order by _pit_available_at) as _pit_newest
        from history
    ) as so_far
    where _pit_event = _pit_newest
),

{% endif -%}
-- The rows of each key in the order in which they win.
by_key as (
    select{{ pit_join._each_once('_pit_key_1') if view.key_names | length == 1 }} *
    from (
        select
            {{ keys }},
            {%- for column in gathered %}
            array_agg({{ column }} order by {{ order | join(', ') }}) as {{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ known }}
        where {{ view.key_names | join(' is not null and ') }} is not null
        group by {{ keys }}
    ) as grouped
),

joined as materialized (
    select
        {{ pit_join._side_by_side(view, carried, 'won') | indent(8) }},
        {%- if not view.static %}
        by_key._pit_key_1 is not null as _pit_later,
        {%- endif %}
        won._pit_tied
    from {{ pit_join._named(spine, 'spine') }}
    left join by_key
        on {% for column in view.spine_keys %}{{ column }} = by_key._pit_key_{{ loop.index }}{{ ' and ' if not loop.last }}{% endfor %}
    left join lateral (
        select width_bucket({{ pit_join._last_instant('spine._pit_time', not view.inclusive) }}, by_key._pit_available_at) as _pit_place
        offset 0
    ) as placed
        on true
    left join lateral (
        select
            {%- for column in gathered %}
            by_key.{{ column }}[placed._pit_place] as {{ column }},
            {%- endfor %}
            {%- for column in same %}
            {{ 'and ' if not loop.first }}by_key.{{ column }}[placed._pit_place] = by_key.{{ column }}[placed._pit_place - 1]
            {%- endfor %} as _pit_tied
    ) as won
        on true
),

doubles as (
    select distinct
        {%- for column in view.key_names + pit_join._version(view) %}
        {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from joined
    where _pit_tied
),

{{ pit_join._decided_ties(view, carried) }}
{%- endmacro %}


{#- CTE `matched` with the features of the winner, `_pit_value_1` and so on. The index returns all rows of the newest event time; mostly it is one. -#}
{% macro _joined_by_index(spine, view, carried, options) -%}
{%- set index = pit_join._index_of(view) -%}
{%- set found = dict(view, relation=pit_join._newest_by_index(view, index), tells={'once': true}) -%}
{%- set decided = (['won.' ~ pit_join._identifier(view.created_timestamp) ~ ' desc'] if view.created_timestamp else []) + [pit_join._tie_order(view, 'won')] -%}
matched as (
    select{{ pit_join._each_once('spine._pit_row') if not view.tells.lateral }}
        {{ pit_join._side_by_side(view, carried, 'won') | indent(8) }},
        {%- for feature in options.features %}
        won.{{ pit_join._identifier(feature.column) }} as _pit_value_{{ loop.index }},
        {%- endfor %}
        case
            when won._pit_row_id is null
                then (
                    select true
                    from history
                    where {% for column in view.spine_keys %}{{ column }} = history._pit_key_{{ loop.index }}{{ ' and ' if not loop.last }}{% endfor %}
                    limit 1
                )
        end as _pit_later
    from {{ pit_join._named(spine, 'spine') }}
    left join lateral (
        {{ pit_join._history(found, options.also + ['*']) | indent(8) }}
    ) as won
        on true
    {%- if not index.unique %}
    order by
        spine._pit_row,
        {{ decided | join(',\n') | indent(8) }}
    {%- endif %}
)
{%- endmacro %}


{#-
    The rows of the newest event time that were known at the time of a row of `spine`. It is the rule once more, in terms of the stored
    columns, since only these are in the index: known at T are event times up to T - lag and created times up to T. (The
    rows are in no other order than the index: PostgreSQL might read and sort the whole key. A time before all others is the last.)
-#}
{% macro _newest_by_index(view, index) -%}
{%- set quote = pit_join._identifier -%}
{%- set last = pit_join._last_instant('spine._pit_time', not view.inclusive) -%}
{%- set lagged = 'greatest(' ~ last ~ ' - ' ~ pit_join._microseconds(view.lag, 'lag') ~ ', -210866803200000000 /* the first timestamp */)' if view.lag else last -%}
(
    select
        content.ctid,
        content.tableoid,
        content.*
    from {{ view.relation }} as content
    where
        {%- for column in view['keys'].values() %}
        content.{{ quote(column) }} = {{ view.spine_keys[loop.index0] }} and
        {%- endfor %}
        content.{{ quote(view.event_timestamp) }} <= {{ pit_join._as_stored_time(view, view.event_timestamp, lagged) }}
        {%- if view.created_timestamp %}
        and content.{{ quote(view.created_timestamp) }} <= {{ pit_join._as_stored_time(view, view.created_timestamp, last) }}
        and isfinite(content.{{ quote(view.created_timestamp) }})
        {%- endif %}
    order by {% for column in index.times %}content.{{ quote(column) }} desc{{ ', ' if not loop.last }}{% endfor %}
    {{ 'limit 1' if index.unique else 'fetch first 1 row with ties' }}
) as newest
{%- endmacro %}


{#- An instant as a time with which PostgreSQL compares a column, whatever the session's time zone. -#}
{% macro _as_stored_time(view, column, at) -%}
    {%- set kind = view.types[column] | lower -%}
    {{ return(pit_join._as_time('(' ~ at ~ ')', 'timestamptz' if 'tz' in kind or 'with time zone' in kind else 'timestamp')) }}
{%- endmacro %}


{#-
    The index of a model that begins with the keys and the event time, or none. `unique` is whether it also excludes ties, and `times`
    are the time columns in which rows are read: those of a unique index, else the event time.
-#}
{% macro _index_of(view) -%}
    {#- Names of an index are SQL, so that some are quoted. -#}
    {%- set keys = view['keys'].values() | map('replace', '"', '') | list -%}
    {%- set times = [view.event_timestamp, view.created_timestamp] | select | list -%}
    {%- set untyped = [] -%}
    {%- for column in times if pit_join._type_of(view.types.get(column)).family != 'time' %}{% do untyped.append(column) %}{% endfor -%}
    {%- set found = [] -%}
    {%- for index in view.indexes if view.physical and times and not untyped and (index.type or 'btree') == 'btree' -%}
        {%- set columns = index.columns | map('replace', '"', '') | list -%}
        {%- set rest = columns[keys | length:] -%}
        {%- if columns[:keys | length] | sort == keys | sort and rest in (times[:1] | map('replace', '"', '') | list, times | map('replace', '"', '') | list) and index.unique -%}
            {%- do found.insert(0, {'unique': true, 'times': times[:rest | length]}) -%}
        {%- elif columns[:keys | length] | sort == keys | sort and rest[:1] == times[:1] | map('replace', '"', '') | list -%}
            {%- do found.append({'unique': false, 'times': times[:1]}) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found[0] if found else none) }}
{%- endmacro %}
