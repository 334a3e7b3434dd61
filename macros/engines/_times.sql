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

{#- An infinite time has no number of seconds. These are exact, as a numeric, from PostgreSQL 14 on. -#}
{% macro postgres___instant(column, data_type=none, round_up=false) -%}
    {{ return('cast(extract(epoch from case when isfinite(' ~ column ~ ') then ' ~ column ~ ' end) * 1000000 as bigint)') }}
{%- endmacro %}

{#-
    A TIMESTAMP is an instant, and all else is UTC. A cast of all else to a TIMESTAMP, as many functions make it silently,
    would read it in the time zone of the session. The type is always tested: with a declared `timestamp` that is not one
    the same would happen.
-#}
{% macro spark___instant(column, data_type=none, round_up=false) -%}
{%- set since = 'cast(cast(' ~ column ~ " as timestamp_ntz) - timestamp_ntz '1970-01-01' as interval second)" -%}
case typeof({{ column }}) when 'timestamp' then unix_micros(cast({{ column }} as timestamp)) when 'timestamp_ntz' then cast(cast({{ since }} as decimal(18, 6)) * 1000000 as bigint) when 'date' then unix_date(cast({{ column }} as date)) * 86400000000 else raise_error({{ pit_join._literal('a time is of type timestamp, timestamp_ntz or date, and ' ~ column ~ ' is of type ') }} || typeof({{ column }})) end
{%- endmacro %}


{#- Microseconds UTC as a time of the declared type. -#}
{% macro _as_time(microseconds, data_type) -%}
    {{ return(adapter.dispatch('_as_time', 'pit_join')(microseconds, data_type)) }}
{%- endmacro %}

{% macro duckdb___as_time(microseconds, data_type) -%}
    {%- set kind = (data_type or 'timestamp') | lower | replace(' ', '') -%}
    {{ return('make_timestamptz(' ~ microseconds ~ ')' if 'tz' in kind or 'withtimezone' in kind else 'cast(make_timestamp(' ~ microseconds ~ ') as ' ~ (data_type or 'timestamp') ~ ')') }}
{%- endmacro %}

{#- An interval is multiplied as a float, which is exact for whole seconds and for less than one. -#}
{% macro default___as_time(microseconds, data_type) -%}
    {%- set kind = (data_type or 'timestamp') | lower | replace(' ', '') -%}
    {%- set epoch = "timestamptz 'epoch'" if 'tz' in kind or 'withtimezone' in kind else "timestamp 'epoch'" -%}
    {{ return('cast(' ~ epoch ~ ' + ' ~ microseconds ~ " / 1000000 * interval '1 second' + " ~ microseconds ~ " % 1000000 * interval '1 microsecond' as " ~ (data_type or 'timestamp') ~ ')') }}
{%- endmacro %}

{% macro spark___as_time(microseconds, data_type) -%}
    {%- set naive = "timestampadd(microsecond, " ~ microseconds ~ ", timestamp_ntz '1970-01-01')" -%}
    {%- set kind = pit_join._duckdb_name(data_type) -%}
    {{ return({'date': 'date_from_unix_date(cast(' ~ microseconds ~ ' div 86400000000 as int))', 'timestamp': naive}.get(kind, 'timestamp_micros(' ~ microseconds ~ ')')) }}
{%- endmacro %}


{#- The time of an instant in microseconds. -#}
{% macro _time_at(microseconds) -%}
    {{ return(pit_join._as_time(microseconds, pit_join._zoned_type())) }}
{%- endmacro %}

{#- The type of an instant. -#}
{% macro _zoned_type() -%}
    {{ return(adapter.dispatch('_zoned_type', 'pit_join')()) }}
{%- endmacro %}

{% macro default___zoned_type() -%}
    {{ return('timestamp with time zone') }}
{%- endmacro %}

{% macro spark___zoned_type() -%}
    {{ return('timestamp') }}
{%- endmacro %}
