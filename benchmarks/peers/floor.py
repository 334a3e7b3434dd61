"""The floor: read every value of the inputs and write an output of the same shape, joining nothing."""

import json
import sys
from pathlib import Path

import duckdb

data, output = Path(sys.argv[1]), sys.argv[2]
facts = json.loads((data / "scenario.json").read_text())
spine = f"read_parquet('{data / 'raw' / 'spine.parquet'}')"

connection = duckdb.connect(str(data / "warehouse.duckdb"), read_only=True)
rows = connection.execute(f"select count(*) from {spine}").fetchone()[0]
parts = []
for view in facts["views"]:
    # sums, because DuckDB answers counts and extremes from its statistics
    columns = ["customer_id", "epoch_us(event_timestamp)", *view["features"]]
    connection.execute(f"select {', '.join(f'sum({c})' for c in columns)} from {view['name']}").fetchall()
    parts.append(f"positional join (select {', '.join(view['features'])} from {view['name']} limit {rows})")
query = f"select * from {spine} " + " ".join(parts)
connection.execute(f"copy ({query}) to '{output}' (format parquet, compression snappy)")
