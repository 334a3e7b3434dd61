"""`pit-join verify`: it finds nothing where nothing is wrong, and by name whatever was planted."""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from support.dbt import Built, copied, run_dbt
from support.projects import BASE, KEYS, make_project, run, view
from writing import replace_all

from pit_join import FeatureStore, PitJoinError, StoreError
from pit_join.cli.main import main
from pit_join.export import export as export_module
from pit_join.monitoring.parity import Difference
from pit_join.online.opening import open_store
from pit_join.online.protocol import OnlineStore
from pit_join.project.dbt_project import Project
from pit_join.records.keys import KeyCodec
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.training.equality import same
from pit_join.warehouse.duckdb_session import DuckDBWarehouse

pytestmark = pytest.mark.dbt

AT = datetime(2013, 3, 9, 12, tzinfo=timezone.utc)
VIEW = "carrier_daily_delay"
FEATURES = ("carrier_flights_1d", "carrier_dep_delay_1d", "carrier_arr_delay_1d", "carrier_late_share_1d")
B6 = {"carrier": "B6"}
MICROSECOND = timedelta(microseconds=1)
NESTED, FLOATS, DOUBLES = pa.list_(pa.list_(pa.int64())), pa.list_(pa.float32(), 1), pa.large_list(pa.float64())
NAN = float("nan")

Records = dict[bytes, bytes]
"""Keys, and records without the time at which they were written and their checksum."""


