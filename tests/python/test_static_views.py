"""Static views, `static: true`: one row a key and no time, in every command and declaration."""

from __future__ import annotations

import itertools
import json
import struct
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from online_cases import contents_of
from support.feature_logs import rows_of
from support.projects import Result, make_project, run, view
from support.rule_sql import MACROS, macro_nodes
from support.runs import sampled

from pit_join import FeatureLog, FeatureStore
from pit_join.definitions.registry import Registry
from pit_join.errors import ProjectError
from pit_join.online.opening import open_store
from pit_join.project.rendering import Renderer

pytestmark = pytest.mark.dbt

UTC = timezone.utc
STATIC = "entity: product, join_keys: [product_id, shop], static: true"
KEYS = "{name: product_id, data_type: varchar}, {name: shop, data_type: integer}"
COLUMNS = (
    f"{KEYS}, {{name: category, data_type: varchar, config: {{meta: {{pit_join: {{default: none}}}}}}}}, "
    "{name: weight, data_type: double}"
)
PRICES = "entity: product, join_keys: [product_id, shop]"
SERVICE = """
exposures:
  - name: basket
    type: ml
    owner: {name: us, email: us@example.com}
    depends_on: [ref('products'), ref('prices')]
    config: {meta: {pit_join: {features: [
      "products:*", "prices:price", {on_demand: freight, arguments: {weight: "products:weight", rate: rate}}]}}}
"""
MACRO = "{% macro freight(weight, rate) -%}\n{{ weight }} * {{ rate }}\n{%- endmacro %}\n"
MACRO_YAML = """
macros:
  - name: freight
    arguments: [{name: weight, type: double}, {name: rate, type: double}]
    config: {meta: {pit_join: {returns: double}}}
"""
PRODUCTS = [("p1", 1, "toys", 1.5), ("p2", 1, None, None), ("p3", 2, "food", 0.25), (None, 1, "lost", 9.0)]


class Shop:
    """A project with a static view of products and a history of prices, and its store."""

    def __init__(self, folder: Path) -> None:
        price = "{name: at, data_type: timestamptz}, {name: price, data_type: double}"
        views = {
            "products": view(STATIC, COLUMNS, event_time=""),
            "prices": view(PRICES, f"{KEYS}, {price}", "at"),
            "taxes": view("join_keys: [], static: true", "{name: vat, data_type: double}", event_time=""),
        }
        self.folder = make_project(folder, views, SERVICE)
        (folder / "macros").mkdir()
        (folder / "macros" / "freight.sql").write_text(MACRO)
        (folder / "macros" / "freight.yml").write_text(MACRO_YAML)
        self.fill(PRODUCTS)
        self.sql(
            "create table prices as select 'p1' as product_id, 1 as shop, timestamptz '2026-03-01 00:00:00+00' as at, "
            "10.0::double as price"
        )
        self.sql("create table taxes as select 0.25::double as vat")

    def fill(self, rows: list[tuple[Any, ...]], kind: str = "table") -> None:
        with duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
            found = connection.execute("select table_type from information_schema.tables where table_name = 'products'")
            for (old,) in found.fetchall():
                connection.execute(f"drop {'view' if old == 'VIEW' else 'table'} products")
            columns = "product_id varchar, shop integer, category varchar, weight double"
            connection.execute(f"create or replace table stored ({columns})")
            connection.executemany("insert into stored values (?, ?, ?, ?)", rows)
            connection.execute(f"create {kind} products as from stored")

    def sql(self, statement: str) -> None:
        with duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
            connection.execute(statement)

    def run(self, *arguments: str) -> Result:
        return run("--project-dir", str(self.folder), *arguments)

    def spine(self, *rows: str) -> Path:
        path = self.folder / "spine.csv"
        path.write_text("\n".join(["product_id,shop,event_timestamp,rate", *rows]) + "\n")
        return path

    def build(self, spine: Path, *options: str) -> list[dict[str, Any]]:
        output = self.folder / "set.parquet"
        done = self.run(
            "build-training-set", "--spine", str(spine), "--service", "basket", "--output", str(output), *options
        )
        assert done.status == 0, done.err
        rows: list[dict[str, Any]] = pq.read_table(output).to_pylist()
        return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("static") / "shop")


