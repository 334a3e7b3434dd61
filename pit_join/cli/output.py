"""The output of commands: tables, values and ages as text."""

from __future__ import annotations

from typing import Any

import click

from pit_join.json_values import json_text, time_text
from pit_join.records.layout import instant

__all__ = ["age", "escaped", "moment_text", "print_table", "shown"]


def shown(value: Any) -> str:
    """Return a value as the text of a table's cell: as JSON has it, but texts without quotes."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json_text(value, ascii_only=False).strip('"')
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


def print_table(headings: list[str], rows: list[list[str]], right: tuple[int, ...] = ()) -> None:
    """Print columns under headings, escaped; columns whose numbers are in `right` are aligned right."""
    headings, *rows = ([escaped(cell) for cell in row] for row in [headings, *rows])
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    for row in [headings, ["-" * width for width in widths], *rows]:
        cells = (
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())
