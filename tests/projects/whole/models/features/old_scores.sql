{{ config(enabled=false, meta={'pit_join': {'entity': 'nobody', 'join_keys': ['missing']}}) }}
select 1 as one
