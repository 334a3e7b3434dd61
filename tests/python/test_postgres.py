"""The macros on a real PostgreSQL, on generated cases, against the rule written as nested loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
import pytest
from generate import Case, Column, cases, expected_records, result_columns
from generate_windows import WindowCase, instant, window_cases
from generate_windows import expected_records as expected_windows
from generate_windows import result_columns as window_columns
from hypothesis import strategies as st
from oracle import Record
from support import postgres
from support.corpus import read
from support.engines import held
from support.rule_sql import PORTABLE, manifest_of, snapshot_differences, whole
from support.runs import for_each, number_of
from support.variants import Replacements, broken
from support.window_sql import (
    INSTANT,
    as_text,
    columns_of,
    grid_of,
    history_differences,
    training_set_of,
    unlike,
)
from support.window_sql import manifest_of as window_manifest_of
from support.window_sql import snapshot_differences as window_snapshot_differences

pytestmark = pytest.mark.slow

# Floats are added up by their texts, which are exact to half a unit in the last place.
ROUNDINGS = 4


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection[Any]]:
    with postgres.running_postgres() as url, psycopg.connect(url, autocommit=True) as opened:
        yield opened


BROKEN: dict[str, Replacements] = {
    "place: the row before": {"_joined_by_place": [("[placed._pit_place] as", "[placed._pit_place - 1] as")]},
    "place: late rows not held back": {"_joined_by_place": [("where _pit_event = _pit_newest", "where true")]},
    "place: strict where inclusive": {"_last_instant": "{{ at }} - 1"},
    "place: ties left to chance": {"_decided_ties": [("where _pit_rank = 1", "where false")]},
    "place: ties not seen": {"_joined_by_place": [("where _pit_tied", "where false")]},
    "place: no key has a history": {"_joined_by_place": [("by_key._pit_key_1 is not null as", "false as")]},
    "index: the oldest row": {"_newest_by_index": [("{{ quote(column) }} desc{{", "{{ quote(column) }}{{")]},
    "index: lag ignored": {"_newest_by_index": [("if view.lag else last", "if false else last")]},
    "index: created time ignored": {"_newest_by_index": [("{%- if view.created_timestamp %}", "{%- if false %}")]},
    "index: infinite created time": {"_newest_by_index": [("and isfinite(", "and true or isfinite(")]},
    "index: ties left to chance": {"_joined_by_index": [("{{ decided | join", "{{ ['spine._pit_row'] | join")]},
    "index: any index is unique": {"_index_of": [(" and index.unique -%}", " -%}")]},
    "index: no key has a history": {"_joined_by_index": [("select true", "select false")]},
    "index: strict where inclusive": {"_last_instant": "{{ at }} - 1"},
}
"""Broken variants of the joins of PostgreSQL."""


@pytest.fixture(scope="module")
def stored() -> list[Case]:
    return [entry.case for entry in read("rule")]


def holds(
    connection: psycopg.Connection[Any],
    case: Case,
    provenance: bool,
    plan: str,
    macros: Mapping[str, Any] | None = None,
) -> bool:
    """Whether a plan returns what the oracle says."""
    case = held(case)
    postgres.load(connection, case)
    manifest = manifest_of(case, macros=macros)
    if plan == "index":
        postgres.declare_indexes(connection, case, manifest)
    query = whole(case, postgres.renderer(manifest), provenance, True, PORTABLE if plan == PORTABLE else None)
    looked_up = plan == "index" and any(each.view.event_timestamp for each in case.requests)
    assert ("as newest" in query) == looked_up
    return postgres.fetch(connection, query, result_columns(case, provenance)) == expected_records(
        case, True, provenance
    )


@pytest.mark.parametrize("plan", ["place", "index", PORTABLE])
@pytest.mark.proves("postgres", "training_set", "point_in_time_join", "spine_rows")
def test_training_sets_equal_the_oracle(connection: psycopg.Connection[Any], plan: str) -> None:
    def check(case: Case, provenance: bool) -> None:
        assert holds(connection, case, provenance, plan)

    for_each(check, number_of(20, 1000, "ENGINE_EXAMPLES"), case=cases(doubled=True), provenance=st.booleans())


@pytest.mark.rest
@pytest.mark.parametrize("name", BROKEN)
def test_broken_joins_are_caught(connection: psycopg.Connection[Any], stored: Sequence[Case], name: str) -> None:
    """One of the stored cases finds out each of them."""
    macros = broken(BROKEN[name])
    assert not all(holds(connection, case, True, name.split(":")[0], macros) for case in stored)


@pytest.mark.proves("postgres", "latest_snapshot")
def test_snapshots_equal_the_oracle(connection: psycopg.Connection[Any]) -> None:
    def check(case: Case) -> None:
        case = held(case)
        postgres.load(connection, case)
        assert not snapshot_differences(case, postgres.renderer(manifest_of(case)), reader(connection))

    for_each(check, number_of(10, 300), case=cases(doubled=True))


@pytest.mark.proves("postgres", "training_set", "window_features")
def test_windows_equal_the_oracle(connection: psycopg.Connection[Any]) -> None:
    def check(case: WindowCase) -> None:
        case = held(case)
        postgres.load(connection, case)
        query = training_set_of(case, postgres.renderer(window_manifest_of(case)), None)
        found = postgres.fetch(connection, query, window_columns(case, True))
        assert not unlike(found, expected_windows(case, True, True), ROUNDINGS)[:5]

    for_each(check, number_of(40, 1000, "ENGINE_EXAMPLES"), case=window_cases())


@pytest.mark.proves("postgres", "latest_snapshot")
def test_snapshots_of_windows_equal_the_oracle(connection: psycopg.Connection[Any]) -> None:
    def check(case: WindowCase) -> None:
        case = held(case)
        postgres.load(connection, case)
        renderer = postgres.renderer(window_manifest_of(case))
        for at in sorted({instant(case, row) for row in case.spine.rows if row[case.event_timestamp] is not None})[:2]:
            for view in case.window_views:
                event_time = Column(view.event_timestamp, case.histories[view.name].type_of(view.event_timestamp))
                query = renderer.call("latest_snapshot", view=view.name, as_of=as_text(at))
                found = postgres.fetch(connection, query, columns_of(case, view, event_time))
                assert not window_snapshot_differences(case, view, found, at, ROUNDINGS)

    for_each(check, number_of(10, 200), case=window_cases(plain_views=False))


@pytest.mark.proves("postgres", "window_history")
def test_histories_equal_the_oracle(connection: psycopg.Connection[Any]) -> None:
    def check(case: WindowCase, size: int | str | None, dense: bool) -> None:
        case = held(case)
        postgres.load(connection, case)
        for view in case.window_views:
            text, grid = grid_of(case, view, size)
            dense = dense and grid is not None
            renderer = postgres.renderer(window_manifest_of(case))
            query = renderer.call("window_history", view=view.name, grid=text, dense=dense)
            found = postgres.fetch(connection, query, columns_of(case, view, INSTANT))
            assert not history_differences(case, view, found, grid, dense, ROUNDINGS)[:5]

    sizes = st.sampled_from((None, None, 1, 2, "1 day"))
    for_each(check, number_of(10, 200), case=window_cases(plain_views=False), size=sizes, dense=st.booleans())


def reader(connection: psycopg.Connection[Any]) -> Callable[[str, Sequence[Column]], list[Record]]:
    """A function that runs a query and returns the rows of some columns."""
    return lambda query, columns: list(postgres.fetch(connection, query, columns))
