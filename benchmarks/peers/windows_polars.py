"""Polars: rolling aggregates over events and spine together, each row of the spine an event without a value.

Third argument: the features, separated by commas.
"""

import sys
from pathlib import Path

import polars as pl

data, output, features = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
value, time = pl.col("v"), "event_timestamp"


def count(size: str) -> pl.Expr:
    return value.is_not_null().cast(pl.Int64).rolling_sum_by(time, size, closed="left").fill_null(0)


calls = {
    "count": count,
    "sum_v": lambda size: pl.when(count(size) > 0).then(value.rolling_sum_by(time, size, closed="left")),
    "avg_v": lambda size: value.rolling_mean_by(time, size, closed="left"),
    "min_v": lambda size: value.rolling_min_by(time, size, closed="left"),
    "max_v": lambda size: value.rolling_max_by(time, size, closed="left"),
}

spine = pl.read_parquet(data / "raw" / "spine.parquet").with_row_index("spine_row")
events = pl.read_parquet(data / "raw" / "events.parquet", columns=["key", "event_timestamp", "v"])
rows = pl.concat([events, spine.select("spine_row", "key", "event_timestamp")], how="diagonal")
rows = rows.sort("key", "event_timestamp")
windowed = rows.select(
    "spine_row", *(calls[f.rpartition("_")[0]](f.rpartition("_")[2]).over("key").alias(f) for f in features)
)
result = spine.join(windowed.filter(pl.col("spine_row").is_not_null()), on="spine_row", how="left")
result.sort("spine_row").drop("spine_row").write_parquet(output, compression="snappy")
