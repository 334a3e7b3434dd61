"""Views whose tables name the keys of their entity differently, from dbt's own tests to the online store."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from http_servers import serving
from support.dbt import Built, build, failures, run_dbt
from support.projects import make_project, run

from pit_join import FeatureLog, FeatureStore, PitJoinError, ProjectError

pytestmark = pytest.mark.dbt

SQL = {
    "purchases": """
        select * from (values
            ('a', date '2026-03-01', 1, 'b'), ('b', date '2026-03-02', 10, 'a'), ('a', date '2026-03-05', 2, 'b')
        ) as t("Customer ""ID\"\"\", day, amount, customer)""",
    "tickets": """
        {{ config(materialized='view') }}
        select * from (values ('A', date '2026-03-03', 7), ('a', date '2026-03-04', 8)) as t(CustomerID, opened, urgent)
        """,
    # The keys of a pair stand in each other's columns; `id` is the event's own, not the entity's.
    "transfers": """
        select id, payee, payer, date '2026-03-01' + day as day, date '2026-03-01' + known as known, amount
        from (values
            (1, 'a', 'b', 0, 0, 5), (2, 'a', 'b', 2, 2, 6), (2, 'a', 'b', 2, 3, 60), (3, 'b', 'a', 2, 2, 900)
        ) as t(id, payee, payer, day, known, amount)""",
    "transfer_history": "{{ pit_join.window_history('transfers') }}",
    "doubled": "select * from {{ ref('purchases') }} union all select * from {{ ref('purchases') }} where amount = 2",
    "labels": """
        select customer, "from", "to", timestamp '2026-03-06' - interval (earlier) hour as event_timestamp
        from (values ('a', 'a', 'b', 36), ('a', 'b', 'a', 0), ('c', 'a', 'c', 0), (null, 'a', 'b', 0))
            as t(customer, "from", "to", earlier)""",
    "trained": "{{ pit_join.training_set(ref('labels'), FEATURES, provenance=true) }}",
}
FEATURES: list[dict[str, Any]] = [
    {"view": "purchases", "as": "purchases", "join_keys": {"id": "customer"}, "features": ["amount"]},
    {"view": "tickets", "as": "tickets", "join_keys": {"id": "customer"}, "features": ["urgent"]},
    {"view": "transfers", "as": "transfers", "join_keys": {"payer": "from", "id": "to"}, "features": ["sent", "total"]},
]
# By hand: on 4 March at noon a bought for 1, the ticket of a (not of A) is known, and a has sent 5 and 60 to b.
ROWS = [
    (1, "PRESENT", 8, "PRESENT", 2, 65, "PRESENT"),
    (2, "PRESENT", 8, "PRESENT", 1, 900, "PRESENT"),
    (None, "NOT_FOUND", None, "NOT_FOUND", 0, None, "NOT_FOUND"),
    (None, "NULL_KEY", None, "NULL_KEY", 2, 65, "PRESENT"),
]
COLUMNS = (
    "amount", "purchases__status", "urgent", "tickets__status", "sent", "total", "transfers__status",
)  # fmt: skip
YAML = """
models:
  - name: purchases
    config: {event_time: day, meta: {pit_join: {entity: customer, join_keys: {id: 'Customer "ID"'}}}}
    columns:
      - {name: 'Customer "ID"', data_type: varchar}
      - {name: day, data_type: date}
      - {name: amount, data_type: integer}
      - {name: customer, data_type: varchar}
    data_tests: [pit_join.unique_feature_rows, pit_join.no_future_rows]
  - name: tickets
    config: {event_time: opened, meta: {pit_join: {entity: customer, join_keys: {id: CustomerID}}}}
    columns:
      - {name: CustomerID, data_type: varchar}
      - {name: opened, data_type: date}
      - {name: urgent, data_type: integer}
  - name: transfers
    config:
      event_time: day
      meta:
        pit_join:
          entity: pair
          # payer and payee were taken for each other; id is the other party
          join_keys: {payer: payee, id: payer}
          created_timestamp: known
          event_key: id
          aggregations:
            - {name: sent, function: count, window: lifetime}
            - {name: total, function: sum, column: amount, window: lifetime}
    columns:
      - {name: id, data_type: integer}
      - {name: payee, data_type: varchar}
      - {name: payer, data_type: varchar}
      - {name: day, data_type: date}
      - {name: known, data_type: date}
      - {name: amount, data_type: integer}
    data_tests: [pit_join.unique_feature_rows]
  - name: transfer_history
    config: {event_time: event_timestamp, meta: {pit_join: {entity: pair, join_keys: [payer, id], inclusive: false}}}
    columns:
      - {name: payer, data_type: varchar}
      - {name: id, data_type: varchar}
      - {name: event_timestamp, data_type: timestamptz}
      - {name: sent, data_type: bigint}
      - {name: total, data_type: bigint}
    data_tests: [pit_join.unique_feature_rows]
  - name: doubled
    config: {event_time: day, meta: {pit_join: {entity: buyer, join_keys: {buyer: 'Customer "ID"'}, online: false}}}
    columns:
      - {name: 'Customer "ID"', data_type: varchar}
      - {name: day, data_type: date}
      - {name: amount, data_type: integer}
  - name: trained
    data_tests:
      - pit_join.point_in_time_correct:
          arguments: {spine: ref('labels'), features: FEATURES, provenance: true}
"""


