"""One opened project: its manifest, registry, macros and warehouse, read and checked once for the wings above."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any

from pit_join.definitions.engine_types import in_duckdb
from pit_join.definitions.field_type import FieldType, read_type
from pit_join.definitions.registry import Registry
from pit_join.definitions.table_check import check_table
from pit_join.definitions.views import FeatureView, OnDemandFeature
from pit_join.errors import PitJoinError, ProjectError, WarehouseError, raise_together
from pit_join.project.dbt_project import Project
from pit_join.project.rendering import Macros
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.expressions import ARGUMENTS, problem_of, problem_of_condition
from pit_join.warehouse.postgres_session import PostgresSession
from pit_join.warehouse.server import ServerWarehouse
from pit_join.warehouse.spark_session import SparkViewSession

__all__ = ["Console", "Histories", "Workspace", "condition_problems"]

_log = logging.getLogger("pit_join")


def _log_progress(done: int, total: int, what: str) -> None:
    _log.info("%s: %d of %s", what or "done", done, total or "unknown", extra={"progress": (done, total, what)})


@dataclass(frozen=True, slots=True)
class Console:
    """The lock timeout of a command and the receivers of its messages, by default the logger `pit_join`.

    `wait` is in seconds. `say` is called with announcements of long steps, `warn` with messages that the user should
    act on, `progress` with the number done, the total (0 if it is not known) and the next item (empty at the end).
    """

    wait: float = 60.0
    say: Callable[[str], None] = _log.info
    warn: Callable[[str], None] = _log.warning
    progress: Callable[[int, int, str], None] = _log_progress


_LOGGED = Console()


class Workspace:
    """One state of a project, for one command: every file is read when it is first needed, and only once.

    Where dbt itself has to render a macro it reads the files again, and they must be the same.

    Args:
        project: the dbt project.
        console: the lock timeout and the receivers of messages.
    """

    def __init__(self, project: Project, console: Console = _LOGGED) -> None:
        self.project, self.console = project, console

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Dbt's manifest of the project.

        Raises:
            ProjectError: with dbt's message, if dbt cannot read the project.
        """
        return self.project.manifest()

    @cached_property
    def registry(self) -> Registry:
        """Everything that the project declares.

        Raises:
            ProjectError: with every problem of the declarations.
        """
        return Registry.from_manifest(self.manifest)

    @cached_property
    def macros(self) -> Macros:
        """The macros of the project for statements that DuckDB runs, ready to be rendered."""
        if self.project.connection.engine == "duckdb":
            return self.view_macros
        return self._macros(in_duckdb(self.manifest))

    @cached_property
    def view_macros(self) -> Macros:
        """The macros of the project for statements over feature views, which the warehouse runs."""
        return self._macros(self.manifest)

    def _macros(self, manifest: Mapping[str, Any]) -> Macros:
        return Macros(manifest, self.project.dispatch_order, self.project.compile, self.project.cache)

    def overrides(self, macro: str) -> bool:
        """Return whether the project, or another package, has an implementation of a macro of its own."""
        macros = self.manifest["macros"].values()
        return any(each["name"].endswith(f"__{macro}") and each["package_name"] != "pit_join" for each in macros)

    @property
    def name(self) -> str:
        """The project and the target of its profile, as messages name them that compare several projects."""
        return f"{self.manifest['metadata']['project_name']}, target {self.project.connection.target}"

    def warehouse(self, *, writes: bool = False) -> DuckDBWarehouse:
        """Open the warehouse, for a `with` statement; with `writes` for new tables in the database that dbt writes.

        Raises:
            WarehouseError: if a file is missing, is not a DuckDB file, or stays locked, or a server cannot be used.
        """
        connection = self.project.connection
        if connection.engine == "postgres":
            return ServerWarehouse(PostgresSession(connection.server))
        if connection.engine == "spark":
            return ServerWarehouse(SparkViewSession(connection.server, connection.directory, self.console.say))
        written = connection.database if writes else None
        return DuckDBWarehouse(connection, wait=self.console.wait, on_wait=self.console.warn, writes=written)

    def warn_of_clock(self, view: FeatureView) -> None:
        """Warn of times that dbt wrote into a snapshot in a time zone that nothing declares."""
        connection = self.project.connection
        if not view.clock_times or connection.pins_utc or connection.engine != "duckdb":
            return
        self.console.warn(
            f"{view.path}: {view.name}: {' and '.join(view.clock_times)} of a snapshot is read as UTC, but dbt's clock "
            "wrote it in the time zone of its session, by default that of the machine; pin the zone by "
            f"'settings: {{TimeZone: UTC}}' in the target '{connection.target}' of profiles.yml, or, if all stored "
            "times are UTC, say 'clock_time_zone: UTC' in config.meta.pit_join"
        )

    def check_on_demand(self, used: Collection[str], *, others: bool = False) -> None:
        """Check, without any rows, that the on-demand features used have one value offline and online.

        With `others` the user is warned of those that the command does not use, and it goes on. Arguments that lose
        digits of the result are warned of, too.

        Raises:
            ProjectError: with every problem, each naming the file and the macro.
        """
        declared = self.registry.on_demand
        if problems := self.on_demand_problems(declared[name] for name in used):
            raise ProjectError(problems)
        if others:
            for problem in self.on_demand_problems(declared[name] for name in declared.keys() - used):
                self.console.warn(f"an on-demand feature that cannot be used: {problem}")
        for name in sorted(self.registry.on_demand if others else used):
            feature = self.registry.on_demand[name]
            if read_type(feature.returns).name != "DOUBLE":
                continue
            for argument, kind in feature.types.items():
                if read_type(kind).name == "FLOAT":
                    self.console.warn(
                        f"{feature.path}: {name}: the argument '{argument}' is declared {kind} and the result "
                        f"{feature.returns}, but with such arguments SQL computes in 32 bits, other than Python and "
                        f"Feast do; declare the argument '{argument}' double"
                    )

    def on_demand_problems(self, features: Iterable[OnDemandFeature]) -> list[str]:
        """Return what is wrong with on-demand features, each naming the file and the macro."""
        problems = []
        for feature in sorted(features, key=lambda each: each.name):
            name = feature.name
            # No macro can guess these names, so one that reads columns by name instead of its arguments is found.
            columns = {argument: f"_pit_{i}" for i, argument in enumerate(feature.types, 1)}
            asked = {"on_demand": name, "arguments": columns, "types": dict(feature.types), "returns": feature.returns}
            try:
                expression = self.macros.text("_on_demand_expression", path=name, arguments=columns)
                statements = [
                    self.macros.text(
                        "_on_demand_statement",
                        features=[asked],
                        relation=ARGUMENTS,
                        options={"defaults": False, "tried": tried},
                    )
                    for tried in (False, True)
                ]
            except ProjectError as error:
                problems += [f"{feature.path}: {name}: {problem}" for problem in error.problems]
                continue
            types = {columns[argument]: kind for argument, kind in feature.types.items()}
            if problem := problem_of(expression, statements, types):
                problems.append(f"{feature.path}: {name}: {problem}")
        return problems


