"""docs/store-format.md is true, and a store that was written in this format opens for ever.

golden/store_v1 is such a store. While the format's number is 1 it is written anew only if something is added that it
lacks:

    .venv/bin/python -m pytest tests/python/test_store_format.py --update-golden && git diff tests/python/golden
"""

from __future__ import annotations

import json
import math
import re
import shutil
import struct
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import lmdb
import pyarrow as pa
import pytest
from support.dbt import ROOT
from support.plain_keys import plain_key
from support.record_cases import BY_NAME, BYTES, SCALAR, Rows, Type, list_of, plain_record
from writing import replace_all
from xxhash import xxh3_64_hexdigest

from pit_join.errors import StoreError
from pit_join.export.snapshot import Snapshot
from pit_join.online.opening import open_store
from pit_join.records.keys import KeyCodec
from pit_join.records.layout import SCALARS, Field, Layout
from pit_join.records.store_manifest import FORMAT, Contents, StoredService
from pit_join.records.stored_view import StoredView
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader

GOLDEN = Path(__file__).parent / "golden" / "store_v1"
AT = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


# What is in the golden store --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """A view: the types of its key and of its features, by name, and rows of key, event time and features."""

    keys: Mapping[str, Type]
    features: Mapping[str, Type]
    rows: Sequence[tuple[tuple[Any, ...], int | None, tuple[Any, ...]]]
    ttl: timedelta | None = None
    defaults: tuple[Any, ...] | None = None
    missing: tuple[Any, ...] | None = None
    absent: Mapping[str, Any] = field(default_factory=dict)

    def table(self) -> pa.Table:
        """The rows as DuckDB gives them, ascending by key."""
        kinds = [kind_of(kind) for kind in self.keys.values()]
        rows = sorted(self.rows, key=lambda row: plain_key(kinds, row[0]))
        columns = {name: kind.array([row[0][i] for row in rows]) for i, (name, kind) in enumerate(self.keys.items())}
        columns["_pit_event"] = pa.array([row[1] for row in rows], pa.int64())
        return pa.table(columns | self.arrays([row[2] for row in rows]))

    def arrays(self, rows: Sequence[tuple[Any, ...]]) -> dict[str, pa.Array]:
        return {name: kind.array([row[i] for row in rows]) for i, (name, kind) in enumerate(self.features.items())}

    def stored(self, name: str) -> tuple[StoredView, Snapshot]:
        snapshot = Snapshot(name, tuple(self.keys), self.table())
        substitutes = [None if row is None else snapshot.record(pa.table(self.arrays([row]))) for row in
                       (self.defaults, self.missing)]  # fmt: skip
        ttl = None if self.ttl is None else self.ttl // timedelta(microseconds=1)
        view = StoredView(name, "thing", snapshot.kinds, snapshot.layout, ttl, AT, len(self.rows), *substitutes)
        return view, snapshot

    def plain(self, name: str) -> dict[bytes, bytes]:
        """What LMDB must hold of it, made with nothing of the package."""
        kinds = [kind_of(kind) for kind in self.keys.values()]
        rows = Rows(list(self.features.values()), [row[2] for row in self.rows], [row[1] for row in self.rows])
        prefix = struct.pack(">I", zlib.crc32(name.encode()))
        keys = [plain_key(kinds, row[0]) for row in self.rows]
        return {
            prefix + key: plain_record(rows, i, microseconds(AT), list(self.features), name, key)
            for i, key in enumerate(keys)
        }


def kind_of(kind: Type) -> str:
    return "integer" if "int" in kind.name else kind.name


STRING, BINARY, INTEGER = BYTES[0], BYTES[3], BY_NAME["int64"]
PLAIN = [*SCALAR, STRING, BINARY]
TYPES = [*PLAIN, *map(list_of, PLAIN)]
FEATURES = {re.sub(r"\W+", "_", kind.name).strip("_"): kind for kind in TYPES}
MOST = 2**63 - 1


