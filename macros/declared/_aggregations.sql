{#-
    The aggregations that an event model declares, one for each feature. A list of {name, function, column, column_type,
    where, window (microseconds, or none for a lifetime), n, data_type, default}; `windows` becomes one feature for each
    window, named name_1h, name_7d.
    The Python package checks declarations in full; this macro checks only errors that would lead to wrong values.
-#}
{% macro _aggregations(view_name, meta, types) -%}
    {%- set aggregations = [] -%}
    {%- for declared in meta.aggregations -%}
        {%- set where = 'feature view ' ~ view_name ~ ': the aggregation ' ~ declared.get('name') -%}
        {%- for key in declared if key not in ('name', 'function', 'column', 'where', 'window', 'windows', 'n', 'default') -%}
            {{ exceptions.raise_compiler_error(where ~ ' has the unknown key ' ~ key ~ '; allowed are name, function, column, where, window, windows, n, default') }}
        {%- endfor -%}
        {%- if declared.get('column') and declared.column not in types -%}
            {{ exceptions.raise_compiler_error(where ~ ' reads the column ' ~ declared.column ~ ', which is not in the YAML; listed are ' ~ types | join(', ')) }}
        {%- endif -%}
        {%- set data_type = pit_join._aggregated_type(declared.get('function'), types.get(declared.get('column')), where) -%}
        {%- if ('window' in declared) == ('windows' in declared) -%}
            {{ exceptions.raise_compiler_error(where ~ ' needs either window or windows') }}
        {%- endif -%}
        {%- for window in declared.get('windows') or [declared.window] -%}
            {%- set microseconds = none if window == 'lifetime' else pit_join._duration(window, where) -%}
            {%- if microseconds == 0 -%}
                {{ exceptions.raise_compiler_error(where ~ ' has a window of 0, which holds nothing') }}
            {%- endif -%}
            {#- A window of 73,000 years counts as a lifetime, since its end would not fit a bigint. -#}
            {%- do aggregations.append({
                'name': declared.name ~ '_' ~ pit_join._short_window(window) if 'windows' in declared else declared.name,
                'function': declared.function,
                'column': declared.get('column'),
                'column_type': types.get(declared.get('column')),
                'where': declared.get('where'),
                'window': none if microseconds is none or microseconds >= 2305843009213693952 else microseconds,
                'n': declared.get('n'),
                'data_type': data_type,
                'default': declared.get('default'),
            }) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(aggregations) }}
{%- endmacro %}


{#- The type of the result of a function for a column. -#}
{% macro _aggregated_type(function, column_type, where) -%}
    {%- set kind = (column_type or '') | lower | replace(' ', '') -%}
    {%- if function in ('count', 'count_distinct') -%}
        {{ return('bigint') }}
    {%- elif function in ('avg', 'stddev') -%}
        {{ return('double') }}
    {%- elif function in ('min', 'max', 'first', 'last') -%}
        {{ return(column_type) }}
    {%- elif function == 'last_n' -%}
        {{ return(column_type ~ '[]') }}
    {%- elif function != 'sum' -%}
        {{ exceptions.raise_compiler_error(where ~ ' has the unknown function ' ~ function ~ '; allowed are avg, count, count_distinct, first, last, last_n, max, min, stddev, sum') }}
    {%- elif kind[:3] == 'dec' or kind[:7] == 'numeric' -%}
        {#- A plain decimal has a scale of 3; a decimal with only a width has a scale of 0. -#}
        {%- set scale = kind.split(',')[1][:-1] if ',' in kind else ('0' if '(' in kind else '3') -%}
        {{ return('decimal(38, ' ~ scale ~ ')') }}
    {%- elif pit_join._is_float(column_type) -%}
        {{ return('double') }}
    {%- endif -%}
    {{ return('bigint') }}
{%- endmacro %}


{% macro _is_float(data_type) -%}
    {{ return((data_type or '') | lower | trim in ('double', 'float', 'real', 'float4', 'float8', 'double precision')) }}
{%- endmacro %}


{#- '24 hours' as 24h, for the name of a feature. -#}
{% macro _short_window(window) -%}
    {%- if window == 'lifetime' -%}
        {{ return('lifetime') }}
    {%- endif -%}
    {%- set number, unit = modules.re.fullmatch('([0-9]+) *([a-z]+)', window | string | trim).groups() -%}
    {{ return(number ~ ('ms' if unit == 'ms' or unit[:5] == 'milli' else unit[0])) }}
{%- endmacro %}
