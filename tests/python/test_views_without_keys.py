"""Views with `join_keys: []`, which hold for every row: declared, joined, exported, served, logged and compared.

Expected values are worked out by hand from the few rows below.
"""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import lmdb
import pyarrow as pa
import pytest
from http_servers import serving
from support.feature_logs import rows_of
from support.projects import make_project, run, view

from pit_join import FeatureLog, FeatureStore
from pit_join.errors import EntityError, RequestError, StoreError
from pit_join.http.answers import ARROW, FLOATS

pytestmark = pytest.mark.dbt

RATES = """
    ('2026-03-01 00:00', '2026-03-01 06:00', 1.10, false),
    ('2026-03-02 00:00', '2026-03-02 06:00', 1.20, false),
    ('2026-03-02 00:00', '2026-03-03 06:00', 1.25, false), -- restated
    ('2026-03-01 00:00', '2026-03-03 09:00', 1.05, false), -- restated when a newer one was known
    ('2026-03-03 00:00', null, 9.99, false),
    ('2026-03-10 00:00', '2026-03-10 06:00', null, true)
"""
ORDERS = "('2026-03-01 12:00', 5), ('2026-03-01 18:00', 7), ('2026-03-02 12:00', 11)"
USERS = "('a', '2026-03-01 00:00', 'gold'), ('b', '2026-03-01 00:00', null)"
TIME = "{name: moment, data_type: timestamptz}"
COLUMNS = {
    "rates": f"{TIME}, {{name: known, data_type: timestamptz}}, {{name: gone, data_type: boolean}}, "
    "{name: usd, data_type: double, config: {meta: {pit_join: {default: 1}}}}",
    "orders": f"{TIME}, {{name: amount, data_type: integer}}",
    "users": f"{{name: user_id, data_type: varchar}}, {TIME}, {{name: tier, data_type: varchar}}",
}
META = {
    "rates": "join_keys: [], created_timestamp: known, deleted: gone, ttl: 3 days",
    "orders": "join_keys: [], aggregations: [{name: orders_1d, function: count, window: 1 day}, "
    "{name: total, function: sum, column: amount, window: lifetime}]",
    "users": "entity: user, join_keys: [user_id]",
}
SERVICE = """exposures:
  - name: checkout
    type: ml
    owner: {name: Shop, email: shop@example.com}
    depends_on: [ref('rates'), ref('users')]
    config:
      meta:
        pit_join:
          features:
            - "users:tier"
            - {on_demand: in_usd, as: price_usd, arguments: {rate: "rates:usd"}}
"""
MACRO = "{% macro in_usd(price, rate) %}{{ price }} * {{ rate }}{% endmacro %}"
MACRO_YAML = """macros:
  - name: in_usd
    arguments: [{name: price, type: double}, {name: rate, type: double}]
    config: {meta: {pit_join: {returns: double}}}
"""
NOON = datetime(2026, 3, 3, 12, tzinfo=timezone.utc)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=timezone.utc)


def project_of(folder: Path, *names: str, exposures: str = "") -> Path:
    shop = make_project(folder, {name: view(META[name], COLUMNS[name], "moment") for name in names}, exposures)
    with duckdb.connect(str(shop / "warehouse.duckdb")) as connection:
        connection.execute(f"""
            set TimeZone = 'UTC';
            create or replace table rates (moment timestamptz, known timestamptz, usd double, gone boolean);
            create or replace table orders (moment timestamptz, amount integer);
            create or replace table users (user_id varchar, moment timestamptz, tier varchar);
            insert into rates values {RATES};
            insert into orders values {ORDERS};
            insert into users values {USERS};
        """)
    return shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = project_of(tmp_path_factory.mktemp("no_keys") / "shop", *META, exposures=SERVICE)
    (project / "macros").mkdir()
    (project / "macros/in_usd.sql").write_text(MACRO)
    (project / "macros/macros.yml").write_text(MACRO_YAML)
    FeatureStore(project).export(as_of=NOON)
    return project


