{#- Models and YAML have the names of types that DuckDB and PostgreSQL share. dbt casts to them here, in contracts too. -#}
{% macro spark__cast(field, type) -%}
    cast({{ field }} as {{ pit_join._type_name(type) }})
{%- endmacro %}
