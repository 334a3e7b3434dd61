"""Waiting for a DuckDB file that another process holds. Outside world: DuckDB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb

from pit_join.errors import WarehouseError, option
from pit_join.waiting import wait_until
from pit_join.warehouse.duckdb_errors import is_locked
from pit_join.warehouse.interrupts import interruptible

__all__ = ["held_by_another", "wait_until_free"]

_POLL_SECONDS = 0.2


@interruptible()
def wait_until_free(path: Path, wait: float, on_wait: Callable[[str], None]) -> None:
    """Wait until no process holds a DuckDB file, not even to read it, since dbt would fail at once.

    Raises:
        WarehouseError: if it stays locked.
    """

    def held() -> duckdb.Error | None:
        try:
            if path.is_file():
                duckdb.connect(str(path)).close()
        except duckdb.Error as error:
            return error if is_locked(error) else None  # dbt says more clearly what is wrong
        return None

    if error := wait_until(held, on_wait, held_by_another(str(path), wait), wait, every=_POLL_SECONDS):
        raise WarehouseError(
            f"another process holds {path}, which dbt has to write, and did not release it within {wait:g} s "
            "(an open notebook or shell, or a service that reads it); try again when it is done, "
            f"or wait longer with {option('wait=', '--wait')}"
        ) from error


def held_by_another(what: str, wait: float) -> str:
    """Return the message that a command waits for a file."""
    return f"another process holds {what}; waiting up to {wait:g} s"
