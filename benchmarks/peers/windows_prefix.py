"""The hand-written peer for counts, sums and averages over windows: running sums, asked for at every window's two ends.

Each row of the spine becomes a probe at its own time and one at the beginning of each window; one ASOF join finds the
running count and sum at each; a window is the difference of two. ``closed: left`` is the same one microsecond earlier.
Third argument: the features, separated by commas; sums are all of ``v``, or all of ``x``, which are rounded.
The events have no two equal (key, time) and no nulls.
"""

import sys
from pathlib import Path

import duckdb

INTERVALS = {"1h": "1 hour", "1d": "1 day", "7d": "7 days", "30d": "30 days"}

data, output, features = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
windows = [w for w in INTERVALS if any(f.endswith(f"_{w}") for f in features)]
value, kind = ("x", "double") if any("_x_" in f for f in features) else ("v", "bigint")
probes = ["select number, key, moment, 0 as slot from asked"]
pivoted = ["max(n) filter (where slot = 0) as n_0, any_value(s) filter (where slot = 0) as s_0"]
of_name = {}
for slot, window in enumerate(windows, start=1):
    probes.append(f"select number, key, moment - interval '{INTERVALS[window]}', {slot} from asked")
    of_slot = f"filter (where slot = {slot})"
    pivoted.append(f"max(n) {of_slot} as n_{slot}, any_value(s) {of_slot} as s_{slot}")
    n, s = f"(n_0 - n_{slot})", f"(s_0 - s_{slot})"
    of_name[f"count_{window}"] = n
    of_name[f"sum_{value}_{window}"] = f"(case when {n} > 0 then {s} end)::{kind}"
    of_name[f"avg_{value}_{window}"] = f"{s}::double / nullif({n}, 0)"
selected = ", ".join(f"{of_name[f]} as {f}" for f in features)

query = f"""
with spine as (from read_parquet('{data / "raw" / "spine.parquet"}', file_row_number = true)),
asked as (select file_row_number as number, key, event_timestamp - interval 1 microsecond as moment from spine),
running as (
    select key, event_timestamp, count(*) over so_far as n, sum({value}) over so_far as s
    from events
    window so_far as (partition by key order by event_timestamp rows unbounded preceding)
),
probes as ({" union all ".join(probes)}),
found as (
    select number, slot, coalesce(n, 0) as n, coalesce(s, 0) as s
    from probes
    asof left join running on probes.key = running.key and probes.moment >= running.event_timestamp
),
pivoted as (select number, {", ".join(pivoted)} from found group by number)
select spine.* exclude (file_row_number), {selected}
from spine join pivoted on spine.file_row_number = pivoted.number
order by file_row_number
"""
connection = duckdb.connect(str(data / "warehouse.duckdb"), read_only=True)
connection.execute(f"copy ({query}) to '{output}' (format parquet, compression snappy)")
