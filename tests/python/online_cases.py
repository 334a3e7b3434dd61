"""Generated cases on their way to an online store, by the code of `export` itself.

Only what surrounds it is replaced: the manifest is made from the case, and the warehouse is in memory. What a reader
must be served is the oracles' answer, in the form of `comparable`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import pytest
from generate import Case, comparable, load, quote, result_name
from generate_windows import near
from oracle import EPOCH, Record, Request, Status, history_instant, look_up, microseconds, nanoseconds, with_defaults
from support.window_sql import manifest_of
from window_oracle import WindowView, current_versions
from window_oracle import end as end_of_window
from window_oracle import look_up as look_up_window

import pit_join.workspace
from pit_join import references
from pit_join.definitions.connection import Connection
from pit_join.export.export import Export, export
from pit_join.online.opening import open_store
from pit_join.online.protocol import OnlineStore
from pit_join.records.store_manifest import Contents
from pit_join.warehouse.duckdb_session import DuckDBWarehouse, _Session, _worker
from pit_join.workspace import Console, Workspace

LEAST, GREATEST = datetime(1600, 1, 1, tzinfo=EPOCH.tzinfo), datetime(2500, 1, 1, tzinfo=EPOCH.tzinfo)


def at(microsecond: int) -> datetime:
    """A microsecond since 1970 as an instant."""
    return EPOCH + timedelta(microseconds=microsecond)


# Exporting ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Generated:
    """What `export` and `training` want of a project."""

    nodes: Mapping[str, Any]
    cache: Path
    connection: Connection
    dispatch_order: Mapping[str, Sequence[str]]
    directory: Path
    variables: Mapping[str, Any] = field(default_factory=dict)

    def manifest(self) -> Mapping[str, Any]:
        return self.nodes

    def compile(self, inline: str) -> str:
        raise AssertionError(f"dbt is asked for {inline}")


class Exporter:
    """Exports what lies in a connection's tables."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connection, self.folder = connection, folder
        (folder / "cache").mkdir()
        monkeypatch.setattr(pit_join.workspace, "DuckDBWarehouse", lambda *_, **__: InMemory(connection))

    def empty_store(self, name: str = "store") -> OnlineStore:
        """A store that holds nothing."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return open_store(str(self.folder / name), create=True)

    def store(self, name: str = "store") -> OnlineStore:
        """The store as it is."""
        return open_store(str(self.folder / name))

    def workspace(self, manifest: Mapping[str, Any], say: Callable[[str], None] = lambda message: None) -> Workspace:
        """A manifest as an open project."""
        project = Generated(manifest, self.folder / "cache", Connection("dev", self.folder, {}), {}, self.folder)
        return Workspace(cast(Any, project), Console(say=say, warn=say))

    def run(
        self,
        manifest: Mapping[str, Any],
        instant: int,
        name: str = "store",
        say: Callable[[str], None] = lambda message: None,
        **options: Any,
    ) -> Export:
        """Export the views of a manifest as known at a microsecond."""
        return export(self.workspace(manifest, say), str(self.folder / name), as_of=at(instant), **options)


class InMemory(DuckDBWarehouse):
    """The warehouse of `export` on a connection in memory instead of files."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        _Session.__init__(self, _worker(connection.cursor))
        self.execute("set TimeZone = 'UTC'; set arrow_large_buffer_size = true; begin", "no")
        self._configured: set[str] = {"memory_limit"}
        self._attached: list[str] = []
        self._others: list[_Session] = []


def project_of(case: Case) -> dict[str, Any]:
    """The manifest of a case; its tables lie in memory."""
    manifest = manifest_of(case)  # type: ignore[arg-type] # plain cases have no declarations, and need none
    for node in manifest["nodes"].values():
        node |= {"database": "memory", "schema": "main", "alias": node["name"]}
    return manifest


@contextmanager
def loaded(connection: duckdb.DuckDBPyConnection, case: Case, sql_views: bool = False) -> Iterator[None]:
    """The tables of a case; with `sql_views` the histories are SQL views, whose rows have no numbers."""
    load(connection, case)
    names = [quote(name) for name in case.histories] if sql_views else []
    hidden = [quote(f"{name} as stored") for name in case.histories]
    for name, stored in zip(names, hidden, strict=False):
        connection.execute(f"drop table if exists {stored}; alter table {name} rename to {stored}")
        connection.execute(f"create view {name} as from {stored}")
    try:
        yield
    finally:
        for name in names:
            connection.execute(f"drop view {name}")


def dump(store: OnlineStore) -> dict[str, dict[bytes, bytes]]:
    """Every record by view and key; nothing else may be in the store."""
    found = {name: dict(store.scan(view)) for name, view in contents_of(store).views.items()}
    entries = store._environment.stat()["entries"]  # type: ignore[attr-defined] # the store in a folder
    assert entries == 1 + sum(map(len, found.values()))
    return found


def contents_of(store: OnlineStore) -> Contents:
    """What a store says of itself."""
    _, data = store.contents()
    assert data is not None
    return Contents.from_json(data, "the store of the test")


# Asking -------------------------------------------------------------------------------------------------------


def requests_of(case: Case) -> list[references.Request]:
    """The requests as the product takes them."""
    return [references.Request(r.view.name, tuple(r.features), r.name, dict(r.join_keys)) for r in case.requests]


