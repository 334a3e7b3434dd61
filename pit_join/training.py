"""Building a training set: one statement a view, then the views are put beside the spine.

What a row of the result holds is decided by the macros' SQL alone; here the statements are run one by one, so that
memory stays bounded however many views there are, and rows are put back into the spine's order.
"""

from __future__ import annotations

import hashlib
import mmap
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pit_join.durations import format_duration
from pit_join.errors import PitJoinError, SpineError, WarehouseError
from pit_join.files import write_table
from pit_join.project import Project
from pit_join.references import Request
from pit_join.registry import FeatureView, Registry
from pit_join.rendering import Macros
from pit_join.spines import Spine, check_columns, check_types, find_spine
from pit_join.warehouse import DuckDBWarehouse

__all__ = ["STATUSES", "Coverage", "TrainingSet", "build_training_set"]

STATUSES = ("PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_YET_KNOWN", "NOT_FOUND", "NULL_KEY")

# A view's part of the result that is larger lies in an unnamed temporary file, mapped into memory.
_IN_MEMORY_BYTES = 64 * 2**20
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SAMPLED_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Coverage:
    """How one view met the spine.

    `statuses` counts spine rows by status, `ages` are the seconds between a value's event time and T (the 50th, 90th
    and 100th percentile), `undated` counts history rows without a key, event time or created time, which nobody ever
    sees.
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
        """Spine rows that got a history row."""
        return self.statuses.get("PRESENT", 0) + self.statuses.get("NULL_VALUE", 0)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The spine's rows, as given, with their features.

    `sql` is the whole query as dbt would compile it; `coverage` has an entry for each view.
    """

    table: pa.Table = field(repr=False)
    sql: str = field(repr=False)
    coverage: tuple[Coverage, ...]
    metadata: Mapping[str, Any] = field(repr=False)

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table; times are UTC."""
        return self.table

    def to_df(self) -> Any:
        """The rows as a pandas DataFrame (needs pandas)."""
        return self.table.to_pandas()

    def to_polars(self) -> Any:
        """The rows as a polars DataFrame (needs polars)."""
        import polars

        return polars.from_arrow(self.table)

    def write(self, path: str | Path) -> None:
        """Write a .parquet, .csv or .arrow file, which appears whole or not at all.

        Parquet files hold in their metadata what is needed to build the set again and to compare it: references, the
        spine's hash, the SQL, versions, and each feature's nulls, mean and quantiles.

        Raises:
            PitJoinError: if the name has another ending or the file cannot be written.
        """
        path = Path(path)
        metadata = dict(self.metadata)
        if path.suffix.lower() == ".parquet":
            names = metadata["features"]
            metadata["statistics"] = {name: _statistics(self.table[name]) for name in names}
        write_table(self.table, path, {"pit_join": metadata})


@dataclass(frozen=True, slots=True)
class _Options:
    features: list[dict[str, Any]]
    full_feature_names: bool
    provenance: bool
    defaults: bool


def build_training_set(
    project: Project,
    spine: Any,
    requests: Sequence[Request],
    *,
    event_timestamp: str = "event_timestamp",
    gap: str | None = None,
    full_feature_names: bool = False,
    provenance: bool = False,
    defaults: bool = True,
    sql_only: bool = False,
    wait: float = 60.0,
    on_message: Callable[[str], None] = lambda message: None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, view: None,
) -> TrainingSet:
    """Join the features to the spine, each as it was known at the row's time.

    Args:
        project: the dbt project that declares the views.
        spine: the name of a seed or model, a CSV or Parquet file, or a table in memory.
        requests: what is wanted, see `parse_features`.
        event_timestamp: the spine's column with the time T of each row; naive is UTC.
        gap: predict this long ahead: every T becomes T - gap.
        full_feature_names: name every feature `view__feature`.
        provenance: add `<view>__event_timestamp` and `<view>__status`.
        defaults: replace nulls by the declared defaults.
        sql_only: stop before the joins; the result has the SQL and no rows.
        wait: seconds to wait for a warehouse that another process holds.
        on_message: told what takes time.
        on_progress: told how many views are done.

    Raises:
        PitJoinError: see its subclasses; bad references, spines, tables and projects.
    """
    manifest = project.manifest()
    registry = Registry.from_manifest(manifest)
    registry.check(tuple(requests))
    macros = Macros(manifest, project.dispatch_order, project.compile)
    options = _Options([r.as_macro_argument() for r in requests], full_feature_names, provenance, defaults)
    plan = macros.data("_plan", features=options.features, full_feature_names=full_feature_names, defaults=defaults)
    source = find_spine(spine, manifest, project.directory)
    with DuckDBWarehouse(project.connection, wait=wait, on_wait=on_message) as warehouse:
        build = _Build(warehouse, macros, registry, plan["requests"], options)
        spine_sql = build.check_spine(source, plan["names"], event_timestamp)
        sql = macros.text(
            "training_set",
            spine=spine_sql,
            features=options.features,
            event_timestamp=event_timestamp,
            gap=gap,
            full_feature_names=full_feature_names,
            provenance=provenance,
            defaults=defaults,
        )
        if sql_only:
            return TrainingSet(table=pa.table({}), sql=sql, coverage=(), metadata={})
        spine_table = build.load_spine(source, spine_sql, event_timestamp, gap)
        parts, coverage = [], []
        for done, request in enumerate(build.requests):
            on_progress(done, len(build.requests), request["alias"])
            part, met = build.join(request, spine_table.num_rows)
            parts.append(part)
            coverage.append(met)
        on_progress(len(build.requests), len(build.requests), "")
        warehouse.release()
    table = _beside(spine_table, parts, plan["names"], [r["alias"] for r in build.requests] if provenance else [])
    metadata = {
        "features": plan["names"],
        "references": options.features,
        "event_timestamp": event_timestamp,
        "gap": gap,
        "full_feature_names": full_feature_names,
        "provenance": provenance,
        "defaults": defaults,
        "spine": source.label,
        "spine_sha256": _hash(spine_table),
        "rows": spine_table.num_rows,
        "sql": sql,
        "versions": {name: version(name) for name in ("pit-join", "duckdb", "pyarrow", "dbt-core")},
        "coverage": {met.alias: dict(met.statuses) for met in coverage},
    }
    return TrainingSet(table=table, sql=sql, coverage=tuple(coverage), metadata=metadata)


class _Build:
    """One build inside one transaction of the warehouse."""

    def __init__(
        self,
        warehouse: DuckDBWarehouse,
        macros: Macros,
        registry: Registry,
        requests: Sequence[Mapping[str, Any]],
        options: _Options,
    ) -> None:
        self._warehouse, self._macros, self._options = warehouse, macros, options
        self._views = {request["view"]: registry.view(request["view"]) for request in requests}
        self.requests = requests
        self._facts: dict[str, tuple[str | None, dict[str, Any]]] = {}
        self._check_tables()

    def _check_tables(self) -> None:
        for view in self._views.values():
            what = f"the table of the feature view '{view.name}' cannot be read; run dbt build"
            columns = self._warehouse.columns(f"from {view.relation}", what)
            lower = {name.lower(): kind for name, kind in columns.items()}
            for name, declared in view.types.items():
                actual = lower.get(name.lower())
                if actual is None:
                    raise WarehouseError(
                        f"the table of the feature view '{view.name}' has no column '{name}', which {view.path} lists; "
                        f"run dbt build, or mend the YAML. It has {', '.join(columns)}"
                    )
                _check_declared(view, name, declared, actual)

    def check_spine(self, source: Spine, names: Sequence[str], event_timestamp: str) -> str:
        """Check the spine against the views; gives the SQL that reads it."""
        key_types: dict[str, str] = {}
        for request in self.requests:
            view = self._views[request["view"]]
            for key, column in request["keys"].items():
                known = key_types.setdefault(column, view.types[key])
                if known.lower() != view.types[key].lower() and source.kind == "csv":
                    raise SpineError(
                        f"the spine's column '{column}' is a key of type {known} for one view and {view.types[key]} "
                        f"for '{view.name}'; give the views one type, or use two columns"
                    )
        sql = source.sql(self._warehouse, key_types, event_timestamp)
        columns = self._warehouse.columns(f"from {sql}", f"the spine {source.label} cannot be read")
        check_columns(columns, (*key_types, event_timestamp), source.label)
        check_types(columns, event_timestamp, key_types, source.label)
        provenance = [f"{r['alias']}__{what}" for r in self.requests for what in ("event_timestamp", "status")]
        taken = {name.lower(): name for name in columns}
        for name in [*names, *(provenance if self._options.provenance else [])]:
            if name.lower() in taken:
                raise SpineError(
                    f"the feature '{name}' and the column '{taken[name.lower()]}' of the spine {source.label} have one "
                    "name; use --full-feature-names, or rename the column"
                )
        return sql

    def load_spine(self, source: Spine, sql: str, event_timestamp: str, gap: str | None) -> pa.Table:
        """Read the spine once; every view is joined to this copy."""
        what = f"the spine {source.label} cannot be read"
        columns = self._warehouse.columns(f"from {sql}", what)
        data_type = next(kind for name, kind in columns.items() if name.lower() == event_timestamp.lower())
        short = {"TIMESTAMP WITH TIME ZONE": "timestamptz"}.get(data_type, data_type)
        rows = self._macros.text("spine_rows", spine=sql, event_timestamp=event_timestamp, gap=gap, data_type=short)
        self._warehouse.execute(f"create temp table _pit_spine as {rows}", what)
        return self._warehouse.table("select * exclude (_pit_row, _pit_time) from _pit_spine", what)

    def join(self, request: Mapping[str, Any], rows: int) -> tuple[pa.Table, Coverage]:
        """One view's columns in the spine's order, and how it met the spine."""
        started = time.monotonic()
        view = self._views[request["view"]]
        history, facts = self._look_at(view)
        statement = self._macros.text(
            "_view_statement",
            alias=request["alias"],
            spine="_pit_spine",
            features=self._options.features,
            full_feature_names=self._options.full_feature_names,
            provenance=self._options.provenance,
            defaults=self._options.defaults,
            ties=bool(facts["unordered"] or facts["tied"]),
            late=bool(facts["unordered"] or facts["late"]),
            history=history,
        )
        table = self._warehouse.table(statement, f"the feature view '{view.name}' cannot be joined")
        table = _in_order(table, rows)
        status = f"{request['alias']}__status" if self._options.provenance else "_pit_status"
        coverage = _coverage(request["alias"], view, table, status, facts, time.monotonic() - started)
        keep = [name for name in table.column_names if not name.startswith("_pit_")]
        return _spilled(table.select(keep)), coverage

    def _look_at(self, view: FeatureView) -> tuple[str | None, dict[str, Any]]:
        """A stored copy to read instead of the relation, or None, and what `_history_facts` says."""
        if view.name not in self._facts:
            what = f"the feature view '{view.name}' cannot be read"
            history = None
            if not self._warehouse.has_table(view.location):
                # A file or an SQL view: its rows have no numbers, and reading it twice might give two answers.
                history = f"_pit_history_{len(self._facts)}"
                self._warehouse.execute(f"create temp table {history} as from {view.relation}", what)
            found = self._warehouse.table(self._macros.text("_facts_statement", view=view.name, history=history), what)
            self._facts[view.name] = history, found.to_pylist()[0]
        return self._facts[view.name]


def _check_declared(view: FeatureView, column: str, declared: str, actual: str) -> None:
    """Times decide the answer, so a declared type that is not the table's is an error, not a cast."""
    times = (view.event_timestamp, view.created_timestamp)
    same = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE", "DATETIME": "TIMESTAMP", "TIMESTAMP_US": "TIMESTAMP"}
    wanted = declared.upper().strip()
    if column in times and same.get(wanted, wanted) != actual.upper():
        raise PitJoinError(
            f"{view.path}: {view.name}: the column '{column}' is declared {declared}, and the table's is {actual}; "
            "correct the data_type, or run dbt build"
        )


