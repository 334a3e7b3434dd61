"""The other times at which a training set may have been joined, each named as a likely cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
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
    "Moments",
    "Times",
    "by_clock",
    "clocks",
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


def clocks(times: Times, gap: int, zone: str | None) -> dict[str, Moments]:
    """Return T by the clock of each other place; of places whose clocks agree on all times one is named."""
    seen = {times.tobytes()}
    found = {}
    places = sorted(name for name in available_timezones() if name.startswith(_CONTINENTS))
    for place in ["UTC", *_WELL_KNOWN, *places]:
        with suppress(pa.ArrowException, ValueError):  # a zone that this machine does not know
            moved = by_clock(place, times, gap, zone)
            if moved.times.tobytes() not in seen:
                seen.add(moved.times.tobytes())
                found[place] = moved
    return found


def by_clock(place: str, times: Times, gap: int, zone: str | None) -> Moments:
    """Return T by the clock of a place; `times` are instants by the clock of `zone`."""
    naive = pc.local_timestamp(_local(times + gap, zone))
    local = pc.assume_timezone(naive, place, ambiguous="earliest", nonexistent="earliest")
    moved = _numbers(local) - gap
    hours, counts = np.unique((moved - times) / _HOUR, return_counts=True)
    # Without the times that its clocks skip, which are moved by odd amounts.
    by = " or ".join(f"{abs(hour):g} h" for hour in hours[counts > 0.01 * len(times)])
    later = bool(hours[np.argmax(counts)] > 0)
    text = f"times shifted by a zone: T fits as the time of {place} ({by} {'later' if later else 'earlier'})"
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
