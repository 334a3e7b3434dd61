"""The registry of a project: entities, feature views and services, read from dbt's manifest and checked.

The manifest is the only registry; nothing else stores definitions. Source: `config.meta.pit_join` of models, seeds,
snapshots and exposures (docs/concepts.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pit_join.definitions.reading import Reader
from pit_join.definitions.requests import on_demand_problems, request_problems
from pit_join.definitions.views import Entity, FeatureService, FeatureView, OnDemandFeature
from pit_join.errors import ProjectError, RequestError, suggest, suggest_service
from pit_join.references import Request, RequestItem

__all__ = ["Registry"]


@dataclass(frozen=True, slots=True)
class Registry:
    """All definitions of a project by name."""

    entities: Mapping[str, Entity]
    views: Mapping[str, FeatureView]
    services: Mapping[str, FeatureService]
    on_demand: Mapping[str, OnDemandFeature]

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Registry:
        """Read and check a manifest (the parsed `manifest.json` of dbt 1.10 or newer).

        Raises:
            ProjectError: with every problem of the project, each naming its file and key.
        """
        reader = Reader()
        for macro in (manifest.get("macros") or {}).values():
            reader.macro(macro, manifest["metadata"]["project_name"])
        for node in manifest["nodes"].values():
            meta = (node.get("config") or {}).get("meta") or {}
            if "pit_join" in meta and node["resource_type"] in ("model", "seed", "snapshot"):
                reader.view(node, meta["pit_join"])
        views = reader.views
        for exposure in manifest["exposures"].values():
            meta = (exposure.get("config") or {}).get("meta") or exposure.get("meta") or {}
            if "pit_join" in meta:
                reader.service(exposure, meta["pit_join"])
        if reader.problems:
            raise ProjectError(sorted(reader.problems))
        return cls(entities=reader.entities, views=views, services=reader.services, on_demand=reader.on_demand)

    def view(self, name: str) -> FeatureView:
        """Return the feature view of a name.

        Raises:
            RequestError: naming the nearest known one.
        """
        if name not in self.views:
            raise RequestError(f"unknown feature view '{name}'; {suggest(name, self.views, 'feature views')}")
        return self.views[name]

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

        Returns the requests, completed with what the project declares of the macros.

        Raises:
            RequestError: with every problem.
        """
        stored = tuple(request for request in requests if isinstance(request, Request))
        problems = list(request_problems(stored, self.views))
        problems += on_demand_problems(requests, self.views, self.on_demand)
        if problems:
            raise RequestError("\n".join(problems))
        return tuple(self._complete(request) for request in requests)

    def _complete(self, request: RequestItem) -> RequestItem:
        if isinstance(request, Request):
            return request
        declared = self.on_demand[request.macro]
        return replace(request, types=declared.types, returns=declared.returns, default=declared.default)