@pytest.fixture
def shop(made: Shop) -> Shop:
    """With the products as they were at first."""
    made.fill(PRODUCTS)
    return made


# Training sets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "gap"), sampled(itertools.product(["table", "view"], [(), ("--gap", "400 days")]), 2))
def test_a_row_is_found_at_any_time(shop: Shop, kind: str, gap: tuple[str, ...]) -> None:
    """A missing key, a null key and a null time have the statuses that they have elsewhere."""
    shop.fill(PRODUCTS, kind)
    spine = shop.spine(
        "p1,1,0300-01-01 00:00:00,2", "p1,1,2026-03-02 00:00:00,2", "p1,1,9999-01-01 00:00:00,2",
        "p2,1,2026-03-02 00:00:00,2", "p1,2,2026-03-02 00:00:00,2", ",1,2026-03-02 00:00:00,2", "p3,2,,2",
    )  # fmt: skip
    found = shop.build(spine, "--provenance", *gap)
    assert [(row["category"], row["weight"], row["freight"], row["products__status"]) for row in found] == [
        *[("toys", 1.5, 3.0, "PRESENT")] * 3,
        ("none", None, None, "NULL_VALUE"),
        ("none", None, None, "NOT_FOUND"),
        ("none", None, None, "NULL_KEY"),
        ("none", None, None, "NULL_KEY"),
    ]
    assert {row["products__event_timestamp"] for row in found} == {None}
    assert [row["price"] for row in found] == [None, None if gap else 10.0, 10.0, None, None, None, None]


def test_the_query_as_dbt_compiles_it_says_the_same(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.folder)
    spine = shop.spine("p1,1,2026-03-02 00:00:00,2", "p3,2,2020-03-02 00:00:00,2", "p3,1,2020-03-02 00:00:00,2")
    done = shop.run("build-training-set", "--spine", str(spine), "--service", "basket", "--provenance", "--sql")
    assert done.status == 0, done.err
    with duckdb.connect(str(shop.folder / "warehouse.duckdb")) as connection:
        connection.execute("set timezone = 'UTC'")
        found = connection.execute(done.out.rstrip().rstrip(";")).fetchall()
    assert found == [tuple(row.values()) for row in shop.build(spine, "--provenance")]


def test_coverage_shows_no_age_and_names_the_plan(shop: Shop) -> None:
    spine = str(shop.spine("p1,1,2026-03-02 00:00:00,2"))
    done = shop.run("build-training-set", "--spine", spine, "--service", "basket", "--explain-plan", "--json")
    assert json.loads(done.out)["products"] == {"plan": "lookup", "why": "4 rows, one for each key"}
    training = FeatureStore(shop.folder).get_historical_features(spine, "basket")
    ages = {one.alias: (one.ages, one.matched, one.undated) for one in training.coverage}
    assert ages["products"] == ({}, 1, 1)
    (hint,) = next(one.hints for one in training.coverage if one.alias == "products")
    assert hint == "1 of 4 history rows are never seen: one of product_id, shop is null"


# One row a key --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "apart"), sampled(itertools.product(["table", "view"], [False, True]), 2))
def test_commands_refuse_two_rows_of_a_key(shop: Shop, kind: str, apart: bool) -> None:
    """Be they neighbours in the table, and it else in order, or not; rows with a null key are no two of one."""
    assert shop.run("export").status == 0
    two = [("p2", 1, "b", 1.0), ("p2", 1, "a", None)]
    shop.fill([*two[:1], *PRODUCTS[:1], *two[1:]] if apart else [*PRODUCTS[:1], *two], kind)
    spine, output = str(shop.spine("p1,1,2026-03-02 00:00:00,2")), shop.folder / "refused.parquet"
    for command in (
        ("build-training-set", "--spine", spine, "--service", "basket", "--output", str(output)),
        ("export",),
        ("export", "--select", "products", "--dry-run"),
        ("verify",),
        ("views",),
    ):
        done = shop.run(*command)
        assert done.status == 3, done.out
        assert "products: the view is static, so a key has one row, and the key product_id=p2, shop=1 has 2" in done.err
    assert not output.exists()


