"""Join keys as bytes, which sort as DuckDB sorts the keys (docs/store-format.md).

Each part of a composite key says where it ends, so that `a|bc` is never `ab|c`.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Context, Decimal, Inexact, InvalidOperation
from itertools import repeat
from numbers import Integral, Real
from operator import index
from typing import Any
from uuid import UUID

import numpy as np

from pit_join.errors import EntityError
from pit_join.records.layout import converter, scaled

__all__ = ["ONLY_KEY", "KeyCodec", "Single", "integer_cells", "is_missing", "key_kind"]

ONLY_KEY = b"\0"
"""The key of the only record of a view without keys; no bytes would be the key that no record has."""

_INTEGER = re.compile(r"u?int(8|16|32|64)")
_DECIMAL = re.compile(r"decimal\((\d+), (\d+)\)")
_TIME = re.compile(r"timestamp\[(s|ms|us|ns)(, UTC)?\]")
_UUID = re.compile(r"(\{)?[0-9a-fA-F-]+(?(1)\})")  # in any spelling that DuckDB reads
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_END = b"\0\0"
_MISSING = ("NaTType", "NAType")  # of pandas, by name, since it may not be installed
_BOOLEANS = (bool, np.bool_)  # NumPy's has an index, with a warning, until NumPy 2.4
_MOST_DIGITS = 38
_FEW = 8  # values, for which an array takes longer
_EXACT = Context(prec=100, traps=[Inexact])
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Single:
    """A value that stands for all rows."""

    value: Any


class _Nowhere(Exception):
    """A value that no key of its type can be equal to."""


def key_kind(data_type: str) -> str | None:
    """Return the kind in which keys of a type (see `records.layout.Field`) are written, None for other types.

    Integers of all widths are one kind, so that views of one entity may differ in that.

    >>> key_kind("int32"), key_kind("decimal(4, 2)"), key_kind("list<int8>")
    ('integer', 'decimal(4, 2)', None)
    """
    if _INTEGER.fullmatch(data_type):
        return "integer"
    if data_type in ("float", "double", "string", "uuid", "binary", "bool", "date32"):
        return data_type
    return data_type if _DECIMAL.fullmatch(data_type) or _TIME.fullmatch(data_type) else None


def is_missing(value: Any) -> bool:
    """Return whether a value is null: None, or what pandas and NumPy have in its place."""
    return value is None or type(value).__name__ in _MISSING or (isinstance(value, np.datetime64) and np.isnat(value))


class KeyCodec:
    """Writes and reads the keys of one view.

    `kinds` are the columns of the key, in order and as requests call them, with their kinds. A view without keys
    has one record, whose key is `ONLY_KEY`.
    """

    def __init__(self, kinds: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
        pairs = tuple(kinds.items() if isinstance(kinds, Mapping) else kinds)
        self.columns = tuple(column for column, _ in pairs)
        self.kinds = tuple(kind for _, kind in pairs)
        self._writers = tuple(_writer(kind) for kind in self.kinds)
        self._only = (self.columns[0], self._writers[0]) if len(pairs) == 1 else None

    def encode(self, row: Mapping[str, Any]) -> bytes | None:
        """Return the key of a row of a request; None for a null key, also for a NaT or NA of pandas and NumPy.

        A value that cannot be in the store, such as a number beyond the column's type, makes a key without a record.

        Raises:
            EntityError: if a part is missing, or is of another type than the column.
        """
        try:
            if self._only:
                column, write = self._only
                value = row[column]
                return None if value is None else write(value)
            values = [row[column] for column in self.columns]
            if None in values:
                return None
            return b"".join([write(value) for write, value in zip(self._writers, values, strict=True)]) or ONLY_KEY
        except (_Nowhere, UnicodeEncodeError):
            return None if self._has_null(row) else b""
        except KeyError as error:
            raise EntityError(
                f"the entity row {dict(row)!r} has no '{error.args[0]}'; it needs {', '.join(self.columns)}"
            ) from None
        except (TypeError, ValueError, struct.error, InvalidOperation, OverflowError):
            if self._has_null(row):
                return None
            raise EntityError(self._misfit(row)) from None

    def _has_null(self, row: Mapping[str, Any]) -> bool:
        return any(is_missing(row[column]) for column in self.columns)

    def encode_all(self, columns: Sequence[Sequence[Any] | Single], rows: int) -> list[bytes | None]:
        """The keys of many rows, given as columns in the order of the key.

        Raises:
            EntityError: as `encode`.
        """
        if not self.columns:
            return [ONLY_KEY] * rows
        try:
            parts = [
                repeat(_writer(kind)(column.value), rows) if isinstance(column, Single) else _write_all(kind, column)
                for kind, column in zip(self.kinds, columns, strict=True)
            ]
        except Exception:  # a null, or one that does not fit: row by row it is told which
            wide = [repeat(column.value, rows) if isinstance(column, Single) else column for column in columns]
            return [self.encode(dict(zip(self.columns, row, strict=True))) for row in zip(*wide, strict=True)]
        return list(parts[0]) if len(parts) == 1 else [b"".join(row) for row in zip(*parts, strict=True)]

    def decode(self, key: bytes) -> dict[str, Any]:
        """The values of a stored key, by column."""
        values, start = {}, 0
        for column, kind in zip(self.columns, self.kinds, strict=True):
            values[column], start = _read(kind, key, start)
        return values

    def read(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """The parts of a key that are given, from text.

        Raises:
            EntityError: if a text does not fit the type.
        """
        found: dict[str, Any] = {}
        for column, kind in zip(self.columns, self.kinds, strict=True):
            if column not in texts:
                continue
            text = texts[column]
            try:
                found[column] = _from_text(kind, text)
            except (ValueError, InvalidOperation, KeyError):
                raise EntityError(f"key '{column}': '{text}' is not of type {kind}") from None
        return found

    def _misfit(self, row: Mapping[str, Any]) -> str:
        for column, kind, write in zip(self.columns, self.kinds, self._writers, strict=True):
            try:
                write(row[column])
            except (_Nowhere, UnicodeEncodeError):
                continue
            except Exception:
                value = row[column]
                if kind == "uuid" and isinstance(value, str):
                    return f"the key '{column}' must be a UUID, and {value!r} is not one"
                wrong = f"the key '{column}' is of type {kind}, and {value!r} is {type(value).__name__}"
                if isinstance(value, float) and (math.isnan(value) or (kind == "integer" and value.is_integer())):
                    meant = None if math.isnan(value) else int(value)
                    return f"{wrong}; give {meant}, or the whole frame, if that is how pandas has it"
                return wrong
        return f"the entity row {dict(row)!r} cannot be read"


def _from_text(kind: str, text: str) -> Any:
    if kind == "integer":
        return int(text)
    if kind in ("float", "double"):
        return float(text)
    if kind == "bool":
        return {"true": True, "false": False}[text.lower()]
    if kind == "binary":
        return text.encode()
    if kind == "date32":
        return date.fromisoformat(text)
    if kind.startswith("timestamp"):
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    return Decimal(text) if kind.startswith("decimal") else text


def _writer(kind: str) -> Callable[[Any], bytes]:
    if kind in ("string", "uuid"):
        return _write_text if kind == "string" else _write_uuid
    if found := _DECIMAL.fullmatch(kind):
        scale = int(found[2])
        return lambda value: _write_number(_scaled(value, scale), 16)
    if found := _TIME.fullmatch(kind):
        per_second = _PER_SECOND[found[1]]
        return lambda value: _write_number(_ticks(value, per_second), 8)
    return {
        "integer": _write_integer, "double": _write_float, "float": _write_float, "binary": _write_binary,
        "bool": _write_flag, "date32": lambda value: _write_number(_days(value), 4),
    }[kind]  # fmt: skip


def _write_all(kind: str, values: Sequence[Any]) -> list[bytes]:
    if kind == "integer" and len(values) > _FEW:
        numbers = np.array(values)
        # A flag among numbers would become a number.
        if numbers.dtype == np.int64 and numbers.ndim == 1 and set(_BOOLEANS).isdisjoint(map(type, values)):
            content = integer_cells(numbers).tobytes()
            return [content[start : start + 9] for start in range(0, len(content), 9)]
    write = _writer(kind)
    return [write(value) for value in values]


def integer_cells(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The keys of integers (int64 or uint64) as the rows of a matrix, nine bytes each."""
    cells = np.empty((len(numbers), 9), dtype=np.uint8)
    cells[:, 0] = np.where(numbers < 0, 0x7F, 0x80)
    cells[:, 1:] = numbers.astype(numbers.dtype.newbyteorder(">")).view(np.uint8).reshape(-1, 8)
    return cells


