"""Every plan of the SQL, on generated cases, against the rule written as a nested loop (`oracle.py`).

The macros are rendered as the command line does, on a manifest made from the case.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from generate import (
    Case,
    cases,
    comparable,
    expected,
    expected_records,
    fetch,
    load,
    quote,
    result_columns,
    same_again,
    without_unknown,
)
from generate_windows import for_each
from oracle import View, spine_instant

from pit_join.definitions.registry import Registry
from pit_join.project.rendering import Renderer

MACROS = Path(__file__).parents[2] / "macros"
# Drawn in runs of ten these are of about as many kinds (views, types, lags, bounds) as 2,000 of one run.
EXAMPLES = int(os.environ.get("ORACLE_EXAMPLES", "1200"))
MICROSECOND = timedelta(microseconds=1)


@functools.cache
def macro_nodes() -> dict[str, Any]:
    """The macros as a manifest holds them: one entry a macro."""
    nodes = {}
    for path in sorted(MACROS.rglob("*.sql")):
        for part in path.read_text().split("{% macro ")[1:]:
            name = part.split("(", 1)[0].strip()
            source = "{% macro " + part.split("{%- endmacro %}", 1)[0] + "{%- endmacro %}"
            nodes[f"macro.pit_join.{name}"] = {"package_name": "pit_join", "name": name, "macro_sql": source}
    return nodes


def in_words(duration: timedelta) -> str:
    """A duration as YAML has it; whole milliseconds at the finest."""
    milliseconds, rest = divmod(duration, timedelta(milliseconds=1))
    assert not rest, "durations in YAML end at milliseconds"
    return f"{milliseconds} milliseconds"


def node_of(view: View, case: Case, materialized: str) -> dict[str, Any]:
    """The manifest's entry of a feature view."""
    meta: dict[str, Any] = {
        "entity": f"entity of {view.name}",
        "join_keys": list(view.keys),
        "inclusive": view.inclusive,
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
        "config": {"materialized": materialized, "event_time": view.event_timestamp, "meta": {"pit_join": meta}},
    }


@same_again
def renderer_of(case: Case, materialized: str = "table", macros: Mapping[str, Any] | None = None) -> Renderer:
    """A renderer for the views of a case; the registry must accept them too."""
    manifest = {
        "metadata": {"project_name": "pit_join", "adapter_type": "duckdb"},
        "macros": macros or macro_nodes(),
        "nodes": {view.name: node_of(view, case, materialized) for view in case.views},
        "exposures": {},
    }
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
    """The training set as one query, by the adapter's own join or a given leaf."""
    return str(
        renderer.call(
            "_training_set",
            spine=quote(case.spine.name),
            event_timestamp=case.event_timestamp,
            gap=in_words(case.gap) if case.gap else None,
            provenance=provenance,
            defaults=defaults,
            join=renderer.macro(join) if join else None,
            **arguments_of(case),
        )
    )


def staged(case: Case, renderer: Renderer, connection: Any, provenance: bool, defaults: bool) -> str:
    """As the command line does it: look at each table, choose a plan, one statement a view, then side by side."""
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
        found = connection.execute(renderer.call("_facts_statement", view=request.view.name, history=None))
        facts = dict(zip([d[0] for d in found.description], found.fetchone(), strict=True))
        PLANS.add((bool(facts["unordered"]), bool(facts["tied"]), bool(facts["late"])))
        *first, values = renderer.call(
            "_view_statements",
            alias=request.name,
            spine="_pit_spine",
            provenance=provenance,
            defaults=defaults,
            ties=bool(facts["unordered"] or facts["tied"]),
            late=bool(facts["unordered"] or facts["late"]),
            history=None,
            **arguments_of(case),
        )
        for statement in first:
            connection.execute(statement)
        connection.execute(f"create or replace temp table _part_{number} as {values}")
        joins.append(f"join _part_{number} as p{number} on s._pit_row = p{number}._pit_row")
    columns += [quote(column.name) for column in result_columns(case, provenance)[len(case.spine.columns) :]]
    return f"select {', '.join(columns)} from _pit_spine as s {' '.join(joins)} order by s._pit_row"


PLANS: set[tuple[bool, bool, bool]] = set()

Plan = Callable[[Case, Any, bool, bool], str]
PLANS_BY_NAME: dict[str, Plan] = {
    "asof": lambda case, _, p, d: whole(case, renderer_of(case), p, d),
    "asof, rows without numbers": lambda case, _, p, d: whole(case, renderer_of(case, "ephemeral"), p, d),
    "portable": lambda case, _, p, d: whole(case, renderer_of(case), p, d, "default__point_in_time_join"),
    "staged": lambda case, connection, p, d: staged(case, renderer_of(case), connection, p, d),
}


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as opened:
        yield opened


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


