"""What is the same everywhere (docs/engines.md): hand-made cases on DuckDB and on PostgreSQL, side by side.

The server orders texts by a language where it can, so that an order by bytes is not an accident.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from support import postgres
from support.pages import DOCS, table
from support.portable import declared_for, type_of
from support.rule_sql import macro_nodes
from support.variants import broken

from pit_join.definitions.engine_types import engine_type_problem, in_duckdb
from pit_join.definitions.field_type import read_type
from pit_join.definitions.registry import Registry
from pit_join.errors import ProjectError
from pit_join.project.rendering import Renderer

pytestmark = pytest.mark.slow

Kind = str | tuple[str, str]
"""A type, or that of each engine."""

CONDITIONS: list[str] = json.loads((Path(__file__).parent / "corpus" / "declarations.json").read_text())[
    "postgres aggregation.where"
]["accepted"]
SPINE = {"n": "integer", "k": "varchar", "t": "timestamptz"}
LONG = "x" * 56


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection[Any]]:
    with postgres.running_postgres() as url, psycopg.connect(url, autocommit=True) as opened:
        yield opened


class Both:
    """One view and one spine on both engines. Values are texts that each engine casts, or a pair where they differ."""

    def __init__(self, connection: psycopg.Connection[Any], types: Mapping[str, Kind], rows: Sequence[Any]) -> None:
        self.duck = duckdb.connect(config={"threads": 1})
        self.duck.execute("set TimeZone = 'America/New_York'")
        self.post = connection
        connection.execute("set TimeZone = 'America/New_York'")
        self.types = types
        self.spine(SPINE, [("1", "a", "2026-03-15 12:00+00")])
        self._make("events", types, rows)
        self.meta: dict[str, Any] = {"entity": "e", "join_keys": ["k"]}
        self.own: dict[str, Any] = {}
        self.macros = macro_nodes()

    def spine(self, types: Mapping[str, Kind], rows: Sequence[Any]) -> None:
        self._make("spine", types, rows)

    def _make(self, name: str, types: Mapping[str, Kind], rows: Sequence[Any]) -> None:
        for number, run in enumerate((self.duck.execute, self.post.execute)):
            kinds = {each: own(kind, number) for each, kind in types.items()}
            columns = ", ".join(f'"{each}" {kind}' for each, kind in kinds.items())
            run(f"drop table if exists {'pg_temp.' if number else ''}{name}")  # type: ignore[operator]
            run(f"create temp table {name} ({columns})")  # type: ignore[operator]
            for row in rows:
                values = [value[number] if isinstance(value, tuple) else value for value in row]
                cast = (
                    "null" if value is None else f"cast('{value}' as {kind})"
                    for value, kind in zip(values, kinds.values(), strict=True)
                )
                run(f"insert into {name} values ({', '.join(cast)})")  # type: ignore[operator]

    def renderers(self) -> tuple[Renderer, Renderer]:
        """The macros for DuckDB and for PostgreSQL, on a manifest with the view `events`."""
        columns = {
            name: {
                "name": name,
                "data_type": own(kind, 0),
                "config": {"meta": {"pit_join": self.own[name]}} if name in self.own else {},
            }
            for name, kind in self.types.items()
        }
        event_time = None if self.meta.get("static") else "e"
        node = {
            "resource_type": "model", "package_name": "shop", "name": "events", "relation_name": "events",
            "original_file_path": "models/events.sql", "columns": columns,
            "config": {"materialized": "table", "event_time": event_time, "meta": {"pit_join": self.meta}},
        }  # fmt: skip
        about = {"project_name": "shop", "adapter_type": "duckdb"}
        manifest = {"metadata": about, "macros": self.macros, "nodes": {"events": node}, "exposures": {}}
        theirs = declared_for("postgres", manifest)
        for name, column in theirs["nodes"]["events"]["columns"].items():
            column["data_type"] = own(self.types[name], 1)
        return Renderer(manifest), Renderer(theirs)

    def found(self, *wanted: str, reads: str = "*", **options: Any) -> list[list[str]]:
        """The training set on each engine, its rows as comparable texts; without features all of them."""
        features = [f"events:{each}" for each in wanted or ["*"]]
        sets = [each.call("training_set", spine="spine", features=features, event_timestamp="t", **options)
                for each in self.renderers()]  # fmt: skip
        read = f"select {reads} from ({{}}) as found order by n"
        return [
            [" ".join(map(plain, row)) for row in run(read.format(query)).fetchall()]
            for run, query in zip((self.duck.execute, self.post.execute), sets, strict=True)
        ]

    def values(self, *wanted: str) -> list[str]:
        """The values of features, which are the same on both engines."""
        names = ", ".join(f'"{each}"' for each in wanted)
        ours, theirs = self.found(*wanted, reads=names)
        assert ours == theirs
        return ours

    def windows(self, *aggregations: Mapping[str, Any], **settings: Any) -> None:
        """Make the view a window view."""
        self.meta |= {
            "aggregations": [{"window": "lifetime", "name": each["function"], **each} for each in aggregations]
        }
        self.meta |= settings


def own(kind: Kind, number: int) -> str:
    """A type as DuckDB (0) or PostgreSQL (1) names it."""
    if isinstance(kind, tuple):
        return kind[number]
    return type_of(kind, "postgres") if number else kind


def plain(value: Any) -> str:
    """A value as a text that tells all others from it: -0.0, a NaN, an instant in any zone."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(timezone.utc).isoformat()
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return str(value) if isinstance(value, str) else repr(value)


