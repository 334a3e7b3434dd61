{{ config(alias='Stock Levels', event_time='As Of') }}
select
    cast(store_id as integer) as "Store Id",
    sku as "SKU",
    cast(as_of as timestamp) as "As Of",
    cast(on_hand as integer) as "On Hand"
from {{ source('lake', 'stock') }}
order by "Store Id", "SKU", "As Of"
