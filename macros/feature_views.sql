{#-
    The nodes of every feature view of the project in dbt's graph, which hold name, config and columns.

    The macros of a unit test cannot read the graph. So a unit test of a model that calls `training_set` repeats the
    declarations of the views, as in their YAML (an anchor on the entry saves writing it twice):

        models:
          - &user_activity {name: user_activity, config: {...}, columns: [...]}
        unit_tests:
          - name: latest_login_wins
            model: login_training
            overrides: {macros: {pit_join.feature_views: [*user_activity]}}
-#}
{% macro feature_views() -%}
    {%- set found = [] -%}
    {%- for node in (graph.nodes or {}).values() if node.resource_type in ('model', 'seed', 'snapshot') -%}
        {%- if (node.config.get('meta') or {}).get('pit_join') -%}
            {%- do found.append(node) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}
