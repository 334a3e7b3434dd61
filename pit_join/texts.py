"""Values, ages and instants as short texts for people, in terminals and in notebooks."""

from __future__ import annotations

from typing import Any

from pit_join.json_values import json_text, time_text
from pit_join.records.layout import instant

__all__ = ["age", "escaped", "moment_text", "share", "shown"]


def shown(value: Any) -> str:
    """Return a value as the text of a table's cell: as JSON has it, but texts without quotes.

    A value that JSON has no form for, such as a key in a type of NumPy, is shown as Python prints it.
    """
    if value is None:
        return "-"
    try:
        text = value if isinstance(value, str) else json_text(value, ascii_only=False).strip('"')
    except TypeError:
        text = str(value)
    text = escaped(text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def escaped(text: str) -> str:
    """Return a text in which nothing can move the cursor, or change what is on the screen."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def moment_text(microseconds: int) -> str:
    """Return an instant in microseconds as text, without a fraction of zero."""
    return str(time_text(instant(microseconds), False)).replace("T", " ").removesuffix("+00:00")


def age(seconds: float | None) -> str:
    """Return seconds in the largest unit that fits."""
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def share(value: float | None) -> str:
    """Return a share in percent."""
    return "-" if value is None else f"{value:.1%}"
