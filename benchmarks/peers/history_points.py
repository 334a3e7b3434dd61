"""The least that a history of daily 30-day counts can be by hand: what comes and goes each day, summed up.

It holds for counts of events that are known when they happen, and for nothing else.
"""

import sys
from pathlib import Path

import duckdb

data, output = Path(sys.argv[1]), sys.argv[2]
day_us = 86_400_000_000
query = f"""
with daily as (
    select key, (epoch_us(event_timestamp) - 1) // {day_us} + 1 as day, count(*) as n
    from events
    group by all
),
changes as (
    select key, day, sum(n) as n
    from (from daily union all select key, day + 30, -n from daily) as come_and_gone
    group by all
    having sum(n) <> 0
)
select
    key,
    make_timestamptz(day * {day_us}) as event_timestamp,
    (sum(n) over (partition by key order by day rows unbounded preceding))::bigint as count_30d
from changes
order by key, day
"""
connection = duckdb.connect(str(data / "warehouse.duckdb"), read_only=True)
connection.execute("set TimeZone = 'UTC'")
connection.execute(f"copy ({query}) to '{output}' (format parquet, compression snappy)")
