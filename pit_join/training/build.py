"""Building a training set: one statement a view, then the views are put beside the spine.

What a row of the result holds is decided by the macros' SQL alone; here the statements are run one by one, so that
memory stays bounded however many views there are, and rows are put back into the spine's order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pit_join.definitions.field_type import FieldType
from pit_join.definitions.registry import Registry
from pit_join.definitions.table_check import check_table
from pit_join.errors import PitJoinError, SpineError
from pit_join.project.rendering import Macros
from pit_join.references import Asked, OnDemandRequest
from pit_join.training.spine import Spine, check_arguments, check_columns, check_float_keys, check_types, find_spine
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.expressions import ARGUMENTS, Expressions
from pit_join.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from pit_join.training.result import Coverage, TrainingSet

__all__ = ["build_training_set"]

# A pair costs the plan `range` about a fourth of what an event or an instant costs the plan `stacked`.
_PAIRS_A_ROW = 4


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a training set shall hold; `references` as the macros take them."""

    references: list[dict[str, Any]]
    event_timestamp: str
    gap: str | None
    full_feature_names: bool
    provenance: bool
    defaults: bool
    window_plan: str | None

    def of_views(self, alias: str | None = None) -> dict[str, Any]:
        """What the macros are told about the views, or about one of them."""
        # An on-demand feature may take arguments from any of them.
        everything = alias is None or any("on_demand" in item for item in self.references)
        return {
            "features": [item for item in self.references if everything or item["as"] == alias],
            "full_feature_names": self.full_feature_names,
            "provenance": self.provenance,
            "defaults": self.defaults,
        }


