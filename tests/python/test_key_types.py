"""Every type of key: alone and beside each other type against the oracle, and from history to every way of asking."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import combinations_with_replacement
from typing import Any

import duckdb
import pytest
from oracle import Request, View, training_set
from support.rule_sql import macro_nodes
from support.runs import first_seed, sampled
from window_oracle import Aggregation, WindowView, current_versions
from window_oracle import look_up as look_up_window

from pit_join.definitions.registry import Registry
from pit_join.errors import ProjectError
from pit_join.project.rendering import Renderer

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
# More than 64 rows, from which on DuckDB may join by sorting.
SPINE_ROWS, HISTORY_ROWS = 200, 120


@dataclass(frozen=True)
class KeyType:
    """A type of keys, with some of its values as SQL, each different from the others; neighbours are hard to tell."""

    name: str
    values: tuple[str, ...]

    @property
    def cast(self) -> tuple[str, ...]:
        """The values as SQL of the type."""
        return tuple(f"cast({value} as {self.name})" for value in self.values)


TYPES = [
    KeyType("boolean", ("true", "false")),
    KeyType("tinyint", ("-128", "0", "127")),
    KeyType("integer", ("-2147483648", "0", "2147483647")),
    KeyType("bigint", ("9007199254740992", "9007199254740993", "-9223372036854775808")),
    KeyType("ubigint", ("18446744073709551615", "18446744073709551614", "0")),
    KeyType("hugeint", ("9223372036854775808", "9223372036854775807", "-1")),
    KeyType("decimal(9, 2)", ("0.01", "-0.01", "1234567.89")),
    KeyType("decimal(38, 10)", ("0.0000000001", "1234567890123456789012345678.0000000001", "-1")),
    KeyType("float", ("0.1", "0.2", "-1")),
    KeyType("double", ("0.1", "0.30000000000000004", "'-inf'")),
    KeyType("varchar", ("''", "'a'", "'A'", "'é'", "'007'", "'7'", "chr(0)", "'a' || chr(0)")),
    KeyType("enum('b', 'a')", ("'a'", "'b'")),
    KeyType("blob", ("''", "'\\x00'", "'\\x00\\xFF'", "'a'", "'\\x01'")),
    KeyType("uuid", ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'")),
    KeyType("date", ("'2026-03-01'", "'1969-12-31'", "'9999-12-31'")),
    KeyType("timestamp", ("'2026-03-01 00:00:00.000001'", "'2026-03-01'", "'1969-12-31 23:59:59.999999'")),
    KeyType("timestamp_s", ("'2026-03-01 00:00:01'", "'1969-12-31 23:59:59'")),
    KeyType("timestamp_ms", ("'2026-03-01 00:00:00.001'", "'2026-03-01'")),
    KeyType("timestamp_ns", ("'2026-03-01 00:00:00.000000001'", "'2026-03-01'")),
    KeyType("timestamptz", ("'2026-03-01 00:00:00+02'", "'2026-03-01 00:00:00+01'")),
]
PAIRS = [(one,) for one in TYPES] + list(combinations_with_replacement(TYPES, 2))


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as opened:
        opened.execute("set TimeZone = 'UTC'")
        yield opened


def name_of(types: Sequence[KeyType]) -> str:
    return " and ".join(each.name for each in types)


def manifest(types: Sequence[KeyType]) -> dict[str, Any]:
    """A plain view and a window view, whose keys are of these types."""
    keys = [f"k{number}" for number in range(len(types))]
    declared = {
        **{key: kind.name for key, kind in zip(keys, types, strict=True)},
        "moment": "timestamptz",
        "x": "bigint",
    }
    nodes = {}
    for name, more in {
        "plain": {},
        "windowed": {"aggregations": [{"name": "total", "function": "sum", "column": "x", "window": "1 day"}]},
    }.items():
        nodes[name] = {
            "resource_type": "model",
            "package_name": "pit_join",
            "name": name,
            "relation_name": "memory.main.history",
            "original_file_path": "generated",
            "columns": {column: {"name": column, "data_type": kind, "config": {}} for column, kind in declared.items()},
            "config": {
                "materialized": "table",
                "event_time": "moment",
                "meta": {"pit_join": {"entity": name, "join_keys": keys, **more}},
            },
        }
    about = {"project_name": "pit_join", "adapter_type": "duckdb"}
    return {"metadata": about, "macros": macro_nodes(), "nodes": nodes, "exposures": {}}


def make_table(connection: Any, name: str, types: Sequence[KeyType], rows: Sequence[dict[str, Any]]) -> None:
    """Make a table of rows whose keys are numbers of the types' values, or null."""
    cells = [
        ", ".join(
            [
                *("null" if row[f"k{n}"] is None else kind.cast[row[f"k{n}"]] for n, kind in enumerate(types)),
                f"timestamptz '{row['moment'].isoformat()}'",
                str(row["x"]),
            ]
        )
        for row in rows
    ]
    columns = ", ".join([*(f"k{n}" for n in range(len(types))), "moment", "x"])
    typed = ", ".join([*(f"cast(k{n} as {kind.name}) as k{n}" for n, kind in enumerate(types)), "moment", "x"])
    values = ", ".join(f"({row})" for row in cells)
    connection.execute(f"create or replace table {name} as select {typed} from (values {values}) as t({columns})")


