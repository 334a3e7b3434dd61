"""Connections of DuckDB with the settings of a dbt profile. Outside world: DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from pit_join.definitions.connection import Connection
from pit_join.warehouse.sql import create_secret, filesystem, identifier, literal

__all__ = ["another", "connected", "one_thread"]


def connected(wanted: Connection) -> duckdb.DuckDBPyConnection:
    """Return a connection to a database in memory, with the extensions, settings and secrets of a profile."""
    connection = duckdb.connect(config=dict(wanted.configuration))
    for extension in wanted.extensions:
        connection.load_extension(extension)
    for name, value in wanted.settings.items():
        text = literal(value) if isinstance(value, str) else str(value)
        connection.execute(f"set {identifier(str(name))} = {text}")
    for number, secret in enumerate(wanted.secrets, 1):
        connection.execute(create_secret(secret, number))
    for options in wanted.filesystems:
        connection.register_filesystem(filesystem(options))
    # The last word: a result must depend neither on the profile nor on the machine.
    connection.execute("set TimeZone = 'UTC'; set preserve_insertion_order = true")
    connection.execute("set default_order = 'asc'; set default_collation = ''")
    connection.execute("set arrow_large_buffer_size = true")
    connection.execute(f"set file_search_path = {literal(str(wanted.directory))}")
    return connection


def another(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Return a cursor with the settings of its connection; DuckDB passes on only those that all sessions share."""
    cursor = connection.cursor()
    own = "select name, value from duckdb_settings() where scope = 'LOCAL'"
    for name, value in {*connection.execute(own).fetchall()}.difference(cursor.execute(own).fetchall()):
        cursor.execute(f"set {identifier(name)} = {literal(value)}")
    return cursor


@contextmanager
def one_thread(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Use one thread: an idle second thread spins, and takes CPU time from the reader of the result."""
    settings = connection.cursor()  # its settings survive the rollback of a query
    ((threads,),) = settings.execute("select current_setting('threads')").fetchall()
    settings.execute("set threads = 1")
    try:
        yield
    finally:
        settings.execute(f"set threads = {threads}")
        settings.close()
