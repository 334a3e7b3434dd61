{#-
    CTE `X_newest`: the newest values of one input at each instant asked, where every event is known when it happens. The
    values that are not null are numbered in the order of keys and events. The running count in `sums` is the number of the
    newest value at the instant. A window has that one and those before it, as many as it counts. Those that are wanted
    lie in at most two blocks, each as long as the longest list, `length`:

        numbers          1   2   3   4   5   6   7   8   9
        blocks of 4     [-------------] [-------------] [--
        4 up to 6               [-------------]
-#}
{% macro _newest_values(view, input, length) -%}
{{ input }}_numbered as (
    select
        {{ input }},
        row_number() over (order by {{ view.key_names | join(', ') }}, {{ pit_join._version(view) | join(', ') }}, {{ input }}) - 1 as _pit_number
    from (
        select {{ view.key_names | join(', ') }}, {{ pit_join._version(view) | join(', ') }}, {{ input }}
        from events
        where {{ input }} is not null
        -- No rows: keys are in the order in which `ordered` has them beside those of the spine.
        union all by name
        select {{ view.key_names | join(', ') }}
        from asked
        where false
    ) as known
),

{{ input }}_blocks as (
    select
        _pit_number // {{ length }} as _pit_block,
        list({{ input }} order by _pit_number desc) as newest_first
    from {{ input }}_numbered
    group by _pit_number // {{ length }}
),

{{ input }}_newest as (
    select
        sums._pit_query,
        last_block.newest_first[-1 - (sums.{{ input }}_number - 1) % {{ length }}:] || coalesce(block_before.newest_first, []) as newest_first
    from sums
    inner join {{ input }}_blocks as last_block on (sums.{{ input }}_number - 1) // {{ length }} = last_block._pit_block
    left join {{ input }}_blocks as block_before on last_block._pit_block - 1 = block_before._pit_block
    where sums.{{ input }}_number > 0
)
{%- endmacro %}


{#- The newest of the values that a window counts; null if there are none. -#}
{% macro _newest_of(item, counted) -%}
{%- set newest = item.input ~ '_newest.newest_first' -%}
{%- if item.function == 'last' -%}
case when {{ counted }} > 0 then {{ newest }}[1] end
{%- else -%}
case when {{ counted }} > 0 then {{ newest }}[:least({{ counted }}, {{ item.n }})] end
{%- endif -%}
{%- endmacro %}
