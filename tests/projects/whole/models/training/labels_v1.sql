select
    label,
    customer_id,
    "Country",
    "Store Id",
    "SKU",
    event_timestamp
from {{ ref('moments') }}
