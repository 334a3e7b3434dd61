"""The rule of point-in-time correctness as a nested loop: no SQL, no cleverness, slow.

The tests hold every SQL plan against this file, so it must be checked by reading. The rule, for a spine row
with keys K and time T and a view with event time e, created time c and lag l:

0. With a gap g every T below is T - g.
1. A history row is known at T when available_at <= T, where available_at = greatest(e + l, c), or e + l
   where the view declares no created time. With `inclusive: false` it is available_at < T. A row whose e,
   or declared c, is null is never known.
2. Of the rows of K known at T the one with the greatest (e, c) wins, whole. Rows equal in (K, e, c) are
   told apart by (deleted, the features in the order of the columns): the greatest wins, a null is the
   smallest. If the winner is deleted there is no value.
3. If T - e > ttl there is no value. T - e = ttl is still valid.
4. Spine rows come back as given: same number, same order, duplicates kept. A null key or T matches nothing.
5. Instants are whole microseconds UTC. A finer T is rounded down, finer history up. A naive timestamp is
   UTC, a date is its first instant.
6. A null is replaced by the declared default of the feature, whatever the status.
7. A view without an event time is static: its rows are known at every T, and hold at every age. A key has one row;
   of several rule 2 takes the greatest.

The status says why: NULL_KEY (a key or T is null), NOT_FOUND (the key has no history with its times, or the
winner is deleted, however old), NOT_YET_KNOWN (it has, and none is known at T), OUTSIDE_MAX_AGE (rule 3),
NULL_VALUE (a winner whose requested features are all null, before defaults), else PRESENT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from typing import Any

Record = Mapping[str, Any]
"""One row of a table: column name to value. `None` is null."""

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)


class Nanoseconds(int):
    """An instant finer than a `datetime` can hold, in nanoseconds since 1970-01-01 UTC."""

    def __repr__(self) -> str:
        return f"Nanoseconds({int(self)})"


class Status(str, Enum):
    """Why a view gave what it gave for a spine row."""

    PRESENT = "PRESENT"
    NULL_VALUE = "NULL_VALUE"
    NULL_KEY = "NULL_KEY"
    NOT_FOUND = "NOT_FOUND"
    NOT_YET_KNOWN = "NOT_YET_KNOWN"
    OUTSIDE_MAX_AGE = "OUTSIDE_MAX_AGE"


@dataclass(frozen=True)
class View:
    """A feature view. `features` are all of them, in the order of the columns: the order decides ties.

    A static view has no `event_timestamp`, and no other setting of time.
    """

    name: str
    keys: tuple[str, ...]
    event_timestamp: str | None
    features: tuple[str, ...]
    created_timestamp: str | None = None
    lag: timedelta = timedelta(0)
    ttl: timedelta | None = None
    inclusive: bool = True
    deleted: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """Features wanted of a view, in a role if it has an alias.

    `join_keys` maps a key of the view to a column of the spine, of the same name where it is absent.
    """

    view: View
    features: tuple[str, ...]
    alias: str | None = None
    join_keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The role's name, or the view's where it has no role."""
        return self.alias or self.view.name


@dataclass(frozen=True)
class Answer:
    """What one request gives for one spine row.

    `event_time` is the winner's as stored, of one that is too old as well. It is null without a winner and
    where the winner is deleted.
    """

    values: Mapping[str, Any]
    status: Status
    event_time: Any = None


@dataclass(frozen=True)
class Row:
    """One row of the training set: the spine row as given, and one answer for each request, by its name."""

    spine: Record
    answers: Mapping[str, Answer]


def training_set(
    spine_rows: Sequence[Record],
    requests: Sequence[Request],
    histories: Mapping[str, Sequence[Record]],
    event_timestamp: str,
    gap: timedelta = timedelta(0),
    defaults: bool = True,
) -> list[Row]:
    """The training set of a spine. `histories` holds the rows of each view under the view's name."""
    result = []
    for spine_row in spine_rows:
        answers = {}
        for request in requests:
            found = look_up(request, spine_row, histories[request.view.name], event_timestamp, gap)
            answers[request.name] = with_defaults(found, request.view) if defaults else found
        result.append(Row(spine_row, answers))
    return result


