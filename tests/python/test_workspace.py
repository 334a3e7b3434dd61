"""One state of a project for one command: what is opened how often, and who hears of it."""

from __future__ import annotations

import logging
from pathlib import Path

import duckdb
import pytest
from support.dbt import Built

from pit_join import FeatureStore, WarehouseError
from pit_join.workspace import Console


def test_by_default_a_notebook_sees_warnings(caplog: pytest.LogCaptureFixture) -> None:
    console = Console()
    with caplog.at_level(logging.INFO, "pit_join"):
        console.say("the project has changed: 100 % of it")
        console.warn("another process holds the file")
        console.progress(1, 0, "a view")
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("pit_join", "INFO", "the project has changed: 100 % of it"),
        ("pit_join", "WARNING", "another process holds the file"),
        ("pit_join", "INFO", "a view: 1 of unknown"),
    ]


def test_a_locked_warehouse_is_a_warning(
    demo: Built, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = duckdb.connect

    def locked(*_: object, **options: object) -> object:
        found = connect(config=options.get("config"))
        execute = found.execute

        class Locked:
            def __getattr__(self, name: str) -> object:
                return getattr(found, name)

            def execute(self, sql: str) -> object:
                if sql.startswith("attach"):
                    raise duckdb.IOException("IO Error: Could not set lock on file")
                return execute(sql)

        return Locked()

    monkeypatch.setattr("pit_join.warehouse.duckdb_session.duckdb.connect", locked)
    with pytest.raises(WarehouseError, match=r"did not let go within 0\.1 s"):
        FeatureStore(Path(demo.directory), wait=0.1).describe_views()
    (record,) = caplog.records
    assert (record.levelname, record.getMessage().endswith("waiting up to 0.1 s")) == ("WARNING", True)
