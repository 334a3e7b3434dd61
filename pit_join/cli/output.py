"""How commands print: tables, ages, and a progress bar where somebody watches."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

__all__ = ["age", "print_table", "progress", "shown"]


def progress() -> AbstractContextManager[Any]:
    """A progress bar on a terminal; nothing where nobody watches."""
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
    """A value in a cell of a table."""
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def age(seconds: float | None) -> str:
    """Seconds in the largest unit that fits."""
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def print_table(headings: list[str], rows: list[list[str]], right: tuple[int, ...] = ()) -> None:
    """Columns under headings; those whose numbers are in `right` end at one line."""
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    for row in [headings, ["-" * width for width in widths], *rows]:
        cells = (
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())
