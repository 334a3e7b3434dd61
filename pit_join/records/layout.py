"""The bytes of one record: what an online store holds for one key of one feature view (docs/store-format.md).

A record is a header (written time, event time, schema id, flags), a bitmap of nulls, all values of fixed width in
descending width, what has no fixed width, and a checksum. This module lays records out and reads them; `arrow`
writes them from Arrow. It needs neither Arrow nor DuckDB.
"""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Context, Decimal
from functools import partial
from operator import itemgetter
from typing import Any
from zlib import crc32

import numpy as np
from xxhash import xxh3_64_digest

from pit_join.errors import StoreError
from pit_join.times import parse_instant

__all__ = [
    "CHECK",
    "HAS_NULLS",
    "HEADER",
    "NO_TIME",
    "SCALARS",
    "Decoder",
    "Field",
    "Layout",
    "checksum",
    "converter",
    "element_of",
    "instant",
    "moment_of",
    "scaled",
    "view_number",
]

# written time and event time (microseconds UTC), schema id, flags
HEADER = struct.Struct("<qqII")
HAS_NULLS = 1
NO_TIME = -(2**63)  # the event time of a static view, and of a window view whose windows are all empty
CHECK = 8
_CHECKED, _CHECKSUM = slice(None, -CHECK), slice(-CHECK, None)

# Type to the letter that `struct` and NumPy have for it, and its width.
SCALARS = {
    "bool": ("?", 1), "int8": ("b", 1), "uint8": ("B", 1), "int16": ("h", 2), "uint16": ("H", 2),
    "int32": ("i", 4), "uint32": ("I", 4), "int64": ("q", 8), "uint64": ("Q", 8), "float": ("f", 4), "double": ("d", 8),
    "date32": ("i", 4), "timestamp[s]": ("q", 8), "timestamp[ms]": ("q", 8), "timestamp[us]": ("q", 8),
    "timestamp[ns]": ("q", 8), "timestamp[s, UTC]": ("q", 8), "timestamp[ms, UTC]": ("q", 8),
    "timestamp[us, UTC]": ("q", 8), "timestamp[ns, UTC]": ("q", 8),
}  # fmt: skip
_VARYING = ("string", "binary")
_DECIMAL = re.compile(r"decimal\((\d+), (\d+)\)")
_TIMESTAMP = re.compile(r"timestamp\[(\w+)(, UTC)?\]")
_LIST = re.compile(r"list<(.+)>")
_DAMAGED = "a record of the online store is damaged (its checksum is wrong); remove the store and export anew"
_MOST_BITMAPS = 4096
_NULL_LENGTH = 0xFFFFFFFF
_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_ALL_DIGITS = Context(prec=100)
_EPOCH = {"": datetime(1970, 1, 1), ", UTC": datetime(1970, 1, 1, tzinfo=timezone.utc)}  # noqa: DTZ001 naive is a type


def view_number(name: str) -> int:
    """The crc32 of a view's name."""
    return crc32(name.encode())


def checksum(content: bytes | memoryview, view: int, key: bytes) -> bytes:
    """The eight bytes that end a record: XXH3 of all before them, most significant byte first.

    Its seed is the crc32 of the view's name and the key, so that a record under another key is a damaged one.
    """
    return xxh3_64_digest(content, crc32(key, view))


@dataclass(frozen=True, slots=True)
class Field:
    """A feature's name and its type.

    That is one of `SCALARS`, `string`, `binary`, `decimal(p, s)`, or `list<type>` of one of these.
    """

    name: str
    type: str


def element_of(data_type: str) -> str | None:
    """The type of a list's elements; None for all other types.

    >>> element_of("list<float>"), element_of("float")
    ('float', None)
    """
    found = _LIST.fullmatch(data_type)
    return found[1] if found else None


def _fixed(data_type: str) -> tuple[str, int]:
    """The code and width of what a value has in the part of fixed width."""
    if data_type in SCALARS:
        return SCALARS[data_type]
    if data_type in _VARYING:
        return "I", 4  # where its bytes end, counted from the end of the fixed part
    if found := _DECIMAL.fullmatch(data_type):
        return ("q", 8) if int(found[1]) <= 18 else ("16s", 16)
    element = element_of(data_type)
    if element and (element in SCALARS or element in _VARYING or _DECIMAL.fullmatch(element)):
        return "II", 8  # the same, and the number of elements
    raise StoreError(f"this version of pit-join does not know the type '{data_type}' of a record")