def edges(kind: Type) -> tuple[Any, Any, Any]:
    """A low, a plain and a high value of a type."""
    one = kind.element or kind
    if kind.element:
        low, plain, high = edges(one)
        return [], [plain, None, low, high, *[plain] * 5, None], [high, plain, low]
    if one.name == "string":
        return "", "é\0日😀", "a" * 40
    if one.name == "binary":
        return b"", b"\0\xff", b"\x80" * 9
    if one.name == "bool":
        return False, True, True
    if one.name in ("float", "double"):
        return -0.0, 0.5, math.inf
    if found := re.fullmatch(r"(u?)int(\d+)", one.name):
        bits = int(found[2])
        return (0, 7, 2**bits - 1) if found[1] else (-(2 ** (bits - 1)), 7, 2 ** (bits - 1) - 1)
    if found := re.fullmatch(r"decimal\((\d+), \d+\)", one.name):
        return 1 - 10 ** int(found[1]), -5, 10 ** int(found[1]) - 1
    if one.name == "date32":
        return -(2**31) + 1, 20513, 2**31 - 1
    return -MOST, 1_772_359_200, MOST


def all_types() -> list[tuple[tuple[Any, ...], int | None, tuple[Any, ...]]]:
    found = [edges(kind) for kind in FEATURES.values()]
    nan = [math.nan if kind.name in ("float", "double") else None for kind in FEATURES.values()]
    rows = [*zip(*found, strict=True), tuple(None for _ in FEATURES), tuple(nan)]
    events = [microseconds(AT), 0, -1, microseconds(AT) - 1, 1]
    return [((i,), event, tuple(row)) for i, (event, row) in enumerate(zip(events, rows, strict=True), start=-1)]


ODD = {'ä "quoted"': STRING, "Δ": BY_NAME["double"]}
DAY = 86_400_000_000
VIEWS = {
    "all_types": Given({"id": INTEGER}, FEATURES, all_types(), absent={"id": 404}),
    "all_keys": Given(
        {f"k{i}": kind for i, kind in enumerate(PLAIN)},
        {"number": BY_NAME["int8"]},
        [(tuple(edges(kind)[i] for kind in PLAIN), i, (i,)) for i in range(3)],
    ),
    "pairs": Given(
        {"a": STRING, "b": STRING},
        ODD,
        [((a, b), i, (f"{a}|{b}", float(i)))
         for i, (a, b) in enumerate([("a", "bc"), ("ab", "c"), ("", ""), ("", "\0"), ("\0", ""), ("é", "日\0\0")])],
        absent={"a": "abc", "b": ""},
    ),
    "floats": Given(
        {"x": BY_NAME["double"]},
        {"name": STRING},
        [((x,), 0, (str(x),)) for x in (-math.inf, -1.5, 0.0, 5e-324, math.inf, math.nan)],
        absent={"x": 1.0},
    ),
    "fresh": Given(
        {"id": BY_NAME["uint64"]},
        {"visits": INTEGER, "plan": STRING, "tags": list_of(STRING), "score": BY_NAME["float"]},
        [((2**64 - 1,), microseconds(AT) - DAY, (3, None, ["x"], None)),
         ((7,), microseconds(AT) - DAY - 1, (4, "pro", None, 1.5))],
        ttl=timedelta(days=1),
        defaults=(0, "free", [], None),
        absent={"id": 404},
    ),
    "windows": Given(
        {"id": INTEGER},
        {"count_7d": INTEGER, "mean_7d": BY_NAME["double"], "total_7d": BY_NAME["decimal(38, 0)"]},
        [((1,), microseconds(AT), (2, 0.5, 10**30)), ((2,), None, (0, None, None))],
        defaults=(None, None, -1),
        missing=(0, None, None),
        absent={"id": 404},
    ),
}  # fmt: skip
SERVICES = {
    "one": StoredService((Request("fresh", ("plan", "visits"), "fresh"), Request("windows", ("*",), "windows")), False),
    "two": StoredService(
        (Request("windows", ("count_7d",), "mine"), Request("windows", ("mean_7d",), "theirs", {"id": "other"})), True
    ),
}


def write(folder: Path) -> None:
    """Make the store of these views."""
    stored = {name: given.stored(name) for name, given in VIEWS.items()}
    contents = Contents("golden", "dev", AT, {name: view for name, (view, _) in stored.items()}, SERVICES)
    with open_store(str(folder), create=True).writing(1, lambda message: None) as writer:
        replace_all(writer, contents.to_json(), stored, {}, microseconds(AT), False)


