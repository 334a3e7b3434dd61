"""Declared types against the real tables: every command says all that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from support.projects import BASE, KEYS, VALUE, make_project, run, view

from pit_join import FeatureLog, FeatureStore, PitJoinError, WarehouseError

pytestmark = pytest.mark.dbt

USER = "user_id varchar, event_timestamp timestamptz"
SPINE = pd.DataFrame({"user_id": ["u"], "event_timestamp": pd.to_datetime(["2026-02-01"], utc=True)})


def column(name: str, data_type: str, default: Any = None) -> str:
    meta = "" if default is None else f", config: {{meta: {{pit_join: {{default: {default}}}}}}}"
    return f"{{name: {name}, data_type: '{data_type}'{meta}}}"


def execute(project: Path, *statements: str) -> None:
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for statement in statements:
            connection.execute(statement)


# What is wrong --------------------------------------------------------------------------------------------------

WRONG = [
    "models/models.yml: logins: the column 'visits' is declared bigint, and the table's is VARCHAR",
    "models/models.yml: logins: the column 'paid' is declared numeric(9,2) (DECIMAL(9,2)), "
    "and the table's is DECIMAL(18,4)",
    "models/models.yml: rides: the column 'fare' is declared double, and the table's is DECIMAL(9,2)",
    "models/models.yml: rides: the column 'city' is declared varchar, and the table's is INTEGER",
]
MEND = "; correct the data_type, cast the column in the model (column_types for a seed), or run dbt build"
SPOILED = (
    "alter table logins alter visits type varchar",
    "alter table logins alter paid type decimal(18, 4)",
    "alter table rides alter fare type decimal(9, 2)",
    "alter table rides alter city type integer using 7",
)


def make_shop(folder: Path) -> Path:
    """A feature view, a window view that aggregates a column and leaves another alone, and a third that is right."""
    windows = "aggregations: [{name: fares, function: sum, column: fare, window: lifetime}]"
    logins = f"{BASE}, {column('visits', 'bigint')}, {column('paid', 'numeric(9,2)')}"
    rides = f"{BASE}, {column('fare', 'double')}, {column('city', 'varchar')}"
    views = {
        "logins": view(KEYS, logins),
        "right": view(KEYS, f"{BASE}, {VALUE}"),
        "rides": view(f"{KEYS}, {windows}", rides),
    }
    project = make_project(folder, views)
    execute(
        project,
        f"create table logins ({USER}, visits bigint, paid decimal(9, 2))",
        f'create table "right" ({USER}, value float)',
        f"create table rides ({USER}, fare double, city varchar)",
        "insert into logins values ('u', '2026-01-01', 7, 1.5)",
        "insert into \"right\" values ('u', '2026-01-01', 0.5)",
        "insert into rides values ('u', '2026-01-01', 2.5, 'Oslo')",
    )
    return project


ALL = ["logins:*", "right:*", "rides:*"]
COMMANDS: dict[str, Callable[[FeatureStore], Any]] = {
    "build-training-set": lambda shop: shop.get_historical_features(SPINE, ALL),
    "sql": lambda shop: shop.prepare_training_set(SPINE, ALL).sql(),
    "explain-plan": lambda shop: shop.prepare_training_set(SPINE, ALL).plan(),
    "export": lambda shop: shop.export(as_of="2026-03-01"),
    "export some": lambda shop: shop.export(["rides", "logins"], as_of="2026-03-01"),
    "verify": lambda shop: shop.verify(),
    "monitor": lambda shop: shop.monitor(Path(shop.online_store).parent / "log"),
    "views": lambda shop: shop.describe_views(),
}


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """A project for which every command worked, until its tables changed."""
    folder = tmp_path_factory.mktemp("spoiled")
    project, log = make_shop(folder / "shop"), FeatureLog(folder / "log", sample=1)
    shop = FeatureStore(project, online_store=folder / "online", feature_log=log)
    shop.export(as_of="2026-03-01")
    assert shop.get_online_features(ALL, [{"user_id": "u"}]).to_dict()["fares"] == [2.5]
    log.close()
    for command in COMMANDS.values():
        command(shop)
    execute(project, *SPOILED)
    return shop


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_reads_tables_says_all_that_is_wrong(spoiled: FeatureStore, command: str) -> None:
    with pytest.raises(PitJoinError) as error:
        COMMANDS[command](spoiled)
    assert sorted(str(error.value).split("\n")) == sorted(line + MEND for line in WRONG)
    assert error.value.exit_status == 2


def test_other_problems_are_said_beside(tmp_path: Path) -> None:
    shop = make_shop(tmp_path / "shop")
    execute(shop, *SPOILED[:3], 'drop table "right"', "alter table rides drop city")
    with pytest.raises(WarehouseError) as error:
        FeatureStore(shop, online_store=tmp_path / "online").export()
    said = str(error.value).split("\n")
    assert {line.partition("; ")[0] for line in said} == {
        *WRONG[:3],
        "the table of the feature view 'right' cannot be read",
        "the table of the feature view 'rides' has no column 'city', which models/models.yml lists",
    }


def test_the_command_line_lists_the_problems_and_writes_nothing(tmp_path: Path) -> None:
    shop = make_shop(tmp_path / "shop")
    execute(shop, *SPOILED)
    SPINE.to_csv(tmp_path / "spine.csv", index=False)
    features = [each for name in ALL for each in ("--features", name)]
    arguments = ["--spine", str(tmp_path / "spine.csv"), *features, "--output", str(tmp_path / "set.parquet")]
    result = run("--project-dir", str(shop), "build-training-set", *arguments)
    assert result.status == 2
    assert all(" ".join(line.split()) in " ".join(result.err.split()) for line in WRONG)
    assert not (tmp_path / "set.parquet").exists()


# Types that only the database knows -------------------------------------------------------------------------------


def test_types_by_the_names_that_the_database_has_for_them(tmp_path: Path) -> None:
    columns = ", ".join(
        column(name, kind)
        for name, kind in {
            "mood": "mood", "moods": "Mood[]", "amount": "money", "place": "struct(x int, m mood)", "data": "json",
            "size": "\"T shirt\"", "text": "varchar",
        }.items()
    )  # fmt: skip
    project = make_project(tmp_path / "shop", {"users": view(KEYS, f"{BASE}, {columns}")})
    execute(
        project,
        "create type mood as enum ('sad', 'ok')",
        "create type money as decimal(9, 2)",
        "create type \"T shirt\" as enum ('S', 'L')",
        f"create table users ({USER}, mood mood, moods mood[], amount money, place struct(x int, m mood), data json, "
        'size "T shirt", "text" mood)',
        "insert into users values ('u', '2026-01-01', 'ok', ['sad'], 1.5, {x: 1, m: 'sad'}, '[1]', 'L', 'ok')",
    )
    features = FeatureStore(project)
    (row,) = features.get_historical_features(SPINE, ["users:*"]).to_arrow().drop_columns(SPINE.columns).to_pylist()
    assert row == {
        "mood": "ok", "moods": ["sad"], "amount": Decimal("1.50"), "place": {"x": 1, "m": "sad"}, "data": "[1]",
        "size": "L", "text": "ok",
    }  # fmt: skip
    execute(project, "alter table users alter amount type double")
    with pytest.raises(PitJoinError, match=r"^\S+ users: the column 'amount' is declared money, and .* is DOUBLE; "):
        features.get_historical_features(SPINE, ["users:*"])


def test_a_name_that_the_database_does_not_know(tmp_path: Path) -> None:
    """A key is read from spines by its declared type, which must therefore be one that DuckDB knows."""
    base = BASE.replace("varchar", "mood")
    project = make_project(tmp_path / "shop", {"users": view(KEYS, f"{base}, {column('n', 'integr')}")})
    execute(
        project,
        "create type mood as enum ('sad', 'ok')",
        "create table users (user_id mood, event_timestamp timestamptz, n integer)",
    )
    with pytest.raises(PitJoinError) as error:
        FeatureStore(project).describe_views()
    assert [line.partition(";")[0].partition("users: ")[2] for line in str(error.value).split("\n")] == [
        "the column 'user_id' is declared mood, and the table's is ENUM('sad', 'ok')",
        "the column 'n' is declared integr, and the table's is INTEGER",
    ]


def test_an_enum_of_many_values_does_not_fill_the_message(tmp_path: Path) -> None:
    project = make_project(tmp_path / "shop", {"users": view(KEYS, f"{BASE}, {column('n', 'integer')}")})
    values = ", ".join(f"'value {i}'" for i in range(1000))
    execute(project, f"create table users ({USER}, n enum({values}))")
    with pytest.raises(PitJoinError, match=r"is ENUM\('value 0', .*\.\.\.; correct") as error:
        FeatureStore(project).describe_views()
    assert len(str(error.value)) < 400
