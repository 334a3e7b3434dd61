{#-
    The headwind in knots of who sets out on the shortest way (the great circle) from one place to another, negative for
    a tailwind: the wind's speed times the cosine of the angle between where it comes from and the initial bearing.

    The speed is in miles an hour, all else in degrees: the wind's direction from true north, clockwise; places north
    and east. Null without a wind direction (it was variable), and 0 where it was calm.
-#}
{% macro headwind(wind_speed, wind_dir, latitude, longitude, to_latitude, to_longitude) -%}
{%- set turn = 'radians(' ~ to_longitude ~ ' - ' ~ longitude ~ ')' -%}
{%- set here, there = 'radians(' ~ latitude ~ ')', 'radians(' ~ to_latitude ~ ')' -%}
{{ wind_speed }} * 1609.344 / 1852 * cos(
    radians({{ wind_dir }}) - atan2(
        sin({{ turn }}) * cos({{ there }}),
        cos({{ here }}) * sin({{ there }}) - sin({{ here }}) * cos({{ there }}) * cos({{ turn }})
    )
)
{%- endmacro %}
