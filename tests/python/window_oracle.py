"""The rule of window views as nested loops: no SQL, no cleverness, slow.

The tests hold every SQL plan against this file, so it must be checked by reading. A row of the event table is a
*version* with keys K, event time e, created time c (if declared) and event_key (if declared). Instants are whole
microseconds UTC as in `oracle.py`: the spine's rounded down, the events' rounded up. A gap makes every T below T - gap.

1. A version whose e, or declared c, is null is ignored wholly: it supersedes nothing either.
2. Versions with equal event_key, all its parts not null, are versions of one event in the order (c, e, the whole row by
   content: deleted, where null is false, then every column in YAML order, a null the smallest). Each is superseded at
   the c of the next (`until`), the last never. A row with a null in the event_key is an event of its own.
3. A version that is deleted (true; null is false), or has a null in K, counts for nothing. It still supersedes.
4. s = greatest(e + lag, c), or e + lag without a created time, is when the version is known.
5. For a window w: x = least(e + lag + w, until); until alone for a lifetime, no end if there is neither.
6. closed right: the version is in the window at T iff s <= T < x. closed left: iff s < T <= x.
7. A feature aggregates the versions in its window whose `where`, if any, is true. count without a column is their
   number. All else looks at values that are not null; with none of these it is null, count and count_distinct 0.
   The order of first, last and last_n is (e, c, value). NaN is greater than all numbers and equals NaN.
8. Null K or null T: counts are 0, all else is null. A null is replaced by the declared default, whatever the status.
9. The event time is the greatest e (in microseconds) in the view's longest window, whatever `where` says.
10. Status: NULL_KEY (a key or T is null), NOT_FOUND (no version of these keys is ever current: a deleted one never is,
   others are with s < until or no until), NOT_YET_KNOWN (some are, all with s > T, or s >= T for left), NULL_VALUE (all
   requested features are null before defaults), else PRESENT.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from oracle import (
    Answer,
    Nanoseconds,
    Record,
    Request,
    Status,
    has_time,
    history_instant,
    microseconds,
    order,
    spine_instant,
)

WIDE = Context(prec=100)


@dataclass(frozen=True)
class Where:
    """A condition of an aggregation as SQL text, and what it says of an event (null is None)."""

    sql: str
    holds: Callable[[Record], bool | None] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Aggregation:
    """One feature: one function over one window. A window of None is the lifetime."""

    name: str
    function: str
    column: str | None = None
    window: timedelta | None = None
    where: Where | None = None
    n: int | None = None
    default: Any = None


@dataclass(frozen=True)
class WindowView:
    """A window view. `columns` are all that the YAML lists, in its order: the order decides between versions."""

    name: str
    keys: tuple[str, ...]
    event_timestamp: str
    columns: tuple[str, ...]
    aggregations: tuple[Aggregation, ...]
    created_timestamp: str | None = None
    lag: timedelta = timedelta(0)
    closed: str = "left"
    event_key: tuple[str, ...] = ()
    deleted: str | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features."""
        return tuple(aggregation.name for aggregation in self.aggregations)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The declared defaults by feature."""
        return {each.name: each.default for each in self.aggregations if each.default is not None}


@dataclass(frozen=True)
class Version:
    """A version that is current at some time: known from s on and until another supersedes it, if ever."""

    keys: tuple[Any, ...]
    e: int
    c: int | None
    s: int
    until: int | None
    row: Record


def look_up(
    request: Request, spine_row: Record, versions: Sequence[Version], event_timestamp: str, gap: timedelta
) -> Answer:
    """The rule for one spine row and one window view, before defaults. `versions` are the view's current ones."""
    view: Any = request.view
    wanted = [aggregation for name in request.features for aggregation in view.aggregations if aggregation.name == name]
    empty = {aggregation.name: aggregate(aggregation, []) for aggregation in wanted}

    keys = tuple(spine_row[request.join_keys.get(key, key)] for key in view.keys)
    if spine_row[event_timestamp] is None or None in keys:
        return Answer(empty, Status.NULL_KEY)
    t = spine_instant(spine_row[event_timestamp]) - microseconds(gap)

    of_key = [version for version in versions if version.keys == keys]
    if not of_key:
        return Answer(empty, Status.NOT_FOUND)
    if not any(is_known(view, version, t) for version in of_key):
        return Answer(empty, Status.NOT_YET_KNOWN)

    values = {aggregation.name: value_at(view, aggregation, of_key, t) for aggregation in wanted}
    all_null = all(value is None for value in values.values())
    return Answer(values, Status.NULL_VALUE if all_null else Status.PRESENT, newest_event_time(view, of_key, t))


