{#-
    Spark reads the file of a seed itself: dbt-spark would write each value into an INSERT, which takes 20 seconds for the
    flights. The types are those of `column_types`, and a value that has another one is an error.
-#}
{% macro spark__create_csv_table(model, agate_table) -%}
    {%- set types, columns = model.config.column_types, [] -%}
    {%- for name in agate_table.column_names -%}
        {%- do columns.append(name ~ ' ' ~ pit_join._type_name(types[name])) -%}
    {%- endfor -%}
    {%- call statement('read') -%}
        create or replace temporary view {{ model.name }}_csv ({{ columns | join(', ') }})
        using csv
        options (path '{{ model.root_path }}/{{ model.original_file_path }}', header true, enforceSchema false, mode 'FAILFAST')
    {%- endcall -%}
    {%- set filled = 'create table ' ~ this ~ ' using parquet as select * from ' ~ model.name ~ '_csv' -%}
    {%- call statement('fill') -%}
        {{ filled }}
    {%- endcall -%}
    {{ return(filled) }}
{%- endmacro %}

{% macro spark__load_csv_rows(model, agate_table) -%}
    {{ return('') }}
{%- endmacro %}
