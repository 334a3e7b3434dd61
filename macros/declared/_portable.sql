{#- Add to a view's problems what would not mean on an engine what it means on DuckDB; `columns` are those of its YAML. -#}
{% macro _check_portable(view, columns) -%}
    {%- set where, problems, meta = view.where, view.problems, view.meta -%}
    {%- set special = view['keys'].values() | list + [view.event_timestamp, meta.get('created_timestamp'), meta.get('deleted')] -%}
    {%- set alias = pit_join._name_problem(pit_join._default_alias(view.name)) -%}
    {%- do problems.append(where ~ 'name: ' ~ alias) if alias -%}
    {%- for column in columns -%}
        {%- set own = ((column.config or {}).meta or {}).pit_join or (column.meta or {}).pit_join or {} -%}
        {%- set problem = pit_join._column_name_problem(column.name, column.quote) -%}
        {%- do problems.append(where ~ 'columns.' ~ column.name ~ ': ' ~ problem) if problem -%}
        {%- set problem = pit_join._engine_type_problem(column.data_type) if column.name in special or own.exclude is not sameas true else none -%}
        {%- do problems.append(where ~ 'columns.' ~ column.name ~ ': is of type ' ~ column.data_type ~ ', which ' ~ problem) if problem -%}
        {%- if 'aggregations' not in meta and column.name in view.columns -%}
            {%- set problem = pit_join._portable_default_problem(own.get('default'), column.data_type) -%}
            {%- do problems.append(where ~ 'columns.' ~ column.name ~ '.default: ' ~ problem) if problem -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for column in view['keys'].values() if pit_join._is_padded(view.types.get(column)) -%}
        {%- do problems.append(where ~ "join_keys: the column '" ~ column ~ "' is of type " ~ view.types[column] ~ ', whose texts are padded with blanks; cast it in the model, for example to varchar') -%}
    {%- endfor -%}
    {%- set listed = meta.aggregations -%}
    {%- for declared in (listed if listed is sequence and listed is not string and listed is not mapping else []) if declared is mapping -%}
        {%- set place = where ~ 'aggregations.' ~ (declared.name if declared.name and declared.name is string else '#' ~ loop.index) ~ '.' -%}
        {%- set type = view.types.get(declared.column) if declared.column is string else none -%}
        {%- if declared.where is string and declared.where | trim -%}
            {%- set problem = pit_join._portable_condition(declared.where, view.types).problem -%}
            {%- do problems.append(place ~ 'where: ' ~ '%r' | format(declared.where) ~ ' ' ~ problem) if problem -%}
        {%- endif -%}
        {%- if declared.get('function') in pit_join._functions_without(pit_join._type_of(type).family) -%}
            {%- do problems.append(place ~ 'column: ' ~ adapter.type() ~ ' has no ' ~ declared.function ~ " of '" ~ declared.column ~ "', which is of type " ~ type ~ '; compute it as a column of the model') -%}
        {%- endif -%}
        {%- set problem = pit_join._portable_default_problem(declared.get('default'), pit_join._aggregated_type(declared.get('function'), type)) if type else none -%}
        {%- do problems.append(place ~ 'default: ' ~ problem) if problem -%}
    {%- endfor -%}
    {%- for name in (view.columns if 'aggregations' in meta else []) if pit_join._name_problem(name) -%}
        {%- do problems.append(where ~ 'aggregations.' ~ name ~ '.name: ' ~ pit_join._name_problem(name)) -%}
    {%- endfor -%}
{%- endmacro %}


{#- The functions of aggregations that an engine does not have for a family of types. -#}
{% macro _functions_without(family) -%}
    {%- if family == 'list' and adapter.type() == 'postgres' -%}
        {{ return(['first', 'last', 'last_n', 'min', 'max']) }}
    {%- endif -%}
    {{ return(['min', 'max', 'count_distinct'] if family in ('JSON', 'MAP') else []) }}
{%- endmacro %}


{#- Whether the values of a type are texts with blanks added to them. -#}
{% macro _is_padded(data_type) -%}
    {%- set types = pit_join._engine_types() -%}
    {{ return(types is not none and (data_type or false) and pit_join._parts_of_type(data_type)[0] in types.padded) }}
{%- endmacro %}


{#- The reason why a default is not the same value on all engines, or none; that it fits its type is said elsewhere. -#}
{% macro _portable_default_problem(default, data_type) -%}
    {%- set type, given = pit_join._type_of(data_type), '%r' | format(default) -%}
    {%- if default is none or pit_join._default_problem(default, type) -%}
        {{ return(none) }}
    {%- elif default is mapping or type.family == 'BLOB' or (type.element and (type.element.family == 'list' or none in default)) -%}
        {{ return(given ~ ' is not a literal or a list of literals, which a default off DuckDB is; leave it out') }}
    {%- endif -%}
    {%- set name, digits, lists = pit_join._parts_of_type(data_type) -%}
    {%- set one_type = type.element if type.element else type -%}
    {%- for one in (default if type.element else [default]) -%}
        {%- set problem = pit_join._default_problem(one, dict(one_type, text=data_type)) if type.element else none -%}
        {%- if problem -%}
            {{ return(problem) }}
        {%- elif one_type.family == 'time' and not pit_join._time_text(one, one_type.name) -%}
            {{ return(given ~ ' is not a date or time such as 2026-01-31 or 2026-01-31 12:00:00, and the type is ' ~ data_type | lower) }}
        {%- elif one_type.family == 'text' and (digits or pit_join._is_padded(name)) and (one | string | length > (digits or 1) | int or pit_join._is_padded(name) and one | string | length < (digits or 1) | int) -%}
            {{ return(given ~ ' does not fit the type ' ~ data_type | lower) }}
        {%- endif -%}
    {%- endfor -%}
    {{ return(none) }}
{%- endmacro %}
