"""Declarations in the words of engines other than DuckDB: types as they name them, conditions that all of them read."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from generate_windows import WindowCase

from pit_join.definitions.engine_types import ENGINES, engine_type_problem, parts_of_type
from pit_join.definitions.field_type import read_type

CONDITIONS = (
    (re.compile(r"\((.*) is null\) is not null", re.DOTALL), "true"),
    (re.compile("1 = 0"), "false"),
    (re.compile(r"(.*) -- a comment", re.DOTALL), r"\1"),
    (re.compile(r"(.*) like '%a%' or (.*)", re.DOTALL), r"\1 = 'a' or \2"),
)
"""Conditions of generated cases that only DuckDB is given, and those that say the same of the values there."""


def type_of(sql_type: str, engine: str) -> str:
    """A type of DuckDB as an engine names it; the same text if it means the same there."""
    if engine_type_problem(sql_type, engine) is None and read_type(sql_type, engine).name == read_type(sql_type).name:
        return sql_type
    (name, digits, lists), table = parts_of_type(sql_type), ENGINES[engine]
    own = table.names.get(name) or [each for each, names in table.instead.items() if name in names]
    found = f"{own[0]}({digits})" if digits and "decimal" in name else own[0]
    for _ in range(lists.count("[]")):
        found = f"array<{found}>" if engine == "spark" else f"{found}[]"
    return found


def declared_for(engine: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with the types of an engine, and with names that are quoted in the SQL of their models."""
    if engine == "duckdb":
        return dict(manifest)
    changed = {**manifest, "metadata": {**manifest["metadata"], "adapter_type": engine}}
    changed["nodes"] = copy.deepcopy(manifest["nodes"])
    for node in changed["nodes"].values():
        for column in (node.get("columns") or {}).values():
            column["quote"] = True
            if column.get("data_type"):
                column["data_type"] = type_of(column["data_type"], engine)
    return changed


def with_portable_conditions(case: Any) -> Any:
    """The case with conditions that are read alike on all engines."""
    if not isinstance(case, WindowCase):
        return case
    return replace(
        case,
        declarations={
            name: tuple(replace(each, where=each.where and _portable(each.where)) for each in declared)
            for name, declared in case.declarations.items()
        },
    )


def _portable(where: Any) -> Any:
    for pattern, text in CONDITIONS:
        if found := pattern.fullmatch(where.sql.strip()):
            return replace(where, sql=found.expand(text))
    return where
