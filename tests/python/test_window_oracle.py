"""The oracle of window views against answers worked out by hand, clause by clause."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import oracle
import pytest
import window_oracle
from generate import comparable
from generate_windows import (
    agrees,
    near,
)
from oracle import Answer, Nanoseconds, Record, Request, Status, microseconds, spine_instant
from window_oracle import (
    Aggregation,
    Where,
    WindowView,
    current_versions,
    history,
    look_up,
    snapshot,
)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TINY = timedelta(microseconds=1)
ZERO = timedelta(0)
NOON = datetime(2026, 3, 15, 12)

COUNT = Aggregation("n", "count", window=HOUR)
LANDINGS = WindowView("landings", ("carrier",), "at", ("carrier", "at", "delay"), (COUNT,))
RIGHT = replace(LANDINGS, closed="right")
VERSIONED = replace(
    RIGHT,
    columns=("id", "carrier", "at", "landed", "delay", "gone"),
    created_timestamp="landed",
    event_key=("id",),
    deleted="gone",
)


def event(at: Any = NOON, delay: Any = 1, carrier: Any = "AA", **columns: Any) -> Record:
    """An event; of a view with versions the event f1, landed at its time."""
    return {"carrier": carrier, "at": at, "delay": delay, "id": "f1", "landed": at, "gone": False, **columns}


def ask(view: WindowView, events: list[Record], t: Any, carrier: Any = "AA", gap: timedelta = ZERO) -> Answer:
    """What one row of a spine gets of all features."""
    request = Request(view, view.features)
    return look_up(request, {"carrier": carrier, "t": t}, current_versions(view, events), "t", gap)


def value(view: WindowView, events: list[Record], t: Any, **options: Any) -> Any:
    """The same, the only feature."""
    (only,) = ask(view, events, t, **options).values.values()
    return only


def of(view: WindowView, function: str, values: list[Any], window: timedelta | None = None, **options: Any) -> Any:
    """A function of the delays of events a second apart, all of them in the window."""
    events = [event(NOON + index * timedelta(seconds=1), each) for index, each in enumerate(values)]
    aggregation = Aggregation("f", function, "delay", window, **options)
    return value(replace(view, aggregations=(aggregation,)), events, NOON + HOUR / 2)


# 5, 6: the edges of a window ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closed", "after", "counted"),
    [
        ("left", ZERO, 0),  # the event that is predicted never counts itself
        ("left", TINY, 1),
        ("left", HOUR, 1),  # T - w = e
        ("left", HOUR + TINY, 0),
        ("right", -TINY, 0),
        ("right", ZERO, 1),
        ("right", HOUR - TINY, 1),
        ("right", HOUR, 0),
    ],
)
def test_the_edges_of_a_window(closed: str, after: timedelta, counted: int) -> None:
    assert value(replace(LANDINGS, closed=closed), [event()], NOON + after) == counted


@pytest.mark.parametrize(
    ("closed", "after", "counted"),
    [
        ("left", 6 * HOUR, 0),
        ("left", 6 * HOUR + TINY, 1),
        ("left", 7 * HOUR, 1),
        ("left", 7 * HOUR + TINY, 0),
        ("right", 6 * HOUR - TINY, 0),
        ("right", 6 * HOUR, 1),
        ("right", 7 * HOUR - TINY, 1),
        ("right", 7 * HOUR, 0),
    ],
)
def test_a_lag_moves_the_whole_window(closed: str, after: timedelta, counted: int) -> None:
    assert value(replace(LANDINGS, closed=closed, lag=6 * HOUR), [event()], NOON + after) == counted


@pytest.mark.parametrize(
    ("closed", "after", "counted"),
    [
        ("left", 20, 0),
        ("left", 21, 1),
        ("left", 60, 1),
        ("left", 61, 0),
        ("right", 19, 0),
        ("right", 20, 1),
        ("right", 59, 1),
        ("right", 60, 0),
    ],
)
def test_a_late_event_comes_late_and_goes_on_time(closed: str, after: int, counted: int) -> None:
    """Microseconds after noon here stand for minutes: the window is 60, the event lands after 20."""
    view = replace(VERSIONED, closed=closed, aggregations=(Aggregation("n", "count", window=60 * TINY),))
    assert value(view, [event(landed=NOON + 20 * TINY)], NOON + after * TINY) == counted


def test_an_event_that_lands_after_its_window_is_never_in_it() -> None:
    events = [event(landed=NOON + HOUR)]
    for after in (HOUR - TINY, HOUR, HOUR + TINY, 2 * HOUR):
        for closed in ("left", "right"):
            assert value(replace(VERSIONED, closed=closed), events, NOON + after) == 0
    assert ask(VERSIONED, events, NOON + HOUR).status is Status.PRESENT  # a count of 0 is not null


def test_created_before_the_lag_is_over_it_is_known_after_the_lag() -> None:
    lagged = replace(VERSIONED, lag=HOUR)
    assert value(lagged, [event(landed=NOON + HOUR / 2)], NOON + HOUR - TINY) == 0
    assert value(lagged, [event(landed=NOON + HOUR / 2)], NOON + HOUR) == 1
    assert value(lagged, [event(landed=NOON - DAY)], NOON) == 0


def test_a_lifetime_has_no_end() -> None:
    forever = replace(RIGHT, aggregations=(replace(COUNT, window=None),))
    assert value(forever, [event()], NOON - TINY) == 0
    assert value(forever, [event()], NOON) == 1
    assert value(forever, [event()], datetime(9000, 1, 1)) == 1


def test_a_gap_moves_t_back() -> None:
    assert value(LANDINGS, [event()], NOON + DAY, gap=DAY) == 0
    assert value(LANDINGS, [event()], NOON + DAY + TINY, gap=DAY) == 1
    assert value(LANDINGS, [event()], NOON + DAY + HOUR + TINY, gap=DAY) == 0


def test_instants_are_microseconds_the_spine_rounded_down_and_events_up() -> None:
    noon = microseconds(NOON.replace(tzinfo=timezone.utc) - oracle.EPOCH) * 1000
    finer = [event(Nanoseconds(noon + 1))]  # known at noon and a microsecond
    assert value(RIGHT, finer, Nanoseconds(noon + 999)) == 0
    assert value(RIGHT, finer, Nanoseconds(noon + 1000)) == 1
    assert value(LANDINGS, finer, Nanoseconds(noon + 1999)) == 0
    assert value(LANDINGS, finer, Nanoseconds(noon + 2000)) == 1
    assert value(RIGHT, [event(date(2026, 3, 15))], datetime(2026, 3, 15)) == 1
    assert value(RIGHT, [event(NOON.replace(tzinfo=timezone(HOUR)))], NOON - HOUR) == 1


def test_keys_match_as_a_whole_and_the_window_is_that_of_the_key() -> None:
    pair = replace(RIGHT, keys=("carrier", "id"))
    events = [event(id="x"), event(id="y"), event(id="y"), event(id=None), event(carrier=None)]
    request = Request(pair, ("n",), join_keys={"id": "flight"})
    counted = [
        look_up(request, {"carrier": "AA", "flight": flight, "t": NOON}, current_versions(pair, events), "t", ZERO)
        for flight in ("x", "y", "z", None)
    ]
    assert [answer.values["n"] for answer in counted] == [1, 2, 0, 0]
    assert counted[2].status is Status.NOT_FOUND
    assert counted[3].status is Status.NULL_KEY


# 1, 2, 3: versions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closed", "after", "counted"),
    [("right", 30, 1), ("right", 39, 1), ("right", 40, 2), ("left", 40, 1), ("left", 41, 2)],
)
def test_a_correction_counts_from_when_it_is_created_and_the_first_version_until_then(
    closed: str, after: int, counted: int
) -> None:
    total = replace(VERSIONED, closed=closed, aggregations=(Aggregation("total", "sum", "delay", 60 * TINY),))
    events = [event(delay=1), event(delay=2, landed=NOON + 40 * TINY)]
    assert value(total, events, NOON + after * TINY) == counted


def test_without_an_event_key_both_rows_are_events() -> None:
    assert value(replace(VERSIONED, event_key=(), deleted=None), [event(), event(landed=NOON + TINY)], NOON + TINY) == 2


def test_a_correction_moves_an_event_in_time() -> None:
    moved = [event(), event(NOON - 2 * HOUR, landed=NOON + TINY)]
    assert [value(VERSIONED, moved, NOON + after) for after in (ZERO, TINY)] == [1, 0]
    postponed = [event(), event(NOON + HOUR / 2, landed=NOON + TINY)]
    assert [value(VERSIONED, postponed, NOON + after) for after in (ZERO, TINY, HOUR / 2)] == [1, 0, 1]


def test_a_correction_moves_an_event_to_another_key_or_to_none() -> None:
    moved = [event(), event(carrier="UA", landed=NOON + TINY)]
    assert [value(VERSIONED, moved, NOON + TINY, carrier=carrier) for carrier in ("AA", "UA")] == [0, 1]
    assert value(VERSIONED, [event(), event(carrier=None, landed=NOON + TINY)], NOON + TINY) == 0


def test_a_deleted_version_ends_the_event_and_a_later_one_revives_it() -> None:
    events = [event(), event(landed=NOON + TINY, gone=True), event(landed=NOON + 2 * TINY, gone=None)]
    assert [value(VERSIONED, events, NOON + after * TINY) for after in (0, 1, 2)] == [1, 0, 1]


@pytest.mark.parametrize("created_again", [NOON, NOON - TINY])
def test_a_version_that_is_superseded_before_it_is_known_never_counts(created_again: datetime) -> None:
    """The first is known at noon by its event time; the second, of a day later, was created by then."""
    events = [event(landed=NOON - HOUR), event(NOON + DAY, landed=created_again)]
    assert value(VERSIONED, events, NOON) == 0
    assert ask(VERSIONED, events, NOON).status is Status.NOT_YET_KNOWN
    assert ask(VERSIONED, [*events[:1], event(landed=created_again, gone=True)], NOON).status is Status.NOT_FOUND


def test_versions_of_one_creation_are_ordered_by_event_time_then_by_content() -> None:
    newest = replace(VERSIONED, aggregations=(Aggregation("newest", "last", "delay", HOUR),))
    later = event(NOON + TINY, 1, landed=NOON + TINY)
    for events in ([event(delay=2, landed=NOON + TINY), later], [later, event(delay=2, landed=NOON + TINY)]):
        assert value(newest, events, NOON + TINY) == 1
    for one, other, wins in ((1, 2, 2), (None, -1, -1), (math.nan, 5.0, math.nan)):
        for events in ([event(delay=one), event(delay=other)], [event(delay=other), event(delay=one)]):
            assert comparable(value(newest, events, NOON)) == comparable(wins)
    assert value(newest, [event(delay=9), event(delay=1, gone=True)], NOON) is None  # deleted before all content
    assert value(newest, [event(delay=1, gone=False), event(delay=9, gone=None)], NOON) == 9  # here null is false
    assert value(newest, [event(delay=1, gone=False), event(delay=1, gone=None)], NOON) == 1


def test_content_is_compared_in_the_order_of_the_yaml() -> None:
    newest = replace(VERSIONED, aggregations=(Aggregation("newest", "last", "delay", HOUR),))
    other = replace(newest, columns=("id", "at", "landed", "delay", "carrier", "gone"))
    events = [event(delay=9, carrier="AA"), event(delay=1, carrier="UA")]
    assert value(newest, events, NOON) is None  # the carrier decides: it is UA's flight
    assert value(other, events, NOON) == 9


def test_rows_equal_in_everything_are_one_event_if_they_have_a_key() -> None:
    assert value(VERSIONED, [event(), event()], NOON) == 1
    assert value(RIGHT, [event(), event()], NOON) == 2


def test_a_null_in_the_event_key_makes_a_row_an_event_of_its_own() -> None:
    pair = replace(VERSIONED, event_key=("id", "leg"))
    events = [event(leg=None), event(leg=None, landed=NOON + TINY), event(leg=1), event(leg=1, landed=NOON + TINY)]
    assert value(pair, events, NOON + TINY) == 3
    assert value(pair, [event(leg=1), event(leg=2)], NOON) == 2


def test_a_row_without_a_time_is_ignored_and_supersedes_nothing() -> None:
    for hole in ({"at": None}, {"landed": None}):
        ignored = {**event(landed=NOON + TINY), **hole}
        assert value(VERSIONED, [event(), ignored], NOON + HOUR / 2) == 1
        assert ask(VERSIONED, [ignored], NOON).status is Status.NOT_FOUND
    assert value(RIGHT, [event(landed=None)], NOON) == 1  # the view does not declare it


# 7: the functions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "values", "wanted"),
    [
        ("count", [1, None, 1], 2),
        ("count_distinct", [1, None, 1, 2], 2),
        ("count_distinct", [math.nan, math.nan, 1.0], 2),
        ("sum", [2**62, 2**53 + 1, -(2**62)], 2**53 + 1),
        ("sum", [Decimal("0.10"), None, Decimal("9999999999999999.99")], Decimal("10000000000000000.09")),
        ("sum", [0.1] * 10, 1.0),
        ("sum", [1e100, 1.0, -1e100], 1.0),
        ("avg", [1, 2, None], 1.5),
        ("avg", [2**59, -(2**59), 1], 1 / 3),
        ("avg", [Decimal("0.1"), Decimal("0.2")], 0.15),
        ("min", [2, None, 1], 1),
        ("max", [1.0, math.nan, math.inf], math.nan),
        ("min", [math.nan, math.inf], math.inf),
        ("min", [math.nan], math.nan),
        ("max", [False, True, None], True),
        ("max", ["a", "B", "é"], "é"),
        ("stddev", [1e9, 1e9 + 1, 1e9 + 2], 1.0),
        ("stddev", [1, 3], math.sqrt(2)),
        ("stddev", [5, None], None),
        ("stddev", [math.nan], math.nan),
        ("stddev", [1.0, math.inf], math.nan),
        ("stddev", [1.0, 2.0, math.nan], math.nan),
        ("first", [None, 7, 8, None], 7),
        ("last", [None, 7, 8, None], 8),
        ("count", [None], 0),
        ("count_distinct", [None], 0),
        ("sum", [None], None),
        ("last_n", [None], None),
    ],
)
def test_functions(function: str, values: list[Any], wanted: Any) -> None:
    found = of(RIGHT, function, values, n=2 if function == "last_n" else None)
    assert comparable(found) == comparable(wanted)


@pytest.mark.parametrize("function", ["sum", "avg"])
@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1.0, math.inf], math.inf),
        ([-math.inf, 1.0, -math.inf], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.inf, math.nan], math.nan),
        ([math.nan, 1.0], math.nan),
    ],
)
def test_sums_of_what_is_no_number(function: str, values: list[float], wanted: float) -> None:
    assert comparable(of(RIGHT, function, values)) == comparable(wanted)


def test_last_n_is_newest_first_and_keeps_equal_values() -> None:
    assert of(RIGHT, "last_n", [1, 2, None, 2, 3], n=3) == [3, 2, 2]
    assert of(RIGHT, "last_n", [1, 2], n=3) == [2, 1]


def test_first_and_last_go_by_event_time_then_created_then_value() -> None:
    events = [
        event(delay=5, landed=NOON + TINY),
        event(delay=4, landed=NOON + 2 * TINY),
        event(delay=3, landed=NOON + 2 * TINY),
        event(NOON - TINY, delay=9, landed=NOON + 2 * TINY),
    ]
    for order in (events, events[::-1]):
        for function, wanted in (("first", 9), ("last", 4), ("last_n", [4, 3, 5])):
            aggregation = Aggregation("f", function, "delay", HOUR, n=3)
            view = replace(VERSIONED, event_key=(), deleted=None, aggregations=(aggregation,))
            assert value(view, order, NOON + 2 * TINY) == wanted
            undated = replace(view, created_timestamp=None)
            assert value(undated, order, NOON) == {"first": 9, "last": 5, "last_n": [5, 4, 3]}[function]


def test_only_events_for_which_where_is_true_count() -> None:
    conditions = {True: 2, False: 0, None: 0}
    for result, counted in conditions.items():
        where = Where("...", lambda row, result=result: result)
        assert of(RIGHT, "count", [1, 2, None], where=where) == counted
    late = Where("delay > 1", lambda row: None if row["delay"] is None else row["delay"] > 1)
    rows = replace(RIGHT, aggregations=(Aggregation("n", "count", None, HOUR, late),))
    assert value(rows, [event(delay=each) for each in (None, 1, 2, 3)], NOON) == 2


def test_count_without_a_column_counts_rows() -> None:
    assert value(RIGHT, [event(delay=None), event(delay=1)], NOON) == 2


# 8, 9, 10: nulls, the event time, the status ------------------------------------------------------------------

BOTH = replace(
    RIGHT,
    aggregations=(COUNT, Aggregation("total", "sum", "delay", HOUR, default=-1), Aggregation("day", "max", "at", DAY)),
)
SUM = replace(RIGHT, aggregations=(Aggregation("total", "sum", "delay", HOUR),))


@pytest.mark.parametrize(("t", "carrier"), [(None, "AA"), (NOON, None)])
def test_a_null_key_or_time_counts_nothing(t: Any, carrier: Any) -> None:
    wanted = Answer({"n": 0, "total": None, "day": None}, Status.NULL_KEY)
    assert ask(BOTH, [event(), event(carrier=None)], t, carrier) == wanted
    assert oracle.with_defaults(wanted, BOTH).values == {"n": 0, "total": -1, "day": None}


@pytest.mark.parametrize(
    ("view", "after", "status"),
    [
        (SUM, -TINY, Status.NOT_YET_KNOWN),
        (SUM, ZERO, Status.PRESENT),
        (replace(SUM, closed="left"), ZERO, Status.NOT_YET_KNOWN),
        (replace(SUM, closed="left"), TINY, Status.PRESENT),
        (SUM, HOUR, Status.NULL_VALUE),  # it was known, and the window is empty
        (RIGHT, HOUR, Status.PRESENT),  # a count of 0 is not null
    ],
)
def test_status(view: WindowView, after: timedelta, status: Status) -> None:
    assert ask(view, [event()], NOON + after).status is status
    assert ask(view, [event()], NOON + after, carrier="UA").status is Status.NOT_FOUND


def test_the_status_of_a_deleted_event() -> None:
    view = replace(VERSIONED, aggregations=SUM.aggregations)
    ended = [event(), event(landed=NOON + TINY, gone=True)]
    assert ask(view, ended, NOON).status is Status.PRESENT
    assert ask(view, ended, NOON + TINY).status is Status.NULL_VALUE  # it was known once
    assert ask(view, ended[1:], NOON + TINY).status is Status.NOT_FOUND  # it never was


def test_the_event_time_is_that_of_the_longest_window_whatever_where_says() -> None:
    nothing = Where("false", lambda row: False)
    view = replace(RIGHT, aggregations=(COUNT, Aggregation("day", "count", None, DAY, nothing)))
    events = [event(), event(NOON - HOUR), event(NOON + HOUR)]
    assert ask(view, events, NOON).event_time == NOON
    assert ask(view, events, NOON + DAY).event_time == NOON + HOUR
    assert ask(view, events[:2], NOON + DAY - TINY) == Answer({"n": 0, "day": 0}, Status.PRESENT, NOON)
    assert ask(view, events[:2], NOON + DAY) == Answer({"n": 0, "day": 0}, Status.PRESENT, None)
    lifetime = replace(view, aggregations=(*view.aggregations, Aggregation("ever", "count")))
    assert ask(lifetime, events[:2], NOON + 9 * DAY).event_time == NOON
    request = Request(lifetime, ("n",))  # of the view, whatever is asked for
    answer = look_up(request, {"carrier": "AA", "t": NOON + 9 * DAY}, current_versions(lifetime, events), "t", ZERO)
    assert answer.event_time == NOON + HOUR


# The snapshot and the history ---------------------------------------------------------------------------------


def at(moment: datetime) -> int:
    return spine_instant(moment)


def test_the_snapshot_has_every_key_that_was_ever_known() -> None:
    view = replace(VERSIONED, aggregations=BOTH.aggregations[:2])
    events = [
        event(),
        event(carrier="UA", id="f2", at=NOON - DAY, landed=NOON - DAY),
        event(carrier="DL", id="f3", landed=NOON + TINY),
        event(carrier="B6", id="f4", gone=True),
        event(carrier=None, id="f5"),
    ]
    aa = {"carrier": "AA", "at": NOON, "n": 1, "total": 1}
    ua = {"carrier": "UA", "at": None, "n": 0, "total": None}  # no default: a reader tells null from missing
    assert snapshot(view, events, at(NOON)) == [aa, ua]
    assert snapshot(replace(view, closed="left"), events, at(NOON)) == [ua]
    assert [row["carrier"] for row in snapshot(view, events, at(NOON + TINY))] == ["AA", "UA", "DL"]


def in_history(view: WindowView, events: list[Record], *options: Any) -> list[tuple[timedelta, Any]]:
    """The rows of the history of one key: time after noon and the only feature."""
    rows = history(view, events, *options)
    assert {keys for keys, _, _ in rows} <= {("AA",)}
    return [((instant - at(NOON)) * TINY, *values.values()) for _, instant, values in rows]


def test_history_has_a_row_where_something_changes() -> None:
    events = [event(), event(NOON + HOUR / 2)]
    wanted = [(ZERO, 1), (HOUR / 2, 2), (HOUR, 1), (3 * HOUR / 2, 0)]
    for view in (RIGHT, LANDINGS):  # always by the rule of closed right
        assert in_history(view, events) == wanted


def test_history_leaves_out_a_row_that_equals_the_one_before() -> None:
    assert in_history(RIGHT, [event(), event(NOON + HOUR)]) == [(ZERO, 1), (2 * HOUR, 0)]
    nothing = Aggregation("none", "sum", "delay", HOUR)
    assert in_history(replace(RIGHT, aggregations=(nothing,)), [event(delay=None)]) == [(ZERO, None)]


def test_history_begins_when_a_key_is_known_though_its_windows_are_empty() -> None:
    late = [event(landed=NOON + 4 * HOUR)]
    assert in_history(VERSIONED, late) == [(4 * HOUR, 0)]
    assert [row["n"] for row in snapshot(VERSIONED, late, at(NOON + 4 * HOUR))] == [0]


def test_history_of_versions() -> None:
    events = [event(), event(NOON + 2 * HOUR, landed=NOON + HOUR / 2), event(landed=NOON + 4 * HOUR, id="late")]
    assert in_history(VERSIONED, events) == [(ZERO, 1), (HOUR / 2, 0), (2 * HOUR, 1), (3 * HOUR, 0)]


def test_history_on_a_grid_is_rounded_up() -> None:
    view = replace(RIGHT, aggregations=(replace(COUNT, window=2 * HOUR),))
    events = [event(NOON + TINY), event(NOON + 4 * HOUR)]
    rows = [(HOUR, 1), (3 * HOUR, 0), (4 * HOUR, 1), (6 * HOUR, 0)]
    assert in_history(view, events, HOUR) == rows
    dense = [(index * HOUR, counted) for index, counted in zip(range(1, 7), [1, 1, 0, 1, 1, 0], strict=True)]
    assert in_history(view, events, HOUR, True) == dense
    assert in_history(view, [event()], DAY) == [(datetime(2026, 3, 16) - NOON, 0)]  # gone before the end of the day


def test_history_before_1970_is_rounded_up_too() -> None:
    view = replace(RIGHT, aggregations=(replace(COUNT, window=None),))
    ((keys, instant, values),) = history(view, [event(datetime(1969, 12, 30, 23))], DAY)
    assert (keys, instant, values) == (("AA",), at(datetime(1969, 12, 31)), {"n": 1})


# What a test holds of a rounded sum ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "values", "passes", "fails"),
    [
        ("sum", [1e9, -1e9, 1.0], 1 + 4e-16, 1 + 7e-16),
        ("avg", [1e9, -1e9, 1.0], 1 / 3 + 3e-16, 1 / 3 + 4e-16),
        ("avg", [2**59, -(2**59), 1], 1 / 3 + 1e-16, 0.0),
        ("stddev", [1e9, 1e9 + 1, 1e9 + 2], 1 + 1.7e-15, 1 + 2.3e-15),
        ("stddev", [1e9, 1e9 + 1, 1e9 + 2], 1.0, 0.0),
        ("stddev", [1e300, -1e300], math.sqrt(2) * 1e300, math.inf),
        ("stddev", [1e-300, -1e-300], math.sqrt(2) * 1e-300, 0.0),
        ("sum", [1.0], 1.0, math.nan),
    ],
)
def test_how_near_a_result_must_be(function: str, values: list[Any], passes: float, fails: float) -> None:
    view = replace(RIGHT, aggregations=(Aggregation("f", function, "delay"),))
    versions = current_versions(view, [event(delay=each) for each in values])
    wanted = near(view, "f", window_oracle.value_at(view, view.aggregations[0], versions, at(NOON)), versions, at(NOON))
    assert agrees(comparable(passes), wanted)
    assert not agrees(comparable(fails), wanted)
    assert not agrees(comparable(None), wanted)


def test_other_results_must_be_the_same() -> None:
    view = replace(RIGHT, aggregations=(Aggregation("f", "sum", "delay"), Aggregation("g", "max", "delay")))
    versions = current_versions(view, [event(delay=2**53 + 1)])
    assert near(view, "f", 2**53 + 1, versions, at(NOON)) == ("int", 2**53 + 1)
    assert near(view, "f", math.nan, versions, at(NOON)) == ("float", "nan")
    assert near(view, "g", 0.5, versions, at(NOON)) == ("float", "0.5")
    assert agrees(("float", "nan"), ("float", "nan"))
    assert not agrees(("int", 2**53), ("int", 2**53 + 1))
