{#-
    One history joined to one spine: for each spine row the one history row that was known at its time, by the rule of
    docs/concepts.md. This is the only place that decides what "as of" means.

    spine              the name of a relation made by `spine_rows` (it holds `_pit_row` and `_pit_time`)
    history            the relation that holds the history
    keys               {history column: spine column}
    features           [{column, name, default}]: what is wanted, its name in the result, an SQL default or none
    event_timestamp    the column with the instant that a row describes
    created_timestamp  the column with the instant at which the row became known, or none
    lag, ttl           in microseconds, or none; `inclusive=false` counts only what was known strictly before
    deleted            the column that marks the end of a key, or none
    content            all columns that tell tied rows apart; the greatest row by them wins a tie
    types              {column: declared type} of the history
    physical           the relation is a stored table (its rows have numbers of their own)
    ties, late         whether rows equal in (keys, event time, created) and rows known out of order may occur;
                       false only where it was checked
    provenance         a name N: also give N__event_timestamp, the winner's event time in its own type, and call the
                       status N__status
    step               none is the whole query; 'match' stops when each spine row has its history row, and 'values' goes on
                       from there, if the result was stored as `_pit_matched`: DuckDB joins faster what it can count

    Grain: one row a spine row: `_pit_row`, `_pit_status`, `_pit_age` (microseconds from the event time of a valid row to T, else null),
    the features. Null keys and null times match nothing.
    Order: none is promised.
-#}
{% macro point_in_time_join(spine, history, keys, features, event_timestamp, created_timestamp=none, lag=none, ttl=none, inclusive=true, deleted=none, content=[], types={}, physical=false, ties=true, late=true, provenance=none, step=none) -%}
    {{ return(adapter.dispatch('point_in_time_join', 'pit_join')(spine, history, keys, features, event_timestamp, created_timestamp, lag, ttl, inclusive, deleted, content, types, physical, ties, late, provenance, step)) }}
{%- endmacro %}


{#- ASOF join on the instant from which each row is known; then ties among the joined rows are broken by content. -#}
{% macro duckdb__point_in_time_join(spine, history, keys, features, event_timestamp, created_timestamp, lag, ttl, inclusive, deleted, content, types, physical, ties, late, provenance, step) -%}
{%- set quote = pit_join._identifier -%}
{%- set key_names = [] -%}
{%- for key in keys %}{% do key_names.append('_pit_key_' ~ loop.index) %}{% endfor -%}
{%- set version = ['_pit_event'] + (['_pit_created'] if created_timestamp else []) -%}
{%- set source = history if physical else 'numbered' -%}
{%- set row_id = 'rowid' if physical else '_pit_row_id' -%}
{%- set known = 'known' if late and created_timestamp else 'history' -%}
{%- set carried = ['_pit_row_id'] + version + (['_pit_deleted'] if deleted else []) + (['_pit_event_timestamp'] if provenance else []) -%}
{#- `history` is read twice, but the second time only for the keys without a match: a copy would cost more than both. -#}
{% if physical -%}
with history as not materialized (
{%- else -%}
with numbered as materialized (
    select
        *,
        row_number() over () as _pit_row_id
    from {{ history }}
),

history as not materialized (
{%- endif %}
    select
        {%- for key in keys %}
        {{ quote(key) }} as _pit_key_{{ loop.index }},
        {%- endfor %}
        {{ pit_join._instant(quote(event_timestamp), types.get(event_timestamp), round_up=true) }} as _pit_event,
        {%- if created_timestamp %}
        {{ pit_join._instant(quote(created_timestamp), types.get(created_timestamp), round_up=true) }} as _pit_created,
        {%- endif %}
        {{ pit_join._available_at(created_timestamp, lag) }} as _pit_available_at,
        {%- if deleted %}
        coalesce({{ quote(deleted) }}, false) as _pit_deleted,
        {%- endif %}
        {%- if provenance %}
        {{ quote(event_timestamp) }} as _pit_event_timestamp,
        {%- endif %}
        {{ row_id }} as _pit_row_id
    from {{ source }}
    where {% for column in version %}{{ column }} is not null{{ ' and ' if not loop.last }}{% endfor %}
),
{%- if late and created_timestamp and step != 'values' %}

-- A row that became known after a newer one never wins; of the rows that became known together only the newest does.
-- (Of rows with one event time the one created later is known later, so the created time need not be compared.)
known as (
    select *
    from history
    window as_known as (
        partition by {{ key_names | join(', ') }}
        order by _pit_available_at, _pit_event, _pit_created
        rows unbounded preceding
    )
    qualify
        _pit_event >= max(_pit_event) over as_known
        and lead(_pit_available_at) over as_known is distinct from _pit_available_at
),
{%- endif %}
{%- if step != 'values' %}

{{ 'joined' if ties else 'matched' }} as (
    select
        spine._pit_row,
        spine._pit_time,
        {%- for spine_column in keys.values() %}
        spine.{{ quote(spine_column) }} as _pit_key_{{ loop.index }},
        {%- endfor %}
        {%- for column in carried %}
        {#- Each column that the join carries costs memory for the whole history. #}
        {%- if column == '_pit_event' and not created_timestamp %}
        known._pit_available_at{{ ' - ' ~ lag if lag }} as _pit_event{{ ',' if not loop.last }}
        {%- else %}
        known.{{ column }}{{ ',' if not loop.last }}
        {%- endif %}
        {%- endfor %}
    from {{ spine }} as spine
    asof left join {{ known }} as known
        on
            {%- for spine_column in keys.values() %}
            spine.{{ quote(spine_column) }} = known._pit_key_{{ loop.index }} and
            {%- endfor %}
            -- Not null: to DuckDB 1.5 a null is the latest of all times.
            coalesce(spine._pit_time, -9223372036854775808) {{ '>=' if inclusive else '>' }} known._pit_available_at
)
{%- if ties %},

-- Rows equal in (keys, event time, created) to one that was joined: the greatest by content stands for them all.
tied as (
    select *
    from history
    semi join joined using ({{ (key_names + version) | join(', ') }})
    qualify count(*) over (partition by {{ (key_names + version) | join(', ') }}) > 1
),

winners as (
    select tied.*
    from tied
    inner join {{ source }} as content on tied._pit_row_id = content.{{ row_id }}
    qualify row_number() over (
        partition by {% for column in key_names + version %}tied.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
        order by
            {%- if deleted %}
            content.{{ quote(deleted) }} desc nulls last,
            {%- endif %}
            {%- for column in content %}
            content.{{ quote(column) }} desc nulls last,
            {%- endfor %}
            {#- Nanoseconds that are one microsecond here: the event time is in the result with `provenance`. #}
            content.{{ quote(event_timestamp) }} desc
    ) = 1
),

matched as (
    select
        joined.* replace (
            {%- for column in carried if column not in version %}
            case when winners._pit_row_id is null then joined.{{ column }} else winners.{{ column }} end as {{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        )
    from joined
    left join winners using ({{ (key_names + version) | join(', ') }})
)
{%- endif %}
{%- if step == 'match' %}

select * from matched
{%- else %},
{%- endif %}
{%- endif %}
{%- if step != 'match' %}

{{ pit_join._judged('_pit_matched' if step == 'values' else 'matched', key_names, ttl, deleted, provenance) }}

{{ pit_join._gathered(source, row_id, features, provenance) }}
{%- endif %}
{%- endmacro %}


{#-
    The same in portable SQL, without ASOF: history rows are numbered in the order in which they win, spine and history
    are put into one list by the instant they are known or asked at, and the greatest number so far is the winner.
-#}
{% macro default__point_in_time_join(spine, history, keys, features, event_timestamp, created_timestamp, lag, ttl, inclusive, deleted, content, types, physical, ties, late, provenance, step) -%}
{%- set quote = pit_join._identifier -%}
{%- set key_names = [] -%}
{%- for key in keys %}{% do key_names.append('_pit_key_' ~ loop.index) %}{% endfor -%}
with timed as (
    select
        source.*,
        {%- for key in keys %}
        source.{{ quote(key) }} as _pit_key_{{ loop.index }},
        {%- endfor %}
        {{ pit_join._instant('source.' ~ quote(event_timestamp), types.get(event_timestamp), round_up=true) }} as _pit_event
        {%- if created_timestamp %},
        {{ pit_join._instant('source.' ~ quote(created_timestamp), types.get(created_timestamp), round_up=true) }} as _pit_created
        {%- endif %}
        {%- if deleted %},
        coalesce(source.{{ quote(deleted) }}, false) as _pit_deleted
        {%- endif %}
    from {{ history }} as source
),

history as (
    select
        timed.*,
        {{ pit_join._available_at(created_timestamp, lag) }} as _pit_available_at,
        row_number() over (
            order by
                _pit_event
                {%- if created_timestamp %},
                _pit_created
                {%- endif %}
                {%- if deleted %},
                {{ quote(deleted) }} nulls first
                {%- endif %}
                {%- for column in content %},
                {{ quote(column) }} nulls first
                {%- endfor %},
                {{ quote(event_timestamp) }}
        ) as _pit_row_id
    from timed
    where
        _pit_event is not null
        {%- if created_timestamp %}
        and _pit_created is not null
        {%- endif %}
),

stacked as (
    select
        {{ key_names | join(', ') }},
        _pit_available_at as _pit_at,
        {{ 0 if inclusive else 1 }} as _pit_side,
        _pit_row_id,
        null as _pit_row
    from history
    union all
    select
        {%- for spine_column in keys.values() %}
        {{ quote(spine_column) }},
        {%- endfor %}
        _pit_time,
        {{ 1 if inclusive else 0 }},
        null,
        _pit_row
    from {{ spine }}
    where
        _pit_time is not null
        {%- for spine_column in keys.values() %}
        and {{ quote(spine_column) }} is not null
        {%- endfor %}
),

filled as (
    select
        _pit_row,
        max(_pit_row_id) over (
            partition by {{ key_names | join(', ') }}
            order by _pit_at, _pit_side
            rows between unbounded preceding and current row
        ) as _pit_row_id
    from stacked
),

matched as (
    select
        spine._pit_row,
        spine._pit_time,
        {%- for spine_column in keys.values() %}
        spine.{{ quote(spine_column) }} as _pit_key_{{ loop.index }},
        {%- endfor %}
        history._pit_row_id,
        {%- if deleted %}
        history._pit_deleted,
        {%- endif %}
        {%- if provenance %}
        history.{{ quote(event_timestamp) }} as _pit_event_timestamp,
        {%- endif %}
        history._pit_event
    from {{ spine }} as spine
    left join filled on spine._pit_row = filled._pit_row
    left join history on filled._pit_row_id = history._pit_row_id
),

{{ pit_join._judged('matched', key_names, ttl, deleted, provenance) }}

{{ pit_join._gathered('history', '_pit_row_id', features, provenance) }}
{%- endmacro %}


{#- From which instant a history row is known: `lag` after its event time, and not before it was created. -#}
{% macro _available_at(created_timestamp, lag) -%}
    {%- set known = '_pit_event + ' ~ lag if lag else '_pit_event' -%}
    {{ return('greatest(' ~ known ~ ', _pit_created)' if created_timestamp else known) }}
{%- endmacro %}


{#- CTEs from `matched` to `chosen`: the status of each spine row; the row number stays only where there is a value. -#}
{% macro _judged(matched, key_names, ttl, deleted, provenance) -%}
unmatched as (
    select distinct {{ key_names | join(', ') }}
    from {{ matched }}
    where _pit_row_id is null and {% for key in key_names %}{{ key }} is not null{{ ' and ' if not loop.last }}{% endfor %}
),

-- Keys that have a history, all of it later than somebody asks for.
later as (
    select distinct {% for key in key_names %}history.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
    from history
    inner join unmatched
        on {% for key in key_names %}history.{{ key }} = unmatched.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
),

judged as (
    select
        matched._pit_row,
        matched._pit_row_id,
        matched._pit_time - matched._pit_event as _pit_age,
        {%- if provenance %}
        matched._pit_event_timestamp,
        {%- endif %}
        case
            when matched._pit_time is null{% for key in key_names %} or matched.{{ key }} is null{% endfor %} then 'NULL_KEY'
            {%- if deleted %}
            when matched._pit_deleted then 'NOT_FOUND'
            {%- endif %}
            {%- if ttl %}
            when matched._pit_time - matched._pit_event > {{ ttl }} then 'OUTSIDE_MAX_AGE'
            {%- endif %}
            when matched._pit_row_id is not null then 'PRESENT'
            when later.{{ key_names[0] }} is not null then 'NOT_YET_KNOWN'
            else 'NOT_FOUND'
        end as _pit_status
    from {{ matched }} as matched
    left join later
        on {% for key in key_names %}matched.{{ key }} = later.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
),

chosen as (
    select
        _pit_row,
        _pit_status,
        case when _pit_status = 'PRESENT' then _pit_age end as _pit_age,
        {%- if provenance %}
        case when _pit_status in ('PRESENT', 'OUTSIDE_MAX_AGE') then _pit_event_timestamp end as _pit_event_timestamp,
        {%- endif %}
        {#- A row that is too old or deleted must not give its values; elsewhere DuckDB joins faster without the case. #}
        {{ "case when _pit_status = 'PRESENT' then _pit_row_id end as _pit_row_id" if ttl or deleted else '_pit_row_id' }}
    from judged
)
{%- endmacro %}


{#- The final select: the features of each chosen row, by its number. -#}
{% macro _gathered(source, row_id, features, provenance) -%}
{%- set quote = pit_join._identifier -%}
select
    chosen._pit_row,
    chosen._pit_age,
    {%- if provenance %}
    chosen._pit_event_timestamp as {{ quote(provenance ~ '__event_timestamp') }},
    {%- endif %}
    {%- for feature in features %}
    {%- set value = 'source.' ~ quote(feature.column) %}
    {{ value if feature.default is none else 'coalesce(' ~ value ~ ', ' ~ feature.default ~ ')' }} as {{ quote(feature.name) }},
    {%- endfor %}
    case
        when chosen._pit_status = 'PRESENT'{% for feature in features %} and source.{{ quote(feature.column) }} is null{% endfor %} then 'NULL_VALUE'
        else chosen._pit_status
    end as {{ quote(provenance ~ '__status') if provenance else '_pit_status' }}
from chosen
left join {{ source }} as source on chosen._pit_row_id = source.{{ row_id }}
{%- endmacro %}
