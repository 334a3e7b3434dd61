"""Broken copies of the SQL of window views: the comparison with the oracle must catch each of them.

A variant replaces text of a macro; a text that is no longer there fails the test, so that none goes stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import duckdb
import pytest
from generate import comparable, fetch, load
from generate_windows import WindowCase, added_up, expected_records, for_each, result_columns, window_cases
from oracle import EPOCH
from test_broken_variants import broken
from test_window_history import INSTANT, in_order
from test_windows_against_oracle import (
    PLANS,
    as_text,
    columns_of,
    renderer_of,
    three_magnitudes,
    training_set_of,
    unlike,
)
from window_oracle import history

POOL = 300

WINDOW, EVENTS = "default__window_features", "_window_events"
RANGE, RUNNING = "_range_windows", "_running_sums"
LEFT = "{{ ' - 1' if closed == 'left' }}"
DELETED = "coalesce({{ quote(deleted) }}, false)"

# Replacements as {macro: [(text, other text)]}; a name that begins with a plan is about that plan alone.
VARIANTS: dict[str, dict[str, list[tuple[str, str]]]] = {
    "event at T counted": {
        WINDOW: [
            (f"_pit_time{LEFT} as _pit_at", "_pit_time as _pit_at"),
            (f"{LEFT} = asked._pit_at", " = asked._pit_at"),
        ]
    },
    "right taken as left": {
        WINDOW: [
            (f"_pit_time{LEFT} as _pit_at", "_pit_time - 1 as _pit_at"),
            (f"{LEFT} = asked._pit_at", " - 1 = asked._pit_at"),
        ]
    },
    "range: edge closed for open": {
        RANGE: [("asked._pit_at < events._pit_event", "asked._pit_at <= events._pit_event")]
    },
    "range: edge open for closed": {
        RANGE: [("asked._pit_at >= events._pit_known", "asked._pit_at > events._pit_known")]
    },
    "stacked: edge closed for open": {RUNNING: [("'_pit_at - ' ~ window", "'_pit_at - 1 - ' ~ window")]},
    "stacked: edge open for closed": {RUNNING: [("points._pit_at >= running", "points._pit_at > running")]},
    "late event seen early": {"_available_at": [("if created_timestamp else known", "if false else known")]},
    "correction counted twice": {EVENTS: [("then lead(_pit_created)", "then null::bigint + lead(_pit_created)")]},
    "superseded within a key only": {
        EVENTS: [
            (
                "partition by {% for column in event_key %}",
                "partition by {% for key in keys %}{{ quote(key) }}, {% endfor %}{% for column in event_key %}",
            )
        ]
    },
    "nulls in the event key are equal": {EVENTS: [("{{ quote(column) }} is not null{{ ' and '", "true{{ ' and '")]},
    "deleted event counted": {EVENTS: [(f"and not {DELETED}", "")]},
    "deleted version supersedes nothing": {
        EVENTS: [
            (
                "where _pit_event is not null",
                f"where {{% if deleted %}}not {DELETED} and {{% endif %}}_pit_event is not null",
            )
        ]
    },
    "versions by event time": {
        EVENTS: [("_pit_created,\n                    _pit_event\n", "_pit_event,\n                    _pit_created\n")]
    },
    "where ignored": {EVENTS: [("if item.where else value", "if false else value")]},
    "lag shortens the window": {
        RANGE: [("(lag + item.window)", "item.window"), ("{{ lag + longest }}", "{{ longest }}")],
        "_window_end": [("(lag + (window or 0))", "(window or 0)")],
    },
    "stacked: running totals poisoned by NaN": {
        RUNNING: [
            (
                "- max({{ name }}) filter (where _pit_slot = {{ loop.index }})",
                "- {{ '0 * ' if name.endswith('_odd') }}max({{ name }}) filter (where _pit_slot = {{ loop.index }})",
            )
        ]
    },
    "stacked: far smaller values swallowed": {"_residues": [("and {{ input }} <> 0", "and false")]},
    "stacked: counts and sums overlap": {"_summed": [("' >> 34)'", "' >> 33)'")]},
    "gap ignored": {"default__spine_rows": [("{%- if gap_microseconds -%}", "{%- if false -%}")]},
    "an empty window counts null": {
        WINDOW: [("if item.function in ('count', 'count_distinct') else", "if item.function == 'count_distinct' else")]
    },
    "a count of 0 is a null": {
        WINDOW: [("and {{ item.alias }} is null", "and coalesce({{ item.alias }}::varchar, '0') = '0'")]
    },
}

ADDED = "_added_history"
HISTORY_VARIANTS: dict[str, dict[str, list[tuple[str, str]]]] = {
    "expiry is no change": {ADDED: [("where _pit_end_{{ gone }} is not null", "where false")]},
    "expiry a microsecond late": {
        ADDED: [("pit_join._placed('_pit_end_' ~ gone", "pit_join._placed('1 + _pit_end_' ~ gone")]
    },
    "what comes late is in windows that are over": {
        ADDED: [("case when _pit_known < {{ leaves }} then {{ leaves }} end", "{{ leaves }}")]
    },
    "what is not in a window is added to it": {
        ADDED: [("case when _pit_end_{{ slot }} is not null then {{ name }} end", "{{ name }}")]
    },
    "a key without events any more is new": {ADDED: [("where _pit_known <= {{ before }}", "where false")]},
    "windows begin with the batch": {
        ADDED: [
            (
                "do conditions.append('greatest(",
                "do conditions.append('measured._pit_known > ' ~ before ~ ' and greatest(",
            )
        ]
    },
    "what comes too late for a window does not come": {ADDED: [("'greatest(measured._pit_known, '", "'('")]},
    "a change of its own for each event": {ADDED: [("where not _pit_goes_on", "")]},
    "the grid sees changes before they are": {
        "_on_grid": [("' + (' ~ step ~ ' - ' ~ at ~ ' % ' ~ step ~ ') % ' ~ step", "' - ' ~ at ~ ' % ' ~ step")]
    },
    "equal rows repeated": {"default__window_history": [("is distinct from lag(", "is not null or null = lag(")]},
}


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        yield opened


@pytest.fixture(scope="module")
def pool() -> list[WindowCase]:
    """The same cases for every variant."""
    collected = [three_magnitudes()]

    def collect(case: WindowCase) -> None:
        collected.append(case)

    for_each(collect, POOL, first=0, case=window_cases(plain_views=False))
    return collected


def first_caught(pool: list[WindowCase], connection: Any, macros: dict[str, Any], plan: str) -> int | None:
    """The number of the first case in which the variant differs from the oracle."""
    for number, case in enumerate(pool):
        load(connection, case)
        query = training_set_of(case, renderer_of(case, macros), plan)
        if unlike(fetch(connection, query, result_columns(case, True)), expected_records(case, True, True)):
            return number
    return None


@pytest.mark.parametrize("plan", PLANS)
def test_unbroken_copy_is_not_caught(plan: str, pool: list[WindowCase], connection: duckdb.DuckDBPyConnection) -> None:
    assert first_caught(pool, connection, broken({}), plan) is None


@pytest.mark.parametrize(
    ("name", "plan"),
    [(name, plan) for name in VARIANTS for plan in PLANS if name.split(":")[0] not in set(PLANS) - {plan}],
)
def test_broken_variant_is_caught(
    name: str, plan: str, pool: list[WindowCase], connection: duckdb.DuckDBPyConnection
) -> None:
    assert first_caught(pool, connection, broken(VARIANTS[name]), plan) is not None


def history_differs(case: WindowCase, connection: Any, macros: dict[str, Any]) -> bool:
    """Whether counts and sums of a history, whole or a part of it, are not those of the oracle."""
    renderer = renderer_of(case, macros)
    load(connection, case)
    for view in case.window_views:
        names = [each.name for each in view.aggregations if each.function != "avg"]
        columns = [c for c in columns_of(case, view, INSTANT) if c.name not in set(view.features) - set(names)]
        for text, grid in ((None, None), ("1 hour", timedelta(hours=1))):
            rows = history(view, case.histories[view.name].rows, grid)
            wanted = [
                {key: comparable(value) for key, value in zip(view.keys, keys, strict=True)}
                | {INSTANT.name: comparable(EPOCH + timedelta(microseconds=at))}
                | {name: comparable(values[name]) for name in names}
                for keys, at, values in rows
            ]
            middle = sorted(at for _, at, _ in rows)[len(rows) // 2] if rows else 0
            bounds = [{}, {"start": as_text(middle), "end": as_text(middle + 7_200_000_000)}]
            for bound in bounds:
                found = fetch(connection, renderer.call("window_history", view=view.name, grid=text, **bound), columns)
                inside = [
                    record
                    for record, (_, at, _) in zip(wanted, rows, strict=True)
                    if not bound or middle <= at < middle + 7_200_000_000
                ]
                if in_order(view, found) != in_order(view, inside):
                    return True
    return False


def test_unbroken_history_is_not_caught(pool: list[WindowCase], connection: duckdb.DuckDBPyConnection) -> None:
    assert not any(history_differs(added_up(case), connection, broken({})) for case in pool[:60])


@pytest.mark.parametrize("name", HISTORY_VARIANTS)
def test_broken_history_is_caught(name: str, pool: list[WindowCase], connection: duckdb.DuckDBPyConnection) -> None:
    macros = broken(HISTORY_VARIANTS[name])
    assert any(history_differs(added_up(case), connection, macros) for case in pool)
