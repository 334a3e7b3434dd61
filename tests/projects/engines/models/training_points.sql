{{ pit_join.training_set(
    ref('labels'),
    ['plans:*', 'rates:*', {'view': 'cities', 'as': 'home', 'join_keys': {'city': 'home'}, 'features': ['*']}, 'latest_plans:plan'],
    full_feature_names=true, gap='2 hours', provenance=true
) }}
