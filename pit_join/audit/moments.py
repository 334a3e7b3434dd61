"""The other times at which a training set may have been joined, each named as a likely cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from zoneinfo import available_timezones

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pit_join.times import format_duration

__all__ = ["DAY", "NO_MOMENT", "Moments", "Times", "nearest_row", "numbers_of", "shifted", "turns", "windows", "zones"]

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
    local = pa.array(times + gap, pa.timestamp("us", "UTC")).cast(pa.timestamp("us", zone or "UTC"))
    start = _numbers(pc.floor_temporal(local, unit="day")) - gap
    following = _numbers(pc.floor_temporal(pc.add(local, pa.scalar(DAY, pa.duration("us"))), unit="day")) - gap
    yield Moments("equals the value at the end of the day of T", following - 1, True)
    yield Moments("equals the value at the start of the next day", following, True)
    for name, size in _SHIFTS.items():
        yield Moments(f"equals the value known {name} later", times + size, True)
    yield Moments("equals the value at the start of the day of T", start, False)
    for name, size in _SHIFTS.items():
        yield Moments(f"equals the value known {name} earlier", times - size, False)


def windows(times: Times, sizes: Iterable[timedelta]) -> Iterator[Moments]:
    """Yield the times at which the windows of a view are centred on T, or begin at T."""
    for size in sorted(sizes):
        width, text = size // timedelta(microseconds=1), format_duration(size)
        yield Moments(f"equals the window of {text} that is centred on T", times + width // 2, True)
        yield Moments(f"equals the window of {text} that begins at T", times + width, True)


def zones(times: Times, gap: int, zone: str | None) -> Iterator[Moments]:
    """Yield T by the clocks of other time zones than `zone`, once for zones that agree on all times."""
    local = pa.array(times + gap, pa.timestamp("us", "UTC")).cast(pa.timestamp("us", zone or "UTC"))
    naive = pc.local_timestamp(local)
    seen = {times.tobytes()}
    places = sorted(name for name in available_timezones() if name.startswith(_CONTINENTS))
    for place in ["UTC", *_WELL_KNOWN, *places]:
        try:
            local = pc.assume_timezone(naive, place, ambiguous="earliest", nonexistent="earliest")
        except (pa.ArrowException, ValueError):  # a zone that this machine does not know
            continue
        moved = _numbers(local) - gap
        if moved.tobytes() not in seen:
            seen.add(moved.tobytes())
            hours, counts = np.unique((moved - times) / _HOUR, return_counts=True)
            # Without the times that its clocks skip, which are moved by odd amounts.
            by = " or ".join(f"{abs(hour):g} h" for hour in hours[counts > 0.01 * len(times)])
            later = bool(hours[np.argmax(counts)] > 0)
            text = f"times shifted by a zone: T fits as the time of {place} ({by} {'later' if later else 'earlier'})"
            yield Moments(text, moved, later)


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


def _numbers(times: pa.Array) -> Times:
    return np.asarray(np.from_dlpack(times.cast(pa.int64())), np.int64)


def numbers_of(column: pa.ChunkedArray) -> Times:
    """Return whole numbers, with `NO_MOMENT` for null."""
    whole = pc.fill_null(column.combine_chunks(), NO_MOMENT)
    return np.asarray(np.from_dlpack(whole), np.int64)
