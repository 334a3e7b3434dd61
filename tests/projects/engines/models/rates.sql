select * from {{ ref('daily_rates') }}
