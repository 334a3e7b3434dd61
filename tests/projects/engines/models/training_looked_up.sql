{{ pit_join.training_set(ref('labels'), ['looked_up_plans:*'], provenance=true) }}
