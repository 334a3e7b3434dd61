"""A warehouse on a server, beside a DuckDB in memory for what is not on it: spines, results, statistics."""

from __future__ import annotations

from concurrent import futures
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType

from pit_join.definitions.connection import Connection
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.protocol import ViewSession

__all__ = ["ServerWarehouse"]

_FETCHED = "_pit_fetched"


class ServerWarehouse(DuckDBWarehouse):
    """A session on a server that has the tables of feature views; all else is in a DuckDB in memory.

    Args:
        views: the session on the server, which is closed with this one.
    """

    def __init__(self, views: ViewSession) -> None:
        self._views = views
        super().__init__(Connection("", Path(), {}))

    @property
    def views(self) -> ViewSession:
        """The session on the server."""
        return self._views

    def here(self, sql: str, what: str) -> str:
        """Return SQL that stands behind `from` in this session, for the rows of a query over feature views.

        They are fetched, and stay until the next ones are.
        """
        self.register(_FETCHED, self._views.table_later([sql], what).result())
        return _FETCHED

    def begin_anew(self) -> None:
        """End both transactions after an error; what was made in them is lost."""
        super().begin_anew()
        self._views.begin_anew()

    def release(self) -> Future[None]:
        """Close the session on the server when the running statement has ended; temporary tables here stay."""
        return self._views.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error:
            self._views.stop()
        futures.wait([self._views.close()])
        super().__exit__(kind, error, trace)
