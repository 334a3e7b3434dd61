"""The values of a file, comparable to those of the rule within the precision of the file."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pit_join.training.equality import is_number, same
from pit_join.training.gather import row_numbers

__all__ = ["FileValues", "as_flags", "as_numbers", "is_numeric"]

_Floats = np.ndarray[Any, np.dtype[np.float64]]
_Flags = np.ndarray[Any, np.dtype[np.bool_]]

# The texts by which people's tools write a null.
_NULLS = pa.array(["", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "NAN", "NaT", "null", "NULL", "None", "#N/A"])
_FLAGS = {"true": 1.0, "false": 0.0, "t": 1.0, "f": 0.0, "yes": 1.0, "no": 0.0}
_SAMPLED = 10_000
_MOST_DECIMALS = 6  # of a rounded double; with more of them any value looks rounded
_EXACT = 2**53
_FEWEST_LEVELS = 5  # of a scaled column; fewer may be in order by chance


class FileValues:
    """A column of a file, comparable to values of one type.

    Args:
        column: the column as the file has it; the columns of a CSV file are texts.
        kind: the type of the values of the rule.
        tolerance: the most that floats may differ, relative to themselves, besides the precision of the file.

    `problem` says why the column cannot be compared; None if it can. `precision` says in words how the file rounds.
    """

    def __init__(self, column: pa.ChunkedArray, kind: pa.DataType, tolerance: float) -> None:
        self.problem: str | None = None
        self.precision: str | None = None
        self._kind, self._tolerance = kind, tolerance
        self._decimals: int | None = None
        self._digits: int | None = None
        found = _plain(column)
        if is_numeric(kind):
            self._values: Any = self._numbers(found)
        else:
            self._values = self._converted(found)

    def equal(self, expected: pa.Array, rows: Any = None) -> _Flags:
        """Return whether each value equals the expected one; of all values, or of some rows, given by their numbers."""
        if isinstance(self._values, pa.Array):
            own = self._values if rows is None else self._values.take(row_numbers(rows))
            return as_flags(same(own, self._wanted(_plain(expected)), self._tolerance))
        own = self._values if rows is None else self._values[rows]
        wanted = as_numbers(expected)
        missing = np.isnan(own) | np.isnan(wanted)
        with np.errstate(invalid="ignore"):
            near = (own == wanted) | (np.abs(own - wanted) <= self._allowed(own, wanted))
        return np.asarray(np.where(missing, np.isnan(own) & np.isnan(wanted), near))

    def _wanted(self, expected: pa.Array) -> pa.Array:
        if pa.types.is_timestamp(expected.type):
            return expected.cast(pa.timestamp("us"), safe=False).cast(pa.timestamp("us", "UTC"))
        if _is_text(expected.type):  # a CSV file has one form for both
            return pc.if_else(pc.equal(expected, ""), pa.scalar(None, expected.type), expected)
        return expected

    def in_order_of(self, expected: pa.Array, equal: _Flags) -> bool:
        """Return whether numbers are a rising or falling function of the expected ones, as scaled columns are.

        `equal` are rows that need no such function, because they are equal or hold a constant for a null.
        """
        own = self.numbers()
        if own is None or not is_numeric(expected.type):
            return False
        wanted = as_numbers(expected)
        if (np.isnan(own) != np.isnan(wanted))[~equal].any():
            return False
        known = ~np.isnan(own) & ~np.isnan(wanted)
        order = np.argsort(wanted[known], kind="stable")
        own, wanted = own[known][order], wanted[known][order]
        steps = np.diff(own)
        if (steps[np.diff(wanted) == 0] != 0).any() or len(np.unique(own)) < _FEWEST_LEVELS:
            return False
        return bool((steps >= 0).all() or (steps <= 0).all())

    def missing(self) -> _Flags:
        """Return whether each value is a null, or not a number."""
        if isinstance(self._values, pa.Array):
            return as_flags(self._values.is_null())
        return np.asarray(np.isnan(self._values))

    def most_frequent(self, rows: Any) -> tuple[Any, _Flags]:
        """Return the most frequent value of some rows, and for each of the rows whether it has that value."""
        if isinstance(self._values, pa.Array):
            own = self._values.take(row_numbers(rows))
            value = None if pa.types.is_nested(own.type) else _mode(own).as_py()
        else:
            values, counts = np.unique(self._values[rows], return_counts=True)
            value = float(values[np.argmax(counts)])
            value = int(value) if value.is_integer() else value
        return value, self.alike(value)[rows]

    def alike(self, value: Any) -> _Flags:
        """Return the rows that have a value of `most_frequent`."""
        if value is None:
            return np.zeros(len(self._values), bool)
        if isinstance(self._values, pa.Array):
            equal = pc.equal(self._values, pa.scalar(value, self._values.type))
            return as_flags(pc.fill_null(equal, False))
        return np.asarray(self._values == value)

    def shown(self, row: int) -> Any:
        """Return a value as Python has it."""
        value = self._values[row]
        if isinstance(value, pa.Scalar):
            return value.as_py()
        number = float(value)
        if number != number:
            return None
        return int(number) if number.is_integer() and not pa.types.is_floating(self._kind) else number

    def numbers(self) -> _Floats | None:
        """Return the values as floats, NaN for null; None if they are not numbers."""
        return as_numbers(self._values) if is_numeric(self._kind) else None

    def _numbers(self, column: pa.Array) -> Any:
        if _is_text(column.type):
            return self._of_texts(column)
        if not is_numeric(column.type):
            self.problem = f"it holds {column.type}, and the feature is a number"
            return np.full(len(column), np.nan)
        if pa.types.is_integer(column.type) and pa.types.is_integer(self._kind):
            return column  # a double does not tell large ones apart
        numbers = as_numbers(column)
        if pa.types.is_float16(column.type) or pa.types.is_float32(column.type):
            self.precision = "float16" if pa.types.is_float16(column.type) else "float32"
        elif pa.types.is_floating(column.type):
            self._find_rounding(numbers)
        return numbers

    def _of_texts(self, texts: pa.Array) -> Any:
        texts = pc.if_else(pc.is_in(texts, _NULLS), pa.scalar(None, texts.type), pc.utf8_trim_whitespace(texts))
        texts = _with_points(texts)
        if pa.types.is_integer(self._kind):
            with suppress(pa.ArrowInvalid):
                return texts.cast(pa.int64())
        try:
            numbers = as_numbers(texts.cast(pa.float64()))
        except pa.ArrowInvalid:
            lower = pc.utf8_lower(texts)
            odd = texts.filter(pc.invert(pc.is_in(lower, pa.array([*_FLAGS]))))
            if len(odd.drop_null()):
                self.problem = f"it holds '{odd.drop_null()[0].as_py()}', and the feature is a number"
                return np.full(len(texts), np.nan)
            numbers = as_numbers(pc.is_in(lower, pa.array([name for name, flag in _FLAGS.items() if flag])))
            numbers[as_flags(texts.is_null())] = np.nan
            return numbers
        some = [text for text in _sample(texts).drop_null().to_pylist() if text[-1:].isdigit()]
        places = [_places(text) for text in some]
        if places and max(digits for _, digits in places) < 15:
            self._decimals = max(decimals for decimals, _ in places)
            self._digits = max(digits for _, digits in places)
            if any(decimals for decimals, _ in places):
                self.precision = f"printed with up to {self._decimals} decimals"
        if self._digits is None or self._digits > 6:
            self._find_float32(numbers)
        return numbers

    def _find_rounding(self, numbers: _Floats) -> None:
        some = numbers[:: max(1, len(numbers) // _SAMPLED)]
        some = some[np.isfinite(some)]
        if not len(some) or not np.abs(some).max() < _EXACT:
            return
        for decimals in range(_MOST_DECIMALS + 1):
            scaled = some * 10.0**decimals
            if (np.abs(scaled - np.round(scaled)) <= 1e-9 * np.maximum(1, np.abs(scaled))).all():
                self._decimals = decimals
                self.precision = f"rounded to {decimals} decimals" if decimals else None
                return
        self._find_float32(numbers)

    def _find_float32(self, numbers: _Floats) -> None:
        """Find out whether all values are floats of 32 bits, as they are, or in the shortest text."""
        some = numbers[:: max(1, len(numbers) // 1000)]
        some = some[np.isfinite(some) & (some != np.round(some))]
        if not len(some):
            return
        with np.errstate(over="ignore"):
            narrow = some.astype(np.float32)
        if (narrow == some).all() or all(float(str(one)) == own for one, own in zip(narrow, some, strict=True)):
            self.precision = "float32"

    def _allowed(self, own: _Floats, wanted: _Floats) -> _Floats:
        """Return the most by which each value may differ from the expected one."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            size = np.abs(wanted)
            relative = {"float32": 2.0**-23, "float16": 2.0**-10}.get(self.precision or "", 0.0)
            allowed = size * max(self._tolerance, relative)
            half = 0.5 * (1 + 1e-9)
            if self._decimals is not None:
                allowed = np.maximum(allowed, half * 10.0**-self._decimals)
            if self._digits is not None:
                exponent = np.floor(np.log10(np.where(own == 0, 1, np.abs(own))))
                allowed = np.maximum(allowed, half * 10.0 ** (exponent - self._digits + 1))
        # A half of the last place also separates whole numbers, which are never rounded to others.
        return np.where(np.isfinite(allowed), allowed, 0)

    def _converted(self, column: pa.Array) -> pa.Array:
        kind = pa.timestamp("us", "UTC") if pa.types.is_timestamp(self._kind) else self._kind
        texts = _is_text(column.type)
        if texts:
            nulls = pc.equal(column, "") if _is_text(kind) else pc.is_in(column, _NULLS)
            column = pc.if_else(nulls, pa.scalar(None, column.type), column)
        try:
            if texts and pa.types.is_timestamp(kind):
                return _times(column)
            return column.cast(kind, safe=False) if pa.types.is_timestamp(kind) else column.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            self.problem = f"it holds {column.type}, which cannot be read as {self._kind}"
            return pa.nulls(len(column), self._kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_numeric(kind: pa.DataType) -> bool:
    """Return whether values of a type are compared as numbers; flags are 0 and 1."""
    return is_number(kind) or bool(pa.types.is_boolean(kind))


def as_numbers(column: pa.Array | _Floats) -> _Floats:
    """Return numbers as floats of 64 bits, NaN for null."""
    if isinstance(column, np.ndarray):
        return column
    column = _plain(column)
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if not pa.types.is_float64(column.type):
        column = column.cast(pa.float64(), safe=False)
    if column.null_count:
        column = pc.fill_null(column, float("nan"))
    return np.array(np.from_dlpack(column))


def as_flags(column: pa.Array) -> _Flags:
    """Return flags in NumPy, without loading pandas."""
    return np.asarray(np.from_dlpack(_plain(column).cast(pa.uint8())) > 0)


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):  # of no chunks
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _sample(values: pa.Array) -> pa.Array:
    step = max(1, len(values) // _SAMPLED)
    return values.take(row_numbers(np.arange(0, len(values), step)))


def _places(text: str) -> tuple[int, int]:
    """Return the decimals and the significant digits with which a number is written."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("+-").partition(".")
    fraction = fraction.rstrip("0")
    digits = (whole + fraction).lstrip("0")
    return max(0, len(fraction) - int(exponent or 0)), len(digits) or 1


def _with_points(texts: pa.Array) -> pa.Array:
    """Return numbers with points instead of decimal commas, unless these may separate thousands."""
    commas = texts.filter(pc.fill_null(pc.match_substring(texts, ","), False))

    def are(pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(commas, pattern)).as_py())

    if not len(commas) or not are("^-?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?$") or are(",[0-9]{3}$"):
        return texts
    return pc.replace_substring(texts, ",", ".")


def _mode(values: pa.Array) -> pa.Scalar:
    counted = pc.value_counts(values)
    return counted.field("values")[pc.index(counted.field("counts"), pc.max(counted.field("counts"))).as_py()]


def _times(texts: pa.Array) -> pa.Array:
    """Read times; those without a time zone are UTC."""
    try:
        return texts.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        return texts.cast(pa.timestamp("us", "UTC"))
