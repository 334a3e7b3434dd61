"""The one loop that waits for what another process holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pit_join.definitions.connection import Connection, Database
from pit_join.errors import WarehouseError
from pit_join.waiting import wait_until
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.free_file import wait_until_free


def told(results: Iterator[str], seconds: float) -> tuple[str, list[str]]:
    said: list[str] = []
    return wait_until(lambda: next(results), said.append, "waiting", seconds, every=0), said


def test_it_says_nothing_where_nothing_is_in_the_way() -> None:
    assert told(iter([""]), 0) == ("", [])


def test_it_says_once_that_it_waits() -> None:
    assert told(iter(["held", "held", "held", ""]), 60) == ("", ["waiting"])


def test_it_returns_what_is_in_the_way_at_the_end() -> None:
    assert told(iter(["held", "never asked"]), 0) == ("held", [])
    started = time.monotonic()
    assert told(iter(lambda: "held", ""), 0.2) == ("held", ["waiting"])
    assert 0.2 <= time.monotonic() - started < 2


def test_it_pauses() -> None:
    results, started = iter(["held", "held", ""]), time.monotonic()
    assert not wait_until(lambda: next(results), lambda message: None, "", 60, every=0.05)
    assert 0.1 <= time.monotonic() - started < 2


def test_an_error_of_an_attempt_ends_it() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / 0, print, "", 60)


def test_a_file_is_not_locked_because_of_its_name(tmp_path: Path) -> None:
    """DuckDB's message names the file; the word in it is not the reason."""
    (path := tmp_path / "locks.duckdb").write_text("no database" * 999)
    started = time.monotonic()
    with pytest.raises(WarehouseError, match="cannot be opened"):
        DuckDBWarehouse(Connection("dev", tmp_path, {"a": Database(str(path))}), wait=30)
    wait_until_free(path, 30, pytest.fail)
    assert time.monotonic() - started < 10
