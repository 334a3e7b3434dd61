"""A training set as Arrow: its rows counted, described and written to files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet  # not needed before the file is written, but this module is loaded while DuckDB works

from pit_join.definitions.views import FeatureView
from pit_join.errors import PitJoinError, with_extra
from pit_join.frames import Dtypes, as_arrow, as_pandas, as_polars, check_finite, metadata_of
from pit_join.markup import Html, bar, details, notebook, notes, table
from pit_join.references import default_alias
from pit_join.statuses import (
    NOT_FOUND,
    NOT_YET_KNOWN,
    NULL_KEY,
    NULL_VALUE,
    OFFLINE,
    OUTSIDE_MAX_AGE,
    PRESENT,
    STATUSES,
)
from pit_join.texts import age, escaped
from pit_join.times import format_duration
from pit_join.training.gather import row_numbers
from pit_join.training.profiles import FeatureProfile
from pit_join.training.spine_hash import spine_hash
from pit_join.warehouse.spool import release_pages
from pit_join.warehouse.table_files import write_table

__all__ = ["Coverage", "TrainingSet", "coverage", "coverage_hints", "coverage_table", "joined_counts"]

_log = logging.getLogger("pit_join")
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SAMPLED_ROWS = 50_000
_ROWS_AT_ONCE = 500_000


@dataclass(frozen=True, slots=True)
class Coverage:
    """The coverage of the spine by one view.

    `statuses` counts spine rows by status, `ages` are the seconds between a value's event time and T (the 50th, 90th
    and 100th percentile), `undated` counts history rows without a key, event time or created time, which never match.
    """

    alias: str
    view: str
    rows: int
    statuses: Mapping[str, int]
    ages: Mapping[str, float]
    history_rows: int
    undated: int
    seconds: float
    hints: tuple[str, ...] = ()

    @property
    def matched(self) -> int:
        """The number of spine rows with a history row."""
        return self.statuses.get(PRESENT, 0) + self.statuses.get(NULL_VALUE, 0)

    def __repr__(self) -> str:
        return f"<Coverage: {_named(self)} matched {self.matched:,} of {self.rows:,} rows>"

    def _repr_html_(self) -> str:
        return notebook("Coverage", *_coverage_parts((self,)))


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The spine's rows, as given, with their features.

    `spine` is a pandas or polars frame or an Arrow table, as it was given. `sql` is the whole query as dbt would
    compile it; `coverage` has an entry for each view; `texts` has the columns of a CSV spine as they were written.
    `profiler` returns the profiles of the features from rows of the set and `found`, whether each view had a row.
    """

    spine: Any = field(repr=False)
    features: pa.Table = field(repr=False)
    sql: str = field(repr=False)
    coverage: tuple[Coverage, ...]
    metadata: Mapping[str, Any] = field(repr=False)
    texts: pa.Table | None = field(default=None, repr=False)
    found: pa.Table | None = field(default=None, repr=False)
    profiler: Callable[[pa.Table], Mapping[str, FeatureProfile]] | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"<TrainingSet: {self._counts}>"

    def _repr_html_(self) -> str:
        found = self.features
        rows = [
            [
                name,
                str(column.type),
                f"{column.null_count:,}",
                bar({"not null": len(column) - column.null_count, "null": column.null_count}),
            ]
            for name, column in zip(found.column_names, found.columns, strict=True)
        ]
        features = table(["feature", "type", "nulls", ""], rows, right=(2,))
        return notebook(f"TrainingSet: {self._counts}", *_coverage_parts(self.coverage), details("features", features))

    @property
    def _counts(self) -> str:
        rows, features, views = self.features.num_rows, self.features.num_columns, len(self.coverage)
        return f"{rows:,} rows, {features:,} columns of features, {views:,} views"

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table; times of features are UTC.

        Raises:
            SpineError: if Arrow cannot hold a column of the spine.
        """
        spine = as_arrow(self.spine)
        schema = pa.schema([*spine.schema, *self.features.schema], metadata_of(self.spine, self.features.schema))
        return pa.table([*spine.columns, *self.features.columns], schema=schema)

    @property
    def spine_sha256(self) -> str:
        """The SHA-256 hash of the spine's schema and values in order; equal spines have equal hashes."""
        return spine_hash(as_arrow(self.spine))

    def to_df(self, dtypes: Dtypes = "nullable") -> Any:
        """Return the rows as a pandas DataFrame (needs pandas).

        The dtype of a feature follows from its type, not from its values: integers are `Int64` and its kin, flags
        `boolean`, floats have NaN for null. A pandas spine keeps its dtypes and its index.

        Args:
            dtypes: `"numpy"` for NumPy's dtypes instead: integers are floats, and flags objects, where there are nulls.

        Raises:
            PitJoinError: if pandas cannot hold a column or an infinite time, or would change an integer above 2^53.
        """
        with with_extra("pandas", "to_df()"):
            import pandas
        check_finite(self.features, "pandas")
        spine, features = as_pandas(self.spine, dtypes), as_pandas(self.features, dtypes)
        found = pandas.concat([spine, features.set_axis(spine.index)], axis=1)
        found.attrs = spine.attrs
        return found

    def to_polars(self) -> Any:
        """Return the rows as a polars DataFrame (needs polars).

        Raises:
            PitJoinError: if polars cannot hold a column or an infinite time.
        """
        with with_extra("polars", "to_polars()"):
            import polars  # noqa: F401
        check_finite(self.features, "polars")
        return as_polars(self.spine).hstack(as_polars(self.features))

    def write(self, path: str | Path) -> None:
        """Write a .parquet, .csv or .arrow file atomically; a CSV repeats the texts of a CSV spine.

        The metadata of a Parquet file are enough to build the set again and to compare it: references, the spine's
        hash, the SQL, versions, and each feature's nulls, mean, quantiles and profile. Of a sensitive feature they
        hold the nulls alone.

        Raises:
            PitJoinError: if the name has another ending or the file cannot be written.
        """
        table, path = self.to_arrow(), Path(path)
        spine = table.select(self.metadata["spine_columns"])
        metadata, features = dict(self.metadata), self.metadata["features"]
        with ThreadPoolExecutor(1) as threads:
            hashing = threads.submit(spine_hash, spine)
            if path.suffix.lower() == ".parquet":
                profiles = self._profiles(table)
                metadata["statistics"] = {}
                for name in features:
                    metadata["statistics"][name] = _statistics(table[name], profiles.get(name))
                    release_pages()
            metadata["spine_sha256"] = hashing.result()
        if path.suffix.lower() == ".csv" and self.texts is not None:
            table = pa.table([*self.texts.columns, *self.features.columns], names=table.column_names)
        write_table(table, path, {"pit_join": metadata})

    def _profiles(self, table: pa.Table) -> Mapping[str, FeatureProfile]:
        """Return the profiles of the features, of at most 50,000 rows drawn at random, the same ones each time."""
        if self.profiler is None:
            return {}
        if self.found is not None:
            table = pa.table({**_columns(table), **_columns(self.found)})
        if len(table) > _SAMPLED_ROWS:
            drawn = np.random.default_rng(0).choice(len(table), _SAMPLED_ROWS, replace=False)
            table = _taken(table, np.sort(drawn))
        try:
            return self.profiler(table)
        except PitJoinError as error:  # the set is worth more than what monitoring would like to know of it
            _log.warning("the file has no profiles for the check drift: %s", error)
            return {}


