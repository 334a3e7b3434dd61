"""Files of an online store that are damaged, foreign or newer: one clear error, never a wrong value, never a crash.

Every case is read, exported to and verified in a process of its own, whose status is looked at.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import lmdb
import pyarrow as pa
import pytest
from online_worker import AT, HIDDEN, REQUESTS, VIEWS, expected, export, replace
from support.processes import Commands, worker
from support.projects import BASE, KEYS, Result, make_project, run, view
from support.runs import number_of, sampled

from pit_join import FeatureStore
from pit_join.errors import PitJoinError, StoreError
from pit_join.export.snapshot import Snapshot
from pit_join.online.opening import open_store
from pit_join.records.layout import HEADER, checksum, view_number
from pit_join.records.stored_view import StoredView
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader

pytestmark = [pytest.mark.dbt, pytest.mark.rest]

PAGE = 4096
PROJECT_KEYS = 3000


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose store is the worker's generation 0, and that store beside it."""
    folder = tmp_path_factory.mktemp("bad") / "lab"
    columns = "{{name: {0}_number, data_type: bigint}}, {{name: {0}_share, data_type: double}}, "
    columns += "{{name: {0}_text, data_type: varchar}}"
    make_project(folder, {name: view(KEYS, f"{BASE}, {columns.format(name)}") for name in VIEWS})
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        for name in VIEWS:
            connection.execute(
                f"create table {name} as select 'u' || i as user_id, "
                "timestamptz '1970-01-01 00:00:00+00' as event_timestamp, "
                f"i * 1000 as {name}_number, i::double as {name}_share, i || ' of 0' as {name}_text "
                f"from range({PROJECT_KEYS}) as r(i) where i % {HIDDEN} > 0"
            )
    done = run("--project-dir", str(folder), "--store", str(folder / "good"), "export")
    assert done.status == 0, done.err
    return folder


@pytest.fixture
def online(project: Path, tmp_path: Path) -> Path:
    """A copy of the good store."""
    copy = tmp_path / "online"
    copy.mkdir()
    shutil.copy(project / "good" / "data.mdb", copy)
    return copy


class Machine:
    """Runs the command, and reads, each in a process of its own that has already loaded its modules."""

    def __init__(self, commands: Commands, project: Path) -> None:
        self._commands, self._project = commands, project

    def reads(self, online: Path) -> Result:
        """Read every key, in both ways: status 3 is an error, 8 a key that is not found, 9 a wrong value."""
        return self._run(["read-all", str(online), str(PROJECT_KEYS)])

    def runs(self, online: Path, *arguments: str, project: Path | None = None) -> Result:
        """The command; what it prints on both streams is `out`."""
        return self._run(["--project-dir", str(project or self._project), "--store", str(online), *arguments])

    def _run(self, arguments: list[str]) -> Result:
        self._commands.start(arguments)
        status = self._commands.end()
        return Result(status, self._commands.output.read_text(), "")