@pytest.fixture(scope="module")
def served(shop: Path) -> Iterator[Any]:
    with serving(shop / "online/dev", "--now", NOON.isoformat()) as server:
        yield server


# Training sets ------------------------------------------------------------------------------------------------

ASKED = {
    "03-01 05:59": (1.0, "NOT_YET_KNOWN", None),
    "03-01 06:00": (1.10, "PRESENT", "03-01 00:00"),
    "03-03 05:59": (1.20, "PRESENT", "03-02 00:00"),
    "03-03 06:00": (1.25, "PRESENT", "03-02 00:00"),
    "03-03 10:00": (1.25, "PRESENT", "03-02 00:00"),
    "03-05 00:00": (1.25, "PRESENT", "03-02 00:00"),
    "03-05 00:01": (1.0, "OUTSIDE_MAX_AGE", "03-02 00:00"),
    "03-10 06:00": (1.0, "NOT_FOUND", None),
}


def test_a_spine_needs_only_a_time(shop: Path) -> None:
    spine = pa.table({"event_timestamp": pa.array([*map(instant, ASKED), None], pa.timestamp("us", "UTC"))})
    made = FeatureStore(shop).get_historical_features(spine, ["rates:*"], provenance=True)
    found = made.to_arrow().to_pylist()
    wanted = [(usd, status, time and instant(time)) for usd, status, time in ASKED.values()]
    # A null time matches nothing, as for every view.
    assert [(r["usd"], r["rates__status"], r["rates__event_timestamp"]) for r in found] == [
        *wanted, (1.0, "NULL_KEY", None),
    ]  # fmt: skip
    assert made.coverage[0].undated == 1


@pytest.mark.parametrize("plan", ["range", "stacked"])
def test_windows_over_all_events(shop: Path, plan: str) -> None:
    times = ["03-01 12:00", "03-01 12:01", "03-02 12:00", "03-02 12:01", "03-09 00:00"]
    spine = pa.table({"event_timestamp": pa.array(map(instant, times), pa.timestamp("us", "UTC"))})
    found = FeatureStore(shop).get_historical_features(spine, ["orders:*"], window_plan=plan).to_arrow()
    assert found["orders_1d"].to_pylist() == [0, 1, 2, 2, 0]
    assert found["total"].to_pylist() == [None, 5, 12, 23, 23]


def test_beside_views_with_keys_and_from_a_csv(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "spine.csv").write_text(
        "event_timestamp,user_id,price\n"
        "2026-03-03 10:00:00Z,a,2.0\n2026-03-01 07:00:00Z,,4.0\n2026-03-03 10:00:00Z,z,1.0\n"
    )
    out = tmp_path / "set.parquet"
    done = run(
        *("build-training-set", "--spine", str(tmp_path / "spine.csv"), "--service", "checkout"),
        *("--output", str(out), "--provenance"), cwd=shop,
    )  # fmt: skip
    assert done.status == 0, done.err
    with duckdb.connect() as connection:
        rows = connection.execute(f"select price_usd, tier, rates__status, users__status from '{out}'").fetchall()
    assert rows == [
        (2.5, "gold", "PRESENT", "PRESENT"), (4.4, None, "PRESENT", "NULL_KEY"), (1.25, None, "PRESENT", "NOT_FOUND"),
    ]  # fmt: skip