def at(hour: int) -> str:
    return f"2026-03-15 {hour:02}:00+00"


def test_texts_are_ordered_by_their_bytes(connection: psycopg.Connection[Any]) -> None:
    """A language puts `a` before `B` and `é` before `f`; bytes do not."""
    words = ["b", "B", "é", "f", "_", "a"]
    types = {"k": "varchar", "e": "timestamptz", "word": "varchar"}
    both = Both(connection, types, [("a", at(9), word) for word in words])
    assert both.values("word") == ["é"]  # of rows that tie, the greatest
    both.windows(
        {"function": "min", "column": "word"},
        {"function": "max", "column": "word"},
        {"function": "count", "where": "word < 'a'"},
        {"function": "last", "column": "word"},
    )
    assert both.values("min", "max", "count", "last") == ["B é 2 é"]


def test_an_order_by_language_is_caught(connection: psycopg.Connection[Any]) -> None:
    if not postgres.server_folder().is_relative_to("/usr"):
        pytest.fail("the server of the wheel orders by bytes alone; install PostgreSQL")
    types = {"k": "varchar", "e": "timestamptz", "word": "varchar"}
    both = Both(connection, types, [("a", at(9), word) for word in ("B", "a")])
    both.macros = broken({"postgres___ordered": "{{ return(value) }}"})
    both.windows({"function": "max", "column": "word"}, {"function": "count", "where": "word < 'a'"})
    assert both.found("max", "count", reads="max, count") == [["a 1"], ["B 0"]]


def test_nulls_are_the_smallest_of_all(connection: psycopg.Connection[Any]) -> None:
    types = {"k": "varchar", "e": "timestamptz", "x": "bigint", "word": "varchar"}
    both = Both(connection, types, [("a", at(9), None, "b"), ("a", at(9), "-5", None), ("a", at(9), "-5", "a")])
    assert both.values("x", "word") == ["-5 a"]


def test_a_null_key_equals_no_key(connection: psycopg.Connection[Any]) -> None:
    both = Both(connection, {"k": "varchar", "e": "timestamptz", "x": "bigint"}, [(None, at(9), "1"), ("", at(9), "2")])
    both.spine(SPINE, [("1", None, at(12)), ("2", "", at(12)), ("3", "", None)])
    assert both.values("x") == ["None", "2", "None"]


