"""One state of a project for one command: what is opened how often, and who hears of it."""

from __future__ import annotations

import itertools
import logging
import re
import shutil
import threading
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from support.dbt import Built, run_dbt
from support.projects import make_project, view

from pit_join import FeatureLog, FeatureStore, PitJoinError, WarehouseError
from pit_join.definitions.reading import Reader
from pit_join.errors import ProjectError, StoreError
from pit_join.project.dbt_project import Project
from pit_join.project.rendering import Renderer
from pit_join.warehouse import duckdb_session
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.workspace import Console


def test_by_default_a_notebook_sees_warnings(caplog: pytest.LogCaptureFixture) -> None:
    console = Console()
    with caplog.at_level(logging.INFO, "pit_join"):
        console.say("the project has changed: 100 % of it")
        console.warn("another process holds the file")
        console.progress(1, 0, "a view")
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("pit_join", "INFO", "the project has changed: 100 % of it"),
        ("pit_join", "WARNING", "another process holds the file"),
        ("pit_join", "INFO", "a view: 1 of unknown"),
    ]


def test_dbt_compiles_the_files_that_were_read_or_none(tmp_path: Path) -> None:
    project = Project(make_project(tmp_path / "lab", {"one": ""}))
    project.manifest()
    (project.directory / "models" / "one.sql").write_text("select 2 as one")
    with pytest.raises(ProjectError, match="the project has changed while the command ran; run the command again"):
        project.compile("{{ ref('one') }}")
    project.manifest()
    assert project.compile("{{ ref('one') }}").endswith('"one"')


