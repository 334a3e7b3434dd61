"""The build of a training set: one statement a view, then all views side by side with the spine.

The macros' SQL alone decides the contents of a row. This module runs the statements one by one, so that memory stays
bounded however many views there are, and puts the rows back into the spine's order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pit_join.errors import RequestError
from pit_join.references import OnDemandRequest
from pit_join.training.definitions import definitions_of
from pit_join.training.joins import ViewJoins
from pit_join.training.request import TrainingRequest
from pit_join.training.set_metadata import SET_FORMAT
from pit_join.training.spine import SpineRows, find_spine
from pit_join.warehouse.expressions import ARGUMENTS, Expressions
from pit_join.workspace import Histories, Workspace

if TYPE_CHECKING:
    from pit_join.training.result import Coverage, TrainingSet
    from pit_join.training.set_table import TrainingTable

__all__ = ["TrainingBuild"]


class TrainingBuild:
    """A training request and the project that it is made to, checked against each other.

    Args:
        workspace: the project that declares the views.
        request: the features of the training set, and its spine.

    Raises:
        PitJoinError: see its subclasses; bad references, spines and projects.
    """

    def __init__(self, workspace: Workspace, request: TrainingRequest) -> None:
        self._workspace, self._macros = workspace, workspace.macros
        self._request = request.checked(workspace.registry)
        on_demand = [each for each in self._request.requests if isinstance(each, OnDemandRequest)]
        workspace.check_on_demand({each.macro for each in on_demand})
        self._resolved = self._macros.data("_resolved_requests", **self._request.macro_arguments())
        self._source = find_spine(request.spine, workspace.manifest, workspace.project.directory)

    def sql(self) -> str:
        """Return the whole query, as dbt would compile it; nothing is joined.

        Raises:
            PitJoinError: see its subclasses; bad spines and tables.
        """
        if self._resolved["computed"] and self._workspace.registry.engine != "duckdb":
            raise RequestError(
                "no query of the warehouse has on-demand features, which DuckDB computes; build the set instead, "
                "or leave them out"
            )
        with self._workspace.warehouse() as warehouse:
            joins = self._joins(Histories(warehouse, self._workspace))
            rows = joins.check_spine(self._source, self._resolved["names"])
            self._source.check_sql(rows, warehouse)
            return self._query(rows)

    def plan(self) -> dict[str, tuple[str, str]]:
        """Return for each role how it would be joined, and why; nothing is joined.

        Raises:
            PitJoinError: see its subclasses; bad spines and tables.
        """
        with self._workspace.warehouse() as warehouse:
            joins = self._joins(Histories(warehouse, self._workspace))
            joins.prepare()
            joins.load_spine(self._source, joins.check_spine(self._source, self._resolved["names"]))
            return joins.plan()

    def run(self) -> TrainingSet:
        """Join the features to the spine, each as it was known at the row's time.

        Raises:
            PitJoinError: see its subclasses; bad spines and tables.
        """
        with self._workspace.warehouse() as warehouse:
            histories = Histories(warehouse, self._workspace)
            assemble = self._join(histories, self._workspace.console.progress, last=True)
        return assemble()

    def create_table(self, name: str, *, overwrite: bool = False) -> TrainingTable:
        """Make the training set as a table of the warehouse, all of it or nothing; no row comes to this process.

        The table has the columns of the spine and then the features. Its rows have no order. Its comment holds the
        metadata that a file has, but the hash of the spine and the statistics of features.

        Args:
            name: `NAME` or `SCHEMA.NAME`, as it is; the default schema is that of the dbt target.
            overwrite: replace a table of that name, which must not be one of dbt's.

        Raises:
            PitJoinError: see its subclasses; bad names, spines and tables, and rights that are missing.
        """
        from pit_join.training.set_table import TableJoins, TrainingTable, check_request, comment_of, table_location

        location, names = table_location(name, self._workspace), list(self._resolved["names"])
        for role in self._resolved["requests"] if self._request.provenance else ():
            names += [f"{role['alias']}__event_timestamp", f"{role['alias']}__status"]
        with self._workspace.warehouse(writes=True) as warehouse:
            session = warehouse.views
            session.check_table(location, overwrite=overwrite)
            joins = TableJoins(self._workspace, Histories(warehouse, self._workspace), self._request, self._resolved)
            joins.prepare()
            spine = self._checked_spine(joins)
            columns = (*spine.names, *names)
            check_request(self._resolved["computed"], len(columns), session.engine)
            rows = joins.load_spine(self._source, spine)
            joins.warn_of_pairs()
            coverage = tuple(joins.keep_all(self._workspace.console.progress))
            sql = self._query(spine)
            metadata = self._metadata(rows, spine, sql, coverage)
            metadata |= definitions_of(self._workspace, self._request, self._resolved)
            query = joins.query(self._source, spine)
            session.create_table(location, query, comment_of(metadata), overwrite=overwrite)
            return TrainingTable(".".join(location[1:]), rows, columns, coverage, sql)

    def run_beside_others(self, histories: Histories) -> TrainingSet:
        """Join as `run` does, without progress messages, in a warehouse that stays open for further requests."""
        return self._join(histories, lambda done, total, view: None, last=False)()

    def _joins(self, histories: Histories) -> ViewJoins:
        return ViewJoins(self._workspace, histories, self._request, self._resolved)

    def _checked_spine(self, joins: ViewJoins) -> SpineRows:
        spine = joins.check_spine(self._source, self._resolved["names"])
        if spine.csv and spine.csv.delimiter != (self._source.delimiter or ","):
            self._workspace.console.say(f"the delimiter of the spine {self._source.label} is {spine.csv.delimiter!r}")
        return spine

    def _query(self, spine: SpineRows) -> str:
        request = self._request
        asked = {"event_timestamp": request.event_timestamp, "gap": request.gap, **request.macro_arguments()}
        macros = self._workspace.view_macros
        if self._workspace.overrides("training_set"):
            return macros.text("training_set", spine=spine.sql, **asked)  # the project's own, which takes no type
        features = asked.pop("features")
        asked["time_type"] = spine.time_type
        return macros.text("_training_set", spine=spine.sql, features=features, asked=asked)

    def _join(
        self, histories: Histories, progress: Callable[[int, int, str], None], *, last: bool
    ) -> Callable[[], TrainingSet]:
        """Join everything, and return a function that assembles the result and needs no warehouse."""
        joins, names = self._joins(histories), self._resolved["names"]
        joins.prepare()
        spine = self._checked_spine(joins)
        rows = joins.load_spine(self._source, spine)
        if last:
            joins.warn_of_pairs()
        joining = joins.begin()
        # Python's slow steps overlap with DuckDB's join: loading Arrow and NumPy, and rendering the whole query.
        from pit_join.training import gather
        from pit_join.training.result import TrainingSet
        from pit_join.training.set_profiler import SetProfiler

        sql = self._query(spine)
        frame, parts, coverage = joins.collect(joining, self._source, progress, last=last)
        metadata = self._metadata(rows, spine, sql, coverage)
        if last:  # monitoring joins many in one warehouse, and writes none to a file
            metadata |= definitions_of(self._workspace, self._request, self._resolved)

        def assemble() -> TrainingSet:
            if self._resolved["computed"]:
                arguments = gather.arguments(frame, parts, self._resolved["computed"])
                computed = Expressions(self._on_demand_statement(), dict.fromkeys(arguments.column_names))
                parts.append(computed.many(arguments))
            roles = [role["alias"] for role in self._resolved["requests"]] if self._request.provenance else []
            texts = spine.csv.texts if spine.csv else None
            features = gather.beside(parts, names, roles)
            if not last:
                return TrainingSet(frame, features, sql, tuple(coverage), metadata, texts)
            profiler = SetProfiler(self._workspace, self._resolved)
            found = gather.found(parts, [role["alias"] for role in self._resolved["requests"]])
            return TrainingSet(frame, features, sql, tuple(coverage), metadata, texts, found, profiler)

        return assemble

    def _metadata(self, rows: int, spine: SpineRows, sql: str, coverage: Sequence[Coverage]) -> dict[str, Any]:
        return {
            "format": SET_FORMAT,
            "features": self._resolved["names"],
            **self._request.as_metadata(),
            "spine": self._source.label,
            "rows": rows,
            "sql": sql,
            "versions": {name: version(name) for name in ("pit-join", "duckdb", "pyarrow", "dbt-core")},
            "spine_columns": spine.names,
            "coverage": {met.alias: dict(met.statuses) for met in coverage},
        }

    def _on_demand_statement(self) -> str:
        """Return the SQL that computes the on-demand features from their arguments."""
        return self._macros.text(
            "_on_demand_statement",
            features=self._request.references,
            relation=ARGUMENTS,
            options={"full_feature_names": self._request.full_feature_names, "defaults": self._request.defaults},
        )
