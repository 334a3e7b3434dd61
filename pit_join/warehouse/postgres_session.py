"""A transaction on a PostgreSQL server that dbt writes to. Outside world: PostgreSQL, by ADBC.

One snapshot of the server's tables is read from the first statement to the last. Results are Arrow, in the types that a
warehouse of DuckDB has for the same values: a DuckDB in memory casts them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import duckdb

from pit_join.definitions.engine_types import duckdb_name
from pit_join.definitions.field_type import FieldType, read_type
from pit_join.errors import PitJoinError, WarehouseError, with_extra
from pit_join.warehouse.duckdb_errors import QueryError
from pit_join.warehouse.new_table import check_overwrite, qualified, table_name
from pit_join.warehouse.remote_session import RemoteSession
from pit_join.warehouse.sql import identifier, literal

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PostgresSession"]

_TYPE, _MODIFIER = b"POSTGRESQL:type", b"POSTGRESQL:typmod"
_INSUFFICIENT_PRIVILEGE, _TOO_LARGE = "42501", "54000"
# Infinite times as the driver gives them: what the server sends, shifted from 2000 to 1970 beyond the end of 64 bits.
_INFINITE = {"-9222425352054775809": "infinity", "-9222425352054775808": "-infinity"}
_SETTINGS = (
    "set session characteristics as transaction isolation level repeatable read",
    # A result must depend neither on the server's settings nor on those of the role.
    "set TimeZone = 'UTC'",
    "set DateStyle = 'ISO'",
    "set extra_float_digits = 1",
    "set standard_conforming_strings = on",
    # Compiled to machine code, a statement of many steps starts seconds later, however little it reads.
    "set jit = off",
)
_INFINITE_DATES = {"-2147472692": "infinity", "-2147472691": "-infinity"}
# Whether there is a relation now, and its kind in the snapshot.
_KIND = "select to_regclass({0}) is not null, (select relkind::text from pg_class where oid = to_regclass({0}))"
_LOCKABLE = ("r", "p", "v")
_SAME = (
    "select count(*) > 0 from pg_class where oid = to_regclass({}) "
    "and relfilenode = coalesce(pg_relation_filenode(oid), 0)"
)


class PostgresSession(RemoteSession["_Connected"]):
    """One state of a PostgreSQL database; see `ViewSession`.

    Args:
        server: libpq's parameters, such as host and dbname, and `role`, the role to take on.

    Raises:
        WarehouseError: if the server cannot be reached, or refuses the connection.
    """

    engine = "postgres"

    def __init__(self, server: Mapping[str, str]) -> None:
        with with_extra("postgres", "a PostgreSQL warehouse"):
            import adbc_driver_postgresql.dbapi as driver
        role = server.get("role")
        settings = [*_SETTINGS, *([f"set role {identifier(role)}"] if role else [])]
        place = f"{server.get('dbname', '')} on {server.get('host', 'localhost')}"

        def connect() -> _Connected:
            with _readable_errors(f"the PostgreSQL database {place} cannot be used", of_query=False):
                opened = _Connected(driver.connect(_uri(server)))
                try:
                    for statement in settings:
                        opened.execute(statement)
                    opened.connection.commit()
                except BaseException:
                    opened.close()
                    raise
                return opened

        super().__init__(connect, _readable_errors)

    def hold(self, relations: Collection[str]) -> None:
        """Keep relations from being replaced; see `ViewSession`."""
        new = sorted(set(relations) - self._held)
        what = "the tables of the feature views cannot be read"

        def lock(connected: _Connected) -> None:
            kinds = {name: connected.rows(_KIND.format(literal(name)))[0] for name in new}
            if not self._held:
                connected.connection.commit()  # a lock protects the tables only if the snapshot is taken after it
            tables = [name for name, (_, kind) in kinds.items() if kind in _LOCKABLE]
            if tables:
                connected.execute(f"lock table {', '.join(tables)} in access share mode")
            for name, (exists, kind) in kinds.items():
                # A table that was made or emptied after the snapshot would look empty in it.
                if exists and not (kind and connected.rows(_SAME.format(literal(name)))[0][0]):
                    raise WarehouseError(f"{name} was built anew while the command ran; run the command again")

        self._submit(lock, what).result()
        self._held.update(new)

    def keep(self, name: str, sql: str, what: str) -> None:
        """Make a temporary table of the rows of a query, in place of one of that name."""
        table = f"pg_temp.{identifier(name)}"
        self.execute(f"drop table if exists {table}", what)
        self.execute(f"create temp table {identifier(name)} as {sql}", what)
        self.execute(f"analyze {table}", what)

    def check_table(self, location: tuple[str, str, str], *, overwrite: bool) -> None:
        """Check before long work that `create_table` may make a table; see `ViewSession`."""
        exists = self.has(location)
        check_overwrite(location, exists=exists, overwrite=overwrite)
        table, what = qualified(location), _cannot_make(location)
        self.execute("savepoint unchecked", what)
        if exists:
            self.execute(f"drop table {table}", what)
        self.execute(f"create table {table} ()", what)
        self.execute("rollback to savepoint unchecked", what)

    def create_table(self, location: tuple[str, str, str], sql: str, comment: str, *, overwrite: bool) -> None:
        """Make a table of the rows of a query, all of it or nothing; see `ViewSession`."""
        # Readers of the old table wait only while the new one takes its name.
        new, table, what = (*location[:2], f"_pit_{uuid4().hex}"), qualified(location), _cannot_make(location)
        self.execute(f"create table {qualified(new)} as {sql}", what)
        self.execute(f"comment on table {qualified(new)} is {literal(comment)}", what)
        if overwrite:
            self.execute(f"drop table if exists {table}", what)
        self.execute(f"alter table {qualified(new)} rename to {identifier(location[2])}", what)
        self._submit(lambda connected: connected.connection.commit(), what).result()

    def has(self, location: tuple[str, str, str]) -> bool:
        """Return whether a table or SQL view of a database, schema and name exists."""
        _, schema, name = map(identifier, location)
        query = f"select to_regclass({literal(f'{schema}.{name}')}) is not null as found"
        return bool(self.rows_later(query, "the warehouse cannot be read").result()[0]["found"])

    def built(self) -> set[tuple[str, ...]]:
        """Return the databases, schemas and names of all tables and SQL views, in small letters."""
        query = (
            "select lower(current_database()) as d, lower(nspname) as s, lower(relname) as n from pg_class "
            "join pg_namespace on pg_namespace.oid = relnamespace where relkind in ('r', 'p', 'v', 'm', 'f')"
        )
        return {tuple(row.values()) for row in self.rows_later(query, "the warehouse cannot be read").result()}

    def begin_anew(self) -> None:
        """End the transaction after an error; what was made in it is lost."""
        self._held.clear()
        self._submit(lambda connected: connected.connection.rollback(), "the transaction cannot be ended").result()


def _cannot_make(location: tuple[str, str, str]) -> str:
    return f"the table {table_name(location)} cannot be made"


class _FetchError(Exception):
    """An error of the server while rows came: mostly of a value of one of them."""


class _Connected:
    """A connection, and the DuckDB that casts its results."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._cursor = connection.cursor()
        self._types = duckdb.connect()
        self._types.execute("set TimeZone = 'UTC'; set arrow_large_buffer_size = true")

    def execute(self, sql: str) -> None:
        self._cursor.execute(sql)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        self._cursor.execute(sql)
        found: list[tuple[Any, ...]] = self._cursor.fetchall()
        return found

    def types(self, sql: str) -> dict[str, FieldType]:
        return {field.name: _type_of(field) for field in self._cursor.adbc_execute_schema(sql)}

    def copy(self, name: str, rows: pa.RecordBatchReader) -> None:
        self.execute(f"drop table if exists pg_temp.{identifier(name)}")
        self._cursor.adbc_ingest(name, rows, mode="create", temporary=True)
        self.execute(f"analyze pg_temp.{identifier(name)}")

    @contextmanager
    def reading(self, sql: str, order_by: str | None = None) -> Iterator[duckdb.DuckDBPyRelation]:
        """Yield the result of a query as a relation of DuckDB, whose rows come while it is read."""
        import pyarrow as pa

        self._cursor.execute(f"select * from (\n{sql}\n) as found order by {order_by}" if order_by else sql)
        reader = self._cursor.fetch_record_batch()
        expressions = [_as_in_duckdb(field) for field in reader.schema]
        stored = pa.schema([pa.field(field.name, _storage(field.type)) for field in reader.schema])
        failed: list[OSError] = []

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                for batch in reader:
                    yield pa.RecordBatch.from_arrays([_stored(column) for column in batch.columns], schema=stored)
            except OSError as error:
                failed.append(error)  # DuckDB would put its own traceback around it
                raise

        self._types.register("_pit_result", pa.RecordBatchReader.from_batches(stored, batches()))
        try:
            yield self._types.sql(f"select {', '.join(expressions)} from _pit_result")
        except Exception:
            if failed:
                raise _FetchError(_message_of(failed[0])) from None
            raise
        finally:
            self._types.unregister("_pit_result")

    def interrupt(self) -> None:
        with suppress(Exception):  # the driver refuses if no statement runs
            self._cursor.adbc_cancel()

    def close(self) -> None:
        self._types.close()
        self._cursor.close()
        self.connection.close()


