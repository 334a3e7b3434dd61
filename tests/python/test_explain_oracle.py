"""Explanations of generated cases: the answer and the verdict on each row are those of the oracles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
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
from support.record_cases import RUN
from support.runs import number_of

from pit_join.training.explain import Explainer
from pit_join.training.explanation import Verdict

ALL = 10_000
TIME = "the time asked"  # no key has this name


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
    answer = oracle.look_up(request, {**keys, TIME: at(t)}, rows, TIME, oracle.timedelta(0))
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


@settings(RUN, max_examples=number_of(15, 400))
@given(case=cases())
def test_the_verdict_of_each_row_is_that_of_the_oracle(exporter: Exporter, case: Case) -> None:
    with loaded(exporter.connection, case):
        workspace = exporter.workspace(project_of(case))
        with workspace.warehouse() as warehouse:
            for request, keys, t in list(questions(case))[:6]:
                view = workspace.registry.view(request.view.name)
                plain = oracle.Request(request.view, request.features)
                each = [oracle.Request(request.view, (name,)) for name in request.features]
                found = Explainer(workspace, warehouse, view, request.features, keys).at(at(t), around=ALL)
                history = case.histories[request.view.name].rows
                answers = [
                    oracle.look_up(one, {**keys, TIME: at(t)}, history, TIME, oracle.timedelta(0)) for one in each
                ]
                assert list(found.statuses.values()) == [answer.status.value for answer in answers]
                wanted = [oracle.with_defaults(answer, request.view).values for answer in answers]
                assert [repr(comparable(found.values[name])) for name in request.features] == [
                    repr(comparable(values[name])) for name, values in zip(request.features, wanted, strict=True)
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
        if until is not None and until <= last:
            return Verdict.SUPERSEDED
        ever = window_oracle.in_window(view, version, one.window, version.s + (view.closed == "left"))
        return Verdict.LEFT if ever else Verdict.MISSED
    if window_oracle.is_deleted(view, row):
        return Verdict.DELETED
    counts = window_oracle.selected(view, one, [version], t)
    return Verdict.COUNTED if counts else Verdict.NOT_COUNTED


def times_of(view: window_oracle.WindowView, row: oracle.Record) -> tuple[int, int | None, int]:
    event, created = history_instant(row[view.event_timestamp]), window_oracle.created(view, row)
    lagged = event + microseconds(view.lag)
    return event, created, lagged if created is None else max(lagged, created)


@pytest.mark.rest
@settings(RUN, max_examples=number_of(15, 400))
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
