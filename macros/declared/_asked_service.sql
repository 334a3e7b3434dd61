{#-
    The features of a service as `training_set` takes them, and whether all their names are full: (features,
    full_feature_names). While dbt parses it knows no exposures yet, so a model names what the service reads in lines
    `depends_on`; an error lists those that it lacks.
-#}
{% macro _asked_service(name) -%}
    {%- if not execute -%}
        {{ return(([], false)) }}
    {%- endif -%}
    {%- set services = pit_join.feature_services() -%}
    {%- set exposure = services | selectattr('name', 'equalto', name) | first -%}
    {%- if not exposure and not graph.nodes -%}
        {{ exceptions.raise_compiler_error("macros of a unit test cannot read the services: add to this test  overrides: {macros: {pit_join.feature_services: [...]}}  with the YAML entry of the exposure '" ~ name ~ "'") }}
    {%- elif not exposure -%}
        {{ exceptions.raise_compiler_error("unknown feature service '" ~ name ~ "'; feature services: " ~ services | map(attribute='name') | sort | join(', ')) }}
    {%- endif -%}
    {%- set where = pit_join._where(exposure, name) -%}
    {%- set meta = ((exposure.config or {}).meta or exposure.meta).pit_join -%}
    {%- set features, problems, views = [], [], {} -%}
    {%- for given in (meta.features if meta is mapping and meta.features is sequence and meta.features is not string else []) -%}
        {%- set item = pit_join._read_item(given) -%}
        {%- if item.problem -%}
            {%- do problems.append(where ~ 'features: ' ~ item.problem) -%}
        {%- elif item.view -%}
            {%- do features.append(given) -%}
            {%- do views.update({item.alias: item.view}) -%}
        {%- else -%}
            {%- do features.append(dict(given, **pit_join._declared_types(item.on_demand, where))) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if not features and not problems -%}
        {%- do problems.append(where ~ 'features: must be a list of references such as view:feature') -%}
    {%- elif problems -%}
        {{ exceptions.raise_compiler_error(problems | join('\n')) }}
    {%- endif -%}
    {#- An argument of an on-demand feature reads the view of a role, or one of its own. -#}
    {%- for item in features if item is mapping and 'on_demand' in item -%}
        {%- for source in (item.arguments or {}).values() if ':' in source -%}
            {%- do views.setdefault(pit_join._default_alias(pit_join._reference(source)[0]), pit_join._reference(source)[0]) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- do pit_join._check_depends_on(name, views.values() | unique(case_sensitive=true) | list) -%}
    {{ return((features, meta.full_feature_names is sameas true)) }}
{%- endmacro %}


{#- Fail if the current model does not depend on the views of a service, with the lines to add. -#}
{% macro _check_depends_on(service, views) -%}
    {%- set model = context.get('model') -%}
    {%- set missing = [] -%}
    {%- for view in views if model -%}
        {%- set name, version = pit_join._model_and_version(view) -%}
        {%- for node in pit_join.feature_views() if node.name == name and node.unique_id and node.unique_id not in model.depends_on.nodes -%}
            {%- if version == (node.version | string) or (version is none and node.version == node.latest_version) -%}
                {%- do missing.append('-- depends_on: {' ~ '{ ' ~ pit_join._ref_text(view) ~ ' }' ~ '}') -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if missing -%}
        {{ exceptions.raise_compiler_error("the service '" ~ service ~ "' reads models that dbt does not know it to need; add to this model:\n" ~ missing | join('\n')) }}
    {%- endif -%}
{%- endmacro %}


{#- The types of an on-demand feature, which the YAML of its macro declares: {types, returns, default}. -#}
{% macro _declared_types(path, where) -%}
    {%- set parts = path.split('.') -%}
    {%- set function = (context.get(parts[0]) or {}).get(parts[1]) if parts | length == 2 else context.get(path) -%}
    {%- set macro = function.macro if function else none -%}
    {%- set meta = ((macro.config or {}).meta or macro.meta or {}).pit_join if macro else none -%}
    {%- if meta is not mapping -%}
        {{ exceptions.raise_compiler_error(where ~ "features: there is no macro '" ~ path ~ "' with config.meta.pit_join") }}
    {%- endif -%}
    {%- set types = {} -%}
    {%- for argument in macro.arguments -%}
        {%- do types.update({argument.name: argument.type}) -%}
    {%- endfor -%}
    {{ return({'types': types, 'returns': meta.returns, 'default': meta.get('default')}) }}
{%- endmacro %}
