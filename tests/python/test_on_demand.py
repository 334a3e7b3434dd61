"""On-demand features: training and serving give the same bits, and what cannot do so is refused.

Expressions and their arguments are generated; what they should give is asked of DuckDB itself, in one plain query.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from http_servers import serving
from support.on_demand_cases import (
    AT,
    BY_NAME,
    FIELDS,
    STORED,
    STORED_NAMES,
    UTC,
    Both,
    Case,
    bits,
    cases,
    macro,
    manifest_of,
    project_of,
    used,
)
from support.runs import for_each, number_of, sampled

from pit_join import FeatureStore
from pit_join.definitions.registry import Registry
from pit_join.errors import EntityError, PitJoinError, ProjectError, RequestError, SpineError
from pit_join.http.answers import ARROW, FLOATS, JSON
from pit_join.records.arrow import values_of
from pit_join.references import parse_features
from pit_join.serving import read_plan
from pit_join.serving.reader import OnlineReader
from pit_join.warehouse import expressions
from pit_join.warehouse.expressions import CLOCK, SESSION, Expressions, problem_of

pytestmark = pytest.mark.slow

# What expressions are made of -------------------------------------------------------------------------------------


# A project of them ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        duckdb.connect(config={"threads": 1}) as connection,
    ):
        connection.execute("set TimeZone = 'UTC'")
        yield Both(connection, tmp_path_factory.mktemp("on_demand"), monkeypatch)


def spine_of(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {source.name: pa.array([row[source.name] for row in rows], source.arrow) for source in FIELDS}
    keys = pa.array([row["id"] for row in rows], pa.int64())
    return pa.table({"id": keys, "event_timestamp": pa.array([AT] * len(rows), pa.timestamp("us", "UTC")), **columns})


def expected(both: Both, case: Case, spine: pa.Table, row: int | None = None) -> dict[str, list[Any]]:
    """What one plain query of the tables gives, for all rows or one."""
    columns = []
    for name, (expression, returns) in case.features.items():
        for argument in used(expression):
            column = f"s.{argument}" if argument not in STORED_NAMES else f"f.{argument}"
            column = f"coalesce({column}, -1)" if argument == "f_small" else column
            expression = expression.replace(f"<{argument}>", f"cast({column} as {BY_NAME[argument].sql})")
        columns.append(f"cast(({expression}) as {returns}) as {name}")
    both.connection.register("spine", spine if row is None else spine.slice(row, 1))
    numbered = "(select *, row_number() over () as n from spine)"
    query = f"select {', '.join(columns)} from {numbered} s left join facts f using (id) order by n"
    found = both.connection.sql(query).to_arrow_table()
    return {name: values_of(found[name]) for name in case.features}


FAILED = "cannot be computed"
EXAMPLE = Case(
    {"o0": ("<r_moment> + interval 1 day", "timestamp_ns"), "o1": ("<f_naive>", "timestamp_ns")},
    [{"id": 0, **dict.fromkeys(STORED_NAMES), "f_naive": datetime(2026, 3, 1)}],
    [{"id": 0, **{source.name: None for source in FIELDS}, "r_moment": AT}],
)


def test_training_and_serving_give_the_same_bits(both: Both) -> None:
    check_both_sides(both, EXAMPLE)
    SEEN.clear()
    for_each(lambda case: check_both_sides(both, case), number_of(10, 120), until=lambda: WANTED <= SEEN, case=cases())


def check_both_sides(both: Both, case: Case) -> None:
    both.load(case.history)
    manifest, spine = project_of(case), spine_of(case.rows)
    try:
        Registry.from_manifest(manifest)
        both.empty_store()
        both.run(manifest, int(AT.timestamp() * 1e6))
    except ProjectError:  # types that do not go together; DuckDB says so too
        with pytest.raises(duckdb.Error):
            expected(both, case, spine)
        return
    reader = OnlineReader(both.store(), "s")
    try:
        wanted = expected(both, case, spine)
    except duckdb.Error:
        # An overflow, say, of some row: training fails, serving all rows fails, and serving one fails for such rows.
        SEEN.add("failed")
        with pytest.raises(PitJoinError, match=FAILED):
            both.training(manifest, spine)
        with pytest.raises(PitJoinError, match=FAILED):
            reader.get_online_features(case.rows, now=AT)
        for number, row in enumerate(case.rows):
            try:
                one = expected(both, case, spine, number)
            except duckdb.Error:
                with pytest.raises(PitJoinError, match=FAILED):
                    reader.get(row, now=AT)
            else:
                served = reader.get(row, now=AT)
                assert {name: bits(served[name]) for name in one} == {name: bits(v[0]) for name, v in one.items()}
        return
    SEEN.add("computed")
    assert_same_everywhere(both, case, reader, manifest, spine, wanted)


SEEN: set[str] = set()
WANTED = {
    "failed", "computed",
    "float", "int", "decimal", "str", "bool", "datetime", "date", "datetime64", "list", "bytes", "NoneType",
}  # fmt: skip


def assert_same_everywhere(
    both: Both, case: Case, reader: OnlineReader, manifest: Any, spine: pa.Table, wanted: Mapping[str, list[Any]]
) -> None:
    trained, whole = both.training(manifest, spine), both.whole_query(manifest, spine)
    assert trained.column_names == [*spine.column_names, *reader.names]
    batch = reader.get_online_features(case.rows, now=AT)
    columns = {name: [row[name] for row in case.rows] for name in case.rows[0]}
    listed = reader.get_online_features(columns, now=AT).to_dict()
    vectors = [reader.get(row, now=AT) for row in case.rows]
    for name, values in wanted.items():
        right = [bits(value) for value in values]
        SEEN.update(kind for kind, *_ in right)
        assert [bits(value) for value in values_of(trained[name])] == right, name
        assert [bits(value) for value in values_of(whole[name])] == right, name
        assert [bits(value) for value in batch.to_dict()[name]] == right, name
        assert [bits(value) for value in listed[name]] == right, name
        assert [bits(vector[name]) for vector in vectors] == right, name
        assert batch.statuses[name] == ["NULL_VALUE" if value is None else "PRESENT" for value in values]
        assert batch.event_timestamps[name] == [None] * len(values)


# Names, roles and defaults ----------------------------------------------------------------------------------------

PLAIN = dict.fromkeys([source.name for source in STORED]) | {"f_double": 4.0, "f_text": "a", "f_int": 3}
FIELD = dict.fromkeys([source.name for source in FIELDS]) | {"r_double": 10.0}
RATIO_OF_FIELDS = {"on_demand": "ratio", "arguments": {"one": "r_double", "other": "r_int"}}
RATIO = macro("ratio", "{{ one }} / nullif({{ other }}, 0)", {"one": "double", "other": "double"}, returns="double")
ASKED = {"on_demand": "ratio", "arguments": {"one": "r_double", "other": "facts:f_double"}}


def served(
    both: Both,
    manifest: Mapping[str, Any],
    row: Mapping[str, Any],
    history: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """A vector; batch and training set must agree with it."""
    both.load([{"id": 1, **PLAIN, **(history or {})}])
    both.empty_store()
    both.run(manifest, int(AT.timestamp() * 1e6))
    reader = OnlineReader(both.store(), "s", **options)
    found = reader.get(row, now=AT)
    batch = reader.get_online_features([row, row], now=AT).to_dict()
    assert list(found) == list(reader.names) == [name for name in batch if name not in reader.keys]
    assert {name: [bits(value)] * 2 for name, value in found.items()} == {n: list(map(bits, batch[n])) for n in found}
    columns = {name: [value] for name, value in {**FIELD, **row}.items()}
    arrow = {name: BY_NAME[name].arrow if name in BY_NAME else pa.int64() for name in columns}
    spine = pa.table({name: pa.array(values, arrow[name]) for name, values in columns.items()})
    spine = spine.append_column("event_timestamp", pa.array([AT], pa.timestamp("us", "UTC")))
    trained = both.training(manifest, spine, **options)
    assert {name: bits(values_of(trained[name])[0]) for name in found} == {n: bits(value) for n, value in found.items()}
    return found


def test_features_stand_in_the_order_asked_for(both: Both) -> None:
    again = {**ASKED, "as": "Again"}
    manifest = manifest_of({"ratio": RATIO}, [ASKED, "facts:f_text", again, "facts:f_int"])
    found = served(both, manifest, {"id": 1, "r_double": 10.0})
    assert list(found.items()) == [("ratio", 2.5), ("f_text", "a"), ("Again", 2.5), ("f_int", 3)]
    full = served(both, manifest, {"id": 1, "r_double": 10}, full_feature_names=True)
    assert list(full.items()) == [("ratio", 2.5), ("facts__f_text", "a"), ("Again", 2.5), ("facts__f_int", 3)]


def test_an_argument_may_be_a_feature_of_a_role(both: Both) -> None:
    """Once in a role that is asked for, once of the plain view, which nothing else asks for."""
    role = {"view": "facts", "as": "friend", "join_keys": {"id": "friend_id"}, "features": ["f_text"]}
    both_roles = {"on_demand": "ratio", "arguments": {"one": "friend:f_double", "other": "facts:f_int"}}
    manifest = manifest_of({"ratio": RATIO}, [both_roles, role])
    row = {"id": 1, "friend_id": 1}
    assert served(both, manifest, row) == {"ratio": 4.0 / 3, "friend__f_text": "a"}
    assert served(both, manifest, row | {"friend_id": None}) == {"ratio": None, "friend__f_text": None}
    assert served(both, manifest, row | {"id": 404}) == {"ratio": None, "friend__f_text": "a"}


def test_defaults_of_arguments_and_of_the_result(both: Both) -> None:
    sign = macro("sign_of", "sign({{ x }})", {"x": "tinyint"}, returns="tinyint")
    ratio = macro("ratio", "{{ one }} / nullif({{ other }}, 0)", {"one": "double", "other": "double"}, returns="double",
                  default=-7.5)  # fmt: skip
    asked = [ASKED, {"on_demand": "sign_of", "arguments": {"x": "facts:f_small"}}, "facts:f_text"]
    manifest = manifest_of({"ratio": ratio, "sign_of": sign}, asked)
    assert served(both, manifest, {"id": 404, "r_double": 1.0}) == {"ratio": -7.5, "sign_of": -1, "f_text": None}
    bare = served(both, manifest, {"id": 404, "r_double": 1.0}, defaults=False)
    assert bare == {"ratio": None, "sign_of": None, "f_text": None}


CASTS = {
    ("f_single", "varchar"): "0.1", ("f_single", "double"): 0.10000000149011612, ("f_small", "double"): 5.0,
    ("f_decimal", "varchar"): "1.500", ("f_decimal", "double"): 1.5, ("f_flag", "varchar"): "true",
    ("f_unsigned", "varchar"): "18446744073709551615", ("f_double", "varchar"): "1e+300",
    ("f_day", "varchar"): "2026-03-01",
    ("f_naive", "varchar"): "2026-03-01 23:30:00.000001", ("f_moment", "varchar"): "2026-03-01 23:30:00.000001+00",
    ("f_moment", "date"): date(2026, 3, 1), ("f_vector", "varchar"): "[0.1, 2.0]", ("f_blob", "varchar"): "a\\x00",
}  # fmt: skip


@pytest.mark.parametrize(("feature", "data_type"), sampled(CASTS, 5))
def test_an_argument_may_be_of_another_type_than_its_feature(feature: str, data_type: str, both: Both) -> None:
    """The feature is cast as what it is stored as: the text of a float is not that of a double."""
    late = datetime(2026, 3, 1, 23, 30, 0, 1)
    values = {
        "f_single": 0.1, "f_small": 5, "f_decimal": Decimal("1.5"), "f_flag": True, "f_unsigned": 2**64 - 1,
        "f_double": 1e300, "f_day": date(2026, 3, 1), "f_naive": late, "f_moment": late.replace(tzinfo=UTC),
        "f_vector": [0.1, 2.0], "f_blob": b"a\0",
    }  # fmt: skip
    same_as = macro("same_as", "{{ x }}", {"x": data_type}, returns=data_type)
    manifest = manifest_of(
        {"same_as": same_as}, [{"on_demand": "same_as", "arguments": {"x": f"facts:{feature}"}}, "facts:f_int"]
    )
    assert served(both, manifest, {"id": 1}, history=values)["same_as"] == CASTS[feature, data_type]


def test_an_argument_is_cast_before_it_is_computed_with(both: Both) -> None:
    half = macro("half", "{{ x }} / 2", {"x": "bigint"}, returns="double")
    asked = [{"on_demand": "half", "as": name, "arguments": {"x": name}} for name in ("r_double", "facts:f_double")]
    manifest = manifest_of({"half": half}, [asked[0], {**asked[1], "as": "stored"}, "facts:f_int"])
    row = {"id": 1, "r_double": 2.7}
    both.load([{"id": 1, **PLAIN, "f_double": 4.6}])
    both.empty_store()
    both.run(manifest, int(AT.timestamp() * 1e6))
    wanted = {"r_double": 1.5, "stored": 2.5, "f_int": 3}
    reader = OnlineReader(both.store(), "s")
    assert reader.get(row, now=AT) == wanted
    assert {name: values[0] for name, values in reader.get_online_features([row, row], now=AT).to_dict().items()} == (
        {"id": 1} | wanted
    )


def test_what_is_too_old_is_no_argument(both: Both) -> None:
    manifest = manifest_of({"ratio": RATIO}, [ASKED, "facts:f_text"])
    both.load([{"id": 1, **PLAIN}], AT - timedelta(days=10))
    both.empty_store()
    both.run(manifest, int(AT.timestamp() * 1e6))
    reader, row = OnlineReader(both.store(), "s"), {"id": 1, "r_double": 10.0}
    assert reader.get(row, now=AT) == {"ratio": 2.5, "f_text": "a"}
    assert reader.get(row, now=AT + timedelta(microseconds=1)) == {"ratio": None, "f_text": None}


def test_a_matrix_and_many_threads(both: Both) -> None:
    manifest = manifest_of({"ratio": RATIO}, ["facts:f_int", ASKED])
    served(both, manifest, {"id": 1, "r_double": 10.0})
    reader = OnlineReader(both.store(), "s")
    rows = [{"id": 1 + number % 2, "r_double": float(number)} for number in range(100)]
    wanted = [[3, number / 4] if number % 2 == 0 else [math.nan, math.nan] for number in range(100)]
    with ThreadPoolExecutor(8) as threads:
        matrices = threads.map(lambda _: reader.get_online_features(rows, now=AT).to_numpy("float64"), range(40))
        vectors = threads.map(lambda row: reader.get(row, now=AT)["ratio"], rows)
        for matrix in matrices:
            np.testing.assert_array_equal(matrix, wanted)
        np.testing.assert_array_equal(np.array(list(vectors), dtype=float), np.array(wanted)[:, 1])


def test_times_may_be_written_as_text(both: Both) -> None:
    hour = macro("hour_of", "hour({{ moment }})", {"moment": "timestamptz"}, returns="bigint")
    manifest = manifest_of(
        {"hour_of": hour}, [{"on_demand": "hour_of", "arguments": {"moment": "r_moment"}}, "facts:f_int"]
    )
    at = datetime(2026, 3, 1, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert served(both, manifest, {"id": 1, "r_moment": at})["hour_of"] == 4
    reader = OnlineReader(both.store(), "s")
    for text in ("2026-03-01T23:30:00-05:00", "2026-03-02 04:30", "2026-03-02T04:30:00Z"):
        assert reader.get({"id": 1, "r_moment": text})["hour_of"] == 4
    for unit in ("h", "m", "s", "ms", "us", "ns"):
        field = np.datetime64("2026-03-02T04", unit)
        assert reader.get({"id": 1, "r_moment": field})["hour_of"] == 4
        assert reader.get_online_features({"id": [1, 1], "r_moment": [field] * 2}).to_dict()["hour_of"] == [4, 4]
    assert reader.get({"id": 1, "r_moment": np.datetime64("2026-03-02")})["hour_of"] == 0
    with pytest.raises(PitJoinError, match=FAILED):
        reader.get({"id": 1, "r_moment": "noon"})


def test_a_reader_that_was_loaded_imports_nothing_more(both: Both) -> None:
    """The server loads its readers, since the import of Arrow, and with it of pandas, takes longer than a deadline."""
    served(
        both, manifest_of({"ratio": RATIO}, [RATIO_OF_FIELDS, "facts:f_int"]), {"id": 1, "r_double": 10.0, "r_int": 4}
    )
    code = """
