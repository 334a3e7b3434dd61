{#-
    CTE `X_ranges`: the rows of `X_spans` with the first and the last of the instants asked at which they count. The spans
    have keys, `_pit_available_at`, `_pit_end` and more columns; spans that count at no instant asked are removed. `asked`
    numbers the instants in the order of keys and times. So a running count of the instants in that order is the number of
    the last instant before a row: before its start by one less than the first, and before its end the last.

    length  the microseconds from `_pit_available_at` to `_pit_end`, if they are the same for all spans: then one sort finds
            both, since a span's end is after an instant if its start is after the instant less `length`. None if they differ
-#}
{% macro _counted_ranges(name, view, length=none) -%}
{%- if length is none -%}
{{ name }}_begun as (
    {{ pit_join._asked_before(view, name ~ '_spans', '_pit_available_at', {'_pit_before': '_pit_at'}) | indent(4) }}
),

{% endif -%}
{{ name }}_ranges as (
    select
        * exclude (_pit_before),
        _pit_before + 1 as _pit_first
    from (
        {%- if length is none %}
        {{ pit_join._asked_before(view, name ~ '_begun', '_pit_end', {'_pit_last': '_pit_at'}) | indent(8) }}
        {%- else %}
        {{ pit_join._asked_before(view, name ~ '_spans', '_pit_available_at', {'_pit_before': '_pit_at', '_pit_last': '_pit_at - ' ~ length}) | indent(8) }}
        {%- endif %}
    ) as placed
    where _pit_before < _pit_last
)
{%- endmacro %}


{#- Rows with the number of instants asked before them, in the order of keys and of a time. There is a column for each entry
    of `counted`, {column: the instant}. A row at an instant comes before it. -#}
{% macro _asked_before(view, relation, time, counted) -%}
{%- set keys = view.key_names | join(', ') -%}
-- {{ pit_join._in_stored_order() }}
select * exclude (_pit_asked)
from (
    select
        *
        {%- for column in counted %},
        count(case when _pit_asked = {{ loop.index }} then 1 end) over (rows unbounded preceding) as {{ column }}
        {%- endfor %}
    from (
        select
            *,
            null as _pit_asked
        from {{ relation }}
        {%- for instant in counted.values() %}
        union all by name
        select {{ keys }}, {{ instant }} as {{ time }}, {{ loop.index }} as _pit_asked
        from asked
        {%- endfor %}
        order by {{ keys }}, {{ time }}, _pit_asked nulls first
    ) as rows_and_asked
) as counted
where _pit_asked is null
{%- endmacro %}
