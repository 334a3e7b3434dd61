{#-
    The join of a history and a spine, the only part that differs between engines. An implementation renders one or more
    CTEs, the last of which is `matched`: for each row of `spine` the columns of `_side_by_side`, with those of the one row
    of the CTE `history` that wins at its time, or nulls. An implementation that leaves ties to chance calls this CTE
    `joined` and adds `_without_ties`. `late` and `ties` of the options are false where no such row exists.
-#}
{% macro _joined(spine, view, carried, options) -%}
    {{ return(adapter.dispatch('_joined', 'pit_join')(spine, view, carried, options)) }}
{%- endmacro %}


{#-
    The facts that the adapter's own join returns beyond the winner. `later` is whether `matched` has `_pit_later`, true where the key has a
    history; `carried` is whether it has the features, in the columns `values`, which are otherwise read by row number; `also` are more
    expressions over the columns of the view that the join needs in `history`; `once` is whether the planner would otherwise
    compute each instant of the history where it is compared and once more where it is returned.
-#}
{% macro _tells(view, features) -%}
    {{ return(adapter.dispatch('_tells', 'pit_join')(view, features)) }}
{%- endmacro %}

{% macro default___tells(view, features) -%}
    {{ return({'later': false, 'carried': false, 'values': [], 'also': [], 'once': false}) }}
{%- endmacro %}


{#- The columns of a spine row: its number, time and keys, and the `carried` columns of the winning row. -#}
{% macro _side_by_side(view, carried, won) -%}
spine._pit_row,
spine._pit_time,
{%- for column in view.spine_keys %}
{{ column }} as _pit_key_{{ loop.index }},
{%- endfor %}
{%- for column in carried %}
{#- Each column of the join takes memory for the whole history. #}
{%- if column == '_pit_event' and not view.created_timestamp %}
{{ won }}._pit_available_at{{ ' - ' ~ pit_join._microseconds(view.lag, 'lag') if view.lag }} as _pit_event{{ ',' if not loop.last }}
{%- else %}
{{ won }}.{{ column }}{{ ',' if not loop.last }}
{%- endif %}
{%- endfor %}
{%- endmacro %}


{#- An ASOF join. It has a single inequality, so rows that never win are removed first. -#}
{% macro duckdb___joined(spine, view, carried, options) -%}
{%- if view.static -%}
    {{ return(pit_join._looked_up(spine, view, carried, options)) }}
{%- endif -%}
{%- set known = 'known' if options.late and view.created_timestamp else 'history' -%}
{% if known == 'known' -%}
{%- set version = '_pit_event::hugeint * 18446744073709551616 /* above 64 bits of created */ + _pit_created' -%}
-- A row that became known after a newer one never wins; of the rows that became known together only the newest does.
-- (As one number, and with a frame that ends behind the rows known together, so that DuckDB compares and sorts less.)
known as (
    select *
    from history
    qualify
        {{ version }} >= max({{ version }}) over (
            partition by {{ view.key_names | join(', ') }}
            order by _pit_available_at
            range between unbounded preceding and current row
        )
),

{% endif -%}
{%- set asked -%}
{%- if view.spine_keys | length > 1 -%}
case when {% for column in view.spine_keys %}{{ column }} is not null{{ ' and ' if not loop.last }}{% endfor %} then spine._pit_time end
{%- else -%}
spine._pit_time
{%- endif -%}
{%- endset -%}
{{ 'joined' if options.ties else 'matched' }} as (
    select
        {{ pit_join._side_by_side(view, carried, 'known') | indent(8) }}
    from {{ pit_join._named(spine, 'spine') }}
    asof left join {{ pit_join._named(known, 'known') }}
        on
            {%- for column in view.spine_keys %}
            {{ pit_join._asof_equal(view, loop.index0, column, 'known._pit_key_' ~ loop.index) }} and
            {%- endfor %}
            -- Never null, since DuckDB 1.5 takes a null time for the latest of all, and equal the nulls of composite keys.
            {{ pit_join._is_known('coalesce(' ~ asked ~ ', ' ~ pit_join._before_all() ~ ')', not view.inclusive) }}
)
{%- if options.ties %},

{{ pit_join._without_ties(view, carried) }}
{%- endif %}
{%- endmacro %}


{#- A static view, by a hash join, which is four times as fast as an ASOF join here. -#}
{% macro _looked_up(spine, view, carried, options) -%}
{%- set known = 'single' if options.ties else 'history' -%}
{% if options.ties -%}
-- Of several rows of a key, an error that the test unique_feature_rows finds, the greatest by content wins.
single as (
    select history.*
    from history
    inner join {{ view.relation }} as content on history._pit_row_id = content.{{ view.row_id }}
    qualify row_number() over (
        partition by {% for key in view.key_names %}history.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
        order by
            {{ pit_join._tie_order(view, 'content') | indent(12) }}
    ) = 1
),

{% endif -%}
matched as (
    select
        {{ pit_join._side_by_side(view, carried, 'known') | indent(8) }}
    from {{ pit_join._named(spine, 'spine') }}
    left join {{ pit_join._named(known, 'known') }}
        on
            {%- for column in view.spine_keys %}
            {#- As a condition of its own, the null time keeps DuckDB 1.5 from a hash join. #}
            {{ 'case when spine._pit_time is not null then ' ~ column ~ ' end' if loop.first else column }} = known._pit_key_{{ loop.index }}{{ ' and' if not loop.last }}
            {%- endfor %}
)
{%- endmacro %}


{#-
    The equality of a key in an ASOF join. DuckDB 1.5 finds rows of other keys where one of several keys is a blob, so that
    blobs are then compared as texts.
-#}
{% macro _asof_equal(view, number, one, other) -%}
{%- if view['keys'] | length > 1 and (view.types.get((view['keys'].values() | list)[number]) or '') | lower | trim in ('blob', 'bytea', 'binary', 'varbinary') -%}
hex({{ one }}) = hex({{ other }})
{%- else -%}
{{ one }} = {{ other }}
{%- endif -%}
{%- endmacro %}


{#-
    The same join in portable SQL, without ASOF. The rows of each key are numbered in the order in which they win, ties
    included; spine and history are sorted together by the instants at which they are asked or known, and the smallest
    number so far wins. All of it is done key by key, so that an engine may spread it over machines.
-#}
{% macro default___joined(spine, view, carried, options) -%}
ordered as (
    select
        history.*,
        row_number() over (
            partition by {% for key in view.key_names %}history.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
            order by
                history.{{ pit_join._version(view) | join(' desc, history.') }} desc,
                {{ pit_join._tie_order(view, 'content') | indent(16) }},
                history._pit_row_id
        ) as _pit_order
    from history
    inner join {{ view.relation }} as content on history._pit_row_id = content.{{ view.row_id }}
),

stacked as (
    select
        {{ view.key_names | join(', ') }},
        _pit_available_at as _pit_at,
        0 as _pit_side,
        _pit_order,
        null as _pit_row
    from ordered
    union all
    select
        {{ view.spine_keys | join(', ') }},
        {{ pit_join._last_instant('_pit_time', not view.inclusive) }},
        1,
        null,
        _pit_row
    from {{ pit_join._named(spine, 'spine') }}
    where _pit_time is not null and {{ view.spine_keys | join(' is not null and ') }} is not null
),

filled as (
    select
        _pit_row,
        {{ view.key_names | join(', ') }},
        min(_pit_order) over (
            partition by {{ view.key_names | join(', ') }}
            order by _pit_at, _pit_side
            rows between unbounded preceding and current row
        ) as _pit_order
    from stacked
),

matched as (
    select
        {{ pit_join._side_by_side(view, carried, 'ordered') | indent(8) }}
    from {{ pit_join._named(spine, 'spine') }}
    left join filled on spine._pit_row = filled._pit_row
    left join ordered
        on {% for key in view.key_names %}filled.{{ key }} = ordered.{{ key }} and {% endfor %}filled._pit_order = ordered._pit_order
)
{%- endmacro %}
