"""Two training sets compared: their rows, the values of their features, and why these differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pit_join.errors import PitJoinError
from pit_join.json_values import json_text
from pit_join.records.arrow import values_of
from pit_join.training.equality import check_tolerance, comparable, is_number, pairs, same
from pit_join.training.gather import row_numbers
from pit_join.training.set_changes import SetChange, decided_columns, set_changes
from pit_join.training.set_file import SetFile
from pit_join.training.spine_hash import lasting_type

__all__ = ["ColumnDifference", "LoneRow", "SetComparison", "SetExample", "compare_sets"]

_UNEXPLAINED = (
    "no option, setting or SQL has changed: rows came late, or were restated, or a file was edited after it was built"
)
_OLDER = "a file of an older pit-join does not say what the project declared"
_NO_METADATA = "one of the files does not say how it was built"


@dataclass(frozen=True, slots=True)
class SetExample:
    """A row with two values: its number in each file from 1 on, its spine columns, and the values."""

    rows: tuple[int, int]
    keys: Mapping[str, Any]
    values: tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class LoneRow:
    """A row that only one set has: its number from 1 on, and the spine columns."""

    row: int
    keys: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    """A column of both sets that differs, in `rows` of the matched rows.

    Of these the value `appeared` in some where there was a null, `vanished` in others, and else was `changed`.
    `absolute` and `relative` are the greatest differences of numbers. With provenance, `newer` counts the rows for
    which a row of a later event time was chosen. `types` are both types, if they differ. `why` has the changes that may
    be the reason.
    """

    column: str
    rows: int
    appeared: int
    vanished: int
    absolute: float | None
    relative: float | None
    newer: int | None
    types: tuple[str, str] | None
    why: tuple[str, ...]
    examples: tuple[SetExample, ...]

    @property
    def changed(self) -> int:
        """The number of rows with a value on both sides."""
        return self.rows - self.appeared - self.vanished


@dataclass(frozen=True, slots=True)
class SetComparison:
    """The comparison of two training sets.

    `rows` are those of each set, and `matched` of them stand in both, by their spine columns. `moved` says whether they
    stand in another order. `alone` are some rows that only one set has. `only` are the
    columns of one set alone. `compared` is the number of columns compared, of which `columns` differ. `changes` are by
    the metadata. `notes`, such as other versions of programs, do not count as a difference.
    """

    files: tuple[str, str]
    rows: tuple[int, int]
    matched: int
    moved: bool
    alone: tuple[tuple[LoneRow, ...], tuple[LoneRow, ...]]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    compared: int
    columns: tuple[ColumnDifference, ...]
    changes: tuple[SetChange, ...]
    notes: tuple[str, ...]

    @property
    def found(self) -> bool:
        """Whether anything differs."""
        return bool(self.columns or self.changes or any(self.only) or self.moved or set(self.rows) != {self.matched})

    def as_json(self, *, show_keys: bool = False) -> dict[str, Any]:
        """Return the comparison as plain values; the spine columns of examples only with `show_keys`."""
        read = asdict(self) | {"found": self.found}
        for column, difference in zip(read["columns"], self.columns, strict=True):
            column["changed"] = difference.changed
        if not show_keys:
            examples = [example for column in read["columns"] for example in column["examples"]]
            for example in (*examples, *read["alone"][0], *read["alone"][1]):
                del example["keys"]
        for change in read["changes"]:
            change["features"] = None if change["features"] is None else sorted(change["features"])
        return read


def compare_sets(one: SetFile, other: SetFile, tolerance: Any, examples: Any) -> SetComparison:
    """Compare two sets: rows of equal spines one by one, all others matched by the spine columns that both have.

    Raises:
        PitJoinError: if neither file says which columns are those of the spine, or they have none in common.
    """
    check_tolerance(tolerance)
    if not (isinstance(examples, int) and examples >= 0):
        raise PitJoinError(f"the number of examples is 0 or more, and not {examples!r}")
    spine = _spine_columns(one, other)
    first, second = _matched(one.table.select(spine), other.table.select(spine))
    tables = (one.table, other.table)
    alone = tuple(
        _missing(table.select(spine), matched, examples) for table, matched in zip(tables, (first, second), strict=True)
    )
    names = [set(table.column_names) for table in tables]
    features = [name for name in one.table.column_names if name in names[1] and name not in spine]
    decided: Mapping[str, frozenset[str]] = {}
    changes: tuple[SetChange, ...] = ()
    if one.metadata and other.metadata:
        decided = decided_columns(one.metadata, other.metadata)
        changes = tuple(set_changes(one.metadata, other.metadata, decided))
    columns = _Columns(one, other, (first, second), spine, tolerance, examples, changes, decided)
    return SetComparison(
        files=(str(one.path), str(other.path)),
        rows=(one.table.num_rows, other.table.num_rows),
        matched=len(first),
        moved=not _ascends(second),
        alone=(alone[0], alone[1]),
        only=(
            tuple(name for name in one.table.column_names if name not in names[1]),
            tuple(name for name in other.table.column_names if name not in names[0]),
        ),
        compared=len(features),
        columns=tuple(filter(None, map(columns.difference, features))),
        changes=changes,
        notes=tuple(_notes(one, other)),
    )


def _spine_columns(one: SetFile, other: SetFile) -> list[str]:
    if one.metadata is None and other.metadata is None:
        raise PitJoinError(
            f"neither {one.path} nor {other.path} has metadata of pit-join, so nothing says which columns are those of "
            "the spine; give at least one file that build-training-set wrote"
        )
    known = [each.spine_columns for each in (one, other) if each.metadata]
    found = [name for name in known[0] if all(name in each for each in known)]
    found = [name for name in found if name in one.table.column_names and name in other.table.column_names]
    if not found:
        raise PitJoinError(f"{one.path} and {other.path} have no column of a spine in common, so no row can be matched")
    return found


def _matched(one: pa.Table, other: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return the numbers of the rows that belong together, in the order of the first table."""
    if one.num_rows == other.num_rows and all(
        pc.all(_same(*comparable(one[name], other[name]), 0.0)).as_py() is not False for name in one.column_names
    ):
        every = row_numbers(np.arange(len(one)))
        return every, every
    return pairs(one, other)


