{#- Types, numbers and choices among values, as engines spell them. -#}

{#- The name of a type of results: 'bigint', 'double', 'decimal(38, 2)', or one that is declared, and lists of these. -#}
{% macro _type_name(data_type) -%}
    {{ return(adapter.dispatch('_type_name', 'pit_join')(data_type)) }}
{%- endmacro %}

{% macro default___type_name(data_type) -%}
    {{ return(data_type) }}
{%- endmacro %}

{% macro postgres___type_name(data_type) -%}
    {{ return({'double': 'double precision', 'double[]': 'double precision[]'}.get(data_type | lower, data_type)) }}
{%- endmacro %}

{#- Spark's own name of a declared type. Types within a map or a struct are left as they are. -#}
{% macro spark___type_name(data_type) -%}
    {%- set list_of = pit_join._list_of(data_type) -%}
    {%- if list_of -%}
        {{ return('array<' ~ pit_join._type_name(list_of) ~ '>') }}
    {%- endif -%}
    {%- set names, (name, digits, lists) = pit_join._engine_types().names, pit_join._parts_of_type(data_type) -%}
    {%- set known = none if digits or '<' in data_type else pit_join._entry_of(names, name) -%}
    {{ return(names[known][0] if known else data_type) }}
{%- endmacro %}


{#- A value of YAML in a type: a text, a number, true, false, or a list of these. -#}
{% macro _constant(value, data_type) -%}
    {{ return(adapter.dispatch('_constant', 'pit_join')(value, data_type)) }}
{%- endmacro %}

{% macro default___constant(value, data_type) -%}
    {{ return('cast(' ~ pit_join._literal(value) ~ ' as ' ~ pit_join._type_name(data_type) ~ ')') }}
{%- endmacro %}

{#- A list is written as one. In a text of the whole list a null would be the text None, and quotes within its texts would be lost. -#}
{% macro duckdb___constant(value, data_type) -%}
    {%- if value is string or value is not iterable -%}
        {{ return(pit_join.default___constant(value, data_type)) }}
    {%- endif -%}
    {{ return(pit_join._list_constant('[', value, ']', data_type)) }}
{%- endmacro %}

{% macro postgres___constant(value, data_type) -%}
    {{ return(pit_join._list_constant('array[', value, ']', data_type)) }}
{%- endmacro %}

{% macro spark___constant(value, data_type) -%}
    {{ return(pit_join._list_constant('array(', value, ')', data_type)) }}
{%- endmacro %}

{% macro _list_constant(opening, value, closing, data_type) -%}
    {%- set type, items = pit_join._type_of(data_type), [] -%}
    {%- set of_list = value is not string and value is iterable -%}
    {%- for one in (value if of_list else [value]) %}{% do items.append('null' if one is none else pit_join._literal(pit_join._constant_text(one, type.element or type))) %}{% endfor -%}
    {{ return('cast(' ~ (opening ~ items | join(', ') ~ closing if of_list else items[0]) ~ ' as ' ~ pit_join._type_name(data_type) ~ ')') }}
{%- endmacro %}

{#- A value of YAML as a text that all engines take for a value of the type. PostgreSQL takes no 5.0 for an integer. -#}
{% macro _constant_text(value, type) -%}
    {%- if type.family == 'integer' and value is number -%}
        {{ return('%d' | format(value)) }}
    {%- elif type.family == 'time' -%}
        {{ return(pit_join._time_text(value, type.name) or value) }}
    {%- endif -%}
    {{ return(value) }}
{%- endmacro %}


{#- The quotient of two integers, the second of them positive, rounded towards zero. -#}
{% macro _divided(number, divisor) -%}
    {{ return(adapter.dispatch('_divided', 'pit_join')(number, divisor)) }}
{%- endmacro %}

{% macro duckdb___divided(number, divisor) -%}
    {{ return(number ~ ' // ' ~ divisor) }}
{%- endmacro %}

{% macro default___divided(number, divisor) -%}
    {{ return(number ~ ' / ' ~ divisor) }}
{%- endmacro %}

{% macro spark___divided(number, divisor) -%}
    {{ return(number ~ ' div ' ~ divisor) }}
{%- endmacro %}


{#- Whether a float is a zero with a minus sign. It equals zero, so that only its text or its sign tells. -#}
{% macro _is_negative_zero(value) -%}
    {{ return(adapter.dispatch('_is_negative_zero', 'pit_join')(value)) }}
{%- endmacro %}

{% macro duckdb___is_negative_zero(value) -%}
    {{ return('signbit(' ~ value ~ ')') }}
{%- endmacro %}

{% macro default___is_negative_zero(value) -%}
    {{ return('cast(' ~ value ~ " as varchar(24)) in ('-0', '-0.0')") }}
{%- endmacro %}

{#- Here and on Spark the comparison comes first: it spares nearly all values the text. -#}
{% macro postgres___is_negative_zero(value) -%}
    {{ return('(' ~ value ~ ' = 0 and cast(' ~ value ~ " as text) = '-0')") }}
{%- endmacro %}

{% macro spark___is_negative_zero(value) -%}
    {{ return('(' ~ value ~ ' = 0 and cast(' ~ value ~ " as string) = '-0.0')") }}
{%- endmacro %}


{#- A float in which zeros of both signs are one. They are equal, so that chance would choose the least or the first. -#}
{% macro _unsigned_zero(value) -%}
    {{ return(adapter.dispatch('_unsigned_zero', 'pit_join')(value)) }}
{%- endmacro %}

{% macro default___unsigned_zero(value) -%}
    {{ return(value ~ ' + 0') }}
{%- endmacro %}

{% macro duckdb___unsigned_zero(value) -%}
    {{ return(value ~ ' + 0::float') }}
{%- endmacro %}


{#- A value as it is ordered: texts by their bytes, whatever the collation of the database; none if its type has no order. -#}
{% macro _ordered(value, data_type) -%}
    {{ return(adapter.dispatch('_ordered', 'pit_join')(value, data_type)) }}
{%- endmacro %}

{% macro default___ordered(value, data_type) -%}
    {{ return(value) }}
{%- endmacro %}

{% macro postgres___ordered(value, data_type) -%}
    {%- set kind = pit_join._duckdb_name(data_type) or '' -%}
    {%- set family = pit_join._duckdb_type_of(kind | replace('[]', '')).family -%}
    {{ return('cast(' ~ value ~ ' as text' ~ ('[]' if '[]' in kind else '') ~ ') collate "C"' if family == 'JSON' else value ~ ' collate "C"' if family == 'text' else value) }}
{%- endmacro %}

{% macro spark___ordered(value, data_type) -%}
    {{ return('to_json(' ~ value ~ ')' if modules.re.search('map *<|variant', (data_type or '') | lower) else value) }}
{%- endmacro %}


{#- The first value in an order, the last, or a list of the last ones; nulls do not count. -#}
{% macro _chosen(function, value, order, more) -%}
    {{ return(adapter.dispatch('_chosen', 'pit_join')(function, value, order, more)) }}
{%- endmacro %}

{% macro default___chosen(function, value, order, more) -%}
    {{ exceptions.raise_compiler_error('the function ' ~ function ~ ' of a window view has not run on ' ~ adapter.type() ~ '; compute it as a column of the model') }}
{%- endmacro %}

{% macro postgres___chosen(function, value, order, more) -%}
{%- set descending = ', '.join(order).replace(', ', ' desc, ') ~ ' desc' -%}
{%- set values -%}
(array_agg({{ value }} order by {{ order | join(', ') if function == 'first' else descending }}) filter (where {{ more.conditions | join(' and ') }}))
{%- endset -%}
{{ values }}[1{{ ':' ~ more.n if function == 'last_n' }}]
{%- endmacro %}

{% macro spark___chosen(function, value, order, more) -%}
{%- set of = 'struct(' ~ order | join(', ') ~ ')' -%}
{%- set filter = ' filter (where ' ~ more.conditions | join(' and ') ~ ')' -%}
{%- if function == 'last_n' -%}
nullif(transform(slice(sort_array(collect_list(named_struct('rank', {{ of }}, 'value', {{ value }})){{ filter }}, false), 1, {{ more.n }}), one -> one.value), array())
{%- else -%}
{{ 'min_by' if function == 'first' else 'max_by' }}({{ value }}, {{ of }}){{ filter }}
{%- endif -%}
{%- endmacro %}


{#- A number as it is added up: exactly, where the engine can. -#}
{% macro _addend(value, data_type) -%}
    {{ return(adapter.dispatch('_addend', 'pit_join')(value, data_type)) }}
{%- endmacro %}

{#- The text of a float has all its digits; a cast to numeric keeps 15 of them. -#}
{% macro postgres___addend(value, data_type) -%}
    {{ return('cast(' ~ ('cast(' ~ value ~ ' as text)' if pit_join._is_float(data_type) else value) ~ ' as numeric)') }}
{%- endmacro %}

{% macro default___addend(value, data_type) -%}
    {%- set kind = pit_join._type_of(data_type).family -%}
    {{ return('cast(' ~ value ~ ' as ' ~ ('double' if kind == 'float' else 'decimal(38, ' ~ (pit_join._scale(data_type) if kind == 'decimal' else 0) ~ ')') ~ ')') }}
{%- endmacro %}


{#- A sum of exact numbers in its type, beside their number; one that does not fit is an error. -#}
{% macro _total(sum, counted, data_type) -%}
    {{ return(adapter.dispatch('_total', 'pit_join')(sum, counted, data_type)) }}
{%- endmacro %}

{% macro default___total(sum, counted, data_type) -%}
    {{ return('cast(' ~ sum ~ ' as ' ~ pit_join._type_name(data_type) ~ ')') }}
{%- endmacro %}

{#- dbt-spark switches ANSI off. Without it a sum beyond 38 digits is null, and a cast that overflows is another number. -#}
{% macro spark___total(sum, counted, data_type) -%}
    {%- set fits = sum ~ ' between -9223372036854775808 and 9223372036854775807' if data_type == 'bigint' else sum ~ ' is not null' -%}
    {{ return('case when ' ~ counted ~ ' > 0 then if(' ~ fits ~ ', cast(' ~ sum ~ ' as ' ~ data_type ~ "), raise_error('a sum does not fit into the type " ~ data_type ~ "')) end") }}
{%- endmacro %}


{#- A text that is true or false, in any case, as a boolean; any other is an error. -#}
{% macro _text_as_boolean(text) -%}
    {{ return(adapter.dispatch('_text_as_boolean', 'pit_join')(text)) }}
{%- endmacro %}

{% macro default___text_as_boolean(text) -%}
cast(case when lower({{ text }}) in ('true', 'false') then {{ text }} else 'neither true nor false: ' || {{ text }} end as boolean)
{%- endmacro %}

{#- Without ANSI a cast that fails is null. -#}
{% macro spark___text_as_boolean(text) -%}
case when lower({{ text }}) in ('true', 'false') then lower({{ text }}) = 'true' when {{ text }} is not null then raise_error('neither true nor false: ' || {{ text }}) end
{%- endmacro %}


{#- The least or the greatest value. -#}
{% macro _extreme(function, value, data_type, conditions) -%}
    {{ return(adapter.dispatch('_extreme', 'pit_join')(function, value, data_type, conditions)) }}
{%- endmacro %}

{#- PostgreSQL 15 has no max() of some types that it can order, such as boolean. -#}
{% macro postgres___extreme(function, value, data_type, conditions) -%}
    {%- set ordered, family = pit_join._ordered(value, data_type), pit_join._type_of(data_type).family -%}
    {%- if family in ('text', 'integer', 'decimal', 'float', 'time') -%}
        {{ return(function ~ '(' ~ ordered ~ ') filter (where ' ~ conditions | join(' and ') ~ ')') }}
    {%- endif -%}
    {{ return(pit_join._chosen('first' if function == 'min' else 'last', value, [ordered], {'conditions': conditions})) }}
{%- endmacro %}

{% macro default___extreme(function, value, data_type, conditions) -%}
    {{ return(function ~ '(' ~ value ~ ') filter (where ' ~ conditions | join(' and ') ~ ')') }}
{%- endmacro %}


{#- The deviation of a sample as a double; of values with a NaN or an infinity among them, be it alone, it is NaN. -#}
{% macro _sample_deviation(value, data_type, conditions) -%}
    {{ return(adapter.dispatch('_sample_deviation', 'pit_join')(value, data_type, conditions)) }}
{%- endmacro %}

{% macro default___sample_deviation(value, data_type, conditions) -%}
    {{ exceptions.raise_compiler_error('the function stddev of a window view has not run on ' ~ adapter.type() ~ '; compute it as a column of the model') }}
{%- endmacro %}

{#- A large deviation of stddev_samp() lacks the digits after the point; sqrt() has 16 at least. -#}
{% macro postgres___sample_deviation(value, data_type, conditions) -%}
{%- set odd = pit_join._is_float(data_type) -%}
{%- if odd -%}
case when count(*) filter (where {{ conditions | join(' and ') }} and {{ value }} in ('nan', 'infinity', '-infinity')) > 0 then 'nan' else {% endif -%}
cast(sqrt(var_samp({{ pit_join._addend(value, data_type) }}) filter (where {{ conditions | join(' and ') }})) as double precision)
{%- if odd %} end{% endif %}
{%- endmacro %}

{% macro spark___sample_deviation(value, data_type, conditions) -%}
case
    when count(*) filter (where {{ conditions | join(' and ') }} and (isnan(cast({{ value }} as double)) or abs(cast({{ value }} as double)) = double('infinity'))) > 0 then double('nan')
    else stddev_samp(cast({{ value }} as double)) filter (where {{ conditions | join(' and ') }})
end
{%- endmacro %}
