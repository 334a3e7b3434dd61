"""Whether the macros that a project calls on-demand features are SQL that gives the same value on both sides."""

from __future__ import annotations

from collections.abc import Iterable

from pit_join.definitions.registry import Registry
from pit_join.errors import ProjectError
from pit_join.project.rendering import Macros
from pit_join.warehouse.expressions import ARGUMENTS, problem_of

__all__ = ["check_on_demand"]


def check_on_demand(registry: Registry, macros: Macros, names: Iterable[str] | None = None) -> None:
    """Check on-demand features, all of them by default, without a row of data.

    Raises:
        ProjectError: with every problem, each naming the file and the macro.
    """
    problems = []
    for name in registry.on_demand if names is None else names:
        feature = registry.on_demand[name]
        # Names that no macro can know: one that does not use its arguments, but columns of that name, is found.
        columns = {argument: f"_pit_{i}" for i, argument in enumerate(feature.types, 1)}
        asked = {"on_demand": name, "arguments": columns, "types": dict(feature.types), "returns": feature.returns}
        try:
            expression = macros.text("_on_demand_expression", path=name, arguments=columns)
            of = {"features": [asked], "full_feature_names": False, "defaults": False, "relation": ARGUMENTS}
            statements = [macros.text("_on_demand_statement", tried=tried, **of) for tried in (False, True)]
        except ProjectError as error:
            problems += [f"{feature.path}: {name}: {problem}" for problem in error.problems]
            continue
        types = {columns[argument]: kind for argument, kind in feature.types.items()}
        if problem := problem_of(expression, statements, types):
            problems.append(f"{feature.path}: {name}: {problem}")
    if problems:
        raise ProjectError(problems)
