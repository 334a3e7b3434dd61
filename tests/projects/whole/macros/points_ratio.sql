{% macro points_ratio(points, cents) -%}
    {{ points }} * 100.0 / nullif({{ cents }}, 0)
{%- endmacro %}
