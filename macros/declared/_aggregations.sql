{#-
    The aggregations that an event model declares, one for each feature. A list of {name, function, column, column_type,
    where, window (microseconds, or none for a lifetime), n, data_type, default}; `windows` becomes one feature for each
    window, named name_1h, name_7d. `view` is what `_declared` has read so far; what is wrong is added to its problems.
-#}
{% macro _aggregations(view) -%}
    {%- set found = [] -%}
    {%- set taken = {} -%}
    {%- for key in view['keys'] -%}
        {%- do taken.update({key | lower: 'is the name of a join key'}) -%}
    {%- endfor -%}
    {%- do taken.update({view.event_timestamp | string | lower: 'is the name of the event time'}) -%}
    {%- set listed = view.meta.aggregations -%}
    {%- if listed is none -%}
        {{ return([]) }}
    {%- elif listed is string or listed is mapping or listed is not sequence or not listed -%}
        {%- do view.problems.append(view.where ~ 'aggregations: must be a list of aggregations, each with name, function and window, got ' ~ '%r' | format(listed)) -%}
        {{ return([]) }}
    {%- endif -%}
    {%- for declared in listed -%}
        {%- if declared is mapping -%}
            {%- set where = view.where ~ 'aggregations.' ~ (declared.name if declared.name and declared.name is string else '#' ~ loop.index) ~ '.' -%}
            {%- for feature in pit_join._windowed(declared, view.types, where, view.problems) -%}
                {%- if (feature.name | lower) in taken -%}
                    {%- do view.problems.append(where ~ "name: '" ~ feature.name ~ "' " ~ taken[feature.name | lower] ~ '; letter case does not tell names apart, so choose another') -%}
                {%- endif -%}
                {%- do taken.setdefault(feature.name | lower, 'is a feature of the aggregation #' ~ loop.index ~ ' already') -%}
                {%- do found.append(feature) -%}
            {%- endfor -%}
        {%- else -%}
            {%- do view.problems.append(view.where ~ 'aggregations.#' ~ loop.index ~ ': must be a mapping, got ' ~ '%r' | format(declared) ~ '; allowed keys are ' ~ pit_join._settings('aggregation') | join(', ')) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{#- The features of one aggregation, one for each window; what is wrong is added to `problems`. -#}
{% macro _windowed(declared, types, where, problems) -%}
    {%- set functions = ('count', 'count_distinct', 'sum', 'avg', 'min', 'max', 'stddev', 'first', 'last', 'last_n') -%}
    {%- do pit_join._check_settings(declared, 'aggregation', where, problems) -%}
    {%- set name, function, column, n = declared.name, declared.get('function'), declared.get('column'), declared.get('n') -%}
    {%- set named = name is string and name -%}
    {%- if 'name' not in declared -%}
        {%- do problems.append(where ~ 'name: is missing; give the feature a name') -%}
    {%- endif -%}
    {%- if 'function' not in declared -%}
        {%- do problems.append(where ~ 'function: is missing; allowed: ' ~ functions | join(', ')) -%}
    {%- elif function is not none and function not in functions -%}
        {%- do problems.append(where ~ 'function: unknown function ' ~ '%r' | format(function) ~ '; allowed: ' ~ functions | sort | join(', ')) -%}
    {%- endif -%}
    {%- set known = column is string and column in types -%}
    {%- set type = pit_join._type_of(types[column] if known else none) -%}
    {%- if 'column' not in declared and function in functions and function != 'count' -%}
        {%- do problems.append(where ~ 'column: is missing; ' ~ function ~ ' needs the column that it aggregates; columns: ' ~ types | sort | join(', ')) -%}
    {%- elif column is not none and column is defined and not known -%}
        {%- do problems.append(where ~ "column: no column '" ~ column ~ "' is listed; columns: " ~ types | sort | join(', ')) -%}
    {%- elif function in ('sum', 'avg', 'stddev') and type.text and type.family not in ('integer', 'decimal', 'float') -%}
        {%- do problems.append(where ~ 'column: ' ~ function ~ " needs an integer, decimal or float column, and '" ~ column ~ "' is " ~ type.text) -%}
    {%- endif -%}
    {%- if function == 'last_n' and 'n' not in declared -%}
        {%- do problems.append(where ~ 'n: is missing; last_n needs the greatest number of values, from 1 to 1000') -%}
    {%- elif function == 'last_n' and n is not none and (n is boolean or n is not integer or n < 1 or n > 1000) -%}
        {%- do problems.append(where ~ 'n: must be a whole number from 1 to 1000, got ' ~ '%r' | format(n)) -%}
    {%- elif function != 'last_n' and function in functions and n is not none and n is defined -%}
        {%- do problems.append(where ~ 'n: is only for last_n, not for ' ~ function ~ '; leave it out') -%}
    {%- endif -%}
    {%- set data_type = pit_join._aggregated_type(function, types[column] if known else none) if function in functions else none -%}
    {%- if declared.get('default') is not none and function in ('count', 'count_distinct') -%}
        {%- do problems.append(where ~ 'default: ' ~ function ~ ' is never null, so it has no default; leave it out') -%}
    {%- elif declared.get('default') is not none and function in functions and (type.text or function in ('avg', 'stddev')) -%}
        {%- set problem = pit_join._default_problem(declared.default, pit_join._type_of(data_type)) -%}
        {%- do problems.append(where ~ 'default: ' ~ problem) if problem -%}
    {%- endif -%}
    {%- set windows = pit_join._windows(declared, where, problems) -%}
    {%- set found = [] -%}
    {%- for suffix, microseconds in windows if named -%}
        {#- A window of 73,000 years counts as a lifetime, since its end would not fit a bigint. -#}
        {%- do found.append({
            'name': name ~ suffix,
            'function': function,
            'column': column,
            'column_type': types[column] if known else none,
            'where': declared.get('where'),
            'window': none if microseconds is none or microseconds >= 2305843009213693952 else microseconds,
            'n': n,
            'data_type': data_type,
            'default': declared.get('default'),
        }) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{#- The windows of an aggregation: [(suffix of the name, microseconds, or none for a lifetime)]. -#}
{% macro _windows(declared, where, problems) -%}
    {%- set several = 'windows' in declared -%}
    {%- if not several and 'window' not in declared -%}
        {%- do problems.append(where ~ "window: is missing; give a duration such as '24 hours', or lifetime, or several in windows") -%}
    {%- elif several and 'window' in declared -%}
        {%- do problems.append(where ~ 'windows: stands beside window; give one of them') -%}
    {%- endif -%}
    {%- set listed = declared.windows if several else [declared.window] if declared.window is defined and declared.window is not none else [] -%}
    {%- if listed is none -%}
        {{ return([]) }}
    {%- elif several and (listed is string or listed is mapping or listed is not sequence or not listed) -%}
        {%- do problems.append(where ~ "windows: must be a list of durations such as '24 hours', or lifetime, got " ~ '%r' | format(listed)) -%}
        {{ return([]) }}
    {%- endif -%}
    {%- set found, seen, key = [], {}, 'windows: ' if several else 'window: ' -%}
    {%- for window in listed -%}
        {%- set microseconds, problem = (none, none) if window == 'lifetime' else pit_join._read_duration(window) if window is string else (none, "must be a duration such as '24 hours', or lifetime, got " ~ '%r' | format(window)) -%}
        {%- if problem -%}
            {%- do problems.append(where ~ key ~ problem ~ ('; or lifetime for no limit' if window is string else '')) -%}
        {%- elif microseconds == 0 -%}
            {%- do problems.append(where ~ key ~ "is '" ~ window ~ "', so that no event would ever be in it; write lifetime for no limit") -%}
        {%- elif microseconds in seen -%}
            {%- do problems.append(where ~ key ~ "'" ~ window ~ "' and '" ~ seen[microseconds] ~ "' are the same window; leave one out") -%}
        {%- else -%}
            {%- do found.append(('_' ~ pit_join._short_window(window) if several else '', microseconds)) -%}
        {%- endif -%}
        {%- do seen.setdefault(microseconds, window) if not problem -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{#- The type of the result of a function for a column. -#}
{% macro _aggregated_type(function, column_type) -%}
    {%- set kind = (column_type or '') | lower | replace(' ', '') -%}
    {%- if function in ('count', 'count_distinct') -%}
        {{ return('bigint') }}
    {%- elif function in ('avg', 'stddev') -%}
        {{ return('double') }}
    {%- elif function in ('min', 'max', 'first', 'last') -%}
        {{ return(column_type) }}
    {%- elif function == 'last_n' -%}
        {{ return(column_type ~ '[]') }}
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
    {{ return(pit_join._type_of(data_type).family == 'float') }}
{%- endmacro %}


{#- '24 hours' as 24h, for the name of a feature. -#}
{% macro _short_window(window) -%}
    {%- if window == 'lifetime' -%}
        {{ return('lifetime') }}
    {%- endif -%}
    {%- set number, unit = modules.re.fullmatch('([0-9]+) *([a-z]+)', window | string | trim).groups() -%}
    {{ return(number ~ ('ms' if unit == 'ms' or unit[:5] == 'milli' else unit[0])) }}
{%- endmacro %}