def make(folder: Path) -> Built:
    project = make_project(folder, {})
    asked = json.dumps(FEATURES)
    for name, sql in SQL.items():
        (project / "models" / f"{name}.sql").write_text(sql.replace("FEATURES", asked))
    (project / "models" / "models.yml").write_text(YAML.replace("FEATURES", asked))
    return build(project)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return make(tmp_path_factory.mktemp("shop") / "shop")


def rows_of(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in COLUMNS), strict=True))


def test_training_sets(shop: Built) -> None:
    """The statements one by one, the whole query and dbt give the same rows, those by hand."""
    store = FeatureStore(shop.directory)
    request = store.prepare_training_set("labels", FEATURES, provenance=True)
    assert rows_of(request.run().to_arrow()) == ROWS
    with duckdb.connect(str(shop.directory / "warehouse.duckdb"), read_only=True) as connection:
        assert rows_of(connection.sql(request.sql()).to_arrow_table()) == ROWS
        assert rows_of(connection.table("trained").to_arrow_table()) == ROWS
    for plan in ("range", "stacked"):
        found = store.get_historical_features("labels", FEATURES, provenance=True, window_plan=plan)
        assert rows_of(found.to_arrow()) == ROWS


def test_a_role_names_the_keys_of_the_entity(shop: Built) -> None:
    store = FeatureStore(shop.directory)
    found = store.get_historical_features(
        "labels", ["b:amount", "a:urgent"], roles=["b=purchases(id=to)", "a=tickets(id=customer)"]
    ).to_arrow()
    assert found["b__amount"].to_pylist() == [10, 2, None, 10]
    assert found["a__urgent"].to_pylist() == [8, 8, None, None]
    with pytest.raises(PitJoinError, match=r"view 'tickets' has no join key 'CustomerID'; .*join keys: id"):
        store.get_historical_features("labels", ["a:urgent"], roles=["a=tickets(CustomerID=customer)"])
    with pytest.raises(PitJoinError, match="view 'tickets' has no feature 'CustomerID'; features: urgent"):
        store.get_historical_features("labels", ["tickets:CustomerID"], roles=["tickets(id=customer)"])
    with pytest.raises(PitJoinError, match="the spine labels has no column 'id'"):
        store.get_historical_features("labels", ["tickets:urgent"])