def look_up(
    request: Request, spine_row: Record, history: Sequence[Record], event_timestamp: str, gap: timedelta
) -> Answer:
    """The rule for one spine row and one view, before defaults."""
    view = request.view
    nulls = dict.fromkeys(request.features)

    keys = [spine_row[request.join_keys.get(key, key)] for key in view.keys]
    if spine_row[event_timestamp] is None or any(key is None for key in keys):
        return Answer(nulls, Status.NULL_KEY)
    t = spine_instant(spine_row[event_timestamp]) - microseconds(gap)

    of_key = []
    known = []
    for row in history:
        if [row[key] for key in view.keys] == keys and has_time(view, row):
            of_key.append(row)
            if view.event_timestamp is None:
                known.append(row)
                continue
            available = available_at(view, row)
            if available < t or (available == t and view.inclusive):
                known.append(row)
    if not of_key:
        return Answer(nulls, Status.NOT_FOUND)
    if not known:
        return Answer(nulls, Status.NOT_YET_KNOWN)

    winner = known[0]
    for row in known:
        if rank(view, row) > rank(view, winner):
            winner = row

    if view.deleted is not None and winner[view.deleted] is True:
        return Answer(nulls, Status.NOT_FOUND)
    event_time = None if view.event_timestamp is None else winner[view.event_timestamp]
    if view.ttl is not None and t - history_instant(event_time) > microseconds(view.ttl):
        return Answer(nulls, Status.OUTSIDE_MAX_AGE, event_time)
    values = {feature: winner[feature] for feature in request.features}
    all_null = all(value is None for value in values.values())
    return Answer(values, Status.NULL_VALUE if all_null else Status.PRESENT, event_time)


def with_defaults(answer: Answer, view: View) -> Answer:
    """The same answer, each null replaced by the default of its feature where one is declared."""
    values = {}
    for feature, value in answer.values.items():
        values[feature] = view.defaults.get(feature) if value is None else value
    return Answer(values, answer.status, answer.event_time)


def has_time(view: View, row: Record) -> bool:
    """Whether the row has an event time and a created time, where the view declares one."""
    if view.event_timestamp is not None and row[view.event_timestamp] is None:
        return False
    return view.created_timestamp is None or row[view.created_timestamp] is not None


def available_at(view: View, row: Record) -> int:
    """The microsecond from which a row is known. The row must have its times."""
    lagged = history_instant(row[view.event_timestamp]) + microseconds(view.lag)
    if view.created_timestamp is None:
        return lagged
    return max(lagged, history_instant(row[view.created_timestamp]))


def rank(view: View, row: Record) -> tuple[Any, ...]:
    """The order in which rows win: (e, c), and among equals deleted, then every feature, then e as stored.

    The last matters only for rows that are equal in all else and whose e differ within a microsecond.
    """
    e, stored = 0, 0
    if view.event_timestamp is not None:
        e, stored = history_instant(row[view.event_timestamp]), nanoseconds(row[view.event_timestamp])
    c = 0 if view.created_timestamp is None else history_instant(row[view.created_timestamp])
    deleted = None if view.deleted is None else row[view.deleted]
    features = tuple(order(row[feature]) for feature in view.features)
    return (e, c, order(deleted), features, stored)


def order(value: Any) -> tuple[Any, ...]:
    """A value as something that compares: null below all, -0.0 below 0.0, NaN above all numbers, lists by elements."""
    if value is None:
        return (0,)
    if isinstance(value, float):
        return (1, True) if math.isnan(value) else (1, False, value, math.copysign(1, value))
    if isinstance(value, list):
        return (1, [order(element) for element in value])
    return (1, value)


def nanoseconds(value: datetime | date | Nanoseconds) -> int:
    """Nanoseconds since 1970-01-01 UTC. A naive `datetime` is UTC, a `date` its first instant."""
    if isinstance(value, Nanoseconds):
        return int(value)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if value.tzinfo is None:
        value = value.replace(tzinfo=timezone.utc)
    return microseconds(value - EPOCH) * 1000


def spine_instant(value: datetime | date | Nanoseconds) -> int:
    """The microsecond of a spine's time, rounded down."""
    return nanoseconds(value) // 1000


def history_instant(value: datetime | date | Nanoseconds) -> int:
    """The microsecond of a time in history, rounded up."""
    return -(-nanoseconds(value) // 1000)


def microseconds(duration: timedelta) -> int:
    """An elapsed time in whole microseconds; a day is 86,400 s."""
    return duration // MICROSECOND
