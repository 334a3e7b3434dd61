{#- A name as an SQL identifier: quoted, so that reserved words, blanks, quotes and emoji are allowed. -#}
{% macro _identifier(name) -%}
    {{ return(adapter.dispatch('_identifier', 'pit_join')(name)) }}
{%- endmacro %}

{% macro default___identifier(name) -%}
    {{ return('"' ~ (name | string | replace('"', '""')) ~ '"') }}
{%- endmacro %}

{#- A text as an SQL literal. -#}
{% macro _literal(text) -%}
    {{ return("'" ~ (text | string | replace("'", "''")) ~ "'") }}
{%- endmacro %}
