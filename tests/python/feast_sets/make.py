"""Make the training sets that Feast joins, from the data of its own template; the files beside this one are committed.

Run with Feast 0.67 (`benchmarks/requirements-feast.txt`): `python tests/python/feast_sets/make.py`.
`statistics.parquet` is what the template's generator made, without nested columns, with rows that were restated later;
`created` is when each row was known. The others are training sets of Feast's default offline store and of its store on
DuckDB: as they are joined by default, and with the option by which a row counts from its created time on.
"""

import os
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

os.environ["FEAST_USAGE"] = "False"

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.driver_test_data import create_driver_hourly_stats_df
from feast.types import Float32, Int64

HERE = Path(__file__).parent
FEATURES = ["conv_rate", "acc_rate", "avg_daily_trips"]
DRIVERS, BEGIN, DAYS = [1001, 1002, 1003, 1004, 1005], datetime(2026, 1, 1), 15

np.random.seed(3)
random = np.random.default_rng(3)
made = create_driver_hourly_stats_df(DRIVERS, BEGIN, BEGIN + timedelta(days=DAYS))
made = made[made.event_timestamp >= "2026-01-01"][["driver_id", "event_timestamp", *FEATURES]]
restated = made.sample(200, random_state=3).assign(conv_rate=lambda rows: rows.conv_rate + 1, hours=lambda rows: 30)
made = pd.concat([made.assign(hours=0), restated], ignore_index=True)
late = pd.to_timedelta(made.hours * 3600 + random.exponential(2 * 3600, len(made)), unit="s").dt.floor("s")
made["created"] = made.event_timestamp + late
made = made.drop(columns="hours").astype({"event_timestamp": "datetime64[us, UTC]", "created": "datetime64[us, UTC]"})
made.to_parquet(HERE / "statistics.parquet", index=False)

seconds = random.integers(0, (DAYS + 3) * 86_400, 800)
asked = pd.DataFrame(
    {
        "driver_id": random.choice([*DRIVERS, 1009], 800),
        "event_timestamp": pd.Timestamp(BEGIN, tz="UTC") + pd.to_timedelta(seconds, unit="s"),
        "label": random.integers(0, 2, 800),
    }
)
for store_type in ("file", "duckdb"):
    with tempfile.TemporaryDirectory() as folder:
        config = RepoConfig(
            project="drivers",
            provider="local",
            registry=f"{folder}/registry.db",
            offline_store={"type": store_type},
            online_store=None,
            entity_key_serialization_version=3,
        )
        store = FeatureStore(config=config)
        driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
        source = FileSource(
            path=str(HERE / "statistics.parquet"), timestamp_field="event_timestamp", created_timestamp_column="created"
        )
        view = FeatureView(
            name="driver_hourly_stats",
            entities=[driver],
            ttl=timedelta(days=1),
            schema=[Field(name=name, dtype=Int64 if "trips" in name else Float32) for name in FEATURES],
            source=source,
        )
        store.apply([driver, view])
        wanted = [f"driver_hourly_stats:{feature}" for feature in FEATURES]
        for name, known in (("by_default", False), ("as_known", True)):
            joined = store.get_historical_features(
                entity_df=asked, features=wanted, filter_by_created_timestamp=known
            ).to_df()
            joined.to_parquet(HERE / f"{store_type}_{name}.parquet", index=False)