@pytest.fixture(scope="module")
def machine(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Commands(tmp_path_factory.mktemp("commands")) as commands:
        yield Machine(commands, project)


GET = ("get", "--entity", "user_id=u1", "--features", "clicks:*,visits:*,balance:*")


def is_error(done: Result, says: str) -> None:
    """Status 3 and one line."""
    assert done.status == 3, done
    assert re.fullmatch(r"Error: .+\n", done.out), done
    assert re.search(says, done.out), done


def refuses(machine: Machine, online: Path, says: str, export_says: str | None = None) -> None:
    """All ways to use it end with that error; `export_says` is given where an export has another one."""
    is_error(machine.reads(online), says)
    is_error(machine.runs(online, *GET), says)
    is_error(machine.runs(online, "verify"), says)
    is_error(machine.runs(online, "export"), export_says or says)


# ----------------------------------------------------------------------------------------------------- whole files


def test_the_good_store(machine: Machine, project: Path, online: Path) -> None:
    """What all the cases below begin with."""
    done = machine.reads(online)
    assert (done.status, done.out) == (0, "")
    for arguments in (GET, ("verify", "--all"), ("export",)):
        done = machine.runs(online, *arguments)
        assert done.status == 0, done.out
    assert machine.reads(online).status == 0


HALF, ALL_BUT_ONE = -1, -2


@pytest.mark.parametrize("length", sampled([8192, 3 * PAGE, HALF, ALL_BUT_ONE], 2))
def test_truncated(length: int, machine: Machine, project: Path, online: Path) -> None:
    size = (online / "data.mdb").stat().st_size
    os.truncate(online / "data.mdb", {HALF: size // 2, ALL_BUT_ONE: size - PAGE}.get(length, length))
    says = "is truncated .* remove the folder and run pit-join export|is not an LMDB file|is damaged"
    is_error(machine.reads(online), says)
    is_error(machine.runs(online, *GET), says)
    is_error(machine.runs(online, "export"), says)
    # The advice of the message helps.
    shutil.rmtree(online)
    assert machine.runs(online, "export").status == 0
    assert machine.reads(online).status == 0


@pytest.mark.parametrize("length", sampled([1, 100, 4095, 4096, 5000, 8191], 2))
@pytest.mark.parametrize("zeros", [False, True], ids=["written", "zeros"])
def test_a_store_that_was_not_made_whole(
    length: int, zeros: bool, machine: Machine, project: Path, online: Path
) -> None:
    """As a full disk or a power cut leaves it; the next export makes it anew."""
    os.truncate(online / "data.mdb", length)
    if zeros:
        (online / "data.mdb").write_bytes(b"\0" * length)
    says = "was not made whole, as on a full disk; run pit-join export"
    is_error(machine.reads(online), says)
    is_error(machine.runs(online, *GET), says)
    assert machine.runs(online, "export").status == 0
    assert machine.reads(online).status == 0


def test_of_no_bytes(machine: Machine, project: Path, online: Path) -> None:
    """LMDB takes an empty file for a new environment: nothing is lost that an export would not bring back."""
    os.truncate(online / "data.mdb", 0)
    says = "nothing was exported to the online store yet; run pit-join export"
    is_error(machine.reads(online), says)
    is_error(machine.runs(online, *GET), says)
    is_error(machine.runs(online, "verify"), says)
    assert machine.runs(online, "export").status == 0
    assert machine.reads(online).status == 0


def text_file(file: Path) -> None:
    file.write_text("user_id,clicks\n" * 10_000)


def sqlite_file(file: Path) -> None:
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("create table online (user_id, clicks)")
    connection.executemany("insert into online values (?, ?)", [(i, i) for i in range(5000)])
    connection.commit()
    connection.close()


def zeros(file: Path) -> None:
    file.write_bytes(bytes(20 * PAGE))


def random_bytes(file: Path) -> None:
    file.write_bytes(os.urandom(20 * PAGE))


def another_page_size(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for meta in (0, PAGE):
        # In a meta page: header, magic, version, address, map size, and then the page size
        struct.pack_into("<I", content, meta + 16 + 4 + 4 + 8 + 8, 3000)
    file.write_bytes(content)


def another_version(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for meta in (0, PAGE):
        struct.pack_into("<I", content, meta + 16 + 4, 7)
    file.write_bytes(content)


@pytest.mark.parametrize(
    "make", sampled([text_file, sqlite_file, zeros, random_bytes, another_version], 2), ids=lambda make: make.__name__
)
def test_no_lmdb_file(make: Callable[[Path], None], machine: Machine, project: Path, online: Path) -> None:
    make(online / "data.mdb")
    content = (online / "data.mdb").read_bytes()
    refuses(machine, online, "data.mdb is not an LMDB file that this version can read|data format v7 is not supported")
    assert (online / "data.mdb").read_bytes() == content


def test_lmdb_of_another_page_size(machine: Machine, project: Path, online: Path) -> None:
    another_page_size(online / "data.mdb")
    is_error(machine.reads(online), "online store")
    is_error(machine.runs(online, "export"), "online store")


def plain_entries(environment: lmdb.Environment) -> None:
    with environment.begin(write=True) as transaction:
        for i in range(1000):
            transaction.put(f"key{i}".encode(), b"value" * 10)


def named_databases(environment: lmdb.Environment) -> None:
    for name in (b"clicks", b"visits"):
        database = environment.open_db(name)
        with environment.begin(write=True) as transaction:
            transaction.put(b"u1", b"1", db=database)


def sorted_duplicates(environment: lmdb.Environment) -> None:
    database = environment.open_db(b"duplicates", dupsort=True)
    with environment.begin(write=True) as transaction:
        for i in range(2000):
            transaction.put(b"u1", str(i).encode(), db=database)


@pytest.mark.parametrize(
    "fill", sampled([plain_entries, named_databases, sorted_duplicates], 1), ids=lambda make: make.__name__
)
def test_the_environment_of_another_program(
    fill: Callable[[lmdb.Environment], None], machine: Machine, tmp_path: Path
) -> None:
    with lmdb.open(str(tmp_path / "online"), max_dbs=4, map_size=1 << 24) as environment:
        fill(environment)
    before = (tmp_path / "online" / "data.mdb").read_bytes()
    refuses(
        machine, tmp_path / "online", "holds something else than an online store of pit-join",
        "holds something else than an online store",
    )  # fmt: skip
    assert (tmp_path / "online" / "data.mdb").read_bytes() == before


def test_a_folder_in_the_place_of_the_file(machine: Machine, project: Path, tmp_path: Path) -> None:
    (tmp_path / "online" / "data.mdb").mkdir(parents=True)
    says = "there is no online store in .*; run pit-join export"
    is_error(machine.reads(tmp_path / "online"), says)
    is_error(machine.runs(tmp_path / "online", *GET), says)
    is_error(machine.runs(tmp_path / "online", "export"), "cannot be used: .*[Ii]s a directory")


def test_a_file_in_the_place_of_the_folder(machine: Machine, project: Path, tmp_path: Path) -> None:
    (tmp_path / "online").write_text("no folder")
    is_error(machine.reads(tmp_path / "online"), "there is no online store|[Nn]ot a directory")
    is_error(machine.runs(tmp_path / "online", "export"), "cannot be used: .*([Ff]ile exists|[Nn]ot a directory)")


@pytest.mark.parametrize(("size", "content"), sampled(itertools.product([0, 1, 100, 5000, 70_000], [b"\0", b"x"]), 2))
def test_a_damaged_lock_file(size: int, content: bytes, machine: Machine, project: Path, online: Path) -> None:
    """It holds nothing that outlives the processes; LMDB makes it anew."""
    (online / "lock.mdb").write_bytes(content * size)
    done = machine.reads(online)
    assert done.status == 0, (done.status, done.out)
    assert machine.runs(online, "export").status == 0


# -------------------------------------------------------------------------------------------------------- contents


def edited(online: Path, change: Callable[[lmdb.Transaction], None]) -> None:
    """Change entries of the store behind its back."""
    with lmdb.open(str(online), map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        change(transaction)


def contents_edited(online: Path, change: Callable[[Any], Any]) -> None:
    def edit(transaction: lmdb.Transaction) -> None:
        read = json.loads(transaction.get(b"\0"))
        del read["checksum"]  # what is not edited by accident has the right one, or none
        changed = change(read)
        transaction.put(b"\0", changed if isinstance(changed, bytes) else json.dumps(changed).encode())

    edited(online, edit)


def deep(read: Any, *path: str, value: Any) -> Any:
    place = read
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return read


CONTENTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a newer format": (
        lambda read: read | {"pit_join_online_store": 2},
        r"was written by a newer pit-join \(format 2; this one reads up to 1\); upgrade",
    ),
    "a newer format of another form": (lambda read: {"pit_join_online_store": 2}, "was written by a newer pit-join"),
    "a format of text": (lambda read: read | {"pit_join_online_store": "1"}, "newer|damaged"),
    "format 0": (lambda read: read | {"pit_join_online_store": 0}, "newer|damaged"),
    "an unknown type": (
        lambda read: deep(read, "views", "clicks", "fields", value=[["a", "quantum"]]),
        "does not know the type 'quantum'",
    ),
    "an unknown type of a key": (
        lambda read: deep(read, "views", "clicks", "keys", value={"user_id": "quantum"}),
        "quantum",
    ),
    "no JSON": (lambda read: b"{", "is damaged or is not a store"),
    "no bytes": (lambda read: b"", "is damaged or is not a store"),
    "no UTF-8": (lambda read: json.dumps(read).encode()[:-10] + b"\xff\xfe", "is damaged or is not a store"),
    "a list": (lambda read: [1], "is damaged or is not a store"),
    "a number": (lambda read: 1, "is damaged or is not a store"),
    "null": (lambda read: None, "is damaged or is not a store"),
    "no views": (lambda read: {name: read[name] for name in read if name != "views"}, "is damaged"),
    "views that are a list": (lambda read: read | {"views": ["clicks"]}, "is damaged"),
    "views of null": (lambda read: deep(read, "views", "clicks", value=None), "is damaged"),
    "no time": (lambda read: read | {"exported_at": "yesterday"}, "is damaged"),
    "a time that is a number": (lambda read: read | {"exported_at": 5}, "is damaged"),
    "fields that are no pairs": (lambda read: deep(read, "views", "clicks", "fields", value=[["a"]]), "is damaged"),
    "fields of numbers": (lambda read: deep(read, "views", "clicks", "fields", value=[[1, 2]]), "is damaged|type"),
    "a ttl of text": (lambda read: deep(read, "views", "clicks", "ttl", value="x"), "is damaged"),
    "keys that are a list": (lambda read: deep(read, "views", "clicks", "keys", value=["user_id"]), "is damaged"),
    "keys that are gone": (lambda read: deep(read, "views", "clicks", "keys", value={}), "is damaged"),
    "an entity that is gone": (lambda read: deep(read, "views", "clicks", "entity", value=""), "is damaged"),
    "defaults that are no record": (
        lambda read: deep(read, "views", "clicks", "defaults", value="00ff"),
        "is damaged",
    ),
    "defaults that are no bytes": (lambda read: deep(read, "views", "clicks", "defaults", value="xyz"), "is damaged"),
    "services that are text": (lambda read: read | {"services": "churn"}, "is damaged"),
}


@pytest.mark.parametrize("name", sampled(CONTENTS, 6))
def test_damaged_contents(name: str, machine: Machine, project: Path, online: Path) -> None:
    change, says = CONTENTS[name]
    contents_edited(online, change)
    is_error(machine.reads(online), says)
    done = run("--project-dir", str(project), "--store", str(online), *GET)
    assert done.status == 3
    assert re.fullmatch(r"Error: .+\n", done.err), done.err
    assert re.search(says, done.err), done.err
    verified = run("--project-dir", str(project), "--store", str(online), "verify")
    assert verified.status == 3, verified.err
    exported = run("--project-dir", str(project), "--store", str(online), "export")
    # It may make all anew, or refuse, but not fail otherwise; a store of a newer version is never overwritten.
    assert exported.status in ({3} if "newer" in name else {0, 3}), exported.err
    if exported.status:
        assert re.fullmatch(r"Error: .+\n", exported.err), exported.err
    else:
        assert machine.reads(online).status == 0


# --------------------------------------------------------------------------------------------------------- records


def key_of(transaction: lmdb.Transaction, view: str, user: str) -> bytes:
    prefix = struct.pack(">I", zlib.crc32(view.encode()))
    key: bytes = prefix + user.encode() + b"\0\0"
    assert transaction.get(key)
    return key


def flipped(position: int, bit: int = 0) -> Callable[[bytes], bytes]:
    def change(record: bytes) -> bytes:
        content = bytearray(record)
        content[position] ^= 1 << bit
        return bytes(content)

    return change


def sealed(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A change that somebody has made who knows the checksum."""

    def changed(record: bytes) -> bytes:
        whole = change(record[:-8])
        return whole + checksum(whole, view_number("clicks"), b"u8\0\0")

    return changed


def of_another_schema(record: bytes) -> bytes:
    written, event, schema, flags = HEADER.unpack_from(record)
    return HEADER.pack(written, event, schema ^ 1, flags) + record[HEADER.size :]


RECORDS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a bit of the written time": (flipped(0), "damaged"),
    "a bit of the event time": (flipped(9), "damaged"),
    "a bit of the schema": (flipped(17), "damaged|another schema"),
    "a bit of the flags": (flipped(20), "damaged"),
    "a bit of the nulls": (flipped(24), "damaged"),
    "a bit of a value": (flipped(33), "damaged"),
    "a bit of the text": (flipped(-10), "damaged"),
    "a bit of the checksum": (flipped(-1, 7), "damaged"),
    "its end": (lambda record: record[:-1], "damaged"),
    "all but its header": (lambda record: record[:24], "damaged"),
    "nothing but one byte": (lambda record: b"x", "damaged"),
    "seven bytes": (lambda record: record[:7], "damaged"),
    "a byte more": (lambda record: record + b"\0", "damaged"),
    "zeros": (lambda record: bytes(len(record)), "damaged"),
    "another schema": (sealed(of_another_schema), "has another schema .* run pit-join export"),
    "a sealed header alone": (sealed(lambda record: record[:24]), "damaged|another schema"),
    "a sealed nothing": (sealed(lambda record: b""), "damaged"),
}


@pytest.mark.parametrize("name", sampled(RECORDS, 3))
def test_a_damaged_record(name: str, machine: Machine, project: Path, online: Path) -> None:
    change, says = RECORDS[name]

    def damage(transaction: lmdb.Transaction) -> None:
        key = key_of(transaction, "clicks", "u8")
        transaction.put(key, change(bytes(transaction.get(key))))

    edited(online, damage)
    store = open_store(str(online))
    reader = OnlineReader(store, REQUESTS)
    with pytest.raises(StoreError, match=says):
        reader.get({"user_id": "u8"})
    for users in (["u8"], ["u1", "u8"], [f"u{number}" for number in range(1000)]):
        with pytest.raises(StoreError, match=says):
            reader.get_online_features({"user_id": users}).to_dict()
        with pytest.raises(StoreError, match=says):
            OnlineReader(store, [Request("clicks", ("clicks_number",), "clicks")]).get_online_features(
                {"user_id": users}
            ).to_numpy()
    # All others are served.
    assert reader.get({"user_id": "u9"}) == expected(9, 0)
    place = ("--project-dir", str(project), "--store", str(online))
    got = run(*place, "get", "--entity", "user_id=u8", "--features", "clicks:*")
    verified = run(*place, "verify", "--all")
    for done in (got, verified):
        assert done.status == 3
        assert re.fullmatch(r"Error: .+\n", done.err), done.err
        assert re.search(says, done.err), done.err
    # An export writes anew what is not as in the snapshot. When a record was written, and its checksum, are no part of
    # that; but the advice of the message helps.
    assert run(*place, "export").status == 0
    if name in ("a bit of the written time", "a bit of the checksum"):
        assert run(*place, "verify", "--all").status == 3
        shutil.rmtree(online)
        assert run(*place, "export").status == 0
    assert run(*place, "verify", "--all").status == 0


@pytest.mark.parametrize("whose", [("visits", "u8"), ("clicks", "u9")], ids=["view", "key"])
def test_a_record_under_another(whose: tuple[str, str], online: Path) -> None:
    def copy(transaction: lmdb.Transaction) -> None:
        record = bytes(transaction.get(key_of(transaction, "clicks", "u8")))
        transaction.put(key_of(transaction, *whose), record)

    edited(online, copy)
    reader = OnlineReader(open_store(str(online)), REQUESTS)
    with pytest.raises(StoreError, match=r"another schema|damaged"):
        reader.get({"user_id": whose[1]})
    with pytest.raises(StoreError, match=r"another schema|damaged"):
        reader.get_online_features({"user_id": ["u7", whose[1]]}).to_dict()


# ------------------------------------------------------------------------------------------------- damaged pages

DAMAGES = number_of(12, 24)  # twelve are of all kinds


def damaged_page(content: bytes, number: int) -> bytes:
    """A page overwritten by other bytes, zeros, or another page; or bits flipped in it."""
    drawn = random.Random(number)
    pages, changed = len(content) // PAGE, bytearray(content)
    for _ in range(1 + number // 4 % 3):
        page = drawn.randrange(pages) * PAGE
        other = drawn.randrange(pages) * PAGE
        if number % 4 == 0:
            changed[page : page + PAGE] = drawn.randbytes(PAGE)
        elif number % 4 == 1:
            changed[page : page + PAGE] = bytes(PAGE)
        elif number % 4 == 2:
            changed[page : page + PAGE] = content[other : other + PAGE]
        else:
            for _ in range(3):
                changed[page + drawn.randrange(PAGE)] ^= 1 << drawn.randrange(8)
    return bytes(changed)


def test_damaged_pages(machine: Machine, project: Path, online: Path) -> None:
    """LMDB has no checksums of pages: a damaged one may hide records, but no value is wrong and no process ends.

    That records are hidden is found by `verify --all`.
    """
    good = (online / "data.mdb").read_bytes()
    ended: dict[int, int] = {}
    for number in range(DAMAGES):
        (online / "data.mdb").write_bytes(damaged_page(good, number))
        (online / "lock.mdb").unlink(missing_ok=True)
        done = machine.reads(online)
        ended[number] = done.status
        if done.status == 3:
            assert re.fullmatch(r"Error: .+\n", done.out), (number, done.out)
        if done.status == 8:
            verified = run("--project-dir", str(project), "--store", str(online), "verify", "--all")
            assert verified.status in (1, 3), (number, verified.out, verified.err)
    assert set(ended.values()) <= {0, 3, 8}, ended
    assert 3 in ended.values()


# ------------------------------------------------------------------------------------------------------------ keys


def single(folder: Path, users: list[str]) -> OnlineReader:
    """A store of one view with these keys, whose values are their places in order."""
    store = open_store(str(folder), create=True)
    table = pa.table({"user_id": users, "_pit_event": [0] * len(users), "place": list(range(len(users)))})
    rows = Snapshot("one", ("user_id",), table)
    replace(store, {"one": (StoredView("one", "user", rows.kinds, rows.layout, None, AT, rows.count), rows)})
    return OnlineReader(store, [Request("one", ("*",), "one")])


def test_keys_at_the_limit(tmp_path: Path) -> None:
    longest = "x" * 505  # and two bytes that end the text
    reader = single(tmp_path / "online", ["", "a", longest])
    assert reader.get({"user_id": ""}) == {"place": 0}
    assert reader.get({"user_id": longest}) == {"place": 2}
    for beyond in (longest + "x", "x" * 5_000, "x" * 5_000_000, "\0" * 300, "é" * 253):
        assert reader.get({"user_id": beyond}) == {"place": None}
        found = reader.get_online_features({"user_id": ["a", beyond, "", longest, None, beyond]})
        assert found.to_dict()["place"] == [1, None, 0, 2, None, None]
        assert found.statuses["place"] == ["PRESENT", "NOT_FOUND", "PRESENT", "PRESENT", "NULL_KEY", "NOT_FOUND"]
        matrix = reader.get_online_features([{"user_id": beyond}] * 20 + [{"user_id": "a"}]).to_numpy()
        assert (matrix[:20] != matrix[:20]).all()
        assert matrix[20, 0] == 1
    for too_long in (longest + "x", "x" * 50_000):
        with pytest.raises(StoreError, match=r"one: a key is [\d,]+ bytes long, and LMDB holds at most 507") as refused:
            single(tmp_path / "online", ["a", too_long])
        assert len(str(refused.value)) < 400
        # Nothing was changed.
        assert reader.get({"user_id": ""}) == {"place": 0}


def test_a_long_key_at_the_command_line(machine: Machine, project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("good"))
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute("insert into clicks select repeat('k', 600), timestamptz '1970-01-01 00:00:00+00', 1, 1, ''")
    failed = machine.runs(tmp_path / "online", "export", project=folder)
    said, error = failed.out.splitlines()
    assert said == "dbt parses the project"
    is_error(Result(failed.status, f"{error}\n", ""), "clicks: a key is 602 bytes long, and LMDB holds at most 507")
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute("update clicks set user_id = '' where length(user_id) = 600")
    assert machine.runs(tmp_path / "online", "export", project=folder).status == 0
    got = machine.runs(
        tmp_path / "online", "get", "--entity", "user_id=", "--features", "clicks:*", "--json", project=folder
    )
    assert json.loads(got.out)["clicks_number"] | {"age_seconds": 0, "exported_at": ""} == {
        "value": 1, "status": "PRESENT", "event_timestamp": "1970-01-01T00:00:00+00:00", "age_seconds": 0,
        "exported_at": "",
    }  # fmt: skip
    got = machine.runs(
        tmp_path / "online",
        "get",
        "--entity",
        f"user_id={'k' * 600}",
        "--features",
        "clicks:*",
        "--json",
        project=folder,
    )
    assert json.loads(got.out)["clicks_number"]["status"] == "NOT_FOUND"


def test_verify_of_a_store_that_is_not_there(machine: Machine, project: Path, tmp_path: Path) -> None:
    for arguments in (GET, ("verify",)):
        is_error(machine.runs(tmp_path / "none", *arguments), "there is no online store in .*; run pit-join export")
    assert not (tmp_path / "none").exists()
    with pytest.raises(PitJoinError, match=r"there is no online store"):
        FeatureStore(project, online_store=tmp_path / "none").online_reader(["clicks:*"])


def test_a_file_that_shrinks_while_it_is_open(machine: Machine, online: Path) -> None:
    """Whoever cuts a file that is mapped ends the processes that read it; a new process must say what is wrong."""
    export(open_store(str(online)), 100, 0)
    with worker("read", online, 100, online.parent / "stop", 1, 0) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "reads\n"
        size = (online / "data.mdb").stat().st_size
        os.truncate(online / "data.mdb", size // 2 // PAGE * PAGE)
        is_error(machine.reads(online), "is truncated")
        other.kill()