def _in_order(table: pa.Table, rows: int) -> pa.Table:
    """The rows by their number in the spine."""
    # Through DLPack, since pyarrow's own way to NumPy and back loads pandas where it is installed.
    numbers = np.from_dlpack(table["_pit_row"].combine_chunks())
    if len(numbers) != rows:
        raise WarehouseError(f"the join gave {len(numbers)} rows for a spine of {rows}; please report this")
    positions = np.empty(rows, dtype=np.int64)
    positions[numbers - 1] = np.arange(rows)
    if (positions[1:] > positions[:-1]).all():
        return table
    return table.combine_chunks().take(_positions(positions))


def _positions(numbers: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])


def _spilled(table: pa.Table) -> pa.Table:
    """The same table; a large one lies in an unnamed temporary file, which vanishes with the process."""
    if table.nbytes <= _IN_MEMORY_BYTES:
        return table
    with tempfile.TemporaryFile(prefix="pit-join-") as file:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return pa.ipc.open_file(pa.py_buffer(mapped)).read_all()


def _beside(spine: pa.Table, parts: Sequence[pa.Table], names: Sequence[str], aliases: Sequence[str]) -> pa.Table:
    """The spine's columns, the features in the order asked for, then provenance."""
    columns = {name: part[name] for part in parts for name in part.column_names}
    wanted = [*names, *(f"{alias}__{what}" for alias in aliases for what in ("event_timestamp", "status"))]
    return pa.table([*spine.columns, *(columns[name] for name in wanted)], names=[*spine.column_names, *wanted])


