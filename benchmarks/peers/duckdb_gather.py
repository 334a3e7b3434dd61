"""The hand-written peer for wide views: ASOF joins that carry only row numbers, then the values by row number."""

import json
import sys
from pathlib import Path

import duckdb

data, output = Path(sys.argv[1]), sys.argv[2]
facts = json.loads((data / "scenario.json").read_text())

joins, gathered, numbers, selected = [], [], [], ["matched.* exclude (file_row_number, numbers)"]
for view in facts["views"]:
    name = view["name"]
    joins.append(
        f"asof left join (select customer_id, event_timestamp, rowid as number from {name}) as {name}\n"
        f"  on spine.customer_id = {name}.customer_id and spine.event_timestamp >= {name}.event_timestamp"
    )
    numbers.append(f"{name} := {name}.number")
    gathered.append(f"left join {name} on matched.numbers.{name} = {name}.rowid")
    selected += [f"{name}.{f}" for f in view["features"]]

connection = duckdb.connect(str(data / "warehouse.duckdb"), read_only=True)
connection.execute(
    f"create temp table matched as select spine.*, struct_pack({', '.join(numbers)}) as numbers\n"
    f"from read_parquet('{data / 'raw' / 'spine.parquet'}', file_row_number = true) as spine\n" + "\n".join(joins)
)
query = f"select {', '.join(selected)}\nfrom matched\n" + "\n".join(gathered) + "\norder by file_row_number"
connection.execute(f"copy ({query}) to '{output}' (format parquet, compression snappy)")