def test_an_empty_table(shop: Path, tmp_path: Path) -> None:
    other = project_of(tmp_path / "shop", "rates", "orders")
    with duckdb.connect(str(other / "warehouse.duckdb")) as connection:
        connection.execute("truncate rates; truncate orders")
    store = FeatureStore(other)
    spine = pa.table({"event_timestamp": pa.array([NOON])})
    found = store.get_historical_features(spine, ["rates:*", "orders:*"], provenance=True)
    (row,) = found.to_arrow().to_pylist()
    assert (row["usd"], row["rates__status"]) == (1.0, "NOT_FOUND")
    assert (row["orders_1d"], row["total"], row["orders__status"]) == (0, None, "NOT_FOUND")
    assert [hint for each in found.coverage for hint in each.hints] == ["the table is empty; run dbt build"] * 2
    store.export(as_of=NOON)
    online = store.get_online_features(["rates:*", "orders:*"], now=NOON)
    assert online.to_dict() == {"usd": [1.0], "orders_1d": [0], "total": [None]}
    assert set(map(tuple, online.statuses.values())) == {("NOT_FOUND",)}
    assert store.verify().found == 0


# Online -------------------------------------------------------------------------------------------------------


def test_one_row_without_keys(shop: Path) -> None:
    store = FeatureStore(shop)
    features, wanted = ["rates:*", "orders:*"], {"usd": [1.25], "orders_1d": [1], "total": [23]}
    assert store.get_online_features(features, now=NOON).to_dict() == wanted
    for rows in ([{}], {}, [{"user_id": None}]):
        assert store.get_online_features(features, rows, now=NOON).to_dict() == wanted
    assert store.get_online_features(features, [], now=NOON).to_dict() == {name: [] for name in wanted}
    assert store.get_online_features(features, [{}] * 3, now=NOON).to_numpy().tolist() == [[1.25, 1, 23]] * 3
    vector = store.online_reader(features).get({}, now=NOON)
    assert vector == {"usd": 1.25, "orders_1d": 1, "total": 23}
    assert set(vector.statuses.values()) == {"PRESENT"}
    assert vector.event_timestamps["usd"] == instant("03-02 00:00")


def test_beside_other_views_the_value_is_repeated(shop: Path) -> None:
    store = FeatureStore(shop)
    for rows in ([{"user_id": each} for each in ("a", None, "z")], {"user_id": ["a", None, "z"]}):
        found = store.get_online_features(["users:tier", "rates:usd"], rows, now=NOON)
        assert found.to_dict() == {"user_id": ["a", None, "z"], "tier": ["gold", None, None], "usd": [1.25] * 3}
        assert found.statuses == {"tier": ["PRESENT", "NULL_KEY", "NOT_FOUND"], "usd": ["PRESENT"] * 3}
    row = store.online_reader(["users:tier", "rates:usd"]).get({"user_id": None}, now=NOON)
    assert (dict(row), row.statuses) == ({"tier": None, "usd": 1.25}, {"tier": "NULL_KEY", "usd": "PRESENT"})
    with pytest.raises(EntityError, match="has no 'user_id'"):
        store.get_online_features(["users:tier", "rates:usd"], now=NOON)


def test_age_is_judged_by_the_time_of_the_read(shop: Path) -> None:
    found = FeatureStore(shop).get_online_features(["rates:usd"], now=instant("03-05 00:01"))
    assert (found.to_dict(), found.statuses) == ({"usd": [1.0]}, {"usd": ["OUTSIDE_MAX_AGE"]})


def test_another_record_in_the_place_of_its_own_is_damaged(shop: Path, tmp_path: Path) -> None:
    """As the record of the defaults, whose key is no bytes, or a part of a record would be."""
    online = tmp_path / "online"
    shutil.copytree(shop / "online/dev", online)
    with lmdb.open(str(online)) as environment, environment.begin(write=True) as transaction:
        contents = json.loads(transaction.get(b"\0"))
        key = struct.pack(">I", zlib.crc32(b"rates")) + b"\0"
        assert len(transaction.get(key)) == len(bytes.fromhex(contents["views"]["rates"]["defaults"]))
        transaction.put(key, bytes.fromhex(contents["views"]["rates"]["defaults"]))
        assert (contents["views"]["rates"]["entity"], contents["views"]["rates"]["keys"]) == ("", {})
    with pytest.raises(StoreError, match="a record of the online store is damaged"):
        FeatureStore(online_store=str(online)).online_reader(["rates:usd"], strict=True).get({})