def test_nan_equals_itself_and_is_the_greatest(connection: psycopg.Connection[Any]) -> None:
    types = {"k": "double", "e": "timestamptz", "x": "double"}
    both = Both(connection, types, [("NaN", at(9), "NaN"), ("NaN", at(9), "Infinity"), ("NaN", at(8), "NaN")])
    both.spine({**SPINE, "k": "double"}, [("1", "NaN", at(12))])
    assert both.values("x") == ["nan"]
    both.windows(
        {"function": "max", "column": "x"}, {"function": "min", "column": "x"},
        {"function": "count_distinct", "column": "x"}, {"function": "count", "where": "x > 1e300"},
    )  # fmt: skip
    assert both.values("max", "min", "count_distinct", "count") == ["nan inf 2 3"]


def test_zeros_of_both_signs_are_one(connection: psycopg.Connection[Any]) -> None:
    types = {"k": "double", "e": "timestamptz", "x": "double"}
    both = Both(connection, types, [("-0.0", at(9), "-0.0"), ("0.0", at(10), "0.0"), ("0.0", at(10), "-0.0")])
    both.spine({**SPINE, "k": "double"}, [("1", "0.0", at(12)), ("2", "-0.0", "2026-03-15 09:30+00")])
    assert both.values("x") == ["0.0", "-0.0"]
    both.windows(
        {"function": "min", "column": "x"}, {"function": "count_distinct", "column": "x"},
        {"function": "count", "where": "x = 0"}, {"function": "first", "column": "x"},
    )  # fmt: skip
    assert both.values("min", "count_distinct", "count", "first") == ["0.0 1 3 0.0", "0.0 1 1 0.0"]


def test_times_are_instants_in_utc_whatever_the_session(connection: psycopg.Connection[Any]) -> None:
    """A naive time is UTC and a date its first instant; both sessions are in New York."""
    for kind, value in (("timestamp", "2026-03-15 12:00:00"), ("date", "2026-03-15"), ("timestamptz", at(12))):
        both = Both(connection, {"k": "varchar", "e": kind, "x": "bigint"}, [("a", value, "1")])
        just = "2026-03-15 00:00" if kind == "date" else "2026-03-15 12:00"
        before = "2026-03-14 23:59:59.999999" if kind == "date" else "2026-03-15 11:59:59.999999"
        for spine_kind in ("timestamp", "timestamptz"):
            zone = "+00" if spine_kind == "timestamptz" else ""
            both.spine({**SPINE, "t": spine_kind}, [("1", "a", f"{before}{zone}"), ("2", "a", f"{just}{zone}")])
            assert both.values("x") == ["None", "1"]


def test_an_infinite_time_is_no_time(connection: psycopg.Connection[Any]) -> None:
    types = {"k": "varchar", "e": "timestamptz", "c": "timestamp", "x": "bigint"}
    rows = [
        ("a", "infinity", "2026-01-01", "1"), ("a", "-infinity", "2026-01-01", "2"), ("a", at(8), "-infinity", "3"),
        ("a", at(7), "2026-01-01", "4"), ("b", "-infinity", "2026-01-01", "5"),
    ]  # fmt: skip
    both = Both(connection, types, rows)
    both.meta["created_timestamp"] = "c"
    both.spine(SPINE, [("1", "a", at(12)), ("2", "a", "infinity"), ("3", "b", at(12))])
    ours, theirs = both.found("x", provenance=True, reads="x, events__status")
    assert ours == theirs == ["4 PRESENT", "None NULL_KEY", "None NOT_FOUND"]


def test_times_before_christ_are_times(connection: psycopg.Connection[Any]) -> None:
    types = {"k": "varchar", "e": "timestamp", "x": "bigint"}
    ides = ("0044-03-15 (BC) 12:00:00", "0044-03-15 12:00:00 BC")
    both = Both(connection, types, [("a", ides, "1"), ("a", "0001-01-01", "2")])
    both.spine({**SPINE, "t": "timestamp"}, [("1", "a", ides), ("2", "a", ("0045-01-01 (BC)", "0045-01-01 BC"))])
    assert both.values("x") == ["1", "None"]


