"""The area under the ROC curve of one column, for a binary label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pit_join.audit.file_values import FileValues, as_numbers, is_numeric

__all__ = ["auc", "binary"]


def auc(values: Any, label: pa.ChunkedArray) -> float | None:
    """Return the share of pairs, of a row with the label and one without it, that the values order rightly.

    The order may be either way, so the result is at least 0.5. Equal values count half; rows without a value or a label
    are left out. None if the label is not binary.
    """
    flags = binary(label)
    if flags is None:
        return None
    known = ~np.isnan(values) & ~np.isnan(flags)
    values, flags = values[known], flags[known]
    positive = int(flags.sum())
    negative = len(flags) - positive
    if not positive or not negative:
        return None
    _, ranks, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    share = (mean_ranks[ranks][flags == 1].sum() - positive * (positive + 1) / 2) / (positive * negative)
    return float(max(share, 1 - share))


def binary(label: pa.ChunkedArray) -> Any:
    """Return a binary label as 0 and 1, NaN for null; None if it has other than two values."""
    whole = label.combine_chunks()
    if is_numeric(whole.type):
        numbers: Any = as_numbers(whole)
    else:
        values = FileValues(label, pa.float64(), 0.0)
        if values.problem:
            return _of_two_texts(whole)
        numbers = values.numbers()
    distinct = np.unique(numbers[~np.isnan(numbers)])
    return np.where(np.isnan(numbers), numbers, numbers == distinct[-1]) if len(distinct) == 2 else None


def _of_two_texts(texts: pa.Array) -> Any:
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    return as_numbers(encoded.indices) if len(encoded.dictionary) == 2 else None
