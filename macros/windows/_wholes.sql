{#-
    Values as whole numbers. Their sums are exact, so they do not depend on the order of the rows and may be subtracted.

    integers            as they are
    decimals            without the point: 1.25 is 125
    floats              in classes of 40 powers of two; in the unit of its class each float is a whole number of 93 bits. The
                        class of a value depends on nothing but the value; 99 holds NaN and the infinities.

                        class        49                          50                          51
                        floats       2^-60 ... 2^-20             2^-20 ... 2^20 (and 0)      2^20 ... 2^60
                        unit         2^-113                      2^-73                       2^-33

    For deviations, integers and decimals are of class 50, and in units of 1. Only those of more than 93 bits are of class 51,
    in units of 2^40: a float of them would be no better.
-#}
{% macro _class(value, column_type) -%}
{%- if pit_join._is_float(column_type) -%}
case
    when not isfinite({{ value }}) then 99
    when {{ value }} = 0 then 50
    else 50 + cast(floor((log2(abs(cast({{ value }} as double))) + 20) / 40) as integer)
end
{%- else -%}
case when cast({{ pit_join._whole_number(value, column_type) }} >> 93 as hugeint) in (0, -1) then 50 else 51 end
{%- endif -%}
{%- endmacro %}


{#- The class of all values of an aggregation's column; none if they may be of several. -#}
{% macro _one_class(item) -%}
    {%- if pit_join._is_float(item.column_type) -%}
        {{ return(item.floats.class if item.floats else none) }}
    {%- endif -%}
    {{ return(none if pit_join._is_wide(item.column_type) else 50) }}
{%- endmacro %}


{#- The whole number in the unit of its class: of `class`, or of `X_class` where that is not known. One power of two alone could overflow a float. -#}
{% macro _in_class(value, column_type, class) -%}
{%- if pit_join._is_float(column_type) -%}
{%- set unit = pit_join._unit(class or '(' ~ value ~ '_class)') -%}
{%- set whole = 'cast(cast(' ~ value ~ ' as double) / ' ~ unit ~ ' / ' ~ unit ~ ' * ' ~ pit_join._float_unit() ~ ' as hugeint)' -%}
{{ whole if class else 'case when ' ~ value ~ '_class < 99 then ' ~ whole ~ ' else 0 end' }}
{%- elif pit_join._is_wide(column_type) -%}
{%- set whole = pit_join._whole_number(value, column_type) -%}
cast(case when {{ value }}_class = 50 then {{ whole }} else {{ whole }} >> 40 end as hugeint)
{%- else -%}
{{ pit_join._whole_number(value, column_type) }}
{%- endif -%}
{%- endmacro %}


{#- The square root of the unit of a class, where that of class 50 is 1. For floats it is `_float_unit` less. -#}
{% macro _unit(class) -%}
pow(2.0, 20 * ({{ class }} - 50))
{%- endmacro %}

{% macro _float_unit() -%}
pow(2.0, 73)
{%- endmacro %}


{#- A float in the unit of a class as it was. -#}
{% macro _of_class(value, unit) -%}
{{ value }} / {{ pit_join._float_unit() }} * {{ unit }} * {{ unit }}
{%- endmacro %}


{#- A whole number as two floats: the nearest one, and what it lacks. DuckDB rounds twice on the way from a hugeint. -#}
{% macro _near(whole) -%}
cast({{ whole }} as double)
{%- endmacro %}

{% macro _lacking(whole) -%}
cast({{ whole }} - cast(cast({{ whole }} as double) as hugeint) as double)
{%- endmacro %}


{#- The nearest float of a whole number, rounded once. What the first one lacks beyond 53 bits is cut to 53 with the last one
    set, so that it stays on its side of the middle of two floats. -#}
{% macro _rounded(whole) -%}
{%- set lacking = '(' ~ whole ~ ' - cast(cast(' ~ whole ~ ' as double) as hugeint))' -%}
(
    cast({{ whole }} as double)
    + case when abs({{ lacking }}) < {{ 2 ** 53 }} then cast({{ lacking }} as double) else cast({{ pit_join._cut(lacking, 24) }} as double) * {{ 2 ** 24 }} end
)
{%- endmacro %}


{#- A whole number without its lower bits; its last bit is set if any of these was. -#}
{% macro _cut(whole, bits) -%}
(({{ whole }} >> {{ bits }}) | cast({{ whole }} & {{ 2 ** bits - 1 }} <> 0 as hugeint))
{%- endmacro %}


{#- A float as a whole number of 2^unit, see `floats` of `window_features`. -#}
{% macro _in_unit(value, unit) -%}
cast(cast({{ value }} as double) * pow(2.0, -({{ unit }})) as hugeint)
{%- endmacro %}


{#- An integer or a decimal as a whole number. -#}
{% macro _whole_number(value, column_type) -%}
{%- if pit_join._is_decimal(column_type) -%}
cast(replace(cast(cast({{ value }} as decimal(38, {{ pit_join._scale(column_type) }})) as varchar), '.', '') as hugeint)
{%- else -%}
cast({{ value }} as {{ pit_join._whole_type(column_type) }})
{%- endif -%}
{%- endmacro %}


{#- The type of whole numbers; only the largest of uhugeint do not fit a hugeint. -#}
{% macro _whole_type(column_type) -%}
    {{ return('uhugeint' if column_type | lower | trim in ('uhugeint', 'uint128') else 'hugeint') }}
{%- endmacro %}


{% macro _is_decimal(column_type) -%}
    {{ return((column_type | lower | trim)[:3] in ('dec', 'num')) }}
{%- endmacro %}


{#- The digits of a decimal after its point: 3 of a plain decimal, none if only a width is given. -#}
{% macro _scale(column_type) -%}
    {%- set kind = column_type | lower | replace(' ', '') -%}
    {{ return((kind.split(',')[1][:-1] if ',' in kind else ('0' if '(' in kind else '3')) | int) }}
{%- endmacro %}


{#- Whether a running sum could overflow. The sum of 10^11 integers of 64 bits, or decimals of 27 digits, still fits. -#}
{% macro _is_wide(column_type) -%}
    {%- set kind = (column_type or '') | lower | replace(' ', '') -%}
    {%- set digits = kind.split('(')[1].split(',')[0].split(')')[0] | int if '(' in kind else 18 -%}
    {{ return(digits > 27 if pit_join._is_decimal(kind) else ('huge' in kind or '128' in kind)) }}
{%- endmacro %}
