"""The bytes of records: columns as Arrow has them against a plain writer of single values, and back.

`plain_record` is docs/store-format.md once more, one value at a time. Encoder and decoder must agree with it and with
each other on every type, null and slice; a record that is damaged or of another schema must never be read.
"""

from __future__ import annotations

import math
import random
import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.record_cases import (
    AT,
    BY_NAME,
    BYTES,
    KEY,
    RUN,
    SCALAR,
    VIEW,
    Rows,
    Type,
    list_of,
    plain_record,
    same,
)
from support.runs import number_of
from writing import replace_all

from pit_join.errors import EntityError, StoreError
from pit_join.export import snapshot as snapshots
from pit_join.export.snapshot import Snapshot
from pit_join.online.opening import open_store
from pit_join.records.layout import NO_TIME, Decoder, Field, Layout, checksum
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader

# Types ----------------------------------------------------------------------------------------------------------


LISTS = [
    *map(list_of, SCALAR + BYTES),
    list_of(BY_NAME["float"], pa.list_(pa.float32())),
    list_of(BY_NAME["bool"], pa.list_(pa.bool_(), 11)),
    list_of(BY_NAME["float"], pa.list_(pa.float32(), 3)),
    list_of(BYTES[1], pa.list_(pa.string(), 2)),
]
TYPES = [*SCALAR, *BYTES, *LISTS]


# Records --------------------------------------------------------------------------------------------------------


@st.composite
def cases(draw: st.DrawFn, types: Sequence[Type] = TYPES, most: int = 9) -> Rows:
    """A few rows of some types; each column has its own share of nulls."""
    chosen = draw(st.lists(st.sampled_from(types), min_size=1, max_size=most))
    share = [draw(st.sampled_from([0, 0, 1, 5, 9, 10])) for _ in chosen]
    tenth = st.integers(0, 9)
    size = draw(st.integers(1, 9))
    values = [
        tuple(None if draw(tenth) < some else draw(kind.values) for kind, some in zip(chosen, share, strict=True))
        for _ in range(size)
    ]
    times = st.none() | st.sampled_from([0, -1, 2**63 - 1, -(2**63) + 1]) | st.integers(-(2**62), 2**62)
    return Rows(chosen, values, [draw(times) for _ in values])


def sealed(record: bytes, written: int = 0) -> bytes:
    whole = struct.pack("<q", written) + record
    return whole + checksum(whole, zlib.crc32(VIEW.encode()), KEY)


def encoded(snapshot: Snapshot) -> list[bytes]:
    return [sealed(record) for _, records in snapshot.in_order() for record in records]


def decoder_of(rows: Rows) -> Decoder:
    fields = [Field(f"f{i}", kind.name) for i, kind in enumerate(rows.types)]
    return reader_of(Layout(fields), [field.name for field in fields])


def reader_of(layout: Layout, names: Sequence[str]) -> Decoder:
    return Decoder(layout, names, zlib.crc32(VIEW.encode()))


def pieces(rows: Rows, cuts: Sequence[int], lead: int) -> pa.Table:
    """The rows as a table of several chunks, each cut out of longer arrays."""
    borders = sorted({0, len(rows.values), *(cut % len(rows.values) for cut in cuts)})
    tables = []
    for first, last in pairwise(borders):
        start = max(0, first - lead)
        tables.append(rows.table(start, min(last + lead, len(rows.values))).slice(first - start, last - first))
    return pa.concat_tables(tables)


