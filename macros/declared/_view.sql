{#-
    The declaration of a feature view, from dbt's graph. A mapping with name, relation, keys {key: column}, event_timestamp,
    created_timestamp, lag and ttl (microseconds), inclusive, deleted, static, columns {feature: {data_type, default}},
    types {column: declared type} and physical; for a window view also aggregations (see _aggregations), closed and event_key.
    While dbt parses there is no graph yet; then only the reference is recorded.

    The Python package checks a whole project; this macro checks only errors that would lead to wrong values.
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
    {#- Packages and versions may share a name: the node that ref() chose. -#}
    {%- set node = (named | selectattr('relation_name', 'equalto', relation.render()) | list or named)[0] -%}
    {%- set meta = node.config.meta.pit_join -%}
    {%- set where = 'feature view ' ~ name ~ ': config.meta.pit_join' -%}
    {%- for flag in ('inclusive', 'static') if meta.get(flag, true) is not boolean -%}
        {{ exceptions.raise_compiler_error(where ~ '.' ~ flag ~ ' must be true or false') }}
    {%- endfor -%}
    {%- set static = meta.get('static', false) -%}
    {%- set timed = ['created_timestamp', 'lag', 'freshness_slo', 'deleted', 'clock_time_zone']
        + (['aggregations', 'closed', 'event_key'] if 'aggregations' in meta else ['ttl', 'inclusive']) -%}
    {%- set allowed = ['entity', 'join_keys', 'online', 'online_store', 'static'] + ([] if static else timed) -%}
    {%- for key in meta if key not in allowed -%}
        {{ exceptions.raise_compiler_error(where ~ (' has the key ' ~ key ~ ' beside static: true, whose rows have no time' if static and key in timed else ' has the unknown key ' ~ key) ~ '; allowed are ' ~ allowed | join(', ')) }}
    {%- endfor -%}
    {%- if meta.get('clock_time_zone', 'UTC') != 'UTC' -%}
        {{ exceptions.raise_compiler_error(where ~ '.clock_time_zone must be UTC, since stored times are never shifted') }}
    {%- endif -%}
    {%- set keys = pit_join._key_columns([meta.get('join_keys')] if meta.get('join_keys') is string else (meta.get('join_keys') or [])) -%}
    {%- set key_columns = keys.values() | list -%}
    {%- if key_columns | reject('string') | list or [keys | unique | list | length, key_columns | unique | list | length] | min < keys | length -%}
        {{ exceptions.raise_compiler_error(where ~ '.join_keys must list the key columns, or map each key to a column of its own, got ' ~ meta.get('join_keys')) }}
    {%- endif -%}
    {%- set event_timestamp = node.config.get('event_time') -%}
    {%- set renamed = node.config.get('snapshot_meta_column_names') or {} -%}
    {%- set ended = renamed.get('dbt_valid_to') or 'dbt_valid_to' if node.get('resource_type') == 'snapshot' else none -%}
    {%- set types = {} -%}
    {%- set columns = {} -%}
    {%- for column in (node.columns if node.columns is not mapping else node.columns.values()) -%}
        {%- do types.update({column.name: column.data_type}) -%}
        {%- set own = ((column.get('config') or {}).get('meta') or {}).get('pit_join') or (column.get('meta') or {}).get('pit_join') or {} -%}
        {%- set of_column = ['default', 'exclude', 'nearest'] + ([] if static else ['freshness_slo']) -%}
        {%- for key in own if key not in of_column -%}
            {{ exceptions.raise_compiler_error('feature view ' ~ name ~ ': config.meta.pit_join of the column ' ~ column.name ~ ' has the unknown key ' ~ key ~ '; allowed are ' ~ of_column | sort | join(', ')) }}
        {%- endfor -%}
        {%- if own.get('exclude', false) is not boolean -%}
            {{ exceptions.raise_compiler_error('feature view ' ~ name ~ ': exclude of the column ' ~ column.name ~ ' must be true or false') }}
        {%- endif -%}
        {%- if column.name not in key_columns and column.name not in (event_timestamp, meta.get('created_timestamp'), meta.get('deleted')) and not own.get('exclude') -%}
            {%- if ended and column.name | lower == ended | lower -%}
                {{ exceptions.raise_compiler_error('feature view ' ~ name ~ ': dbt fills in ' ~ column.name ~ ' when the row ends, so as a feature it would tell the future; set exclude: true for it') }}
            {%- endif -%}
            {%- do columns.update({column.name: {'data_type': column.data_type, 'default': own.get('default')}}) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for column in key_columns + [event_timestamp, meta.get('created_timestamp'), meta.get('deleted')] if column and column not in types -%}
        {{ exceptions.raise_compiler_error('feature view ' ~ name ~ ' has no column ' ~ column ~ ' in its YAML; listed are ' ~ types | join(', ')) }}
    {%- endfor -%}
    {%- set has_no_keys = meta.get('join_keys') == [] -%}
    {%- if not (keys or has_no_keys) or not (event_timestamp or static) -%}
        {{ exceptions.raise_compiler_error('feature view ' ~ name ~ ' needs join_keys in config.meta.pit_join ([] for a view that holds for every row), and config.event_time, or static: true there for a table with one row a key') }}
    {%- elif has_no_keys and 'entity' in meta -%}
        {{ exceptions.raise_compiler_error(where ~ ': join_keys is [], so that the view holds for every row and describes no entity; list the keys of ' ~ meta.entity ~ ', or leave entity out') }}
    {%- elif event_timestamp and static -%}
        {{ exceptions.raise_compiler_error(where ~ '.static is true, so that the rows have no time, and config.event_time is ' ~ event_timestamp ~ '; remove one of them') }}
    {%- endif -%}
    {%- set ttl = pit_join._duration(meta.get('ttl'), where ~ '.ttl') -%}
    {%- if ttl == 0 -%}
        {{ exceptions.raise_compiler_error(where ~ '.ttl is 0, so that no value would ever be valid; leave it out for no limit') }}
    {%- endif -%}
    {%- set aggregations = pit_join._aggregations(name, meta, types) if 'aggregations' in meta else [] -%}
    {%- if aggregations -%}
        {%- set columns = {} -%}
        {%- for aggregation in aggregations -%}
            {%- do columns.update({aggregation.name: aggregation}) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- set taken = (columns.keys() | list + [event_timestamp, meta.get('created_timestamp'), meta.get('deleted')]) | select('string') | map('lower') | list -%}
    {%- for key in keys if key | lower in taken -%}
        {{ exceptions.raise_compiler_error(where ~ '.join_keys: the key ' ~ key ~ ' has the name of another column of the view; rename one of them') }}
    {%- endfor -%}
    {%- if meta.get('closed', 'left') not in ('left', 'right') -%}
        {{ exceptions.raise_compiler_error(where ~ '.closed must be left or right') }}
    {%- endif -%}
    {%- set event_key = [meta.get('event_key')] if meta.get('event_key') is string else (meta.get('event_key') or []) -%}
    {%- if (event_key and not meta.get('created_timestamp')) or (aggregations and meta.get('deleted') and not event_key) -%}
        {{ exceptions.raise_compiler_error(where ~ ': event_key needs created_timestamp, and deleted beside aggregations needs event_key') }}
    {%- endif -%}
    {{ return({
        'name': name,
        'relation': relation.render(),
        'keys': keys,
        'event_timestamp': event_timestamp,
        'created_timestamp': meta.get('created_timestamp'),
        'lag': pit_join._duration(meta.get('lag'), where ~ '.lag'),
        'ttl': ttl,
        'inclusive': meta.get('inclusive', true),
        'deleted': meta.get('deleted'),
        'static': static,
        'columns': columns,
        'types': types,
        'aggregations': aggregations,
        'closed': meta.get('closed', 'left'),
        'event_key': event_key,
        'physical': not relation.is_cte and node.config.materialized not in ('view', 'ephemeral', 'external') and 'rowid' not in (types | map('lower')),
    }) }}
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


{#- The feature view of the relation that a generic test checks. -#}
{% macro _view_of(model) -%}
    {%- for node in graph.nodes.values() if node.relation_name and node.relation_name in (model | string) -%}
        {%- set name = '"' ~ node.name ~ '"' if '.v' in node.name else node.name -%}
        {{ return(pit_join._view(node.name ~ '.v' ~ node.version if node.version is not none and node.version is defined else name)) }}
    {%- endfor -%}
    {{ exceptions.raise_compiler_error(model ~ ' is not a feature view of this project') }}
{%- endmacro %}
