"""The DuckDB warehouse that dbt built, read only. Outside world: DuckDB.

Queries run in a database in memory to which the warehouse's file is attached, so that the file can be detached as soon
as everything has been read, and before any output is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, TypeVar

import duckdb

from pit_join.definitions.connection import Connection, Database
from pit_join.definitions.field_type import FieldType, type_of
from pit_join.errors import PitJoinError, WarehouseError, option
from pit_join.waiting import wait_until
from pit_join.warehouse.interrupts import interruptible
from pit_join.warehouse.spool import Spool
from pit_join.warehouse.sql import attach_options, create_secret, filesystem, identifier, literal

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DuckDBWarehouse", "wait_until_free"]

_POLL_SECONDS = 0.2
_STOP_SECONDS = 0.02
_SPOOLED_ROWS, _LEAST_ROWS, _SPOOLED_CELLS = 65_536, 2_048, 2**22
_T = TypeVar("_T")


class _Session:
    """A session that runs one statement at a time in its own thread; `what` opens the message of an error.

    A thread of its own, so that Ctrl-C is heard: DuckDB itself may not listen for minutes.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._spool: Spool | None = None
        self._most_memory = ""
        self._thread = ThreadPoolExecutor(max_workers=1)
        # The executor may lose a thread in whose start it is interrupted: that must not be one with a statement.
        self._thread.submit(int).result()

    def register(self, name: str, table: pa.Table) -> None:
        """Give an Arrow table a name in SQL."""
        # In the thread of the statements: a connection refuses a second call while it works.
        self._submit(lambda: self._connection.register(name, table), f"'{name}' cannot be registered").result()

    def execute(self, sql: str, what: str) -> None:
        """Run a statement."""
        self._submit(lambda: self._connection.execute(sql), what).result()

    def table(self, sql: str, what: str) -> pa.Table:
        """Return the result of a query as an Arrow table."""
        return self.table_later([sql], what).result()

    def table_later(self, statements: Sequence[str], what: str) -> Future[pa.Table]:
        """Start statements and return the future result of the last one."""

        def read() -> pa.Table:
            for statement in statements[:-1]:
                self._connection.execute(statement)
            return self._connection.sql(statements[-1]).to_arrow_table()

        return self._submit(read, what)

    def spooled(self, sql: str, what: str, file: IO[bytes] | None, *, one_pass: bool = False) -> Spool:
        """Return the result of a query of any size: readable as it comes, and afterwards from a file.

        A query of `one_pass` keeps only one of DuckDB's threads busy.
        """
        spool = Spool(file)

        def read() -> None:
            relation = self._connection.sql(sql)
            # A batch of wide rows must not exhaust the memory.
            rows = min(_SPOOLED_ROWS, max(_LEAST_ROWS, _SPOOLED_CELLS // len(relation.columns)))
            spool.fill(relation.to_arrow_reader(rows))

        def read_with_room() -> None:
            # An error ends a transaction and undoes what was made in it. A new one sees the same rows, since nobody can
            # write a file that is attached here.
            self._connection.execute("commit; begin")
            try:
                read()
            except duckdb.OutOfMemoryException:
                if not self._most_memory:
                    raise
                # Not every operator can spill.
                self._connection.execute(f"rollback; begin; set memory_limit = {literal(self._most_memory)}")
                read()

        def work() -> None:
            try:
                with self._one_thread() if one_pass else nullcontext():
                    read_with_room()
            except OSError as error:
                if file:
                    with suppress(OSError):
                        file.close()  # closing flushes the rest, which fails again
                raise WarehouseError(f"{what}: its rows cannot be spilled to disk ({error})") from error
            finally:
                spool.end()

        spool.filling = self._submit(work, what, spool)
        return spool

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        """Use one thread: an idle second thread spins, and takes CPU time from the reader of the result."""
        settings = self._connection.cursor()  # its settings survive the rollback of a query
        ((threads,),) = settings.execute("select current_setting('threads')").fetchall()
        settings.execute("set threads = 1")
        try:
            yield
        finally:
            settings.execute(f"set threads = {threads}")
            settings.close()

    def row(self, sql: str, what: str) -> dict[str, Any]:
        """Return the only row of a query."""
        return self.rows_later(sql, what).result()[0]

    def rows_later(self, sql: str, what: str) -> Future[list[dict[str, Any]]]:
        """Start a query and return its future rows."""

        def read() -> list[dict[str, Any]]:
            found = self._connection.execute(sql)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

        return self._submit(read, what)

    def columns(self, sql: str, what: str) -> dict[str, FieldType]:
        """Return the names and types of a query's columns; nothing is computed."""

        def read() -> dict[str, FieldType]:
            relation = self._connection.sql(sql)
            return {name: type_of(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}

        return self._submit(read, what).result()

    def stop(self) -> None:
        """Interrupt the running statement and all that wait."""
        if self._spool:
            self._spool.leave()
        last = self._thread.submit(int)
        while not last.done():
            self._connection.interrupt()
            wait([last], timeout=_STOP_SECONDS)

    def close(self) -> Future[None]:
        """Close the connection when the running statement has ended."""
        closed = self._thread.submit(self._connection.close)
        self._thread.shutdown(wait=False)
        return closed

    def _submit(self, work: Callable[[], _T], what: str, spool: Spool | None = None) -> Future[_T]:
        if self._spool:
            self._spool.leave()  # otherwise the query and the reader of its result would deadlock
        self._spool = spool

        def run() -> _T:
            with _readable_errors(what):
                return work()

        return self._thread.submit(run)


class DuckDBWarehouse(_Session):
    """A read-only session over the files of a project, as one transaction.

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
    ) -> None:
        with interruptible():
            self._open(connection, wait, on_wait)

    def _open(self, connection: Connection, wait: float, on_wait: Callable[[str], None]) -> None:
        for database in connection.databases.values():
            if database.is_file and not Path(database.path).is_file():
                raise WarehouseError(f"the warehouse {database.path} does not exist; build it with `dbt build`")
        with _readable_errors("the DuckDB settings of the dbt profile cannot be used"):
            super().__init__(duckdb.connect(config=dict(connection.configuration)))
            for extension in connection.extensions:
                self._connection.load_extension(extension)
            for name, value in connection.settings.items():
                text = literal(value) if isinstance(value, str) else str(value)
                self._connection.execute(f"set {identifier(str(name))} = {text}")
            for number, secret in enumerate(connection.secrets, 1):
                self._connection.execute(create_secret(secret, number))
            for options in connection.filesystems:
                self._connection.register_filesystem(filesystem(options))
            # The last word: a result must depend neither on the profile nor on the machine.
            self._connection.execute("set TimeZone = 'UTC'; set preserve_insertion_order = true")
            self._connection.execute("set default_order = 'asc'; set default_collation = ''")
            self._connection.execute("set arrow_large_buffer_size = true")
            self._connection.execute(f"set file_search_path = {literal(str(connection.directory))}")
        self._configured = {*connection.configuration, *connection.settings}
        self._attached: list[str] = []
        self._others: list[_Session] = []
        try:
            for name, database in connection.databases.items():
                self._attach(name, database, wait, on_wait)
            self._connection.execute("begin")
        except BaseException:
            self._connection.close()
            raise

    def _attach(self, name: str, database: Database, wait: float, on_wait: Callable[[str], None]) -> None:
        # The path of a database that is not a file may hold a password.
        what = database.path if database.is_file else f"the database '{name}' of the dbt profile"
        options = attach_options(database.options)

        def held() -> duckdb.Error | None:
            try:
                self._connection.execute(f"attach {literal(database.path)} as {identifier(name)} ({options})")
            except duckdb.Error as error:
                if not _is_locked(error):
                    named = f"the warehouse {what}" if database.is_file else what
                    why = _first_line(error)
                    if database.path and not database.is_file:
                        why = why.replace(database.path, "...")
                    raise WarehouseError(f"{named} cannot be opened: {why}") from error
                return error
            return None

        if error := wait_until(held, on_wait, _held(what, wait), wait, every=_POLL_SECONDS):
            raise WarehouseError(
                f"another process holds {what} and did not release it within {wait:g} s (a running dbt build, or an "
                f"open notebook or shell); try again when it is done, or wait longer with {option('wait=', '--wait')}"
            ) from error
        self._attached.append(name)

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
            wait(closing)

    def another_session(self) -> _Session:
        """Return a session for another thread; it sees the files, and no temporary table of this one."""
        self._others.append(_Session(self._connection.cursor()))
        return self._others[-1]

    def release(self) -> Future[None]:
        """Detach the files when the running statement has ended; temporary tables stay."""

        def let_go() -> None:
            self._connection.execute("commit")
            for name in self._attached:
                self._connection.execute(f"detach {identifier(name)}")
            self._attached.clear()

        return self._submit(let_go, "the warehouse cannot be closed")

    @interruptible()
    def spill_to(self, folder: Path, memory: int) -> None:
        """Spill to a folder, and limit the memory to a number of bytes unless the profile limits it."""
        self._connection.execute(f"set temp_directory = {literal(str(folder / 'spilled'))}")
        ((self._most_memory,),) = self._connection.execute("select current_setting('memory_limit')").fetchall()
        if not any(name.lower() in ("memory_limit", "max_memory") for name in self._configured):
            self._connection.execute(f"set memory_limit = '{memory // 2**20} MiB'")

    def has(self, location: tuple[str, str, str]) -> bool:
        """Return whether a table or SQL view of a database, schema and name exists."""
        return self._listed("duckdb_tables()", "table_name", location) or self._listed(
            "duckdb_views()", "view_name", location
        )

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
            return error if _is_locked(error) else None  # dbt says more clearly what is wrong
        return None

    if error := wait_until(held, on_wait, _held(str(path), wait), wait, every=_POLL_SECONDS):
        raise WarehouseError(
            f"another process holds {path}, which dbt has to write, and did not release it within {wait:g} s "
            "(an open notebook or shell, or a service that reads it); try again when it is done, "
            f"or wait longer with {option('wait=', '--wait')}"
        ) from error


def _held(what: str, wait: float) -> str:
    return f"another process holds {what}; waiting up to {wait:g} s"


def _is_locked(error: duckdb.Error) -> bool:
    # The word lock alone may be part of a path.
    return re.search(r"could not set lock|conflicting lock|is locked", str(error), re.IGNORECASE) is not None


class _QueryError(WarehouseError):
    """An error of the query or its data: bad input rather than a broken warehouse."""

    exit_status = 2


@contextmanager
def _readable_errors(what: str) -> Iterator[None]:
    try:
        yield
    except PitJoinError:
        raise
    except (
        duckdb.CatalogException,
        duckdb.IOException,
        duckdb.InternalException,
        duckdb.OutOfMemoryException,
    ) as error:
        raise WarehouseError(f"{what}: {_first_line(error)}") from error
    except duckdb.Error as error:
        raise _QueryError(f"{what}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    # The rest is a copy of the SQL, or all options of a CSV reader.
    text = re.split(r"\n\nLINE |\n *\nPossible|\nColumn .* is being converted|\n *file = ", str(error), maxsplit=1)[0]
    return " ".join(text.split())