def test_null_keys_are_not_two_rows_of_a_key(shop: Shop) -> None:
    shop.fill([*PRODUCTS, ("p1", None, "x", 1.0), ("p1", None, "y", 2.0), (None, 1, "z", 3.0)])
    assert [row["category"] for row in shop.build(shop.spine("p1,1,2026-03-02 00:00:00,2"))] == ["toys"]
    assert shop.run("export").status == 0


def test_a_static_view_without_keys_is_one_row_for_every_row(shop: Shop, tmp_path: Path) -> None:
    spine, output = (
        shop.spine("p1,1,1990-03-02 00:00:00,2", ",,2026-03-02 00:00:00,2", "p1,1,,2"),
        tmp_path / "a.parquet",
    )
    build = ("build-training-set", "--spine", str(spine), "--features", "taxes:vat", "--provenance")
    assert shop.run(*build, "--output", str(output)).status == 0
    found = [tuple(row.values())[-3:] for row in pq.read_table(output).to_pylist()]
    assert found == [(0.25, None, "PRESENT"), (0.25, None, "PRESENT"), (None, None, "NULL_KEY")]
    export = ("--store", str(tmp_path / "store"), "export", "--select", "taxes")
    assert shop.run(*export).status == 0
    vector = FeatureStore(online_store=str(tmp_path / "store")).online_reader(["taxes:vat"]).get({})
    assert (vector, vector.event_timestamps, vector.statuses) == ({"vat": 0.25}, {"vat": None}, {"vat": "PRESENT"})
    shop.sql("update taxes set vat = 0.5")
    done = shop.run("--store", str(tmp_path / "store"), "verify", "--all")
    assert (done.status, "! taxes: 1 differences: the view is static" in done.out) == (0, True), done.out
    shop.sql("insert into taxes values (0.5)")
    try:
        for command in ((*build, "--output", str(output)), export):
            done = shop.run(*command)
            assert (done.status, "static, so without keys it has one row, not 2; mend" in done.err) == (3, True), (
                done.err
            )
    finally:
        shop.sql("create or replace table taxes as select 0.25::double as vat")


def test_the_dbt_test_looks_for_two_rows_of_a_key(shop: Shop) -> None:
    shop.fill([*PRODUCTS, ("p1", 1, "toys", 1.5), ("p1", 2, "toys", 1.5), (None, 1, "x", 0.0)])
    manifest = dict(FeatureStore(shop.folder)._workspace().manifest)
    source = (MACROS / "tests" / "unique_feature_rows.sql").read_text()
    source = source.replace("{% test ", "{% macro test_").replace("{% endtest", "{% endmacro")
    node = {"package_name": "pit_join", "name": "test_unique_feature_rows", "macro_sql": source}
    manifest["macros"] = macro_nodes() | {"macro.pit_join.test_unique_feature_rows": node}
    relation = manifest["nodes"]["model.shop.products"]["relation_name"]
    statement = Renderer(manifest).call("test_unique_feature_rows", model=relation)
    without_keys = Renderer(manifest).call(
        "test_unique_feature_rows", model=manifest["nodes"]["model.shop.taxes"]["relation_name"]
    )
    with duckdb.connect(str(shop.folder / "warehouse.duckdb")) as connection:
        assert connection.execute(statement).fetchall() == [("p1", 1, 2)]
        assert connection.execute(without_keys).fetchall() == []
        connection.execute("begin; insert into taxes values (1), (2)")
        assert connection.execute(without_keys).fetchall() == [(3,)]
        connection.execute("rollback")


