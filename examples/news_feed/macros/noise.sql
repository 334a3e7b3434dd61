{#- Made-up values of a key as one list: -1 to 1 in steps of a thousandth, one in 21 null. -#}
{% macro noise(number, key) -%}
list_transform(range({{ number }}), lambda n: (nullif(hash({{ key }}, n) % 21, 0) * 100 + hash(n, {{ key }}) % 100)::float / 1000 - 1)
{%- endmacro %}


{#- The values of a list as columns, which is what the example is about. -#}
{% macro spread(values, prefix, number) -%}
{% for n in range(number) %}
    {{ values }}[{{ n + 1 }}] as {{ prefix }}_{{ '%04d' % n }},
{%- endfor %}
{%- endmacro %}
