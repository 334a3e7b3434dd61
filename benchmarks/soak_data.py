"""The project of ``soak.py``, in which each value tells the generation that was exported; its exports and requests."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from make_data import dbt, install_macros

from pit_join import FeatureStore

USERS, WIDTH, EXPORT_SECONDS = 500, 200, 1.0
PROCESSES = multiprocessing.get_context("spawn")
VIEWS = {name: {f"{name}_generation": "generation"} for name in ("balance", "visits", "wide")}
VIEWS["wide"] |= {f"wide_{i}": f"generation + {i}" for i in range(WIDTH)}
SHIFTED = {"on_demand": "shifted", "arguments": {"one": "visits:visits_generation", "other": "amount"}}


def meta(**found: object) -> dict[str, Any]:
    return {"config": {"meta": {"pit_join": found}}}


def make_project(folder: Path) -> None:
    """Write the project, and build it; its views are SQL views of the one row of ``state``."""
    types = {"user_id": "varchar", "event_timestamp": "timestamptz"}
    models, arguments = [], [{"name": name, "type": "bigint"} for name in ("one", "other")]
    files = {
        "dbt_project.yml": "name: soak\nprofile: soak\nmodels: {+materialized: view}\n",
        "profiles/profiles.yml": "soak: {target: dev, outputs: {dev: {type: duckdb, path: warehouse.duckdb}}}\n",
        "macros/shifted.sql": "{% macro shifted(one, other) -%} {{ one }} + {{ other }} {%- endmacro %}\n",
        "macros/all.yml": {"macros": [{"name": "shifted", "arguments": arguments, **meta(returns="bigint")}]},
    }
    for name, features in VIEWS.items():
        selected = ", ".join(f"{expression} as {feature}" for feature, expression in features.items())
        files[f"models/{name}.sql"] = (
            f"select 'u' || i as user_id, since as event_timestamp, {selected} from state, range({USERS}) as keys(i)"
        )
        columns = [{"name": each, "data_type": types.get(each, "bigint")} for each in (*types, *features)]
        models.append({"name": name, "columns": columns, **meta(entity="user", join_keys=["user_id"])})
        models[-1]["config"]["event_time"] = "event_timestamp"
    service = {
        "name": "all",
        "type": "ml",
        "owner": {"name": "soak"},
        "depends_on": [f"ref('{name}')" for name in VIEWS],
    }
    service |= meta(features=[*(f"{name}:*" for name in VIEWS), SHIFTED])
    files["models/all.yml"] = {"models": models, "exposures": [service]}
    for path, content in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(content if isinstance(content, str) else json.dumps(content))  # JSON is YAML
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute("create table state as select 0::bigint as generation, now() as since")
    install_macros(folder)
    dbt(folder, "build")


@dataclass
class Exports:
    """Exports of one generation after the other: the last one that was begun, and the last one that was done."""

    folder: Path
    begun: Any = field(default_factory=lambda: PROCESSES.Value("q", 0))
    done: Any = field(default_factory=lambda: PROCESSES.Value("q", 0))
    ended: Any = field(default_factory=PROCESSES.Event)

    def export(self) -> None:
        self.begun.value += 1
        with duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
            connection.execute(f"update state set generation = {self.begun.value}, since = now()")
        FeatureStore(self.folder, profiles_dir=self.folder / "profiles").export()
        self.done.value = self.begun.value

    def repeat(self) -> None:
        while not self.ended.wait(EXPORT_SECONDS):
            self.export()

    @contextmanager
    def repeated(self) -> Iterator[multiprocessing.process.BaseProcess]:
        """Export in a process of its own until the block ends."""
        process = PROCESSES.Process(target=self.repeat)
        process.start()
        try:
            yield process
        finally:
            self.ended.set()
            process.join()

    def problem(self, values: dict[str, Any], amount: int, least: int) -> str | None:
        """Why an answer is not of one export, or of one older than that of when it was asked for."""
        generations = {value for name, value in values.items() if name.endswith("_generation")}
        right = {f"wide_{i}": min(generations) + i for i in range(WIDTH)} | {"shifted": min(generations) + amount}
        off = [name for name, value in values.items() if value != right.get(name, value)]
        if len(generations) == 1 and not off and least <= min(generations) <= self.begun.value:
            return None
        return f"asked at {least} to {self.begun.value}, got {generations}, {off[:5]}"


def request() -> tuple[dict[str, Any], int, int]:
    """A request at random, its amount, and the status that it should get."""
    amount, keys = random.randrange(1000), {"user_id": [f"u{random.randrange(USERS)}"]}
    wide = [f"wide:wide_{i}" for i in random.sample(range(WIDTH), 2)]  # more of them than are kept prepared
    kinds: list[tuple[dict[str, Any], int]] = [
        ({"feature_service": "all", "entities": keys | {"amount": [amount]}}, 200),
        ({"features": ["balance:*", "visits:*"], "entities": keys}, 200),
        ({"features": ["wide:wide_generation", *wide], "entities": keys}, 200),
        ({"features": [random.choice(["balance:none", "none:*", "x"])], "entities": keys}, 422),
    ]
    body, status = random.choices(kinds, [8, 8, 3, 1])[0]
    return body, amount, status
