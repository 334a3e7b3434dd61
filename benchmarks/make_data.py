"""Make the benchmark data: one small dbt project per scenario and scale, built once and kept.

``data/<scenario>-<scale>/`` then holds

* ``raw/*.parquet``: the spine and one file per feature view, in the order (keys, event time) unless the scenario is
  shuffled, for the peers (windows: the events, see ``event_data.py``; replay: the sources, see ``landed_data.py``);
* a dbt project whose models copy those files into ``warehouse.duckdb`` in the same order; the product and the
  hand-written SQL read that;
* ``scenario.json``: what is in it, written last, so that a directory without it is made again.

All values come from numpy generators with fixed seeds: the same parameters give the same files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from event_data import EVENTS, Events
from landed_data import LANDED, SOURCES, VIEWS, Landed

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
VERSION = 1  # raise it when the data change: cached directories are then made again
YEAR_US = 365 * 86_400 * 1_000_000
HOUR_US = 3_600 * 1_000_000
MINUTE_US = 60 * 1_000_000
START_US = 1_704_067_200 * 1_000_000  # 2024-01-01 00:00 UTC
UNKNOWN_KEYS = 0.02  # of the spine's rows: keys without history
DOUBLED_ROWS = 0.01  # of the spine's rows: key and time of another row
NULLS = 0.03  # in every fourth feature


@dataclass(frozen=True)
class Scenario:
    """The parameters of one data set at scale 1; ``scale`` shrinks rows and keys alike."""

    about: str
    spine: int
    history: int
    keys: int
    views: int
    features: int
    step_us: int = 1  # event times lie on this grid
    created: bool = False  # declares a created_timestamp
    late: float = 0.0  # share of rows that become known only after the key's next event
    tied: float = 0.0  # share of rows that take part in a tie of (key, event time)
    spine_days: int = 365  # the spine's times are in the last days of the year
    spine_keys: float = 1.0  # share of the keys that the spine asks for
    ttl_days: int = 0  # 0: no ttl
    shuffled: bool = False  # the histories are written in no order

    def scaled(self, scale: float) -> Scenario:
        def shrink(n: int) -> int:
            return max(int(n * scale), 10)

        return Scenario(
            **{
                **asdict(self),
                "spine": shrink(self.spine),
                "history": shrink(self.history),
                "keys": shrink(self.keys),
            }
        )


def _narrow(about: str, **extra: object) -> Scenario:
    return Scenario(about, 1_000_000, 10_000_000, 100_000, views=1, features=5, **extra)  # type: ignore[arg-type]


SCENARIOS = {
    "A": _narrow("narrow: one view of 5 features"),
    "B": Scenario("wide: 10 views of 100 features", 17_000, 300_000, 5_000, views=10, features=100),
    "C": Scenario("large: 5 views of 20 features", 1_000_000, 5_000_000, 100_000, views=5, features=20),
    "D1": _narrow("A with a created time in which nothing is late", created=True),
    "D2": _narrow("A with event times on the hour: ties possible, none there", step_us=HOUR_US),
    "D3": _narrow("A with a created time, 25 % of the rows late", created=True, late=0.25),
    "D4": _narrow("A with 5 % of the rows in ties", tied=0.05),
    "P": _narrow("A for the last month and a tenth of the keys, ttl 7 days", spine_days=30, spine_keys=0.1, ttl_days=7),
    "U1": _narrow("A in no order", shuffled=True),
    "U2": _narrow("D1 in no order", created=True, shuffled=True),
    "T": Scenario("one view of 20 features", 1_000_000, 5_000_000, 100_000, views=1, features=20),
    "F": Scenario("few rows: 10 views of 100 features", 17_000, 17_000, 5_000, views=10, features=100),
    **{
        f"V{views}": Scenario(f"{views} views of 5 features", 100_000, 300_000, 30_000, views=views, features=5)
        for views in (1, 3, 10, 30)
    },
}


ALL: dict[str, Scenario | Events | Landed] = {**SCENARIOS, **EVENTS, **LANDED}


def directory(name: str, scale: float) -> Path:
    """Where the data of a scenario at a scale lie (made or not)."""
    return DATA / f"{name}-{scale:g}"


def make(name: str, scale: float) -> Path:
    """Make the data of a scenario unless they are there, and return their directory."""
    where = directory(name, scale)
    scenario = ALL[name].scaled(scale)
    parameters = {"version": VERSION, "name": name, "scale": scale, **asdict(scenario)}
    parameters = json.loads(json.dumps(parameters))  # tuples become lists, as in the file
    facts = where / "scenario.json"
    if facts.exists() and json.loads(facts.read_text())["parameters"] == parameters:
        install_macros(where)
        return where
    print(f"making {where.relative_to(HERE.parent)}: {scenario.about}", file=sys.stderr, flush=True)
    shutil.rmtree(where, ignore_errors=True)
    (where / "raw").mkdir(parents=True)
    if isinstance(scenario, Landed):
        views = _write_sources(where, scenario)
    else:
        views = _write_events(where, scenario) if isinstance(scenario, Events) else _write_views(where, scenario)
    _write_project(where, views)
    install_macros(where)
    dbt(where, "build")
    facts.write_text(json.dumps({"parameters": parameters, "views": views}, indent=1) + "\n")
    return where


def _write_views(where: Path, scenario: Scenario) -> list[dict]:
    """Write the spine and the history of each view; return what the project says of the views."""
    seeds = np.random.SeedSequence(20240101).spawn(1 + scenario.views)
    _write_parquet(_spine(scenario, np.random.default_rng(seeds[0])), where / "raw" / "spine.parquet")
    order = ["customer_id", "event_timestamp"]
    meta: dict[str, object] = {"entity": "customer", "join_keys": ["customer_id"]}
    if scenario.created:
        order.append("loaded_at")
        meta["created_timestamp"] = "loaded_at"
    if scenario.ttl_days:
        meta["ttl"] = f"{scenario.ttl_days} days"
    if scenario.shuffled:
        order = []
    views = []
    for number, seed in enumerate(seeds[1:], start=1):
        view = f"view_{number}"
        table = _history(scenario, view, np.random.default_rng(seed))
        _write_parquet(table, where / "raw" / f"{view}.parquet")
        types = _types(table)
        features = [column for column in types if column.startswith(view)]
        views.append({"name": view, "columns": types, "features": features, "order": order, "meta": meta})
    return views


def _write_events(where: Path, scenario: Events) -> list[dict]:
    """Write the events and, if there is one, the spine; return what the project says of their window view."""
    events, spine = scenario.tables()
    _write_parquet(events, where / "raw" / "events.parquet")
    if spine is not None:
        _write_parquet(spine, where / "raw" / "spine.parquet")
    return [
        {
            "name": "events",
            "columns": _types(events),
            "order": ["key", "event_timestamp"],
            "meta": {
                "entity": "customer",
                "join_keys": ["key"],
                "closed": scenario.closed,
                "aggregations": list(scenario.aggregations),
            },
        }
    ]


def _write_sources(where: Path, scenario: Landed) -> list[dict]:
    """Write the sources into the warehouse; return what the project says of the views that read them."""
    with duckdb.connect(str(where / "warehouse.duckdb")) as connection:
        connection.execute("create schema landing")
        for name, table in scenario.tables().items():
            connection.register("landed", table)
            connection.execute(f"create table landing.{name} as from landed")
    (where / "models").mkdir()
    (where / "models" / "sources.yml").write_text(SOURCES)
    return VIEWS


def _spine(scenario: Scenario, rng: np.random.Generator) -> pa.Table:
    """A spine in no particular order, with unknown keys and doubled rows; ``row_id`` is the position."""
    n = scenario.spine
    every = int(1 / scenario.spine_keys)
    key = rng.integers(0, int(scenario.keys * scenario.spine_keys * (1 + UNKNOWN_KEYS)) + 1, n) * every
    days_us = scenario.spine_days * 24 * HOUR_US
    time = START_US + YEAR_US - days_us + rng.integers(0, days_us, n)
    copies = rng.choice(n, int(n * DOUBLED_ROWS), replace=False)
    originals = rng.integers(0, n, len(copies))
    key[copies], time[copies] = key[originals], time[originals]
    return pa.table(
        {
            "row_id": np.arange(n),
            "customer_id": key,
            "event_timestamp": _timestamps(time),
            "label": (rng.random(n) < 0.1).astype(np.int64),
        }
    )


def _history(scenario: Scenario, view: str, rng: np.random.Generator) -> pa.Table:
    """One view's history, by default in the order (key, event time), that pair unique unless ties are asked for."""
    n, slots = scenario.history, YEAR_US // scenario.step_us
    # one number codes key and time: its distinct values are unique pairs, already in order
    codes = np.unique(rng.integers(0, scenario.keys * slots, int(n * 1.05) + 100))
    codes = np.delete(codes, rng.choice(len(codes), len(codes) - n, replace=False))
    key, time = codes // slots, START_US + codes % slots * scenario.step_us
    if scenario.tied:
        # rows in disjoint pairs (i, i + 1): the second takes the time of the first
        pairs = np.arange(0, n - 1, 2)
        pairs = pairs[key[pairs] == key[pairs + 1]]
        first = rng.choice(pairs, int(n * scenario.tied / 2), replace=False)
        time[first + 1] = time[first]
    columns: dict[str, object] = {"customer_id": key, "event_timestamp": _timestamps(time)}
    if scenario.created:
        columns["loaded_at"] = _timestamps(_created(scenario, key, time, rng))
    for number in range(1, scenario.features + 1):
        columns[f"{view}_f{number}"] = _feature(number, n, rng)
    table = pa.table(columns)
    return table.take(pa.array(rng.permutation(n))) if scenario.shuffled else table