def build_training_set(
    workspace: Workspace,
    spine: Any,
    requests: Sequence[Asked],
    *,
    event_timestamp: str = "event_timestamp",
    gap: str | None = None,
    full_feature_names: bool = False,
    provenance: bool = False,
    defaults: bool = True,
    sql_only: bool = False,
    plan_only: bool = False,
    window_plan: str | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> TrainingSet:
    """Join the features to the spine, each as it was known at the row's time.

    Args:
        workspace: the project that declares the views.
        spine: the name of a seed or model, a CSV or Parquet file, or a table in memory.
        requests: what is wanted, see `parse_features`.
        event_timestamp: the spine's column with the time T of each row; naive is UTC.
        gap: predict this long ahead: every T becomes T - gap.
        full_feature_names: name every feature `view__feature`.
        provenance: add `<view>__event_timestamp` and `<view>__status`.
        defaults: replace nulls by the declared defaults.
        sql_only: stop before the joins; the result has the SQL and no rows.
        plan_only: stop before the joins; the result has the plan of each view and no rows.
        window_plan: join all window views by this plan, `range` or `stacked`, instead of the one that looks cheaper.
        on_progress: called instead of the console with how many views are done.

    Raises:
        PitJoinError: see its subclasses; bad references, spines, tables and projects.
    """
    requests = workspace.registry.check(tuple(requests))
    macros = workspace.macros
    workspace.check_on_demand({request.macro for request in requests if isinstance(request, OnDemandRequest)})
    if window_plan not in (None, "range", "stacked"):
        raise PitJoinError(f"unknown window plan '{window_plan}'; there are range and stacked")
    references = [request.as_macro_argument() for request in requests]
    asked = _Asked(references, event_timestamp, gap, full_feature_names, provenance, defaults, window_plan)
    plan = macros.data("_plan", **asked.of_views())
    source = find_spine(spine, workspace.manifest, workspace.project.directory)
    with workspace.warehouse() as warehouse:
        build = _Build(warehouse, macros, workspace.registry, plan, asked)
        spine_sql = build.check_spine(source, plan["names"])

        def whole_query() -> str:
            return macros.text(
                "training_set", spine=spine_sql, event_timestamp=event_timestamp, gap=gap, **asked.of_views()
            )

        if sql_only:
            from pit_join.training.result import TrainingSet

            return TrainingSet(table=None, sql=whole_query(), coverage=(), metadata={})
        rows = build.load_spine(source, spine_sql)
        if plan_only:
            from pit_join.training.result import TrainingSet

            plans = {request["alias"]: build.plan(request) for request in plan["requests"]}
            return TrainingSet(table=None, sql=whole_query(), coverage=(), metadata={"plans": plans})
        joining = build.join(plan["requests"][0])
        # What takes Python a while passes while DuckDB works: to load Arrow and NumPy, and to render the whole query.
        from pit_join.training import gather
        from pit_join.training import result as results

        metadata = {
            "features": plan["names"],
            **asdict(asked),
            "spine": source.label,
            "rows": rows,
            "sql": whole_query(),
            "versions": {name: version(name) for name in ("pit-join", "duckdb", "pyarrow", "dbt-core")},
        }
        spine_table, parts, coverage = build.collect(joining, source, rows, on_progress or workspace.console.progress)
    metadata["spine_columns"] = spine_table.column_names
    metadata["coverage"] = {met.alias: dict(met.statuses) for met in coverage}
    aliases = [request["alias"] for request in plan["requests"]] if provenance else []
    if plan["computed"]:
        arguments = gather.arguments(spine_table, parts, plan["computed"])
        parts.append(Expressions(build.on_demand_statement(), dict.fromkeys(arguments.column_names)).many(arguments))
    table = gather.beside(spine_table, parts, plan["names"], aliases)
    return results.TrainingSet(table=table, sql=metadata["sql"], coverage=tuple(coverage), metadata=metadata)


class _Build:
    """One build inside one transaction of the warehouse."""

    def __init__(
        self,
        warehouse: DuckDBWarehouse,
        macros: Macros,
        registry: Registry,
        plan: Mapping[str, Any],
        asked: _Asked,
    ) -> None:
        self._warehouse, self._macros, self._asked = warehouse, macros, asked
        self._requests, self._computed = plan["requests"], plan["computed"]
        self._views = {request["view"]: registry.view(request["view"]) for request in self._requests}
        self._key_types: dict[str, FieldType] = {}
        self._copies: dict[str, str] = {}
        self._looks: dict[str, Future[list[dict[str, Any]]]] = {}
        self._rows = 0
        self._check_tables()
        self._look()

    def _check_tables(self) -> None:
        for view in self._views.values():
            what = f"the table of the feature view '{view.name}' cannot be read; run dbt build"
            columns = self._warehouse.columns(f"from {view.relation}", what)
            check_table(view, columns)
            for one in view.aggregations:
                if one.where:
                    what = f"{view.path}: {view.name}: aggregations.{one.name}.where: {one.where!r} cannot be read"
                    self._warehouse.columns(f"select case when ({one.where}\n) then 1 end from {view.relation}", what)

    def check_spine(self, source: Spine, names: Sequence[str]) -> str:
        """Check the spine against the views; gives the SQL that reads it."""
        key_types, event_timestamp = self._key_types, self._asked.event_timestamp
        for request in self._requests:
            view = self._views[request["view"]]
            for key, column in request["keys"].items():
                known = key_types.setdefault(column, view.types[key])
                if known != view.types[key] and source.kind == "csv":
                    raise SpineError(
                        f"the spine's column '{column}' is a key of type {known} for one view and {view.types[key]} "
                        f"for '{view.name}'; give the views one type, or use two columns"
                    )
        sql = source.sql(self._warehouse, key_types, event_timestamp)
        columns = self._warehouse.columns(f"from {sql}", source.unreadable)
        check_columns(columns, (*key_types, event_timestamp), source.label)
        check_types(columns, event_timestamp, key_types, source.label)
        check_arguments(columns, self._computed, source.label)
        provenance = [f"{r['alias']}__{what}" for r in self._requests for what in ("event_timestamp", "status")]
        taken = {name.lower(): name for name in columns}
        for name in [*names, *(provenance if self._asked.provenance else [])]:
            if name.lower() in taken:
                mend = "rename the column" if "__" in name else "use --full-feature-names, or rename the column"
                raise SpineError(
                    f"the feature '{name}' and the column '{taken[name.lower()]}' of the spine {source.label} have one "
                    f"name; {mend}"
                )
        return sql

    def load_spine(self, source: Spine, sql: str) -> int:
        """Read the spine once; every view is joined to this copy. Gives the number of its rows."""
        what = source.unreadable
        columns = self._warehouse.columns(f"from {sql}", what)
        column, gap = self._asked.event_timestamp, self._asked.gap
        data_type = next(kind.name for name, kind in columns.items() if name.lower() == column.lower())
        short = {"TIMESTAMP WITH TIME ZONE": "timestamptz"}.get(data_type, data_type)
        rows = self._macros.text("spine_rows", spine=sql, event_timestamp=column, gap=gap, data_type=short)
        self._warehouse.execute(f"create temp table _pit_spine as {rows}", what)
        check_float_keys(self._warehouse, "_pit_spine", columns, self._key_types, source.label)
        self._rows = int(self._warehouse.row("select count(*) as rows from _pit_spine", what)["rows"])
        return self._rows

    def on_demand_statement(self) -> str:
        """What computes the on-demand features from their arguments."""
        asked = self._asked
        return self._macros.text(
            "_on_demand_statement",
            features=asked.references,
            full_feature_names=asked.full_feature_names,
            defaults=asked.defaults,
            relation=ARGUMENTS,
        )

    def plan(self, request: Mapping[str, Any]) -> tuple[str, str]:
        """How a view is joined, and why: ASOF, or for windows `range` or `stacked` (see `window_features`)."""
        view, facts = self._views[request["view"]], self._facts(request)
        if not view.aggregations:
            late, tied = (bool(facts["unordered"] or facts[what]) for what in ("late", "tied"))
            also = [*(["rows known late"] if late else []), *(["ties"] if tied else [])]
            return "asof", f"{facts['rows']:,} rows" + (f" with {' and '.join(also)}" if also else "")
        if self._asked.window_plan:
            return self._asked.window_plan, "as asked for"
        statement = self._macros.text(
            "_pairs_statement",
            alias=request["alias"],
            spine="_pit_spine",
            features=self._asked.of_views(request["alias"])["features"],
            history=self._copies.get(view.name),
        )
        pairs = self._warehouse.row(statement, f"the feature view '{view.name}' cannot be read")["pairs"]
        chosen = "range" if pairs <= _PAIRS_A_ROW * (facts["rows"] + self._rows) else "stacked"
        return chosen, f"about {pairs:,.0f} pairs of a spine row and an event, and {facts['rows']:,} events"

    def join(self, request: Mapping[str, Any]) -> Future[pa.Table]:
        """Begin to join one view, by the plan that the facts of its table allow; gives its columns, in any order."""
        facts = self._facts(request)
        statements = self._macros.data(
            "_view_statements",
            plan=self.plan(request)[0] if self._views[request["view"]].aggregations else None,
            alias=request["alias"],
            spine="_pit_spine",
            ties=bool(facts["unordered"] or facts["tied"]),
            late=bool(facts["unordered"] or facts["late"]),
            history=self._copies.get(request["view"]),
            **self._asked.of_views(request["alias"]),
        )
        return self._warehouse.table_later(statements, f"the feature view '{request['view']}' cannot be joined")

    def collect(
        self, joining: Future[pa.Table], source: Spine, rows: int, on_progress: Callable[[int, int, str], None]
    ) -> tuple[pa.Table, list[pa.Table], list[Coverage]]:
        """The spine's own columns and those of each view, in the spine's order, and how each view met the spine.

        `joining` is the join of the first view. What comes next begins while the rows of a view are put in order.
        """
        from pit_join.training import gather
        from pit_join.training import result as results

        started, total = time.monotonic(), len(self._requests)
        parts, coverage = [], []
        for done, request in enumerate(self._requests):
            on_progress(done, total, request["alias"])
            table = joining.result()
            if done + 1 < total:
                joining = self.join(self._requests[done + 1])
            else:
                own = "select * exclude (_pit_row, _pit_time) from _pit_spine"
                reading = self._warehouse.table_later([own], source.unreadable)
                releasing = self._warehouse.release()
            parts.append(gather.spilled(gather.in_order(table, rows)))
            started, seconds = time.monotonic(), time.monotonic() - started
            status = f"{request['alias']}__status" if self._asked.provenance else "_pit_status"
            view, facts = self._views[request["view"]], self._facts(request)
            coverage.append(results.coverage(request["alias"], view, table, status, facts, seconds))
        on_progress(total, total, "")
        spine_table = reading.result()
        releasing.result()
        return spine_table, parts, coverage

    def _facts(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._looks[request["view"]].result()[0]

    def _look(self) -> None:
        """Find out of each history whether it is in order, and has ties or late rows: see `_history_facts`.

        Aside: the spine is read meanwhile.
        """
        session = self._warehouse.another_session()
        for view in self._views.values():
            what = f"the feature view '{view.name}' cannot be read"
            if not self._warehouse.has_table(view.location):
                # A file or an SQL view: its rows have no numbers, and reading it twice might give two answers.
                copy = self._copies[view.name] = f"_pit_history_{len(self._copies)}"
                self._warehouse.execute(f"create temp table {copy} as from {view.relation}", what)
            statement = self._macros.text("_facts_statement", view=view.name, history=self._copies.get(view.name))
            # A copy is seen only by the session that made it.
            looking = self._warehouse if view.name in self._copies else session
            self._looks[view.name] = looking.rows_later(statement, what)
