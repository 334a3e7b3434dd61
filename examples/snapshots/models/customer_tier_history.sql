-- Each row of the snapshot, and for each that ended without a successor a row that marks the end.
with periods as (
    select
        *,
        lead(dbt_valid_from) over (partition by customer_id order by dbt_valid_from) as next_valid_from
    from {{ ref('customer_periods') }}
),

ends as (
    select *
    from periods
    where
        dbt_valid_to < timestamp '9999-12-31'
        and dbt_valid_to is distinct from next_valid_from
)

select
    customer_id,
    tier,
    dbt_valid_from,
    false as is_deleted
from periods
union all
select
    customer_id,
    tier,
    dbt_valid_to as dbt_valid_from,
    true as is_deleted
from ends
order by customer_id, dbt_valid_from