@pytest.fixture(scope="module")
def project(demo: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo, exported as of `AT`; a test takes a copy of the store, and mends the warehouse after it."""
    directory = tmp_path_factory.mktemp("parity") / "demo"
    copied(demo, directory)
    FeatureStore(directory).export(as_of=AT)
    return directory


@pytest.fixture
def store(project: Path, tmp_path: Path) -> Iterator[OnlineStore]:
    shutil.copytree(project / "online" / "dev", tmp_path / "online")
    with closing(open_store(str(tmp_path / "online"))) as opened:
        yield opened


@pytest.fixture
def features(project: Path, store: OnlineStore, tmp_path: Path) -> FeatureStore:
    return FeatureStore(project, online_store=tmp_path / "online")


@pytest.fixture
def warehouse(project: Path) -> Iterator[Callable[[str], None]]:
    """Runs SQL in the warehouse, which is then put back."""
    path, kept = project / "warehouse.duckdb", project / "kept.duckdb"
    shutil.copy(path, kept)

    def run(sql: str) -> None:
        with duckdb.connect(str(path)) as connection:
            connection.execute(sql)

    yield run
    kept.replace(path)


@pytest.fixture
def cli(project: Path, tmp_path: Path) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(
            main, ["--project-dir", str(project), "--store", str(tmp_path / "online"), *arguments]
        )

    return run


class Planted:
    """Records as an exporter hands them over; the store itself seals them with a right checksum."""

    def __init__(self, records: Records) -> None:
        self._records, self.count = dict(sorted(records.items())), len(records)

    def in_order(self) -> Iterator[tuple[list[bytes], list[bytes]]]:
        yield list(self._records), list(self._records.values())

    def grouped(self, group_of: Callable[[bytes], int], groups: int) -> Any:
        raise AssertionError("the store in a folder wants the records in order")


def view_of(store: OnlineStore, name: str = VIEW) -> StoredView:
    return contents_of(store).views[name]


def contents_of(store: OnlineStore) -> Contents:
    _, data = store.contents()
    assert data is not None
    return Contents.from_json(data, "the store of the test")


def key_of(store: OnlineStore, **key: Any) -> bytes:
    encoded = KeyCodec(view_of(store).keys).encode(key)
    assert encoded
    return encoded


def value_of(store: OnlineStore, key: bytes, feature: str) -> Any:
    (record,) = [record for found, record in store.scan(view_of(store)) if found == key]
    return view_of(store).decoder([feature]).read(record, key)[1][0]


def plant(store: OnlineStore, change: Callable[[Records], Any]) -> None:
    """Change the records of the view; all others stay as they are."""
    contents = contents_of(store)
    records = {key: record[8:-8] for key, record in store.scan(contents.views[VIEW])}
    change(records)
    kept = {name: view for name, view in contents.views.items() if name != VIEW}
    with store.writing(1, lambda message: None) as writer:
        written = {VIEW: (contents.views[VIEW], Planted(records))}
        replace_all(writer, contents.to_json(), written, kept, 1, False)


def differences(features: FeatureStore, sample: int | None = None) -> tuple[Difference, ...]:
    found = features.verify([VIEW], sample=sample)
    assert found.found == len(found.differences)
    return found.differences


def difference(feature: str, offline: Any, online: Any, key: dict[str, Any] | None = None) -> Difference:
    return Difference(VIEW, key or B6, feature, offline, online)


# Nothing is wrong ---------------------------------------------------------------------------------------------


@pytest.mark.rest
def test_exports_of_three_instants_differ_in_nothing(features: FeatureStore, project: Path) -> None:
    """Forward and back; between them windows slide, and rows come that were late."""
    every = set(features.registry().views)
    stored = set()
    for instant in (AT, AT + timedelta(days=1, hours=6, microseconds=1), AT - timedelta(days=1, hours=12)):
        done = features.export(as_of=instant)
        assert set(done.views) == every
        found = features.verify()
        assert (found.found, found.differences) == (0, ())
        assert set(found.keys) == every
        assert found.values > 20_000
        stored.add(tuple(sorted((name, each.unchanged + each.written) for name, each in done.views.items())))
    assert len(stored) == 3


def test_a_view_that_was_exported_at_another_instant_is_compared_as_of_that(features: FeatureStore) -> None:
    later = AT + timedelta(hours=13)
    features.export([VIEW], as_of=later)
    found = features.verify([VIEW, "airport_weather"])
    assert (dict(found.keys), found.found) == ({VIEW: 15, "airport_weather": 3}, 0)


# What was planted in the store --------------------------------------------------------------------------------


def test_a_changed_value(features: FeatureStore, store: OnlineStore) -> None:
    key, layout = key_of(store, **B6), view_of(store).layout
    right = value_of(store, key, "carrier_arr_delay_1d")

    def change(records: Records) -> None:
        record = bytearray(records[key])
        struct.pack_into("<d", record, layout.offsets["carrier_arr_delay_1d"] - 8, right + 1e-9)
        records[key] = bytes(record)

    plant(store, change)
    assert differences(features) == (difference("carrier_arr_delay_1d", right, right + 1e-9),)


@pytest.mark.parametrize(
    ("one", "other", "added_up", "plain"),
    [
        (1_000_000_003.0, 1_000_000_002.9, True, False),
        ([1.0, None], [1.0 + 1e-12, None], True, False),
        (1.0, 1.0 + 1e-6, False, False),
        (float("nan"), float("nan"), True, True),
        (1, 1.0, False, False),
    ],
)
def test_only_what_was_added_up_may_differ_in_its_last_digits(
    one: Any, other: Any, added_up: bool, plain: bool
) -> None:
    """The greatest of some floats is one of them, to the bit, also in a window."""
    offline, online = pa.array([one]), pa.array([other])
    found = [same(offline, online, tolerance).to_pylist() for tolerance in (1e-9, None)]
    assert found == [[added_up], [plain]]


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (pa.scalar(2**31 - 1, pa.int32()), pa.scalar(2**31 - 1, pa.int64()), True),
        (pa.scalar(2**64 - 1, pa.uint64()), pa.scalar(-1, pa.int64()), False),
        (pa.scalar(0.5, pa.float32()), pa.scalar(0.5, pa.float64()), True),
        (pa.scalar(0.1, pa.float32()), pa.scalar(0.1, pa.float64()), False),
        (pa.scalar(Decimal("1.5"), pa.decimal128(38, 1)), pa.scalar(Decimal("1.500"), pa.decimal128(9, 3)), True),
        (pa.scalar(Decimal("1.5"), pa.decimal128(38, 1)), pa.scalar(Decimal("1.501"), pa.decimal128(9, 3)), False),
        (pa.scalar([1, None], pa.list_(pa.int8())), pa.scalar([1, None], pa.list_(pa.uint64())), True),
        (pa.scalar([1, 2], pa.list_(pa.int8())), pa.scalar([1, 3], pa.list_(pa.uint64())), False),
        (pa.scalar([1, 2], pa.list_(pa.int8(), 2)), pa.scalar([1, 2], pa.large_list(pa.int8())), True),
        (pa.scalar([1, 2], pa.list_(pa.int8(), 2)), pa.scalar([1], pa.list_(pa.int8(), 1)), False),
        (pa.scalar([], pa.large_list(pa.int8())), pa.scalar(None, pa.list_(pa.int8())), False),
        (pa.scalar([1], pa.large_list(pa.int8())), pa.scalar([1], pa.list_(pa.float64())), False),
        (pa.scalar([[1], None], pa.large_list(pa.list_(pa.int8(), 1))), pa.scalar([[1], None], NESTED), True),
        (pa.scalar([[1], []], NESTED), pa.scalar([[1], None], NESTED), False),
        (pa.scalar({"a": [NAN]}, pa.struct({"a": FLOATS})), pa.scalar({"a": [NAN]}, pa.struct({"a": DOUBLES})), True),
        (pa.scalar({"a": [1]}, pa.struct({"a": FLOATS})), pa.scalar({"a": [2]}, pa.struct({"a": DOUBLES})), False),
        (pa.scalar({"a": 1}, pa.struct({"a": pa.int8()})), pa.scalar({"b": 1}, pa.struct({"b": pa.int8()})), False),
        (pa.scalar({"a": None}, pa.struct({"a": FLOATS})), pa.scalar(None, pa.struct({"a": FLOATS})), False),
        (pa.scalar("a", pa.large_string()), pa.scalar("a", pa.string()), True),
        (pa.scalar(AT, pa.timestamp("s", "UTC")), pa.scalar(AT, pa.timestamp("us", "UTC")), True),
        (pa.scalar(AT, pa.timestamp("us", "UTC")), pa.scalar(AT, pa.timestamp("us")), False),
        (pa.scalar(1, pa.int8()), pa.scalar(True), False),
        (pa.scalar(None, pa.int8()), pa.scalar(None, pa.string()), True),
        (pa.scalar(None, pa.int8()), pa.scalar(0, pa.int64()), False),
    ],
)
def test_only_the_width_of_a_type_does_not_tell_values_apart(one: pa.Scalar, other: pa.Scalar, equal: bool) -> None:
    columns = (pa.array([each.as_py()], each.type) for each in (one, other))
    assert same(*columns).to_pylist() == [equal]


# Types of elements, each with two texts that are values of it.
ELEMENTS = {
    "boolean": ("true", "false"), "tinyint": ("-128", "127"), "ubigint": ("0", "18446744073709551615"),
    "bigint": ("-9223372036854775808", "1"), "float": ("0.1", "nan"), "double": ("-0.1", "nan"),
    "decimal(5, 2)": ("1.50", "-999.99"), "decimal(38, 0)": ("1", "-" + "9" * 38), "varchar": ("", "a\u00e9"),
    "blob": ("\\x00", "a"), "date": ("0001-01-01", "9999-12-31"),
    "timestamp": ("infinity", "2026-01-01 00:00:00.000001"),
    "timestamptz": ("0001-01-01 00:00:00+00", "-infinity"), "timestamp_s": ("1969-12-31 23:59:59", "2026-01-01"),
    "timestamp_ms": ("1969-12-31 23:59:59.999", "2026-01-01"),
    "timestamp_ns": ("1969-12-31 23:59:59.999999999", "2026-01-01 00:00:00.000000001"), "enum('x', 'y')": ("x", "y"),
}  # fmt: skip
LISTS = {f"f{i}": (f"{kind}{form}", kind) for i, (kind, form) in enumerate(product(ELEMENTS, ("[]", "[2]")))}


def test_lists_and_arrays_of_every_type(tmp_path: Path) -> None:
    """Whole ones, with a null in them, empty ones, and nulls: none differs, and a changed element does."""
    columns = ", ".join(f'{{name: {name}, data_type: "{kind}"}}' for name, (kind, _) in LISTS.items())
    folder = make_project(tmp_path / "lab", {"lists": view(KEYS, f"{BASE}, {columns}")})

    def build(change: bool = False) -> None:
        rows = []
        for i in range(4):
            values = [f"'{i}'", "timestamptz '2026-01-01 00:00:00+00'"]
            for kind, element in LISTS.values():
                one, other = (f"'{text}'::{element}" for text in ELEMENTS[element])
                empty = "[]" if kind.endswith("[]") else "[null, null]"
                listed = (f"[{one}, {other}]", f"[null, {other if change else one}]", empty, "null")
                values.append(f"{listed[i]}::{kind}")
            rows.append(f"({', '.join(values)})")
        with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
            names = ", ".join(["user_id", "event_timestamp", *LISTS])
            connection.execute(f"create or replace table lists as select * from (values {', '.join(rows)}) t({names})")

    build()
    features = FeatureStore(folder)
    features.export()
    found = features.verify()
    assert (found.values, found.differences) == (4 * len(LISTS), ())
    build(change=True)
    found = features.verify()
    assert {(one.key["user_id"], one.feature) for one in found.differences} == {("1", name) for name in LISTS}
    # Both sides are shown alike, to the nanosecond.
    nanoseconds = found.differences[[kind for kind, _ in LISTS.values()].index("timestamp_ns[]")]
    before, after = map(np.datetime64, ELEMENTS["timestamp_ns"])
    assert (nanoseconds.offline, nanoseconds.online) == ([None, after], [None, before])


def test_a_removed_record(features: FeatureStore, store: OnlineStore) -> None:
    key, view = key_of(store, **B6), view_of(store)
    right = {name: value_of(store, key, name) for name in FEATURES}
    (record,) = [record for found, record in store.scan(view) if found == key]
    event = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=struct.unpack_from("<q", record, 8)[0])
    plant(store, lambda records: records.pop(key))
    default = {"carrier_flights_1d": 0}
    assert differences(features) == (
        *(difference(name, right[name], default.get(name)) for name in FEATURES),
        difference("status", "PRESENT", "NOT_FOUND"),
        difference("event time", event, None),
    )


@pytest.mark.parametrize("sample", [None, 20])
def test_an_additional_record(features: FeatureStore, store: OnlineStore, sample: int | None) -> None:
    """A sample as large as the store looks at each of its keys too."""
    key, other = key_of(store, carrier="B6"), key_of(store, carrier="B66")
    right = {name: value_of(store, key, name) for name in FEATURES}
    plant(store, lambda records: records.update({other: records[key]}))
    found = differences(features, sample)
    default = {"carrier_flights_1d": 0}
    assert {one.feature: (one.offline, one.online) for one in found if one.feature != "event time"} == {
        **{name: (default.get(name), right[name]) for name in FEATURES},
        "status": ("NOT_FOUND", "PRESENT"),
    }
    assert {one.key["carrier"] for one in found} == {"B66"}
    assert len(found) == len(FEATURES) + 2


@pytest.mark.parametrize("step", [-1, 1])
def test_an_event_time_off_by_a_microsecond(features: FeatureStore, store: OnlineStore, step: int) -> None:
    key = key_of(store, **B6)

    def change(records: Records) -> None:
        (event,) = struct.unpack_from("<q", records[key])
        records[key] = struct.pack("<q", event + step) + records[key][8:]

    plant(store, change)
    (found,) = differences(features)
    assert (found.view, dict(found.key), found.feature) == (VIEW, B6, "event time")
    assert found.online - found.offline == step * MICROSECOND


def test_a_value_made_null(features: FeatureStore, store: OnlineStore) -> None:
    """Of the two nulls the one with a default is served as that, and neither is taken for the value 0."""
    key, layout = key_of(store, **B6), view_of(store).layout
    right = {name: value_of(store, key, name) for name in FEATURES}

    def change(records: Records) -> None:
        record = bytearray(records[key])
        record[layout.bitmap - 8] |= 0b0101  # the first and the third feature
        record[12] |= 1
        records[key] = bytes(record)

    assert [field.name for field in layout.fields] == list(FEATURES)
    plant(store, change)
    assert differences(features) == (
        difference(FEATURES[0], right[FEATURES[0]], 0),
        difference(FEATURES[2], right[FEATURES[2]], None),
    )


# What was changed in the warehouse ----------------------------------------------------------------------------


def test_another_type_with_equal_values(
    features: FeatureStore, project: Path, warehouse: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the YAML says so, since the store has the type that was exported."""
    warehouse(f"alter table {VIEW} alter carrier_flights_1d type double")
    with pytest.raises(PitJoinError, match="'carrier_flights_1d' is declared bigint, and the table's is DOUBLE"):
        features.verify([VIEW])
    declared = Project.manifest

    def manifest(project: Project) -> dict[str, Any]:
        found = declared(project)
        found["nodes"][f"model.pit_join.{VIEW}"]["columns"]["carrier_flights_1d"]["data_type"] = "double"
        return found

    monkeypatch.setattr(Project, "manifest", manifest)
    found = differences(features)
    assert len(found) == 15
    for one in found:
        assert one.feature == "carrier_flights_1d"
        assert (type(one.offline), type(one.online)) == (float, int)
        assert one.offline == one.online


@pytest.mark.parametrize(("late", "known"), [(timedelta(0), True), (MICROSECOND, False)])
def test_a_row_that_came_later(
    features: FeatureStore, warehouse: Callable[[str], None], late: timedelta, known: bool
) -> None:
    """The lag is six hours: known at the instant itself, or a microsecond after it."""
    event = AT - timedelta(hours=6) + late
    warehouse(f"""
        insert into {VIEW} (carrier, event_timestamp, carrier_flights_1d, carrier_arr_delay_1d)
        values ('B6', '{event.isoformat()}', 12345, null)
    """)
    found = {one.feature: one for one in differences(features)}
    assert (set(found) == {*FEATURES, "event time"}) is known
    assert bool(found) is known
    if known:
        assert (found[FEATURES[0]].offline, found["event time"].offline) == (12345, event)
        assert found[FEATURES[2]].offline is None


def test_a_row_of_a_new_key(features: FeatureStore, warehouse: Callable[[str], None]) -> None:
    event = AT - timedelta(days=1)
    warehouse(f"insert into {VIEW} values ('ZZ', '{event.isoformat()}', 0, null, null, null)")
    # The default of the first is 0 as well.
    assert differences(features) == (
        difference("status", "PRESENT", "NOT_FOUND", {"carrier": "ZZ"}),
        difference("event time", event, None, {"carrier": "ZZ"}),
    )


def test_a_row_made_null(features: FeatureStore, store: OnlineStore, warehouse: Callable[[str], None]) -> None:
    right = {name: value_of(store, key_of(store, **B6), name) for name in FEATURES}
    nulls = ", ".join(f"{name} = null" for name in FEATURES)
    warehouse(f"update {VIEW} set {nulls} where carrier = 'B6'")
    assert differences(features) == (
        difference(FEATURES[0], 0, right[FEATURES[0]]),
        *(difference(name, None, right[name]) for name in FEATURES[1:]),
        difference("status", "NULL_VALUE", "PRESENT"),
    )


# The command line ---------------------------------------------------------------------------------------------


def test_the_command_names_what_differs(cli: Callable[..., Result], store: OnlineStore) -> None:
    key, layout = key_of(store, **B6), view_of(store).layout
    right = value_of(store, key, "carrier_flights_1d")
    asked = ("verify", "--select", f"{VIEW},airport_weather", "--all")
    done = cli(*asked)
    assert (done.exit_code, done.stdout) == (0, "2 views, 18 keys, 81 values compared: 0 differences\n")

    def change(records: Records) -> None:
        record = bytearray(records[key])
        struct.pack_into("<q", record, layout.offsets["carrier_flights_1d"] - 8, right + 1)
        records[key] = bytes(record)

    plant(store, change)
    done = cli(*asked)
    assert done.exit_code == 1
    heading, _, row, said = done.stdout.splitlines()
    assert heading.split() == ["view", "key", "feature", "offline", "online"]
    assert row.split() == [VIEW, "carrier=B6", "carrier_flights_1d", str(right), str(right + 1)]
    assert said == "2 views, 18 keys, 81 values compared: 1 differences"

    done = cli(*asked, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "keys": {VIEW: 15, "airport_weather": 3},
        "values": 81,
        "found": 1,
        "changed": {},
        "descriptions": [],
        "differences": [
            {
                "view": VIEW,
                "key": B6,
                "feature": "carrier_flights_1d",
                "offline": str(right),
                "online": str(right + 1),
                "sensitive": False,
            }
        ],
    }
    # What is not compared is not found.
    assert cli("verify", "--select", "airport_weather").exit_code == 0


@pytest.mark.usefixtures("store")
def test_the_command_shows_some_of_many(cli: Callable[..., Result], warehouse: Callable[[str], None]) -> None:
    for name in FEATURES[1:]:
        warehouse(f"update {VIEW} set {name} = -{name} - 1")
    done = cli("verify", "--select", VIEW, "--all")
    assert done.exit_code == 1
    *shown, said = done.stdout.splitlines()
    assert len(shown) == 22
    assert said == "1 views, 15 keys, 60 values compared: 45 differences (20 are shown)"


def test_a_sample(cli: Callable[..., Result], features: FeatureStore) -> None:
    """So many keys of the history, and as many of the store unless they are the same."""
    done = cli("verify", "--select", VIEW, "--sample", "4", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["found"]) == (0, 0)
    assert 4 <= found["keys"][VIEW] <= 8
    assert found["values"] == 4 * found["keys"][VIEW]
    assert features.verify([VIEW], sample=15).keys == {VIEW: 15}


@pytest.mark.usefixtures("store")
def test_a_sample_finds_what_is_everywhere(cli: Callable[..., Result], warehouse: Callable[[str], None]) -> None:
    warehouse(f"update {VIEW} set carrier_flights_1d = carrier_flights_1d + 1")
    done = cli("verify", "--select", VIEW, "--sample", "1", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["found"] >= 1


# Bad input ----------------------------------------------------------------------------------------------------


def test_an_unknown_view(cli: Callable[..., Result], features: FeatureStore) -> None:
    with pytest.raises(PitJoinError, match=r"unknown feature view 'airport_wether'; did you mean 'airport_weather'"):
        features.export(["airport_wether"])
    with pytest.raises(PitJoinError, match=r"the online store has no view 'airport_wether'; did you mean"):
        features.verify(["airport_wether"])
    for command in ("export", "verify"):
        done = cli(command, "--select", "airport_wether")
        assert (done.exit_code, done.stdout) == (2, "")
        assert "did you mean 'airport_weather'" in done.stderr


def test_a_store_without_an_export(project: Path, tmp_path: Path, cli: Callable[..., Result]) -> None:
    features = FeatureStore(project, online_store=tmp_path / "online")
    with pytest.raises(StoreError, match=r"there is no online store in .*; run pit-join export"):
        features.verify()
    assert cli("verify").exit_code == 3
    open_store(str(tmp_path / "online"), create=True)
    with pytest.raises(StoreError, match="nothing was exported to the online store yet; run pit-join export"):
        features.verify()
    done = cli("verify", "--all")
    assert (done.exit_code, done.stdout) == (3, "")


def test_a_dry_run_into_nothing_leaves_nothing(project: Path, tmp_path: Path) -> None:
    features = FeatureStore(project, online_store=tmp_path / "online")
    done = features.export([VIEW], as_of=AT, dry_run=True)
    assert done.views[VIEW].written == 15
    with pytest.raises(StoreError, match="there is no online store in"):
        features.verify()


def test_instants_that_cannot_be(cli: Callable[..., Result], features: FeatureStore, store: OnlineStore) -> None:
    before = store.contents()
    with pytest.raises(PitJoinError, match="lies in the future: what will be known then is not known yet"):
        features.export(as_of=datetime.now(timezone.utc) + timedelta(minutes=5))
    for unreadable in ("yesterday", "2013-03-09 25:00", ""):
        with pytest.raises(PitJoinError, match=f"cannot read the instant '{unreadable}'; write for example"):
            features.export(as_of=unreadable)
        assert cli("export", "--as-of", unreadable).exit_code == 2
    done = cli("export", "--as-of", "2999-01-01")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "lies in the future" in done.stderr
    assert store.contents() == before


def test_samples_of_no_keys_are_refused(cli: Callable[..., Result]) -> None:
    for number in ("0", "-1", "some"):
        done = cli("verify", "--sample", number)
        assert done.exit_code == 2
        assert "--sample" in done.stderr


def test_a_view_of_the_store_that_is_no_longer_declared(features: FeatureStore, store: OnlineStore) -> None:
    contents = contents_of(store)
    view = contents.views[VIEW]
    views = {**contents.views, "gone": replace(view, name="gone", rows=0)}
    with store.writing(1, lambda message: None) as writer:
        data = replace(contents, views=views).to_json()
        replace_all(writer, data, {}, views, 1, False)
    with pytest.raises(PitJoinError, match="unknown feature view 'gone'"):
        features.verify(["gone"])


def test_what_needs_more_memory_gets_it(demo: Built, tmp_path: Path) -> None:
    """A list cannot be put aside on disk; what the session has made before must outlive the failure."""
    connection = Project(demo.directory).connection
    query = "select a, (select list(i) from range(5000000) as numbers(i)) as numbers from kept"
    with DuckDBWarehouse(connection) as warehouse, tempfile.TemporaryFile(dir=tmp_path) as file:
        warehouse.spill_to(tmp_path, 16 * 2**20)
        warehouse.execute("create temp table kept as select 42 as a", "made")
        with pytest.raises(PitJoinError, match=r"[Mm]emory"):
            warehouse.table(query, "as it is")
        warehouse.execute("rollback; begin; create temp table kept as select 42 as a", "made anew")
        found = warehouse.spooled(query, "with room", file).whole()
        query_threads = "select current_setting('threads') as n"
        warehouse.execute("set threads = 2", "threads")
        (one,) = warehouse.spooled(query_threads, "one", None, one_pass=True).to_batches(1)
        assert one["n"].to_pylist() == [1]
        assert warehouse.row(query_threads, "threads") == {"n": 2}
    assert found["a"].to_pylist() == [42]
    assert len(found["numbers"][0]) == 5_000_000
    limited = replace(connection, settings={**connection.settings, "memory_limit": "16 MiB"})
    with DuckDBWarehouse(limited) as warehouse:
        warehouse.spill_to(tmp_path, 2**30)
        warehouse.execute("create temp table kept as select 42 as a", "made")
        with pytest.raises(PitJoinError, match=r"[Mm]emory"):  # a profile has the last word
            assert not warehouse.spooled(query, "without room", None).num_rows


def test_a_reader_that_is_stuck_is_named(store: OnlineStore, cli: Callable[..., Result]) -> None:
    """It keeps the pages of its state from being used again."""
    plan = ("export", "--select", VIEW, "--as-of", AT.isoformat())
    with store._environment.begin() as reading:  # type: ignore[attr-defined] # as a process that hangs does
        for _ in range(3):
            assert list(store.warnings()) == []
            assert cli(*plan).exit_code == 0
        assert reading.get(b"\0") is not None
        done = cli(*plan)
        assert done.exit_code == 0
        assert f"the process {os.getpid()} still reads the state of the store in" in done.stderr
        assert "that is 3 exports old; until it ends, the file grows with each export" in done.stderr
    assert list(store.warnings()) == []


def test_a_clock_that_is_wrong_does_not_roll_the_store_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path / "shop", {"plans": view(KEYS, f"{BASE}, {PLAN}")})
    (project / "models/plans.sql").write_text(
        "select 'u1' as user_id, timestamptz '2026-03-01 00:00+00' as event_timestamp, 'pro' as plan"
    )
    assert run_dbt(project, "build").success
    store = FeatureStore(project)
    assert store.export(dry_run=True).views["plans"].written == 1
    assert not (project / "online").exists()  # a preview makes nothing
    first = store.export().instant

    class Clock(datetime):
        behind = timedelta(0)

        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) - cls.behind

    monkeypatch.setattr(export_module, "datetime", Clock)
    Clock.behind = timedelta(seconds=50)
    assert store.export().instant < first
    Clock.behind = timedelta(days=1)
    with pytest.raises(StoreError, match=r"^the online store is as of 20.* UTC, and the clock of this host says 20.*"):
        store.export()
    done = run("--project-dir", str(project), "export", "--dry-run")
    assert (done.status, done.err.endswith("set the clock, or roll the store back with --as-of now\n")) == (3, True)
    assert store.export(as_of="now").instant < first - timedelta(hours=23)  # as that clock has it
    store.export(as_of="2026-03-02")
    assert store.export().views["plans"].unchanged == 1


