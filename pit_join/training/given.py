"""Values of keys and fields, as people write them, read as their types."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from pit_join.definitions.field_type import FieldType, is_known
from pit_join.errors import EntityError
from pit_join.records.keys import is_missing
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import identifier

__all__ = ["read_given"]


def read_given(
    warehouse: DuckDBWarehouse, table: str, given: Mapping[str, Any], types: Mapping[str, FieldType], what: str
) -> pa.Table:
    """Make a temporary table of one row of values, and return it.

    Args:
        warehouse: an open warehouse, which gets the table.
        table: its name.
        given: a value for each column; a text is read as the column's type.
        types: the columns, in order, with their types.
        what: what a value is called in messages.

    Raises:
        EntityError: naming the first value that is not of its type, the type, and what was given.
    """

    def wrong(name: str) -> EntityError:
        text = " ".join(repr(given[name]).split())
        return EntityError(
            f"the {what} '{name}' is of type {types[name].text.upper()}, and "
            f"{text if len(text) <= 100 else f'{text[:97]}...'} is not; give a value of that type, or its text"
        )

    columns: dict[str, pa.Array] = {}
    for name in types:
        try:
            columns[name] = pa.array([_plain(given[name], types[name])])
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise wrong(name) from None
        if pa.types.is_decimal256(columns[name].type):  # which DuckDB does not have
            raise wrong(name)
    rows, unreadable = "_pit_given_row", f"the {what}s cannot be read"
    warehouse.register(rows, pa.table({"_pit_given": [True], **columns}))
    found = warehouse.columns(f"from {rows}", unreadable)
    selected = ["_pit_given"]
    for name, kind in types.items():
        empty = pa.types.is_null(columns[name].type)
        if not empty and found[name].family not in ("text", kind.family):
            raise wrong(name)
        column = identifier(name)
        is_read = empty or found[name].family != kind.family
        # A type that only the warehouse knows is an enum, whose values compare with texts.
        selected.append(f"try_cast({column} as {kind.name}) as {column}" if is_read and is_known(kind.name) else column)
    warehouse.execute(f"create or replace temp table {table} as select {', '.join(selected)} from {rows}", unreadable)
    result = warehouse.table(f"from {table}", unreadable)
    for name, kind in types.items():
        value = result[name][0]
        if not value.is_valid and not pa.types.is_null(columns[name].type):
            raise wrong(name)
        # A cast of a text rounds.
        may_round = kind.number in ("integer", "decimal") and isinstance(given[name], str)
        if may_round and not _is_number(given[name], value.as_py()):
            raise wrong(name)
    return result


def _plain(value: Any, kind: FieldType) -> Any:
    """Return a value as Arrow takes it.

    A whole float becomes an integer, since floats may equal several large integers.
    """
    if is_missing(value):
        return None
    if isinstance(value, np.datetime64) and np.datetime_data(value)[0] != "ns":
        return value.astype("datetime64[us]")  # Arrow does not have the coarse units
    if kind.name == "UUID" and isinstance(value, UUID):
        return str(value)
    is_whole = kind.number == "integer" and isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value


def _is_number(text: str, number: Any) -> bool:
    try:
        return bool(Decimal(text) == number)
    except InvalidOperation:
        return False
