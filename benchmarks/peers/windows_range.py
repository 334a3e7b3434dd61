"""The plain way to windows: join each row of the spine with all events of its longest window, and aggregate.

Third argument: the features, separated by commas.
"""

import sys
from pathlib import Path

import duckdb

INTERVALS = {"1h": "1 hour", "1d": "1 day", "7d": "7 days", "30d": "30 days"}

data, output, features = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
longest = [w for w in INTERVALS if any(f.endswith(f"_{w}") for f in features)][-1]
calls = {
    "count": "count(events.v)",
    "sum_v": "sum(v)::bigint",
    "avg_v": "avg(v)",
    "sum_x": "sum(x)",
    "avg_x": "avg(x)",
    "min_v": "min(v)",
    "max_v": "max(v)",
}
selected = []
for feature in features:
    call, _, window = feature.rpartition("_")
    within = f"filter (where events.event_timestamp >= moment - interval '{INTERVALS[window]}')"
    what, cast, kind = calls[call].partition("::")
    selected.append(f"({what} {within}){cast}{kind} as {feature}")

query = f"""
with spine as (from read_parquet('{data / "raw" / "spine.parquet"}', file_row_number = true)),
asked as (select file_row_number as number, key, event_timestamp as moment from spine),
windowed as (
    select number, {", ".join(selected)}
    from asked
    left join events
        on asked.key = events.key
        and events.event_timestamp < moment and events.event_timestamp >= moment - interval '{INTERVALS[longest]}'
    group by number
)
select spine.* exclude (file_row_number), {", ".join(features)}
from spine join windowed on spine.file_row_number = windowed.number
order by file_row_number
"""
connection = duckdb.connect(str(data / "warehouse.duckdb"), read_only=True)
connection.execute(f"copy ({query}) to '{output}' (format parquet, compression snappy)")