import sys
from pit_join import FeatureStore
reader = FeatureStore(online_store=sys.argv[1]).online_reader("s")
reader.load()
known = set(sys.modules)
print(reader.get_online_features([{"id": 1, "r_double": 10.0, "r_int": 4}] * 2).to_dict()["ratio"])
print(sorted(set(sys.modules) - known))
"""
    command = [sys.executable, "-c", code, str(both.folder / "store")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[2.5, 2.5]\n[]\n"


def test_over_http(both: Both) -> None:
    hour = macro("hour_of", "hour({{ moment }})", {"moment": "timestamptz"}, returns="bigint")
    later = macro("later", "{{ moment }} + interval 1 hour", {"moment": "timestamptz"}, returns="timestamptz")
    moment = {"moment": "r_moment"}
    asked = [
        RATIO_OF_FIELDS,
        *({"on_demand": name, "arguments": moment} for name in ("hour_of", "later")),
        "facts:f_text",
    ]
    manifest = manifest_of({"ratio": RATIO, "hour_of": hour, "later": later}, asked)
    served(both, manifest, {"id": 1, "r_double": 10.0, "r_int": 4, "r_moment": AT})
    fields: dict[str, Any] = {"r_double": [10, None], "r_int": [4, 4], "r_moment": ["2026-03-01T23:30:00Z", None]}
    with serving(both.folder / "store") as server:

        def ask(accept: str = JSON, **entities: Any) -> Any:
            return server.ask({"feature_service": "s", "entities": {"id": [1, 1], **fields, **entities}}, accept=accept)

        found = ask().json()
        assert found["metadata"]["feature_names"] == ["id", "ratio", "hour_of", "later", "f_text"]
        ratios, hours, times = ([result["values"], result["statuses"]] for result in found["results"][1:4])
        none = ["PRESENT", "NULL_VALUE"]
        assert [ratios, hours] == [[[2.5, None], none], [[23, None], none]]
        assert times == [["2026-03-02T00:30:00Z", None], none]
        for row in range(2):
            alone = ask(id=[1], **{name: [values[row]] for name, values in fields.items()}).json()["results"]
            assert alone == [{part: [each[row]] for part, each in result.items()} for result in found["results"]]
        table = pa.ipc.open_stream(ask(ARROW).content).read_all()
        assert table["later"].type == pa.timestamp("us", "UTC")
        assert table["hour_of"].to_pylist() == [23, None]
        assert ask(FLOATS).status_code == 422  # a text and a time
        for wrong, says in (
            ({"r_moment": ["noon", None]}, "cannot be computed"),
            ({"r_double": ["1", None]}, "'r_double' is '1', and on-demand features take it as double"),
            ({"r_double": [[1], None]}, "'r_double' is \\[1\\], and on-demand"),
            ({"r_double": [10**60, 1]}, "'r_double' are not of one type"),
        ):
            answer = ask(**wrong)
            assert answer.status_code == 422
            assert re.search(says, answer.json()["detail"]), answer.text
        del fields["r_double"]
        needed = "on-demand features need r_double, r_int, r_moment"
        assert ask().json()["detail"] == f"the entity rows have no 'r_double'; {needed}"
        metrics = server.metrics()
        assert metrics['pit_join_feature_values_total{status="NULL_VALUE",view="on_demand"}'] == 9


# What is refused --------------------------------------------------------------------------------------------------

BAD = {
    "random()": "random does not give the same value at any time",
    "current_date": "current_date does not give the same",
    "now() > <x>": "now does not give the same",
    "localtimestamp": "localtimestamp does not",
    "age(<x>)": "age does not give",
    "current_setting('TimeZone')": "current_setting reads the session",
    "getvariable('x')": "getvariable reads the session",
    "current_user": "current_user reads the session",
    "ago(interval 1 day)": "ago does not give",
    "pg_conf_load_time()": "pg_conf_load_time does not give",
    "sum(<x>)": "sum looks at more than one row",
    "row_number() over ()": "row_number looks at more than one row",
    "(select max(f_int) from facts)": "it holds a subquery",
    "<x> in (select 1)": "it holds a subquery",
    "case when <x> > 1 then error('no') end": "error would end whole requests",
    "assert_true(<x> > 1)": "assert_true would end whole requests",
    "unnest([1, 2])": "unnest looks at more than one row",
    "<x> + other": 'Referenced column "other" not found',
    "<x> + f_int": 'Referenced column "f_int" not found',
    "f_int": 'Referenced column "f_int" not found',
    "<x> +": "it is not an SQL expression",
    "1; drop table facts": "it is not an SQL expression",
    "no_such_function(<x>)": "no_such_function does not exist",
    "cast(<x> as no_such_type)": "no_such_type",
    "": "it is empty",
}


@pytest.mark.parametrize("expression", sampled(BAD, 8))
def test_an_expression_that_cannot_be_the_same_is_refused(expression: str, both: Both) -> None:
    sql = expression.replace("<x>", "{{ x }}")
    data_type = "timestamptz" if "age" in expression or "now" in expression else "bigint"
    bad = macro("bad", sql, {"x": data_type}, returns="varchar")
    manifest = manifest_of({"bad": bad}, [{"on_demand": "bad", "arguments": {"x": "r_int"}}, "facts:f_int"])
    both.load([{"id": 1, **PLAIN}])
    both.empty_store()
    with pytest.raises(ProjectError, match=f"^macros/generated.sql: bad: .*({BAD[expression]})"):
        both.run(manifest, int(AT.timestamp() * 1e6))
    with pytest.raises(ProjectError, match=f"^macros/generated.sql: bad: .*({BAD[expression]})"):
        both.training(manifest, spine_of([{"id": 1, **FIELD}]))


@pytest.mark.parametrize(
    "expression", ["<x>", "<x> + 1 -- so", "list_transform([<x>], lambda y: y + 1)[1]", "upper('random()')"]
)
def test_an_expression_of_its_arguments_is_not(expression: str) -> None:
    sql = expression.replace("<x>", "x")
    assert problem_of(sql, [f"select ({sql}\n) as v from _pit_arguments"], {"x": "bigint"}) is None


def test_of_a_bad_expression_that_no_service_has_the_user_is_warned(both: Both) -> None:
    """It stops no command that does not use it."""
    bad = macro("bad", "random() + {{ x }}", {"x": "bigint"}, returns="double")
    manifest = manifest_of({"ratio": RATIO, "bad": bad}, [RATIO_OF_FIELDS, "facts:f_int"])
    both.load([{"id": 1, **PLAIN}])
    both.empty_store()
    heard: list[str] = []
    assert both.run(manifest, int(AT.timestamp() * 1e6), say=heard.append).views["facts"].written == 1
    (said,) = (said for said in heard if "on-demand" in said)
    assert said.startswith("an on-demand feature that cannot be used: macros/generated.sql: bad: random does not give")


def test_of_arguments_of_32_bits_for_a_result_of_64_the_user_is_warned_once(both: Both) -> None:
    """0.1 of 32 bits times 3 is another number there than in Python, which has only floats of 64 bits."""
    kinds = {"a": "real", "b": "float4", "c": "double", "d": "decimal(9,2)", "e": "float[]", "f": "int"}
    sql = "{{ a }} * 3 + {{ b }} + {{ c }} + {{ d }} + {{ e }}[1] + {{ f }}"
    narrow = macro("narrow", sql, kinds, returns="float8")
    same = macro("same", "{{ a }} * 3", {"a": "float"}, returns="real")
    wide = macro("wide", "{{ a }} * 3", {"a": "double"}, returns="double")
    item = {"on_demand": "narrow", "arguments": dict.fromkeys("abcd", "r_double") | {"e": "r_list", "f": "r_int"}}
    manifest = manifest_of({"narrow": narrow, "same": same, "wide": wide}, [item, "facts:f_int"])
    says = [
        f"macros/generated.sql: narrow: the argument '{name}' is declared {kind} and the result float8, but with such "
        f"arguments SQL computes in 32 bits, other than Python and Feast do; declare the argument '{name}' double"
        for name, kind in (("a", "real"), ("b", "float4"))
    ]
    both.load([{"id": 1, **PLAIN}])
    both.empty_store()
    exported: list[str] = []
    both.run(manifest, int(AT.timestamp() * 1e6), say=exported.append)
    assert [said for said in exported if "bits" in said] == says
    for names, expected in (({"narrow", "wide"}, says), ({"same", "wide"}, [])):
        heard: list[str] = []
        both.workspace(manifest, heard.append).check_on_demand(names)
        assert heard == expected
    third = pa.array([0.1], pa.float32())
    computed = Expressions("select a * 3 as v from _pit_arguments", {"a": "real"}).many(pa.table({"a": third}))
    assert float(computed["v"][0].as_py()) != third[0].as_py() * 3


@pytest.mark.parametrize("name", sorted(CLOCK | SESSION))
def test_a_function_of_the_clock_or_the_session_is_refused(name: str) -> None:
    for expression in (f"{name}()", name, f"upper(cast({name.upper()}(x) as varchar))"):
        assert re.search("does not give the same|reads the session", str(problem_of(expression, [], {"x": "bigint"})))


@pytest.mark.parametrize(
    "expression",
    [
        "hour(x)",
        "x - y",
        "x - interval 1 day",
        "date_diff('day', x, y)",
        "age(x, y)",
        "date_trunc('week', x)",
        "strftime(x, '%H')",
    ],
)
def test_a_function_of_the_time_zone_is_not(expression: str) -> None:
    """The zone is UTC on both sides; DuckDB 2.0.1 calls these consistent within a query alone."""
    types = dict.fromkeys("xy", "timestamptz")
    assert problem_of(expression, [f"select ({expression}) as v from _pit_arguments"], types) is None


# The functions that read the time zone of the session.
ZONE = frozenset((
    "+", "-", "age", "century", "date_diff", "date_part", "date_sub", "date_trunc", "datediff", "datepart",
    "datesub", "datetrunc", "day", "dayname", "dayofmonth", "dayofweek", "dayofyear", "decade", "era",
    "generate_series", "hour", "isodow", "isoyear", "julian", "last_day", "make_timestamptz", "microsecond",
    "millennium", "millisecond", "minute", "month", "monthname", "quarter", "range", "second", "strftime",
    "time_bucket", "timezone", "timezone_hour", "timezone_minute", "week", "weekday", "weekofyear", "year",
    "yearweek",
))  # fmt: skip


@pytest.mark.rest
def test_every_function_of_duckdb_is_judged() -> None:
    """A function that is new in DuckDB fails here, and in no project of a user."""
    with duckdb.connect() as connection:
        functions = connection.execute("""
            select lower(function_name), list(stability) from duckdb_functions()
            where function_type in ('scalar', 'macro') group by all
        """).fetchall()
    for name, stabilities in functions:
        said = problem_of(f'"{name}"(x)', [], {"x": "bigint"})
        assert "CONSISTENT_WITHIN_QUERY" not in stabilities or said or name in ZONE, name
        assert "VOLATILE" not in stabilities or said, name


@pytest.mark.parametrize("expression", ["read_text('dbt_project.yml')", "x || (from read_text('dbt_project.yml'))"])
def test_expressions_see_no_files(expression: str) -> None:
    """A store may be written by others than those who read it."""
    statement = f"select {expression} as v from _pit_arguments"
    with pytest.raises(PitJoinError, match=FAILED):
        Expressions(statement, {"x": None}, ("varchar",)).one(["a"])
    sets = ("set threads = 1", "set TimeZone = 'Asia/Tokyo'", "set lock_configuration = false", "pragma threads = 1")
    for statement in ("copy (select 1) to 'x.csv'", "install spatial", "attach 'x.db'", *sets):
        with pytest.raises(PitJoinError, match=FAILED):
            Expressions(statement, {}, ("varchar",)).many(pa.table({"x": [1]}))


def test_a_fork_computes_for_itself() -> None:
    """In a process of its own, so that no other thread of the tests is forked."""
    code = """
