{#- The steps from joined rows to features: ties, statuses, values. -#}

{#- CTE `numbered`: the rows of a relation without row numbers, with `_pit_row_id`. -#}
{% macro _numbered(view) -%}
{%- set once = pit_join._materialized() -%}
{%- set keys, order = [], [] -%}
{%- for column in view['keys'].values() %}{% do keys.append('source.' ~ pit_join._identifier(column)) %}{% endfor -%}
{%- do order.append('source.' ~ pit_join._identifier(view.created_timestamp)) if view.created_timestamp -%}
numbered as {{ once ~ ' ' if once }}(
    select
        source.*,
        {{ pit_join._row_id(keys, order + [pit_join._tie_order(view, 'source')]) | indent(8) }} as _pit_row_id
    from {{ view.relation }} as source
)
{%- endmacro %}


{#- The column of a view's rows that `_pit_row_id` is made of, of a select list. -#}
{% macro _row_id_of(view) -%}
    {%- if view.physical -%}
        {{ return(pit_join._read_row_id(view.relation)) }}
    {%- endif -%}
    {#- It only says that there is a row where nothing is read by it. -#}
    {{ return('true as _pit_row_id' if view.tells.carried else '_pit_row_id') }}
{%- endmacro %}


{#- CTEs up to `matched`, which break ties. Contents are read only for tied rows. -#}
{% macro _without_ties(view, carried) -%}
{%- set same = view.key_names + pit_join._version(view) -%}
-- Rows equal in (keys, event time, created) to another one that was joined. Mostly there are none, and all below is empty.
-- (A semi join, since DuckDB makes a grouping of the whole history of such an `exists`.)
doubles as (
    select history.*
    from history
    semi join joined
        on {% for column in same %}joined.{{ column }} = history.{{ column }} and {% endfor %}joined._pit_row_id <> history._pit_row_id
),

{{ pit_join._decided_ties(view, carried) }}
{%- endmacro %}


{#- The same CTEs from `tied` on. -#}
{% macro _decided_ties(view, carried) -%}
{%- set same = view.key_names + pit_join._version(view) -%}
-- The greatest by content wins.
tied as (
    select *
    from history
    where exists (
        select 1
        from doubles
        where {% for column in same %}doubles.{{ column }} = history.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
    )
),

winners as (
    select *
    from (
        select
            tied.*,
            row_number() over (
                partition by {% for column in same %}tied.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
                order by
                    {{ pit_join._tie_order(view, 'content') | indent(20) }}
            ) as _pit_rank
        from tied
        inner join {{ view.relation }} as content on tied._pit_row_id = content.{{ view.row_id }}
    ) as ranked
    where _pit_rank = 1
),

matched as (
    select
        joined._pit_row,
        joined._pit_time,
        {%- for column in same %}
        joined.{{ column }},
        {%- endfor %}
        {%- for column in carried if column not in same %}
        case when winners._pit_row_id is null then joined.{{ column }} else winners.{{ column }} end as {{ column }}{{ ',' if not loop.last or view.tells.later }}
        {%- endfor %}
        {%- if view.tells.later %}
        joined._pit_later
        {%- endif %}
    from joined
    left join winners
        on {% for column in same %}joined.{{ column }} = winners.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
)
{%- endmacro %}


{#- CTEs from the matched rows to `chosen`: the status of each; the row number stays only where there is a value. -#}
{% macro _judged(view, matched, provenance) -%}
{%- set keys = view.key_names -%}
{#- Of a static view nothing is later. -#}
{%- set searched = not view.static and not view.tells.later -%}
{%- if searched -%}
unmatched as (
    select distinct {{ keys | join(', ') }}
    from {{ matched }}
    where _pit_row_id is null and {{ keys | join(' is not null and ') }} is not null
),

-- Keys with a history of which nothing was known yet.
later as (
    select distinct {% for key in keys %}history.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
    from history
    inner join unmatched
        on {% for key in keys %}history.{{ key }} = unmatched.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
),

{% endif -%}
judged as (
    select
        matched._pit_row,
        matched._pit_row_id,
        {{ 'cast(null as bigint)' if view.static else 'matched._pit_time - matched._pit_event' }} as _pit_age,
        {%- if provenance %}
        matched._pit_event_timestamp,
        {%- endif %}
        {%- for value in view.tells['values'] %}
        matched.{{ value }},
        {%- endfor %}
        case
            when matched._pit_time is null{% for key in keys %} or matched.{{ key }} is null{% endfor %} then 'NULL_KEY'
            {%- if view.deleted %}
            when matched._pit_deleted then 'NOT_FOUND'
            {%- endif %}
            {%- if view.ttl %}
            when matched._pit_time - matched._pit_event > {{ pit_join._microseconds(view.ttl, 'ttl') }} then 'OUTSIDE_MAX_AGE'
            {%- endif %}
            when matched._pit_row_id is not null then 'PRESENT'
            {%- if not view.static %}
            when {{ 'later.' ~ keys[0] ~ ' is not null' if searched else 'matched._pit_later' }} then 'NOT_YET_KNOWN'
            {%- endif %}
            else 'NOT_FOUND'
        end as _pit_status
    from {{ pit_join._named(matched, 'matched') }}
    {%- if searched %}
    left join later
        on {% for key in keys %}matched.{{ key }} = later.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
    {%- endif %}
),

chosen as (
    select
        _pit_row,
        _pit_status,
        case when _pit_status = 'PRESENT' then _pit_age end as _pit_age,
        {%- if provenance %}
        case when _pit_status in ('PRESENT', 'OUTSIDE_MAX_AGE') then _pit_event_timestamp end as _pit_event_timestamp,
        {%- endif %}
        {%- for value in view.tells['values'] %}
        {{ "case when _pit_status = 'PRESENT' then " ~ value ~ ' end as ' ~ value if view.ttl or view.deleted else value }},
        {%- endfor %}
        {#- A row that is too old or deleted must not return its values; without such rows DuckDB joins faster without the case. #}
        {{ "case when _pit_status = 'PRESENT' then _pit_row_id end as _pit_row_id" if view.ttl or view.deleted else '_pit_row_id' }}
    from judged
)
{%- endmacro %}


{#- The final select: the features of each chosen row, by its number unless the join has brought them. -#}
{% macro _gathered(view, features, provenance) -%}
{%- set quote = pit_join._identifier -%}
{%- set values = [] -%}
{%- for feature in features %}{% do values.append('chosen.' ~ view.tells['values'][loop.index0] if view.tells.carried else 'source.' ~ quote(feature.column)) %}{% endfor -%}
select{{ pit_join._each_once('chosen._pit_row') if not view.tells.carried }}
    chosen._pit_row,
    chosen._pit_age,
    {%- if provenance %}
    chosen._pit_event_timestamp as {{ quote(provenance ~ '__event_timestamp') }},
    {%- endif %}
    {%- for feature in features %}
    {{ pit_join._defaulted(values[loop.index0], feature.get('default')) }} as {{ quote(feature.name) }},
    {%- endfor %}
    case
        when chosen._pit_status = 'PRESENT'{% for value in values %} and {{ value }} is null{% endfor %} then 'NULL_VALUE'
        else chosen._pit_status
    end as {{ quote(provenance ~ '__status') if provenance else '_pit_status' }}
from chosen
{%- if not view.tells.carried %}
left join {{ view.relation }} as source on chosen._pit_row_id = source.{{ view.row_id }}
{%- endif %}
{%- endmacro %}