def _taken(table: pa.Table, numbers: np.ndarray[Any, Any]) -> pa.Table:
    """Return rows by their ascending numbers; of a table in mapped files only a part is in memory at a time."""
    ends = range(_ROWS_AT_ONCE, len(table) + _ROWS_AT_ONCE, _ROWS_AT_ONCE)
    taken = []
    for end, found in zip(ends, np.split(numbers, np.searchsorted(numbers, ends[:-1])), strict=True):
        start = end - _ROWS_AT_ONCE
        taken.append(table.slice(start, _ROWS_AT_ONCE).take(row_numbers(found - start)))
        release_pages()
    return pa.concat_tables(taken)


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))


def joined_counts(table: pa.Table, status: str) -> tuple[dict[str, int], list[int]]:
    """Count the rows of a join by status, and return percentiles of their ages.

    These are the 50th, 90th and 100th, in microseconds; none if no row has an age.
    """
    found = {entry["values"]: entry["counts"] for entry in pc.value_counts(table[status]).to_pylist()}
    ages = pc.quantile(table["_pit_age"], (0.5, 0.9, 1.0), interpolation="lower").drop_null().to_pylist()
    return found, ages


def coverage(
    alias: str,
    view: FeatureView,
    met: tuple[Mapping[str, int], Sequence[int]],
    facts: Mapping[str, Any],
    seconds: float,
) -> Coverage:
    """Compute the coverage of a view from what `joined_counts` returns of its join and the facts of its table."""
    found, ages = met
    statuses = {name: found.get(name, 0) for name in OFFLINE}
    rows = sum(found.values())
    undated = facts["rows"] - facts["dated"]
    return Coverage(
        alias=alias,
        view=view.name,
        rows=rows,
        statuses=statuses,
        ages=dict(zip(("p50", "p90", "max"), (age / 1e6 for age in ages), strict=False)),
        history_rows=facts["rows"],
        undated=undated,
        seconds=seconds,
        hints=tuple(_hints(view, statuses, rows, facts, undated)),
    )


