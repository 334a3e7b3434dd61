"""Models that dbt builds in batches of time (`microbatch`): their batches and their inputs.

All instants are UTC; a batch includes its start and not its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pit_join.definitions.nodes import ancestors, location_of, parents, selector, versioned_name
from pit_join.definitions.reading import Reader
from pit_join.definitions.snapshots import SnapshotClocks
from pit_join.errors import ProjectError, RequestError, suggest
from pit_join.history.fingerprints import Fingerprints, without_comments
from pit_join.project.rendering import arguments_of
from pit_join.times import parse_duration, parse_instant

__all__ = [
    "Batch",
    "BatchInput",
    "BatchModel",
    "WholeTable",
    "batch_label",
    "batch_models",
    "batches_between",
    "ceiling",
    "floor",
    "runs",
]

Batch = tuple[datetime, datetime]
Location = tuple[str, str, str]

_LABELS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}


@dataclass(frozen=True, slots=True)
class BatchInput:
    """A table whose newest row marks the end of the data.

    `times` are its time columns, the event time first. `reach` is how long after its event time a row may still change
    the model: the lag and the longest finite window of a window view, nothing of any other table.
    """

    name: str
    relation: str
    location: Location
    times: tuple[str, ...]
    reach: timedelta


@dataclass(frozen=True, slots=True)
class WholeTable:
    """A model or seed that is built whole, with the hash of its definition; `selector` is its name for dbt."""

    name: str
    selector: str
    relation: str
    location: Location
    definition: str
    materialized: str


@dataclass(frozen=True, slots=True)
class BatchModel:
    """A microbatch model; `tables` are its ancestors that are built whole, `above` the microbatch models it reads.

    `location` is the database, schema and name of its table, `size` one of hour, day, month and year, `begin` the start
    of its first batch, `definition` the hash of everything that decides its rows, `grids` those on which changes of
    windows are seen.
    """

    unique_id: str
    name: str
    selector: str
    relation: str
    location: Location
    event_time: str
    size: str
    begin: datetime
    definition: str
    inputs: tuple[BatchInput, ...]
    grids: tuple[timedelta, ...]
    tables: tuple[WholeTable, ...]
    above: tuple[str, ...]
    keeps_new_columns: bool


def batch_models(
    manifest: Mapping[str, Any], variables: Mapping[str, Any], names: Iterable[str] = ()
) -> tuple[BatchModel, ...]:
    """Return the microbatch models of a project, or those named, each after the models that it reads.

    Raises:
        ProjectError: if there are no microbatch models, or one reads a window view in a way that dbt would cut to the
            batch.
        RequestError: if a name is not that of a microbatch model.
    """
    nodes: Mapping[str, Any] = {**manifest["sources"], **manifest["nodes"]}
    found = {unique_id: node for unique_id, node in nodes.items() if _is_microbatch(node)}
    if not found:
        raise ProjectError(
            "the project has no model with the incremental strategy microbatch, so there is nothing to backfill; "
            "other models are built by dbt build"
        )
    by_name = {versioned_name(node): unique_id for unique_id, node in found.items()}
    if unknown := [name for name in names if name not in by_name]:
        known = {versioned_name(node) for node in nodes.values() if node["resource_type"] == "model"}
        raise RequestError(
            "\n".join(
                f"'{name}' is {'not a microbatch model' if name in known else 'unknown'}; "
                f"{suggest(name, by_name, 'microbatch models')}"
                for name in unknown
            )
        )
    if problems := [problem for node in found.values() for problem in _cut_references(node, nodes, manifest["macros"])]:
        raise ProjectError(problems)
    fingerprints = Fingerprints(manifest, variables)
    wanted = {by_name[name] for name in names} or set(found)
    ordered = [unique_id for unique_id in _in_order(found, nodes) if unique_id in wanted]
    return tuple(_batch_model(unique_id, nodes, fingerprints) for unique_id in ordered)


def _is_microbatch(node: Mapping[str, Any]) -> bool:
    config = node.get("config") or {}
    wanted = ("incremental", "microbatch")
    strategy = (config.get("materialized"), config.get("incremental_strategy"))
    return bool(node["resource_type"] == "model" and strategy == wanted and config.get("event_time"))


def _in_order(found: Mapping[str, Any], nodes: Mapping[str, Any]) -> list[str]:
    ordered: dict[str, None] = {}
    for unique_id in sorted(found):
        ordered.update((one, None) for one in [*ancestors(unique_id, nodes), unique_id] if one in found)
    return list(ordered)


def _batch_model(unique_id: str, nodes: Mapping[str, Any], fingerprints: Fingerprints) -> BatchModel:
    node = nodes[unique_id]
    config = node["config"]
    above = ancestors(unique_id, nodes)
    grids, inputs = _reads(unique_id, nodes, fingerprints)
    return BatchModel(
        unique_id=unique_id,
        name=versioned_name(node),
        selector=selector(node),
        relation=node["relation_name"],
        location=location_of(node),
        event_time=config["event_time"],
        size=str(config["batch_size"]),
        begin=floor(parse_instant(config["begin"]), str(config["batch_size"])),
        definition=fingerprints.of(unique_id),
        inputs=inputs,
        grids=grids,
        tables=tuple(
            WholeTable(
                name=versioned_name(nodes[one]),
                selector=selector(nodes[one]),
                relation=nodes[one]["relation_name"],
                location=location_of(nodes[one]),
                definition=fingerprints.of(one),
                materialized=str((nodes[one].get("config") or {}).get("materialized")),
            )
            for one in above
            if nodes[one]["resource_type"] in ("model", "seed") and nodes[one].get("relation_name")
            if not _is_microbatch(nodes[one])
        ),
        above=tuple(one for one in above if _is_microbatch(nodes[one])),
        keeps_new_columns=config.get("on_schema_change") in ("append_new_columns", "sync_all_columns"),
    )


def _reads(
    unique_id: str, nodes: Mapping[str, Any], fingerprints: Fingerprints
) -> tuple[tuple[timedelta, ...], tuple[BatchInput, ...]]:
    """Return the grids of a model's window histories, and its inputs: the nearest ancestors with an event time."""
    grids: set[timedelta | None] = set()
    inputs: dict[str, Any] = {}
    seen = set()
    waiting = [unique_id]
    while waiting:
        one = waiting.pop(0)
        if one in seen or one not in nodes:
            continue
        seen.add(one)
        node = nodes[one]
        if one != unique_id and (node.get("config") or {}).get("event_time") and node.get("relation_name"):
            inputs[one] = node
            continue
        waiting += parents(node)
        grids.update(_grid(found) for code in fingerprints.code(one) for found in _grids_in(code))
    # On a grid that is not known a change may be seen at any later time.
    unknown = timedelta.max if None in grids else timedelta(0)
    known = sorted(grid for grid in grids if grid)
    return tuple(known), tuple(_input(node, unknown) for node in inputs.values())


