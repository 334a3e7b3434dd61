"""What Spark answers otherwise than other engines without an error: each is caught where a macro forgets it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from generate import Case, Column, Table, comparable, expected_records, result_columns
from generate_windows import LIFETIME, Declaration, Span, WindowCase
from generate_windows import expected_records as expected_windows
from generate_windows import result_columns as window_columns
from oracle import Request, View
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from support import spark
from support.engines import by_spine
from support.rule_sql import manifest_of, whole
from support.variants import Replacements, broken
from support.window_sql import NOON, small, training_set_of, unlike
from support.window_sql import manifest_of as window_manifest_of

FAILURES = (PySparkException, Py4JJavaError)
DAY = timedelta(days=1)
DATES = [datetime(2026, 3, day) for day in range(1, 29)]
STRANGE = "it's \"C:\\new\\table\", \\' and `x`"


def case_of(
    rows: list[dict[str, Any]], labels: list[dict[str, Any]], kinds: Mapping[str, str], **settings: Any
) -> Case:
    """A view of features `f...` by the key `k` at the time `e`, and a spine of `k` and `t`."""
    features = tuple(name for name in kinds if name not in ("k", "e", "d"))
    view = View("v", ("k",), "e", features, **settings)
    spine = (Column("k", kinds["k"]), Column("t", kinds["e"]))
    return Case(
        spine=Table("spine", spine, tuple(labels)),
        event_timestamp="t",
        requests=(Request(view, features),),
        histories={"v": Table("v", tuple(Column(*each) for each in kinds.items()), tuple(rows))},
        gap=timedelta(0),
        full_feature_names=False,
        settings={"TimeZone": "America/New_York"},
    )


def answers(session: SparkSession, case: Case, variant: Replacements | None = None) -> list[Any]:
    """The training set of a case, with the macros or a broken variant of them."""
    query = whole(case, spark.renderer(manifest_of(case, macros=broken(variant or {}))), True, True)
    return by_spine(case, spark.fetch(session, query, result_columns(case, True)))


def wanted(case: Case) -> list[Any]:
    """The same by the oracle."""
    return by_spine(case, expected_records(case, True, True))


def differences(session: SparkSession, case: WindowCase, variant: Replacements | None = None) -> list[str]:
    """Where the windows of a case are not what the oracle says."""
    query = training_set_of(case, spark.renderer(window_manifest_of(case, broken(variant or {}))), None)
    found = spark.fetch(session, query, window_columns(case, True))
    return unlike(by_spine(case, found), by_spine(case, expected_windows(case, True, True)))


def test_a_key_in_double_quotes_would_be_a_text(session: SparkSession) -> None:
    kinds = {"k": "varchar", "e": "timestamp", "f": "bigint"}
    rows = [{"k": "a", "e": DATES[0], "f": 1}]
    case = case_of(rows, [{"k": key, "t": DATES[1]} for key in ("a", "b")], kinds)
    spark.load(session, case)
    quoted = {
        "_timed": [("{{ pit_join._identifier(column) }} as _pit_key_", '"{{ column }}" as _pit_key_')],
        "_prepared": [
            ("'spine.' ~ pit_join._identifier(join_keys.get(key, key))", "'\"' ~ join_keys.get(key, key) ~ '\"'")
        ],
    }
    assert answers(session, case) == wanted(case)
    assert answers(session, case, quoted) != wanted(case)


def load_in_any_order(session: SparkSession, case: Case) -> None:
    """Make the tables of a case ones whose rows come in another order each time that they are read."""

    def in_any_order(rows: Iterator[Any]) -> Iterator[Any]:
        every = list(rows)
        random.SystemRandom().shuffle(every)
        return iter(every)

    spark.load(session, case)
    for name in (case.spine.name, *map(spark.stored_as, case.histories)):
        stored = session.table(spark.quote(name)).coalesce(1)
        mixed = session.createDataFrame(stored.rdd.mapPartitions(in_any_order), stored.schema)
        mixed.createOrReplaceTempView(spark.quote(name))


def numbered_alike(session: SparkSession, case: Case, variant: Replacements | None = None) -> int:
    """How many rows of the spine have the same number and key when they are read twice."""
    renderer = spark.renderer(manifest_of(case, macros=broken(variant or {})))
    rows = renderer.call("spine_rows", spine=spark.quote(case.spine.name), event_timestamp=case.event_timestamp)
    # Of other columns, so that Spark reads the rows twice.
    again = "(select _pit_row, k from numbered) as again"
    found = session.sql(f"with numbered as ({rows}) select * from numbered join {again} using (_pit_row, k)")
    return len(found.collect())


@pytest.mark.proves("spark", "spine_rows")
def test_rows_are_numbered_alike_however_often_they_are_read(session: SparkSession) -> None:
    kinds = {"k": "integer", "e": "timestamp", "f": "bigint"}
    rows = [{"k": key, "e": date, "f": 100 * key + date.day} for key in range(3) for date in DATES]
    # Equal rows of the spine, too.
    case = case_of(rows, [{"k": row["k"], "t": row["e"] + DAY} for row in rows for _ in range(2)], kinds)
    case = replace(case, requests=(*case.requests, replace(case.requests[0], alias="again")))
    load_in_any_order(session, case)
    number = "row_number() over (partition by xxhash64({{ whole }}) order by {{ whole }})"
    by_chance = {
        "spark__spine_rows": [(f"struct(xxhash64({{{{ whole }}}}), {number})", "row_number() over (order by 0)")]
    }
    assert numbered_alike(session, case) == len(case.spine.rows)
    assert numbered_alike(session, case, by_chance) < len(case.spine.rows)
    # Spark's own join has no use for numbers of events; that of the second opinion does.
    portable: Replacements = {
        "spark___joined": "{{ return(pit_join.default___joined(spine, view, carried, options)) }}",
        "spark___tells": "{{ return(pit_join.default___tells(view, features)) }}",
    }
    events_by_chance = {"spark___row_id": "row_number() over (order by 0)"}
    assert answers(session, case) == wanted(case)
    assert answers(session, case, {"spark___spine_parts": [("select distinct ", "select ")]}) != wanted(case)
    assert answers(session, case, portable) == wanted(case)
    assert answers(session, case, {**portable, **events_by_chance}) != wanted(case)


@pytest.mark.parametrize("views", [1, 2])
def test_a_feature_named_as_a_column_of_the_spine_is_an_error(session: SparkSession, views: int) -> None:
    kinds = {"k": "bigint", "e": "timestamp", "t": "bigint"}
    case = case_of([{"k": 1, "e": DATES[0], "t": 5}], [{"k": 1, "t": DATES[1]}], kinds)
    case = replace(case, requests=(*case.requests, replace(case.requests[0], alias="again"))[:views])
    spark.load(session, case)
    with pytest.raises(PySparkException, match="AMBIGUOUS_REFERENCE"):
        answers(session, case)


def test_integers_are_divided_as_integers(session: SparkSession) -> None:
    hours = Span("2 hours", "2h", timedelta(hours=2))
    newest = Declaration("newest", "last", "value", (hours,), False)
    case = small((newest,), list(range(6)), "bigint", [NOON + timedelta(minutes=50 * number) for number in range(9)])
    spark.load(session, case)
    assert not differences(session, case)
    assert differences(session, case, {"spark___divided": "{{ return(number ~ ' / ' ~ divisor) }}"})


def test_texts_and_names_are_escaped(session: SparkSession) -> None:
    kinds = {"k": "varchar", "e": "timestamp", STRANGE: "varchar"}
    case = case_of([], [{"k": "a", "t": DATES[1]}], kinds, defaults={STRANGE: STRANGE})
    spark.load(session, case)
    assert answers(session, case) == wanted(case)
    for escapes in ('replace("\'", "\\\\\'")', "replace('\\\\', '\\\\\\\\')"):
        variant = {"spark___literal": [(f" | {escapes}", "")]}
        with pytest.raises((*FAILURES, AssertionError)):
            assert answers(session, case, variant) == wanted(case)
    with pytest.raises(FAILURES):
        answers(session, case, {"spark___identifier": [(" | replace('`', '``')", "")]})


@pytest.mark.parametrize("ansi", [True, False])
@pytest.mark.parametrize("function", ["sum", "avg"])
@pytest.mark.parametrize("lifetime", [True, False])
def test_a_sum_that_leaves_its_type_is_an_error(
    session: SparkSession, ansi: bool, function: str, lifetime: bool
) -> None:
    """Without ANSI it would be a null, or another number; dbt-spark always switches ANSI off."""
    session.conf.set("spark.sql.ansi.enabled", str(ansi).lower())
    span = LIFETIME if lifetime else Span("1 day", "1d", DAY)
    at = [NOON + timedelta(hours=4)]
    large = Decimal("9" * 36)
    try:
        for values, kind in (([2**63 - 1, 1], "bigint"), ([large, large, large], "decimal(38,2)")):
            case = small((Declaration("all", function, "value", (span,), False),), values, kind, at)
            spark.load(session, case)
            if kind == "bigint" and function == "avg":
                assert not differences(session, case)
                continue
            with pytest.raises(FAILURES, match=r"OVERFLOW|OUT_OF_RANGE|does not fit into the type"):
                differences(session, case)
            if not ansi:
                unchecked = {"spark___total": "cast({{ sum }} as {{ data_type }})"}
                assert differences(session, case, unchecked)
    finally:
        session.conf.unset("spark.sql.ansi.enabled")


def test_a_mark_that_is_neither_true_nor_false_is_an_error(session: SparkSession) -> None:
    kinds = {"k": "varchar", "e": "timestamp", "d": "varchar", "f": "bigint"}
    labels = [{"k": "a", "t": DATES[1]}]
    rows = [{"k": "a", "e": DATES[0], "d": "TRUE", "f": 1}]
    case = case_of(rows, labels, kinds, deleted="d")
    wrong = case_of([{**rows[0], "d": "yes"}], labels, kinds, deleted="d")
    session.conf.set("spark.sql.ansi.enabled", "false")
    try:
        spark.load(session, case)
        (answer,) = answers(session, case)
        assert (answer["f"], answer["v__status"]) == (comparable(None), comparable("NOT_FOUND"))
        spark.load(session, wrong)
        with pytest.raises(FAILURES, match="neither true nor false: yes"):
            answers(session, wrong)
    finally:
        session.conf.unset("spark.sql.ansi.enabled")


def test_columns_without_an_order_are_carried(session: SparkSession) -> None:
    """Two rows of one version differ in a map alone; the spine has one as a label."""
    at, listed = DATES[0], pa.array([[1.5, None], [1.5, None]])
    kinds = {"k": "string", "e": "timestamp_ntz", "tags": "map<string,int>", "scores": "array<double>"}
    tags = pa.array([[("a", 1)], [("a", 2)]], pa.map_(pa.string(), pa.int32()))
    history = pa.table({"k": ["a", "a"], "e": pa.array([at, at], pa.timestamp("us")), "tags": tags, "scores": listed})
    labels = pa.table({"k": ["a", "a"], "t": pa.array([DATES[1]] * 2, pa.timestamp("us")), "tags_then": tags})
    view = {
        "name": "v", "resource_type": "model", "package_name": "pit_join", "relation_name": "`v in the schema`",
        "columns": {name: {"name": name, "data_type": kind, "config": {}} for name, kind in kinds.items()},
        "config": {"event_time": "e", "meta": {"pit_join": {"entity": "user", "join_keys": ["k"]}}},
    }  # fmt: skip
    columns = {"tags_then": {"name": "tags_then", "data_type": "map<string, int>", "config": {}}}
    spine = {
        "name": "spine", "resource_type": "model", "package_name": "pit_join", "relation_name": "`spine`",
        "columns": columns, "config": {"meta": {}},
    }  # fmt: skip
    frames = {
        "v in the schema": session.createDataFrame(
            history, "k string, e timestamp_ntz, tags map<string,int>, scores array<double>"
        ),
        "spine": session.createDataFrame(labels, "k string, t timestamp_ntz, tags_then map<string,int>"),
    }
    for name, frame in frames.items():
        frame.createOrReplaceTempView(spark.quote(name))

    def manifest(variant: Replacements) -> dict[str, Any]:
        return {
            "metadata": {"project_name": "pit_join", "adapter_type": "spark"},
            "macros": broken(variant), "nodes": {"v": view, "spine": spine}, "exposures": {},
        }  # fmt: skip

    def query(variant: Replacements) -> str:
        arguments = {"spine": "`spine`", "features": features, "event_timestamp": "t"}
        return str(spark.Renderer(manifest(variant)).call("training_set", **arguments))

    features: list[Any] = []
    for feature in ("v:*", {"view": "v", "as": "again", "features": ["tags"]}):
        features.append(feature)
        found = session.sql(query({})).collect()
        assert [(row["tags"], row["scores"]) for row in found] == [({"a": 2}, [1.5, None])] * 2
        assert sorted(row["tags_then"]["a"] for row in found) == [1, 2]
    with pytest.raises(FAILURES, match="MAP"):
        session.sql(query({"spark___ordered": "{{ return(value) }}"}))
    rows, unhashed = "spine_rows", {"spark__spine_rows": [("if has_maps else", "if false else")]}
    asked = {"spine": "`spine`", "event_timestamp": "t"}
    assert session.sql(spark.Renderer(manifest({})).call(rows, **asked)).count() == 2
    with pytest.raises(FAILURES, match="MAP"):
        session.sql(spark.Renderer(manifest(unhashed)).call(rows, **asked))


def test_a_naive_time_is_utc_whatever_the_zone_of_the_session(session: SparkSession) -> None:
    """In New York it was never half past two that night."""
    kinds = {"k": "varchar", "e": "timestamp", "f": "bigint"}
    rows = [
        {"k": "a", "e": datetime(2013, 3, 10, 2, 30), "f": 1},
        {"k": "a", "e": datetime(2013, 3, 10, 2, 45), "f": 2},
    ]
    labels = [{"k": "a", "t": row["e"]} for row in rows]
    local = {"spark___instant": "unix_micros(cast({{ column }} as timestamp))"}
    between = {
        "spark___instant": "timestampdiff(microsecond, timestamp_ntz '1970-01-01', cast({{ column }} as timestamp_ntz))"
    }
    case = case_of(rows, labels, kinds, ttl=timedelta(minutes=20))
    other = {"t": datetime(2013, 3, 10, 3, 0)}
    late = replace(case, spine=replace(case.spine, rows=tuple({**row, **other} for row in case.spine.rows)))
    for each in (case, late):
        spark.load(session, each)
        assert answers(session, each) == wanted(each)
    assert answers(session, late, local) != wanted(late)
    assert answers(session, late, between) != wanted(late)


def test_a_text_is_not_a_time(session: SparkSession) -> None:
    """A cast would read it in the time zone of the session."""
    kinds = {"k": "varchar", "e": "timestamp", "f": "bigint"}
    case = case_of([{"k": "a", "e": DATES[0], "f": 1}], [{"k": "a", "t": "2026-03-02"}], kinds)
    case = replace(case, spine=replace(case.spine, columns=(Column("k", "varchar"), Column("t", "varchar"))))
    spark.load(session, case)
    with pytest.raises(
        FAILURES, match=r"a time is of type timestamp, timestamp_ntz or date, and .t. is of type string"
    ):
        answers(session, case)
