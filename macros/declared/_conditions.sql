{#-
    Conditions of aggregations. DuckDB reads them as they are written. Other engines read some SQL in another way, `7 / 2` above
    all, so that there a condition is a small part of SQL, which is put together anew from what it says.
-#}

{#- The condition of an aggregation as SQL; `types` are those of the columns of the view. -#}
{% macro _condition(text, types) -%}
    {{ return(adapter.dispatch('_condition', 'pit_join')(text, types)) }}
{%- endmacro %}

{% macro duckdb___condition(text, types) -%}
    {{ return(text) }}
{%- endmacro %}

{% macro default___condition(text, types) -%}
    {%- set read = pit_join._portable_condition(text, types) -%}
    {%- if read.problem -%}
        {{ exceptions.raise_compiler_error('the condition ' ~ '%r' | format(text) ~ ' ' ~ read.problem) }}
    {%- endif -%}
    {{ return(read.sql) }}
{%- endmacro %}


{#-
    A condition that means the same on all engines: {sql}, or {problem} for any other. It joins boolean columns, comparisons of a
    column with a literal, `is null` and `is not null` with `and`, `or`, `not` and parentheses.
-#}
{% macro _portable_condition(text, types) -%}
    {%- set tokens, sql = pit_join._tokens(text), [] -%}
    {%- set columns = {} -%}
    {%- for name in types %}{% do columns.update({name | lower: name}) %}{% endfor -%}
    {%- set at = namespace(skip=0, ended=false, depth=0, problem=none) -%}
    {%- for kind, token in tokens if not at.problem -%}
        {%- set follows = tokens[loop.index:] -%}
        {%- set words = [] -%}
        {%- for said, next in follows[:3] %}{% do words.append(next | lower if said == 'word' else '') %}{% endfor -%}
        {%- if at.skip -%}
            {%- set at.skip = at.skip - 1 -%}
        {%- elif at.ended and kind == 'word' and token | lower in ('and', 'or') -%}
            {%- do sql.append(token | lower) -%}
            {%- set at.ended = false -%}
        {%- elif at.ended and (kind, token) == ('parenthesis', ')') and at.depth -%}
            {%- do sql.append(')') -%}
            {%- set at.depth = at.depth - 1 -%}
        {%- elif not at.ended and (kind, token) == ('parenthesis', '(') -%}
            {%- do sql.append('(') -%}
            {%- set at.depth = at.depth + 1 -%}
        {%- elif at.ended or kind not in ('word', 'name') -%}
            {%- set at.problem = pit_join._unread(token) -%}
        {%- elif kind == 'word' and token | lower == 'not' -%}
            {%- do sql.append('not') -%}
        {%- elif kind == 'word' and token | lower in ('true', 'false') -%}
            {%- do sql.append(token | lower) -%}
            {%- set at.ended = true -%}
        {%- elif token | lower not in columns or not types[columns[token | lower]] -%}
            {%- set at.problem = "reads '" ~ token ~ "', which is not a column that is listed with its data_type" -%}
        {%- else -%}
            {%- set column = columns[token | lower] -%}
            {%- set quoted, type = pit_join._identifier(column), pit_join._type_of(types[column]) -%}
            {%- set at.ended = true -%}
            {%- if words[:2] == ['is', 'null'] -%}
                {%- do sql.append(quoted ~ ' is null') -%}
                {%- set at.skip = 2 -%}
            {%- elif words == ['is', 'not', 'null'] -%}
                {%- do sql.append(quoted ~ ' is not null') -%}
                {%- set at.skip = 3 -%}
            {%- elif follows and follows[0][0] == 'operator' -%}
                {%- set literal = pit_join._compared(follows[1] if follows | length > 1 else ('', ''), types[column]) -%}
                {%- if literal -%}
                    {%- do sql.append(pit_join._ordered(quoted, types[column]) ~ ' ' ~ follows[0][1] | replace('!=', '<>') ~ ' ' ~ literal) -%}
                {%- else -%}
                    {%- set at.problem = "does not compare '" ~ column ~ "', which is of type " ~ types[column] ~ ', with a literal of that type' -%}
                {%- endif -%}
                {%- set at.skip = 2 -%}
            {%- elif type.family == 'BOOLEAN' -%}
                {%- do sql.append(quoted) -%}
            {%- else -%}
                {%- set at.problem = pit_join._unread(follows[0][1] if follows else token) -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if not at.problem and (at.depth or not at.ended) -%}
        {%- set at.problem = 'ends too early' -%}
    {%- endif -%}
    {%- if at.problem -%}
        {{ return({'problem': at.problem ~ "; off DuckDB a condition compares columns with literals (status = 'paid', day >= date '2026-01-01'), asks for is null, and joins these and boolean columns with and, or, not; compute anything else as a column of the model"}) }}
    {%- endif -%}
    {{ return({'sql': sql | join(' ')}) }}
{%- endmacro %}


{% macro _unread(token) -%}
    {{ return("cannot be read at '" ~ token ~ "'") }}
{%- endmacro %}


{#- The tokens of a condition: [(kind, text)]; the text of a time is its text alone, after its kind. -#}
{% macro _tokens(text) -%}
    {%- set pattern = '\\s+|(date|timestamptz|timestamp)\\s*\'([^\']*)\'|(\'(?:[^\']|\'\')*\')|"((?:[^"]|"")+)"|([^\\W\\d]\\w*)|([-+]?[0-9]+(?:\\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)|(<=|>=|<>|!=|[=<>])|([()])|(.)' -%}
    {%- set found = [] -%}
    {%- for time, at, quoted, name, word, number, operator, parenthesis, other in modules.re.findall(pattern, text, modules.re.I + modules.re.S) -%}
        {%- if time -%}
            {%- do found.append((time | lower, at)) -%}
        {%- elif quoted -%}
            {%- do found.append(('text', quoted[1:-1] | replace("''", "'"))) -%}
        {%- elif name -%}
            {%- do found.append(('name', name | replace('""', '"'))) -%}
        {%- elif word or number or operator or parenthesis or other -%}
            {%- do found.append(('word' if word else 'number' if number else 'operator' if operator else 'parenthesis' if parenthesis else 'other', word or number or operator or parenthesis or other)) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{#- A literal of a condition as SQL, to be compared with a column of a type; none if they are not alike. -#}
{% macro _compared(token, data_type) -%}
    {%- set kind, text = token -%}
    {%- set type = pit_join._type_of(data_type) -%}
    {%- if kind == 'text' and type.family == 'text' and not pit_join._is_padded(data_type) -%}
        {{ return(pit_join._literal(text)) }}
    {%- elif kind == 'number' and type.family in ('integer', 'decimal') and 'e' not in text | lower -%}
        {{ return(text) }}
    {%- elif kind == 'number' and type.family == 'float' -%}
        {{ return(pit_join._constant(text, data_type)) }}
    {%- elif kind == 'word' and type.family == 'BOOLEAN' and text | lower in ('true', 'false') -%}
        {{ return(text | lower) }}
    {%- elif kind in ('date', 'timestamp', 'timestamptz') and type.family == 'time' -%}
        {%- set wide = {'date': ['date'], 'timestamp': ['date', 'timestamp'], 'timestamptz': ['date', 'timestamp', 'timestamptz']} -%}
        {%- if pit_join._time_text(text, kind) and kind in wide.get(type.name, []) and not (kind == 'timestamptz' and pit_join._time_text(text, 'timestamp')) -%}
            {{ return(pit_join._constant(text, data_type)) }}
        {%- endif -%}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}


{#-
    A date or time of YAML as all engines read it, for a kind of times: date, timestamp or timestamptz. An instant without a zone
    is UTC. None for a text that says no such time.
-#}
{% macro _time_text(text, kind) -%}
    {%- set zone = '(Z|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?' if kind == 'timestamptz' else '()' -%}
    {%- set clock = '(?:[T ]((?:[01][0-9]|2[0-3]):[0-5][0-9])(:[0-5][0-9](?:[.][0-9]{1,6})?)?' ~ zone ~ ')?' if kind != 'date' else '()()()' -%}
    {%- set found = modules.re.fullmatch('([0-9]{4})-([0-9]{2})-([0-9]{2})' ~ clock, text | string | trim) -%}
    {%- if not found -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set year, month, day, minute, second, away = found.groups() -%}
    {%- if year | int < 1 or month | int not in range(1, 13) or day | int not in range(1, 1 + pit_join._days_of_months(year | int)[month | int - 1]) -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set words = year ~ '-' ~ month ~ '-' ~ day -%}
    {%- if kind != 'date' -%}
        {%- set words = words ~ ' ' ~ (minute or '00:00') ~ (second or ':00') -%}
    {%- endif -%}
    {{ return(words ~ ('' if kind != 'timestamptz' else '+00:00' if not away or away == 'Z' else away[:3] ~ ':' ~ (away[3:].lstrip(':') or '00'))) }}
{%- endmacro %}
