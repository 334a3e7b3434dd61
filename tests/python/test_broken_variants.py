"""Broken copies of the SQL: the comparison with the oracle must catch each of them.

A variant replaces text of a macro; a text that is no longer there fails the test, so that none goes stale.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest
from generate import Case, Column, Table, cases, expected_records, fetch, load, result_columns
from hypothesis import HealthCheck, Phase, given, settings
from oracle import Request, View
from test_against_oracle import macro_nodes, renderer_of, whole

POOL = 600

# Replacements as {macro: [(text, other text)]}.
JOIN = "duckdb__point_in_time_join"
PORTABLE = "default__point_in_time_join"
VARIANTS: dict[str, dict[str, list[tuple[str, str]]]] = {
    "strict where inclusive": {JOIN: [("{{ '>=' if inclusive else '>' }}", ">")]},
    "inclusive where strict": {JOIN: [("{{ '>=' if inclusive else '>' }}", ">=")]},
    "portable: strict where inclusive": {
        PORTABLE: [("{{ 0 if inclusive else 1 }}", "1"), ("{{ 1 if inclusive else 0 }}", "0")]
    },
    "value as old as the ttl is null": {"_judged": [("_pit_event > {{ ttl }}", "_pit_event >= {{ ttl }}")]},
    "ttl ignored": {"_judged": [("{%- if ttl %}", "{%- if false %}")]},
    "ttl in days of the calendar": {
        "_judged": [
            (
                "matched._pit_time - matched._pit_event > {{ ttl }}",
                "epoch_us(timezone('America/New_York', make_timestamptz(matched._pit_time)))"
                " - epoch_us(timezone('America/New_York', make_timestamptz(matched._pit_event))) > {{ ttl }}",
            )
        ]
    },
    "created time ignored": {"_available_at": [("if created_timestamp else known", "if false else known")]},
    "null created time seen": {
        JOIN: [("in version %}{{ column }} is not null", "in version[:1] %}{{ column }} is not null")]
    },
    "lag ignored": {"_available_at": [("' ~ lag if lag else", "' ~ lag if false else")]},
    "gap ignored": {"default__spine_rows": [("{%- if gap_microseconds -%}", "{%- if false -%}")]},
    "ties fanned out": {JOIN: [(") = 1\n),\n\nmatched", ") >= 1\n),\n\nmatched")]},
    "portable: ties fanned out": {PORTABLE: [("row_number() over (", "rank() over (")]},
    "ties left to chance": {JOIN: [("{%- set quote =", "{%- set ties = false -%}\n{%- set quote =")]},
    "ties by other content": {
        JOIN: [("desc nulls last,\n            {%- endfor %}", "asc nulls first,\n            {%- endfor %}")]
    },
    "ties mixed": {
        "_view": [
            (
                "'relation': relation.render(),",
                "'relation': '(select * replace (' ~ pit_join._each(columns, 'max(', ') over (partition by ' ~ "
                "pit_join._each(keys, '', '') ~ ', ' ~ pit_join._identifier(event_timestamp) ~ ')') ~ "
                "') from ' ~ relation.render() ~ ')',",
            ),
            ("node.config.materialized not in", "false and node.config.materialized not in"),
        ]
    },
    "nulls carried forward": {
        "_view": [
            (
                "'relation': relation.render(),",
                "'relation': '(select * replace (' ~ pit_join._each(columns, 'last_value(', ' ignore nulls) over "
                "(partition by ' ~ pit_join._each(keys, '', '') ~ ' order by ' ~ "
                "pit_join._identifier(event_timestamp) ~ ')') ~ ') from ' ~ relation.render() ~ ')',",
            ),
            ("node.config.materialized not in", "false and node.config.materialized not in"),
        ]
    },
    "order lost": {"_training_set": [("order by _pit_spine._pit_row", "order by hash(_pit_spine._pit_row)")]},
    "naive time taken as local": {
        "duckdb___instant": [
            ("return('epoch_us(' ~ column ~ ')')", "return('epoch_us(cast(' ~ column ~ ' as timestamptz))')")
        ]
    },
    "null key matched": {
        JOIN: [
            (
                "spine.{{ quote(spine_column) }} = known._pit_key_{{ loop.index }} and",
                "coalesce(spine.{{ quote(spine_column) }}::varchar, 'null') = "
                "coalesce(known._pit_key_{{ loop.index }}::varchar, 'null') and",
            )
        ],
        "_judged": [("{% for key in key_names %} or matched.{{ key }} is null{% endfor %} then", " then")],
    },
    "portable: null key matched": {
        PORTABLE: [("        and {{ quote(spine_column) }} is not null\n", "")],
        "_judged": [("{% for key in key_names %} or matched.{{ key }} is null{% endfor %} then", " then")],
    },
    "deleted row seen": {"_judged": [("when matched._pit_deleted then 'NOT_FOUND'", "")]},
    "row before the deleted one seen": {
        JOIN: [
            (
                "    where {% for column in version %}",
                "    where {{ 'not _pit_deleted and ' if deleted }}{% for column in version %}",
            )
        ]
    },
    "late row not held back": {JOIN: [("{%- set quote =", "{%- set late = false -%}\n{%- set quote =")]},
    "history finer than a microsecond rounded down": {JOIN: [("round_up=true", "round_up=false")]},
    "spine finer than a microsecond rounded up": {"duckdb___instant": [("if round_up else", "if true else")]},
    "default only where a row was found": {
        "_gathered": [
            (
                "'coalesce(' ~ value ~ ', ' ~ feature.default ~ ')'",
                "'case when chosen._pit_row_id is not null then coalesce(' ~ value ~ ', ' ~ feature.default ~ ') end'",
            )
        ]
    },
    "status of an unknown key": {"_judged": [("else 'NOT_FOUND'", "else 'NOT_YET_KNOWN'")]},
}

# A helper of the variants above: each column of a list between two texts, named like itself where it is a feature.
EACH = (
    "{% macro _each(names, before, after) -%}{%- set all = [] -%}{%- for name in names -%}"
    "{%- set quoted = pit_join._identifier(name) -%}"
    "{%- do all.append(before ~ quoted ~ after ~ (' as ' ~ quoted if before else '')) -%}"
    "{%- endfor -%}{{ return(all | join(', ')) }}{%- endmacro %}"
)

# Only across a change of the clocks do days of the calendar differ from elapsed days.
CLOCK_CHANGE = Case(
    spine=Table(
        "spine",
        (Column("k", "varchar"), Column("t", "timestamp")),
        ({"k": "a", "t": datetime(2013, 3, 11, 3, 30)}, {"k": "a", "t": datetime(2013, 3, 11, 4, 30)}),
    ),
    event_timestamp="t",
    requests=(Request(View("v", ("k",), "e", ("f",), ttl=timedelta(days=1)), ("f",), join_keys={"k": "k"}),),
    histories={
        "v": Table(
            "v",
            (Column("k", "varchar"), Column("e", "timestamp"), Column("f", "bigint")),
            ({"k": "a", "e": datetime(2013, 3, 10, 4, 0), "f": 1},),
        )
    },
    gap=timedelta(0),
    full_feature_names=False,
)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as opened:
        yield opened


@pytest.fixture(scope="module")
def pool() -> list[Case]:
    """The same cases for every variant."""
    collected = [CLOCK_CHANGE]

    @settings(
        max_examples=POOL, deadline=None, database=None, derandomize=True, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases())
    def collect(case: Case) -> None:
        collected.append(case)

    collect()
    return collected


def broken(replacements: dict[str, list[tuple[str, str]]]) -> dict[str, Any]:
    """The macros with these texts replaced."""
    nodes = copy.deepcopy(macro_nodes())
    nodes["macro.pit_join._each"] = {"package_name": "pit_join", "name": "_each", "macro_sql": EACH}
    for macro, pairs in replacements.items():
        node = nodes[f"macro.pit_join.{macro}"]
        for text, other in pairs:
            assert text in node["macro_sql"], f"the variant is stale: {macro} no longer holds {text!r}"
            node["macro_sql"] = node["macro_sql"].replace(text, other)
    return nodes


def first_caught(pool: list[Case], connection: Any, macros: dict[str, Any], join: str | None) -> int | None:
    """The number of the first case in which the variant differs from the oracle."""
    for number, case in enumerate(pool):
        load(connection, case)
        query = whole(case, renderer_of(case, macros=macros), True, True, join)
        if fetch(connection, query, result_columns(case, True)) != expected_records(case, True, True):
            return number
    return None


@pytest.mark.parametrize("name", VARIANTS)
def test_broken_variant_is_caught(name: str, pool: list[Case], connection: duckdb.DuckDBPyConnection) -> None:
    join = PORTABLE if name.startswith("portable: ") else None
    assert first_caught(pool, connection, broken(VARIANTS[name]), join) is not None


def test_unbroken_copy_is_not_caught(pool: list[Case], connection: duckdb.DuckDBPyConnection) -> None:
    assert first_caught(pool[:100], connection, broken({}), None) is None
