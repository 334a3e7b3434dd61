{{ config(group='growth') }}
{{ pit_join.training_set(ref('labels', v=2), [
    'activity:*', 'activity.v2:*', 'last_purchase:*', 'purchases:*', 'visit_log:*', 'scores:*', 'segments:*',
    'balances:*', 'consents:*', 'live_visits:*', 'live_balances:*', 'rates:*', 'shops:*', 'stock:*', 'points:*',
    'tiers:tier', 'cities:city',
    {'view': 'countries', 'as': 'home', 'join_keys': {'Country Code': 'Country'}, 'features': ['*']},
    {'view': 'regions', 'as': 'regions', 'join_keys': {'Country Code': 'Country'}, 'features': ['region']},
    {'on_demand': 'points_ratio', 'types': {'points': 'double', 'cents': 'double'}, 'returns': 'double', 'default': -1,
     'arguments': {'points': 'points:points', 'cents': 'last_purchase:cents'}},
    {'on_demand': 'loyalty.points_ratio', 'as': 'their_ratio', 'types': {'points': 'double', 'cents': 'double'},
     'returns': 'double', 'arguments': {'points': 'points:points', 'cents': 'last_purchase:cents'}},
], full_feature_names=true, provenance=true) }}
