"""The values that the page must not show: those of sensitive features, and of sensitive keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pit_join.definitions.registry import Registry
from pit_join.definitions.settings import sensitive_columns
from pit_join.definitions.views import FeatureView
from pit_join.references import OnDemandRequest, Request, parse_reference

__all__ = ["Hidden"]


class Hidden:
    """The sensitive features and keys of a project.

    Findings may name a role of a service instead of a view. Under a name that means no view of the project everything
    is hidden, if anything of the project is.
    """

    def __init__(self, registry: Registry, manifest: Mapping[str, Any]) -> None:
        self._views, self._latest = registry.views, registry.latest
        self._roles: dict[str, set[str]] = {}
        for service in registry.services.values():
            for request in service.requests:
                if isinstance(request, Request):
                    self._roles.setdefault(request.alias, set()).add(request.view)
        views = registry.views.values()
        self._features = {(view.name, each.name) for view in views for each in view.features if each.sensitive}
        self._names = {name for _, name in self._features} | {
            key for view in views if view.hides_keys for key in view.join_keys
        }
        for service in registry.services.values():
            for request in registry.completed(service.requests):
                # What is computed from sensitive values or keys tells of them.
                if isinstance(request, OnDemandRequest) and any(map(self.reference, request.sources().values())):
                    self._names.add(request.name)
        self._columns = {
            view.name: set(view.types)
            if all(each.sensitive for each in view.features)
            else sensitive_columns(manifest["nodes"][view.unique_id].get("columns") or {})
            for view in views
        }

    def feature(self, view: str, name: str) -> bool:
        """Return whether the values of a feature are hidden; `view` may be a role."""
        meant = self._meant(view)
        return any((each.name, name) in self._features for each in meant) if meant else bool(self._names)

    def reference(self, text: str) -> bool:
        """Return whether the values of `view:feature` are hidden, or those of a field or a column by its name."""
        parsed = parse_reference(text)
        return self.feature(*parsed) if parsed else not self._names.isdisjoint({text, text.rpartition("__")[2]})

    def key(self, view: str, keys: Iterable[str]) -> bool:
        """Return whether keys are hidden: those of a view, or of a service, by their names."""
        meant = self._meant(view)
        return any(each.hides_keys for each in meant) if meant else not self._names.isdisjoint(keys)

    def window(self, view: str, words: str) -> str:
        """Return the words for a function of a window, without a condition on a sensitive column."""
        function, where, condition = words.partition(" where ")
        return (
            f"{function}{where}…"
            if any(name.lower() in condition.lower() for name in self._columns.get(view, ()))
            else words
        )

    def _meant(self, name: str) -> list[FeatureView]:
        """Return the views that a name may mean: one of the project, or those of a role."""
        names = {name} if self._latest.get(name, name) in self._views else self._roles.get(name, set())
        return [self._views[found] for each in names if (found := self._latest.get(each, each)) in self._views]
