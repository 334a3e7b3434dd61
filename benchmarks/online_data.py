"""Make the data of the online scenarios: dbt projects, made and kept as those of ``make_data.py``.

``data/<name>-<scale>/`` then holds ``raw/*.parquet``, a built dbt project, and ``scenario.json``. The names:

* ``O1``: one entity with three views of 7, 7 and 6 features, one row an entity;
* ``O2``: wide views of float32 features of users, items and pairs of both; ``raw/candidates.npy`` has the items that
  have a pair with each user;
* ``O3``, ``O3-late``: one view of 20 features, ten rows an entity; in the second a quarter of them became known late;
* ``O3-large``: one view of 20 features, ten times as many entities, one row each.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from make_data import (
    DATA,
    START_US,
    YEAR_US,
    Scenario,
    _feature,
    _timestamps,
    _types,
    _write_parquet,
    _write_project,
    _write_views,
    dbt,
    install_macros,
)

VERSION = 1  # raise it when the data change: cached directories are then made again
ENTITIES = 1_000_000
USER_VIEWS = {"user_profile": 7, "user_activity": 7, "user_spend": 6}
WIDE = {"user": 500, "item": 1_500, "pair": 500}
ITEMS, USERS, ITEMS_OF_A_USER = 60_000, 200, 1_000
CHANGED = 0.01  # of the keys, between the two instants of O3


def make(name: str, scale: float) -> Path:
    """Make the data of a scenario unless they are there, and return their directory."""
    where = DATA / f"{name}-{scale:g}"
    parameters = {"version": VERSION, "name": name, "scale": scale}
    facts = where / "scenario.json"
    if facts.exists() and json.loads(facts.read_text())["parameters"] == parameters:
        install_macros(where)
        if name == "O1":
            _write_service(where)
        return where
    print(f"making {where.relative_to(DATA.parent.parent)}", file=sys.stderr, flush=True)
    shutil.rmtree(where, ignore_errors=True)
    (where / "raw").mkdir(parents=True)
    views, more = WRITERS[name](where, scale)
    _write_project(where, views)
    profile = where / "profiles" / "profiles.yml"  # an export has a memory limit of its own, unless the profile has one
    profile.write_text("".join(line for line in profile.open() if "memory_limit" not in line))
    install_macros(where)
    if name == "O1":
        _write_service(where)
    dbt(where, "build")
    facts.write_text(json.dumps({"parameters": parameters, "views": views, **more}, indent=1) + "\n")
    return where


def _write_users(where: Path, scale: float) -> tuple[list[dict], dict]:
    entities = max(1_000, int(ENTITIES * scale))
    views, number = [], 0
    for seed, (name, width) in zip(np.random.SeedSequence(1).spawn(len(USER_VIEWS)), USER_VIEWS.items(), strict=True):
        rng = np.random.default_rng(seed)
        columns: dict[str, object] = {"user_id": np.arange(entities), "event_timestamp": _times(entities, rng)}
        for _ in range(width):
            number += 1
            columns[f"{name}_f{number}"] = _feature(number, entities, rng)
        views.append(_written(where, name, ["user_id"], "user", pa.table(columns)))
    return views, {"entities": entities}


def _write_service(where: Path) -> None:
    """The service `scored`: all features of the users, and two on-demand ones."""
    (where / "macros").mkdir(exist_ok=True)
    (where / "macros" / "share.sql").write_text(
        "{% macro share(part, whole) -%} {{ part }} / nullif({{ whole }}, 0) {%- endmacro %}\n"
    )
    (where / "macros" / "hour_of.sql").write_text("{% macro hour_of(moment) -%} hour({{ moment }}) {%- endmacro %}\n")
    number = [{"name": argument, "type": "double"} for argument in ("part", "whole")]
    macros = [
        {"name": "share", "arguments": number, "config": {"meta": {"pit_join": {"returns": "double"}}}},
        {
            "name": "hour_of",
            "arguments": [{"name": "moment", "type": "timestamptz"}],
            "config": {"meta": {"pit_join": {"returns": "bigint"}}},
        },
    ]
    features: list[object] = [f"{view}:*" for view in USER_VIEWS]
    features.append({"on_demand": "hour_of", "arguments": {"moment": "event_timestamp"}})
    features.append({"on_demand": "share", "arguments": {"part": "amount", "whole": "user_spend:user_spend_f20"}})
    service = {
        "name": "scored",
        "type": "ml",
        "owner": {"name": "benchmark", "email": "benchmark@example.com"},
        "depends_on": [f"ref('{view}')" for view in USER_VIEWS],
        "config": {"meta": {"pit_join": {"features": features}}},
    }
    # JSON is YAML.
    (where / "macros" / "on_demand.yml").write_text(json.dumps({"macros": macros}, indent=1))
    (where / "models" / "service.yml").write_text(json.dumps({"exposures": [service]}, indent=1))


def _write_wide(where: Path, scale: float) -> tuple[list[dict], dict]:
    users, items = max(4, int(USERS * scale)), max(ITEMS_OF_A_USER, int(ITEMS * scale))
    rng = np.random.default_rng(2)
    candidates = np.sort(
        np.array([rng.choice(items, ITEMS_OF_A_USER, replace=False) for _ in range(users)], dtype=np.int64)
    )
    np.save(where / "raw" / "candidates.npy", candidates)
    keys = {
        "user": {"user_id": np.arange(users)},
        "item": {"item_id": np.arange(items)},
        "pair": {"user_id": np.repeat(np.arange(users), ITEMS_OF_A_USER), "item_id": candidates.reshape(-1)},
    }
    views = []
    for name, width in WIDE.items():
        rows = len(next(iter(keys[name].values())))
        columns: dict[str, object] = {**keys[name], "event_timestamp": _times(rows, rng)}
        columns |= {f"{name}_f{i}": rng.random(rows, dtype=np.float32) for i in range(1, width + 1)}
        views.append(_written(where, name, list(keys[name]), name, pa.table(columns)))
    return views, {}


def _write_history(where: Path, scale: float, late: float = 0.0) -> tuple[list[dict], dict]:
    rows, entities = int(10 * ENTITIES * scale), int(ENTITIES * scale)
    # milliseconds: keys and times together must fit 64 bits
    scenario = Scenario("", 10, rows, entities, views=1, features=20, step_us=1_000, created=late > 0, late=late)
    views = _write_views(where, scenario)
    columns = ["event_timestamp", *(["loaded_at"] if late else [])]
    known = pq.read_table(where / "raw" / "view_1.parquet", columns=columns)
    return views, {"entities": entities, "instants": _instants(known, int(entities * CHANGED))}


def _write_large(where: Path, scale: float) -> tuple[list[dict], dict]:
    entities = int(10 * ENTITIES * scale)
    rng = np.random.default_rng(3)
    columns: dict[str, object] = {"customer_id": np.arange(entities), "event_timestamp": _times(entities, rng)}
    columns |= {f"view_1_f{number}": _feature(number, entities, rng) for number in range(1, 21)}
    table = pa.table(columns)
    last = _instants(table.select(["event_timestamp"]), 1)[-1]
    return [_written(where, "view_1", ["customer_id"], "customer", table)], {"entities": entities, "instants": [last]}


WRITERS: dict[str, Callable[[Path, float], tuple[list[dict], dict]]] = {
    "O1": _write_users,
    "O2": _write_wide,
    "O3": _write_history,
    "O3-late": lambda where, scale: _write_history(where, scale, late=0.25),
    "O3-large": _write_large,
}


def _times(rows: int, rng: np.random.Generator) -> pa.Array:
    return _timestamps(START_US + rng.integers(0, YEAR_US, rows))


def _written(where: Path, name: str, keys: list[str], entity: str, table: pa.Table) -> dict:
    """Write a view's rows, which are in order; return what the project says of it."""
    _write_parquet(table, where / "raw" / f"{name}.parquet")
    types = _types(table) | {field.name: "float" for field in table.schema if field.type == pa.float32()}
    features = [column for column in types if column.startswith(f"{name}_f")]
    meta = {"entity": entity, "join_keys": keys}
    return {"name": name, "columns": types, "features": features, "order": [*keys, "event_timestamp"], "meta": meta}


def _instants(times: pa.Table, changed: int) -> list[str]:
    """Two instants: so many rows became known after the first, and none after the second."""
    numbers = np.sort(np.maximum.reduce([column.cast(pa.int64()).to_numpy() for column in times.columns]))
    return [_iso(int(numbers[-1 - max(1, changed)])), _iso(int(numbers[-1]))]


def _iso(microseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=microseconds)).isoformat()