# The golden store -------------------------------------------------------------------------------------------------


def shown(value: Any) -> Any:
    """A value as JSON, with its type."""
    if isinstance(value, list):
        return [shown(each) for each in value]
    if isinstance(value, bytes):
        return f"bytes {value.hex()}"
    return None if value is None else f"{type(value).__name__} {value}"


def answers(folder: Path) -> dict[str, Any]:
    """Everything that a store gives a reader."""
    store = open_store(str(folder))
    contents = Contents.from_json(store.contents()[1] or b"", "the store")
    found: dict[str, Any] = {"views": {}, "services": {}}
    for name, view in contents.views.items():
        reader = OnlineReader(store, [Request(name, ("*",), name)])
        codec = KeyCodec(view.keys)
        keys = sorted(key for key, _ in store.scan(view))
        rows = [codec.decode(key) for key in keys]
        if absent := VIEWS[name].absent:
            rows += [dict(absent), dict.fromkeys(view.keys)]
        got = reader.get_online_features(rows, now=AT)
        lists, statuses, times = got.to_dict(), got.statuses, got.event_timestamps
        found["views"][name] = [
            {
                "key": {key: shown(value) for key, value in row.items()},
                "features": {
                    feature: [shown(lists[feature][i]), statuses[feature][i], shown(times[feature][i])]
                    for feature in view.features
                },
            }
            for i, row in enumerate(rows)
        ]
        for i, row in enumerate(rows):
            one = reader.get(row, now=AT)
            assert {n: shown(v) for n, v in one.items()} == {n: shown(lists[n][i]) for n in view.features}
        plain = OnlineReader(store, [Request(name, ("*",), name)], defaults=False)
        bare = plain.get_online_features(rows, now=AT + timedelta(days=9)).to_dict()
        found["views"][name].append({"without defaults, nine days later": {n: shown(bare[n]) for n in view.features}})
    for name in contents.services:
        reader = OnlineReader(store, name)
        got = reader.get_online_features([{"id": 1, "other": 2}, {"id": 7, "other": 404}], now=AT)
        found["services"][name] = {feature: shown(got.to_dict()[feature]) for feature in reader.names}
    return found


def entries(folder: Path) -> dict[bytes, bytes]:
    """What LMDB holds. Of a copy, since a process may open a store only once."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copy(folder / "data.mdb", copy)
        with lmdb.open(copy, readonly=True, lock=False) as environment, environment.begin() as transaction:
            return dict(transaction.cursor())


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the golden store."""
    if request.config.getoption("--update-golden"):
        made = tmp_path_factory.mktemp("made") / "store"
        write(made)
        GOLDEN.mkdir(exist_ok=True)
        shutil.copy(made / "data.mdb", GOLDEN / "data.mdb")
        text = json.dumps(answers(made), ensure_ascii=False, indent=1)
        (GOLDEN / "expected.json").write_bytes((text + "\n").encode())
    copy = tmp_path_factory.mktemp("golden") / "store"
    copy.mkdir()
    shutil.copy(GOLDEN / "data.mdb", copy)
    return copy


def test_the_golden_store_opens_for_ever(golden: Path) -> None:
    expected = json.loads((GOLDEN / "expected.json").read_bytes())
    found = json.loads(json.dumps(answers(golden)))
    assert list(found["views"]) == list(expected["views"])
    for name, rows in expected["views"].items():
        for one, other in zip(found["views"][name], rows, strict=True):
            assert one == other, name
    assert found == expected


def test_the_golden_store_has_every_type_and_kind(golden: Path) -> None:
    contents = Contents.from_json(entries(golden)[b"\0"], "the store")
    views = contents.views.values()
    types = {each.type for view in views for each in view.layout.fields}
    plain = {*SCALARS, "string", "binary", "decimal(18, 0)", "decimal(38, 0)"}
    assert types >= plain | {f"list<{each}>" for each in plain}
    kinds = {kind for view in views for kind in view.keys.values()}
    assert kinds >= {"integer"} | {each for each in plain if "int" not in each}
    assert all(any(getattr(view, part) is not None for view in views) for part in ("ttl", "defaults", "missing"))
    assert contents.services == SERVICES
    assert (GOLDEN / "data.mdb").stat().st_size < 200_000
    assert sorted(path.name for path in GOLDEN.iterdir()) == ["data.mdb", "expected.json"]


