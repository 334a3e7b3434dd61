"""The lineage of feature views: what a replay builds, and what these models read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pit_join.definitions.misplaced import file_of
from pit_join.definitions.nodes import ancestors, selector, versioned_name
from pit_join.definitions.views import FeatureView
from pit_join.errors import ProjectError, option
from pit_join.history.fingerprints import without_comments
from pit_join.workspace import Workspace

__all__ = ["Lineage", "find_lineage"]

# Functions of DuckDB that read files and other databases, and files named as tables.
_READ_DIRECTLY = re.compile(r"\b(read_\w+|\w+_scan)\s*\(|\b(?:from|join)\s+('[^']+')", re.IGNORECASE)


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
