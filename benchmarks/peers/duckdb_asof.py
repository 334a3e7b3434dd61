"""The hand-written peer: what a DuckDB expert would write, one statement of chained ASOF LEFT JOINs.

It reads the same warehouse as the product. Views with a created time or with ties get the extra step that
makes the plain ASOF exact for them; the others are joined as they are.
"""

import json
import os
import sys
from pathlib import Path

import duckdb

data, output = Path(sys.argv[1]), sys.argv[2]
facts = json.loads((data / "scenario.json").read_text())
created, tied, ttl = (facts["parameters"][name] for name in ("created", "tied", "ttl_days"))

ctes, joins, selected = [], [], ["spine.* exclude (file_row_number)"]
for view in facts["views"]:
    name, features = view["name"], view["features"]
    history, time = name, "event_timestamp"
    if created:
        # only rows that are newer than all that was known before; exact because (key, event time) is unique
        history, time = f"known_{name}", "available_at"
        ctes.append(
            f"{history} as (select *, greatest(event_timestamp, loaded_at) as available_at from {name}\n"
            "  qualify event_timestamp = max(event_timestamp)\n"
            "    over (partition by customer_id order by available_at))"
        )
    elif tied:
        history = f"single_{name}"
        order = ", ".join(f"{f} desc nulls last" for f in features)
        ctes.append(
            f"{history} as (select * from {name}\n"
            f"  qualify row_number() over (partition by customer_id, event_timestamp order by {order}) = 1)"
        )
    joins.append(
        f"asof left join {history} as {name}\n"
        f"  on spine.customer_id = {name}.customer_id and spine.event_timestamp >= {name}.{time}"
    )
    fresh = f"spine.event_timestamp - {name}.event_timestamp <= interval '{ttl} days'"
    selected += [f"case when {fresh} then {name}.{f} end as {f}" if ttl else f"{name}.{f}" for f in features]

spine = data / "raw" / "spine.parquet"
ctes.insert(0, f"spine as (from read_parquet('{spine}', file_row_number = true))")
query = "with " + ",\n".join(ctes) + f"\nselect {', '.join(selected)}\nfrom spine\n" + "\n".join(joins)
query += "\norder by file_row_number"

config = {}
if limit := os.environ.get("PIT_JOIN_MEMORY_LIMIT"):
    config["memory_limit"] = limit
connection = duckdb.connect(str(data / "warehouse.duckdb"), read_only=True, config=config)
connection.execute(f"copy ({query}) to '{output}' (format parquet, compression snappy)")
