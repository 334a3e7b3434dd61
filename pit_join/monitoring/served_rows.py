"""Served rows of a feature log: their columns, their features, and those that differ most from the rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pit_join.monitoring.findings import SkewExample
from pit_join.monitoring.offline_rule import FeatureValues
from pit_join.monitoring.sensitive import SensitiveNames
from pit_join.records.arrow import values_of

__all__ = ["ServedRows"]

_MOST_EXAMPLES = 5


class ServedRows:
    """Logged rows of one schema; `about` is their `LogSource.metadata`."""

    def __init__(self, about: Mapping[str, Any], table: pa.Table) -> None:
        self.about, self._table = about, table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def column(self, *path: str) -> pa.Array:
        """Return a column, or one nested in others."""
        column, kind, numbers = self._table[path[0]], self._table[path[0]].type, []
        for name in path[1:]:
            numbers.append(kind.get_field_index(name))
            kind = kind[numbers[-1]].type
        return (pc.struct_field(column, numbers) if numbers else column).combine_chunks()

    def answer(self, name: str) -> FeatureValues:
        """Return a feature as it was served."""
        return FeatureValues(self.column("features", name, "value"), self.column("features", name, "status"))

    def filter(self, mask: pa.Array) -> ServedRows:
        """Return the rows for which the mask is true."""
        return ServedRows(self.about, self._table.filter(mask))

    def farthest(
        self, name: str, mask: pa.Array, expected: FeatureValues, sensitive: SensitiveNames
    ) -> list[tuple[float, SkewExample]]:
        """Return those of the masked rows that differ most from the expected values of a feature, with the distances.

        Sensitive keys are left out, and sensitive values are None.
        """
        served, hides = self.answer(name), name in sensitive.features
        distances = _distances(served.values, expected.values)
        numbers = pc.indices_nonzero(mask)
        worst = numbers.take(pc.array_sort_indices(distances.take(numbers), "descending")[:_MOST_EXAMPLES])

        def shown(column: pa.Array) -> list[Any]:
            return values_of(pa.chunked_array([column.take(worst)]))

        keys = {key: shown(self.column("keys", key)) for key in self.about["keys"] if key not in sensitive.keys}
        values, rightly = ([None] * len(worst) if hides else shown(side.values) for side in (served, expected))
        times, statuses, others = map(shown, (self.column("served_at"), served.statuses, expected.statuses))
        far, service = distances.take(worst).to_pylist(), self.about["service"]
        return [
            (far[i], SkewExample({key: column[i] for key, column in keys.items()}, *row, service, hides))
            for i, row in enumerate(zip(times, values, statuses, rightly, others, strict=True))
        ]


def _distances(one: pa.Array, other: pa.Array) -> pa.Array:
    """Return the distances between numbers; other values are infinitely far apart."""
    kind, infinite = one.type, pa.scalar(float("inf"))
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return pa.array([float("inf")] * len(one))
    far = pc.abs(pc.subtract(one.cast(pa.float64(), safe=False), other.cast(pa.float64(), safe=False)))
    return pc.if_else(pc.fill_null(pc.is_nan(far), True), infinite, pc.fill_null(far, infinite))
