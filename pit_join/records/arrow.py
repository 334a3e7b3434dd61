"""Arrow columns as keys and records: whole columns at once, with no Python for each value."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pit_join.errors import StoreError
from pit_join.records.keys import KeyCodec, integer_cells
from pit_join.records.layout import HAS_NULLS, HEADER, NO_TIME, Field, Layout, converter, element_of

__all__ = [
    "arrow_type",
    "arrow_values",
    "event_times",
    "field_of",
    "int64s",
    "is_list",
    "keys_of",
    "records_of",
    "type_name",
    "values_of",
]

_END = b"\0\0"
_EVENT_TIME = pa.timestamp("us", "UTC")
_WIDE = pa.decimal256(39, 0)
_Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def field_of(column: pa.Field) -> Field:
    """The feature that an Arrow column holds.

    Raises:
        StoreError: if the store has no form for its type.
    """
    name = type_name(column.type)
    if name is None:
        raise StoreError(
            f"the column '{column.name}' is of type {column.type}, which the online store cannot hold; cast it in the "
            "model (to varchar, a number, a timestamp or a list of these), or mark it exclude: true"
        )
    return Field(column.name, name)


def is_list(kind: pa.DataType) -> bool:
    """Return whether a type is a list. DuckDB's lists come as large lists, its arrays as lists of a fixed size."""
    return any(is_it(kind) for is_it in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def type_name(kind: pa.DataType) -> str | None:
    """Return the type of a feature (see `records.layout.Field`) for an Arrow type; None if no record can hold it."""
    if is_list(kind):
        element = type_name(kind.value_type)
        return f"list<{element}>" if element and element_of(element) is None else None
    if pa.types.is_decimal128(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    if pa.types.is_timestamp(kind):
        return f"timestamp[{kind.unit}, UTC]" if kind.tz else f"timestamp[{kind.unit}]"
    if pa.types.is_date32(kind):
        return "date32"
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return str(kind)
    if pa.types.is_dictionary(kind):
        return type_name(kind.value_type)
    names = {pa.float32(): "float", pa.float64(): "double"}
    names |= dict.fromkeys((pa.string(), pa.large_string()), "string")
    names |= dict.fromkeys((pa.binary(), pa.large_binary()), "binary")
    return names.get(kind)


def arrow_type(data_type: str) -> pa.DataType:
    """Return the Arrow type of a feature's type (see `records.layout.Field`).

    >>> arrow_type("list<float>"), arrow_type("timestamp[ns, UTC]"), arrow_type("decimal(9, 2)")
    (ListType(list<item: float>), TimestampType(timestamp[ns, tz=UTC]), Decimal128Type(decimal128(9, 2)))
    """
    if element := element_of(data_type):
        return pa.list_(arrow_type(element))
    if data_type.startswith("decimal"):
        precision, scale = data_type[len("decimal(") : -1].split(", ")
        return pa.decimal128(int(precision), int(scale))
    if data_type.endswith(", UTC]"):
        return pa.timestamp(data_type[len("timestamp[") : -len(", UTC]")], "UTC")
    return pa.string() if data_type == "uuid" else pa.type_for_alias(data_type)


def arrow_values(data_type: str, values: Sequence[Any]) -> pa.Array:
    """Make the column of a type (see `records.layout.Field`) from values that a reader of the online store returned.

    Raises:
        ValueError, OverflowError, pyarrow.ArrowException: if a value has no place in it.
    """
    if "decimal(38, 0)" in data_type:
        return _hugeints(pa.array(values, pa.list_(_WIDE) if element_of(data_type) else _WIDE))
    if "timestamp" not in data_type:
        return pa.array(values, arrow_type(data_type))
    # Of NumPy's instants, which are some, Arrow makes none with a zone.
    unit = re.split(r"[\[\],]", data_type)[1]
    numbers = pa.list_(pa.int64()) if element_of(data_type) else pa.int64()
    return pa.array([_ticks(value, unit) for value in values], numbers).cast(arrow_type(data_type))


def _hugeints(wide: pa.Array) -> pa.Array:
    """The same integers, or lists of them, in the type that DuckDB's HUGEINT has in Arrow.

    It is said to have 38 digits, though some values have 39.
    """
    if is_list(wide.type):
        return pa.ListArray.from_arrays(wide.offsets, _hugeints(wide.values), mask=wide.is_null())
    halves = np.frombuffer(wide.buffers()[1], "<u8").reshape(-1, 4)[:, :2]
    content = pa.py_buffer(np.ascontiguousarray(halves))
    return pa.Array.from_buffers(pa.decimal128(38, 0), len(wide), [wide.buffers()[0], content])


def _ticks(value: Any, unit: str) -> Any:
    """An instant as a number of units since 1970; lists of them, and nulls."""
    if value is None:
        return None
    if isinstance(value, list):
        return [_ticks(element, unit) for element in value]
    if isinstance(value, datetime):
        value = np.datetime64(value.astimezone(timezone.utc).replace(tzinfo=None) if value.tzinfo else value, "us")
    whole = value.astype(f"datetime64[{unit}]")
    if whole != value:
        raise ValueError(value)
    return int(whole.astype(np.int64))


def event_times(times: pa.Array) -> pa.Array:
    """Event times as the store keeps them: microseconds UTC, finer ones rounded up."""
    if pa.types.is_timestamp(times.type) and times.type.unit == "ns":
        numbers = times.cast(pa.int64())
        down = pc.divide(numbers, 1000)
        # Division is towards zero, which for what is before 1970 is up already.
        rest = pc.greater(numbers, pc.multiply(down, 1000))
        return pc.add(down, rest.cast(pa.int64())).cast(_EVENT_TIME)
    if pa.types.is_timestamp(times.type) and times.type.tz:
        return times.cast(_EVENT_TIME)
    return times.cast(pa.timestamp("us")).cast(_EVENT_TIME)


def values_of(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column as a reader of the online store returns them."""
    kind = column.type
    if is_list(kind):
        elements = iter(values_of(pc.list_flatten(column)))
        lengths = pc.list_value_length(column).to_pylist()
        return [None if length is None else list(islice(elements, length)) for length in lengths]
    if pa.types.is_timestamp(kind) or pa.types.is_date32(kind):
        name = str(kind).replace("date32[day]", "date32").replace("tz=", "")
        convert = converter(name)
        numbers = column.cast(pa.int32() if name == "date32" else pa.int64()).to_pylist()
        return [None if number is None or convert is None else convert(number) for number in numbers]
    return list(column.to_pylist())


def keys_of(kinds: Sequence[str], columns: Sequence[pa.Array]) -> list[bytes]:
    """The keys of rows; `columns` are the parts of the key, without nulls, and `kinds` theirs."""
    return _joined([_key_part(kind, column) for kind, column in zip(kinds, columns, strict=True)])


def _key_part(kind: str, column: pa.Array) -> _Bytes | pa.Array:
    """One part of the keys, as `KeyCodec` writes it: the rows of a matrix if all are of one length."""
    if kind == "integer":
        unsigned = column.type == pa.uint64()
        return integer_cells(_numbers(column if unsigned else pc.cast(column, pa.int64()), ""))
    if kind == "date32" or kind.startswith("timestamp"):
        width = 4 if kind == "date32" else 8
        numbers = _numbers(column, f"<i{width}")
        flipped = numbers.view(f"<u{width}") ^ np.array(1 << 8 * width - 1, dtype=f"<u{width}")
        return flipped.astype(f">u{width}").view(np.uint8).reshape(-1, width)
    if kind in ("string", "uuid", "binary"):
        values = _plain(column)
        if not (_content(values) == 0).any():
            return pc.binary_join_element_wise(values.cast(pa.large_binary()), _large(_END), _large(b""))
    # Rare types, or a zero byte within a text. No instants, which Python may not have.
    codec = KeyCodec({"": kind})
    keys = [codec.encode({"": value}) for value in column.to_pylist()]
    if b"" in keys:
        raise StoreError(f"the key {column[keys.index(b'')]} does not fit the type {kind} of keys in the online store")
    return pa.array(keys, pa.large_binary())


def int64s(numbers: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Array:
    """The same numbers; where pandas is installed, pyarrow's own way loads it."""
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])


def records_of(layout: Layout, times: pa.Array, columns: Sequence[pa.Array]) -> list[bytes]:
    """The records of rows but for their first eight bytes (the written time) and their checksum.

    `times` are the event times in microseconds UTC, null for none; `columns` are those of the layout's fields, in
    their order.
    """
    rows = len(times)
    cells: _Bytes = np.zeros((rows, layout.size), dtype=np.uint8)
    _put(cells, 8, _fixed_values(times, "int64"))
    if times.null_count:
        _put(cells, 8, np.where(_nulls(times), NO_TIME, _fixed_values(times, "int64")))
    cells[:, 16:20] = np.frombuffer(struct.pack("<I", layout.id), dtype=np.uint8)
    ends = np.zeros(rows, dtype=np.int64)
    contents: dict[str, pa.Array] = {}
    by_name = dict(zip((field.name for field in layout.fields), columns, strict=True))
    for bit, field in enumerate(layout.fields):
        column = by_name[field.name]
        if column.null_count:
            nulls = _nulls(column)
            cells[:, layout.bitmap + bit // 8] |= nulls.astype(np.uint8) << np.uint8(bit % 8)
            cells[:, HEADER.size - 4] |= np.where(nulls, HAS_NULLS, 0).astype(np.uint8)
        if field not in layout.varying:
            _put(cells, layout.offsets[field.name], _fixed_values(column, field.type))
    for field in layout.varying:
        content, counts = _varying(by_name[field.name], field.type)
        contents[field.name] = content
        ends += np.diff(_offsets(content))
        if len(ends) and ends.max() > 0xFFFFFFFF:
            raise StoreError(f"the values of a record up to '{field.name}' are longer than 4 GB")
        _put(cells, layout.offsets[field.name], ends.astype("<u4"))
        if counts is not None:
            _put(cells, layout.offsets[field.name] + 4, counts.astype("<u4"))
    return _joined([cells[:, 8:], *contents.values()])


def _joined(parts: Sequence[_Bytes | pa.Array]) -> list[bytes]:
    """The bytes of each row, one part after the other; four times as quick as Arrow's `to_pylist`."""
    if all(isinstance(part, np.ndarray) for part in parts):
        cells = np.ascontiguousarray(np.hstack(parts))
        return list(cells.view(f"V{cells.shape[1]}").reshape(-1).tolist())
    arrays = [_cells(part) if isinstance(part, np.ndarray) else part for part in parts]
    whole = pc.binary_join_element_wise(*arrays, _large(b""))
    content, offsets = _content(whole).tobytes(), _offsets(whole)
    return [content[start:end] for start, end in pairwise((offsets - offsets[0]).tolist())]


def _put(cells: _Bytes, offset: int, values: np.ndarray[Any, Any]) -> None:
    """Write values, one a row, or for wide ones the parts of each, from a place in the rows on."""
    if values.size:
        # As what they are: byte by byte it takes three times as long.
        target = np.ndarray(values.shape, values.dtype, cells, offset, (cells.shape[1], values.itemsize)[: values.ndim])
        target[:] = values


def _fixed_values(column: pa.Array, data_type: str) -> np.ndarray[Any, Any]:
    """The values of a column of fixed width, zero for null, little-endian."""
    if data_type == "bool":
        values: np.ndarray[Any, Any] = _bits(column.buffers()[1], column.offset, len(column))
    elif data_type.startswith("decimal"):
        halves = _numbers(column, "V16").view("<i8").reshape(-1, 2)
        values = halves[:, 0] if column.type.precision <= 18 else halves
    else:
        values = _numbers(column, "")
    if column.null_count:
        values = values.copy()
        values[_nulls(column)] = 0
    return values


def _varying(column: pa.Array, data_type: str) -> tuple[pa.Array, np.ndarray[Any, Any] | None]:
    """The bytes of each value of a column without fixed width, none for null; of lists also the numbers of elements."""
    element = element_of(data_type)
    if element is None:
        column = _plain(column)
        return column.cast(pa.large_binary()).fill_null(_large(b"")), None
    lists = column.cast(pa.large_list(column.type.value_type))
    if lists.null_count:
        lists = lists.fill_null(pa.scalar([], type=lists.type))
    offsets = _offsets(lists)
    values = _plain(lists.values)
    counts = np.diff(offsets)
    if values.null_count or element in ("string", "binary"):
        nested = [_list_content(element, each) for each in _pylists(lists)]
        return pa.array(nested, pa.large_binary()), counts
    flat = np.ascontiguousarray(_fixed_values(values, element)).view(np.uint8).reshape(-1)
    return _binary(offsets * (len(flat) // max(1, len(values))), flat), counts


def _pylists(lists: pa.Array) -> list[pa.Array]:
    offsets = _offsets(lists)
    values = _plain(lists.values)
    return [values[int(start) : int(end)] for start, end in pairwise(offsets)]


def _list_content(element: str, values: pa.Array) -> bytes:
    """Return the bytes of one list: its elements, of text their lengths before, and its bitmap of nulls."""
    if element in ("string", "binary"):
        data = values.cast(pa.large_binary()).to_pylist()
        lengths = [0xFFFFFFFF if value is None else len(value) for value in data]
        return struct.pack(f"<{len(data)}I", *lengths) + b"".join(value for value in data if value is not None)
    content = np.ascontiguousarray(_fixed_values(values, element)).tobytes()
    if values.null_count:
        content += np.packbits(_nulls(values), bitorder="little").tobytes()
    return content


def _plain(column: pa.Array) -> pa.Array:
    """The same values without a dictionary, with offsets of 64 bits."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type):
        return column.cast(pa.large_string())
    return column.cast(pa.large_binary()) if pa.types.is_binary(column.type) else column


def _nulls(column: pa.Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if not column.null_count:
        return np.zeros(len(column), dtype=bool)
    return ~_bits(column.is_valid().buffers()[1], 0, len(column)).view(np.bool_)


def _bits(buffer: pa.Buffer, offset: int, length: int) -> _Bytes:
    first = offset // 8
    data = np.frombuffer(buffer, dtype=np.uint8)[first : math.ceil((offset + length) / 8)]
    return np.unpackbits(data, bitorder="little")[offset - 8 * first :][:length]


def _numbers(column: pa.Array, dtype: str) -> np.ndarray[Any, Any]:
    """The values of a column without nulls as they lie in memory (pyarrow's own way to NumPy may load pandas)."""
    width = column.type.bit_width // 8
    letter = "f" if pa.types.is_floating(column.type) else "u" if pa.types.is_unsigned_integer(column.type) else "i"
    plain = dtype or f"<{letter}{width}"
    return np.frombuffer(column.buffers()[1], dtype=plain)[column.offset : column.offset + len(column)]


def _offsets(column: pa.Array) -> np.ndarray[Any, Any]:
    if not len(column):
        return np.zeros(1, dtype=np.int64)
    return np.frombuffer(column.buffers()[1], dtype=np.int64)[column.offset : column.offset + len(column) + 1]


def _content(column: pa.Array) -> _Bytes:
    offsets = _offsets(column)
    data = column.buffers()[2]
    return np.frombuffer(data or b"", dtype=np.uint8)[offsets[0] : offsets[-1]]


def _binary(offsets: np.ndarray[Any, Any], content: np.ndarray[Any, Any]) -> pa.Array:
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets, dtype=np.int64)), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _cells(cells: _Bytes) -> pa.Array:
    """The rows of a matrix of bytes."""
    rows, width = cells.shape
    return _binary(np.arange(rows + 1) * width, np.ascontiguousarray(cells).reshape(-1))


def _large(value: bytes) -> pa.Scalar:
    return _binary(np.array([0, len(value)]), np.frombuffer(value, dtype=np.uint8))[0]
