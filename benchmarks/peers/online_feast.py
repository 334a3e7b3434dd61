"""Feast's `get_online_features` on SQLite or Redis; runs in the virtual environment .venv-feast.

Arguments: the data, `sqlite` or a port of Redis.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

os.environ["FEAST_USAGE"] = "False"

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float32, Float64, Int64
from online_worker import CANDIDATES, candidates, entities, features_of, serve, timed, views_of, wrong_vectors

_TYPES = {"bigint": Int64, "float": Float32, "double": Float64}
_BATCH = 20_000

data, where = Path(sys.argv[1]).resolve(), sys.argv[2]
views, features = views_of(data), features_of(data)
folder = data / f"feast-{'sqlite' if where == 'sqlite' else 'redis'}"
folder.mkdir(exist_ok=True)
online = (
    {"type": "sqlite", "path": str(folder / "online.db")}
    if where == "sqlite"
    else {"type": "redis", "connection_string": f"127.0.0.1:{where}", "skip_dedup": True}
)
loaded = folder / "loaded"
if where == "sqlite" and not loaded.exists():
    (folder / "online.db").unlink(missing_ok=True)
store = FeatureStore(
    config=RepoConfig(
        project="bench",
        provider="local",
        registry={"path": str(folder / "registry.db"), "cache_ttl_seconds": 0},  # read once, kept for ever
        online_store=online,
        entity_key_serialization_version=3,
    )
)


def declare() -> None:
    keys = {key for view in views for key in view["meta"]["join_keys"]}
    declared = {key: Entity(name=key, join_keys=[key], value_type=ValueType.INT64) for key in keys}
    store.apply(
        [
            *declared.values(),
            *(
                FeatureView(
                    name=view["name"],
                    entities=[declared[key] for key in view["meta"]["join_keys"]],
                    ttl=timedelta(0),
                    schema=[
                        *(Field(name=key, dtype=Int64) for key in view["meta"]["join_keys"]),
                        *(Field(name=name, dtype=_TYPES[view["columns"][name]]) for name in view["features"]),
                    ],
                    source=FileSource(
                        name=f"{view['name']}_source",
                        path=str(data / "raw" / f"{view['name']}.parquet"),
                        timestamp_field="event_timestamp",
                    ),
                )
                for view in views
            ),
        ]
    )


def write(view: dict, table: pa.Table) -> None:
    columns = [*view["meta"]["join_keys"], "event_timestamp", *view["features"]]
    for start in range(0, len(table), _BATCH):
        store.write_to_online_store(view["name"], table.select(columns).slice(start, _BATCH).to_pandas())


def load(most: int) -> None:
    """Write the first entities of every view, unless SQLite has them from an earlier run."""
    if where == "sqlite" and loaded.exists() and loaded.read_text() == str(most):
        return
    declare()
    for view in views:
        write(view, pq.read_table(data / "raw" / f"{view['name']}.parquet").slice(0, most))
    if where == "sqlite":
        loaded.write_text(str(most))


def load_candidates(seed: int) -> None:
    """Write what one request for candidates needs."""
    declare()
    ((user, items),) = candidates(data, seed, 1)
    wanted = {"user_id": pa.array([user]), "item_id": pa.array(items)}
    for view in views:
        table = pq.read_table(data / "raw" / f"{view['name']}.parquet")
        for key in view["meta"]["join_keys"]:
            table = table.filter(pa.compute.is_in(table[key], wanted[key]))
        write(view, table)


def read(number: int) -> dict:
    return store.get_online_features(features=features, entity_rows=[{"user_id": number}]).to_dict()


def row(seed: int, count: int, most: int) -> dict:
    return timed(read, entities(seed, count, most))


def batch(seed: int) -> dict:
    def read_candidates(request: tuple[int, list[int]]) -> None:
        user, items = request
        store.get_online_features(features=features, entity_rows={"user_id": [user] * CANDIDATES, "item_id": items})

    return timed(read_candidates, candidates(data, seed, 1))


def wrong(seed: int, count: int, most: int) -> int:
    ids = entities(seed, count, most)
    vectors = [{name: values[0] for name, values in read(number).items()} for number in ids]
    return wrong_vectors(data, ids, vectors)


serve({"load": load, "load_candidates": load_candidates, "row": row, "batch": batch, "wrong": wrong})
