{#- The last instant, in microseconds, at which a row of a source became known, up to `now`; see `_cut_statement`. -#}
{% macro _newest_of_source_statement(relation, known, now) -%}
{%- set at = pit_join._instant(known.expression, known.data_type, round_up=true) -%}
select max({{ at }}) as newest
from {{ relation }}
where {{ at }} <= {{ now }}
{%- endmacro %}


{#-
    The newest event time of each feature of a view, in microseconds, among the rows that have a value. Only rows that are known
    at `now` count; for a feature of a window view, the events that it takes. `_pit_available` is when the last row became known.
    `history` is a copy of the table to read.
-#}
{% macro _newest_statement(view, now, history=none) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- set prepared = pit_join._prepared(pit_join._read_from(declared, history), {}) -%}
    {%- set quote = pit_join._identifier -%}
    {%- set taken = {} -%}
    {%- for item in prepared.aggregations -%}
        {%- set conditions = [quote(item.column) ~ ' is not null'] if item.column else [] -%}
        {%- do taken.update({item.name: conditions + (['(' ~ item.where ~ '\n        )'] if item.where else [])}) -%}
    {%- else -%}
        {%- for name in declared.columns -%}
            {%- do taken.update({name: [quote(name) ~ ' is not null']}) -%}
        {%- endfor -%}
    {%- endfor -%}
with history as (
    {{ pit_join._history(prepared, ['*']) | indent(4) }}
)

select
    {%- for name, conditions in taken.items() %}
    max(_pit_event){{ ' filter (where ' ~ conditions | join(' and ') ~ ')' if conditions }} as {{ quote(name) }},
    {%- endfor %}
    max(_pit_available_at) as _pit_available
from history
where
    {{ pit_join._is_known(now, prepared.closed == 'left' if prepared.aggregations else not prepared.inclusive) }}
    {%- if prepared.deleted %}
    and not coalesce({{ pit_join._mark(prepared) }}, false)
    {%- endif %}
{%- endmacro %}
