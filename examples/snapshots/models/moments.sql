-- The spine: each customer before the first run of dbt, between the two runs, and after the second.
with runs as (
    select
        min(dbt_valid_from) as first_run,
        max(dbt_valid_from) as second_run
    from {{ ref('customer_tiers') }}
    union all
    select
        min(dbt_valid_from) as first_run,
        max(dbt_valid_from) as second_run
    from {{ ref('customer_periods') }}
    union all
    select
        min(seen_at at time zone 'UTC') as first_run,
        max(seen_at at time zone 'UTC') as second_run
    from {{ ref('customer_cities') }}
),

moments as (
    select
        'before the first run' as moment,
        min(first_run) - interval 1 second as event_timestamp
    from runs
    union all
    select
        'between the runs' as moment,
        max(first_run) as event_timestamp
    from runs
    union all
    select
        'after the second run' as moment,
        max(second_run) as event_timestamp
    from runs
)

select
    customers.customer_id,
    moments.moment,
    moments.event_timestamp
from moments
cross join (values ('c1'), ('c2')) as customers (customer_id)
order by customers.customer_id, moments.event_timestamp
