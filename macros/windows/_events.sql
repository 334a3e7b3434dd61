{#-
    CTEs up to `events`, the versions that ever count. Their columns are the keys, `_pit_event`, `_pit_created`,
    `_pit_available_at` and, with an event_key, `_pit_until` (a version counts from the first instant and before the
    second), and an input for each column and condition; a null input does not count.
-#}
{% macro _window_events(view, wanted) -%}
{%- set quote = pit_join._identifier -%}
timed as (
    {{ pit_join._history(view, ['*']) | indent(4) }}
),
{%- if view.event_key %}

-- Each version of an event counts until the next one is created.
versions as (
    select
        *,
        {{ pit_join._superseded_at(view, 'timed') | indent(8) }} as _pit_until
    from timed
),
{%- endif %}

events as (
    select
        {{ view.key_names | join(', ') }},
        {{ pit_join._version(view) | join(', ') }},
        {%- if view.event_key %}
        _pit_until,
        {%- endif %}
        {%- set seen = [] %}
        {%- for item in wanted if item.input not in seen %}
        {%- do seen.append(item.input) %}
        {%- set value = quote(item.column) if item.column else '1' %}
        {%- set value = pit_join._unsigned_zero(value) if item.column and pit_join._is_float(item.column_type) else value %}
        {#- The condition may end with a comment. #}
        {{ 'case when (' ~ pit_join._condition(item.where, view.types) ~ '\n        ) then ' ~ value ~ ' end' if item.where else value }} as {{ item.input }},
        {%- endfor %}
        {%- if pit_join._has_row_numbers() and wanted | selectattr('function', 'equalto', 'last_n') | list %}
        row_number() over () as _pit_number, -- any numbers will do: they tell equal events apart
        {%- endif %}
        _pit_available_at
    from {{ 'versions' if view.event_key else 'timed' }}
    where
        {{ view.key_names | join(' is not null and ') }} is not null
        {%- if view.deleted %}
        and not coalesce({{ pit_join._mark(view) }}, false)
        {%- endif %}
        {%- if view.event_key %}
        and (_pit_until is null or _pit_available_at < _pit_until)
        {%- endif %}
)
{%- endmacro %}


{#- The instant at which a newer version of an event takes the place of a row of `relation`, or null. -#}
{% macro _superseded_at(view, relation) -%}
case
    when {% for column in view.event_key %}{{ pit_join._identifier(column) }} is not null{{ ' and ' if not loop.last }}{% endfor %} then lag(_pit_created) over (
        partition by {% for column in view.event_key %}{{ pit_join._identifier(column) }}{{ ', ' if not loop.last }}{% endfor %}
        order by
            {{ pit_join._version(view) | reverse | join(' desc, ') }} desc,
            {{ pit_join._tie_order(view, relation) | indent(12) }}
    )
end
{%- endmacro %}


{#- The longest window in microseconds; none is a lifetime. -#}
{% macro _longest_window(view) -%}
    {%- set windows = view.aggregations | map(attribute='window') | list -%}
    {{ return(none if none in windows else windows | max) }}
{%- endmacro %}


{#- The instant at which an event leaves a window because of its age. -#}
{% macro _leaves(view, window, relation) -%}
{{ relation }}._pit_event + {{ pit_join._microseconds((view.lag or 0) + window, 'lag and window' if view.lag else 'window') }}
{%- endmacro %}


{#- The instant at which a version leaves a window, because of its age or of a newer version. -#}
{% macro _window_end(view, window, relation) -%}
    {%- set until = 'coalesce(' ~ relation ~ '._pit_until, ' ~ pit_join._never() ~ ')' if view.event_key else pit_join._never() -%}
    {%- if window is none -%}
        {{ return(until) }}
    {%- endif -%}
    {%- set leaves = pit_join._leaves(view, window, relation) -%}
    {{ return('least(' ~ leaves ~ ', ' ~ until ~ ')' if view.event_key else leaves) }}
{%- endmacro %}
