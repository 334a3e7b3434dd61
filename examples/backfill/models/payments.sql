select
    payment_id,
    account_id,
    amount_cents,
    paid_at,
    recorded_at,
    is_cancelled
from {{ ref('raw_payments') }}
order by account_id, paid_at, recorded_at
