{{ pit_join.training_set(ref('labels'), ['logins:*', 'orders:*'], provenance=true) }}
