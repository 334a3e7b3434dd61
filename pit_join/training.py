"""Building a training set: one statement a view, then the views are put beside the spine.

What a row of the result holds is decided by the macros' SQL alone; here the statements are run one by one, so that
memory stays bounded however many views there are, and rows are put back into the spine's order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pit_join.errors import SpineError
from pit_join.project import Project
from pit_join.references import Request
from pit_join.registry import Registry
from pit_join.rendering import Macros
from pit_join.spines import Spine, check_columns, check_types, find_spine
from pit_join.tables import check_table, family
from pit_join.warehouse import DuckDBWarehouse, identifier

if TYPE_CHECKING:
    import pyarrow as pa

    from pit_join.results import Coverage, TrainingSet

__all__ = ["build_training_set"]


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
    plan = macros.data(
        "_plan",
        features=options.features,
        full_feature_names=full_feature_names,
        defaults=defaults,
        provenance=provenance,
    )
    source = find_spine(spine, manifest, project.directory)
    with (
        DuckDBWarehouse(project.connection, wait=wait, on_wait=on_message) as warehouse,
        ThreadPoolExecutor(max_workers=1) as aside,
        warehouse.ended_by_errors(),
    ):
        build = _Build(warehouse, aside, macros, registry, plan["requests"], options)
        # Arrow and NumPy take a quarter of a second to load, which passes while DuckDB works.
        threading.Thread(target=import_module, args=["pit_join.results"]).start()
        spine_sql = build.check_spine(source, plan["names"], event_timestamp)
        # Not needed before the end: made while DuckDB joins.
        sql = aside.submit(
            macros.text,
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
            from pit_join.results import TrainingSet

            return TrainingSet(table=None, sql=sql.result(), coverage=(), metadata={})
        rows = build.load_spine(source, spine_sql, event_timestamp, gap)
        parts, coverage = [], []
        for done, request in enumerate(build.requests):
            on_progress(done, len(build.requests), request["alias"])
            part, met = build.join(request, rows)
            parts.append(part)
            coverage.append(met)
        on_progress(len(build.requests), len(build.requests), "")
        spine_table = build.spine_table(source)
        warehouse.release()
    from pit_join import results

    aliases = [request["alias"] for request in build.requests] if provenance else []
    table = results.beside(spine_table, parts, plan["names"], aliases)
    metadata = {
        "features": plan["names"],
        "references": options.features,
        "event_timestamp": event_timestamp,
        "gap": gap,
        "full_feature_names": full_feature_names,
        "provenance": provenance,
        "defaults": defaults,
        "spine": source.label,
        "spine_columns": spine_table.column_names,
        "rows": rows,
        "sql": sql.result(),
        "versions": {name: version(name) for name in ("pit-join", "duckdb", "pyarrow", "dbt-core")},
        "coverage": {met.alias: dict(met.statuses) for met in coverage},
    }
    return results.TrainingSet(table=table, sql=sql.result(), coverage=tuple(coverage), metadata=metadata)


class _Build:
    """One build inside one transaction of the warehouse.

    `aside` is one thread, in which the tables are looked at while other things are done.
    """

    def __init__(
        self,
        warehouse: DuckDBWarehouse,
        aside: ThreadPoolExecutor,
        macros: Macros,
        registry: Registry,
        requests: Sequence[Mapping[str, Any]],
        options: _Options,
    ) -> None:
        self._warehouse, self._macros, self._options = warehouse, macros, options
        self._views = {request["view"]: registry.view(request["view"]) for request in requests}
        self.requests = requests
        self._key_types: dict[str, str] = {}
        self._copies: dict[str, str] = {}
        self._looks: dict[str, Future[dict[str, Any]]] = {}
        self._check_tables()
        self._look(aside)

    def _check_tables(self) -> None:
        for view in self._views.values():
            what = f"the table of the feature view '{view.name}' cannot be read; run dbt build"
            columns = self._warehouse.columns(f"from {view.relation}", what)
            check_table(view, columns)

    def check_spine(self, source: Spine, names: Sequence[str], event_timestamp: str) -> str:
        """Check the spine against the views; gives the SQL that reads it."""
        key_types = self._key_types
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
        columns = self._warehouse.columns(f"from {sql}", source.unreadable)
        check_columns(columns, (*key_types, event_timestamp), source.label)
        check_types(columns, event_timestamp, key_types, source.label)
        provenance = [f"{r['alias']}__{what}" for r in self.requests for what in ("event_timestamp", "status")]
        taken = {name.lower(): name for name in columns}
        for name in [*names, *(provenance if self._options.provenance else [])]:
            if name.lower() in taken:
                mend = "rename the column" if "__" in name else "use --full-feature-names, or rename the column"
                raise SpineError(
                    f"the feature '{name}' and the column '{taken[name.lower()]}' of the spine {source.label} have one "
                    f"name; {mend}"
                )
        return sql

    def load_spine(self, source: Spine, sql: str, event_timestamp: str, gap: str | None) -> int:
        """Read the spine once; every view is joined to this copy. Gives the number of its rows."""
        what = source.unreadable
        columns = self._warehouse.columns(f"from {sql}", what)
        data_type = next(kind for name, kind in columns.items() if name.lower() == event_timestamp.lower())
        short = {"TIMESTAMP WITH TIME ZONE": "timestamptz"}.get(data_type, data_type)
        rows = self._macros.text("spine_rows", spine=sql, event_timestamp=event_timestamp, gap=gap, data_type=short)
        self._warehouse.execute(f"create temp table _pit_spine as {rows}", what)
        self._check_float_keys(columns, source.label)
        return int(self._warehouse.row("select count(*) as rows from _pit_spine", what)["rows"])

    def spine_table(self, source: Spine) -> pa.Table:
        """The spine's own columns, in its order."""
        return self._warehouse.table("select * exclude (_pit_row, _pit_time) from _pit_spine", source.unreadable)

    def _check_float_keys(self, columns: Mapping[str, str], label: str) -> None:
        """A whole number above 2^53 has lost its last digits in a float, so it would equal another key."""
        floats = [
            n
            for n in self._key_types
            for name, kind in columns.items()
            if name.lower() == n.lower() and kind in ("DOUBLE", "FLOAT")
        ]
        for column in floats:
            name = identifier(column)
            found = self._warehouse.row(
                f"select max(abs({name})) as most from _pit_spine where isfinite({name})", label
            )
            if family(self._key_types[column]) == "number" and (found["most"] or 0) >= 2**53:
                raise SpineError(
                    f"the key '{column}' of the spine {label} holds numbers above 2^53 as floats, which tells them not "
                    "apart; read it as whole numbers (in pandas: astype('Int64') before the values are lost)"
                )

    def join(self, request: Mapping[str, Any], rows: int) -> tuple[pa.Table, Coverage]:
        """One view's columns in the spine's order, and how it met the spine."""
        from pit_join import results

        started = time.monotonic()
        view = self._views[request["view"]]
        facts = self._looks[view.name].result()
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
            history=self._copies.get(view.name),
        )
        table = self._warehouse.table(statement, f"the feature view '{view.name}' cannot be joined")
        status = f"{request['alias']}__status" if self._options.provenance else "_pit_status"
        part = results.spilled(results.in_order(table, rows))
        return part, results.coverage(request["alias"], view, table, status, facts, time.monotonic() - started)

    def _look(self, aside: ThreadPoolExecutor) -> None:
        """Find out of each history whether it is in order, and has ties or late rows: see `_history_facts`."""
        session = self._warehouse.another_session()
        for view in self._views.values():
            what = f"the feature view '{view.name}' cannot be read"
            if not self._warehouse.has_table(view.location):
                # A file or an SQL view: its rows have no numbers, and reading it twice might give two answers.
                copy = self._copies[view.name] = f"_pit_history_{len(self._copies)}"
                self._warehouse.execute(f"create temp table {copy} as from {view.relation}", what)
            statement = self._macros.text("_facts_statement", view=view.name, history=self._copies.get(view.name))
            if view.name in self._copies:
                self._looks[view.name] = Future()
                self._looks[view.name].set_result(self._warehouse.row(statement, what))
            else:
                self._looks[view.name] = aside.submit(session.row, statement, what)