def test_every_plan_equals_the_oracle(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: Case) -> None:
        load(connection, case)
        wrong = {}
        for name in ("asof", "portable", "staged"):
            if found := differences(case, connection, PLANS_BY_NAME[name]):
                wrong[name] = found[:5]
        assert not wrong

    for_each(check, EXAMPLES, case=cases())


def test_the_cases_took_every_way() -> None:
    """Plain, tied, late and unordered histories must all have come up in the test above."""
    assert {(False, False, False), (False, True, False), (False, False, True), (False, True, True)} <= PLANS
    assert any(unordered for unordered, _, _ in PLANS)


def test_rows_without_numbers(connection: duckdb.DuckDBPyConnection) -> None:
    """As in a dbt unit test, where a model is not a stored table; the join itself is the same SQL."""

    def check(case: Case) -> None:
        load(connection, case)
        assert not differences(case, connection, PLANS_BY_NAME["asof, rows without numbers"])

    for_each(check, 300, case=cases())


def test_without_defaults_and_provenance(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: Case) -> None:
        load(connection, case)
        for plan in PLANS_BY_NAME.values():
            assert not differences(case, connection, plan, provenance=False, defaults=False)

    for_each(check, 100, case=cases())


def test_histories_longer_than_a_vector(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: Case) -> None:
        load(connection, case, filler=5000)
        for plan in PLANS_BY_NAME.values():
            assert not differences(case, connection, plan)

    for_each(check, 100, case=cases())


def test_history_not_yet_known_changes_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    """The metamorphic law: without the rows known only after T, the row of T is the same.

    Statuses may differ: where nothing is known at T, whether something will be tells NOT_YET_KNOWN from NOT_FOUND.
    """

    def check(case: Case) -> None:
        columns = result_columns(case)
        for plan in (PLANS_BY_NAME["asof"], PLANS_BY_NAME["portable"]):
            load(connection, case)
            full = fetch(connection, plan(case, connection, False, True), columns)
            for number, row in enumerate(case.spine.rows):
                if row[case.event_timestamp] is None or number > 2:
                    continue
                at = spine_instant(row[case.event_timestamp]) - case.gap // MICROSECOND
                earlier = without_unknown(case, at)
                load(connection, earlier)
                assert fetch(connection, plan(earlier, connection, False, True), columns)[number] == full[number]

    for_each(check, 150, case=cases())


def as_sorted(value: Any) -> Any:
    """DuckDB before 2.0 loses the sign of a zero when it sorts by it, as the snapshot does to break ties."""
    return ("float", "0.0") if value == ("float", "-0.0") and duckdb.__version__ < "2" else value


def test_snapshot_equals_the_oracle(connection: duckdb.DuckDBPyConnection) -> None:
    """`latest_snapshot` as of each spine time holds what the oracle finds then, ttl and defaults left aside."""

    def check(case: Case) -> None:
        load(connection, case)
        renderer = renderer_of(case)
        for row, answers in zip(case.spine.rows, expected(case, defaults=False), strict=True):
            if row[case.event_timestamp] is None:
                continue
            at = spine_instant(row[case.event_timestamp]) - case.gap // MICROSECOND
            text = connection.execute("select strftime(make_timestamp(?), '%Y-%m-%dT%H:%M:%S.%fZ')", [at]).fetchone()[0]
            if len(text.split("-")[0]) != 4:
                continue
            for request in case.requests:
                answer = answers.answers[request.name]
                keys = [row[request.join_keys.get(key, key)] for key in request.view.keys]
                table = case.histories[request.view.name]
                snapshot = renderer.call("latest_snapshot", view=request.view.name, as_of=text)
                wanted_columns = [c for c in table.columns if c.name in (*request.view.keys, *request.features)]
                found = [
                    record
                    for record in fetch(connection, snapshot, wanted_columns)
                    if [record[key] for key in request.view.keys] == [comparable(key) for key in keys]
                ]
                if answer.status.value in ("PRESENT", "NULL_VALUE"):
                    assert len(found) == 1
                    for name, value in answer.values.items():
                        assert as_sorted(found[0][name]) == as_sorted(comparable(value))
                elif answer.status.value != "OUTSIDE_MAX_AGE":
                    assert not found

    for_each(check, 200, case=cases())
