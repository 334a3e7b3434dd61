select user_id, tier, since from {{ ref('tiers') }}
