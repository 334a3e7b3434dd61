"""Explanations: each row's verdict and the answer are those of the oracle, and what the command prints."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import oracle
import pytest
import window_oracle
from generate import Case, cases, comparable
from generate_windows import window_cases
from hypothesis import given, settings
from online_cases import Exporter, at, loaded, project_of
from oracle import Status, history_instant, microseconds, spine_instant
from support.dbt import Built
from support.pages import DOCS, follow, steps
from support.projects import make_project, run, view
from support.record_cases import RUN
from support.runs import number_of

from pit_join import FeatureStore
from pit_join.errors import PitJoinError
from pit_join.training.explain import Explainer
from pit_join.training.explanation import OnlineValue, Verdict

ALL = 10_000


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with duckdb.connect(config={"threads": 1}) as connection, pytest.MonkeyPatch.context() as patch:
        connection.execute("set TimeZone = 'UTC'")
        yield Exporter(connection, tmp_path_factory.mktemp("explain"), patch)


def questions(case: Any) -> Iterator[tuple[Any, dict[str, Any], int]]:
    """Each request with the keys and the microsecond of each row of the spine, but for nulls."""
    for request in case.requests:
        for row in case.spine.rows:
            keys = {key: row[request.join_keys.get(key, key)] for key in request.view.keys}
            time = row[case.event_timestamp]
            if time is not None and None not in keys.values():
                yield request, keys, spine_instant(time)


def verdict(view: oracle.View, row: oracle.Record, t: int, winner: oracle.Record | None, status: Status) -> Verdict:
    if not oracle.has_time(view, row):
        return Verdict.UNDATED
    if view.event_timestamp is not None:
        available = oracle.available_at(view, row)
        if available > t or (available == t and not view.inclusive):
            return Verdict.LATER if history_instant(row[view.event_timestamp]) > t else Verdict.NOT_YET_KNOWN
    assert winner is not None
    if row is winner:
        return {Status.OUTSIDE_MAX_AGE: Verdict.TOO_OLD, Status.NOT_FOUND: Verdict.DELETED}.get(status, Verdict.CHOSEN)
    return Verdict.TIE_LOST if oracle.rank(view, row)[:2] == oracle.rank(view, winner)[:2] else Verdict.SUPERSEDED


def expected(case: Case, request: oracle.Request, keys: dict[str, Any], t: int) -> Counter[Any]:
    """The event time, the features and the verdict of each row of a key."""
    view = request.view
    rows = [row for row in case.histories[view.name].rows if [row[key] for key in view.keys] == list(keys.values())]
    answer = oracle.look_up(request, {**keys, "t": at(t)}, rows, "t", oracle.timedelta(0))
    known = [row for row in rows if verdict(view, row, t, row, Status.PRESENT) == Verdict.CHOSEN]
    winner = max(known, key=lambda row: oracle.rank(view, row), default=None)
    return Counter(
        (
            None if view.event_timestamp is None or row[view.event_timestamp] is None
            else history_instant(row[view.event_timestamp]),
            tuple(repr(comparable(row[name])) for name in request.features),
            verdict(view, row, t, winner, answer.status),
        )
        for row in rows
    )  # fmt: skip


@settings(RUN, max_examples=number_of(30, 400))
@given(case=cases())
def test_the_verdict_of_each_row_is_that_of_the_oracle(exporter: Exporter, case: Case) -> None:
    with loaded(exporter.connection, case):
        workspace = exporter.workspace(project_of(case))
        with workspace.warehouse() as warehouse:
            for request, keys, t in list(questions(case))[:6]:
                view = workspace.registry.view(request.view.name)
                plain = oracle.Request(request.view, request.features)
                found = Explainer(workspace, warehouse, view, request.features, keys).at(at(t), around=ALL)
                history = case.histories[request.view.name].rows
                answer = oracle.look_up(plain, {**keys, "t": at(t)}, history, "t", oracle.timedelta(0))
                assert found.status == answer.status.value
                wanted = oracle.with_defaults(answer, request.view).values
                assert [repr(comparable(found.values[name])) for name in request.features] == [
                    repr(comparable(wanted[name])) for name in request.features
                ]
                shown = Counter(
                    (
                        None if request.view.event_timestamp is None else row.event,
                        tuple(repr(comparable(value)) for value in row.values),
                        row.verdict,
                    )
                    for row in found.rows
                )
                assert shown == expected(case, plain, keys, t)
                assert found.counts["rows"] == len(found.rows)


def event_verdict(
    view: window_oracle.WindowView, one: window_oracle.Aggregation, row: oracle.Record, until: int | None, t: int
) -> Verdict:
    """The verdict on an event; `until` is when a newer version of it takes its place."""
    if not window_oracle.has_time(view, row):
        return Verdict.UNDATED
    version = window_oracle.Version((), *times_of(view, row), until, row)
    if not window_oracle.is_known(view, version, t):
        return Verdict.LATER if version.e > t else Verdict.NOT_YET_KNOWN
    if not window_oracle.in_window(view, version, one.window, t):
        last = t if view.closed == "right" else t - 1
        return Verdict.SUPERSEDED if until is not None and until <= last else Verdict.LEFT
    if window_oracle.is_deleted(view, row):
        return Verdict.DELETED
    counts = window_oracle.selected(view, one, [version], t)
    return Verdict.COUNTED if counts else Verdict.NOT_COUNTED


def times_of(view: window_oracle.WindowView, row: oracle.Record) -> tuple[int, int | None, int]:
    event, created = history_instant(row[view.event_timestamp]), window_oracle.created(view, row)
    lagged = event + microseconds(view.lag)
    return event, created, lagged if created is None else max(lagged, created)


@settings(RUN, max_examples=number_of(30, 400))
@given(case=window_cases())
def test_the_verdict_of_each_event_is_that_of_the_oracle(exporter: Exporter, case: Any) -> None:
    asked = [each for each in questions(case) if isinstance(each[0].view, window_oracle.WindowView)]
    with loaded(exporter.connection, case):
        workspace = exporter.workspace(project_of(case))
        with workspace.warehouse() as warehouse:
            for request, keys, t in asked[:4]:
                view, rows = request.view, case.histories[request.view.name].rows
                explainer = Explainer(workspace, warehouse, workspace.registry.view(view.name), request.features, keys)
                found = explainer.at(at(t), around=ALL)
                dated = [row for row in rows if window_oracle.has_time(view, row)]
                until = [(row, None) for row in rows if not window_oracle.has_time(view, row)]
                until += window_oracle.with_until(view, dated)
                of_key = [(row, end) for row, end in until if [row[key] for key in view.keys] == list(keys.values())]
                assert [window.feature for window in found.windows] == [
                    one.name for one in view.aggregations if one.name in request.features
                ]
                for window in found.windows:
                    one = next(each for each in view.aggregations if each.name == window.feature)
                    wanted = Counter(event_verdict(view, one, row, end, t) for row, end in of_key)
                    assert Counter(row.verdict for row in window.rows) == wanted
                    assert window.events == wanted[Verdict.COUNTED]


# The online value, the command and its errors -------------------------------------------------------------------

HISTORY = "entity: user, join_keys: [user_id], created_timestamp: loaded_at, lag: 1 hour, ttl: 2 days, deleted: gone"
COLUMNS = (
    "{name: user_id, data_type: bigint}, {name: event_timestamp, data_type: timestamptz}, "
    "{name: loaded_at, data_type: timestamptz}, {name: gone, data_type: boolean}, "
    "{name: n, data_type: integer, config: {meta: {pit_join: {default: 7}}}}, {name: word, data_type: varchar}"
)
ROWS = """
    (1, '2026-03-01 00:00+00', '2026-03-01 00:30+00', false, 1, 'a'),
    (1, '2026-03-02 00:00+00', '2026-03-02 09:00+00', false, 2, 'b'),
    (1, '2026-03-02 00:00+00', '2026-03-02 09:00+00', false, 3, 'c'),
    (1, '2026-03-03 00:00+00', '2026-03-03 00:00+00', null, null, E'\\x1b[31mred'),
    (1, '2026-03-04 00:00+00', '2026-03-04 00:00+00', true, 5, null),
    (1, null, '2026-03-01 00:00+00', false, 6, null),
    (2, '2026-03-01 00:00+00', '2026-03-01 00:00+00', false, 8, null)