def test_a_time_out_of_range_is_an_error(connection: psycopg.Connection[Any]) -> None:
    """DuckDB has no such time, and PostgreSQL has one that is not a bigint of microseconds."""
    types = {"k": "varchar", "e": "timestamp", "x": "bigint"}
    both = Both(connection, types, [("a", (at(9), "294276-12-31"), "1")])
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        both.found("x")
    with pytest.raises(duckdb.ConversionException):
        both.duck.execute("select timestamp '294276-12-31'")


@pytest.mark.parametrize(
    ("kind", "values", "total"),
    [
        ("bigint", [str(2**63 - 1), "-1"], 2**63 - 2),
        (
            "decimal(38,2)",
            ["999999999999999999999999999999999999.98", "0.01"],
            "999999999999999999999999999999999999.99",
        ),
        ("decimal(12,2)", ["0.10", "0.20", "-0.01"], "0.29"),
    ],
)
def test_sums_are_exact(connection: psycopg.Connection[Any], kind: str, values: list[str], total: Any) -> None:
    types = {"k": "varchar", "e": "timestamptz", "x": kind}
    both = Both(connection, types, [("a", at(9), value) for value in values])
    both.windows({"function": "sum", "column": "x"})
    ours, theirs = both.found("sum", reads="cast(sum as varchar)")
    assert ours == theirs == [str(total)]


@pytest.mark.parametrize(
    ("kind", "values"),
    [("bigint", [str(2**63 - 1), "1"]), ("decimal(38,2)", ["999999999999999999999999999999999999.99", "0.01"])],
)
def test_a_sum_that_overflows_is_an_error(connection: psycopg.Connection[Any], kind: str, values: list[str]) -> None:
    both = Both(connection, {"k": "varchar", "e": "timestamptz", "x": kind}, [("a", at(9), value) for value in values])
    both.windows({"function": "sum", "column": "x"})
    ours, theirs = (
        each.call("training_set", spine="spine", features=["events:sum"], event_timestamp="t")
        for each in both.renderers()
    )
    with pytest.raises(duckdb.Error, match=r"(?i)overflow|out of range|could not cast"):
        both.duck.execute(ours).fetchall()
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        connection.execute(theirs)


def test_averages_are_doubles(connection: psycopg.Connection[Any]) -> None:
    """Of integers and decimals they are equal to the last digit, of floats but for a rounding."""
    types = {"k": "varchar", "e": "timestamptz", "x": "bigint", "money": "decimal(12,2)", "y": "double"}
    events = [(str(2**53 + 1), "0.10", "0.1"), ("2", "0.20", "0.2"), ("2", "0.2", "0.4")]
    both = Both(connection, types, [("a", at(9), *event) for event in events])
    both.windows(*({"function": "avg", "column": each, "name": f"avg_{each}"} for each in ("x", "money", "y")))
    (values,) = both.values("avg_x", "avg_money")
    assert [float(each) for each in values.split()] == [float(2**53 + 5) / 3, 0.5 / 3]
    for (found,) in both.found("avg_y", reads="avg_y"):
        assert float(found) == pytest.approx(0.7 / 3, rel=1e-15)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("json", ('{"a": 1}', '{"a": 2}')),
        ("jsonb", ('{"a": 1}', '{"a": 2}')),
        ("xml", ("<a/>", "<b/>")),
    ],
)
def test_what_has_no_order_is_carried(connection: psycopg.Connection[Any], kind: str, texts: tuple[str, str]) -> None:
    """Rows that tie are told apart by the text of such a value, also where a window chooses the last of them."""
    types = {"k": "varchar", "e": "timestamptz", "doc": ("varchar", kind)}
    both = Both(connection, types, [("a", at(9), text) for text in texts])
    ours, theirs = both.found("doc", reads="cast(doc as varchar)")
    assert ours == theirs == [texts[1]]
    both.windows({"function": "last", "column": "doc"}, {"function": "count", "column": "doc"})
    ours, theirs = both.found("last", "count", reads="cast(last as varchar), count")
    assert ours == theirs == [f"{texts[1]} 2"]


