"""Settings that nothing would read: misspelt, in another place, or on something that is not a feature view."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pit_join.definitions.nodes import versioned_name

__all__ = ["file_of", "meta_of", "misplaced"]

# As in the macro `_misplaced`: a letter too many, too few, or two that changed places.
_NEARLY = re.compile(r"p(it|t|ti|itt)[^a-z]*join(s|t|ed)?|pit[^a-z]*(jin|jon|joi|jion|joni|jojn|joinn)", re.ASCII)
_VIEWS = ("model", "seed", "snapshot")
_OTHERS = ("sources", "metrics", "semantic_models", "saved_queries", "groups", "functions")


def meta_of(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the `meta` of a node of a manifest."""
    found = (node.get("config") or {}).get("meta") or node.get("meta")
    return found if isinstance(found, Mapping) else {}


def file_of(node: Mapping[str, Any]) -> str:
    """Return the file that declares a node: its YAML, if it has one."""
    patch = node.get("patch_path")
    return patch.split("://", 1)[-1] if patch else str(node.get("original_file_path", "?"))


def misplaced(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with settings in a manifest that nothing would read."""
    for macro in (manifest.get("macros") or {}).values():
        own = macro["package_name"] == manifest["metadata"]["project_name"]
        yield from _misspelt(macro, macro["name"] if own else f"{macro['package_name']}.{macro['name']}")
    for node in manifest["nodes"].values():
        if node["resource_type"] not in ("operation", "rpc", "sql_operation"):
            yield from _of_node(node)
    for kind in _OTHERS:
        for node in (manifest.get(kind) or {}).values():
            name = f"{node['source_name']}.{node['name']}" if node.get("source_name") else str(node["name"])
            yield from _misspelt(node, name)
            if kind != "sources":  # a backfill reads the created_timestamp of a source
                yield from _without_effect(node, name)
    for exposure in manifest["exposures"].values():
        yield from _misspelt(exposure, exposure["name"])


def _of_node(node: Mapping[str, Any]) -> Iterator[str]:
    name = versioned_name(node)
    yield from _misspelt(node, name)
    if "pit_join" in (node.get("config") or {}):
        yield f"{file_of(node)}: {name}: config.pit_join: is not read; write it below config.meta"
    if node["resource_type"] not in _VIEWS:
        yield from _without_effect(node, name)
    if "pit_join" not in meta_of(node):
        for column, declared in (node.get("columns") or {}).items():
            if "pit_join" in meta_of(declared) or "pit_join" in (declared.get("meta") or {}):
                yield (
                    f"{file_of(node)}: {name}: columns.{column}.config.meta.pit_join: has no effect, since the "
                    f"{node['resource_type']} has no config.meta.pit_join of its own"
                )


def _misspelt(node: Mapping[str, Any], name: str) -> Iterator[str]:
    for key in meta_of(node):
        if key != "pit_join" and _NEARLY.fullmatch(str(key).lower()):
            yield f"{file_of(node)}: {name}: config.meta.{key}: is not read; did you mean pit_join?"


def _without_effect(node: Mapping[str, Any], name: str) -> Iterator[str]:
    if "pit_join" in meta_of(node):
        yield (
            f"{file_of(node)}: {name}: config.meta.pit_join: has no effect on a {node['resource_type']}; feature views "
            "are models, seeds and snapshots"
        )
