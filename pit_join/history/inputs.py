"""The tables that models read and dbt does not build: sources, seeds and snapshots, and when their rows were known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pit_join.definitions.known_at import read_known_at
from pit_join.definitions.misplaced import file_of
from pit_join.definitions.nodes import location_of, versioned_name
from pit_join.errors import WarehouseError, suggest
from pit_join.warehouse.protocol import ViewSession
from pit_join.warehouse.sql import identifier
from pit_join.workspace import Workspace

__all__ = ["ModelInput", "read_input"]


@dataclass(frozen=True, slots=True)
class ModelInput:
    """A table that is read and not built; `relation` is how SQL names it.

    `known` says when its rows are known, as the macro `_cut_statement` takes it; None if nothing does. `updated` are
    the columns that are filled in later.
    """

    name: str
    location: tuple[str, str, str]
    relation: str
    known: Mapping[str, str] | None = None
    updated: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_input(workspace: Workspace, session: ViewSession, unique_id: str) -> ModelInput | None:
    """Return an input as the warehouse has it; None for a seed that was never loaded.

    Raises:
        PitJoinError: if its table cannot be read, or has no such time.
    """
    node = workspace.manifest["sources"].get(unique_id) or workspace.manifest["nodes"][unique_id]
    kind, location, relation = node["resource_type"], location_of(node), str(node["relation_name"])
    name = f"{node['source_name']}.{node['name']}" if kind == "source" else versioned_name(node)
    if kind == "seed":
        return ModelInput(name, location, relation) if session.has(location) else None
    how = "run dbt snapshot" if kind == "snapshot" else "load it"
    columns = session.columns(f"select * from {relation}", f"the {kind} '{name}' cannot be read; {how}")
    names = {column.lower(): column for column in columns}

    def wrong(key: str, problem: str) -> None:
        raise WarehouseError(f"{file_of(node)}: {name}: {key}: {problem}")

    def column_of(text: str, key: str) -> str:
        if text.lower() not in names:
            wrong(key, f"the table has no column '{text}'; {suggest(text, columns, 'columns')}")
        return identifier(names[text.lower()])

    def time(expression: str, key: str) -> dict[str, str]:
        what = f"{file_of(node)}: {name}: {key}: {expression} cannot be read"
        found = session.columns(f"select ({expression}) as found from {relation}", what)["found"]
        if found.family == "text":
            return {"expression": f"cast({expression} as timestamptz)", "data_type": "timestamptz"}
        if found.family != "time":
            wrong(key, f"{expression} must be a timestamp or date, got {found}")
        return {"expression": f"({expression})", "data_type": found.name}

    if kind == "snapshot":
        config = node.get("config") or {}
        own = config.get("snapshot_meta_column_names") or {}
        start, end = (own.get(column) or column for column in ("dbt_valid_from", "dbt_valid_to"))
        begun, ended = (time(column_of(column, "config"), column) for column in (start, end))
        current = config.get("dbt_valid_to_current") or "null"
        return ModelInput(name, location, relation, begun, {names[end.lower()]: {**ended, "otherwise": current}})
    known = read_known_at(node, wrong)
    if not known.expression:
        return ModelInput(name, location, relation)
    is_column = known.key != "loaded_at_field" or known.expression.lower() in names
    expression = column_of(known.expression, known.key) if is_column else known.expression
    updated = {}
    for column, later in known.columns.items():
        key = f"columns.{column}.config.meta.pit_join.known_at"
        column_of(column, key)
        updated[names[column.lower()]] = {**time(column_of(later, key), key), "otherwise": "null"}
    return ModelInput(name, location, relation, time(expression, known.key), updated)