def _created(scenario: Scenario, key: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """When each row became known: within the hour and before the key's next event, or, if late, after it."""
    following = np.append(time[1:], time[-1] + HOUR_US)
    following[np.append(key[1:] != key[:-1], True)] = START_US + YEAR_US + HOUR_US
    room = np.minimum(following - time, HOUR_US)
    created = time + (rng.random(len(time)) * room).astype(np.int64)
    late = rng.random(len(time)) < scenario.late
    created[late] = following[late] + rng.integers(MINUTE_US, 20 * 24 * HOUR_US, int(late.sum()))
    return created


def _feature(number: int, n: int, rng: np.random.Generator) -> pa.Array:
    """Features of four kinds: small counts, full doubles, amounts of two decimals, doubles with nulls."""
    kind = number % 4
    if kind == 1:
        return pa.array(rng.integers(0, 100, n))
    if kind == 2:
        return pa.array(rng.random(n))
    if kind == 3:
        return pa.array(np.round(rng.random(n) * 1000, 2))
    return pa.array(rng.standard_normal(n), mask=rng.random(n) < NULLS)


def _timestamps(us: np.ndarray) -> pa.Array:
    # microseconds, not nanoseconds: Feast on DuckDB 2.0 cannot read the latter
    return pa.array(us, type=pa.timestamp("us", tz="UTC"))


def _write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=122_880, compression="snappy")


