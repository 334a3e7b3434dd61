{#- How many times what is usual for the card this payment is. -#}
{% macro amount_to_mean(amount_cents, mean_cents) -%}
{{ amount_cents }} / nullif({{ mean_cents }}, 0)
{%- endmacro %}

{#- Which share of its limit the account will have spent with this payment. -#}
{% macro limit_share(amount_cents, spent_cents, limit_cents) -%}
({{ spent_cents }} + {{ amount_cents }}) / nullif({{ limit_cents }}, 0)
{%- endmacro %}
