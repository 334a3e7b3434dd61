"""The inputs of feature views: what a build of them reads, and what says when its rows were known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pit_join.definitions.known_at import read_known_at
from pit_join.definitions.misplaced import file_of
from pit_join.definitions.nodes import ancestors, location_of, selector, versioned_name
from pit_join.definitions.views import FeatureView
from pit_join.errors import ProjectError, WarehouseError, option, suggest
from pit_join.history.fingerprints import without_comments
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import identifier
from pit_join.workspace import Workspace

__all__ = ["Lineage", "ReplayInput", "find_lineage", "read_input"]

# Functions of DuckDB that read files and other databases, and files named as tables.
_READ_DIRECTLY = re.compile(r"\b(read_\w+|\w+_scan)\s*\(|\b(?:from|join)\s+('[^']+')", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReplayInput:
    """A table that is read and not built; `relation` is how SQL names it.

    `known` says when its rows are known, as the macro `_cut_statement` takes it; None if nothing does. `updated` are
    the columns that are filled in later.
    """

    name: str
    location: tuple[str, str, str]
    relation: str
    known: Mapping[str, str] | None = None
    updated: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lineage:
    """Feature views with all that a build of them takes.

    `models` are the unique ids of what is built, the views and the models that these read, `inputs` those of what is
    only read. `reads` are the inputs of each view by its name, and `direct` what models read without a declaration.
    """

    views: tuple[FeatureView, ...]
    stored: tuple[FeatureView, ...]
    models: tuple[str, ...]
    selectors: tuple[str, ...]
    inputs: tuple[str, ...]
    reads: Mapping[str, frozenset[str]]
    direct: Mapping[str, frozenset[str]]


def find_lineage(workspace: Workspace, names: Iterable[str], *, allow_hooks: bool) -> Lineage:
    """Return the chosen feature views, or all, with what they read.

    Views that are snapshots or seeds are `stored` and not built.

    Raises:
        PitJoinError: if a name is unknown, or a hook or plugin may write and is not allowed to.
    """
    nodes: Mapping[str, Any] = {**workspace.manifest["sources"], **workspace.manifest["nodes"]}
    registry = workspace.registry
    chosen = [registry.view(name) for name in names] or sorted(registry.views.values(), key=lambda view: view.name)
    views = tuple(view for view in chosen if nodes[view.unique_id]["resource_type"] == "model")
    above = {view.name: [*ancestors(view.unique_id, nodes), view.unique_id] for view in views}
    every = tuple(dict.fromkeys(one for found in above.values() for one in found))
    models = tuple(one for one in every if nodes[one]["resource_type"] == "model")
    if not allow_hooks and (problems := list(_writers(workspace, [nodes[one] for one in models]))):
        raise ProjectError(problems)
    code = {one: without_comments(nodes[one].get("raw_code") or "") for one in models}
    direct = {
        one: [f"{found[1] or found[2]} in {versioned_name(nodes[one])}" for found in _READ_DIRECTLY.finditer(text)]
        for one, text in code.items()
    }
    return Lineage(
        views=views,
        stored=tuple(view for view in chosen if view not in views),
        models=models,
        selectors=tuple(selector(nodes[one]) for one in models),
        inputs=tuple(one for one in every if nodes[one]["resource_type"] in ("source", "seed", "snapshot")),
        reads={name: frozenset(found) for name, found in above.items()},
        direct={
            name: frozenset(text for one in found for text in direct.get(one, ())) for name, found in above.items()
        },
    )


def _writers(workspace: Workspace, models: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what a build may run beside the models."""
    refused = f"may write anywhere; a replay runs it only with {option('allow_hooks=True', '--allow-hooks')}"
    for node in workspace.manifest["nodes"].values():
        if node["resource_type"] == "operation" and node["package_name"] != "pit_join":
            yield f"{node['original_file_path']}: the hook {node['name']} {refused}"
    for node in models:
        for key in ("pre-hook", "post-hook"):
            if (node.get("config") or {}).get(key):
                yield f"{file_of(node)}: {versioned_name(node)}: config.{key} {refused}"
    for module in workspace.project.connection.plugins:
        yield f"{workspace.project.profiles_dir / 'profiles.yml'}: the plugin {module} {refused}"


def read_input(workspace: Workspace, warehouse: DuckDBWarehouse, unique_id: str) -> ReplayInput | None:
    """Return an input as the warehouse has it; None for a seed that was never loaded.

    Raises:
        PitJoinError: if its table cannot be read, or has no such time.
    """
    node = workspace.manifest["sources"].get(unique_id) or workspace.manifest["nodes"][unique_id]
    kind, location, relation = node["resource_type"], location_of(node), str(node["relation_name"])
    name = f"{node['source_name']}.{node['name']}" if kind == "source" else versioned_name(node)
    if kind == "seed":
        return ReplayInput(name, location, relation) if warehouse.has(location) else None
    how = "run dbt snapshot" if kind == "snapshot" else "load it"
    columns = warehouse.columns(f"from {relation}", f"the {kind} '{name}' cannot be read; {how}")
    names = {column.lower(): column for column in columns}

    def wrong(key: str, problem: str) -> None:
        raise WarehouseError(f"{file_of(node)}: {name}: {key}: {problem}")

    def column_of(text: str, key: str) -> str:
        if text.lower() not in names:
            wrong(key, f"the table has no column '{text}'; {suggest(text, columns, 'columns')}")
        return identifier(names[text.lower()])

    def time(expression: str, key: str) -> dict[str, str]:
        what = f"{file_of(node)}: {name}: {key}: {expression} cannot be read"
        found = warehouse.columns(f"select ({expression}) as found from {relation}", what)["found"]
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
        return ReplayInput(name, location, relation, begun, {names[end.lower()]: {**ended, "otherwise": current}})
    known = read_known_at(node, wrong)
    if not known.expression:
        return ReplayInput(name, location, relation)
    is_column = known.key != "loaded_at_field" or known.expression.lower() in names
    expression = column_of(known.expression, known.key) if is_column else known.expression
    updated = {}
    for column, later in known.columns.items():
        key = f"columns.{column}.config.meta.pit_join.known_at"
        column_of(column, key)
        updated[names[column.lower()]] = {**time(column_of(later, key), key), "otherwise": "null"}
    return ReplayInput(name, location, relation, time(expression, known.key), updated)
