{#-
    The settings of declarations: each key that is allowed, with the kind of its values. The kinds that `_check_settings`
    knows are `flag`, `duration`, `limit` (a duration that is not 0), `slo` (a limit, or a mapping with a limit `within`, `impact`
    and `owner`), `rate` (a share below 1), `drift` (a mapping with `psi`, `after` and `min_rows`), `words` (a text that is not empty), `store`, `utc` and `end`; `own` is checked where it is read. The Python package has the same keys; a new setting is a key in both, and
    cases in tests/python/corpus/declarations.json.
-#}
{% macro _settings(what) -%}
    {{ return({
        'view': {
            'entity': 'own', 'join_keys': 'own', 'created_timestamp': 'own', 'lag': 'duration', 'ttl': 'limit',
            'inclusive': 'flag', 'online': 'flag', 'online_store': 'store', 'freshness_slo': 'slo',
            'max_staleness': 'limit', 'deleted': 'own', 'clock_time_zone': 'utc', 'static': 'flag', 'aggregations': 'own', 'closed': 'end', 'event_key': 'own',
            'max_null_rate': 'rate', 'max_default_rate': 'rate', 'drift': 'drift', 'sensitive': 'flag',
        },
        'column': {
            'default': 'own', 'exclude': 'flag', 'freshness_slo': 'slo', 'nearest': 'own', 'max_null_rate': 'rate',
            'max_default_rate': 'rate', 'drift': 'drift', 'sensitive': 'flag',
        },
        'aggregation': {
            'name': 'own', 'function': 'own', 'column': 'own', 'window': 'own', 'windows': 'own', 'where': 'words',
            'n': 'own', 'default': 'own', 'max_null_rate': 'rate', 'max_default_rate': 'rate', 'drift': 'drift',
        },
        'service': {'features': 'own', 'full_feature_names': 'flag'},
        'role': {'view': 'own', 'as': 'own', 'join_keys': 'own', 'features': 'own'},
        'on_demand': {'returns': 'own', 'default': 'own'},
        'computed': {'on_demand': 'own', 'as': 'own', 'arguments': 'own'},
    }[what]) }}
{%- endmacro %}


{#- Add to `problems` what is wrong with the keys and the plain values of a mapping; `where` opens each message. -#}
{% macro _check_settings(meta, what, where, problems) -%}
    {%- set settings = pit_join._settings(what) -%}
    {%- set full = where ~ ('' if what == 'aggregation' else 'config.meta.pit_join.') -%}
    {%- for key, value in meta.items() -%}
        {%- set kind = settings.get(key) -%}
        {%- if kind is none -%}
            {%- do problems.append(full ~ key ~ ': unknown key; allowed: ' ~ settings | sort | join(', ')) -%}
        {%- elif value is none -%}
            {%- do problems.append(full ~ key ~ ': is empty; give it a value or leave the key out') -%}
        {%- elif kind == 'flag' and value is not boolean -%}
            {%- do problems.append(where ~ key ~ ': must be true or false, got ' ~ '%r' | format(value)) -%}
        {%- elif kind == 'end' and value not in ('left', 'right') -%}
            {%- do problems.append(where ~ key ~ ': must be left or right, got ' ~ '%r' | format(value)) -%}
        {%- elif kind == 'utc' and value != 'UTC' -%}
            {%- do problems.append(where ~ key ~ ': must be UTC, got ' ~ '%r' | format(value) ~ '; stored times are never shifted: convert those of another zone in a model') -%}
        {%- elif kind == 'words' and (value is not string or not value | trim) -%}
            {%- do problems.append(where ~ key ~ ': must be a text, an SQL condition over the columns of the model, got ' ~ '%r' | format(value)) -%}
        {%- elif kind == 'rate' and (value is not number or value is boolean or not 0 <= value < 1) -%}
            {%- do problems.append(where ~ key ~ ': must be a share from 0 to below 1, such as 0.05, got ' ~ '%r' | format(value)) -%}
        {%- elif kind == 'drift' -%}
            {%- do pit_join._check_drift(value, where, problems) -%}
        {%- elif kind == 'store' and (value is not string or not modules.re.fullmatch('[a-z][a-z0-9_]*', value)) -%}
            {%- do problems.append(where ~ key ~ ': must be a name of small letters, digits and underscores, got ' ~ '%r' | format(value)) -%}
        {%- elif kind in ('duration', 'limit', 'slo') -%}
            {%- set parts = kind == 'slo' and value is mapping -%}
            {%- set limit, place = (value.within, where ~ key ~ '.within') if parts else (value, where ~ key) -%}
            {%- set microseconds, problem = pit_join._read_duration(limit) -%}
            {%- if limit is none -%}
                {%- do problems.append(place ~ ': is empty; give it a value or leave the key out') -%}
            {%- elif problem -%}
                {%- do problems.append(place ~ ': ' ~ problem) -%}
            {%- elif kind != 'duration' and microseconds == 0 -%}
                {%- do problems.append(place ~ ": is '" ~ limit ~ "', so that no value would ever be valid; leave it out for no limit") -%}
            {%- endif -%}
            {%- for part, text in (value.items() if parts else []) if part != 'within' -%}
                {%- if part not in ('impact', 'owner') -%}
                    {%- do problems.append(where ~ key ~ '.' ~ part ~ ': unknown key; allowed: impact, owner, within') -%}
                {%- elif text is not string or not text | trim -%}
                    {%- do problems.append(where ~ key ~ '.' ~ part ~ ': must be a text, got ' ~ '%r' | format(text)) -%}
                {%- endif -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}


{#- Add to `problems` what is wrong with the setting `drift`. -#}
{% macro _check_drift(value, where, problems) -%}
    {%- if value is not mapping -%}
        {%- do problems.append(where ~ 'drift: must be a mapping with psi, after or min_rows, such as {psi: 0.1}, got ' ~ '%r' | format(value)) -%}
    {%- endif -%}
    {%- for key, given in (value.items() if value is mapping else []) -%}
        {%- set number = given is number and given is not boolean -%}
        {%- if key not in ('psi', 'after', 'min_rows') -%}
            {%- do problems.append(where ~ 'drift.' ~ key ~ ': unknown key; allowed: after, min_rows, psi') -%}
        {%- elif given is none -%}
            {%- do problems.append(where ~ 'drift.' ~ key ~ ': is empty; give it a value or leave the key out') -%}
        {%- elif key == 'psi' and not (number and 0 < given < 1e300) -%}
            {%- do problems.append(where ~ 'drift.psi: must be a number over 0, such as 0.2, got ' ~ '%r' | format(given)) -%}
        {%- elif key == 'after' and (given is not string or not modules.re.fullmatch('0*[1-9][0-9]{0,3} runs?', given)) -%}
            {%- do problems.append(where ~ 'drift.after: must be a number of runs, such as 2 runs, got ' ~ '%r' | format(given)) -%}
        {%- elif key == 'min_rows' and not (number and given is integer and given > 0) -%}
            {%- do problems.append(where ~ 'drift.min_rows: must be a whole number over 0, got ' ~ '%r' | format(given)) -%}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}


{#- A type of the engine, see `_duckdb_type_of`. -#}
{% macro _type_of(data_type) -%}
    {{ return(dict(pit_join._duckdb_type_of(pit_join._duckdb_name(data_type)), text=data_type)) }}
{%- endmacro %}


{#-
    A type, as its name in DuckDB says: {text, name, family, known, key, feature, of_floats, element, least, most}. Families are text, integer,
    decimal, float, time, list, BOOLEAN and STRUCT, or the name itself; `known` is false for a type that only a database knows; `key` says
    whether a join key may be of the type, `feature` whether a feature may be, `of_floats` whether it is a list of floats;
    `element` is the type of the elements of a list; `least` and `most` are the limits of an integer.
-#}
{% macro _duckdb_type_of(data_type) -%}
    {%- set text = modules.re.sub('\\s+', ' ', (data_type or '') | string | lower | trim) -%}
    {%- set list_of = modules.re.fullmatch('(.*?) ?(?:\\[[0-9]*\\]| array)', text) -%}
    {%- if list_of -%}
        {%- set element = pit_join._duckdb_type_of(list_of.group(1)) -%}
        {{ return({'text': data_type, 'name': text, 'family': 'list', 'known': element.known, 'key': false, 'feature': element.feature, 'of_floats': element.family == 'float', 'element': element}) }}
    {%- endif -%}
    {%- set found = modules.re.fullmatch('(.*?) ?\\([^()]*(?:\\(.*\\)[^()]*)*\\)', text) -%}
    {%- set base = found.group(1) if found else text -%}
    {%- set families = {
        'text': ['varchar', 'text', 'string', 'char', 'bpchar', 'nvarchar', 'character', 'character varying', 'char varying', 'enum'],
        'integer': [
            'tinyint', 'smallint', 'integer', 'bigint', 'hugeint', 'utinyint', 'usmallint', 'uinteger', 'ubigint', 'uhugeint',
            'int', 'int1', 'int2', 'int4', 'int8', 'int16', 'int32', 'int64', 'int128', 'uint8', 'uint16', 'uint32', 'uint64',
            'uint128', 'short', 'long', 'signed', 'integral', 'oid',
        ],
        'decimal': ['decimal', 'dec', 'numeric'],
        'float': ['double', 'float', 'real', 'float4', 'float8', 'double precision'],
        'time': [
            'timestamp', 'timestamptz', 'datetime', 'date', 'timestamp with time zone', 'timestamp without time zone', 'timestamp_s',
            'timestamp_ms', 'timestamp_us', 'timestamp_ns', 'timestamptz_ns',
        ],
        'BOOLEAN': ['boolean', 'bool', 'logical'],
        'STRUCT': ['struct', 'row'],
        'BLOB': ['blob', 'bytea', 'binary', 'varbinary'],
        'UUID': ['uuid', 'guid'],
        'other': [
            'time', 'timetz', 'time with time zone', 'time without time zone', 'time_ns', 'interval', 'bit', 'bitstring', 'map', 'union',
            'json', 'variant', 'geometry', 'bignum', 'varint', 'tuple',
        ],
    } -%}
    {%- set no_features = [
        'timetz', 'time with time zone', 'interval', 'bit', 'bitstring', 'bignum', 'varint', 'uhugeint', 'uint128', 'union', 'variant',
        'geometry', 'tuple',
    ] -%}
    {%- set family = [] -%}
    {%- for name, names in families.items() if base in names -%}
        {%- do family.append(name) -%}
    {%- endfor -%}
    {%- set family = family[0] -%}
    {%- set unsigned = base[:1] == 'u' -%}
    {%- set bits = {
        'tinyint': 8, 'utinyint': 8, 'int1': 8, 'uint8': 8, 'smallint': 16, 'usmallint': 16, 'int2': 16, 'int16': 16, 'uint16': 16,
        'short': 16, 'bigint': 64, 'ubigint': 64, 'int8': 64, 'int64': 64, 'uint64': 64, 'long': 64, 'oid': 64, 'hugeint': 128,
        'uhugeint': 128, 'int128': 128, 'uint128': 128,
    }.get(base, 32) -%}
    {{ return({
        'text': data_type,
        'name': base,
        'family': family if family and family != 'other' else 'time' if modules.re.match('timestamp|datetime|date', base) else base | upper,
        'known': true if family else false,
        'key': family not in ('other', 'STRUCT') and base not in ('uhugeint', 'uint128'),
        'feature': base not in no_features,
        'of_floats': false,
        'least': 0 if unsigned else -(2 ** (bits - 1)),
        'most': 2 ** (bits if unsigned else bits - 1) - 1,
    }) }}
{%- endmacro %}


{#- The reason why a default cannot be a value of a type, or none; the warehouse checks the rest. -#}
{% macro _default_problem(default, type) -%}
    {%- set nested = type.family in ('list', 'STRUCT') -%}
    {%- set given = '%r' | format(default) -%}
    {%- if default is none -%}
        {{ return(none) }}
    {%- elif (default is mapping or (default is sequence and default is not string)) != nested -%}
        {{ return(given ~ ' does not fit the type ' ~ type.text | lower) }}
    {%- elif type.family == 'integer' and (default is boolean or default is not number or default % 1 != 0) -%}
        {{ return(given ~ ' is not a whole number, and the type is ' ~ type.text | lower) }}
    {%- elif type.family == 'integer' and not type.least <= default <= type.most -%}
        {{ return(given ~ ' does not fit the type ' ~ type.text | lower) }}
    {%- elif type.family in ('decimal', 'float') and (default is boolean or default is not number) -%}
        {{ return(given ~ ' is not a number, and the type is ' ~ type.text | lower) }}
    {%- elif type.family == 'BOOLEAN' and default is not boolean -%}
        {{ return(given ~ ' is not true or false, and the type is ' ~ type.text | lower) }}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}
