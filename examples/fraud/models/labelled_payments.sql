-- What a model learns from: the payments of the last week, each with what the payment itself says, and its label.
select
    payment_id,
    card_id,
    account_id,
    amount_cents,
    event_timestamp,
    is_fraud,
from {{ ref('payments') }}
where event_timestamp >= timestamptz '2026-03-24 12:00:00+00'
order by event_timestamp, payment_id
