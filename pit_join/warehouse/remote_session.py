"""A session of an engine that is not DuckDB, in a thread of its own; a DuckDB in memory reads its results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import duckdb

from pit_join.definitions.field_type import FieldType
from pit_join.errors import WarehouseError
from pit_join.warehouse.spool import Spool, kept
from pit_join.warehouse.worker import Worker

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Connected", "RemoteSession"]

_SPOOLED_ROWS = 65_536
_T = TypeVar("_T")


class Connected(Protocol):
    """A connection to the engine, which only the thread of its session uses."""

    def execute(self, sql: str) -> None:
        """Run a statement."""

    def reading(self, sql: str, order_by: str | None = None) -> AbstractContextManager[duckdb.DuckDBPyRelation]:
        """Yield the result of a query, in the types that DuckDB has for its values; `order_by` is a column."""

    def types(self, sql: str) -> Mapping[str, FieldType]:
        """Return the names and types of a query's columns; nothing is computed."""

    def copy(self, name: str, rows: pa.RecordBatchReader) -> None:
        """Make a temporary table, in place of one of that name."""

    def interrupt(self) -> None:
        """End the statement that runs, if one does; called from another thread."""

    def close(self) -> None:
        """Close the connection."""


_Connection = TypeVar("_Connection", bound=Connected)


class RemoteSession(Generic[_Connection]):
    """The part that sessions of all engines but DuckDB share; see `ViewSession`.

    Args:
        connect: opens the connection, in the thread of the session.
        readable: raises errors of the engine as errors of ours, whose message its argument opens.
    """

    def __init__(
        self, connect: Callable[[], _Connection], readable: Callable[[str], AbstractContextManager[None]]
    ) -> None:
        self._worker = Worker(connect, lambda connected: connected.interrupt())
        self._readable = readable
        self._spool: Spool | None = None
        self._closed: Future[None] | None = None
        self._held: set[str] = set()

    def hold(self, relations: Collection[str]) -> None:
        """Make sure that relations stay as they are while the session reads them; see `ViewSession`."""

    def execute(self, sql: str, what: str) -> None:
        """Run a statement."""
        self._submit(lambda connected: connected.execute(sql), what).result()

    def table_later(self, statements: Sequence[str], what: str, order_by: str | None = None) -> Future[pa.Table]:
        """Start statements and return the future result of the last one; see `ViewSession`."""

        def read(connected: _Connection) -> pa.Table:
            for statement in statements[:-1]:
                connected.execute(statement)
            with connected.reading(statements[-1], order_by) as relation:
                return kept(relation.to_arrow_reader(_SPOOLED_ROWS))

        return self._submit(read, what)

    def spooled(self, sql: str, what: str, file: IO[bytes] | None, *, one_pass: bool = False) -> Spool:
        """Return the result of a query of any size: readable as it comes, and afterwards from a file."""
        spool = Spool(file)

        def work(connected: _Connection) -> None:
            try:
                with connected.reading(sql) as relation:
                    self._fill(spool, relation, what)
            finally:
                spool.end()

        spool.filling = self._submit(work, what, spool)
        return spool

    def _fill(self, spool: Spool, relation: duckdb.DuckDBPyRelation, what: str) -> None:
        try:
            spool.fill(relation.to_arrow_reader(_SPOOLED_ROWS))
        except OSError as error:
            raise WarehouseError(f"{what}: its rows cannot be spilled to disk ({error})") from error

    def rows_later(self, sql: str, what: str) -> Future[list[dict[str, Any]]]:
        """Start a query and return its future rows."""

        def read(connected: _Connection) -> list[dict[str, Any]]:
            with connected.reading(sql) as relation:
                return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]

        return self._submit(read, what)

    def columns(self, sql: str, what: str) -> dict[str, FieldType]:
        """Return the names and types of a query's columns; nothing is computed."""
        return self._submit(lambda connected: dict(connected.types(sql)), what).result()

    def give(self, name: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Make a temporary table of rows in Arrow, in place of one of that name."""
        import pyarrow as pa

        reader = rows.to_reader(_SPOOLED_ROWS) if isinstance(rows, pa.Table) else rows
        what = "the rows of the spine cannot be copied to the warehouse"
        self._submit(lambda connected: connected.copy(name, reader), what).result()

    def stop(self) -> None:
        """Interrupt the running statement and all that wait."""
        if self._spool:
            self._spool.leave()
        if not self._closed:
            self._worker.stop()

    def close(self) -> Future[None]:
        """Close the connection when the running statement has ended; again, do nothing."""
        self._closed = self._closed or self._worker.close()
        return self._closed

    def _submit(self, work: Callable[[_Connection], _T], what: str, spool: Spool | None = None) -> Future[_T]:
        if self._spool:
            self._spool.leave()  # otherwise the query and the reader of its result would deadlock
        self._spool = spool

        def run(connected: _Connection) -> _T:
            with self._readable(what):
                return work(connected)

        return self._worker.run(run)