def _uri(server: Mapping[str, str]) -> str:
    """Return libpq's URI of a server."""
    user, password = (quote(server.get(name, ""), safe="") for name in ("user", "password"))
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    host, port = server.get("host", "localhost"), server.get("port", "5432")
    others = {key: value for key, value in server.items() if key not in _IN_URI}
    # The folder of a socket cannot stand where a URI has its host.
    place = f"{host}:{port}" if not host.startswith("/") else ""
    others |= {"host": host, "port": port} if not place else {}
    return f"postgresql://{login}{place}/{quote(server.get('dbname', ''), safe='')}?{urlencode(others)}"


_IN_URI = ("user", "password", "host", "port", "dbname", "role")


def _storage(data_type: pa.DataType) -> pa.DataType:
    """Return the type in which a value comes; of a list, that of its elements."""
    import pyarrow as pa

    if isinstance(data_type, pa.BaseExtensionType) and data_type.extension_name == "arrow.opaque":
        return data_type.storage_type
    return pa.list_(_storage(data_type.value_type)) if pa.types.is_list(data_type) else data_type


def _stored(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    if isinstance(column, pa.ExtensionArray) and column.type.extension_name == "arrow.opaque":
        return column.storage
    if pa.types.is_list(column.type) and _storage(column.type) != column.type:
        return pa.ListArray.from_arrays(column.offsets, _stored(column.values), mask=column.is_null())
    return column


def _as_in_duckdb(field: pa.Field) -> str:
    """Return the SQL that casts a column to the type that DuckDB has for it."""
    import pyarrow as pa

    name, kind = identifier(field.name), _type_of(field)
    if (kind.element or kind).number == "decimal":
        return f"cast({name} as {kind}) as {name}"
    for is_time, number, infinite in (
        (pa.types.is_timestamp(field.type), f"epoch_us({name})", _INFINITE),
        (pa.types.is_date32(field.type), f"datediff('day', date '1970-01-01', {name})", _INFINITE_DATES),
    ):
        if is_time:
            cases = " ".join(f"when {raw} then {literal(text)}" for raw, text in infinite.items())
            return f"case {number} {cases} else {name} end as {name}"
    return name


def _type_of(field: pa.Field) -> FieldType:
    """Return the type of a column of a result.

    Raises:
        WarehouseError: if it is numeric without a number of digits, which no other type holds exactly.
    """
    notes = field.metadata or {}
    name = notes.get(_TYPE, b"").decode()
    modifier = int(notes.get(_MODIFIER, b"-1"))
    if name == "numeric" and modifier >= 0:
        return read_type(f"decimal({(modifier - 4) >> 16 & 0xFFFF},{(modifier - 4) & 0x7FF})")
    if name in ("numeric", "_numeric"):
        raise WarehouseError(
            f"the column '{field.name}' is numeric without a number of digits; cast it in the model, to numeric(38, s) "
            "or to double precision"
        )
    return read_type(duckdb_name(f"{name[1:]}[]" if name.startswith("_") else name, "postgres"))


@contextmanager
def _readable_errors(what: str, *, of_query: bool = True) -> Iterator[None]:
    try:
        yield
    except PitJoinError:
        raise
    except (duckdb.Error, _FetchError) as error:
        raise QueryError(f"{what}: {' '.join(str(error).split())}") from error
    except Exception as error:
        state = _state_of(error)
        if state is None:
            raise
        said = _message_of(error)
        if state == _INSUFFICIENT_PRIVILEGE or said.startswith("permission denied"):
            said += "; grant it to the role that the dbt profile names, or name another"
        if state == _TOO_LARGE and said.startswith("row is too big"):
            said += "; a file holds rows of any size, so write one instead"
        # Class 22 is of values: too large, not a number, divided by zero.
        raise (QueryError if of_query and state[:2] in ("22", "21") else WarehouseError)(f"{what}: {said}") from error


def _state_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error of the driver, empty if the server gave none; None of any other error."""
    if type(error).__module__ != "adbc_driver_manager":
        return None
    return str(getattr(error, "sqlstate", None) or "").strip("\0")


def _message_of(error: BaseException) -> str:
    details = dict(getattr(error, "details", None) or [])
    said = details.get("PG_DIAG_MESSAGE_PRIMARY") or details.get(b"PG_DIAG_MESSAGE_PRIMARY")
    if said:
        return said.decode() if isinstance(said, bytes) else str(said)
    # The rest names the function of the driver, and may repeat the query.
    text = re.split(r"\n+(?:Query was|LINE \d)", str(error))[0]
    text = re.sub(r"^.*?(?:ERROR|FATAL):\s+|\[libpq\] ", "", text, flags=re.DOTALL)
    return " ".join(text.split())
