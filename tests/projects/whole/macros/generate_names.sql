{#- The schema of a model is what its config says, as many teams have it, and not dbt's `analytics_...`. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}

{#- Feature views are stored under another name than that of their model. -#}
{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
    {%- if custom_alias_name -%}
        {{ custom_alias_name | trim }}
    {%- else -%}
        {{ ('ft_' if 'features' in node.tags else '') ~ node.name ~ ('__' ~ node.version if node.version else '') }}
    {%- endif -%}
{%- endmacro %}

{% macro is_real(customer) -%}
    {{ customer }} not in ({% for one in var('test_customers') %}'{{ one }}'{{ ', ' if not loop.last }}{% endfor %})
{%- endmacro %}
