"""One form of each key, however it is asked: training sets, the store, Python, the command line, HTTP and the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from http_servers import serving
from support.projects import make_project, run, view
from support.runs import sampled

from pit_join import FeatureLog, FeatureStore
from pit_join.errors import SpineError
from pit_join.online.opening import open_store
from pit_join.records.store_manifest import Contents

pytestmark = pytest.mark.dbt

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
ID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


@dataclass(frozen=True)
class Key:
    """A key of a type: as SQL, in every form of Python and of JSON, and as text on the command line and in CSV."""

    sql: str
    python: tuple[Any, ...]
    json: tuple[Any, ...]
    texts: tuple[str, ...]
    csv: tuple[str, ...] | None = None


KEYS = {
    "boolean": Key("true", (True,), (True,), ("true", "True"), ("true",)),
    "tinyint": Key("-128", (-128,), (-128,), ("-128",)),
    "bigint": Key("9007199254740993", (2**53 + 1,), (2**53 + 1,), ("9007199254740993",)),
    "ubigint": Key("18446744073709551615", (2**64 - 1,), (2**64 - 1,), ("18446744073709551615",)),
    "hugeint": Key("9223372036854775808", (2**63, Decimal(2**63)), (2**63,), ("9223372036854775808",)),
    "decimal(9, 2)": Key("1.50", (Decimal("1.5"), Decimal("1.50")), ("1.5", 1.5, "1.50"), ("1.5", "1.50")),
    "double": Key("0.1", (0.1,), (0.1,), ("0.1", "1e-01"), ("0.1",)),
    "float": Key("0.5", (0.5,), (0.5,), ("0.5",)),
    "varchar": Key("'007'", ("007",), ("007",), ("007",)),
    "enum('b', 'a')": Key("'a'", ("a",), ("a",), ("a",)),
    "uuid": Key(
        f"'{ID}'", (UUID(ID), ID, ID.upper(), f"{{{ID}}}", ID.replace("-", "")), (ID, ID.upper()), (ID, ID.upper())
    ),
    "date": Key("'2026-03-01'", (date(2026, 3, 1), "2026-03-01"), ("2026-03-01",), ("2026-03-01",)),
    "timestamp": Key(
        "'2026-03-01 10:00:00.5'",
        (datetime(2026, 3, 1, 10, 0, 0, 500_000),),
        ("2026-03-01T10:00:00.500000", "2026-03-01T10:00:00.5Z"),
        ("2026-03-01 10:00:00.5", "2026-03-01T10:00:00.500000"),
        ("2026-03-01 10:00:00.5", "2026-03-01T10:00:00.500000"),
    ),
    "timestamptz": Key(
        "'2026-03-01 10:00:00+00'",
        (datetime(2026, 3, 1, 10, tzinfo=timezone.utc), "2026-03-01T11:00:00+01:00"),
        ("2026-03-01T10:00:00Z", "2026-03-01T11:00:00+01:00"),
        ("2026-03-01 10:00:00+00:00", "2026-03-01T11:00:00+01:00"),
        ("2026-03-01 10:00:00Z", "2026-03-01T11:00:00+01:00"),
    ),
}
NAMES = {kind: f"v{number}" for number, kind in enumerate(KEYS)}
SOME = sampled(KEYS, 3)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    columns = "{name: moment, data_type: timestamptz}, {name: value, data_type: integer}"
    views = {
        name: view(
            f"entity: {name}, join_keys: [k]", f"{{name: k, data_type: {json.dumps(kind)}}}, {columns}", "moment"
        )
        for kind, name in NAMES.items()
    }
    project = make_project(folder / "shop", views)
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        for number, (kind, name) in enumerate(NAMES.items()):
            connection.execute(
                f"create table {name} as select cast({KEYS[kind].sql} as {kind}) as k, "
                f"timestamptz '2026-03-01 00:00:00+00' as moment, {number} as value"
            )
    FeatureStore(project).export(as_of=NOON)
    return project


@pytest.fixture(scope="module")
def served(shop: Path) -> Iterator[Any]:
    with serving(shop / "online" / "dev") as server:
        yield server


@pytest.mark.parametrize("kind", SOME)
def test_training_sets(shop: Path, tmp_path: Path, kind: str) -> None:
    name, wanted = NAMES[kind], list(NAMES).index(kind)
    store = FeatureStore(shop)

    def asked(spine: Any) -> list[Any]:
        found = store.get_historical_features(spine, [f"{name}:value"], event_timestamp="asked_at").to_arrow()
        return list(found["value"].to_pylist())

    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        query = f"select cast({KEYS[kind].sql} as {kind}) as k, timestamptz '2026-03-01 12:00:00+00' as asked_at"
        table = connection.sql(query).to_arrow_table()
    pq.write_table(table, tmp_path / "spine.parquet")
    assert asked(table) == asked(str(tmp_path / "spine.parquet")) == [wanted]
    texts = KEYS[kind].csv or KEYS[kind].texts
    lines = [f"{text},2026-03-01 12:00:00Z" for text in texts]
    (tmp_path / "spine.csv").write_text("\n".join(["k,asked_at", *lines]) + "\n")
    assert asked(str(tmp_path / "spine.csv")) == [wanted] * len(lines)


@pytest.mark.parametrize("kind", SOME)
def test_python_and_the_log(shop: Path, tmp_path: Path, kind: str) -> None:
    name, wanted, values = NAMES[kind], list(NAMES).index(kind), list(KEYS[kind].python)
    log = FeatureLog(tmp_path / "log", sample=1)
    store = FeatureStore(shop, feature_log=log)
    for rows in ([{"k": value} for value in values], {"k": values}):
        found = store.get_online_features([f"{name}:value"], rows, now=NOON)
        assert found.to_dict()["value"] == [wanted] * len(values)
    assert log.close()
    (compared,) = store.monitor(tmp_path / "log").skew.features
    assert (compared.rows, compared.match) == (2 * len(values), 2 * len(values))


@pytest.mark.parametrize("kind", SOME)
def test_the_command_line(shop: Path, kind: str) -> None:
    for text in KEYS[kind].texts:
        done = run("get", "--entity", f"k={text}", "--features", f"{NAMES[kind]}:value", "--json", cwd=shop)
        assert (done.status, done.err) == (0, "")
        assert json.loads(done.out)["value"]["value"] == list(NAMES).index(kind)


@pytest.mark.parametrize("kind", SOME)
def test_http(served: Any, kind: str) -> None:
    body = {"features": [f"{NAMES[kind]}:value"], "entities": {"k": list(KEYS[kind].json)}}
    answer = served.ask(body).json()
    (values,) = [
        result["values"]
        for name, result in zip(answer["metadata"]["feature_names"], answer["results"], strict=True)
        if name == "value"
    ]
    assert values == [list(NAMES).index(kind)] * len(KEYS[kind].json)


def test_the_store_agrees_with_the_history(shop: Path) -> None:
    done = run("verify", "--all", cwd=shop)
    assert (done.status, f"{len(KEYS)} views, {len(KEYS)} keys" in done.out) == (0, True), done.out
    _, data = open_store(str(shop / "online" / "dev")).contents()
    kinds = Contents.from_json(data, "").views[NAMES["uuid"]].keys
    assert kinds == {"k": "uuid"}


def test_what_is_not_a_uuid(shop: Path, served: Any) -> None:
    name = NAMES["uuid"]
    done = run("get", "--entity", "k=a0eebc99", "--features", f"{name}:value", cwd=shop)
    assert (done.status, "a0eebc99" in done.err) == (2, True)
    answer = served.ask({"features": [f"{name}:value"], "entities": {"k": ["urn:uuid:" + ID]}})
    assert answer.status_code == 422, "as in DuckDB"


def test_the_letter_case_of_the_yaml_is_that_of_the_store(tmp_path: Path) -> None:
    columns = "{name: Id, data_type: uuid}, {name: Moment, data_type: timestamptz}, {name: Value, data_type: integer}"
    total = "aggregations: [{name: Total, function: sum, column: Value, window: 1 day}]"
    meta = "entity: user, join_keys: [Id]"
    views = {"plain": view(meta, columns, "Moment"), "windowed": view(f"{meta}, {total}", columns, "Moment")}
    shop = make_project(tmp_path / "shop", views)
    with duckdb.connect(str(shop / "warehouse.duckdb")) as connection:
        for name in views:
            row = f"'{ID}'::uuid as id, timestamptz '2026-03-01 06:00:00+00' as moment, 7 as value"
            connection.execute(f"create table {name} as select {row}")
    store = FeatureStore(shop)
    store.export(as_of=NOON)
    found = store.get_online_features(["plain:Value", "windowed:Total"], [{"Id": ID}], now=NOON)
    assert found.to_dict() == {"Id": [ID], "Value": [7], "Total": [7]}
    assert store.verify().found == 0


def test_a_key_is_compared_with_the_type_of_each_view(tmp_path: Path) -> None:
    columns = "{name: moment, data_type: timestamptz}, {name: value, data_type: integer}"
    views = {
        name: view("entity: user, join_keys: [k]", f"{{name: k, data_type: {kind}}}, {columns}", "moment")
        for name, kind in (("a", "uuid"), ("b", "varchar"))
    }
    shop = make_project(tmp_path / "shop", views)
    with duckdb.connect(str(shop / "warehouse.duckdb")) as connection:
        for name, kind in (("a", "uuid"), ("b", "varchar")):
            row = f"'{ID.upper()}'::{kind} as k, timestamptz '2026-03-01 06:00:00+00' as moment, 7 as value"
            connection.execute(f"create table {name} as select {row}")
    store = FeatureStore(shop)
    features = ["a:value", "b:value"]
    for asked in (features, features[::-1]):
        with pytest.raises(
            SpineError, match=r"the key .k. of the spine given in memory is UUID, and the .* is VARCHAR"
        ):
            store.get_historical_features(
                pa.table({"k": pa.array([UUID(ID).bytes], pa.uuid()), "t": pa.array([NOON])}),
                asked, event_timestamp="t", full_feature_names=True,
            )  # fmt: skip
        texts = pa.table({"k": [ID], "t": pa.array([NOON])})
        (row,) = store.get_historical_features(
            texts, asked, event_timestamp="t", full_feature_names=True
        ).to_arrow().to_pylist()  # fmt: skip
        assert (row["a__value"], row["b__value"]) == (7, None), "a text is spelled in one way, and a UUID in many"
