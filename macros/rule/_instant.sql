{#-
    An instant as whole microseconds since 1970-01-01 UTC, a bigint. Times are compared only in this form, so that
    no answer depends on a session's time zone. A naive timestamp is UTC, a date its first instant; an infinite time
    is null. Finer times are rounded down (a spine's) or up (`round_up`, a history's), so that no row is known early.

    `data_type` is the declared type of the column; without it the expression tests the type of each value.
-#}
{% macro _instant(column, data_type=none, round_up=false) -%}
    {{ return(adapter.dispatch('_instant', 'pit_join')(column, data_type, round_up)) }}
{%- endmacro %}

{% macro default___instant(column, data_type=none, round_up=false) -%}
    {{ return('cast(extract(epoch from ' ~ column ~ ') * 1000000 as bigint)') }}
{%- endmacro %}

{% macro duckdb___instant(column, data_type=none, round_up=false) -%}
    {%- set kind = (data_type or '') | lower | replace(' ', '') -%}
    {%- if kind in ('timestamp', 'timestamptz', 'timestampwithtimezone', 'datetime', 'timestamp_us', 'date') -%}
        {{ return('epoch_us(' ~ column ~ ')') }}
    {%- endif -%}
    {#- Without the cast, DuckDB 2.0.1 takes the nanoseconds of a coarse time, which overflow before 1677 and after 2262. -#}
    {%- set coarse = 'epoch_us(cast(' ~ column ~ ' as timestamp))' -%}
    {%- if kind in ('timestamp_s', 'timestamp_ms') -%}
        {{ return(coarse) }}
    {%- endif -%}
    {#- epoch_us() rounds nanoseconds to the nearest microsecond, which may be too early. -#}
    {%- if kind == 'timestamptz_ns' -%}
        {%- set nanoseconds = "epoch_ns(timezone('UTC', " ~ column ~ "))" -%}
    {%- else -%}
        {%- set nanoseconds = 'epoch_ns(' ~ column ~ ')' -%}
    {%- endif -%}
    {#- `//` rounds towards zero; where that is the wrong direction, one step down or up corrects it. -#}
    {%- set step = ' + (' ~ nanoseconds ~ ' % 1000 > 0)::int' if round_up else ' - (' ~ nanoseconds ~ ' % 1000 < 0)::int' -%}
    {%- set microseconds = nanoseconds ~ ' // 1000' ~ step -%}
    {%- if kind in ('timestamp_ns', 'timestamptz_ns') -%}
        {{ return(microseconds) }}
    {%- endif -%}
    {%- set kind = 'typeof(' ~ column ~ ')' -%}
    {{ return('case when ' ~ kind ~ " = 'TIMESTAMP_NS' then " ~ microseconds ~ ' when ' ~ kind ~ " in ('TIMESTAMP_S', 'TIMESTAMP_MS') then " ~ coarse ~ ' else epoch_us(' ~ column ~ ') end') }}
{%- endmacro %}


{#- A caller's instant as microseconds UTC; none is the current time. -#}
{% macro _as_of(as_of) -%}
    {%- if as_of is none -%}
        {{ return(pit_join._instant('current_timestamp', 'timestamptz')) }}
    {%- endif -%}
    {%- set found = modules.re.fullmatch('([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2})(:[0-9]{2}(?:[.][0-9]{1,6})?)?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?', as_of | string) -%}
    {%- if not found -%}
        {{ exceptions.raise_compiler_error("cannot read the instant '" ~ as_of ~ "'; write for example '2026-03-18 14:30' (UTC) or '2026-03-18T14:30:00+02:00'") }}
    {%- endif -%}
    {%- set day, minute, second, zone = found.groups() -%}
    {%- set text = day ~ ' ' ~ (minute or '00:00') ~ (second or ':00') ~ ('+00' if zone in (none, 'Z') else zone) -%}
    {{ return(pit_join._instant('cast(' ~ pit_join._literal(text) ~ ' as timestamp with time zone)', 'timestamptz')) }}
{%- endmacro %}


{#- Microseconds UTC as a time of the declared type. -#}
{% macro _as_time(microseconds, data_type) -%}
    {{ return('cast(make_timestamp(' ~ microseconds ~ ') as ' ~ (data_type or 'timestamp') ~ ')' if 'tz' not in (data_type or '') and 'zone' not in (data_type or '') else 'make_timestamptz(' ~ microseconds ~ ')') }}
{%- endmacro %}


{#- An instant before and one after all others. A microsecond may be subtracted from the first, but not added to the
    second. -#}
{% macro _before_all() -%}
-9223372036854775807 /* before all */
{%- endmacro %}

{% macro _never() -%}
9223372036854775807 /* never */
{%- endmacro %}
