{#-
    Called at the start of each dbt command that builds or tests (see the package's dbt_project.yml). Everything that is
    wrong with the declarations of the project is one error. `dbt parse`, `compile` and `ls` don't check, and
    `vars: {pit_join_check: false}` switches it off.
-#}
{% macro _check_declarations() -%}
    {#- dbt compiles hooks with everything else, and then runs nothing. -#}
    {%- if execute and flags.WHICH not in ('compile', 'generate', 'show') and var('pit_join_check', true) -%}
        {%- set problems = pit_join._declaration_problems(graph, pit_join._declared_macros(project_name), project_name) -%}
        {%- if problems -%}
            {{ exceptions.raise_compiler_error(
                problems | length ~ (' problem' if problems | length == 1 else ' problems') ~ ' in the declarations of pit_join (without these checks: --vars "pit_join_check: false"):\n'
                ~ problems | join('\n')
            ) }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{#- The macros of all packages with settings of pit_join: [{name, where, meta, arguments}]. -#}
{% macro _declared_macros(project) -%}
    {%- set found = {} -%}
    {%- for thing in context.values() -%}
        {%- for candidate in (thing.values() if thing is mapping else [thing]) if candidate.macro -%}
            {%- set macro = candidate.macro -%}
            {%- set meta = (macro.config or {}).meta or macro.meta or {} -%}
            {%- if meta is mapping and meta and pit_join._misspelt_or_own(meta) -%}
                {%- set name = macro.name if macro.package_name == project else macro.package_name ~ '.' ~ macro.name -%}
                {%- do found.update({macro.unique_id: {'name': name, 'where': pit_join._where(macro, name), 'meta': meta, 'arguments': macro.arguments or []}}) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(found.values() | list) }}
{%- endmacro %}


{#-
    The problems of all declarations in a graph of dbt's and in macros (see `_declared_macros`). They are sorted messages
    `file: name: key: problem`. `pit-join check` says the same of them, and more. `project` is the name of the project itself.
-#}
{% macro _declaration_problems(graph, macros, project) -%}
    {%- set problems, views, latest, on_demand, services = [], {}, {}, {}, {} -%}
    {%- set memo = {'types': {}, 'columns': {}, 'settings': {}} -%}
    {%- for macro in macros -%}
        {%- do problems.extend(pit_join._misplaced(macro.meta, macro.where)) -%}
        {%- if 'pit_join' in macro.meta -%}
            {%- do on_demand.update({macro.name: pit_join._declared_on_demand(macro, problems)}) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for node in (graph.nodes or {}).values() if node.resource_type not in ('operation', 'rpc', 'sql_operation') -%}
        {%- set config = node.config or {} -%}
        {%- set meta = config.meta or {} -%}
        {%- if 'pit_join' in config or meta and meta | list != ['pit_join'] -%}
            {%- do problems.extend(pit_join._misplaced(dict(meta, **{'config': config}), pit_join._where(node, pit_join._versioned_name(node)))) -%}
        {%- endif -%}
        {%- if 'pit_join' not in meta -%}
            {%- for column in (node.columns or {}).values() -%}
                {%- if 'pit_join' in (column.meta or {}) or 'pit_join' in ((column.config or {}).meta or {}) -%}
                    {%- do problems.append(pit_join._where(node, pit_join._versioned_name(node)) ~ 'columns.' ~ column.name ~ '.config.meta.pit_join: has no effect, since the ' ~ node.resource_type ~ ' has no config.meta.pit_join of its own') -%}
                {%- endif -%}
            {%- endfor -%}
        {%- elif node.resource_type in ('model', 'seed', 'snapshot') -%}
            {%- set view = pit_join._declared(node, memo) -%}
            {%- do pit_join._check_stored(view, node) -%}
            {%- if view.name in views -%}
                {%- do view.problems.append(view.where ~ 'name: two feature views have this name; the other is in ' ~ views[view.name].where.split(': ')[0]) -%}
            {%- elif node.package_name != project -%}
                {%- do view.problems.extend(pit_join._hidden(node, view.where, graph, project)) -%}
            {%- endif -%}
            {%- if node.version is not none and node.version is defined and node.version == node.latest_version -%}
                {%- do latest.update({node.name: view.name}) -%}
            {%- endif -%}
            {%- if view.meta -%}
                {%- do views.update({view.name: dict(view, unique_id=node.unique_id)}) -%}
            {%- endif -%}
            {%- do problems.extend(view.problems) -%}
        {%- else -%}
            {%- do problems.append(pit_join._where(node, node.name) ~ 'config.meta.pit_join: has no effect on a ' ~ node.resource_type ~ '; feature views are models, seeds and snapshots') -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do problems.extend(pit_join._other_keys(views)) -%}
    {%- for kind in ('sources', 'metrics', 'semantic_models', 'saved_queries', 'groups', 'functions') -%}
        {%- for node in (graph[kind] or {}).values() if node.meta or (node.config or {}).meta -%}
            {%- set meta = (node.config or {}).meta or node.meta -%}
            {%- set where = pit_join._where(node, node.source_name ~ '.' ~ node.name if node.source_name else node.name) -%}
            {%- do problems.extend(pit_join._misplaced(meta, where)) -%}
            {%- if kind != 'sources' and 'pit_join' in meta -%}
                {%- do problems.append(where ~ 'config.meta.pit_join: has no effect on a ' ~ node.resource_type ~ '; feature views are models, seeds and snapshots') -%}
            {%- elif meta.pit_join is mapping and ('entity' in meta.pit_join or 'join_keys' in meta.pit_join) -%}
                {%- do problems.append(where ~ 'config.meta.pit_join: a source cannot be a feature view; declare a model that selects from it (materialized: view copies no rows)') -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for exposure in (graph.exposures or {}).values() -%}
        {%- set meta = (exposure.config or {}).meta or exposure.meta or {} -%}
        {%- do problems.extend(pit_join._misplaced(meta, pit_join._where(exposure, exposure.name))) -%}
        {%- if 'pit_join' in meta -%}
            {%- set where = pit_join._where(exposure, exposure.name) -%}
            {%- if exposure.name in services -%}
                {%- do problems.append(where ~ 'name: two feature services have this name; the other is in ' ~ services[exposure.name]) -%}
            {%- endif -%}
            {%- do services.update({exposure.name: where.split(': ')[0]}) -%}
            {%- do problems.extend(pit_join._service_problems(exposure, {'views': views, 'latest': latest, 'on_demand': on_demand})) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(problems | unique(case_sensitive=true) | sort(case_sensitive=true) | list) }}
{%- endmacro %}


{#- The views whose keys are not those of most views of their entity, as problems. -#}
{% macro _other_keys(views) -%}
    {%- set problems, entities = [], {} -%}
    {%- for view in views.values() if view.meta.entity is string and view.meta.entity and view['keys'] -%}
        {%- do entities.setdefault(view.meta.entity, {}).setdefault(view['keys'] | list | sort | join('|'), []).append(view) -%}
    {%- endfor -%}
    {%- for entity, groups in entities.items() -%}
        {%- set usual = [] -%}
        {%- for group in groups.values() -%}
            {%- if group | length > usual | length -%}
                {%- do usual.clear() or usual.extend(group) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- for group in groups.values() if group[0].name != usual[0].name -%}
            {%- for view in group -%}
                {%- do problems.append(view.where ~ "join_keys: views of one entity share its keys; '" ~ usual[0].name ~ "' of '" ~ entity ~ "' has " ~ usual[0]['keys'] | list ~ ', got ' ~ view['keys'] | list) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(problems) }}
{%- endmacro %}


{#- The problem of a package's view, as a list, if `ref()` finds a model of the project by its name. -#}
{% macro _hidden(node, where, graph, project) -%}
    {%- set found = [] -%}
    {%- set version = none if node.version is undefined else node.version -%}
    {%- for other in graph.nodes.values() if other.name == node.name and other.package_name == project and other.resource_type in ('model', 'seed', 'snapshot') -%}
        {%- if other.version == (other.latest_version if version is none else version) and 'pit_join' not in ((other.config or {}).meta or {}) -%}
            {%- do found.append(where ~ "name: ref('" ~ node.name ~ "') finds " ~ pit_join._where(other, '').split(': ')[0] ~ ' of the package ' ~ project ~ ', and not this feature view of the package ' ~ node.package_name ~ '; rename or disable one of the two') -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{#- Whether a mapping has the key pit_join, or one that is nearly spelt so. -#}
{% macro _misspelt_or_own(meta) -%}
    {{ return('pit_join' in meta or pit_join._misplaced(meta, '') != []) }}
{%- endmacro %}


{#- The problems of keys that are meant to be pit_join: misspelt, or not below config.meta. -#}
{% macro _misplaced(meta, where) -%}
    {%- set found = [] -%}
    {%- for key in meta if key != 'pit_join' -%}
        {%- if modules.re.fullmatch('p(it|t|ti|itt)[^a-z]*join(s|t|ed)?|pit[^a-z]*(jin|jon|joi|jion|joni|jojn|joinn)', key | string | lower) -%}
            {%- do found.append(where ~ 'config.meta.' ~ key ~ ': is not read; did you mean pit_join?') -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if 'pit_join' in (meta.config or {}) and meta.config is mapping -%}
        {%- do found.append(where ~ 'config.pit_join: is not read; write it below config.meta') -%}
    {%- endif -%}
    {{ return(found) }}
{%- endmacro %}


{#-
    Add to a view's problems what would not change a value that dbt computes. That is how its table is stored, columns without
    a type, and names of aggregations.
-#}
{% macro _check_stored(view, node) -%}
    {%- set listed = view.meta.aggregations -%}
    {%- for declared in (listed if listed is sequence and listed is not string and listed is not mapping else []) -%}
        {%- set name = declared.get('name') if declared is mapping else none -%}
        {%- if name is not none and (name is not string or not modules.re.fullmatch('[A-Za-z_][A-Za-z0-9_]*', name) or name[:5] | lower == '_pit_') -%}
            {%- do view.problems.append(view.where ~ 'aggregations.' ~ (name if name and name is string else '#' ~ loop.index) ~ '.name: must be letters (a to z), digits and underscores, no digit first, and not start with _pit_, got ' ~ '%r' | format(name)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for name, data_type in view.types.items() if not data_type -%}
        {%- do view.problems.append(view.where ~ 'columns.' ~ name ~ ': has no data_type') -%}
    {%- endfor -%}
    {%- for name, feature in view.columns.items() if feature.data_type -%}
        {%- set data_type = feature.data_type -%}
        {%- do view.memo.types.update({data_type: pit_join._type_of(data_type)}) if data_type not in view.memo.types -%}
        {%- if not view.memo.types[data_type].feature and pit_join._knows_types() -%}
            {%- do view.problems.append(view.where ~ ('aggregations.' if view.aggregations else 'columns.') ~ name ~ ': is of type ' ~ data_type ~ ', which has no form that training sets, files and stores share; cast it in the model, for example to varchar or a number, or set exclude: true') -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if node.config.materialized == 'ephemeral' -%}
        {%- do view.problems.append(view.where ~ "config.materialized: an ephemeral model has no relation that could be read; use view, table or incremental") -%}
    {%- endif -%}
    {%- set unique = node.config.unique_key -%}
    {%- set columns = unique.split(',') | map('trim') | list if unique is string else unique or [] -%}
    {%- set keys = view['keys'].values() | map('lower') | list -%}
    {%- if view.meta.static is not sameas true and node.config.materialized == 'incremental' and node.config.incremental_strategy in (none, 'merge', 'delete+insert') and columns and columns | map('string') | map('lower') | reject('in', keys) | list == [] -%}
        {%- do view.problems.append(view.where ~ 'config.unique_key: each run overwrites the history, since ' ~ columns | join(', ') ~ " keeps one row a key; add the event time '" ~ view.event_timestamp ~ "', and the created time if there is one, or use incremental_strategy: append") -%}
    {%- endif -%}
{%- endmacro %}


{#- The declaration of a macro of `_declared_macros`, {types, returns}; what is wrong with it is added to `problems`. -#}
{% macro _declared_on_demand(macro, problems) -%}
    {%- set where, types = macro.where, {} -%}
    {%- set own = macro.meta.pit_join if macro.meta.pit_join is mapping else {} -%}
    {%- if macro.meta.pit_join is not mapping -%}
        {%- do problems.append(where ~ 'config.meta.pit_join: must be a mapping, got ' ~ '%r' | format(macro.meta.pit_join) ~ '; allowed keys are returns, default') -%}
    {%- endif -%}
    {%- do pit_join._check_settings(own, 'on_demand', where, problems) -%}
    {#- DuckDB computes on-demand features, whatever the warehouse is. -#}
    {%- set type = pit_join._duckdb_type_of(own.returns) -%}
    {%- if own.returns is not string or not own.returns | trim -%}
        {%- do problems.append(where ~ 'returns: must be the SQL type of the result, such as double, got ' ~ '%r' | format(own.get('returns'))) -%}
    {%- elif not type.known -%}
        {%- do problems.append(where ~ 'returns: ' ~ '%r' | format(own.returns) ~ ' is not a type that DuckDB knows') -%}
    {%- elif not type.feature -%}
        {%- do problems.append(where ~ 'returns: is of type ' ~ own.returns ~ ', which has no form that training sets, files and stores share') -%}
    {%- else -%}
        {%- set problem = pit_join._default_problem(own.get('default'), type) -%}
        {%- do problems.append(where ~ 'default: ' ~ problem) if problem -%}
    {%- endif -%}
    {%- for argument in macro.arguments -%}
        {%- if argument.type is not string or not argument.type | trim -%}
            {%- do problems.append(where ~ 'arguments.' ~ argument.name ~ ': has no type; give the SQL type that its values have, such as double') -%}
        {%- elif not pit_join._duckdb_type_of(argument.type).known -%}
            {%- do problems.append(where ~ 'arguments.' ~ argument.name ~ ': ' ~ '%r' | format(argument.type) ~ ' is not a type that DuckDB knows') -%}
        {%- endif -%}
        {%- do types.update({argument.name: argument.type or ''}) -%}
    {%- endfor -%}
    {%- if not types -%}
        {%- do problems.append(where ~ 'arguments: none is listed; list each argument of the macro with its name and type') -%}
    {%- endif -%}
    {{ return({'types': types, 'returns': own.returns}) }}
{%- endmacro %}