def _missing(spine: pa.Table, matched: pa.Array, most: int) -> tuple[LoneRow, ...]:
    """Return some rows that are not matched."""
    every = row_numbers(np.arange(len(spine)))
    alone = every.filter(pc.invert(pc.is_in(every, matched.cast(pa.int64()))))
    return tuple(LoneRow(number + 1, _keys(spine, number)) for number in alone.slice(0, most).to_pylist())


def _keys(spine: pa.Table, row: int) -> dict[str, Any]:
    return {name: _value(spine[name], row) for name in spine.column_names}


def _ascends(numbers: pa.Array) -> bool:
    return pc.all(pc.greater(numbers[1:], numbers[:-1])).as_py() is not False


def _same(one: pa.Array, other: pa.Array, tolerance: float) -> pa.Array:
    try:
        return same(one, other, tolerance)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # Arrow does not compare intervals, for one
        values = (values_of(pa.chunked_array([column])) for column in (one, other))
        return pa.array([a == b for a, b in zip(*values, strict=True)], pa.bool_())


def _notes(one: SetFile, other: SetFile) -> Iterator[str]:
    for each in (one, other):
        if each.metadata is None:
            yield f"{each.path} has no metadata, so only values are compared"
        elif not each.metadata.views:
            yield f"{each.path} was written by an older pit-join, which did not note what the project declared"
    if one.metadata and other.metadata:
        before, after = one.metadata.versions, other.metadata.versions
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                yield f"{name} {before.get(name, 'none')}, now {after.get(name, 'none')}"