def test_the_same_data_have_the_same_bytes_today(golden: Path, tmp_path: Path) -> None:
    write(tmp_path / "online")
    today, then = entries(tmp_path / "online"), entries(golden)
    contents, before = json.loads(today.pop(b"\0")), json.loads(then.pop(b"\0"))
    assert today == then
    # The contents may have got new names, but not lost any.
    assert before["pit_join_online_store"] <= contents["pit_join_online_store"]
    assert without_news(contents, before) == before
    plain = {key: record for name, given in VIEWS.items() for key, record in given.plain(name).items()}
    assert then == plain


def without_news(now: Any, before: Any) -> Any:
    if isinstance(before, dict):
        return {name: without_news(now[name], value) for name, value in before.items() if name in now}
    return now


def test_an_export_of_the_same_rows_finds_nothing_to_write(golden: Path) -> None:
    stored = {name: given.stored(name) for name, given in VIEWS.items()}
    contents = Contents("golden", "dev", AT, {name: view for name, (view, _) in stored.items()}, SERVICES)
    with open_store(str(golden)).writing(1, lambda message: None) as writer:
        changes = replace_all(writer, contents.to_json(), stored, {}, 1, True)
    assert {name: (each.written, each.deleted) for name, each in changes.items()} == dict.fromkeys(VIEWS, (0, 0))
    assert {name: each.unchanged for name, each in changes.items()} == {n: len(v.rows) for n, v in VIEWS.items()}


# The format's number ----------------------------------------------------------------------------------------------


def changed(change: Mapping[str, Any]) -> bytes:
    contents = Contents("p", "t", AT, {name: given.stored(name)[0] for name, given in VIEWS.items()}, SERVICES)
    plain = json.loads(contents.to_json())
    del plain["checksum"]  # older stores have none
    return json.dumps(plain | change).encode()


def test_contents_come_back_and_new_names_are_ignored() -> None:
    same = Contents.from_json(changed({}), "the store")
    views = json.loads(changed({}))["views"]
    news = changed({"new": 1, "views": {name: view | {"new": {}} for name, view in views.items()}})
    assert Contents.from_json(news, "the store").to_json() == same.to_json()
    assert {**json.loads(same.to_json()), "checksum": ""} == {**json.loads(changed({})), "checksum": ""}
    for name, view in same.views.items():
        given, _ = VIEWS[name].stored(name)
        assert (view.keys, view.layout.id, view.ttl, view.instant, view.defaults, view.missing, view.rows) == (
            given.keys, given.layout.id, given.ttl, given.instant, given.defaults, given.missing, given.rows,
        )  # fmt: skip


def test_a_flipped_bit_of_the_contents_is_never_served() -> None:
    """Neither in the SQL of on-demand features, nor in a ttl; only the name of the checksum itself may be another."""
    contents = Contents("p", "t", AT, {name: given.stored(name)[0] for name, given in VIEWS.items()}, SERVICES)
    data = contents.to_json()
    head, _, tail = data.rpartition(b",")
    assert tail == b'\n "checksum": "%s"\n}' % xxh3_64_hexdigest(head).encode()
    same = Contents.from_json(data, "the store").to_json()
    unseen, refused = set(), set()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        try:
            found = Contents.from_json(bytes(flipped), "the store")
        except StoreError as error:
            refused.add(str(error).partition(":")[0])
        else:
            assert found.to_json() == same
            unseen.add(place)
    assert refused <= {"the store is damaged", "the store is damaged or is not a store of pit-join"}
    name = data.rindex(b"checksum")
    assert unseen <= set(range(len(head) + 1, len(data))), unseen
    assert unseen & set(range(name, name + len("checksum")))


def test_a_newer_format_is_refused() -> None:
    for number in (FORMAT + 1, "1", None, 1.5):
        with pytest.raises(StoreError, match=r"^the store was written by a newer pit-join"):
            Contents.from_json(changed({"pit_join_online_store": number}), "the store")


