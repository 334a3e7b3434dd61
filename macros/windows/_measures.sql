{#-
    What is added up for counts, sums and averages, so that sums of sums are exact: {name: {value, running}}, the number that
    an event brings and the running sum of it over the rows before.

    * Integers of up to 64 bits stand in the upper bits of one number, and how many there are in its lower 34.
    * Other integers and decimals as they are, beside their count.
    * Floats as whole numbers of 96 bits below the greatest, in two parts, so that one value far greater than all others
      (a mark for "missing", say) does not swallow these; and apart from them how many are no numbers (`odd`: NaN,
      infinity and -infinity in 42 bits each). What is too small even for the second part is added up by `_residues`.
-#}
{% macro _measures(sums) -%}
    {%- set measures = {} -%}
    {%- for item in sums if item.function != 'count' and pit_join._packs(item.column_type) -%}
        {%- do measures.update({item.input ~ '_p': pit_join._measure(item.input ~ '_p', 'cast(events.' ~ item.input ~ ' as hugeint) * 17179869184 + 1')}) -%}
    {%- endfor -%}
    {%- for item in sums if item.input ~ '_p' not in measures -%}
        {%- set value = 'events.' ~ item.input -%}
        {%- set counted = pit_join._measure(item.input ~ '_n', 'case when ' ~ value ~ ' is not null then 1 end', 'count') -%}
        {#- Every row counts, so that the number of rows is the count. -#}
        {%- do measures.update({item.input ~ '_n': counted if item.column or item.where else {'value': '1', 'running': 'row_number() over ()'}}) -%}
        {%- if item.function != 'count' and not pit_join._is_float(item.column_type) -%}
            {%- do measures.update({item.input ~ '_s': pit_join._measure(item.input ~ '_s', value)}) -%}
        {%- elif item.function != 'count' -%}
            {%- set size = 'abs(' ~ value ~ ')' -%}
            {%- set great = size ~ ' >= scales.' ~ item.input ~ '_great' -%}
            {%- set small = size ~ ' < scales.' ~ item.input ~ '_small' -%}
            {%- set whole = pit_join._whole(value, item.input ~ '_s', 'isfinite(' ~ value ~ ') and ' ~ great) -%}
            {%- do measures.update({item.input ~ '_s': pit_join._measure(item.input ~ '_s', whole)}) -%}
            {%- set whole = pit_join._whole(value, item.input ~ '_t', 'isfinite(' ~ value ~ ') and not (' ~ great ~ ' or ' ~ small ~ ')') -%}
            {%- do measures.update({item.input ~ '_t': pit_join._measure(item.input ~ '_t', whole)}) -%}
            {%- set odd = 'case when isnan(' ~ value ~ ') then 1::hugeint when ' ~ value ~ " = 'infinity' then 4398046511104::hugeint when " ~ value ~ " = '-infinity' then 19342813113834066795298816::hugeint end" -%}
            {%- do measures.update({item.input ~ '_odd': pit_join._measure(item.input ~ '_odd', odd)}) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(measures) }}
{%- endmacro %}


{% macro _measure(name, value, running='sum') -%}
    {%- set so_far = running ~ '(' ~ name ~ ') over (rows unbounded preceding)' -%}
    {{ return({'value': value, 'running': 'coalesce(' ~ so_far ~ ', 0)' if running == 'sum' else so_far}) }}
{%- endmacro %}


{#- Whether the sum of a column fits into one number beside its count: integers of up to 64 bits. -#}
{% macro _packs(column_type) -%}
    {%- set kind = (column_type or '') | lower -%}
    {{ return(not (pit_join._is_float(kind) or 'dec' in kind or 'num' in kind or 'huge' in kind or '128' in kind)) }}
{%- endmacro %}


{#- A float as a whole number: `scales` holds the two powers of two (one alone could be too great for a float). -#}
{% macro _whole(value, name, usable) -%}
    {{ return('case when ' ~ usable ~ ' then cast(cast(' ~ value ~ ' as double) * scales.' ~ name ~ '[1] * scales.' ~ name ~ '[2] as hugeint) end') }}
{%- endmacro %}


{% macro _unwhole(value, name) -%}
    {{ return('cast(' ~ value ~ ' as double) / (select ' ~ name ~ '[1] from scales) / (select ' ~ name ~ '[2] from scales)') }}
{%- endmacro %}


{#- The inputs that are added up as floats. -#}
{% macro _float_inputs(sums) -%}
    {%- set inputs = [] -%}
    {%- for item in sums if item.function != 'count' and pit_join._is_float(item.column_type) and item.input not in inputs -%}
        {%- do inputs.append(item.input) -%}
    {%- endfor -%}
    {{ return(inputs) }}
{%- endmacro %}


{#- CTE `measured`: the events with their measures, and whether they are `_pit_late`: known late or superseded. -#}
{% macro _measured(key_names, sums, measures, lag, event_key, late) -%}
{%- set floats = pit_join._float_inputs(sums) -%}
{%- if floats -%}
-- The second part begins 2^42 below the greatest value, and the rest 2^42 below the greatest of the second part.
greatest_values as (
    select
        {%- for input in floats %}
        coalesce(cast(max(abs({{ input }})) filter (where isfinite({{ input }})) as double), 0) as {{ input }}_s{{ ',' if not loop.last }}
        {%- endfor %}
    from events
),

second_values as (
    select
        {%- for input in floats %}
        {%- set greatest = '(select ' ~ input ~ '_s from greatest_values)' %}
        {{ greatest }} as {{ input }}_s,
        coalesce(cast(max(abs({{ input }})) filter (where abs({{ input }}) < {{ greatest }} * pow(2.0, -42)) as double), 0) as {{ input }}_t{{ ',' if not loop.last }}
        {%- endfor %}
    from events
),

exponents as (
    select
        {%- for input in floats %}
        {%- for name in (input ~ '_s', input ~ '_t') %}
        95 - coalesce(cast(floor(log2(nullif({{ name }}, 0))) as integer), 0) as {{ name }},
        {%- endfor %}
        {{ input }}_s * pow(2.0, -42) as {{ input }}_great,
        {{ input }}_t * pow(2.0, -42) as {{ input }}_small{{ ',' if not loop.last }}
        {%- endfor %}
    from second_values
),

scales as (
    select
        {%- for input in floats %}
        {%- for name in (input ~ '_s', input ~ '_t') %}
        [pow(2.0, {{ name }} // 2), pow(2.0, {{ name }} - {{ name }} // 2)] as {{ name }},
        {%- endfor %}
        {{ input }}_great,
        {{ input }}_small{{ ',' if not loop.last }}
        {%- endfor %}
    from exponents
),

{% endif -%}
measured as (
    select
        {%- for key in key_names %}
        events.{{ key }},
        {%- endfor %}
        {%- if event_key %}
        events._pit_until,
        {%- endif %}
        {%- if late %}
        events._pit_known <> events._pit_event + {{ lag }}{{ ' or events._pit_until is not null' if event_key }} as _pit_late,
        {%- endif %}
        {%- for name, measure in measures.items() %}
        {{ measure.value }} as {{ name }},
        {%- endfor %}
        events._pit_event,
        events._pit_known
    from events
    {%- if floats %}
    cross join scales
    {%- endif %}
)
{%- endmacro %}


{#- A count, sum or average from the sums of its measures. -#}
{% macro _summed(item, windows, measures, late=false) -%}
    {%- set slot = windows.index(item.window) + 1 -%}
    {%- set part = {} -%}
    {%- for name in ('p', 'n', 's', 't', 'odd') -%}
        {%- set column = item.input ~ '_' ~ name ~ '_' ~ slot -%}
        {%- do part.update({name: '(sums.' ~ column ~ ' + late_sums.' ~ column ~ ')' if late else 'sums.' ~ column}) -%}
    {%- endfor -%}
    {%- if item.input ~ '_p' in measures -%}
        {%- do part.update({'n': '(' ~ part.p ~ ' & 17179869183)', 's': '(' ~ part.p ~ ' >> 34)'}) -%}
    {%- endif -%}
    {%- if item.function == 'count' -%}
        {{ return(part.n) }}
    {%- elif not pit_join._is_float(item.column_type) -%}
        {{ return('case when ' ~ part.n ~ ' > 0 then ' ~ (part.s if item.function == 'sum' else 'cast(' ~ part.s ~ ' as double) / ' ~ part.n) ~ ' end') }}
    {%- endif -%}
    {%- set sum = '(' ~ pit_join._unwhole(part.s, item.input ~ '_s') ~ ' + ' ~ pit_join._unwhole(part.t, item.input ~ '_t') ~ ' + coalesce(residues.' ~ item.input ~ '_' ~ slot ~ ', 0))' -%}
    {%- set nan = part.odd ~ ' % 4398046511104 > 0' -%}
    {%- set up = '(' ~ part.odd ~ ' // 4398046511104) % 4398046511104 > 0' -%}
    {%- set down = part.odd ~ ' // 19342813113834066795298816 > 0' -%}
    {{ return('case when ' ~ part.n ~ ' > 0 then case when ' ~ part.odd ~ ' = 0 then ' ~ sum ~ (' / ' ~ part.n if item.function == 'avg' else '') ~ ' when ' ~ nan ~ ' or (' ~ up ~ ' and ' ~ down ~ ") then 'nan'::double when " ~ up ~ " then 'infinity'::double else '-infinity'::double end end") }}
{%- endmacro %}
