"""On-demand features evaluated: one SQL text over a table of arguments. Outside world: DuckDB in memory.

Training sets and requests are computed alike, on a connection that no profile has changed, so that equal arguments have
bit-equal results on both sides.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import duckdb

from pit_join.definitions.field_type import FieldType, is_known, memory, read_type
from pit_join.errors import ComputeError, StoreError
from pit_join.warehouse.interrupts import interruptible
from pit_join.warehouse.sql import identifier, literal

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ARGUMENTS", "CLOCK", "SESSION", "Expressions", "minor_version", "problem_of", "problem_of_condition",
    "problem_of_statements", "problem_of_value", "untried",
]  # fmt: skip

ARGUMENTS = "_pit_arguments"
"""The table that statements read, see the macro `_on_demand_statement`."""

# Values that DuckDB takes as parameters.
_PLAIN = (bool, int, float, str, bytes, Decimal, datetime, date, type(None))
_SAME_VALUES = ("VARCHAR", "BOOLEAN", "BLOB")

CLOCK = frozenset((
    "ago", "current_date", "current_localtime", "current_localtimestamp", "current_time", "current_timestamp",
    "get_current_time", "get_current_timestamp", "localtime", "localtimestamp", "now", "today", "transaction_timestamp",
))  # fmt: skip
"""The functions that read the clock, of which DuckDB calls some consistent; and `age` with one argument."""

SESSION = frozenset((
    "current_catalog", "current_connection_id", "current_database", "current_query", "current_query_id", "current_role",
    "current_schema", "current_schemas", "current_setting", "current_transaction_id", "current_user", "getenv",
    "getvariable", "in_search_path", "session_user", "txid_current", "user", "version",
))  # fmt: skip
"""The functions that read the session, its transaction or the program."""

_ERRORS = ("error", "assert_true")
_RULE = "an on-demand feature is computed from its arguments"
_TRIED = 2  # the number of the statement in which no error ends the query


class Expressions:
    """A prepared statement of on-demand features; safe to share between threads.

    Args:
        statement: a query over `ARGUMENTS`, with one result for each row.
        types: the columns of that table with their types as SQL names them; None for a column that is not cast.
        returns: the types of the features, which only `one` needs.
    """

    def __init__(self, statement: str, types: Mapping[str, str | None], returns: Sequence[str] = ()) -> None:
        self._statement = statement
        self._plain = all(map(_is_plain, returns))
        columns = ", ".join(
            (f"cast(${i} as {kind})" if kind else f"${i}") + f" as {identifier(name)}"
            for i, (name, kind) in enumerate(types.items(), 1)
        )
        self._one = f"with {ARGUMENTS} as (select {columns}) {statement}"
        self._local = threading.local()

    def one(self, values: Sequence[Any]) -> tuple[Any, ...] | None:
        """Return the features of one row, whose arguments are in the order of the columns.

        Returns None if an argument or a feature has a type for which Arrow is needed, see `many`.

        Raises:
            ComputeError: if they cannot be computed.
        """
        if not self._plain or not all(type(value) in _PLAIN for value in values):
            return None
        connection = self._connection()
        with _readable_errors():
            if not hasattr(self._local, "parsed"):
                self._local.parsed = connection.extract_statements(self._one)[0]
            found: tuple[Any, ...] = connection.execute(self._local.parsed, list(values)).fetchall()[0]
        return found

    def many(self, arguments: pa.Table) -> pa.Table:
        """Return the features of all rows of a table of arguments, in its order.

        Raises:
            ComputeError: if they cannot be computed.
        """
        connection = self._connection()
        connection.register(ARGUMENTS, arguments)
        try:
            with _readable_errors():
                return connection.sql(self._statement).to_arrow_table()
        finally:
            connection.unregister(ARGUMENTS)

    def _connection(self) -> duckdb.DuckDBPyConnection:
        """Return this thread's connection; a new one after a fork, since DuckDB's threads do not survive it."""
        if getattr(self._local, "process", None) != os.getpid():
            self._local.__dict__.clear()
            self._local.process, self._local.connection = os.getpid(), _cursor()
        found: duckdb.DuckDBPyConnection = self._local.connection
        return found


def untried(column: pa.ChunkedArray, defaults: bool = True) -> tuple[pa.Array, pa.Array]:
    """Return the values and the failures of a `tried` column, see the macro `_on_demand_column`."""
    import pyarrow.compute as pc

    tried, default = (column.combine_chunks().field(name) for name in ("tried", "default"))
    value = pc.struct_field(tried, "value")
    return pc.coalesce(value, default) if defaults else value, tried.is_null()


def _is_plain(data_type: str) -> bool:
    """Return whether DuckDB and Arrow return equal Python values for a type."""
    kind = read_type(data_type)
    return kind.name in _SAME_VALUES or (kind.number is not None and kind.name not in ("HUGEINT", "UHUGEINT"))


@interruptible()
def minor_version() -> str:
    """Return the minor version of DuckDB, such as 2.0: expressions may have other values in another one."""
    return ".".join(duckdb.__version__.split(".")[:2])


def problem_of(expression: str, statements: Sequence[str], types: Mapping[str, str]) -> str | None:
    """Return why an expression is not an on-demand feature; None if it is one.

    It must be SQL of its arguments alone, with one value for each row, and the same value at any time. `statements`
    compute it over arguments of `types`.
    """
    if problem := _problem_of_text(expression, _RULE):
        return problem
    connection = _cursor()
    columns = ", ".join(f'cast(null as {kind}) as "{name}"' for name, kind in types.items())
    try:
        for statement in statements:
            connection.execute(f"with {ARGUMENTS} as (select {columns}) {statement}")
    except duckdb.Error as error:
        # Without the class of the error, and without all functions of that name that there are.
        said = re.sub(r"^\w+ Error: ", "", _one_line(str(error))).partition(" You might need to add explicit")[0]
        listed = ", ".join(types.values())
        return f"its SQL cannot be computed from arguments of the declared types ({listed}): {said}"
    return None


@lru_cache(maxsize=256)
def problem_of_statements(
    statements: tuple[str, ...],
    arguments: tuple[tuple[str, tuple[str, ...]], ...],
    returns: tuple[tuple[str, str], ...],
) -> str | None:
    """Return why texts of a store are not the SQL of its on-demand features (see `StoredService`); None if they are.

    Others than its readers may have written the store. So its SQL must be what `problem_of` lets a project export:
    expressions of `arguments`, which have the types that they are cast to, with a value in each row for each of
    `returns`, which have its type.

    Raises:
        StoreError: if that cannot be found out now.
    """
    kinds = [*(kind for _, types in arguments for kind in types), *(kind for _, kind in returns)]
    if unknown := [kind for kind in kinds if not is_known(kind)]:
        return f"there is no type {unknown[0]}"
    columns = ", ".join(f"null as {identifier(name)}" for name, _ in arguments)
    for number, statement in enumerate(statements):
        try:
            parsed = _parsed(statement)
        except ValueError as error:
            return str(error)
        if _frame(parsed) != _frame(_parsed(f"select 1 from {ARGUMENTS}")):
            return f"it is not one query of {ARGUMENTS}, row by row"
        if problem := _problem_of_parts(parsed, _RULE, {name.lower() for name, _ in arguments}):
            return problem
        try:
            found = _cursor().execute(f"describe with {ARGUMENTS} as (select {columns}) {statement}").fetchall()
        except duckdb.OperationalError as error:  # of the process and not of the SQL, such as too little memory
            raise StoreError(f"the SQL of on-demand features cannot be checked: {_one_line(str(error))}") from error
        except duckdb.Error as error:
            return _one_line(str(error))
        tried = 'struct(tried struct("value" {0}), "default" {0})' if number == _TRIED else "{0}"
        wanted = [(name, read_type(tried.format(kind)).name) for name, kind in returns]
        if [(name, read_type(kind).name) for name, kind, *_ in found] != wanted:
            return f"its columns are not {', '.join(f'{name} {kind}' for name, kind in wanted)}"
    return None


def problem_of_condition(condition: str, types: Mapping[str, FieldType]) -> str | None:
    """Return why a text is not a condition on the columns of one event; None if it is one.

    A column that is not among `types`, or is of a type that only the warehouse knows, may be in the table all the same.
    """
    if problem := _problem_of_text(condition, "a condition is about the columns of one event", types):
        return problem
    columns = ", ".join(
        f"cast(null as {kind.name}) as {identifier(name)}" for name, kind in types.items() if is_known(kind.name)
    )
    try:
        found = _cursor().execute(f"select (\n{condition}\n) from (select {columns or '1'}) limit 0").description
    except duckdb.Error as error:
        said = _one_line(str(error))
        return None if "Referenced column" in said else f"it cannot be read: {said}"
    kind = str(found[0][1])
    return None if kind == "BOOLEAN" else f"it is of type {kind}; a condition is true or false, so compare it"


def problem_of_value(value: Any, kind: FieldType) -> str | None:
    """Return why a default does not fit a type; None if it is one, or only the warehouse knows the type."""
    if not is_known(kind.name):
        return None
    try:
        _cursor().execute(f"select cast({literal(str(value))} as {kind.name})")
    except duckdb.Error as error:
        return f"{value!r} does not fit the type {kind}: {_one_line(str(error))}"
    return None


def _problem_of_text(text: str, rule: str, columns: Collection[str] = ()) -> str | None:
    if not text.strip():
        return "it is empty"
    # Within parentheses, where the text will stand, and without, so that it cannot close them.
    for query in (f"select (\n{text}\n)", f"select\n{text}\n"):
        try:
            parsed = _parsed(query)
        except ValueError as error:
            return f"it is not an SQL expression: {error}"
        if len(parsed.get("select_list", ())) != 1:
            return "it must be one SQL expression"
        if why := _problem_of_parts(parsed, rule, {name.lower() for name in columns}):
            return why
    return None


def _parsed(query: str) -> Mapping[str, Any]:
    """Return a query as DuckDB parses it; empty if it is not one query alone.

    Raises:
        ValueError: saying why it is not a query.
    """
    try:
        found = json.loads(_cursor().execute("select json_serialize_sql(?)", [query]).fetchall()[0][0])
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if found["error"]:
        is_other = found["error_type"] == "not implemented"  # said of statements that are not queries
        raise ValueError("it is not a query" if is_other else _one_line(found["error_message"]))
    node: Mapping[str, Any] = found["statements"][0]["node"] if len(found["statements"]) == 1 else {}
    return node


def _frame(parsed: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return all of a query but what it selects: its table, conditions, groups, order and the like."""
    table = {name: part for name, part in parsed.get("from_table", {}).items() if not name.startswith("query_location")}
    return {**parsed, "select_list": None, "from_table": table}


