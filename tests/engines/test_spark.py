"""The macros on Spark, on generated cases, against the rule written as nested loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from generate import Case, Column, cases, comparable, expected_records, result_columns
from generate_windows import WindowCase, window_cases
from generate_windows import expected_records as expected_windows
from generate_windows import result_columns as window_columns
from hypothesis import strategies as st
from oracle import EPOCH, Record, Request, View, look_up, spine_instant
from pyspark.sql import SparkSession
from support import spark
from support.engines import AnyCase, by_spine, held, in_sets
from support.rule_sql import manifest_of, whole
from support.runs import for_each, number_of
from support.window_sql import INSTANT, as_text, columns_of, grid_of, history_differences, training_set_of, unlike
from support.window_sql import manifest_of as window_manifest_of
from support.window_sql import snapshot_differences as window_snapshot_differences

# Spark adds floats up as floats: each of a dozen additions rounds by half a unit in the last place at most.
ROUNDINGS = 4

# Most declarations come with several data sets: a query takes Spark a second or two, however few its rows are.
SETS = 8
DRAWN = {
    "sets": st.sampled_from((1, SETS, SETS, SETS, SETS)),
    "number": st.integers(0, 2**32 - 1),
    "ansi": st.booleans(),
}


@pytest.fixture(autouse=True)
def _settings(session: SparkSession) -> Iterator[None]:
    for name, value in spark.INTERPRETED.items():
        session.conf.set(name, value)
    yield
    for name in (*spark.INTERPRETED, "spark.sql.ansi.enabled"):
        session.conf.unset(name)


def loaded(session: SparkSession, case: AnyCase, sets: int, number: int, ansi: bool) -> AnyCase:
    """A case as Spark holds it, in its tables, with ANSI or as dbt-spark sets it."""
    session.conf.set("spark.sql.ansi.enabled", str(ansi).lower())
    case = in_sets(held(case), sets, number)
    spark.load(session, case)
    return case


@pytest.mark.proves("spark", "training_set", "point_in_time_join")
def test_training_sets_equal_the_oracle(session: SparkSession) -> None:
    def check(case: Case, provenance: bool, **drawn: Any) -> None:
        case = loaded(session, case, **drawn)
        query = whole(case, spark.renderer(manifest_of(case)), provenance, True)
        found = spark.fetch(session, query, result_columns(case, provenance))
        assert by_spine(case, found) == by_spine(case, expected_records(case, True, provenance))

    for_each(check, number_of(5, 40), case=cases(doubled=True), provenance=st.booleans(), **DRAWN)


@pytest.mark.proves("spark", "training_set", "window_features")
def test_windows_equal_the_oracle(session: SparkSession) -> None:
    def check(case: WindowCase, **drawn: Any) -> None:
        case = loaded(session, case, **drawn)
        query = training_set_of(case, spark.renderer(window_manifest_of(case)), None)
        found = spark.fetch(session, query, window_columns(case, True))
        wanted = expected_windows(case, True, True)
        assert not unlike(by_spine(case, found), by_spine(case, wanted), ROUNDINGS)[:5]

    for_each(check, number_of(5, 40), case=window_cases(), **DRAWN)


@pytest.mark.proves("spark", "latest_snapshot")
def test_snapshots_equal_the_oracle(session: SparkSession) -> None:
    def check(case: Case, **drawn: Any) -> None:
        case = loaded(session, case, **drawn)
        renderer = spark.renderer(manifest_of(case))
        for at in middle_of(instants_of(case)):
            for view in case.views:
                table = case.histories[view.name]
                columns = [Column(each, table.type_of(each)) for each in snapshot_columns(view)]
                found = spark.fetch(
                    session, renderer.call("latest_snapshot", view=view.name, as_of=as_text(at)), columns
                )
                assert sorted(found, key=repr) == sorted(snapshot_of(view, table.rows, at), key=repr)

    for_each(check, number_of(3, 25), case=cases(doubled=True), **DRAWN)


def snapshot_columns(view: View) -> list[str]:
    """The columns of a snapshot of a view."""
    return [*view.keys, *([view.event_timestamp] if view.event_timestamp else []), *view.features]


def snapshot_of(view: View, rows: Sequence[Record], at: int) -> list[dict[str, Any]]:
    """What the oracle says of each key at an instant, however old it is."""
    time = "the instant asked"
    request = Request(replace(view, ttl=None), view.features)
    records = []
    for keys in {tuple(row[key] for key in view.keys) for row in rows}:
        record: dict[str, Any] = dict(zip(view.keys, keys, strict=True))
        answer = look_up(request, {**record, time: EPOCH + timedelta(microseconds=at)}, rows, time, timedelta(0))
        if answer.status.value in ("PRESENT", "NULL_VALUE"):
            if view.event_timestamp:
                record[view.event_timestamp] = answer.event_time
            records.append({name: comparable(value) for name, value in {**record, **answer.values}.items()})
    return records


def middle_of(instants: list[int]) -> list[int]:
    """One of these instants, if there is any."""
    return instants[len(instants) // 2 :][:1]


def instants_of(case: Case) -> list[int]:
    """The times of the spine in microseconds."""
    times = (row[case.event_timestamp] for row in case.spine.rows)
    return sorted({spine_instant(time) for time in times if time is not None})


@pytest.mark.proves("spark", "latest_snapshot")
def test_snapshots_of_windows_equal_the_oracle(session: SparkSession) -> None:
    def check(case: WindowCase, **drawn: Any) -> None:
        case = loaded(session, case, **drawn)
        renderer = spark.renderer(window_manifest_of(case))
        for at in middle_of(instants_of(case)):
            for view in case.window_views:
                event_time = Column(view.event_timestamp, case.histories[view.name].type_of(view.event_timestamp))
                query = renderer.call("latest_snapshot", view=view.name, as_of=as_text(at))
                found = spark.fetch(session, query, columns_of(case, view, event_time))
                assert not window_snapshot_differences(case, view, found, at, ROUNDINGS)

    for_each(check, number_of(3, 25), case=window_cases(plain_views=False), **DRAWN)


@pytest.mark.proves("spark", "window_history")
def test_histories_equal_the_oracle(session: SparkSession) -> None:
    def check(case: WindowCase, size: int | str | None, dense: bool, **drawn: Any) -> None:
        case = loaded(session, case, **drawn)
        renderer = spark.renderer(window_manifest_of(case))
        for view in case.window_views:
            text, grid = grid_of(case, view, size)
            dense = dense and grid is not None
            query = renderer.call("window_history", view=view.name, grid=text, dense=dense)
            found = spark.fetch(session, query, columns_of(case, view, INSTANT))
            assert not history_differences(case, view, found, grid, dense, ROUNDINGS)[:5]

    sizes = st.sampled_from((None, None, 1, 2, "1 day"))
    drawn = window_cases(plain_views=False)
    for_each(check, number_of(3, 25), case=drawn, size=sizes, dense=st.booleans(), **DRAWN)
