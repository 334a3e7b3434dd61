"""The declarations behind a training set, as plain texts for the metadata of its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pit_join.definitions.views import Aggregation, FeatureView
from pit_join.history.fingerprints import Fingerprints
from pit_join.references import OnDemandRequest
from pit_join.times import format_duration
from pit_join.training.request import TrainingRequest
from pit_join.workspace import Workspace

__all__ = ["definitions_of"]


def definitions_of(workspace: Workspace, request: TrainingRequest, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the views in each role, the hashes of all models they read, and the on-demand SQL.

    `resolved` is the result of the macro `_resolved_requests`.
    """
    fingerprints = Fingerprints(workspace.manifest, workspace.project.variables)
    views, models = {}, {}
    for role in resolved["requests"]:
        view = workspace.registry.view(role["view"])
        columns = {feature["name"]: feature["column"] for feature in role["features"]}
        views[role["alias"]] = {
            "view": view.name,
            "model": view.unique_id,
            "features": list(columns),
            "settings": dict(_settings(view, columns)),
        }
        for node, parents in fingerprints.family(view.unique_id).items():
            models[node] = {"hash": fingerprints.own(node) + _rows_hash(workspace, node), "parents": parents}
    expressions = {
        each.name: workspace.macros.text(
            "_on_demand_expression", path=each.macro, arguments={name: name for name in each.types}
        ).strip()
        for each in request.requests
        if isinstance(each, OnDemandRequest)
    }
    return {"views": views, "models": models, "expressions": expressions}


def _rows_hash(workspace: Workspace, unique_id: str) -> str:
    """Return the hash of a seed's file as it is now, which the manifest may be older than; nothing for other nodes."""
    node = workspace.manifest["nodes"].get(unique_id) or {}
    if node.get("resource_type") != "seed":
        return ""
    path = Path(node.get("root_path") or workspace.project.directory) / node["original_file_path"]
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "the file is gone"


def _settings(view: FeatureView, columns: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the settings that decide which row is chosen, and those of the features that were asked for."""
    yield "keys", ", ".join(f"{key}: {column}" for key, column in view.key_columns.items()) or "none"
    yield "static", _flag(view.static)
    yield "event_time", view.event_timestamp or "none"
    yield "created_timestamp", view.created_timestamp or "none"
    yield "lag", _duration(view.lag)
    yield "ttl", _duration(view.ttl)
    yield "inclusive", _flag(view.inclusive)
    yield "deleted", view.deleted or "none"
    if view.aggregations:
        yield "closed", view.closed
        yield "event_key", ", ".join(view.event_key) or "none"
    aggregations = {each.name: each for each in view.aggregations}
    features = {each.name: each for each in view.features}
    for name, column in columns.items():
        if column in aggregations:
            yield f"aggregation of {name}", _function(aggregations[column])
        yield f"type of {name}", features[column].data_type.text
        if features[column].default is not None:
            yield f"default of {name}", json.dumps(features[column].default)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _duration(value: timedelta | None) -> str:
    return format_duration(value) if value else "none"


def _function(one: Aggregation) -> str:
    number = "" if one.n is None else f", {one.n}"
    window = "all time" if one.window is None else format_duration(one.window)
    where = "" if one.where is None else f" where {one.where}"
    return f"{one.function}({one.column or '*'}{number}) over {window}{where}"
