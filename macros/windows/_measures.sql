{#-
    The measures of counts, sums and averages: numbers whose sums are exact. A mapping {name: {value, running}} of the
    number that an event adds and its running sum over the rows so far. The names end in

    _p        integers of up to 64 bits: a value in the upper bits of one number, and a 1 in its lower 34 to count it
    _n, _s    all else: the count; other integers and decimals as they are
    _s, _t    floats as whole numbers of 96 bits below the greatest, in two parts, so that one value far greater than all
              others (a mark for "missing", for example) does not swallow them
    _odd      the counts of NaN, infinity and -infinity, in 42 bits each

    Values that are too small even for the second part of floats are added up by `_residues`.
-#}
{% macro _measures(sums) -%}
    {%- set measures = {} -%}
    {%- for item in sums if item.function != 'count' and pit_join._packs(item.column_type) -%}
        {%- do measures.update({item.input ~ '_p': pit_join._measure(item.input ~ '_p', pit_join._packed('events.' ~ item.input))}) -%}
    {%- endfor -%}
    {%- for item in sums if item.input ~ '_p' not in measures -%}
        {%- set name, value = item.input, 'events.' ~ item.input -%}
        {#- Every row counts, so the row number is the count; the sums run in the order of the rows. -#}
        {%- set every = {'value': '1', 'running': 'row_number() over ()'} -%}
        {%- set some = pit_join._measure(name ~ '_n', 'case when ' ~ value ~ ' is not null then 1 end', 'count') -%}
        {%- do measures.update({name ~ '_n': some if item.column or item.where else every}) -%}
        {%- if item.function != 'count' and not pit_join._is_float(item.column_type) -%}
            {%- do measures.update({name ~ '_s': pit_join._measure(name ~ '_s', value)}) -%}
        {%- elif item.function != 'count' -%}
            {%- set great = 'abs(' ~ value ~ ') >= scales.' ~ name ~ '_great' -%}
            {%- set small = 'abs(' ~ value ~ ') < scales.' ~ name ~ '_small' -%}
            {%- set parts = {
                name ~ '_s': pit_join._whole(value, name ~ '_s', great),
                name ~ '_t': pit_join._whole(value, name ~ '_t', 'not (' ~ great ~ ' or ' ~ small ~ ')'),
                name ~ '_odd': pit_join._odd(value),
            } -%}
            {%- for part, number in parts.items() -%}
                {%- do measures.update({part: pit_join._measure(part, number)}) -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(measures) }}
{%- endmacro %}


{#- A measure, with its running sum or count over the rows so far, in their order. -#}
{% macro _measure(name, value, running='sum') -%}
    {%- set so_far = running ~ '(' ~ name ~ ') over (rows unbounded preceding)' -%}
    {{ return({'value': value, 'running': 'coalesce(' ~ so_far ~ ', 0)' if running == 'sum' else so_far}) }}
{%- endmacro %}


{#- Whether the sum of a column fits into one number beside its count: integers of up to 64 bits. -#}
{% macro _packs(column_type) -%}
    {%- set kind = (column_type or '') | lower -%}
    {{ return(not (pit_join._is_float(kind) or 'dec' in kind or 'num' in kind or 'huge' in kind or '128' in kind)) }}
{%- endmacro %}


{#- The bits of the count in a packed number, and the bits of each count in `_odd`. -#}
{% macro _count_bits() -%}
    {{ return(34) }}
{%- endmacro %}

{% macro _odd_bits() -%}
    {{ return(42) }}
{%- endmacro %}


{% macro _packed(value) -%}
cast({{ value }} as hugeint) * {{ 2 ** pit_join._count_bits() }} /* {{ pit_join._count_bits() }} bits of count */ + 1
{%- endmacro %}


{% macro _odd(value) -%}
{%- set bits = pit_join._odd_bits() -%}
case
    when isnan({{ value }}) then 1::hugeint
    when {{ value }} = 'infinity' then {{ 2 ** bits }}::hugeint /* above {{ bits }} bits of NaN */
    when {{ value }} = '-infinity' then {{ 2 ** (2 * bits) }}::hugeint /* above {{ bits }} bits of infinity */
end
{%- endmacro %}


{#- A finite float as a whole number. `scales` holds the two powers of two; one alone could overflow a float. -#}
{% macro _whole(value, name, usable) -%}
case
    when isfinite({{ value }}) and {{ usable }} then cast(cast({{ value }} as double) * scales.{{ name }}[1] * scales.{{ name }}[2] as hugeint)
end
{%- endmacro %}


{% macro _unwhole(value, name) -%}
cast({{ value }} as double) / (select {{ name }}[1] from scales) / (select {{ name }}[2] from scales)
{%- endmacro %}


{#- The inputs that are added up as floats. -#}
{% macro _float_inputs(sums) -%}
    {%- set inputs = [] -%}
    {%- for item in sums if item.function != 'count' and pit_join._is_float(item.column_type) and item.input not in inputs -%}
        {%- do inputs.append(item.input) -%}
    {%- endfor -%}
    {{ return(inputs) }}
{%- endmacro %}


{#- CTEs up to `scales`: the powers of two that make floats whole, and the bounds of their parts. -#}
{% macro _scales(floats) -%}
{%- set top_bit = 95 -%}
{%- set part_bits = 42 -%}
-- The second part begins 2^{{ part_bits }} below the greatest value, and the rest 2^{{ part_bits }} below the greatest of the second part.
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
        coalesce(cast(max(abs({{ input }})) filter (where abs({{ input }}) < {{ greatest }} * pow(2.0, -{{ part_bits }})) as double), 0) as {{ input }}_t{{ ',' if not loop.last }}
        {%- endfor %}
    from events
),

-- The greatest value of a part gets {{ top_bit + 1 }} bits.
exponents as (
    select
        {%- for input in floats %}
        {%- for name in (input ~ '_s', input ~ '_t') %}
        {{ top_bit }} - coalesce(cast(floor(log2(nullif({{ name }}, 0))) as integer), 0) as {{ name }},
        {%- endfor %}
        {{ input }}_s * pow(2.0, -{{ part_bits }}) as {{ input }}_great,
        {{ input }}_t * pow(2.0, -{{ part_bits }}) as {{ input }}_small{{ ',' if not loop.last }}
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
)
{%- endmacro %}


{#- CTE `measured`: the events with their measures, and whether they are `_pit_late`: known late or superseded. -#}
{% macro _measured(view, sums, measures, late) -%}
{%- set floats = pit_join._float_inputs(sums) -%}
{%- if floats -%}
{{ pit_join._scales(floats) }},

{% endif -%}
measured as (
    select
        {%- for key in view.key_names %}
        events.{{ key }},
        {%- endfor %}
        {%- if view.event_key %}
        events._pit_until,
        {%- endif %}
        {%- if late %}
        events._pit_available_at <> events._pit_event{{ ' + ' ~ pit_join._microseconds(view.lag, 'lag') if view.lag }}{{ ' or events._pit_until is not null' if view.event_key }} as _pit_late,
        {%- endif %}
        {%- for name, measure in measures.items() %}
        {{ measure.value | indent(8) }} as {{ name }},
        {%- endfor %}
        events._pit_event,
        events._pit_available_at
    from events
    {%- if floats %}
    cross join scales
    {%- endif %}
)
{%- endmacro %}


{#- The value of a count, sum or average, from the sums of its measures. -#}
{% macro _summed(item, windows, measures, late=false) -%}
{%- set slot = windows.index(item.window) + 1 -%}
{%- set part = {} -%}
{%- for name in ('p', 'n', 's', 't', 'odd') -%}
    {%- set column = item.input ~ '_' ~ name ~ '_' ~ slot -%}
    {%- do part.update({name: '(sums.' ~ column ~ ' + late_sums.' ~ column ~ ')' if late else 'sums.' ~ column}) -%}
{%- endfor -%}
{%- if item.input ~ '_p' in measures -%}
    {%- do part.update({'n': pit_join._unpacked_count(part.p), 's': pit_join._unpacked_sum(part.p)}) -%}
{%- endif -%}
{%- if item.function == 'count' -%}
{{ part.n }}
{%- elif not pit_join._is_float(item.column_type) -%}
case when {{ part.n }} > 0 then {{ part.s if item.function == 'sum' else 'cast(' ~ part.s ~ ' as double) / ' ~ part.n }} end
{%- else -%}
{%- set bits = pit_join._odd_bits() -%}
{%- set nan = part.odd ~ ' % ' ~ 2 ** bits ~ ' > 0' -%}
{%- set up = '(' ~ part.odd ~ ' // ' ~ 2 ** bits ~ ') % ' ~ 2 ** bits ~ ' > 0' -%}
{%- set down = part.odd ~ ' // ' ~ 2 ** (2 * bits) ~ ' > 0' -%}
case when {{ part.n }} > 0 then
    case
        when {{ part.odd }} = 0 then (
            {{ pit_join._unwhole(part.s, item.input ~ '_s') }}
            + {{ pit_join._unwhole(part.t, item.input ~ '_t') }}
            + coalesce(residues.{{ item.input }}_{{ slot }}, 0)
        ){{ ' / ' ~ part.n if item.function == 'avg' }}
        -- {{ bits }} bits each count NaN, infinity and -infinity.
        when {{ nan }} or ({{ up }} and {{ down }}) then 'nan'::double
        when {{ up }} then 'infinity'::double
        else '-infinity'::double
    end
end
{%- endif -%}
{%- endmacro %}


{% macro _unpacked_count(packed) -%}
({{ packed }} & {{ 2 ** pit_join._count_bits() - 1 }} /* {{ pit_join._count_bits() }} bits of count */)
{%- endmacro %}

{% macro _unpacked_sum(packed) -%}
{{ packed }} >> {{ pit_join._count_bits() }}
{%- endmacro %}
