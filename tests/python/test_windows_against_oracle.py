"""Every plan of the SQL of window views, on generated cases, against the rule as nested loops (`window_oracle.py`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest
from generate import Column, Table, comparable, fetch, load, quote, same_again
from generate_windows import (
    LIFETIME,
    Declaration,
    Near,
    Span,
    WindowCase,
    agrees,
    enlarged,
    expected_records,
    for_each,
    instant,
    near,
    result_columns,
    result_type,
    window_cases,
    without_later,
)
from hypothesis import strategies as st
from oracle import EPOCH, Record, Request
from test_against_oracle import in_words, macro_nodes, node_of
from window_oracle import WindowView, by_key, current_versions, snapshot

from pit_join.definitions.registry import Registry
from pit_join.project.rendering import Renderer

EXAMPLES = int(os.environ.get("WINDOW_EXAMPLES", "1000"))
PLANS = ("range", "stacked")


# The SQL of a case --------------------------------------------------------------------------------------------


def window_node_of(view: WindowView, case: WindowCase) -> dict[str, Any]:
    """The manifest's entry of a window view, its columns in the order of the YAML."""
    events = case.histories[view.name]
    meta: dict[str, Any] = {
        "entity": f"entity of {view.name}",
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
            spine=quote(case.spine.name),
            event_timestamp=case.event_timestamp,
            gap=in_words(case.gap) if case.gap else None,
            provenance=provenance,
            defaults=defaults,
            join=None,
            plan=plan,
            features=[
                {"view": r.view.name, "as": r.alias, "join_keys": dict(r.join_keys), "features": list(r.features)}
                for r in case.requests
            ],
            full_feature_names=case.full_feature_names,
        )
    )


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:  # faster with so few rows
        yield opened


@pytest.fixture(scope="module")
def parallel() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as opened:
        yield opened


def differences(
    case: WindowCase, connection: Any, plan: str | None, provenance: bool = True, defaults: bool = True
) -> list[str]:
    """What one plan gives other than the oracle, row by row in order; empty where they agree."""
    query = training_set_of(case, renderer_of(case), plan, provenance, defaults)
    found = fetch(connection, query, result_columns(case, provenance))
    return unlike(found, expected_records(case, defaults, provenance))


def unlike(found: Sequence[Record], wanted: Sequence[Record]) -> list[str]:
    """Where rows are not the wanted ones."""
    if len(found) != len(wanted):
        return [f"{len(found)} rows instead of {len(wanted)}"]
    return [
        f"row {number}, {name!r}: {row[name]} instead of {value}"
        for number, (row, wanted_row) in enumerate(zip(found, wanted, strict=True))
        for name, value in wanted_row.items()
        if not agrees(row[name], value)
    ]


# The training set ---------------------------------------------------------------------------------------------


def test_every_plan_equals_the_oracle(connection: duckdb.DuckDBPyConnection) -> None:
    """Values, statuses, event times, and the rows of the spine in their order."""

    def check(case: WindowCase) -> None:
        load(connection, case)
        wrong = {}
        for plan in PLANS:
            if found := differences(case, connection, plan):
                wrong[plan] = found[:5]
        assert not wrong

    for_each(check, EXAMPLES, case=window_cases())