class Layout:
    """The places of a view's features in its records; `id` tells one layout from all others.

    `offsets` are bytes from the start of the record, `codes` how `struct` calls what lies there; `varying` are the
    features without a fixed width, in the order in which their bytes follow each other; `size` is the length of the
    part that all records have.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self.id = crc32(self.describe().encode())
        self.bitmap = HEADER.size
        codes = [_fixed(field.type) for field in self.fields]
        order = sorted(range(len(codes)), key=lambda i: -codes[i][1])
        start = self.bitmap + -(-len(self.fields) // 64) * 8
        self.offsets: dict[str, int] = {}
        self.codes = {field.name: code for field, (code, _) in zip(self.fields, codes, strict=True)}
        self.varying: list[Field] = []
        for i in order:
            field, (code, width) = self.fields[i], codes[i]
            self.offsets[field.name] = start
            start += width
            if code in ("I", "II") and field.type not in SCALARS:
                self.varying.append(field)
        self.size = start

    def describe(self) -> str:
        """The layout as text, from which it can be made again."""
        return json.dumps([[field.name, field.type] for field in self.fields], ensure_ascii=False)

    @classmethod
    def from_description(cls, text: str) -> Layout:
        """Read the text that `describe` returned."""
        return cls([Field(name, data_type) for name, data_type in json.loads(text)])

    def unpacker(self, names: Iterable[str]) -> tuple[_Unpack, dict[str, int]]:
        """Return a function that unpacks the header and the fixed parts of some features, and each one's position."""
        text, end, position = HEADER.format, HEADER.size, 4
        positions: dict[str, int] = {}
        for name in sorted(set(names), key=lambda name: self.offsets[name]):
            start, code = self.offsets[name], self.codes[name]
            text += f"{start - end}x{code}"
            end, positions[name] = start + struct.calcsize(f"<{code}"), position
            position += 2 if code == "II" else 1
        return struct.Struct(f"{text}{self.size - end}x").unpack_from, positions


