{{ pit_join.training_set(
    ref('labels'),
    ['orders:*', {'view': 'order_versions', 'as': 'home', 'join_keys': {'city': 'home'}, 'features': ['*']}],
    provenance=true
) }}
