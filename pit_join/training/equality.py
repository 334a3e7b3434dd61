"""Columns of values compared row by row, whichever library or file they come from."""

from __future__ import annotations

from contextlib import suppress
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pit_join.errors import PitJoinError
from pit_join.records.arrow import is_list, values_of
from pit_join.training.gather import row_numbers
from pit_join.training.spine_hash import lasting_type

__all__ = ["check_tolerance", "comparable", "is_number", "pairs", "same"]


def same(one: pa.Array, other: pa.Array, tolerance: float | None = None) -> pa.Array:
    """Compare two columns row by row; two nulls are equal, and so are two NaNs.

    Columns that differ only in the width of numbers and texts, or in the form of lists, are compared by value. Floats
    may differ by the tolerance, relative to the greater, as for `math.isclose`.
    """
    one, other = _plain(one), _plain(other)
    both_null = pc.and_(pc.is_null(one), pc.is_null(other))
    if is_list(one.type) and is_list(other.type):
        return pc.or_(both_null, _same_lists(one, other, tolerance))
    if pa.types.is_struct(one.type) and pa.types.is_struct(other.type):
        return pc.or_(both_null, _same_structs(one, other, tolerance))
    if one.type != other.type:
        wide = _widest(one.type)
        if wide != _widest(other.type):
            return both_null
        one, other = one.cast(wide), other.cast(wide)
    equal = pc.fill_null(pc.equal(one, other), False)
    if pa.types.is_floating(one.type):
        equal = pc.or_(equal, pc.and_(*(pc.fill_null(pc.is_nan(each), False) for each in (one, other))))
        if tolerance:
            equal = pc.or_(
                equal, pc.fill_null(_close(one.cast(pa.float64()), other.cast(pa.float64()), tolerance), False)
            )
    return pc.or_(both_null, equal)


def check_tolerance(tolerance: Any) -> None:
    """Check a caller's tolerance.

    Raises:
        PitJoinError: if it is not a number from 0 on.
    """
    if not (isinstance(tolerance, (int, float)) and 0 <= tolerance < float("inf")):
        raise PitJoinError(f"the tolerance is a number from 0 on, such as 1e-9, and not {tolerance!r}")


def _widest(kind: pa.DataType) -> pa.DataType:
    """Return the widest type of a kind: it holds every value of the types that differ only in width."""
    if pa.types.is_timestamp(kind):
        return kind if kind.unit == "ns" else pa.timestamp("us", kind.tz)
    for are_like_it, wide in (
        (pa.types.is_integer, pa.decimal128(20, 0)),
        (pa.types.is_floating, pa.float64()),
        (pa.types.is_decimal, pa.decimal256(76, 38)),
        (pa.types.is_string, pa.large_string()),
        (pa.types.is_binary, pa.large_binary()),
    ):
        if are_like_it(kind):
            return wide
    return kind


def _close(one: pa.Array, other: pa.Array, tolerance: float) -> pa.Array:
    largest = pc.max_element_wise(pc.abs(one), pc.abs(other), skip_nulls=False)
    near = pc.less_equal(pc.abs(pc.subtract(one, other)), pc.multiply(largest, tolerance))
    return pc.and_(near, pc.and_(pc.is_finite(one), pc.is_finite(other)))


def _same_lists(one: pa.Array, other: pa.Array, tolerance: float | None) -> pa.Array:
    alike = pc.fill_null(pc.equal(pc.list_value_length(one), pc.list_value_length(other)), False)
    rows = pc.indices_nonzero(alike)
    one, other = one.take(rows), other.take(rows)
    elements = same(pc.list_flatten(one), pc.list_flatten(other), tolerance)
    wrong = pc.list_parent_indices(one).filter(pc.invert(elements))
    numbers = pa.array(range(len(rows)), pa.int64())
    right = rows.filter(pc.invert(pc.is_in(numbers, wrong.cast(pa.int64()))))
    return pc.is_in(pa.array(range(len(alike)), pa.uint64()), right)


