"""The SQL of generated cases (`generate.py`): macros rendered as the command line does, on a manifest of the case."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from generate import (
    Case,
    Column,
    Table,
    comparable,
    expected,
    expected_records,
    fetch,
    quote,
    result_columns,
    same_again,
)
from oracle import EPOCH, Record, Request, View, spine_instant

from pit_join.definitions.registry import Registry
from pit_join.project.rendering import Renderer
from pit_join.training.joins import units_of

MACROS = Path(__file__).parents[3] / "macros"
MACRO = re.compile(r"\{%-?\s*macro\s+(?P<name>\w+)\(.*?\{%-?\s*endmacro\s*-?%\}", re.DOTALL)
PORTABLE = "portable"


@functools.cache
def macro_nodes() -> dict[str, Any]:
    """The macros as a manifest holds them: one entry a macro."""
    nodes = {}
    for path in sorted(MACROS.rglob("*.sql")):
        for found in MACRO.finditer(path.read_text()):
            name = found["name"]
            nodes[f"macro.pit_join.{name}"] = {"package_name": "pit_join", "name": name, "macro_sql": found[0]}
    return nodes


def in_words(duration: timedelta) -> str:
    """A duration as YAML has it; whole milliseconds at the finest."""
    milliseconds, rest = divmod(duration, timedelta(milliseconds=1))
    assert not rest, "durations in YAML end at milliseconds"
    return f"{milliseconds} milliseconds"


def node_of(view: View, case: Case, materialized: str) -> dict[str, Any]:
    """The manifest's entry of a feature view."""
    meta: dict[str, Any] = {
        **({"entity": f"entity of {view.name}"} if view.keys else {}),
        "join_keys": list(view.keys),
        **({"static": True} if view.event_timestamp is None else {"inclusive": view.inclusive}),
    }
    if view.created_timestamp is not None:
        meta["created_timestamp"] = view.created_timestamp
    if view.deleted is not None:
        meta["deleted"] = view.deleted
    if view.lag:
        meta["lag"] = in_words(view.lag)
    if view.ttl is not None:
        meta["ttl"] = in_words(view.ttl)
    special = {*view.keys, view.event_timestamp, view.created_timestamp, view.deleted}
    columns = {}
    for column in case.histories[view.name].columns:
        own: dict[str, Any] = {}
        if column.name in view.defaults:
            value = view.defaults[column.name]
            own["default"] = value if isinstance(value, (int, float, str, bool)) else float(value)
        elif column.name not in special and column.name not in view.features:
            own["exclude"] = True
        columns[column.name] = {
            "name": column.name,
            "data_type": column.sql_type,
            "config": {"meta": {"pit_join": own}} if own else {},
        }
    return {
        "resource_type": "model",
        "package_name": "pit_join",
        "name": view.name,
        "relation_name": f"memory.main.{quote(view.name)}",
        "original_file_path": "generated",
        "columns": columns,
        "config": {
            "materialized": materialized,
            **({"event_time": view.event_timestamp} if view.event_timestamp else {}),
            "meta": {"pit_join": meta},
        },
    }


