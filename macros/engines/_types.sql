{#-
    The types of an engine, where these are not DuckDB's: {title, names, instead, refused, padded}, or none. `names` are its names of
    types by DuckDB's, `instead` names that it lacks by its own name for such values, `refused` types that no feature or key may
    have by the reason, and `padded` texts with blanks added to them. The Python package has the same tables.
-#}
{% macro _engine_types() -%}
    {{ return(adapter.dispatch('_engine_types', 'pit_join')()) }}
{%- endmacro %}

{% macro default___engine_types() -%}
    {{ return(none) }}
{%- endmacro %}

{% macro postgres___engine_types() -%}
    {{ return({
        'title': 'PostgreSQL',
        'names': {
            'boolean': ['boolean', 'bool'], 'smallint': ['smallint', 'int2'], 'integer': ['integer', 'int', 'int4'],
            'bigint': ['bigint', 'int8'], 'float': ['real', 'float4'], 'double': ['double precision', 'float8', 'float'],
            'decimal': ['numeric', 'decimal', 'dec'],
            'varchar': ['text', 'varchar', 'character varying', 'char varying', 'name', 'char', 'character', 'bpchar', 'citext'],
            'blob': ['bytea'], 'uuid': ['uuid'], 'date': ['date'], 'timestamp': ['timestamp', 'timestamp without time zone'],
            'timestamptz': ['timestamptz', 'timestamp with time zone'], 'time': ['time', 'time without time zone'],
            'json': ['json', 'jsonb', 'xml'],
        },
        'instead': {
            'double precision': ['double'], 'text': ['string', 'nvarchar', 'bitstring', 'enum'],
            'bytea': ['blob', 'binary', 'varbinary'], 'smallint': ['tinyint', 'int1', 'utinyint', 'uint8', 'int16', 'short'],
            'integer': ['usmallint', 'uint16', 'int32', 'signed', 'integral'], 'bigint': ['uinteger', 'uint32', 'int64', 'long'],
            'numeric(20, 0)': ['ubigint', 'uint64'],
            'numeric(38, 0)': ['hugeint', 'int128', 'uhugeint', 'uint128', 'bignum', 'varint'],
            'timestamp': ['datetime', 'timestamp_s', 'timestamp_ms', 'timestamp_us', 'timestamp_ns'],
            'timestamptz': ['timestamptz_ns'], 'time': ['time_ns'], 'boolean': ['logical'], 'uuid': ['guid'],
            'jsonb': ['struct', 'row', 'tuple', 'map', 'union', 'variant'],
        },
        'refused': {
            'depends on the locale of the server; cast it in the model to numeric(38, 2)': ['money'],
            'compares texts whatever their case; cast it in the model to text': ['citext'],
            'is an integer with a counter; say integer or bigint': ['serial', 'bigserial', 'smallserial'],
            'has no form that training sets, files and stores share; cast it in the model, for example to text': [
                'point', 'line', 'lseg', 'box', 'path', 'polygon', 'circle', 'inet', 'cidr', 'macaddr', 'tsvector', 'tsquery', 'oid', 'xid',
                'int4range', 'int8range', 'numrange', 'tsrange', 'tstzrange', 'daterange', 'bit varying', 'varbit',
            ],
        },
        'padded': ['char', 'character', 'bpchar'],
    }) }}
{%- endmacro %}

{#-
    A TIMESTAMP is an instant, and a TIMESTAMP_NTZ has no zone. After Spark's own names stand those that DuckDB and PostgreSQL
    share and that mean nothing else on Spark.
-#}
{% macro spark___engine_types() -%}
    {{ return({
        'title': 'Spark',
        'names': {
            'boolean': ['boolean', 'bool'], 'tinyint': ['tinyint', 'byte'], 'smallint': ['smallint', 'short', 'int2'],
            'integer': ['int', 'integer', 'int4'], 'bigint': ['bigint', 'long', 'int8'], 'float': ['float', 'real', 'float4'],
            'double': ['double', 'double precision', 'float8'], 'decimal': ['decimal', 'dec', 'numeric'],
            'varchar': ['string', 'varchar', 'char', 'character', 'text'], 'blob': ['binary', 'bytea'], 'date': ['date'],
            'timestamptz': ['timestamp', 'timestamp_ltz', 'timestamptz', 'timestamp with time zone'],
            'timestamp': ['timestamp_ntz', 'timestamp without time zone'], 'map': ['map'], 'struct': ['struct'],
        },
        'instead': {
            'boolean': ['logical'], 'tinyint': ['int1'], 'smallint': ['int16', 'utinyint', 'uint8'],
            'int': ['int32', 'signed', 'integral', 'usmallint', 'uint16'], 'bigint': ['int64', 'uinteger', 'uint32', 'oid'],
            'decimal(20, 0)': ['ubigint', 'uint64'],
            'decimal(38, 0)': ['hugeint', 'int128', 'uhugeint', 'uint128', 'bignum', 'varint'],
            'string': [
                'nvarchar', 'bpchar', 'character varying', 'char varying', 'enum', 'uuid', 'guid', 'json', 'jsonb', 'xml', 'bitstring',
                'bit', 'time', 'time_ns', 'timetz', 'time with time zone', 'time without time zone', 'geometry',
            ],
            'binary': ['blob', 'varbinary'],
            'timestamp_ntz': ['datetime', 'timestamp_s', 'timestamp_ms', 'timestamp_us', 'timestamp_ns'],
            'timestamp': ['timestamptz_ns'], 'struct<...>': ['row', 'tuple', 'union'],
        },
        'refused': {
            'has no form that training sets, files and stores share; cast it in the model, for example to string': ['void'],
        },
        'padded': ['char', 'character'],
    }) }}
{%- endmacro %}


{#- The entry of a table in which a name is listed, or none. -#}
{% macro _entry_of(table, name) -%}
    {%- for entry, names in table.items() if name in names -%}
        {{ return(entry) }}
    {%- endfor -%}
    {{ return(none) }}
{%- endmacro %}


{#- Whether the names of types say here what they are. -#}
{% macro _knows_types() -%}
    {{ return(adapter.type() == 'duckdb' or pit_join._engine_types() is not none) }}
{%- endmacro %}


{#- The type of the elements of a list, as it is written, or none. -#}
{% macro _list_of(data_type) -%}
    {%- set found = modules.re.fullmatch('(?is)(.*?)\\s*(?:\\[[0-9]*\\]|\\sarray(?:\\s*\\[[0-9]*\\])?)|array\\s*<\\s*(.*?)\\s*>', data_type | string | trim) -%}
    {{ return((found.group(1) or found.group(2) or '') if found else none) }}
{%- endmacro %}


{#- The parts of a type. These are its name, what is in parentheses, and [] for each list around it. -#}
{% macro _parts_of_type(data_type) -%}
    {%- set text = modules.re.sub('\\s+', ' ', data_type | string | lower | trim) -%}
    {%- set list_of = pit_join._list_of(text) -%}
    {%- if list_of is not none -%}
        {%- set name, digits, lists = pit_join._parts_of_type(list_of) -%}
        {{ return((name, digits, lists ~ '[]')) }}
    {%- endif -%}
    {%- set nested = modules.re.match('(map|struct) ?[<(]', text) -%}
    {%- set digits = modules.re.search('\\(([^()]*)\\)', text) -%}
    {%- if nested -%}
        {{ return((nested.group(1), '', '')) }}
    {%- endif -%}
    {{ return((modules.re.sub(' ?\\([^()]*\\)', '', text), digits.group(1) | trim if digits else '', '')) }}
{%- endmacro %}


{#- A type of the engine as DuckDB names it; the text itself where the engine has DuckDB's types, or only the database knows it. -#}
{% macro _duckdb_name(data_type) -%}
    {%- set types = pit_join._engine_types() -%}
    {%- if types is none or not data_type -%}
        {{ return(data_type) }}
    {%- endif -%}
    {%- set name, digits, lists = pit_join._parts_of_type(data_type) -%}
    {%- set known = pit_join._entry_of(types.names, name) or name -%}
    {#- Spark's decimal without digits is a decimal(10, 0). -#}
    {{ return(known ~ ('(' ~ (digits or '10, 0') ~ ')' if known == 'decimal' else '') ~ lists) }}
{%- endmacro %}


{#- The reason why no column of a view may be of a type, or none. It follows 'is of type ..., which'. -#}
{% macro _engine_type_problem(data_type) -%}
    {%- set types = pit_join._engine_types() -%}
    {%- if types is none or not data_type -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set name, digits, lists = pit_join._parts_of_type(data_type) -%}
    {%- set refused, other, known = pit_join._entry_of(types.refused, name), pit_join._entry_of(types.instead, name), pit_join._entry_of(types.names, name) -%}
    {%- set decimal = modules.re.fullmatch('([0-9]+)(?: ?, ?([0-9]+))?', digits) -%}
    {%- if refused -%}
        {{ return(refused) }}
    {%- elif other -%}
        {{ return(types.title ~ ' does not have; say ' ~ other ~ lists) }}
    {%- elif name == 'float' and digits -%}
        {{ return('has a length there, or none; say ' ~ ('real or double precision' if types.title == 'PostgreSQL' else 'float or double')) }}
    {%- elif known == 'decimal' and types.title == 'PostgreSQL' and not digits -%}
        {{ return('holds numbers of any length, unlike files and stores; say numeric(38, s), where s is the number of digits after the point, or double precision') }}
    {%- elif known == 'decimal' and digits and not (decimal and 1 <= decimal.group(1) | int <= 38 and (decimal.group(2) or 0) | int <= decimal.group(1) | int) -%}
        {{ return('files and stores do not have; a decimal has 1 to 38 digits, of which as many or fewer stand after the point') }}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}