def _problem_of_parts(parsed: Mapping[str, Any], rule: str, own: Collection[str]) -> str | None:
    """Return why a part of a query's expressions is not allowed; `own` are the columns of its table in lower case."""
    for node in _nodes(parsed["select_list"]):
        # A column comes before a function of its name, such as current_date.
        of_its_own = node["class"] == "COLUMN_REF" and node["column_names"][-1].lower() in own
        if not of_its_own and (why := _refused(node, rule)):
            return why
    return None


def _refused(node: Mapping[str, Any], rule: str) -> str | None:
    """Return why a part of an expression is not allowed; None if it is."""
    kind, name = node["class"], str(node.get("function_name") or "").lower()
    if kind == "COLUMN_REF":
        (name, *more) = (part.lower() for part in node["column_names"])
        if more or name not in _unstable():
            return None
    if kind == "SUBQUERY":
        return f"it holds a subquery; {rule} alone"
    if kind == "WINDOW" or (kind == "FUNCTION" and name in _of_many_rows()):
        return f"{name} looks at more than one row, or makes several; {rule} alone"
    if kind == "FUNCTION" and name in _ERRORS:
        return f"{name} would end whole requests; give null, and declare a default to stand for it"
    if kind in ("FUNCTION", "COLUMN_REF") and name in SESSION:
        return f"{name} reads the session, which is another one in training and in serving"
    if kind in ("FUNCTION", "COLUMN_REF") and (
        name in _unstable() or (name == "age" and len(node.get("arguments") or node.get("children") or []) == 1)
    ):
        return (
            f"{name} does not give the same value at any time, so training and serving would differ; take the time "
            "from an argument or a column"
        )
    return None