def _write_text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError
    return value.encode().replace(b"\0", b"\0\xff") + _END


def _write_uuid(value: Any) -> bytes:
    if isinstance(value, str):
        if not _UUID.fullmatch(value):
            raise ValueError
        value = UUID(value)
    elif not isinstance(value, UUID):
        raise TypeError
    return str(value).encode() + _END


def _write_binary(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError
    return bytes(memoryview(value)).replace(b"\0", b"\0\xff") + _END


def _write_integer(value: Any) -> bytes:
    if isinstance(value, _BOOLEANS):
        raise TypeError
    number = index(value)
    return _write_number(number, 9)


def _write_number(number: int, width: int) -> bytes:
    try:
        return (number + (1 << 8 * width - 1)).to_bytes(width, "big")
    except OverflowError:
        raise _Nowhere from None


def _write_flag(value: Any) -> bytes:
    if not isinstance(value, _BOOLEANS):
        raise TypeError
    return b"\1" if value else b"\0"


def _write_float(value: Any) -> bytes:
    if isinstance(value, _BOOLEANS) or not isinstance(value, (Real, Decimal)):
        raise TypeError
    try:
        number = float(value) + 0.0  # -0.0 equals 0.0; a NaN sorts last
    except OverflowError:
        raise _Nowhere from None
    if isinstance(value, Integral) and number != int(value):
        raise _Nowhere  # above 2^53 there are integers that no float equals
    (bits,) = struct.unpack(">Q", struct.pack(">d", number if number == number else float("nan")))
    return int(bits ^ (0xFFFFFFFFFFFFFFFF if bits >> 63 else 1 << 63)).to_bytes(8, "big")


def _scaled(value: Any, scale: int) -> int:
    if isinstance(value, _BOOLEANS):
        raise TypeError
    if not isinstance(value, Decimal):
        return int(index(value) * 10**scale)
    try:
        number = _EXACT.scaleb(value, scale)
    except Inexact:  # more digits than any key has
        raise _Nowhere from None
    if not number.is_finite() or number.adjusted() >= _MOST_DIGITS or number != int(number):
        raise _Nowhere
    return int(number)


def _ticks(value: Any, per_second: int) -> int:
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        # A pandas Timestamp has nanoseconds besides.
        number = (moment - _EPOCH) // timedelta(microseconds=1) * 1_000 + getattr(value, "nanosecond", 0)
        unit = "ns"
    else:
        number, unit = _numpy_time(value)
    ticks, rest = divmod(number * per_second, _PER_SECOND[unit])
    if rest:
        raise _Nowhere
    return int(ticks)


def _numpy_time(value: Any) -> tuple[int, str]:
    """A numpy.datetime64 as a number of a unit: its own, since in a finer one it may be too large."""
    if not isinstance(value, np.datetime64):
        raise TypeError
    unit = np.datetime_data(value.dtype)[0]
    whole = value.astype(f"datetime64[{unit if unit in _PER_SECOND else 's'}]")
    if whole != value:  # finer than nanoseconds, or no time at all
        raise _Nowhere
    return int(whole.astype(np.int64)), np.datetime_data(whole.dtype)[0]


def _days(value: Any) -> int:
    if isinstance(value, str):
        value = date.fromisoformat(value)
    if isinstance(value, np.datetime64) and np.datetime_data(value.dtype)[0] == "D":  # also beyond Python's dates
        return int(value.astype(np.int64))
    if isinstance(value, datetime) or not isinstance(value, date):
        raise TypeError
    return int(value.toordinal()) - 719_163


def _read(kind: str, key: bytes, start: int) -> tuple[Any, int]:
    """The value of one part of a key, and where the next begins."""
    if kind in ("string", "uuid", "binary"):
        end = start
        while key[end : end + 2] != _END:
            end = key.index(b"\0", end) if key[end] else end + 2
        data = key[start:end].replace(b"\0\xff", b"\0")
        return (data if kind == "binary" else data.decode()), end + 2
    if kind == "bool":
        return key[start] == 1, start + 1
    if kind in ("float", "double"):
        bits = int.from_bytes(key[start : start + 8], "big")
        bits ^= (1 << 63) if bits >> 63 else 0xFFFFFFFFFFFFFFFF
        return struct.unpack(">d", bits.to_bytes(8, "big"))[0], start + 8
    width = {"integer": 9, "date32": 4}.get(kind) or (16 if kind.startswith("decimal") else 8)
    number = int.from_bytes(key[start : start + width], "big") - (1 << 8 * width - 1)
    return _value(kind, number), start + width


def _value(kind: str, number: int) -> Any:
    if found := _DECIMAL.fullmatch(kind):
        return scaled(number, int(found[2]))
    convert = converter(kind) if kind != "integer" else None
    return convert(number) if convert else number
