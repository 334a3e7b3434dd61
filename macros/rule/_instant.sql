{#-
    An instant as whole microseconds since 1970-01-01 UTC, a bigint. Times are compared only in this form, so that
    no answer depends on a session's time zone. A naive timestamp is UTC, a date its first instant; an infinite time
    is null. Finer times are rounded down (a spine's) or up (`round_up`, a history's), so that no row is known early.

    `data_type` is the type of the column; without it the expression tests the type, which costs nothing when it runs.
    A history's is the declared one: its table may have the nanoseconds that pandas writes where it says timestamptz.
-#}
{% macro _instant(column, data_type=none, round_up=false) -%}
    {{ return(adapter.dispatch('_instant', 'pit_join')(column, data_type, round_up)) }}
{%- endmacro %}

{% macro default___instant(column, data_type=none, round_up=false) -%}
    {{ return('cast(extract(epoch from ' ~ column ~ ') * 1000000 as bigint)') }}
{%- endmacro %}

{% macro duckdb___instant(column, data_type=none, round_up=false) -%}
    {%- set kind = (data_type or '') | lower | replace(' ', '') -%}
    {%- set zoned = kind in ('timestamptz', 'timestampwithtimezone') -%}
    {%- if kind in ('timestamp', 'datetime', 'timestamp_us', 'date') or (zoned and not round_up) -%}
        {{ return('epoch_us(' ~ column ~ ')') }}
    {%- endif -%}
    {#- Without the cast, DuckDB 2.0.1 takes the nanoseconds of a coarse time, which overflow before 1677 and after 2262. -#}
    {%- set coarse = 'epoch_us(cast(' ~ column ~ ' as timestamp))' -%}
    {%- if kind in ('timestamp_s', 'timestamp_ms') -%}
        {{ return(coarse) }}
    {%- endif -%}
    {#- epoch_us() rounds nanoseconds to the nearest microsecond, which may be too early. -#}
    {%- set nanoseconds = 'epoch_ns(' ~ column ~ ')' -%}
    {#- `//` rounds towards zero; where that is the wrong direction, one step down or up corrects it. -#}
    {%- set step = ' + (' ~ nanoseconds ~ ' % 1000 > 0)::int' if round_up else ' - (' ~ nanoseconds ~ ' % 1000 < 0)::int' -%}
    {%- set microseconds = nanoseconds ~ ' // 1000' ~ step -%}
    {%- if kind in ('timestamp_ns', 'timestamptz_ns') -%}
        {{ return(microseconds) }}
    {%- endif -%}
    {#- The casts also let the expression bind: DuckDB has no epoch_us() of a TIMESTAMPTZ_NS. -#}
    {%- set kind = 'typeof(' ~ column ~ ')' -%}
    {%- set of_zoned = 'epoch_us(cast(' ~ column ~ ' as timestamptz))' -%}
    {%- if zoned -%}
        {{ return('case when ' ~ kind ~ " = 'TIMESTAMPTZ_NS' then " ~ microseconds ~ ' else ' ~ of_zoned ~ ' end') }}
    {%- endif -%}
    {{ return('case when ' ~ kind ~ " in ('TIMESTAMP_NS', 'TIMESTAMPTZ_NS') then " ~ microseconds ~ ' when ' ~ kind ~ " = 'TIMESTAMP WITH TIME ZONE' then " ~ of_zoned ~ ' else ' ~ coarse ~ ' end') }}
{%- endmacro %}


{#- A caller's instant as microseconds UTC; none is the current time. -#}
{% macro _as_of(as_of) -%}
    {%- if as_of is none -%}
        {{ return(pit_join._instant('current_timestamp', 'timestamptz')) }}
    {%- endif -%}
    {%- set found = modules.re.fullmatch('([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]((?:[01][0-9]|2[0-3]):[0-5][0-9])(?::([0-5][0-9])(?:[.]([0-9]+))?)?([zZ]|([+-](?:[01][0-9]|2[0-3]))(?::?([0-5][0-9]))?)?)?', as_of | string | trim) -%}
    {%- set day, minute, second, fraction, zone, hours, minutes = found.groups() if found else ('0000-00-00', none, none, none, none, none, none) -%}
    {%- set year, month = day[:4] | int, day[5:7] | int -%}
    {%- set leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) -%}
    {%- if year < 1 or month not in range(1, 13) or day[8:] | int not in range(1, 1 + [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]) -%}
        {{ exceptions.raise_compiler_error("cannot read the instant '" ~ as_of ~ "'; write for example '2026-03-18 14:30' (UTC) or '2026-03-18T14:30:00+02:00'") }}
    {%- endif -%}
    {%- set text = day ~ ' ' ~ (minute or '00:00') ~ ':' ~ (second or '00') ~ ('.' ~ fraction[:6] if fraction else '') ~ (hours ~ (':' ~ minutes if minutes else '') if hours else '+00') -%}
    {{ return(pit_join._instant('cast(' ~ pit_join._literal(text) ~ ' as timestamp with time zone)', 'timestamptz')) }}
{%- endmacro %}


{#- Microseconds UTC as a time of the declared type. -#}
{% macro _as_time(microseconds, data_type) -%}
    {%- set kind = (data_type or 'timestamp') | lower | replace(' ', '') -%}
    {{ return('make_timestamptz(' ~ microseconds ~ ')' if 'tz' in kind or 'withtimezone' in kind else 'cast(make_timestamp(' ~ microseconds ~ ') as ' ~ (data_type or 'timestamp') ~ ')') }}
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


{#- The time of an instant in microseconds. -#}
{% macro _time_at(microseconds) -%}
    {{ return(adapter.dispatch('_time_at', 'pit_join')(microseconds)) }}
{%- endmacro %}

{% macro duckdb___time_at(microseconds) -%}
    {{ return('make_timestamptz(' ~ microseconds ~ ')') }}
{%- endmacro %}
