"""The registry of a project: entities, feature views and services, read from dbt's manifest and checked.

The manifest is the only registry; nothing else stores definitions. Source: `config.meta.pit_join` of models, seeds,
snapshots and exposures (docs/concepts.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pit_join.definitions.misplaced import meta_of, misplaced
from pit_join.definitions.nodes import Nodes
from pit_join.definitions.reading import Reader
from pit_join.definitions.requests import on_demand_problems, request_problems, with_versions
from pit_join.definitions.snapshots import SnapshotClocks
from pit_join.definitions.views import Entity, FeatureService, FeatureView, OnDemandFeature
from pit_join.errors import ProjectError, RequestError, suggest, suggest_service
from pit_join.references import OnDemandRequest, Request, RequestItem

__all__ = ["Registry"]


@dataclass(frozen=True, slots=True)
class Registry:
    """All definitions of a project by name.

    `latest` maps the name of a model with versions to the view of its latest version. `engine` is dbt's type of the
    adapter.
    """

    entities: Mapping[str, Entity]
    views: Mapping[str, FeatureView]
    services: Mapping[str, FeatureService]
    on_demand: Mapping[str, OnDemandFeature]
    latest: Mapping[str, str]
    engine: str = "duckdb"

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Registry:
        """Read and check a manifest (the parsed `manifest.json` of dbt 1.11.8 or newer).

        Raises:
            ProjectError: with every problem of the project, each naming its file and key.
        """
        registry, problems = cls.read(manifest)
        if problems:
            raise ProjectError(problems)
        return registry

    @classmethod
    def read(cls, manifest: Mapping[str, Any]) -> tuple[Registry, list[str]]:
        """Return what can be read of a manifest, and every problem; definitions with a problem are partly read."""
        engine = manifest["metadata"].get("adapter_type") or "duckdb"
        reader, nodes = Reader(SnapshotClocks(manifest["nodes"]), engine), Nodes(manifest)
        for macro in (manifest.get("macros") or {}).values():
            reader.macro(macro, manifest["metadata"]["project_name"])
        for unique_id, node in manifest["nodes"].items():
            meta = (node.get("config") or {}).get("meta") or {}
            if "pit_join" in meta and node["resource_type"] in ("model", "seed", "snapshot"):
                reader.view(unique_id, node, meta["pit_join"], nodes.hiding(node))
        for source in (manifest.get("sources") or {}).values():
            reader.source(source)
        for exposure in manifest["exposures"].values():
            if "pit_join" in (meta := meta_of(exposure)):
                reader.service(exposure, meta["pit_join"])
        registry = cls(reader.entities, reader.views, reader.services, reader.on_demand, reader.latest, engine)
        return registry, sorted({*reader.problems, *misplaced(manifest), *_other_keys(reader.views.values())})

    def view(self, name: str) -> FeatureView:
        """Return the feature view of a name; without a version the latest one.

        Raises:
            RequestError: naming the nearest known one.
        """
        found = self.views.get(self.latest.get(name, name))
        if found is None:
            known = suggest(name, {*self.views, *self.latest}, "feature views")
            raise RequestError(f"unknown feature view '{name}'; {known}")
        return found

    def service(self, name: str) -> FeatureService:
        """Return the feature service of a name.

        Raises:
            RequestError: naming the nearest known one.
        """
        if name not in self.services:
            raise RequestError(f"unknown feature service '{name}'; {suggest_service(name, self.services, self.views)}")
        return self.services[name]

    def check(self, requests: tuple[RequestItem, ...]) -> tuple[RequestItem, ...]:
        """Check that views, features, keys and macros of the requests exist, and that a role means one thing.

        Returns the requests with the version of each view, and with what the project declares of the macros.

        Raises:
            RequestError: with every problem.
        """
        found = with_versions(requests, self.latest)
        stored = tuple(request for request in found if isinstance(request, Request))
        problems = list(request_problems(stored, self.views, self.latest))
        problems += on_demand_problems(found, self.views, self.latest, self.on_demand)
        if problems:
            raise RequestError("\n".join(problems))
        return self.completed(found)

    def completed(self, requests: tuple[RequestItem, ...]) -> tuple[RequestItem, ...]:
        """Return checked requests with what the project declares of the macros."""
        return tuple(request if isinstance(request, Request) else self._complete(request) for request in requests)

    def _complete(self, request: OnDemandRequest) -> OnDemandRequest:
        declared = self.on_demand[request.macro]
        return replace(request, types=declared.types, returns=declared.returns, default=declared.default)


def _other_keys(views: Iterable[FeatureView]) -> Iterator[str]:
    """Yield the views whose keys are not those of most views of their entity."""
    alike: dict[str, dict[frozenset[str], list[FeatureView]]] = {}
    for view in views:
        if view.entity.name and view.join_keys:
            alike.setdefault(view.entity.name, {}).setdefault(frozenset(view.join_keys), []).append(view)
    for groups in alike.values():
        usual = max(groups.values(), key=len)
        for view in (view for group in groups.values() if group is not usual for view in group):
            yield (
                f"{view.path}: {view.name}: join_keys: views of one entity share its keys; '{usual[0].name}' of "
                f"'{view.entity.name}' has {list(usual[0].join_keys)}, got {list(view.join_keys)}"
            )