# Online ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_of", [(), ("--as-of", "1999-01-01")])
def test_the_store_has_every_row_without_a_time(shop: Shop, tmp_path: Path, as_of: tuple[str, ...]) -> None:
    store = str(tmp_path / "store")
    assert shop.run("--store", store, "export", *as_of).status == 0
    with closing(open_store(store)) as opened:
        records = list(opened.scan(contents_of(opened).views["products"]))
    assert [struct.unpack_from("<q", record, 8) for _, record in records] == [(-(2**63),)] * 3
    reader = FeatureStore(online_store=store).online_reader(["products:*"])
    rows = [{"product_id": "p1", "shop": 1}, {"product_id": "p2", "shop": 1}, {"product_id": "p9", "shop": 1}]
    found = reader.get_online_features(rows)
    assert found.to_dict()["category"] == ["toys", "none", "none"]
    assert found.statuses["weight"] == ["PRESENT", "NULL_VALUE", "NOT_FOUND"]
    assert found.event_timestamps == {"category": [None] * 3, "weight": [None] * 3}
    vector = reader.get(rows[0], now="2500-01-01")
    assert (vector, vector.event_timestamps) == ({"category": "toys", "weight": 1.5}, dict.fromkeys(vector))


def test_verify_calls_a_difference_a_change(shop: Shop) -> None:
    assert shop.run("export").status == 0
    shop.fill([("p1", 1, "games", 1.5), ("p2", 1, None, None), ("p4", 1, "new", 0.5)])
    done = shop.run("verify", "--all")
    assert done.status == 0, done.out
    # p1: its category. p3 and p4: both features and the status.
    assert done.out.endswith("! products: 7 differences: the view is static, and has changed since the export\n")
    assert "6 keys" in done.out
    assert ": 0 differences\n" in done.out
    found = json.loads(shop.run("verify", "--all", "--json").out)
    assert (found["found"], found["differences"], found["changed"]) == (0, [], {"products": 7})
    shop.sql("update prices set price = 11")
    try:
        done = shop.run("verify", "--select", "prices")
        assert (done.status, "1 differences" in done.out, "changed" in done.out) == (1, True, False)
    finally:
        shop.sql("update prices set price = 10")


def test_monitor_calls_a_difference_a_change(shop: Shop, tmp_path: Path) -> None:
    """Of a feature, and of an on-demand feature that is computed from one; other views are stale or different."""
    store = str(tmp_path / "store")
    assert shop.run("--store", store, "export").status == 0
    log = FeatureLog(tmp_path / "log", 1.0)
    reader = FeatureStore(shop.folder, online_store=store, feature_log=log).online_reader("basket")
    for product in ("p1", "p2"):
        reader.get({"product_id": product, "shop": 1, "rate": 2.0})
    assert log.close()
    assert [row["roles"]["products"]["event_timestamp"] for row in rows_of(tmp_path / "log")] == [None, None]
    monitor = ("monitor", "--log", str(tmp_path / "log"))
    done = shop.run(*monitor)
    assert (done.status, "8 match" in done.out, "changed" in done.out) == (0, True, False), done.out
    shop.fill([("p1", 1, "toys", 2.5), ("p2", 1, "tools", None)])
    done = shop.run(*monitor)
    assert (done.status, "5 match, 0 stale, 0 different, 3 changed" in done.out) == (0, True), done.out
    assert "! products is static: values of it that differ have changed since they were served" in done.out
    skew = {
        each["feature"]: (each["match"], each["different"], each["changed"])
        for each in json.loads(shop.run(*monitor, "--json").out)["skew"]["features"]
    }
    assert skew == {"category": (1, 0, 1), "weight": (1, 0, 1), "price": (2, 0, 0), "freight": (1, 0, 1)}


# Declarations ---------------------------------------------------------------------------------------------------


def test_check_and_views_tell_static_views(shop: Shop) -> None:
    done = shop.run("check")
    assert done.status == 0, done.out
    assert done.out.startswith(
        "static, so that a training set leaks if their values change after the label: products, taxes\n"
    )
    assert json.loads(shop.run("check", "--json").out)["static"] == ["products", "taxes"]
    described = {each["name"]: each for each in json.loads(shop.run("views", "--json").out)}
    assert {name: described["products"][name] for name in ("static", "event_timestamp", "rows", "newest")} == {
        "static": True, "event_timestamp": None, "rows": 4, "newest": None,
    }  # fmt: skip
    assert described["prices"]["static"] is False
    assert "  static  " in shop.run("views").out