def test_the_command_line(shop: Path) -> None:
    asked = ("--features", "rates:*,orders:*", "--now", NOON.isoformat(), "--json")
    done = run("get", *asked, cwd=shop)
    assert (done.status, done.err) == (0, "")
    assert [one["value"] for one in json.loads(done.out).values()] == [1.25, 1, 23]
    done = run("get", *asked, "--entity", "user_id=a", cwd=shop)
    assert (done.status, "no requested view has the key 'user_id'" in done.err) == (2, True)
    done = run("get", "--features", "users:*", cwd=shop)
    assert (done.status, "the requested features need user_id; give a value for each" in done.err) == (2, True)
    listed = {each["name"]: each for each in json.loads(run("views", "--json", cwd=shop).out)}
    assert (listed["rates"]["entity"], listed["rates"]["join_keys"], listed["rates"]["rows"]) == (None, [], 6)
    assert "rates   every row" in run("views", cwd=shop).out
    assert run("check", cwd=shop).status == 0
    done = run("verify", "--all", cwd=shop)
    assert (done.status, "3 views, 4 keys" in done.out) == (0, True), done.out


def test_http(served: Any) -> None:
    asked = {"features": ["rates:usd", "orders:total"]}
    for body in (asked, {**asked, "entities": {}}):
        answer = served.ask(body).json()
        assert answer["metadata"]["feature_names"] == ["usd", "total"]
        assert [(one["values"], one["statuses"]) for one in answer["results"]] == [
            ([1.25], ["PRESENT"]), ([23], ["PRESENT"]),
        ]  # fmt: skip
    table = pa.ipc.open_stream(served.ask(asked, accept=ARROW).content).read_all()
    assert table.to_pylist() == [{"usd": 1.25, "total": 23, "usd__status": "PRESENT", "total__status": "PRESENT"}]
    assert served.ask(asked, accept=FLOATS).headers["pit-join-shape"] == "1,2"
    both = {"features": ["users:tier", "rates:usd"]}
    answer = served.ask({**both, "entities": {"user_id": ["a", None, "z"]}}).json()
    assert [one["values"] for one in answer["results"]] == [["a", None, "z"], ["gold", None, None], [1.25] * 3]
    assert [one["statuses"] for one in answer["results"]][1:] == [
        ["PRESENT", "NULL_KEY", "NOT_FOUND"], ["PRESENT"] * 3,
    ]  # fmt: skip
    for body in (both, {**both, "entities": {}}):
        refused = served.ask(body)
        assert refused.status_code == 422
        assert refused.json()["detail"].endswith("is empty; the features need user_id")
    answer = served.ask({"feature_service": "checkout", "entities": {"user_id": ["a"], "price": [2.0]}}).json()
    found = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
    assert found["price_usd"]["values"] == [2.5]


# The feature log, and what is compared ------------------------------------------------------------------------


def test_logged_rows_are_compared(shop: Path, tmp_path: Path) -> None:
    log = FeatureLog(tmp_path / "log", sample=1)
    store = FeatureStore(shop, feature_log=log)
    store.get_online_features(["rates:usd", "orders:total"], now=NOON)
    store.online_reader(["rates:usd", "orders:total"]).get({}, now=NOON)
    store.get_online_features(["users:tier", "rates:usd"], {"user_id": ["a", "b"]}, now=NOON)
    store.online_reader("checkout").get({"user_id": "a", "price": 2.0}, now=NOON)
    assert log.close()
    rows = rows_of(tmp_path / "log")
    assert [row["features"]["usd"] for row in rows if "usd" in row["features"]] == [
        {"value": 1.25, "status": "PRESENT"}
    ] * 4
    assert [row.get("keys") for row in rows].count(None) == 2
    skew = store.monitor(tmp_path / "log").skew
    assert {(one.view, one.feature): (one.rows, one.match) for one in skew.features} == {
        ("rates", "usd"): (4, 4), ("orders", "total"): (2, 2), ("users", "tier"): (3, 3),
        ("on_demand", "in_usd"): (1, 1),
    }  # fmt: skip
    assert not skew.changes