import os
from pit_join.http.answers import ARROW, FLOATS, JSON
from pit_join.warehouse.expressions import Expressions
doubled = Expressions('select cast("x" as double) * 2 as v from _pit_arguments', {"x": None}, ("double",))
print(doubled.one([2]), flush=True)
of_the_parent = doubled._connection()
if not os.fork():
    print(doubled.one([3]), doubled._connection() is of_the_parent, flush=True)
    os._exit(0)
os.wait()
print(doubled.one([4]), doubled._connection() is of_the_parent)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.splitlines() == ["(4.0,)", "(6.0,) False", "(8.0,) True"]


def with_macro(changes: Mapping[str, Any]) -> dict[str, Any]:
    return manifest_of({"ratio": {**RATIO, **changes}}, [ASKED, "facts:f_int"])


def declared(**meta: Any) -> dict[str, Any]:
    return {"config": {"meta": {"pit_join": meta}}}


WRONG_PROJECTS: dict[str, tuple[dict[str, Any], str]] = {
    "no returns": (with_macro(declared()), "ratio: returns: must be the SQL type of the result"),
    "unknown key": (with_macro(declared(returns="double", retruns=1)), "retruns: unknown key; did you mean 'returns'"),
    "default": (with_macro(declared(returns="double", default="x")), "ratio: default: 'x' is not a number"),
    "no mapping": (with_macro({"config": {"meta": {"pit_join": "yes"}}}), "must be a mapping, got 'yes'"),
    "no arguments": (with_macro({"arguments": []}), "ratio: arguments: none is listed"),
    "no type": (with_macro({"arguments": [{"name": "one", "type": None}]}), "arguments.one: has no type"),
    "unknown macro": (manifest_of({}, [ASKED, "facts:f_int"]), "there is no macro 'ratio' with config.meta.pit_join"),
    "unknown argument": (
        manifest_of({"ratio": RATIO}, [{**ASKED, "arguments": {"won": "r_double"}}, "facts:f_int"]),
        "'ratio' has no argument 'won'; did you mean 'one'",
    ),
    "unknown view": (
        manifest_of({"ratio": RATIO}, [{**ASKED, "arguments": {"one": "fact:f_int"}}, "facts:f_int"]),
        "unknown feature view 'fact' in the arguments of 'ratio'; did you mean 'facts'",
    ),
    "unknown feature": (
        manifest_of({"ratio": RATIO}, [{**ASKED, "arguments": {"one": "facts:f_itn"}}, "facts:f_int"]),
        "view 'facts' has no feature 'f_itn'; did you mean 'f_int'",
    ),
    "all features": (
        manifest_of({"ratio": RATIO}, [{**ASKED, "arguments": {"one": "facts:*"}}, "facts:f_int"]),
        "the argument 'one' of 'ratio' is one feature, view:feature, got 'facts:\\*'",
    ),
    "a number for an argument": (
        manifest_of({"ratio": RATIO}, [{**ASKED, "arguments": {"one": 5}}, "facts:f_int"]),
        "'arguments' of 'ratio' maps the macro's arguments to features",
    ),
    "an unknown key of the item": (
        manifest_of({"ratio": RATIO}, [{**ASKED, "argumens": {}}, "facts:f_int"]),
        "unknown key 'argumens'",
    ),
    "a kept name": (manifest_of({"ratio": RATIO}, [{**ASKED, "as": "_pit_x"}, "facts:f_int"]), "'_pit_x' is not free"),
    "on-demand features alone": (manifest_of({"ratio": RATIO}, [ASKED]), "no features are asked for"),
}


