{#-
    CTE `deviations`: sample deviations at each instant asked. A whole number (see `_wholes.sql`) is written in two digits of
    47 bits, `high` and `low`. The sums of the digits and of their products are exact, and so is the squared distance from the
    mean that follows from these: nothing is rounded before that, whatever the mean is. Products can be added up 2^30 times in
    a window, and 2^33 times in running sums. Values that are all of one class are added up in running sums with all else,
    and have nothing to merge; the sums are exact in either way, so the deviations have the same bits.

    how  {plan, windows, measures, late}: the plan of the query, and where it has running sums, what `_summed` needs of these
-#}
{% macro _deviations(view, items, how) -%}
{%- set parts = dict(pit_join._deviation_parts('high', 'low'), counted='1') -%}
{%- set spread, alike = [], [] -%}
{%- for item in items -%}
    {%- do (alike if item.input ~ '_highs' in how.measures else spread).append(dict(item, slot=100 * loop.index)) -%}
{%- endfor -%}
{%- if spread -%}
-- A slot is 100 times the number of a feature and the class of its values.
deviations_spans as (
    {%- for item in spread %}
    select
        {{ view.key_names | join(', ') }},
        {{ item.slot }} + {{ item.input }}_class as _pit_slot,
        {{ pit_join._high(item.input ~ '_whole') }} as high,
        {{ pit_join._low(item.input ~ '_whole') }} as low,
        _pit_available_at,
        {{ pit_join._window_end(view, item.window, 'measured') }} as _pit_end
    from measured
    where {{ item.input }} is not null
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

{{ pit_join._span_sums('deviations', view, parts, how.plan) }},

{% endif -%}
deviations_totals as (
    {%- for item in alike %}
    {%- set slot = how.windows.index(item.window) + 1 %}
    select
        sums._pit_query,
        {{ item.slot + pit_join._one_class(item) }} as _pit_slot,
        {%- for part in parts if part != 'counted' %}
        {{ pit_join._sum_of(item.input ~ '_' ~ part, slot, how.late) }} as {{ part }},
        {%- endfor %}
        {{ pit_join._summed(dict(item, function='count'), how.windows, how.measures, how.late) }} as counted
    from sums
    {%- if how.late %}
    left join late_sums on sums._pit_query = late_sums._pit_query
    {%- endif %}
    {%- if spread or not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
    {%- if spread %}
    select
        _pit_query,
        _pit_slot,
        {{ parts.keys() | join(',\n        ') }}
    from deviations_sums
    {%- endif %}
),

-- Zeros alone are smaller than all else, so that they swallow nothing.
deviations_classes as (
    select
        _pit_query,
        _pit_slot // 100 as _pit_item,
        case when high_squares = 0 and low_squares = 0 and _pit_slot % 100 < 99 then 0 else _pit_slot % 100 end as class,
        cast(counted as double) as counted,
        {{ pit_join._near('mean') }} as near,
        {{ pit_join._lacking('mean') }} + cast(rest as double) / cast(counted as double) as lacking,
        case when _pit_slot % 100 = 99 then 'nan'::double else squares end as squares
    from (
        {{ pit_join._squared('(select * from deviations_totals where counted > 0)', ['']) | indent(8) }}
    ) as squared
),

{% if spread -%}
-- Classes are merged from the greatest to the smallest, in units of the greatest: the distance of their means adds to the squares.
{% endif -%}
deviations_merged as (
    select
        _pit_query,
        _pit_item,
        {%- set merged = "{'class': class, 'counted': counted, 'near': near, 'lacking': lacking, 'squares': squares}" %}
        {%- if not spread %}
        {{ merged }} as merged
    from deviations_classes
        {%- else %}
        list_reduce(
            list_sort(list({{ merged }}), 'desc'),
            {#- The mean of a class less the mean of a greater one, in the unit of the greater. #}
            {%- set shrunk = 'pow(2.0, 40 * (other.class - one.class))' %}
            {%- set between = '((other.near * ' ~ shrunk ~ ' - one.near) + (other.lacking * ' ~ shrunk ~ ' - one.lacking))' %}
            {%- set share = '(other.counted / (one.counted + other.counted))' %}
            lambda one, other: {
                'class': one.class,
                'counted': one.counted + other.counted,
                'near': one.near + {{ between }} * {{ share }},
                'lacking': one.lacking,
                'squares': one.squares + other.squares * {{ shrunk }} * {{ shrunk }} + pow({{ between }}, 2) * (one.counted * {{ share }})
            }
        ) as merged
    from deviations_classes
    group by _pit_query, _pit_item
        {%- endif %}
),

deviations as (
    select
        _pit_query
        {%- for item in items %},
        any_value({{ pit_join._deviation(item, {'class': 'merged.class', 'counted': 'merged.counted', 'squares': 'merged.squares'}) | indent(8) }}) filter (where _pit_item = {{ loop.index }}) as {{ item.alias }}
        {%- endfor %}
    from deviations_merged
    group by _pit_query
)
{%- endmacro %}


{#-
    A select of the rows of a relation with the squared distances from the mean of one or several inputs. The columns of an
    input have a common prefix: the sums of `_deviation_parts` and `counted`, and in the result also `mean`, `rest` (what the
    mean lacks, times the count) and `squares`; these are null where nothing is counted.
-#}
{% macro _squared(relation, prefixes) -%}
{%- set base, mask = 2 ** 47, 2 ** 47 - 1 -%}
{#- Each step adds columns to those of the step before, for every input. -#}
{%- set steps = [
    {'total': '{0}highs * ' ~ base ~ ' + {0}lows', 'divisor': 'nullif(cast({0}counted as hugeint), 0)'},
    {'about': 'cast(cast({0}total as double) / cast({0}divisor as double) as hugeint)'},
    {'near_mean': '{0}about + cast(cast({0}total - {0}about * {0}divisor as double) / cast({0}divisor as double) as hugeint)'},
    {'twice': '2 * ({0}total - {0}near_mean * {0}divisor)'},
    {'mean': '{0}near_mean + case
            when {0}twice > {0}divisor or ({0}twice = {0}divisor and {0}total > 0) then 1
            when {0}twice < -{0}divisor or ({0}twice = -{0}divisor and {0}total < 0) then -1
            else 0
        end'},
    {'rest': '{0}total - {0}mean * {0}divisor', 'mean_high': '{0}mean >> 47', 'mean_low': '{0}mean & ' ~ mask},
    {
        'digit_2': '{0}high_squares - {0}mean_high * (2 * {0}highs - {0}divisor * {0}mean_high)',
        'digit_1': '2 * ({0}products - {0}mean_high * {0}lows - {0}mean_low * ({0}highs - {0}divisor * {0}mean_high))',
        'digit_0': '{0}low_squares - {0}mean_low * (2 * {0}lows - {0}divisor * {0}mean_low)',
    },
    {'carried': '{0}digit_1 + ({0}digit_0 >> 47)'},
    {'squares': '(cast({0}digit_2 + ({0}carried >> 47) as double) * ' ~ base ~ ' + cast({0}carried & ' ~ mask ~ ' as double)) * ' ~ base ~ '
        + cast({0}digit_0 & ' ~ mask ~ ' as double)
        - cast({0}rest as double) * cast({0}rest as double) / cast({0}divisor as double)'},
] -%}
{%- set query = namespace(sql=relation) -%}
{%- for step in steps -%}
{%- set columns -%}
select
    *
    {%- for prefix in prefixes %}{% for name, value in step.items() %},
    {{ value.replace('{0}', prefix) | indent(4) }} as {{ prefix ~ name }}
    {%- endfor %}{% endfor %}
from {{ query.sql if loop.first else '(\n    ' ~ query.sql | indent(4) ~ '\n)' }} as step_{{ loop.index }}
{%- endset -%}
{%- set query.sql = columns -%}
{%- endfor -%}
{{ query.sql }}
{%- endmacro %}


{#- A deviation from the squares, the count and the class of an input, which are names of columns. -#}
{% macro _deviation(item, of) -%}
{%- set deviation, unit = 'sqrt(' ~ of.squares ~ ' / (' ~ of.counted ~ ' - 1))', pit_join._unit(of.class) -%}
{%- if pit_join._is_float(item.column_type) -%}
{%- set deviation = pit_join._of_class(deviation, unit) -%}
{%- elif pit_join._is_wide(item.column_type) -%}
{%- set deviation = deviation ~ ' * ' ~ unit ~ ' * ' ~ unit -%}
{%- endif -%}
case
    when isnan({{ of.squares }}) then 'nan'::double
    when {{ of.counted }} > 1 then {{ deviation }}{{ ' / 1e' ~ pit_join._scale(item.column_type) if pit_join._is_decimal(item.column_type) }}
end
{%- endmacro %}


{#- The numbers that a value adds to the sums, from its two digits. -#}
{% macro _deviation_parts(high, low) -%}
    {{ return({
        'highs': high,
        'lows': low,
        'high_squares': 'cast(' ~ high ~ ' as hugeint) * ' ~ high,
        'products': 'cast(' ~ high ~ ' as hugeint) * ' ~ low,
        'low_squares': 'cast(' ~ low ~ ' as hugeint) * ' ~ low,
    }) }}
{%- endmacro %}

{% macro _high(whole) -%}
cast({{ whole }} >> 47 as bigint)
{%- endmacro %}

{% macro _low(whole) -%}
cast({{ whole }} & {{ 2 ** 47 - 1 }} as bigint)
{%- endmacro %}