@settings(RUN, max_examples=number_of(60, 150))
@given(rows=cases(), cuts=st.lists(st.integers(0, 20), max_size=3), lead=st.integers(0, 9), batch=st.integers(1, 9))
def test_columns_become_the_bytes_of_their_values(rows: Rows, cuts: list[int], lead: int, batch: int) -> None:
    expected = [plain_record(rows, number) for number in range(len(rows.values))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "_BATCH_ROWS", batch)
        snapshot = Snapshot("v", ("k",), pieces(rows, cuts, lead))
        assert encoded(snapshot) == expected
        assert [field.type for field in snapshot.layout.fields] == [kind.name for kind in rows.types]
        unread = Snapshot("v", ("k",), pieces(rows, cuts, lead))
        for number in range(len(rows.types)):
            known = [event for event, row in zip(rows.events, rows.values, strict=True) if row[number] is not None]
            newest = max((event for event in known if event is not None), default=None)
            for noted in (snapshot.noted(), unread.noted()):
                assert noted[f"f{number}"] == (len(rows.values) - len(known), newest)
        take = snapshot.grouped(lambda key: key[-1] % 3, 3)
        for first, end in ((0, 1), (1, 3), (0, 3), (2, 2)):
            keys, records = take(first, end)
            of = {key[-1]: sealed(record) for key, record in zip(keys, records, strict=True)}
            assert of == {i: record for i, record in enumerate(expected) if first <= i % 3 < end}


@settings(RUN, max_examples=number_of(60, 150))
@given(rows=cases(most=70), data=st.data())
def test_bytes_become_the_values(rows: Rows, data: st.DataObject) -> None:
    names = [f"f{i}" for i in range(len(rows.types))]
    chosen = data.draw(st.lists(st.sampled_from(names), unique=True))
    some = reader_of(decoder_of(rows).layout, chosen)
    for number, row in enumerate(rows.values):
        record, event = plain_record(rows, number, written=number), rows.events[number]
        expected = [None if value is None else kind.python(value) for kind, value in zip(rows.types, row, strict=True)]
        decoder = decoder_of(rows)
        decoder.check(record, [len(record)], [KEY])
        assert decoder.read(record, KEY)[0] == (NO_TIME if event is None else event)
        assert same(list(decoder.read(record, KEY)[1]), expected)
        assert same(list(some.read(record, KEY)[1]), [expected[names.index(name)] for name in chosen])


def test_a_layout_is_made_again_of_its_description() -> None:
    fields = [Field(f"é {i}", kind.name) for i, kind in enumerate(TYPES)]
    layout = Layout(fields)
    again = Layout.from_description(layout.describe())
    assert (again.id, again.offsets, again.size, again.fields) == (
        layout.id,
        layout.offsets,
        layout.size,
        tuple(fields),
    )
    others = [fields[::-1], fields[1:], [Field("x", fields[0].type), *fields[1:]], [Field("é 0", "int8"), *fields[1:]]]
    assert len({layout.id, *(Layout(other).id for other in others)}) == 5


def test_a_view_may_have_no_feature() -> None:
    table = pa.table({"k": pa.array([1, 2]), "_pit_event": pa.array([5, None], pa.int64())})
    snapshot = Snapshot("v", ("k",), table)
    first, second = encoded(snapshot)
    decoder = reader_of(snapshot.layout, [])
    assert (decoder.read(first, KEY), decoder.read(second, KEY)) == ((5, ()), (NO_TIME, ()))


@pytest.mark.parametrize("many", [63, 64, 65, 128, 129])
def test_the_bitmap_of_nulls_grows_by_words(many: int) -> None:
    kind = BY_NAME["int8"]
    rows = Rows([kind] * many, [tuple(None if i in (0, many - 1) else i - 64 for i in range(many))], [0])
    (record,) = encoded(Snapshot("v", ("k",), rows.table(0, 1)))
    assert record == plain_record(rows, 0)
    assert len(record) == 24 + -(-many // 64) * 8 + many + 8
    assert decoder_of(rows).read(record, KEY)[1] == rows.values[0]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([None], pa.time64("us")),
        pa.array([None], pa.duration("us")),
        pa.array([None], pa.decimal256(40, 2)),
        pa.array([None], pa.decimal64(9, 2)),
        pa.array([None], pa.struct({"a": pa.int8()})),
        pa.array([None], pa.large_list(pa.large_list(pa.int8()))),
        pa.array([None], pa.map_(pa.string(), pa.int8())),
        pa.array([None], pa.string_view()),
        pa.array([None], pa.date64()),
        pa.array([None], pa.float16()),
        pa.nulls(1),
    ],
    ids=lambda column: str(column.type),
)
def test_a_type_that_the_store_cannot_hold_is_named(column: pa.Array) -> None:
    table = pa.table({"k": pa.array([1]), "_pit_event": pa.array([0]), "odd one": column})
    with pytest.raises(StoreError, match=r"^v: the column 'odd one' is of type .*, which the online store cannot hold"):
        Snapshot("v", ("k",), table)


