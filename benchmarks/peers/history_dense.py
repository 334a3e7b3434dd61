"""The hand-written peer for a history: a dense grid of all users and days, each with one value of its last 30 days.

Events are aggregated by day. Counts are one running sum over the sorted grid that is subtracted from itself 30 rows
before: with 29 empty days before the first, no window reaches into another user's days. On DuckDB 2.0 that takes about
0.6x the time of a frame of 30 rows, or of a running sum, partitioned by user. All else is a frame of 30 rows.
"""

import sys
from pathlib import Path

import duckdb

data, output, feature = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
day_us = 86_400_000_000
frame = "over (partition by key order by day rows 29 preceding)"
counted, added, squared = (f"sum({column}) {frame}" for column in ("n", "s", "q"))
of_a_day, of_a_window = {
    "count_30d": ("count(*) as n", "(total - coalesce(lag(total, 30) over (), 0))::bigint"),
    "sum_x_30d": ("sum(x) as s", added),
    "stddev_x_30d": (
        "count(x) as n, sum(x) as s, sum(x * x) as q",
        f"sqrt(greatest({squared} - {added} * {added} / {counted}, 0) / nullif({counted} - 1, 0))",
    ),
    "min_v_30d": ("min(v) as m", f"min(m) {frame}"),
    "max_v_30d": ("max(v) as m", f"max(m) {frame}"),
    "first_v_30d": ("arg_min(v, event_timestamp) as m", f"first_value(m ignore nulls) {frame}"),
    "last_v_30d": ("arg_max(v, event_timestamp) as m", f"last_value(m ignore nulls) {frame}"),
}[feature]
summed = "select key, day, sum(coalesce(n, 0)) over (rows unbounded preceding) as total from filled"
query = f"""
with daily as (
    -- a day has the events of (day - 1 day, day]
    select key, (epoch_us(event_timestamp) - 1) // {day_us} + 1 as day, {of_a_day}
    from events
    group by all
),
bounds as (select min(day) as first_day, max(day) as last_day from daily),
grid as (
    select key, unnest(generate_series(first_day - 29, last_day)) as day
    from (select distinct key from events) as users
    cross join bounds
),
filled as (
    select key, day, daily.* exclude (key, day)
    from grid
    left join daily using (key, day)
    order by key, day
),
valued as (select key, day, {of_a_window} as value from {f"({summed})" if feature == "count_30d" else "filled"})
select key, make_timestamptz(day * {day_us}) as event_timestamp, value as {feature}
from valued
where day >= (select first_day from bounds)
"""
connection = duckdb.connect(str(data / "warehouse.duckdb"), read_only=True)
connection.execute("set TimeZone = 'UTC'")
connection.execute(f"copy ({query}) to '{output}' (format parquet, compression snappy)")