def _types(table: pa.Table) -> dict[str, str]:
    """The columns and their types in SQL."""

    def sql(kind: pa.DataType) -> str:
        if pa.types.is_timestamp(kind):
            return "timestamptz"
        return "bigint" if pa.types.is_integer(kind) else "double"

    return {field.name: sql(field.type) for field in table.schema}


def _write_project(where: Path, views: list[dict]) -> None:
    files = {
        "dbt_project.yml": (
            "name: bench\nversion: '1.0'\nprofile: bench\nmodel-paths: [models]\n"
            "flags:\n  send_anonymous_usage_stats: false\n"
            "models:\n  bench:\n    +materialized: table\n"
        ),
        "profiles/profiles.yml": (
            "bench:\n  target: dev\n  outputs:\n    dev:\n      type: duckdb\n      path: warehouse.duckdb\n"
            "      threads: 2\n      settings:\n        TimeZone: UTC\n"
            "        memory_limit: \"{{ env_var('PIT_JOIN_MEMORY_LIMIT', '80%') }}\"\n"
        ),
    }
    models = []
    for view in views:
        name = view["name"]
        order = f"order by {', '.join(view['order'])}\n" if view.get("order") else ""
        files[f"models/{name}.sql"] = (
            view.get("sql", f"select * from read_parquet('raw/{name}.parquet')") + f"\n{order}"
        )
        columns = "".join(f"      - {{name: {c}, data_type: {t}}}\n" for c, t in view["columns"].items())
        meta = "".join(f"          {key}: {json.dumps(value)}\n" for key, value in view["meta"].items())
        models.append(
            f"  - name: {name}\n    config:\n"
            f"      event_time: {view.get('event_time', 'event_timestamp')}\n"
            f"      contract: {{enforced: true}}\n      meta:\n        pit_join:\n{meta}"
            f"    columns:\n{columns}"
        )
    files["models/features.yml"] = "models:\n" + "".join(models)
    for path, text in files.items():
        (where / path).parent.mkdir(parents=True, exist_ok=True)
        (where / path).write_text(text)


def command(name: str) -> str:
    """The program beside this Python, or on the path; the bare name if it is nowhere."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or name


def install_macros(where: Path) -> None:
    """Give the project the product's macros, if the product is there and the project lacks them."""
    try:
        shown = subprocess.run([command("pit-join"), "dbt-package-path"], capture_output=True, text=True, check=True)
        package = shown.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        print("pit-join is not installed: the project is built without its macros", file=sys.stderr)
        return
    wanted = f"packages:\n  - local: {json.dumps(package)}\n"
    packages = where / "packages.yml"
    if packages.exists() and packages.read_text() == wanted and (where / "dbt_packages").is_dir():
        return
    packages.write_text(wanted)
    dbt(where, "deps")


def dbt(where: Path, task: str) -> None:
    """Run one dbt task in the project; on failure show what dbt printed and stop."""
    done = subprocess.run(
        [command("dbt"), "--no-use-colors", task, "--profiles-dir", "profiles"],
        cwd=where,
        env={**os.environ, "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"dbt {task} failed in {where}:\n{done.stdout}{done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", nargs="+", choices=ALL, default=[*ALL])
    parser.add_argument("--scale", type=float, default=1.0)
    args = parser.parse_args()
    for name in args.scenario:
        print(make(name, args.scale))


if __name__ == "__main__":
    main()
