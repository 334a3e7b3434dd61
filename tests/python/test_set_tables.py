"""Training sets that stay in the warehouse as tables, on DuckDB and on PostgreSQL, beside the same sets in memory."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
from support.postgres import built_shop, profile, running_postgres
from support.projects import run
from support.two_engines import LABELS, SPINES, unlike

from pit_join import FeatureStore
from pit_join.errors import PitJoinError, RequestError, SpineError, WarehouseError

pytestmark = [pytest.mark.dbt, pytest.mark.rest]

TARGETS = ("file", "server")
SCHEMAS = {"file": "warehouse.main", "server": "shop"}
KINDS = (pa.uint8(), pa.uint64(), pa.int8(), pa.int64())
FEATURES = ["activity:*", "events:*", "facts:*", "rates:*"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_postgres() as found:
        yield found


@pytest.fixture(scope="module")
def shop(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_shop(url, tmp_path_factory.mktemp("shop") / "shop")


@pytest.fixture
def rows(shop: Path, url: str) -> Callable[..., Any]:
    """The result of a query on a target, as Arrow in the types of DuckDB."""

    def read(target: str, query: str) -> pa.Table:
        with FeatureStore(shop, target=target)._workspace().warehouse() as warehouse:
            return warehouse.views.table_later([query], "here").result()

    return read


def prepared(shop: Path, target: str, spine: Any = "labels", features: Any = FEATURES, **options: Any) -> Any:
    return FeatureStore(shop, target=target).prepare_training_set(spine, features, **options)


def in_any_order(table: pa.Table) -> pa.Table:
    """The rows by their texts, since a table has no order."""
    texts = [str(tuple(row.values())) for row in table.to_pylist()]
    return table.take(pa.array(sorted(range(len(texts)), key=texts.__getitem__), pa.int64()))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("spine", SPINES)
def test_a_table_has_the_rows_of_the_set(shop: Path, rows: Callable[..., Any], target: str, spine: str) -> None:
    build = prepared(shop, target, SPINES[spine], provenance=True)
    wanted, made = build.run(), build.create_table("made", overwrite=True)
    found = rows(target, f"select * from {SCHEMAS[target]}.made")
    expected = wanted.to_arrow().replace_schema_metadata()
    assert made.columns == tuple(found.column_names) == tuple(expected.column_names)
    assert (made.rows, len(found), made.name) == (
        len(expected),
        len(expected),
        f"{SCHEMAS[target].split(chr(46))[-1]}.made",
    )
    assert [(each.statuses, each.ages) for each in made.coverage] == [
        (each.statuses, each.ages) for each in wanted.coverage
    ]
    own = len(found.column_names) - wanted.features.num_columns
    features = pa.schema(list(found.schema)[own:])
    assert features == pa.schema(list(expected.schema)[own:])
    same_types = found.cast(expected.schema) if spine in ("frame", "no rows") else found
    assert not unlike(in_any_order(same_types), in_any_order(expected))[:5]


@pytest.mark.parametrize("target", TARGETS)
def test_every_type_of_a_given_spine_is_kept(shop: Path, rows: Callable[..., Any], target: str) -> None:
    names = ["a b", 'q"uote', "Capital", "select"]
    spine = pa.table(
        {
            "user_id": ["u1", "u2", None],
            "event_timestamp": pa.array([1_767_225_600_000_000_123, None, 0], pa.timestamp("ns", "UTC")),
            **{name: pa.array([1, None, 2], kind) for name, kind in zip(names, KINDS, strict=True)},
            "price": pa.array([None, 1, 2], pa.decimal128(12, 3)),
            "ratio": pa.array([float("nan"), None, -0.0], pa.float32()),
            "day": pa.array([None, 1, 2], pa.date32()),
            "naive": pa.array([None, 1, 2], pa.timestamp("s")),
            "text": pa.array(["é'\\", "", None]).dictionary_encode(),
            "yes": pa.array([True, None, False]),
            "bytes": pa.array([b"\0", b"", None]),
            "empty": pa.nulls(3),
            "no_value": pa.nulls(3, pa.int16()),
        }
    )
    made = prepared(shop, target, spine, ["facts:tier"]).create_table("kinds", overwrite=True)
    found = rows(target, f"select * from {SCHEMAS[target]}.kinds").sort_by("Capital").to_pydict()
    assert (list(found), made.rows) == ([*spine.column_names, "tier"], 3)
    wanted = spine.take([0, 2, 1]).to_pydict()
    assert str(found["event_timestamp"][0])[:19] == "2026-01-01 00:00:00"
    assert str(found.pop("ratio")) == str(wanted.pop("ratio"))
    assert {name: found[name] for name in wanted if name != "event_timestamp"} == {
        name: values for name, values in wanted.items() if name != "event_timestamp"
    }


def test_the_metadata_are_in_the_comment(shop: Path, url: str) -> None:
    said = []
    for target in TARGETS:
        build = prepared(shop, target, features=["facts:tier"])
        build.create_table("noted", overwrite=True)
        if target == "server":
            with psycopg.connect(url) as connection:
                (comment,) = connection.execute("select obj_description('shop.noted'::regclass)").fetchone() or ("",)
        else:
            with duckdb.connect(str(shop / "warehouse.duckdb"), read_only=True) as file:
                ((comment,),) = file.execute(
                    "select comment from duckdb_tables() where table_name = 'noted'"
                ).fetchall()
        said.append(json.loads(comment)["pit_join"])
        metadata = build.run().metadata
        assert said[-1] == json.loads(json.dumps({**metadata, "spine_columns": list(metadata["spine_columns"])}))
    assert said[0]["coverage"] == said[1]["coverage"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_table_is_replaced_only_if_asked_for(shop: Path, rows: Callable[..., Any], target: str) -> None:
    ours = ("--project-dir", str(shop), "--target", target, "build-training-set", "--spine", "labels")
    run_it = (*ours, "--features", "facts:tier", "--output-table")
    done = run(*run_it, f"{SCHEMAS[target].split('.')[-1]}.Once")
    assert (done.status, f"{SCHEMAS[target].split('.')[-1]}.Once: 90 rows, 4 columns" in done.out) == (0, True), (
        done.err
    )
    again = run(*run_it, "Once")
    assert (again.status, "Once exists; choose another name, or replace it with --overwrite" in again.err) == (3, True)
    with pytest.raises(WarehouseError, match=r"replace it with overwrite=True"):
        prepared(shop, target).create_table("Once")
    other = run(*run_it[:-3], "--features", "rates:rate", "--output-table", "Once", "--overwrite", "--json")
    assert json.loads(other.out)["output"].endswith(".Once"), other.err
    assert "rate" in rows(target, f'select * from {SCHEMAS[target]}."Once"').column_names


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("labels", RequestError, "is the table of the seed labels, which is not replaced; choose another name"),
        ("ACTIVITY", RequestError, "is the table of the model activity, which is not replaced"),
        ("a.b.c", RequestError, "a table is named NAME or SCHEMA.NAME, and a part with a dot stands in double quotes"),
        ("", RequestError, "a table is named NAME"),
        ("a.", RequestError, "a table is named NAME"),
        ('"a', RequestError, "a table is named NAME"),
        ("nowhere.x", WarehouseError, r"the table nowhere.x cannot be made: .*schema .*nowhere.* does not exist"),
    ],
)
def test_names_that_are_refused(shop: Path, target: str, name: str, kind: type[PitJoinError], says: str) -> None:
    with pytest.raises(kind, match=f"(?i){says}"):
        prepared(shop, target).create_table(name, overwrite=True)


@pytest.mark.parametrize("target", TARGETS)
def test_an_sql_view_is_not_replaced(shop: Path, url: str, target: str) -> None:
    make, drop = "create view {}.looked as select 1 as one", "drop view {}.looked"
    execute(shop, url, target, make)
    try:
        with pytest.raises(WarehouseError, match=r"the table \w+\.looked cannot be made: .*looked"):
            prepared(shop, target).create_table("looked", overwrite=True)
    finally:
        execute(shop, url, target, drop)


def execute(shop: Path, url: str, target: str, statement: str) -> None:
    if target == "server":
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.format("shop"))  # type: ignore[arg-type]
        return
    with duckdb.connect(str(shop / "warehouse.duckdb")) as file:
        file.execute(statement.format("main"))


def test_on_demand_features_are_those_of_duckdb(shop: Path, rows: Callable[..., Any]) -> None:
    build = prepared(shop, "file", features="everything")
    build.create_table("computed", overwrite=True)
    wanted = in_any_order(build.run().to_arrow().replace_schema_metadata())
    assert not unlike(in_any_order(rows("file", "select * from warehouse.main.computed")), wanted)[:5]
    with pytest.raises(
        RequestError, match=r"DuckDB computes on-demand .* run\(\) to a file instead, or leave halved out"
    ):
        prepared(shop, "server", features="everything").create_table("computed")


def widened(columns: int, kind: pa.DataType) -> pa.Table:
    labels = pa.Table.from_pandas(LABELS)
    values = pa.array([1] * len(labels), kind)
    return pa.table(
        {
            **{name: labels[name] for name in labels.column_names},
            **dict.fromkeys((f"own_{number}" for number in range(columns)), values),
        }
    )


def test_a_set_that_is_too_wide_is_refused(shop: Path) -> None:
    wide = widened(1_600, pa.int64())
    with pytest.raises(
        RequestError, match=r"at most 1,600 columns, and this training set has 1,605; write .*to a file"
    ):
        prepared(shop, "server", wide, ["facts:tier", "facts:since"]).create_table("wide")
    assert len(prepared(shop, "file", wide, ["facts:tier"]).create_table("wide", overwrite=True).columns) == 1_604
    wide = widened(1_500, pa.float64())
    with pytest.raises(WarehouseError, match=r"row is too big.*; a file holds rows of any size, so write one instead"):
        prepared(shop, "server", wide, ["facts:tier"]).create_table("wide")


def test_what_a_server_does_not_take(shop: Path) -> None:
    spine = pa.table({"user_id": ["u1"], "event_timestamp": pa.array([0], pa.timestamp("us", "UTC"))})
    nested = spine.append_column("nested", pa.array([{"a": 1}]))
    with pytest.raises(SpineError, match=r"the column 'nested' of the spine given in memory is STRUCT.*leave it out"):
        prepared(shop, "server", nested, ["facts:tier"]).create_table("odd")
    infinite = spine.append_column("until", pa.array([2**63 - 1], pa.timestamp("us", "UTC")))
    with pytest.raises(SpineError, match="the column 'until' of the spine given in memory has infinite times"):
        prepared(shop, "server", infinite, ["facts:tier"]).create_table("odd")


def test_a_role_without_the_rights(shop: Path, url: str, tmp_path: Path) -> None:
    other = tmp_path / "shop"
    shutil.copytree(shop, other, ignore=shutil.ignore_patterns("*.duckdb", "target"))
    (other / "profiles" / "profiles.yml").write_text(profile(url, user="reader"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create role reader login")
        try:
            connection.execute("grant usage on schema shop to reader")
            connection.execute("grant select on all tables in schema shop to reader")
            with pytest.raises(
                WarehouseError, match=r"the table shop.mine cannot be made: permission denied.*grant it"
            ):
                prepared(other, "server").create_table("mine")
            connection.execute("grant create on schema shop to reader")
            assert prepared(other, "server").create_table("mine").rows == len(LABELS)
            connection.execute("create table shop.yours ()")
            with pytest.raises(
                WarehouseError, match=r"the table shop\.yours cannot be made: must be owner of table yours"
            ):
                prepared(other, "server").create_table("yours", overwrite=True)
        finally:
            connection.execute("drop table if exists shop.yours")
            connection.execute("drop owned by reader")
            connection.execute("drop role reader")


def test_options_that_exclude_each_other(shop: Path) -> None:
    ours = ("--project-dir", str(shop), "build-training-set", "--spine", "labels", "--service", "everything")
    for more, says in (
        (("--output-table", "t", "--output", "t.csv"), "--output and --output-table exclude each other"),
        (("--output-table", "t", "--sql"), "--output-table and --sql exclude each other"),
        (("--output", "t.csv", "--overwrite"), "--overwrite has no effect without --output-table"),
        ((), "give --output FILE (.parquet, .csv or .arrow), --output-table NAME"),
    ):
        done = run(*ours, *more)
        assert (done.status, says in done.err) == (2, True), done.err


def test_a_locked_file_is_waited_for(shop: Path) -> None:
    opened = f"held = duckdb.connect({str(shop / 'warehouse.duckdb')!r}, read_only=True)"
    reading = f"import duckdb, time; {opened}; print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", reading], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        ours = ("--project-dir", str(shop), "--target", "file", "--wait", "0.5", "build-training-set")
        asked = ("--spine", "labels", "--features", "facts:tier", "--output-table", "locked")
        done = run(*ours, *asked)
        process.kill()
    assert (done.status, "did not release it within 0.5 s" in done.err) == (3, True), done.err
    assert run(*ours, *asked).status == 0


DYING = """
import os, signal, sys
from pit_join import FeatureStore
from pit_join.warehouse import duckdb_session, remote_session

def die_before(session):
    execute = session.execute
    def dying(self, sql, what):
        if sql.startswith(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        execute(self, sql, what)
    session.execute = dying

die_before(duckdb_session._Session)
die_before(remote_session.RemoteSession)
store = FeatureStore(sys.argv[1], target=sys.argv[2])
store.prepare_training_set("labels", ["facts:tier"]).create_table("killed", overwrite=True)
"""


@pytest.mark.parametrize(
    ("target", "last"), [("file", "comment on"), ("server", "comment on"), ("server", "alter table")]
)
def test_a_killed_build_leaves_the_old_table(shop: Path, rows: Callable[..., Any], target: str, last: str) -> None:
    prepared(shop, target, LABELS[:7], ["facts:tier"]).create_table("killed", overwrite=True)
    done = subprocess.run([sys.executable, "-c", DYING, str(shop), target, last], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(rows(target, f"select * from {SCHEMAS[target]}.killed")) == 7
    with FeatureStore(shop, target=target)._workspace().warehouse() as warehouse:
        assert not [name for *_, name in warehouse.views.built() if name.startswith("_pit_")]
    assert prepared(shop, target, features=["facts:tier"]).create_table("killed", overwrite=True).rows == len(LABELS)
