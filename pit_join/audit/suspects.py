"""Columns that the project does not have, and what they seem to hold: the label, the future, or a feature."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pit_join.audit.auc import auc, binary
from pit_join.audit.causes import LEAST_ROWS, RoleTrials, SampledColumn, Trial, lacks_value
from pit_join.audit.file_values import FileValues, as_flags
from pit_join.audit.findings import SuspectColumn
from pit_join.audit.moments import NO_MOMENT, Times
from pit_join.training.gather import row_numbers

__all__ = ["ColumnCodes", "Suspects", "neighbours"]

_ALIKE = 0.95
_TELLING = 0.95  # an AUC that honest features seldom have
_MOST_ROWS = 20_000  # on which columns are compared with each other
_MOST_CLASSES = 50


class Suspects:
    """The other columns of a file, held against the label, later rows, and the project's features.

    Args:
        table: the columns of the file.
        unknown: the names of those beside features, keys, the time and the label.
        label: the name of the label, None if it is not known.
        tolerance: the most that floats may differ, relative to themselves.
    """

    def __init__(self, table: pa.Table, unknown: Sequence[str], label: str | None, tolerance: float) -> None:
        self._table, self._label, self._tolerance = table, label, tolerance
        self._open = list(unknown)
        self.found: list[SuspectColumn] = []

    @property
    def unknown(self) -> tuple[str, ...]:
        """The columns of which nothing is found."""
        return tuple(self._open)

    def compare_with_label(self, time: str) -> None:
        """Look for the label under another name, and for its mean per value of another column."""
        if self._label is None:
            return
        for column in list(self._open):
            self._take(column, self._as_label(column) or self._as_mean(column, time))

    def hint_at_auc(self) -> None:
        """Look for columns that tell a binary label nearly alone."""
        if self._label is None or binary(self._table[self._label]) is None:
            return
        for column in list(self._open):
            values = FileValues(self._table[column], pa.float64(), 0.0)
            numbers = self._numbers[column]
            share = None if values.problem else auc(numbers, self._table[self._label])
            if share is not None and share >= _TELLING and len(numbers) >= LEAST_ROWS:
                text = f"alone tells the label nearly, with an AUC of {share:.3f}: a hint"
                self._take(column, SuspectColumn(column, text, len(numbers), len(numbers), False))

    def compare_with_later_rows(self, keys: Sequence[str], times: Times) -> None:
        """Look for values that another column has in the next row of the same keys."""
        following, preceding = neighbours([self._codes[key] for key in keys], times)
        last, first = _some(np.flatnonzero(following < 0)), _some(np.flatnonzero(preceding < 0))
        rows = _some(np.flatnonzero(following >= 0))
        if len(rows) < LEAST_ROWS:
            return
        before = np.where(preceding[rows] >= 0, preceding[rows], rows)
        for column in list(self._open):
            # Of the last row of a key there is no later value; of the first one the older column of two has none.
            if np.isnan(self._numbers[column][last]).mean() < _ALIKE:
                continue
            for other in self._table.column_names:
                if other == column or other in keys or np.isnan(self._numbers[other][first]).mean() >= _ALIKE:
                    continue
                own, others = self._numbers[column], self._numbers[other]
                later = others[following[rows]]
                tells = (later != others[rows]) & (later != others[before]) & (later == later)
                hits = int((tells & (own[rows] == later)).sum())
                if hits >= LEAST_ROWS and hits >= _ALIKE * tells.sum():
                    text = f"equals {other} in the next row of the same {' and '.join(keys)}, later than T"
                    self._take(column, SuspectColumn(column, text, hits, int(tells.sum()), True))
                    break

    def compare_with_features(self, trials: RoleTrials, role: str, features: Sequence[str], rows: Any) -> None:
        """Look for features of the project, as known at T or later; `rows` are those of the trials."""
        # The rule is asked for every feature of a view, which is not worth it for the index of a data frame.
        asked = [column for column in self._open if not self._numbers_rows(column)]
        if not asked:
            return
        at, later = trials.later()
        places = np.arange(len(rows))
        none = np.zeros(len(rows), bool)
        for column in asked:
            taken = self._table[column].take(row_numbers(rows))
            by_kind: dict[pa.DataType, FileValues] = {}
            for feature in features:
                kind = at.answers[feature].type
                if kind not in by_kind:
                    by_kind[kind] = FileValues(taken, kind, self._tolerance)
                values = by_kind[kind]
                if values.problem or pa.types.is_nested(kind):
                    continue
                sampled = SampledColumn(feature, values, places, none, none)
                if found := _fitting(column, f"{role}:{feature}", sampled, at, later):
                    self._take(column, found)
                    break

    def _take(self, column: str, found: SuspectColumn | None) -> None:
        if found:
            self.found.append(found)
            self._open.remove(column)

    def _numbers_rows(self, column: str) -> bool:
        """Return whether a column numbers rows, of which some may be missing or in another order."""
        values = self._numbers[column]
        if not len(values) or not (values == np.floor(values)).all():  # NaN is not equal to itself
            return False
        return bool(len(np.unique(values)) == len(values) and np.ptp(values) < 2 * len(values))

    def _as_label(self, column: str) -> SuspectColumn | None:
        assert self._label is not None
        rows = _some(np.arange(self._table.num_rows))
        own, label = self._numbers[column][rows], self._numbers[self._label][rows]
        known = (own == own) & (label == label)
        own, label = own[known], label[known]
        if len(own) < LEAST_ROWS or len(np.unique(label)) < 2:
            return None
        values, counts = np.unique(label, return_counts=True)
        seldom = label != values[np.argmax(counts)]
        if seldom.sum() < LEAST_ROWS:
            return None
        equal = int((own == label).sum()) if (own == label)[seldom].mean() >= _ALIKE else 0
        pairs = np.unique(np.stack([_ranks(own), _ranks(label)]), axis=1).shape[1]
        classes = len(np.unique(label))
        renamed = pairs == classes == len(np.unique(own)) <= _MOST_CLASSES
        if equal < 0.99 * len(own) and not renamed:
            return None
        text = f"is {self._label}, the label{'' if equal >= 0.99 * len(own) else ', by other names'}"
        return SuspectColumn(column, text, len(own) if renamed else equal, len(own), True)

    def _as_mean(self, column: str, time: str) -> SuspectColumn | None:
        assert self._label is not None
        label = self._target
        values = FileValues(self._table[column], pa.float64(), self._tolerance)
        if label is None or values.problem:
            return None
        known = ~np.isnan(label) & ~values.missing()
        for other in self._table.column_names:
            if other in (column, self._label, time) or pa.types.is_floating(self._table[other].type):
                continue
            codes = self._codes[other][known]
            if not len(codes):
                continue
            _, codes = np.unique(codes, return_inverse=True)
            counts, sums = np.bincount(codes), np.bincount(codes, weights=label[known])
            several = counts[codes] > 1
            with np.errstate(invalid="ignore", divide="ignore"):
                means = (sums / counts)[codes]
                others = (sums[codes] - label[known]) / (counts[codes] - 1)
            if len(np.unique(means)) < 2 or several.sum() < LEAST_ROWS:
                continue
            for text, wanted in (("the mean of the label", means), ("the mean of the label in the other rows", others)):
                equal = values.equal(pa.array(wanted), np.flatnonzero(known)) & several
                usual, counts = np.unique(wanted[several], return_counts=True)
                tells = several & (wanted != usual[np.argmax(counts)])
                if (equal & tells).sum() < max(LEAST_ROWS, _ALIKE * tells.sum()):
                    continue
                if equal.sum() >= _ALIKE * several.sum():
                    full = f"is {text} per {other}, over the whole set (target encoding)"
                    return SuspectColumn(column, full, int(equal.sum()), int(several.sum()), True)
        return None

    @cached_property
    def _target(self) -> Any:
        """The label as numbers: 0 and 1 if it has two values."""
        assert self._label is not None
        flags = binary(self._table[self._label])
        if flags is not None:
            return flags
        values = FileValues(self._table[self._label], pa.float64(), 0.0)
        return None if values.problem else values.numbers()

    @cached_property
    def _codes(self) -> ColumnCodes:
        return ColumnCodes(self._table)

    @cached_property
    def _numbers(self) -> _Numbers:
        return _Numbers(self._table)


class _Numbers(dict[str, Any]):
    """The columns as floats that are equal where values are, NaN for null; each is made when it is first asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __missing__(self, name: str) -> Any:
        values = FileValues(self._table[name], pa.float64(), 0.0)
        found = values.numbers()
        if values.problem:
            encoded = _texts(self._table[name]).dictionary_encode()
            # Of texts the hash, which is alike in all columns, and never a number that stands in another one.
            codes = np.array([hash(text) % 2**51 + 0.5 for text in encoded.dictionary.to_pylist()] or [0.0])
            indices = np.from_dlpack(pc.fill_null(encoded.indices, 0))
            found = np.where(as_flags(encoded.is_null()), np.nan, codes[indices])
        self[name] = found
        return found