def test_without_a_plan_defaults_and_provenance(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: WindowCase) -> None:
        load(connection, case)
        assert not differences(case, connection, None, provenance=False, defaults=False)

    for_each(check, EXAMPLES // 10, case=window_cases())


def test_many_events_of_few_keys(parallel: duckdb.DuckDBPyConnection) -> None:
    """Longer than a vector of DuckDB and than any block of events that a plan sums up in advance."""

    def check(case: WindowCase, number: int, events: int) -> None:
        large = enlarged(case, number, events, labels=30)
        load(parallel, large)
        for plan in PLANS:
            assert not differences(large, parallel, plan)[:5]

    for_each(
        check,
        EXAMPLES // 25,
        case=window_cases(plain_views=False),
        number=st.integers(0, 2**32),
        events=st.sampled_from((50, 300, 2500)),
    )


def test_types_of_the_result(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: WindowCase) -> None:
        load(connection, case)
        wanted = {column.name: column.sql_type for column in result_columns(case, provenance=True)}
        for plan in PLANS:
            query = training_set_of(case, renderer_of(case), plan)
            assert types_of(connection, query) == {name: type_name(connection, each) for name, each in wanted.items()}

    for_each(check, EXAMPLES // 10, case=window_cases())


def types_of(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, str]:
    """The names and types of the columns of a query."""
    return {name: sql_type for name, sql_type, *_ in connection.execute(f"describe {query}").fetchall()}


def type_name(connection: duckdb.DuckDBPyConnection, sql_type: str) -> str:
    """How DuckDB writes a type."""
    (name,) = connection.execute(f"select typeof(null::{sql_type})").fetchone()
    return str(name)


def test_the_registry_has_the_same_features() -> None:
    def check(case: WindowCase) -> None:
        registry = Registry.from_manifest(manifest_of(case))
        for view in case.window_views:
            found = {
                feature.name: feature.data_type.text.replace(" ", "") for feature in registry.view(view.name).features
            }
            assert found == {name: result_type(case, view, name) for name in view.features}

    for_each(check, EXAMPLES // 10, case=window_cases())


def test_events_not_yet_known_change_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    """The metamorphic law: without the events created or known only after T, the row of T is the same.

    Statuses may differ: where nothing is known at T, whether something will be tells NOT_YET_KNOWN from NOT_FOUND.
    """

    def check(case: WindowCase) -> None:
        columns = result_columns(case, provenance=True)
        statuses = {f"{request.name}__status" for request in case.requests}
        wanted = expected_records(case, provenance=True)
        for plan in PLANS:
            query = training_set_of(case, renderer_of(case), plan)
            load(connection, case)
            full = fetch(connection, query, columns)
            for number, row in enumerate(case.spine.rows[:2]):
                load(connection, without_later(case, instant(case, row)))
                earlier = fetch(connection, query, columns)[number]
                for name in earlier.keys() - statuses:
                    assert alike(earlier[name], full[number][name], wanted[number][name]), (plan, number, name)

    for_each(check, EXAMPLES // 15, case=window_cases(plain_views=False))


def alike(one: Any, other: Any, wanted: Any) -> bool:
    """Whether two results are the same; where that is a rounded sum, within twice its tolerance."""
    if not isinstance(wanted, Near) or one[0] != "float" or other[0] != "float":
        return one == other
    return abs(float(one[1]) - float(other[1])) <= 2 * wanted.tolerance


# The snapshot -------------------------------------------------------------------------------------------------


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


def spine_keys(case: WindowCase, view: WindowView) -> set[tuple[Any, ...]]:
    """The keys that the spine asks a view for, those without an event among them."""
    mapped = [r.join_keys for r in case.requests if r.view == view]
    found = {tuple(row[keys.get(key, key)] for key in view.keys) for keys in mapped for row in case.spine.rows}
    return {keys for keys in found if None not in keys}


def nothing_of(view: WindowView) -> Record:
    """The record of a key without events."""
    counts = {each.name for each in view.aggregations if each.function in ("count", "count_distinct")}
    return {name: comparable(0 if name in counts else None) for name in (*view.features, view.event_timestamp)}


def test_snapshot_equals_the_oracle_and_the_training_set(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: WindowCase) -> None:
        load(connection, case)
        renderer = renderer_of(case)
        for at in sorted({instant(case, row) for row in case.spine.rows if row[case.event_timestamp] is not None})[:2]:
            for view in case.window_views:
                events = case.histories[view.name]
                event_time = Column(view.event_timestamp, events.type_of(view.event_timestamp))
                columns = columns_of(case, view, event_time)
                query = renderer.call("latest_snapshot", view=view.name, as_of=as_text(at))
                assert types_of(connection, query) == {c.name: type_name(connection, c.sql_type) for c in columns}
                found = {tuple(row[key] for key in view.keys): row for row in fetch(connection, query, columns)}

                versions = by_key(current_versions(view, events.rows))
                wanted = {}
                for record in snapshot(view, events.rows, at):
                    keys = tuple(record[key] for key in view.keys)
                    near_record = {name: comparable(value) for name, value in record.items()}
                    for name in view.features:
                        near_record[name] = near(view, name, record[name], versions[keys], at)
                    wanted[tuple(comparable(key) for key in keys)] = near_record
                assert found.keys() == wanted.keys()
                assert not unlike([found[keys] for keys in wanted], list(wanted.values()))

                all_keys = sorted({*versions, *spine_keys(case, view)}, key=str)
                asked = probe(case, view, [(keys, at) for keys in all_keys])
                load(connection, asked)
                training = training_set_of(asked, renderer_of(asked), None, defaults=False)
                for row in fetch(connection, training, result_columns(asked, provenance=True)):
                    keys = tuple(row[f"key {key}"] for key in view.keys)
                    assert (row[f"{view.name}__status"][1] in ("PRESENT", "NULL_VALUE")) == (keys in found)
                    # Of a key that the snapshot lacks a reader knows what a window without events holds.
                    record = found.get(keys) or nothing_of(view)
                    assert row[f"{view.name}__event_timestamp"] == record[view.event_timestamp]
                    for name in view.features:
                        assert alike(record[name], row[f"{view.name}__{name}"], wanted.get(keys, record)[name])

    for_each(check, EXAMPLES // 10, case=window_cases(plain_views=False))


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


@pytest.mark.parametrize("plan", PLANS)
def test_sums_in_range_where_running_totals_are_not(connection: duckdb.DuckDBPyConnection, plan: str) -> None:
    times = [NOON + index * HOUR for index in range(10)]
    case = small(summed(ONE_HOUR), [2**62] * 10, "bigint", times)
    load(connection, case)
    assert expected_records(case)[9]["sum_1h"] == ("int", 2**62)
    assert not differences(case, connection, plan)


@pytest.mark.parametrize("plan", PLANS)
def test_a_sum_that_leaves_its_type_is_an_error(connection: duckdb.DuckDBPyConnection, plan: str) -> None:
    case = small(summed(LIFETIME), [2**62, 2**62], "bigint", [NOON + HOUR])
    load(connection, case)
    with pytest.raises(duckdb.Error, match=r"(?i)range|overflow|cast|convert"):
        connection.execute(training_set_of(case, renderer_of(case), plan)).fetchall()


@pytest.mark.parametrize("plan", PLANS)
def test_what_left_the_window_does_not_spoil_it(connection: duckdb.DuckDBPyConnection, plan: str) -> None:
    """A huge value, an infinity and NaN pass by; the sums after them are as exact as those before."""
    values = [0.1, 1e100, 0.2, float("inf"), 0.3, float("-inf"), 0.4, float("nan"), 0.5]
    declared = (*summed(ONE_HOUR), Declaration("sd", "stddev", "value", (Span("2 hours", "2h", 2 * HOUR),), False))
    case = small(declared, values, "double", [NOON + index * HOUR for index in range(len(values))])
    load(connection, case)
    assert expected_records(case)[8]["sum_1h"] == Near(0.5, 0.5e-9)
    assert not differences(case, connection, plan)


def three_magnitudes() -> WindowCase:
    """No two of the values can be added without losing one of them, and windows of an hour hold one each."""
    values = [1e300, 1.0, 1e-300, -2e-300, 1e-250, 3.0, -1e300, 1e-320]
    return small(summed(ONE_HOUR), values, "double", [NOON + index * HOUR for index in range(len(values))])


@pytest.mark.parametrize("plan", PLANS)
def test_values_far_smaller_than_others_are_not_lost(connection: duckdb.DuckDBPyConnection, plan: str) -> None:
    case = three_magnitudes()
    load(connection, case)
    assert expected_records(case)[3]["sum_1h"] == Near(-2e-300, 2e-309)
    assert not differences(case, connection, plan)


@pytest.mark.parametrize("plan", PLANS)
def test_the_longest_window_is_like_a_lifetime(connection: duckdb.DuckDBPyConnection, plan: str) -> None:
    case = small(summed(FOREVER, LIFETIME), [1, 2, 3], "bigint", [NOON + index * HOUR for index in range(4)])
    load(connection, case)
    assert not differences(case, connection, plan)


@pytest.mark.parametrize("plan", PLANS)
def test_infinite_times_are_no_times(connection: duckdb.DuckDBPyConnection, plan: str) -> None:
    case = small(summed(ONE_HOUR, LIFETIME), [1, 2, 3], "bigint", [NOON + index * HOUR for index in range(4)])
    load(connection, case)
    connection.execute("""
        insert into v values ('a', 'infinity', '2026-03-15 12:00', 10), ('a', '-infinity', '2026-03-15 12:00', 20),
            ('a', '2026-03-15 12:00', 'infinity', 40), ('a', '2026-03-15 12:00', '-infinity', 80)
    """)
    assert not differences(case, connection, plan)
