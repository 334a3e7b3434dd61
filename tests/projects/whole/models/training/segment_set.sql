{{ pit_join.training_set(ref('labels'), ['segments:segment']) }}
