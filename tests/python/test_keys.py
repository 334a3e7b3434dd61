"""The bytes of keys: whole columns and single values give the same, which sorts as DuckDB sorts and is read back.

`plain_key` is docs/store-format.md once more, with nothing of the package's own in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.plain_keys import plain_key
from support.record_cases import AT, BYTES, RUN, SCALAR, TEXT, Type, same
from support.runs import number_of
from writing import replace_all

from pit_join.errors import EntityError, StoreError
from pit_join.export.snapshot import Snapshot
from pit_join.online.opening import open_store
from pit_join.records.keys import KeyCodec, Single, key_kind
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader

EVERY = [*SCALAR, *(kind for kind in BYTES if not pa.types.is_dictionary(kind.arrow))]
KINDS = sorted({str(key_kind(kind.name)) for kind in EVERY})


# Columns --------------------------------------------------------------------------------------------------------


@st.composite
def keys(draw: st.DrawFn) -> tuple[list[Type], list[tuple[Any, ...]]]:
    """A few composite keys; their parts often have values in common."""
    types = draw(st.lists(st.sampled_from(EVERY), min_size=1, max_size=3))
    pools = [draw(st.lists(kind.values, min_size=1, max_size=6)) for kind in types]
    return types, draw(st.lists(st.tuples(*map(st.sampled_from, pools)), min_size=1, max_size=12))


def table_of(types: Sequence[Type], rows: Sequence[Sequence[Any]]) -> pa.Table:
    columns = {f"k{i}": kind.array([row[i] for row in rows]) for i, kind in enumerate(types)}
    return pa.table({**columns, "_pit_event": pa.array([0] * len(rows))})


def snapshot_of(table: pa.Table) -> Snapshot:
    return Snapshot("v", tuple(name for name in table.column_names if name != "_pit_event"), table)


def encoded(snapshot: Snapshot) -> list[bytes]:
    return [key for some, _ in snapshot.in_order() for key in some]


@settings(RUN, max_examples=number_of(100, 250))
@given(case=keys(), lead=st.integers(0, 3))
def test_columns_become_the_keys_of_their_values(case: tuple[list[Type], list[tuple[Any, ...]]], lead: int) -> None:
    types, rows = case
    lead %= len(rows)
    snapshot = snapshot_of(table_of(types, rows).slice(lead))
    assert list(snapshot.kinds.values()) == [key_kind(kind.name) for kind in types]
    kinds, codec = list(snapshot.kinds.values()), KeyCodec(snapshot.kinds)
    found = encoded(snapshot)
    assert found == [plain_key(kinds, row) for row in rows[lead:]]
    values = [[kind.python(value) for kind, value in zip(types, row, strict=True)] for row in rows[lead:]]
    for key, row in zip(found, values, strict=True):
        assert codec.encode(dict(zip(codec.columns, row, strict=True))) == key
        back = codec.decode(key)
        assert codec.encode(back) == key
        for one, other in zip(back.values(), row, strict=True):
            # Zero has one key, and so have all singles and doubles that are equal.
            assert same(one, other + 0.0 if isinstance(other, float) else other), (one, other)
    assert codec.encode_all(list(zip(*values, strict=True)), len(values)) == found


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        opened.execute("set TimeZone = 'UTC'; set arrow_large_buffer_size = true")
        yield opened


# What DuckDB has as a type of its own; it makes microseconds of instants with a zone.
NATIVE = [kind for kind in EVERY if kind.name in KINDS or "int" in kind.name]
NATIVE = [kind for kind in NATIVE if "UTC" not in kind.name or kind.name == "timestamp[us, UTC]"]


@settings(RUN, max_examples=number_of(60, 150))
@given(data=st.data())
def test_keys_sort_as_duckdb_sorts(connection: duckdb.DuckDBPyConnection, data: st.DataObject) -> None:
    types = data.draw(st.lists(st.sampled_from(NATIVE), min_size=1, max_size=3))
    pools = [data.draw(st.lists(kind.values, min_size=1, max_size=8)) for kind in types]
    rows = data.draw(st.lists(st.tuples(*map(st.sampled_from, pools)), min_size=1, max_size=20))
    connection.register("given", table_of(types, rows))
    query = "select distinct * from given order by all"
    table = connection.sql(query).to_arrow_table()
    snapshot = snapshot_of(table)
    assert list(snapshot.kinds.values()) == [key_kind(kind.name) for kind in types]
    found = encoded(snapshot)
    assert all(one < other for one, other in pairwise(found)), [key.hex() for key in found]
    assert found == sorted({plain_key(list(snapshot.kinds.values()), row) for row in rows})


@pytest.mark.parametrize(
    ("sql_type", "values"),
    [
        ("bigint", "-9223372036854775808, -256, -255, -1, 0, 1, 255, 256, 9223372036854775807"),
        ("ubigint", "0, 9223372036854775807, 9223372036854775808, 18446744073709551615"),
        ("hugeint", "-1e37::hugeint, -1, 0, 1, 1e37::hugeint"),
        ("double", "'-inf', -1e300, -1, -5e-324, 0, 5e-324, 1, 1.5, 1e300, 'inf', 'nan'"),
        ("float", "'-inf', -1e30, -0.1, 0, 0.1, 0.2, 1e30, 'inf', 'nan'"),
        ("decimal(4, 2)", "-99.99, -0.01, 0, 0.01, 99.99"),
        ("decimal(38, 2)", "-123456789012345678901234567890123456.78, -0.01, 0, 12345678901234567890123456789.01"),
        ("date", "'-infinity', '0044-03-15 (BC)', '1969-12-31', '1970-01-01', '9999-12-31', '12026-01-01', 'infinity'"),
        ("timestamp_s", "'-infinity', '1969-12-31 23:59:59', '1970-01-01', '2026-03-01', 'infinity'"),
        ("timestamp_ms", "'-infinity', '1969-12-31 23:59:59.999', '1970-01-01', '2026-03-01', 'infinity'"),
        ("timestamp", "'-infinity', '0044-03-15 (BC) 00:00', '1969-12-31 23:59:59.999999', '1970-01-01', 'infinity'"),
        ("timestamp_ns", "'-infinity', '1969-12-31 23:59:59.999999999', '1970-01-01 00:00:00.000000001', 'infinity'"),
        ("timestamptz", "'-infinity', '0044-03-15 (BC) 00:00', '2026-03-01 00:00:00+02', '2026-03-01', 'infinity'"),
        ("varchar", "'', chr(0), chr(0) || chr(0), chr(0) || 'a', chr(1), 'a', 'a' || chr(0), 'a' || chr(0) || 'b', "
                    "'a' || chr(1), 'aa', 'z', 'é', '日', '😀'"),
        ("blob", "'', '\\x00', '\\x00\\x00', '\\x00\\x01', '\\x00\\xFE', '\\x00\\xFF', '\\x01', '\\xFF', '\\xFF\\x00'"),
        ("bool", "false, true"),
        ("uuid", "'00000000-0000-0000-0000-000000000000', '7fffffff-0000-0000-0000-000000000000', "
                 "'80000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
    ],
    ids=lambda each: each if len(each) < 15 else "",
)  # fmt: skip
def test_keys_of_each_type_of_duckdb_ascend(connection: duckdb.DuckDBPyConnection, sql_type: str, values: str) -> None:
    cells = ", ".join(f"cast({value} as {sql_type})" for value in values.split(", "))
    query = f"from (select unnest([{cells}]) as k, 0::bigint as _pit_event) order by k"
    if sql_type in ("float", "double"):
        query = f"select distinct * from ({query} ) order by k"
    snapshot = snapshot_of(connection.sql(query).to_arrow_table())
    found = encoded(snapshot)
    assert len(found) == len(values.split(", "))
    assert all(one < other for one, other in pairwise(found))
    codec = KeyCodec(snapshot.kinds)
    assert [codec.encode(codec.decode(key)) for key in found] == found


def test_an_integer_of_too_many_digits_is_an_error(connection: duckdb.DuckDBPyConnection) -> None:
    table = connection.sql("select 170141183460469231731687303715884105727::hugeint as k, 0 as _pit_event")
    snapshot = snapshot_of(table.to_arrow_table())
    with pytest.raises(
        StoreError, match=r"the key 170141183460469231731687303715884105727 does not fit the type decimal"
    ):
        encoded(snapshot)


def test_equal_floats_have_one_key(connection: duckdb.DuckDBPyConnection) -> None:
    several = "unnest([0.0::double, '-0.0'::double, 'nan'::double, '-nan'::double, 0.1::float::double])"
    table = connection.sql(f"select {several} as k, 0::bigint as _pit_event").to_arrow_table()
    first, *others = encoded(snapshot_of(table))
    assert others[0] == first
    assert others[1] == others[2]
    single, double = KeyCodec({"k": "float"}), KeyCodec({"k": "double"})
    assert others[3] == single.encode({"k": np.float32(0.1)}) == double.encode({"k": np.float32(0.1)})
    # As in SQL, where the single is made a double.
    assert single.encode({"k": 0.1}) == double.encode({"k": 0.1}) != others[3]


# Parts ----------------------------------------------------------------------------------------------------------

PARTS = st.sampled_from(["", "a", "ab", "b", "\0", "\0\0", "\0a", "a\0", "\0\xff", "\xff", "\x01"]) | TEXT


@settings(RUN, max_examples=number_of(120, 300))
@given(one=st.tuples(PARTS, PARTS), other=st.tuples(PARTS, PARTS), raw=st.booleans())
@example(one=("a", "bc"), other=("ab", "c"), raw=False)
@example(one=("a\0", "b"), other=("a", "\0b"), raw=False)
@example(one=("", "\0"), other=("\0", ""), raw=True)
@example(one=("a", "\xff"), other=("a\0", ""), raw=True)
def test_keys_tell_their_parts_apart(one: tuple[str, str], other: tuple[str, str], raw: bool) -> None:
    def write(pair: tuple[str, str]) -> tuple[list[Any], bytes]:
        values = [part.encode("utf-8" if not raw else "latin-1", "ignore") for part in pair]
        given = values if raw else [value.decode() for value in values]
        found = codec.encode(dict(zip("ab", given, strict=True)))
        assert found is not None
        return values, found

    codec = KeyCodec(dict.fromkeys("ab", "binary" if raw else "string"))
    (first, key), (second, other_key) = write(one), write(other)
    assert (first < second, first == second) == (key < other_key, key == other_key)
    assert not key.startswith(other_key) or first == second


def test_a_key_of_integers_fits_integers_of_every_width() -> None:
    table = pa.table({"_pit_event": pa.array([0]), **{f"k{w}": pa.array([7], getattr(pa, w)()) for w in INTEGERS}})
    (key,) = encoded(Snapshot("v", tuple(f"k{w}" for w in INTEGERS), table))
    assert key == KeyCodec({"k": "integer"}).encode({"k": 7}) * len(INTEGERS)


INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


# Requests -------------------------------------------------------------------------------------------------------


def key_of(kind: str, value: Any) -> bytes | None:
    return KeyCodec({"k": kind}).encode({"k": value})


NUMPY = [
    ("bool", np.True_, True),
    ("string", np.str_("é"), "é"),
    ("binary", np.bytes_(b"a"), b"a"),
    ("binary", bytearray(b"a"), b"a"),
    ("binary", memoryview(b"a"), b"a"),
    *(("integer", getattr(np, width)(7), 7) for width in INTEGERS),
    ("integer", np.uint64(2**64 - 1), 2**64 - 1),
    *(("double", of(0.5), 0.5) for of in (np.float16, np.float32, np.float64, Decimal, Fraction)),
    ("double", np.int64(3), 3.0),
    ("double", 3, 3.0),
    ("float", np.float32(0.1), float(np.float32(0.1))),
    ("decimal(4, 2)", 7, Decimal("7")),
    ("decimal(4, 2)", np.int16(7), Decimal("7.00")),
    ("decimal(4, 2)", Decimal("7"), Decimal("7.000000")),
    ("decimal(38, 0)", Decimal("1E+3"), Decimal(1000)),
    ("date32", np.datetime64("2026-03-01"), date(2026, 3, 1)),
    ("date32", "2026-03-01", date(2026, 3, 1)),
    ("timestamp[s]", np.datetime64("2026-03-01"), datetime(2026, 3, 1)),
    ("timestamp[s]", np.datetime64("4026-03-01"), datetime(4026, 3, 1)),
    ("timestamp[us]", np.datetime64("4026-03-01T00:00:00.000001"), datetime(4026, 3, 1, 0, 0, 0, 1)),
    ("timestamp[us]", np.datetime64("2026-03"), datetime(2026, 3, 1)),
    ("timestamp[ms]", pd.Timestamp("2026-03-01 00:00:00.001"), datetime(2026, 3, 1, 0, 0, 0, 1000)),
    ("timestamp[ns]", pd.Timestamp(-1, unit="ns"), np.datetime64(-1, "ns")),
    ("timestamp[ns]", pd.Timestamp("2026-03-01 00:00:00.000000001"), np.datetime64("2026-03-01T00:00:00.000000001")),
    ("timestamp[us, UTC]", "2026-03-01T00:00:00Z", datetime(2026, 3, 1, tzinfo=timezone.utc)),
    ("timestamp[us, UTC]", datetime(2026, 3, 1), datetime(2026, 3, 1, tzinfo=timezone.utc)),
    ("timestamp[us, UTC]", pd.Timestamp("2026-03-01 01:00", tz="Europe/Vienna"), datetime(2026, 3, 1)),
    ("timestamp[us]", datetime(2026, 3, 1, 2, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 3, 1)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "given", "plain"), NUMPY, ids=lambda value: "view" if isinstance(value, memoryview) else repr(value)
)
def test_values_of_other_libraries_are_accepted(kind: str, given: Any, plain: Any) -> None:
    assert key_of(kind, given) == key_of(kind, plain)
    assert KeyCodec({"k": kind}).encode_all([[given, plain]], 2) == [key_of(kind, plain)] * 2


HUGE = [2**63, -(2**63) - 1, 2**64, 2**80, -(2**200), 10**400]
NOWHERE = [
    *(("integer", value) for value in HUGE[3:]),
    ("double", 10**400),
    ("double", -(10**400)),
    ("double", 2**53 + 1),
    ("double", np.int64(-(2**53) - 1)),
    ("float", 2**53 + 1),
    ("string", "a\ud800"),
    ("decimal(4, 2)", Decimal("0.001")),
    ("decimal(4, 2)", Decimal("NaN")),
    ("decimal(4, 2)", Decimal("sNaN")),
    ("decimal(4, 2)", Decimal("Infinity")),
    ("decimal(4, 2)", Decimal("1E+999999")),
    ("decimal(4, 2)", Decimal("1E-999999")),
    ("decimal(4, 2)", Decimal("1." + "0" * 120 + "1")),
    ("decimal(4, 2)", 10**60),
    ("date32", np.datetime64(2**31, "D")),
    ("timestamp[s]", datetime(2026, 3, 1, 0, 0, 0, 1)),
    ("timestamp[s]", np.datetime64("2026-03-01T00:00:00.001")),
    ("timestamp[us]", pd.Timestamp(1, unit="ns")),
    ("timestamp[us]", np.datetime64(1, "ns")),
    ("timestamp[ns]", np.datetime64(1, "ps")),
    ("timestamp[ns]", datetime(9999, 1, 1)),
    ("timestamp[ns]", np.datetime64("4026-03-01", "us")),
]


@pytest.mark.parametrize(("kind", "value"), NOWHERE, ids=lambda each: repr(each)[:40])
def test_a_value_that_the_column_cannot_have_is_nowhere(kind: str, value: Any) -> None:
    assert key_of(kind, value) == b""
    assert KeyCodec({"k": kind}).encode_all([[value]], 1) == [b""]
    assert KeyCodec({"a": "bool", "k": kind}).encode({"a": True, "k": value}) == b""


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("date32", np.datetime64("NaT", "D")),
        ("timestamp[us]", np.datetime64("NaT")),
        ("timestamp[us]", pd.NaT),
        ("timestamp[us, UTC]", pd.NA),
        ("integer", pd.NA),
        ("string", pd.NaT),
        ("double", pd.NA),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_a_null_of_pandas_is_a_null_key(kind: str, value: Any) -> None:
    codec = KeyCodec({"a": "bool", "k": kind})
    assert KeyCodec({"k": kind}).encode({"k": value}) is None
    assert KeyCodec({"k": kind}).encode_all([[value, None]], 2) == [None, None]
    assert codec.encode({"a": True, "k": value}) is codec.encode({"a": True, "k": None}) is None


def test_nan_is_a_key_of_floats() -> None:
    for kind in ("float", "double"):
        assert key_of(kind, float("nan")) == key_of(kind, np.float64("nan")) != key_of(kind, 0.0)


def test_what_pandas_made_of_whole_numbers_and_nulls() -> None:
    for kind, value, meant in (("integer", 5.0, 5), ("integer", math.nan, None), ("string", math.nan, None)):
        told = f"the key 'k' is of type {kind}, and {value} is float; give {meant}, or the whole frame"
        with pytest.raises(EntityError, match=re.escape(told)):
            key_of(kind, value)


def test_the_key_of_no_columns_is_not_that_of_nothing() -> None:
    codec = KeyCodec({})
    assert codec.encode({}) == codec.encode({"k": None}) == b"\0"
    assert [codec.encode_all([], rows) for rows in (0, 1, 3)] == [[], [b"\0"], [b"\0"] * 3]
    assert (codec.decode(b"\0"), codec.read({"k": "1"})) == ({}, {})
    assert KeyCodec({"k": "integer"}).encode({"k": None}) is None


def test_integers_beyond_every_column_have_no_key_of_one() -> None:
    inside = {key_of("integer", value) for value in (-(2**63), -1, 0, 2**63, 2**64 - 1)}
    for value in HUGE:
        assert (key_of("integer", value) in inside) == (value == 2**63)


WRONG = {
    "integer": ["7", 7.0, True, np.True_, Decimal(7), b"7", math.nan, date(2026, 3, 1), np.datetime64(7, "ns"), [7]],
    "bool": [1, "true", 0.0, np.int8(1)],
    "double": ["1", b"1", bytearray(b"1"), True, np.True_, np.datetime64(1, "ns"), 1j, date(2026, 3, 1), [1.0]],
    "float": ["1", True],
    "string": [7, b"a", None.__class__, ["a"], np.bytes_(b"a")],
    "binary": ["a", 7, np.int64(7), np.str_("a"), np.arange(3), [1]],
    "decimal(4, 2)": ["7", 7.0, True, np.True_, np.float64(7), b"7"],
    "date32": [7, datetime(2026, 3, 1), "yesterday", np.datetime64("2026-03-01T00"), np.datetime64(7, "us"), 7.0, b"x"],
    "timestamp[us]": [7, np.int64(7), date(2026, 3, 1), "yesterday", 7.0, b"x", timedelta(1), np.timedelta64(1, "s")],
    "timestamp[ns, UTC]": [7, "noon"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value"), [(kind, each) for kind, values in WRONG.items() for each in values], ids=repr
)
def test_a_value_of_another_type_is_an_error(kind: str, value: Any) -> None:
    told = f"the key 'k' is of type {kind}, and {value!r} is {type(value).__name__}"
    if kind == "integer" and isinstance(value, float):  # see above
        told += f"; give {'None' if math.isnan(value) else 7}, or the whole frame, if that is how pandas has it"
    codec, pair = KeyCodec({"k": kind}), KeyCodec({"a": "integer", "k": kind})
    for encode in (
        lambda: codec.encode({"k": value}),
        lambda: pair.encode({"a": 1, "k": value}),
        lambda: codec.encode_all([[value]], 1),
        lambda: codec.encode_all([Single(value)], 2),
        lambda: pair.encode_all([[1, 2], Single(value)], 2),
    ):
        with pytest.raises(EntityError) as raised:
            encode()
        assert str(raised.value) == told


def test_the_part_that_does_not_fit_is_named() -> None:
    codec = KeyCodec({"a": "integer", "b": "string", "c": "date32"})
    with pytest.raises(EntityError, match=r"^the key 'b' is of type string, and 5 is int$"):
        codec.encode({"a": 1, "b": 5, "c": 6})
    with pytest.raises(EntityError, match=r"^the entity row \{'a': 1, 'c': 2\} has no 'b'; it needs a, b, c$"):
        codec.encode({"a": 1, "c": 2})
    assert codec.encode({"a": 1, "b": None, "c": "no date"}) is None


@settings(RUN, max_examples=number_of(100, 250))
@given(data=st.data())
def test_many_keys_at_once_are_those_of_one_by_one(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from([*WRONG, "integer", "integer"]), min_size=1, max_size=3))
    by_kind: dict[str, list[Any]] = {kind: [None, None] for kind in kinds}
    for kind, plain, other in NUMPY:
        by_kind.setdefault(kind, []).extend([plain, other])
    for kind, value in NOWHERE:
        by_kind.setdefault(kind, []).append(value)
    by_kind["timestamp[ns, UTC]"] = [datetime(2026, 3, 1), np.datetime64(1, "ns"), None]
    rows = data.draw(st.integers(0, 4))
    columns: list[Any] = []
    for kind in kinds:
        wrong = data.draw(st.sampled_from([[], [], [], WRONG[kind]]))
        integers = st.sampled_from([0, -1, 2**63 - 1, 2**63, 2**64 - 1, np.int8(3), np.uint64(9), True])
        some = st.sampled_from([*by_kind[kind], *wrong])
        some = integers if kind == "integer" and not wrong else some
        columns.append(Single(data.draw(some)) if data.draw(st.booleans()) else [data.draw(some) for _ in range(rows)])
    codec = KeyCodec({f"k{i}": kind for i, kind in enumerate(kinds)})
    wide = [[column.value] * rows if isinstance(column, Single) else column for column in columns]

    def one_by_one() -> list[bytes | None]:
        return [codec.encode(dict(zip(codec.columns, row, strict=True))) for row in zip(*wide, strict=True)]

    assert outcome(lambda: codec.encode_all(columns, rows)) == outcome(one_by_one)


def outcome(encode: Callable[[], list[bytes | None]]) -> list[bytes | None] | str:
    """The keys, or what the error says."""
    try:
        return encode()
    except EntityError as error:
        return str(error)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "-7", -7),
        ("double", "-inf", -math.inf),
        ("float", "0.5", 0.5),
        (
            "decimal(38, 2)",
            "123456789012345678901234567890123456.78",
            Decimal("123456789012345678901234567890123456.78"),
        ),
        ("bool", "True", True),
        ("date32", "2026-03-01", date(2026, 3, 1)),
        ("timestamp[us]", "2026-03-01 10:00", datetime(2026, 3, 1, 10)),
        ("timestamp[us, UTC]", "2026-03-01T10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=timezone.utc)),
        ("string", "", ""),
        ("binary", "é", "é".encode()),
    ],
)
def test_keys_are_read_from_text(kind: str, text: str, value: Any) -> None:
    codec = KeyCodec({"k": kind, "other": "string"})
    assert same(codec.read({"k": text})["k"], value)
    assert codec.read({}) == {}
    assert codec.encode({**codec.read({"k": text}), "other": "x"})
    if kind not in ("string", "binary"):
        with pytest.raises(EntityError, match=r"key 'k': 'x y' is not of type"):
            codec.read({"k": "x y"})


def test_types_that_are_no_keys() -> None:
    assert [key_kind(name) for name in ("list<int8>", "struct", "decimal(4)", "timestamp[us, CET]", "int128")] == [
        None
    ] * 5
    table = pa.table({"k": pa.array([[1]], pa.large_list(pa.int8())), "_pit_event": pa.array([0])})
    with pytest.raises(StoreError, match=r"the key 'k' is of type large_list.*, which online keys cannot be"):
        snapshot_of(table)


def test_instants_are_asked_for_in_every_form(tmp_path: Path) -> None:
    numbers = [-(2**63) + 1, 0, 1, 1_772_323_200_000_000_001]
    kind = next(kind for kind in SCALAR if kind.name == "timestamp[ns]")
    table = table_of([kind], [(number,) for number in numbers]).append_column("f", pa.array(range(len(numbers))))
    snapshot = Snapshot("v", ("k0",), table)
    view = StoredView("v", "e", snapshot.kinds, snapshot.layout, None, AT, len(numbers))
    store = open_store(str(tmp_path / "online"), create=True)
    with store.writing(1, lambda message: None) as writer:
        contents = Contents("p", "t", AT, {"v": view}).to_json()
        replace_all(writer, contents, {"v": (view, snapshot)}, {}, 0, False)
    reader = OnlineReader(store, [Request("v", ("f",), "v")])
    moments = np.array(numbers, dtype="datetime64[ns]")
    for asked in (moments, list(moments), pd.Series(moments), pa.array(moments), kind.array(numbers)):
        assert reader.get_online_features({"k0": asked}).to_dict()["f"] == [0, 1, 2, 3]
    assert reader.get_online_features({"k0": moments.astype("datetime64[us]")}).to_dict()["f"] == [None, 1, 1, None]