@pytest.mark.parametrize(
    "change",
    [
        {"views": None},
        {"views": {"v": {}}},
        {"exported_at": "noon"},
        {"exported_at": 5},
        {"services": {"s": {"features": [{}], "full_feature_names": True}}},
        {"services": {"s": {"features": [{"on_demand": "m", "as": "m"}], "full_feature_names": True}}},
        {"services": {"s": {"features": [], "full_feature_names": True, "on_demand": ["select 1"]}}},
        {"services": {"s": {"features": [], "full_feature_names": True, "on_demand": [1, 2]}}},
        {"services": []},
    ],
    ids=repr,
)
def test_contents_that_cannot_be_read_are_damage(change: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match=r"^the store is damaged: its contents cannot be read"):
        Contents.from_json(changed(change), "the store")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"{}", b"5"])
def test_other_contents_are_damage(data: bytes) -> None:
    with pytest.raises(StoreError, match=r"^the store is damaged or is not a store of pit-join"):
        Contents.from_json(data, "the store")


def test_an_unknown_type_is_refused() -> None:
    view = json.loads(changed({}))["views"]["windows"] | {"fields": [["x", "int128"]]}
    with pytest.raises(StoreError, match="does not know the type 'int128'"):
        Contents.from_json(changed({"views": {"v": view}}), "the store")


# The page ---------------------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "store-format.md").read_text()


