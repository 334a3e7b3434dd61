{#-
    The measures of counts, sums and averages: numbers whose sums are exact. A mapping {name: {value, running, slot}} of the
    number that an event adds and its running sum over the rows so far. With a `slot` only its running sum at that end of a
    window is wanted: see `points` of `_running_sums`. `windows` are those of the slots. The names end in

    _p        integers of up to 64 bits: a value in the upper bits of one number, and a 1 in its lower 34 to count it; floats
              of one unit likewise, as whole numbers of it, where both fit
    _n        all else but floats of several classes: the count
    _s        decimals, as they are; other floats of one unit
    _h, _l    numbers whose sum may overflow (`_is_wide`) as whole numbers: the upper bits and the lower 64
    _s, _t    other floats as whole numbers, those of the greatest class of the column and of the next one (`_wholes.sql`)
    _c        the counts of other floats in one number: all of them, NaN, infinity and -infinity, in 31 bits each
    _number   the count of the values so far, by which the newest are looked up (`_newest_values.sql`)
    _begun_W  the different values that enter the window of slot W, and
    _ended_W  those that leave it (`_distinct.sql`)
    _highs    and _lows, _high_squares, _products, _low_squares: for deviations of values of one class (`_deviations.sql`)

    Floats of all other classes are added up apart, see `_float_sums.sql`.
-#}
{% macro _measures(items, windows=[]) -%}
    {%- set measures = {} -%}
    {%- set sums = items | rejectattr('function', 'equalto', 'count_distinct') | list -%}
    {%- for item in sums if item.function in ('sum', 'avg') and pit_join._packed_bits(item) -%}
        {%- set whole = pit_join._in_unit('events.' ~ item.input, item.floats.unit) if item.floats else 'cast(events.' ~ item.input ~ ' as hugeint)' -%}
        {%- do measures.update({item.input ~ '_p': pit_join._measure(item.input ~ '_p', pit_join._packed(whole, pit_join._packed_bits(item)))}) -%}
    {%- endfor -%}
    {%- set spread = pit_join._float_inputs(sums) -%}
    {%- for item in sums if item.input ~ '_p' not in measures -%}
        {%- set name, value = item.input, 'events.' ~ item.input -%}
        {%- if name in spread -%}
            {%- set parts = {
                name ~ '_c': pit_join._counts(value),
                name ~ '_s': 'case when ' ~ value ~ '_class = classes.' ~ name ~ '_s then ' ~ value ~ '_whole end',
                name ~ '_t': 'case when ' ~ value ~ '_class = classes.' ~ name ~ '_t then ' ~ value ~ '_whole end',
            } -%}
            {%- for part, number in parts.items() -%}
                {%- do measures.update({part: pit_join._measure(part, number)}) -%}
            {%- endfor -%}
        {%- else -%}
            {#- Every row counts, so the row number is the count; the sums run in the order of the rows. -#}
            {%- set every = {'value': '1', 'running': 'row_number() over ()'} -%}
            {%- set some = pit_join._measure(name ~ '_n', 'case when ' ~ value ~ ' is not null then 1 end', 'count') -%}
            {%- do measures.update({name ~ '_n': some if item.column or item.where else every}) -%}
            {%- if item.function in ('sum', 'avg') and pit_join._is_wide(item.column_type) -%}
                {%- do measures.update({
                    name ~ '_h': pit_join._measure(name ~ '_h', pit_join._upper(value, item.column_type)),
                    name ~ '_l': pit_join._measure(name ~ '_l', pit_join._lower(value, item.column_type)),
                }) -%}
            {%- elif item.function in ('sum', 'avg') -%}
                {%- set number = pit_join._in_unit(value, item.floats.unit) if item.floats else value -%}
                {%- do measures.update({name ~ '_s': pit_join._measure(name ~ '_s', number)}) -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for item in items if item.function == 'stddev' -%}
        {%- set whole = 'events.' ~ item.input ~ '_whole' -%}
        {%- for part, number in pit_join._deviation_parts(pit_join._high(whole), pit_join._low(whole)).items() -%}
            {%- do measures.update({item.input ~ '_' ~ part: pit_join._measure(item.input ~ '_' ~ part, number)}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for item in items if item.function in ('last', 'last_n') -%}
        {%- do measures.update({item.input ~ '_number': dict(pit_join._measure(item.input ~ '_number', 'case when events.' ~ item.input ~ ' is not null then 1 end', 'count'), slot=0)}) -%}
    {%- endfor -%}
    {%- for item in items if item.function == 'count_distinct' -%}
        {%- do measures.update(pit_join._distinct_measures(item, windows.index(item.window) + 1)) -%}
    {%- endfor -%}
    {{ return(measures) }}
{%- endmacro %}


{#- A measure, with its running sum or count over the rows so far, in their order. -#}
{% macro _measure(name, value, running='sum') -%}
    {%- set so_far = running ~ '(' ~ name ~ ') over (rows unbounded preceding)' -%}
    {{ return({'value': value, 'running': 'coalesce(' ~ so_far ~ ', 0)' if running == 'sum' else so_far}) }}
{%- endmacro %}


{#- The bits of the count that fits into one number beside a column's sum; none if it does not. Integers of up to 64 bits
    and some floats of one unit leave room for it. -#}
{% macro _packed_bits(item) -%}
    {%- set kind = (item.column_type or '') | lower -%}
    {%- if pit_join._is_float(kind) -%}
        {{ return(item.floats.count_bits if item.floats else none) }}
    {%- endif -%}
    {{ return(none if 'dec' in kind or 'num' in kind or 'huge' in kind or '128' in kind else 34) }}
{%- endmacro %}


{#- The bits of each count in `_c`. -#}
{% macro _odd_bits() -%}
    {{ return(31) }}
{%- endmacro %}


{% macro _packed(whole, bits) -%}
{{ whole }} * {{ 2 ** bits }} /* {{ bits }} bits of count */ + 1
{%- endmacro %}


{% macro _counts(value) -%}
{%- set bits = pit_join._odd_bits() -%}
case
    when isfinite({{ value }}) then 1::hugeint
    when isnan({{ value }}) then {{ 2 ** bits + 1 }}::hugeint /* above {{ bits }} bits of all */
    when {{ value }} = 'infinity' then {{ 2 ** (2 * bits) + 1 }}::hugeint /* above {{ bits }} bits of NaN */
    when {{ value }} = '-infinity' then {{ 2 ** (3 * bits) + 1 }}::hugeint /* above {{ bits }} bits of infinity */
end
{%- endmacro %}


{#- The inputs that are added up as floats of several classes. -#}
{% macro _float_inputs(items) -%}
    {%- set inputs = [] -%}
    {%- for item in items if item.function in ('sum', 'avg') and pit_join._is_float(item.column_type) and not item.floats and item.input not in inputs -%}
        {%- do inputs.append(item.input) -%}
    {%- endfor -%}
    {{ return(inputs) }}
{%- endmacro %}


{#- CTEs `classed`, the events with the class and the whole number of each input, and `classes`, the two greatest. -#}
{% macro _classed(items, floats, source) -%}
{%- set inputs = {} -%}
{%- for item in items if item.function == 'stddev' or item.input in floats -%}
    {%- do inputs.update({item.input: item}) -%}
{%- endfor -%}
classed as (
    select
        *
        {%- for input, item in inputs.items() %},
        {{ pit_join._in_class(input, item.column_type, pit_join._one_class(item)) | indent(8) }} as {{ input }}_whole
        {%- endfor %}
    from (
        select
            *
            {%- for input, item in inputs.items() %},
            {{ (pit_join._one_class(item) or pit_join._class(input, item.column_type)) | string | indent(12) }} as {{ input }}_class
            {%- endfor %}
        from {{ source }}
    ) as events
)
{%- if floats %},

classes as (
    select
        {%- for input in floats %}
        coalesce({{ input }}[1], 0) as {{ input }}_s,
        coalesce({{ input }}[2], 0) as {{ input }}_t{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select
            {%- for input in floats %}
            list_reverse_sort(list(distinct {{ input }}_class) filter (where {{ input }} <> 0 and isfinite({{ input }}))) as {{ input }}{{ ',' if not loop.last }}
            {%- endfor %}
        from classed
    ) as found
)
{%- endif %}
{%- endmacro %}


{#- CTE `measured`: the events with their measures, and whether they are `_pit_late`: known late or superseded. -#}
{% macro _measured(view, items, measures, late) -%}
{%- set floats = pit_join._float_inputs(items) -%}
{%- set source = namespace(name='events') -%}
{%- set distinct = items | selectattr('function', 'equalto', 'count_distinct') | list -%}
{%- if distinct -%}
{{ pit_join._repeats(view, distinct) }},

{% set source.name = 'repeats' -%}
{% endif -%}
{%- if floats or items | selectattr('function', 'equalto', 'stddev') | list -%}
{{ pit_join._classed(items, floats, source.name) }},

{% set source.name = 'classed' -%}
{% endif -%}
measured as (
    select
        events.*
        {%- if late %},
        events._pit_available_at <> events._pit_event{{ ' + ' ~ pit_join._microseconds(view.lag, 'lag') if view.lag }}{{ ' or events._pit_until is not null' if view.event_key }} as _pit_late
        {%- endif %}
        {%- for name, measure in measures.items() %},
        {{ measure.value | indent(8) }} as {{ name }}
        {%- endfor %}
    from {{ source.name }}{{ ' as events' if source.name != 'events' }}
    {%- if floats %}
    cross join classes
    {%- endif %}
)
{%- endmacro %}


{#- The sum of a measure over a window, from the CTEs of sums. -#}
{% macro _sum_of(measure, slot, late) -%}
{%- set column = measure ~ '_' ~ slot -%}
{{ '(sums.' ~ column ~ ' + late_sums.' ~ column ~ ')' if late else 'sums.' ~ column }}
{%- endmacro %}


{#- The value of an aggregation from the sums of its measures. -#}
{% macro _summed(item, windows, measures, late=false) -%}
{%- set slot = windows.index(item.window) + 1 -%}
{%- set part = {} -%}
{%- for name in ('p', 'n', 's', 'h', 'l', 'c') -%}
    {%- do part.update({name: pit_join._sum_of(item.input ~ '_' ~ name, slot, late)}) -%}
{%- endfor -%}
{%- if item.input ~ '_p' in measures -%}
    {%- set bits = pit_join._packed_bits(item) -%}
    {%- do part.update({'n': pit_join._unpacked_count(part.p, bits), 's': '(' ~ part.p ~ ' >> ' ~ bits ~ ')'}) -%}
{%- elif item.input ~ '_c' in measures -%}
    {%- do part.update({'n': '(' ~ part.c ~ ' & ' ~ (2 ** pit_join._odd_bits() - 1) ~ ')'}) -%}
{%- endif -%}
{%- if item.function == 'count_distinct' -%}
{{ pit_join._distinct_of(item, slot) }}
{%- elif item.function in ('last', 'last_n') -%}
{{ pit_join._newest_of(item, part.n) }}
{%- elif item.function == 'count' -%}
{{ part.n }}
{%- elif pit_join._is_wide(item.column_type) -%}
case when {{ part.n }} > 0 then
    {{ (pit_join._of_halves(part.h, part.l, item.column_type) if item.function == 'sum' else pit_join._near_halves(part.h, part.l, item.column_type) ~ ' / ' ~ part.n) | indent(4) }}
end
{%- elif item.floats -%}
case when {{ part.n }} > 0 then {{ pit_join._rounded(part.s) }} * pow(2.0, {{ item.floats.unit }}){{ ' / ' ~ part.n if item.function == 'avg' }} end
{%- elif not pit_join._is_float(item.column_type) -%}
case when {{ part.n }} > 0 then {{ part.s if item.function == 'sum' else 'cast(' ~ part.s ~ ' as double) / ' ~ part.n }} end
{%- else -%}
{%- set bits = pit_join._odd_bits() -%}
{%- set nan = '(' ~ part.c ~ ' >> ' ~ bits ~ ') % ' ~ 2 ** bits ~ ' > 0' -%}
{%- set up = '(' ~ part.c ~ ' >> ' ~ 2 * bits ~ ') % ' ~ 2 ** bits ~ ' > 0' -%}
{%- set down = part.c ~ ' >> ' ~ 3 * bits ~ ' > 0' -%}
case when {{ part.n }} > 0 then
    case
        when {{ part.c }} < {{ 2 ** bits }} then float_sums.{{ item.input ~ '_' ~ slot }}{{ ' / ' ~ part.n if item.function == 'avg' }}
        -- Above {{ bits }} bits that count all, {{ bits }} bits each count NaN, infinity and -infinity.
        when {{ nan }} or ({{ up }} and {{ down }}) then 'nan'::double
        when {{ up }} then 'infinity'::double
        else '-infinity'::double
    end
end
{%- endif -%}
{%- endmacro %}


{% macro _unpacked_count(packed, bits) -%}
({{ packed }} & {{ 2 ** bits - 1 }} /* {{ bits }} bits of count */)
{%- endmacro %}


{#- The bits of a whole number above its lower 64 with its sign, and these. Sums of either never overflow. -#}
{% macro _upper(value, column_type) -%}
cast({{ pit_join._whole_number(value, column_type) }} >> 64 as hugeint)
{%- endmacro %}

{% macro _lower(value, column_type) -%}
cast({{ pit_join._whole_number(value, column_type) }} & cast({{ 2 ** 64 - 1 }} as {{ pit_join._whole_type(column_type) }}) as hugeint)
{%- endmacro %}


{#- A sum from the sums of its halves; an error if it does not fit its type, however it came about. -#}
{% macro _of_halves(upper, lower, column_type) -%}
{%- set whole -%}
({{ upper }} + ({{ lower }} >> 64)) * {{ 2 ** 64 }} + ({{ lower }} & {{ 2 ** 64 - 1 }})
{%- endset -%}
{%- if pit_join._is_decimal(column_type) -%}
{%- set scale = pit_join._scale(column_type) -%}
cast({{ whole }} as decimal(38, 0)) * cast('{{ '0.' ~ '0' * (scale - 1) ~ '1' if scale else '1' }}' as decimal(38, {{ scale }}))
{%- else -%}
{{ whole }}
{%- endif -%}
{%- endmacro %}


{#- The same as a float, which always fits. The halves of a small negative number would cancel, so it is put together first. -#}
{% macro _near_halves(upper, lower, column_type) -%}
{%- set carried = '(' ~ upper ~ ' + (' ~ lower ~ ' >> 64))' -%}
{%- set rest = '(' ~ lower ~ ' & ' ~ (2 ** 64 - 1) ~ ')' -%}
case
    when {{ carried }} between {{ 1 - 2 ** 62 }} and {{ 2 ** 62 }} then cast({{ carried }} * {{ 2 ** 64 }} + {{ rest }} as double)
    else cast({{ carried }} as double) * {{ 2 ** 64 }} + cast({{ rest }} as double)
end{{ ' / 1e' ~ pit_join._scale(column_type) if pit_join._is_decimal(column_type) }}
{%- endmacro %}