@pytest.mark.rest
def test_differences_are_found_and_an_export_mends_them(shop: Path, tmp_path: Path) -> None:
    other = project_of(tmp_path / "shop", "rates", "orders")
    log = FeatureLog(tmp_path / "log", sample=1)
    store = FeatureStore(other, feature_log=log)
    store.export(as_of=NOON)
    store.get_online_features(["rates:usd"], now=NOON)
    assert log.close()
    with duckdb.connect(str(other / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'; update rates set usd = 7 where usd = 1.25")
    found = store.verify()
    assert [(one.view, dict(one.key), one.feature, one.offline, one.online) for one in found.differences] == [
        ("rates", {}, "usd", 7.0, 1.25)
    ]
    assert run("verify", cwd=other).status == 1
    (skew,) = store.monitor(tmp_path / "log").skew.features
    assert (skew.different, dict(skew.examples[0].keys), skew.examples[0].expected) == (1, {}, 7.0)
    done = run("monitor", "--log", str(tmp_path / "log"), cwd=other)
    assert "rates:usd, 2026-03-03 12:00:00: 1.25 (PRESENT), not 7.0 (PRESENT)" in done.out, done.out + done.err
    changes = store.export(as_of=NOON).views
    assert [(changes[name].written, changes[name].unchanged) for name in ("rates", "orders")] == [(1, 0), (0, 1)]
    assert store.verify().found == 0
    changes = store.export(as_of=instant("03-10 06:00")).views
    assert changes["rates"].deleted == 1, "its winner is marked deleted"
    assert store.verify().found == 0


# Declarations -------------------------------------------------------------------------------------------------

WRONG = {
    "entity": ("entity: user, join_keys: []", "x", "entity: a view with join_keys: [] holds for every row"),
    "missing": ("entity: user", "x", "(user_id: UserID), got None; [] is for a view that holds for every row"),
    "empty": (
        "entity: user, join_keys: ''",
        "x",
        "(user_id: UserID), got ''; [] is for a view that holds for every row",
    ),
    "nearest": ("join_keys: []", "v", "columns.v.nearest: searches among entities, and a view with join_keys: []"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.rest
def test_what_is_wrong_is_said(tmp_path: Path, name: str) -> None:
    meta, column, says = WRONG[name]
    vector = "{name: v, data_type: 'float[]', config: {meta: {pit_join: {nearest: cosine}}}}"
    columns = f"{TIME}, {vector if column == 'v' else '{name: x, data_type: integer}'}"
    shop = make_project(tmp_path / "shop", {"a": view(meta, columns, "moment")})
    done = run("check", cwd=shop)
    assert (done.status, says in done.out) == (1, True), done.out


def test_a_role_maps_no_key_of_a_view_without_keys(shop: Path) -> None:
    store = FeatureStore(shop)
    spine = pa.table({"event_timestamp": pa.array([NOON])})
    asked: dict[str, Any] = {"roles": ["other=rates(day=event_timestamp)"]}
    says = "view 'rates' has no join key 'day'; there are no join keys"
    with pytest.raises(RequestError, match=says):
        store.get_historical_features(spine, ["other:usd"], **asked)
    with pytest.raises(RequestError, match=says):
        store.get_online_features(["other:usd"], **asked)
    # Another name alone changes no key.
    roles = ["other=rates"]
    found = store.get_historical_features(spine, ["other:usd", "rates:usd"], roles=roles).to_arrow()
    assert found.select(["other__usd", "usd"]).to_pylist() == [{"other__usd": 1.25, "usd": 1.25}]
    online = store.get_online_features(["other:usd", "rates:usd"], roles=roles, now=NOON + timedelta(hours=1))
    assert online.to_dict() == {"other__usd": [1.25], "usd": [1.25]}
