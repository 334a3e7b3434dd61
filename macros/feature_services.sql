{#-
    The exposures of the project that are feature services, from dbt's graph; each holds name, type and config.

    The macros of a unit test cannot read the graph. So a unit test of a model that calls `training_set` with a service
    repeats its exposure, beside the views of `feature_views`:

        overrides: {macros: {pit_join.feature_services: [*churn_v1], pit_join.feature_views: [*user_activity]}}
-#}
{% macro feature_services() -%}
    {%- set found = [] -%}
    {%- for exposure in (graph.exposures or {}).values() -%}
        {%- if ((exposure.config or {}).meta or exposure.meta or {}).pit_join -%}
            {%- do found.append(exposure) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}
