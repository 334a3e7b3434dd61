-- What does not change about an account.
select
    account_id,
    timestamptz '2020-01-01 00:00:00+00' + to_days((account_id * 11)::integer) as event_timestamp,
    (100000 * (1 + account_id % 9))::bigint as limit_cents,
    account_id % 7 = 0 as is_business,
from range(200) as accounts (account_id)
order by account_id
