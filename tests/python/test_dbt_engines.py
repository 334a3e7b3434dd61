"""One dbt project on DuckDB and on PostgreSQL: both build it, with the same rows, and planted errors fail."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from dbt.cli.main import dbtRunnerResult
from support.dbt import ROOT, failures, results, run_dbt
from support.postgres import running_postgres

from pit_join.errors import ProjectError
from pit_join.project.rendering import Renderer

pytestmark = [pytest.mark.dbt, pytest.mark.rest]

SOURCE = ROOT / "tests/projects/engines"
START = datetime(2026, 3, 1)
TARGETS = ("duckdb", "postgres")
TESTS = 21
COMPARED = (
    "training_points", "training_indexed", "training_looked_up", "training_windows", "snapshot_plans",
    "snapshot_cities", "snapshot_orders", "order_days", "city_changes",
)  # fmt: skip


# The project and its data -----------------------------------------------------------------------------------------


def at(hours: float) -> str:
    """A time as CSV files have it."""
    return f"{START + timedelta(hours=hours):%Y-%m-%d %H:%M:%S.%f}+00"


def rows_of_seeds() -> dict[str, list[dict[str, Any]]]:
    """Rows with nulls, late and restated ones, and texts that a language orders otherwise than bytes do."""
    draw = random.Random(7)
    users = ["a", "B", "c", "Ä", "007", "7", "x", "Y", "z"]
    plan_changes: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _ in range(150):
        user, changed = draw.choice([*users, ""]), draw.randrange(30 * 24)
        known = changed + draw.choice((0, 0, 1, 30, 200))
        plan_changes[user, changed, known] = {
            "user_id": user, "changed_at": at(changed), "known_at": at(known),
            "closed": draw.choice(("false", "", "", "true")), "plan": draw.choice(("free", "Pro", "Pro", "")),
            "seats": draw.choice(("", 1, 20)),
            "score": draw.choice(("", 0.1, 1e-7)),
        }  # fmt: skip
    plan_changes[()] = {
        **dict.fromkeys(("closed", "score"), ""), "user_id": "c", "changed_at": at(30 * 24), "known_at": at(30 * 24),
        "plan": "free", "seats": 3, "score": 2.5,
    }  # fmt: skip
    orders = []
    for number in range(200):
        placed = draw.randrange(30 * 24 * 4) / 4
        order = {
            "order_id": number, "user_id": draw.choice(users), "city": draw.choice(("Oslo", "oslo", "Rome")),
            "ordered_at": at(placed), "seen_at": at(placed), "cancelled": "false",
            "amount": draw.randrange(10**6) / 100, "weight": draw.choice(("", draw.random())),
            "items": draw.choice(("", 1, 2, 7)),
            "channel": draw.choice(("", "app", "Web", "ä")),
        }  # fmt: skip
        orders.append(order)
        for version in range(draw.choice((0, 0, 1, 2))):
            seen = at(placed + 1 + 50 * version)
            orders.append(
                {**order, "seen_at": seen, "amount": 1 + version, "cancelled": draw.choice(("true", "false"))}
            )
    labels = [
        {
            "row_id": number, "user_id": draw.choice([*users, "nobody", ""]),
            "home": draw.choice(("Oslo", "oslo", "Paris")),
            "event_timestamp": draw.choice((at(draw.randrange(35 * 24)), at(draw.randrange(700)), "")),
            "label": draw.choice(("true", "false")),
        }
        for number in range(150)
    ]  # fmt: skip
    return {
        "plan_changes": list(plan_changes.values()),
        "city_facts": [
            {"city": "Oslo", "people": 700000, "coast": "true"},
            {"city": "Rome", "people": "", "coast": ""},
        ],
        "daily_rates": [{"day": f"2026-03-{day:02}", "rate": 1 + day / 1000} for day in range(2, 30)],
        "raw_orders": orders,
        "labels": labels + labels[:3],
    }


def write_seed(project: Path, name: str, rows: list[dict[str, Any]]) -> None:
    with (project / "seeds" / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@dataclass(frozen=True)
class Engines:
    """The project as it was built on both engines, and its rows there; `url` is that of the server."""

    directory: Path
    url: str
    built: dict[str, dbtRunnerResult]
    rows: dict[str, dict[str, list[list[Any]]]]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    directory = tmp_path_factory.mktemp("engines") / "project"
    shutil.copytree(SOURCE, directory)
    shutil.copytree(ROOT / "pit_join/dbt_package", directory / "dbt_packages/pit_join")
    (directory / "seeds").mkdir()
    for name, rows in rows_of_seeds().items():
        write_seed(directory, name, rows)
    with running_postgres() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIT_JOIN_TEST_POSTGRES", url.rsplit(":", 1)[1].split("/")[0])
        built = {target: run_dbt(directory, "build", "--target", target) for target in TARGETS}
        with duckdb.connect(str(directory / "warehouse.duckdb")) as here, psycopg.connect(url) as there:
            connections = {"duckdb": (here, "main"), "postgres": (there, "engines")}
            rows = {target: rows_of(*connections[target]) for target in TARGETS}
        yield Engines(directory, url, built, rows)


def rows_of(connection: Any, schema: str) -> dict[str, list[list[Any]]]:
    """The rows of each model, as both engines have them, sorted."""
    found = {}
    for name in COMPARED:
        cursor = connection.execute(f"select * from {schema}.{name}")
        columns = [column[0] for column in cursor.description]
        order = sorted(range(len(columns)), key=lambda number, columns=columns: columns[number])
        rows = sorted([str(comparable(row[number])) for number in order] for row in cursor.fetchall())
        found[name] = [sorted(columns), *rows]
    return found


def comparable(value: Any) -> Any:
    """A value as both engines have it: floats to 12 digits, instants in seconds."""
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if isinstance(value, float):
        return f"{value:.12g}"
    return value.timestamp() if isinstance(value, datetime) else value


# The same rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.proves(
    "duckdb",
    "point_in_time_correct",
    "unique_feature_rows",
    "no_future_rows",
    "fresh_within",
    "null_rate_below",
    "default_rate_below",
)
def test_the_project_builds(engines: Engines, target: str) -> None:
    built = engines.built[target]
    assert failures(built) == {}
    assert len([one for one in results(built) if one.node.resource_type == "test"]) == TESTS


@pytest.mark.parametrize("name", COMPARED)
def test_both_engines_have_the_same_rows(engines: Engines, name: str) -> None:
    wanted = engines.rows["duckdb"][name]
    assert len(wanted) > 2
    assert engines.rows["postgres"][name] == wanted


# What must fail ---------------------------------------------------------------------------------------------------

BROKEN = {
    "_joined_postgres.sql": [
        ("by_key.{{ column }}[placed._pit_place] as", "by_key.{{ column }}[placed._pit_place - 1] as"),
        ("content.{{ quote(column) }} desc{{", "content.{{ quote(column) }}{{"),
    ],
    "_portable_windows.sql": [("coalesce(sum({{ name }}) over so_far, 0)", "coalesce(sum({{ name }}) over so_far, 1)")],
}
PLANTED = """
    insert into plans select * from plans where user_id = 'a';
    insert into indexed_plans select * from indexed_plans where user_id = 'a';
    insert into cities select * from cities;
    insert into rates select * from rates;
    insert into order_versions select * from order_versions;
    drop index "{index}";
    insert into looked_up_plans select * from looked_up_plans;
    update plans set score = null;
    update indexed_plans set score = null;
    delete from plans where changed_at > '2026-03-28';
    delete from indexed_plans where changed_at > '2026-03-28';
    delete from orders where ordered_at > '2026-03-28';
    update orders set amount = null;
    insert into plans select user_id, '2026-06-01', known_at, closed, plan, seats, score from plans limit 1;
    insert into indexed_plans select user_id, '2026-06-01', known_at, closed, plan, seats, score from plans limit 1;
    insert into orders select order_id, user_id, city, '2026-06-01', seen_at, cancelled, amount, weight, items, channel
    from orders limit 1;
