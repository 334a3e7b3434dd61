"""Where the plan of a backfill ends: events change windows long after the newest row, and rows come late."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from oracle import EPOCH, MICROSECOND, Record
from support.dbt import run_dbt
from support.projects import make_project
from support.runs import sampled
from window_oracle import Aggregation, WindowView, by_key, change_points, current_versions, history, is_known, value_at

from pit_join import FeatureStore
from pit_join.definitions.connection import Connection
from pit_join.history import backfill as history_backfill
from pit_join.history import plan as history_plan
from pit_join.history.backfill import Backfill, _Work
from pit_join.history.batches import ceiling
from pit_join.history.ledger import Ledger, read_records
from pit_join.history.plan import BackfillPlan, StoredBatches, look, make_plans
from pit_join.project.dbt_project import Project
from pit_join.workspace import Console, Workspace

pytestmark = pytest.mark.dbt

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
COLUMNS = {"k": "varchar", "e": "timestamptz", "c": "timestamptz", "id": "varchar", "v": "bigint"}
TEXTS = {HOUR: "1 hour", DAY: "1 day", 2 * DAY: "2 days", 3 * DAY: "3 days", 7 * DAY: "7 days", None: "lifetime"}
HISTORY = """
{{{{ config(materialized='incremental', incremental_strategy='microbatch', batch_size='{size}', begin='2026-03-01',
    lookback=0, on_schema_change='append_new_columns') }}}}
{{% set batch = model.batch or {{}} %}}
{{{{ pit_join.window_history('{view}', start=batch.event_time_start, end=batch.event_time_end{more}) }}}}
"""


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-{text}").replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Tail:
    """An event view with the batches of its history, and when the last of them should end, reckoned by hand."""

    view: WindowView
    rows: tuple[Record, ...]
    end: datetime
    size: str = "day"
    grid: timedelta | None = None
    more: str = ""


def tail(
    name: str,
    windows: Sequence[timedelta | None],
    rows: Sequence[tuple[str, str, str | None, str | None, int]],
    end: str,
    *,
    lag: timedelta = timedelta(0),
    closed: str = "left",
    created: bool = False,
    size: str = "day",
    grid: timedelta | None = None,
    more: str = "",
) -> Tail:
    aggregations = [Aggregation(f"n{number}", "count", None, window) for number, window in enumerate(windows)]
    aggregations += [Aggregation(f"s{number}", "sum", "v", window) for number, window in enumerate(windows)]
    view = WindowView(
        name, ("k",), "e", tuple(COLUMNS), tuple(aggregations), "c" if created else None, lag, closed,
        ("id",) if created else (),
    )  # fmt: skip
    found = [
        {"k": k, "e": at(e), "c": None if c is None else at(c), "id": number, "v": v} for k, e, c, number, v in rows
    ]
    return Tail(view, tuple(found), at(end), size, grid, more)


PLAIN = [("a", "01T08:00", None, "1", 10), ("a", "02T00:00", None, "2", 20), ("b", "02T23:30", None, "3", 5)]
LATE = [
    ("a", "01T08:00", "01T08:00", "1", 10),
    ("a", "02T10:00", "02T10:01", "2", 20),
    ("a", "02T10:00", "05T12:00", "2", 25),  # a correction, when it has left the window of an hour
    ("b", "01T12:00", "06T00:00", "3", 5),  # known later than lag and window would end, at the first instant of a day
]
TAILS = (
    # 2nd 23:30 + 7 days
    tail("mixed_right", [HOUR, 7 * DAY, None], PLAIN, "10T00:00", closed="right"),
    # 2nd 23:30 + 1 + 7 days
    tail("mixed_left", [HOUR, 7 * DAY, None], PLAIN, "11T00:00", lag=DAY),
    # 2nd 23:30 + 1 day, when it becomes known: a lifetime has no end
    tail("lifetime", [None], PLAIN, "04T00:00", lag=DAY),
    # 2nd 23:00 + 1 hour: a row at the first instant of the 3rd
    tail("edge", [HOUR], [("a", "02T23:00", None, "1", 1)], "04T00:00", closed="right"),
    tail("before_edge", [HOUR], [("a", "02T22:59:59.999999", None, "1", 1)], "03T00:00", closed="right"),
    tail("hours", [HOUR, 2 * DAY], [("a", "01T05:00", None, "1", 1)], "03T07:00", lag=HOUR, size="hour"),
    # 2nd 10:00 + 1 day is the 3rd, but the last row was created on the 6th
    tail("late", [HOUR, DAY], LATE, "07T00:00", created=True, closed="right"),
    # 2nd 10:00 + 1 + 7 days
    tail("late_left", [HOUR, 7 * DAY], LATE, "11T00:00", created=True, lag=DAY),
    # 2nd 23:30 + 1 day is seen at the first instant of the 4th, and the 1st 23:30 + 1 day, too, on a grid of even days
    tail("grid", [DAY], PLAIN, "05T00:00", grid=DAY, more=", grid='1 day'"),
    tail("grid_of_2", [DAY], [("a", "01T23:30", None, "1", 1)], "05T00:00", grid=2 * DAY, more=", grid='2 days'"),
    tail("dense", [DAY], PLAIN, "05T00:00", closed="right", grid=DAY, more=", grid='1 day', dense=true"),
)
LIFETIME = next(one for one in TAILS if one.view.name == "lifetime")
BY_NAME = {one.view.name: one for one in (LIFETIME, *sampled([one for one in TAILS if one is not LIFETIME], 2))}
"""Each costs a run of dbt."""


def declared(one: Tail) -> dict[str, str]:
    """The YAML of an event view and of its history."""
    view = one.view
    meta: dict[str, Any] = {"entity": "thing", "join_keys": ["k"], "closed": view.closed}
    meta |= {"created_timestamp": "c", "event_key": "id"} if view.created_timestamp else {}
    meta |= {"lag": TEXTS[view.lag]} if view.lag else {}
    meta["aggregations"] = [
        {"name": each.name, "function": each.function, "window": TEXTS[each.window]}
        | ({"column": each.column} if each.column else {})
        for each in view.aggregations
    ]
    names = {"k": "varchar", "event_timestamp": "timestamptz"} | dict.fromkeys(view.features, "bigint")
    kept = {"entity": "thing", "join_keys": ["k"], "inclusive": view.closed == "right"}
    return {
        view.name: _yaml("e", meta, COLUMNS),
        f"{view.name}_history": _yaml("event_timestamp", kept, names),
    }


def _yaml(event_time: str, meta: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    config = {"event_time": event_time, "meta": {"pit_join": meta}}
    listed = [{"name": name, "data_type": kind} for name, kind in columns.items()]
    return f"    config: {json.dumps(config)}\n    columns: {json.dumps(listed)}\n"


def load(directory: Path, name: str, rows: Sequence[Record]) -> None:
    """Add rows to the table of which dbt makes a view."""
    with duckdb.connect(str(directory / "warehouse.duckdb")) as connection:
        columns = ", ".join(f"{column} {kind}" for column, kind in COLUMNS.items())
        connection.execute(f"create table if not exists raw_{name} ({columns})")
        connection.executemany(f"insert into raw_{name} values (?, ?, ?, ?, ?)", [list(row.values()) for row in rows])


def backfill(directory: Path, *names: str, apply: bool = False, **options: Any) -> Backfill:
    return FeatureStore(directory).backfill([f"{name}_history" for name in names], apply=apply, **options)


def planned(found: Backfill) -> dict[str, list[datetime]]:
    """The starts of the batches of one model, by reason."""
    (plan,) = found.plans
    reasons: dict[str, list[datetime]] = {}
    for one in plan.ranges:
        reasons.setdefault(one.reason, []).extend(start for start, _ in one.batches)
    return reasons


def days(first: str, last: str) -> list[datetime]:
    return [at(first) + number * DAY for number in range((at(last) - at(first)).days + 1)]


def make(directory: Path, *tails: Tail) -> Path:
    """Make a project with these views, of which nothing is built yet, and their histories."""
    make_project(directory, {name: text for one in tails for name, text in declared(one).items()})
    for one in tails:
        name = one.view.name
        load(directory, name, one.rows)
        (directory / "models" / f"{name}.sql").write_text(f"select * from raw_{name}")
        code = HISTORY.format(size=one.size, view=name, more=one.more)
        (directory / "models" / f"{name}_history.sql").write_text(code)
    return directory


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, BackfillPlan]]:
    """A project with all these views and their histories, and the plan of each history."""
    directory = make(tmp_path_factory.mktemp("tails") / "shop", *BY_NAME.values())
    found = backfill(directory, apply=True)
    assert found.complete, found.errors
    assert all(not plan.batches for plan in backfill(directory).plans)
    return directory, {plan.model.name.removesuffix("_history"): plan for plan in found.plans}


Filled = tuple[Path, dict[str, BackfillPlan]]


# The end of a plan --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.rest
def test_the_last_batch_is_that_of_the_last_change(filled: Filled, name: str) -> None:
    directory, plans = filled
    one = BY_NAME[name]
    assert (plans[name].first, plans[name].end) == (at("01T00:00"), one.end)
    assert stored(directory, one) == wanted(one)


@pytest.mark.parametrize("name", [name for name, one in BY_NAME.items() if not one.grid])
@pytest.mark.rest
def test_the_stored_history_is_the_live_window(filled: Filled, name: str) -> None:
    """At every change, a microsecond beside it, between two, and long after the last."""
    directory, _ = filled
    one = BY_NAME[name]
    asked = []
    for keys, versions in by_key(current_versions(one.view, one.rows)).items():
        points = change_points(one.view, versions, None, False)
        beside = {point + step for point in points for step in (-1, 0, 1)}
        between = {(one + other) // 2 for one, other in itertools.pairwise(points)}
        asked += [(keys[0], point) for point in sorted(beside | between | {points[-1] + 400 * 86_400_000_000})]
    spine = pa.table({"k": [key for key, _ in asked], "event_timestamp": [time_of(point) for _, point in asked]})
    features = [f"{name}:*", f"{name}_history:*"]
    found = FeatureStore(directory).get_historical_features(spine, features, full_feature_names=True)
    versions = current_versions(one.view, one.rows)
    for (key, point), row in zip(asked, found.to_arrow().to_pylist(), strict=True):
        of_key = [version for version in versions if version.keys == (key,)]
        for each in one.view.aggregations:
            live, kept = (row[f"{view}__{each.name}"] for view in (name, f"{name}_history"))
            if each.function == "count" and not any(is_known(one.view, version, point) for version in of_key):
                assert kept is None  # before its first row a key has no count of 0
                kept = 0
            assert live == kept == value_at(one.view, each, of_key, point), (key, time_of(point), each.name)


def time_of(point: int) -> datetime:
    return EPOCH + point * MICROSECOND


def wanted(one: Tail, more: Sequence[Record] = ()) -> list[tuple[Any, ...]]:
    """The whole history by the oracle."""
    found = history(one.view, [*one.rows, *more], one.grid, "dense=true" in one.more)
    return sorted((*keys, time_of(point), *values.values()) for keys, point, values in found)


def stored(directory: Path, one: Tail) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(directory / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        features = ", ".join(one.view.features)
        query = f"select k, event_timestamp, {features} from {one.view.name}_history order by k, event_timestamp"
        return connection.execute(query).fetchall()


# Batches that are run too early -------------------------------------------------------------------------------


class Clock(datetime):
    """The clock of the backfill, which a test sets."""

    time = at("01T00:00")

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return cls.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    for module in (history_plan, history_backfill):
        monkeypatch.setattr(module, "datetime", Clock)
    return Clock


@pytest.mark.rest
def test_the_tail_is_run_again_until_it_is_over(tmp_path: Path, clock: type[Clock]) -> None:
    one = tail("t", [HOUR, 3 * DAY], [("a", "02T10:00", None, "1", 1)], "06T00:00")
    directory = make(tmp_path / "shop", one)
    clock.time = at("03T10:00")
    assert backfill(directory, "t", apply=True).done == {"t_history": ["2026-03-01", "2026-03-02", "2026-03-03"]}
    clock.time = at("03T15:00")
    assert planned(backfill(directory, "t")) == {"not over when it ran": days("03T00:00", "03T00:00")}
    assert backfill(directory, "t", apply=True).done == {"t_history": ["2026-03-03"]}
    clock.time = at("04T00:00")
    again = {"not over when it ran": days("03T00:00", "03T00:00")}
    assert planned(backfill(directory, "t")) == again | {"missing": days("04T00:00", "04T00:00")}
    clock.time = at("20T00:00")
    assert planned(backfill(directory, "t")) == again | {"missing": days("04T00:00", "05T00:00")}
    assert backfill(directory, "t", apply=True).plans[0].end == one.end
    assert planned(backfill(directory, "t")) == {}
    assert stored(directory, one) == wanted(one)


@pytest.mark.rest
def test_rows_that_come_after_their_batch_was_run(tmp_path: Path) -> None:
    """A batch in the tail may be over before the rows of its time are there."""
    one = tail("t", [HOUR, 3 * DAY], [("a", "02T10:00", None, "1", 1)], "06T00:00")
    directory = make(tmp_path / "shop", one)
    assert backfill(directory, "t", apply=True).plans[0].end == one.end
    late = tail("t", [], [("a", "03T09:00", None, "2", 5), ("b", "02T10:30", None, "3", 7)], "07T00:00")
    load(directory, "t", late.rows)
    assert planned(backfill(directory, "t")) == {}  # they are not in the table of the view yet
    with duckdb.connect(str(directory / "warehouse.duckdb")) as connection:
        connection.execute("create or replace table t as from raw_t")
    early = {"not over when it ran": days("02T00:00", "05T00:00"), "missing": days("06T00:00", "06T00:00")}
    assert planned(backfill(directory, "t")) == early
    assert backfill(directory, "t", apply=True).plans[0].end == late.end
    assert planned(backfill(directory, "t")) == {}
    assert stored(directory, one) == wanted(one, late.rows)
    # What comes later than all batches changes none that is over.
    load(directory, "t", tail("t", [], [("a", "09T00:00", None, "4", 1)], "13T00:00").rows)
    with duckdb.connect(str(directory / "warehouse.duckdb")) as connection:
        connection.execute("create or replace table t as from raw_t")
    again = {"not over when it ran": days("03T00:00", "06T00:00"), "missing": days("07T00:00", "12T00:00")}
    assert planned(backfill(directory, "t")) == again


@pytest.mark.rest
def test_a_batch_that_ends_while_it_runs(filled: Filled, tmp_path: Path, clock: type[Clock]) -> None:
    """It has read its inputs before its end, and is recorded after it."""
    model = filled[1]["lifetime"].model
    batch = (at("03T00:00"), at("04T00:00"))

    class Slow:
        warehouse = tmp_path / "none.duckdb"
        connection = Connection("dev", tmp_path, {})

        def run(self, *arguments: str, inherited: Any = ()) -> Iterator[dict[str, Any]]:
            clock.time = at("04T00:00:03")
            data = {"batch_index": 1, "status": "success", "execution_time": 5.0}
            yield {"info": {"name": "LogBatchResult", "level": "info", "msg": ""}, "data": data}
            yield {"exit": 0}

    for began, reasons in (("03T23:59:58", ["not over when it ran"]), ("04T00:00", [])):
        path = tmp_path / began
        clock.time = at(began)
        project: Any = Slow()
        state = {model.unique_id: StoredBatches({}, at("04T12:00"), frozenset())}
        with Ledger.writing(path) as held:
            work = _Work(Workspace(project, Console()), held, [model])
            work._stored = state
            work._run_range(model, [batch])
        (plan,) = make_plans([model], state, read_records(path), *batch)
        assert [one.reason for one in plan.ranges] == reasons


@pytest.mark.rest
def test_a_batch_of_dbt_itself_that_ends_while_it_runs(tmp_path: Path) -> None:
    one = tail("t", [HOUR], [("a", "02T10:00", None, "1", 1)], "03T00:00")
    directory = make(tmp_path / "shop", one)
    span = ["--event-time-start", "2026-03-01", "--event-time-end", "2026-03-03"]
    assert run_dbt(directory, "run", *span).success
    assert planned(backfill(directory, "t")) == {}
    path = directory / "target" / "run_results.json"
    results = json.loads(path.read_text())
    results["metadata"] |= {"invocation_started_at": "2026-03-02T23:59:58Z", "generated_at": "2026-03-03T00:00:03Z"}
    path.write_text(json.dumps(results))
    assert planned(backfill(directory, "t")) == {"not over when it ran": days("02T00:00", "02T00:00")}


@pytest.mark.rest
def test_a_ledger_from_before(filled: Filled) -> None:
    """It does not say how far the inputs reached."""
    path = filled[0] / "warehouse.duckdb.batches.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    removed = [line.pop("behind") for line in lines]
    assert any(removed)
    old = path.with_name("old")
    old.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert [replace(one, behind={}) for one in read_records(path)] == read_records(old)


# Times of every type ------------------------------------------------------------------------------------------

FAR = ["9999-12-31", "294247-01-10", "0001-01-01", "290000-01-01 (BC)", "infinity", "-infinity"]
NEAR = ["9999-12-31", "0001-01-01", "infinity", "-infinity"]  # for dates
TYPES = {
    "timestamp": FAR,
    "timestamptz": FAR,
    "timestamp_s": FAR,
    "timestamp_ms": FAR,
    "timestamp_ns": ["2262-04-11", "1677-09-22", "infinity", "-infinity"],
    "date": NEAR,
}


def typed(kind: str) -> str:
    return _yaml(
        "E",
        {"entity": "thing", "join_keys": ["k"], "created_timestamp": "c", "lag": "1 hour"}
        | {"aggregations": [{"name": "n", "function": "count", "window": "1 day"}]},
        {"k": "varchar", "E": kind, "c": kind},
    )


def test_times_of_every_type(tmp_path: Path) -> None:
    """Sentinels are neither the newest rows nor an error, and the zone of the profile does not matter."""
    kept = _yaml("t", {"entity": "thing", "join_keys": ["k"]}, {"k": "varchar", "t": "timestamptz", "n": "bigint"})
    views = {f"v_{kind}": typed(kind) for kind in TYPES} | {f"h_{kind}": kept for kind in TYPES}
    views["finer"] = typed("timestamp_ns")
    views["ancient"] = typed("timestamp")
    views["texts"] = "    config: {event_time: e}\n"
    views |= dict.fromkeys(("h_finer", "h_ancient", "h_texts", "h_wrapped", "h_computed"), kept)
    directory = make_project(tmp_path / "shop", views)
    profile = directory / "profiles" / "profiles.yml"
    profile.write_text(profile.read_text().replace("type: duckdb", "type: duckdb, settings: {TimeZone: Asia/Tokyo}"))
    (directory / "macros").mkdir()
    wrapper = "{% macro ours(view, batch) %}{{ pit_join.window_history(view, '1 day', start=batch.event_time_start) }}"
    (directory / "macros" / "ours.sql").write_text(wrapper + "{% endmacro %}")

    def write(name: str, code: str, size: str = "day") -> None:
        whole = HISTORY.format(size=size, view="v", more="").split("{{ pit_join")[0]
        (directory / "models" / f"h_{name}.sql").write_text(whole.replace("lookback=0", "event_time='t'") + code)

    with duckdb.connect(str(directory / "warehouse.duckdb")) as connection:
        for kind, sentinels in TYPES.items():
            write(kind, f"{{{{ pit_join.window_history('v_{kind}') }}}}")
            connection.execute(f"create table v_{kind} (k varchar, e {kind}, c {kind})")
            connection.execute(f"create table h_{kind} (k varchar, t {kind}, n bigint)")
            for value in sentinels:
                rows = f"('k', '{value}', '2026-03-01 12:00'), ('k', '2026-03-01 12:00', '{value}')"
                connection.execute(f"insert into v_{kind} values {rows}")
                connection.execute(f"insert into h_{kind} values ('k', '{value}', 1)")
            connection.execute(
                f"insert into v_{kind} values ('k', '2026-03-02 22:30', '2026-03-01'), ('k', null, null)"
            )
            connection.execute(f"insert into h_{kind} select 'k', '2026-03-01 23:59:59', 1 from range(3)")
        # Rounded up to the first instant of the 3rd; an hour and a day later is the 4th.
        connection.execute(
            "create table finer as select 'k' as k, '2026-03-02 22:59:59.9999991'::timestamp_ns as e, e as c"
        )
        connection.execute("create table ancient as select 'k' as k, timestamp '290000-01-01 (BC)' as e, e as c")
        connection.execute("create table texts as select '2026-03-02T23:30:00-02:00' as e")
    write("finer", "{{ pit_join.window_history('finer') }}")
    write("ancient", "{{ pit_join.window_history('ancient') }}")
    write("texts", "select e as t from {{ ref('texts') }}")
    write("wrapped", "{{ ours('v_timestamp', batch) }}")
    write("computed", "{{ pit_join.window_history('v_timestamp', grid=var('grid', '1 day')) }}")
    before = datetime.now(timezone.utc)
    plans = {plan.model.name: plan for plan in FeatureStore(directory).backfill().plans}
    # 2nd 22:30 + 1 hour + 1 day; of a date it is the 2nd at 0:00
    assert {kind: plans[f"h_{kind}"].end for kind in TYPES} == dict.fromkeys(TYPES, at("04T00:00"))
    assert plans["h_finer"].end == at("05T00:00")
    assert plans["h_ancient"].total == 0
    assert plans["h_texts"].end == at("04T00:00")
    assert plans["h_wrapped"].end == at("05T00:00")
    assert plans["h_computed"].end in [ceiling(time, "day") for time in (before, datetime.now(timezone.utc))]
    workspace = Workspace(Project(directory))
    models = [plans[f"h_{kind}"].model for kind in TYPES]
    for found in look(workspace, models).values():
        assert found.rows is not None
        assert found.rows[at("01T00:00")] == 3
