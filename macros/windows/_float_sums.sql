{#-
    CTE `float_sums`: the sums of floats of several classes at each instant asked (see `_wholes.sql`). It has a column for
    each input and window. The sum of each class is exact. Of those that are not 0 the two greatest are added exactly if they
    follow each other, and rounded once; all others are added as floats before. So a sum depends on the sums of its classes
    alone: it is the same whichever classes the rest of the column has, and as if all were added up in one unit.

    how  {plan, late}: the plan of the query, and whether there is a CTE `late_sums`
-#}
{% macro _float_sums(view, inputs, windows, how) -%}
{%- set sums = [] -%}
{%- for input in inputs %}{% for window in windows %}
    {%- do sums.append({'input': input, 'slot': loop.index, 'name': input ~ '_' ~ loop.index}) -%}
{%- endfor %}{% endfor -%}
{{ pit_join._residues(view, inputs, windows, how.plan) }},

-- The two greatest classes of each sum, and all others as one float.
float_parts as (
    select
        _pit_query
        {%- for sum in sums %}
        {%- set all = '_pit_all_' ~ loop.index %},
        {%- for part in ('class', 'total') %}
        {%- for number, name in [(1, 's'), (2, 't')] %}
        case when {{ all }} is null then {{ sum.name }}_{{ name }}{{ '_class' if part == 'class' }} else coalesce({{ all }}[{{ number }}].{{ part }}, 0) end as {{ sum.name }}_{{ name }}_{{ part }},
        {%- endfor %}
        {%- endfor %}
        coalesce({{ pit_join._as_floats(all ~ '[3:]') | indent(8) }}, 0) as {{ sum.name }}_others
        {%- endfor %}
    from (
        select
            *
            {%- for sum in sums %},
            case when {{ sum.name }}_residues is not null then
                list_reverse_sort(list_filter({{ sum.name }}_residues || [{'class': {{ sum.name }}_s_class, 'total': {{ sum.name }}_s}, {'class': {{ sum.name }}_t_class, 'total': {{ sum.name }}_t}], lambda one: one.total <> 0))
            end as _pit_all_{{ loop.index }}
            {%- endfor %}
        from (
            select
                sums._pit_query
                {%- for sum in sums %},
                {%- for name in ('s', 't') %}
                {{ pit_join._sum_of(sum.input ~ '_' ~ name, sum.slot, how.late) }} as {{ sum.name }}_{{ name }},
                classes.{{ sum.input }}_{{ name }} as {{ sum.name }}_{{ name }}_class,
                {%- endfor %}
                residues.{{ sum.name }} as {{ sum.name }}_residues
                {%- endfor %}
            from sums
            {%- if how.late %}
            left join late_sums on sums._pit_query = late_sums._pit_query
            {%- endif %}
            left join residues on sums._pit_query = residues._pit_query
            cross join classes
        ) as summed
    ) as listed
),

-- Classes are 40 powers of two apart.
float_wholes as (
    select
        _pit_query
        {%- for sum in sums %}
        {%- set follow, high = sum.name ~ '_s_class = ' ~ sum.name ~ '_t_class + 1', '(' ~ sum.name ~ '_s_total + (' ~ sum.name ~ '_t_total >> 40))' %}
        {%- set fits = 'abs(' ~ high ~ ') < ' ~ 2 ** 86 %},
        case
            when {{ follow }} and {{ fits }} then {{ high }} * {{ 2 ** 40 }} + ({{ sum.name }}_t_total & {{ 2 ** 40 - 1 }})
            when {{ follow }} then {{ high }} | cast({{ sum.name }}_t_total & {{ 2 ** 40 - 1 }} <> 0 as hugeint)
            else {{ sum.name }}_s_total
        end as {{ sum.name }}_whole,
        case when {{ follow }} and {{ fits }} then {{ pit_join._unit(sum.name ~ '_t_class') }} else {{ pit_join._unit(sum.name ~ '_s_class') }} end as {{ sum.name }}_unit,
        {{ sum.name }}_others + case when {{ follow }} then 0 else {{ pit_join._of_class(pit_join._rounded(sum.name ~ '_t_total') | indent(8), pit_join._unit(sum.name ~ '_t_class')) }} end as {{ sum.name }}_others
        {%- endfor %}
    from float_parts
),

-- Where the greatest classes alone exceed the largest float, and others take that back, all are added in units of 2^64.
float_sums as (
    select
        _pit_query
        {%- for sum in sums %}
        {%- set rounded = pit_join._rounded(sum.name ~ '_whole') | indent(8) %},
        case
            when isfinite({{ pit_join._of_class(rounded, sum.name ~ '_unit') }}) then {{ pit_join._of_class(rounded, sum.name ~ '_unit') }} + {{ sum.name }}_others
            else ({{ pit_join._of_class(rounded, '(' ~ sum.name ~ '_unit * pow(2.0, -32))') }} + {{ sum.name }}_others * pow(2.0, -64)) * pow(2.0, 64)
        end as {{ sum.name }}
        {%- endfor %}
    from float_wholes
)
{%- endmacro %}


{#- The sum of a list of classes that begins with the greatest, as floats; the least is added first. -#}
{% macro _as_floats(classes) -%}
list_reduce(
    list_transform(list_reverse({{ classes }}), lambda one: {{ pit_join._of_class(pit_join._rounded('one.total') | indent(4), pit_join._unit('one.class')) }}),
    lambda less, greater: less + greater,
    0::double
)
{%- endmacro %}


{#- CTE `residues`: the exact sums of all classes but the two greatest, at each instant asked. It has a column for each
    input and window, a list of {class, total}; null if there are none. -#}
{% macro _residues(view, inputs, windows, plan) -%}
-- A slot is 100 times the number of an input and a window, and the class of the values.
residues_spans as (
    {%- for input in inputs %}
    {%- set outer = loop %}
    {%- for window in windows %}
    select
        {{ view.key_names | join(', ') }},
        {{ 100 * (outer.index0 * (windows | length) + loop.index) }} + {{ input }}_class as _pit_slot,
        {{ input }}_whole as whole,
        _pit_available_at,
        {{ pit_join._window_end(view, window, 'measured') }} as _pit_end
    from measured
    cross join classes
    where {{ input }}_class not in (classes.{{ input }}_s, classes.{{ input }}_t, 99) and {{ input }} <> 0
    {%- if not (loop.last and outer.last) %}
    union all
    {%- endif %}
    {%- endfor %}
    {%- endfor %}
),

{{ pit_join._span_sums('residues', view, {'total': 'whole'}, plan) }},

residues as (
    select
        _pit_query
        {%- for input in inputs %}
        {%- set outer = loop %}
        {%- for window in windows %},
        list({'class': _pit_slot % 100, 'total': total}) filter (where _pit_slot // 100 = {{ outer.index0 * (windows | length) + loop.index }}) as {{ input ~ '_' ~ loop.index }}
        {%- endfor %}
        {%- endfor %}
    from residues_sums
    where total <> 0
    group by _pit_query
)
{%- endmacro %}
