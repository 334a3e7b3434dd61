{{ pit_join.training_set(ref('labels'), ['activity:*', 'events:*', 'facts:*', 'rates:*'], provenance=true) }}