def _nodes(parsed: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all parts of a parsed expression."""
    waiting = [parsed]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            if "class" in part:
                yield part
            part = list(part.values())
        if isinstance(part, list):
            waiting += reversed(part)


@interruptible()
def _cursor() -> duckdb.DuckDBPyConnection:
    return memory(os.getpid()).cursor()


@cache
def _unstable() -> frozenset[str]:
    """Return the functions whose value does not depend on their arguments alone.

    DuckDB 2.0.1 calls those consistent within a query alone that read the session's time zone, such as `hour` of a
    timestamptz. The zone is UTC in training and serving, so a function of which only some overloads are called so is
    one of its arguments. A macro of DuckDB's is what it calls: `pg_conf_load_time` is the present.
    """
    query = """
        select
            lower(function_name),
            bool_or(stability = 'VOLATILE') or bool_and(stability = 'CONSISTENT_WITHIN_QUERY'),
            string_agg(lower(macro_definition), ' ')
        from duckdb_functions()
        where function_type in ('scalar', 'macro')
        group by all
    """
    functions = _cursor().execute(query).fetchall()
    found = CLOCK | SESSION | {name for name, unstable, _ in functions if unstable} - {"error"}
    calls = {name: set(re.findall(r"\w+", text)) for name, _, text in functions if text}
    while more := {name for name, called in calls.items() if name not in found and called & found}:
        found |= more
    return found


@cache
def _of_many_rows() -> frozenset[str]:
    query = """
        select lower(function_name) from duckdb_functions()
        group by all having not bool_or(function_type in ('scalar', 'macro'))
    """
    return frozenset(name for (name,) in _cursor().execute(query).fetchall())


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        with interruptible():
            yield
    # OverflowError and UnicodeError: a number or a text that DuckDB cannot hold.
    except (duckdb.Error, OverflowError, UnicodeError) as error:
        raise ComputeError(f"the on-demand features cannot be computed: {_one_line(str(error))}") from error


def _one_line(text: str) -> str:
    return " ".join(text.split("\n\nLINE ")[0].split())
