"""The rows of a training set, put into the spine's order and side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet  # needed only when the file is written, but imported here while DuckDB works

from pit_join.errors import WarehouseError
from pit_join.frames import as_arrow, columns_of, readable
from pit_join.statuses import NULL_VALUE, PRESENT
from pit_join.warehouse.spool import mapped

__all__ = ["FOUND", "arguments", "beside", "found", "in_order", "marked", "row_numbers", "spilled"]

# Larger parts of the result, one a view, are put in order by several threads, and spilled to an unnamed temporary file,
# mapped into memory. For less, fresh memory for each thread costs more than the threads save.
_IN_MEMORY_BYTES = 64 * 2**20

# The columns of a join beside its features; features that only on-demand ones take begin with _pit_, too.
_OF_THE_JOIN = ("_pit_row", "_pit_age", "_pit_status")
FOUND = "_pit_found"
"""The column that says whether the view had a row for a row of the spine, whose values may be null."""


def in_order(table: pa.Table, rows: int) -> pa.Table:
    """Return the columns of the result, with rows in the order of the spine."""
    if len(table) != rows:
        raise WarehouseError(f"the join returned {len(table)} rows for a spine of {rows}; please report this")
    columns = table.select([name for name in table.column_names if name not in _OF_THE_JOIN])
    if _ascends(table["_pit_row"]):
        return columns
    # Through DLPack, since pyarrow's own conversion to NumPy and back loads pandas where it is installed.
    numbers = np.from_dlpack(table["_pit_row"].combine_chunks())
    positions = np.empty(rows, dtype=np.int32 if rows < 2**31 else np.int64)
    positions[numbers - 1] = np.arange(rows, dtype=positions.dtype)
    indices = row_numbers(positions)
    if columns.nbytes <= _IN_MEMORY_BYTES:
        taken = [_take(column, indices) for column in columns.columns]
    else:
        with ThreadPoolExecutor() as threads:
            taken = list(threads.map(lambda column: _take(column, indices), columns.columns))
    return pa.table(taken, schema=columns.schema)


def _ascends(numbers: pa.ChunkedArray) -> bool:
    """Return whether each number is greater than the one before; nothing is copied."""
    last = None
    for chunk in numbers.chunks:
        values = np.from_dlpack(chunk)
        if len(values) and not ((last is None or last < values[0]) and (values[1:] > values[:-1]).all()):
            return False
        last = values[-1] if len(values) else last
    return True


def _take(column: pa.ChunkedArray, indices: pa.Array) -> pa.Array:
    """Take as `array.take` does; for numbers with nulls, values and nulls apart, which is eight times faster."""
    array = column.combine_chunks()
    if not array.null_count or not pa.types.is_primitive(array.type):
        return array.take(indices)
    valid = array.is_valid().take(indices)
    values = pa.Array.from_buffers(array.type, len(array), [None, array.buffers()[1]], offset=array.offset).take(
        indices
    )
    return pa.Array.from_buffers(array.type, len(indices), [valid.buffers()[1], values.buffers()[1]])


def row_numbers(numbers: np.ndarray[Any, Any]) -> pa.Array:
    """Return NumPy row numbers as Arrow, without loading pandas, and without a copy unless they are strided."""
    numbers = np.ascontiguousarray(numbers)
    return pa.Array.from_buffers(pa.from_numpy_dtype(numbers.dtype), len(numbers), [None, pa.py_buffer(numbers)])


def spilled(table: pa.Table) -> pa.Table:
    """Return the same table; a large one is spilled to an unnamed temporary file, which vanishes with the process."""
    if table.nbytes <= _IN_MEMORY_BYTES:
        return table
    with tempfile.TemporaryFile(prefix="pit-join-") as file:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        file.flush()
        return mapped(file)


def beside(parts: Sequence[pa.Table], names: Sequence[str], aliases: Sequence[str]) -> pa.Table:
    """Return the features in the order of the request, then provenance."""
    columns = {name: part[name] for part in parts for name in part.column_names}
    wanted = [*names, *(f"{alias}__{what}" for alias in aliases for what in ("event_timestamp", "status"))]
    return pa.table({name: columns[name] for name in wanted})


def marked(table: pa.Table, status: str) -> pa.Table:
    """Return the rows of a join with the column `FOUND`, which follows from their status."""
    return table.append_column(FOUND, pc.is_in(table[status], pa.array([PRESENT, NULL_VALUE])))


def found(parts: Sequence[pa.Table], aliases: Sequence[str]) -> pa.Table:
    """Return for each role whether there was a row; see `FOUND`."""
    return pa.table({f"{FOUND}{alias}": part[FOUND] for part, alias in zip(parts, aliases, strict=False)})


def arguments(spine: Any, parts: Sequence[pa.Table], computed: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return the arguments of on-demand features as a table; `computed` is that of the macro `_resolved_requests`."""
    features = {name: part[name] for part in parts for name in part.column_names}
    lower = {name.lower(): name for name, _ in columns_of(spine)}
    wanted = {argument["column"]: argument["feature"] for feature in computed for argument in feature["arguments"]}
    own = {column: lower[column.lower()] for column, feature in wanted.items() if not feature}
    table = readable(as_arrow(spine, set(own.values())))
    return pa.table({name: features[of] if of else table[own[name]] for name, of in wanted.items()})
