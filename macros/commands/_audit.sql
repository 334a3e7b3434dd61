{#- The statements of `pit-join audit`, for a sample of a training set. `spine` has row numbers, keys and times without nulls. -#}

{#-
    The rows of a view that have the keys of the sample. Of a view with an event_key these are all rows, since a newer
    version of an event may have another key.
-#}
{% macro _sampled_history_statement(alias, spine, features, history) -%}
    {%- set requests, names, computed = pit_join._requests(features, true) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- set request = (requests | selectattr('alias', 'equalto', alias) | list)[0] -%}
    {%- set view = pit_join._prepared(pit_join._read_from(request.view, history), request['keys']) -%}
select source.*
from {{ view.relation }} as source
{%- if view['keys'] and not view.event_key %}
where exists (
    select 1
    from {{ pit_join._named(spine, 'spine') }}
    where {% for column in view['keys'].values() %}{{ view.spine_keys[loop.index0] }} = source.{{ pit_join._identifier(column) }}{{ ' and ' if not loop.last }}{% endfor %}
)
{%- endif %}
{%- endmacro %}


{#-
    The instants, in microseconds, at which the answer for the keys of each row changes. `following` is where the next row
    is known, `preceding` before the last one was, and `newest` and `oldest` are where the last and the first row of all are.
    Null where there is no such row. `asked` has `history`, a copy to read, and `altered`, settings of
    the view that are replaced.
-#}
{% macro _turns_statement(alias, spine, features, asked) -%}
    {%- set requests, names, computed = pit_join._requests(features, true) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- set request = (requests | selectattr('alias', 'equalto', alias) | list)[0] -%}
    {%- set altered = dict(pit_join._read_from(request.view, asked.history), **asked.altered) -%}
    {%- set view = pit_join._prepared(altered, request['keys']) -%}
    {%- set strict = view.closed == 'left' if view.aggregations else not view.inclusive -%}
    {%- set from_it = ' + 1' if strict else '' -%}
    {%- set equal -%}
        {% for column in view.spine_keys %}{{ column }} = history._pit_key_{{ loop.index }} and {% endfor %}
    {%- endset -%}
with history as {{ pit_join._materialized() }} (
    {{ pit_join._history(view) | indent(4) }}
),

ends as (
    select
        {{ view.key_names | join(', ') }},
        min(_pit_available_at) as _pit_first,
        max(_pit_available_at) as _pit_last
    from history
    group by {{ view.key_names | join(', ') }}
),

later as (
    select
        spine._pit_row,
        history._pit_available_at as _pit_next
    from {{ pit_join._named(spine, 'spine') }}
    asof left join history on {{ equal }} {{ '(spine._pit_time - 1)' if strict else 'spine._pit_time' }} < history._pit_available_at
),

earlier as (
    select
        spine._pit_row,
        history._pit_available_at as _pit_known
    from {{ pit_join._named(spine, 'spine') }}
    asof left join history on {{ equal }} {{ pit_join._last_instant('spine._pit_time', strict) }} >= history._pit_available_at
)

select
    spine._pit_row,
    later._pit_next{{ from_it }} as following,
    earlier._pit_known{{ '' if strict else ' - 1' }} as preceding,
    history._pit_last{{ from_it }} as newest,
    history._pit_first{{ from_it }} as oldest
from {{ pit_join._named(spine, 'spine') }}
inner join later on spine._pit_row = later._pit_row
inner join earlier on spine._pit_row = earlier._pit_row
left join ends as history on {{ equal }} true
order by spine._pit_row
{%- endmacro %}


{#-
    The rows of a history with the last version of each event only, by the created time; equal ones by content. Events are
    told apart by the event_key, or by keys and event time.
-#}
{% macro _newest_versions_statement(view, history) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- set prepared = pit_join._prepared(pit_join._read_from(declared, history), {}) -%}
select * exclude ({{ prepared.key_names | join(', ') }}, _pit_created, _pit_event)
from (
    {{ pit_join._timed(prepared, ['*']) | indent(4) }}
) as timed
{%- if prepared.event_key %}
qualify {{ pit_join._superseded_at(prepared, 'timed') }} is null
{%- else %}
qualify row_number() over (
    partition by {{ prepared.key_names | join(', ') }}, _pit_event
    order by
        _pit_created desc nulls last,
        {{ pit_join._tie_order(prepared, 'timed') | indent(8) }}
) = 1
{%- endif %}
{%- endmacro %}