class Histories:
    """The tables of feature views in one state of the warehouse, each checked, staged and described once.

    A file or an SQL view is staged, that is, its rows are copied: no lock protects the source, so two reads of it might
    differ, and its rows have no row numbers. A table of DuckDB is read directly. The lock of the attached file, not the
    transaction, holds its state, so several transactions see one state. On a server nothing is staged: one transaction
    reads one state of everything.
    """

    def __init__(self, warehouse: DuckDBWarehouse, workspace: Workspace) -> None:
        self.warehouse, self.session, self._workspace = warehouse, warehouse.views, workspace
        self._checked: set[str] = set()
        self._single: set[str] = set()  # static views without a doubled key
        self._numbers = count()
        self._staged: dict[str, str] = {}
        self._facts: dict[str, Future[list[dict[str, Any]]]] = {}

    def check(self, views: Iterable[FeatureView]) -> None:
        """Check that each table is what its view declares.

        Raises:
            PitJoinError: with every problem, if a table cannot be read or differs from its declaration.
        """
        problems = []
        views = [view for view in views if view.name not in self._checked]
        self.session.hold([view.relation for view in views])
        for view in views:
            if view.name not in self._checked:
                try:
                    self._check(view)
                    self._checked.add(view.name)
                except PitJoinError as error:
                    self.begin_anew()  # DuckDB 1.5 reads no more in a transaction in which a file was missing
                    problems.append(error)
        raise_together(problems)

    def _check(self, view: FeatureView) -> None:
        what = f"the table of the feature view '{view.name}' cannot be read; run dbt build"
        columns = self.session.columns(f"select * from {view.relation}", what)
        check_table(view, columns, lambda text: self._named_type(text, view))
        if problems := list(condition_problems(view)):
            raise ProjectError(problems)
        for condition, where in _conditions(view).items():
            what = f"{where}: {condition!r} cannot be read"
            self.session.columns(f"select case when ({condition}\n) then 1 end as met from {view.relation}", what)
        self._workspace.warn_of_clock(view)

    def _named_type(self, text: str, view: FeatureView) -> FieldType | None:
        return self.warehouse.named_type(text, view.location) if self.session is self.warehouse else None

    def stage(self, views: Collection[FeatureView]) -> None:
        """Check the tables, and copy those that are not stored tables of DuckDB."""
        self.check(views)
        for view in views if self.session is self.warehouse else ():
            if view.name not in self._staged and not self.warehouse.has_table(view.location):
                copy = f"_pit_history_{next(self._numbers)}"
                what = f"the feature view '{view.name}' cannot be read"
                self.warehouse.execute(f"create temp table {copy} as from {view.relation}", what)
                self._staged[view.name] = copy

    def prepare(self, views: Collection[FeatureView]) -> None:
        """Check and stage the tables, and start to count the unordered, tied and late rows of each."""
        self.stage(views)
        for view in views:
            self._look_at(view)

    def _look_at(self, view: FeatureView) -> Future[list[dict[str, Any]]]:
        if view.name not in self._facts:
            self.stage([view])
            statement = self._workspace.view_macros.text("_facts_statement", view=view.name, history=self.staged(view))
            # In a second session, while the spine is read; a staged table is visible only in the session that made it.
            looking = self.session if view.name in self._staged or self.session is not self.warehouse else self._aside
            what = f"the feature view '{view.name}' cannot be read"
            self._facts[view.name] = looking.rows_later(statement, what)
        return self._facts[view.name]

    def staged(self, view: FeatureView) -> str | None:
        """Return the staged copy of a view as SQL names it; None if its table is read itself."""
        return self._staged.get(view.name)

    def facts(self, view: FeatureView) -> dict[str, Any]:
        """Return what the macro `_history_facts` says of a view, which is staged before if it has to be.

        Raises:
            WarehouseError: if a key of a static view has several rows.
        """
        facts = self._look_at(view).result()[0]
        if view.static and (facts["unordered"] or facts["tied"]) and view.name not in self._single:
            self._check_single(view)
            self._single.add(view.name)
        return facts

    def _check_single(self, view: FeatureView) -> None:
        statement = self._workspace.view_macros.text("_doubled_statement", view=view.name, history=self.staged(view))
        what = f"the feature view '{view.name}' cannot be read"
        if found := self.session.rows_later(statement, what).result():
            *values, rows = found[0].values()
            key = ", ".join(f"{name}={value}" for name, value in zip(view.join_keys, values, strict=True))
            one = "one of them, which is sensitive," if view.hides_keys else f"the key {key}"
            wanted = f"a key has one row, and {one} has" if key else "without keys it has one row, not"
            raise WarehouseError(
                f"{view.path}: {view.name}: the view is static, so {wanted} {rows:,}; "
                "mend the model (its dbt test pit_join.unique_feature_rows finds all such keys), or, if the table is a "
                "history, declare its event_time instead of static: true"
            )

    def clear(self, *tables: str) -> None:
        """Drop temporary tables and free their memory; staged tables stay."""
        # Only the end of a transaction frees memory.
        found = self.warehouse.rows_later("from duckdb_views() where temporary", "").result()
        views = {each["view_name"] for each in found}
        drops = "".join(f"drop {'view' if table in views else 'table'} if exists {table}; " for table in tables)
        self.warehouse.execute(f"{drops}commit; begin", "the joined rows cannot be removed")

    def begin_anew(self) -> None:
        """End the transaction after an error; what was staged in it is lost, and what was committed stays."""
        self.warehouse.begin_anew()

    def forget(self, view: FeatureView) -> None:
        """Drop the staged copy of a view that is not read again."""
        self._facts.pop(view.name, None)
        self._single.discard(view.name)
        if staged := self._staged.pop(view.name, None):
            self.clear(staged)

    @cached_property
    def _aside(self) -> Any:
        return self.warehouse.another_session()


def condition_problems(view: FeatureView) -> Iterator[str]:
    """Yield what is wrong with the conditions of a view, as far as its declared types tell."""
    for condition, where in _conditions(view).items():
        if problem := problem_of_condition(condition, view.types):
            yield f"{where}: {condition!r}: {problem}"


def _conditions(view: FeatureView) -> dict[str, str]:
    """Return the conditions of a view's aggregations, each with the place where it is declared first."""
    found: dict[str, str] = {}
    for one in view.aggregations:
        if one.where:
            found.setdefault(one.where, f"{view.path}: {view.name}: aggregations.{one.name}.where")
    return found
