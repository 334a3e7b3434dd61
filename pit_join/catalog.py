"""The feature views of a project, the state of their tables, and everything that is wrong with a project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from pit_join.definitions.field_type import is_known
from pit_join.definitions.registry import Registry
from pit_join.definitions.requests import feature_names, name_problems, views_read, with_versions
from pit_join.definitions.views import Aggregation, FeatureView
from pit_join.errors import PitJoinError, raise_together, suggest
from pit_join.export.places import hidden_latest, not_storable
from pit_join.project.rendering import arguments_of
from pit_join.references import OnDemandRequest, model_and_version, ref_text
from pit_join.times import format_duration
from pit_join.warehouse.expressions import problem_of_value
from pit_join.workspace import Histories, Workspace, condition_problems

__all__ = ["Check", "check_project", "describe_on_demand", "describe_services", "describe_views"]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check: every problem, and the number of definitions.

    `project` is the project with the target of its profile. `not_built` are the views that dbt has not built, whose
    tables were not checked; `static` are those that leak if their values change after the label.
    """

    project: str
    problems: tuple[str, ...]
    views: int
    services: int
    on_demand: int
    not_built: tuple[str, ...]
    static: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def check_project(workspace: Workspace) -> Check:
    """Find everything that is wrong with a project, without reading a row.

    The columns and types of tables are checked where dbt has built them.

    Raises:
        PitJoinError: if dbt cannot read the project, or its warehouse cannot be opened.
    """
    project = workspace.name  # a project that dbt itself cannot read is an error, not a finding
    registry, problems = Registry.read(workspace.manifest)
    broken = {tuple(problem.split(": ")[:2]) for problem in problems}
    problems += workspace.project.unused_entries()
    on_demand = registry.on_demand.values()
    problems += workspace.on_demand_problems(each for each in on_demand if (each.path, each.name) not in broken)
    for name, service in sorted(registry.services.items()):
        requests = with_versions(service.requests, registry.latest)
        found = name_problems(requests, registry.views, service.full_feature_names, registry.engine)
        problems += [f"{service.path}: {name}: features: {problem}" for problem in found]
    problems += _not_depended_on(workspace.manifest, registry)
    problems += hidden_latest(registry)
    for name, view in sorted(registry.views.items()):
        problems += not_storable(view)
        if (view.path, name) not in broken:
            problems += condition_problems(view)
            problems += _default_problems(view)
    not_built = tuple(sorted(registry.views))
    if registry.views and workspace.project.has_warehouse:
        with workspace.warehouse() as warehouse:
            histories = Histories(warehouse, workspace)
            not_built = tuple(name for name in not_built if not warehouse.views.has(registry.views[name].location))
            for name in sorted(set(registry.views) - set(not_built)):
                view = registry.views[name]
                try:
                    _check_view(view, histories, workspace, declared=(view.path, name) not in broken)
                except PitJoinError as error:
                    histories.begin_anew()
                    problems += str(error).splitlines()
    counts = len(registry.views), len(registry.services), len(registry.on_demand)
    static = tuple(name for name, view in sorted(registry.views.items()) if view.static)
    return Check(project, tuple(dict.fromkeys(problems)), *counts, not_built, static)


def _check_view(view: FeatureView, histories: Histories, workspace: Workspace, *, declared: bool) -> None:
    """Check the table of a view, and defaults of types that only the warehouse knows if the declaration is right."""
    histories.check([view])
    if declared and any(one.default is not None and not is_known(one.data_type.name) for one in view.features):
        types = {feature.name: feature.data_type.sql for feature in view.features}
        statement = workspace.macros.text("_defaults_statement", view=view.name, which="default", types=types)
        histories.warehouse.table(statement, f"{view.path}: {view.name}: a default does not fit its type")


def _default_problems(view: FeatureView) -> Iterator[str]:
    """Yield the defaults of a view that do not fit their types."""
    for feature in view.features:
        if feature.default is not None and (problem := problem_of_value(feature.default, feature.data_type)):
            place = "aggregations" if view.aggregations else "columns"
            yield f"{view.path}: {view.name}: {place}.{feature.name}.default: {problem}"


