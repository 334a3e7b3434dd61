{#-
    An on-demand feature: a macro of the project that renders an SQL expression of its arguments. It is evaluated for
    every row of a training set here, and for every request online. `item` is a request:

    {'on_demand': macro, 'as': name, 'arguments': {argument: 'view:feature' or a column of the spine},
     'types': {argument: SQL type}, 'returns': SQL type, 'default': value for a null}

    An argument that `arguments` does not name is the spine's column of its own name. Macros cannot read the YAML of
    macros, so the request holds the types; the Python package takes them from the YAML.

    Returns {name, macro, returns, default, arguments: [{name, type, reference, column, feature}]}. `column` names the value
    in a table of arguments: a column of the spine, or `view:feature`; then `feature` is its name in its request.
-#}
{% macro _on_demand(item, defaults) -%}
    {%- set where = 'the on-demand feature ' ~ item.on_demand -%}
    {%- for key in item if key not in ('on_demand', 'as', 'arguments', 'types', 'returns', 'default') -%}
        {{ exceptions.raise_compiler_error("unknown key '" ~ key ~ "' in " ~ item ~ '; allowed are arguments, as, default, on_demand, returns, types') }}
    {%- endfor -%}
    {%- if item.returns is not string or item.types is not mapping -%}
        {{ exceptions.raise_compiler_error(where ~ " needs 'types', a mapping of its arguments to their types, and 'returns', the type of its result") }}
    {%- endif -%}
    {%- set sources = item.arguments or {} -%}
    {%- for argument in sources if argument not in item.types -%}
        {{ exceptions.raise_compiler_error(where ~ ' has no argument ' ~ argument ~ '; it has ' ~ item.types | join(', ')) }}
    {%- endfor -%}
    {%- set arguments = [] -%}
    {%- for argument, data_type in item.types.items() -%}
        {%- set source = sources.get(argument, argument) -%}
        {%- do arguments.append({'name': argument, 'type': data_type, 'reference': source if ':' in source else none, 'column': source, 'feature': none}) -%}
    {%- endfor -%}
    {%- set default = none -%}
    {%- if defaults and item.default is not none and item.default is defined -%}
        {%- set default = 'cast(' ~ pit_join.default___literal(item.default) ~ ' as ' ~ item.returns ~ ')' -%}
    {%- endif -%}
    {{ return({
        'name': item.get('as') or item.on_demand.split('.')[-1],
        'macro': item.on_demand,
        'returns': item.returns,
        'default': default,
        'arguments': arguments,
    }) }}
{%- endmacro %}


{#- The feature that an argument refers to; it is added to its request unless it is requested anyway. -#}
{% macro _argument_feature(reference, defaults, requests) -%}
    {%- set view, column = pit_join._reference(reference) -%}
    {%- set alias = pit_join._default_alias(view) -%}
    {%- if alias not in requests -%}
        {%- do pit_join._add_request({'view': view, 'features': [column]}, {'requests': requests, 'names': [], 'taken': {}, 'full_feature_names': false, 'defaults': defaults}) -%}
        {%- do requests[alias].update({'features': []}) -%}
    {%- endif -%}
    {%- if not execute -%}
        {{ return({}) }}
    {%- endif -%}
    {%- set known = requests[alias].features | selectattr('column', 'equalto', column) | list -%}
    {%- if not known -%}
        {%- set feature = pit_join._declared_feature(requests[alias], column, defaults) -%}
        {%- do feature.update({'name': pit_join._whole_name('_pit_' ~ alias ~ '__' ~ column)}) -%}
        {%- do requests[alias].features.append(feature) -%}
        {%- do known.append(feature) -%}
    {%- endif -%}
    {{ return({'column': alias ~ ':' ~ column, 'feature': known[0].name}) }}
{%- endmacro %}


{#-
    An on-demand feature as a column, in DuckDB's SQL. It reads a table of arguments, or of `spine` and its views side by side. With `tried`
    no error ends the query: the column is then {tried, default}, and `tried` is {value}, or null where the value cannot
    be computed.
-#}
{% macro _on_demand_column(feature, spine=none, tried=false) -%}
    {%- set quote = pit_join.default___identifier -%}
    {%- set arguments = {} -%}
    {%- for argument in feature.arguments -%}
        {%- set column = quote(argument.column) -%}
        {%- if spine -%}
            {%- set column = quote(argument.feature) if argument.feature else spine ~ '.' ~ column -%}
        {%- endif -%}
        {%- do arguments.update({argument.name: 'cast(' ~ column ~ ' as ' ~ argument.type ~ ')'}) -%}
    {%- endfor -%}
    {#- On lines of its own, so that a comment at the end of the expression ends there. -#}
    {%- set value = 'cast((\n    ' ~ pit_join._on_demand_expression(feature.macro, arguments) | indent(4) ~ '\n) as ' ~ feature.returns ~ ')' -%}
    {%- if tried -%}
        {%- set default = feature.default or 'cast(null as ' ~ feature.returns ~ ')' -%}
        {{ return("{'tried': try({'value': " ~ value ~ "}), 'default': " ~ default ~ '} as ' ~ quote(feature.name)) }}
    {%- endif -%}
    {{ return(('coalesce(' ~ value ~ ', ' ~ feature.default ~ ')' if feature.default else value) ~ ' as ' ~ quote(feature.name)) }}
{%- endmacro %}


{#- The SQL that a macro of the project, or `package.macro`, renders from the SQL of its arguments. -#}
{% macro _on_demand_expression(path, arguments) -%}
    {%- set parts = path.split('.') -%}
    {%- set function = context[parts[0]][parts[1]] if parts | length == 2 else context[parts[0]] -%}
    {{ return(function(**arguments) | trim) }}
{%- endmacro %}


{#-
    The requested on-demand features as one query over a table of arguments, row by row; empty without such features.
    The command line and the online store run the same text, and where it fails the text with the option `tried`; the
    other options are those of `training_set`.
-#}
{% macro _on_demand_statement(features, relation, options) -%}
    {%- set asked = pit_join._completed(options, {
        'full_feature_names': false, 'defaults': true, 'tried': false
    }, 'the options of _on_demand_statement') -%}
    {%- set requests, names, computed = pit_join._requests(features, asked.full_feature_names, asked.defaults) -%}
    {%- if not execute or not computed -%}
        {{ return('') }}
    {%- endif -%}
select
    {%- for feature in computed %}
    {{ pit_join._on_demand_column(feature, tried=asked.tried) | indent(4) }}{{ ',' if not loop.last }}
    {%- endfor %}
from {{ relation }}
{%- endmacro %}
