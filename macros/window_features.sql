{#-
    The features of one window view at each row of a spine: aggregates over the events of the row's keys in a window that
    ends at its time, exact to the microsecond. docs/concepts.md says which events count; only these macros decide it.

    spine              the name of a relation made by `spine_rows` (it holds `_pit_row` and `_pit_time`)
    history            the relation that holds the events, one row a version of an event
    keys               {event column: spine column}
    features           [{column, name, default}]: aggregations that are wanted, their names in the result, SQL defaults
    aggregations       all that the view declares: see `_aggregations`
    event_timestamp    the column with the instant of the event
    created_timestamp  the column with the instant at which the row became known, or none
    lag                in microseconds, or none
    closed             'left': T - window <= event, known before T; 'right': T - window < event, known at T
    event_key          columns that name the versions of one event: of those created by T the newest counts
    deleted            the column that marks an event as deleted, or none
    content            all columns that tell tied versions apart
    types              {column: declared type} of the events
    plan               'range' compares every event with every row of its keys (best where windows are small); 'stacked'
                       adds up running sums and tiles, and never takes the square of anything
    late               whether events may become known late or be superseded; false only where it was checked
    provenance         a name N: also give N__event_timestamp, and call the status N__status

    Grain: one row a spine row: `_pit_row`, `_pit_status`, `_pit_age` (microseconds from the newest event of the longest
    window to T, else null), the features. Empty windows: counts are 0, all else is null.
    Order: none is promised.
-#}
{% macro window_features(spine, history, keys, features, aggregations, event_timestamp, created_timestamp=none, lag=none, closed='left', event_key=[], deleted=none, content=[], types={}, plan='stacked', late=true, provenance=none) -%}
    {{ return(adapter.dispatch('window_features', 'pit_join')(spine, history, keys, features, aggregations, event_timestamp, created_timestamp, lag, closed, event_key, deleted, content, types, plan, late, provenance)) }}
{%- endmacro %}


{% macro default__window_features(spine, history, keys, features, aggregations, event_timestamp, created_timestamp, lag, closed, event_key, deleted, content, types, plan, late, provenance) -%}
{%- set quote = pit_join._identifier -%}
{%- set key_names = [] -%}
{%- for key in keys %}{% do key_names.append('_pit_key_' ~ loop.index) %}{% endfor -%}
{%- set wanted = pit_join._wanted_aggregations(features, aggregations) -%}
{%- set longest = pit_join._longest_window(aggregations) -%}
{#- The smaller tiles come from the greater by recursion. -#}
with {{ 'recursive ' if plan != 'range' }}{{ pit_join._window_events(history, keys, wanted, event_timestamp, created_timestamp, event_key, deleted, content, types, lag) }},

-- What is asked: `right` at T - 1 microsecond is `left` at T, so below every window is closed on the right.
asked as (
    select
        row_number() over (order by {{ key_names | join(', ') }}, _pit_at) as _pit_query,
        *
    from (
        select distinct
            {%- for spine_column in keys.values() %}
            {{ quote(spine_column) }} as _pit_key_{{ loop.index }},
            {%- endfor %}
            _pit_time{{ ' - 1' if closed == 'left' }} as _pit_at
        from {{ spine }}
    ) as rows_asked
    where _pit_at is not null{% for key in key_names %} and {{ key }} is not null{% endfor %}
),

{% if plan == 'range' -%}
{{ pit_join._range_windows(key_names, wanted, longest, lag or 0, event_key, created_timestamp) }}
{%- else -%}
{{ pit_join._stacked_windows(key_names, wanted, longest, lag or 0, event_key, created_timestamp, late) }}
{%- endif %},

-- Where no event was found: from when the key has any.
known as (
    select
        {{ key_names | join(', ') }},
        min(_pit_known) as _pit_known
    from events
    semi join (
        select asked.*
        from asked
        left join windowed on asked._pit_query = windowed._pit_query
        where windowed._pit_newest is null
    ) as without using ({{ key_names | join(', ') }})
    group by {{ key_names | join(', ') }}
),

valued as (
    select
        spine._pit_row,
        spine._pit_time,
        windowed._pit_newest,
        {%- for item in wanted %}
        {{ 'coalesce(windowed.' ~ item.alias ~ ', 0)' if item.function in ('count', 'count_distinct') else 'windowed.' ~ item.alias }} as {{ item.alias }},
        {%- endfor %}
        case
            when spine._pit_time is null{% for column in keys.values() %} or spine.{{ quote(column) }} is null{% endfor %} then 'NULL_KEY'
            when windowed._pit_newest is not null then 'PRESENT'
            when known._pit_known is null then 'NOT_FOUND'
            when known._pit_known > spine._pit_time{{ ' - 1' if closed == 'left' }} then 'NOT_YET_KNOWN'
            else 'PRESENT'
        end as _pit_status
    from {{ spine }} as spine
    left join asked
        on {% for column in keys.values() %}spine.{{ quote(column) }} = asked._pit_key_{{ loop.index }} and {% endfor %}spine._pit_time{{ ' - 1' if closed == 'left' }} = asked._pit_at
    left join windowed on asked._pit_query = windowed._pit_query
    left join known
        on {% for column in keys.values() %}spine.{{ quote(column) }} = known._pit_key_{{ loop.index }}{{ ' and ' if not loop.last }}{% endfor %}
)

select
    _pit_row,
    _pit_time - _pit_newest as _pit_age,
    {%- if provenance %}
    {{ pit_join._as_time('_pit_newest', types.get(event_timestamp)) }} as {{ quote(provenance ~ '__event_timestamp') }},
    {%- endif %}
    {%- for item in wanted %}
    {%- set value = 'cast(' ~ item.alias ~ ' as ' ~ item.data_type ~ ')' %}
    {{ value if item.default is none else 'coalesce(' ~ value ~ ', ' ~ item.default ~ ')' }} as {{ quote(item.as) }},
    {%- endfor %}
    case
        when _pit_status = 'PRESENT'{% for item in wanted %} and {{ item.alias }} is null{% endfor %} then 'NULL_VALUE'
        else _pit_status
    end as {{ quote(provenance ~ '__status') if provenance else '_pit_status' }}
from valued
{%- endmacro %}


{#- The aggregations that are wanted, each with `as`, its name in the result, `alias`, its name on the way, and `input`,
    the column of `events` that it aggregates (shared by those with one column and one condition). -#}
{% macro _wanted_aggregations(features, aggregations) -%}
    {%- set by_name = {} -%}
    {%- for aggregation in aggregations -%}
        {%- do by_name.update({aggregation.name: aggregation}) -%}
    {%- endfor -%}
    {%- set inputs = {} -%}
    {%- set wanted = [] -%}
    {%- for feature in features -%}
        {%- set item = {} -%}
        {%- do item.update(by_name[feature.column]) -%}
        {%- set input = inputs.setdefault(item.column ~ '|' ~ item.where, '_pit_input_' ~ (inputs | length + 1)) -%}
        {%- do item.update({'as': feature.name, 'default': feature.default, 'alias': '_pit_value_' ~ loop.index, 'input': input}) -%}
        {%- do wanted.append(item) -%}
    {%- endfor -%}
    {{ return(wanted) }}
{%- endmacro %}


{#- Microseconds of the longest window; none is a lifetime. -#}
{% macro _longest_window(aggregations) -%}
    {%- set windows = aggregations | map(attribute='window') | list -%}
    {{ return(none if none in windows else windows | max) }}
{%- endmacro %}


{#-
    CTEs up to `events`: the versions that ever count, with their keys, `_pit_event`, `_pit_created`, `_pit_known` (from
    when), `_pit_until` (until when, where an event_key tells it) and an input for each column and condition; a null
    input does not count.
-#}
{% macro _window_events(history, keys, wanted, event_timestamp, created_timestamp, event_key, deleted, content, types, lag) -%}
{%- set quote = pit_join._identifier -%}
timed as (
    select
        source.*,
        {{ pit_join._instant('source.' ~ quote(event_timestamp), types.get(event_timestamp), round_up=true) }} as _pit_event
        {%- if created_timestamp %},
        {{ pit_join._instant('source.' ~ quote(created_timestamp), types.get(created_timestamp), round_up=true) }} as _pit_created
        {%- endif %}
    from {{ history }} as source
),

versions as (
    select
        timed.*,
        {%- if event_key %}
        case
            when {% for column in event_key %}{{ quote(column) }} is not null{{ ' and ' if not loop.last }}{% endfor %} then lead(_pit_created) over (
                partition by {% for column in event_key %}{{ quote(column) }}{{ ', ' if not loop.last }}{% endfor %}
                order by
                    _pit_created,
                    _pit_event
                    {%- if deleted %},
                    coalesce({{ quote(deleted) }}, false)
                    {%- endif %}
                    {%- for column in content %},
                    {{ quote(column) }} nulls first
                    {%- endfor %}
            )
        end as _pit_until,
        {%- endif %}
        {{ pit_join._available_at(created_timestamp, lag) }} as _pit_known
    from timed
    where _pit_event is not null{{ ' and _pit_created is not null' if created_timestamp }}
),

events as (
    select
        {%- for key in keys %}
        {{ quote(key) }} as _pit_key_{{ loop.index }},
        {%- endfor %}
        _pit_event,
        {%- if created_timestamp %}
        _pit_created,
        {%- endif %}
        {%- if event_key %}
        _pit_until,
        {%- endif %}
        {%- set seen = [] %}
        {%- for item in wanted if item.input not in seen %}
        {%- do seen.append(item.input) %}
        {%- set value = quote(item.column) if item.column else '1' %}
        {#- The condition may end with a comment. #}
        {{ 'case when (' ~ item.where ~ '\n        ) then ' ~ value ~ ' end' if item.where else value }} as {{ item.input }},
        {%- endfor %}
        {%- if wanted | selectattr('function', 'equalto', 'last_n') | list %}
        row_number() over () as _pit_number,
        {%- endif %}
        _pit_known
    from versions
    where
        {% for key in keys %}{{ quote(key) }} is not null{{ ' and ' if not loop.last }}{% endfor %}
        {%- if deleted %}
        and not coalesce({{ quote(deleted) }}, false)
        {%- endif %}
        {%- if event_key %}
        and (_pit_until is null or _pit_known < _pit_until)
        {%- endif %}
)
{%- endmacro %}


{#- Microseconds UTC as a time of the declared type. -#}
{% macro _as_time(microseconds, data_type) -%}
    {{ return('cast(make_timestamp(' ~ microseconds ~ ') as ' ~ (data_type or 'timestamp') ~ ')' if 'tz' not in (data_type or '') and 'zone' not in (data_type or '') else 'make_timestamptz(' ~ microseconds ~ ')') }}
{%- endmacro %}
