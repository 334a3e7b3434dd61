{#- Words in which engines differ, and small words of SQL. -#}

{#- How a CTE that is read more than once says that it is computed once; empty where an engine may compute it each time. -#}
{% macro _materialized() -%}
    {{ return(adapter.dispatch('_materialized', 'pit_join')()) }}
{%- endmacro %}

{% macro duckdb___materialized() -%}
    {{ return('materialized') }}
{%- endmacro %}

{% macro default___materialized() -%}
    {{ return('') }}
{%- endmacro %}


{#- How a CTE that is cheaper to compute twice says so. -#}
{% macro _not_materialized() -%}
    {{ return(adapter.dispatch('_not_materialized', 'pit_join')()) }}
{%- endmacro %}

{% macro duckdb___not_materialized() -%}
    {{ return('not materialized') }}
{%- endmacro %}

{% macro default___not_materialized() -%}
    {{ return('') }}
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


{#- The columns of a relation without some of them. Portable SQL has no words for it. -#}
{% macro _all_columns_but(relation, columns) -%}
    {{ return(adapter.dispatch('_all_columns_but', 'pit_join')(relation, columns)) }}
{%- endmacro %}

{% macro duckdb___all_columns_but(relation, columns) -%}
{{ relation }}.* exclude ({{ columns | join(', ') }})
{%- endmacro %}


{#- What DuckDB promises of `over ()`, for a comment beside each of them. -#}
{% macro _in_stored_order() -%}
DuckDB runs a window without an order over the rows as they come, in one thread: as they are stored or were sorted.
{%- endmacro %}


{#- A relation under another name, where it has not that name already. -#}
{% macro _named(relation, alias) -%}
{{ relation }}{{ ' as ' ~ alias if relation != alias }}
{%- endmacro %}


{#- A value with what stands for a null, or none. -#}
{% macro _defaulted(value, default) -%}
{{ value if default is none else 'coalesce(' ~ value ~ ', ' ~ default ~ ')' }}
{%- endmacro %}
