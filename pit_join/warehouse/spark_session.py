"""A session of Spark in this process, as dbt-spark's method `session` opens one. Outside world: Spark, by pyspark.

Executors write each result as Parquet into a folder that this process reads: no result lies whole in the driver. Spark
has no transaction over several statements, so that tables must stay as they are while a command runs.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from pit_join.definitions.engine_types import duckdb_name
from pit_join.definitions.field_type import FieldType, read_type
from pit_join.errors import PitJoinError, WarehouseError, with_extra
from pit_join.warehouse.duckdb_errors import QueryError, first_line
from pit_join.warehouse.remote_session import RemoteSession
from pit_join.warehouse.sql import literal

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

__all__ = ["STAGING", "SparkViewSession"]

STAGING = "spark.pit_join.staging"
"""The setting of a folder that this process and all executors reach by the same path."""

# For the Spark that this process starts, unless the profile says otherwise.
_QUIET = {
    "spark.app.name": "pit-join",
    "spark.log.level": "ERROR",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
# A result must not depend on the profile's settings.
_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "false",
    # The default has no time before 1677 or after 2262 for those who read it.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
}
_DATABASE = "none"  # dbt-spark has schemas only
_NO_TABLES = (
    "a training set is not made as a table on Spark, which has no transaction; write a file, or call the macro "
    "training_set in a dbt model"
)
_UNREADABLE = "the warehouse cannot be read"


class SparkViewSession(RemoteSession["_Connected"]):
    """Tables and SQL views of Spark; see `ViewSession`.

    If this process runs Spark already, it is that Spark: temporary tables are the session's own, and so are the
    settings that can be changed while Spark runs. Otherwise one is started, and runs until the process ends.

    Args:
        settings: Spark's settings, the profile's `server_side_parameters`.
        directory: the folder at which relative paths in them begin.
        say: called with a message before Spark is started, which takes seconds.

    Raises:
        WarehouseError: if Spark cannot be started.
    """

    engine = "spark"

    def __init__(self, settings: Mapping[str, str], directory: Path, say: Callable[[str], None]) -> None:
        with with_extra("spark", "a Spark warehouse"), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of a pandas that is too new for what is not used here
            import pyspark.testing.utils  # noqa: F401 - pyspark itself does, when it first converts a value

        def connect() -> _Connected:
            with _readable_errors("Spark cannot be used"):
                return _Connected(_started(settings, directory, say), settings)

        super().__init__(connect, _readable_errors)

    def keep(self, name: str, sql: str, what: str) -> None:
        """Refuse to make a temporary table."""
        raise WarehouseError(_NO_TABLES)

    def check_table(self, location: tuple[str, str, str], *, overwrite: bool) -> None:
        """Refuse to make a table; see `ViewSession`."""
        raise WarehouseError(_NO_TABLES)

    def create_table(self, location: tuple[str, str, str], sql: str, comment: str, *, overwrite: bool) -> None:
        """Refuse to make a table; see `ViewSession`."""
        raise WarehouseError(_NO_TABLES)

    def has(self, location: tuple[str, str, str]) -> bool:
        """Return whether a table or SQL view of a database, schema and name exists."""
        _, schema, name = location
        return self._submit(lambda connected: connected.has(schema, name), _UNREADABLE).result()

    def built(self) -> set[tuple[str, ...]]:
        """Return the databases, schemas and names of all tables and SQL views, in small letters."""
        found = self._submit(lambda connected: connected.tables(), _UNREADABLE).result()
        return {(_DATABASE, schema.lower(), name.lower()) for schema, name in found}

    def begin_anew(self) -> None:
        """Do nothing: there are no transactions."""


class _Connected:
    """A session of Spark, and the folder through which rows come and go."""

    def __init__(self, session: SparkSession, settings: Mapping[str, str]) -> None:
        self._session, staging = session, settings.get(STAGING)
        changeable = {name: value for name, value in settings.items() if session.conf.isModifiable(name)}
        for name, value in {**changeable, **_SETTINGS}.items():
            session.conf.set(name, value)
        # A job is of the group of the thread that starts it.
        self._group = f"pit-join-{uuid.uuid4()}"
        session.sparkContext.setJobGroup(self._group, "pit-join", interruptOnCancel=True)
        self._folder = Path(tempfile.mkdtemp(prefix="pit-join-", dir=_staging(session, staging)))
        self._folder.chmod(0o700 if staging is None else 0o777)
        self._duckdb = duckdb.connect()
        self._duckdb.execute("set TimeZone = 'UTC'; set arrow_large_buffer_size = true")
        # To sort a result needs little memory, and otherwise some of the disk.
        self._duckdb.execute(f"set memory_limit = '1GB'; set temp_directory = {literal(str(self._folder / 'sorting'))}")

    def execute(self, sql: str) -> None:
        self._session.sql(sql)

    @contextmanager
    def reading(self, sql: str, order_by: str | None = None) -> Iterator[duckdb.DuckDBPyRelation]:
        """Yield the result of a query as a relation of DuckDB, in the order that the query states.

        With `order_by` DuckDB sorts by that column: Spark would compute the query twice, first to see how its values
        are spread.
        """
        folder = self._folder / uuid.uuid4().hex
        try:
            self._session.sql(sql).write.parquet(folder.as_uri())
            # Parts of an ordered result are numbered in its order; without rows there is one part.
            parts = ", ".join(literal(str(path)) for path in sorted(folder.glob("part-*")))
            relation = self._duckdb.sql(f"from read_parquet([{parts}], hive_partitioning = false)")
            yield relation.order(order_by) if order_by else relation
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def types(self, sql: str) -> dict[str, FieldType]:
        return {
            field.name: read_type(duckdb_name(field.dataType.simpleString(), "spark"))
            for field in self._session.sql(sql).schema.fields
        }

    def copy(self, name: str, rows: pa.RecordBatchReader) -> None:
        """Make a temporary table that reads a file of the rows, in place of one of that name."""
        import pyarrow.parquet as pq

        path = self._folder / f"given-{uuid.uuid4().hex}.parquet"  # Spark skips files that begin with an underscore
        with pq.ParquetWriter(path, rows.schema, coerce_timestamps="us") as writer:
            for batch in rows:
                writer.write_batch(batch)
        self._session.read.parquet(path.as_uri()).createOrReplaceTempView(name)

    def has(self, schema: str, name: str) -> bool:
        return bool(self._session.catalog.tableExists(f"{_quoted(schema)}.{_quoted(name)}"))

    def tables(self) -> list[tuple[str, str]]:
        schemas = [row[0] for row in self._session.sql("show schemas").collect()]
        return [
            (schema, row["tableName"])
            for schema in schemas
            for row in self._session.sql(f"show tables in {_quoted(schema)}").collect()
            if not row["isTemporary"]
        ]

    def interrupt(self) -> None:
        with suppress(Exception):  # Spark may have ended
            self._session.sparkContext.cancelJobGroup(self._group)

    def close(self) -> None:
        self._duckdb.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _started(settings: Mapping[str, str], directory: Path, say: Callable[[str], None]) -> SparkSession:
    """Return a new session of the Spark of this process, which is started if it does not run."""
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    # It writes each error to stderr, with the stack of Java.
    logging.getLogger("SQLQueryContextLogger").disabled = True
    context = SparkContext._active_spark_context
    if context is None:
        say("starting Spark")
        conf = SparkConf()
        for name, value in {"spark.sql.catalogImplementation": "hive", **_QUIET, **settings}.items():
            conf.set(name, value)
        with tempfile.TemporaryFile(prefix="pit-join-") as said:
            try:
                # Relative paths begin where dbt runs: that of the metastore, too, which no setting has to name.
                gateway = SparkContext._gateway or launch_gateway(conf, {"cwd": str(directory), "stderr": said})
            except Exception as error:
                said.seek(0)
                lines = said.read().decode(errors="replace").split("\n")
                why = next((line.strip() for line in lines if line.strip()), str(error))
                raise WarehouseError(f"Spark cannot be started: {why}; it needs Java 17 or 21") from error
            context = SparkContext(conf=conf, gateway=gateway)
    return SparkSession(context).newSession()


def _staging(session: SparkSession, folder: str | None) -> str | None:
    """Return the folder in which results are staged; None for that of temporary files.

    Raises:
        WarehouseError: if executors on other machines could not write into it.
    """
    master = session.sparkContext.master
    if folder is None and not master.startswith("local"):
        raise WarehouseError(
            f"Spark runs at {master}, and its executors need a folder for their results that this machine reaches by "
            f"the same path, too; name one in the profile's server_side_parameters, as {STAGING}"
        )
    if folder is not None and not Path(folder).is_dir():
        raise WarehouseError(f"{STAGING}: {folder} is not a folder of this machine")
    return folder


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


@contextmanager
def _readable_errors(what: str) -> Iterator[None]:
    try:
        yield
    except PitJoinError:
        raise
    except duckdb.Error as error:
        raise QueryError(f"{what}: {first_line(error)}") from error
    except Exception as error:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        if not isinstance(error, (PySparkException, Py4JError)):
            raise
        state = error.getSqlState() if isinstance(error, PySparkException) else None
        # Class 22 is of values: too large, not a number, divided by zero. P0001 is what the macros raise.
        kind = QueryError if (state or "")[:2] in ("22", "21", "P0") else WarehouseError
        raise kind(f"{what}: {_message_of(error)}") from error


_LOCKED = "Another instance of Derby may have already booted the database"


def _message_of(error: BaseException) -> str:
    """Return the first sentences of an error, without the query and the stack of Java below them."""
    text = str(error)
    if _LOCKED in text:
        return (
            "another process holds the metastore (a running dbt build, or an open notebook); try again when it is done"
        )
    found = re.search(r"(?:Exception|Error): (?=\[[A-Z])", text)  # of a job: an error within others
    text = text[found.end() :] if found else text
    text = re.split(r"\s*SQLSTATE: |\n\s*(?:== SQL|at |'|\+-)|\n\n", text.strip())[0]
    return " ".join(re.sub(r"^\[[A-Z_.0-9]+\] ", "", text).split())
