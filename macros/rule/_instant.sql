{#-
    An instant as whole microseconds since 1970-01-01 UTC, a bigint: the one form in which times are compared, so that
    no answer depends on a session's time zone. A naive timestamp is UTC, a date its first instant; an infinite time
    is null. Finer times are rounded down (a spine's) or up (`round_up`, a history's), so never early.

    `data_type` is the declared type of the column; without it the expression finds out by itself.
-#}
{% macro _instant(column, data_type=none, round_up=false) -%}
    {{ return(adapter.dispatch('_instant', 'pit_join')(column, data_type, round_up)) }}
{%- endmacro %}

{% macro default___instant(column, data_type=none, round_up=false) -%}
    {{ return('cast(extract(epoch from ' ~ column ~ ') * 1000000 as bigint)') }}
{%- endmacro %}

{% macro duckdb___instant(column, data_type=none, round_up=false) -%}
    {%- set kind = (data_type or '') | lower | replace(' ', '') -%}
    {%- if kind in ('timestamp', 'timestamptz', 'timestampwithtimezone', 'datetime', 'timestamp_s', 'timestamp_ms', 'timestamp_us', 'date') -%}
        {{ return('epoch_us(' ~ column ~ ')') }}
    {%- endif -%}
    {#- epoch_us() rounds nanoseconds to the nearest microsecond, which can be early. -#}
    {%- if kind == 'timestamptz_ns' -%}
        {%- set nanoseconds = "epoch_ns(timezone('UTC', " ~ column ~ "))" -%}
    {%- else -%}
        {%- set nanoseconds = 'epoch_ns(' ~ column ~ ')' -%}
    {%- endif -%}
    {#- `//` cuts towards zero, so one step down or up where that was the wrong way. -#}
    {%- set step = ' + (' ~ nanoseconds ~ ' % 1000 > 0)::int' if round_up else ' - (' ~ nanoseconds ~ ' % 1000 < 0)::int' -%}
    {%- set microseconds = nanoseconds ~ ' // 1000' ~ step -%}
    {%- if kind in ('timestamp_ns', 'timestamptz_ns') -%}
        {{ return(microseconds) }}
    {%- endif -%}
    {{ return("case when typeof(" ~ column ~ ") = 'TIMESTAMP_NS' then " ~ microseconds ~ ' else epoch_us(' ~ column ~ ') end') }}
{%- endmacro %}
