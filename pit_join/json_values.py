"""Feature values as JSON has them: the same in HTTP answers and on the command line."""

from __future__ import annotations

import base64
import json
import math
import re
from datetime import date, datetime
from datetime import time as clock
from decimal import Decimal
from typing import Any
from uuid import UUID

__all__ = ["finite", "json_text", "plain", "time_text", "with_zone"]


def json_text(value: Any, *, ascii_only: bool = True) -> str:
    """Return a value as JSON text; see `plain` and `finite`.

    >>> json_text({"price": Decimal("6.36"), "ratio": float("nan"), "vector": (1.5, float("-inf"))})
    '{"price": "6.36", "ratio": "NaN", "vector": [1.5, "-Infinity"]}'
    """
    return json.dumps(finite(value), default=plain, allow_nan=False, ensure_ascii=ascii_only)


def finite(value: Any) -> Any:
    """Return a number that JSON has no form for as text, also within lists and objects."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: finite(element) for name, element in value.items()}
    return [finite(element) for element in value] if isinstance(value, (list, tuple)) else value


def plain(value: Any) -> str | list[Any]:
    """Return what JSON has no type for: decimals, times and UUIDs as text, bytes in base64.

    Raises:
        TypeError: if the value has no form in JSON.
    """
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return str(time_text(value, value.tzinfo is not None))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (UUID, clock)):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f")  # a zero of ten digits is 0E-10 as a text of Python
    if type(value).__name__ == "datetime64":  # by its name, so that NumPy is not loaded
        return str(time_text(value, False))
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def time_text(value: Any, utc: bool) -> Any:
    """Return an instant as text, in UTC with a Z; lists of them, and nulls."""
    if isinstance(value, list):
        return [time_text(element, utc) for element in value]
    if isinstance(value, datetime):
        return f"{value.isoformat().removesuffix('+00:00')}{'Z' if utc else ''}"
    return None if value is None else _far_text(value, "Z" if utc else "")


def with_zone(value: Any, kind: str) -> Any:
    """Return a value of a type (see `records.layout.Field`): instants, also within lists, as text, in UTC with a Z.

    NumPy's instants, which are those that Python does not have, do not say that they are UTC.
    """
    return time_text(value, "UTC" in kind) if "timestamp" in kind else value


def _far_text(value: Any, zone: str) -> str:
    """Return a numpy.datetime64 as ISO 8601, in which 44 BC is -0043; an infinite one as SQL has it."""
    number, days = int(value.astype("int64")), value.dtype.name == "datetime64[D]"
    if abs(number) == (2**31 if days else 2**63) - 1:
        return "infinity" if number > 0 else "-infinity"
    return re.sub(r"^-(\d+)", lambda year: f"-{int(year[1]):04}", str(value)) + zone
