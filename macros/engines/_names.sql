{#- A name as an SQL identifier: quoted, so that reserved words, blanks, quotes and emoji are allowed. -#}
{% macro _identifier(name) -%}
    {{ return(adapter.dispatch('_identifier', 'pit_join')(name)) }}
{%- endmacro %}

{% macro default___identifier(name) -%}
    {{ return('"' ~ (name | string | replace('"', '""')) ~ '"') }}
{%- endmacro %}

{#- In double quotes it would be a text, and a key that is one equals itself in every row. -#}
{% macro spark___identifier(name) -%}
    {{ return('`' ~ (name | string | replace('`', '``')) ~ '`') }}
{%- endmacro %}


{#- A text as an SQL literal. -#}
{% macro _literal(text) -%}
    {{ return(adapter.dispatch('_literal', 'pit_join')(text)) }}
{%- endmacro %}

{% macro default___literal(text) -%}
    {{ return("'" ~ (text | string | replace("'", "''")) ~ "'") }}
{%- endmacro %}

{#- A backslash begins an escape, and two quotes are the end of one text and the start of the next. -#}
{% macro spark___literal(text) -%}
    {{ return("'" ~ (text | string | replace('\\', '\\\\') | replace("'", "\\'")) ~ "'") }}
{%- endmacro %}
