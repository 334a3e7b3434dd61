{#-
    The number of different values in a window, where every event is known when it happens. A value enters the window at its
    first event, and at every event that follows the one before of the same value by more than the window's length. It leaves
    the window, that length later, after the last event before such a gap. The values that have entered by T less those that
    have left by T are the values in the window. What has left by T is the count over the events up to T - window:

        events of a value       x   x     x               x
        entered                 ^                         ^
        in the window           [-----------------)       [---------)
        the last before a gap             ^               ^
        window                            |-------|

    Over all events of a key both counts are equal, so the running counts may continue from key to key.
-#}

{#- CTE `repeats`: the events, each with the instants of the previous and the next event of the same value. -#}
{% macro _repeats(view, items) -%}
repeats as (
    select
        *
        {%- for input in items | map(attribute='input') | unique %},
        lag(_pit_available_at) over same_{{ loop.index }} as {{ input }}_before,
        lead(_pit_available_at) over same_{{ loop.index }} as {{ input }}_after
        {%- endfor %}
    from events
    window
        {%- for input in items | map(attribute='input') | unique %}
        same_{{ loop.index }} as (partition by {{ view.key_names | join(', ') }}, {{ input }} order by _pit_available_at){{ ',' if not loop.last }}
        {%- endfor %}
)
{%- endmacro %}


{#- The two measures of one window: the values that enter it, and those that leave it a window's length later. -#}
{% macro _distinct_measures(item, slot) -%}
    {%- set value = 'events.' ~ item.input -%}
    {%- set window = none if item.window is none else pit_join._microseconds(item.window, 'window') -%}
    {%- set begins = value ~ '_before is null' ~ (' or ' ~ value ~ '_before + ' ~ window ~ ' < events._pit_available_at' if window else '') -%}
    {%- set ends = value ~ '_after is null' ~ (' or events._pit_available_at + ' ~ window ~ ' < ' ~ value ~ '_after' if window else '') -%}
    {%- set begun, ended = item.input ~ '_begun_' ~ slot, item.input ~ '_ended_' ~ slot -%}
    {{ return({
        begun: dict(pit_join._measure(begun, 'case when ' ~ value ~ ' is not null and (' ~ begins ~ ') then 1 end', 'count'), slot=0),
        ended: dict(pit_join._measure(ended, 'case when ' ~ value ~ ' is not null and (' ~ ends ~ ') then 1 end', 'count'), slot=slot),
    }) }}
{%- endmacro %}


{% macro _distinct_of(item, slot) -%}
sums.{{ item.input }}_begun_{{ slot }} - sums.{{ item.input }}_ended_{{ slot }}
{%- endmacro %}


{#- CTE `distinct_X_sums`: the same number at each instant asked, where events may be late. Overlapping intervals of one
    value are merged; each counts once. -#}
{% macro _distinct_counts(view, item) -%}
{%- set name = 'distinct_' ~ item.alias -%}
{%- set keys = view.key_names | join(', ') -%}
{{ name }}_spans as (
    select
        {{ keys }},
        0 as _pit_slot,
        min(_pit_available_at) as _pit_available_at,
        max(_pit_end) as _pit_end
    from (
        select
            *,
            sum(case when _pit_available_at <= _pit_before then 0 else 1 end) over (
                partition by {{ keys }}, {{ item.input }} order by _pit_available_at rows unbounded preceding
            ) as _pit_island
        from (
            select
                *,
                max(_pit_end) over (
                    partition by {{ keys }}, {{ item.input }} order by _pit_available_at rows between unbounded preceding and 1 preceding
                ) as _pit_before
            from (
                -- One row for each start: two sorts could put equal rows into different orders, and make two islands of one.
                select {{ keys }}, {{ item.input }}, _pit_available_at, max(_pit_end) as _pit_end
                from (
                    select *, {{ pit_join._window_end(view, item.window, 'events') }} as _pit_end
                    from events
                    where {{ item.input }} is not null
                ) as ends
                where _pit_available_at < _pit_end
                group by {{ keys }}, {{ item.input }}, _pit_available_at
            ) as starts
        ) as befores
    ) as islands
    group by {{ keys }}, {{ item.input }}, _pit_island
),

{{ pit_join._span_sums(name, view, {'total': '1'}, 'stacked') }}
{%- endmacro %}