class ColumnCodes(dict[str, Any]):
    """The values of each column as whole numbers, made when they are first asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __missing__(self, name: str) -> Any:
        indices = _texts(self._table[name]).dictionary_encode().indices
        self[name] = np.from_dlpack(pc.fill_null(indices.cast(pa.int64()), -1))
        return self[name]


def _texts(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    whole = whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole
    try:
        return whole.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # lists and the like
        return pa.nulls(len(whole), pa.string())


def _some(rows: Any) -> Any:
    """Return rows on which columns are compared with each other, evenly spaced."""
    return rows[:: max(1, -(-len(rows) // _MOST_ROWS))]


def _ranks(values: Any) -> Any:
    return np.unique(values, return_inverse=True)[1]


def neighbours(codes: Sequence[Any], times: Times) -> tuple[Any, Any]:
    """Return the next and the previous row of the same keys in time, -1 where there is none.

    `codes` are the keys as whole numbers, negative for null; see `ColumnCodes`.
    """
    order = np.lexsort([times, *reversed(codes)])
    same = np.ones(max(0, len(order) - 1), bool)
    for code in codes:
        same &= (code[order][1:] == code[order][:-1]) & (code[order][1:] >= 0)
    same &= (times[order][1:] > times[order][:-1]) & (times[order][:-1] != NO_MOMENT)
    following, preceding = np.full(len(order), -1), np.full(len(order), -1)
    following[order[:-1][same]] = order[1:][same]
    preceding[order[1:][same]] = order[:-1][same]
    return following, preceding


def _fitting(
    column: str, reference: str, sampled: SampledColumn, at: Trial, later: Sequence[Trial]
) -> SuspectColumn | None:
    """Return the feature that a column holds, if its values tell it from others."""
    known = ~sampled.values.missing()[sampled.rows]
    usual = sampled.values.most_frequent(sampled.rows[known])[1] if known.any() else known[:0]
    unusual = np.zeros(len(known), bool)
    unusual[np.flatnonzero(known)[~usual]] = True
    now = sampled.hits(at)
    if (now & unusual).sum() >= LEAST_ROWS and now[known].mean() >= _ALIKE:
        text = f"is {reference}{'' if column == sampled.feature else ' under another name'}"
        return SuspectColumn(column, text, int(now[known].sum()), int(known.sum()), False)
    for trial in later:
        hits, has = sampled.hits(trial), ~lacks_value(trial.answers[sampled.feature]) & known
        tells = has & unusual & ~now
        if (hits & tells).sum() >= LEAST_ROWS and hits[has].mean() >= _ALIKE:
            text = f"as {reference}: {trial.text}"
            return SuspectColumn(column, text, int(hits[has].sum()), int(has.sum()), True)
    return None
