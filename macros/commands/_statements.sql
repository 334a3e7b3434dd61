{#-
    The parts of a training set one at a time, for the command line. Arguments and results are plain values, so that
    dbt can be asked for them, too.
-#}

{#- The requests, [{alias, view, keys, features}], and the names of the features in order. -#}
{% macro _resolved_requests(features, full_feature_names=false, defaults=true, provenance=false) -%}
    {%- set requests, names, computed = pit_join._requests(features, full_feature_names, defaults, provenance) -%}
    {%- if not execute -%}
        {{ return({}) }}
    {%- endif -%}
    {%- set plain = [] -%}
    {%- for request in requests -%}
        {%- do plain.append({'alias': request.alias, 'view': request.view.name, 'keys': request['keys'], 'features': request.features}) -%}
    {%- endfor -%}
    {{ return({'requests': plain, 'names': names, 'computed': computed}) }}
{%- endmacro %}

{#-
    The statements of one view, the last of which returns its columns: see `step` of `point_in_time_join`. The options are
    those of `training_set` and of the join, and: `history`, a stored copy to read, `plan`, that of a window view, and
    `pruned`, whether to join only the part of the history that `_pruned` selects, from a copy, and `altered`, settings of the
    view that an audit replaces.
-#}
{% macro _view_statements(alias, spine, features, options) -%}
    {%- set asked = pit_join._completed(options, {
        'full_feature_names': false, 'provenance': false, 'defaults': true, 'ties': true, 'late': true, 'floats': {}, 'history': none, 'plan': none,
        'pruned': false, 'altered': {}
    }, 'the options of _view_statements') -%}
    {%- set requests, names, computed = pit_join._requests(features, asked.full_feature_names, asked.defaults) -%}
    {%- if not execute -%}
        {{ return([]) }}
    {%- endif -%}
    {%- for request in requests if request.alias == alias -%}
        {%- do request.update({'view': dict(pit_join._read_from(request.view, asked.history), **asked.altered)}) -%}
        {%- set first = [] -%}
        {%- if asked.pruned -%}
            {%- do first.append('create or replace temp table _pit_pruned as ' ~ pit_join._pruned(spine, request, asked.ties)) -%}
            {%- do request.update({'view': pit_join._read_from(request.view, '_pit_pruned')}) -%}
        {%- endif -%}
        {%- if request.view.aggregations -%}
            {{ return(first + [pit_join._view_join(spine, request, asked.provenance, {'late': asked.late, 'floats': asked.floats, 'plan': asked.plan or 'stacked'})]) }}
        {%- endif -%}
        {%- set join = {'ties': asked.ties, 'late': asked.late} -%}
        {%- if not pit_join._has_row_numbers() -%}
            {{ return([pit_join._view_join(spine, request, asked.provenance, join)]) }}
        {%- endif -%}
        {{ return(first + [
            'create or replace temp table _pit_matched as ' ~ pit_join._view_join(spine, request, asked.provenance, dict(join, step='match')),
            pit_join._view_join(spine, request, asked.provenance, dict(join, step='values')),
        ]) }}
    {%- endfor -%}
{%- endmacro %}


{#-
    A training set of views that are joined already, each in a table. `parts` are these by the aliases of their requests.
    The spine is the table `_pit_spine`, of which `columns` are items of a select list. The options are those of
    `training_set`.
-#}
{% macro _set_statement(features, parts, columns, options) -%}
    {%- set asked = pit_join._completed(options, {
        'full_feature_names': false, 'provenance': false, 'defaults': true
    }, 'the options of _set_statement') -%}
    {%- set requests, names, computed = pit_join._requests(features, asked.full_feature_names, asked.defaults, asked.provenance) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
with
{%- for request in requests %}

{{ pit_join._identifier(request.alias) }} as (
    select * from {{ parts[request.alias] }}
){{ ',' if computed or not loop.last }}
{%- endfor %}
{{- pit_join._beside_the_spine(columns | join(',\n    '), {'requests': requests, 'names': names, 'computed': computed}, asked.provenance) }}
{%- endmacro %}


{#- The rows of a spine as `spine_rows` has them, for a stored table. The row as a whole is left out. -#}
{% macro _stored_spine(spine, event_timestamp, gap, data_type) -%}
    {{ return(adapter.dispatch('_stored_spine', 'pit_join')(spine, event_timestamp, gap, data_type)) }}
{%- endmacro %}

{% macro default___stored_spine(spine, event_timestamp, gap, data_type) -%}
    {{ return(pit_join.spine_rows(spine, event_timestamp, gap, data_type)) }}
{%- endmacro %}

{% macro postgres___stored_spine(spine, event_timestamp, gap, data_type) -%}
    {%- set numbered = '(select *, row_number() over () as _pit_row from ' ~ spine ~ ') as numbered' -%}
    {{ return(pit_join._numbered_spine(numbered, event_timestamp, gap, data_type)) }}
{%- endmacro %}


{#- The number of rows of a joined view by their status; the column of the status depends on provenance. -#}
{% macro _statuses_statement(part, status) -%}
select {{ pit_join._identifier(status) }} as status, count(*) as rows
from {{ part }}
group by {{ pit_join._identifier(status) }}
{%- endmacro %}


{#- The 50th, 90th and 100th percentile of the ages of a joined view's values, in microseconds. Python's `joined_counts` is the same. -#}
{% macro _ages_statement(part) -%}
select
    {%- for name, share in [('p50', '0.5'), ('p90', '0.9'), ('oldest', '1')] %}
    max(case when place = 1 + floor((total - 1) * {{ share }}) then age end) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
from (
    select
        _pit_age as age,
        row_number() over (order by _pit_age) as place,
        count(*) over () as total
    from {{ part }}
    where _pit_age is not null
) as aged
{%- endmacro %}


{#- The number of rows of a table, and the greatest time of a column in microseconds; none for a table without times. -#}
{% macro _size_statement(relation, column, data_type) -%}
select
    count(*) as rows,
    {{ 'max(' ~ pit_join._instant(pit_join._identifier(column), data_type) ~ ')' if column else 'cast(null as bigint)' }} as newest
from {{ relation }}
{%- endmacro %}


{#- The facts of a view's table: see `_history_facts`. -#}
{% macro _facts_statement(view, history) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {{ return(pit_join._history_facts(pit_join._read_from(declared, history))) }}
{%- endmacro %}


{#- A key of a static view that has several rows, and their number; no row if every key has one. -#}
{% macro _doubled_statement(view, history) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
select *
from (
    {{ pit_join._doubled(history or declared.relation, declared['keys'].values() | list) | indent(4) }}
) as doubled
order by {% for column in declared['keys'] %}{{ loop.index }}, {% endfor %}{{ declared['keys'] | length + 1 }}
limit 1
{%- endmacro %}


{#- The share of a history that `_pruned` would leave, from a sample of so many percent: see `_pruned_share`. -#}
{% macro _share_statement(alias, spine, features, options) -%}
    {%- set asked = pit_join._completed(options, {'full_feature_names': false, 'history': none, 'percent': 100}, 'the options of _share_statement') -%}
    {%- set requests, names, computed = pit_join._requests(features, asked.full_feature_names) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- set request = (requests | selectattr('alias', 'equalto', alias) | list)[0] -%}
    {{ return(pit_join._pruned_share(spine, pit_join._prepared(pit_join._read_from(request.view, asked.history), request['keys']), asked.percent)) }}
{%- endmacro %}


{#-
    An estimate of the pairs that the plan 'range' would compare; a pair is an instant asked and a nearby event. Nothing where no
    window of the portable plan is made of pairs.
-#}
{% macro _pairs_statement(alias, spine, features, options) -%}
    {%- set asked = pit_join._completed(options, {'full_feature_names': false, 'history': none}, 'the options of _pairs_statement') -%}
    {%- set requests, names, computed = pit_join._requests(features, asked.full_feature_names) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- set request = (requests | selectattr('alias', 'equalto', alias) | list)[0] -%}
    {%- set view = pit_join._prepared(pit_join._read_from(request.view, asked.history), request['keys']) -%}
    {%- set compared = [] -%}
    {%- for item in pit_join._wanted_aggregations(request.features, view.aggregations) if adapter.type() == 'duckdb' or not pit_join._adds_up(item, view) %}{% do compared.append(item) %}{% endfor -%}
    {%- if not compared -%}
        {{ return('') }}
    {%- endif -%}
    {%- set longest = pit_join._longest_window(view) -%}
    {%- set keys = view.key_names | join(', ') -%}
with asked as (
    select
        {%- for column in view.spine_keys %}
        {{ column }} as _pit_key_{{ loop.index }},
        {%- endfor %}
        count(*) as _pit_count
    from {{ pit_join._named(spine, 'spine') }}
    group by {{ keys }}
),

timed as (
    {{ pit_join._timed(view, []) | indent(4) }}
),

events as (
    select
        {{ keys }},
        count(*) as _pit_count,
        min(_pit_event) as _pit_first,
        max(_pit_event) as _pit_last
    from timed
    group by {{ keys }}
)

select
    cast(coalesce(sum(1e0 * asked._pit_count * events._pit_count), 0) as {{ pit_join._type_name('double') }})
    * {{ 'least(1, 2.0 * ' ~ pit_join._microseconds(longest, 'longest window') ~ ' / greatest(1, (select max(_pit_last) - min(_pit_first) from events)))' if longest else 1 }} as pairs
from asked
inner join events using ({{ keys }})
{%- endmacro %}


{#-
    The rows of a view for an export, ascending by key. The columns, in the letter case of the YAML, are its keys, the event
    time in microseconds UTC as `_pit_event`, and every feature in the type that it has in a training set: with a default, one
    that holds the table's type and the declared one. `in_order` is true only where the table was found to be in order (see
    `_history_facts`).
-#}
{% macro _snapshot_statement(view, as_of, in_order, history) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- set quote = pit_join._identifier -%}
    {%- set keys, order = [], [] -%}
    {%- for key, column in declared['keys'].items() -%}
        {%- do keys.append(quote(key)) -%}
        {%- do order.append(pit_join._ordered(quote(key), declared.types.get(column))) -%}
    {%- endfor -%}
    {%- set read = pit_join._read_from(declared, history) -%}
    {%- if history and declared.aggregations -%}
        {%- set snapshot = pit_join._window_snapshot(read, as_of) -%}
    {%- elif in_order and not declared.aggregations -%}
        {%- set snapshot = pit_join._ordered_snapshot(read, as_of) -%}
    {%- elif history -%}
        {%- set snapshot = pit_join._ranked_snapshot(read, as_of) -%}
    {%- else -%}
        {%- set snapshot = pit_join.latest_snapshot(view, as_of) -%}
    {%- endif -%}
select
    {%- for key in keys %}
    {{ key }} as {{ key }},
    {%- endfor %}
    {{ 'cast(null as bigint)' if declared.static else pit_join._time_of(declared, declared.event_timestamp) }} as _pit_event
    {%- for name, column in declared.columns.items() %},
    {%- set default = none if column.default is none else 'cast(null as ' ~ pit_join._type_name(column.data_type) ~ ')' %}
    {{ pit_join._defaulted(quote(name), default) }} as {{ quote(name) }}
    {%- endfor %}
from (
    {{ snapshot | indent(4) }}
) as snapshot
{%- if keys and (declared.aggregations or not in_order) %}
order by {{ order | join(', ') }}
{%- endif %}
{%- endmacro %}


{#-
    One row with the substitute of each feature for a key without a value, or null. `which` is 'default' for the
    declared defaults, or 'missing' for the values of a key without events: counts of 0. `types` are those of the
    snapshot.
-#}
{% macro _defaults_statement(view, which, types) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
select
    {%- for name, column in declared.columns.items() %}
    {%- set value = 'null' %}
    {%- if which == 'missing' and column.function in ('count', 'count_distinct') %}
    {%- set value = '0' %}
    {%- elif which == 'default' and column.default is not none %}
    {%- set value = pit_join._constant(column.default, column.data_type) %}
    {%- endif %}
    cast({{ value }} as {{ types[name] }}) as {{ pit_join._identifier(name) }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{#- All keys of a view that has some, one row each and in order, or `sample` of them at random. -#}
{% macro _keys_statement(view, sample, history=none) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- set keys = [] -%}
    {%- for key in declared['keys'] %}{% do keys.append(pit_join._identifier(key)) %}{% endfor -%}
select {% for key in keys %}{{ key }} as {{ key }}{{ ', ' if not loop.last }}{% endfor %}
from (select distinct {{ pit_join._selected_keys(declared, ', ') }} from {{ history or declared.relation }}) as every_key
where {{ keys | join(' is not null and ') }} is not null
order by {{ 'random()' if sample else keys | join(', ') }}
{%- if sample %}
limit {{ sample }}
{%- endif %}
{%- endmacro %}


{#- A view that is read from its stored copy, if there is one. -#}
{% macro _read_from(view, copy) -%}
    {{ return(dict(view, relation=copy, physical='rowid' not in (view.types | map('lower'))) if copy else view) }}
{%- endmacro %}
