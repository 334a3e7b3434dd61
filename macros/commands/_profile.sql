{#-
    Profiles of features, and the drift between a profile and a table. Both count the values of each feature in bins. The bins
    of a number end at its quantiles; a value that fills more than one quantile has a bin of its own. Those of a text are its
    most frequent values. NaN, nulls and values that were not found are three more bins.

    How far shares differ by chance depends on the rows of one entity, which are alike: entities are put into 64 groups at
    random, and the noise is taken from the differences between groups (the correction of Rao and Scott for clusters).

    `source` is a relation, `cluster` the SQL of the columns that tell entities apart, [] if each row stands for itself.
    `features` are [{name, kind, value, found}]: `kind` is number, text or other (only nulls are counted), `value` its SQL,
    cast to double or text, and `found` the SQL of whether there was a value, or none. Where `found` is null, the row does not have
    the feature.
-#}

{#- The profile of each feature of a relation; columns: see `feature_profile`. `edges` are the rows of `_edges_statement`. -#}
{% macro _profile_statement(source, features, cluster, edges) -%}
with grouped as materialized (
    {{ pit_join._grouped_counts(source, features, cluster, edges) | indent(4) }}
),

{{ pit_join._bins() }},

counted as (
    select
        described.*,
        case when entities >= 2000 then 20 else 10 end as bins,
        fine.counts
    from {{ edges }} as described
    inner join (
        select feature, list(cast(rows as bigint) order by bin) as counts
        from (select feature, bin, sum(rows) as rows from bins group by feature, bin) as summed
        group by feature
    ) as fine on described.feature = fine.feature
),

{{ pit_join._coarse('counted') }},

{{ pit_join._noise('bins', cluster) }}

select
    counted.feature,
    kind,
    cast(list_sum(counts) as bigint) as rows,
    counts[-2] as nulls,
    counts[-1] as missing,
    counts[-3] as nans,
    least,
    mean,
    edges,
    categories,
    counts,
    cast(entities as bigint) as entities,
    bins,
    noise.groups,
    noise.noise,
    noise.squares
from counted
left join noise on counted.feature = noise.feature
order by counted.feature
{%- endmacro %}


{#-
    The ends of the bins of each feature, from its own values. One row for each, with its least value and mean, and the number
    of entities.
-#}
{% macro _edges_statement(source, features, cluster) -%}
{%- set text = pit_join._text -%}
select
    described.*,
    entities.entities
from (
    select unnest([
        {%- for feature in features %}
        {%- set number, q = feature.kind == 'number', 'q' ~ loop.index0 %}
        {'feature': {{ text(feature.name) }}, 'kind': '{{ feature.kind }}', 'least': {{ q ~ '[1]' if number else 'cast(null as double)' }}, 'mean': {{ 'm' ~ loop.index0 if number else 'cast(null as double)' }}, 'edges': {{ pit_join._edges(q ~ '[2:]') if number else 'cast(null as double[])' }}, 'categories': {{ 'c' ~ loop.index0 if feature.kind == 'text' else 'cast(null as varchar[])' }}}{{ ',' if not loop.last }}
        {%- endfor %}
    ], max_depth := 2)
    from (
        select
            {%- for feature in features %}
            {%- if feature.kind == 'number' %}
            {%- set finite = 'case when ' ~ pit_join._and_found(feature) ~ 'isfinite(' ~ feature.value ~ ') then ' ~ feature.value ~ ' end' %}
            quantile_disc({{ finite }}, {{ pit_join._fractions() }}) as q{{ loop.index0 }},
            avg({{ finite }}) as m{{ loop.index0 }},
            {%- elif feature.kind == 'text' %}
            coalesce((
                select list(_pit_value order by _pit_value)
                from (
                    select {{ feature.value }} as _pit_value
                    from {{ source }}
                    where {{ pit_join._and_found(feature) }}{{ feature.value }} is not null and length({{ feature.value }}) <= 100
                    group by _pit_value
                    order by count(*) desc, _pit_value
                    limit 50
                ) as categories
            ), []) as c{{ loop.index0 }},
            {%- endif %}
            {%- endfor %}
            count(*) as _pit_rows
        from {{ source }}
    ) as measured
) as described
cross join (select {{ 'approx_count_distinct(hash(' ~ cluster | join(', ') ~ '))' if cluster else 'count(*)' }} as entities from {{ source }}) as entities
{%- endmacro %}


{#- The drift of each feature of a relation against a relation of profiles; columns: see `drift`. -#}
{% macro _drift_statement(source, features, cluster, profile) -%}
with base as materialized (
    select *
    from {{ profile }}
),

grouped as materialized (
    {{ pit_join._grouped_counts(source, features, cluster, 'base') | indent(4) }}
),

{{ pit_join._bins() }},

{{ pit_join._coarse('base') }},

{{ pit_join._noise('bins', cluster) }},

fine as (
    select
        old.feature,
        old.bin,
        old.rows as old_rows,
        coalesce(new.rows, 0) as new_rows
    from (select feature, unnest(counts) as rows, generate_subscripts(counts, 1) as bin from base) as old
    left join (select feature, bin, sum(rows) as rows from bins group by feature, bin) as new
        on old.feature = new.feature and old.bin = new.bin
),

{{ pit_join._distances() }}

select
    asked.feature,
    base.kind,
    distances.old_rows as baseline_rows,
    coalesce(distances.new_rows, 0) as rows,
    base.counts[-2] as baseline_nulls,
    base.counts[-1] as baseline_missing,
    cast(distances.nulls as bigint) as nulls,
    cast(distances.missing as bigint) as missing,
    distances.psi,
    distances.js,
    ks.ks,
    ks.ks_error,
    {{ pit_join._noise_score() }} as noise,
    distances.baseline,
    distances.current,
    distances.uppers,
    distances.labels
from (select unnest([{% for feature in features %}{{ pit_join._text(feature.name) }}{{ ', ' if not loop.last }}{% endfor %}]) as feature) as asked
left join base on asked.feature = base.feature
left join distances on asked.feature = distances.feature
left join ks on asked.feature = ks.feature
left join noise on asked.feature = noise.feature
order by asked.feature
{%- endmacro %}


{#-
    The exact distance of the distribution functions of a number in two relations; `before` and `now` are the SQL of its values, null in
    rows that do not count.
-#}
{% macro _ks_statement(relations, before, now) -%}
with valued as (
    {%- for value in (before, now) %}
    select {{ value }} as _pit_value, {{ 1 if loop.first else 0 }} as _pit_before
    from {{ relations[loop.index0] }}
    where {{ value }} is not null and not isnan({{ value }})
    {{- ' union all' if not loop.last }}
    {%- endfor %}
),

-- Of equal values the last has counted all of them.
ranked as (
    select
        row_number() over so_far as number,
        sum(_pit_before) over so_far as before,
        lead(_pit_value) over so_far is distinct from _pit_value as is_last
    from valued
    window so_far as (order by _pit_value rows unbounded preceding)
)

select max(abs(before / before_all - (number - before) / now_all)) as ks
from ranked
cross join (select nullif(sum(_pit_before), 0) as before_all, nullif(sum(1 - _pit_before), 0) as now_all from valued) as totals
where is_last
{%- endmacro %}


{#- The condition that there was a value, which may be null, before another one. -#}
{% macro _and_found(feature) -%}
{{ return('(' ~ feature.found ~ ') and ' if feature.found else '') }}
{%- endmacro %}


{% macro _text(text) -%}
{{ return("'" ~ (text | replace("'", "''")) ~ "'") }}
{%- endmacro %}


{% macro _fractions() -%}
{%- set fractions = [] -%}
{%- for percent in range(101) -%}
    {%- do fractions.append(percent / 100) -%}
{%- endfor -%}
{{ return(fractions) }}
{%- endmacro %}


{#-
    The upper ends of the bins of a number, from its ascending quantiles. A value that is two quantiles or more gets a bin of its own: it
    ends there, and the bin before it ends just below.
-#}
{% macro _edges(quantiles) -%}
coalesce(list_sort(list_filter(list_distinct(flatten(list_transform({{ quantiles }}, lambda value, i: case
            when value = {{ quantiles }}[i + 1] or (i > 1 and value = {{ quantiles }}[i - 1]) then [value - abs(value) * 2.3e-16 - 1e-300, value]
            else [value]
        end))), lambda edge: isfinite(edge))), [])
{%- endmacro %}


{#-
    The counts of each group: one row for each group and feature; the last three counts are those of NaN, null and not found.
    A feature may have its `edges` as SQL; otherwise they are read from the relation `edges`.
-#}
{% macro _grouped_counts(source, features, cluster, edges) -%}
select
    _pit_group,
    unnest(_pit_features, max_depth := 2)
from (
    select
        {{ 'hash(' ~ cluster | join(', ') ~ ') % 64' if cluster else '0' }} as _pit_group,
        [
            {%- for feature in features %}
            {%- set value, name, found = feature.value, pit_join._text(feature.name), pit_join._and_found(feature) %}
            {%- set read = '(select ' ~ ('edges' if feature.kind == 'number' else 'categories') ~ ' from ' ~ edges ~ ' where feature = ' ~ name ~ ')' %}
            {%- set ends = feature.edges or 'coalesce(' ~ read ~ ', [])' %}
            {'feature': {{ name }}, 'counts': list_concat(
                {% if feature.kind == 'number' -%}
                list_resize(coalesce(map_values(histogram(case when {{ found }}not isnan({{ value }}) then {{ value }} end, {{ ends }})), []), len({{ ends }}) + 1, 0),
                [coalesce(sum({{ 'case when ' ~ feature.found ~ ' then' if found }} cast(isnan({{ value }}) as integer){{ ' end' if found }}), 0),
                {%- elif feature.kind == 'text' -%}
                list_resize(coalesce(map_values(histogram_exact({{ 'case when ' ~ feature.found ~ ' then ' if found }}'=' || {{ value }}{{ ' end' if found }}, list_transform({{ ends }}, lambda one: '=' || one))), []), len({{ ends }}) + 1, 0),
                [0,
                {%- else -%}
                [{{ 'count(case when ' ~ feature.found ~ ' then ' ~ value ~ ' end)' if found else 'count(' ~ value ~ ')' }}], [0,
                {%- endif %} {{ 'count(*) filter (where ' ~ found ~ value ~ ' is null)' if found else 'count(*) - count(' ~ value ~ ')' }}, {{ 'count(*) filter (where not (' ~ feature.found ~ '))' if found else 0 }}]
            )}{{ ',' if not loop.last }}
            {%- endfor %}
        ] as _pit_features
    from {{ source }}
    group by _pit_group
) as counted
{%- endmacro %}


{#- The counts of each group, feature and bin, from `grouped`. -#}
{% macro _bins() -%}
bins as materialized (
    select
        feature,
        _pit_group,
        unnest(counts) as rows,
        generate_subscripts(counts, 1) as bin
    from grouped
)
{%- endmacro %}


{#-
    CTE `coarse`: the bins of each profile, put together to about `bins` of equal shares. The stability index and the noise are
    computed from these. A number with a share of one of them stays alone; so does a text with 1 %.
-#}
{% macro _coarse(base) -%}
coarse as materialized (
    select
        feature,
        bin,
        case
            when bin > length then 1000 + bin - length
            when kind = 'text' and bin = length then 999
            when kind = 'text' then case when rows >= greatest(values / 100, 5) then bin else 999 end
            else least(bins - 1, cast(floor(bins * (before + rows / 2) / greatest(values, 1)) as bigint))
        end as coarse
    from (
        select
            feature,
            kind,
            bins,
            rows,
            bin,
            length,
            sum(case when bin <= length then rows else 0 end) over (partition by feature) as values,
            coalesce(sum(rows) over (partition by feature order by bin rows between unbounded preceding and 1 preceding), 0) as before
        from (
            select feature, kind, bins, unnest(counts) as rows, generate_subscripts(counts, 1) as bin, len(counts) - 3 as length
            from {{ base }}
        ) as counts
    ) as placed
)
{%- endmacro %}


{#-
    CTEs to `noise`: how far the shares of each feature's bins differ by chance. `noise` adds up the variances of the shares, each divided by its
    share, and `squares` the squares of all covariances, divided alike. They are (bins - 1) / rows, and that / rows, if each row is an entity.
-#}
{% macro _noise(counts, cluster) -%}
kept as materialized (
    select counts.feature, _pit_group, coarse, sum(rows) as rows
    from {{ counts }} as counts
    inner join coarse on counts.feature = coarse.feature and counts.bin = coarse.bin
    group by counts.feature, _pit_group, coarse
),

shares as materialized (
    select feature, coarse, sum(rows) as rows, sum(sum(rows)) over (partition by feature) as total
    from kept
    group by feature, coarse
    having sum(rows) > 0
),

{% if cluster -%}
sizes as materialized (
    select feature, _pit_group, sum(rows) as size
    from kept
    group by feature, _pit_group
    having sum(rows) > 0
),

-- Groups of very different sizes are as few as so many equal ones (Kish).
equal_groups as (
    select feature, power(sum(size), 2) / sum(size * size) as number
    from sizes
    group by feature
),

deviations as materialized (
    select
        shares.feature,
        shares.coarse,
        count(*) as groups,
        list((kept.rows - sizes.size * shares.rows / total) / sqrt(shares.rows * total) order by sizes._pit_group) as apart
    from shares
    inner join sizes on shares.feature = sizes.feature
    inner join kept
        on shares.feature = kept.feature and shares.coarse = kept.coarse and sizes._pit_group = kept._pit_group
    group by shares.feature, shares.coarse
),

noise as (
    select
        one.feature,
        any_value(equal_groups.number) as groups,
        one.groups / nullif(one.groups - 1, 0) * sum(list_dot_product(one.apart, one.apart)) filter (where one.coarse = other.coarse) as noise,
        power(one.groups / nullif(one.groups - 1, 0), 2) * sum(power(list_dot_product(one.apart, other.apart), 2)) as squares
    from deviations as one
    inner join deviations as other on one.feature = other.feature
    inner join equal_groups on one.feature = equal_groups.feature
    group by one.feature, one.groups
)
{%- else -%}
noise as (
    select
        feature,
        cast(null as double) as groups,
        (count(*) - 1) / any_value(total) as noise,
        (count(*) - 1) / power(any_value(total), 2) as squares
    from shares
    group by feature
)
{%- endif %}
{%- endmacro %}


{#- CTEs `distances` and `ks` from `fine`: how far the shares of the bins are apart; the last three bins are NaN, null and not found. -#}
{% macro _distances() -%}
together as (
    select
        fine.feature,
        coarse,
        sum(old_rows) as old_rows,
        sum(new_rows) as new_rows,
        sum(sum(old_rows)) over (partition by fine.feature) as old_all,
        sum(sum(new_rows)) over (partition by fine.feature) as new_all,
        max(fine.bin) as last_bin
    from fine
    inner join coarse on fine.feature = coarse.feature and fine.bin = coarse.bin
    group by fine.feature, coarse
    having sum(old_rows) > 0 or sum(new_rows) > 0
),

shared as (
    select
        *,
        old_rows / old_all as p,
        new_rows / new_all as q,
        greatest(old_rows, 0.5) / old_all as p0,
        greatest(new_rows, 0.5) / new_all as q0
    from together
),

distances as (
    select
        shared.feature,
        any_value(old_all) as old_rows,
        any_value(new_all) as new_rows,
        coalesce(sum(new_rows) filter (where coarse = 1002), 0) as nulls,
        coalesce(sum(new_rows) filter (where coarse = 1003), 0) as missing,
        sum((q0 - p0) * ln(q0 / p0)) as psi,
        sqrt(greatest(0, sum(case when p > 0 then p * log2(2 * p / (p + q)) else 0 end + case when q > 0 then q * log2(2 * q / (p + q)) else 0 end) / 2)) as js,
        sum(2 * power(p - q, 2) / (p + q)) as apart,
        count(*) - 1 as freedom,
        list(p order by coarse) as baseline,
        list(q order by coarse) as current,
        list(case when coarse < 999 and base.kind = 'number' then coalesce(base.edges[last_bin], 'infinity') end order by coarse) as uppers,
        list(case coarse when 999 then 'other' when 1001 then 'NaN' when 1002 then 'null' when 1003 then 'missing' else base.categories[coarse] end order by coarse) as labels
    from shared
    inner join base on shared.feature = base.feature
    group by shared.feature
),

-- Only values: nulls and what was not found have no place in the order.
ks as (
    select
        feature,
        max(abs(sum_old - sum_new)) as ks,
        max(case when alone then 0 else greatest(p, q) end) as ks_error
    from (
        select
            fine.feature,
            old_rows / nullif(sum(old_rows) over whole, 0) as p,
            new_rows / nullif(sum(new_rows) over whole, 0) as q,
            sum(old_rows) over upto / nullif(sum(old_rows) over whole, 0) as sum_old,
            sum(new_rows) over upto / nullif(sum(new_rows) over whole, 0) as sum_new,
            coalesce(base.edges[fine.bin] - base.edges[fine.bin - 1] <= abs(base.edges[fine.bin]) * 1e-15 + 1e-299, false) as alone
        from fine
        inner join base on fine.feature = base.feature
        where base.kind = 'number' and fine.bin <= len(base.counts) - 3
        window
            whole as (partition by fine.feature),
            upto as (partition by fine.feature order by fine.bin)
    ) as sums
    group by feature
)
{%- endmacro %}


{#-
    The distance of shares in standard deviations of a distance by chance alone. It is the F test of Rao and Scott, brought to a normal
    variable by Paulson's formula. Null if there is only one group of entities.
-#}
{% macro _noise_score() -%}
(
        select ((1 - 2 / (9 * other)) * power(ratio, 1 / 3) - (1 - 2 / (9 * freedom))) / sqrt(2 / (9 * other) * power(ratio, 2 / 3) + 2 / (9 * freedom))
        from (
            select
                freedom,
                ratio,
                freedom * (least(coalesce(base.groups, 1000000), coalesce(noise.groups, 1000000)) - 1) as other
            from (
                select
                    greatest(1, least(distances.freedom, power(base.noise + noise.noise, 2) / nullif(power(sqrt(base.squares) + sqrt(noise.squares), 2), 0))) as freedom,
                    distances.apart / greatest(base.noise + noise.noise, greatest(distances.freedom, 1) * (1 / distances.old_rows + 1 / distances.new_rows)) as ratio
            ) as noisy
        ) as tested
        where base.noise is not null and noise.noise is not null
    )
{%- endmacro %}


{#-
    The bound of `noise` over which no feature of `drifts` comes by chance, but in one of 1,000 runs. It is corrected for the number
    of features. The normal quantile is approximated for rare events (Hastings).
-#}
{% macro _least_noise() -%}
(
        select tail - (2.515517 + 0.802853 * tail + 0.010328 * tail * tail) / (1 + 1.432788 * tail + 0.189269 * tail * tail + 0.001308 * tail * tail * tail)
        from (select sqrt(-2 * ln(0.001 / greatest(count(*), 1))) as tail from drifts where noise is not null) as tests
    )
{%- endmacro %}


{#- The features that a test is for: those named, or all. -#}
{% macro _tested_features(view, names) -%}
    {%- for name in names or [] if name not in view.columns -%}
        {{ exceptions.raise_compiler_error(view.name ~ ' has no feature ' ~ name ~ '; it has ' ~ view.columns | join(', ')) }}
    {%- endfor -%}
    {{ return(names or view.columns | list) }}
{%- endmacro %}
