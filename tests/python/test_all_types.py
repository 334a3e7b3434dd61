"""Every type of DuckDB through every way out: the value of the table, or refused where the column is declared.

The texts that DuckDB itself has for the values of the table are the expectation. `pytest tests/python/test_all_types.py
--update-golden` writes the table of docs/types.md.
"""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from http_servers import serving
from support.dbt import ROOT
from support.pages import table
from support.projects import make_project, run, view
from support.runs import sampled

from pit_join import FeatureLog, FeatureStore, PitJoinError, ProjectError, StoreError
from pit_join.definitions.registry import Registry
from pit_join.frames import as_pandas, as_polars, check_finite, readable

pytestmark = pytest.mark.dbt

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
LOGICAL = dict(duckdb.sql("select lower(type_name), logical_type from duckdb_types()").fetchall())
KNOWN = set(LOGICAL.values())
POLARS_HAS_MAPS = hasattr(polars, "Map")  # which came after polars 2.0

SERVED = {
    "boolean": ["true", "false"],
    "tinyint": ["7", "-128"],
    "smallint": ["7", "-32768"],
    "integer": ["7", "-2147483648"],
    "bigint": ["9007199254740993", "-9223372036854775808"],
    "hugeint": ["-7", "99999999999999999999999999999999999999", "170141183460469231731687303715884105727"],
    "utinyint": ["255"],
    "usmallint": ["65535"],
    "uinteger": ["4294967295"],
    "ubigint": ["18446744073709551615"],
    "float": ["0.1", "3.4028235e+38", "'nan'", "'-inf'", "'-0.0'"],
    "double": ["0.1", "-1.7976931348623157e+308", "'nan'", "'inf'", "'-0.0'", "5e-324"],
    "decimal(9,2)": ["6.30", "-9999999.99"],
    "decimal(18,6)": ["999999999999.999999"],
    "decimal(38,10)": ["0.0000000001", "0.0000000000", "-9999999999999999999999999999.9999999999"],
    "varchar": ["'Zürich'", "'a' || chr(0) || 'b'", "''", "' a '", "'NULL'", "'1,5'", "'a\nb'", "'\"'"],
    "enum('b', 'a')": ["'a'", "'b'"],
    "json": ["'{\"a\": [1]}'", "'null'"],
    "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
    "blob": ["'\\x00\\xAA'::blob", "''::blob"],
    "date": ["'2026-03-01'", "'infinity'", "'-infinity'", "'0044-03-15 (BC)'", "'9999-12-31'", "'10000-01-01'"],
    "timestamp": [
        "'2026-03-01 12:34:56.789012'", "'infinity'", "'-infinity'", "'294247-01-10 04:00:54.775806'",
        "'0044-03-15 (BC) 00:00:00'", "'1960-01-01 00:00:00.000001'",
    ],
    "timestamp_s": ["'2026-03-01 12:34:56'", "'294247-01-10 04:00:54'"],
    "timestamp_ms": ["'2026-03-01 12:34:56.789'", "'294247-01-10 04:00:54.775'"],
    "timestamp_ns": ["'2026-03-01 12:34:56.789012345'", "'1677-09-22'", "'1960-01-01 00:00:00.000000001'"],
    "timestamptz": [
        "'2026-03-01 12:34:56.789012+00'", "'infinity'", "'-infinity'", "'294247-01-10 04:00:54.775806+00'",
    ],
    "timestamptz_ns": ["'2026-03-01 12:34:56.789012345+00'"],
}  # fmt: skip
ONLY_OFFLINE = {
    "time": ["'12:34:56.789012'"],
    "time_ns": ["'12:34:56.789012345'"],
    "struct(a integer, b varchar)": ["{a: 1, b: 'x'}", "{a: null, b: null}"],
    "map(varchar, integer)": ["map {'a': 1, 'b': null}", "map {}"],
}
REFUSED = [
    "time with time zone", "interval", "bit", "bignum", "uhugeint", "union(n integer, s varchar)", "variant",
    "geometry", "tuple(integer, varchar)",
]  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a type, as SQL: its values, and a null after them."""

    name: str
    kind: str
    values: tuple[str, ...]

    @property
    def as_read(self) -> str:
        """The column as SQL, an array as a list, which Parquet makes of it: DuckDB 1.5 prints the two otherwise.

        DuckDB prints a list of JSON otherwise than one of texts, which every file makes of it.
        """
        as_texts = self.kind.startswith("json[") or self.kind.endswith("[2]")
        return f"cast({self.name} as varchar[])" if as_texts else self.name

    @property
    def as_written(self) -> str:
        """The column as SQL whose text a CSV file has."""
        return f"cast({self.name} as varchar{self.kind[4:]})" if self.kind.startswith("json[") else self.name


def columns(types: dict[str, list[str]], prefix: str, nested: bool = True) -> list[Column]:
    """The types alone, as lists, and as arrays of two."""
    found: list[Column] = []
    for number, (kind, values) in enumerate(types.items()):
        if kind in ("time_ns", "timestamptz_ns") and kind.upper() not in KNOWN:
            continue  # DuckDB 1.5 has no such type
        cast = [f"cast({value} as {kind})" for value in values]
        found.append(Column(f"{prefix}{number}", kind, tuple(cast)))
        if nested:
            found.append(Column(f"{prefix}{number}s", f"{kind}[]", (f"[{', '.join(cast)}, null]", "[]")))
            found.append(Column(f"{prefix}{number}p", f"{kind}[2]", (f"[{cast[0]}, {cast[-1]}]",)))
    return found


SERVED_COLUMNS = columns(SERVED, "s")
OFFLINE_COLUMNS = [
    *columns(ONLY_OFFLINE, "o"),
    Column("o9", "integer[][]", ("[[1, null], null, []]",)),
    Column("o8", "struct(a enum('b', 'a'), l integer[])[]", ("[{a: 'a', l: [1]}, null]",)),
    Column("o7", "decimal(9,2)[][]", ("[[1.25]]",)),
]
ALL = [*SERVED_COLUMNS, *OFFLINE_COLUMNS]
ROWS = max(len(column.values) for column in ALL) + 1


@dataclass(frozen=True)
class Shop:
    """A project with a view of all types that the store holds, and one of those that only training sets have.

    A third view has values that not every file holds.
    """

    folder: Path
    project: Path

    def features(self) -> list[str]:
        return [f"{'served' if each in SERVED_COLUMNS else 'offline'}:{each.name}" for each in ALL]

    def texts(
        self, relation: str, names: list[str] | None = None, as_it_is: bool = False, **tables: pa.Table
    ) -> dict[str, list[Any]]:
        """The values of a relation as texts of DuckDB, by column."""
        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'")
            for name, table in tables.items():
                connection.register(name, table)
            asked = [column for column in ALL if names is None or column.name in names]
            texts = [column.name if as_it_is else f"cast({column.as_read} as varchar)" for column in asked]
            wanted = ", ".join(f"{text} as {column.name}" for text, column in zip(texts, asked, strict=True))
            rows = connection.execute(f"select {wanted} from {relation} order by cast(id as integer)").fetchall()
        return dict(zip((column.name for column in asked), map(list, zip(*rows, strict=True)), strict=True))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("types")
    base = "{name: id, data_type: integer}, {name: moment, data_type: timestamptz}"

    def listed(found: list[Column]) -> str:
        return base + "".join(f", {{name: {each.name}, data_type: {json.dumps(each.kind)}}}" for each in found)

    views = {
        "served": view("entity: thing, join_keys: [id]", listed(SERVED_COLUMNS), "moment"),
        "offline": view("entity: thing, join_keys: [id]", listed(OFFLINE_COLUMNS), "moment"),
        "endless": view(
            "entity: thing, join_keys: [id]",
            f"{base}, {{name: never, data_type: timestamp_s}}, {{name: lists, data_type: 'timestamp_s[]'}}, "
            "{name: least, data_type: hugeint}",
            "moment",
        ),
    }
    project = make_project(folder / "shop", views)
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name, found in (("served", SERVED_COLUMNS), ("offline", OFFLINE_COLUMNS)):
            # An element that a list does not have is null.
            values = ", ".join(
                f"([{', '.join(f'cast({value} as {each.kind})' for value in each.values)}])[id + 1] as {each.name}"
                for each in found
            )
            rows = f"from (select cast(range as integer) as id from range({ROWS}))"
            connection.execute(
                f"create table {name} as select id, timestamptz '2026-01-01 00:00:00+00' as moment, {values} {rows}"
            )
        connection.execute(
            "create table endless as select 0 as id, timestamptz '2026-01-01 00:00:00+00' as moment, "
            "timestamp_s 'infinity' as never, [timestamp_s '-infinity'] as lists, "
            "cast('-170141183460469231731687303715884105728' as hugeint) as least"
        )
        connection.execute(
            f"attach '{folder}/all.duckdb' as w; create table w.everything as "
            "select * from served join offline using (id)"
        )
    return Shop(folder, project)


def texts_of_the_table(shop: Shop, *, written: bool = False) -> dict[str, list[Any]]:
    with duckdb.connect(str(shop.folder / "all.duckdb"), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        columns = (each.as_written if written else each.as_read for each in ALL)
        wanted = ", ".join(f"cast({column} as varchar)" for column in columns)
        rows = connection.execute(f"select {wanted} from everything order by id").fetchall()
    return dict(zip((column.name for column in ALL), map(list, zip(*rows, strict=True)), strict=True))


@pytest.fixture(scope="module")
def expected(shop: Shop) -> dict[str, list[Any]]:
    found = texts_of_the_table(shop)
    for column in ALL:  # the table has what is meant
        assert sum(value is not None for value in found[column.name]) == len(column.values), column
    return found


@pytest.fixture(scope="module")
def training(shop: Shop) -> Any:
    spine = pa.table({"id": pa.array(range(ROWS), pa.int32()), "event_timestamp": pa.array([NOON] * ROWS)})
    return FeatureStore(shop.project).get_historical_features(spine, shop.features())


@pytest.fixture(scope="module")
def store(shop: Shop) -> FeatureStore:
    found = FeatureStore(shop.project)
    found.export(["served", "endless"], as_of=NOON)
    return found


def differences(found: dict[str, list[Any]], expected: dict[str, list[Any]]) -> dict[str, Any]:
    return {
        column.kind: (found[column.name], expected[column.name])
        for column in ALL
        if column.name in found and found[column.name] != expected[column.name]
    }


def test_arrow(shop: Shop, training: Any, expected: dict[str, list[Any]]) -> None:
    table = training.to_arrow()
    assert differences(shop.texts("found", found=readable(table)), expected) == {}
    (pair,) = (column.name for column in ALL if column.kind == "enum('b', 'a')[2]")
    assert table[pair].to_pylist()[0] == ["a", "b"]  # of which DuckDB reads the codes, so that `readable` has texts


# Python has no years before 1 and after 9999, and its libraries have no infinite times and few nanoseconds.
FAR = ("date", "timestamp", "timestamptz", "time_ns")
# In pandas an integer beside a null in a list is a float, which is an error for such great ones (test_frames.py).
GREAT = ("bigint[]", "ubigint[]")


@pytest.fixture(scope="module")
def near(shop: Shop, training: Any) -> Any:
    """A training set without the columns of times that libraries of Python do not have."""
    kept = [
        name
        for name, each in zip(shop.features(), ALL, strict=True)
        if each.kind.partition("[")[0] not in FAR and each.kind not in GREAT
    ]
    spine = pa.table({"id": pa.array(range(ROWS), pa.int32()), "event_timestamp": pa.array([NOON] * ROWS)})
    return FeatureStore(shop.project).get_historical_features(spine, kept)


def test_pandas(shop: Shop, near: Any, expected: dict[str, list[Any]]) -> None:
    """Back in Arrow, in the type that the column had there, it is the same."""
    table, frame = near.to_arrow(), near.to_df()
    kinds = {each.name: each.kind for each in ALL if each.name in frame}
    dtypes = {kinds[name]: str(frame[name].dtype) for name in kinds}
    assert {kind: dtypes[kind] for kind in ("boolean", "bigint", "ubigint", "float", "double")} == {
        "boolean": "boolean", "bigint": "Int64", "ubigint": "UInt64", "float": "float32", "double": "float64",
    }  # fmt: skip
    columns = {}
    for name in table.column_names:
        kind = table[name].type
        if kinds.get(name) == "hugeint":
            assert frame[name].tolist()[:3] == [Decimal(text) for text in SERVED["hugeint"]]
        raw = "decimal128(38, 0)" in str(kind)  # which Arrow does not make of 39 digits
        columns[name] = table[name] if raw else pa.array(frame[name], kind, from_pandas=True)
    found = shop.texts("found", list(kinds), found=readable(pa.table(columns)))
    wanted = dict(expected)
    for name in (name for name, kind in kinds.items() if kind.startswith(("float", "double"))):
        # In pandas NaN is null, in lists too.
        wanted[name] = [text and re.sub(r"\bnan\b", "NULL", text) if text != "nan" else None for text in expected[name]]
    assert len(found) > 70
    assert differences(found, wanted) == {}


def test_polars(shop: Shop, near: Any, expected: dict[str, list[Any]]) -> None:
    if POLARS_HAS_MAPS:
        frame = near.to_polars()
    else:
        maps = [each.name for each in ALL if each.kind.startswith("map(") and each.kind.endswith("]")]
        with pytest.raises(PitJoinError, match=f"^polars cannot hold the columns '{maps[0]}: .*'{maps[1]}: "):
            near.to_polars()
        # polars 1 has a list of structs for a map, and panics where it writes integers of 39 digits to Arrow.
        others = [each.name for each in ALL if each.kind.startswith(("hugeint", "map("))]
        frame = as_polars(near.to_arrow().drop_columns(others))
    found = readable(frame.to_arrow())
    names = [each.name for each in ALL if each.name in found.column_names]
    assert differences(shop.texts("found", names, found=found), expected) == {}


@pytest.mark.parametrize("kind", sampled(["date", "timestamp", "timestamptz", "date[]", "timestamptz[]"], 2))
def test_infinite_times_are_one_error_in_pandas_and_polars(shop: Shop, kind: str) -> None:
    (name,) = (each.name for each in ALL if each.kind == kind)
    for row in (0,) if "[" in kind else (1, 2):
        spine = pa.table({"id": pa.array([row], pa.int32()), "event_timestamp": pa.array([NOON])})
        found = FeatureStore(shop.project).get_historical_features(spine, [f"served:{name}"])
        for library, convert in (("pandas", found.to_df), ("polars", found.to_polars)):
            with pytest.raises(
                PitJoinError, match=rf"^{library} has no infinite times, .* '{name}'; .*nullif\({name}, "
            ):
                convert()


@pytest.mark.parametrize("kind", ["date", "timestamp_s", "timestamp_ms", "timestamp", "timestamp_ns", "timestamptz"])
def test_infinite_times_are_found_in_whatever_holds_them(kind: str) -> None:
    forms = {
        "alone": "{}", "list": "[null, {}]", "lists": "[null, [{}], []]", "array": "array_value({}, {})",
        "struct": "{{a: 1, b: {}}}", "structs": "[{{a: [{}]}}, null]", "value": "map {{'k': {}}}",
        "key": "map {{{}: 1}}",
    }  # fmt: skip
    for value, infinite in (("infinity", True), ("-infinity", True), ("2026-03-01", False)):
        for name, form in forms.items():
            value_sql = form.replace("{}", f"cast('{value}' as {kind})").replace("{{", "{").replace("}}", "}")
            found = duckdb.sql(f"select {value_sql} as {name} union all select null").to_arrow_table()
            if infinite:
                with pytest.raises(PitJoinError, match=f"^polars has no infinite times, .* the column '{name}'"):
                    check_finite(found, "polars")
            else:
                check_finite(found, "polars")


def test_parquet(shop: Shop, training: Any, expected: dict[str, list[Any]]) -> None:
    training.write(shop.folder / "found.parquet")
    assert differences(shop.texts(f"'{shop.folder}/found.parquet'"), expected) == {}


def test_csv(shop: Shop, training: Any) -> None:
    training.write(shop.folder / "found.csv")
    names = dict.fromkeys(training.to_arrow().column_names, "varchar")
    # DuckDB 1.5 fails where it would guess a type by an infinite time.
    options = f"auto_detect = false, header = true, columns = {names}, nullstr = '', allow_quoted_nulls = false"
    found = shop.texts(f"read_csv('{shop.folder}/found.csv', {options})", as_it_is=True)
    assert differences(found, texts_of_the_table(shop, written=True)) == {}


def test_values_that_a_file_cannot_hold_are_named(shop: Shop, tmp_path: Path) -> None:
    """Parquet has no seconds, so that the infinite ones would be others; DuckDB cannot write the least HUGEINT."""
    spine = pa.table({"id": pa.array([0], pa.int32()), "event_timestamp": pa.array([NOON])})
    found = FeatureStore(shop.project).get_historical_features(spine, ["endless:*"])
    seconds = r"'never' is timestamp\[s\] \([^\n]+\); 'lists' is [^\n]+timestamp\[s\]> \([^\n]+\); change the column"
    with pytest.raises(PitJoinError, match=rf"^cannot write \S+endless\.parquet: {seconds}[^\n]+$"):
        found.write(tmp_path / "endless.parquet")
    with pytest.raises(PitJoinError, match=r"^cannot write \S+endless\.csv: 'least' is decimal128\(38, 0\) \([^\n]+$"):
        found.write(tmp_path / "endless.csv")
    assert list(tmp_path.iterdir()) == []
    assert Path(os.devnull).is_char_device()  # Arrow removes a file of this name that it could not write
    found.write(tmp_path / "endless.arrow")
    assert pa.ipc.open_file(tmp_path / "endless.arrow").read_all() == found.to_arrow()


def test_infinite_seconds_that_the_log_cannot_hold_are_named(
    shop: Shop, store: FeatureStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = FeatureLog(tmp_path / "log", sample=1)
    logged = FeatureStore(shop.project, feature_log=log)
    answer = logged.get_online_features(["endless:*"], {"id": [0]}, now=NOON).to_dict()
    assert int(answer["least"][0]) == -(2**127)
    assert log.close()
    assert (log.logged, log.failed) == (0, 1)
    assert "a time in never, lists is infinite or too far off, and Parquet has no TIMESTAMP_S" in caplog.text


def test_the_store_equals_the_history(store: FeatureStore) -> None:
    found = store.verify()
    assert (found.keys, found.differences) == ({"served": ROWS, "endless": 1}, ())


def test_the_feature_log_equals_the_history(shop: Shop, tmp_path: Path) -> None:
    log = FeatureLog(tmp_path / "log", sample=1)
    logged = FeatureStore(shop.project, feature_log=log)
    logged.get_online_features(["served:*"], {"id": list(range(ROWS))}, now=NOON)
    assert log.close()
    compared = logged.monitor(tmp_path / "log").skew.features
    wrong = {each.feature: each for each in compared if (each.rows, each.match) != (ROWS, ROWS)}
    assert (len(compared), wrong) == (len(SERVED_COLUMNS), {})


def answers(store: FeatureStore) -> dict[str, list[Any]]:
    found = store.get_online_features(["served:*"], {"id": list(range(ROWS))}, now=NOON).to_dict()
    return {column.name: found[column.name] for column in SERVED_COLUMNS}


def test_python(store: FeatureStore, shop: Shop, expected: dict[str, list[Any]]) -> None:
    """DuckDB's own values in Python are the expectation, where Python has the value at all."""
    with duckdb.connect(str(shop.folder / "all.duckdb"), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        compared = 0
        for column, found in zip(SERVED_COLUMNS, answers(store).values(), strict=True):
            if column.kind.startswith(("timestamp_ns", "timestamptz_ns")):
                continue  # DuckDB's have microseconds in Python
            rows = connection.execute(f"select {column.name} from everything order by id").fetchall()
            for (wanted,), value in zip(rows, found, strict=True):
                if has_numpy_times(value):
                    continue
                assert repr(like_duckdb(value)) == repr(plain(wanted)), column
                compared += value is not None
    assert compared > 100


def has_numpy_times(value: Any) -> bool:
    return any(map(has_numpy_times, value)) if isinstance(value, list) else type(value).__name__ == "datetime64"


def like_duckdb(value: Any) -> Any:
    """The value with integers where we have decimals without a fraction: DuckDB's HUGEINT is an int."""
    if isinstance(value, list):
        return [like_duckdb(element) for element in value]
    return int(value) if isinstance(value, Decimal) and value.as_tuple().exponent == 0 else value


def plain(value: Any) -> Any:
    """What DuckDB returns, with lists for its tuples and texts for its UUIDs."""
    if isinstance(value, (list, tuple)):
        return [plain(element) for element in value]
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(timezone.utc)
    return str(value) if isinstance(value, UUID) else value


JSON_TEXTS = {
    "date": ["2026-03-01", "infinity", "-infinity", "-0043-03-15", "9999-12-31", "10000-01-01"],
    "timestamp": [
        "2026-03-01T12:34:56.789012",
        "infinity",
        "-infinity",
        "294247-01-10T04:00:54.775806",
        "-0043-03-15T00:00:00.000000",
        "1960-01-01T00:00:00.000001",
    ],
    "timestamp_s": ["2026-03-01T12:34:56", "294247-01-10T04:00:54"],
    "timestamp_ms": ["2026-03-01T12:34:56.789000", "294247-01-10T04:00:54.775"],
    "timestamp_ns": ["2026-03-01T12:34:56.789012345", "1677-09-22T00:00:00.000000000", "1960-01-01T00:00:00.000000001"],
    "timestamptz": ["2026-03-01T12:34:56.789012Z", "infinity", "-infinity", "294247-01-10T04:00:54.775806Z"],
    "timestamptz_ns": ["2026-03-01T12:34:56.789012345Z"],
    "float": [0.10000000149011612, 3.4028234663852886e38, "NaN", "-Infinity", -0.0],
    "double": [0.1, -1.7976931348623157e308, "NaN", "Infinity", -0.0, 5e-324],
    "hugeint": ["-7", "99999999999999999999999999999999999999", "170141183460469231731687303715884105727"],
    "decimal(9,2)": ["6.30", "-9999999.99"],
    "decimal(18,6)": ["999999999999.999999"],
    "decimal(38,10)": ["0.0000000001", "0.0000000000", "-9999999999999999999999999999.9999999999"],
    "blob": ["AKo=", ""],
    "varchar": ["Zürich", "a\0b", "", " a ", "NULL", "1,5", "a\nb", '"'],
    "enum('b', 'a')": ["a", "b"],
    "json": ['{"a": [1]}', "null"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "boolean": [True, False],
}


def json_values(column: Column) -> list[Any]:
    kind = re.sub(r"\[2?\]$", "", column.kind)
    values = JSON_TEXTS.get(kind) or [int(text) for text in SERVED[kind]]
    found = {"": values, "[]": [[*values, None], []], "[2]": [[values[0], values[-1]]]}[column.kind[len(kind) :]]
    return [*found, *[None] * (ROWS - len(found))]


def test_http(shop: Shop, store: FeatureStore) -> None:
    wanted = {column.name: json_values(column) for column in SERVED_COLUMNS}
    with serving(shop.project / "online" / "dev") as server:
        answer = server.ask({"features": ["served:*"], "entities": {"id": list(range(ROWS))}}).json()
    found = {
        name: result["values"]
        for name, result in zip(answer["metadata"]["feature_names"], answer["results"], strict=True)
    }
    wrong = {
        each.kind: (found[each.name], wanted[each.name])
        for each in SERVED_COLUMNS
        if repr(found[each.name]) != repr(wanted[each.name])
    }
    assert wrong == {}


def test_get(shop: Shop, store: FeatureStore) -> None:
    for row in range(ROWS):
        done = run("get", "--entity", f"id={row}", "--features", "served:*", "--json", cwd=shop.project)
        answer = json.loads(done.out)
        wrong = {
            each.kind: (answer[each.name]["value"], json_values(each)[row])
            for each in SERVED_COLUMNS if repr(answer[each.name]["value"]) != repr(json_values(each)[row])
        }  # fmt: skip
        assert wrong == {}


def test_an_event_time_before_christ(tmp_path: Path) -> None:
    base = "{name: id, data_type: integer}, {name: moment, data_type: timestamptz}, {name: value, data_type: integer}"
    project = make_project(tmp_path / "shop", {"old": view("entity: thing, join_keys: [id]", base, "moment")})
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(
            "create table old as select 1 as id, timestamptz '0044-03-15 (BC) 00:00:00+00' as moment, 7 as value"
        )
    FeatureStore(project).export(as_of=NOON)
    now = "1970-01-01"
    for options in ([], ["--json"]):
        done = run("get", "--entity", "id=1", "--features", "old:*", "--now", now, *options, cwd=project)
        assert (done.status, "-0043-03-15" in done.out) == (0, True), done
    found = json.loads(done.out)["value"]
    assert found["event_timestamp"] == "-0043-03-15T00:00:00.000000Z"
    assert found["age_seconds"] == 735_160 * 86_400  # by the calendar that goes on backwards


def test_a_time_that_means_never_does_not_overflow(tmp_path: Path) -> None:
    """The last instant of DuckDB, to which neither a lag nor a window can be added, is no time at all."""
    base = "{name: id, data_type: varchar}, {name: moment, data_type: timestamp}, {name: value, data_type: integer}"
    made = f"{base}, {{name: made, data_type: timestamp}}"
    keys = "entity: thing, join_keys: [id]"
    windows = (
        "aggregations: [{name: n, function: count, window: 1 day}, {name: every, function: count, window: lifetime}]"
    )
    views = {
        "lagged": view(f"{keys}, lag: 2 hours", base, "moment"),
        "counted": view(f"{keys}, {windows}", base, "moment"),
        "late": view(f"{keys}, lag: 2 hours, created_timestamp: made, {windows}", made, "moment"),
    }
    project = make_project(tmp_path / "shop", views)
    rows = (
        "('a', '2026-03-01', 1), ('a', '294247-01-10 04:00:54.775806', 2), ('never', '294247-01-10 04:00:54.775806', 3)"
    )
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        for name in views:
            also = ", cast(moment as timestamp) as made" if name == "late" else ""
            connection.execute(
                f"create table {name} as select id, cast(moment as timestamp) as moment, value{also} "
                f"from (values {rows}) as t (id, moment, value)"
            )
    store = FeatureStore(project)
    spine = pa.table({"id": ["a", "never"], "event_timestamp": pa.array([NOON] * 2)})
    asked = ["lagged:value", "counted:n", "counted:every", "late:n", "late:every"]
    found = store.get_historical_features(spine, asked, full_feature_names=True).to_arrow()
    wanted = [[1, None], [1, 0], [1, 0], [1, 0], [1, 0]]
    assert [column.to_pylist() for column in found.drop_columns(spine.column_names).columns] == wanted
    store.export(as_of=NOON)
    assert store.verify().found == 0
    assert [view["rows"] for view in store.describe_views()] == [3, 3, 3]


# The page of types ----------------------------------------------------------------------------------------------


PAGE = ROOT / "docs" / "types.md"
SHOWN = [
    *(column for column in SERVED_COLUMNS if column.kind in (*SERVED, "integer[]", "double[2]")),
    *(column for column in OFFLINE_COLUMNS if column.kind in (*ONLY_OFFLINE, "integer[][]")),
]


def test_the_table_of_the_docs(shop: Shop, training: Any, store: FeatureStore, request: pytest.FixtureRequest) -> None:
    """What each type becomes is collected, and is what the page says."""
    forms = forms_of(shop, training, store)
    forms |= {kind: [abilities(kind), "refused in the YAML", *[""] * 5] for kind in REFUSED}
    if request.config.getoption("--update-golden"):
        head = "| DuckDB | may be | Arrow, Parquet | pandas | polars | CSV | online, in Python | JSON |"
        lines = [" | ".join((f"| `{kind}`", *cells)) + " |" for kind, cells in forms.items()]
        made = "\n".join((head, re.sub(r"[^|]+", " --- ", head), *lines))
        page = re.sub(r"^\| DuckDB \|.*?(?=\n\n)", lambda _: made, PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
        PAGE.write_text(page, encoding="utf-8")
    said = {row[0].strip("`"): row[1:] for row in table(PAGE, "DuckDB")}
    assert "TUPLE" not in KNOWN or set(said) == set(forms)
    for kind, cells in said.items():
        if kind.startswith("timestamptz_ns") and kind not in forms:
            continue  # DuckDB 1.5 has no such type
        if pd.__version__ < "3":
            cells[2] = cells[2].replace("str", "object (str)")
        if not POLARS_HAS_MAPS:
            cells[3] = forms[kind][3]  # other versions write their types otherwise
        assert forms[kind] == cells, f"{kind}: run this test with --update-golden"


def forms_of(shop: Shop, training: Any, store: FeatureStore) -> dict[str, list[str]]:
    """The cells of a row of the table, by type."""
    arrow = training.to_arrow().schema
    training.write(shop.folder / "forms.parquet")
    training.write(shop.folder / "forms.csv")
    parquet = pq.read_schema(shop.folder / "forms.parquet")
    with (shop.folder / "forms.csv").open(newline="", encoding="utf-8") as file:
        texts = next(csv.DictReader(file))
    spine = pa.table({"id": pa.array([0], pa.int32()), "event_timestamp": pa.array([NOON])})
    asked = [f"{'served' if each in SERVED_COLUMNS else 'offline'}:{each.name}" for each in SHOWN]
    one = FeatureStore(shop.project).get_historical_features(spine, asked)
    in_polars = one.to_polars()
    values = answers(store)
    printed = json.loads(run("get", "--entity", "id=0", "--features", "served:*", "--json", cwd=shop.project).out)
    forms = {}
    for column in SHOWN:
        name = column.name
        held, kept = (in_arrow(schema.field(name).type) for schema in (arrow, parquet))
        online = ["refused at export", ""]
        if column in SERVED_COLUMNS:
            online = [code(type_name(values[name][0])), code(json.dumps(printed[name]["value"], ensure_ascii=False))]
        forms[column.kind] = [
            abilities(column.kind),
            code(held) if held == kept else f"{code(held)}; {code(kept)}",
            in_pandas(one.to_arrow().select([name])),
            code(str(in_polars[name].dtype)),
            code(texts[name]),
            *online,
        ]
    return forms


def in_arrow(kind: pa.DataType) -> str:
    """The type without the names of elements, which say nothing of the values."""
    return re.sub(r"(?<=list<)\w*: | \('\w+'\)", "", str(kind))


def in_pandas(found: pa.Table) -> str:
    try:
        (column,) = (series for _, series in as_pandas(found, "nullable").items())
    except PitJoinError:
        return "an error"
    dtype = str(column.dtype)
    return code(f"object ({type_name(column[0])})" if dtype == "object" else dtype)


def code(text: str) -> str:
    return f"`{text}`"


def type_name(value: Any) -> str:
    """The type of a value in words: `list of str`."""
    if isinstance(value, list):
        return f"list of {type_name(value[0])}"
    name = type(value).__name__
    return f"{name} in UTC" if isinstance(value, datetime) and value.tzinfo else name


def abilities(kind: str) -> str:
    """What a column of a type may be, as the declarations are read."""
    found = [
        role
        for role, meta in {
            "key": {"join_keys": ["value"]}, "event time": {"event_time": "value"}, "feature": {},
        }.items()
        if not Registry.read(declared(kind, **meta))[1]
    ]  # fmt: skip
    return ", ".join(found) or "–"


def test_the_table_has_every_type() -> None:
    kinds = [column.kind for column in SHOWN] + REFUSED
    bases = {re.split(r"[(\[]", kind)[0] for kind in kinds}
    found = {LOGICAL[base] for base in bases if base in LOGICAL} | {"LIST", "ARRAY"}
    assert KNOWN - found == {"NULL", "TYPE"}


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "{}[]", "{}[3]", "struct(a integer, b {}[])", "map(varchar, {})"])
@pytest.mark.parametrize("kind", [kind for kind in REFUSED if "TUPLE" in KNOWN or not kind.startswith("tuple")])
def test_a_type_without_a_form_is_refused_where_it_is_declared(kind: str, form: str) -> None:
    with pytest.raises(ProjectError, match=r"columns\.value: is of type .* has no form that training sets"):
        Registry.from_manifest(declared(form.format(kind)))


@pytest.mark.parametrize("function", ["last", "first", "max"])
def test_and_so_is_a_window_of_it(function: str) -> None:
    windows = [{"name": "newest", "function": function, "column": "value", "window": "1 day"}]
    with pytest.raises(ProjectError, match=r"aggregations\.newest: is of type bit, which has no form"):
        Registry.from_manifest(declared("bit", aggregations=windows))


def test_what_no_store_holds_is_one_error_of_check_and_export(shop: Shop) -> None:
    """Each column is named with the type that was declared, and training sets have it all the same."""
    kinds = {each.name: each.kind for each in OFFLINE_COLUMNS}
    with pytest.raises(StoreError) as found:
        FeatureStore(shop.project).export(as_of=NOON, dry_run=True)
    problems = str(found.value).splitlines()
    said = [
        re.fullmatch(r"models/models\.yml: offline: columns\.(\w+): is of type (.+), which (.+)", each)
        for each in problems
    ]
    assert {each[1]: each[2] for each in said if each} == kinds
    assert {each[3] for each in said if each} == {
        "the online store cannot hold; cast it in the model, set exclude: true for it, or online: false for the view"
    }
    assert json.loads(run("check", "--json", cwd=shop.project).out)["problems"] == problems


def declared(kind: str, event_time: str = "moment", **meta: Any) -> dict[str, Any]:
    types = {"id": "integer", "moment": "timestamptz", "value": kind, "one": "integer"}
    node = {
        "resource_type": "model", "package_name": "shop", "name": "things", "original_file_path": "things.yml",
        "relation_name": "things", "depends_on": {"nodes": []},
        "config": {"event_time": event_time, "meta": {"pit_join": {"entity": "thing", "join_keys": ["id"], **meta}}},
        "columns": {name: {"name": name, "data_type": data_type} for name, data_type in types.items()},
    }  # fmt: skip
    return {"metadata": {"project_name": "shop"}, "macros": {}, "exposures": {}, "nodes": {"model.shop.things": node}}
