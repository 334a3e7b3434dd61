"""Windows of events that are known when they happen: their quick forms give what the general ones give, to the bit."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import duckdb
import pytest
from generate import load
from generate_windows import LIFETIME, Declaration, Span, WindowCase
from support.rule_sql import macro_nodes
from support.runs import number_of
from support.window_sql import HOUR, ONE_HOUR, PLANS, of_one_view, renderer_of, small

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


# Histories ----------------------------------------------------------------------------------------------------

FUNCTIONS = ("count", "count_distinct", "sum", "avg", "stddev", "min", "max", "first", "last", "last_n")
ASKED = """
{% macro _history_parts(view, features, span) %}
{{ return([{'form': 'asked', 'features': features, 'fits': none}]) }}
{% endmacro %}
"""
"""All features of a history as those of a training set."""


def histories(case: WindowCase, rows: list[tuple[Any, ...]], **options: Any) -> tuple[str, list[Any], list[Any]]:
    """The query of a history, its rows, and those of the general form."""
    macros = dict(macro_nodes())
    macros["macro.pit_join._history_parts"] = {**macros["macro.pit_join._history_parts"], "macro_sql": ASKED}
    with duckdb.connect(config={"threads": 2}) as connection:
        fill(connection, case, rows)
        query, general = (
            str(renderer.call("window_history", view="v", **options))
            for renderer in (renderer_of(case), renderer_of(case, macros))
        )
        return query, connection.execute(query).fetchall(), connection.execute(general).fetchall()


@pytest.mark.parametrize("value_type", ["integer", "double"])
def test_the_quick_history_is_the_general_one(value_type: str) -> None:
    """Each feature by the cheapest form for its key: keys with odd values, and with late events, are asked for."""
    for seed in range(number_of(4, 200)):
        source = random.Random(seed)
        rows = events(source, value_type, source.choice(("", "a", "abc")))
        late = source.choice(("", "b", "bc"))
        rows = [(key, at, at + 45 if key in late else created, value) for key, at, created, value in rows]
        functions = source.sample(FUNCTIONS, source.randrange(1, 5))
        case = small([one for each in functions for one in declared(each)], [], value_type, [])
        if source.random() < 0.5:  # events are known when they happen, whatever the column says
            (request,) = case.requests
            view = replace(case.window_views[0], created_timestamp=None)
            case = replace(case, requests=(replace(request, view=view),))
        grid = source.choice((None, "1 hour", "7 minutes"))
        options = {"grid": grid, "dense": grid is not None and source.random() < 0.3}
        if source.random() < 0.3:
            options |= {"start": "2026-03-15T14:10:00Z", "end": "2026-03-15T16:40:00Z"}
        _, quick, general = histories(case, rows, **options)
        assert repr(quick) == repr(general), (seed, functions, options)
        assert quick


@pytest.mark.parametrize("function", ["sum", "stddev"])
@pytest.mark.parametrize("odd", ["a", "abc"])
def test_keys_whose_floats_do_not_fit_are_asked_for(function: str, odd: str) -> None:
    rows = events(random.Random(5), "double", odd)
    _, quick, general = histories(small(declared(function), [], "double", []), rows, grid=None)
    assert repr(quick) == repr(general)


@pytest.mark.parametrize(
    ("function", "value_type"),
    [("stddev", "integer"), ("stddev", "double"), ("avg", "double"), ("count_distinct", "integer"), ("min", "double")],
)
def test_one_feature_sends_no_other_the_general_way(function: str, value_type: str) -> None:
    """A list is asked for; beside it all features but that are computed from the events alone."""
    for others in ([], declared("last_n")):
        case = small([*declared(function), *others], [], value_type, [])
        view = replace(case.window_views[0], created_timestamp=None)
        case = replace(case, requests=(replace(case.requests[0], view=view),))
        query = str(renderer_of(case).call("window_history", view="v", grid="1 hour"))
        asked = query.split("_pit_values as (")[1:]
        # Once more for the keys whose floats do not fit, and once for the lists.
        fallback = int(value_type == "double" and function in ("stddev", "avg"))
        assert len(asked) == fallback + bool(others)
        assert not fallback or "_pit_others as (" in query


@pytest.mark.parametrize("table", ["s", "v"])
@pytest.mark.parametrize(("function", "late"), [("max", False), ("max", True), ("last_n", False)])
def test_keys_that_are_in_another_order_in_the_spine(function: str, late: bool, table: str) -> None:
    """Instants and values are numbered in the order of keys; here one side has texts, the other an enum."""
    rows = events(random.Random(1), "integer")
    sorted_otherwise = f"alter table {table} alter k type enum('c', 'a', 'b')"
    _, wanted = answers(function, "integer", rows, "range", late)
    assert answers(function, "integer", rows, "stacked", late, sorted_otherwise)[1] == wanted