def test_lists_of_what_has_no_order_are_carried(connection: psycopg.Connection[Any]) -> None:
    types = {"k": "varchar", "e": "timestamptz", "docs": ("json[]", "json[]")}
    both = Both(connection, types, [("a", at(9), ("[{}]", '{"{}"}')), ("a", at(9), ("[[1]]", "{[1]}"))])
    assert both.found("docs", reads="cast(docs[1] as varchar)") == [["{}"], ["{}"]]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_mean_the_same(connection: psycopg.Connection[Any], condition: str) -> None:
    """Each condition of the corpus, of events with nulls, edges and values of all kinds."""
    types = {
        "k": "varchar", "e": "timestamptz", "event_timestamp": "timestamptz", "loaded": "timestamp", "day": "date",
        "number": "bigint", "value": "double", "money": "decimal(9, 2)", "ratio": "float", "word": "varchar",
        "flag": "boolean", "vector": "float[]",
    }  # fmt: skip
    empty = dict.fromkeys(types)
    changes: list[dict[str, Any]] = [{}]
    changes += [{"flag": value} for value in ("true", "false")]
    changes += [{"number": value, "flag": "true"} for value in ("0", "1", "2", "-1", "9007199254740993")]
    changes += [{"value": value, "number": "2"} for value in ("NaN", "Infinity", "-0.0", "0.1", "2500")]
    changes += [{"money": value} for value in ("10.05", "10.06")] + [{"ratio": value} for value in ("0.1", "0.2")]
    changes += [{"word": value} for value in ("a", "B", "", "it''s", "b", "é")] + [{"vector": ("[1]", "{1}")}]
    changes += [{"day": value} for value in ("2026-01-01", "2025-12-31", "infinity")]
    changes += [{"loaded": value} for value in ("2026-01-01 12:30", "2026-01-01 12:29:59.999999", "2024-02-29")]
    changes += [
        {"event_timestamp": value}
        for value in (
            "2025-12-31 22:00:00.123456+00",
            "2025-12-31 22:00:00.123455+00",
            "2026-01-01 00:00+00",
            "infinity",
        )
    ]
    rows = [[value for _, value in ({**empty, "k": "a", "e": at(9)} | change).items()] for change in changes]
    both = Both(connection, types, rows)
    both.duck.execute("set TimeZone = 'UTC'")  # in which DuckDB reads a time without a zone, as the command line does
    both.windows({"function": "count", "where": condition})
    (found,) = both.values("count")
    assert int(found) < len(rows) or condition == "true"


def divided(connection: psycopg.Connection[Any]) -> Both:
    types = {"k": "varchar", "e": "timestamptz", "x": "bigint"}
    both = Both(connection, types, [("a", at(9), "7"), ("a", at(9), "8")])
    both.windows({"function": "count", "where": "x / 2 > 3"})
    return both


def test_integer_division_is_refused_in_a_condition(connection: psycopg.Connection[Any]) -> None:
    ours, theirs = divided(connection).renderers()
    assert "x / 2 > 3" in ours.call("training_set", spine="spine", features=["events:count"], event_timestamp="t")
    with pytest.raises(ProjectError, match=r"where: 'x / 2 > 3' cannot be read at '/'.* as a column of the model"):
        theirs.call("training_set", spine="spine", features=["events:count"], event_timestamp="t")


def test_integer_division_in_a_condition_is_caught(connection: psycopg.Connection[Any]) -> None:
    """The macros with conditions as they are written: half of seven is more than three on one engine alone."""
    both = divided(connection)
    both.macros = broken({"default___condition": "{{ return(text) }}", "_portable_condition": "{{ return({}) }}"})
    assert both.found("count", reads="count") == [["2"], ["1"]]


ON_DEMAND = {
    "on_demand": "half",
    "types": {"amount": "bigint"},
    "returns": "real",
    "arguments": {"amount": "events:x"},
}
HALF = {
    "macro.shop.half": {
        "package_name": "shop", "name": "half", "macro_sql": "{% macro half(amount) %}{{ amount }} / 2{% endmacro %}"
    }
}  # fmt: skip