PLAN = '{name: plan, data_type: varchar, config: {meta: {pit_join: {default: "free"}}}}'
SERVICE = """exposures:
  - name: churn
    type: ml
    owner: {name: a}
    depends_on: [ref('plans')]
    config: {meta: {pit_join: {features: ["plans:plan"]}}}
"""


@pytest.mark.rest
def test_what_the_store_says_of_itself_is_compared(tmp_path: Path) -> None:
    """After an edit without an export: nothing but the description differs, and the status is 1."""
    project = make_project(
        tmp_path / "shop", {"plans": view(f"{KEYS}, ttl: 5 days", f"{BASE}, {PLAN}")}, exposures=SERVICE
    )
    (project / "models/plans.sql").write_text(
        "select 'u1' as user_id, timestamptz '2026-03-01 00:00+00' as event_timestamp, 'pro' as plan, 3 as seats"
    )
    assert run_dbt(project, "build").success
    store = FeatureStore(project)
    store.export(as_of="2026-03-02")
    assert store.verify().descriptions == ()
    yaml = project / "models/models.yml"
    original = yaml.read_text()
    for old, new, said in (
        (f", {PLAN}", f", {PLAN}, {{name: seats, data_type: integer}}", [
            "the feature view 'plans' has another list of features in the store: none of them, now seats int32"
        ]),
        ("5 days", "4 days", ["the feature view 'plans' has another ttl in the store: 5 days, now 4 days"]),
        (", ttl: 5 days", "", ["the feature view 'plans' has another ttl in the store: 5 days, now none"]),
        ('"free"', '"none"', [
            "the feature view 'plans' has another default in the store: plan 'free', now plan 'none'"
        ]),
        ("ttl: 5 days", "ttl: 5 days, online: false", [
            "the feature view 'plans' of the store has online: false in the project"
        ]),
        ("name: churn\n", "name: churn_v2\n", [
            "the feature service 'churn' of the store is not in the project any more",
            "the feature service 'churn_v2' is not in the store",
        ]),
        ('["plans:plan"]', "[{view: plans, as: p, features: [plan]}]", [
            "the feature service 'churn' has other features in the store"
        ]),
        ('["plans:plan"]}', '["plans:plan"], full_feature_names: true}', [
            "the feature service 'churn' has other names, or other SQL for its on-demand features, in the store"
        ]),
    ):  # fmt: skip
        assert old in original
        yaml.write_text(original.replace(old, new))
        assert list(store.verify().descriptions) == said
    done = run("--project-dir", str(project), "verify")
    assert done.status == 1
    assert done.out.splitlines() == [
        "1 views, 1 keys, 1 values compared: 0 differences",
        "! the feature service 'churn' has other names, or other SQL for its on-demand features, in the store; run "
        "pit-join export",
    ]
    assert list(store.verify(["plans"]).descriptions) == []  # of chosen views alone
    store.export(as_of="2026-03-02")
    assert store.verify().descriptions == ()