# Damage ---------------------------------------------------------------------------------------------------------

DAMAGED = "a record of the online store is damaged"


def example(types: Sequence[Type], number: int) -> Rows:
    """A row without draws: the plainest value of each type, then nulls."""
    source = random.Random(number)
    plain: dict[str, Any] = {"string": "é\0", "binary": b"\xff\0"}
    row: list[Any] = []
    for kind in types:
        one = kind.element or kind
        value = plain.get(one.name, source.randrange(2))
        row.append([value, None, value] if kind.element else value)
    row[number % len(row)] = None
    return Rows(list(types), [tuple(row)], [1_772_000_000_000_000])


SOME = [BY_NAME[name] for name in ("bool", "int16", "uint64", "float", "double", "decimal(38, 0)", "date32")]
SOME += [BYTES[0], BYTES[3], list_of(BY_NAME["int32"]), list_of(BYTES[0])]


def refused(decoder: Decoder, record: bytes, why: str, key: bytes = KEY) -> None:
    with pytest.raises(StoreError, match=why):
        decoder.read(record, key)
    if record:  # a length of 0 says that there is no record
        with pytest.raises(StoreError, match=why):
            decoder.check(record, [len(record)], [key])


@pytest.mark.parametrize("types", [SOME, SOME[:1], SOME[-1:]], ids=["many", "bool", "texts"])
def test_every_flipped_bit_is_found(types: list[Type]) -> None:
    rows = example(types, 3)
    record, decoder = plain_record(rows, 0, written=5), decoder_of(rows)
    decoder.check(record, [len(record)], [KEY])
    for bit in range(8 * len(record)):
        damaged = bytearray(record)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(decoder, bytes(damaged), DAMAGED)


def test_every_cut_and_every_longer_record_is_found() -> None:
    rows = example(SOME, 3)
    record, decoder = plain_record(rows, 0), decoder_of(rows)
    for size in range(len(record)):
        refused(decoder, record[:size], DAMAGED)
        if size:
            refused(decoder, record[-size:], DAMAGED)
    for more in (b"\0", bytes(8), record):
        refused(decoder, record + more, DAMAGED)
        refused(decoder, more + record, DAMAGED)


def test_damage_among_many_records_is_found() -> None:
    rows = example(SOME, 3)
    record, decoder = plain_record(rows, 0), decoder_of(rows)
    size = len(record)
    decoder.check(record * 3, [size, 0, size, 0, 0, size], [KEY] * 6)
    for number in range(3):
        damaged = bytearray(record * 3)
        damaged[size * number + 30] ^= 4
        with pytest.raises(StoreError, match=DAMAGED):
            decoder.check(bytes(damaged), [size, 0, size, 0, 0, size], [KEY] * 6)
    with pytest.raises(StoreError, match=DAMAGED):
        decoder.check(record * 2, [size - 1, size + 1], [KEY] * 2)


def test_a_record_of_another_key_or_view_is_found() -> None:
    rows = example(SOME, 3)
    decoder = decoder_of(rows)
    for key in (b"", KEY[:-1], KEY + b"\0", b"l"):
        refused(decoder, plain_record(rows, 0), DAMAGED, key)
        refused(decoder, plain_record(rows, 0, key=key), DAMAGED)
    refused(decoder, plain_record(rows, 0, view="w"), DAMAGED)


