{#-
    The declaration of a feature view, from dbt's graph. A mapping with name, relation, keys {key: column}, event_timestamp,
    created_timestamp, lag and ttl (microseconds), inclusive, deleted, static, columns {feature: {data_type, default}},
    types {column: declared type}, physical and indexes, as dbt has them; for a window view also aggregations (see _aggregations), closed and event_key.
    While dbt parses there is no graph yet; then only the reference is recorded.

    What is wrong with the declaration is one error with every problem, in a model as at the start of a run (see
    `_check_declarations`).
-#}
{% macro _view(name) -%}
    {%- set model, version = pit_join._model_and_version(name) -%}
    {%- set relation = ref(model) if version is none else ref(model, v=version) -%}
    {%- if not execute -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set named = pit_join.feature_views() | selectattr('name', 'equalto', model) | list -%}
    {%- if not named and not graph.nodes -%}
        {{ exceptions.raise_compiler_error("macros of a unit test cannot read the models: add to this test  overrides: {macros: {pit_join.feature_views: [...]}}  with the YAML entry of the model '" ~ model ~ "'") }}
    {%- elif not named -%}
        {{ exceptions.raise_compiler_error("'" ~ name ~ "' is not a feature view: its YAML has no config.meta.pit_join") }}
    {%- endif -%}
    {#- Packages and versions may share a name: the node that ref() chose. The relation of a model that dbt defers to another
        target is not in the graph, and in a unit test none is; then the version decides. -#}
    {%- set chosen = named | selectattr('relation_name', 'equalto', relation.render()) | list -%}
    {%- if not chosen and (graph.nodes or {}).values() | selectattr('relation_name', 'equalto', relation.render()) | list -%}
        {{ exceptions.raise_compiler_error("'" ~ name ~ "' is not a feature view: ref() finds " ~ relation.render() ~ ', and not the feature view of the package ' ~ named[0].package_name ~ '; rename or disable one of the two models') }}
    {%- endif -%}
    {%- for node in named if not chosen and node.version | string == (version or node.latest_version) | string -%}
        {%- do chosen.append(node) -%}
    {%- endfor -%}
    {%- set node = (chosen or named)[0] -%}
    {%- set view = pit_join._declared(node) -%}
    {%- if view.problems -%}
        {{ exceptions.raise_compiler_error(view.problems | join('\n')) }}
    {%- endif -%}
    {%- set meta = view.meta -%}
    {{ return({
        'name': name,
        'relation': relation.render(),
        'keys': view['keys'],
        'event_timestamp': view.event_timestamp,
        'created_timestamp': meta.get('created_timestamp'),
        'lag': pit_join._duration(meta.get('lag'), 'lag'),
        'ttl': pit_join._duration(meta.get('ttl'), 'ttl'),
        'inclusive': meta.get('inclusive', true),
        'deleted': meta.get('deleted'),
        'static': meta.get('static', false),
        'columns': view.columns,
        'types': view.types,
        'aggregations': view.aggregations,
        'closed': meta.get('closed', 'left'),
        'event_key': view.event_key,
        'sensitive': view.columns | list if meta.sensitive is sameas true else view.sensitive,
        'physical': not relation.is_cte and node.config.materialized not in ('view', 'ephemeral', 'external') and 'rowid' not in (view.types | map('lower')),
        'indexes': node.config.get('indexes') or [],
    }) }}
{%- endmacro %}


{#-
    A feature view as its YAML declares it, and what is wrong with that. A mapping with name, where, problems, meta, keys,
    event_timestamp, columns, types, aggregations and event_key. The Python package reads the same and says the same, see
    tests/python/corpus/declarations.json. `memo` keeps what was found of settings and types that are written alike: many
    views are read at the start of a run, and a call of a macro costs dbt more than its work.
-#}
{% macro _declared(node, memo=none) -%}
    {%- set memo = {'types': {}, 'columns': {}, 'settings': {}} if memo is none else memo -%}
    {%- set own_name = node.name if node.version is none and '.v' not in node.name else pit_join._versioned_name(node) -%}
    {%- set path = node.patch_path.split('://')[-1] if node.patch_path else node.original_file_path -%}
    {%- set where = (path ~ ': ' if path else '') ~ own_name ~ ': ' -%}
    {%- set given = node.config.meta.pit_join -%}
    {%- set meta = given if given is mapping else {} -%}
    {%- set keys = [meta.join_keys] if meta.join_keys is string else meta.join_keys -%}
    {%- set names = keys | list + keys.values() | list if keys is mapping else keys if keys is sequence else [] -%}
    {%- set right = names | select('string') | select | list | length == names | length > 0 -%}
    {%- set static = meta.static is sameas true -%}
    {%- set view = {
        'name': own_name, 'where': where, 'memo': memo, 'problems': [], 'meta': meta, 'types': {}, 'columns': {}, 'searched': [], 'aggregations': [],
        'event_key': [], 'sensitive': [],
        'keys': pit_join._key_columns(keys) if right else {}, 'event_timestamp': node.config.get('event_time'),
    } -%}
    {%- set renamed = node.config.get('snapshot_meta_column_names') or {} -%}
    {%- set ended = (renamed.get('dbt_valid_to') or 'dbt_valid_to') | lower if node.get('resource_type') == 'snapshot' else none -%}
    {%- set problems, types = view.problems, view.types -%}
    {%- if given is not mapping -%}
        {%- do problems.append(where ~ 'config.meta.pit_join: must be a mapping, got ' ~ '%r' | format(given) ~ '; allowed keys are ' ~ pit_join._settings('view') | join(', ')) -%}
        {{ return(view) }}
    {%- endif -%}
    {%- set written = '%r' | format(meta) -%}
    {%- if written not in memo.settings -%}
        {%- do memo.settings.update({written: []}) -%}
        {%- do pit_join._check_settings(meta, 'view', '', memo.settings[written]) -%}
    {%- endif -%}
    {%- for problem in memo.settings[written] -%}
        {%- do problems.append(where ~ problem) -%}
    {%- endfor -%}
    {%- set keyless = keys is sequence and keys is not string and keys is not mapping and not keys -%}
    {%- if keyless and meta.entity is not none and meta.entity is defined -%}
        {%- do problems.append(where ~ 'entity: a view with join_keys: [] holds for every row, and so describes no entity; list the keys of ' ~ '%r' | format(meta.entity) ~ ', or leave entity out') -%}
    {%- elif not keyless and (meta.entity is not string or not meta.entity) -%}
        {%- do problems.append(where ~ 'entity: must name what the view describes, such as user, got ' ~ '%r' | format(meta.get('entity'))) -%}
    {%- endif -%}
    {%- if not right and not keyless -%}
        {%- do problems.append(where ~ 'join_keys: must list the columns that identify the entity, or map each of its keys to the column that holds it (user_id: UserID), got ' ~ '%r' | format(meta.get('join_keys')) ~ '; [] is for a view that holds for every row, such as exchange rates') -%}
    {%- endif -%}
    {%- if not view.event_timestamp and not static -%}
        {%- do problems.append(where ~ 'config.event_time: is missing; name the column with the instant that a row describes. A table with one row a key, whose values hold at any time, says static: true in config.meta.pit_join instead') -%}
    {%- elif static -%}
        {%- do pit_join._check_static(view, node) -%}
    {%- endif -%}
    {%- do pit_join._declared_columns(view, node.columns if node.columns is not mapping else node.columns.values()) -%}
    {%- do pit_join._check_roles(view) -%}
    {%- for column in view.columns if column | lower == ended and 'aggregations' not in meta -%}
        {%- do problems.append(where ~ 'columns.' ~ column ~ ': dbt fills it in when a row ends, so as a feature it would tell the future; set exclude: true for this column') -%}
    {%- endfor -%}
    {%- if 'aggregations' in meta -%}
        {%- do view.update({'columns': {}, 'aggregations': pit_join._aggregations(view)}) -%}
        {%- for aggregation in view.aggregations -%}
            {%- do view.columns.update({aggregation.name: aggregation}) -%}
        {%- endfor -%}
    {%- elif keyless and view.searched -%}
        {%- do problems.append(where ~ 'columns.' ~ view.searched[0] ~ '.nearest: searches among entities, and a view with join_keys: [] has none') -%}
    {%- elif not view.columns -%}
        {%- do problems.append(where ~ 'columns: no feature is listed; a feature is a column that is not a key, not a time and not excluded') -%}
    {%- endif -%}
    {%- if adapter.type() != 'duckdb' -%}
        {%- do pit_join._check_portable(view, node.columns if node.columns is not mapping else node.columns.values()) -%}
    {%- endif -%}
    {{ return(view) }}
{%- endmacro %}


{#- Read the columns of a view into its types and columns, and add what is wrong to its problems. -#}
{% macro _declared_columns(view, columns) -%}
    {%- set where, meta, problems, seen = view.where, view.meta, view.problems, {} -%}
    {#- The same settings are wrong in a window view, and right in another one. -#}
    {%- set memo = {'columns': view.memo.columns.setdefault('aggregations' in meta, {})} -%}
    {%- set special = view['keys'].values() | list + [view.event_timestamp, meta.get('created_timestamp'), meta.get('deleted')] -%}
    {%- for column in columns -%}
        {%- set name, data_type = column.name, column.data_type -%}
        {%- do view.types.update({name: data_type}) -%}
        {%- set given = ((column.config or {}).meta or {}).pit_join or (column.meta or {}).pit_join -%}
        {%- set own = given if given is mapping else {} -%}
        {%- if (name | lower) in seen -%}
            {%- do problems.append(where ~ 'columns.' ~ name ~ ": '" ~ seen[name | lower] ~ "' is listed too, and letter case does not tell columns apart") -%}
        {%- endif -%}
        {%- do seen.update({name | lower: name}) -%}
        {%- if name[:5] | lower == '_pit_' -%}
            {%- do problems.append(where ~ 'columns.' ~ name ~ ': names that start with _pit_ are kept for the joins; rename the column') -%}
        {%- endif -%}
        {%- if given and given is not mapping -%}
            {%- do problems.append(where ~ 'columns.' ~ name ~ '.config.meta.pit_join: must be a mapping, got ' ~ '%r' | format(given)) -%}
        {%- elif own -%}
            {%- do view.sensitive.append(name) if own.sensitive is sameas true -%}
            {%- set written = '%r' | format([own, data_type, name in special]) -%}
            {%- if written not in memo.columns -%}
                {%- do memo.columns.update({written: pit_join._column_problems(view, column, own, name in special)}) -%}
            {%- endif -%}
            {%- for problem in memo.columns[written] -%}
                {%- do problems.append(where ~ 'columns.' ~ name ~ '.' ~ problem) -%}
            {%- endfor -%}
        {%- endif -%}
        {%- if name not in special and own.exclude is not sameas true and (not given or given is mapping) -%}
            {%- do view.columns.update({name: {'data_type': data_type, 'default': own.get('default')}}) -%}
            {%- do view.searched.append(name) if own.nearest -%}
            {%- if meta.static is sameas true and own.freshness_slo and 'aggregations' not in meta -%}
                {%- do problems.append(where ~ 'columns.' ~ name ~ '.freshness_slo: is not for a view with static: true, whose rows have no time; remove one of them') -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}


{#- The problems of the settings of a column of a view, `own`, as ends of messages: ['default: ...']. -#}
{% macro _column_problems(view, column, own, special) -%}
    {%- set problems, type, nearest = [], pit_join._type_of(column.data_type), own.get('nearest') -%}
    {%- do pit_join._check_settings(own, 'column', '', problems) -%}
    {%- if 'aggregations' in view.meta -%}
        {%- set hints = {
            'default': 'put the default on the aggregation', 'exclude': 'leave it out', 'drift': 'put it on the aggregation',
            'freshness_slo': 'put it on the view', 'max_default_rate': 'put it on the aggregation', 'max_null_rate': 'put it on the aggregation',
            'nearest': 'declare it in a view without aggregations',
        } -%}
        {%- for key, hint in hints.items() if own.get(key) is not none -%}
            {%- do problems.append(key ~ ': the features of a view with aggregations are these, not its columns; ' ~ hint) -%}
        {%- endfor -%}
        {{ return(problems) }}
    {%- endif -%}
    {%- if nearest is not none and nearest not in ('cosine', 'l2', 'inner_product') -%}
        {%- do problems.append('nearest: must be one of cosine, l2, inner_product, got ' ~ '%r' | format(nearest)) -%}
    {%- elif nearest is not none and not type.of_floats -%}
        {%- do problems.append('nearest: is for a column of a list of floats, such as float[] or double[64], got ' ~ '%r' | format(type.text)) -%}
    {%- elif nearest is not none and own.get('exclude') -%}
        {%- do problems.append('nearest: only a feature is searched; this column is excluded') -%}
    {%- endif -%}
    {%- for key in ('default', 'drift', 'freshness_slo', 'max_default_rate', 'max_null_rate', 'nearest') if special and key in own -%}
        {%- do problems.append(key ~ ': only a feature has a ' ~ key ~ '; this column is a key, a time or a mark') -%}
    {%- endfor -%}
    {%- set problem = none if special or own.get('exclude') else pit_join._default_problem(own.get('default'), type) -%}
    {%- do problems.append('default: ' ~ problem) if problem -%}
    {{ return(problems) }}
{%- endmacro %}


{#- Add to a view's problems what is wrong with its keys, times, marks and event_key, which are all columns. -#}
{% macro _check_roles(view) -%}
    {%- set where, meta, types, problems, known_types = view.where, view.meta, view.types, view.problems, view.memo.types -%}
    {%- set key_columns = view['keys'].values() | list -%}
    {%- for column in key_columns + [view.event_timestamp, meta.get('created_timestamp'), meta.get('deleted')] if column is string and column in types and types[column] not in known_types -%}
        {%- do known_types.update({types[column]: pit_join._type_of(types[column])}) -%}
    {%- endfor -%}
    {%- set typed = pit_join._knows_types() -%}
    {%- for column in key_columns if column not in types -%}
        {%- do problems.append(where ~ "join_keys: no column '" ~ column ~ "' is listed; columns: " ~ types | sort | join(', ')) -%}
    {%- endfor -%}
    {%- for column in key_columns if column in types and typed and not known_types[types[column]].key -%}
        {%- do problems.append(where ~ "join_keys: the column '" ~ column ~ "' is of type " ~ types[column] ~ ', and a key is a text, number, boolean, UUID, blob, date or timestamp; cast it in the model, for example to varchar') -%}
    {%- endfor -%}
    {%- if key_columns and meta.join_keys is not mapping and meta.join_keys is not string and key_columns | length < meta.join_keys | length -%}
        {%- do problems.append(where ~ 'join_keys: a column is listed twice in ' ~ meta.join_keys) -%}
    {%- elif meta.join_keys is mapping -%}
        {%- for what, half in (('keys', view['keys'] | list), ('columns', key_columns)) if half | unique | list | length < half | length -%}
            {%- do problems.append(where ~ 'join_keys: two ' ~ what ~ ' have one name in ' ~ meta.join_keys ~ '; letter case does not tell names apart') -%}
        {%- endfor -%}
    {%- endif -%}
    {%- for role in ('config.event_time', 'created_timestamp', 'deleted') -%}
        {%- set column = view.event_timestamp if loop.first else meta.get(role) -%}
        {%- if column is none or column is undefined -%}
        {%- elif column is not string or column not in types -%}
            {%- do problems.append(where ~ role ~ ": no column '" ~ column ~ "' is listed" ~ '; columns: ' ~ view.types | sort | join(', ')) -%}
        {%- elif typed and types[column] and known_types[types[column]].family not in (('BOOLEAN', 'text') if loop.last else ('time',)) -%}
            {%- do problems.append(where ~ role ~ ": the column '" ~ column ~ "' must be " ~ ('boolean, or a text that is true or false' if loop.last else 'a timestamp or date') ~ ', got ' ~ types[column]) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if view.event_timestamp in key_columns -%}
        {%- do problems.append(where ~ "join_keys: '" ~ view.event_timestamp ~ "' is the event time, so it cannot be a key as well") -%}
    {%- endif -%}
    {%- set others = (([] if 'aggregations' in meta else view.columns | list) + [view.event_timestamp, meta.get('created_timestamp'), meta.get('deleted')]) | select('string') | reject('in', key_columns) | map('lower') | list -%}
    {%- for key in view['keys'] if key | lower in others -%}
        {%- do problems.append(where ~ "join_keys: the key '" ~ key ~ "' has the name of another column, which is a feature, a time or a mark; rename one of them") -%}
    {%- endfor -%}
    {%- if 'aggregations' in meta or 'closed' in meta or 'event_key' in meta -%}
        {%- do pit_join._check_event_key(view) -%}
    {%- endif -%}
{%- endmacro %}


{#- Read a view's event_key, and add what is wrong with it and its neighbours to the view's problems. -#}
{% macro _check_event_key(view) -%}
    {%- set where, meta, problems, windowed = view.where, view.meta, view.problems, 'aggregations' in view.meta -%}
    {%- for key in ('closed', 'event_key') if not windowed and meta.get(key) is not none -%}
        {%- do problems.append(where ~ key ~ ': is only for a view with aggregations; declare these or leave it out') -%}
    {%- endfor -%}
    {%- if windowed and meta.get('ttl') is not none -%}
        {%- do problems.append(where ~ 'ttl: is not for a view with aggregations; their windows say how old an event may be') -%}
    {%- endif -%}
    {%- if windowed and meta.get('inclusive') is not none -%}
        {%- do problems.append(where ~ 'inclusive: is not for a view with aggregations; closed: left leaves out what becomes known at exactly T') -%}
    {%- endif -%}
    {%- if windowed and meta.get('deleted') is not none and 'event_key' not in meta -%}
        {%- do problems.append(where ~ 'deleted: beside aggregations needs event_key, which says of which event the marked row is the end') -%}
    {%- endif -%}
    {%- set given = meta.get('event_key') -%}
    {%- if given is none -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set columns = [given] if given is string else given -%}
    {%- if columns is mapping or columns is not sequence or not columns or columns | reject('string') | list -%}
        {%- do problems.append(where ~ 'event_key: must be a column, or a list of them, that tells one event from another, got ' ~ '%r' | format(given)) -%}
        {{ return(none) }}
    {%- endif -%}
    {%- for column in columns | unique(case_sensitive=true) -%}
        {%- if column not in view.types -%}
            {%- do problems.append(where ~ "event_key: no column '" ~ column ~ "' is listed" ~ '; columns: ' ~ view.types | sort | join(', ')) -%}
        {%- elif column in (meta.get('created_timestamp'), meta.get('deleted')) -%}
            {%- do problems.append(where ~ "event_key: the column '" ~ column ~ "' differs between versions of one event; leave it out") -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if columns | unique(case_sensitive=true) | list | length < columns | length -%}
        {%- do problems.append(where ~ 'event_key: a column is listed twice in ' ~ columns) -%}
    {%- endif -%}
    {%- if windowed and 'created_timestamp' not in meta -%}
        {%- do problems.append(where ~ 'event_key: needs created_timestamp, which says what version of an event is the newest') -%}
    {%- endif -%}
    {%- do view.update({'event_key': columns}) -%}
{%- endmacro %}


{#- Add to a view's problems what cannot stand beside static: true, whose rows have no time. -#}
{% macro _check_static(view, node) -%}
    {%- set where, problems = view.where, view.problems -%}
    {%- if view.event_timestamp -%}
        {%- do problems.append(where ~ "static: is true, so that the rows have no time, and config.event_time is '" ~ view.event_timestamp ~ "'; remove one") -%}
    {%- endif -%}
    {%- for key in ('created_timestamp', 'lag', 'ttl', 'inclusive', 'freshness_slo', 'deleted', 'clock_time_zone', 'aggregations') if view.meta.get(key) is not none -%}
        {%- do problems.append(where ~ key ~ ': is not for a view with static: true, whose rows have no time; remove one of them') -%}
    {%- endfor -%}
    {%- if node.resource_type == 'snapshot' -%}
        {%- do problems.append(where ~ 'static: is true, and a dbt snapshot keeps several rows of a key; declare its event_time instead') -%}
    {%- endif -%}
{%- endmacro %}


{#- The column of each key, {key: column}. A list of keys has columns of the same names. -#}
{% macro _key_columns(keys) -%}
    {%- if keys is mapping -%}
        {{ return(keys) }}
    {%- endif -%}
    {%- set columns = {} -%}
    {%- for key in keys %}{% do columns.update({key: key}) %}{% endfor -%}
    {{ return(columns) }}
{%- endmacro %}


{#- The name of a node as references write it: 'prefs.v2' for version 2 of the model prefs. -#}
{% macro _versioned_name(node) -%}
    {%- if node.version is not none and node.version is defined -%}
        {{ return(node.name ~ '.v' ~ node.version) }}
    {%- endif -%}
    {{ return('"' ~ node.name ~ '"' if pit_join._model_and_version(node.name)[1] is not none else node.name) }}
{%- endmacro %}


{#- The beginning of a message: the file that declares a node, and its name; nodes of unit tests have no file. -#}
{% macro _where(node, name) -%}
    {%- set path = node.patch_path.split('://')[-1] if node.patch_path else node.original_file_path -%}
    {{ return((path ~ ': ' if path else '') ~ name ~ ': ') }}
{%- endmacro %}


{#- The feature view of the relation that a generic test checks. -#}
{% macro _view_of(model) -%}
    {%- for node in graph.nodes.values() if node.relation_name and node.relation_name in (model | string) -%}
        {{ return(pit_join._view(pit_join._versioned_name(node))) }}
    {%- endfor -%}
    {{ exceptions.raise_compiler_error(model ~ ' is not a feature view of this project') }}
{%- endmacro %}
