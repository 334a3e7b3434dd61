{#- Small fragments of SQL. -#}

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