class Decoder:
    """Reads some features of the records of one view, in the order given; `bits` are theirs in the bitmap of nulls.

    `view` is the view's number. The records in a store's contents, of defaults, have the key of no bytes.
    Values are Python's own: int, float, bool, Decimal, date, datetime (in UTC, or naive where the column is), str,
    bytes and lists; an instant in nanoseconds, or one that Python cannot hold, is a numpy.datetime64.
    """

    def __init__(self, layout: Layout, names: Sequence[str], view: int) -> None:
        self.layout, self.names = layout, tuple(names)
        self._id, self._view = layout.id, view
        self._id_bytes = struct.pack("<I", layout.id)
        number = {field.name: i for i, field in enumerate(layout.fields)}
        self.bits = [number[name] for name in names]
        varying, wanted = [field.name for field in layout.varying], set(names)
        before = {name: varying[i - 1] if i else None for i, name in enumerate(varying) if name in wanted}
        self._unpack, place = layout.unpacker([*names, *filter(None, before.values())])
        positions = [place[name] for name in names]
        first = positions[0] if positions else 0
        neighbours = positions == list(range(first, first + len(positions)))
        self._pick = itemgetter(slice(first, first + len(positions))) if neighbours else itemgetter(*positions)
        types = {field.name: field.type for field in layout.fields}
        readers = [
            _reader(types[name], place[name], place[other] if (other := before.get(name)) else None, layout.size)
            for name in names
        ]
        # Few of the bitmaps that are possible ever occur.
        self._nulls: dict[bytes, list[int]] = {}
        self._bitmap_end = layout.bitmap + -(-len(layout.fields) // 64) * 8
        self._readers = [(i, reader) for i, reader in enumerate(readers) if reader]

    def check(self, records: bytes, lengths: Sequence[int], keys: Sequence[bytes]) -> None:
        """Check that the records of keys, one after the other, are whole and of this layout.

        Raises:
            StoreError: if one of them is not.
        """
        view, start, least = memoryview(records), 0, self.layout.size + CHECK
        for length, key in zip(lengths, keys, strict=True):
            end = start + length
            if length and checksum(view[start : end - CHECK], self._view, key) != records[end - CHECK : end]:
                raise StoreError(_DAMAGED)
            if length and (length < least or records[start + 16 : start + 20] != self._id_bytes):
                raise self._refusal(records[start:end])
            start = end

    def read(self, record: bytes, key: bytes) -> tuple[int, tuple[Any, ...]]:
        """The event time (microseconds UTC) and the wanted values of a key's record; None for a null.

        Raises:
            StoreError: if the record is damaged, or of another layout.
        """
        if xxh3_64_digest(record[_CHECKED], crc32(key, self._view)) != record[_CHECKSUM]:
            raise StoreError(_DAMAGED)
        try:
            raw = self._unpack(record)
        except struct.error:
            raise self._refusal(record) from None
        if raw[2] != self._id:
            raise self._refusal(record)
        values = self._pick(raw)
        return raw[1], self._finished(raw, values, record) if raw[3] or self._readers else values

    def read_sound(self, records: bytes, start: int, length: int) -> tuple[int, tuple[Any, ...]]:
        """Read one of several records, which `check` has found to be whole; see `read`."""
        raw = self._unpack(records, start)
        values = self._pick(raw)
        if raw[3] or self._readers:
            values = self._finished(raw, values, records[start : start + length])
        return raw[1], values

    def _refusal(self, record: bytes) -> StoreError:
        if len(record) < HEADER.size:
            return StoreError(_DAMAGED)
        found = HEADER.unpack_from(record)[2]
        return StoreError(
            f"a record has another schema ({found:08x}) than the contents of its store say ({self._id:08x}); "
            "run pit-join export"
        )

    def _finished(self, raw: tuple[Any, ...], picked: tuple[Any, ...], record: bytes) -> tuple[Any, ...]:
        """The values that `struct` does not know: those without a number's form, and nulls."""
        values = list(picked)
        for i, reader in self._readers:
            values[i] = reader(raw, record)
        if raw[3] & HAS_NULLS:
            bitmap = record[self.layout.bitmap : self._bitmap_end]
            nulls = self._nulls.get(bitmap)
            if nulls is None:
                nulls = [i for i, bit in enumerate(self.bits) if bitmap[bit >> 3] >> (bit & 7) & 1]
                if len(self._nulls) < _MOST_BITMAPS:
                    self._nulls[bitmap] = nulls
            for i in nulls:
                values[i] = None
        return tuple(values)


_Reader = Callable[[tuple[Any, ...], bytes], Any]
_Unpack = Callable[..., tuple[Any, ...]]


def _reader(data_type: str, position: int, before: int | None, size: int) -> _Reader | None:
    """Return a function that makes a Python value of an unpacked record; None where `struct` already has."""
    if data_type in SCALARS or _DECIMAL.fullmatch(data_type):
        convert = converter(data_type)
        return None if convert is None else lambda raw, _: convert(raw[position])
    element = element_of(data_type)

    def content(raw: tuple[Any, ...], record: bytes) -> bytes:
        return record[size + (raw[before] if before is not None else 0) : size + raw[position]]

    if element is None:
        return (lambda raw, record: content(raw, record).decode()) if data_type == "string" else content
    read = _text_elements if element in _VARYING else _number_elements
    return lambda raw, record: read(element, content(raw, record), raw[position + 1])


def converter(data_type: str) -> Callable[[Any], Any] | None:
    """Return a function that makes a Python value of a stored number; None where the number is the value."""
    if found := _DECIMAL.fullmatch(data_type):
        scale = int(found[2])
        if int(found[1]) <= 18:
            return lambda number: scaled(number, scale)
        return lambda data: scaled(int.from_bytes(data, "little", signed=True), scale)
    if data_type == "date32":
        return _date
    if found := _TIMESTAMP.fullmatch(data_type):
        return partial(_time, found[1], found[2] or "")
    return None


def scaled(number: int, scale: int) -> Decimal:
    """A decimal from its digits as one number and how many of them stand after the point."""
    return _ALL_DIGITS.scaleb(Decimal(number), -scale)


def instant(microseconds: int) -> Any:
    """An instant in microseconds as a datetime in UTC; a numpy.datetime64 where Python has no such year."""
    return _time("us", ", UTC", microseconds)


def moment_of(now: str | date | None) -> int:
    """Return the instant at which ages are judged, in microseconds since 1970: the clock's for None.

    Raises:
        RequestError: see `parse_instant`, which reads everything but a plain datetime.
    """
    if now is None:
        return time.time_ns() // 1000
    if type(now) is not datetime:  # which is fastest here
        now = parse_instant(now)
    moment = now if now.tzinfo else now.replace(tzinfo=timezone.utc)
    return (moment - _EPOCH[", UTC"]) // timedelta(microseconds=1)


def _date(days: int) -> Any:
    try:
        return date.fromordinal(days + 719_163)
    except (ValueError, OverflowError):
        return np.datetime64(days, "D")


def _time(unit: str, zone: str, number: int) -> Any:
    if unit != "ns":
        try:
            return _EPOCH[zone] + timedelta(microseconds=number * _UNITS[unit])
        except OverflowError:
            pass
    return np.datetime64(number, unit)  # type: ignore[call-overload] # the unit is one of four


def _number_elements(element: str, content: bytes, count: int) -> list[Any]:
    code, width = _fixed(element)
    values = list(struct.unpack_from(f"<{count * code}" if len(code) > 1 else f"<{count}{code}", content))
    if convert := converter(element):
        values = [convert(value) for value in values]
    nulls = content[count * width :]
    return [None if nulls[i >> 3] >> (i & 7) & 1 else v for i, v in enumerate(values)] if nulls else values


def _text_elements(element: str, content: bytes, count: int) -> list[Any]:
    lengths = struct.unpack_from(f"<{count}I", content)
    start, values = 4 * count, []
    for length in lengths:
        end = start + (0 if length == _NULL_LENGTH else length)
        data = content[start:end]
        values.append(None if length == _NULL_LENGTH else data.decode() if element == "string" else data)
        start = end
    return values