def problems(node: dict[str, Any], meta: dict[str, Any], column: dict[str, Any] | None = None) -> list[str]:
    """What the registry says of a view `products` with these settings."""
    config = {"materialized": "table", "meta": {"pit_join": {"entity": "product", "join_keys": "id", **meta}}}
    columns: dict[str, Any] = {
        name: {"name": name, "data_type": kind, "config": {}}
        for name, kind in {"id": "varchar", "at": "timestamp", "gone": "boolean", "weight": "double"}.items()
    }
    columns["weight"]["config"] = {"meta": {"pit_join": column or {}}}
    made = {
        "name": "products",
        "resource_type": "model",
        "package_name": "shop",
        "original_file_path": "products.yml",
        "columns": columns,
    }
    config |= node.pop("config", {})
    manifest = {
        "metadata": {"project_name": "shop"},
        "nodes": {"model.shop.products": {**made, **node, "config": config}},
        "exposures": {},
    }
    try:
        assert Registry.from_manifest(manifest).views["products"].static is bool(meta.get("static"))
    except ProjectError as error:
        return [problem.removeprefix("products.yml: products: ") for problem in error.problems]
    return []


def test_a_static_view_needs_no_more_than_keys() -> None:
    assert problems({}, {"static": True}) == []
    assert problems({"resource_type": "seed", "config": {"materialized": "seed"}}, {"static": True}) == []
    more = {"static": True, "online": False, "online_store": "slow"}
    assert problems({}, more, {"default": 1.5, "exclude": False}) == []


def test_a_view_without_a_time_is_told_of_both_ways() -> None:
    for meta in ({}, {"static": False}):
        (problem,) = problems({}, meta)
        assert problem.startswith("config.event_time: is missing; name the column with the instant that a row")
        assert "says static: true in config.meta.pit_join" in problem


@pytest.mark.parametrize(
    "setting",
    [
        {"created_timestamp": "at"},
        {"lag": "1 day"},
        {"ttl": "1 day"},
        {"inclusive": True},
        {"inclusive": False},
        {"freshness_slo": "1 day"},
        {"deleted": "gone"},
        {"clock_time_zone": "UTC"},
        {"aggregations": [{"name": "n", "function": "count", "window": "1 day"}]},
    ],
    ids=str,
)
def test_no_setting_of_time_stands_beside_it(setting: dict[str, Any]) -> None:
    (name,) = setting
    wanted = f"{name}: is not for a view with static: true, whose rows have no time; remove one of them"
    assert problems({}, {"static": True, **setting}) == [wanted]


def test_what_else_speaks_of_time_is_an_error() -> None:
    assert problems({"config": {"event_time": "at"}}, {"static": True}) == [
        "static: is true, so that the rows have no time, and config.event_time is 'at'; remove one"
    ]
    assert problems({}, {"static": True}, {"freshness_slo": "1 day"}) == [
        "columns.weight.freshness_slo: is not for a view with static: true, whose rows have no time; remove one of them"
    ]
    for name in ("closed", "event_key"):
        (problem,) = problems({}, {"static": True, name: "left" if name == "closed" else "id"})
        assert problem.startswith(f"{name}: is only for a view with aggregations")
    (problem,) = problems({"resource_type": "snapshot"}, {"static": True})
    assert problem.startswith("static: is true, and a dbt snapshot keeps several rows of a key")
    assert problems({"config": {"event_time": "at"}}, {"static": "yes"}) == ["static: must be true or false, got 'yes'"]


def test_an_incremental_model_may_keep_one_row_a_key() -> None:
    config = {"materialized": "incremental", "unique_key": "id"}
    assert problems({"config": dict(config)}, {"static": True}) == []
    (problem,) = problems({"config": {**config, "event_time": "at"}}, {})
    assert problem.startswith("config.unique_key: each run overwrites the history")


def test_get_shows_no_age_at_any_time(shop: Shop) -> None:
    assert shop.run("export").status == 0
    past = (datetime.now(UTC) - timedelta(days=3650)).isoformat()
    found = json.loads(
        shop.run("get", "--entity", "product_id=p1", "--entity", "shop=1", "--features", "products:*",
                 "--now", past, "--json").out
    )  # fmt: skip
    assert [(one["value"], one["status"], one["event_timestamp"], one["age_seconds"]) for one in found.values()] == [
        ("toys", "PRESENT", None, None), (1.5, "PRESENT", None, None),
    ]  # fmt: skip
