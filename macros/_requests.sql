{#-
    A list of references and role mappings as requests, one a role: [{alias, view (see _view), keys {view key: spine
    column}, features [{column, name, default}]}], and the names of all features in the order they were asked for.
    References: 'view:feature', 'view:*', or {view, as, join_keys, features: [names or '*']}.
-#}
{% macro _requests(features, full_feature_names=false, defaults=true, provenance=false) -%}
    {%- set requests = {} -%}
    {%- set names = [] -%}
    {%- set taken = {} -%}
    {%- for item in features -%}
        {%- if item is string -%}
            {%- set view_name, feature_name = pit_join._reference(item) -%}
            {%- set item = {'view': view_name, 'features': [feature_name]} -%}
        {%- elif item is not mapping or item.view is not string or item.features is string or not item.features -%}
            {{ exceptions.raise_compiler_error("cannot read " ~ item ~ "; write 'view:feature', or {'view': ..., 'as': ..., 'join_keys': {...}, 'features': [names or '*']}") }}
        {%- endif -%}
        {%- for key in item if key not in ('view', 'as', 'join_keys', 'features') -%}
            {{ exceptions.raise_compiler_error("unknown key '" ~ key ~ "' in " ~ item ~ '; allowed are as, features, join_keys, view') }}
        {%- endfor -%}
        {%- set alias = item.get('as') or item.view -%}
        {%- set view = requests[alias].view if alias in requests else pit_join._view(item.view) -%}
        {%- set keys = {} -%}
        {%- set two_meanings = "'" ~ alias ~ "' is listed twice with another meaning; give one of them another name with 'as'" -%}
        {%- if execute -%}
            {%- if view.name != item.view -%}
                {{ exceptions.raise_compiler_error(two_meanings) }}
            {%- endif -%}
            {%- for key in item.get('join_keys') or {} if key not in view['keys'] -%}
                {{ exceptions.raise_compiler_error(alias ~ ': ' ~ item.view ~ ' has no join key ' ~ key ~ '; it has ' ~ view['keys'] | join(', ')) }}
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
            {%- for feature_name in item.features -%}
                {%- if feature_name != '*' and feature_name not in columns -%}
                    {{ exceptions.raise_compiler_error(alias ~ ': ' ~ item.view ~ ' has no feature ' ~ feature_name ~ '; it has ' ~ columns | join(', ')) }}
                {%- endif -%}
                {%- for column in (columns if feature_name == '*' else [feature_name]) -%}
                    {%- set name = alias ~ '__' ~ column if full_feature_names or alias != item.view else column -%}
                    {%- set owner = alias ~ ':' ~ column -%}
                    {%- if taken.get(name | lower, owner) != owner -%}
                        {{ exceptions.raise_compiler_error('both ' ~ taken[name | lower] ~ ' and ' ~ owner ~ ' would be named ' ~ name ~ ('; rename one of them' if '__' in name else '; use full_feature_names')) }}
                    {%- endif -%}
                    {%- if (name | lower) not in taken -%}
                        {%- set declared = columns[column] -%}
                        {%- set default = none -%}
                        {%- if defaults and declared.default is not none -%}
                            {%- set default = 'cast(' ~ pit_join._literal(declared.default) ~ ' as ' ~ declared.data_type ~ ')' -%}
                        {%- endif -%}
                        {%- do taken.update({name | lower: owner}) -%}
                        {%- do names.append(name) -%}
                        {%- do request.features.append({'column': column, 'name': name, 'default': default}) -%}
                    {%- endif -%}
                {%- endfor -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for alias in requests if provenance -%}
        {%- for name in (alias ~ '__event_timestamp', alias ~ '__status') if (name | lower) in taken -%}
            {{ exceptions.raise_compiler_error('both ' ~ taken[name | lower] ~ ' and the provenance of ' ~ alias ~ ' would be named ' ~ name ~ '; rename the column, or do without provenance') }}
        {%- endfor -%}
    {%- endfor -%}
    {{ return((requests.values() | list, names)) }}
{%- endmacro %}


{#- 'view:feature' as its two parts; a part that holds , : = ( ) stands in double quotes, doubled inside. -#}
{% macro _reference(text) -%}
    {%- set part = '("(?:[^"]|"")+"|[^":,=()]+)' -%}
    {%- set found = modules.re.fullmatch(part ~ ':' ~ part, text | trim) -%}
    {%- if not found -%}
        {{ exceptions.raise_compiler_error("cannot read the reference '" ~ text ~ "'; write 'view:feature' or 'view:*'") }}
    {%- endif -%}
    {%- set parts = [] -%}
    {%- for piece in found.groups() -%}
        {%- do parts.append(piece[1:-1] | replace('""', '"') if piece[0] == '"' else piece | trim) -%}
    {%- endfor -%}
    {{ return(parts) }}
{%- endmacro %}