def _coverage(
    alias: str, view: FeatureView, table: pa.Table, status: str, facts: Mapping[str, Any], seconds: float
) -> Coverage:
    counted = {entry["values"]: entry["counts"] for entry in pc.value_counts(table[status]).to_pylist()}
    statuses = {name: counted.get(name, 0) for name in STATUSES}
    ages = np.from_dlpack(table["_pit_age"].drop_null().combine_chunks()).astype(np.float64) / 1e6
    points = np.quantile(ages, (0.5, 0.9, 1.0), method="lower") if len(ages) else ()
    rows = table.num_rows
    undated = facts["rows"] - facts["dated"]
    return Coverage(
        alias=alias,
        view=view.name,
        rows=rows,
        statuses=statuses,
        ages=dict(zip(("p50", "p90", "max"), map(float, points), strict=False)),
        history_rows=facts["rows"],
        undated=undated,
        seconds=seconds,
        hints=tuple(_hints(view, statuses, rows, facts, undated)),
    )


def _hints(
    view: FeatureView, statuses: Mapping[str, int], rows: int, facts: Mapping[str, Any], undated: int
) -> list[str]:
    """What a person should look at where a view matches almost nothing, in plain words."""
    hints = []
    if undated:
        columns = [*view.join_keys, view.event_timestamp, *([view.created_timestamp] if view.created_timestamp else [])]
        hints.append(
            f"{undated:,} of {facts['rows']:,} history rows are never seen: one of {', '.join(columns)} is null"
        )
    if not facts["rows"]:
        hints.append("the table is empty; run dbt build")
    asked = rows - statuses["NULL_KEY"]
    if not asked:
        if rows:
            hints.append("every spine row has a null key or a null time")
        return hints
    if statuses["NOT_YET_KNOWN"] > 0.9 * asked:
        if view.created_timestamp:
            hints.append(
                f"nearly all rows are not yet known at the spine's times: is {view.created_timestamp} taken from the "
                "clock of the run (now()) instead of from the data?"
            )
        else:
            hints.append("nearly all of the spine's times lie before the history begins")
    elif statuses["OUTSIDE_MAX_AGE"] > 0.9 * asked and view.ttl:
        hints.append(
            f"nearly all values are older than the ttl of {format_duration(view.ttl)}: is it shorter than the rhythm "
            "in which the history is written?"
        )
    elif statuses["NOT_FOUND"] > 0.9 * asked and facts["rows"]:
        hints.append(
            f"hardly any key of the spine is in the history: do the values of {', '.join(view.join_keys)} have the "
            "same form on both sides (letter case, blanks, leading zeros)?"
        )
    return hints