def manifest_of(case: Case, materialized: str = "table", macros: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A manifest with the views of a case."""
    return {
        "metadata": {"project_name": "pit_join", "adapter_type": "duckdb"},
        "macros": macros or macro_nodes(),
        "nodes": {view.name: node_of(view, case, materialized) for view in case.views},
        "exposures": {},
    }


@same_again
def renderer_of(case: Case, materialized: str = "table", macros: Mapping[str, Any] | None = None) -> Renderer:
    """A renderer for the views of a case; the registry must accept them too."""
    manifest = manifest_of(case, materialized, macros)
    if materialized == "table":
        Registry.from_manifest(manifest)
    return Renderer(json.loads(json.dumps(manifest)))


def arguments_of(case: Case) -> dict[str, Any]:
    """What the macros take."""
    features = [
        {"view": r.view.name, "as": r.alias, "join_keys": dict(r.join_keys), "features": list(r.features)}
        for r in case.requests
    ]
    return {"features": features, "full_feature_names": case.full_feature_names}


def whole(case: Case, renderer: Renderer, provenance: bool, defaults: bool, join: str | None = None) -> str:
    """The training set as one query, by the adapter's own join or a given plan."""
    asked = arguments_of(case)
    return str(
        renderer.call(
            "_training_set",
            spine=renderer.call("_identifier", name=case.spine.name),
            features=asked.pop("features"),
            asked={
                "event_timestamp": case.event_timestamp,
                "gap": in_words(case.gap) if case.gap else None,
                "provenance": provenance,
                "defaults": defaults,
                "plans": {"join": join},
                **asked,
            },
        )
    )


def facts_of(renderer: Renderer, connection: Any, view: str) -> dict[str, Any]:
    """What a build finds out about the table of a view before it joins."""
    found = connection.execute(renderer.call("_facts_statement", view=view, history=None))
    return dict(zip([column[0] for column in found.description], found.fetchone(), strict=True))


def staged(
    case: Case,
    renderer: Renderer,
    connection: Any,
    provenance: bool,
    defaults: bool,
    *,
    pruned: bool = False,
    windows: str | None = None,
    columns_of: Callable[..., list[Column]] = result_columns,
) -> str:
    """As the command line does it: look at each table, choose a plan, one statement a view, then side by side.

    With `pruned` each history is pruned that may be, however little there is to gain. With `windows` window views
    take this plan, and add up floats in one unit where that is enough.
    """
    kind = {"timestamp with time zone": "timestamptz"}.get(case.spine.type_of(case.event_timestamp))
    rows = renderer.call(
        "spine_rows",
        spine=quote(case.spine.name),
        event_timestamp=case.event_timestamp,
        gap=in_words(case.gap) if case.gap else None,
        data_type=kind or case.spine.type_of(case.event_timestamp),
    )
    connection.execute(f"create or replace temp table _pit_spine as {rows}")
    columns = [f"s.{quote(column.name)}" for column in case.spine.columns]
    joins = []
    for number, request in enumerate(case.requests):
        facts = facts_of(renderer, connection, request.view.name)
        WAYS.add((bool(facts["unordered"]), bool(facts["tied"]), bool(facts["late"])))
        tied = bool(facts["unordered"] or facts["tied"])
        if tied and request.view.event_timestamp is None:  # of which a build refuses two rows of a key
            tied = bool(
                connection.execute(renderer.call("_doubled_statement", view=request.view.name, history=None)).fetchall()
            )
        asked = arguments_of(case)
        *first, values = renderer.call(
            "_view_statements",
            alias=request.name,
            spine="_pit_spine",
            features=asked.pop("features"),
            options={
                "provenance": provenance,
                "defaults": defaults,
                "ties": tied,
                "late": bool(facts["unordered"] or facts["late"]),
                **({"plan": windows, "floats": dict(units_of(facts))} if windows and "floats" in facts else {}),
                "pruned": pruned
                and request.view.event_timestamp is not None
                and not getattr(request.view, "event_key", ()),
                **asked,
            },
        )
        for statement in first:
            connection.execute(statement)
        connection.execute(f"create or replace temp table _part_{number} as {values}")
        joins.append(f"join _part_{number} as p{number} on s._pit_row = p{number}._pit_row")
    columns += [quote(column.name) for column in columns_of(case, provenance)[len(case.spine.columns) :]]
    return f"select {', '.join(columns)} from _pit_spine as s {' '.join(joins)} order by s._pit_row"


def may_be_pruned(view: View) -> bool:
    """Whether a build prunes the history of a view where that pays."""
    return view.event_timestamp is not None and not getattr(view, "event_key", ())


def exported(renderer: Renderer, connection: Any, view: View, as_of: str) -> str:
    """A snapshot as an export takes it: in one pass where the table is in order."""
    facts = facts_of(renderer, connection, view.name)
    in_order = not (facts["unordered"] or facts["tied"] or facts["late"])
    return str(renderer.call("_snapshot_statement", view=view.name, as_of=as_of, in_order=in_order, history=None))


WAYS: set[tuple[bool, bool, bool]] = set()
"""Unordered, tied, late: what the staged plan has found in histories since the process began."""

Plan = Callable[[Case, Any, bool, bool], str]
PLANS: dict[str, Plan] = {
    "asof": lambda case, _, p, d: whole(case, renderer_of(case), p, d),
    "asof, rows without numbers": lambda case, _, p, d: whole(case, renderer_of(case, "ephemeral"), p, d),
    "portable": lambda case, _, p, d: whole(case, renderer_of(case), p, d, PORTABLE),
    "staged": lambda case, connection, p, d: staged(case, renderer_of(case), connection, p, d),
    "pruned": lambda case, connection, p, d: staged(case, renderer_of(case), connection, p, d, pruned=True),
}


def differences(case: Case, connection: Any, plan: Plan, provenance: bool = True, defaults: bool = True) -> list[str]:
    """What one plan gives other than the oracle; empty where they agree."""
    columns = result_columns(case, provenance)
    found = fetch(connection, plan(case, connection, provenance, defaults), columns)
    wanted = expected_records(case, defaults, provenance)
    if len(found) != len(wanted):
        return [f"{len(found)} rows instead of {len(wanted)}"]
    return [
        f"row {number}, {name!r}: {row[name]} instead of {value}"
        for number, (row, wanted_row) in enumerate(zip(found, wanted, strict=True))
        for name, value in wanted_row.items()
        if row[name] != value
    ]


def snapshot_differences(
    case: Case, renderer: Renderer, read: Callable[[str, Sequence[Column]], Sequence[Record]]
) -> list[str]:
    """Where the snapshots at the times of the spine are not what the oracle says; `read` runs a query."""
    wrong = []
    for row, answers in zip(case.spine.rows, expected(case, defaults=False), strict=True):
        if row[case.event_timestamp] is None:
            continue
        at = spine_instant(row[case.event_timestamp]) - case.gap // timedelta(microseconds=1)
        for request in case.requests:
            answer = answers.answers[request.name]
            keys = [comparable(row[request.join_keys.get(key, key)]) for key in request.view.keys]
            table = case.histories[request.view.name]
            as_of = (EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            snapshot = renderer.call("latest_snapshot", view=request.view.name, as_of=as_of)
            columns = [c for c in table.columns if c.name in (*request.view.keys, *request.features)]
            found = [each for each in read(snapshot, columns) if [each[key] for key in request.view.keys] == keys]
            if answer.status.value in ("PRESENT", "NULL_VALUE"):
                wanted = {name: as_sorted(comparable(value)) for name, value in answer.values.items()}
                got = [{name: as_sorted(each[name]) for name in wanted} for each in found]
                wrong += [f"{request.view.name} {keys} {as_of}: {got} instead of {wanted}"] if got != [wanted] else []
            elif answer.status.value != "OUTSIDE_MAX_AGE" and found:
                wrong.append(f"{request.view.name} {keys} {as_of}: {found} instead of nothing")
    return wrong


def as_sorted(value: Any) -> Any:
    """DuckDB before 2.0 loses the sign of a zero when it sorts by it, as the snapshot does to break ties."""
    return ("float", "0.0") if value == ("float", "-0.0") and duckdb.__version__ < "2" else value


def clock_change() -> Case:
    """A day with 23 hours: only there do days of the calendar differ from elapsed days."""
    return Case(
        spine=Table(
            "spine",
            (Column("k", "varchar"), Column("t", "timestamp")),
            ({"k": "a", "t": datetime(2013, 3, 11, 3, 30)}, {"k": "a", "t": datetime(2013, 3, 11, 4, 30)}),
        ),
        event_timestamp="t",
        requests=(Request(View("v", ("k",), "e", ("f",), ttl=timedelta(days=1)), ("f",), join_keys={"k": "k"}),),
        histories={
            "v": Table(
                "v",
                (Column("k", "varchar"), Column("e", "timestamp"), Column("f", "bigint")),
                ({"k": "a", "e": datetime(2013, 3, 10, 4, 0), "f": 1},),
            )
        },
        gap=timedelta(0),
        full_feature_names=False,
        settings={"TimeZone": "America/New_York"},
    )
