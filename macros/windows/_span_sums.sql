{#-
    CTE `X_sums`: the rows of `X_spans` that count at each instant asked, added up slot by slot. The spans have keys,
    `_pit_slot`, `_pit_available_at`, `_pit_end` and more columns. The sums are of whole numbers, so they are exact in any
    order, and may be subtracted. Slots that never had a row at an instant are missing, or null.

    parts  {column of the result: the whole number that a row adds to it}
    plan   'range' joins the instants asked with the spans, 'stacked' adds a span at the first instant at which it counts
           and takes it away after the last
-#}
{% macro _span_sums(name, view, parts, plan) -%}
{%- if plan == 'range' -%}
{{ pit_join._joined_sums(name, view, parts) }}
{%- else -%}
{{ pit_join._counted_ranges(name, view) }},

{{ name }}_changes as (
    select
        case when _pit_begins then _pit_first else _pit_last + 1 end as _pit_query,
        _pit_slot
        {%- for column, part in parts.items() %},
        sum(case when _pit_begins then {{ part }} else -({{ part }}) end) as {{ column }}
        {%- endfor %}
    from {{ name }}_ranges
    cross join (values (true), (false)) as edges(_pit_begins)
    group by case when _pit_begins then _pit_first else _pit_last + 1 end, _pit_slot
),

{{ name }}_sums as (
    select
        asked._pit_query,
        slots._pit_slot
        {%- for column in parts %},
        sum(changes.{{ column }}) over {{ name }}_until_then as {{ column }}
        {%- endfor %}
    from asked
    cross join (select distinct _pit_slot from {{ name }}_changes) as slots
    left join {{ name }}_changes as changes on asked._pit_query = changes._pit_query and slots._pit_slot = changes._pit_slot
    window {{ name }}_until_then as (partition by slots._pit_slot order by asked._pit_query rows unbounded preceding)
)
{%- endif -%}
{%- endmacro %}


{#- The sums by a join. Time is cut into stretches, as in `_range_windows`. -#}
{% macro _joined_sums(name, view, parts) -%}
{%- set longest = pit_join._longest_window(view) -%}
{%- if longest -%}
{%- set stretch = pit_join._microseconds(longest, 'stretch') -%}
{{ name }}_placed as (
    select
        *,
        _pit_available_at // {{ stretch }} + _pit_step as _pit_stretch
    from {{ name }}_spans
    cross join (values (0), (1)) as steps(_pit_step)
    where (_pit_end - 1) // {{ longest }} >= _pit_available_at // {{ longest }} + _pit_step
),

{% endif -%}
{{ name }}_sums as (
    select
        asked._pit_query,
        spans._pit_slot
        {%- for column, part in parts.items() %},
        sum({{ part }}) as {{ column }}
        {%- endfor %}
    from asked
    inner join {{ name }}_{{ 'placed' if longest else 'spans' }} as spans
        on
            {%- for key in view.key_names %}
            asked.{{ key }} = spans.{{ key }} and
            {%- endfor %}
            {%- if longest %}
            asked._pit_at // {{ stretch }} = spans._pit_stretch and
            {%- endif %}
            asked._pit_at < spans._pit_end and
            {{ pit_join._is_known('asked._pit_at', false) }}
    group by asked._pit_query, spans._pit_slot
)
{%- endmacro %}
