{#- Seconds from the card's last payment to this one. -#}
{% macro seconds_since_payment(paid_at, moment) -%}
date_diff('second', {{ paid_at }}, {{ moment }})
{%- endmacro %}
