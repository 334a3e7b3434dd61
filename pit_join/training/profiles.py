"""Profiles of features: their values counted in bins, and the drift from a profile to other values.

The macros in macros/commands/_profile.sql count and compare; this module only asks them, a few features at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pit_join.warehouse.sql import identifier, literal

if TYPE_CHECKING:
    from pit_join.project.rendering import Macros
    from pit_join.warehouse.duckdb_session import DuckDBWarehouse

__all__ = ["FeatureDrift", "FeatureProfile", "ProfiledColumn", "drifts_of", "exact_ks", "kind_of", "profiles_of"]

# One statement for all features would take DuckDB a time that grows with their square.
_AT_ONCE = 25
_EDGES, _BASE = "_pit_profile_edges", "_pit_profiles"
_WHAT = "the features cannot be profiled"


@dataclass(frozen=True, slots=True)
class ProfiledColumn:
    """A feature in a table to be profiled.

    `kind` is `number` (the column is DOUBLE), `text` (VARCHAR) or `other`, of which only nulls are counted. `found` is
    the SQL of whether there was a row with the value, which is null in rows that do not have the feature.
    """

    feature: str
    column: str
    kind: str
    found: str | None = None

    @property
    def counted(self) -> str:
        """The SQL of the value, null in rows where there was none."""
        value = identifier(self.column)
        return f"case when {self.found} then {value} end" if self.found else value

    def as_macro_argument(self, edges: str | None = None) -> dict[str, Any]:
        """Return the feature as the macros take it."""
        value = identifier(self.column)
        return {"name": self.feature, "kind": self.kind, "value": value, "found": self.found, "edges": edges}


@dataclass(frozen=True, slots=True)
class FeatureProfile:
    """The values of a feature, counted.

    `counts` are those of the bins, and of NaN, null and not found. The bins end at `edges` (numbers; the last is open)
    or hold one of `categories` each (texts; the last holds all others). `noise` and `squares` are the variances of
    shares, from `groups` of entities (None: each row stands for itself); see the macro `_noise`.
    """

    feature: str
    kind: str
    rows: int
    nulls: int
    missing: int
    nans: int
    least: float | None
    mean: float | None
    edges: Sequence[float] | None
    categories: Sequence[str] | None
    counts: Sequence[int]
    entities: int
    bins: int
    groups: float | None
    noise: float | None
    squares: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the profile as plain values."""
        return asdict(self)

    def quantile(self, share: float) -> float | None:
        """Return the end of the bin that holds a quantile of the finite values; None if there is no number."""
        values = list(zip(self.edges or (), self.counts, strict=False))
        wanted, below = share * sum(self.counts[: len(values)]), 0
        for edge, count in values:
            below += count
            if count and below >= wanted:
                return edge
        return None


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """The distance of a feature's values from those of a profile; None of what cannot be said.

    `psi` is the population stability index, `js` the Jensen-Shannon distance (base 2), `ks` the greatest distance
    between the distribution functions of numbers, which may be greater by up to `ks_error` (0: it is exact). `noise` is
    how unlikely the distance is by chance, in standard deviations. `baseline` and `current` are the shares of the bins,
    which end at `uppers` or are named by `labels`.
    """

    feature: str
    kind: str | None
    baseline_rows: int | None
    rows: int
    baseline_nulls: int | None
    baseline_missing: int | None
    nulls: int | None
    missing: int | None
    psi: float | None
    js: float | None
    ks: float | None
    ks_error: float | None
    noise: float | None
    baseline: Sequence[float] | None
    current: Sequence[float] | None
    uppers: Sequence[float | None] | None
    labels: Sequence[str | None] | None


def kind_of(data_type: pa.DataType) -> str:
    """Return the kind of a feature in a profile: `number`, `text` or `other`."""
    types = pa.types
    if types.is_dictionary(data_type):
        return kind_of(data_type.value_type)
    if types.is_integer(data_type) or types.is_floating(data_type) or types.is_decimal(data_type):
        return "number"
    texts = types.is_string(data_type) or types.is_large_string(data_type) or types.is_string_view(data_type)
    return "text" if texts or types.is_boolean(data_type) else "other"


