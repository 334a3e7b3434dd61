{#- A caller's instant as microseconds UTC; none is the current time. -#}
{% macro _as_of(as_of) -%}
    {%- if as_of is none -%}
        {{ return(pit_join._instant('current_timestamp', 'timestamptz')) }}
    {%- endif -%}
    {%- set found = modules.re.fullmatch('([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]((?:[01][0-9]|2[0-3]):[0-5][0-9])(?::([0-5][0-9])(?:[.]([0-9]+))?)?([zZ]|([+-](?:[01][0-9]|2[0-3]))(?::?([0-5][0-9]))?)?)?', as_of | string | trim) -%}
    {%- set day, minute, second, fraction, zone, hours, minutes = found.groups() if found else ('0000-00-00', none, none, none, none, none, none) -%}
    {%- set year, month = day[:4] | int, day[5:7] | int -%}
    {%- set days = pit_join._days_of_months(year) -%}
    {%- if year < 1 or month not in range(1, 13) or day[8:] | int not in range(1, 1 + days[month - 1]) -%}
        {{ exceptions.raise_compiler_error("cannot read the instant '" ~ as_of ~ "'; write for example '2026-03-18 14:30' (UTC) or '2026-03-18T14:30:00+02:00'") }}
    {%- endif -%}
    {%- set since = namespace(days=day[8:] | int - 719163) -%}
    {%- for number in range(1, month) -%}
        {%- set since.days = since.days + days[number - 1] -%}
    {%- endfor -%}
    {%- set since.days = since.days + (year - 1) * 365 + (year - 1) // 4 - (year - 1) // 100 + (year - 1) // 400 -%}
    {%- set clock = minute or '00:00' -%}
    {%- set away = ((hours or '0') | int) * 60 + (((minutes or '0') | int) * (-1 if (hours or '')[:1] == '-' else 1)) -%}
    {%- set seconds = since.days * 86400 + (clock[:2] | int) * 3600 + (clock[3:] | int - away) * 60 + ((second or '0') | int) -%}
    {%- set words = day ~ ' ' ~ clock ~ ':' ~ (second or '00') ~ ('.' ~ fraction[:6] if fraction else '') ~ (' ' ~ hours ~ ':' ~ (minutes or '00') if hours else ' UTC') -%}
    {{ return((seconds * 1000000 + (((fraction or '') ~ '000000')[:6] | int)) ~ ' /* ' ~ words ~ ' */') }}
{%- endmacro %}


{#- The number of days of each month of a year. -#}
{% macro _days_of_months(year) -%}
    {{ return([31, 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) }}
{%- endmacro %}


{#- An instant before and one after all others. A microsecond may be subtracted from the first, but not added to the
    second. From `_always` on, right after the first, the rows of a static view are known. -#}
{% macro _before_all() -%}
-9223372036854775807 /* before all */
{%- endmacro %}

{% macro _always() -%}
-9223372036854775806 /* always */
{%- endmacro %}

{% macro _never() -%}
9223372036854775807 /* never */
{%- endmacro %}
