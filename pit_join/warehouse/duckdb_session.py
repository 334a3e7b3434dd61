"""The DuckDB warehouse that dbt built, read only. Outside world: DuckDB.

Queries run in a database in memory to which the warehouse's file is attached, so that the file can be detached as soon
as everything has been read, and before any output is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent import futures
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, TypeVar

import duckdb

from pit_join.definitions.connection import Connection, Database
from pit_join.definitions.field_type import FieldType, type_of
from pit_join.errors import WarehouseError, option
from pit_join.waiting import wait_until
from pit_join.warehouse.duckdb_connection import another, connected, one_thread
from pit_join.warehouse.duckdb_errors import first_line, is_locked, readable_errors
from pit_join.warehouse.free_file import held_by_another
from pit_join.warehouse.new_table import check_overwrite, qualified, table_name
from pit_join.warehouse.spool import Spool
from pit_join.warehouse.sql import attach_options, identifier, literal
from pit_join.warehouse.worker import Worker

if TYPE_CHECKING:
    import pyarrow as pa

    from pit_join.warehouse.protocol import ViewSession

__all__ = ["DuckDBWarehouse"]

_POLL_SECONDS = 0.2
_SPOOLED_ROWS, _LEAST_ROWS, _SPOOLED_CELLS = 65_536, 2_048, 2**22
_T = TypeVar("_T")
_Worker = Worker[duckdb.DuckDBPyConnection]


def _worker(connect: Callable[[], duckdb.DuckDBPyConnection]) -> _Worker:
    return Worker(connect, duckdb.DuckDBPyConnection.interrupt)


class _Session:
    """A session that runs one statement at a time in its own thread; `what` opens the message of an error."""

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker
        self._spool: Spool | None = None
        self._most_memory = ""

    def register(self, name: str, table: pa.Table | pa.RecordBatchReader) -> None:
        """Give an Arrow table, or rows that are read once, a name in SQL."""
        self._submit(lambda connection: connection.register(name, table), f"'{name}' cannot be registered").result()

    def execute(self, sql: str, what: str) -> None:
        """Run a statement."""
        self._submit(lambda connection: connection.execute(sql), what).result()

    def table(self, sql: str, what: str) -> pa.Table:
        """Return the result of a query as an Arrow table."""
        return self.table_later([sql], what).result()

    def table_later(self, statements: Sequence[str], what: str, order_by: str | None = None) -> Future[pa.Table]:
        """Start statements and return the future result of the last one; see `ViewSession`."""

        def read(connection: duckdb.DuckDBPyConnection) -> pa.Table:
            for statement in statements[:-1]:
                connection.execute(statement)
            relation = connection.sql(statements[-1])
            return (relation.order(order_by) if order_by else relation).to_arrow_table()

        return self._submit(read, what)

    def spooled(self, sql: str, what: str, file: IO[bytes] | None, *, one_pass: bool = False) -> Spool:
        """Return the result of a query of any size: readable as it comes, and afterwards from a file.

        A query of `one_pass` keeps only one of DuckDB's threads busy.
        """
        spool = Spool(file)

        def read(connection: duckdb.DuckDBPyConnection) -> None:
            relation = connection.sql(sql)
            # A batch of wide rows must not exhaust the memory.
            rows = min(_SPOOLED_ROWS, max(_LEAST_ROWS, _SPOOLED_CELLS // len(relation.columns)))
            spool.fill(relation.to_arrow_reader(rows))

        def read_with_room(connection: duckdb.DuckDBPyConnection) -> None:
            # An error ends a transaction and undoes what was made in it. A new one sees the same rows, since nobody can
            # write a file that is attached here.
            connection.execute("commit; begin")
            try:
                read(connection)
            except duckdb.OutOfMemoryException:
                if not self._most_memory:
                    raise
                # Not every operator can spill.
                connection.execute(f"rollback; begin; set memory_limit = {literal(self._most_memory)}")
                read(connection)

        def work(connection: duckdb.DuckDBPyConnection) -> None:
            try:
                with one_thread(connection) if one_pass else nullcontext():
                    read_with_room(connection)
            except OSError as error:
                if file:
                    with suppress(OSError):
                        file.close()  # closing flushes the rest, which fails again
                raise WarehouseError(f"{what}: its rows cannot be spilled to disk ({error})") from error
            finally:
                spool.end()

        spool.filling = self._submit(work, what, spool)
        return spool

    def row(self, sql: str, what: str) -> dict[str, Any]:
        """Return the only row of a query."""
        return self.rows_later(sql, what).result()[0]

    def rows_later(self, sql: str, what: str) -> Future[list[dict[str, Any]]]:
        """Start a query and return its future rows."""

        def read(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
            found = connection.execute(sql)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

        return self._submit(read, what)

    def columns(self, sql: str, what: str) -> dict[str, FieldType]:
        """Return the names and types of a query's columns; nothing is computed."""

        def read(connection: duckdb.DuckDBPyConnection) -> dict[str, FieldType]:
            relation = connection.sql(sql)
            return {name: type_of(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}

        return self._submit(read, what).result()

    def stop(self) -> None:
        """Interrupt the running statement and all that wait."""
        if self._spool:
            self._spool.leave()
        self._worker.stop()

    def close(self) -> Future[None]:
        """Close the connection when the running statement has ended."""
        return self._worker.close()

    def _submit(
        self, work: Callable[[duckdb.DuckDBPyConnection], _T], what: str, spool: Spool | None = None
    ) -> Future[_T]:
        if self._spool:
            self._spool.leave()  # otherwise the query and the reader of its result would deadlock
        self._spool = spool

        def run(connection: duckdb.DuckDBPyConnection) -> _T:
            with readable_errors(what):
                return work(connection)

        return self._worker.run(run)


class DuckDBWarehouse(_Session):
    """A read-only session over the files of a project, as one transaction; `writes` names a database that is written.

    The time zone is UTC and rows keep their order, whatever the profile's settings say. While another process writes a
    file, opening waits up to `wait` seconds and calls `on_wait` once.

    Raises:
        WarehouseError: if a file is missing, is not a DuckDB file, or stays locked.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        wait: float = 60.0,
        on_wait: Callable[[str], None] = lambda message: None,
        writes: str | None = None,
    ) -> None:
        for database in connection.databases.values():
            if database.is_file and not Path(database.path).is_file():
                raise WarehouseError(f"the warehouse {database.path} does not exist; build it with `dbt build`")
        with readable_errors("the DuckDB settings of the dbt profile cannot be used"):
            super().__init__(_worker(lambda: connected(connection)))
        self._configured = {*connection.configuration, *connection.settings}
        self._attached: list[str] = []
        self._others: list[_Session] = []
        try:
            for name, database in connection.databases.items():
                self._attach(name, attach_options(database.options, writes=name == writes), database, wait, on_wait)
            self._worker.run(lambda opened: opened.execute("begin")).result()
        except BaseException:
            futures.wait([self.close()], timeout=_POLL_SECONDS)
            raise

    def _attach(self, name: str, options: str, database: Database, wait: float, on_wait: Callable[[str], None]) -> None:
        # The path of a database that is not a file may hold a password.
        what = database.path if database.is_file else f"the database '{name}' of the dbt profile"

        def attach(connection: duckdb.DuckDBPyConnection) -> duckdb.Error | None:
            try:
                connection.execute(f"attach {literal(database.path)} as {identifier(name)} ({options})")
            except duckdb.Error as error:
                if not is_locked(error):
                    named = f"the warehouse {what}" if database.is_file else what
                    why = first_line(error)
                    if database.path and not database.is_file:
                        why = why.replace(database.path, "...")
                    raise WarehouseError(f"{named} cannot be opened: {why}") from error
                return error
            return None

        def held() -> duckdb.Error | None:
            return self._worker.run(attach).result()

        if error := wait_until(held, on_wait, held_by_another(what, wait), wait, every=_POLL_SECONDS):
            raise WarehouseError(
                f"another process holds {what} and did not release it within {wait:g} s (a running dbt build, or an "
                f"open notebook or shell); try again when it is done, or wait longer with {option('wait=', '--wait')}"
            ) from error
        self._attached.append(name)

    @property
    def views(self) -> ViewSession:
        """The session in which SQL over the tables of feature views runs: this one, unless they lie on a server."""
        return self

    @property
    def engine(self) -> str:
        """The name of dbt's adapter."""
        return "duckdb"

    def hold(self, relations: Collection[str]) -> None:
        """Do nothing: nobody can write a file that is attached."""

    def give(self, name: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Make a temporary table of rows in Arrow, in place of one of that name."""
        self.register("_pit_given_rows", rows)
        self.execute(
            f"create or replace temp table {identifier(name)} as from _pit_given_rows", "the rows are not read"
        )

    def here(self, sql: str, what: str) -> str:
        """Return SQL that stands behind `from` in this session, for the rows of a query over feature views."""
        return f"({sql})"

    def begin_anew(self) -> None:
        """End the transaction after an error; what was made in it is lost."""
        self.execute("rollback; begin", "the warehouse cannot be read after an error")

    def __enter__(self) -> DuckDBWarehouse:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sessions = (*self._others, self)
        for session in sessions if error else ():
            session.stop()
        closing = [session.close() for session in sessions]
        # After the files are detached only memory is left to free, and no caller has to wait for that.
        if self._attached:
            futures.wait(closing)

    def another_session(self) -> _Session:
        """Return a session for another thread; it has the files and settings of this one, and no temporary table."""
        cursor = self._worker.run(another).result()
        self._others.append(_Session(_worker(lambda: cursor)))
        return self._others[-1]

    def release(self) -> Future[None]:
        """Detach the files when the running statement has ended; temporary tables stay."""

        def let_go(connection: duckdb.DuckDBPyConnection) -> None:
            connection.execute("commit")
            for name in self._attached:
                connection.execute(f"detach {identifier(name)}")
            self._attached.clear()

        return self._submit(let_go, "the warehouse cannot be closed")

    def spill_to(self, folder: Path, memory: int) -> None:
        """Spill to a folder, and limit the memory to a number of bytes unless the profile limits it."""
        what = f"the folder {folder} cannot be used for spilling"
        self.execute(f"set temp_directory = {literal(str(folder / 'spilled'))}", what)
        self._most_memory = self.row("select current_setting('memory_limit') as most", what)["most"]
        if not any(name.lower() in ("memory_limit", "max_memory") for name in self._configured):
            self.execute(f"set memory_limit = '{memory // 2**20} MiB'", what)

    def named_type(self, text: str, location: tuple[str, str, str]) -> FieldType | None:
        """Return the type that a text names beside a table, such as an enum of its schema; None if it names none."""

        def read(connection: duckdb.DuckDBPyConnection) -> FieldType | None:
            database, schema, _ = map(identifier, location)
            # An error would end the transaction of this session.
            with connection.cursor() as another:
                try:
                    another.execute(f"use {database}.{schema}")
                    # In a struct, as `read_type` reads a type.
                    (kind,) = another.sql(f"select cast(null as struct(x {text}\n)) as found").types
                except duckdb.Error:
                    return None
                parts = type_of(kind).parts
                return parts[0][1] if len(parts) == 1 else None

        return self._submit(read, f"the type {text} cannot be read").result()

    def keep(self, name: str, sql: str, what: str) -> None:
        """Make a temporary table of the rows of a query, in place of one of that name."""
        self.execute(f"create or replace temp table {identifier(name)} as {sql}", what)

    def check_table(self, location: tuple[str, str, str], *, overwrite: bool) -> None:
        """Check before long work that `create_table` may make a table; see `ViewSession`."""
        check_overwrite(location, exists=self.has(location), overwrite=overwrite)
        self._create(location, "(checked integer)", overwrite)
        self.begin_anew()

    def create_table(self, location: tuple[str, str, str], sql: str, comment: str, *, overwrite: bool) -> None:
        """Make a table of the rows of a query, all of it or nothing; see `ViewSession`."""
        what = self._create(location, f"as {sql}", overwrite)
        self.execute(f"comment on table {qualified(location)} is {literal(comment)}; commit; begin", what)

    def _create(self, location: tuple[str, str, str], rows: str, overwrite: bool) -> str:
        what = f"the table {table_name(location)} cannot be made"
        self.execute(f"create {'or replace ' if overwrite else ''}table {qualified(location)} {rows}", what)
        return what

    def has(self, location: tuple[str, str, str]) -> bool:
        """Return whether a table or SQL view of a database, schema and name exists."""
        return self._listed("duckdb_tables()", "table_name", location) or self._listed(
            "duckdb_views()", "view_name", location
        )

    def built(self) -> set[tuple[str, ...]]:
        """Return the databases, schemas and names of all tables and SQL views, in small letters."""
        listed = " union all ".join(
            f"select lower(database_name) as d, lower(schema_name) as s, lower({kind}_name) as n from duckdb_{kind}s()"
            for kind in ("table", "view")
        )
        return {tuple(row.values()) for row in self.rows_later(listed, "the warehouse cannot be read").result()}

    def has_table(self, location: tuple[str, str, str]) -> bool:
        """Return whether it is a stored table of DuckDB, whose rows have numbers."""
        stored = "(select database_name from duckdb_databases() where type = 'duckdb')"
        return self._listed("duckdb_tables()", "table_name", location, f"database_name in {stored}")

    def _listed(self, listing: str, column: str, location: tuple[str, str, str], where: str = "true") -> bool:
        database, schema, name = (literal(part.lower()) for part in location)
        where += (
            f" and lower(database_name) = {database} and lower(schema_name) = {schema} and lower({column}) = {name}"
        )
        query = f"select count(*) as tables from {listing} where {where}"
        return bool(self.row(query, "the warehouse cannot be read")["tables"])
