select * from {{ ref('eph_purchases') }}