def _hash(table: pa.Table) -> str:
    """SHA-256 over a table's schema and values in order."""
    digest = hashlib.sha256(str(table.schema.remove_metadata()).encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata(None).combine_chunks())
    digest.update(memoryview(sink.getvalue()))
    return digest.hexdigest()


def _statistics(column: pa.ChunkedArray) -> dict[str, Any]:
    """Nulls and, for numbers, the mean and quantiles: the baseline that drift is measured against.

    Quantiles are those of at most 100,000 rows, evenly spaced over the set.
    """
    found: dict[str, Any] = {"rows": len(column), "nulls": column.null_count}
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return found
    numbers = column if pa.types.is_floating(kind) else pc.cast(column, pa.float64(), safe=False)
    mean = pc.mean(numbers).as_py()
    step = max(1, len(numbers) // _SAMPLED_ROWS)
    sample = np.from_dlpack(numbers.take(_positions(np.arange(0, len(numbers), step))).drop_null().combine_chunks())
    sample = sample[np.isfinite(sample)].astype(np.float64)
    found["mean"] = mean if mean is not None and np.isfinite(mean) else None
    if len(sample):
        found["quantiles"] = dict(zip(map(str, _QUANTILES), np.quantile(sample, _QUANTILES).tolist(), strict=True))
    return found
