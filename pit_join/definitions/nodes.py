"""The nodes of dbt's manifest: found as dbt's own `ref()` finds them, and what each of them reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pit_join.references import model_and_version

__all__ = ["Nodes", "ancestors", "location_of", "parents", "selector", "versioned_name"]


def versioned_name(node: Mapping[str, Any]) -> str:
    """Return the name of a node as references write it: `prefs.v2` for version 2 of the model `prefs`."""
    name = str(node["name"])
    if node.get("version") is not None:
        return f"{name}.v{node['version']}"
    return name if model_and_version(name)[1] is None else f'"{name}"'


class Nodes:
    """The nodes of a manifest that `ref()` can name."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self._project = manifest["metadata"]["project_name"]
        self._by_name: dict[str, list[Mapping[str, Any]]] = {}
        for node in manifest["nodes"].values():
            if node["resource_type"] in ("model", "seed", "snapshot"):
                self._by_name.setdefault(node["name"], []).append(node)

    @property
    def names(self) -> list[str]:
        """All names, with their versions."""
        return [versioned_name(node) for nodes in self._by_name.values() for node in nodes]

    def find(self, name: str, version: str | None = None, package: str | None = None) -> Mapping[str, Any] | None:
        """Return the node that `ref(package, name, v=version)` reads; without a version the latest one."""
        nodes = [node for node in self._by_name.get(name, []) if package in (None, node["package_name"])]
        if version is None:
            nodes = [node for node in nodes if node.get("version") == node.get("latest_version")]
        else:
            nodes = [node for node in nodes if str(node.get("version")) == version]
        own = [node for node in nodes if node["package_name"] == self._project]
        return next(iter(own or nodes), None)

    def hiding(self, node: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the node of the project itself that `ref()` finds by the name of a node of a package."""
        if node["package_name"] == self._project:
            return None
        version = node.get("version")
        return self.find(node["name"], None if version is None else str(version), self._project)

    def named(self, text: str) -> Mapping[str, Any] | None:
        """Return the node of a name that may have a version, such as `labels.v1`."""
        return self.find(*model_and_version(text)) or self.find(text)


def ancestors(unique_id: str, nodes: Mapping[str, Any]) -> list[str]:
    """Return every node that a node reads, directly or not, parents first."""
    found: dict[str, None] = {}

    def visit(one: str) -> None:
        for parent in parents(nodes[one]):
            if parent in nodes and parent not in found:
                visit(parent)
                found[parent] = None

    visit(unique_id)
    return list(found)


def parents(node: Mapping[str, Any]) -> list[str]:
    """Return the nodes that a node reads directly."""
    return (node.get("depends_on") or {}).get("nodes") or []


def selector(node: Mapping[str, Any]) -> str:
    """Return how dbt's `--select` names exactly one node."""
    return "fqn:" + ".".join(node["fqn"])


def location_of(node: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the database, schema and name of a node's table."""
    name = node.get("identifier") or node.get("alias") or node["name"]
    return str(node.get("database")), str(node.get("schema")), str(name)