class _Columns:
    """The columns of two sets that are compared, with the rows that belong together."""

    def __init__(
        self,
        one: SetFile,
        other: SetFile,
        matched: tuple[pa.Array, pa.Array],
        spine: Sequence[str],
        tolerance: float,
        examples: int,
        changes: Sequence[SetChange],
        decided: Mapping[str, frozenset[str]],
    ) -> None:
        self._one, self._other, self._matched, self._spine = one, other, matched, spine
        self._tolerance, self._examples, self._changes, self._decided = tolerance, examples, changes, decided
        self._whole = tuple(
            len(rows) == len(each.table) and _ascends(rows)
            for rows, each in zip(matched, (one, other), strict=True)
        )  # fmt: skip

    def difference(self, name: str) -> ColumnDifference | None:
        """Return how a column differs in the matched rows, or None if it does not."""
        pair = self._one.table[name], self._other.table[name]
        types = tuple(str(lasting_type(column.type)).removeprefix("large_") for column in pair)
        one, other = self._sides(name)
        equal = _same(one, other, self._tolerance)
        wrong = pc.indices_nonzero(pc.invert(equal))
        if not len(wrong) and types[0] == types[1]:
            return None
        one, other = one.take(wrong), other.take(wrong)
        absolute, relative = _greatest(one, other)
        return ColumnDifference(
            column=name,
            rows=len(wrong),
            appeared=pc.sum(one.is_null()).as_py() or 0,
            vanished=pc.sum(other.is_null()).as_py() or 0,
            absolute=absolute,
            relative=relative,
            newer=self._newer(name, wrong),
            types=None if types[0] == types[1] else (str(pair[0].type), str(pair[1].type)),
            why=tuple(self._why(name)) if len(wrong) else (),
            examples=tuple(self._example(name, row) for row in wrong.slice(0, self._examples).to_pylist()),
        )

    def _sides(self, name: str) -> tuple[pa.Array, pa.Array]:
        one, other = comparable(self._one.table[name], self._other.table[name])
        first, second = self._matched
        return one if self._whole[0] else one.take(first), other if self._whole[1] else other.take(second)

    def _newer(self, name: str, wrong: pa.Array) -> int | None:
        """Return for how many rows a view chose a row of a later event time; None without provenance."""
        for alias, decided in self._decided.items():
            column = f"{alias}__event_timestamp"
            known = (side.table.schema.get_field_index(column) >= 0 for side in (self._one, self._other))
            if name in decided and all(known):
                before, after = (side.take(wrong) for side in self._sides(column))
                if before.type != after.type or not pa.types.is_timestamp(after.type):
                    return None
                later = pc.fill_null(pc.greater(after, before), False)
                first = pc.and_not(before.is_null(), after.is_null())
                return int(pc.sum(pc.or_(later, first)).as_py() or 0)
        return None

    def _why(self, name: str) -> list[str]:
        sides = (self._one.metadata, self._other.metadata)
        if not all(sides):
            return [_NO_METADATA]
        found = [
            change.text
            for change in self._changes
            if change.kind != "spine" and (change.features is None or name in change.features)
        ]
        return found or [_UNEXPLAINED if all(side and side.views for side in sides) else _OLDER]

    def _example(self, name: str, row: int) -> SetExample:
        rows = tuple(int(numbers[row].as_py()) for numbers in self._matched)
        one, other = (
            _value(each.table[name], number) for each, number in zip((self._one, self._other), rows, strict=True)
        )
        keys = _keys(self._one.table.select(self._spine), rows[0])
        return SetExample((rows[0] + 1, rows[1] + 1), keys, (one, other))


def _greatest(one: pa.Array, other: pa.Array) -> tuple[float | None, float | None]:
    """Return the greatest absolute and relative difference of numbers; None where no two numbers are finite."""
    if not (is_number(one.type) and is_number(other.type)):
        return None, None
    one, other = one.cast(pa.float64(), safe=False), other.cast(pa.float64(), safe=False)
    finite = pc.fill_null(pc.and_(pc.is_finite(one), pc.is_finite(other)), False)
    one, other = one.filter(finite), other.filter(finite)
    apart = pc.abs(pc.subtract(one, other))
    shares = pc.divide(apart, pc.max_element_wise(pc.abs(one), pc.abs(other)))
    return pc.max(apart).as_py(), pc.max(shares).as_py()


def _value(column: pa.ChunkedArray, row: int) -> Any:
    """Return a value as JSON can have it."""
    try:
        (value,) = values_of(column.slice(row, 1))
        json_text(value)
    except (TypeError, ValueError, OverflowError):  # an interval, or a far time in a struct
        return str(column.slice(row, 1).to_pylist()[0]) if pa.types.is_interval(column.type) else "(not shown)"
    return value
