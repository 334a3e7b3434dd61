"""The generator of window cases: near misses of the rule must show, and the laws of the rule must hold.

A near miss replaces one thing of the oracle. The cases must tell it from the rule, several times over: so each edge
that a broken SQL could get wrong comes up often enough.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import duckdb
import oracle
import pytest
import window_oracle
from generate import comparable, fetch, load, quote, result_name
from generate_windows import (
    WindowCase,
    agrees,
    enlarged,
    expected_answers,
    expected_records,
    instant,
    result_columns,
    window_cases,
    without_later,
)
from hypothesis import strategies as st
from oracle import Record, Status, history_instant, microseconds
from support.runs import RUN, for_each, number_of, sampled
from window_oracle import Aggregation, Version, Where, WindowView, by_key, current_versions, end, history, snapshot

pytestmark = pytest.mark.slow

ZERO = timedelta(0)

# The last of the near misses meets its second case as number 317.
BATCH, BATCHES, ENOUGH = 50, 16, 2


@functools.cache
def batch(number: int) -> list[tuple[WindowCase, list[dict[str, Any]]]]:
    """The same cases for every near miss, each with what the rule says of it."""
    drawn: list[WindowCase] = []

    def collect(case: WindowCase) -> None:
        drawn.append(case)

    for_each(collect, BATCH, first=number * BATCH // RUN, case=window_cases(plain_views=False))
    return [(case, expected_records(case, defaults=False, provenance=True)) for case in drawn]


true_in_window, true_selected, true_value_at, true_with_until = (
    window_oracle.in_window,
    window_oracle.selected,
    window_oracle.value_at,
    window_oracle.with_until,
)
true_aggregate, true_rank, true_end, true_newest = (
    window_oracle.aggregate,
    window_oracle.rank,
    window_oracle.end,
    window_oracle.newest_event_time,
)


def window_of(starts: Callable[[int, int], bool], ends: Callable[[int, int], bool]) -> Callable[..., bool]:
    """A window with these comparisons of s and T, and of T and x."""

    def broken(view: WindowView, version: Version, window: timedelta | None, t: int) -> bool:
        x = end(view, version, window)
        return starts(version.s, t) and (x is None or ends(t, x))

    return broken


def only(closed: str, broken: Callable[..., bool]) -> Callable[..., bool]:
    """A broken window for one edge, the true one for the other."""
    return lambda view, *rest: (broken if view.closed == closed else true_in_window)(view, *rest)


def from_versions(change: Callable[[WindowView, Version], Version]) -> Callable[..., list[Version]]:
    """The current versions, each changed."""
    return lambda view, rows: [change(view, version) for version in current_versions(view, rows)]


def from_rows(change: Callable[[WindowView, list[Record]], list[Record]]) -> Callable[..., list[Version]]:
    """The current versions of changed rows."""
    return lambda view, rows: current_versions(view, change(view, list(rows)))


def known_early(view: WindowView, version: Version) -> Version:
    return replace(version, s=version.e + microseconds(view.lag))


def without(view: WindowView, rows: list[Record], condition: Callable[[WindowView, Record], bool]) -> list[Record]:
    return [row for row in rows if not condition(view, row)]


def is_deleted(view: WindowView, row: Record) -> bool:
    return view.deleted is not None and row[view.deleted] is True


def undeleted(view: WindowView, rows: list[Record]) -> list[Record]:
    return [{**row, view.deleted: False} if is_deleted(view, row) else row for row in rows]


def has_null_key(view: WindowView, row: Record) -> bool:
    return any(row[key] is None for key in view.keys)


def with_event_time(view: WindowView, rows: list[Record]) -> list[Record]:
    """A row without an event time supersedes: as one with a null key does."""
    some = next((row[view.event_timestamp] for row in rows if row[view.event_timestamp] is not None), None)
    return [
        {**row, view.keys[0]: None, view.event_timestamp: some}
        if view.keys and row[view.event_timestamp] is None
        else row
        for row in rows
    ]


def superseded_within_a_key(view: WindowView, rows: list[Record]) -> list[Any]:
    return true_with_until(replace(view, event_key=(*view.event_key, *view.keys)) if view.event_key else view, rows)


def nulls_are_one_event(view: WindowView, rows: list[Record]) -> list[Any]:
    filled = [{**row, **{column: row[column] or "?" for column in view.event_key}, "row": row} for row in rows]
    return [(row["row"], until) for row, until in true_with_until(view, filled)]


def until_known(view: WindowView, rows: list[Record]) -> list[Any]:
    """A version is superseded when the next is known by its event time too, not when that is created."""

    def known(row: Record, until: int | None) -> int | None:
        later = [
            history_instant(other[view.event_timestamp]) + microseconds(view.lag)
            for other in rows
            if all(other[column] == row[column] for column in view.event_key)
            and window_oracle.created(view, other) == until
        ]
        return until if until is None or not later else max(until, *later)

    return [(row, known(row, until)) for row, until in true_with_until(view, rows)]


def poisoned(view: WindowView, aggregation: Aggregation, versions: list[Version], t: int) -> Any:
    """Sums as differences of running totals: what was NaN or infinite once stays so."""
    if aggregation.function in ("sum", "avg"):
        seen = [v.row[aggregation.column] for v in versions if window_oracle.is_known(view, v, t)]
        if any(isinstance(each, float) and not math.isfinite(each) for each in seen):
            return math.nan
    return true_value_at(view, aggregation, versions, t)


def running_totals(view: WindowView, aggregation: Aggregation, versions: list[Version], t: int) -> Any:
    """Sums as differences of running totals of doubles."""
    exact = true_value_at(view, aggregation, versions, t)
    if aggregation.function != "sum" or not isinstance(exact, float) or not math.isfinite(exact):
        return exact
    inside = true_selected(view, aggregation, versions, t)
    total = gone = 0.0
    for version in sorted(versions, key=lambda version: version.e):
        number = version.row[aggregation.column]
        if number is not None and math.isfinite(number):
            total += number
            gone += 0.0 if version in inside else number
    return total - gone


def on_values(functions: tuple[str, ...], change: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    """Other functions of the values that are not null."""

    def broken(aggregation: Aggregation, versions: list[Version]) -> Any:
        right = true_aggregate(aggregation, versions)
        if aggregation.function not in functions or right is None:
            return right
        return change([version.row[aggregation.column] for version in versions])

    return broken


def squares(values: list[Any]) -> float | None:
    """The deviation from the sums of values and squares."""
    if not all(math.isfinite(value) for value in values) or len(values) < 2:
        return window_oracle.deviation(values)
    numbers = [float(value) for value in values]
    mean_square, square_mean = sum(n * n for n in numbers), sum(numbers) ** 2 / len(numbers)
    return math.sqrt(max(0.0, mean_square - square_mean) / (len(numbers) - 1))


def summed_in_doubles(values: list[Any]) -> Any:
    return int(sum(map(float, values))) if isinstance(values[0], int) else window_oracle.total(values)


def distinct_one_by_one(values: list[Any]) -> int:
    return len(set(values)) + max(0, sum(value != value for value in values) - 1)


def greatest_number(values: list[Any]) -> Any:
    numbers = [value for value in values if value == value]
    return max(numbers or values, key=oracle.order)


def order_by(*parts: str) -> Callable[..., Any]:
    """first, last and last_n in the order of some of e, c and value."""

    def broken(aggregation: Aggregation, versions: list[Version]) -> Any:
        if aggregation.function not in ("first", "last", "last_n") or not versions:
            return true_aggregate(aggregation, versions)

        def key(version: Version) -> list[Any]:
            whole = {"e": version.e, "c": version.c or 0, "value": oracle.order(version.row[aggregation.column])}
            return [whole[part] for part in parts]

        values = [version.row[aggregation.column] for version in sorted(versions, key=key, reverse=True)]
        return {"first": values[-1], "last": values[0], "last_n": values[: aggregation.n]}[aggregation.function]

    return broken


def with_nulls(view: WindowView, aggregation: Aggregation, versions: list[Version], t: int) -> list[Version]:
    if aggregation.function not in ("last_n", "last", "first", "count"):
        return true_selected(view, aggregation, versions, t)
    return true_selected(view, replace(aggregation, column=None), versions, t)


def where_not_false(view: WindowView, aggregation: Aggregation, versions: list[Version], t: int) -> list[Version]:
    where = aggregation.where
    loose = where and Where(where.sql, lambda row: where.holds(row) is not False)
    return true_selected(view, replace(aggregation, where=loose), versions, t)


def where_ignored(view: WindowView, aggregation: Aggregation, versions: list[Version], t: int) -> list[Version]:
    return true_selected(view, replace(aggregation, where=None), versions, t)


def of_windows(choose: Callable[[WindowView], tuple[Aggregation, ...]]) -> Callable[..., Any]:
    """The event time from other windows than the longest."""
    return lambda view, versions, t: true_newest(replace(view, aggregations=choose(view)), versions, t)


def shortest(view: WindowView) -> tuple[Aggregation, ...]:
    return (min(view.aggregations, key=lambda each: (each.window is None, each.window or ZERO)),)


def rank_of(*parts: int) -> Callable[..., Any]:
    """Versions in the order of some of (c, e, deleted, content)."""
    return lambda view, row: [true_rank(view, row)[part] for part in parts]


def lag_apart(view: WindowView, version: Version, window: timedelta | None) -> int | None:
    return true_end(replace(view, lag=ZERO), version, window)


def end_without_until(view: WindowView, version: Version, window: timedelta | None) -> int | None:
    return true_end(view, replace(version, until=None), window)


def end_from_known(view: WindowView, version: Version, window: timedelta | None) -> int | None:
    """The window counts from when the event is known."""
    return true_end(replace(view, lag=ZERO), replace(version, e=version.s), window)


IN_WINDOW, VALUE_AT, SELECTED = "window_oracle.in_window", "window_oracle.value_at", "window_oracle.selected"
WITH_UNTIL, AGGREGATE, RANK = "window_oracle.with_until", "window_oracle.aggregate", "window_oracle.rank"
VERSIONS, END, NEWEST = "generate_windows.current_versions", "window_oracle.end", "window_oracle.newest_event_time"
# fmt: off
NEAR_MISSES: dict[str, tuple[str, Any]] = {
    "left: event at T counted": (IN_WINDOW, only("left", window_of(lambda s, t: s <= t, lambda t, x: t <= x))),
    "left: far edge open": (IN_WINDOW, only("left", window_of(lambda s, t: s < t, lambda t, x: t < x))),
    "right: event at T not counted": (IN_WINDOW, only("right", window_of(lambda s, t: s < t, lambda t, x: t < x))),
    "right: far edge closed": (IN_WINDOW, only("right", window_of(lambda s, t: s <= t, lambda t, x: t <= x))),
    "late event seen early": (VERSIONS, from_versions(known_early)),
    "lag ignored": (VERSIONS, lambda view, rows: current_versions(replace(view, lag=ZERO), rows)),
    "lag shortens the window": (END, lag_apart),
    "window counts from when the event is known": (END, end_from_known),
    "correction counted twice": (WITH_UNTIL, lambda view, rows: [(row, None) for row in rows]),
    "correction counted twice in finite windows only": (END, end_without_until),
    "superseded within a key only": (WITH_UNTIL, superseded_within_a_key),
    "superseded when the next is known": (WITH_UNTIL, until_known),
    "nulls in the event key are equal": (WITH_UNTIL, nulls_are_one_event),
    "deleted version counted": (VERSIONS, from_rows(undeleted)),
    "deleted version supersedes nothing": (VERSIONS, from_rows(lambda view, rows: without(view, rows, is_deleted))),
    "null key supersedes nothing": (VERSIONS, from_rows(lambda view, rows: without(view, rows, has_null_key))),
    "null event time supersedes": (VERSIONS, from_rows(with_event_time)),
    "versions by event time": (RANK, rank_of(1, 0, 2, 3)),
    "versions of one creation by content": (RANK, rank_of(0, 2, 3)),
    "versions equal in time by chance": (RANK, rank_of(0, 1)),
    "deleted not before content": (RANK, rank_of(0, 1, 3)),
    "where ignored": (SELECTED, where_ignored),
    "where null is true": (SELECTED, where_not_false),
    "nulls counted": (SELECTED, with_nulls),
    "running totals poisoned": (VALUE_AT, poisoned),
    "running totals of doubles": (VALUE_AT, running_totals),
    "deviation from sums of squares": (AGGREGATE, on_values(("stddev",), squares)),
    "sums of integers in doubles": (AGGREGATE, on_values(("sum",), summed_in_doubles)),
    "NaN differs from NaN": (AGGREGATE, on_values(("count_distinct",), distinct_one_by_one)),
    "NaN is not the greatest": (AGGREGATE, on_values(("max",), greatest_number)),
    "first and last without created": (AGGREGATE, order_by("e", "value")),
    "first and last by created": (AGGREGATE, order_by("c", "e", "value")),
    "first and last by chance": (AGGREGATE, order_by("e", "c")),
    "last_n of distinct values": (AGGREGATE, on_values(("last_n",), lambda values: list(dict.fromkeys(values)))),
    "event time of the shortest window": (NEWEST, of_windows(shortest)),
    "event time of all that is known": (NEWEST, of_windows(lambda view: (Aggregation("n", "count"),))),
}
# fmt: on


def plain_records(case: WindowCase) -> list[dict[str, Any]]:
    """What the patched oracle gives, as SQL would."""
    records = []
    for answers in expected_answers(case):
        record = {}
        for request in case.requests:
            answer = answers[request.name]
            columns = {
                f"{request.name}__event_timestamp": answer.event_time,
                f"{request.name}__status": answer.status.value,
            }
            columns |= {result_name(case, request, name): value for name, value in answer.values.items()}
            record |= {name: comparable(value) for name, value in columns.items()}
        records.append(record)
    return records


def is_caught(case: WindowCase, right: list[dict[str, Any]]) -> bool:
    """Whether the patched oracle gives anything else."""
    rows = zip(plain_records(case), right, strict=True)
    return any(not agrees(row[name], wanted[name]) for row, wanted in rows for name in row)


@pytest.mark.rest
def test_the_rule_is_no_near_miss() -> None:
    assert not any(is_caught(*each) for each in batch(0))


@pytest.mark.parametrize("name", sampled(NEAR_MISSES, 4))
@pytest.mark.rest
def test_cases_tell_the_rule_from_a_near_miss(name: str) -> None:
    caught = 0
    for number in range(BATCHES):
        cases = batch(number)  # by the rule, so before it is patched
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(*NEAR_MISSES[name])
            caught += sum(is_caught(*each) for each in cases)
        if caught >= ENOUGH:
            break
    assert caught >= ENOUGH


# The laws of the rule -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


def test_what_is_loaded_is_what_was_drawn(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: WindowCase) -> None:
        load(connection, case)
        for table in (case.spine, *case.histories.values()):
            records = [{column.name: comparable(row[column.name]) for column in table.columns} for row in table.rows]
            assert fetch(connection, f"from {quote(table.name)}", table.columns) == records
        names = [column.name.casefold() for column in result_columns(case, provenance=True)]
        assert len(set(names)) == len(names)

    for_each(check, number_of(10, 60), case=window_cases())


def test_a_condition_says_the_same_in_sql(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: WindowCase) -> None:
        load(connection, case)
        for view in case.window_views:
            rows = case.histories[view.name].rows
            for where in {each.where for each in view.aggregations if each.where is not None}:
                found = connection.execute(f"select (\n{where.sql}\n) from {quote(view.name)}").fetchall()
                assert found == [(where.holds(row),) for row in rows]

    for_each(check, number_of(10, 60), case=window_cases())


def test_left_is_right_a_microsecond_earlier() -> None:
    def check(case: WindowCase) -> None:
        for view in case.window_views:
            left, right = replace(view, closed="left"), replace(view, closed="right")
            of_keys = by_key(current_versions(view, case.histories[view.name].rows)).values()
            for t in {instant(case, row) for row in case.spine.rows}:
                for versions in of_keys:
                    for each in view.aggregations:
                        earlier = window_oracle.value_at(right, each, versions, t - 1)
                        assert comparable(window_oracle.value_at(left, each, versions, t)) == comparable(earlier)

    for_each(check, number_of(10, 100), case=window_cases(plain_views=False))


def test_events_not_yet_known_change_nothing() -> None:
    def check(case: WindowCase) -> None:
        for number, row in enumerate(case.spine.rows):
            full = expected_answers(case)[number]
            earlier = expected_answers(without_later(case, instant(case, row)))[number]
            for name, answer in full.items():
                assert comparable(earlier[name].event_time) == comparable(answer.event_time)
                assert {each: comparable(value) for each, value in earlier[name].values.items()} == {
                    each: comparable(value) for each, value in answer.values.items()
                }

    for_each(check, number_of(10, 100), case=window_cases(plain_views=False))


def test_the_history_as_of_t_is_the_window_at_t() -> None:
    def check(case: WindowCase, closed: str) -> None:
        for view in (replace(view, closed=closed) for view in case.window_views):
            rows = case.histories[view.name].rows
            of_key = by_key(current_versions(view, rows))
            latest = 0 if closed == "right" else 1
            changes = history(view, rows)
            for t in {at + beside for _, at, _ in changes for beside in (-1, 0, 1)}:
                for keys, versions in of_key.items():
                    seen = [values for key, at, values in changes if key == keys and at <= t - latest]
                    last = (
                        seen[-1]
                        if seen
                        else {each.name: window_oracle.aggregate(each, []) for each in view.aggregations}
                    )
                    for each in view.aggregations:
                        exact = window_oracle.value_at(view, each, versions, t)
                        assert comparable(exact) == comparable(last[each.name])

    for_each(check, number_of(10, 100), case=window_cases(plain_views=False), closed=st.sampled_from(("left", "right")))


def test_the_snapshot_is_the_training_set_at_that_instant() -> None:
    def check(case: WindowCase) -> None:
        for row, answers in zip(case.spine.rows, expected_answers(case), strict=True):
            for request in case.requests if row[case.event_timestamp] is not None else ():
                view, keys = request.view, [row[request.join_keys.get(key, key)] for key in request.view.keys]
                held = snapshot(view, case.histories[view.name].rows, instant(case, row))
                found = [record for record in held if [record[key] for key in view.keys] == keys]
                answer = answers[request.name]
                assert len(found) == (answer.status in (Status.PRESENT, Status.NULL_VALUE))
                for record in found:
                    assert comparable(record[view.event_timestamp]) == comparable(answer.event_time)
                    for name, value in answer.values.items():
                        assert comparable(record[name]) == comparable(value)

    for_each(check, number_of(10, 100), case=window_cases(plain_views=False))


def test_an_enlarged_case_has_more_of_the_same(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: WindowCase, number: int) -> None:
        large = enlarged(case, number, 200, labels=5)
        load(connection, large)
        assert expected_records(large) == expected_records(enlarged(case, number, 200, labels=5))
        for view in case.window_views:
            few_rows, rows = case.histories[view.name].rows, large.histories[view.name].rows
            assert len(rows) - len(few_rows) in (0, 200)
            for key in view.keys[:1]:  # a view may have none
                assert {row[key] for row in rows} == {row[key] for row in few_rows}

    for_each(check, 10, case=window_cases(plain_views=False), number=st.integers(0, 2**32))
