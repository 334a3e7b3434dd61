{#- What clocks in a time zone show at an instant. Both arguments are SQL. -#}
{% macro wall_time(instant, time_zone="'UTC'") -%}
    {{ return(adapter.dispatch('wall_time', 'pit_join')(instant, time_zone)) }}
{%- endmacro %}

{% macro default__wall_time(instant, time_zone) -%}
    timezone({{ time_zone }}, {{ instant }})
{%- endmacro %}

{% macro spark__wall_time(instant, time_zone) -%}
    convert_timezone({{ time_zone }}, {{ instant }})
{%- endmacro %}


{#-
    The instant at which clocks in a time zone show a time. Where clocks go back and show it twice, DuckDB and PostgreSQL
    take the later instant, and Spark the earlier; no flight of the demo is scheduled for such a time.
-#}
{% macro instant_of(wall_time, time_zone="'UTC'") -%}
    {{ return(adapter.dispatch('instant_of', 'pit_join')(wall_time, time_zone)) }}
{%- endmacro %}

{% macro default__instant_of(wall_time, time_zone) -%}
    timezone({{ time_zone }}, {{ wall_time }})
{%- endmacro %}

{% macro spark__instant_of(wall_time, time_zone) -%}
    cast(convert_timezone({{ time_zone }}, current_timezone(), {{ wall_time }}) as timestamp)
{%- endmacro %}