def _same_structs(one: pa.Array, other: pa.Array, tolerance: float | None) -> pa.Array:
    if [field.name for field in one.type] != [field.name for field in other.type]:
        return pa.array([False] * len(one))
    fields = (same(pc.struct_field(one, i), pc.struct_field(other, i), tolerance) for i in range(one.type.num_fields))
    return reduce(pc.and_, fields, pc.and_(one.is_valid(), other.is_valid()))


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def comparable(one: pa.ChunkedArray, other: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Return two columns so that `same` compares their values, where only the form of the types differs.

    Zoned times become UTC in the finer unit, numbers of different kinds floats, maps lists, and extension types what
    they are stored as.
    """
    arrays = [_simple(column.cast(lasting_type(column.type)).combine_chunks()) for column in (one, other)]
    kinds = [array.type for array in arrays]
    with suppress(pa.ArrowInvalid):  # a time so far away that the finer unit cannot hold it has no equal one
        if kinds[0] != kinds[1] and all(map(is_number, kinds)) and len({*map(_widest, kinds)}) > 1:
            arrays = [array.cast(pa.float64(), safe=False) for array in arrays]
        elif kinds[0] != kinds[1] and all(map(pa.types.is_timestamp, kinds)) and kinds[0].tz == kinds[1].tz:
            unit = max((kind.unit for kind in kinds), key=("s", "ms", "us", "ns").index)
            arrays = [array.cast(pa.timestamp(unit, kinds[0].tz)) for array in arrays]
    return arrays[0], arrays[1]


def is_number(kind: pa.DataType) -> bool:
    """Return whether a type is of integers, floats or decimals."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _simple(array: pa.Array) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        return array.storage
    kind = array.type
    if pa.types.is_map(kind):
        return array.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
    if pa.types.is_timestamp(kind) and kind.tz:
        return array.cast(pa.timestamp(kind.unit, "UTC"))
    return array


def pairs(one: pa.Table, other: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return the numbers of the rows that two tables share, equal in all columns of the first.

    Each row is in one pair at most. Equal rows are paired in their order; pairs are in the order of the first table.
    """
    codes = np.zeros(len(one) + len(other), np.int64)
    for name in one.column_names:
        found = _codes(*comparable(one[name], other[name]))
        codes = np.unique(codes * (found.max(initial=0) + 1) + found, return_inverse=True)[1]
    sides = [_numbered(side, len(codes)) for side in (codes[: len(one)], codes[len(one) :])]
    _, first, second = np.intersect1d(sides[0], sides[1], assume_unique=True, return_indices=True)
    order = np.argsort(first)
    return row_numbers(first[order]), row_numbers(second[order])


def _codes(one: pa.Array, other: pa.Array) -> np.ndarray[Any, Any]:
    """Return a number for each value of two columns, the same for equal ones."""
    wide = [_widest(array.type) for array in (one, other)]
    try:
        if pa.types.is_floating(wide[0]):
            one, other = (pc.add(array.cast(pa.float64()), 0.0) for array in (one, other))  # 0 and -0 are equal
        elif wide[0] == wide[1]:
            one, other = (array.cast(wide[0]) for array in (one, other))
        both = pa.concat_arrays([one, other]).dictionary_encode(null_encoding="encode")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # lists, far times, or different types
        values = (value for array in (one, other) for value in values_of(pa.chunked_array([array])))
        both = pa.array(map(repr, values)).dictionary_encode()
    return np.from_dlpack(both.indices).astype(np.int64)


def _numbered(codes: np.ndarray[Any, Any], most: int) -> np.ndarray[Any, Any]:
    """Return codes so that the first, second and further of equal ones differ."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    places = np.arange(len(codes))
    starts = np.maximum.accumulate(np.where(np.diff(ordered, prepend=-1) != 0, places, 0))
    found = np.empty(len(codes), np.int64)
    found[order] = ordered * (most + 1) + places - starts
    return found
