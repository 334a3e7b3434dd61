"""The lineage of a project: from sources through models and feature views to services, ranked and put in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from statistics import fmean
from typing import Any

from pit_join.definitions.nodes import parents, versioned_name
from pit_join.definitions.registry import Registry
from pit_join.definitions.requests import views_read, with_versions

__all__ = ["lineage_of"]

_SWEEPS = 7  # the last one from left to right


def lineage_of(manifest: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Return all that feature views and services read as `nodes`, and `edges` between their numbers.

    Each node has a `rank`, its column from the left, and stands in the order of its column; edges point to the right.
    Only feature views and services have their own names as `place`; `group` is the folder of the others.
    """
    known = {**manifest["sources"], **manifest["nodes"]}
    views = {view.unique_id: name for name, view in registry.views.items()}
    above = {one: [each for each in parents(known[one]) if each in known] for one in _family(views, known)}
    services = {node["unique_id"]: node for node in manifest["exposures"].values() if node["name"] in registry.services}
    for one, exposure in services.items():
        read = views_read(with_versions(registry.services[exposure["name"]].requests, registry.latest), registry.latest)
        above[one] = sorted(registry.views[name].unique_id for name in read if name in registry.views)
    ranks = _ranks(above)
    last = max(ranks.values(), default=0)
    ranks |= {one: max(last, 1) for one in services}
    nodes = {one: _node(known.get(one) or services[one], views.get(one)) | {"rank": ranks[one]} for one in above}
    order = _order(nodes, above)
    number = {one: i for i, one in enumerate(order)}
    edges = [[number[parent], number[one]] for one in order for parent in above[one]]
    return {"nodes": [nodes[one] for one in order], "edges": edges}


def _family(ids: Iterable[str], known: Mapping[str, Any]) -> dict[str, None]:
    """Return nodes with all that they read."""
    found: dict[str, None] = {}
    todo = [one for one in ids if one in known]
    while todo:
        one = todo.pop()
        if one not in found:
            found[one] = None
            todo += [each for each in parents(known[one]) if each in known]
    return found


def _ranks(above: Mapping[str, list[str]]) -> dict[str, int]:
    """Return for each node the length of the longest way to it."""
    ranks: dict[str, int] = {}
    todo = list(above)
    while todo:
        one = todo[-1]
        missing = [each for each in above[one] if each not in ranks]
        if one in ranks or not missing:
            ranks.setdefault(todo.pop(), 1 + max((ranks[each] for each in above[one]), default=-1))
        else:
            todo += missing
    return ranks


def _node(node: Mapping[str, Any], view: str | None) -> dict[str, Any]:
    kind, path = str(node["resource_type"]), PurePosixPath(str(node.get("original_file_path") or ""))
    place = {"view": view} if view else {"service": node["name"]} if kind == "exposure" else {}
    source = str(node.get("source_name") or "")
    label = f"{source}.{node['name']}" if source else view or versioned_name(node)
    return {
        "id": node["unique_id"],
        "label": label,
        "kind": "view" if view else "service" if kind == "exposure" else kind,
        "group": source or "/".join(path.parts[:-1]),
        "path": str(path),
        **(place or {"description": str(node.get("description") or "").strip()}),
    }


def _order(nodes: Mapping[str, Mapping[str, Any]], above: Mapping[str, list[str]]) -> list[str]:
    """Return the nodes so that in each rank those with near neighbours are near, and edges cross seldom."""
    below: dict[str, list[str]] = {one: [] for one in nodes}
    for one, listed in above.items():
        for parent in listed:
            below[parent].append(one)
    ranks: dict[int, list[str]] = {}
    for one in sorted(nodes, key=lambda one: (nodes[one]["rank"], nodes[one]["group"], nodes[one]["label"])):
        ranks.setdefault(nodes[one]["rank"], []).append(one)
    at = {one: place for rank in ranks.values() for one, place in _places(rank)}
    for sweep in range(_SWEEPS):
        near = below if sweep % 2 else above

        def centre(one: str, near: Mapping[str, list[str]] = near) -> float:
            return fmean(at[each] for each in near[one]) if near[one] else at[one]

        for number in sorted(ranks, reverse=sweep % 2 == 1):
            ranks[number].sort(key=centre)
            at.update(_places(ranks[number]))
    return [one for number in sorted(ranks) for one in ranks[number]]


def _places(rank: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield where each node stands in its rank: near 0 at the top, near 1 at the bottom."""
    for i, one in enumerate(rank):
        yield one, (i + 0.5) / len(rank)
