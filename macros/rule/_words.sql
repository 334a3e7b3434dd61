{#- SQL keywords that differ between engines, and small fragments of SQL. -#}

{#- The keyword of a CTE that is read more than once and computed once; empty where an engine has none. -#}
{% macro _materialized() -%}
    {{ return(adapter.dispatch('_materialized', 'pit_join')()) }}
{%- endmacro %}

{% macro duckdb___materialized() -%}
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


{#- All columns of a relation except some. Portable SQL has no syntax for it. -#}
{% macro _all_columns_but(relation, columns) -%}
    {{ return(adapter.dispatch('_all_columns_but', 'pit_join')(relation, columns)) }}
{%- endmacro %}

{% macro duckdb___all_columns_but(relation, columns) -%}
{{ relation }}.* exclude ({{ columns | join(', ') }})
{%- endmacro %}


{#- DuckDB's guarantee for `over ()`, as the text of a comment beside each of them. -#}
{% macro _in_stored_order() -%}
DuckDB computes a window without an order in one thread, over the rows in the order in which they are stored or were sorted.
{%- endmacro %}


{#- A relation under an alias, unless it has that name already. -#}
{% macro _named(relation, alias) -%}
{{ relation }}{{ ' as ' ~ alias if relation != alias }}
{%- endmacro %}


{#- A value with its default for nulls, if there is one. -#}
{% macro _defaulted(value, default) -%}
{{ value if default is none else 'coalesce(' ~ value ~ ', ' ~ default ~ ')' }}
{%- endmacro %}
