{#-
    The plan 'range': every instant asked meets every event of its keys that is in the longest window, and each window
    takes its own from these. Events and instants are cut into stretches as long as the longest window, so that only
    neighbours meet. One CTE `windowed`: `_pit_query`, `_pit_newest` and a column for each aggregation.
-#}
{% macro _range_windows(key_names, wanted, longest, lag, event_key, created_timestamp) -%}
{%- set keys_equal = [] -%}
{%- for key in key_names %}{% do keys_equal.append('asked.' ~ key ~ ' = events.' ~ key) %}{% endfor -%}
{%- set version = "events._pit_event" ~ (', events._pit_created' if created_timestamp else '') -%}
{%- if longest -%}
placed as (
    select
        events.*,
        _pit_known // {{ longest }} + _pit_step as _pit_stretch
    from events
    cross join (values (0), (1)) as steps(_pit_step)
    where (_pit_event + {{ lag + longest - 1 }}) // {{ longest }} >= _pit_known // {{ longest }} + _pit_step
),

{% endif -%}
windowed as (
    select
        asked._pit_query,
        max(events._pit_event) as _pit_newest,
        {%- for item in wanted %}
        {%- set within = 'asked._pit_at < events._pit_event + ' ~ (lag + item.window) if item.window is not none and item.window != longest else none %}
        {{ pit_join._aggregate(item, 'events.' ~ item.input, version, within) | indent(8) }} as {{ item.alias }}{{ ',' if not loop.last }}
        {%- endfor %}
    from asked
    inner join {{ 'placed' if longest else 'events' }} as events
        on
            {{ keys_equal | join(' and ') }}
            {%- if longest %}
            and asked._pit_at // {{ longest }} = events._pit_stretch
            and asked._pit_at < events._pit_event + {{ lag + longest }}
            {%- endif %}
            and asked._pit_at >= events._pit_known
            {%- if event_key %}
            and (events._pit_until is null or asked._pit_at < events._pit_until)
            {%- endif %}
    group by asked._pit_query
)
{%- endmacro %}


{#- One aggregate over the rows for which `within` holds; `version` is what orders events beside the value itself. -#}
{% macro _aggregate(item, value, version, within) -%}
    {%- set conditions = ([within] if within else []) -%}
    {%- set floating = pit_join._is_float(item.column_type) -%}
    {%- if item.function == 'stddev' and floating -%}
        {%- set usable = 'abs(' ~ value ~ ') < 1e150' -%}
        {{ return('case when count(*) filter (where ' ~ (conditions + ['not ' ~ usable]) | join(' and ') ~ ") > 0 then 'nan'::double else stddev_samp(" ~ value ~ ') filter (where ' ~ (conditions + [usable]) | join(' and ') ~ ') end') }}
    {%- endif -%}
    {%- set ordered = 'row(' ~ version ~ ', ' ~ value ~ ')' -%}
    {%- if item.function in ('first', 'last', 'last_n') -%}
        {%- do conditions.append(value ~ ' is not null') -%}
    {%- endif -%}
    {%- set filter = ' filter (where ' ~ conditions | join(' and ') ~ ')' if conditions else '' -%}
    {%- set calls = {
        'count': 'count(' ~ value ~ ')',
        'count_distinct': 'count(distinct ' ~ value ~ ')',
        'sum': 'sum(' ~ value ~ ')',
        'avg': 'avg(' ~ value ~ ')',
        'min': 'min(' ~ value ~ ')',
        'max': 'max(' ~ value ~ ')',
        'stddev': 'stddev_samp(' ~ value ~ ')',
        'first': 'arg_min(' ~ value ~ ', ' ~ ordered ~ ')',
        'last': 'arg_max(' ~ value ~ ', ' ~ ordered ~ ')',
        'last_n': 'arg_max(' ~ value ~ ', ' ~ ordered ~ ', ' ~ item.n ~ ')',
    } -%}
    {{ return(calls[item.function] ~ filter) }}
{%- endmacro %}
