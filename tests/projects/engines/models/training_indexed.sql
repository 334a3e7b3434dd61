{{ pit_join.training_set(ref('labels'), ['indexed_plans:*'], provenance=true) }}
