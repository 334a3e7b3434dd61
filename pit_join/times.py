"""Durations and instants as people write them in YAML and on the command line."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from datetime import time as clock
from typing import Any

from pit_join.errors import RequestError

__all__ = ["format_duration", "gap_text", "parse_duration", "parse_instant", "read_instant", "short_duration"]


_PATTERN = re.compile(r"([0-9]+) *(?:(d|days?)|(h|hours?)|(m|minutes?)|(s|seconds?)|(ms|milliseconds?))", re.ASCII)
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]((?:[01][0-9]|2[0-3]):[0-5][0-9])(?::([0-5][0-9])(?:[.]([0-9]+))?)?"
    r"([zZ]|([+-](?:[01][0-9]|2[0-3]))(?::?([0-5][0-9]))?)?)?"
)
_UNITS = (
    timedelta(days=1),
    timedelta(hours=1),
    timedelta(minutes=1),
    timedelta(seconds=1),
    timedelta(milliseconds=1),
)
_NAMES = ("day", "hour", "minute", "second", "millisecond")
_SHORT_NAMES = ("d", "h", "m", "s", "ms")


def parse_duration(text: str) -> timedelta:
    """Read a duration: a whole number and one unit.

    Units: days, hours, minutes, seconds, milliseconds, or d, h, m, s, ms. A duration is elapsed time: a day is
    86,400 seconds on every day of the year, so no time zone is involved.

    Raises:
        ValueError: if `text` is anything else, or longer than 106,751,991 days.

    >>> parse_duration("30 days")
    datetime.timedelta(days=30)
    >>> parse_duration("250ms")
    datetime.timedelta(microseconds=250000)
    """
    found = _PATTERN.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"cannot read the duration '{text}'; write for example '30 days', '6 hours', '5 minutes', "
            "'90 seconds', '250 milliseconds' or 30d, 6h, 5m, 90s, 250ms"
        )
    number, *units = found.groups()
    unit = next(size for size, name in zip(_UNITS, units, strict=True) if name)
    # Compared as text lengths first, since int() refuses thousands of digits with a message of its own.
    if len(number) > 19 or int(number) * (unit // timedelta.resolution) >= 2**63:
        raise ValueError(f"the duration '{text}' is too long; the longest is 106751991 days")
    return int(number) * unit


def format_duration(duration: timedelta) -> str:
    """Write a duration in the largest unit that divides it.

    >>> format_duration(timedelta(hours=36)), format_duration(timedelta(days=1))
    ('36 hours', '1 day')
    """
    for unit, name in zip(_UNITS, _NAMES, strict=True):
        count, rest = divmod(duration, unit)
        if not rest:
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{duration // timedelta(microseconds=1)} microseconds"


def short_duration(text: str) -> str:
    """Return the short form of a duration, in the unit in which it is written, for use in a name.

    Raises:
        ValueError: if `text` is not a duration.

    >>> short_duration("24 hours"), short_duration("1 minute"), short_duration("250 milliseconds"), short_duration("7d")
    ('24h', '1m', '250ms', '7d')
    """
    parse_duration(text)
    found = _PATTERN.fullmatch(text.strip())
    assert found is not None
    number, *units = found.groups()
    return number + next(short for short, name in zip(_SHORT_NAMES, units, strict=True) if name)


def gap_text(gap: Any) -> str | None:
    """Return a gap as text, see `parse_duration`; a `timedelta` may also be pandas' or NumPy's.

    Raises:
        RequestError: if it is anything else, negative, or not of whole milliseconds.

    >>> gap_text(timedelta(hours=36)), gap_text("1 day")
    ('36 hours', '1 day')
    """
    if gap is None:
        return None
    if isinstance(gap, str):
        try:
            parse_duration(gap)
        except ValueError as error:
            raise RequestError(f"gap: {error}") from None
        return gap
    found = gap
    if _numpy_kind(gap) == "m":
        # Of nanoseconds NumPy makes a number; months and years are numbers, too, and have no fixed length.
        whole = gap.astype("timedelta64[us]")
        found = whole.item() if gap.dtype.name == "timedelta64[ns]" and whole == gap else gap.item()
    if not isinstance(found, timedelta) or found < timedelta(0) or found % _UNITS[-1]:
        raise RequestError(
            f"a gap is a duration of whole milliseconds, such as '1 day' or timedelta(days=1), got {gap!r}"
        )
    return format_duration(found)


def read_instant(value: Any, *, past: bool = True) -> datetime | None:
    """Return an instant as `parse_instant` does, and None for None; with `past` it must not lie in the future.

    Raises:
        RequestError: if `value` is not an instant, or lies in the future.

    >>> read_instant("2026-03-18 14:30")
    datetime.datetime(2026, 3, 18, 14, 30, tzinfo=datetime.timezone.utc)
    """
    if value is None:
        return None
    found = parse_instant(value)
    if past and found > datetime.now(timezone.utc):
        raise RequestError(
            f"the instant {found.isoformat()} lies in the future: what will be known then is not known yet"
        )
    return found


def parse_instant(value: Any) -> datetime:
    """Return an instant in UTC: of a text in ISO 8601, a date or a datetime, also pandas' and NumPy's.

    A time without a time zone is UTC, a date is its first instant, and nanoseconds are rounded down.

    >>> parse_instant("2026-03-01").isoformat(), parse_instant("2026-03-01T01:30:00+02:00").isoformat()
    ('2026-03-01T00:00:00+00:00', '2026-02-28T23:30:00+00:00')

    Raises:
        RequestError: if it is anything else.
    """
    found = value
    try:
        if _numpy_kind(value) == "M":
            exact = value.item()  # a number if it is of nanoseconds, or beyond Python's years
            found = exact if isinstance(exact, date) or "T" not in str(value) else str(value)
        if isinstance(found, str):
            found = datetime.fromisoformat(_canonical(found))
        if not isinstance(found, date):
            raise TypeError
        time = clock(0)
        if isinstance(found, datetime):  # not as it is, since a pandas.Timestamp has nanoseconds besides
            time = clock(found.hour, found.minute, found.second, found.microsecond, found.tzinfo, fold=found.fold)
        moment = datetime.combine(date(found.year, found.month, found.day), time)
        return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    except (ValueError, TypeError, OverflowError):  # also for NaT, whose parts are not numbers
        raise RequestError(
            f"cannot read the instant {' '.join(repr(value).split())}; write for example '2026-03-18 14:30' (UTC) or "
            "'2026-03-18T14:30:00+02:00'"
        ) from None


def _canonical(text: str) -> str:
    """Return an instant in the form that all versions of Python read; the macro `_as_of` reads the same texts."""
    found = _INSTANT.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    day, minute, second, fraction, zone, hours, minutes = found.groups()
    offset = f"{hours}:{minutes or '00'}" if hours else "+00:00" if zone else ""
    return f"{day}T{minute or '00:00'}:{second or '00'}.{(fraction or '')[:6]:0<6}{offset}"


def _numpy_kind(value: Any) -> str:
    """Return `M` for a numpy.datetime64 and `m` for a numpy.timedelta64; NumPy is not loaded for that."""
    return str(value.dtype.kind) if getattr(value, "ndim", None) == 0 and hasattr(value, "dtype") else ""
