{#- Common table expressions, row numbers and lists of columns, as engines spell them. -#}

{#- The keyword of a CTE that is read more than once and computed once; empty where an engine has none. -#}
{% macro _materialized() -%}
    {{ return(adapter.dispatch('_materialized', 'pit_join')()) }}
{%- endmacro %}

{% macro duckdb___materialized() -%}
    {{ return('materialized') }}
{%- endmacro %}

{% macro postgres___materialized() -%}
    {{ return('materialized') }}
{%- endmacro %}

{% macro default___materialized() -%}
    {{ return('') }}
{%- endmacro %}


{#- The keyword of a CTE that is cheaper to compute twice. -#}
{% macro _not_materialized() -%}
    {{ return(adapter.dispatch('_not_materialized', 'pit_join')()) }}
{%- endmacro %}

{% macro duckdb___not_materialized() -%}
    {{ return('not materialized') }}
{%- endmacro %}

{% macro postgres___not_materialized() -%}
    {{ return('not materialized') }}
{%- endmacro %}

{% macro default___not_materialized() -%}
    {{ return('') }}
{%- endmacro %}


{#- Whether rows of a stored table have row numbers. -#}
{% macro _has_row_numbers() -%}
    {{ return(adapter.dispatch('_has_row_numbers', 'pit_join')()) }}
{%- endmacro %}

{% macro duckdb___has_row_numbers() -%}
    {{ return(true) }}
{%- endmacro %}

{% macro default___has_row_numbers() -%}
    {{ return(false) }}
{%- endmacro %}


{#- The column that tells each row of a stored table from all others within a query; none where an engine has no such column. -#}
{% macro _stored_row_id() -%}
    {{ return(adapter.dispatch('_stored_row_id', 'pit_join')()) }}
{%- endmacro %}

{% macro duckdb___stored_row_id() -%}
    {{ return('rowid') }}
{%- endmacro %}

{#- The place of the row in its table. Nothing moves it while a query runs. -#}
{% macro postgres___stored_row_id() -%}
    {{ return('ctid') }}
{%- endmacro %}

{% macro default___stored_row_id() -%}
    {{ return(none) }}
{%- endmacro %}


{#- An item of a select list: that column of a stored relation as `_pit_row_id`. -#}
{% macro _read_row_id(relation) -%}
    {{ return(adapter.dispatch('_read_row_id', 'pit_join')(relation)) }}
{%- endmacro %}

{% macro default___read_row_id(relation) -%}
    {{ return(pit_join._stored_row_id() ~ ' as _pit_row_id') }}
{%- endmacro %}

{#- Partitions share places, so that a partitioned table is an error. It is the cast of a text that is not a place. -#}
{% macro postgres___read_row_id(relation) -%}
    {%- set table = pit_join._literal(relation) ~ '::regclass' -%}
    {{ return('case tableoid when ' ~ table ~ " then ctid else cast('a feature view cannot be partitioned; read the partitions through a view: ' || tableoid::regclass as tid) end as _pit_row_id") }}
{%- endmacro %}


{#-
    A value that tells each row from all others, in a CTE that `_materialized` says is computed once. Where an engine may compute
    it each time that it is read, it is the place of the row in the order of `keys` and then of `order`; rows that are equal
    in these are equal in all that is read.
-#}
{% macro _row_id(keys, order) -%}
    {{ return(adapter.dispatch('_row_id', 'pit_join')(keys, order)) }}
{%- endmacro %}

{#- Any numbers will do: the rows are numbered once. -#}
{% macro duckdb___row_id(keys, order) -%}
    {{ return('row_number() over ()') }}
{%- endmacro %}

{% macro postgres___row_id(keys, order) -%}
    {{ return('row_number() over ()') }}
{%- endmacro %}

{% macro default___row_id(keys, order) -%}
row_number() over (
    order by
        {{ (keys + order) | join(',\n') | indent(8) }}
)
{%- endmacro %}

{#- Within the rows of the same keys, so that no single task sorts all rows. -#}
{% macro spark___row_id(keys, order) -%}
struct(
    {{ (keys + ['0']) | join(', ') }},
    row_number() over (
        partition by {{ (keys + ['0']) | join(', ') }}
        order by
            {{ (order or ['0']) | join(',\n') | indent(12) }}
    )
)
{%- endmacro %}


{#- Words behind `select` that tell the planner that each row has another value of a column. -#}
{% macro _each_once(column) -%}
    {{ return(adapter.dispatch('_each_once', 'pit_join')(column)) }}
{%- endmacro %}

{% macro default___each_once(column) -%}
    {{ return('') }}
{%- endmacro %}

{#- Otherwise PostgreSQL expects hundreds of rows of a CTE for each value. It then compiles the query for longer than it runs. -#}
{% macro postgres___each_once(column) -%}
    {{ return(' distinct on (' ~ column ~ ')') }}
{%- endmacro %}


{#- The last line of a query whose rows have an order. -#}
{% macro _in_order_of(column) -%}
    {{ return(adapter.dispatch('_in_order_of', 'pit_join')(column)) }}
{%- endmacro %}

{% macro default___in_order_of(column) -%}
    {{ return('\norder by ' ~ column) }}
{%- endmacro %}

{#- Tables of Spark have no order. To sort a result Spark first computes it once more, to see how its values are spread. -#}
{% macro spark___in_order_of(column) -%}
    {{ return('') }}
{%- endmacro %}


{#- All columns of a relation except some. Portable SQL has no syntax for it. -#}
{% macro _all_columns_but(relation, columns) -%}
    {{ return(adapter.dispatch('_all_columns_but', 'pit_join')(relation, columns)) }}
{%- endmacro %}

{% macro duckdb___all_columns_but(relation, columns) -%}
{{ relation }}.* exclude ({{ columns | join(', ') }})
{%- endmacro %}

{% macro spark___all_columns_but(relation, columns) -%}
{{ relation }}.* except ({{ columns | join(', ') }})
{%- endmacro %}

{#- PostgreSQL has no such list, so its `spine_rows` carries the row as it was in one column. -#}
{% macro postgres___all_columns_but(relation, columns) -%}
({{ relation }}._pit_whole).*
{%- endmacro %}


{#- Whole numbers from the first to the last of them, `step` apart, one a row; of a select list. -#}
{% macro _series(first, last, step) -%}
    {{ return(adapter.dispatch('_series', 'pit_join')(first, last, step)) }}
{%- endmacro %}

{% macro default___series(first, last, step) -%}
generate_series({{ first }}, {{ last }}, {{ step }})
{%- endmacro %}

{% macro duckdb___series(first, last, step) -%}
unnest(generate_series({{ first }}, {{ last }}, {{ step }}))
{%- endmacro %}

{% macro spark___series(first, last, step) -%}
explode(case when {{ first }} <= {{ last }} then sequence({{ first }}, {{ last }}, {{ step }}) end)
{%- endmacro %}
