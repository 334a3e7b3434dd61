{#- Minutes from one instant to another; negative if the first is the later one. -#}
{% macro minutes_since(earlier, moment) -%}
date_diff('second', {{ earlier }}, {{ moment }}) / 60.0
{%- endmacro %}
