"""Polars: join_asof view by view on the Parquet files, then back into the order of the spine."""

import json
import sys
from pathlib import Path

import polars as pl

data, output = Path(sys.argv[1]), sys.argv[2]
facts = json.loads((data / "scenario.json").read_text())

result = pl.read_parquet(data / "raw" / "spine.parquet").with_row_index("spine_row")
result = result.sort("customer_id", "event_timestamp")
for view in facts["views"]:
    history = pl.read_parquet(data / "raw" / f"{view['name']}.parquet")
    # both sides are sorted within each key, which polars cannot check when it joins by key
    result = result.join_asof(history, on="event_timestamp", by="customer_id", check_sortedness=False)
result.sort("spine_row").drop("spine_row").write_parquet(output, compression="snappy")
