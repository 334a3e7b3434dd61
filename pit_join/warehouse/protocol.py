"""The protocol of the engine that holds the tables of feature views."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from typing import IO, TYPE_CHECKING, Any, Protocol

from pit_join.definitions.field_type import FieldType
from pit_join.warehouse.spool import Spool

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ViewSession"]


class ViewSession(Protocol):
    """One state of the tables of feature views, in which SQL of the macros runs; `what` opens the message of an error.

    Results come as Arrow, in the types that DuckDB has for the same values. Spark has no transaction over several
    statements: there, each of them reads the state of its own time.
    """

    @property
    def engine(self) -> str:
        """The name of dbt's adapter."""

    def hold(self, relations: Collection[str]) -> None:
        """Make sure that relations stay as they are while the session reads them.

        Raises:
            WarehouseError: if one of them has been replaced since the session began.
        """

    def execute(self, sql: str, what: str) -> None:
        """Run a statement."""

    def table_later(self, statements: Sequence[str], what: str, order_by: str | None = None) -> Future[pa.Table]:
        """Start statements and return the future result of the last one.

        Its rows are in the order of the column `order_by`, if that is given.
        """

    def spooled(self, sql: str, what: str, file: IO[bytes] | None, *, one_pass: bool = False) -> Spool:
        """Return the result of a query of any size: readable as it comes, and afterwards from a file."""

    def rows_later(self, sql: str, what: str) -> Future[list[dict[str, Any]]]:
        """Start a query and return its future rows."""

    def columns(self, sql: str, what: str) -> dict[str, FieldType]:
        """Return the names and types of a query's columns; nothing is computed."""

    def give(self, name: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Make a temporary table of rows in Arrow, in place of one of that name."""

    def keep(self, name: str, sql: str, what: str) -> None:
        """Make a temporary table of the rows of a query, in place of one of that name."""

    def check_table(self, location: tuple[str, str, str], *, overwrite: bool) -> None:
        """Check before long work that `create_table` may make a table; what was made in the transaction is lost.

        Raises:
            WarehouseError: if there is one and it may not be replaced, or the schema or a right is missing.
        """

    def create_table(self, location: tuple[str, str, str], sql: str, comment: str, *, overwrite: bool) -> None:
        """Make a table of the rows of a query, all of it or nothing; others see it when the call returns."""

    def has(self, location: tuple[str, str, str]) -> bool:
        """Return whether a table or SQL view of a database, schema and name exists."""

    def built(self) -> set[tuple[str, ...]]:
        """Return the databases, schemas and names of all tables and SQL views, in small letters."""

    def begin_anew(self) -> None:
        """End the transaction after an error; what was made in it is lost."""

    def stop(self) -> None:
        """Interrupt the running statement and all that wait."""

    def close(self) -> Future[None]:
        """Close the connection when the running statement has ended."""
