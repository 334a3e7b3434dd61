"""Every type of DuckDB through every way out: the value of the table, or refused where the column is declared.

The texts that DuckDB itself has for the values of the table are the expectation. `pytest tests/python/test_all_types.py
--update-golden` writes the table of docs/types.md.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest
from http_servers import serving
from support.projects import make_project, run, view

from pit_join import FeatureLog, FeatureStore, PitJoinError, ProjectError
from pit_join.definitions.registry import Registry
from pit_join.frames import readable

pytestmark = pytest.mark.dbt

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
KNOWN = {name for (name,) in duckdb.sql("select distinct logical_type from duckdb_types()").fetchall()}

SERVED = {
    "boolean": ["true", "false"],
    "tinyint": ["7", "-128"],
    "smallint": ["7", "-32768"],
    "integer": ["7", "-2147483648"],
    "bigint": ["9007199254740993", "-9223372036854775808"],
    "hugeint": ["99999999999999999999999999999999999999", "170141183460469231731687303715884105727", "-7"],
    "utinyint": ["255"],
    "usmallint": ["65535"],
    "uinteger": ["4294967295"],
    "ubigint": ["18446744073709551615"],
    "float": ["0.1", "3.4028235e+38", "'nan'", "'-inf'", "'-0.0'"],
    "double": ["0.1", "-1.7976931348623157e+308", "'nan'", "'inf'", "'-0.0'", "5e-324"],
    "decimal(9,2)": ["6.30", "-9999999.99"],
    "decimal(18,6)": ["999999999999.999999"],
    "decimal(38,10)": ["-9999999999999999999999999999.9999999999"],
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
        """The column as SQL; DuckDB prints a list of JSON otherwise than one of texts, which every file makes of it."""
        return f"cast({self.name} as varchar[])" if self.kind.startswith("json[") else self.name


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
]
ALL = [*SERVED_COLUMNS, *OFFLINE_COLUMNS]
ROWS = max(len(column.values) for column in ALL) + 1


@dataclass(frozen=True)
class Shop:
    """A project with a view of all types that the store holds, and one of those that only training sets have."""

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
        "offline": view("entity: thing, join_keys: [id], online: false", listed(OFFLINE_COLUMNS), "moment"),
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
        connection.execute(f"copy (select * from served join offline using (id)) to '{folder}/all.parquet'")
        connection.execute(
            f"attach '{folder}/all.duckdb' as w; create table w.everything as "
            "select * from served join offline using (id)"
        )
    return Shop(folder, project)


@pytest.fixture(scope="module")
def expected(shop: Shop) -> dict[str, list[Any]]:
    with duckdb.connect(str(shop.folder / "all.duckdb"), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        wanted = ", ".join(f"cast({column.as_read} as varchar)" for column in ALL)
        rows = connection.execute(f"select {wanted} from everything order by id").fetchall()
    found = dict(zip((column.name for column in ALL), map(list, zip(*rows, strict=True)), strict=True))
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
    found.export(as_of=NOON)
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
    found = readable(near.to_polars().to_arrow())
    names = [each.name for each in ALL if each.name in found.column_names]
    assert differences(shop.texts("found", names, found=found), expected) == {}


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_infinite_times_are_one_error_in_pandas_and_polars(shop: Shop, kind: str) -> None:
    (name,) = (each.name for each in ALL if each.kind == kind)
    spine = pa.table({"id": pa.array([1, 2], pa.int32()), "event_timestamp": pa.array([NOON] * 2)})
    for row in (0, 1):
        found = FeatureStore(shop.project).get_historical_features(spine.slice(row, 1), [f"served:{name}"])
        for library, convert in (("pandas", found.to_df), ("polars", found.to_polars)):
            with pytest.raises(
                PitJoinError, match=rf"^{library} has no infinite times, .* '{name}'; .*nullif\({name}, "
            ):
                convert()


def test_parquet(shop: Shop, training: Any, expected: dict[str, list[Any]]) -> None:
    training.write(shop.folder / "found.parquet")
    assert differences(shop.texts(f"'{shop.folder}/found.parquet'"), expected) == {}


def test_csv(shop: Shop, training: Any, expected: dict[str, list[Any]]) -> None:
    training.write(shop.folder / "found.csv")
    read = f"read_csv('{shop.folder}/found.csv', all_varchar = true, nullstr = '', allow_quoted_nulls = false)"
    found = shop.texts(read, as_it_is=True)
    assert differences(found, expected) == {}


def test_the_store_equals_the_history(store: FeatureStore) -> None:
    found = store.verify()
    assert (found.keys, found.differences) == ({"served": ROWS}, ())


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
    "hugeint": ["99999999999999999999999999999999999999", "170141183460469231731687303715884105727", "-7"],
    "decimal(9,2)": ["6.30", "-9999999.99"],
    "decimal(18,6)": ["999999999999.999999"],
    "decimal(38,10)": ["-9999999999999999999999999999.9999999999"],
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


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "{}[]", "{}[3]", "struct(a integer, b {}[])", "map(varchar, {})"])
@pytest.mark.parametrize("kind", REFUSED)
def test_a_type_without_a_form_is_refused_where_it_is_declared(kind: str, form: str) -> None:
    with pytest.raises(ProjectError, match=r"columns\.value: is of type .* has no form that training sets"):
        Registry.from_manifest(declared(form.format(kind)))


@pytest.mark.parametrize("function", ["last", "first", "max"])
def test_and_so_is_a_window_of_it(function: str) -> None:
    windows = [{"name": "newest", "function": function, "column": "value", "window": "1 day"}]
    with pytest.raises(ProjectError, match=r"aggregations\.newest: is of type bit has no form"):
        Registry.from_manifest(declared("bit", aggregations=windows))


def declared(kind: str, **meta: Any) -> dict[str, Any]:
    types = {"id": "integer", "moment": "timestamptz", "value": kind}
    node = {
        "resource_type": "model", "package_name": "shop", "name": "things", "original_file_path": "things.yml",
        "relation_name": "things", "depends_on": {"nodes": []},
        "config": {"event_time": "moment", "meta": {"pit_join": {"entity": "thing", "join_keys": ["id"], **meta}}},
        "columns": {name: {"name": name, "data_type": data_type} for name, data_type in types.items()},
    }  # fmt: skip
    return {"metadata": {"project_name": "shop"}, "macros": {}, "exposures": {}, "nodes": {"model.shop.things": node}}
