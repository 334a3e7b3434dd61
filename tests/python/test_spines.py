"""Parquet files as spines: which columns they have, and what is not a Parquet file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pit_join.definitions.connection import Connection
from pit_join.definitions.field_type import read_type
from pit_join.errors import PitJoinError, SpineError
from pit_join.training.parquet_spine import read_parquet
from pit_join.training.spine import check_key_values, find_spine
from pit_join.warehouse.duckdb_session import DuckDBWarehouse

AT = datetime(2026, 3, 1)
PLAIN = {"id": pa.array([1], pa.uint32()), "at": pa.array([AT], pa.timestamp("us", "Europe/Berlin"))}
NESTED = PLAIN | {
    "deep": pa.array([{"id": 1, "list": [1]}], pa.struct([("id", pa.int32()), ("list", pa.list_(pa.int8()))])),
    "map": pa.array([[("at", 1)]], pa.map_(pa.string(), pa.int32())),
    "rows": pa.array([[{"id": 1}]], pa.list_(pa.struct([("id", pa.int64())]))),
    "word": pa.array(["x"]).dictionary_encode(),
    "a.b": pa.array([1]),
}


def columns(path: Path, folder: Path) -> list[str]:
    """The columns of a spine as the build reads them."""
    with DuckDBWarehouse(Connection("dev", folder, {})) as warehouse:
        spine = find_spine(path, {"metadata": {"project_name": "shop"}, "nodes": {}}, folder)
        rows = spine.rows(warehouse, {"id": read_type("int")}, "at")
        assert list(warehouse.columns(f"from {rows.sql}", spine.unreadable)) == rows.names
        return list(rows.names)


@pytest.mark.parametrize("name", ["spine.parquet", "a *[b]? 'c' \"d\" #é%20.parquet"])
@pytest.mark.parametrize("options", [{}, {"use_deprecated_int96_timestamps": True}, {"version": "1.0"}])
@pytest.mark.parametrize("rows", [0, 1])
def test_columns(name: str, options: dict[str, object], rows: int, tmp_path: Path) -> None:
    pq.write_table(pa.table(NESTED).slice(0, rows), tmp_path / name, **options)
    assert columns(tmp_path / name, tmp_path) == list(NESTED)


def test_columns_of_a_file_of_duckdb(tmp_path: Path) -> None:
    connection = duckdb.connect()
    connection.execute(
        "copy (select 1 as id, now() as at, interval 1 day as i, uuid() as u, 1::hugeint as h, 'a'::enum('a') as e, "
        f"json('{{}}') as j, time '10:00' as t, {{'a': [1]}} as s) to '{tmp_path / 'spine.parquet'}'"
    )
    assert columns(tmp_path / "spine.parquet", tmp_path) == ["id", "at", "i", "u", "h", "e", "j", "t", "s"]


@pytest.mark.parametrize("rows", [0, 5000])
def test_intervals_and_uuids_of_a_file_of_duckdb(rows: int, tmp_path: Path) -> None:
    """pyarrow has no reader for the one, and before version 21 none for the other."""
    path = tmp_path / "spine.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "copy (select n, case when n % 3 > 0 then to_months((n % 7)::int) + to_days(n::int) + "
            "to_milliseconds(n * 9999) end as age, "
            "case when n % 4 > 0 then printf('00000000-0000-0000-0000-%012d', n)::uuid end as key, "
            f"n::varchar::blob as bytes from range({rows}) as r(n)) to '{path}' (row_group_size 2048)"
        )
        table = read_parquet(path, "the spine")
        connection.register("found", table)
        query = "select n, age, datepart(['month', 'day'], age), key::varchar, bytes from {} order by n"
        expected = connection.execute(query.format(f"'{path}'")).fetchall()
        assert connection.execute(query.format("found")).fetchall() == expected
    assert table.schema.types == [pa.int64(), pa.month_day_nano_interval(), pa.uuid(), pa.binary()]
    if rows:
        assert [tuple(age) for age in table["age"].slice(2002, 1).to_pylist()] == [(0, 2002, 2002 * 9_999_000_000)]
        assert table["key"].slice(4, 2).is_null().to_pylist() == [True, False]


@pytest.mark.parametrize(("other", "words"), [("id", "'id' twice"), ("ID", "both 'id' and 'ID'")])
def test_a_doubled_column(other: str, words: str, tmp_path: Path) -> None:
    names = ["id", "at", other]
    pq.write_table(pa.Table.from_arrays([*PLAIN.values(), PLAIN["id"]], names), tmp_path / "spine.parquet")
    with pytest.raises(SpineError, match=words):
        columns(tmp_path / "spine.parquet", tmp_path)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "text": lambda content: b"id,at\n1,2026-03-01\n" * 9,
    "cut off": lambda content: content[:-10],
    "a footer that is too long": lambda content: content[:-8] + b"\xff\xff\xff\x7fPAR1",
    "a damaged footer": lambda content: content[:-60] + b"\xff" * 20 + content[-40:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_a_parquet_file(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "spine.parquet"
    pq.write_table(pa.table(PLAIN), path)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(PitJoinError, match=r"^the spine .*spine\.parquet cannot be read: ") as found:
        columns(path, tmp_path)
    assert found.value.exit_status == 2
    assert str(found.value).endswith("; is it a Parquet file?")
    assert "\n" not in str(found.value)


def test_a_parquet_file_without_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({}), tmp_path / "spine.parquet")
    with pytest.raises(PitJoinError, match=r"spine\.parquet has no column 'id'; there are no columns\. Name the time"):
        columns(tmp_path / "spine.parquet", tmp_path)


FLOAT_KEYS = [
    ("bigint", "double", 2**53 - 1, None),
    ("bigint", "double", 2**53 + 1, r"above 2\^53 and the feature view's is double, .*; make the view's key a bigint"),
    ("bigint", "double", -(2**53) - 1, r"above 2\^53 and the feature view's is double"),
    ("decimal(38, 0)", "double", 10**30, r"above 2\^53 and the feature view's is double"),
    ("double", "bigint", 2**53, r"above 2\^53 as floats, which cannot tell them apart; read it as whole numbers"),
    ("double", "double", 2**53, r"above 2\^53 as floats"),
    ("float", "bigint", 2**24, r"above 2\^24 as floats"),
    ("integer", "float", 2**24 + 1, r"above 2\^24 and the feature view's is float"),
    ("integer", "float", 2**24 - 1, None),
    ("bigint", "bigint", 2**60, None),
    ("bigint", "decimal(38, 0)", 2**60, None),
    ("double", "varchar", 2**60, None),
]


@pytest.mark.parametrize(("kind", "wanted", "value", "problem"), FLOAT_KEYS)
def test_keys_that_a_float_cannot_tell_apart(
    kind: str, wanted: str, value: int, problem: str | None, tmp_path: Path
) -> None:
    with DuckDBWarehouse(Connection("dev", tmp_path, {})) as warehouse:
        warehouse.execute(f"create temp table t as select {value}::{kind} as id union all select null", "t")
        given = (warehouse, lambda column: "t", warehouse.columns("from t", "t"), [("ID", read_type(wanted))], "labels")
        with pytest.raises(SpineError, match=problem) if problem else nullcontext():
            check_key_values(*given)


@pytest.mark.skipif(int(pa.__version__.split(".")[0]) < 26, reason="pyarrow 18 loads pandas itself here")
def test_a_parquet_file_is_read_without_pandas(tmp_path: Path) -> None:
    """To load pandas takes a fifth of a second."""
    pq.write_table(pa.table(PLAIN), tmp_path / "spine.parquet")
    code = """
import sys
from pathlib import Path
from pit_join.definitions.connection import Connection
from pit_join.definitions.field_type import read_type
from pit_join.training.spine import find_spine
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
with DuckDBWarehouse(Connection("dev", Path.cwd(), {})) as warehouse:
    manifest = {"metadata": {"project_name": "shop"}, "nodes": {}}
    find_spine("spine.parquet", manifest, Path.cwd()).rows(warehouse, {"id": read_type("int")}, "at")
print("pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
