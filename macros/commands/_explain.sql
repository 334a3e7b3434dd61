{#- The statements of `pit-join explain`. `spine` has one row: a key and a time. -#}

{#-
    The stored rows of a view that have the keys of the spine's row. Of a view with an event_key also the other versions of
    their events, which may have other keys.
-#}
{% macro _key_rows_statement(view, spine) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- set prepared = pit_join._prepared(declared, {}) -%}
    {%- set quote = pit_join._identifier -%}
    {%- set of_key -%}
from {{ prepared.relation }} as source
{%- if prepared['keys'] %}
inner join {{ pit_join._named(spine, 'spine') }}
    on {% for column in prepared['keys'].values() %}{{ prepared.spine_keys[loop.index0] }} = source.{{ quote(column) }}{{ ' and ' if not loop.last }}{% endfor %}
{%- endif %}
    {%- endset -%}
select source.*
{%- if not prepared.event_key %}
{{ of_key }}
{%- else %}
from {{ prepared.relation }} as source
where
    exists (
        select 1
        from (
            select source.*
            {{ of_key | indent(12) }}
        ) as own
        where {% for column in prepared.event_key %}own.{{ quote(column) }} = source.{{ quote(column) }}{{ ' and ' if not loop.last }}{% endfor %}
    )
    or ({% for column in prepared['keys'].values() %}source.{{ quote(column) }} = (select {{ prepared.spine_keys[loop.index0] }} from {{ pit_join._named(spine, 'spine') }}){{ ' and ' if not loop.last }}{% else %}true{% endfor %})
{%- endif %}
{%- endmacro %}


{#-
    The rows of a key around a time, each with what the rule says of it. `history` is a copy of all rows of the key. The
    columns are those of the view and

        _pit_part          chosen (the row that wins), before (the newest with an event time up to T), after (the oldest later
                           ones); without an event time or, where declared, a created time: undated
        _pit_event, _pit_created, _pit_available_at, _pit_time, _pit_deleted
        _pit_known         whether the row is known at T
        _pit_position      the number of the row in the order of event times, those without one last

    `around` is the number of rows before and after.
-#}
{% macro _explained_statement(view, spine, history, around) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- set prepared = pit_join._prepared(pit_join._read_from(declared, history), {}) -%}
    {%- set version = pit_join._version(prepared) -%}
    {%- set newest -%}
        order by
            {{ version | join(' desc, ') }} desc,
            {{ pit_join._tie_order(prepared, 'judged') | indent(12) }}
    {%- endset -%}
with judged as {{ pit_join._materialized() }} (
    select
        *,
        {{ pit_join._position(prepared) }}
    from (
        {{ pit_join._judged_rows(prepared, spine) | indent(8) }}
    ) as rows_of_key
)

{% for part, condition, order, most in [
    ('chosen', '_pit_known', newest, 1),
    ('before', '_pit_dated and _pit_event <= _pit_time', newest, around),
    ('after', '_pit_dated and _pit_event > _pit_time', 'order by ' ~ version | join(', '), around),
    ('undated', 'not _pit_dated', 'order by _pit_number', around),
] -%}
(
    select '{{ part }}' as _pit_part, *
    from judged
    where {{ condition }}
    {{ order }}
    limit {{ most }}
)
{{ 'union all' if not loop.last }}
{% endfor %}
{%- endmacro %}


{#- The number of the rows of a key, and of those of each kind. -#}
{% macro _explained_counts_statement(view, spine, history) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
select
    count(*) as rows,
    count(*) filter (where not _pit_dated) as undated,
    count(*) filter (where _pit_known) as known,
    count(*) filter (where _pit_dated and _pit_event <= _pit_time) as before,
    count(*) filter (where _pit_dated and _pit_event > _pit_time) as after
from (
    {{ pit_join._judged_rows(pit_join._prepared(pit_join._read_from(declared, history), {}), spine) | indent(4) }}
) as judged
where _pit_own
{%- endmacro %}


{#- The order of the rows of a key in an explanation. -#}
{% macro _position(view) -%}
row_number() over (order by not _pit_dated, {{ pit_join._version(view) | join(', ') }}, _pit_number) as _pit_position
{%- endmacro %}


{#- All rows of a copy, each with its times, and whether it is known at the spine's time. -#}
{% macro _judged_rows(view, spine) -%}
{%- set last = pit_join._last_event(view) -%}
{%- set dated = pit_join._version(view) | join(' is not null and ') ~ ' is not null' ~ (' and _pit_event <= ' ~ last if last else '') -%}
select
    *,
    coalesce(_pit_dated and {{ pit_join._is_known('_pit_time', view.closed == 'left' if view.aggregations else not view.inclusive) }}, false) as _pit_known
from (
    select
        timed.*,
        case when {{ dated }} then {{ pit_join._available_at(view) }} end as _pit_available_at,
        coalesce({{ dated }}, false) as _pit_dated,
        {% for column in view.spine_keys %}{{ column }} = timed.{{ view.key_names[loop.index0] }}{{ ' and ' if not loop.last }}{% endfor %} as _pit_own,
        spine._pit_time
    from (
        {{ pit_join._timed(view, ['*', ('coalesce(' ~ pit_join._mark(view) ~ ', false)' if view.deleted else 'false') ~ ' as _pit_deleted']) | indent(8) }}
    ) as timed
    cross join {{ pit_join._named(spine, 'spine') }}
) as dated
{%- endmacro %}


{#-
    The events of a key around the edges of the window of one aggregation. `history` is a copy of all events of the key.
    The columns are those of the view and

        _pit_part        newest and oldest (of those in the window), next (the first that are not known yet), left (the last
                         that have left it); without its times: undated
        _pit_event, _pit_available_at, _pit_deleted, _pit_time
        _pit_known       whether the event is known at T
        _pit_end         the instant at which it leaves the window, because of its age or of a newer version
        _pit_superseded  whether that is because of a newer version
        _pit_missed      whether it leaves before it is known, and so is never in the window
        _pit_inside      whether it is in the window at T
        _pit_counted     whether it counts there: it is not deleted, meets the condition, and its value is not null
        _pit_events      the number of all events that count; where nothing is shown, of one row, all else of which is null
        _pit_position    the number of the event in the order of event times, those without one last

    `asked` has the name of the aggregation, `feature`, and the number of rows of each part, `around`.
-#}
{% macro _explained_events_statement(view, spine, history, asked) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- set prepared = pit_join._prepared(pit_join._read_from(declared, history), {}) -%}
    {%- set item = prepared.aggregations | selectattr('name', 'equalto', asked.feature) | first -%}
    {%- set quote = pit_join._identifier -%}
    {%- set parts = [
        ('newest', '_pit_inside', '_pit_event desc, _pit_available_at desc'),
        ('oldest', '_pit_inside', '_pit_event, _pit_available_at'),
        ('next', '_pit_dated and not _pit_known', '_pit_available_at, _pit_event'),
        ('left', '_pit_known and not _pit_inside', '_pit_end desc, _pit_event desc'),
        ('undated', 'not _pit_dated', '_pit_number'),
    ] -%}
with placed as {{ pit_join._materialized() }} (
    select
        *,
        _pit_known and _pit_at < _pit_end as _pit_inside,
        _pit_known and _pit_at < _pit_end and _pit_meets and not _pit_deleted as _pit_counted,
        _pit_end <= _pit_available_at as _pit_missed,
        {{ pit_join._position(prepared) }}
    from (
        select
            versions.*,
            {{ pit_join._last_instant('_pit_time', prepared.closed == 'left') }} as _pit_at,
            case when _pit_dated then {{ pit_join._window_end(prepared, item.window, 'versions') }} end as _pit_end,
            coalesce(_pit_until <= _pit_at, false) as _pit_superseded,
            {{ '(' ~ item.where ~ '\n            ) is true' if item.where else 'true' }}{{ ' and ' ~ quote(item.column) ~ ' is not null' if item.column }} as _pit_meets
        from (
            select
                *,
                {%- if prepared.event_key %}
                -- Only a version that has its times takes the place of another.
                {{ pit_join._superseded_at(dict(prepared, event_key=prepared.event_key + ['_pit_dated']), 'judged') | indent(16) }} as _pit_until
                {%- else %}
                cast(null as bigint) as _pit_until
                {%- endif %}
            from (
                {{ pit_join._judged_rows(prepared, spine) | indent(16) }}
            ) as judged
        ) as versions
        where _pit_own
    ) as ended
)
select
    counted._pit_events,
    shown.*
from (select count(*) as _pit_events from placed where _pit_counted) as counted
left join (
    {%- for part, condition, order in parts %}
    (
        select '{{ part }}' as _pit_part, *
        from placed
        where {{ condition }}
        order by {{ order }}
        limit {{ asked.around }}
    )
    {{ 'union all' if not loop.last }}
    {%- endfor %}
) as shown
    on true
{%- endmacro %}
