{#-
    A duration such as `30 days` or `6h` in microseconds, or none for none. It is elapsed time: a day is 86,400 s on
    every day of the year. `what` names the setting in the error.
-#}
{% macro _duration(text, what) -%}
    {%- set microseconds, problem = pit_join._read_duration(text) -%}
    {%- if problem -%}
        {{ exceptions.raise_compiler_error(what ~ ': ' ~ problem) }}
    {%- endif -%}
    {{ return(microseconds) }}
{%- endmacro %}


{#- The microseconds of a duration, or none, and why it cannot be read, or none. -#}
{% macro _read_duration(text) -%}
    {%- if text is none -%}
        {{ return((none, none)) }}
    {%- endif -%}
    {%- set found = modules.re.fullmatch('([0-9]+) *(d|days?|h|hours?|m|minutes?|s|seconds?|ms|milliseconds?)', text | string | trim) -%}
    {%- if not found -%}
        {{ return((none, "cannot read the duration '" ~ text ~ "'; write for example '30 days', '6 hours', '5 minutes', '90 seconds', '250 milliseconds' or 30d, 6h, 5m, 90s, 250ms")) }}
    {%- endif -%}
    {%- set number, unit = found.groups() -%}
    {%- set microseconds = 1000 if unit == 'ms' or unit[:5] == 'milli' else {'d': 86400000000, 'h': 3600000000, 'm': 60000000, 's': 1000000}[unit[0]] -%}
    {%- if number | length > 19 or (number | int) * microseconds >= 9223372036854775808 -%}
        {{ return((none, "the duration '" ~ text ~ "' is too long; the longest is 106751991 days")) }}
    {%- endif -%}
    {{ return(((number | int) * microseconds, none)) }}
{%- endmacro %}


{#- A number of microseconds as SQL, with its meaning in a comment: `259200000000 /* ttl: 3 days */`. -#}
{% macro _microseconds(number, what) -%}
{{ number }} /* {{ what }}: {{ pit_join._in_words(number) }} */
{%- endmacro %}


{% macro _in_words(microseconds) -%}
    {%- for unit, size in (('day', 86400000000), ('hour', 3600000000), ('minute', 60000000), ('second', 1000000), ('millisecond', 1000)) if microseconds % size == 0 -%}
        {{ return((microseconds // size) ~ ' ' ~ unit ~ ('s' if microseconds != size else '')) }}
    {%- endfor -%}
    {{ return(microseconds ~ ' microseconds') }}
{%- endmacro %}
