"""Every plan of the SQL of window views, on generated cases, against the rule as nested loops (`window_oracle.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from generate import Column, comparable, fetch, load
from generate_windows import (
    LIFETIME,
    Declaration,
    Span,
    WindowCase,
    enlarged,
    expected_records,
    instant,
    result_columns,
    result_type,
    window_cases,
    without_later,
)
from hypothesis import strategies as st
from oracle import Record
from support.runs import for_each, number_of
from support.window_sql import (
    FOREVER,
    HOUR,
    NOON,
    ONE_HOUR,
    PLANS,
    as_text,
    columns_of,
    differences,
    in_units,
    manifest_of,
    probe,
    pruned,
    renderer_of,
    small,
    snapshot_differences,
    summed,
    three_magnitudes,
    training_set_of,
    type_name,
    types_of,
    unlike,
)
from window_oracle import WindowView, by_key, current_versions

from pit_join.definitions.registry import Registry

pytestmark = pytest.mark.slow

EXAMPLES = number_of(25, 1000, "WINDOW_EXAMPLES")


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:  # faster with so few rows
        yield opened


# The training set ---------------------------------------------------------------------------------------------


@pytest.mark.rest
@pytest.mark.proves("duckdb", "training_set", "window_features")
def test_every_plan_equals_the_oracle(connection: duckdb.DuckDBPyConnection) -> None:
    """Values, statuses, event times, and the rows of the spine in their order; floats to the bit in every plan."""

    def check(case: WindowCase) -> None:
        load(connection, case)
        columns, wanted = result_columns(case, provenance=True), expected_records(case, provenance=True)
        renderer = renderer_of(case)
        found = {plan: fetch(connection, training_set_of(case, renderer, plan), columns) for plan in PLANS}
        found["pruned"] = fetch(connection, pruned(case, renderer, connection), columns)
        for plan in PLANS:
            found[f"{plan}, in units"] = fetch(connection, in_units(case, renderer, connection, plan), columns)
        wrong = {plan: unlike(rows, wanted)[:5] for plan, rows in found.items()}
        assert not any(wrong.values()), wrong
        assert all(rows == found["range"] for rows in found.values())

    for_each(check, EXAMPLES, on=connection, case=window_cases())


def test_without_a_plan_defaults_and_provenance(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: WindowCase) -> None:
        load(connection, case)
        assert not differences(case, connection, None, provenance=False, defaults=False)

    for_each(check, number_of(5, 100), on=connection, case=window_cases())


@pytest.mark.rest
def test_many_events_of_few_keys(connection: duckdb.DuckDBPyConnection) -> None:
    """Longer than a vector of DuckDB and than any block of events that a plan sums up in advance."""

    def check(case: WindowCase, number: int, events: int) -> None:
        large = enlarged(case, number, events, labels=30)
        load(connection, large)
        for plan in PLANS:
            assert not differences(large, connection, plan)[:5]

    for_each(
        check,
        number_of(3, 40),
        on=connection,
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

    for_each(check, number_of(5, 100), on=connection, case=window_cases())


def test_the_registry_has_the_same_features() -> None:
    def check(case: WindowCase) -> None:
        registry = Registry.from_manifest(manifest_of(case))
        for view in case.window_views:
            found = {
                feature.name: feature.data_type.text.replace(" ", "") for feature in registry.view(view.name).features
            }
            assert found == {name: result_type(case, view, name) for name in view.features}

    for_each(check, number_of(5, 100), case=window_cases())


def test_events_not_yet_known_change_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    """The metamorphic law: without the events created or known only after T, the row of T is the same.

    Statuses may differ: where nothing is known at T, whether something will be tells NOT_YET_KNOWN from NOT_FOUND.
    """

    def check(case: WindowCase) -> None:
        columns = result_columns(case, provenance=True)
        statuses = {f"{request.name}__status" for request in case.requests}
        for plan in PLANS:
            query = training_set_of(case, renderer_of(case), plan)
            load(connection, case)
            full = fetch(connection, query, columns)
            for number, row in enumerate(case.spine.rows[:2]):
                load(connection, without_later(case, instant(case, row)))
                earlier = fetch(connection, query, columns)[number]
                for name in earlier.keys() - statuses:
                    assert earlier[name] == full[number][name], (plan, number, name)

    for_each(check, number_of(4, 70), on=connection, case=window_cases(plain_views=False))


# The snapshot -------------------------------------------------------------------------------------------------


def spine_keys(case: WindowCase, view: WindowView) -> set[tuple[Any, ...]]:
    """The keys that the spine asks a view for, those without an event among them."""
    mapped = [r.join_keys for r in case.requests if r.view == view]
    found = {tuple(row[keys.get(key, key)] for key in view.keys) for keys in mapped for row in case.spine.rows}
    return {keys for keys in found if None not in keys}


def nothing_of(view: WindowView) -> Record:
    """The record of a key without events."""
    counts = {each.name for each in view.aggregations if each.function in ("count", "count_distinct")}
    return {name: comparable(0 if name in counts else None) for name in (*view.features, view.event_timestamp)}


@pytest.mark.proves("duckdb", "latest_snapshot")
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
                rows = fetch(connection, query, columns)
                assert not snapshot_differences(case, view, rows, at)
                found = {tuple(row[key] for key in view.keys): row for row in rows}

                versions = by_key(current_versions(view, events.rows))
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
                        assert record[name] == row[f"{view.name}__{name}"]

    for_each(check, number_of(5, 100), on=connection, case=window_cases(plain_views=False))


# Hand-made cases ----------------------------------------------------------------------------------------------


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
    assert expected_records(case)[8]["sum_1h"].value == 0.5
    assert not differences(case, connection, plan)


@pytest.mark.parametrize("plan", PLANS)
def test_values_far_smaller_than_others_are_not_lost(connection: duckdb.DuckDBPyConnection, plan: str) -> None:
    case = three_magnitudes()
    load(connection, case)
    assert expected_records(case)[3]["sum_1h"].value == -2e-300
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
