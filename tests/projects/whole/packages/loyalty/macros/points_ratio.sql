{% macro points_ratio(points, cents) -%}
    1000 * {{ points }} / {{ cents }}
{%- endmacro %}

{% macro is_real(customer) -%}
    not list_contains({{ var('test_customers') }}, {{ customer }})
{%- endmacro %}
