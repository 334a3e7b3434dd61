"""The catalogue as plain values: feature views, feature services and on-demand features, as they are declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pit_join.definitions.registry import Registry
from pit_join.definitions.requests import with_versions
from pit_join.definitions.views import Feature, FeatureService, FeatureView, FreshnessSlo, OnDemandFeature
from pit_join.json_values import json_text
from pit_join.references import OnDemandRequest, Request, RequestItem, model_and_version
from pit_join.report.hidden import Hidden
from pit_join.report.states import ViewState
from pit_join.times import format_duration
from pit_join.training.explain import window_words

__all__ = ["catalogue", "filled"]


def filled(**values: Any) -> dict[str, Any]:
    """Return the values that say something: neither null nor empty; 0 and false do."""
    return {name: value for name, value in values.items() if value is not None and value not in ("", [], {}, ())}


def catalogue(
    manifest: Mapping[str, Any], registry: Registry, states: Mapping[str, ViewState], hidden: Hidden
) -> dict[str, Any]:
    """Return the `views`, `services` and `on_demand` features of a project, each in the order of their names."""
    groups = {(group["package_name"], group["name"]): group for group in (manifest.get("groups") or {}).values()}
    macros = {versioned: node for node in manifest["macros"].values() for versioned in _macro_names(node)}
    exposures = {node["name"]: node for node in manifest["exposures"].values()}
    return {
        "views": [
            _view(view, manifest["nodes"][view.unique_id], groups, registry, states[name], hidden)
            for name, view in sorted(registry.views.items())
        ],
        "services": [
            _service(service, exposures[name], registry) for name, service in sorted(registry.services.items())
        ],
        "on_demand": [
            _on_demand(feature, macros.get(name), registry) for name, feature in sorted(registry.on_demand.items())
        ],
    }


def _view(
    view: FeatureView,
    node: Mapping[str, Any],
    groups: Mapping[tuple[str, str], Mapping[str, Any]],
    registry: Registry,
    state: ViewState,
    hidden: Hidden,
) -> dict[str, Any]:
    columns = node.get("columns") or {}
    windows = {one.name: hidden.window(view.name, window_words(one)) for one in view.aggregations}
    version = model_and_version(view.name)[1]
    return filled(
        name=view.name,
        id=view.unique_id,
        version=version,
        latest=None if version is None else view.name in registry.latest.values(),
        description=view.description.strip(),
        owners=list(dict.fromkeys(_owners(node, groups))),
        tags=_tags(node),
        entity=view.entity.name,
        keys=[
            filled(name=key, type=str(view.types[column]), column=None if key == column else column)
            for key, column in view.key_columns.items()
            if column in view.types
        ],
        keys_hidden=view.hides_keys or None,
        settings=[list(pair) for pair in _settings(view)],
        slo=_slo(view.freshness_slo),
        path=view.path,
        state=filled(**asdict(state)),
        features=[
            _feature(each, columns.get(each.name) or {}, windows.get(each.name), hidden.feature(view.name, each.name))
            for each in view.features
        ],
    )


def _settings(view: FeatureView) -> Iterator[tuple[str, str]]:
    """Yield what the view declares beside its keys, in words; what is as by default is left out."""
    if view.static:
        yield "static", "its rows hold at any time"
    else:
        yield "event time", view.event_timestamp
    if view.created_timestamp:
        yield "known from", view.created_timestamp
    for name, duration in (("lag", view.lag), ("ttl", view.ttl), ("max staleness", view.max_staleness)):
        if duration:
            yield name, format_duration(duration)
    if view.aggregations:
        yield (
            "window",
            f"closed {view.closed}: an event at T {'does not count yet' if view.closed == 'left' else 'counts'}",
        )
    elif not view.inclusive:
        yield "at its own time", "not yet known (inclusive: false)"
    if view.event_key:
        yield "event key", ", ".join(view.event_key)
    if view.deleted:
        yield "deleted", view.deleted
    yield "online", (view.online_store or "yes") if view.online else "no"


def _feature(feature: Feature, column: Mapping[str, Any], window: str | None, sensitive: bool) -> dict[str, Any]:
    default = None if feature.default is None or sensitive else json_text(feature.default, ascii_only=False)
    return filled(
        name=feature.name,
        type=str(feature.data_type),
        description=str(column.get("description") or "").strip(),
        window=window,
        default=default,
        nearest=feature.nearest,
        slo=_slo(feature.freshness_slo),
        owners=list(_owner_of(_meta(column).get("owner"))),
        tags=_tags(column),
        sensitive=sensitive or None,
    )


def _slo(slo: FreshnessSlo | None) -> dict[str, str] | None:
    return filled(within=format_duration(slo.within), impact=slo.impact, owner=slo.owner) if slo else None


def _service(service: FeatureService, node: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    return filled(
        name=service.name,
        id=node["unique_id"],
        label=node.get("label"),
        description=service.description.strip(),
        owners=list(_owner_of(node.get("owner"))),
        tags=_tags(node),
        maturity=node.get("maturity"),
        url=node.get("url"),
        path=service.path,
        full_names=service.full_feature_names or None,
        items=[_item(item, registry) for item in with_versions(service.requests, registry.latest)],
    )


def _item(item: RequestItem, registry: Registry) -> dict[str, Any]:
    if isinstance(item, OnDemandRequest):
        declared = registry.on_demand.get(item.macro)
        names = dict.fromkeys([*(declared.types if declared else ()), *item.arguments])
        return {
            "on_demand": item.macro,
            "name": item.name,
            "arguments": [[name, item.arguments.get(name, name)] for name in names],
        }
    return filled(view=item.view, role=_role(item), keys=[list(pair) for pair in item.join_keys.items()]) | {
        "features": _asked(item, registry)
    }


def _role(request: Request) -> str | None:
    return request.alias if request.is_role else None


def _asked(request: Request, registry: Registry) -> list[str]:
    view = registry.views.get(request.view)
    every = [feature.name for feature in view.features] if view else []
    return list(dict.fromkeys(name for asked in request.features for name in (every if asked == "*" else [asked])))


def _on_demand(feature: OnDemandFeature, node: Mapping[str, Any] | None, registry: Registry) -> dict[str, Any]:
    return filled(
        name=feature.name,
        id=node["unique_id"] if node else None,
        description=feature.description.strip(),
        owners=list(_owner_of(_meta(node or {}).get("owner"))),
        arguments=[list(pair) for pair in feature.types.items()],
        returns=feature.returns,
        default=None if feature.default is None else json_text(feature.default, ascii_only=False),
        path=feature.path,
    )


def _macro_names(node: Mapping[str, Any]) -> tuple[str, str]:
    return node["name"], f"{node['package_name']}.{node['name']}"


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return dbt's meta of a node or column, which newer releases keep in its config."""
    found = (node.get("config") or {}).get("meta") or node.get("meta") or {}
    return found if isinstance(found, Mapping) else {}


def _tags(node: Mapping[str, Any]) -> list[str]:
    found = [*(node.get("tags") or ()), *((node.get("config") or {}).get("tags") or ())]
    return list(dict.fromkeys(map(str, found)))


def _owners(node: Mapping[str, Any], groups: Mapping[tuple[str, str], Mapping[str, Any]]) -> Iterator[str]:
    """Yield the owners of a model: those in its meta, and that of its group."""
    yield from _owner_of(_meta(node).get("owner"))
    group = (node.get("config") or {}).get("group") or node.get("group")
    yield from _owner_of((groups.get((node["package_name"], str(group))) or {}).get("owner"))


def _owner_of(owner: Any) -> Iterator[str]:
    if isinstance(owner, Mapping):
        name, email = (str(owner.get(key) or "").strip() for key in ("name", "email"))
        if text := f"{name} <{email}>" if name and email else name or email:
            yield text
    elif isinstance(owner, (list, tuple)):
        for each in owner:
            yield from _owner_of(each)
    elif owner:
        yield str(owner)
