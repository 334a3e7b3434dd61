"""Ctrl-C within a call of DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["interruptible"]


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt for Ctrl-C, also where DuckDB makes another error of it.

    In the main thread DuckDB itself looks for signals, and replaces the KeyboardInterrupt by a RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error) != "Query interrupted":
            raise
        raise KeyboardInterrupt from None
