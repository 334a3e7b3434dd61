select
    *,
    now() as seen_at
from {{ source('crm', 'customers') }}
