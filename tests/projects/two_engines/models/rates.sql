select event_timestamp, rate from {{ ref('rates_raw') }}