def current_versions(view: WindowView, rows: Sequence[Record]) -> list[Version]:
    """The versions that count: ever current, not deleted, no null in the keys."""
    found = []
    for row, until in with_until(view, [row for row in rows if has_time(view, row)]):
        keys = tuple(row[key] for key in view.keys)
        e = history_instant(row[view.event_timestamp])
        c = created(view, row)
        s = e + microseconds(view.lag) if c is None else max(e + microseconds(view.lag), c)
        if not is_deleted(view, row) and None not in keys and (until is None or s < until):
            found.append(Version(keys, e, c, s, until, row))
    return found


def with_until(view: WindowView, rows: Sequence[Record]) -> list[tuple[Record, int | None]]:
    """Each row and when the next version of its event supersedes it."""
    found: list[tuple[Record, int | None]] = []
    events: dict[tuple[Any, ...], list[Record]] = {}
    for row in rows:
        event = tuple(row[column] for column in view.event_key)
        if not event or None in event:
            found.append((row, None))
        else:
            events.setdefault(event, []).append(row)
    for versions in events.values():
        ordered = sorted(versions, key=lambda row: rank(view, row))
        found += [(row, created(view, newer)) for row, newer in itertools.pairwise(ordered)]
        found.append((ordered[-1], None))
    return found


def rank(view: WindowView, row: Record) -> tuple[Any, ...]:
    """The order of the versions of an event."""
    content = tuple(order(row[column]) for column in view.columns)
    return (created(view, row), history_instant(row[view.event_timestamp]), is_deleted(view, row), content)


def is_deleted(view: WindowView, row: Record) -> bool:
    """Whether a row is marked deleted; null is false."""
    return view.deleted is not None and row[view.deleted] is True


def created(view: WindowView, row: Record) -> int | None:
    """The microsecond at which a row was created, if the view declares it."""
    return None if view.created_timestamp is None else history_instant(row[view.created_timestamp])


def is_known(view: WindowView, version: Version, t: int) -> bool:
    """Whether a version is known at T, current or superseded."""
    return version.s <= t if view.closed == "right" else version.s < t


def end(view: WindowView, version: Version, window: timedelta | None) -> int | None:
    """The instant x at which a version leaves a window, if ever."""
    if window is None:
        return version.until
    leaves = version.e + microseconds(view.lag) + microseconds(window)
    return leaves if version.until is None else min(leaves, version.until)


def in_window(view: WindowView, version: Version, window: timedelta | None, t: int) -> bool:
    """Whether a version is in the window at T."""
    x = end(view, version, window)
    if view.closed == "right":
        return version.s <= t and (x is None or t < x)
    return version.s < t and (x is None or t <= x)


def value_at(view: WindowView, aggregation: Aggregation, versions: Sequence[Version], t: int) -> Any:
    """A feature of one key at T. `versions` are those of the key."""
    return aggregate(aggregation, selected(view, aggregation, versions, t))


def selected(view: WindowView, aggregation: Aggregation, versions: Sequence[Version], t: int) -> list[Version]:
    """The versions that a feature aggregates at T, those with a null value left out."""
    found = []
    for version in versions:
        if not in_window(view, version, aggregation.window, t):
            continue
        if aggregation.where is not None and aggregation.where.holds(version.row) is not True:
            continue
        if aggregation.column is None or version.row[aggregation.column] is not None:
            found.append(version)
    return found


def aggregate(aggregation: Aggregation, versions: Sequence[Version]) -> Any:
    """The function over versions whose value is not null."""
    function, column = aggregation.function, aggregation.column
    if function == "count":
        return len(versions)
    assert column is not None
    values = [version.row[column] for version in versions]
    if function == "count_distinct":
        return len({order(value) for value in values})
    if not values:
        return None
    if function in ("sum", "avg", "stddev"):
        return {"sum": total, "avg": average, "stddev": deviation}[function](values)
    if function in ("min", "max"):
        return {"min": min, "max": max}[function](values, key=order)
    ordered = sorted(versions, key=lambda version: (version.e, version.c or 0, order(version.row[column])))
    newest_first = [version.row[column] for version in reversed(ordered)]
    if function == "last_n":
        return newest_first[: aggregation.n]
    return {"first": newest_first[-1], "last": newest_first[0]}[function]


