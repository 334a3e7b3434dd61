{#-
    The rule "as of", which decides the row of a history that counts at an instant. Every plan is a composition of these
    five atoms, and nothing else decides it. `view` is the mapping that `_view` returns; see `point_in_time_join`.

    _history(view)               the rows that may ever count: their keys, their times, and the instant each is known from
    _available_at(view)          the instant from which a row is known
    _is_known(at, strict)        whether a row is known at an instant
    _version(view)               the order of the rows of a key: of those known the greatest wins, whole
    _tie_order(view, relation)   the order of the rows of one version: the first of them wins
-#}

{#-
    A select of the rows that have an event time and, where declared, a created time. Its columns are `also` (expressions
    over the columns of the view), the keys as `_pit_key_1` and so on, `_pit_event`, `_pit_created` and
    `_pit_available_at`. A null key equals no key, so its rows need not be filtered out here.
-#}
{% macro _history(view, also=[]) -%}
select
    *,
    {{ pit_join._available_at(view) }} as _pit_available_at
from (
    {{ pit_join._timed(view, also) | indent(4) }}
    {%- if view.tells.once %}
    offset 0 -- so that no instant is computed twice
    {%- endif %}
) as timed
where
    {{ pit_join._version(view) | join(' is not null and ') }} is not null
    {%- if pit_join._last_event(view) %}
    and _pit_event <= {{ pit_join._last_event(view) }}
    {%- endif %}
{%- endmacro %}


{#-
    The last event time to which lag and windows can be added, or nothing where nothing is. A later one stands for no time
    at all, as an infinite one does, and such a row never counts.
-#}
{% macro _last_event(view) -%}
    {%- set windows = view.aggregations | map(attribute='window') | select | list -%}
    {%- set added = (view.lag or 0) + (windows | max if windows else 0) -%}
    {{ return(pit_join._never() ~ ' - ' ~ pit_join._microseconds(added, 'lag and window' if windows and view.lag else 'window' if windows else 'lag') if added else '') }}
{%- endmacro %}


{#- The same select of all rows, including those without a time, and without `_pit_available_at`. -#}
{% macro _timed(view, also) -%}
select
    {%- for expression in also %}
    {{ expression }},
    {%- endfor %}
    {%- for column in view['keys'].values() %}
    {{ pit_join._identifier(column) }} as _pit_key_{{ loop.index }},
    {%- else %}
    {{ pit_join._only_key() }} as _pit_key_1,
    {%- endfor %}
    {%- if view.created_timestamp %}
    {{ pit_join._time_of(view, view.created_timestamp) }} as _pit_created,
    {%- endif %}
    {{ pit_join._always() if view.static else pit_join._time_of(view, view.event_timestamp) }} as _pit_event
from {{ view.relation }}
{%- endmacro %}


{#- The event time plus `lag`, or the created time if that is later. -#}
{% macro _available_at(view) -%}
{%- set lagged %}_pit_event{% if view.lag %} + {{ pit_join._microseconds(view.lag, 'lag') }}{% endif %}{% endset -%}
{{ 'greatest(' ~ lagged ~ ', _pit_created)' if view.created_timestamp else lagged }}
{%- endmacro %}


{% macro _is_known(at, strict) -%}
_pit_available_at <= {{ pit_join._last_instant(at, strict) }}
{%- endmacro %}


{#- The last instant at which a row may become known and still count; with `strict` one microsecond earlier. -#}
{% macro _last_instant(at, strict) -%}
{{ at }}{{ ' - 1' if strict }}
{%- endmacro %}


{% macro _version(view) -%}
    {{ return(['_pit_event', '_pit_created'] if view.created_timestamp else ['_pit_event']) }}
{%- endmacro %}


{#-
    The terms of an `order by`: deleted, then the content, then the stored event time, if there is one. Nanoseconds of
    stored times may differ within a microsecond. Nulls are the smallest, and -0.0 is less than 0.0. The content is the
    features; for events, which become features only by aggregation, it is all columns, and there a null in `deleted` means
    false.
-#}
{% macro _tie_order(view, relation) -%}
{%- set terms = [] -%}
{%- for term in pit_join._tie_terms(view, relation) %}{% do terms.append(term.value ~ term.order) %}{% endfor -%}
{{ terms | join(',\n') }}
{%- endmacro %}


{#- The same terms one by one, as [{value, order}]. A term that is the value of a column as it is has `column`, too, and that of the
    stored event time has `time`. -#}
{% macro _tie_terms(view, relation=none) -%}
{%- set prefix = relation ~ '.' if relation else '' -%}
{%- set terms = [] -%}
{%- if view.deleted -%}
    {%- set mark = pit_join._mark(view, relation) -%}
    {%- do terms.append({'value': 'coalesce(' ~ mark ~ ', false)' if view.aggregations else mark, 'order': ' desc nulls last'}) -%}
{%- endif -%}
{%- for column in (view.types if view.aggregations else view.columns) -%}
    {%- set value, kind = prefix ~ pit_join._identifier(column), view.types.get(column) -%}
    {%- set ordered = pit_join._ordered(value, kind) -%}
    {%- do terms.append({'value': ordered, 'order': ' desc nulls last', 'column': column if ordered == value else none}) -%}
    {%- do terms.append({'value': pit_join._is_negative_zero(value), 'order': ''}) if pit_join._is_float(kind) -%}
{%- endfor -%}
{%- if not view.static %}{% do terms.append({'value': prefix ~ pit_join._identifier(view.event_timestamp), 'order': ' desc', 'time': true}) %}{% endif -%}
{{ return(terms) }}
{%- endmacro %}


{#-
    The `deleted` mark of a row as a boolean, null where it is not set. A text is true or false in any case, as dbt writes
    it into a snapshot; the cast fails on any other.
-#}
{% macro _mark(view, relation=none) -%}
{%- set mark = (relation ~ '.' if relation else '') ~ pit_join._identifier(view.deleted) -%}
{%- if (view.types.get(view.deleted) or 'boolean') | trim | lower in ('boolean', 'bool', 'logical') -%}
    {{ return(mark) }}
{%- endif -%}
{{ pit_join._text_as_boolean(mark) }}
{%- endmacro %}


{#- A time column of a view as an instant. -#}
{% macro _time_of(view, column) -%}
{{ pit_join._instant(pit_join._identifier(column), view.types.get(column), round_up=true) }}
{%- endmacro %}


{#-
    A view ready for a plan: the result of `_view`, or a caller's mapping, with its defaults filled in. Its `keys` are a
    mapping {key: column}, and it has two more lists: `key_names`, its keys as the plans name them, and `spine_keys`, the
    same keys of a row of `spine`, as SQL. `join_keys` maps a key to the column of the spine where the names differ. A UUID
    may be a text in the spine. A view without keys has one key in the plans, which is the same in every row, so that no
    plan has to tell it apart.
-#}
{% macro _prepared(history, join_keys) -%}
    {%- set view = pit_join._completed(history, {
        'name': none, 'relation': none, 'keys': none, 'event_timestamp': none, 'created_timestamp': none, 'lag': none, 'ttl': none,
        'inclusive': true, 'deleted': none, 'static': false, 'columns': [], 'types': {}, 'aggregations': [], 'closed': 'left',
        'event_key': [], 'sensitive': [], 'physical': false, 'indexes': [], 'tells': {}, 'row_id': none, 'key_names': none, 'spine_keys': none
    }, 'the history') -%}
    {%- if not view.relation or view['keys'] is none or not (view.event_timestamp or view.static) -%}
        {{ exceptions.raise_compiler_error('the history needs a relation, keys ([] if it holds for every row) and an event_timestamp, or static: true, got ' ~ history) }}
    {%- endif -%}
    {%- for key in ('event_timestamp', 'created_timestamp', 'lag', 'ttl', 'inclusive', 'deleted', 'aggregations', 'event_key') if view.static and (not view[key] if key == 'inclusive' else view[key]) -%}
        {{ exceptions.raise_compiler_error('the history is static, so that its rows have no time, and has the key ' ~ key ~ '; remove one of them') }}
    {%- endfor -%}
    {%- for key in join_keys if key not in view['keys'] -%}
        {{ exceptions.raise_compiler_error('join_keys has the unknown key ' ~ key ~ '; the history has ' ~ (view['keys'] | join(', ') or 'no keys')) }}
    {%- endfor -%}
    {%- do view.update({'keys': pit_join._key_columns(view['keys']), 'key_names': [], 'spine_keys': [], 'physical': view.physical and pit_join._stored_row_id() is not none}) -%}
    {%- do view.update({'row_id': pit_join._stored_row_id() if view.physical else '_pit_row_id'}) -%}
    {%- for key in view['keys'] -%}
        {%- do view.key_names.append('_pit_key_' ~ loop.index) -%}
        {%- set column = 'spine.' ~ pit_join._identifier(join_keys.get(key, key)) -%}
        {%- set is_uuid = (view.types.get(view['keys'][key]) or '') | lower | trim in ('uuid', 'guid') -%}
        {%- do view.spine_keys.append('cast(' ~ column ~ ' as uuid)' if is_uuid else column) -%}
    {%- else -%}
        {%- do view.key_names.append('_pit_key_1') -%}
        {%- do view.spine_keys.append(pit_join._only_key()) -%}
    {%- endfor -%}
    {{ return(view) }}
{%- endmacro %}


{#- The key of every row, where a view has no keys. -#}
{% macro _only_key() -%}
0 /* no keys */
{%- endmacro %}


{#- A mapping with its defaults filled in; an unknown key is an error, since a misspelt bound would be a leak. -#}
{% macro _completed(given, defaults, what) -%}
    {%- for name in given if name not in defaults -%}
        {{ exceptions.raise_compiler_error(what ~ ' has the unknown key ' ~ name ~ '; allowed are ' ~ defaults | join(', ')) }}
    {%- endfor -%}
    {{ return(dict(defaults, **given)) }}
{%- endmacro %}