def test_a_model_on_another_engine_has_no_on_demand_features(connection: psycopg.Connection[Any]) -> None:
    both = Both(connection, {"k": "varchar", "e": "timestamptz", "x": "bigint"}, [("a", at(9), "7")])
    asked = {"spine": "spine", "features": ["events:x", ON_DEMAND], "event_timestamp": "t"}
    both.macros = {**macro_nodes(), **HALF}
    ours, theirs = both.renderers()
    (row,) = both.duck.execute(ours.call("training_set", **asked)).fetchall()
    assert row[-2:] == (7, 3.5)
    with pytest.raises(
        ProjectError, match=r"the on-demand feature 'half' .* pit-join build-training-set.* as a column"
    ):
        theirs.call("training_set", **asked)
    # Without the refusal, the server divides integers.
    text = "'on_demand' in item and adapter.type() != 'duckdb'"
    both.macros = {**broken({"default__training_set": [(text, "false")]}), **HALF}
    (row,) = connection.execute(both.renderers()[1].call("training_set", **asked)).fetchall()
    assert row[-2:] == (7, 3.0)


def test_the_sql_of_on_demand_features_is_that_of_duckdb(connection: psycopg.Connection[Any]) -> None:
    """DuckDB runs it on the rows of any warehouse, so names and defaults are as DuckDB writes them."""
    both = Both(connection, {"k": "varchar", "e": "timestamptz", "x": "bigint"}, [("a", at(9), "7")])
    both.macros = {**macro_nodes(), **HALF}
    asked = {**ON_DEMAND, "returns": "double[]", "default": [1.5]}
    found = [
        each.call("_on_demand_statement", features=["events:x", asked], relation="a", options={})
        for each in both.renderers()
    ]
    assert found[0] == found[1]
    assert "cast('[1.5]' as double[])" in found[0]


@pytest.mark.parametrize(
    ("kind", "default", "value"),
    [
        ("bigint", 5.0, "5"),
        ("double", 0.1, "0.1"),
        ("decimal(9,2)", 1.005, "Decimal('1.01')"),
        ("varchar", "it's \\", "it's \\"),
        ("boolean", True, "True"),
        ("date", "2026-01-31", "2026-01-31"),
        ("timestamp", "2026-01-31 12:30", "2026-01-31T12:30:00"),
        ("timestamptz", "2026-01-31T12:30:00.5+02:00", "2026-01-31T10:30:00.500000+00:00"),
        ("timestamptz", "2026-01-31 10:30Z", "2026-01-31T10:30:00+00:00"),
        ("bigint[]", [1, 5.0, -2], "[1, 5, -2]"),
        ("double[]", [], "[]"),
        ("varchar[]", ["a", "it's"], "['a', \"it's\"]"),
    ],
)
def test_defaults_are_the_same_value(connection: psycopg.Connection[Any], kind: str, default: Any, value: str) -> None:
    both = Both(connection, {"k": "varchar", "e": "timestamptz", "x": kind}, [("b", at(9), None)])
    both.own["x"] = {"default": default}
    assert both.values("x") == [value]


def test_names_are_those_of_the_yaml(connection: psycopg.Connection[Any]) -> None:
    types = {"k": "varchar", "e": "timestamptz", "Amount": "bigint", 'a "b"': "bigint", "order": "bigint"}
    both = Both(connection, {name.replace('"', '""'): kind for name, kind in types.items()}, [("a", at(9), *"123")])
    both.types = types
    ours, theirs = both.found(reads='"Amount", "a ""b""", "order"')
    assert ours == theirs == ["1 2 3"]