def profiles_of(
    session: DuckDBWarehouse, macros: Macros, source: str, columns: Sequence[ProfiledColumn], cluster: Iterable[str]
) -> dict[str, FeatureProfile]:
    """Profile the features of a table.

    Args:
        session: the session that has the table.
        macros: the macros of the project.
        source: the table.
        columns: its features.
        cluster: the columns that tell entities apart; none if each row stands for itself.
    """
    found: dict[str, FeatureProfile] = {}
    clustered = [identifier(name) for name in cluster]
    for some in _parts(columns):
        asked = [column.as_macro_argument() for column in some]
        edges = macros.text("_edges_statement", source=source, features=asked, cluster=clustered)
        session.execute(f"create or replace temp table {_EDGES} as {edges}", _WHAT)
        ends = {row["feature"]: row for row in session.rows_later(f"from {_EDGES}", _WHAT).result()}
        asked = [
            column.as_macro_argument(_ends(column, row["edges"], row["categories"]))
            for column, row in ((each, ends[each.feature]) for each in some)
        ]
        statement = macros.text("_profile_statement", source=source, features=asked, cluster=clustered, edges=_EDGES)
        for row in session.rows_later(statement, _WHAT).result():
            found[row["feature"]] = FeatureProfile(**row)
    return found


def _ends(column: ProfiledColumn, edges: Sequence[float] | None, categories: Sequence[str] | None) -> str | None:
    """Return the ends of bins, or categories, as a list in SQL, which DuckDB reads faster than a query."""
    if column.kind == "other":
        return None
    if column.kind == "text":
        return f"[{', '.join(map(literal, categories or ()))}]::varchar[]"
    return f"[{', '.join(map(repr, edges or ()))}]::double[]"


def drifts_of(
    session: DuckDBWarehouse,
    macros: Macros,
    source: str,
    columns: Sequence[ProfiledColumn],
    cluster: Iterable[str],
    baseline: Mapping[str, FeatureProfile],
) -> dict[str, FeatureDrift]:
    """Measure how far the features of a table are from their profiles; `baseline` has one for each."""
    found: dict[str, FeatureDrift] = {}
    clustered = [identifier(name) for name in cluster]
    for some in _parts(columns):
        profiles = [baseline[column.feature] for column in some]
        session.register(_BASE, pa.Table.from_pylist([each.as_json() for each in profiles], schema=_SCHEMA))
        asked = [
            column.as_macro_argument(_ends(column, profile.edges, profile.categories))
            for column, profile in zip(some, profiles, strict=True)
        ]
        statement = macros.text("_drift_statement", source=source, features=asked, cluster=clustered, profile=_BASE)
        for row in session.rows_later(statement, _WHAT).result():
            found[row["feature"]] = FeatureDrift(**row)
    return found


def exact_ks(
    session: DuckDBWarehouse, macros: Macros, relations: Sequence[str], before: ProfiledColumn, now: ProfiledColumn
) -> float | None:
    """Return the exact distance of a number's distribution functions in two tables; None if one has no number."""
    statement = macros.text("_ks_statement", relations=relations, before=before.counted, now=now.counted)
    (row,) = session.rows_later(statement, _WHAT).result()
    return float(row["ks"]) if row["ks"] is not None else None


def _parts(columns: Sequence[ProfiledColumn]) -> Iterator[Sequence[ProfiledColumn]]:
    return (columns[first : first + _AT_ONCE] for first in range(0, len(columns), _AT_ONCE))


_SCHEMA = pa.schema(
    {
        "feature": pa.string(),
        "kind": pa.string(),
        **dict.fromkeys(("rows", "nulls", "missing", "nans"), pa.int64()),
        **dict.fromkeys(("least", "mean"), pa.float64()),
        "edges": pa.list_(pa.float64()),
        "categories": pa.list_(pa.string()),
        "counts": pa.list_(pa.int64()),
        **dict.fromkeys(("entities", "bins"), pa.int64()),
        **dict.fromkeys(("groups", "noise", "squares"), pa.float64()),
    }
)
