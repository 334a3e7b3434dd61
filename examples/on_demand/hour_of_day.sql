{#- The hour of an instant on New York's clocks, 0 to 23: also on the day on which they change. -#}
{% macro hour_of_day(moment) -%}
hour(timezone('America/New_York', {{ moment }}))
{%- endmacro %}
