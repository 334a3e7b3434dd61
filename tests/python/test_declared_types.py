"""Declared types against the real tables: every command says all that is wrong, and nanoseconds count."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.projects import BASE, KEYS, VALUE, make_project, run, view
from support.rule_sql import macro_nodes
from support.runs import sampled

from pit_join import FeatureLog, FeatureStore, PitJoinError, WarehouseError
from pit_join.project.rendering import Renderer

pytestmark = pytest.mark.dbt

TYPES = {name for (name,) in duckdb.sql("select type_name from duckdb_types()").fetchall()}
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
    "monitor": lambda shop: shop.monitor(Path(shop.online_store).parent / "log", checks=["skew"]),
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


@pytest.mark.parametrize("command", sampled(COMMANDS, 2))
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
        "models/models.yml: rides: the table of the feature view 'rides' has no column 'city', which the YAML lists",
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


# The type of what is returned -------------------------------------------------------------------------------------


def test_a_feature_has_the_type_of_the_table_or_with_a_default_one_that_holds_both(tmp_path: Path) -> None:
    """And it is the same offline and online: else a default of 0.1 would be another number there."""
    columns = {
        "wide": ("double", "float", None), "wide_0": ("double", "float", "0.1"), "short": ("smallint", "bigint", None),
        "short_0": ("smallint", "bigint", "5"), "digits": ("decimal(18,4)", "decimal(9,2)", None),
        "digits_0": ("decimal(18,4)", "decimal(9,2)", "0.1234"), "mood": ("varchar", "enum('a', 'b')", "c"),
    }  # fmt: skip
    listed = ", ".join(column(name, declared, default) for name, (declared, _, default) in columns.items())
    total = "aggregations: [{name: top, function: max, column: v, window: lifetime}]"
    views = {
        "users": view(KEYS, f"{BASE}, {listed}"),
        "sums": view(f"{KEYS}, {total}", f"{BASE}, {column('v', 'decimal(18,4)')}"),
    }
    project = make_project(tmp_path / "shop", views)
    execute(
        project,
        f"create table users ({USER}, {', '.join(f'{name} {kind}' for name, (_, kind, _) in columns.items())})",
        "insert into users (user_id, event_timestamp) values ('u', '2026-01-01')",
        f"create table sums ({USER}, v decimal(9, 2))",
        "insert into sums values ('u', '2026-01-01', 1.5)",
    )
    features = FeatureStore(project, online_store=tmp_path / "online")
    asked = ["users:*", "sums:*"]
    table = features.get_historical_features(SPINE, asked).to_arrow().drop_columns(SPINE.columns)
    assert dict(zip(table.column_names, map(str, table.schema.types), strict=True)) == {
        "wide": "float", "wide_0": "double", "short": "int64", "short_0": "int64", "digits": "decimal128(9, 2)",
        "digits_0": "decimal128(18, 4)", "mood": "large_string", "top": "decimal128(18, 4)",
    }  # fmt: skip
    expected = {
        "wide": None, "wide_0": 0.1, "short": None, "short_0": 5, "digits": None, "digits_0": Decimal("0.1234"),
        "mood": "c", "top": Decimal("1.5000"),
    }  # fmt: skip
    assert table.to_pylist() == [expected]
    features.export(as_of="2026-03-01")
    assert features.get_online_features(asked, [{"user_id": "u"}]).to_dict() == {
        "user_id": ["u"], **{name: [value] for name, value in expected.items()}
    }  # fmt: skip
    assert features.verify().found == 0


# Nanoseconds ------------------------------------------------------------------------------------------------------

# DuckDB 1.5 has no TIMESTAMPTZ_NS: it cuts such times to microseconds when it reads them.
FINE = [("timestamp_ns", "timestamp_ns")]
if "timestamptz_ns" in TYPES:
    FINE += [("timestamptz_ns", "timestamptz"), ("timestamptz_ns", "TIMESTAMP WITH TIME ZONE")]
    FINE += [("timestamptz_ns", "timestamptz_ns")]


def at(nanoseconds: int, year: int = 2026) -> pd.Timestamp:
    return pd.Timestamp(f"{year}-01-01", tz="UTC").as_unit("ns") + pd.Timedelta(nanoseconds, "ns")


def naive(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.apply(lambda column: column.dt.tz_localize(None) if column.dtype.kind == "M" else column)


@pytest.mark.parametrize(("stored", "declared"), sampled(FINE, 1))
def test_nanoseconds_of_history_count_up_and_those_of_a_spine_down(stored: str, declared: str, tmp_path: Path) -> None:
    times = ", ".join(column(name, declared) for name in ("event_timestamp", "created", "seen"))
    user = column("user_id", "varchar")
    views = {
        "plain": view(f"{KEYS}, created_timestamp: created", f"{user}, {times}, {VALUE}"),
        "counts": view(
            f"{KEYS}, aggregations: [{{name: events, function: count, window: lifetime}}]",
            f"{user}, {column('event_timestamp', declared)}",
        ),
        "places": view(
            "entity: moment, join_keys: [moment]",
            f"{column('moment', declared)}, {column('event_timestamp', declared)}, {column('place', 'varchar')}",
        ),
    }
    features = FeatureStore(make_project(tmp_path / "shop", views), online_store=tmp_path / "online")
    for year in (2026, 1960):  # `//` rounds towards zero
        check_nanoseconds(features, tmp_path, stored, year)


def check_nanoseconds(features: FeatureStore, folder: Path, stored: str, year: int) -> None:
    """Compare with results by hand; times are in nanoseconds after the new year."""
    history = pd.DataFrame(
        [("early", at(1000, year), 1.0), ("late", at(1001, year), 2.0), ("tied", at(1001, year), 9.0),
         ("tied", at(1999, year), 3.0), ("created", at(5, year), 4.0)],
        columns=["user_id", "event_timestamp", "value"],
    )  # fmt: skip
    history["created"] = history["event_timestamp"].mask(history["user_id"] == "created", at(2001, year))
    history["seen"] = at(7, year)
    if "tz" not in stored:
        history = naive(history)
    history.to_parquet(folder / "history.parquet")  # as Feast's templates have it
    execute(
        folder / "shop",
        f"create or replace table plain as from '{folder}/history.parquet'",
        "create or replace table counts as select user_id, event_timestamp from plain",
        "create or replace table places as "
        "select seen as moment, event_timestamp, 'here' as place from plain where user_id = 'early'",
    )
    asked = [999, 1000, 1999, 2000, 2999, 3000]
    users = ["early", "late", "tied", "created"]
    rows = [(user, at(time, year), at(7, year)) for user in users for time in asked]
    spine = pd.DataFrame(rows, columns=["user_id", "event_timestamp", "moment"])
    if "tz" not in stored:
        spine = naive(spine)
    found = features.get_historical_features(spine, ["plain:*", "counts:*", "places:*"]).to_arrow()
    values = [found["value"].to_pylist()[i : i + 6] for i in range(0, 24, 6)]
    assert values == [
        [None, 1.0, 1.0, 1.0, 1.0, 1.0],  # known from 1000 on
        [None, None, None, 2.0, 2.0, 2.0],  # from 2000 on: 1001 is after T = 1999, which is rounded down
        [None, None, None, 9.0, 9.0, 9.0],  # both from 2000 on, so they are tied, and the greatest value wins
        [None, None, None, None, None, 4.0],  # created at 2001, so known from 3000 on
    ]
    # Strictly before T, by the event times alone.
    counted = [found["events"].to_pylist()[i : i + 6] for i in range(0, 24, 6)]
    assert counted == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 2], [0, 0, 0, 1, 1, 1]]
    assert found["place"].to_pylist() == [None, "here", "here", "here", "here", "here"] * 4
    seen = pa.scalar(at(7, year).value, pa.int64())
    assert {each.cast(pa.int64()) for each in found["seen"] if each.is_valid} == {seen}
    for microseconds, online in {1: [1.0, None, None, None], 2: [1.0, 2.0, 9.0, None], 3: [1.0, 2.0, 9.0, 4.0]}.items():
        features.export(as_of=at(microseconds * 1000, year).isoformat())
        served = features.get_online_features(
            ["plain:*", "places:*"], [{"user_id": u, "moment": rows[0][2]} for u in users]
        )
        assert served.to_dict()["value"] == online
        assert served.to_dict()["place"] == ["here"] * 4
        assert served.to_dict()["seen"][0] == np.datetime64(at(7, year).value, "ns")
        assert features.verify().found == 0


@pytest.mark.parametrize(
    ("kind", "zone"),
    sampled(
        itertools.product(
            ["date", "timestamp_s", "timestamp_ms", "timestamp", "timestamptz", *dict(FINE)],
            ["UTC", "America/New_York"],
        ),
        5,
    ),
)
def test_a_spine_in_dbt_whose_type_is_not_known(kind: str, zone: str) -> None:
    manifest = {"metadata": {"project_name": "pit_join"}, "macros": macro_nodes(), "nodes": {}, "exposures": {}}
    sql = Renderer(manifest).call("spine_rows", "spine", "at")
    nanoseconds = "" if kind == "date" else " 00:00:00.000000999" + ("+00:00" if "tz" in kind else "")
    with duckdb.connect() as connection:
        connection.execute(f"set TimeZone = '{zone}'")
        connection.execute(f"create table spine as select cast('1960-05-01{nanoseconds}' as {kind}) as at")
        connection.execute("insert into spine values (null)")
        if kind != "timestamp_ns":  # DuckDB 1.5 has no nanoseconds of infinity
            connection.execute("insert into spine values ('infinity')")
        found = {time for (time,) in connection.execute(f"select _pit_time from ({sql})").fetchall()}
    day = datetime.datetime(1960, 5, 1, tzinfo=datetime.timezone.utc)
    assert found == {round(day.timestamp()) * 1_000_000, None}


@pytest.mark.parametrize(
    ("declared", "typed"),
    [
        ("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"),
        ("Timestamp with  time zone", "TIMESTAMP WITH TIME ZONE"),
        ("TIMESTAMPTZ_NS", "TIMESTAMP WITH TIME ZONE"),
        ("TIMESTAMP WITHOUT TIME ZONE", "TIMESTAMP"),
        ("timestamp_ns", "TIMESTAMP_NS"),
        (None, "TIMESTAMP"),
    ],
)
def test_the_event_time_of_a_window_in_a_session_of_another_zone(declared: str | None, typed: str) -> None:
    manifest = {"metadata": {"project_name": "pit_join"}, "macros": macro_nodes(), "nodes": {}, "exposures": {}}
    sql = Renderer(manifest).call("_as_time", "1000000", declared)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'America/New_York'")
        assert connection.execute(f"select typeof({sql}), epoch_ns({sql})").fetchall() == [(typed, 1_000_000_000)]


@pytest.mark.parametrize(
    ("default", "kind"),
    [
        (["a", None, 'it\'s, "x" \\ [b]', "None", ""], "varchar[]"),
        ([1, None], "bigint[]"),
        ([0.1, -0.5], "float[2]"),
        ([True, None], "boolean[]"),
        ([[1, 2], []], "integer[][]"),
        ([], "double[]"),
    ],
)
def test_a_list_as_a_default_is_what_is_declared(default: list[Any], kind: str) -> None:
    manifest = {"metadata": {"project_name": "pit_join"}, "macros": macro_nodes(), "nodes": {}, "exposures": {}}
    sql = Renderer(manifest).call("_constant", value=default, data_type=kind)
    ((found, type_name),) = duckdb.sql(f"select {sql} as d, typeof(d)").fetchall()
    wanted = np.float32(default).tolist() if "float" in kind else default
    assert (list(found), type_name.lower()) == (wanted, kind)
