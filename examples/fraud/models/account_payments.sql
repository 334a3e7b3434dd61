-- The payments of all cards of an account, for its windows.
select
    account_id,
    event_timestamp,
    card_id,
    merchant_id,
    amount_cents,
from {{ ref('payments') }}
order by account_id, event_timestamp
