{#-
    The rows of a spine with two more columns for the joins. They are `_pit_row`, the row number in the spine's order,
    and `_pit_time`, the instant T less the gap in microseconds UTC (null where T is null or infinite).

    spine            a relation, or SQL that can stand behind `from`
    event_timestamp  the column that holds T
    gap              predict this long ahead: every T becomes T - gap ('1 day')
    data_type        the declared type of that column, where it is known
    Grain: one row for each row of the spine, duplicates kept.
    Example: {{ pit_join.spine_rows(ref('flight_spine'), gap='1 hour') }}
-#}
{% macro spine_rows(spine, event_timestamp='event_timestamp', gap=none, data_type=none) -%}
    {{ return(adapter.dispatch('spine_rows', 'pit_join')(spine, event_timestamp, gap, data_type)) }}
{%- endmacro %}

{% macro default__spine_rows(spine, event_timestamp, gap, data_type) -%}
-- {{ pit_join._in_stored_order() }}
select
    *,
    row_number() over () as _pit_row,
    {{ pit_join._spine_time(event_timestamp, gap, data_type) }} as _pit_time
from {{ spine }}
{%- endmacro %}

{#- Any numbers will do: the rows are numbered once. -#}
{% macro postgres__spine_rows(spine, event_timestamp, gap, data_type) -%}
select
    whole.*,
    whole as _pit_whole,
    row_number() over () as _pit_row,
    {{ pit_join._spine_time(event_timestamp, gap, data_type) }} as _pit_time
from (select * from {{ spine }}) as whole
{%- endmacro %}

{#- Spark may compute the rows each time that they are read, and must number them in the same way. Rows that are equal may change
    places. Rows are numbered within a hash of them, so that no single task sorts them all. -#}
{% macro spark__spine_rows(spine, event_timestamp, gap, data_type) -%}
{%- set has_maps = [] -%}
{%- for node in (graph.nodes or {}).values() if node.relation_name == spine | string -%}
    {%- for column in node.columns.values() if modules.re.search('map *<|variant', (column.data_type or '') | lower) %}{% do has_maps.append(column.name) %}{% endfor -%}
{%- endfor -%}
{#- Maps and variants can neither be hashed nor ordered. -#}
{%- set formats = "map('timestampFormat', 'yyyy-MM-dd HH:mm:ss.SSSSSSXXX', 'timestampNTZFormat', 'yyyy-MM-dd HH:mm:ss.SSSSSS')" -%}
{%- set whole = 'to_json(struct(*), ' ~ formats ~ ')' if has_maps else 'struct(*)' -%}
select
    *,
    struct(xxhash64({{ whole }}), row_number() over (partition by xxhash64({{ whole }}) order by {{ whole }})) as _pit_row,
    {{ pit_join._spine_time(event_timestamp, gap, data_type) }} as _pit_time
from {{ spine }}
{%- endmacro %}


{#- The same of a spine that has row numbers as `_pit_row`. It may be read in any order, by many threads. -#}
{% macro _numbered_spine(spine, event_timestamp, gap=none, data_type=none) -%}
select
    *,
    {{ pit_join._spine_time(event_timestamp, gap, data_type) }} as _pit_time
from {{ spine }}
{%- endmacro %}


{#- The instant T of a row less the gap. -#}
{% macro _spine_time(event_timestamp, gap, data_type) -%}
    {%- set time = pit_join._instant(pit_join._identifier(event_timestamp), data_type) -%}
    {%- set gap_microseconds = pit_join._duration(gap, 'gap') or 0 -%}
    {{ return(time ~ (' - ' ~ pit_join._microseconds(gap_microseconds, 'gap') if gap_microseconds else '')) }}
{%- endmacro %}
