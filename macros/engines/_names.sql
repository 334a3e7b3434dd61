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


{#- The reason why an engine would not keep a name whole, or none. -#}
{% macro _name_problem(name) -%}
    {{ return(adapter.dispatch('_name_problem', 'pit_join')(name)) }}
{%- endmacro %}

{% macro default___name_problem(name) -%}
    {{ return(none) }}
{%- endmacro %}

{#- PostgreSQL cuts a longer name without an error, so that two names may become one. -#}
{% macro postgres___name_problem(name) -%}
    {%- set bytes = name.encode('utf-8') | length -%}
    {{ return("the name '" ~ name ~ "' has " ~ bytes ~ ' bytes, and PostgreSQL keeps 63 of a name; use a shorter one' if bytes > 63 else none) }}
{%- endmacro %}


{#- A name that the engine keeps whole; any other is an error. -#}
{% macro _whole_name(name) -%}
    {%- set problem = pit_join._name_problem(name) -%}
    {%- if problem -%}
        {{ exceptions.raise_compiler_error(problem) }}
    {%- endif -%}
    {{ return(name) }}
{%- endmacro %}


{#- The reason why a column that is declared by a name would not be found by it, or none; `quote` is its setting in dbt. -#}
{% macro _column_name_problem(name, quote) -%}
    {{ return(adapter.dispatch('_column_name_problem', 'pit_join')(name, quote)) }}
{%- endmacro %}

{% macro default___column_name_problem(name, quote) -%}
    {{ return(pit_join._name_problem(name)) }}
{%- endmacro %}

{#- PostgreSQL folds the names in the SQL of a model to small letters, unless they are quoted there. -#}
{% macro postgres___column_name_problem(name, quote) -%}
    {%- if modules.re.search('[A-Z]', name) and quote is not sameas true -%}
        {{ return('PostgreSQL folds a name to small letters where the SQL of the model does not quote it; write it in small letters here, or quote it in the model and say quote: true') }}
    {%- endif -%}
    {{ return(pit_join._name_problem(name)) }}
{%- endmacro %}
