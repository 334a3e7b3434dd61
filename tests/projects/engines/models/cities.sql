select * from {{ ref('city_facts') }}
