{#-
    One history joined to one spine. Each row of the spine gets the one row of the history that was known at its time, by
    the rule of docs/concepts.md, whose atoms are in `macros/rule/_rule.sql`.

    spine     the name of a relation made by `spine_rows` (it holds `_pit_row` and `_pit_time`)
    history   a mapping: the declaration of a feature view, or the same written by hand; see below
    features  [{column, name, default}]: the column, its name in the result, an SQL default or none
    options   a mapping of the options of the join; see below

    The history:

    relation           the relation that holds the history
    keys               a list of its key columns, or a mapping {key: column} where the columns have other names; [] for a
                       history that holds for every row
    event_timestamp    the column with the instant that a row describes
    created_timestamp  the column with the instant at which the row became known, or none
    lag, ttl           in microseconds, or none
    inclusive          whether a row counts that became known exactly at T (true)
    deleted            the column that marks the end of a key, or none; a text, if `types` says so, is true or false
    static             whether the rows have no time and hold at any time, one for each key (false); the keys from
                       event_timestamp to deleted are left out then
    columns            all features: they tell tied rows apart; the greatest row by them wins a tie
    types              {column: declared type}
    physical           whether the relation is a stored table, whose rows have row numbers (false)

    The options:

    join_keys   {key: column of the spine}, for keys that have another name in the spine
    ties, late  whether rows equal in (keys, event time, created) and rows known out of order may occur; false only
                where it was checked (true)
    provenance  a name N: also return N__event_timestamp, the winner's event time in its own type (of a static view
                null), and call the status N__status
    step        none is the whole query; 'match' stops when each row of the spine has its row of the history, and
                'values' goes on from there, if the result was stored as `_pit_matched`: DuckDB joins faster when the
                row counts are known
    plan        none is the adapter's own join, 'portable' the one that runs everywhere
    lateral     whether the spine is one row of an outer query (false); only where `_is_looked_up` says so

    Grain: one row for each row of the spine: `_pit_row`, `_pit_status`, `_pit_age` (microseconds from the event time of a
    valid row to T, else null), the features. Null keys and null times match nothing.
    Order: not guaranteed.
    Example:
        {{ pit_join.point_in_time_join(
            'spine',
            {'relation': ref('user_activity'), 'keys': ['user_id'], 'event_timestamp': 'event_timestamp',
             'columns': ['login_count_30d']},
            [{'column': 'login_count_30d', 'name': 'logins', 'default': '0'}],
            {'join_keys': {'user_id': 'customer_id'}}
        ) }}
-#}
{% macro point_in_time_join(spine, history, features, options={}) -%}
    {{ return(adapter.dispatch('point_in_time_join', 'pit_join')(spine, history, features, options)) }}
{%- endmacro %}


{#- Only the join itself, `_joined`, differs between engines. -#}
{% macro default__point_in_time_join(spine, history, features, options={}) -%}
{%- set asked = pit_join._completed(options, {
    'join_keys': {}, 'ties': true, 'late': true, 'provenance': none, 'step': none, 'plan': none, 'lateral': false
}, 'the options of point_in_time_join') -%}
{%- set view = pit_join._prepared(history, asked.join_keys) -%}
{%- set quote = pit_join._identifier -%}
{%- set word = pit_join._not_materialized() -%}
{%- set portable = asked.plan == 'portable' -%}
{%- do view.update({'tells': pit_join.default___tells(view, features) if portable else pit_join._tells(view, features)}) -%}
{%- do view.tells.update({'lateral': asked.lateral}) -%}
{%- set numbered = '' if view.physical or view.tells.carried else pit_join._numbered(view) -%}
{%- if numbered -%}
    {%- do view.update({'relation': 'numbered'}) -%}
{%- endif -%}
{%- set also = [pit_join._row_id_of(view)] -%}
{%- set carried = ['_pit_row_id'] + pit_join._version(view) -%}
{%- if view.deleted -%}
    {%- do also.append('coalesce(' ~ pit_join._mark(view) ~ ', false) as _pit_deleted') -%}
    {%- do carried.append('_pit_deleted') -%}
{%- endif -%}
{%- if asked.provenance -%}
    {%- do also.append((quote(view.event_timestamp) if not view.static else 'cast(null as ' ~ pit_join._zoned_type() ~ ')') ~ ' as _pit_event_timestamp') -%}
    {%- do carried.append('_pit_event_timestamp') -%}
{%- endif -%}
{%- do also.extend(view.tells.also) -%}
{%- do asked.update({'also': also, 'features': features}) -%}
{%- set join = pit_join.default___joined if portable else pit_join._joined -%}
with {% if numbered -%}
{{ numbered }},

{% endif -%}
{#- `history` is read twice. The second time only keys without a match are read, so a copy would cost more. -#}
history as {{ word ~ ' ' if word }}(
    {{ pit_join._history(view, also) | indent(4) }}
),
{%- if asked.step != 'values' %}

{{ join(spine, view, carried, asked) }}
{%- endif %}
{%- if asked.step == 'match' %}

select * from matched
{%- else %}
{{- ',' if asked.step != 'values' }}

{{ pit_join._judged(view, '_pit_matched' if asked.step == 'values' else 'matched', asked.provenance) }}

{{ pit_join._gathered(view, features, asked.provenance) }}
{%- endif %}
{%- endmacro %}
