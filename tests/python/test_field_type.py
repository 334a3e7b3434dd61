"""Column types: every name that DuckDB knows, and what is not a name of its."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from support.rule_sql import macro_nodes
from support.runs import sampled

from pit_join.definitions.aggregations import result_type
from pit_join.definitions.connection import Connection, Database
from pit_join.definitions.field_type import FieldType, read_type, type_of
from pit_join.definitions.registry import Registry
from pit_join.definitions.table_check import check_table
from pit_join.errors import PitJoinError
from pit_join.project.rendering import Renderer
from pit_join.warehouse.duckdb_session import DuckDBWarehouse

# Not the type of a column by their names alone.
PARTS = {
    "array": "int[3]", "enum": "enum('a', 'b')", "list": "varchar[]", "map": "map(int, varchar)", "null": "int",
    "row": "row(a int)", "struct": 'struct("A b" int)', "tuple": "struct(a int)", "type": "int",
    "union": "union(a int, b varchar)",
}  # fmt: skip
NAMES = sorted(
    {name.lower() for (name,) in duckdb.connect().execute("select type_name from duckdb_types()").fetchall()}
)
WITH_NUMBERS = [
    "decimal(10, 2)", "numeric(9)", "dec(4,1)", "varchar(10)", "char(3)", "character varying", "double precision",
    "timestamp without time zone", "timestamp(0)", "timestamp(3)", "timestamp(6)", "timestamp(9)", "decimal(5,1)[]",
    "struct(a int)[]", "enum('a')[]", "time with time zone[]", "int array", "float4 [64]", "float[][]",
]  # fmt: skip
SAME = [
    ("BIGINT", "int8", "number"), ("BIGINT", " Long ", "number"), ("INTEGER", "signed", "number"),
    ("UTINYINT", "uint8", "number"), ("HUGEINT", "int128", "number"), ("DOUBLE", "double precision", "number"),
    ("FLOAT", "real", "number"), ("DECIMAL(18,3)", "numeric", "number"), ("DECIMAL(9,0)", "dec(9)", "number"),
    ("VARCHAR", "string", "text"), ("VARCHAR", "character varying(9)", "text"), ("VARCHAR", "nvarchar", "text"),
    ("BOOLEAN", "logical", "BOOLEAN"), ("BLOB", "bytea", "BLOB"), ("UUID", "guid", "UUID"),
    ("TIMESTAMP WITH TIME ZONE", "timestamptz", "time"), ("TIMESTAMP", "datetime", "time"),
    ("TIMESTAMP_MS", "timestamp(3)", "time"), ("TIME WITH TIME ZONE", "timetz", "TIME WITH TIME ZONE"),
    ("INTEGER[]", "int[]", "INTEGER[]"), ("STRUCT(a INTEGER)", "row(a int4)", "STRUCT"),
]  # fmt: skip
OWN = [
    "mood", "main.mood", "uint", "decimal(39, 1)", "int not null", "int, b int", "int) --", "int -- x", "point",
    "varchar collate nocase", "list", "int[0]", "'", "\0",
]  # fmt: skip


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[DuckDBWarehouse]:
    with DuckDBWarehouse(Connection("dev", tmp_path, {})) as opened:
        yield opened


@pytest.mark.parametrize("name", sampled([*NAMES, *WITH_NUMBERS], 35))
def test_a_declared_type_is_that_of_the_column(name: str, warehouse: DuckDBWarehouse) -> None:
    declared = PARTS.get(name, name)
    warehouse.execute(f"create table memory.main.t (x {declared})", "t")
    (stored,) = warehouse.columns("from memory.main.t", "t").values()
    assert read_type(declared) == stored
    assert read_type(stored.name) == stored
    assert read_type(declared.upper()).family.upper() == stored.family.upper()


def test_all_names_came_up() -> None:
    assert len(NAMES) > 70
    assert set(PARTS) - set(NAMES) <= {"tuple"}  # DuckDB 2 has it


@pytest.mark.parametrize(("name", "text", "family"), SAME)
def test_spelled_differently(name: str, text: str, family: str) -> None:
    found = read_type(text)
    assert (found, found.name, found.text, found.family) == (read_type(name), name, text, family)


@pytest.mark.parametrize("text", OWN)
def test_what_is_not_a_type_of_duckdb_is_a_type_of_its_own(text: str) -> None:
    assert read_type(text) == FieldType(text.upper(), text)
    assert read_type(text) == read_type(text.upper())


def test_a_type_of_a_database(warehouse: DuckDBWarehouse) -> None:
    warehouse.execute("create type mood as enum ('sad', 'ok')", "mood")
    (stored,) = warehouse.columns("select 'ok'::mood as mood", "mood").values()
    assert (stored.family, read_type("mood").family) == ("text", "MOOD")


@pytest.mark.parametrize(
    ("text", "families"),
    [
        ("int8", {"number"}),
        ("char(3)", {"text"}),
        ("datetime", {"time", "text"}),
        ("bool", {"BOOLEAN"}),
        ("logical", {"BOOLEAN"}),
        ("mood", {"number", "text", "time", "BOOLEAN", "MOOD"}),
        ("int[]", {"number", "text", "time", "BOOLEAN", "MOOD"}),
    ],
)
def test_takes(text: str, families: set[str]) -> None:
    assert {one for one in ("number", "text", "time", "BOOLEAN", "MOOD") if read_type(text).takes(one)} == families


@pytest.mark.parametrize("name", sampled([*NAMES, *WITH_NUMBERS], 35))
def test_the_macros_give_a_sum_the_same_type(name: str) -> None:
    """They read the text of a type by themselves, since dbt does not have the value."""
    if (declared := read_type(name)).number:
        manifest = {"metadata": {"project_name": "pit_join"}, "macros": macro_nodes(), "nodes": {}}
        found = Renderer({**manifest, "exposures": {}}).call("_aggregated_type", "sum", name)
        assert read_type(found) == result_type("sum", declared)


def test_types_are_read_while_the_shared_connection_is_busy_and_by_many_threads() -> None:
    shared, wrong = duckdb.default_connection(), []

    def keep_busy() -> None:
        with pytest.raises(duckdb.InterruptException):
            shared.execute("select sum(a.i * b.i) from range(1000000) a(i), range(1000000) b(i)")

    busy = threading.Thread(target=keep_busy)
    busy.start()

    def read() -> None:
        try:
            for scale in range(30):
                assert read_type.__wrapped__(f"dec(30, {scale})").scale == scale
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while busy.is_alive():
        shared.interrupt()
        busy.join(0.05)
    assert not wrong


def test_types_are_read_after_a_fork() -> None:
    read_type("int8")
    if not (child := os.fork()):
        os._exit(0 if read_type.__wrapped__("int4").name == "INTEGER" else 1)
    assert os.waitpid(child, 0)[1] == 0


# A declared type, the table's, and whether the one describes the other.
PAIRS = [
    ("int", "bigint", True), ("bigint", "utinyint", True), ("hugeint", "smallint", True), ("real", "double", True),
    ("double", "float4", True), ("integer", "varchar", False), ("varchar", "integer", False),
    ("integer", "double", False), ("double", "integer", False), ("integer", "decimal(9,0)", False),
    ("numeric", "double", False), ("double", "decimal(9,2)", False), ("decimal(18,4)", "bigint", False),
    ("decimal(18,4)", "decimal(9,2)", True), ("decimal(9,2)", "decimal(9,2)", True),
    ("decimal(9,2)", "decimal(18,4)", False), ("decimal(9,2)", "decimal(9,3)", False),
    ("decimal(9,3)", "decimal(9,2)", False), ("decimal(18,2)", "decimal(9,4)", False),
    ("numeric", "decimal(18,3)", True), ("text", "varchar", True), ("char(3)", "varchar", True),
    ("string", "enum('a', 'b')", True), ("enum('a', 'b')", "varchar", True), ("varchar", "json", False),
    ("json", "varchar", False), ("json", "json", True), ("varchar", "uuid", False), ("uuid", "varchar", False),
    ("varchar", "blob", False), ("blob", "bytea", True), ("boolean", "integer", False), ("integer", "boolean", False),
    ("bool", "logical", True), ("bit", "boolean", False), ("timestamp", "timestamp_s", True),
    ("timestamp_ms", "timestamp_ns", True), ("datetime", "timestamp_us", True), ("timestamp", "timestamptz", False),
    ("timestamptz", "timestamp", False), ("timestamp with time zone", "timestamptz", True),
    ("timestamptz_ns", "timestamptz", True), ("timestamptz_ns", "timestamp_ns", False), ("timestamp", "date", False),
    ("date", "timestamp", False), ("varchar", "date", False), ("time", "timestamp", False), ("time", "time_ns", True),
    ("time", "timetz", False), ("interval", "time", False), ("interval", "bigint", False),
    ("float[]", "double[]", True), ("float[]", "float[3]", True), ("float[3]", "double[]", True),
    ("float[3]", "float[4]", False), ("float[]", "float", False), ("float", "float[]", False),
    ("int[]", "double[]", False), ("int[][]", "bigint[][]", True), ("int[][]", "int[]", False),
    ("decimal(9,2)[]", "decimal(9,3)[]", False), ("varchar[]", "enum('a')[]", True),
    ("timestamp[]", "timestamptz[]", False), ("struct(a int, b varchar)", "struct(A bigint, b text)", True),
    ("struct(a int, b varchar)", "struct(b text, a int)", True), ("struct(a int)", "struct(a varchar)", False),
    ("struct(a int)", "struct(b int)", False), ("struct(a int)", "struct(a int, b int)", False),
    ("struct(a int, b int)", "struct(a int)", False), ("struct(a int[])[]", "struct(a double[])[]", False),
    ("struct(a struct(b int))", "struct(a struct(b int8))", True), ("struct(a int)", "map(varchar, int)", False),
    ("map(varchar, int)", "map(text, bigint)", True), ("map(varchar, int)", "map(varchar, double)", False),
    ("map(int, int)", "map(varchar, int)", False), ("union(a int, b varchar)", "union(a bigint, b varchar)", True),
    ("union(a int)", "union(a int, b varchar)", False), ("geometry", "geometry", True), ("variant", "variant", True),
    ("variant", "json", False), ("bignum", "bigint", False), ("mood", "varchar", False),
    ("varchar collate nocase", "integer", False),
]  # fmt: skip


@pytest.mark.parametrize(("declared", "table", "fits"), sampled(PAIRS, 30))
def test_a_declaration_describes_the_type_of_a_table(
    declared: str, table: str, fits: bool, warehouse: DuckDBWarehouse
) -> None:
    warehouse.execute(f"create table memory.main.t (x {table})", "t")
    (actual,) = warehouse.columns("from memory.main.t", "t").values()
    assert read_type(declared).describes(actual) is fits
    assert read_type(declared.upper()).describes(actual) is fits


@pytest.mark.parametrize("name", sampled([*NAMES, *WITH_NUMBERS], 35))
def test_every_type_describes_itself_and_few_others(name: str, warehouse: DuckDBWarehouse) -> None:
    declared = read_type(PARTS.get(name, name))
    warehouse.execute(f"create table memory.main.t (x {declared})", "t")
    assert declared.describes(warehouse.columns("from memory.main.t", "t")["x"])
    others = (
        "boolean",
        "bigint",
        "decimal(38,9)",
        "double",
        "text",
        "blob",
        "date",
        "timestamp",
        "timestamptz",
        "uuid",
    )
    assert sum(declared.describes(read_type(other)) for other in others) <= 1


def test_a_type_that_is_named_beside_a_table(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
        connection.execute("create schema \"a b\"; create type \"a b\".mood as enum ('sad', 'ok')")
        connection.execute("create type money as decimal(9, 2)")
    connection = Connection("dev", tmp_path, {"shop": Database(str(tmp_path / "shop.duckdb"))})
    with DuckDBWarehouse(connection) as warehouse:
        there, main = ("shop", "a b", "t"), ("shop", "main", "t")
        named = {text: warehouse.named_type(text, there) for text in ("mood", " MOOD[] ", "struct(m mood)", "bigint")}
        assert {text: kind and kind.name for text, kind in named.items()} == {
            "mood": "ENUM('sad', 'ok')", " MOOD[] ": "ENUM('sad', 'ok')[]",
            "struct(m mood)": "STRUCT(m ENUM('sad', 'ok'))", "bigint": "BIGINT",
        }  # fmt: skip
        assert warehouse.named_type("money", main) == read_type("decimal(9, 2)")
        for text in ("mood", "moood", "int, y int", "int not null", "int)) --", "", "'"):
            assert warehouse.named_type(text, main) is None, text
        assert warehouse.named_type("bigint", ("nowhere", "main", "t")) is None
        assert warehouse.row("select current_schema() as here, 1 as one", "no") == {"here": "main", "one": 1}


TABLE = "create table t (id bigint, moment timestamp_ms, fare decimal(9, 2))"


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (("int8", "timestamp(3)", "numeric(9,2)"), None),
        (("long", "TIMESTAMP_MS", "dec(12, 2)"), None),
        (("varchar", "timestamp(3)", "numeric(9,2)"), "'id' is declared varchar, and the table's is BIGINT"),
        (
            ("int8", "timestamp(6)", "numeric(9,2)"),
            r"'moment' is declared timestamp\(6\), and the table's is TIMESTAMP_MS",
        ),
        (("int8", "timestamp(3)", "double"), r"'fare' is declared double, and the table's is DECIMAL\(9,2\)"),
        (
            ("int8", "timestamp(3)", "numeric(9)"),
            r"'fare' is declared numeric\(9\) \(DECIMAL\(9,0\)\), and the table's is DECIMAL\(9,2\)",
        ),
        (
            ("varchar", "timestamp", "double"),
            "(?s)'id' is declared varchar.*'moment' is declared timestamp,.*'fare' is declared double",
        ),
    ],
)
def test_the_types_of_a_table_in_other_words(declared: tuple[str, ...], problem: str | None) -> None:
    total = {"name": "total", "function": "sum", "column": "fare", "window": "1 day"}
    meta = {"entity": "user", "join_keys": ["id"], "aggregations": [total]}
    node = {
        "name": "rides", "resource_type": "model", "package_name": "shop", "original_file_path": "rides.yml",
        "columns": {name: {"data_type": kind} for name, kind in zip(("id", "moment", "fare"), declared, strict=True)},
        "config": {"event_time": "moment", "meta": {"pit_join": meta}},
    }  # fmt: skip
    manifest = {"metadata": {"project_name": "shop"}, "nodes": {"rides": node}, "exposures": {}}
    connection = duckdb.connect()
    connection.execute(TABLE)
    table = connection.sql("from t")
    columns = {name: type_of(kind) for name, kind in zip(table.columns, table.types, strict=True)}
    view = Registry.from_manifest(manifest).view("rides")
    if problem is None:
        check_table(view, columns)
    else:
        with pytest.raises(PitJoinError, match=problem):
            check_table(view, columns)
