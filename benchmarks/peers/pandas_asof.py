"""Pandas: merge_asof view by view; it wants both sides sorted by time over all keys."""

import json
import sys
from pathlib import Path

import pandas as pd

data, output = Path(sys.argv[1]), sys.argv[2]
facts = json.loads((data / "scenario.json").read_text())

result = pd.read_parquet(data / "raw" / "spine.parquet")
result["spine_row"] = range(len(result))
result = result.sort_values("event_timestamp", kind="stable")
for view in facts["views"]:
    history = pd.read_parquet(data / "raw" / f"{view['name']}.parquet").sort_values("event_timestamp")
    result = pd.merge_asof(result, history, on="event_timestamp", by="customer_id")
result = result.sort_values("spine_row").drop(columns="spine_row")
result.to_parquet(output, index=False, compression="snappy")