def section(heading: str) -> str:
    """The text below a heading, up to the next of its level or above."""
    level = heading.split(" ")[0]
    return re.split(rf"^#{{1,{len(level)}}} ", PAGE.split(f"\n{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def tables(text: str) -> list[list[list[str]]]:
    """The rows of each table but for its heading."""
    found: list[list[list[str]]] = []
    for line, before in zip(text.split("\n"), ["", *text.split("\n")], strict=False):
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[2:] for rows in found]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


SHOWN = re.search(r"```json\n(\{.*?)```", PAGE, re.DOTALL)[1]  # type: ignore[index]
EXAMPLE = json.loads(SHOWN)
VIEW = Contents.from_json(SHOWN.encode(), "the page").views["activity"]
ROWS = Rows(
    [INTEGER, BY_NAME["float"], STRING, BY_NAME["bool"], list_of(BY_NAME["int16"])],
    [(7, None, "pro", True, [1, None, -1])],
    [microseconds(datetime(2026, 3, 1, 10, tzinfo=timezone.utc))],
)


def test_the_contents_of_the_page() -> None:
    names = [name for row in tables(section("## Contents"))[0] for name in codes(row[0])]
    role, on_demand = EXAMPLE["services"]["churn_v1"]["features"]
    inside = [*EXAMPLE["services"]["churn_v1"], *role, *on_demand]
    assert set(names) == {*EXAMPLE, *EXAMPLE["views"]["activity"], *inside}
    assert EXAMPLE["pit_join_online_store"] == FORMAT
    again = json.loads(Contents.from_json(SHOWN.encode(), "the page").to_json())
    assert [*again][-1] == "checksum"
    assert again == EXAMPLE | {"checksum": again["checksum"]}  # the page has other white space
    defaults = dict(zip(VIEW.features, VIEW.decoder(VIEW.features).read(VIEW.defaults or b"", b"")[1], strict=True))
    assert defaults == {"visits": 0, "plan": "free", "score": None, "active": None, "recent": None}
    columns = {name: kind.array([defaults[name]]) for name, kind in zip(VIEW.features, ROWS.types, strict=True)}
    snapshot = Snapshot("activity", ("user",), pa.table({"user": ["é"], "_pit_event": [0], **columns}))
    assert snapshot.record(pa.table(columns)) == VIEW.defaults


def test_the_schemas_of_the_page() -> None:
    text = re.search(r"```json\n(\[\[.*?)\n```", PAGE, re.DOTALL)[1]  # type: ignore[index]
    assert text == VIEW.layout.describe()
    assert f"`{VIEW.layout.id:#x}`" in PAGE
    assert zlib.crc32(text.encode()) == VIEW.layout.id
    odd = Layout([Field('é"\\\n\x1f\x7f\u2028/', "int8")])
    assert odd.describe() == '[["é\\"\\\\\\n\\u001f\x7f\u2028/", "int8"]]'


KEYS = tables(section("## Keys"))


@pytest.mark.parametrize(("kinds", "values", "key"), KEYS[1], ids=lambda each: each[:20])
def test_the_keys_of_the_page(kinds: str, values: str, key: str) -> None:
    texts = [text.replace("\\0", "\0") for text in codes(values)]
    codec = KeyCodec({str(i): kind for i, kind in enumerate(codes(kinds))})
    found = codec.encode(codec.read({str(i): text for i, text in enumerate(texts)}))
    assert found is not None
    assert f"`{found.hex(' ')}`" == key
    back = codec.decode(found)
    assert codec.encode(back) == found


def test_the_page_shows_every_kind_of_key() -> None:
    declared = {re.sub(r"\W.*", "", code) for row in KEYS[0] for code in codes(row[0])}
    assert declared == {re.sub(r"\W.*", "", kind) for row in KEYS[1] for kind in codes(row[0])}
    # A UUID is a text for Arrow.
    assert declared == {"uuid", *(re.sub(r"\W.*", "", kind_of(kind)) for kind in PLAIN)}
    widths = {kind: row[1] for row in KEYS[0] for kind in codes(row[0])}
    for kinds, _, key in KEYS[1]:
        (kind, *more), name = codes(kinds), re.sub(r"\(.*", "(p, s)", codes(kinds)[0])
        width = widths[re.sub(r"\[\w+", "[unit", name)]
        assert more or width == "varies" or int(width) == len(codes(key)[0].split(" ")), kind


def test_the_types_of_the_page() -> None:
    seen = set()
    for names, width, _ in tables(section("### Types"))[0]:
        for name in codes(names):
            assert Layout([Field("x", name)]).size == 24 + 8 + int(width), name
            seen.add(name)
    assert {re.sub(r"\(.*|<.*", "", name) for name in seen} == {*SCALARS, "string", "binary", "decimal", "list"}


def test_the_record_of_the_page() -> None:
    lines = re.search(r"```text\n(.*?)```", section("### An example"), re.DOTALL)[1].splitlines()  # type: ignore[index]
    parts = [re.split(r"  +", line) for line in lines]
    shown_record = bytes.fromhex("".join(part[0] for part in parts))
    names = ["visits", "score", "plan", "active", "recent"]
    written = microseconds(AT)
    columns = {name: kind.array([value]) for name, kind, value in zip(names, ROWS.types, ROWS.values[0], strict=True)}
    table = pa.table({"user": ["é"], "_pit_event": ROWS.events, **columns})
    ((key,), (record,)) = next(Snapshot("activity", ("user",), table).in_order())
    assert shown_record == plain_record(ROWS, 0, written, names, "activity", key)
    assert shown_record[8:-8] == record
    assert VIEW.decoder(names).read(shown_record, key) == (ROWS.events[0], ROWS.values[0])
    assert (parts[0][2], parts[1][2]) == (str(written), str(ROWS.events[0]))
    # Each value of the fixed part stands on a line of its own, where the layout says.
    starts = {part[1]: sum(len(bytes.fromhex(p[0])) for p in parts[:i]) for i, part in reversed([*enumerate(parts)])}
    assert {name: starts[name] for name in names} == VIEW.layout.offsets
    prefix = struct.pack(">I", zlib.crc32(b"activity"))
    assert f"`{prefix.hex(' ')}`" in section("## LMDB")
    assert f"`{(prefix + key).hex(' ')}`" in section("### An example")


def test_the_record_of_the_page_lies_in_lmdb_where_it_says(tmp_path: Path) -> None:
    columns = {n: kind.array([v]) for n, kind, v in zip(VIEW.features, ROWS.types, ROWS.values[0], strict=True)}
    table = pa.table({"user": ["é"], "_pit_event": ROWS.events, **columns})
    contents = SHOWN.encode()
    folder = tmp_path / "online"
    with open_store(str(folder), create=True).writing(1, lambda message: None) as writer:
        rows = {"activity": (VIEW, Snapshot("activity", ("user",), table))}
        replace_all(writer, contents, rows, {}, microseconds(AT), False)
    expected = plain_record(ROWS, 0, microseconds(AT), list(VIEW.features), "activity", "é".encode() + b"\0\0")
    assert entries(folder) == {b"\0": contents, bytes.fromhex("ac74095a c3a90000"): expected}
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        codes(row[0])[0] for row in tables(section("## LMDB"))[0]
    )
