"""The other times at which a training set may have been joined, each named as a likely cause."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from zoneinfo import available_timezones

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pit_join.definitions.views import FeatureView
from pit_join.times import format_duration
from pit_join.training.gather import row_numbers

__all__ = [
    "DAY",
    "NO_MOMENT",
    "Guess",
    "Moments",
    "Times",
    "guesses",
    "nearest_row",
    "numbers_of",
    "other_end",
    "shifted",
    "turns",
    "windows",
]

Times = np.ndarray[Any, np.dtype[np.int64]]

NO_MOMENT = np.iinfo(np.int64).min
"""Stands for a time that does not exist, such as that of the row after the last one."""

_SECOND = 1_000_000
_HOUR = 3600 * _SECOND
DAY = 24 * _HOUR
_SHIFTS = {"1 minute": 60 * _SECOND, "1 hour": _HOUR, "1 day": DAY, "7 days": 7 * DAY, "30 days": 30 * DAY}
# Rarer ones, which are guessed on few rows.
_OFFSETS = {
    **{f"{n} minutes": n * 60 * _SECOND for n in (5, 10, 15, 30, 45, 90)},
    **{f"{n} hours": n * _HOUR for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)},
    **{f"{n} days": n * DAY for n in (2, 3, 4, 5, 6, 10, 14, 21, 28, 31, 60, 90)},
}
# Of zones that agree on all times of a set one is named: of these, if it is among them.
_WELL_KNOWN = (
    "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Sao_Paulo",
    "Europe/London", "Europe/Berlin", "Europe/Athens", "Europe/Moscow", "Asia/Dubai", "Asia/Kolkata", "Asia/Shanghai",
    "Asia/Tokyo", "Australia/Sydney", "Pacific/Auckland",
)  # fmt: skip
_CONTINENTS = ("Africa/", "America/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/", "Pacific/")


@dataclass(frozen=True, slots=True)
class Moments:
    """Other times of the rows of a sample, in microseconds UTC, and what it means if the values fit them."""

    text: str
    times: Times
    leak: bool


def shifted(times: Times, zone: str | None, gap: int) -> Iterator[Moments]:
    """Yield the times that differ from T by a rule of thumb, such as an hour or a day.

    `zone` is the time zone in which the days of the set begin, `gap` the gap in microseconds.
    """
    if gap:
        yield Moments("the gap is ignored", times + gap, True)
    local = _local(times + gap, zone)
    start = _numbers(pc.floor_temporal(local, unit="day")) - gap
    following = _numbers(pc.floor_temporal(pc.add(local, pa.scalar(DAY, pa.duration("us"))), unit="day")) - gap
    yield Moments("equals the value at the end of the day of T", following - 1, True)
    yield Moments("equals the value at the start of the next day", following, True)
    for name, size in _SHIFTS.items():
        yield Moments(f"equals the value known {name} later", times + size, True)
    yield Moments("equals the value at the start of the day of T", start, False)
    for name, size in _SHIFTS.items():
        yield Moments(f"equals the value known {name} earlier", times - size, False)


def other_end(times: Times, view: FeatureView) -> Iterator[Moments]:
    """Yield the time at which the windows of a view have their other end."""
    right = view.closed == "right"
    words = f"counts {'no event' if right else 'events'} known exactly at T (closed: {view.closed})"
    # Times are whole microseconds, so a window without its end is one with it, a microsecond before.
    yield Moments(words, times - 1 if right else times + 1, not right)


def windows(times: Times, sizes: Iterable[timedelta]) -> Iterator[Moments]:
    """Yield the times at which the windows of a view are centred on T, or begin at T."""
    for size in sorted(sizes):
        width, text = size // timedelta(microseconds=1), format_duration(size)
        yield Moments(f"equals the window of {text} that is centred on T", times + width // 2, True)
        yield Moments(f"equals the window of {text} that begins at T", times + width, True)


@dataclass(frozen=True, slots=True)
class Guess:
    """A way to move times that is one of many, so that it is tried on few rows first.

    Of the guesses of a `kind` that move all times alike only the first is of interest.
    """

    kind: str
    at: Callable[[Times], Moments]


def guesses(gap: int, zone: str | None) -> Iterator[Guess]:
    """Yield offsets, the ends of weeks and the like, and clocks; see `shifted` for the arguments."""
    for name, size in _OFFSETS.items():
        yield Guess("offset", partial(_moved, f"equals the value known {name} later", size))
        yield Guess("offset", partial(_moved, f"equals the value known {name} earlier", -size))
    for unit in ("week", "month", "quarter", "year"):
        yield Guess("end", partial(_end_of, unit, gap, zone))
    places = sorted(name for name in available_timezones() if name.startswith(_CONTINENTS))
    for some in (("UTC", *_WELL_KNOWN), places):
        for place in some:
            yield Guess("zone", partial(_as_time_of, place, gap, zone))
        for place in some:
            yield Guess("zone", partial(_as_shown_in, place, gap, zone))


def _moved(text: str, by: int, times: Times) -> Moments:
    return Moments(text, times + by, by > 0)


def _end_of(unit: str, gap: int, zone: str | None, times: Times) -> Moments:
    local = pc.ceil_temporal(_local(times + gap, zone), unit=unit, ceil_is_strictly_greater=True)
    return Moments(f"equals the value at the end of the {unit} of T", _numbers(local) - gap - 1, True)


def _as_time_of(place: str, gap: int, zone: str | None, times: Times) -> Moments:
    """Return T as if the time of the file were that of a place."""
    shown = pc.local_timestamp(_local(times + gap, zone))
    return _by_clock(f"T were the time of {place}", shown, place, gap, times)


def _as_shown_in(place: str, gap: int, zone: str | None, times: Times) -> Moments:
    """Return T as if the clocks of a place showed the time of the file's zone."""
    shown = pc.local_timestamp(_local(times + gap, place))
    return _by_clock(f"the clocks of {place} showed {zone or 'UTC'}", shown, zone or "UTC", gap, times)


