{#-
    The problems of a feature service, an exposure. `known` are the declarations of the project: {views, latest: {model:
    view of its latest version}, on_demand}.
-#}
{% macro _service_problems(exposure, known) -%}
    {%- set problems, where = [], pit_join._where(exposure, exposure.name) -%}
    {%- set given = ((exposure.config or {}).meta or exposure.meta).pit_join -%}
    {%- set meta = given if given is mapping else {} -%}
    {%- if given is not mapping -%}
        {%- do problems.append(where ~ 'config.meta.pit_join: must be a mapping, got ' ~ '%r' | format(given) ~ '; allowed keys are ' ~ pit_join._settings('service') | join(', ')) -%}
        {{ return(problems) }}
    {%- endif -%}
    {%- if exposure.type != 'ml' -%}
        {%- do problems.append(where ~ "type: a feature service is an exposure of type ml, got '" ~ exposure.type ~ "'") -%}
    {%- endif -%}
    {%- do pit_join._check_settings(meta, 'service', where, problems) -%}
    {%- if meta.features is string or meta.features is mapping or meta.features is not sequence or not meta.features -%}
        {%- do problems.append(where ~ 'features: must be a list of references such as view:feature, got ' ~ '%r' | format(meta.get('features'))) -%}
        {{ return(problems) }}
    {%- endif -%}
    {%- set asked = {'items': [], 'roles': {}, 'taken': {}, 'read': {}, 'full': meta.full_feature_names is sameas true, 'problems': []} -%}
    {%- for given in meta.features -%}
        {%- set item = pit_join._read_item(given) -%}
        {%- if item.problem -%}
            {%- do asked.problems.append(item.problem) -%}
        {%- elif item.view -%}
            {%- do item.update({'view': known.latest.get(item.view, item.view)}) -%}
            {%- do asked['items'].append(item) -%}
            {%- do asked.roles.setdefault(item.alias, item) -%}
        {%- else -%}
            {%- do asked['items'].append(item) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if asked['items'] and not asked.roles and not asked.problems -%}
        {%- do asked.problems.append('no features are asked for; name them as view:feature, or view:* for all') -%}
    {%- endif -%}
    {%- for item in asked['items'] -%}
        {%- if item.view -%}
            {%- do pit_join._check_request(item, asked, known) -%}
        {%- else -%}
            {%- do pit_join._check_on_demand(item, asked, known, loop.index) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for problem in asked.problems -%}
        {%- do problems.append(where ~ 'features: ' ~ problem) -%}
    {%- endfor -%}
    {%- for view in asked.read if known.views[view].unique_id not in (exposure.depends_on or {}).get('nodes', []) -%}
        {%- do problems.append(where ~ 'depends_on: does not list ' ~ pit_join._ref_text(view) ~ ', which its features need') -%}
    {%- endfor -%}
    {{ return(problems) }}
{%- endmacro %}


{#- An item of a list of features: {view, alias, keys, features}, {on_demand, name, arguments}, or {problem}. -#}
{% macro _read_item(item) -%}
    {%- if item is not mapping -%}
        {%- set parts = pit_join._parts(item) -%}
        {%- if not parts -%}
            {{ return({'problem': "cannot read the reference '" ~ item ~ "'; write view:feature or view:* (a part that holds , : = ( ) stands in double quotes)"}) }}
        {%- endif -%}
        {{ return({'view': parts[0], 'alias': pit_join._default_alias(parts[0]), 'keys': {}, 'features': [parts[1]]}) }}
    {%- endif -%}
    {%- set computed = 'on_demand' in item -%}
    {%- set allowed = pit_join._settings('computed' if computed else 'role') -%}
    {%- for key in item if key not in allowed -%}
        {{ return({'problem': "unknown key '" ~ key ~ "' in " ~ item ~ '; allowed are ' ~ allowed | sort | join(', ')}) }}
    {%- endfor -%}
    {%- if computed -%}
        {%- set name = item.get('as') or (item.on_demand | string).split('.')[-1] -%}
        {%- set arguments = item.arguments or {} -%}
        {%- if item.on_demand is not string or name is not string -%}
            {{ return({'problem': "'on_demand' is the name of a macro and 'as' a name, got " ~ item}) }}
        {%- elif arguments is not mapping or arguments.values() | reject('string') | list -%}
            {{ return({'problem': "'arguments' of '" ~ name ~ "' maps the macro's arguments to features (view:feature) or to columns of the spine, which are the fields of a request, got " ~ '%r' | format(arguments)}) }}
        {%- endif -%}
        {%- for argument, source in arguments.items() if ':' in source and (pit_join._parts(source) or ['', '*'])[1] == '*' -%}
            {{ return({'problem': "the argument '" ~ argument ~ "' of '" ~ name ~ "' is one feature, view:feature, got '" ~ source ~ "'"}) }}
        {%- endfor -%}
        {{ return({'on_demand': item.on_demand, 'name': name, 'arguments': arguments}) }}
    {%- endif -%}
    {%- set alias = item.get('as') or (pit_join._default_alias(item.view) if item.view is string and item.view else none) -%}
    {%- set keys, features = item.join_keys or {}, item.features -%}
    {%- if item.view is not string or alias is not string -%}
        {{ return({'problem': "a role needs 'view' with the name of a feature view, got " ~ item}) }}
    {%- elif features is string or features is mapping or features is not sequence or not features or features | reject('string') | list -%}
        {{ return({'problem': "the role '" ~ alias ~ "' needs 'features', a list of names or [\"*\"], got " ~ '%r' | format(item.get('features'))}) }}
    {%- elif keys is not mapping or keys.values() | reject('string') | list -%}
        {{ return({'problem': "'join_keys' of '" ~ alias ~ "' maps keys of the view to columns of the spine, got " ~ '%r' | format(keys)}) }}
    {%- endif -%}
    {{ return({'view': item.view, 'alias': alias, 'keys': keys, 'features': features}) }}
{%- endmacro %}


{#- Check a request for features of a view, and name each feature; what is found is added to `asked`. -#}
{% macro _check_request(item, asked, known) -%}
    {%- set problems, alias = asked.problems, item.alias -%}
    {%- if item.view not in known.views -%}
        {%- do problems.append("unknown feature view '" ~ item.view ~ "'; feature views: " ~ known.views | sort | join(', ')) -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set view = known.views[item.view] -%}
    {%- do asked.read.update({item.view: true}) -%}
    {%- if alias[:5] | lower == '_pit_' -%}
        {%- do problems.append("the name '" ~ alias ~ "' is not free: names that start with _pit_ are kept for the joins") -%}
    {%- endif -%}
    {%- for other in asked.roles if other != alias and other | lower == alias | lower and other < alias -%}
        {%- do problems.append("letter case does not tell '" ~ other ~ "' and '" ~ alias ~ "' apart; rename one of them") -%}
    {%- endfor -%}
    {%- set model, version = pit_join._model_and_version(item.view) -%}
    {%- if version and alias == model and known.latest.get(model) != item.view -%}
        {%- do problems.append("'" ~ model ~ "' is the latest version, and not " ~ item.view ~ '; give the role another name (alias=view)') -%}
    {%- endif -%}
    {%- if asked.roles[alias].view != item.view or asked.roles[alias]['keys'] != item['keys'] -%}
        {%- do problems.append("'" ~ alias ~ "' is used in two meanings; give one of them another name (alias=view)") -%}
    {%- endif -%}
    {%- for key in item['keys'] if key not in view['keys'] -%}
        {%- do problems.append("view '" ~ view.name ~ "' has no join key '" ~ key ~ "'; " ~ ('join keys: ' ~ view['keys'] | sort | join(', ') if view['keys'] else 'there are no join keys')) -%}
    {%- endfor -%}
    {%- set is_role = alias not in (model, pit_join._default_alias(item.view)) -%}
    {%- set owner = item.view if alias == pit_join._default_alias(item.view) else alias -%}
    {%- for asked_for in item.features -%}
        {%- if asked_for != '*' and asked_for not in view.columns -%}
            {%- do problems.append("view '" ~ view.name ~ "' has no feature '" ~ asked_for ~ "'; features: " ~ view.columns | sort | join(', ')) -%}
        {%- endif -%}
        {%- for column in view.columns if asked_for in ('*', column) -%}
            {%- set name = alias ~ '__' ~ column if asked.full or is_role else column -%}
            {%- set problem = pit_join._name_problem(name) -%}
            {%- do problems.append(problem) if problem -%}
            {%- if asked.taken.setdefault(name | lower, owner ~ ':' ~ column) != owner ~ ':' ~ column -%}
                {%- do pit_join._take(name, owner ~ ':' ~ column, 'set full_feature_names', asked) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
{%- endmacro %}


{#- Check an item that asks for an on-demand feature; what is found is added to `asked`. -#}
{% macro _check_on_demand(item, asked, known, number) -%}
    {%- set problems = asked.problems -%}
    {%- if item.name[:5] | lower == '_pit_' -%}
        {%- do problems.append("the name '" ~ item.name ~ "' is not free: names that start with _pit_ are kept for the joins") -%}
    {%- endif -%}
    {%- do pit_join._take(item.name, 'item ' ~ number ~ ' (' ~ item.on_demand ~ ')', 'use another name with as', asked) -%}
    {%- set macro = known.on_demand.get(item.on_demand) -%}
    {%- if not macro -%}
        {%- do problems.append("there is no macro '" ~ item.on_demand ~ "' with config.meta.pit_join; on-demand features: " ~ known.on_demand | sort | join(', ')) -%}
    {%- endif -%}
    {%- for argument, source in item.arguments.items() -%}
        {%- if macro and argument not in macro.types -%}
            {%- do problems.append("'" ~ item.on_demand ~ "' has no argument '" ~ argument ~ "'; arguments: " ~ macro.types | sort | join(', ')) -%}
        {%- endif -%}
        {%- set parts = pit_join._parts(source) -%}
        {%- if parts -%}
            {%- set role = asked.roles.get(pit_join._default_alias(parts[0])) -%}
            {%- set name = role.view if role else known.latest.get(parts[0], parts[0]) -%}
            {%- set view = known.views.get(name) -%}
            {%- if not view -%}
                {%- do problems.append("unknown feature view '" ~ parts[0] ~ "' in the arguments of '" ~ item.name ~ "'; feature views: " ~ known.views | sort | join(', ')) -%}
            {%- else -%}
                {%- do asked.read.update({name: true}) -%}
                {%- do pit_join._check_argument(item, argument, {'view': view, 'column': parts[1], 'macro': macro}, problems) -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}


{#- Check a feature of a view, `source`, as an argument of an on-demand feature. -#}
{% macro _check_argument(item, argument, source, problems) -%}
    {%- set view, column = source.view, source.column -%}
    {%- if column not in view.columns -%}
        {%- do problems.append("view '" ~ view.name ~ "' has no feature '" ~ column ~ "'; features: " ~ view.columns | sort | join(', ')) -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set wanted = source.macro.types[argument] if source.macro else none -%}
    {%- set kinds = {'integer': 'number', 'decimal': 'number', 'float': 'number', 'time': 'time', 'text': 'text', 'BOOLEAN': 'BOOLEAN'} -%}
    {%- set takes = kinds.get(pit_join._duckdb_type_of(wanted).family) -%}
    {%- set has = kinds.get(pit_join._type_of(view.columns[column].data_type).family) -%}
    {#- A text takes anything, and a time may be written as text. -#}
    {%- if takes and has and takes not in ('text', has) and not (takes == 'time' and has == 'text') -%}
        {%- do problems.append("the argument '" ~ argument ~ "' of '" ~ item.name ~ "' is of type " ~ wanted ~ ', and the feature ' ~ view.name ~ ':' ~ column ~ ' is of type ' ~ view.columns[column].data_type ~ '; cast one of them') -%}
    {%- endif -%}
{%- endmacro %}


{#- Note the name of a feature; a name that another owner has taken is a problem. -#}
{% macro _take(name, owner, advice, asked) -%}
    {%- set other = asked.taken.setdefault(name | lower, owner) -%}
    {%- if other != owner -%}
        {%- do asked.problems.append('both ' ~ other ~ ' and ' ~ owner ~ ' would be named ' ~ name ~ '; ' ~ ('rename one of them' if '__' in name else advice)) -%}
    {%- endif -%}
{%- endmacro %}


{#- The call of ref() that reads the model of a view. -#}
{% macro _ref_text(view) -%}
    {%- set model, version = pit_join._model_and_version(view) -%}
    {%- set number = version if version is none or modules.re.fullmatch('[0-9]+', version) else "'" ~ version ~ "'" -%}
    {{ return("ref('" ~ model ~ "'" ~ (', v=' ~ number if version is not none else '') ~ ')') }}
{%- endmacro %}
