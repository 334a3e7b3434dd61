"""The output of commands: tables, ages, and a progress bar on a terminal."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

__all__ = ["age", "print_table", "progress", "shown"]


def progress() -> AbstractContextManager[Any]:
    """Return a progress bar on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext(lambda done, total, view: None)
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import Progress

    @contextmanager
    def watched() -> Any:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("views", total=None)
            yield lambda done, total, view: bar.update(
                task, completed=done, total=total or None, description=view or "writing"
            )

    return watched()


def shown(value: Any) -> str:
    """Return a value as the text of a table's cell."""
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def age(seconds: float | None) -> str:
    """Return seconds in the largest unit that fits."""
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def print_table(headings: list[str], rows: list[list[str]], right: tuple[int, ...] = ()) -> None:
    """Print columns under headings; columns whose numbers are in `right` are aligned right."""
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    for row in [headings, ["-" * width for width in widths], *rows]:
        cells = (
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())