def drawn(types: Sequence[KeyType]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A history without ties, and a spine."""
    random_ = random.Random(f"{first_seed()} {name_of(types)}")

    def keys(null_one_in: int) -> dict[str, Any]:
        return {
            f"k{n}": random_.choice(range(len(kind.values))) if random_.randrange(null_one_in) else None
            for n, kind in enumerate(types)
        }

    instants = [NOON + timedelta(hours=hour) for hour in range(HISTORY_ROWS)]
    history = [{**keys(20), "moment": at, "x": number} for number, at in enumerate(instants)]
    spine = [{**keys(10), "moment": random_.choice(instants), "x": -number} for number in range(SPINE_ROWS)]
    return history, spine


@pytest.mark.parametrize("types", sampled(PAIRS, 10), ids=name_of)
def test_keys_of_each_type_beside_each_other(connection: Any, types: tuple[KeyType, ...]) -> None:
    read = manifest(types)
    Registry.from_manifest(read)
    renderer = Renderer(read)
    history, spine = drawn(types)
    make_table(connection, "history", types, history)
    make_table(connection, "spine", types, spine)
    keys = tuple(f"k{number}" for number in range(len(types)))
    plain = View("plain", keys, "moment", ("x",))
    windowed = WindowView("windowed", keys, "moment", (*keys, "moment", "x"), (Aggregation("total", "sum", "x", DAY),))
    answers = training_set(spine, [Request(plain, ("x",))], {"plain": history}, "moment")
    versions = current_versions(windowed, history)
    wanted = []
    for row, answer in zip(spine, answers, strict=True):
        total = look_up_window(Request(windowed, ("total",)), row, versions, "moment", timedelta(0))
        found = answer.answers["plain"]
        wanted.append((row["x"], found.values["x"], found.status.value, total.values["total"], total.status.value))
    assert sum(one[2] == "PRESENT" for one in wanted) > SPINE_ROWS // 8, "the case is not an empty one"
    for plan in ("range", "stacked"):
        query = renderer.call(
            "_training_set",
            spine="spine",
            features=["plain:x", "windowed:total"],
            asked={
                "event_timestamp": "moment", "gap": None, "full_feature_names": True, "provenance": True,
                "defaults": False, "plans": {"join": None, "windows": plan},
            },
        )  # fmt: skip
        columns = "x, plain__x, plain__status, windowed__total, windowed__status"
        assert connection.execute(f"select {columns} from ({query})").fetchall() == wanted


REFUSED = ("time", "timetz", "interval", "bit", "uhugeint", "integer[]", "double[2]", "struct(a integer)", "json")


@pytest.mark.parametrize("kind", [*REFUSED, "map(varchar, integer)", "union(a integer)"])
def test_other_types_are_refused_where_they_are_declared(kind: str) -> None:
    with pytest.raises(ProjectError) as raised:
        Registry.from_manifest(manifest([KeyType(kind, ())]))
    assert f"join_keys: the column 'k0' is of type {kind}, and a key is a text" in str(raised.value)
