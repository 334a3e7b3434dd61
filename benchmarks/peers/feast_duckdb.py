"""Feast with the DuckDB offline store, on the Parquet files; runs in the virtual environment .venv-feast.

The definitions are registered by the first run (the warm-up) and only read by the later ones.
"""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

os.environ["FEAST_USAGE"] = "False"

import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64

data, output = Path(sys.argv[1]).resolve(), sys.argv[2]
facts = json.loads((data / "scenario.json").read_text())
registry = data / "feast_registry.db"
new = not registry.exists()
store = FeatureStore(
    config=RepoConfig(
        project="bench",
        provider="local",
        registry=str(registry),
        offline_store={"type": "duckdb"},
        online_store=None,
        entity_key_serialization_version=3,
    )
)
if new:
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)
    views = [
        FeatureView(
            name=view["name"],
            entities=[customer],
            ttl=timedelta(0),
            schema=[
                Field(name=f, dtype=Int64 if view["columns"][f] == "bigint" else Float64) for f in view["features"]
            ],
            source=FileSource(
                name=f"{view['name']}_source",
                path=str(data / "raw" / f"{view['name']}.parquet"),
                timestamp_field="event_timestamp",
            ),
            online=False,
        )
        for view in facts["views"]
    ]
    store.apply([customer, *views])

spine = pq.read_table(data / "raw" / "spine.parquet").to_pandas()
features = [f"{view['name']}:{f}" for view in facts["views"] for f in view["features"]]
result = store.get_historical_features(entity_df=spine, features=features).to_arrow()
pq.write_table(result, output, compression="snappy")
