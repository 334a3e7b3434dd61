{#-
    The pieces of a training set one at a time, for the command line: arguments and results are plain values, so that
    dbt can be asked for them too.
-#}

{#- What is asked for: [{alias, view, keys, features}] and the names of the features in order. -#}
{% macro _plan(features, full_feature_names=false, defaults=true, provenance=false) -%}
    {%- set requests, names = pit_join._requests(features, full_feature_names, defaults, provenance) -%}
    {%- if not execute -%}
        {{ return({}) }}
    {%- endif -%}
    {%- set plain = [] -%}
    {%- for request in requests -%}
        {%- do plain.append({'alias': request.alias, 'view': request.view.name, 'keys': request['keys'], 'features': request.features}) -%}
    {%- endfor -%}
    {{ return({'requests': plain, 'names': names}) }}
{%- endmacro %}

{#- The two statements of one view: see `step` of `point_in_time_join`. -#}
{% macro _view_statements(alias, spine, features, full_feature_names, provenance, defaults, ties, late, history) -%}
    {%- set requests, names = pit_join._requests(features, full_feature_names, defaults) -%}
    {%- if not execute -%}
        {{ return([]) }}
    {%- endif -%}
    {%- for request in requests if request.alias == alias -%}
        {{ return([
            pit_join._view_join(spine, request, provenance, ties, late, history, step='match'),
            pit_join._view_join(spine, request, provenance, ties, late, history, step='values'),
        ]) }}
    {%- endfor -%}
{%- endmacro %}


{#- See `_history_facts`. -#}
{% macro _facts_statement(view, history) -%}
    {%- set declared = pit_join._view(view) -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {{ return(pit_join._history_facts(declared, history)) }}
{%- endmacro %}
