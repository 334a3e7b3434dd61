"""Every plan of the SQL, on generated cases, against the rule written as a nested loop (`oracle.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import duckdb
import pytest
from generate import Case, cases, fetch, load, result_columns, without_unknown
from oracle import spine_instant
from support.rule_sql import PLANS, WAYS, differences, renderer_of, snapshot_differences
from support.runs import for_each, number_of

pytestmark = pytest.mark.slow

# Drawn in runs of ten 1,200 are of about as many kinds (views, types, lags, bounds) as 2,000 of one run.
EXAMPLES = number_of(40, 1200, "ORACLE_EXAMPLES")
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as opened:
        yield opened


@pytest.mark.proves("duckdb", "training_set", "point_in_time_join", "spine_rows")
def test_every_plan_equals_the_oracle(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: Case) -> None:
        load(connection, case)
        wrong = {}
        for name in ("asof", "portable", "staged", "pruned"):
            if found := differences(case, connection, PLANS[name]):
                wrong[name] = found[:5]
        assert not wrong

    def all_came_up() -> bool:
        """Plain, tied, late and unordered histories."""
        return {(False, tied, late) for tied in (False, True) for late in (False, True)} <= WAYS and any(
            unordered for unordered, _, _ in WAYS
        )

    WAYS.clear()
    for_each(check, EXAMPLES, on=connection, until=all_came_up, case=cases(doubled=True))


def test_rows_without_numbers(connection: duckdb.DuckDBPyConnection) -> None:
    """As in a dbt unit test, where a model is not a stored table; the join itself is the same SQL."""

    def check(case: Case) -> None:
        load(connection, case)
        assert not differences(case, connection, PLANS["asof, rows without numbers"])

    for_each(check, number_of(10, 300), on=connection, case=cases(doubled=True))


def test_without_defaults_and_provenance(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: Case) -> None:
        load(connection, case)
        for plan in PLANS.values():
            assert not differences(case, connection, plan, provenance=False, defaults=False)

    for_each(check, number_of(3, 100), on=connection, case=cases(doubled=True))


def test_histories_longer_than_a_vector(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: Case) -> None:
        load(connection, case, filler=5000)
        for plan in PLANS.values():
            assert not differences(case, connection, plan)

    for_each(check, number_of(3, 100), on=connection, case=cases(doubled=True))


def test_history_not_yet_known_changes_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    """The metamorphic law: without the rows known only after T, the row of T is the same.

    Statuses may differ: where nothing is known at T, whether something will be tells NOT_YET_KNOWN from NOT_FOUND.
    """

    def check(case: Case) -> None:
        columns = result_columns(case)
        for plan in (PLANS["asof"], PLANS["portable"]):
            load(connection, case)
            full = fetch(connection, plan(case, connection, False, True), columns)
            for number, row in enumerate(case.spine.rows):
                if row[case.event_timestamp] is None or number > 2:
                    continue
                at = spine_instant(row[case.event_timestamp]) - case.gap // MICROSECOND
                earlier = without_unknown(case, at)
                load(connection, earlier)
                assert fetch(connection, plan(earlier, connection, False, True), columns)[number] == full[number]

    for_each(check, number_of(3, 150), on=connection, case=cases(doubled=True))


@pytest.mark.proves("duckdb", "latest_snapshot")
def test_snapshot_equals_the_oracle(connection: duckdb.DuckDBPyConnection) -> None:
    """`latest_snapshot` as of each spine time holds what the oracle finds then, ttl and defaults left aside."""

    def check(case: Case) -> None:
        load(connection, case)
        assert not snapshot_differences(case, renderer_of(case), lambda query, asked: fetch(connection, query, asked))

    for_each(check, number_of(6, 200), on=connection, case=cases(doubled=True))
