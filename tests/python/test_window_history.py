"""`window_history`: on generated cases against the oracle, and joined as of an instant against the exact window."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import duckdb
import pytest
from generate import Column, Table, fetch, load, quote
from generate_windows import (
    LIFETIME,
    Declaration,
    Span,
    WindowCase,
    added_up,
    expected_records,
    on_time,
    result_columns,
    window_cases,
)
from hypothesis import strategies as st
from oracle import Request
from support.runs import for_each, number_of, sampled
from support.window_sql import (
    HOUR,
    INSTANT,
    NOON,
    columns_of,
    grid_of,
    history_differences,
    in_order,
    probe,
    renderer_of,
    small,
    summed,
    training_set_of,
    type_name,
    types_of,
    unlike,
)
from window_oracle import WindowView, by_key, change_points, current_versions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:  # faster with so few rows
        yield opened


# The history --------------------------------------------------------------------------------------------------

FORMS = st.sampled_from((lambda case: case, added_up, on_time, on_time))
GRIDS = st.sampled_from((None, None, 1, 2, 3, "1 day"))


@pytest.mark.proves("duckdb", "window_history")
def test_history_equals_the_oracle(connection: duckdb.DuckDBPyConnection) -> None:
    def check(case: WindowCase, form: Callable[[WindowCase], WindowCase], size: int | str | None, dense: bool) -> None:
        case = form(case)
        load(connection, case)
        for view in case.window_views:
            text, grid = grid_of(case, view, size)
            dense = dense and grid is not None
            query = renderer_of(case).call("window_history", view=view.name, grid=text, dense=dense)
            columns = columns_of(case, view, INSTANT)
            assert types_of(connection, query) == {c.name: type_name(connection, c.sql_type) for c in columns}
            found = fetch(connection, query, columns)
            assert not history_differences(case, view, found, grid, dense)[:5]

    number = number_of(6, 200)
    for_each(
        check, number, on=connection, case=window_cases(plain_views=False), form=FORMS, size=GRIDS, dense=st.booleans()
    )


def test_a_part_of_the_history_has_the_same_rows(connection: duckdb.DuckDBPyConnection) -> None:
    """From start on and before end, each on a change point or beside one."""

    def check(
        case: WindowCase,
        form: Callable[[WindowCase], WindowCase],
        size: int | str | None,
        dense: bool,
        choice: tuple[int, int],
        beside: int,
    ) -> None:
        case = form(case)
        load(connection, case)
        for view in case.window_views:
            text, grid = grid_of(case, view, size)
            options = {"view": view.name, "grid": text, "dense": dense and grid is not None}
            columns = columns_of(case, view, INSTANT)
            whole = fetch(connection, renderer_of(case).call("window_history", **options), columns)
            for low, high in [sorted(choice)] if whole else []:
                instants = sorted({row[INSTANT.name][1] for row in whole})
                start = instants[low % len(instants)] + beside * timedelta(microseconds=1)
                end = instants[high % len(instants)] + timedelta(microseconds=1)
                bounds = {
                    name: f"{at.isoformat(timespec='microseconds')}Z" for name, at in (("start", start), ("end", end))
                }
                part = fetch(connection, renderer_of(case).call("window_history", **options, **bounds), columns)
                same = [row for row in whole if start <= row[INSTANT.name][1] < end]
                assert in_order(view, part) == in_order(view, same)

    number = st.integers(0, 20)
    for_each(
        check,
        number_of(6, 200),
        on=connection,
        case=window_cases(plain_views=False),
        form=FORMS,
        size=GRIDS,
        dense=st.booleans(),
        choice=st.tuples(number, number),
        beside=st.sampled_from((0, 0, 1, -1)),
    )


@pytest.mark.rest
@pytest.mark.parametrize("grid", [None, "1 hour"])
def test_each_part_of_a_history_on_time(connection: duckdb.DuckDBPyConnection, grid: str | None) -> None:
    """Windows that are empty for long, and events without a value, which change nothing, also after a long silence."""
    spans = (Span("2 hours", "2h", 2 * HOUR), Span("5 hours", "5h", 5 * HOUR))
    functions = [
        Declaration(each, each, "value", spans, True) for each in ("min", "last", "sum", "stddev", "count_distinct")
    ]
    values = [1.5, 2.5, *7 * [None], -3.0, None, 4.5, *12 * [None], 0.1]
    case = on_time(small(functions, values, "double", []))
    load(connection, case)
    silent = [f"timestamp '{NOON + hours * HOUR}'" for hours in (12, 21)]
    connection.execute(f"delete from v where e between {silent[0]} and {silent[1]}")
    (view,) = case.window_views
    columns = columns_of(case, view, INSTANT)
    whole = fetch(connection, renderer_of(case).call("window_history", view="v", grid=grid), columns)
    assert len(whole) > 10
    for start in range(-1, len(values) + 6):
        for shift in (timedelta(0), timedelta(microseconds=1)):
            at = NOON + start * HOUR + shift
            query = renderer_of(case).call("window_history", view="v", grid=grid, start=f"{at.isoformat()}Z")
            part = fetch(connection, query, columns)
            assert in_order(view, part) == in_order(view, [row for row in whole if at <= row[INSTANT.name][1]])


@pytest.mark.parametrize("values", [["nan", "nan"], ["0.0", "inf"], [None, "-inf"], ["0.0", "-0.0"], [None, None]])
def test_a_history_of_floats_without_a_magnitude(connection: duckdb.DuckDBPyConnection, values: list[Any]) -> None:
    """NaN and infinities fit no unit, and zeros and nulls any."""
    case = on_time(small(summed(Span("2 hours", "2h", 2 * HOUR)), values, "double", []))
    load(connection, case)
    (view,) = case.window_views
    found = fetch(connection, renderer_of(case).call("window_history", view="v"), columns_of(case, view, INSTANT))
    numbers = [None if value is None else float(value) for value in values]
    case = on_time(small(summed(Span("2 hours", "2h", 2 * HOUR)), numbers, "double", []))
    assert not history_differences(case, case.window_views[0], found, None, False)


def test_history_joined_as_of_equals_the_exact_window(connection: duckdb.DuckDBPyConnection) -> None:
    """closed right: the row at or before T; closed left: the row before T. At, before and after every change."""

    def check(case: WindowCase, form: Callable[[WindowCase], WindowCase], closed: str) -> None:
        case = form(case)
        for view in (replace(view, closed=closed) for view in case.window_views):
            rows = []
            for keys, versions in by_key(current_versions(view, case.histories[view.name].rows)).items():
                points = change_points(view, versions, None, False)
                between = [(one + other) // 2 for one, other in itertools.pairwise(points)]
                instants = {at + beside for at in points for beside in (-1, 0, 1)} | set(between)
                rows += [(keys, at) for at in sorted(instants)]
            asked = probe(case, view, rows)
            load(connection, asked)
            history = renderer_of(asked).call("window_history", view=view.name)
            on = " and ".join(f"s.{quote(f'key {key}')} = h.{quote(key)}" for key in view.keys) or "true"
            features = ", ".join(f"h.{quote(name)} as {quote(f'{view.name}__{name}')}" for name in view.features)
            sign = ">=" if closed == "right" else ">"
            joined = f"""
                select s.* exclude (n), {features}
                from (select *, row_number() over () as n from probes) as s
                asof left join ({history}) as h on {on} and s."at" {sign} h.event_timestamp
                order by s.n
            """
            found = fetch(connection, joined, result_columns(asked))
            wanted = expected_records(asked, defaults=False)
            for aggregation in view.aggregations:
                if aggregation.function in ("count", "count_distinct"):
                    name = f"{view.name}__{aggregation.name}"
                    for row in found:  # before the first row of a key there is nothing to join
                        row[name] = ("int", 0) if row[name][1] is None else row[name]
            assert not unlike(found, wanted)[:5]

    edges = st.sampled_from(("left", "right"))
    for_each(check, number_of(6, 140), on=connection, case=window_cases(plain_views=False), form=FORMS, closed=edges)


# Many instants ------------------------------------------------------------------------------------------------

INSTANTS = number_of(5_000, 100_000)
SPANS = (Span("1 hour", "1h", timedelta(hours=1)), Span("1 day", "1d", timedelta(days=1)), LIFETIME)
ALL = ("count", "count_distinct", "sum", "avg", "min", "max", "stddev", "first", "last", "last_n")
ADDED = ("count", "sum", "avg")


def fill(connection: duckdb.DuckDBPyConnection) -> None:
    """2,000 events, over half of them of one key, and the instants: a third on a change or a microsecond beside it.

    Every fourth event is a version of another; some are late, deleted, of another key or without a value.
    """
    connection.execute("""
        insert into v
        select
            'k' || least(hash(i) % 100, 40),
            e,
            e + to_minutes(case when hash(i, 1) % 3 = 0 then (hash(i, 2) % 600)::int else 0 end),
            'id' || (hash(i, 3) % 1500),
            hash(i, 4) % 50 = 0,
            case when hash(i, 5) % 20 > 0 then (hash(i, 6) % 2000)::bigint - 1000 end
        from (
            select range as i, timestamp '2026-03-01' + to_microseconds((hash(range) % 864000000000)::bigint) as e
            from range(2000)
        )
    """)
    connection.execute(f"""
        insert into s
        select
            k,
            case
                when n % 3 = 0 then beside
                else timestamp '2026-03-01' + to_microseconds((hash(n, 7) % 900000000000)::bigint)
            end
        from (
            select
                row_number() over () as n,
                k,
                [e, c, e + interval '1 hour', e + interval '1 day'][(hash(rowid, 8) % 4)::int + 1]
                    + to_minutes(case when hash(rowid, 9) % 2 = 0 then 5 else 0 end)
                    + to_microseconds((hash(i, rowid) % 3)::bigint - 1) as beside
            from v
            cross join range(50) as repeated(i)
        )
        limit {INSTANTS}
    """)


@pytest.mark.parametrize("functions", sampled([ALL, ADDED], 1), ids=len)
@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.rest
def test_many_random_instants(closed: str, functions: tuple[str, ...]) -> None:
    """The exact window is that of the plan `range`."""
    declared = tuple(
        Declaration(name, name, "value", SPANS, True, n=3 if name == "last_n" else None) for name in functions
    )
    view = WindowView(
        "v",
        ("k",),
        "e",
        ("k", "e", "c", "id", "gone", "value"),
        tuple(feature for each in declared for feature in each.features()),
        created_timestamp="c",
        lag=timedelta(minutes=5),
        closed=closed,
        event_key=("id",),
        deleted="gone",
    )
    types = dict.fromkeys(("k", "id"), "varchar") | dict.fromkeys(("e", "c"), "timestamp") | {"gone": "boolean"}
    columns = tuple(Column(name, types.get(name, "bigint")) for name in view.columns)
    case = WindowCase(
        spine=Table("s", (Column("k", "varchar"), Column("t", "timestamp")), ()),
        event_timestamp="t",
        requests=(Request(view, view.features),),
        histories={"v": Table("v", columns, ())},
        gap=timedelta(0),
        full_feature_names=False,
        settings={"TimeZone": "UTC"},
        declarations={"v": declared},
    )
    with duckdb.connect() as connection:
        load(connection, case)
        fill(connection)
        history = renderer_of(case).call("window_history", view="v")
        exact = training_set_of(case, renderer_of(case), "range", provenance=False, defaults=False)
        sign = ">=" if closed == "right" else ">"
        empty = {name: "coalesce(h.{}, 0)" for name in view.features if name.startswith("count")}
        differs = " or ".join(
            f"{empty.get(name, 'h.{}').format(name)} is distinct from w.{name}" for name in view.features
        )
        found = connection.execute(f"""
            select
                count(*),
                count(*) filter (where {differs}),
                count(distinct w.k),
                count(*) filter (where w.count_1h > 0)
            from ({exact}) as w
            asof left join ({history}) as h on w.k = h.k and w.t {sign} h.event_timestamp
        """).fetchone()
    assert found is not None
    rows, different, keys, with_events = found
    assert (rows, different, keys) == (INSTANTS, 0, 41)
    assert with_events > INSTANTS / 10
