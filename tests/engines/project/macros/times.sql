{#- An instant of UTC, of the type that tables of it have. -#}
{% macro zoned(text) -%}
cast('{{ text }}+00:00' as {{ 'timestamp' if target.type == 'spark' else 'timestamptz' }})
{%- endmacro %}


{#- The same without a time zone. -#}
{% macro naive(text) -%}
cast('{{ text }}' as {{ 'timestamp_ntz' if target.type == 'spark' else 'timestamp' }})
{%- endmacro %}