"""


@pytest.fixture
def shop(tmp_path: Path) -> FeatureStore:
    project = make_project(tmp_path / "shop", {"plans": view(HISTORY, COLUMNS)})
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(
            "create table plans (user_id bigint, event_timestamp timestamptz, loaded_at timestamptz, gone boolean, "
            f"n integer, word varchar); insert into plans values {ROWS}"
        )
    return FeatureStore(project)


def change(shop: FeatureStore, statement: str) -> None:
    with duckdb.connect(str(Path(shop.online_store).parents[1] / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(statement)


def verdicts(shop: FeatureStore, at: str, **options: Any) -> list[tuple[Any, str]]:
    found = shop.explain("plans:n", {"user_id": 1}, at, online=False, **options)
    return [(row.values[0], row.verdict.value) for row in found.rows]


def test_the_verdicts_by_hand(shop: FeatureStore) -> None:
    none = (6, "no time")
    assert verdicts(shop, "2026-03-02 09:00") == [
        (1, "superseded"), (2, "tie lost"), (3, "chosen"), (None, "later than T"), (5, "later than T"), none,
    ]  # fmt: skip
    assert verdicts(shop, "2026-03-02 08:59") == [
        (1, "chosen"), (2, "not yet known"), (3, "not yet known"), (None, "later than T"), (5, "later than T"), none,
    ]  # fmt: skip
    assert verdicts(shop, "2026-03-04 00:59", gap="1 day")[0:3] == [
        (1, "superseded"), (2, "tie lost"), (3, "chosen"),
    ]  # fmt: skip
    assert verdicts(shop, "2026-03-04 01:00")[-2:] == [(5, "deleted"), none]
    assert shop.explain("plans:n", {"user_id": 2}, "2026-03-09", online=False).rows[0].verdict is Verdict.TOO_OLD
    assert verdicts(shop, "2026-03-02 09:00", around=0) == [(3, "chosen")]
    found = shop.explain("plans", {"user_id": "1"}, "2026-03-03 02:00", online=False)
    assert (found.status, found.values, found.defaulted) == ("PRESENT", {"n": 7, "word": "\x1b[31mred"}, ("n",))
    assert found.keys == {"user_id": 1}
    assert found.counts == {"rows": 6, "undated": 1, "known": 4, "before": 4, "after": 1}
    assert [row.position for row in found.rows] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("select 1", None),
        ("update plans set n = 9 where n = 3", "the row of 2026-03-02 .* has other values of n now"),
        ("delete from plans where n in (2, 3)", "the row of 2026-03-02 .* is not in the warehouse any more"),
        (
            "insert into plans values (1, '2026-03-02 10:00+00', '2026-03-02 10:00+00', false, 4, null)",
            "the warehouse has a row of 2026-03-02 10:00:00.* came later than its times say",
        ),
        ("delete from plans where user_id = 1", "the row of .* is not in the warehouse any more"),
    ],
    ids=["equal", "changed", "removed", "late", "gone"],
)
def test_why_the_online_value_differs(shop: FeatureStore, statement: str, why: str | None) -> None:
    shop.export(as_of="2026-03-02 12:00")
    change(shop, statement)
    online = shop.explain("plans:n", {"user_id": 1}, "2026-03-01 12:00").online
    assert isinstance(online, OnlineValue)
    assert (online.values, online.statuses) == ({"n": 3}, {"n": "PRESENT"})
    assert online.equal == (why is None)
    assert re.search(why or "^$", " ".join(online.why))


def test_without_an_export(shop: FeatureStore) -> None:
    for online in (True, False):
        found = shop.explain("plans:n", {"user_id": 1}, "2026-03-02 12:00", online=online)
        assert (found.values, found.status) == ({"n": 3}, "PRESENT")
    assert found.online is None
    said = shop.explain("plans:n", {"user_id": 1}, "2026-03-02 12:00").online
    assert isinstance(said, str)
    assert "pit-join export" in said


@pytest.mark.parametrize(
    ("feature", "keys", "at", "says"),
    [
        ("plan:n", {"user_id": 1}, "2026-03-02", "unknown feature view 'plan'; did you mean 'plans'"),
        ("plans:m", {"user_id": 1}, "2026-03-02", "view 'plans' has no feature 'm'"),
        ("plans:n", {"user": 1}, "2026-03-02", "view 'plans' has no key 'user'; did you mean 'user_id'"),
        ("plans:n", {}, "2026-03-02", "view 'plans' needs a value for every key; give user_id"),
        ("plans:n", {"user_id": "one"}, "2026-03-02", "cannot be read: .*one"),
        ("plans:n", {"user_id": 1}, "soon", "cannot read the instant 'soon'"),
        ("plans:n", {"user_id": 1}, "2026-03-02", None),
    ],
)
def test_bad_questions(shop: FeatureStore, feature: str, keys: dict[str, Any], at: str, says: str | None) -> None:
    if says is None:
        shop.explain(feature, keys, at)
        return
    with pytest.raises(PitJoinError, match=says):
        shop.explain(feature, keys, at)


def test_the_command(shop: FeatureStore) -> None:
    project = str(Path(shop.online_store).parents[1])
    asked = (
        "--project-dir",
        project,
        "explain",
        "--feature",
        "plans",
        "--entity",
        "user_id=1",
        "--at",
        "2026-03-03 02:00",
    )
    done = run(*asked)
    assert done.status == 0
    assert "\x1b" not in done.out, "a value must not be able to write to the terminal"
    assert "\\x1b[31mred" in done.out
    assert "=>  2026-03-03 00:00:00" in done.out
    assert "n = 7, the declared default (PRESENT, 2.0 h old)" in done.out
    found = json.loads(run(*asked, "--json", "--around", "1").out)
    assert [row["verdict"] for row in found["rows"]] == ["chosen", "later than T", "no time"]
    assert (found["at"], found["event"]) == ("2026-03-03T02:00:00Z", "2026-03-03T00:00:00Z")
    assert run(*asked[:-2]).status == 2
    assert run(*asked, "--entity", "user_id").status == 2


@pytest.mark.rest
def test_the_page(demo: Built, copy_of: Callable[[Built], Built]) -> None:
    assert follow(steps(DOCS / "explain.md"), copy_of(demo).directory) == []
