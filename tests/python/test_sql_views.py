"""Feature views that are SQL views of the warehouse: right, the same rows for all of a command, and read once."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.dbt import Built, build
from support.projects import make_project, run

from pit_join import FeatureLog, FeatureStore, PitJoinError, ProjectError
from pit_join.warehouse import duckdb_session

pytestmark = pytest.mark.dbt

NOW = datetime(2026, 3, 6, tzinfo=timezone.utc)
VIEW = "{{ config(materialized='view') }} "
SQL = {
    "stored": "select i % 7 as k, date '2026-03-01' + (i // 7)::int as day, i as v from range(30) as t(i)",
    "labels": "select k, timestamp '2026-03-04' as event_timestamp from range(9) as t(k)",
    "plain": VIEW + "select * from {{ ref('stored') }}",
    "random": VIEW + "select k, day, uuid()::varchar as v from {{ ref('stored') }}",
    # No two evaluations have a key in common.
    "events": VIEW + "select uuid()::varchar as k, day, v from {{ ref('stored') }}",
    "own_spine": VIEW
    + "select k, day, day::timestamp as event_timestamp, uuid()::varchar as token, uuid()::varchar as v "
    "from {{ ref('stored') }} where k = 1",
    "of_file": VIEW + "select * from read_csv('data/*.csv', columns = {k: 'bigint', day: 'date', v: 'bigint'})",
    "file": "{{ config(materialized='external', location='data/out.parquet') }} select * from {{ ref('stored') }}",
    "rows": VIEW + "select k, day, v, 0 as rowid from {{ ref('stored') }}",
    "trained": "{{ pit_join.training_set(ref('labels'), ['plain:v', 'n:n', 'of_file:v'], full_feature_names=true) }}",
    "n": VIEW + "select k, day, v from {{ ref('stored') }}",
}
COLUMNS = "[{name: k, data_type: KEY}, {name: day, data_type: date}, {name: v, data_type: VALUE}]"
COUNT = ", aggregations: [{name: n, function: count, window: LONG}, {name: s, function: sum, column: v, window: LONG}]"


def declared(name: str, key: str = "bigint", value: str = "bigint", more: str = "", columns: str = "") -> str:
    listed = COLUMNS.replace("KEY", key).replace("VALUE", value).replace("]", f"{columns}]")
    meta = f"{{pit_join: {{entity: of_{key}, join_keys: [k]{more.replace('LONG', 'lifetime')}}}}}"
    return f"  - name: {name}\n    config: {{event_time: day, meta: {meta}}}\n    columns: {listed}\n"


YAML = "models:\n" + "".join(
    (
        declared("plain"),
        declared("random", value="varchar"),
        declared("events", key="varchar", more=COUNT),
        declared("own_spine", value="varchar", more=", online: false", columns=", {name: token, data_type: varchar}"),
        declared("of_file"),
        declared("file"),
        declared("rows", columns=", {name: RowID, data_type: integer}"),
        declared("n", more=COUNT),
    )
)
VIEWS = ("events", "file", "n", "of_file", "own_spine", "plain", "random", "rows")


def make(folder: Path) -> Built:
    project = make_project(folder, {})
    for name, sql in SQL.items():
        (project / "models" / f"{name}.sql").write_text(sql)
    (project / "models" / "models.yml").write_text(YAML)
    (project / "data").mkdir()
    (project / "data" / "a.csv").write_text("k,day,v\n1,2026-03-01,100\n1,2026-03-05,101\n")
    return build(project)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("shop") / "shop").directory


class Noted:
    """A connection that notes the statements that read rows; `columns()` binds a relation and reads none."""

    statements: list[str]

    def __init__(self, connection: duckdb.DuckDBPyConnection, statements: list[str]) -> None:
        self._connection, self.statements = connection, statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self) -> Noted:
        return Noted(self._connection.cursor(), self.statements)

    def execute(self, sql: str, *arguments: Any) -> Any:
        self.statements.append(sql)
        return self._connection.execute(sql, *arguments)

    def sql(self, sql: str) -> Any:
        if not sql.startswith(("from ", "select * from ")):
            self.statements.append(sql)
        return self._connection.sql(sql)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    noted: list[str] = []
    connected = duckdb_session.connected
    monkeypatch.setattr(duckdb_session, "connected", lambda wanted: Noted(connected(wanted), noted))
    return noted


def reads(statements: list[str], view: str) -> int:
    """How often the statements name the relation of a view."""
    return sum(len(re.findall(rf'"warehouse"\."main"\."{view}"', sql)) for sql in statements)


def test_training_sets(shop: Path, statements: list[str]) -> None:
    """Two roles of a view with random values have the same ones; what is stored is by hand, and as dbt has it."""
    store = FeatureStore(shop)
    asked = ["a:v", "b:v", "plain:v", "n:n", "rows:RowID"]
    request = store.prepare_training_set("labels", asked[2:])
    found = store.get_historical_features("labels", asked, roles=["a=random", "b=random"]).to_arrow()
    assert found["a__v"].to_pylist() == found["b__v"].to_pylist()
    assert found["a__v"].null_count == 2
    # On 4 March the newest of the key k is the row 21 + k of the fourth day.
    assert found["v"].to_pylist() == [21, 22, 23, 24, 25, 26, 27, None, None]
    assert found["n"].to_pylist() == [3] * 7 + [0, 0]
    assert found["RowID"].to_pylist() == [0] * 7 + [None, None]
    assert [reads(statements, view) for view in ("random", "plain", "n", "rows")] == [1, 1, 1, 1]
    with duckdb.connect(str(shop / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute(f"set file_search_path = '{shop}'")
        assert connection.sql(request.sql()).to_arrow_table()["v"].to_pylist() == found["v"].to_pylist()
        trained = connection.sql("select plain__v, n__n, of_file__v from trained order by k").fetchall()
    assert trained == [
        (21, 3, None),
        (22, 3, 100),
        *((21 + k, 3, None) for k in range(2, 7)),
        (None, 0, None),
        (None, 0, None),
    ]


def test_a_spine_that_is_the_view_itself(shop: Path, statements: list[str]) -> None:
    found = FeatureStore(shop).get_historical_features("own_spine", ["f:v"], roles=["f=own_spine"]).to_arrow()
    assert found["f__v"].to_pylist() == found["v"].to_pylist()
    assert (len(found), reads(statements, "own_spine")) == (5, 1)


def test_online(shop: Path, tmp_path: Path, statements: list[str]) -> None:
    log = FeatureLog(tmp_path / "log", sample=1)
    store = FeatureStore(shop, feature_log=log, online_store=tmp_path / "online")
    exported = store.export(as_of=NOW)
    assert {name: each.written for name, each in exported.views.items()} == {
        "events": 30, "file": 7, "n": 7, "of_file": 1, "plain": 7, "random": 7, "rows": 7
    }  # fmt: skip
    assert [reads(statements, view) for view in VIEWS] == [1, 1, 1, 1, 0, 1, 1, 1]
    store.get_online_features(
        ["plain:v", "n:s", "of_file:v"], [{"k": k} for k in range(9)], now=NOW, full_feature_names=True
    )
    assert log.close()
    statements.clear()
    monitored = store.monitor(tmp_path / "log", checks=["skew"]).skew
    assert {(each.rows, each.match) for each in monitored.features} == {(9, 9)}
    assert [reads(statements, view) for view in ("plain", "n", "of_file")] == [1, 1, 1]
    statements.clear()
    stable = ("plain", "n", "of_file", "file", "rows")
    verified = store.verify(stable)
    assert (dict(verified.keys), verified.found) == ({"plain": 7, "n": 7, "of_file": 1, "file": 7, "rows": 7}, 0)
    assert [reads(statements, view) for view in stable] == [1] * 5


def test_views_and_check(shop: Path, statements: list[str]) -> None:
    store = FeatureStore(shop)
    rows = {each["name"]: each["rows"] for each in store.describe_views()}
    assert rows == dict.fromkeys(VIEWS, 30) | {"of_file": 2, "own_spine": 5}
    assert [reads(statements, view) for view in VIEWS] == [1] * len(VIEWS)
    statements.clear()
    assert store.check().problems == ()
    assert [reads(statements, view) for view in VIEWS] == [0] * len(VIEWS)


def test_a_file_is_found_from_another_folder(shop: Path, tmp_path: Path) -> None:
    done = run(
        *("build-training-set", "--spine", "labels", "--features", "of_file:v", "--project-dir", str(shop)),
        *("--output", "set.csv"),
        cwd=tmp_path,
    )
    assert done.status == 0, done.err
    assert (tmp_path / "set.csv").read_text().splitlines()[2] == "1,2026-03-04 00:00:00,100"


@pytest.mark.rest
def test_a_view_that_is_broken(tmp_path: Path) -> None:
    """Each problem names its view, and the other views are described all the same."""
    shop = make(tmp_path / "shop").directory
    with duckdb.connect(str(shop / "warehouse.duckdb")) as connection:
        connection.execute("alter table stored drop column v")
        connection.execute(
            "create or replace view file as select 1 as k, date '2026-03-01' as day, error('boom')::bigint as v"
        )
    (shop / "data" / "a.csv").unlink()
    store = FeatureStore(shop)
    missing, unread = "the table of the feature view '{}' has no column 'v'", "the feature view '{}' cannot be read"
    broken = {"events": unread, "file": unread, "n": unread, "of_file": unread, "plain": missing, "rows": unread}
    with pytest.raises(PitJoinError) as described:
        store.describe_views()
    for said, views in ((str(described.value), broken), ("\n".join(store.check().problems), broken.keys() - {"file"})):
        assert {name for name in VIEWS for text in (missing, unread) if text.format(name) in said} == set(views)
    assert all(text.format(name) in str(described.value) for name, text in broken.items())
    assert "No files found that match the pattern" in str(described.value)
    assert "current transaction" not in str(described.value).lower()
    with pytest.raises(PitJoinError, match=r"the feature view 'file' cannot be read: .*boom"):
        store.get_historical_features("labels", ["file:v"])
    with pytest.raises(PitJoinError, match="the table of the feature view 'n' cannot be read; run dbt build: Binder"):
        store.export(["n"])


def test_a_rowid_that_is_not_listed(tmp_path: Path) -> None:
    """By its values rows would be taken for each other."""
    project = make_project(tmp_path / "shop", {})
    (project / "models" / "models.yml").write_text("models:\n" + declared("one"))
    (project / "models" / "one.sql").write_text(VIEW + "select 1")
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute(
            "create table one as select i as k, date '2026-03-01' as day, i as v, 0 as RowID from range(3) t(i)"
        )
    (problem,) = FeatureStore(project).check().problems
    assert problem.startswith(
        "models/models.yml: one: the table has a column 'rowid', which hides DuckDB's own row numb"
    )


def test_what_has_no_relation_to_read(tmp_path: Path) -> None:
    """A source as a view is an error, and not ignored; a backfill may read the created time of one."""
    project = make_project(tmp_path / "shop", {})
    sources = """
sources:
  - name: raw
    tables:
      - name: events
        config: {event_time: day, meta: {pit_join: {entity: user, join_keys: [k]}}}
      - name: landed
        config: {event_time: day, meta: {pit_join: {created_timestamp: known}}}
"""
    (project / "models" / "models.yml").write_text(sources)
    with pytest.raises(ProjectError) as found:
        FeatureStore(project).registry()
    assert list(found.value.problems) == [
        "models/models.yml: raw.events: config.meta.pit_join: a source cannot be a feature view; declare a model that "
        "selects from it (materialized: view copies no rows)"
    ]
