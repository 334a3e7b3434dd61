"""The feature views of a project, and the state of their tables."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from pit_join.definitions.views import Aggregation, FeatureView
from pit_join.errors import PitJoinError
from pit_join.times import format_duration
from pit_join.workspace import Histories, Workspace

__all__ = ["describe_views"]


def describe_views(workspace: Workspace) -> list[dict[str, Any]]:
    """Describe every feature view as a mapping, in the order of their names.

    `rows` and `newest`, the greatest event time (ISO 8601 in UTC), are None where dbt has not built the view. `closed`,
    and `windows` by feature, are None except for window views.

    Raises:
        PitJoinError: if the project or its warehouse cannot be read; with the problems of all views.
    """
    views = workspace.registry.views
    workspace.check_on_demand((), others=True)
    if not views:
        return []
    measured = [name for name, view in sorted(views.items()) if view.has_freshness_slo]
    if measured:
        workspace.console.warn(f"freshness_slo has no effect yet, since no command measures it: {', '.join(measured)}")
    with workspace.warehouse() as warehouse:
        histories = Histories(warehouse, workspace.macros)
        described, problems = [], []
        for name in sorted(views):
            try:
                described.append(_describe(views[name], histories))
            except PitJoinError as error:
                problems.append(error)
    if problems:
        gravest = max(problems, key=lambda problem: problem.exit_status)
        raise type(gravest)("\n".join(map(str, problems)))
    return described


def _describe(view: FeatureView, histories: Histories) -> dict[str, Any]:
    facts: dict[str, Any] = {"rows": None, "newest": None}
    if histories.warehouse.has(view.location):
        histories.check([view])
        facts = histories.facts(view)
    newest = facts["newest"]
    return {
        "name": view.name,
        "description": view.description,
        "entity": view.entity.name,
        "join_keys": list(view.join_keys),
        "event_timestamp": view.event_timestamp,
        "created_timestamp": view.created_timestamp,
        "ttl": format_duration(view.ttl) if view.ttl else None,
        "lag": format_duration(view.lag) if view.lag else None,
        "closed": view.closed if view.aggregations else None,
        "windows": {one.name: _window(one) for one in view.aggregations} or None,
        "features": [feature.name for feature in view.features],
        "rows": facts["rows"],
        "newest": None if newest is None else _iso(newest),
    }


def _window(aggregation: Aggregation) -> str:
    return "lifetime" if aggregation.window is None else format_duration(aggregation.window)


def _iso(microseconds: int) -> str:
    try:
        return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return f"{microseconds} microseconds since 1970"
