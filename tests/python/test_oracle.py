"""The oracle against answers worked out by hand, clause by clause, and against the laws it must obey."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

import duckdb
import pytest
from generate import (
    Case,
    cases,
    comparable,
    expected,
    expected_records,
    fetch,
    is_known,
    load,
    quote,
    result_columns,
    without_unknown,
)
from hypothesis import HealthCheck, given, settings
from oracle import (
    Answer,
    Nanoseconds,
    Record,
    Request,
    Status,
    View,
    available_at,
    history_instant,
    microseconds,
    spine_instant,
    training_set,
)
from support.runs import for_each, number_of

LOGINS = View("activity", ("user",), "at", ("logins",))
HISTORY: list[Record] = [
    {"user": "u1", "at": datetime(2026, 3, 1), "logins": 12},
    {"user": "u1", "at": datetime(2026, 3, 15), "logins": 18},
    {"user": "u1", "at": datetime(2026, 4, 1), "logins": 7},
]
NOON = datetime(2026, 3, 15, 12)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TINY = timedelta(microseconds=1)

few = settings(max_examples=number_of(20, 100), deadline=None, suppress_health_check=list(HealthCheck))


def look_up(view: View, history: list[Record], t: Any, key: Any = "u1", **options: Any) -> Answer:
    """What one spine row gets of all features of one view."""
    request = Request(view, view.features)
    keys = key if isinstance(key, tuple) else (key,)
    spine = {**dict(zip(view.keys, keys, strict=True)), "t": t}
    (row,) = training_set([spine], [request], {view.name: history}, "t", **options)
    assert row.spine == spine
    return row.answers[view.name]


def value(view: View, history: list[Record], t: Any, **options: Any) -> Any:
    """The same, the only feature."""
    (only,) = look_up(view, history, t, **options).values.values()
    return only


def one_row(at: Any, **columns: Any) -> list[Record]:
    return [{"user": "u1", "at": at, "logins": 1, **columns}]


# The example of the documentation, and rule 1: what is known --------------------------------------------


@pytest.mark.parametrize(
    ("t", "logins"),
    [
        (datetime(2026, 2, 28, 23, 59), None),
        (datetime(2026, 3, 1), 12),
        (datetime(2026, 3, 14, 23, 59, 59, 999999), 12),
        (datetime(2026, 3, 18, 14, 30), 18),
        (datetime(2026, 4, 1), 7),
        (datetime(2030, 1, 1), 7),
    ],
)
def test_the_latest_row_at_or_before_the_label_wins(t: datetime, logins: int | None) -> None:
    assert value(LOGINS, HISTORY, t) == logins


def test_the_whole_answer_names_the_event_time_and_the_status() -> None:
    answer = look_up(LOGINS, HISTORY, datetime(2026, 3, 18, 14, 30))
    assert answer == Answer({"logins": 18}, Status.PRESENT, datetime(2026, 3, 15))


def test_inclusive_false_does_not_see_a_row_of_the_same_instant() -> None:
    strict = replace(LOGINS, inclusive=False)
    assert value(LOGINS, one_row(NOON), NOON) == 1
    assert look_up(strict, one_row(NOON), NOON) == Answer({"logins": None}, Status.NOT_YET_KNOWN)
    assert value(strict, one_row(NOON), NOON + TINY) == 1


def test_inclusive_false_is_about_when_the_row_is_known_not_about_its_event_time() -> None:
    strict = replace(LOGINS, inclusive=False, lag=HOUR)
    assert value(strict, one_row(NOON), NOON + HOUR) is None
    assert value(strict, one_row(NOON), NOON + HOUR + TINY) == 1


def test_a_lag_delays_the_row() -> None:
    lagged = replace(LOGINS, lag=6 * HOUR)
    assert value(lagged, one_row(NOON), NOON + 6 * HOUR - TINY) is None
    assert value(lagged, one_row(NOON), NOON + 6 * HOUR) == 1


@pytest.mark.parametrize(
    ("created_after", "known_after"),
    [(-1 * DAY, 6 * HOUR), (5 * HOUR, 6 * HOUR), (6 * HOUR, 6 * HOUR), (7 * HOUR, 7 * HOUR)],
)
def test_a_row_is_known_from_the_later_of_lag_and_created(created_after: timedelta, known_after: timedelta) -> None:
    view = replace(LOGINS, lag=6 * HOUR, created_timestamp="created")
    history = one_row(NOON, created=NOON + created_after)
    assert value(view, history, NOON + known_after - TINY) is None
    assert value(view, history, NOON + known_after) == 1


def test_rows_without_a_time_are_never_known() -> None:
    created = replace(LOGINS, created_timestamp="created")
    for history in (one_row(None, created=NOON), one_row(NOON, created=None)):
        assert look_up(created, history, NOON + DAY) == Answer({"logins": None}, Status.NOT_FOUND)
    assert value(LOGINS, one_row(NOON, created=None), NOON) == 1  # the view does not declare it


# Rule 0: the gap ----------------------------------------------------------------------------------------


def test_a_gap_moves_t_back_for_what_is_known_and_for_the_ttl() -> None:
    view = replace(LOGINS, ttl=2 * DAY)
    assert value(view, one_row(NOON), NOON + DAY - TINY, gap=DAY) is None
    assert value(view, one_row(NOON), NOON + DAY, gap=DAY) == 1
    assert value(view, one_row(NOON), NOON + 3 * DAY, gap=DAY) == 1
    assert look_up(view, one_row(NOON), NOON + 3 * DAY + TINY, gap=DAY).status is Status.OUTSIDE_MAX_AGE


# Rule 2: who wins ---------------------------------------------------------------------------------------


def test_the_greatest_event_time_wins_however_late_another_became_known() -> None:
    view = replace(LOGINS, created_timestamp="created")
    history: list[Record] = [
        {"user": "u1", "at": NOON, "created": NOON + 9 * HOUR, "logins": 1},  # late, and older
        {"user": "u1", "at": NOON + HOUR, "created": NOON + 2 * HOUR, "logins": 2},
    ]
    assert value(view, history, NOON + HOUR) is None
    assert value(view, history, NOON + 2 * HOUR) == 2
    assert value(view, history, NOON + 9 * HOUR) == 2


def test_of_restated_rows_the_newest_that_is_known_wins() -> None:
    view = replace(LOGINS, created_timestamp="created")
    history: list[Record] = [
        {"user": "u1", "at": NOON, "created": NOON + 5 * HOUR, "logins": 3},
        {"user": "u1", "at": NOON, "created": NOON, "logins": 1},
        {"user": "u1", "at": NOON, "created": NOON + 2 * HOUR, "logins": 2},
    ]
    assert [value(view, history, NOON + hours * HOUR) for hours in range(7)] == [1, 1, 2, 2, 2, 3, 3]


def test_the_winner_wins_whole_and_no_older_value_shines_through() -> None:
    view = replace(LOGINS, features=("logins", "sessions"))
    history: list[Record] = [
        {"user": "u1", "at": NOON, "logins": 1, "sessions": 10},
        {"user": "u1", "at": NOON + HOUR, "logins": None, "sessions": 20},
    ]
    assert look_up(view, history, NOON + HOUR).values == {"logins": None, "sessions": 20}


@pytest.mark.parametrize(
    ("losing", "winning"),
    [
        ((1, 1), (2, 1)),
        ((1, 9), (2, 1)),  # the first feature decides
        ((1, 1), (1, 2)),
        ((None, 9), (-1, 1)),  # a null is the smallest
        ((1, None), (1, False)),
        ((False, 1), (True, 1)),
        ((math.inf, 1), (math.nan, 1)),  # and NaN the greatest number
        ((-math.inf, 1), (0.5, 1)),
        (("Z", 1), ("a", 1)),  # text by code point
        (("z", 1), ("é", 1)),
        (("", 1), ("a", 1)),
        (([0.5], 1), ([0.5, -1.0], 1)),
        (([], 1), ([0.5], 1)),
        ((None, 1), ([], 1)),
        (([math.inf], 1), ([math.nan], 1)),
        ((date(2026, 3, 1), 1), (date(2026, 3, 2), 1)),
    ],
)
def test_a_tie_goes_to_the_greatest_by_the_features_in_order(losing: Any, winning: Any) -> None:
    view = replace(LOGINS, features=("first", "second"))
    rows: list[Record] = [
        {"user": "u1", "at": NOON, "first": first, "second": second} for first, second in (losing, winning)
    ]
    for history in (rows, rows[::-1]):
        values = look_up(view, history, NOON).values
        assert comparable(list(values.values())) == comparable(list(winning))


def test_a_tie_is_decided_by_features_that_nobody_asked_for() -> None:
    view = replace(LOGINS, features=("first", "second"))
    history: list[Record] = [
        {"user": "u1", "at": NOON, "first": 2, "second": 1},
        {"user": "u1", "at": NOON, "first": 1, "second": 2},
    ]
    (row,) = training_set([{"user": "u1", "t": NOON}], [Request(view, ("second",))], {"activity": history}, "t")
    assert row.answers["activity"].values == {"second": 1}


def test_in_a_tie_deleted_is_asked_before_the_features() -> None:
    view = replace(LOGINS, deleted="gone")
    tied = [*one_row(NOON, gone=True), *one_row(NOON, gone=False, logins=9)]
    assert look_up(view, tied, NOON) == Answer({"logins": None}, Status.NOT_FOUND)
    unsaid = [*one_row(NOON, gone=None, logins=9), *one_row(NOON, gone=False, logins=1)]
    assert value(view, unsaid, NOON) == 1


def test_a_deleted_row_ends_the_key_from_when_it_is_known_until_a_newer_row() -> None:
    view = replace(LOGINS, deleted="gone", created_timestamp="created")
    history: list[Record] = [
        {"user": "u1", "at": NOON, "created": NOON, "gone": False, "logins": 1},
        {"user": "u1", "at": NOON + HOUR, "created": NOON + 3 * HOUR, "gone": True, "logins": 2},
        {"user": "u1", "at": NOON + 5 * HOUR, "created": NOON + 5 * HOUR, "gone": None, "logins": 3},
    ]
    assert value(view, history, NOON + 2 * HOUR) == 1
    assert look_up(view, history, NOON + 3 * HOUR) == Answer({"logins": None}, Status.NOT_FOUND)
    assert value(view, history, NOON + 5 * HOUR) == 3


def test_a_deleted_winner_is_not_found_however_old() -> None:
    view = replace(LOGINS, deleted="gone", ttl=HOUR)
    assert look_up(view, one_row(NOON, gone=True), NOON + 9 * DAY).status is Status.NOT_FOUND


# Rule 3: the ttl ----------------------------------------------------------------------------------------


def test_a_value_as_old_as_the_ttl_is_still_valid() -> None:
    view = replace(LOGINS, ttl=2 * HOUR)
    assert value(view, one_row(NOON), NOON + 2 * HOUR) == 1
    too_old = look_up(view, one_row(NOON), NOON + 2 * HOUR + TINY)
    assert too_old == Answer({"logins": None}, Status.OUTSIDE_MAX_AGE, NOON)


def test_age_counts_from_the_event_time_not_from_when_the_row_was_known() -> None:
    view = replace(LOGINS, ttl=2 * HOUR, lag=3 * HOUR)
    assert look_up(view, one_row(NOON), NOON + 3 * HOUR).status is Status.OUTSIDE_MAX_AGE


def test_a_day_of_the_ttl_is_86400_seconds_also_when_the_clocks_change() -> None:
    view = replace(LOGINS, ttl=DAY)
    event = datetime(2013, 3, 10, 0, tzinfo=timezone(-5 * HOUR))  # New York; the next midnight is at -4
    midnight = datetime(2013, 3, 11, 0, tzinfo=timezone(-4 * HOUR))
    assert value(view, one_row(event), midnight + HOUR) == 1
    assert value(view, one_row(event), midnight + HOUR + TINY) is None


# Rule 4: the spine --------------------------------------------------------------------------------------


def test_spine_rows_come_back_as_given() -> None:
    spine: list[Record] = [
        {"user": "u1", "t": NOON, "label": True, "note": "x"},
        {"user": None, "t": NOON, "label": None, "note": ""},
        {"user": "u1", "t": NOON, "label": True, "note": "x"},
        {"user": "u1", "t": None, "label": False, "note": "y"},
        {"user": "u0", "t": datetime(1970, 1, 1), "label": False, "note": "z"},
    ]
    rows = training_set(spine, [Request(LOGINS, ("logins",))], {"activity": HISTORY}, "t")
    assert [row.spine for row in rows] == spine
    assert [row.answers["activity"].values["logins"] for row in rows] == [18, None, 18, None, None]
    assert training_set([], [Request(LOGINS, ("logins",))], {"activity": HISTORY}, "t") == []


def test_null_keys_match_nothing_not_even_each_other() -> None:
    history = [*one_row(NOON), *one_row(NOON, user=None)]
    assert look_up(LOGINS, history, NOON, key=None) == Answer({"logins": None}, Status.NULL_KEY)
    assert look_up(LOGINS, history, None) == Answer({"logins": None}, Status.NULL_KEY)


def test_composite_keys_match_part_by_part() -> None:
    view = replace(LOGINS, keys=("carrier", "dest"))
    history: list[Record] = [
        {"carrier": "a|b", "dest": "c", "at": NOON, "logins": 1},
        {"carrier": "a", "dest": "b|c", "at": NOON, "logins": 2},
        {"carrier": None, "dest": "c", "at": NOON, "logins": 3},
        {"carrier": "007", "dest": "7", "at": NOON, "logins": 4},
    ]
    assert value(view, history, NOON, key=("a|b", "c")) == 1
    assert value(view, history, NOON, key=("a", "b|c")) == 2
    assert value(view, history, NOON, key=("007", "7")) == 4
    assert look_up(view, history, NOON, key=("7", "007")).status is Status.NOT_FOUND
    assert look_up(view, history, NOON, key=(None, "c")).status is Status.NULL_KEY


def test_one_view_joins_twice_in_two_roles() -> None:
    weather = View("weather", ("airport",), "at", ("temp",))
    history: list[Record] = [
        {"airport": "JFK", "at": NOON, "temp": 40},
        {"airport": "LAX", "at": NOON, "temp": 70},
    ]
    requests = [
        Request(weather, ("temp",), "origin_weather", {"airport": "origin"}),
        Request(weather, ("temp",), "dest_weather", {"airport": "dest"}),
    ]
    spine = [{"origin": "JFK", "dest": "LAX", "t": NOON}]
    (row,) = training_set(spine, requests, {"weather": history}, "t")
    assert {name: answer.values["temp"] for name, answer in row.answers.items()} == {
        "origin_weather": 40,
        "dest_weather": 70,
    }


# Rule 5: instants ---------------------------------------------------------------------------------------


def test_a_finer_time_is_rounded_down_in_the_spine_and_up_in_history() -> None:
    assert [spine_instant(Nanoseconds(n)) for n in (-1, 0, 1, 999, 1000)] == [-1, 0, 0, 0, 1]
    assert [history_instant(Nanoseconds(n)) for n in (-1000, -1, 0, 1, 999, 1000)] == [-1, 0, 0, 1, 1, 1]
    moment = Nanoseconds(1_773_576_000_000_000_001)  # noon and a nanosecond
    assert value(LOGINS, one_row(NOON), moment) == 1
    assert value(LOGINS, one_row(moment), moment) is None
    assert value(LOGINS, one_row(moment), NOON + TINY) == 1


def test_within_a_microsecond_the_features_decide_before_the_nanoseconds() -> None:
    noon = 1_773_576_000_000_000_000
    history = [*one_row(Nanoseconds(noon - 1), logins=1), *one_row(Nanoseconds(noon - 2), logins=2)]
    assert look_up(LOGINS, history, NOON) == Answer({"logins": 2}, Status.PRESENT, noon - 2)


def test_naive_is_utc_a_date_is_its_first_instant_and_zones_do_not_matter() -> None:
    tokyo = timezone(9 * HOUR)
    assert spine_instant(NOON) == spine_instant(datetime(2026, 3, 15, 21, tzinfo=tokyo))
    assert spine_instant(date(2026, 3, 15)) == history_instant(datetime(2026, 3, 15))
    assert spine_instant(datetime(1969, 12, 31, 23, 59, 59, 999999)) == -1
    history = one_row(datetime(2026, 3, 15, 21, tzinfo=tokyo))
    assert value(LOGINS, history, NOON - TINY) is None
    assert value(LOGINS, history, NOON) == 1
    assert value(LOGINS, one_row(date(2026, 3, 15)), date(2026, 3, 15)) == 1


@pytest.mark.parametrize("at", [datetime(1, 1, 2), datetime(1677, 9, 21), datetime(1970, 1, 1), datetime(9999, 12, 31)])
def test_instants_may_lie_anywhere(at: datetime) -> None:
    view = replace(LOGINS, lag=DAY, ttl=DAY)
    assert value(view, one_row(at - DAY), at) == 1
    assert value(view, one_row(at - DAY + TINY), at) is None
    assert look_up(view, one_row(at), at).status is Status.NOT_YET_KNOWN


# Rule 6: defaults, and the statuses ---------------------------------------------------------------------

STATUSES = [
    (HISTORY, NOON, "u1", Status.PRESENT),
    (one_row(NOON, logins=None), NOON, "u1", Status.NULL_VALUE),
    (HISTORY, NOON, None, Status.NULL_KEY),
    (HISTORY, None, "u1", Status.NULL_KEY),
    (HISTORY, NOON, "nobody", Status.NOT_FOUND),
    ([], NOON, "u1", Status.NOT_FOUND),
    (one_row(NOON, gone=True), NOON, "u1", Status.NOT_FOUND),
    (HISTORY, datetime(2026, 2, 1), "u1", Status.NOT_YET_KNOWN),
    (HISTORY, datetime(2027, 1, 1), "u1", Status.OUTSIDE_MAX_AGE),
]


@pytest.mark.parametrize(("history", "t", "key", "status"), STATUSES)
def test_every_status_and_a_default_for_every_null(history: list[Record], t: Any, key: Any, status: Status) -> None:
    history = [{"gone": False, **row} for row in history]
    view = replace(LOGINS, deleted="gone", ttl=30 * DAY, defaults={"logins": 0})
    bare = look_up(view, history, t, key=key, defaults=False)
    filled = look_up(view, history, t, key=key)
    assert bare.status is filled.status is status
    assert bare.event_time == filled.event_time
    assert (bare.event_time is None) == (status in ("NULL_KEY", "NOT_FOUND", "NOT_YET_KNOWN"))
    values: tuple[Any, Any] = ({"logins": None}, {"logins": 0})
    if status is Status.PRESENT:
        values = ({"logins": 18}, {"logins": 18})
    assert (bare.values, filled.values) == values


def test_null_value_is_about_the_requested_features_before_defaults() -> None:
    view = replace(LOGINS, features=("logins", "sessions"), defaults={"logins": 0})
    history: list[Record] = [{"user": "u1", "at": NOON, "logins": None, "sessions": 3}]
    spine = [{"user": "u1", "t": NOON}]
    for features, status in ((("logins",), Status.NULL_VALUE), (("logins", "sessions"), Status.PRESENT)):
        (row,) = training_set(spine, [Request(view, features)], {"activity": history}, "t")
        assert row.answers["activity"].status is status
        assert row.answers["activity"].values["logins"] == 0


def test_a_default_does_not_touch_nan_zero_or_false() -> None:
    kept: Any
    for kept in (math.nan, 0, False, "", []):
        view = replace(LOGINS, defaults={"logins": 5})
        assert comparable(value(view, one_row(NOON, logins=kept), NOON)) == comparable(kept)


# Rule 7: static views -----------------------------------------------------------------------------------

PRODUCTS = View("products", ("user",), None, ("logins", "name"))


@pytest.mark.parametrize("t", [datetime(1, 1, 1), NOON, datetime(9999, 12, 31)])
def test_a_row_of_a_static_view_holds_at_any_time(t: datetime) -> None:
    history: list[Record] = [{"user": "u1", "logins": 3, "name": None}]
    found = Answer({"logins": 3, "name": None}, Status.PRESENT, None)
    assert look_up(PRODUCTS, history, t) == found
    assert look_up(PRODUCTS, history, NOON, gap=300 * DAY) == found


def test_a_static_view_has_the_statuses_of_the_others() -> None:
    history: list[Record] = [{"user": "u1", "logins": None, "name": None}]
    nothing = {"logins": None, "name": None}
    assert look_up(PRODUCTS, history, NOON) == Answer(nothing, Status.NULL_VALUE)
    assert look_up(PRODUCTS, history, NOON, key="u2") == Answer(nothing, Status.NOT_FOUND)
    assert look_up(PRODUCTS, history, None) == Answer(nothing, Status.NULL_KEY)
    assert look_up(PRODUCTS, history, NOON, key=None) == Answer(nothing, Status.NULL_KEY)


def test_of_two_rows_of_a_static_key_the_greatest_wins_whole() -> None:
    history: list[Record] = [{"user": "u1", "logins": None, "name": "z"}, {"user": "u1", "logins": 1, "name": None}]
    for rows in (history, history[::-1]):
        assert look_up(PRODUCTS, rows, NOON).values == {"logins": 1, "name": None}


# Laws, over generated cases -----------------------------------------------------------------------------


@given(cases())
@few
def test_rows_that_are_not_yet_known_change_nothing(case: Case) -> None:
    """The other way about: adding rows with available_at > T never changes the row of T.

    Only the name of the reason may differ: a key with nothing but such rows is not yet known instead of not
    found.
    """
    whole = expected(case)
    for index, spine_row in enumerate(case.spine.rows):
        if (given_time := spine_row[case.event_timestamp]) is None:
            continue
        at = spine_instant(given_time) - microseconds(case.gap)
        row = expected(without_unknown(case, at))[index]
        for name, answer in whole[index].answers.items():
            alone = row.answers[name]
            assert comparable(list(answer.values.values())) == comparable(list(alone.values.values()))
            assert answer.event_time == alone.event_time
            same = {answer.status, alone.status}
            assert len(same) == 1 or same == {Status.NOT_YET_KNOWN, Status.NOT_FOUND}


@given(cases())
@few
def test_the_order_and_the_copies_of_history_do_not_matter(case: Case) -> None:
    histories = {}
    for name, table in case.histories.items():
        rows = [*table.rows, *table.rows[:2]]
        random.Random(len(rows)).shuffle(rows)
        histories[name] = replace(table, rows=tuple(rows))
    again = replace(case, histories=histories)
    assert expected_records(again, provenance=True) == expected_records(case, provenance=True)


@given(cases())
@few
def test_a_spine_row_does_not_depend_on_the_others(case: Case) -> None:
    together = expected_records(case, provenance=True)
    for row, record in zip(case.spine.rows, together, strict=True):
        alone = replace(case, spine=replace(case.spine, rows=(row,)))
        assert expected_records(alone, provenance=True) == [record]


@given(cases())
@few
def test_a_default_only_replaces_nulls_and_keeps_everything_else(case: Case) -> None:
    for bare, filled in zip(expected(case, defaults=False), expected(case), strict=True):
        for request in case.requests:
            before, after = bare.answers[request.name], filled.answers[request.name]
            assert (before.status, before.event_time) == (after.status, after.event_time)
            for feature, old in before.values.items():
                new = request.view.defaults.get(feature) if old is None else old
                assert comparable(after.values[feature]) == comparable(new)


# The generator ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


@pytest.mark.slow
@given(case=cases())
@few
def test_tables_hold_exactly_what_was_generated(case: Case, connection: duckdb.DuckDBPyConnection) -> None:
    load(connection, case)
    for table in (case.spine, *case.histories.values()):
        records = [{column.name: comparable(row[column.name]) for column in table.columns} for row in table.rows]
        assert fetch(connection, f"from {quote(table.name)}", table.columns) == records
    names = [column.name.casefold() for column in result_columns(case, provenance=True)]
    assert len(set(names)) == len(names)


def test_filler_follows_the_rows_of_a_case(connection: duckdb.DuckDBPyConnection) -> None:
    @given(cases())
    @settings(few, max_examples=20)
    def check(case: Case) -> None:
        load(connection, case, filler=3)
        for view in case.views:
            table = case.histories[view.name]
            filled = fetch(connection, f"from {quote(view.name)}", table.columns)
            if not view.keys and view.event_timestamp is None:  # it has one row
                assert len(filled) == len(table.rows)
                continue
            assert len(filled) == len(table.rows) + 3
            assert {record[view.features[0]] for record in filled[-3:]} == {comparable(None)}

    check()


@pytest.mark.slow
@pytest.mark.rest
def test_the_generator_reaches_every_corner() -> None:
    """Each corner in some of the first cases, which are always the same; in a long run in at least four of them."""
    seen: Counter[str] = Counter()
    enough = number_of(1, 4)

    def look(case: Case) -> None:
        seen.update(set(corners(case)))

    def all_came_up() -> bool:
        return all(seen[corner] >= enough for corner in CORNERS)

    for_each(look, 10 * enough, first=0, until=all_came_up, case=cases(doubled=True))
    assert {corner: seen[corner] for corner in CORNERS if seen[corner] < enough} == {}, seen


CORNERS = (
    *(status.value for status in Status),
    *("tie", "double", "restated", "late", "nothing late", "known exactly at T", "known a hair after T"),
    *(
        "exactly as old as the ttl",
        "a hair too old",
        "null e",
        "null c",
        "null T",
        "null key",
        "double spine",
    ),
    *("empty spine", "empty history", "composite key", "role", "gap", "lag", "strict", "deleted", "default"),
    *("static", "static doubled"),
    *(
        "finer than a microsecond",
        "date",
        "with zone",
        "before 1970",
        "after 2262",
        "full names",
        "own names",
    ),
)


def corners(case: Case) -> Iterator[str]:
    """What is hard in a case."""
    spine_times = [row[case.event_timestamp] for row in case.spine.rows]
    yield "gap" if case.gap else "no gap"
    yield "full names" if case.full_feature_names else "own names"
    yield "null T" if None in spine_times else "T"
    yield "spine" if case.spine.rows else "empty spine"
    if any(case.spine.rows.count(row) > 1 for row in case.spine.rows):
        yield "double spine"
    for row in expected(case):
        yield from (answer.status.value for answer in row.answers.values())
    at = [spine_instant(t) - microseconds(case.gap) for t in spine_times if t is not None]
    for request in case.requests:
        yield "role" if request.alias else "no role"
        yield from view_corners(case, request.view, at)


def view_corners(case: Case, view: View, at: list[int]) -> Iterator[str]:
    table = case.histories[view.name]
    yield "history" if table.rows else "empty history"
    yield "composite key" if len(view.keys) > 1 else "one key"
    yield "lag" if view.lag else "no lag"
    yield "inclusive" if view.inclusive else "strict"
    yield "default" if view.defaults else "no default"
    if view.event_timestamp is None:
        keys_found = Counter(tuple(row[key] for key in view.keys) for row in table.rows)
        yield "static doubled" if max(keys_found.values(), default=0) > 1 else "static"
        return
    yield {"date": "date", "timestamptz": "with zone"}.get(table.type_of(view.event_timestamp), "naive")
    times: Counter[Any] = Counter()
    events: Counter[Any] = Counter()
    timed = []
    for row in table.rows:
        keys = [row[key] for key in view.keys]
        e, c = row[view.event_timestamp], view.created_timestamp and row[view.created_timestamp]
        yield "double" if table.rows.count(row) > 1 else "single"
        yield "null key" if None in keys else "key"
        if e is None or (view.created_timestamp and c is None):
            yield "null e" if e is None else "null c"
            continue
        timed.append(row)
        times[(*keys, history_instant(e), c)] += 1
        events[(*keys, history_instant(e))] += 1
        if isinstance(e, Nanoseconds) and e % 1000:
            yield "finer than a microsecond"
        if history_instant(e) < 0:
            yield "before 1970"
        if available_at(view, row) > history_instant(datetime(2262, 4, 11, 23, 47, 17)):
            yield "after 2262"
        if view.deleted and row[view.deleted]:
            yield "deleted"
        yield from edges(view, row, at)
    if view.created_timestamp and timed:
        late = [
            row for row in timed if available_at(view, row) > available_at(replace(view, created_timestamp=None), row)
        ]
        yield "late" if late else "nothing late"
    if max(times.values(), default=0) > 1:
        yield "tie"
    if len(times) > len(events):
        yield "restated"


def edges(view: View, row: Record, at: list[int]) -> Iterator[str]:
    for t in at:
        early = available_at(view, row) - t
        if early == 0:
            yield "known exactly at T"
        elif early == 1:
            yield "known a hair after T"
        if view.ttl is not None and is_known(view, row, t):
            age = t - history_instant(row[view.event_timestamp]) - microseconds(view.ttl)
            if age in (0, 1):
                yield "a hair too old" if age else "exactly as old as the ttl"
