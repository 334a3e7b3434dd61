"""The output of commands: tables, values and ages as text."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from textwrap import wrap

import click

from pit_join.texts import age, escaped, moment_text, shown

__all__ = ["age", "escaped", "moment_text", "print_table", "shown"]

_GAP = "  "


def print_table(headings: list[str], rows: list[list[str]], right: tuple[int, ...] = ()) -> None:
    """Print columns under headings, escaped; columns whose numbers are in `right` are aligned right.

    On a terminal cells wrap between words where the table is wider than it. Elsewhere each row is one line, so that
    other programs can read it.
    """
    headings, *rows = ([escaped(cell) for cell in row] for row in [headings, *rows])
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - len(_GAP) * (len(widths) - 1)
        widths = _fitted(widths, [headings, *rows], room)
    for row in [headings, ["-" * width for width in widths], *rows]:
        cells = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
        for i in range(max(map(len, cells))):
            parts = (lines[i] if i < len(lines) else "" for lines in cells)
            aligned = (
                part.rjust(width) if column in right else part.ljust(width)
                for column, (part, width) in enumerate(zip(parts, widths, strict=True))
            )
            click.echo(_GAP.join(aligned).rstrip())


def _fitted(widths: Sequence[int], rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return widths that fit into a terminal: the widest columns shrink first, none below its longest word."""
    found = list(widths)
    least = [max(len(word) for row in rows for word in row[i].split() or [""]) for i in range(len(widths))]
    while sum(found) > room and (shrinking := [i for i, width in enumerate(found) if width > least[i]]):
        found[max(shrinking, key=found.__getitem__)] -= 1
    return found


def _wrapped(cell: str, width: int) -> list[str]:
    if len(cell) <= width:
        return [cell]
    return wrap(cell, width, break_long_words=False, break_on_hyphens=False)
