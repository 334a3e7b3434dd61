"""A project opened once: manifest, registry, macros, connection, read, checked and shared by the wings above."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pit_join.definitions.registry import Registry
from pit_join.errors import ProjectError
from pit_join.project.dbt_project import Project
from pit_join.project.rendering import Macros
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.expressions import ARGUMENTS, problem_of

__all__ = ["Console", "Workspace"]

_log = logging.getLogger("pit_join")


def _log_progress(done: int, total: int, what: str) -> None:
    _log.info("%s: %d of %s", what or "done", done, total or "unknown", extra={"progress": (done, total, what)})


@dataclass(frozen=True, slots=True)
class Console:
    """How long a command waits for locks, and who hears of it; by default the logger `pit_join` does.

    `wait` is in seconds. `say` is called with what takes time, `warn` with what the user should act on, `progress` with
    how much is done, of how much (0 if that is not known), and what comes next (empty at the end).
    """

    wait: float = 60.0
    say: Callable[[str], None] = _log.info
    warn: Callable[[str], None] = _log.warning
    progress: Callable[[int, int, str], None] = _log_progress


_LOGGED = Console()


class Workspace:
    """One state of a project, for one command: every file of the project is read when first needed, and once.

    Args:
        project: the dbt project.
        console: how long the command waits, and who hears of it.
    """

    def __init__(self, project: Project, console: Console = _LOGGED) -> None:
        self.project, self.console = project, console

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Dbt's manifest of the project.

        Raises:
            ProjectError: with what dbt says, if it cannot read the project.
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
        """The macros of the project, ready to be rendered."""
        return Macros(self.manifest, self.project.dispatch_order, self.project.compile, self.project.cache)

    @property
    def name(self) -> str:
        """The project and the target of its profile, as they are named where results of several are compared."""
        return f"{self.manifest['metadata']['project_name']}, target {self.project.connection.target}"

    def warehouse(self) -> DuckDBWarehouse:
        """Open the warehouse, for a `with` statement.

        Raises:
            WarehouseError: if a file is missing, is not a DuckDB file, or stays locked.
        """
        return DuckDBWarehouse(self.project.connection, wait=self.console.wait, on_wait=self.console.warn)

    def check_on_demand(self, names: Iterable[str] | None = None) -> None:
        """Check that on-demand features, all of them by default, have the same value on both sides; without a row.

        Raises:
            ProjectError: with every problem, each naming the file and the macro.
        """
        problems = []
        for name in self.registry.on_demand if names is None else names:
            feature = self.registry.on_demand[name]
            # Names that no macro can know: one that does not use its arguments, but columns of that name, is found.
            columns = {argument: f"_pit_{i}" for i, argument in enumerate(feature.types, 1)}
            asked = {"on_demand": name, "arguments": columns, "types": dict(feature.types), "returns": feature.returns}
            try:
                expression = self.macros.text("_on_demand_expression", path=name, arguments=columns)
                of = {"features": [asked], "full_feature_names": False, "defaults": False, "relation": ARGUMENTS}
                statements = [self.macros.text("_on_demand_statement", tried=tried, **of) for tried in (False, True)]
            except ProjectError as error:
                problems += [f"{feature.path}: {name}: {problem}" for problem in error.problems]
                continue
            types = {columns[argument]: kind for argument, kind in feature.types.items()}
            if problem := problem_of(expression, statements, types):
                problems.append(f"{feature.path}: {name}: {problem}")
        if problems:
            raise ProjectError(problems)
