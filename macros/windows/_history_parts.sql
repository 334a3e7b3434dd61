{#-
    The parts of a history, which compute its features in different ways: a list of {form, features, fits}. The form is for
    keys of which all events are such as `fits` tells; all other keys are asked for, which is always right.

    form    'added' adds up the events that enter and leave; 'framed' takes each window as a frame over the events, which
            count for one length of time; 'asked' computes each window, like a training set
    fits    {floats, late}: the columns of floats that must have one unit, or are of one class (see `_unfit`), and whether
            no event may be known late. None if all events fit
-#}
{% macro _history_parts(view, features, span) -%}
    {%- set features_of = {'added': [], 'framed': [], 'asked': []} -%}
    {%- set floats = {} -%}
    {%- for feature in features -%}
        {%- set item = view.aggregations | selectattr('name', 'equalto', feature.column) | first -%}
        {%- set float = item.column and pit_join._is_float(item.column_type) -%}
        {%- set added = item.function in ('count', 'sum', 'avg') or (item.function == 'stddev' and (float or pit_join._one_class(item)))
            or (item.function == 'count_distinct' and not (view.created_timestamp or view.event_key)) -%}
        {%- set framed = item.function in ('min', 'max', 'first', 'last') and not view.event_key and not (span.step and item.window and item.window % span.step) -%}
        {%- do features_of['added' if added else 'framed' if framed else 'asked'].append(feature) -%}
        {%- if added and float and item.function in ('sum', 'avg', 'stddev') -%}
            {%- do floats.setdefault(item.column, []).append('class' if item.function == 'stddev' else 'unit') -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set fits = {
        'added': {'floats': floats, 'late': false} if floats else none,
        'framed': {'floats': {}, 'late': true} if view.created_timestamp else none,
    } -%}
    {%- set parts = [] -%}
    {%- for form, of_form in features_of.items() if of_form -%}
        {%- do parts.append({'form': form, 'features': of_form, 'fits': fits[form]}) -%}
    {%- endfor -%}
    {{ return(parts) }}
{%- endmacro %}


{#- CTEs up to `_pit_rows` (keys, `_pit_time`, features). Each part has a row at the same instants. -#}
{% macro _history_rows(view, features, span, parts) -%}
{%- if parts | length == 1 -%}
{{ pit_join._history_part(view, span, parts[0]) }}
{%- else -%}
_pit_rows as (
    select
        {{ view.key_names | join(', ') }},
        _pit_time
        {%- for feature in features %},
        {{ pit_join._identifier(feature.name) }}
        {%- endfor %}
    from (
    {%- for part in parts %}
        with {{ pit_join._history_part(view, span, part) | indent(8) }}

        select * from _pit_rows
    ) as {{ part.form }}
    {%- if not loop.first %} using ({{ view.key_names | join(', ') }}, _pit_time){% endif %}
    {%- if not loop.last %}
    inner join (
    {%- endif %}
    {%- endfor %}
)
{%- endif -%}
{%- endmacro %}


{#- The same CTEs for the features of one part. -#}
{% macro _history_part(view, span, part) -%}
{%- if not part.fits -%}
{{ pit_join._formed_history(part.form, view, part.features, span) }}
{%- else -%}
{{ pit_join._unfit(view, part.fits) }},

_pit_rows as (
    select *
    from (
        with {{ pit_join._formed_history(part.form, dict(view, relation='_pit_fit'), part.features, span) | indent(8) }}

        select * from _pit_rows
    ) as quick
    union all
    select *
    from (
        with {{ pit_join._formed_history('asked', dict(view, relation='_pit_others'), part.features, span) | indent(8) }}

        select * from _pit_rows
    ) as general
)
{%- endif -%}
{%- endmacro %}


{#- The same CTEs by one form. Called by name, so that dbt knows which macros a model depends on. -#}
{% macro _formed_history(form, view, features, span) -%}
{%- if form == 'added' -%}
{{ pit_join._added_history(view, features, span) }}
{%- elif form == 'framed' -%}
{{ pit_join._framed_history(view, features, span) }}
{%- else -%}
{{ pit_join._asked_history(view, features, span) }}
{%- endif -%}
{%- endmacro %}


{#-
    CTEs `_pit_fit` and `_pit_others`: the events of the keys that fit a form, and all others. See `fits` of `_history_parts`.
    A version of an event may move to another key, so with an `event_key` one row decides for all keys.
    `units` has for columns of floats the unit in which 40 powers of two can be added up exactly, and the class of most values.
-#}
{% macro _unfit(view, fits) -%}
{%- set split, equal = [], [] -%}
{%- for column in view['keys'].values() if not view.event_key -%}
    {%- do split.append(pit_join._identifier(column)) -%}
    {%- do equal.append('source.' ~ split[-1] ~ ' = unfit.' ~ split[-1]) -%}
{%- endfor -%}
{%- set conditions, units = [], [] -%}
{%- if fits.late -%}
    {%- do conditions.append('_pit_available_at <> _pit_event' ~ (' + ' ~ pit_join._microseconds(view.lag, 'lag') if view.lag else '')) -%}
{%- endif -%}
{%- for column, kinds in fits.floats.items() -%}
    {%- set found, value = pit_join._found_units(view)[column], 'cast(' ~ pit_join._identifier(column) ~ ' as double)' -%}
    {%- if 'unit' in kinds -%}
        {%- do units.append(pit_join._unit_for(value) ~ ' as ' ~ found.name ~ '_unit') -%}
        {%- set unit = 'units.' ~ found.name ~ '_unit' -%}
        {%- do conditions.append('(' ~ value ~ ' <> 0 and (abs(' ~ value ~ ') < pow(2.0, ' ~ unit ~ ' + 53) or abs(' ~ value ~ ') >= pow(2.0, ' ~ unit ~ ' + 93)))') -%}
    {%- endif -%}
    {%- if 'class' in kinds -%}
        {%- set class = pit_join._class(value, 'double') -%}
        {%- do units.append('coalesce(mode(' ~ class ~ ') filter (where ' ~ value ~ ' <> 0 and isfinite(' ~ value ~ ')), 50) as ' ~ found.name ~ '_class') -%}
        {%- do conditions.append(class ~ ' <> units.' ~ found.name ~ '_class') -%}
    {%- endif -%}
{%- endfor -%}
{%- if units -%}
units as {{ pit_join._materialized() }} (
    select
        {{ units | join(',\n') | indent(8) }}
    from {{ view.relation }}
),

{% endif -%}
_pit_unfit as {{ pit_join._materialized() }} (
    select distinct {{ split | join(', ') or 'true as _pit_all' }}
    from (
        {{ pit_join._history(view, ['*']) | indent(8) }}
    ) as dated
    {%- if units %}
    cross join units
    {%- endif %}
    where {{ conditions | join('\n        or ') }}
)
{%- for name, join in [('_pit_fit', 'anti'), ('_pit_others', 'semi')] %},

{{ name }} as (
    select *
    from {{ view.relation }} as source
    {{ join }} join _pit_unfit as unfit on {{ equal | join(' and ') or 'true' }}
)
{%- endfor %}
{%- endmacro %}


{#- The unit of the greatest floats. The least value has all its bits, unless the greatest one then needs more than 93. Logarithms are
    rounded, and units near the ends of a float's range would overflow or vanish. -#}
{% macro _unit_for(value) -%}
{%- set within = ' filter (where ' ~ value ~ ' <> 0 and isfinite(' ~ value ~ '))' -%}
cast(greatest(
    least(greatest(
        floor(log2(min(abs({{ value }})){{ within }})) - 54,
        ceil(log2(max(abs({{ value }})){{ within }})) - 92
    ), 850), -950
) as integer)
{%- endmacro %}


{#- The `floats` of `window_features` for a history, in which the CTE `units` has found what is known of each column. -#}
{% macro _found_units(view) -%}
    {%- set found = {} -%}
    {%- for item in view.aggregations if item.column and item.column not in found and pit_join._is_float(item.column_type) -%}
        {%- set name = 'float_' ~ (found | length + 1) -%}
        {%- do found.update({item.column: {'name': name, 'unit': '(select ' ~ name ~ '_unit from units)', 'class': '(select ' ~ name ~ '_class from units)', 'count_bits': none}}) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}
