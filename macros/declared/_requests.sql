{#-
    A list of references, role mappings and on-demand features, read into three lists. They are the requests, one for
    each role: {alias, view (see _view), keys {view key: spine column}, features [{column, name, default}]}; the names of
    all features in the order of the list; and the on-demand features: see `_on_demand`. A feature that only an on-demand
    one needs is part of its request, under a name that starts with _pit_.
    References: 'view:feature', 'view:*', {view, as, join_keys, features: [names or '*']}, or an on-demand feature. A view may
    have a version, `view.v2`: see `_model_and_version`.
-#}
{% macro _requests(features, full_feature_names=false, defaults=true, provenance=false) -%}
    {%- set requests, names, taken, computed = {}, [], {}, [] -%}
    {%- set asked = {'requests': requests, 'names': names, 'taken': taken, 'full_feature_names': full_feature_names, 'defaults': defaults} -%}
    {%- for item in features -%}
        {%- if item is mapping and 'on_demand' in item -%}
            {%- do computed.append(pit_join._on_demand(item, defaults)) -%}
            {%- do pit_join._take_name(computed[-1].name, 'item ' ~ loop.index ~ ' (' ~ item.on_demand ~ ')', 'use another name with as', asked) -%}
        {%- else -%}
            {%- do pit_join._add_request(item, asked) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for argument in computed | map(attribute='arguments') | sum(start=[]) if argument.reference -%}
        {%- do argument.update(pit_join._argument_feature(argument.reference, defaults, requests)) -%}
    {%- endfor -%}
    {%- for alias in requests if provenance -%}
        {%- for name in (pit_join._whole_name(alias ~ '__event_timestamp'), alias ~ '__status') if (name | lower) in taken -%}
            {{ exceptions.raise_compiler_error('both ' ~ taken[name | lower] ~ ' and the provenance of ' ~ alias ~ ' would be named ' ~ name ~ '; rename the column, or do without provenance') }}
        {%- endfor -%}
    {%- endfor -%}
    {{ return((requests.values() | list, names, computed)) }}
{%- endmacro %}


{#- Add one reference or role to `requests`; `asked` holds the arguments of `_requests` and its findings so far. -#}
{% macro _add_request(item, asked) -%}
    {%- set requests = asked.requests -%}
    {%- if item is string -%}
        {%- set view_name, feature_name = pit_join._reference(item) -%}
        {%- set item = {'view': view_name, 'features': [feature_name]} -%}
    {%- elif item is not mapping or item.view is not string or item.features is string or not item.features -%}
        {{ exceptions.raise_compiler_error("cannot read " ~ item ~ "; write 'view:feature', or {'view': ..., 'as': ..., 'join_keys': {...}, 'features': [names or '*']}") }}
    {%- endif -%}
    {%- for key in item if key not in ('view', 'as', 'join_keys', 'features') -%}
        {{ exceptions.raise_compiler_error("unknown key '" ~ key ~ "' in " ~ item ~ '; allowed are as, features, join_keys, view') }}
    {%- endfor -%}
    {%- set alias = pit_join._whole_name(item.get('as') or pit_join._default_alias(item.view)) -%}
    {%- set is_role = alias not in (pit_join._model_and_version(item.view)[0], pit_join._default_alias(item.view)) -%}
    {%- set view = requests[alias].view if alias in requests else pit_join._view(item.view) -%}
    {%- set keys = {} -%}
    {%- set two_meanings = "'" ~ alias ~ "' is listed twice with another meaning; give one of them another name with 'as'" -%}
    {%- if execute -%}
        {%- if view.name != item.view -%}
            {{ exceptions.raise_compiler_error(two_meanings) }}
        {%- endif -%}
        {%- for key in item.get('join_keys') or {} if key not in view['keys'] -%}
            {{ exceptions.raise_compiler_error(alias ~ ': ' ~ item.view ~ ' has no join key ' ~ key ~ '; it has ' ~ (view['keys'] | join(', ') or 'no keys')) }}
        {%- endfor -%}
        {%- for key in view['keys'] -%}
            {%- do keys.update({key: (item.get('join_keys') or {}).get(key, key)}) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if alias not in requests -%}
        {%- do requests.update({alias: {'alias': alias, 'view': view, 'keys': keys, 'features': []}}) -%}
    {%- elif requests[alias]['keys'] != keys -%}
        {{ exceptions.raise_compiler_error(two_meanings) }}
    {%- endif -%}
    {%- if execute -%}
        {%- set request = requests[alias] -%}
        {%- set columns = request.view.columns -%}
        {%- set owner = item.view if alias == pit_join._default_alias(item.view) else alias -%}
        {%- for feature_name in item.features -%}
            {%- for column in (columns if feature_name == '*' else [feature_name]) -%}
                {%- set feature = pit_join._declared_feature(request, column, asked.defaults) -%}
                {%- set name = alias ~ '__' ~ column if asked.full_feature_names or is_role else column -%}
                {%- if pit_join._take_name(name, owner ~ ':' ~ column, 'use full feature names (view__feature)', asked) -%}
                    {%- do request.features.append({'column': column, 'name': name, 'default': feature.default}) -%}
                {%- endif -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}


{#- Whether a name is new; a name that another owner has taken is an error. -#}
{% macro _take_name(name, owner, advice, asked) -%}
    {%- set taken = asked.taken -%}
    {%- if taken.get(name | lower, owner) != owner -%}
        {{ exceptions.raise_compiler_error('both ' ~ taken[name | lower] ~ ' and ' ~ owner ~ ' would be named ' ~ name ~ '; ' ~ ('rename one of them' if '__' in name else advice)) }}
    {%- elif (name | lower) in taken -%}
        {{ return(false) }}
    {%- endif -%}
    {%- do taken.update({pit_join._whole_name(name) | lower: owner}) -%}
    {%- do asked.names.append(name) -%}
    {{ return(true) }}
{%- endmacro %}


{#- The declaration of a feature: its column, and its default as SQL or none. -#}
{% macro _declared_feature(request, column, defaults) -%}
    {%- if column not in request.view.columns -%}
        {{ exceptions.raise_compiler_error(request.alias ~ ': ' ~ request.view.name ~ ' has no feature ' ~ column ~ '; it has ' ~ request.view.columns | join(', ')) }}
    {%- endif -%}
    {%- set declared = request.view.columns[column] -%}
    {%- set default = none -%}
    {%- if defaults and declared.default is not none -%}
        {%- set default = pit_join._constant(declared.default, declared.data_type) -%}
    {%- endif -%}
    {{ return({'column': column, 'default': default}) }}
{%- endmacro %}


{#- The two parts of 'view:feature': see `_parts`. -#}
{% macro _reference(text) -%}
    {%- set parts = pit_join._parts(text) -%}
    {%- if not parts -%}
        {{ exceptions.raise_compiler_error("cannot read the reference '" ~ text ~ "'; write 'view:feature' or 'view:*'") }}
    {%- endif -%}
    {{ return(parts) }}
{%- endmacro %}


{#-
    The two parts of 'view:feature', or none for another text. A part with , : = ( ) is in double quotes, which are doubled
    inside it. A view that only looks versioned keeps its quotes.
-#}
{% macro _parts(text) -%}
    {%- set part = '("(?:[^"]|"")+"|[^":,=()]+)' -%}
    {%- set found = modules.re.fullmatch(part ~ ':' ~ part, text | string | trim) -%}
    {%- if not found -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set parts = [] -%}
    {%- for piece in found.groups() -%}
        {%- set plain = piece[1:-1] | replace('""', '"') if piece[0] == '"' else piece | trim -%}
        {%- set keeps = loop.first and piece[0] == '"' and modules.re.fullmatch('(?s).+?\\.v.+', plain) -%}
        {%- do parts.append(piece if keeps else plain) -%}
    {%- endfor -%}
    {{ return(parts) }}
{%- endmacro %}


{#-
    The model of a view, and its version or none. 'prefs.v2' is version 2 of the model prefs, and 'prefs' its latest version,
    as for ref(). dbt records refs before it knows its models, so the text alone decides: '"prefs.v2"', in double quotes, is
    a model of that name.
-#}
{% macro _model_and_version(view) -%}
    {%- if view[0] == '"' -%}
        {{ return((view[1:-1] | replace('""', '"'), none)) }}
    {%- endif -%}
    {%- set found = modules.re.fullmatch('(?s)(.+?)\\.v(.+)', view) -%}
    {{ return(found.groups() if found else (view, none)) }}
{%- endmacro %}


{#- The name of a view's role where a request does not name it: that of dbt's table, prefs_v2. -#}
{% macro _default_alias(view) -%}
    {%- set model, version = pit_join._model_and_version(view) -%}
    {{ return(model if version is none else model ~ '_v' ~ (version | replace('.', '_'))) }}
{%- endmacro %}