def _not_depended_on(manifest: Mapping[str, Any], registry: Registry) -> Iterator[str]:
    """Yield what is wrong with models that call `training_set` with a service: dbt reads exposures after models."""
    for node in manifest["nodes"].values():
        code = node.get("raw_code") or ""
        if "training_set" not in code or "service" not in code or node["package_name"] == "pit_join":
            continue
        where = f"{node['original_file_path']}: {node['name']}: training_set: service"
        for name in arguments_of(code, "training_set", "service", 7):
            if not isinstance(name, str):
                continue
            if name not in registry.services:
                known = suggest(name, registry.services, "feature services")
                yield f"{where}: unknown feature service '{name}'; {known}"
                continue
            read = views_read(with_versions(registry.services[name].requests, registry.latest), registry.latest)
            listed = (node.get("depends_on") or {}).get("nodes") or []
            missing = [view for view in read if view in registry.views and registry.views[view].unique_id not in listed]
            if missing:
                lines = "\n".join(f"-- depends_on: {{{{ {ref_text(view)} }}}}" for view in sorted(missing))
                yield f"{where}: '{name}' reads models that dbt does not know it to need; add:\n{lines}"


def describe_views(workspace: Workspace) -> list[dict[str, Any]]:
    """Describe every feature view as a mapping, in the order of their names.

    `rows` and `newest`, the greatest event time (ISO 8601 in UTC), are None where dbt has not built the view. `closed`,
    and `windows` by feature, are None except for window views; `entity` is None where a view holds for every row.
    `latest` says of a version whether references without a version mean it; it is None for a model without versions.

    Raises:
        PitJoinError: if the project or its warehouse cannot be read; with the problems of all views.
    """
    views = workspace.registry.views
    workspace.check_on_demand((), others=True)
    if not views:
        return []
    with workspace.warehouse() as warehouse:
        histories = Histories(warehouse, workspace)
        described, problems = [], []
        for name in sorted(views):
            try:
                version = model_and_version(name)[1]
                latest = None if version is None else name in workspace.registry.latest.values()
                described.append(_describe(views[name], histories, latest))
            except PitJoinError as error:
                histories.begin_anew()
                problems.append(error)
    raise_together(problems)
    return described


def _describe(view: FeatureView, histories: Histories, latest: bool | None = None) -> dict[str, Any]:
    facts: dict[str, Any] = {"rows": None, "newest": None}
    if histories.session.has(view.location):
        facts = histories.facts(view)
        histories.forget(view)
    newest = facts["newest"]
    return {
        "name": view.name,
        "latest": latest,
        "description": view.description,
        "entity": view.entity.name or None,
        "join_keys": list(view.join_keys),
        "event_timestamp": view.event_timestamp or None,
        "static": view.static,
        "created_timestamp": view.created_timestamp,
        "ttl": format_duration(view.ttl) if view.ttl else None,
        "lag": format_duration(view.lag) if view.lag else None,
        "max_staleness": format_duration(view.max_staleness) if view.max_staleness else None,
        "closed": view.closed if view.aggregations else None,
        "windows": {one.name: _window(one) for one in view.aggregations} or None,
        "features": [feature.name for feature in view.features],
        "rows": facts["rows"],
        "newest": None if newest is None else _iso(newest),
    }


def describe_services(workspace: Workspace) -> list[dict[str, Any]]:
    """Describe every feature service as a mapping, in the order of their names.

    `features` are the names as a training set has them, `views` those that they are read from, also through the
    arguments of on-demand features.

    Raises:
        PitJoinError: if the project cannot be read.
    """
    registry = workspace.registry
    described = []
    for name, service in sorted(registry.services.items()):
        requests = with_versions(service.requests, registry.latest)
        described.append(
            {
                "name": name,
                "description": service.description.strip(),
                "full_feature_names": service.full_feature_names,
                "views": sorted(views_read(requests, registry.latest)),
                "features": feature_names(requests, registry.views, service.full_feature_names),
            }
        )
    return described


def describe_on_demand(workspace: Workspace) -> list[dict[str, Any]]:
    """Describe every on-demand feature as a mapping, in the order of their names.

    `arguments` are the types of its arguments by name, `services` the feature services that ask for it.

    Raises:
        PitJoinError: if the project cannot be read.
    """
    services = workspace.registry.services.items()
    return [
        {
            "name": name,
            "description": feature.description.strip(),
            "arguments": dict(feature.types),
            "returns": feature.returns,
            "default": feature.default,
            "services": sorted(
                service for service, declared in services
                if any(isinstance(one, OnDemandRequest) and one.macro == name for one in declared.requests)
            ),
        }
        for name, feature in sorted(workspace.registry.on_demand.items())
    ]  # fmt: skip


def _window(aggregation: Aggregation) -> str:
    return "lifetime" if aggregation.window is None else format_duration(aggregation.window)


def _iso(microseconds: int) -> str:
    try:
        return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return f"{microseconds} microseconds since 1970"
