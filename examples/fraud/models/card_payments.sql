-- The payments of a card, for its windows.
select
    card_id,
    event_timestamp,
    event_timestamp as paid_at,
    amount_cents,
from {{ ref('payments') }}
order by card_id, event_timestamp
