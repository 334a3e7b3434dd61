{#-
    The join of Spark: spine and history are sorted together, key by key, and the greatest row so far wins. The values come
    along, so that the history is read and moved between machines once. (Spark computes a CTE each time that it is read, so
    that row numbers, by which rows could be read again, would have to be computed in a way that is always the same.)
-#}
{% macro spark___joined(spine, view, carried, options) -%}
{%- set keys = view.key_names | join(', ') -%}
{%- set fields = pit_join._version(view) + ['_pit_content'] -%}
{%- for column in carried if column not in fields and column != '_pit_row_id' %}{% do fields.append(column) %}{% endfor -%}
{%- set content = pit_join._content_of(view, options.features) -%}
stacked as (
    select
        {{ keys }},
        _pit_available_at as _pit_at,
        0 as _pit_side,
        struct({{ fields | join(', ') }}) as _pit_known,
        {%- for column in content.apart.values() %}
        {{ column }},
        {%- endfor %}
        null as _pit_row,
        null as _pit_time
    from history
    where {{ view.key_names | join(' is not null and ') }} is not null
    union all
    select
        {{ view.spine_keys | join(', ') }},
        {{ pit_join._last_instant('_pit_time', not view.inclusive) }},
        1,
        null,
        {%- for column in content.apart %}
        null,
        {%- endfor %}
        _pit_row,
        _pit_time
    from {{ pit_join._named(spine, 'spine') }}
    where _pit_time is not null and {{ view.spine_keys | join(' is not null and ') }} is not null
),

filled as (
    select
        _pit_row,
        _pit_time,
        {{ keys }},
        {%- for column in content.apart.values() %}
        max_by({{ column }}, _pit_known) over so_far as {{ column }},
        {%- endfor %}
        {%- if not view.static %}
        min(_pit_side) over whole_key = 0 as _pit_later,
        {%- endif %}
        max(_pit_known) over so_far as _pit_won
    from stacked
    window
        {%- if not view.static %}
        -- Of the same order, so that Spark goes through the rows once.
        whole_key as (
            partition by {{ keys }}
            order by _pit_at, _pit_side
            rows between unbounded preceding and unbounded following
        ),
        {%- endif %}
        so_far as (
            partition by {{ keys }}
            order by _pit_at, _pit_side
            rows between unbounded preceding and current row
        )
),

matched as (
    select
        _pit_row,
        _pit_time,
        {{ keys }},
        case when _pit_won is not null then true end as _pit_row_id,
        {%- for field in fields if field != '_pit_content' %}
        _pit_won.{{ field }},
        {%- endfor %}
        {%- for feature in options.features %}
        {{ content.apart.get(feature.column) or '_pit_won._pit_content.' ~ content.fields[feature.column] }} as {{ view.tells['values'][loop.index0] }},
        {%- endfor %}
        {{ 'cast(null as boolean) as ' if view.static }}_pit_later
    from filled
    where _pit_row is not null
    union all
    -- Rows that ask for nothing, of which one task would have to do all.
    select
        _pit_row,
        _pit_time,
        {{ view.spine_keys | join(', ') }},
        {%- for _ in range(fields | length + options.features | length) %}
        null,
        {%- endfor %}
        null
    from {{ pit_join._named(spine, 'spine') }}
    where _pit_time is null or {{ view.spine_keys | join(' is null or ') }} is null
)
{%- endmacro %}

{% macro spark___tells(view, features) -%}
    {%- set content, values = pit_join._content_of(view, features), [] -%}
    {%- set also = ['struct(' ~ content.terms | join(', ') ~ ') as _pit_content'] -%}
    {%- for column, name in content.apart.items() %}{% do also.append(pit_join._identifier(column) ~ ' as ' ~ name) %}{% endfor -%}
    {%- for feature in features %}{% do values.append('_pit_value_' ~ loop.index) %}{% endfor -%}
    {{ return({'later': not view.static, 'carried': true, 'values': values, 'also': also, 'once': false}) }}
{%- endmacro %}


{#-
    The content of a row as fields of a struct, of which the greater wins; the stored event time says no more than
    `_pit_event`, since Spark has no nanoseconds. `terms` are their expressions, and `fields` maps
    columns to the names of those that are the column's value. Asked features that have no order have columns of their
    own, `apart`.
-#}
{% macro _content_of(view, features) -%}
    {%- set terms, fields, apart = [], {}, {} -%}
    {%- for term in pit_join._tie_terms(view) if not term.time -%}
        {%- do terms.append(('' if 'desc' in term.order else 'not ') ~ term.value ~ ' as c' ~ loop.index) -%}
        {%- do fields.update({term.column: 'c' ~ loop.index}) if term.column -%}
    {%- endfor -%}
    {%- for feature in features if feature.column not in fields %}{% do apart.update({feature.column: '_pit_apart_' ~ loop.index}) %}{% endfor -%}
    {{ return({'terms': terms or ['0 as c0'], 'fields': fields, 'apart': apart}) }}
{%- endmacro %}
