"""The SQL of generated cases with window views (`generate_windows.py`), and what it is compared by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import duckdb
from generate import Column, Table, comparable, fetch, quote, same_again
from generate_windows import (
    Declaration,
    Span,
    WindowCase,
    agrees,
    expected_records,
    near,
    result_columns,
    result_type,
)
from oracle import EPOCH, Record, Request, microseconds
from window_oracle import Version, WindowView, by_key, change_points, current_versions, snapshot, value_at

from pit_join.project.rendering import Renderer
from pit_join.training.joins import units_of
from support.rule_sql import facts_of, in_words, macro_nodes, node_of, staged

PLANS = ("range", "stacked")
INSTANT = Column("event_timestamp", "timestamptz")


def window_node_of(view: WindowView, case: WindowCase) -> dict[str, Any]:
    """The manifest's entry of a window view, its columns in the order of the YAML."""
    events = case.histories[view.name]
    meta: dict[str, Any] = {
        "entity": f"entity of {view.name}" if view.keys else None,
        "join_keys": list(view.keys),
        "created_timestamp": view.created_timestamp,
        "deleted": view.deleted,
        "lag": in_words(view.lag) if view.lag else None,
        # left may be written out or not, one column be a text or a list
        "closed": view.closed if view.closed == "right" or view.lag else None,
        "event_key": view.event_key[0] if len(view.event_key) == 1 else list(view.event_key) or None,
        "aggregations": [declaration.yaml() for declaration in case.declarations[view.name]],
    }
    return {
        "resource_type": "model",
        "package_name": "pit_join",
        "name": view.name,
        "relation_name": f"memory.main.{quote(view.name)}",
        "original_file_path": "generated",
        "columns": {name: {"name": name, "data_type": events.type_of(name), "config": {}} for name in view.columns},
        "config": {
            "materialized": "table",
            "event_time": view.event_timestamp,
            "meta": {"pit_join": {key: value for key, value in meta.items() if value is not None}},
        },
    }