def total(values: Sequence[Any]) -> Any:
    """The sum, exact. With NaN or both infinities it is NaN, with one infinity that one."""
    if isinstance(values[0], int):
        return sum(values)
    if isinstance(values[0], Decimal):
        return functools.reduce(WIDE.add, values)
    infinite = {value for value in values if math.isinf(value)}
    if any(math.isnan(value) for value in values) or len(infinite) == 2:
        return math.nan
    return infinite.pop() if infinite else math.fsum(values)


def average(values: Sequence[Any]) -> float:
    """The mean, a double; not of a number as the sum."""
    return float(exact(values) / len(values)) if finite(values) else total(values)


def deviation(values: Sequence[Any]) -> float | None:
    """The standard deviation of the sample: NaN if any value is NaN or infinite, else null for one value."""
    if not finite(values):
        return math.nan
    if len(values) < 2:
        return None
    mean = exact(values) / len(values)
    return root(sum((Fraction(value) - mean) ** 2 for value in values) / (len(values) - 1))


def root(square: Fraction) -> float:
    """The square root; the square itself may be too large or too small for a float."""
    wholes = square.numerator * square.denominator << 4400
    return float(Fraction(math.isqrt(wholes), square.denominator << 2200))


def exact(values: Sequence[Any]) -> Fraction:
    """The sum as a fraction, which holds integers, decimals and floats without rounding."""
    return sum((Fraction(value) for value in values), Fraction(0))


def finite(values: Sequence[Any]) -> bool:
    """Whether all values are numbers, none of them infinite."""
    return all(math.isfinite(value) for value in values)


def newest_event_time(view: WindowView, versions: Sequence[Version], t: int) -> Any:
    """The greatest event time in the longest window, as a value of its type; null if that is empty."""
    windows = [aggregation.window for aggregation in view.aggregations]
    longest = None if None in windows else max(window for window in windows if window is not None)
    inside = [version for version in versions if in_window(view, version, longest, t)]
    if not inside:
        return None
    newest = max(inside, key=lambda version: version.e)
    stored = newest.row[view.event_timestamp]
    return Nanoseconds(newest.e * 1000) if isinstance(stored, Nanoseconds) else stored


# The snapshot and the history ---------------------------------------------------------------------------------


def snapshot(view: WindowView, rows: Sequence[Record], t: int) -> list[dict[str, Any]]:
    """What `latest_snapshot` holds at T: each key with a known version, its event time and features, no defaults."""
    records = []
    for keys, versions in by_key(current_versions(view, rows)).items():
        if any(is_known(view, version, t) for version in versions):
            record = dict(zip(view.keys, keys, strict=True))
            record[view.event_timestamp] = newest_event_time(view, versions, t)
            records.append(record | {each.name: value_at(view, each, versions, t) for each in view.aggregations})
    return records


def by_key(versions: Sequence[Version]) -> dict[tuple[Any, ...], list[Version]]:
    """The versions of each key."""
    found: dict[tuple[Any, ...], list[Version]] = {}
    for version in versions:
        found.setdefault(version.keys, []).append(version)
    return found


def change_points(view: WindowView, versions: Sequence[Version], grid: timedelta | None, dense: bool) -> list[int]:
    """Where a feature of one key may change: every s, every x after it. Rounded up to the grid; dense: and between."""
    points = {version.s for version in versions}
    for version in versions:
        for aggregation in view.aggregations:
            x = end(view, version, aggregation.window)
            if x is not None and version.s < x:
                points.add(x)
    if grid is not None:
        step = microseconds(grid)
        points = {-(-point // step) * step for point in points}
        if dense and points:
            points = set(range(min(points), max(points) + 1, step))
    return sorted(points)


def history(
    view: WindowView, rows: Sequence[Record], grid: timedelta | None = None, dense: bool = False
) -> list[tuple[tuple[Any, ...], int, dict[str, Any]]]:
    """The rows of `window_history`: keys, instant and features by the rule of closed right, by key and instant.

    Unless dense, a row that equals the one before it is left out.
    """
    right = replace(view, closed="right")
    found = []
    for keys, versions in by_key(current_versions(view, rows)).items():
        before = None
        for instant in change_points(view, versions, grid, dense):
            values = {each.name: value_at(right, each, versions, instant) for each in view.aggregations}
            same = {name: order(value) for name, value in values.items()}
            if dense or same != before:
                found.append((keys, instant, values))
            before = same
    return found