def test_a_whole_record_of_another_schema_is_refused() -> None:
    rows = example(SOME, 3)
    decoder = decoder_of(rows)
    shorter = plain_record(example(SOME[:1], 3), 0)
    for other in (shorter, plain_record(example(SOME[::-1], 3), 0), sealed(bytes(16))):
        refused(decoder, other, "a record has another schema")
    for whole in (b"", bytes(8), bytes(15)):  # too short to say which
        refused(decoder, whole + checksum(whole, zlib.crc32(VIEW.encode()), KEY), DAMAGED)


# Matrices -------------------------------------------------------------------------------------------------------

NUMBERS = [kind for kind in SCALAR if kind.name == "bool" or "int" in kind.name or kind.name in ("float", "double")]
NUMBERS += [kind for kind in SCALAR if kind.name.startswith("decimal")]


def as_float(value: Any) -> float:
    return math.nan if value is None else float(value)


def test_a_matrix_has_the_values(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "online"), create=True)

    @settings(RUN, max_examples=number_of(24, 60))
    @given(rows=cases(NUMBERS), text=st.booleans(), backwards=st.booleans())
    def check(rows: Rows, text: bool, backwards: bool) -> None:
        if text:
            rows = Rows([*rows.types, BYTES[0]], [(*row, "x" * i) for i, row in enumerate(rows.values)], rows.events)
        size = len(rows.values)
        snapshot = Snapshot("v", ("k",), rows.table(0, size))
        view = StoredView("v", "e", snapshot.kinds, snapshot.layout, None, AT, size)
        contents = Contents("p", "t", AT, {"v": view}).to_json()
        with store.writing(1, lambda message: None) as writer:
            replace_all(writer, contents, {"v": (view, snapshot)}, {}, 0, False)
        names = [f"f{i}" for i, kind in enumerate(rows.types) if kind.name != "string"]
        names = names[::-1] if backwards else names
        reader = OnlineReader(store, [Request("v", tuple(names), "v")])
        keys = [*range(size), size, 0]
        found = reader.get_online_features({"k": keys}, now=AT)
        lists = found.to_dict()
        matrix = found.to_numpy("float64")
        assert matrix.shape == (len(keys), len(names))
        for i, name in enumerate(names):
            for j, key in enumerate(keys):
                kind = rows.types[int(name[1:])]
                value = rows.values[key][int(name[1:])] if key < size else None
                expected = None if value is None else kind.python(value)
                assert same(lists[name][j], expected)
                given, number = float(matrix[j, i]), as_float(expected)
                # A decimal is divided as floats are, and may be the neighbour of the nearest one.
                close = kind.name.startswith("decimal") and math.isclose(given, number, rel_tol=1e-15)
                assert same(given, number) or close, (kind.name, given, number)
        for j, key in enumerate(keys[:-1]):
            assert same(list(reader.get({"k": key}).values()), [lists[name][j] for name in names])

    check()


def test_what_is_no_number_is_in_no_matrix(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "online"), create=True)
    types = [BYTES[0], BY_NAME["date32"], BY_NAME["timestamp[us]"], list_of(BY_NAME["float"])]
    rows = Rows(types, [("1", 1, 1, [1.0])], [0])
    snapshot = Snapshot("v", ("k",), rows.table(0, 1))
    view = StoredView("v", "e", snapshot.kinds, snapshot.layout, None, AT, 1)
    with store.writing(1, lambda message: None) as writer:
        contents = Contents("p", "t", AT, {"v": view}).to_json()
        replace_all(writer, contents, {"v": (view, snapshot)}, {}, 0, False)
    for i in range(len(types)):
        found = OnlineReader(store, [Request("v", (f"f{i}",), "v")]).get_online_features({"k": [0]})
        with pytest.raises(EntityError, match=f"the feature 'f{i}' is of type .*, which is not a number; leave it out"):
            found.to_numpy()