@pytest.mark.parametrize("name", WRONG_PROJECTS)
def test_a_wrong_declaration(name: str) -> None:
    manifest, says = WRONG_PROJECTS[name]
    with pytest.raises(ProjectError, match=says):
        Registry.from_manifest(manifest)


def test_names_that_collide(both: Both) -> None:
    manifest = manifest_of({"ratio": RATIO}, [{**ASKED, "as": "F_INT"}, "facts:f_int"])
    both.load([{"id": 1, **PLAIN}])
    with pytest.raises(PitJoinError, match=r"both item 1 \(ratio\) and facts:f_int would be named f_int"):
        both.training(manifest, spine_of([{"id": 1, **FIELD}]))
    both.empty_store()
    with pytest.raises(PitJoinError, match=r"both item 1 \(ratio\) and facts:f_int would be named f_int"):
        both.run(manifest, int(AT.timestamp() * 1e6))


def test_a_spine_without_what_they_need(both: Both) -> None:
    manifest = manifest_of({"ratio": RATIO}, [ASKED, "facts:f_int"])
    both.load([{"id": 1, **PLAIN}])
    spine = spine_of([{"id": 1, **FIELD}])
    with pytest.raises(SpineError, match="has no column 'r_double', which the on-demand feature 'ratio' needs"):
        both.training(manifest, spine.drop_columns(["r_double"]))
    text = spine.set_column(spine.column_names.index("r_double"), "r_double", pa.array(["1"]))
    with pytest.raises(SpineError, match=r"'r_double' of the spine .* is VARCHAR, and the argument .* is DOUBLE"):
        both.training(manifest, text)
    with pytest.raises(SpineError, match="the feature 'ratio' and the column 'Ratio' of the spine"):
        both.training(manifest, spine.append_column("Ratio", pa.array([1])))