def manifest_of(case: WindowCase, macros: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A manifest with the views of a case."""
    nodes = {
        view.name: window_node_of(view, case) if isinstance(view, WindowView) else node_of(view, case, "table")
        for view in case.views
    }
    return {
        "metadata": {"project_name": "pit_join", "adapter_type": "duckdb"},
        "macros": macros or macro_nodes(),
        "nodes": json.loads(json.dumps(nodes)),
        "exposures": {},
    }


@same_again
def renderer_of(case: WindowCase, macros: Mapping[str, Any] | None = None) -> Renderer:
    """A renderer for the views of a case."""
    return Renderer(manifest_of(case, macros))


def training_set_of(
    case: WindowCase, renderer: Renderer, plan: str | None, provenance: bool = True, defaults: bool = True
) -> str:
    """The training set as one query, by a plan or by the macro's own choice."""
    return str(
        renderer.call(
            "_training_set",
            spine=renderer.call("_identifier", name=case.spine.name),
            features=[
                {"view": r.view.name, "as": r.alias, "join_keys": dict(r.join_keys), "features": list(r.features)}
                for r in case.requests
            ],
            asked={
                "event_timestamp": case.event_timestamp,
                "gap": in_words(case.gap) if case.gap else None,
                "provenance": provenance,
                "defaults": defaults,
                "full_feature_names": case.full_feature_names,
                **({"plans": {"windows": plan}} if plan else {}),
            },
        )
    )


def pruned(case: WindowCase, renderer: Renderer, connection: Any) -> str:
    """The training set from pruned copies of the histories, view by view."""
    return staged(case, renderer, connection, True, True, pruned=True, columns_of=result_columns)


def in_units(case: WindowCase, renderer: Renderer, connection: Any, plan: str) -> str:
    """The training set by a plan, with floats added up in one unit where the facts allow it, view by view."""
    return staged(case, renderer, connection, True, True, windows=plan, columns_of=result_columns)


def of_one_view(case: WindowCase, connection: Any, plan: str, **known: Any) -> str:
    """All features of the view `v` at each row of the spine, by the facts of its table; `known` are others instead."""
    renderer = renderer_of(case)
    facts = facts_of(renderer, connection, "v")
    spine = renderer.call("spine_rows", spine="s", event_timestamp="t")
    connection.execute(f"create temp table _pit_spine as {spine}")
    (query,) = renderer.call(
        "_view_statements",
        alias="v",
        spine="_pit_spine",
        features=["v:*"],
        options={
            "plan": plan,
            "late": bool(facts["late"]),
            "floats": dict(units_of(facts)),
            "provenance": True,
            **known,
        },
    )
    return f"from ({query}) order by _pit_row"


def differences(
    case: WindowCase, connection: Any, plan: str | None, provenance: bool = True, defaults: bool = True
) -> list[str]:
    """What one plan gives other than the oracle, row by row in order; empty where they agree."""
    query = training_set_of(case, renderer_of(case), plan, provenance, defaults)
    found = fetch(connection, query, result_columns(case, provenance))
    return unlike(found, expected_records(case, defaults, provenance))


def unlike(found: Sequence[Record], wanted: Sequence[Record], roundings: float = 0.0) -> list[str]:
    """Where rows are not the wanted ones; for `roundings` see `agrees`."""
    if len(found) != len(wanted):
        return [f"{len(found)} rows instead of {len(wanted)}"]
    return [
        f"row {number}, {name!r}: {row[name]} instead of {value}"
        for number, (row, wanted_row) in enumerate(zip(found, wanted, strict=True))
        for name, value in wanted_row.items()
        if not agrees(row[name], value, roundings)
    ]


def types_of(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, str]:
    """The names and types of the columns of a query."""
    return {name: sql_type for name, sql_type, *_ in connection.execute(f"describe {query}").fetchall()}


def type_name(connection: duckdb.DuckDBPyConnection, sql_type: str) -> str:
    """How DuckDB writes a type."""
    (name,) = connection.execute(f"select typeof(null::{sql_type})").fetchone()
    return str(name)


def as_text(at: int) -> str:
    """An instant in microseconds as `as_of` takes it."""
    return (EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def probe(case: WindowCase, view: WindowView, rows: Sequence[tuple[tuple[Any, ...], int]]) -> WindowCase:
    """The case with a spine of these keys and instants, asking for all of one view."""
    events = case.histories[view.name]
    # Another view may have keys of a wider type, and the spine values that only it can hold.
    kinds = {key: events.type_of(key) for key in view.keys}
    kinds = {key: "bigint" if kind in ("integer", "smallint") else kind for key, kind in kinds.items()}
    columns = (*(Column(f"key {key}", kind) for key, kind in kinds.items()), Column("at", "timestamptz"))
    records = [
        dict(zip([c.name for c in columns], (*keys, EPOCH + timedelta(microseconds=at)), strict=True))
        for keys, at in rows
    ]
    return replace(
        case,
        spine=Table("probes", columns, tuple(records)),
        event_timestamp="at",
        requests=(Request(view, view.features, join_keys={key: f"key {key}" for key in view.keys}),),
        gap=timedelta(0),
        full_feature_names=True,
    )


def columns_of(case: WindowCase, view: WindowView, event_time: Column) -> list[Column]:
    """The columns of a snapshot or a history."""
    events = case.histories[view.name]
    keys = [Column(key, events.type_of(key)) for key in view.keys]
    return [*keys, event_time, *(Column(each, result_type(case, view, each)) for each in view.features)]


def in_order(view: WindowView, rows: Sequence[Record]) -> list[Record]:
    """Rows of a history by key and instant."""
    return sorted(rows, key=lambda row: [repr(row[name]) for name in (*view.keys, INSTANT.name)])


# Histories ----------------------------------------------------------------------------------------------------


def grid_of(case: WindowCase, view: WindowView, size: int | str | None) -> tuple[str | None, timedelta | None]:
    """A grid of so many of the shortest windows' lengths, as text and as duration."""
    if size is None or size == "1 day":
        return (size, None if size is None else timedelta(days=1))
    lengths = [aggregation.window for aggregation in view.aggregations if aggregation.window is not None]
    grid = int(size) * min(lengths, default=timedelta(days=1))
    return in_words(grid), grid


def history_differences(
    case: WindowCase,
    view: WindowView,
    found: Sequence[Record],
    grid: timedelta | None,
    dense: bool,
    roundings: float = 0.0,
) -> list[str]:
    """Where the rows of a history are not what the oracle says.

    Sums of floats that are equal by the rule may differ by a rounding, and the other way round, so that which rows
    repeat the one before is up to them. So: rows lie at change points only, one at the first; the row as of every
    change point has the values of that point; and no row repeats the one before it. Where no float is summed, only the
    rows of the oracle meet this.
    """
    right = replace(view, closed="right")
    rows: dict[tuple[Any, ...], dict[int, Record]] = {}
    wrong = []
    for row in found:
        at = in_microseconds(row[INSTANT.name][1])
        of_key = rows.setdefault(tuple(row[key] for key in view.keys), {})
        wrong += [f"two rows at {at}"] if at in of_key else []
        of_key[at] = row
    for keys, versions in by_key(current_versions(view, case.histories[view.name].rows)).items():
        of_key = rows.pop(tuple(comparable(key) for key in keys), {})
        points = change_points(view, versions, grid, dense)
        if not of_key.keys() <= set(points) or (dense and of_key.keys() != set(points)):
            wrong.append(f"{keys}: rows at {sorted(of_key)} instead of {points}")
        elif points and points[0] not in of_key:
            wrong.append(f"{keys}: no row at the first change point {points[0]}")
        else:
            last: Record = {}
            for point in points:
                row = of_key.get(point, last)
                wanted = snapshot_values(right, versions, point)
                wrong += unlike([row], [wanted], roundings)
                repeated = point in of_key and all(row[name] == last.get(name) for name in view.features)
                if repeated and not dense:
                    wrong.append(f"{keys}: the row at {point} repeats the one before")
                last = row
    return wrong + [f"rows of the key {keys}, which has none" for keys in rows]


def in_microseconds(at: datetime) -> int:
    """An instant of a row, which is naive and UTC."""
    return microseconds(at.replace(tzinfo=timezone.utc) - EPOCH)


def snapshot_values(view: WindowView, versions: Sequence[Version], at: int) -> dict[str, Any]:
    """The features of a key at an instant, as `agrees` takes them."""
    return {
        each.name: near(view, each.name, value_at(view, each, versions, at), versions, at) for each in view.aggregations
    }


# Snapshots ----------------------------------------------------------------------------------------------------


def snapshot_differences(
    case: WindowCase, view: WindowView, found: Sequence[Record], at: int, roundings: float = 0.0
) -> list[str]:
    """Where the rows of a snapshot at an instant are not what the oracle says."""
    versions = by_key(current_versions(view, case.histories[view.name].rows))
    wanted = {}
    for record in snapshot(view, case.histories[view.name].rows, at):
        keys = tuple(record[key] for key in view.keys)
        near_record = {name: comparable(value) for name, value in record.items()}
        for name in view.features:
            near_record[name] = near(view, name, record[name], versions[keys], at)
        wanted[tuple(comparable(key) for key in keys)] = near_record
    by_keys = {tuple(row[key] for key in view.keys): row for row in found}
    if len(by_keys) < len(found) or by_keys.keys() != wanted.keys():
        return [f"the keys {sorted(by_keys, key=str)} instead of {sorted(wanted, key=str)}"]
    return unlike([by_keys[keys] for keys in wanted], list(wanted.values()), roundings)


# Hand-made cases ----------------------------------------------------------------------------------------------

NOON = datetime(2026, 3, 15, 12)
HOUR = timedelta(hours=1)
ONE_HOUR = Span("1 hour", "1h", HOUR)
FOREVER = Span("106751991 days", "106751991d", timedelta(days=106751991))


def small(
    declared: Sequence[Declaration], values: Sequence[Any], value_type: str, times: Sequence[datetime]
) -> WindowCase:
    """Events of one key an hour apart, from noon on; one row of the spine for each time."""
    features = tuple(feature for declaration in declared for feature in declaration.features())
    view = WindowView("v", ("k",), "e", ("k", "e", "c", "value"), features, created_timestamp="c", closed="right")
    events = [
        {"k": "a", "e": NOON + index * HOUR, "c": NOON + index * HOUR, "value": value}
        for index, value in enumerate(values)
    ]
    types = (Column("k", "varchar"), Column("e", "timestamp"), Column("c", "timestamp"), Column("value", value_type))
    return WindowCase(
        spine=Table("s", (Column("k", "varchar"), Column("t", "timestamp")), tuple({"k": "a", "t": t} for t in times)),
        event_timestamp="t",
        requests=(Request(view, view.features),),
        histories={"v": Table("v", types, tuple(events))},
        gap=timedelta(0),
        full_feature_names=False,
        settings={"TimeZone": "UTC"},
        declarations={"v": tuple(declared)},
    )


def summed(*spans: Span) -> tuple[Declaration, ...]:
    """The sum and the mean over these windows."""
    return tuple(Declaration(name, name, "value", spans, True) for name in ("sum", "avg"))


def three_magnitudes() -> WindowCase:
    """No two of the values can be added without losing one of them, and windows of an hour hold one each."""
    values = [1e300, 1.0, 1e-300, -2e-300, 1e-250, 3.0, -1e300, 1e-320]
    return small(summed(ONE_HOUR), values, "double", [NOON + index * HOUR for index in range(len(values))])
