"""Windows of events that are known when they happen: their quick forms give what the general ones give, to the bit."""

from __future__ import annotations

import math
import random
from typing import Any

import duckdb
import pytest
from generate import load
from generate_windows import LIFETIME, Declaration, Span, WindowCase
from support.runs import number_of
from support.window_sql import HOUR, ONE_HOUR, PLANS, of_one_view, small

pytestmark = pytest.mark.rest

WINDOWS = (ONE_HOUR, Span("3 hours", "3h", 3 * HOUR), LIFETIME)
FORMS = {  # function and type of the values: what only the SQL of the general form has
    ("count_distinct", "integer"): "distinct__pit_value_1_spans",
    ("last_n", "integer"): "tiles_",
    ("last", "double"): "tiles_",
    ("stddev", "integer"): "deviations_spans",
    ("stddev", "double"): "deviations_spans",
    ("sum", "double"): "classes",
    ("min", "double"): "tiles_3600000000_begun",
    ("max", "integer"): "tiles_3600000000_begun",
}


def declared(function: str) -> list[Declaration]:
    """The function over each window; of last_n lists of two lengths."""
    if function == "last_n":
        return [Declaration(f"last_{n}", function, "value", WINDOWS, True, n=n) for n in (2, 5)]
    return [Declaration(function, function, "value", WINDOWS, True)]


ODD = (math.nan, math.inf, -math.inf, 1e300, -1e300, 1e-300, 5e-324, 2.0**20, -(2.0**20) + 2.0**-33, 2.0**-20, -0.0)
"""Doubles of many classes, some beside the end of a class, and values that are not finite."""


def events(source: random.Random, value_type: str, odd: str = "") -> list[tuple[Any, ...]]:
    """Events of three keys on full minutes, so that many come at one instant; a fifth of their values are null.

    Doubles of the keys `odd` are of all magnitudes, and some of them are not finite.
    """
    rows = []
    for _ in range(100):
        minute = source.randrange(400)
        value = source.choice((None, *4 * [source.randrange(-6, 6)]))
        if value is not None and value_type == "double":
            value = value * 0.1 * source.choice((1, 1e-3))
        key = source.choice("abc")
        if value is not None and value_type == "double" and key in odd:
            value = source.choice((value, *ODD))
        rows.append((key, minute, minute - source.choice((0, 0, 7)), value))
    return rows


def answers(
    function: str, value_type: str, rows: list[tuple[Any, ...]], plan: str, late: bool, *more: str
) -> tuple[str, list[Any]]:
    """The query of a build that finds late events, or none, and its rows at the events and at the ends of windows."""
    case = small(declared(function), [], value_type, [])
    with duckdb.connect(config={"threads": 2}) as connection:
        fill(connection, case, rows)
        connection.execute("insert into s select k, e + interval (after) minute from v, range(0, 190, 20) as _(after)")
        for statement in more:
            connection.execute(statement)
        query = of_one_view(case, connection, plan, late=late, **({"floats": {}} if late else {}))
        return query, connection.execute(query).fetchall()


def fill(connection: duckdb.DuckDBPyConnection, case: WindowCase, rows: list[tuple[Any, ...]]) -> None:
    """The tables of a case, and its events in minutes after noon."""
    load(connection, case)
    noon = "timestamp '2026-03-15 12:00' + interval 1 minute *"
    connection.executemany(f"insert into v select ?, {noon} ?, {noon} ?, ?", rows)


@pytest.mark.parametrize(("function", "value_type"), FORMS)
def test_the_quick_form_gives_what_the_general_one_gives(function: str, value_type: str) -> None:
    for seed in range(number_of(2, 20)):
        odd = ("", "abc")[seed % 2]
        rows = events(random.Random(seed), value_type, odd)
        query, quick = answers(function, value_type, rows, "stacked", late=False)
        in_classes = odd and (function, value_type) in (("sum", "double"), ("stddev", "double"))
        assert (FORMS[function, value_type] in query) == bool(in_classes)
        for plan in PLANS:
            _, general = answers(function, value_type, rows, plan, late=True)
            assert repr(general) == repr(quick)


@pytest.mark.parametrize("table", ["s", "v"])
@pytest.mark.parametrize(("function", "late"), [("max", False), ("max", True), ("last_n", False)])
def test_keys_that_are_in_another_order_in_the_spine(function: str, late: bool, table: str) -> None:
    """Instants and values are numbered in the order of keys; here one side has texts, the other an enum."""
    rows = events(random.Random(1), "integer")
    sorted_otherwise = f"alter table {table} alter k type enum('c', 'a', 'b')"
    _, wanted = answers(function, "integer", rows, "range", late)
    assert answers(function, "integer", rows, "stacked", late, sorted_otherwise)[1] == wanted