"""


@pytest.mark.rest
@pytest.mark.proves(
    "postgres",
    "point_in_time_correct",
    "unique_feature_rows",
    "no_future_rows",
    "fresh_within",
    "null_rate_below",
    "default_rate_below",
)
@pytest.mark.refuses("postgres", "no_drift_from", "replay_is_clean")
def test_planted_errors_fail(engines: Engines) -> None:
    """A broken plan differs from the second plan of `point_in_time_correct`, and each test fails on its rows."""
    for path in (engines.directory / "dbt_packages/pit_join").rglob("*.sql"):
        for old, new in BROKEN.get(path.name, []):
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
    sets = ("training_points", "training_indexed", "training_looked_up", "training_windows")
    failed = failures(run_dbt(engines.directory, "build", "--target", "postgres", "--select", *sets))
    assert len(failed) == len(sets), failed
    assert all("point_in_time_correct" in name and "Got" in message for name, message in failed.items())

    with psycopg.connect(engines.url) as connection:
        connection.execute("set search_path to engines")
        ((index,),) = connection.execute(
            "select indexname from pg_indexes where tablename = 'looked_up_plans'"
        ).fetchall()
        connection.execute(PLANTED.format(index=index))  # type: ignore[arg-type]
    everything = ("--vars", "of_duckdb: true", "--target", "postgres")
    failed = failures(run_dbt(engines.directory, "test", *everything))
    refused = [message for message in failed.values() if "Got" not in message]
    assert len(failed) == TESTS + 2
    assert sorted(message.split("\n  ")[1] for message in refused) == [
        "drift runs on DuckDB, and not on postgres",
        "the test replay_is_clean runs on DuckDB, and not on postgres",
    ]


@pytest.mark.parametrize("macro", ["feature_profile", "drift"])
@pytest.mark.refuses("postgres", "feature_profile", "drift")
def test_what_runs_on_duckdb_alone_says_so(engines: Engines, macro: str) -> None:
    manifest = json.loads((engines.directory / "target/manifest.json").read_text())
    assert manifest["metadata"]["adapter_type"] == "postgres"
    with pytest.raises(ProjectError, match=f"{macro} runs on DuckDB, and not on postgres"):
        Renderer(manifest).call(macro, view="plans", **({"profile": "profiles"} if macro == "drift" else {}))