def test_a_request_without_what_they_need(both: Both) -> None:
    manifest = manifest_of({"ratio": RATIO}, [ASKED, "facts:f_int"])
    served(both, manifest, {"id": 1, "r_double": 10.0})
    reader = OnlineReader(both.store(), "s")
    assert (reader.keys, reader.request_fields) == (("id",), ("r_double",))
    for ask in (reader.get, lambda row: reader.get_online_features([row])):
        with pytest.raises(EntityError, match="no 'r_double'; on-demand features need r_double"):
            ask({"id": 1})
        for value in ("1.5", True, AT):
            with pytest.raises(EntityError, match=r"'r_double' is .*, and on-demand features take it as double"):
                ask({"id": 1, "r_double": value})
        for value in (np.float32(10), np.int64(10), Decimal("10.0"), 10):
            ask({"id": 1, "r_double": value})
    for odd in (2**200, -(2**130)):
        for ask in (reader.get, lambda row: reader.get_online_features([row])):
            with pytest.raises(PitJoinError, match=FAILED):
                ask({"id": 1, "r_double": odd})
        with pytest.raises(EntityError, match="'r_double' are not of one type"):
            reader.get_online_features([{"id": 1, "r_double": odd}] * 2)
    with pytest.raises(EntityError, match="'r_double' are not of one type"):
        reader.get_online_features({"id": 1, "r_double": [2**70, 0.5]})
    with pytest.raises(RequestError, match="on-demand features are read by a feature service"):
        OnlineReader(both.store(), parse_features([ASKED, "facts:f_int"]))
    assert reader.read_keys({"id": "1", "r_double": "2.5"}) == {"id": 1, "r_double": 2.5}
    with pytest.raises(EntityError, match="the field 'r_double': 'x' is not of type double"):
        reader.read_keys({"id": "1", "r_double": "x"})
    with pytest.raises(EntityError, match="requested features need r_double"):
        reader.read_keys({"id": "1"})