def _by_clock(what: str, shown: pa.Array, place: str, gap: int, times: Times) -> Moments:
    """Return the instants at which the clocks of a place show times."""
    moved = _numbers(pc.assume_timezone(shown, place, ambiguous="earliest", nonexistent="earliest")) - gap
    hours, counts = np.unique((moved - times) / _HOUR, return_counts=True)
    # Without the times that its clocks skip, which are moved by odd amounts.
    by = " or ".join(f"{abs(hour):g} h" for hour in hours[counts > 0.01 * len(times)])
    later = bool(hours[np.argmax(counts)] > 0)
    text = f"times shifted by a zone: as if {what} ({by} {'later' if later else 'earlier'})"
    return Moments(text, moved, later)


def turns(found: Mapping[str, Times]) -> Iterator[Moments]:
    """Yield the times at which the answer changes: see the macro `_turns_statement`."""
    yield Moments("equals the next row, later than T", found["following"], True)
    yield Moments("equals the newest value of all", found["newest"], True)
    yield Moments("equals the row before the right one", found["preceding"], False)
    yield Moments("equals the oldest value of all", found["oldest"], False)


def nearest_row(times: Times, found: Mapping[str, Times]) -> Moments:
    """Return the times of the rows that are nearest to T, before or after it."""
    following, preceding = found["following"], found["preceding"]
    ahead = np.where(following == NO_MOMENT, np.iinfo(np.int64).max, following - times)
    behind = np.where(preceding == NO_MOMENT, np.iinfo(np.int64).max, times - preceding)
    return Moments("equals the row nearest to T, before or after it", np.where(ahead < behind, following, times), True)


def _local(times: Times, zone: str | None) -> pa.Array:
    return row_numbers(times).view(pa.timestamp("us", "UTC")).cast(pa.timestamp("us", zone or "UTC"))


def _numbers(times: pa.Array) -> Times:
    return np.asarray(np.from_dlpack(times.cast(pa.int64())), np.int64)


def numbers_of(column: pa.ChunkedArray) -> Times:
    """Return whole numbers, with `NO_MOMENT` for null."""
    whole = pc.fill_null(column.combine_chunks(), NO_MOMENT)
    return np.asarray(np.from_dlpack(whole), np.int64)
