{#-
    A training set: every row of the spine, untouched, with the features that were known at its time.

    spine             ref() of a seed or model, or SQL that can stand behind `from`
    features          a literal list of 'view:feature', 'view:*' and role mappings such as
                      {'view': 'weather', 'as': 'dest_weather', 'join_keys': {'airport': 'dest'}, 'features': ['*']}
                      (literal, so that dbt sees the models that it depends on), or on-demand features such as
                      {'on_demand': 'hour_of_day', 'types': {'moment': 'timestamptz'}, 'returns': 'bigint',
                       'arguments': {'moment': 'event_timestamp'}}
    event_timestamp   the spine's column with the time T of each row; naive is UTC
    gap               predict this long ahead: every T becomes T - gap ('1 day')
    full_feature_names  name every feature view__feature; features of a role are always named role__feature
    provenance        add <view>__event_timestamp and <view>__status
    defaults          replace nulls by the declared defaults
    service           instead of features: the name of an exposure, whose features and full_feature_names are taken. dbt reads
                      exposures after models, so the model says itself what the service reads, in lines such as
                      `-- depends_on: {{ ref('user_activity') }}`; an error, and `pit-join check`, print those that it lacks

    Grain: one row for each row of the spine, duplicates kept, in the spine's order (on Spark in any).
    Nulls: null keys and null times match nothing; the row stays.
    On-demand features are expressions of DuckDB; where the warehouse is another one, they are an error.
    A feature with the name of a column of the spine is an error ("ambiguous"), never renamed.
    Example: {{ pit_join.training_set(ref('labels'), ['user_activity:login_count_30d']) }}
-#}
{% macro training_set(spine, features=none, event_timestamp='event_timestamp', gap=none, full_feature_names=false, provenance=false, defaults=true, service=none) -%}
    {%- if (features is none) == (service is none) -%}
        {{ exceptions.raise_compiler_error('training_set takes either features or service, and got ' ~ ('neither' if service is none else 'both')) }}
    {%- endif -%}
    {%- set asked, full = (features, false) if service is none else pit_join._asked_service(service) -%}
    {{ return(adapter.dispatch('training_set', 'pit_join')(spine, asked, event_timestamp, gap, full_feature_names or full, provenance, defaults)) }}
{%- endmacro %}

{% macro default__training_set(spine, features, event_timestamp, gap, full_feature_names, provenance, defaults) -%}
    {%- for item in features if execute and item is mapping and 'on_demand' in item and adapter.type() != 'duckdb' -%}
        {{ exceptions.raise_compiler_error("the on-demand feature '" ~ (item.get('as') or item.on_demand) ~ "' is an expression of DuckDB, which " ~ adapter.type() ~ ' may read in another way (7 / 2); build the set with pit-join build-training-set, which computes it in DuckDB, or compute it as a column of a model') }}
    {%- endfor -%}
    {{ return(pit_join._training_set(spine, features, {
        'event_timestamp': event_timestamp, 'gap': gap, 'full_feature_names': full_feature_names, 'provenance': provenance,
        'defaults': defaults
    })) }}
{%- endmacro %}


{#- A training set by the plans of a caller. `asked` holds the arguments of `training_set`, and `time_type`, the type of
    the time where it is known, and `plans`, the plans of its joins and of its windows: {join, windows}. -#}
{% macro _training_set(spine, features, asked) -%}
{%- set quote = pit_join._identifier -%}
{%- set asked = dict({'time_type': none, 'plans': {'join': none, 'windows': 'stacked'}}, **asked) -%}
{%- set requests, names, computed = pit_join._requests(features, asked.full_feature_names, asked.defaults, asked.provenance) -%}
{%- if not execute -%}
    {{ return('') }}
{%- endif -%}
{%- set apart = [] -%}
{%- for request in requests -%}
    {%- set plan = asked.plans.windows if request.view.aggregations else asked.plans.join -%}
    {%- set looked_up = not plan and pit_join._is_looked_up(request) -%}
    {%- do request.update({'options': {'plan': plan, 'lateral': true} if looked_up else {'plan': plan}}) -%}
    {%- do apart.append(request) if not looked_up -%}
{%- endfor -%}
{%- set once = pit_join._materialized() if apart else '' -%}
{%- set parts = pit_join._spine_parts(spine, requests, asked) -%}
with _pit_spine as {{ once ~ ' ' if once }}(
    {{ parts.rows | indent(4) }}
){{ ',' if apart or computed }}
{%- if parts.asked %}

-- What the views are asked, once each.
_pit_asked as (
    {{ parts.asked | indent(4) }}
),
{%- endif %}
{%- for request in apart %}

{{ quote(request.alias) }} as (
    {{ pit_join._view_join('_pit_asked' if parts.asked else '_pit_spine', request, asked.provenance, request.options) | indent(4) }}
){{ ',' if computed or not loop.last }}
{%- endfor %}
{{- pit_join._beside_the_spine(
    '_pit_spine.*' if parts.carried else pit_join._all_columns_but('_pit_spine', ['_pit_row', '_pit_time']),
    {'requests': requests, 'names': names, 'computed': computed, 'carried': parts.carried},
    asked.provenance
) }}
{%- endmacro %}


{#-
    The parts of a training set that tell the rows of its spine apart, as {rows, asked, carried}. They are the SQL of `_pit_spine`,
    that of `_pit_asked`, with which the views are joined instead, or none, and whether the only view carries the rows
    of the spine. The argument `asked` holds the arguments of the set.
-#}
{% macro _spine_parts(spine, requests, asked) -%}
    {{ return(adapter.dispatch('_spine_parts', 'pit_join')(spine, requests, asked)) }}
{%- endmacro %}

{% macro default___spine_parts(spine, requests, asked) -%}
    {{ return({'rows': pit_join.spine_rows(spine, asked.event_timestamp, asked.gap, asked.time_type), 'asked': none, 'carried': false}) }}
{%- endmacro %}

{#-
    Spark would compute row numbers each time that they are read, by a sort of the whole spine. An only view as of each time carries the
    rows, so that nothing is joined back. Otherwise a row is known by what it asks, its keys and its time, since
    rows that ask the same are answered the same.
-#}
{% macro spark___spine_parts(spine, requests, asked) -%}
    {%- set carried = requests | length == 1 and not requests[0].view.aggregations and requests[0].options.plan is none -%}
    {%- set columns = [pit_join._identifier(asked.event_timestamp)] -%}
    {%- for request in requests -%}
        {%- for column in request['keys'].values() if pit_join._identifier(column) | lower not in columns | map('lower') | list -%}
            {%- do columns.append(pit_join._identifier(column)) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- set rows -%}
select
    *,
    struct({{ '*' if carried else columns | join(', ') }}) as _pit_row,
    {{ pit_join._spine_time(asked.event_timestamp, asked.gap, asked.time_type) }} as _pit_time
    {%- endset -%}
    {%- set questions = '(select distinct ' ~ columns | join(', ') ~ ' from ' ~ spine ~ ') as asked' -%}
    {{ return({'rows': rows ~ '\nfrom ' ~ spine, 'asked': none if carried else rows ~ '\nfrom ' ~ questions, 'carried': carried}) }}
{%- endmacro %}


{#- The last steps of a training set: the spine's columns beside those of each view, and on-demand features from both. Each view is
    a common table expression by the alias of its request, unless it is looked up for each row; the spine is `_pit_spine`.
    `resolved` is {requests, names, computed}, and `carried`, whether the only view carries the rows of the spine. -#}
{% macro _beside_the_spine(columns, resolved, provenance) -%}
{%- set quote = pit_join._identifier -%}
{%- if resolved.computed %}

_pit_on_demand as (
    select
        _pit_spine._pit_row,
        {%- for feature in resolved.computed %}
        {{ pit_join._on_demand_column(feature, '_pit_spine') | indent(8) }}{{ ',' if not loop.last }}
        {%- endfor %}
    from _pit_spine
    {%- for request in resolved.requests %}
    inner join {{ quote(request.alias) }} on _pit_spine._pit_row = {{ quote(request.alias) }}._pit_row
    {%- endfor %}
)
{%- endif %}

select
    {{ columns }},
    {%- for name in resolved.names %}
    {{ quote(name) }}{{ ',' if provenance or not loop.last }}
    {%- endfor %}
    {%- for request in resolved.requests if provenance %}
    {{ quote(request.alias ~ '__event_timestamp') }},
    {{ quote(request.alias ~ '__status') }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- if resolved.carried %}
{%- set only = quote(resolved.requests[0].alias) %}
from {{ only }}
cross join lateral (select {{ only }}._pit_row.*) as _pit_spine
{%- else %}
from _pit_spine
{%- for request in resolved.requests %}
{%- if request.options and request.options.lateral %}
cross join lateral (
    {{ pit_join._view_join('(select _pit_spine.*)', request, provenance, request.options) | indent(4) }}
) as {{ quote(request.alias) }}
{%- else %}
inner join {{ quote(request.alias) }} on _pit_spine._pit_row = {{ quote(request.alias) }}._pit_row
{%- endif %}
{%- endfor %}
{%- if resolved.computed %}
inner join _pit_on_demand on _pit_spine._pit_row = _pit_on_demand._pit_row
{%- endif %}
{%- endif %}
{{- pit_join._in_order_of('_pit_spine._pit_row') }}
{%- endmacro %}


{#- One view of a training set, by the options of `point_in_time_join` or `window_features`. The portable plan is a second
    opinion, so it ignores a project's own implementation of the join. -#}
{% macro _view_join(spine, request, provenance, options) -%}
    {%- set options = dict(options, join_keys=request['keys'], provenance=request.alias if provenance else none) -%}
    {%- if request.view.aggregations -%}
        {{ return(pit_join.window_features(spine, request.view, request.features, options)) }}
    {%- elif options.plan == 'portable' -%}
        {{ return(pit_join.default__point_in_time_join(spine, request.view, request.features, options)) }}
    {%- endif -%}
    {{ return(pit_join.point_in_time_join(spine, request.view, request.features, options)) }}
{%- endmacro %}