def test_a_locked_warehouse_is_a_warning(
    demo: Built, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = duckdb.connect

    def locked(*_: object, **options: object) -> object:
        found = connect(config=options.get("config") or {})
        execute = found.execute

        class Locked:
            def __getattr__(self, name: str) -> object:
                return getattr(found, name)

            def execute(self, sql: str) -> object:
                if sql.startswith("attach"):
                    raise duckdb.IOException("IO Error: Could not set lock on file")
                return execute(sql)

        return Locked()

    monkeypatch.setattr("pit_join.warehouse.duckdb_session.duckdb.connect", locked)
    with pytest.raises(WarehouseError, match=r"did not release it within 0\.1 s"):
        FeatureStore(Path(demo.directory), wait=0.1).describe_views()
    (record,) = [each for each in caplog.records if "waiting" in each.getMessage()]
    assert (record.levelname, record.getMessage().endswith("waiting up to 0.1 s")) == ("WARNING", True)


# One state of the project and of the warehouse ----------------------------------------------------------------

AT = datetime(2013, 3, 9, 12, tzinfo=timezone.utc)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each part of a project is opened."""
    found: Counter[str] = Counter()

    def count(owner: type, name: str, what: str) -> None:
        original = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            found[what] += 1
            return original(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    count(Project, "__init__", "project")
    count(Project, "manifest", "manifest")
    count(Reader, "__init__", "registry")
    count(Renderer, "__init__", "macros")
    count(DuckDBWarehouse, "__init__", "warehouse")
    return found


ONCE = {"project": 1, "manifest": 1, "registry": 1, "macros": 1, "warehouse": 1}


@pytest.mark.rest
def test_verify_and_monitor_open_everything_once(demo: Built, tmp_path: Path, opened: Counter[str]) -> None:
    log = FeatureLog(tmp_path / "log", sample=1)
    features = FeatureStore(demo.directory, online_store=tmp_path / "online", feature_log=log)
    features.export(as_of=AT)
    assert opened == ONCE
    opened.clear()
    found = features.verify()
    assert (len(found.keys), found.found, opened) == (10, 0, ONCE)
    opened.clear()
    for carrier in ("B6", "UA", "no such carrier"):
        features.get_online_features(["carrier_daily_delay:*", "carrier_landings:*"], [{"carrier": carrier}], now=AT)
    assert log.close(60)
    assert opened == {}
    monitored = features.monitor(tmp_path / "log", checks=["skew"])
    assert (monitored.skew.rows, monitored.found, opened) == (3, False, ONCE)
    opened.clear()
    features.monitor(tmp_path / "log", now=AT)
    assert opened == {**ONCE, "warehouse": 3}  # freshness, rates and skew, one after the other


def test_the_store_of_the_project_opens_it_no_second_time(
    demo: Built, tmp_path: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIT_JOIN_ONLINE_STORE", raising=False)
    folder = shutil.copytree(demo.directory, tmp_path / "demo")
    FeatureStore(folder).export(["airport_weather"], as_of=AT)
    assert opened == ONCE
    opened.clear()
    assert FeatureStore(folder).verify(["airport_weather"]).keys == {"airport_weather": 3}
    assert opened == ONCE
    opened.clear()
    features = FeatureStore(folder)
    for _ in range(2):
        features.get_online_features(["airport_weather:*"], [{"airport": "JFK"}], now=AT)
    assert opened == {"project": 1}
    features.verify(["airport_weather"])
    assert opened == {"project": 2, "manifest": 1, "registry": 1, "macros": 1, "warehouse": 1}


@pytest.mark.rest
def test_verify_takes_the_store_of_the_target_as_it_is(scores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIT_JOIN_ONLINE_STORE", raising=False)
    features = FeatureStore(scores)
    features.export()
    assert features.get_online_features(["scores:score"], [{"user_id": 1}]).to_dict()["score"] == [1]
    assert features.verify().keys == {"scores": 10}
    profile = scores / "profiles" / "profiles.yml"
    profile.write_text(profile.read_text().replace("target: dev", "target: prod").replace("dev:", "prod:"))
    with pytest.raises(StoreError, match="online/prod"):
        features.verify()


VIEW = """
version: 2
models:
  - name: scores
    config:
      event_time: event_timestamp
      meta: {pit_join: {entity: user, join_keys: [user_id]}}
    columns:
      - {name: user_id, data_type: bigint}
      - {name: event_timestamp, data_type: timestamp}
      - {name: score, data_type: bigint}
      - {name: bonus, data_type: bigint, config: {meta: {pit_join: {default: 7}}}}
      - {name: day, data_type: date, config: {meta: {pit_join: {default: '2026-01-02'}}}}
      - {name: rank, data_type: bigint, config: {meta: {pit_join: {default: 8}}}}
"""
WINDOWS = "join_keys: [user_id], aggregations: [{name: good, function: count, window: 9999 days, where: score > 0}]"
ROWS = """
    select i as user_id, timestamp '2026-01-01' as event_timestamp, i + {0} as score,
        null::bigint as bonus, null::date as day, null::bigint as rank
    from range(10 + {0}) as t(i)
"""


def write_scores(path: Path, add: int) -> None:
    """Write the file of an external model anew, with other scores and more rows."""
    duckdb.sql(f"copy ({ROWS.format(add)}) to '{path}' (format parquet)")


@pytest.fixture
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose only view lies in a file, which an SQL view of the warehouse reads."""
    folder = make_project(tmp_path_factory.mktemp("scores") / "lab", {})
    (folder / "models" / "models.yml").write_text(VIEW)
    location = f"{folder}/scores.parquet"
    (folder / "models" / "scores.sql").write_text(
        f"{{{{ config(materialized='external', location='{location}') }}}}\n{ROWS.format(0)}"
    )
    assert run_dbt(folder, "build").success
    return folder


@pytest.mark.parametrize("command", ["verify", "monitor"])
@pytest.mark.rest
def test_a_file_that_changes_in_the_middle_makes_no_difference(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """What no lock protects is read once: the file is another before every statement but the first that reads it."""
    write_scores(scores / "scores.parquet", 0)
    log = FeatureLog(tmp_path / "log", sample=1)
    features = FeatureStore(scores, online_store=tmp_path / "online", feature_log=log)
    features.export()
    for user in range(10):
        features.get_online_features(["scores:score"], [{"user_id": user}])
    assert log.close(60)
    execute, changes = DuckDBWarehouse.execute, itertools.count(1)

    def changing(self: DuckDBWarehouse, sql: str, what: str) -> None:
        execute(self, sql, what)
        write_scores(scores / "scores.parquet", next(changes))

    monkeypatch.setattr(DuckDBWarehouse, "execute", changing)
    if command == "verify":
        found = features.verify()
        assert (found.keys, found.found) == ({"scores": 10}, 0)
    else:
        monitored = features.monitor(tmp_path / "log", checks=["skew"])
        assert [(each.rows, each.match) for each in monitored.skew.features] == [(10, 10)]
    assert next(changes) > 3
    # What was changed is seen by the next command.
    monkeypatch.undo()
    assert features.verify().found > 0


class Watched:
    """A connection that notes the threads that use it."""

    seen: ClassVar[list[Watched]]

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.threads: set[threading.Thread] = set()
        self.seen.append(self)

    def __getattr__(self, name: str) -> Any:
        self.threads.add(threading.current_thread())
        return getattr(self._connection, name)

    def cursor(self) -> Watched:
        return Watched(self.__getattr__("cursor")())


def test_only_its_own_thread_uses_a_connection(scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB refuses any other call, if only to register a table, while a statement runs."""
    connected = duckdb_session.connected
    monkeypatch.setattr(duckdb_session, "connected", lambda wanted: Watched(connected(wanted)))
    monkeypatch.setattr(Watched, "seen", [], raising=False)
    log = FeatureLog(tmp_path / "log", sample=1)
    features = FeatureStore(scores, online_store=tmp_path / "online", feature_log=log)
    features.export()
    features.get_online_features(["scores:score"], [{"user_id": 1}])
    assert log.close(60)
    spine = pd.DataFrame({"user_id": [1] * 500, "event_timestamp": [datetime(2026, 3, 1)] * 500})
    features.get_historical_features(spine, ["scores:*"])
    assert features.verify().found == 0
    features.monitor(tmp_path / "log")
    assert len(Watched.seen) >= 4
    for watched in Watched.seen:
        assert len(watched.threads) == 1
        assert threading.main_thread() not in watched.threads


@pytest.mark.rest
def test_a_feature_that_cannot_be_computed_is_left_out_alone(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error ends a transaction, and neither the command, nor what was staged, nor the view's other defaults."""
    log = FeatureLog(tmp_path / "log", sample=1)
    features = FeatureStore(scores, online_store=tmp_path / "online", feature_log=log)
    features.export()
    for asked in (["scores:*"], ["scores:day", "scores:rank"], ["scores:score", "scores:bonus"]):
        for user in range(12):
            features.get_online_features(asked, [{"user_id": user}])
    assert log.close(60)
    declared = scores / "models" / "models.yml"
    declared.write_text(declared.read_text().replace("2026-01-02", "2026-13-45"))
    execute, changes = DuckDBWarehouse.execute, itertools.count(1)

    def changing(self: DuckDBWarehouse, sql: str, what: str) -> None:
        execute(self, sql, what)
        write_scores(scores / "scores.parquet", next(changes))

    monkeypatch.setattr(DuckDBWarehouse, "execute", changing)
    monitored = features.monitor(tmp_path / "log", checks=["skew"]).skew
    counts = {each.feature: (each.rows, each.match, each.not_compared) for each in monitored.features}
    assert counts == {"bonus": (24, 24, 0), "day": (24, 0, 24), "rank": (24, 24, 0), "score": (24, 24, 0)}
    (change,) = monitored.changes
    assert change.startswith("scores:day cannot be computed: the feature view 'scores' cannot be joined: Conversion")
    assert change.endswith("24 rows")
    with pytest.raises(PitJoinError, match="2026-13-45"):
        features.verify()


@pytest.mark.rest
def test_an_export_reads_a_file_only_for_a_writer(scores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that is not exported is described without a copy of its file; one that is, windows too, is copied once."""
    staged: list[str] = []
    execute = DuckDBWarehouse.execute

    def recorded(self: DuckDBWarehouse, sql: str, what: str) -> None:
        execute(self, sql, what)
        staged.extend([sql] if "create temp table" in sql else [])

    monkeypatch.setattr(DuckDBWarehouse, "execute", recorded)
    models = scores / "models"
    windows = VIEW.replace("name: scores", "name: windows").replace("join_keys: [user_id]", WINDOWS)
    windows = re.sub(", config: {meta.*}}}}", "}", windows)
    (models / "windows.yml").write_text(windows)
    (models / "windows.sql").write_text((models / "scores.sql").read_text().replace("scores.p", "windows.p"))
    assert run_dbt(scores, "build").success
    features = FeatureStore(scores)
    exported = features.export(["windows"])
    assert (exported.views["windows"].written, len(staged)) == (10, 1)
    # Its defaults are in the store all the same.
    assert features.get_online_features(["scores:rank"], [{"user_id": 1}]).to_dict()["rank"] == [8]
    assert features.export(["scores"]).views["scores"].written == 10
    assert len(staged) == 2
    (models / "windows.yml").write_text(windows.replace("score > 0", "score > "))
    with pytest.raises(PitJoinError, match=r"windows: aggregations\.good\.where: 'score >': it is not an SQL"):
        features.export(["windows"])


@pytest.mark.rest
def test_a_view_that_cannot_be_described_leaves_the_others(scores: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An export of one view lists the defaults of all that it can; an error ends a transaction, and not the export."""
    models = scores / "models"
    for name in ("bad", "worse", "zoo"):
        declared = VIEW.replace("name: scores", f"name: {name}")
        (models / f"{name}.yml").write_text(
            declared.replace("2026-01-02", "2026-01-02" if name == "zoo" else "2026-13-45")
        )
        (models / f"{name}.sql").write_text(ROWS.format(0))
    assert run_dbt(scores, "build").success
    features = FeatureStore(scores)
    features.export(["scores"])
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [message.split("'")[1] for message in warned] == ["bad", "worse"]
    assert all("2026-13-45" in message for message in warned)
    assert features.get_online_features(["zoo:rank"], [{"user_id": 1}]).to_dict()["rank"] == [8]


def test_full_names_of_a_service_of_windows_and_expressions(tmp_path: Path) -> None:
    """Two views have a feature of one name, a third has windows of it, and an expression takes it."""
    keys = "entity: user, join_keys: [user_id]"
    columns = "{name: user_id, data_type: varchar}, {name: event_timestamp, data_type: timestamp}"
    window = "aggregations: [{name: score, function: sum, column: points, window: 30 days}]"
    exposure = """
exposures:
  - name: all
    type: ml
    owner: {name: x, email: x@example.com}
    depends_on: [ref('a'), ref('b'), ref('w')]
    config:
      meta:
        pit_join:
          full_feature_names: true
          features: ["a:score", "b:score", "w:score", {on_demand: twice, arguments: {x: "b:score"}}]
"""
    score = f"{columns}, {{name: score, data_type: integer}}"
    points = f"{columns}, {{name: points, data_type: integer}}"
    views = {"a": view(keys, score), "b": view(keys, score), "w": view(f"{keys}, {window}", points)}
    folder = make_project(tmp_path / "lab", views, exposure)
    (folder / "macros").mkdir()
    (folder / "macros" / "twice.sql").write_text("{% macro twice(x) %}{{ x }} * 2{% endmacro %}")
    (folder / "macros" / "twice.yml").write_text(
        "macros:\n  - name: twice\n    arguments: [{name: x, type: bigint}]\n"
        "    config: {meta: {pit_join: {returns: bigint}}}\n"
    )
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        for name, column, value in (("a", "score", 5), ("b", "score", 7), ("w", "points", 9)):
            connection.execute(
                f"create table {name} as select 'u1' as user_id, timestamp '2026-03-01' as event_timestamp, "
                f"{value} as {column}"
            )
    spine = pa.table({"user_id": ["u1"], "event_timestamp": [datetime(2026, 3, 5)]})
    features = FeatureStore(folder, online_store=tmp_path / "online")
    expected = {"a__score": 5, "b__score": 7, "w__score": 9, "twice": 14}
    (row,) = features.get_historical_features(spine, "all").to_arrow().select(list(expected)).to_pylist()
    assert row == expected
    features.export(as_of="2026-03-05")
    found = features.get_online_features("all", [{"user_id": "u1"}], now="2026-03-05").to_dict()
    assert {name: values[0] for name, values in found.items() if name != "user_id"} == expected
