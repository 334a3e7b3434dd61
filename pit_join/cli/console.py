"""Log records on a terminal: messages as plain lines, progress as a bar. Loaded by commands that do work."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

__all__ = ["bar", "messages"]

_log = logging.getLogger("pit_join")


class _Lines(logging.Handler):
    """Prints messages on standard error, wherever that is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not hasattr(record, "progress"):
                click.echo(self.format(record), err=True)
        except Exception:  # as in the handlers of the standard library
            self.handleError(record)


@contextmanager
def messages() -> Iterator[None]:
    """Print what the package logs while a command runs."""
    handler, before = _Lines(), (_log.level, _log.propagate)
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.level, _log.propagate = before


@contextmanager
def bar() -> Iterator[None]:
    """Show logged progress as a bar, which vanishes at the end; nothing where standard error is not a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("views", total=None)

        class Bar(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if progress := getattr(record, "progress", None):
                    done, total, what = progress
                    shown.update(task, completed=done, total=total or None, description=what or "writing")

        handler = Bar()
        _log.addHandler(handler)
        try:
            yield
        finally:
            _log.removeHandler(handler)
