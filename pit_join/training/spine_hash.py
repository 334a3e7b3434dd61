"""The hash of a spine: the same for the table that was given and for its columns in a file."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pyarrow as pa

from pit_join.frames import unpacked
from pit_join.training.gather import row_numbers
from pit_join.warehouse.spool import release_pages

__all__ = ["lasting_type", "spine_hash"]

_HASHED_ROWS = 100_000
_LASTING = {
    pa.string(): pa.large_string(),
    pa.binary(): pa.large_binary(),
    pa.date64(): pa.date32(),
    pa.time32("s"): pa.time32("ms"),
}


def spine_hash(spine: pa.Table) -> str:
    """Return the SHA-256 hash of a spine's column names, types and values in order.

    Types are those that outlast a file: see `lasting_type`.
    """
    values = unpacked(spine)
    lasting = pa.schema([(field.name, lasting_type(field.type)) for field in values.schema])
    digest = hashlib.sha256(str(lasting).encode())
    for start in range(0, len(values), _HASHED_ROWS):
        rows = values.slice(start, _HASHED_ROWS)
        columns = [_canonical(column, kind) for column, kind in zip(rows.columns, lasting.types, strict=True)]
        batch = pa.record_batch(columns, schema=lasting)
        with pa.ipc.new_stream(pa.PythonFile(_Sink(digest), mode="w"), batch.schema) as writer:
            writer.write_batch(batch)
        release_pages()
    return digest.hexdigest()


def lasting_type(kind: pa.DataType) -> pa.DataType:
    """Return the type in which a Parquet file brings back the values of a type.

    It keeps neither dictionaries of large texts, nor seconds as a unit, nor the names of a list's elements.
    """
    if pa.types.is_dictionary(kind):
        return lasting_type(kind.value_type)
    if kind in _LASTING:
        return _LASTING[kind]
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if pa.types.is_map(kind):
        return pa.map_(lasting_type(kind.key_type), lasting_type(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(lasting_type(kind.value_type), kind.list_size)
    for is_it, make in ((pa.types.is_list, pa.list_), (pa.types.is_large_list, pa.large_list)):
        if is_it(kind):
            return make(lasting_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, lasting_type(field.type)) for field in kind])
    return kind


def _canonical(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """Return a column so that equal values have equal bytes: in a lasting type, and with nothing beneath nulls."""
    whole = (column if column.type == kind else column.cast(kind)).combine_chunks()
    if whole.null_count or pa.types.is_nested(whole.type):
        whole = whole.take(row_numbers(np.arange(len(whole))))  # which writes zeros beneath nulls
    return _beneath_nulls(whole)


def _beneath_nulls(array: pa.Array) -> pa.Array:
    """Return structs, also in lists, with nulls beneath their nulls: Parquet brings back empty lists there as nulls."""
    if pa.types.is_struct(array.type):
        fields = [_beneath_nulls(field) for field in array.flatten()]
        return pa.StructArray.from_arrays(fields, fields=list(array.type), mask=array.is_null())
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        values = _beneath_nulls(array.values)
        return type(array).from_arrays(array.offsets, values, type=array.type, mask=array.is_null())
    return array


class _Sink(io.RawIOBase):
    """A file whose bytes only update a hash."""

    def __init__(self, digest: hashlib._Hash) -> None:
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)
