"""Durations and instants as people write them in YAML and on the command line."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone

from pit_join.errors import PitJoinError

__all__ = ["format_duration", "parse_duration", "parse_instant", "read_instant", "short_duration"]


_PATTERN = re.compile(r"([0-9]+) *(?:(d|days?)|(h|hours?)|(m|minutes?)|(s|seconds?)|(ms|milliseconds?))", re.ASCII)
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


def read_instant(text: str | datetime | None, *, past: bool = True) -> datetime | None:
    """Read an instant in ISO 8601; a naive one is UTC. With `past` it must not lie in the future.

    Raises:
        PitJoinError: if `text` is not an instant, or lies in the future.

    >>> read_instant("2026-03-18 14:30")
    datetime.datetime(2026, 3, 18, 14, 30, tzinfo=datetime.timezone.utc)
    """
    if text is None:
        return None
    try:
        found = text if isinstance(text, datetime) else datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise PitJoinError(
            f"cannot read the instant '{text}'; write for example '2026-03-18 14:30' (UTC) or "
            "'2026-03-18T14:30:00+02:00'"
        ) from None
    found = found if found.tzinfo else found.replace(tzinfo=timezone.utc)
    if past and found > datetime.now(timezone.utc):
        raise PitJoinError(
            f"the instant {found.isoformat()} lies in the future: what will be known then is not known yet"
        )
    return found


def parse_instant(value: str | date) -> datetime:
    """Return an instant in UTC; a time without a time zone is UTC, and a date is its first instant.

    >>> parse_instant("2026-03-01").isoformat(), parse_instant("2026-03-01T01:30:00+02:00").isoformat()
    ('2026-03-01T00:00:00+00:00', '2026-02-28T23:30:00+00:00')

    Raises:
        PitJoinError: if a text is neither a date nor a time.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value.strip()))
        except ValueError:
            raise PitJoinError(
                f"'{value}' is not a date; write 2026-03-01, 2026-03-01T06:00:00 (UTC) or 2026-03-01T06:00:00+02:00"
            ) from None
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
