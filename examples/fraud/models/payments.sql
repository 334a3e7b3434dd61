-- Made-up payments of 40 days up to 31 March 2026, 12:00: 300 cards of 200 accounts, of which every 50th card has been
-- stolen, and pays far more and far more often on the last day.
with

numbered as (
    select
        payment_id,
        hash(payment_id) as chance,
        hash(payment_id, 'how much') as chance_of_amount,
    from range(12000) as payments (payment_id)
),

made as (
    select
        payment_id,
        -- Every tenth payment is one of a stolen card.
        if(payment_id % 10 = 0, 50 * (chance % 6), chance % 300)::bigint as card_id,
        if(payment_id % 10 = 0, 86400, 40 * 86400) as within_seconds,
        if(payment_id % 10 = 0, 20, 1) as times,
        chance,
        chance_of_amount,
    from numbered
)

select
    payment_id,
    card_id,
    card_id % 200 as account_id,
    (chance_of_amount % 97)::bigint as merchant_id,
    (times * (100 + chance_of_amount % 9900))::bigint as amount_cents,
    timestamptz '2026-03-31 12:00:00+00' - to_seconds(1 + (chance // 7 % within_seconds)::bigint) as event_timestamp,
    times > 1 as is_fraud,
from made
order by payment_id