@pytest.mark.parametrize(
    ("features", "options", "name"),
    [
        ([{"view": "events", "as": f"{LONG}12345678", "features": ["x"]}], {}, f"{LONG}12345678"),
        ([{"view": "events", "as": f"{LONG}12345", "features": ["x"]}], {}, f"{LONG}12345__x"),
        (
            [{"view": "events", "as": LONG[:47], "features": ["x"]}],
            {"provenance": True},
            f"{LONG[:47]}__event_timestamp",
        ),
        (["events:x"], {"full_feature_names": True}, None),
    ],
)
def test_a_name_that_would_be_cut_is_refused(
    connection: psycopg.Connection[Any], features: list[Any], options: dict[str, Any], name: str | None
) -> None:
    """Two roles of 64 bytes would have had one name."""
    both = Both(connection, {"k": "varchar", "e": "timestamptz", "x": "bigint"}, [("a", at(9), "7")])
    asked = {"spine": "spine", "features": features, "event_timestamp": "t", **options}
    ours, theirs = both.renderers()
    assert both.duck.execute(ours.call("training_set", **asked)).fetchall()
    if name is None:
        assert connection.execute(theirs.call("training_set", **asked)).fetchall()
        return
    with pytest.raises(ProjectError, match=rf"the name '{name}' has {len(name)} bytes, and PostgreSQL keeps 63"):
        theirs.call("training_set", **asked)


def test_duckdb_computes_defaults_in_its_own_types() -> None:
    """The command line lets DuckDB compute defaults for the store: of 64 bits, where PostgreSQL calls these `float`."""
    kinds = {"k": "character varying(9)", "e": "timestamp(3) with time zone", "x": "float", "y": "int2[]", "z": "jsonb"}
    defaults = {"x": 0.1, "y": [1, 2]}
    columns = {
        name: {"name": name, "data_type": kind, "config": {"meta": {"pit_join": {"default": defaults[name]}}}}
        if name in defaults else {"name": name, "data_type": kind, "config": {}}
        for name, kind in kinds.items()
    }  # fmt: skip
    node = {
        "resource_type": "model", "package_name": "shop", "name": "events", "relation_name": "events",
        "original_file_path": "models/events.sql", "columns": columns,
        "config": {"event_time": "e", "meta": {"pit_join": {"entity": "e", "join_keys": ["k"]}}},
    }  # fmt: skip
    about = {"project_name": "shop", "adapter_type": "postgres"}
    manifest = {"metadata": about, "macros": macro_nodes(), "nodes": {"events": node}, "exposures": {}}
    registry, problems = Registry.read(manifest)
    types = {each.name: each.data_type.sql for each in registry.views["events"].features}
    assert (problems, types) == ([], {"x": "DOUBLE", "y": "SMALLINT[]", "z": "JSON"})
    statement = Renderer(in_duckdb(manifest)).call("_defaults_statement", view="events", which="default", types=types)
    assert duckdb.connect().execute(statement).fetchall() == [(0.1, [1, 2], None)]


def test_names_of_types_on_all_three_mean_the_same() -> None:
    """Those of the page: each engine reads one type, and Spark's SQL has Spark's own name of it."""
    about = {"project_name": "shop", "adapter_type": "spark"}
    on_spark = Renderer({"metadata": about, "macros": macro_nodes(), "nodes": {}, "exposures": {}})
    shared = 0
    for _, _, spark, everywhere in table(DOCS / "engines.md", "type"):
        own = re.findall("`(.*?)`", spark)
        for name in re.findall("`(.*?)`", everywhere):
            shared += 1
            kinds = {read_type(name.replace("(n)", "(9)"), engine).name for engine in ("duckdb", "postgres", "spark")}
            assert len(kinds) == 1, name
            assert engine_type_problem(name.replace("(n)", "(9)"), "spark") is None, name
            assert on_spark.call("_type_name", data_type=name) in own, name
    assert shared == 22


def test_the_page_names_tests_that_exist() -> None:
    root = Path(__file__).parents[2]
    named = set(re.findall(r"`(test_\w+)`", (root / "docs" / "engines.md").read_text()))
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    assert len(named) > 15
    assert [name for name in sorted(named) if not any(f"def {name}(" in text for text in texts)] == []