def _grids_in(code: str) -> Iterator[Any]:
    return arguments_of(code, "window_history", "grid", 1)


def _grid(argument: Any) -> timedelta | None:
    """Return the grid of a window history, nothing for one without a grid; None if it is not known."""
    try:
        return timedelta(0) if argument is None else parse_duration(argument)
    except (AttributeError, ValueError):
        return None


def _input(node: Mapping[str, Any], reach: timedelta) -> BatchInput:
    meta = _meta(node)
    # A correction may be known long after its event: it belongs to the batch in which it became known.
    times = (node["config"]["event_time"], meta.get("created_timestamp"))
    if "aggregations" in meta and node["resource_type"] != "source":
        reach = max(reach, _window_reach(node, meta))
    known = tuple(time for time in times if time)
    return BatchInput(versioned_name(node), node["relation_name"], location_of(node), known, reach)


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = ((node.get("config") or {}).get("meta") or {}).get("pit_join")
    return meta if isinstance(meta, Mapping) else {}


def _window_reach(node: Mapping[str, Any], meta: Mapping[str, Any]) -> timedelta:
    """Return how long after its event time an event enters or leaves a window at the latest."""
    reader = Reader(SnapshotClocks({}))  # a backfill does not warn of clocks
    reader.view(node["unique_id"], node, meta)
    if reader.problems:
        raise ProjectError(sorted(reader.problems))
    (view,) = reader.views.values()
    return view.lag + max((one.window for one in view.aggregations if one.window), default=timedelta(0))


def _cut_references(node: Mapping[str, Any], nodes: Mapping[str, Any], macros: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each reference to a window view that dbt would cut to the batch."""
    used = [macros[one] for one in node["depends_on"]["macros"] if one in macros]
    own = [macro["macro_sql"] for macro in used if macro["package_name"] == node["package_name"]]
    code = without_comments("\n".join([node.get("raw_code") or "", *own]))
    for parent in parents(node):
        seen = nodes.get(parent) or {}
        if "aggregations" not in _meta(seen):
            continue
        name = re.escape(seen["name"])
        reference = rf"\bref\(\s*(?:['\"]\w+['\"]\s*,\s*)?['\"]{name}['\"][^)]*\)(?!\s*\.\s*render\()"
        if re.search(reference, code):
            yield (
                f"{node['original_file_path']}: {node['name']} reads the window view {seen['name']} through "
                f"ref('{seen['name']}'), which dbt cuts to the batch: windows would miss every event before it; "
                f"use pit_join.window_history('{seen['name']}', start=..., end=...), or ref('{seen['name']}').render() "
                "and a condition of your own"
            )


def floor(time: datetime, size: str) -> datetime:
    """Return the start of the batch that holds an instant.

    >>> floor(parse_instant("2026-03-07T10:30:00"), "month").isoformat()
    '2026-03-01T00:00:00+00:00'
    """
    month = 1 if size == "year" else time.month
    day = 1 if size in ("month", "year") else time.day
    hour = time.hour if size == "hour" else 0
    return time.replace(month=month, day=day, hour=hour, minute=0, second=0, microsecond=0)


def _next(start: datetime, size: str) -> datetime:
    # Any instant that is certain to lie in the next batch will do.
    ahead = {"hour": timedelta(hours=1), "day": timedelta(days=1), "month": timedelta(days=31)}
    return floor(start + ahead.get(size, timedelta(days=366)), size)


def ceiling(time: datetime, size: str) -> datetime:
    """Return the first start of a batch that is not before an instant."""
    start = floor(time, size)
    return start if start == time else _next(start, size)


def batches_between(start: datetime, end: datetime, size: str) -> list[Batch]:
    """Return the batches from `start`, a batch's start, to `end`.

    >>> [
    ...     batch_label(start, "month")
    ...     for start, end in batches_between(parse_instant("2026-01-01"), parse_instant("2026-03-02"), "month")
    ... ]
    ['2026-01', '2026-02', '2026-03']
    """
    found = []
    while start < end:
        following = _next(start, size)
        found.append((start, following))
        start = following
    return found


def batch_label(start: datetime, size: str) -> str:
    """Return dbt's name of a batch."""
    return start.strftime(_LABELS[size])


def runs(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Yield batches in order, as lists of adjacent batches."""
    run: list[Batch] = []
    for batch in sorted(batches):
        if run and run[-1][1] != batch[0]:
            yield run
            run = []
        run.append(batch)
    if run:
        yield run