def test_a_reader_of_another_duckdb_says_so_once(
    both: Both, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = manifest_of({"ratio": RATIO}, [ASKED, "facts:f_int"])
    read_plan._check_duckdb.cache_clear()
    served(both, manifest, {"id": 1, "r_double": 10.0})
    assert "DuckDB" not in caplog.text, "it is the same version"
    caplog.clear()
    monkeypatch.setattr(expressions, "minor_version", lambda: "0.9")
    read_plan._check_duckdb.cache_clear()
    for _ in range(2):
        FeatureStore(online_store=both.folder / "store").online_reader("s").get({"id": 1, "r_double": 10.0})
    (said,) = caplog.messages
    assert said.startswith(
        f"the online store was exported with DuckDB {duckdb.__version__[:3]}, and on-demand features"
    )
    assert "are computed with DuckDB 0.9 here" in said


def test_duckdb_is_loaded_for_them_alone(both: Both) -> None:
    served(both, manifest_of({"ratio": RATIO}, [ASKED, "facts:f_int"]), {"id": 1, "r_double": 10.0})
    code = """
import sys
from pit_join import FeatureStore
store = FeatureStore(online_store=sys.argv[1])
store.get_online_features(["facts:f_int"], [{"id": 1}]).to_dict()
print([m for m in ("dbt", "duckdb", "jinja2", "pyarrow") if m in sys.modules])
print(store.online_reader("s").get({"id": 404, "r_double": 10.0}))
print([m for m in ("dbt", "duckdb", "jinja2", "pyarrow") if m in sys.modules])
"""
    command = [sys.executable, "-c", code, str(both.folder / "store")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = ["duckdb"] if duckdb.__version__ >= "2" else ["duckdb", "pyarrow"]
    assert result.stdout.splitlines() == ["[]", "{'ratio': None, 'f_int': None}", str(loaded)]