def coverage_table(coverage: Sequence[Coverage]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and rows of a table of coverages: counts by status, and ages of values."""
    counted = [status for status in OFFLINE if status != PRESENT and any(met.statuses.get(status) for met in coverage)]
    rows = [
        [
            _named(met),
            f"{met.matched:,} of {met.rows:,}",
            *(f"{met.statuses.get(status, 0):,}" for status in counted),
            *(age(met.ages.get(point)) for point in ("p50", "p90", "max")),
            f"{met.seconds:.2f} s",
        ]
        for met in coverage
    ]
    headings = (STATUSES[status].heading for status in counted)
    return ["view", "matched", *headings, "age p50", "p90", "max", "time"], rows


def coverage_hints(coverage: Sequence[Coverage]) -> list[str]:
    """Return the hints of all coverages as sentences."""
    return [f"{met.alias}: {hint}" for met in coverage for hint in met.hints]


def _coverage_parts(coverage: Sequence[Coverage]) -> tuple[Html, Html]:
    headings, rows = coverage_table(coverage)
    bars = [bar({STATUSES[name].heading: met.statuses.get(name, 0) for name in OFFLINE}) for met in coverage]
    drawn = [[view, shares, *others] for (view, *others), shares in zip(rows, bars, strict=True)]
    shown = table([headings[0], "", *headings[1:]], drawn, right=range(2, len(headings) + 1))
    return shown, notes(coverage_hints(coverage))


def _named(met: Coverage) -> str:
    return escaped(met.view if met.alias == default_alias(met.view) else f"{met.alias} ({met.view})")


def _hints(
    view: FeatureView, statuses: Mapping[str, int], rows: int, facts: Mapping[str, Any], undated: int
) -> list[str]:
    """Return hints to the likely causes where a view matches almost nothing."""
    hints = []
    if undated:
        columns = [*view.key_columns.values(), *filter(None, (view.event_timestamp, view.created_timestamp))]
        hints.append(
            f"{undated:,} of {facts['rows']:,} history rows are never seen: one of {', '.join(columns)} is null"
        )
    if not facts["rows"]:
        hints.append("the table is empty; run dbt build")
    if facts["tied"] and not facts["unordered"]:
        hints.append(f"{facts['tied']:,} history rows tie with another; the dbt test unique_feature_rows names them")
    asked = rows - statuses[NULL_KEY]
    met = asked - statuses[NOT_FOUND]
    if not asked:
        if rows:
            hints.append("every spine row has a null key or a null time")
        return hints
    if statuses[NOT_YET_KNOWN] > 0.9 * met:
        if view.created_timestamp:
            hints.append(
                f"nearly all rows are not yet known at the spine's times: is {view.created_timestamp} taken from the "
                "clock of the run (now()) instead of from the data?"
            )
        else:
            hints.append("nearly all of the spine's times lie before the history begins")
    elif statuses[OUTSIDE_MAX_AGE] > 0.9 * met and view.ttl:
        hints.append(
            f"nearly all values are older than the ttl of {format_duration(view.ttl)}: is it shorter than the rhythm "
            "in which the history is written?"
        )
    if statuses[NOT_FOUND] > 0.9 * asked and facts["rows"] and view.join_keys:
        hints.append(
            f"hardly any {' and '.join(view.join_keys)} of the spine is in the history: are they written alike on both "
            "sides (letter case, blanks, leading zeros)?"
        )
    return hints


def _statistics(column: pa.ChunkedArray, profile: FeatureProfile | None) -> dict[str, Any]:
    """Return the nulls of a feature, the mean and quantiles of numbers, and the profile that drift is measured from."""
    found: dict[str, Any] = {"rows": len(column), "nulls": column.null_count}
    if profile is None:
        return found
    if profile.kind == "number":
        numbers = pc.mean(column if pa.types.is_floating(column.type) else pc.cast(column, pa.float64(), safe=False))
        mean = numbers.as_py()
        found["mean"] = mean if mean is not None and np.isfinite(mean) else None
        quantiles = {str(point): profile.quantile(point) for point in _QUANTILES}
        found["quantiles"] = {point: value for point, value in quantiles.items() if value is not None}
    return {**found, "profile": profile.as_json()}