def entity_rows(case: Case) -> list[dict[str, Any]]:
    """The keys of the spine, those of every history, and rows with nulls."""
    columns = list(dict.fromkeys(column for request in case.requests for column in request.join_keys.values()))
    rows = [{column: row[column] for column in columns} for row in case.spine.rows]
    whole = next((row for row in rows if None not in row.values()), dict.fromkeys(columns))
    for request in case.requests:
        rows += [
            {**whole, **{column: row[key] for key, column in request.join_keys.items()}}
            for row in case.histories[request.view.name].rows
        ]
    rows += [{**whole, column: None} for column in columns]
    return [dict(row) for row in dict.fromkeys(tuple(row.items()) for row in rows)]


def instants(case: Case) -> list[int]:
    """Where what is known changes, and a microsecond beside it."""
    found = {nanoseconds(t) // 1000 for row in case.spine.rows if (t := row[case.event_timestamp]) is not None}
    for view in case.views:
        for row in case.histories[view.name].rows:
            e, c = (column and row[column] for column in (view.event_timestamp, view.created_timestamp))
            found |= {history_instant(e) + microseconds(view.lag)} if e is not None else set()
            found |= {history_instant(c)} if c is not None else set()
        if isinstance(view, WindowView):
            for version in current_versions(view, case.histories[view.name].rows):
                found |= {x for one in view.aggregations if (x := end_of_window(view, version, one.window)) is not None}
    beside = {instant + hair for instant in found for hair in (-1, 0, 1)} or {0}
    return sorted(instant for instant in beside if LEAST <= at(instant) < GREATEST)


def reading_times(case: Case, instant: int) -> list[int]:
    """When an export of an instant is read: at once, later, and where values become too old."""
    found = {instant, instant + 1}
    for view in case.views:
        if not isinstance(view, WindowView) and view.ttl is not None:
            for row in case.histories[view.name].rows:
                if row[view.event_timestamp] is not None:
                    too_old = history_instant(row[view.event_timestamp]) + microseconds(view.ttl)
                    found |= {too_old, too_old + 1}
    return sorted(now for now in found if now >= instant)


@dataclass(frozen=True)
class Served:
    """What a reader must be given for one request and row: by feature its value and status, and the event time."""

    values: Mapping[str, Any]
    statuses: Mapping[str, str]
    event_time: datetime | None


class Oracle:
    """What the rule says of a case that was exported at an instant."""

    def __init__(self, case: Case, instant: int) -> None:
        self._case, self._instant = case, instant
        self._versions = {
            view.name: current_versions(view, case.histories[view.name].rows)
            for view in case.views
            if isinstance(view, WindowView)
        }

    def served(self, request: Request, keys: Record, now: int, defaults: bool) -> Served:
        """The answer of the oracle at the instant, judged by its age at the time of the read."""
        case, view, rows = self._case, request.view, self._case.histories[request.view.name].rows
        spine_row = {**keys, case.event_timestamp: at(self._instant)}
        windowed = isinstance(view, WindowView)
        if windowed:
            answer = look_up_window(request, spine_row, self._versions[view.name], case.event_timestamp, timedelta(0))
        else:
            # The store keeps what is too old: it may be so only when it is read.
            ageless = replace(request, view=replace(view, ttl=None))
            answer = look_up(ageless, spine_row, rows, case.event_timestamp, timedelta(0))
            if answer.event_time is not None and view.ttl is not None:
                age = now - history_instant(answer.event_time)
                if age > microseconds(view.ttl):
                    answer = replace(answer, values=dict.fromkeys(request.features), status=Status.OUTSIDE_MAX_AGE)
            if now == self._instant:
                assert answer == look_up(request, spine_row, rows, case.event_timestamp, timedelta(0))
        status = "NOT_FOUND" if answer.status is Status.NOT_YET_KNOWN else answer.status.value
        found = status in ("PRESENT", "NULL_VALUE")
        given = with_defaults(answer, view) if defaults else answer
        values = {name: comparable(value) for name, value in given.values.items()}
        if windowed:
            of_key = [
                version
                for version in self._versions[view.name]
                if version.keys == tuple(keys[request.join_keys.get(key, key)] for key in view.keys)
            ]
            for name, value in answer.values.items():
                if value is not None:
                    values[name] = near(view, name, value, of_key, self._instant)
        return Served(
            values=values,
            statuses={
                name: ("NULL_VALUE" if value is None else "PRESENT") if found else status
                for name, value in answer.values.items()
            },
            event_time=None if answer.event_time is None else at(history_instant(answer.event_time)),
        )

    def by_name(self, keys: Record, now: int, defaults: bool) -> dict[str, tuple[Any, str, datetime | None]]:
        """The same of all requests: value, status and event time by the name that the training set has."""
        found = {}
        for request in self._case.requests:
            served = self.served(request, keys, now, defaults)
            for name, value in served.values.items():
                found[result_name(self._case, request, name)] = (value, served.statuses[name], served.event_time)
        return found


def plain(value: Any) -> Any:
    """A served value as `comparable` has it; instants in nanoseconds are numbers, as `Nanoseconds` are."""
    if isinstance(value, np.datetime64):
        return comparable(int(value.astype("datetime64[ns]").astype(np.int64)))
    if isinstance(value, list):
        return ("list", tuple(plain(element) for element in value))
    if isinstance(value, Decimal) and value.as_tuple().exponent == 0:
        # A hugeint is a decimal(38, 0), online as in training sets; generated decimals have digits after the point.
        return comparable(int(value))
    return comparable(value)
