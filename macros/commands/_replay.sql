{#- The statements of `pit-join audit --replay`. Instants are microseconds UTC. -#}

{#-
    The rows of an input that were known at an instant, as they were then. `known` is {'expression', 'data_type'}: when a row
    is known; none if nothing says so. `updated` is {column: {'expression', 'data_type', 'otherwise'}} for columns that are
    filled in later: until that instant they are `otherwise`, an SQL expression. `span` is {'after', 'until'}, each of them
    none for no limit. A row without a time is never known.
-#}
{% macro _cut_statement(relation, known, updated, span) -%}
{%- set replaced = [] -%}
{%- for column, later in updated.items() if span.until is not none -%}
    {%- set filled = pit_join._instant(later.expression, later.data_type, round_up=true) ~ ' <= ' ~ span.until -%}
    {%- set name = pit_join._identifier(column) -%}
    {%- do replaced.append('case when ' ~ filled ~ ' then ' ~ name ~ ' else ' ~ later.otherwise ~ ' end as ' ~ name) -%}
{%- endfor -%}
{%- set at = pit_join._instant(known.expression, known.data_type, round_up=true) if known else none -%}
{%- set conditions = [] -%}
{%- do conditions.append(at ~ ' <= ' ~ span.until) if known and span.until is not none -%}
{%- do conditions.append(at ~ ' > ' ~ span.after) if known and span.after is not none -%}
select *
    {%- if replaced %} replace (
    {{ replaced | join(',\n    ') }}
)
    {%- endif %}
from {{ relation }}
{%- if conditions %}
where {{ conditions | join(' and ') }}
{%- endif %}
{%- endmacro %}


{#- The columns by which rows of two builds are matched. -#}
{% macro _matched_columns(view) -%}
    {{ return(view.key_names + pit_join._version(view) + ['_pit_available_at']) }}
{%- endmacro %}


{#- The rows of one build that are compared. `asked` are the options of `_differences_statements`. -#}
{% macro _compared_rows(view, relation, asked) -%}
{%- set names = [] -%}
{%- for column in asked.columns %}{% do names.append(pit_join._identifier(column)) %}{% endfor -%}
select {{ (pit_join._matched_columns(view) + names) | join(', ') }}
from (
    {{ pit_join._history(dict(view, relation=relation), ['*']) | indent(4) }}
) as history
where
    {{ view.key_names | join(' is not null and ') }} is not null
    {%- if asked.until is not none %}
    and {{ pit_join._is_known(asked.until, false) }}
    {%- endif %}
    {%- if asked.after is not none %}
    and not {{ pit_join._is_known(asked.after, false) }}
    {%- endif %}
{%- endmacro %}


{#- The number of compared rows, the instants from which they are known, and the sum of their hashes. -#}
{% macro _digest_statement(view, relation, options) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
select
    count(*) as rows,
    min(_pit_available_at) as first,
    max(_pit_available_at) as last,
    sum(cast(hash(compared) as hugeint)) as digest
from (
    {{ pit_join._compared_rows(pit_join._prepared(declared, {}), relation, options) | indent(4) }}
) as compared
{%- endmacro %}


{#-
    The statements that find the differences between two builds of a view, `then` and `today`. They compare the rows that are
    known after `after` and at `until`. The last one is a summary with one row for each kind: changed, vanished (only
    `then` has it) and appeared (only `today` has it). It counts rows, and the changed ones by column, and has the
    first and the last instant from which they are known. `columns` are those to compare, `floats` of these those that may
    differ by 1e-9 of the greater.

    Rows are matched by keys, event time and created time; several of one match are compared as a multiset.
-#}
{% macro _differences_statements(view, then, today, options) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return([]) }}
    {%- endif -%}
    {%- set asked = pit_join._completed(options, {'columns': [], 'floats': [], 'after': none, 'until': none}, 'the options of _differences_statements') -%}
    {%- set prepared = pit_join._prepared(declared, {}) -%}
    {%- set matched = pit_join._matched_columns(prepared) -%}
    {%- set names = [] -%}
    {%- for column in asked.columns %}{% do names.append(pit_join._identifier(column)) %}{% endfor -%}
    {%- set statements = [] -%}
    {%- for side, relation in (('then', then), ('today', today)) -%}
        {%- do statements.append('create or replace temp table _pit_' ~ side ~ ' as\n' ~ pit_join._compared_rows(prepared, relation, asked)) -%}
    {%- endfor -%}
    {%- set differs = [] -%}
    {%- for column in asked.columns -%}
        {%- set one, other = 'one.' ~ names[loop.index0], 'other.' ~ names[loop.index0] -%}
        {%- set near -%}
not coalesce(abs({{ one }} - {{ other }}) <= 1e-9 * greatest(abs({{ one }}), abs({{ other }})), false)
        {%- endset -%}
        {%- do differs.append(one ~ ' is distinct from ' ~ other ~ (' and ' ~ near if column in asked.floats else '')) -%}
    {%- endfor -%}
    {%- set differences -%}
create or replace temp table _pit_differences as
with only_then as (
    from _pit_then except all from _pit_today
),

only_today as (
    from _pit_today except all from _pit_then
),

{% for side in ('then', 'today') -%}
numbered_{{ side }} as (
    select
        *,
        row_number() over (partition by {{ matched | join(', ') }}{{ ' order by ' if names }}{{ names | join(', ') }}) as _pit_number
    from only_{{ side }}
),

{% endfor -%}
paired as (
    select
        {%- for column in matched %}
        coalesce(one.{{ column }}, other.{{ column }}) as {{ column }},
        {%- endfor %}
        case when other._pit_number is null then 'vanished' when one._pit_number is null then 'appeared' else 'changed' end as _pit_kind,
        {%- for column in names %}
        one.{{ column }} as _pit_then_{{ loop.index }},
        other.{{ column }} as _pit_today_{{ loop.index }},
        {{ differs[loop.index0] }} as _pit_differs_{{ loop.index }},
        {%- endfor %}
    from numbered_then as one
    full join numbered_today as other
        on {% for column in matched + ['_pit_number'] %}one.{{ column }} = other.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
)

select *
from paired
where _pit_kind <> 'changed'
    {%- for column in names %}
    or _pit_differs_{{ loop.index }}
    {%- endfor %}
    {%- endset -%}
    {%- do statements.append(differences) -%}
    {%- set summary -%}
select
    _pit_kind as kind,
    count(*) as rows,
    min(_pit_available_at) as oldest,
    max(_pit_available_at) as newest,
    [{% for column in names %}count(*) filter (where _pit_kind = 'changed' and _pit_differs_{{ loop.index }}){{ ', ' if not loop.last }}{% endfor %}] as columns
from _pit_differences
group by _pit_kind
order by _pit_kind
    {%- endset -%}
    {{ return(statements + [summary]) }}
{%- endmacro %}


{#-
    The text that decides the rows of a view: the code and the settings of all models that it takes. The names of macros are
    part of it, and those of its inputs. dbt's own Jinja finds the same text, so that a test knows whether a replay was of the present SQL.
-#}
{% macro _replayed_code(view) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- set nodes = dict(graph.nodes, **graph.sources) -%}
    {%- set waiting, seen, texts = [], [], [] -%}
    {%- for node in graph.nodes.values() if node.relation_name == declared.relation -%}
        {%- do waiting.append(node.unique_id) -%}
    {%- endfor -%}
    {#- Jinja goes on with what a loop appends to its own list. -#}
    {%- for unique_id in waiting if unique_id in nodes and unique_id not in seen -%}
        {%- do seen.append(unique_id) -%}
        {%- set node = nodes[unique_id] -%}
        {%- set depends = node.depends_on or {} -%}
        {%- set settings = {} -%}
        {%- for name in ('materialized', 'event_time', 'unique_key', 'incremental_strategy', 'batch_size', 'strategy', 'updated_at', 'loaded_at_field') -%}
            {%- do settings.update({name: (node.config or {}).get(name) | string}) -%}
        {%- endfor -%}
        {%- set columns = {} -%}
        {%- for column in (node.columns or {}).values() -%}
            {%- do columns.update({column.name: (column.meta or {}).get('pit_join') or ((column.config or {}).get('meta') or {}).get('pit_join')}) -%}
        {%- endfor -%}
        {%- do texts.append([
            unique_id, (node.checksum or {}).get('checksum'), settings, (node.meta or {}).get('pit_join'), columns, node.get('loaded_at_field'),
            (depends.macros or []) | sort,
        ] | tojson) -%}
        {%- for parent in (depends.nodes or []) | sort %}{% do waiting.append(parent) %}{% endfor -%}
    {%- endfor -%}
    {{ return(texts | sort | join('\n')) }}
{%- endmacro %}