@pytest.mark.rest
def test_dbt_tests_read_the_columns_of_the_table(shop: Built) -> None:
    yaml = shop.directory / "models" / "models.yml"
    before = yaml.read_text()
    marked = before.replace("  - name: trained", "    data_tests: [pit_join.unique_feature_rows]\n  - name: trained")
    assert before != marked
    yaml.write_text(marked)
    try:
        result = run_dbt(shop.directory, "test")
    finally:
        yaml.write_text(before)
    assert failures(result) == {"pit_join_unique_feature_rows_doubled_": "Got 1 result, configured to fail if != 0"}


def test_a_window_history_has_the_keys_of_the_entity(shop: Built) -> None:
    with duckdb.connect(str(shop.directory / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.sql(
            "select payer, id, epoch(event_timestamp)::bigint // 86400 - 20513, sent, total from transfer_history"
        ).fetchall()
    assert sorted(found) == [("a", "b", 0, 1, 5), ("a", "b", 2, 2, 11), ("a", "b", 3, 2, 65), ("b", "a", 2, 1, 900)]


@pytest.fixture(scope="module")
def exported(shop: Built) -> Path:
    done = FeatureStore(shop.directory).export(as_of=datetime(2026, 3, 6, tzinfo=timezone.utc))
    assert {name: each.written for name, each in done.views.items()} == {
        "purchases": 2, "tickets": 2, "transfers": 2, "transfer_history": 2
    }  # fmt: skip
    return shop.directory


def test_online(exported: Path, tmp_path: Path) -> None:
    """One entity row has the values of both views; the log, the checks and HTTP know the entity's names alone."""
    log = FeatureLog(tmp_path / "log", sample=1)
    store = FeatureStore(exported, feature_log=log)
    asked = ["purchases:amount", "tickets:urgent", "transfers:total", "transfer_history:sent"]
    found = store.get_online_features(asked, [{"id": "a", "payer": "b"}], now=datetime(2026, 3, 6, tzinfo=timezone.utc))
    assert [found.to_dict()[name] for name in ("amount", "urgent", "total", "sent")] == [[2], [8], [900], [1]]
    assert log.close()
    assert {(one.rows, one.match) for one in store.monitor(tmp_path / "log").skew.features} == {(1, 1)}
    verified = store.verify()
    assert (dict(verified.keys), verified.found) == (
        {"purchases": 2, "tickets": 2, "transfers": 2, "transfer_history": 2}, 0
    )  # fmt: skip
    got = run("get", "--entity", "id=a", "--features", "tickets:urgent", "--json", cwd=exported)
    assert (got.status, json.loads(got.out)["urgent"]["value"]) == (0, 8)
    wrong = run("get", "--entity", "CustomerID=a", "--features", "tickets:urgent", cwd=exported)
    assert (wrong.status, "keys: id" in wrong.err) == (2, True)
    with serving(exported / "online" / "dev") as server:
        answer = server.ask({"features": ["tickets:urgent"], "entities": {"id": ["a", "x"]}})
        assert answer.json()["results"][-1]["values"] == [8, None]


def test_views_and_check(exported: Path) -> None:
    described = {one["name"]: one["join_keys"] for one in FeatureStore(exported).describe_views()}
    assert described["transfers"] == ["payer", "id"]
    assert FeatureStore(exported).check().problems == ()


@pytest.mark.rest
def test_a_key_of_another_type_in_the_table(exported: Path) -> None:
    """The declared type of the column is the key's."""
    yaml = exported / "models" / "models.yml"
    before = yaml.read_text()
    yaml.write_text(before.replace("CustomerID, data_type: varchar", "CustomerID, data_type: bigint"))
    try:
        (problem,) = FeatureStore(exported).check().problems
        assert "tickets: the column 'CustomerID' is declared bigint, and the table's is VARCHAR" in problem
        yaml.write_text(before.replace("{id: CustomerID}", "{id: CustomerId}"))
        with pytest.raises(
            ProjectError, match="tickets: join_keys: no column 'CustomerId' is listed; did you mean 'Cust"
        ):
            FeatureStore(exported).registry()
    finally:
        yaml.write_text(before)
