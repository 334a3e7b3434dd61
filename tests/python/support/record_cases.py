"""Values of every type that a record can hold, and the bytes of a record, written plainly."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

AT = datetime(2026, 3, 1, tzinfo=timezone.utc)


# What the records here belong to, where a test does not say otherwise.
VIEW, KEY = "v", b"k\0\0"


RUN = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)


@dataclass(frozen=True)
class Type:
    """A type of features, and its values as what the store keeps of them: integers for instants and decimals.

    `plain` writes one value, `python` is what a reader must give for it.
    """

    name: str
    arrow: pa.DataType
    values: st.SearchStrategy[Any]
    plain: Callable[[Any], bytes]
    python: Callable[[Any], Any]
    element: Type | None = None

    @property
    def width(self) -> int:
        """Bytes in the part of fixed width."""
        if self.element:
            return 8
        return 4 if self.name in VARYING else len(self.plain(self.nothing))

    @property
    def nothing(self) -> Any:
        """What stands where a value of fixed width is null."""
        return 0.0 if self.name in ("float", "double") else 0

    def array(self, values: Sequence[Any]) -> pa.Array:
        """The values as DuckDB gives them."""
        if pa.types.is_decimal(self.arrow):
            # What lies under a null is no zero.
            data = b"".join((7 if value is None else value).to_bytes(16, "little", signed=True) for value in values)
            bits = bitmap([value is not None for value in values], -(-len(values) // 8))
            return pa.Array.from_buffers(self.arrow, len(values), [pa.py_buffer(bits), pa.py_buffer(data)])
        if pa.types.is_dictionary(self.arrow):
            numbers = [None if value is None else WORDS.index(value) for value in values]
            return pa.DictionaryArray.from_arrays(pa.array(numbers, pa.uint8()), pa.array(WORDS, pa.string()))
        if self.element:
            return self._list_array(self.element, values)
        return pa.array(values, self.arrow)

    def _list_array(self, element: Type, rows: Sequence[Any]) -> pa.Array:
        mask = pa.array([row is None for row in rows], pa.bool_())
        if pa.types.is_fixed_size_list(self.arrow):
            size = self.arrow.list_size
            flat = element.array([each for row in rows for each in (row or [None] * size)])
            return pa.FixedSizeListArray.from_arrays(flat, size, mask=mask)
        flat = element.array([each for row in rows for each in (row or ())])
        offsets = np.cumsum([0, *(len(row or ()) for row in rows)])
        if pa.types.is_large_list(self.arrow):
            return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), flat, mask=mask)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat, mask=mask)


VARYING = ("string", "binary")
WORDS = ("b", "", "é日", "a\0")
EPOCH = datetime(1970, 1, 1)
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


def as_is(value: Any) -> Any:
    return value


def day(days: int) -> Any:
    known = date.min.toordinal() <= days + 719_163 <= date.max.toordinal()
    return date.fromordinal(days + 719_163) if known else np.datetime64(days, "D")


def instant(unit: str, zone: str | None) -> Callable[[int], Any]:
    def python(number: int) -> Any:
        try:
            if unit == "ns":
                raise OverflowError
            seconds, rest = divmod(number, PER_SECOND[unit])
            moment = EPOCH + timedelta(seconds=seconds, microseconds=rest * 1_000_000 // PER_SECOND[unit])
            return moment.replace(tzinfo=timezone.utc) if zone else moment
        except OverflowError:
            return np.datetime64(number, unit)

    return python


def integers(name: str, code: str, low: int, high: int) -> Type:
    edges = st.sampled_from([low, high, 0, 1])
    return Type(name, getattr(pa, name)(), edges | st.integers(low, high), struct.Struct(f"<{code}").pack, as_is)


def instants(unit: str, zone: str | None) -> Type:
    most = 2**63 - 1
    infinite = st.sampled_from([most, -most, 0, -1, 1])
    near = st.integers(-(10**9) * PER_SECOND.get(unit, 10**9), 4 * 10**9 * PER_SECOND.get(unit, 10**9) // 2)
    name = f"timestamp[{unit}, UTC]" if zone else f"timestamp[{unit}]"
    values = infinite | near | st.integers(-most, most)
    return Type(name, pa.timestamp(unit, zone), values, struct.Struct("<q").pack, instant(unit, zone))


def decimals(precision: int, scale: int) -> Type:
    width, most = 8 if precision <= 18 else 16, 10**precision - 1

    def python(number: int) -> Decimal:
        digits = tuple(map(int, str(abs(number))))
        return Decimal((int(number < 0), digits, -scale))

    return Type(
        f"decimal({precision}, {scale})",
        pa.decimal128(precision, scale),
        st.sampled_from([0, 1, -1, most, -most]) | st.integers(-most, most),
        lambda number: number.to_bytes(width, "little", signed=True),
        python,
    )


def single(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


TEXT = st.text(st.sampled_from("a\0é日😀 ") | st.characters(codec="utf-8"), max_size=9)
SINGLES = st.floats(width=32) | st.sampled_from([-0.0, math.nan, math.inf, -math.inf, 2.0**-149])
DOUBLES = st.floats() | st.sampled_from([-0.0, math.nan, -math.nan, math.inf, 5e-324])
WIDTHS = {8: "b", 16: "h", 32: "i", 64: "q"}
SCALAR = [
    Type("bool", pa.bool_(), st.booleans(), lambda value: bytes([value]), as_is),
    *(integers(f"int{size}", c, -(2 ** (size - 1)), 2 ** (size - 1) - 1) for size, c in WIDTHS.items()),
    *(integers(f"uint{size}", c.upper(), 0, 2**size - 1) for size, c in WIDTHS.items()),
    Type("float", pa.float32(), SINGLES, struct.Struct("<f").pack, single),
    Type("double", pa.float64(), DOUBLES, struct.Struct("<d").pack, as_is),
    *(decimals(*of) for of in ((4, 2), (1, 0), (18, 0), (18, 18), (19, 3), (38, 0), (38, 38))),
    Type("date32", pa.date32(), st.integers(-(2**31) + 1, 2**31 - 1) | st.integers(-9999, 9999),
         struct.Struct("<i").pack, day),
    *(instants(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC")),
]  # fmt: skip


BYTES = [
    Type("string", pa.large_string(), TEXT, str.encode, as_is),
    Type("string", pa.string(), TEXT, str.encode, as_is),
    Type("string", pa.dictionary(pa.uint8(), pa.string()), st.sampled_from(WORDS), str.encode, as_is),
    Type("binary", pa.large_binary(), st.binary(max_size=9), as_is, as_is),
    Type("binary", pa.binary(), st.binary(max_size=9), as_is, as_is),
]


def plain_list(element: Type, values: Sequence[Any]) -> bytes:
    """The bytes of a list."""
    if element.name in VARYING:
        texts = [None if value is None else element.plain(value) for value in values]
        lengths = [0xFFFFFFFF if text is None else len(text) for text in texts]
        return struct.pack(f"<{len(values)}I", *lengths) + b"".join(text or b"" for text in texts)
    content = b"".join(element.plain(element.nothing if value is None else value) for value in values)
    if None in values:
        content += bitmap([value is None for value in values], -(-len(values) // 8))
    return content


def bitmap(bits: Sequence[bool], size: int) -> bytes:
    return sum(1 << i for i, bit in enumerate(bits) if bit).to_bytes(size, "little")


def list_of(element: Type, arrow: pa.DataType | None = None) -> Type:
    arrow = arrow or pa.large_list(element.arrow)
    size = arrow.list_size if pa.types.is_fixed_size_list(arrow) else None
    low, high = (0, 18) if size is None else (size, size)
    return Type(
        f"list<{element.name}>",
        arrow,
        st.lists(element.values, min_size=low, max_size=high)
        | st.lists(st.none() | element.values, min_size=low, max_size=high),
        lambda value: plain_list(element, value),
        lambda value: [None if each is None else element.python(each) for each in value],
        element,
    )


BY_NAME = {kind.name: kind for kind in SCALAR}


@dataclass(frozen=True)
class Rows:
    """Rows of features, and their event times."""

    types: list[Type]
    values: list[tuple[Any, ...]]
    events: list[int | None]

    def table(self, first: int, last: int) -> pa.Table:
        """Rows as DuckDB gives them; the key is the number of the row."""
        columns = {
            "k": pa.array(range(first, last), pa.int32()),
            "_pit_event": pa.array(self.events[first:last], pa.int64()),
        }
        for i, kind in enumerate(self.types):
            columns[f"f{i}"] = kind.array([row[i] for row in self.values[first:last]])
        return pa.table(columns)


def plain_record(
    rows: Rows, number: int, written: int = 0, names: Sequence[str] = (), view: str = VIEW, key: bytes = KEY
) -> bytes:
    """The record of one row, value by value; features are `f0` and so on, or have `names`."""
    row, event = rows.values[number], rows.events[number]
    names = names or [f"f{i}" for i in range(len(row))]
    pairs = [[name, kind.name] for name, kind in zip(names, rows.types, strict=True)]
    description = json.dumps(pairs, ensure_ascii=False)
    nulls = [value is None for value in row]
    head = struct.pack(
        "<qqII", written, -(2**63) if event is None else event, zlib.crc32(description.encode()), int(any(nulls))
    )
    fixed, varying = b"", b""
    for kind, value in sorted(zip(rows.types, row, strict=True), key=lambda each: -each[0].width):
        if kind.element or kind.name in VARYING:
            varying += b"" if value is None else kind.plain(value)
            fixed += struct.pack("<I", len(varying))
            fixed += struct.pack("<I", len(value or ())) if kind.element else b""
        else:
            fixed += kind.plain(kind.nothing if value is None else value)
    whole = head + bitmap(nulls, -(-len(row) // 64) * 8) + fixed + varying
    return whole + struct.pack(">Q", xxh3_64_intdigest(whole, zlib.crc32(view.encode() + key)))


def same(one: Any, other: Any) -> bool:
    """Equal, of one type, and the same in what Python's == does not see."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or struct.pack("<d", one) == struct.pack("<d", other)
    if isinstance(one, Decimal):
        return one.as_tuple() == other.as_tuple()
    if isinstance(one, np.datetime64):
        return one.dtype == other.dtype and bool(one == other)
    return bool(one == other) and getattr(one, "tzinfo", None) == getattr(other, "tzinfo", None)
