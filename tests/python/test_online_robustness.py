"""What must hold whatever happens around the embedded store: kills, full disks, other processes, forks and interrupts.

Every value tells by which export it was written (see `online_worker`), so that a mix of two would be seen.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from online_cases import contents_of, dump
from online_worker import HIDDEN, REQUESTS, VIEWS, expected, export, generation_of
from servers import running, valkey_binary
from support.processes import ENVIRONMENT, PIT_JOIN, WORKER, Commands, python, worker
from support.projects import BASE, KEYS, Result, make_project, run, view
from support.runs import number_of, sampled

from pit_join import FeatureStore
from pit_join.errors import StoreError
from pit_join.online import delta
from pit_join.online.opening import open_store
from pit_join.online.stores import lmdb_store
from pit_join.online.stores.lmdb_store import LmdbStore
from pit_join.serving.reader import OnlineReader
from pit_join.warehouse import duckdb_session as warehouse
from pit_join.warehouse.spool import Spool

pytestmark = [pytest.mark.dbt, pytest.mark.kill, pytest.mark.rest]

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
GENERATIONS, PROJECT_KEYS = 4, 6_000
KILLS = number_of(20, 50)
EXPORTS = number_of(8, 20)
CHECKED = list(range(0, PROJECT_KEYS - 1, 19)) + list(range(1, PROJECT_KEYS, 19))
NOBODY = 65534


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def export_elsewhere(online: Path, keys: int, *generations: int) -> None:
    """Export generations, one after the other, in a process of its own."""
    done = python("main('export', *sys.argv[1:])", online, keys, *generations)
    assert done.returncode == 0, done.stderr


SERVED = "print(generation_of(OnlineReader(open_store(sys.argv[1]), REQUESTS), list(range(100))))"


def served(folder: Path | str) -> int:
    """The generation that a new process is served."""
    done = python(SERVED, folder)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def whole(reader: OnlineReader, keys: int) -> int:
    """The generation of all keys, which must be one."""
    return generation_of(reader, list(range(keys)))


def essence(folder: Path) -> dict[str, dict[bytes, bytes]]:
    """All records without the time at which they were written, and hence without their checksums."""
    found = dump(open_store(str(folder)))
    return {name: {key: record[8:-8] for key, record in records.items()} for name, records in found.items()}


def is_one_error(text: str, says: str) -> None:
    """One line that begins with `Error:` and says so."""
    assert re.fullmatch(r"Error: .*\n", text), text
    assert re.search(says, text), text


# ------------------------------------------------------------------------------------------------- kills of exports


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with four generations of three views in its history, an hour apart."""
    folder = tmp_path_factory.mktemp("robust") / "lab"
    columns = "{{name: {0}_number, data_type: bigint}}, {{name: {0}_share, data_type: double}}, "
    columns += "{{name: {0}_text, data_type: varchar}}, {{name: gone, data_type: boolean}}"
    make_project(folder, {name: view(f"{KEYS}, deleted: gone", f"{BASE}, {columns.format(name)}") for name in VIEWS})
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        for name in VIEWS:
            connection.execute(
                f"create table {name} as select 'u' || i as user_id, "
                "timestamptz '2026-01-01 00:00:00+00' + to_hours(g) as event_timestamp, "
                f"i * 1000 + g as {name}_number, i + g / 1024 as {name}_share, i || ' of ' || g as {name}_text, "
                f"(i + g) % {HIDDEN} = 0 as gone from range({PROJECT_KEYS}) as r(i), range({GENERATIONS}) as s(g)"
            )
    return folder


def exporting(project: Path, online: Path | str, generation: int) -> list[str]:
    as_of = START + timedelta(hours=generation, minutes=1)
    return ["--project-dir", str(project), "--store", str(online), "export", "--as-of", as_of.isoformat()]


def exported(project: Path, online: Path | str, generation: int, status: int = 0, *options: str) -> Result:
    done = run(*options, *exporting(project, online, generation))
    assert done.status == status, done.err
    return done


class Readers:
    """Processes that read a store, with a pause of so many seconds after each request."""

    def __init__(self, online: Path, keys: int, number: int, pause: float = 0.0) -> None:
        self._stop = online.parent / "stop"
        self._processes = [worker("read", online, keys, self._stop, seed, pause) for seed in range(number)]
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "reads\n"

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def end(self) -> list[dict[str, Any]]:
        """What each of them has seen."""
        self._stop.touch()
        outputs = [process.communicate()[0] for process in self._processes]
        assert [process.returncode for process in self._processes] == [0] * len(self._processes)
        return [json.loads(output) for output in outputs]


def seen_out_of_turn(seen: list[tuple[float, float, int]], states: list[tuple[float, float, int]]) -> list[Any]:
    """Requests that were answered with another state than the store had at some moment of them.

    States are (begin of the export, its end, generation), in order: until an export has ended both may be seen.
    """
    begins = [begin for begin, _, _ in states]
    wrong = []
    for asked, answered, generation in seen:
        last = bisect_right(begins, answered)
        allowed = set()
        for i in range(last - 1, -1, -1):
            allowed.add(states[i][2])
            if states[i][1] <= asked:
                break
        if generation not in allowed:
            wrong.append((asked, answered, generation))
    return wrong


def settle(online: Path) -> None:
    """An export that was killed at the last step of its commit is seen when the next one begins: as here."""
    with open_store(str(online)).writing(60, lambda message: None):
        pass


def test_kills_of_an_export(project: Path, tmp_path: Path) -> None:
    """Readers see the old or the new snapshot, nothing else; the next export is as good as the first."""
    online, drawn = tmp_path / "online", random.Random(3)
    began = time.monotonic()
    exported(project, online, 0)
    states = [(began, time.monotonic(), 0)]
    reader = OnlineReader(open_store(str(online)), REQUESTS)
    killed = killed_in_writing = replaced = real = 0
    sizes: list[int] = []
    with Commands(tmp_path) as commands, Readers(online, PROJECT_KEYS, 2, pause=0.01) as readers:
        duration, writing = commands.timed(exporting(project, online, 0))
        for number in range(KILLS):
            current = states[-1][2]
            attempt = (current + 1 + drawn.randrange(GENERATIONS - 1)) % GENERATIONS
            arguments = exporting(project, online, attempt)
            began = time.monotonic()
            if number % 10 == 9:  # the very command, from its first line on
                with subprocess.Popen([str(PIT_JOIN), *arguments], env=ENVIRONMENT, stdout=-3, stderr=-3) as process:
                    time.sleep(0.05 + 0.2 * (number // 10))
                    real += process.poll() is None
                    process.kill()
            else:
                process_id = commands.start(arguments)
                if number % 2:
                    time.sleep(drawn.uniform(0, 1.1) * duration)
                else:  # while it writes, or just when it has ended
                    commands.wait_for_transaction()
                    time.sleep(drawn.uniform(0, 1.1) * writing)
                with suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGKILL)
                status = commands.end()
                assert status in (0, -signal.SIGKILL), commands.output.read_text()
                killed += status != 0
                killed_in_writing += status != 0 and commands.is_writing()
            settle(online)
            now = generation_of(reader, CHECKED)
            assert now in (current, attempt)
            if now == attempt:
                replaced += 1
                states.append((began, time.monotonic(), attempt))
            if number % 10 == 4:
                again, began = (now + 1) % GENERATIONS, time.monotonic()
                duration, writing = commands.timed(exporting(project, online, again))
                assert generation_of(reader, list(range(PROJECT_KEYS))) == again
                states.append((began, time.monotonic(), again))
                sizes.append((online / "data.mdb").stat().st_size)
        for found in readers.end():
            assert found["errors"] == []
            assert found["requests"] > 6 * KILLS
            assert len({generation for _, _, generation in found["seen"]}) >= 3
            assert seen_out_of_turn(found["seen"], states) == []
    assert killed >= KILLS // 2
    assert killed_in_writing >= KILLS * 8 // 50
    assert real >= 2
    assert KILLS * 3 // 50 <= replaced <= KILLS * 4 // 5
    last = states[-1][2]
    exported(project, online, last)
    exported(project, tmp_path / "fresh", last)
    assert essence(online) == essence(tmp_path / "fresh")
    # What killed exports had begun to write is used again: a new file is dense, and this one has up to five times its
    # size, with half-full pages and the older snapshots that readers hold; what fifty exports write would be far more.
    assert max(sizes) <= 6 * (tmp_path / "fresh" / "data.mdb").stat().st_size, sizes


DIE_WRITING = """
import os, signal
transaction = open_store(sys.argv[1])._environment.begin(write=True)
print(transaction.id() - 1, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def unfinish(online: Path) -> None:
    """Make the last export one that was killed at the last step of its commit, when its pages were on the disk.

    The number of the last commit stands in lock.mdb, behind the lock of writers, and there readers look for it. It is
    set back by one, and who held the lock is dead.
    """
    killed = python(DIE_WRITING, online)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    last = int(killed.stdout)
    with (online / "lock.mdb").open("r+b") as file:
        words = struct.unpack("=16Q", file.read(128))
        file.seek(8 * words.index(last))
        file.write(struct.pack("=Q", last - 1))


@pytest.mark.parametrize("options", [[], ["--select", "clicks"]])
def test_an_export_that_was_killed_at_its_last_step(project: Path, tmp_path: Path, options: list[str]) -> None:
    """It is seen when the next one begins, which must build on it: on what it wrote, and on what it said of itself."""
    folders = tmp_path / "online", tmp_path / "undisturbed"
    for online in folders:
        exported(project, online, 0)
        reader = OnlineReader(open_store(str(online)), REQUESTS)
        assert whole(reader, PROJECT_KEYS) == 0
        exported(project, online, 1)
        if online == folders[0]:
            unfinish(online)
            assert whole(reader, PROJECT_KEYS) == 0
        done = run(*exporting(project, online, 0), *options)  # nothing changes, compared with what is seen until then
        assert done.status == 0, done.err
    first, second = map(essence, folders)
    assert [name for name in VIEWS if first[name] != second[name]] == []  # in whole, pytest would compare for minutes
    said = [json.loads(contents_of(open_store(str(online))).to_json())["views"] for online in folders]
    assert said[0] == said[1]


def test_what_an_order_of_reads_must_be() -> None:
    """The judge of the test above, judged."""
    states = [(0.0, 1.0, 7), (2.0, 3.0, 8), (4.0, 5.0, 7)]
    assert seen_out_of_turn([(1.1, 1.2, 7), (1.9, 2.1, 8), (2.5, 2.6, 7), (3.1, 3.2, 8), (3.5, 5.5, 8)], states) == []
    early, late, never = (1.1, 1.2, 8), (3.1, 3.2, 7), (1.1, 9.0, 6)
    assert seen_out_of_turn([early, late, never], states) == [early, late, never]


HOLD = """
store = open_store(sys.argv[1])
with store._environment.begin() as transaction:
    print("holds", flush=True)
    time.sleep(60)
"""


def test_a_killed_reader_does_not_keep_old_pages(tmp_path: Path) -> None:
    """A reader in the middle of a read keeps what it sees, so the file grows; after its end it must not."""
    keys, data = 3000, tmp_path / "online" / "data.mdb"
    store = open_store(str(tmp_path / "online"), create=True)
    for generation in range(3):
        export(store, keys, generation)
    known = "import sys; from online_worker import *\n"
    with subprocess.Popen(
        [sys.executable, "-c", known + HOLD, str(tmp_path / "online")],
        env=ENVIRONMENT | {"PYTHONPATH": str(WORKER.parent)}, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds\n"
        sizes = []
        for generation in range(8):
            export(store, keys, generation)
            sizes.append(data.stat().st_size)
        assert sizes[-1] > 2 * sizes[0]
        holder.kill()
    for generation in range(20):
        export(store, keys, generation)
        assert data.stat().st_size <= sizes[-1] * 1.05
    assert whole(OnlineReader(store, REQUESTS), keys) == 19


# ---------------------------------------------------------------------------------------------------------- readers


def test_readers_at_full_speed_beside_exports(tmp_path: Path) -> None:
    """Two readers, and exports of three views by another process: no error, no mix."""
    online, keys = tmp_path / "online", 8000
    export(open_store(str(online), create=True), keys, 0)
    states = [(0.0, time.monotonic(), 0)]
    with Readers(online, keys, 2) as readers:
        began = time.monotonic()
        with worker("export", online, keys, *range(1, EXPORTS + 1)) as exporter:
            assert exporter.stdout is not None
            for line in exporter.stdout:
                states.append((began, time.monotonic(), int(line)))
                began = states[-1][1]
        assert exporter.returncode == 0
        assert states[-1][2] == EXPORTS
        for found in readers.end():
            assert found["errors"] == []
            assert found["requests"] > 6 * KILLS
            assert len({generation for _, _, generation in found["seen"]}) >= EXPORTS // 4
            assert seen_out_of_turn(found["seen"], states) == []


@pytest.mark.parametrize("elsewhere", [True, False], ids=["other process", "same process"])
def test_eight_threads_share_a_reader(elsewhere: bool, tmp_path: Path) -> None:
    online, keys, last = tmp_path / "online", 2000, number_of(6, 12)
    store = open_store(str(online), create=True)
    export(store, keys, 0)
    reader, stop = OnlineReader(store, REQUESTS), threading.Event()
    seen: list[set[int]] = [set() for _ in range(8)]
    errors: list[BaseException] = []

    def ask(number: int) -> None:
        drawn, newest = random.Random(number), 0
        try:
            while not stop.is_set():
                start = drawn.randrange(keys - 30)
                found = generation_of(reader, list(range(start, start + 30)), one=drawn.random() < 0.5)
                if found >= 0:
                    assert found >= newest, "back to an older one"
                    newest = found
                    seen[number].add(found)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    if elsewhere:
        export_elsewhere(online, keys, *range(1, last + 1))
    else:
        for generation in range(1, last + 1):
            export(store, keys, generation + 1, dry_run=True)
            export(store, keys, generation)
            time.sleep(0.05)
    deadline = time.monotonic() + 10
    while not errors and time.monotonic() < deadline and not all(last in each for each in seen):
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all(last in each and len(each) >= 2 for each in seen)


def test_export_and_read_in_one_process_in_any_order(project: Path, tmp_path: Path) -> None:
    store = FeatureStore(project, online_store=tmp_path / "online")
    references = [f"{name}:*" for name in VIEWS]
    with pytest.raises(StoreError, match=r"there is no online store in .*; run pit-join export"):
        store.online_reader(references)

    def make(generation: int) -> None:
        store.export(as_of=START + timedelta(hours=generation, minutes=1))

    def read(now: int) -> None:
        found = store.get_online_features(references, {"user_id": ["u1", "u2", "u3"]}).to_dict()
        assert [{name: found[name][row] for name in found if name != "user_id"} for row in range(3)] == [
            expected(number, now) for number in (1, 2, 3)
        ]
        assert generation_of(reader, [1, 2, 3]) == now

    make(1)
    reader = store.online_reader(references)
    read(1)
    make(2)
    read(2)
    other = FeatureStore(project, online_store=tmp_path / "online")
    other.export(as_of=START + timedelta(hours=3, minutes=1))
    read(3)
    make(0)
    assert other.verify().found == 0
    read(0)
    assert other.get_online_features(references, [{"user_id": "u1"}]).to_dict()["clicks_number"] == [1000]


def test_a_query_that_lacks_memory_after_some_rows(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins anew with more; what was compared by then is void."""
    monkeypatch.setattr(warehouse, "_SPOOLED_ROWS", 2048)
    fill, failures = Spool.fill, []

    def failing(self: Spool, reader: pa.RecordBatchReader) -> None:
        if len(failures) < len(VIEWS) and (not failures or failures[-1] is not self):
            failures.append(self)
            # Fewer rows than come then: what was seen of them must not count.
            every_other = reader.read_next_batch().take(pa.array(range(0, 2000, 2)))
            fill(self, pa.RecordBatchReader.from_batches(reader.schema, [every_other]))
            reader.close()
            raise duckdb.OutOfMemoryException("planted")
        fill(self, reader)

    for generation in (0, 2, 1):
        exported(project, tmp_path / "plain", generation)
        failures.clear()
        with monkeypatch.context() as patched:
            patched.setattr(Spool, "fill", failing)
            store = FeatureStore(project, online_store=tmp_path / "online")
            changes = store.export(as_of=START + timedelta(hours=generation, minutes=1)).views
        assert len(failures) == len(VIEWS)
        assert sum(each.written for each in changes.values()) > len(VIEWS) * PROJECT_KEYS / 2
        assert essence(tmp_path / "online") == essence(tmp_path / "plain")


FORK = """
import os
store = open_store(sys.argv[1], create=True)
export(store, 500, 0)
reader = OnlineReader(store, REQUESTS)
assert generation_of(reader, [1, 2, 3]) == 0
before = store._environment.readers()
attempts = {
    "reader": lambda: generation_of(reader, [1, 2, 3]),
    "scan": lambda: list(store.scan(next(iter(contents(store).views.values())))),
    "new": lambda: OnlineReader(open_store(sys.argv[1]), REQUESTS),
    "export": lambda: export(store, 500, 1),
    "new export": lambda: export(open_store(sys.argv[1], create=True), 500, 1),
}
for name, attempt in attempts.items():
    child = os.fork()
    if child == 0:
        try:
            print(name, "worked", attempt(), flush=True)
        except StoreError as error:
            print(name, error, flush=True)
        except BaseException as error:
            print(name, "failed", repr(error), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    assert generation_of(reader, [1, 2, 3]) == 0
assert store._environment.readers() == before
export(store, 500, 2)
assert generation_of(reader, [1, 2, 3]) == 2
child = os.fork()
if child == 0:
    other = sys.argv[1] + "-other"
    export(open_store(other, create=True), 500, 3)
    os._exit(generation_of(OnlineReader(open_store(other), REQUESTS), [1, 2, 3]))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
"""


def test_a_store_that_was_opened_before_a_fork(tmp_path: Path) -> None:
    """LMDB would take the child for its parent, whose place among the readers it would give up: it must refuse."""
    code = "from pit_join.records.store_manifest import Contents\n"
    code += "def contents(s): return Contents.from_json(s.contents()[1], '')\n"
    done = python(code + FORK, tmp_path / "online")
    assert done.returncode == 0, done.stderr
    refused = lines(done.stdout)
    assert len(refused) == 5
    for line in refused:
        assert re.search("opened before this process was forked; open it after", line), line


def test_a_service_that_forks_before_it_opens(tmp_path: Path) -> None:
    export(open_store(str(tmp_path / "online"), create=True), 500, 4)
    code = """
import os
children = []
for _ in range(3):
    children.append(os.fork())
    if children[-1] == 0:
        reader = OnlineReader(open_store(sys.argv[1]), REQUESTS)
        for number in range(200):
            assert generation_of(reader, [number, number + 1]) == 4
        os._exit(4)
assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [4, 4, 4]
"""
    done = python(code, tmp_path / "online")
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------- what is taken away


def test_a_store_that_is_removed_and_made_anew(tmp_path: Path) -> None:
    """The advice after damage: whoever had it open must come to see the new one, not the old one for ever."""
    online, keys = tmp_path / "online", 500
    store = open_store(str(online), create=True)
    export(store, keys, 1)
    reader = OnlineReader(store, REQUESTS)
    with Readers(online, keys, 1, pause=0.01) as others:
        shutil.rmtree(online)
        export_elsewhere(online, keys, 2)
        made = time.monotonic()
        time.sleep(2.5)
        (found,) = others.end()
    late = {generation for asked, _, generation in found["seen"] if asked > made + 1.5}
    assert late == {2}
    # Between the two there was no store, and that may be said.
    assert all(re.search("there is no online store|nothing was exported", error) for error in found["errors"])
    assert whole(reader, keys) == 2
    assert whole(OnlineReader(open_store(str(online)), REQUESTS), keys) == 2
    export(store, keys, 3)
    assert whole(reader, keys) == 3
    assert served(online) == 3


def test_a_store_that_is_removed(project: Path, tmp_path: Path) -> None:
    online = tmp_path / "online"
    store = open_store(str(online), create=True)
    export(store, 500, 1)
    reader = OnlineReader(store, REQUESTS)
    assert whole(reader, 500) == 1
    shutil.rmtree(online)
    time.sleep(1.5)
    with pytest.raises(StoreError, match=r"there is no online store in .*; run pit-join export"):
        whole(reader, 500)
    with pytest.raises(StoreError, match=r"there is no online store in .*; run pit-join export"):
        open_store(str(online))
    exported(project, online, 2)
    assert whole(reader, 500) == 2


# -------------------------------------------------------------------------------------------------- disks and rights


def make_disk(folder: Path, size: str) -> None:
    """Mount a small disk there."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(f"a disk of its own cannot be mounted: {mounted.stderr}")
        pytest.skip(f"mounting a disk needs root: {mounted.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB."""
    folder = tmp_path / "disk"
    make_disk(folder, "16m")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Take all room of a disk but so many bytes."""
    ballast = disk / "ballast"
    room = os.statvfs(disk)
    with ballast.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - leave)
        with suppress(OSError):
            while not leave:
                file.write(bytes(4096))
    return ballast


FULL = "Error: (the disk of the online store in .* is full|the online store in .* its disk is full or fails .*); nothing was changed, and what was exported before is still served"  # noqa: E501


@pytest.mark.parametrize(
    ("room", "aside"), sampled(itertools.product([0, 4096, 100_000, 1_000_000], ["in memory", "in a file"]), 2)
)
def test_a_full_disk(room: int, aside: str, project: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be written is put aside there first, if it is much."""
    online = disk / "online"
    if aside == "in a file":
        monkeypatch.setattr(delta, "_IN_MEMORY", 1)
    exported(project, online, 0)
    reader = OnlineReader(open_store(str(online)), REQUESTS)
    ballast = fill(disk, room)
    for _ in range(2):
        is_one_error(exported(project, online, 1, 3).err, FULL)
        assert whole(reader, PROJECT_KEYS) == 0
        assert served(online) == 0
    ballast.unlink()
    exported(project, online, 1)
    assert whole(reader, PROJECT_KEYS) == 1
    exported(project, disk.parent / "fresh", 1)
    assert essence(online) == essence(disk.parent / "fresh")


def test_a_full_disk_for_little_that_is_put_aside(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It still stands in the file's buffer when the file is closed."""
    monkeypatch.setattr(delta, "_IN_MEMORY", 1)
    store = open_store(str(disk / "online"), create=True)
    export(store, 20, 0)
    ballast = fill(disk, 0)
    with pytest.raises(StoreError, match=r"disk .* is full; nothing was changed"):
        export(store, 20, 1)
    ballast.unlink()
    export(store, 20, 1)
    assert whole(OnlineReader(store, REQUESTS), 20) == 1


def test_a_full_disk_at_the_first_export(project: Path, disk: Path) -> None:
    for room, generation in ((0, 0), (40_000, 0), (200_000, 1)):
        ballast = fill(disk, room)
        failed = exported(project, disk / "online", generation, 3)
        assert re.search("disk", failed.err), failed.err
        assert len(lines(failed.err)) == 1
        ballast.unlink()
    exported(project, disk / "online", 2)
    assert served(disk / "online") == 2


def test_a_copy_without_its_lock_file_on_a_full_disk(disk: Path) -> None:
    """A reader writes to that file through memory, where a page that the disk does not have ends the process."""
    export(open_store(str(disk.parent / "online"), create=True), 500, 2)
    (disk / "online").mkdir()
    shutil.copy(disk.parent / "online" / "data.mdb", disk / "online")
    ballast = fill(disk, 0)
    done = python(f"try:\n    {SERVED}\nexcept StoreError as error:\n    print(error)", disk / "online")
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert re.match("the disk of the online store in .* is full", done.stdout), done.stdout
    ballast.unlink()
    assert served(disk / "online") == 2


def test_a_file_that_may_not_grow(project: Path, tmp_path: Path) -> None:
    """As with a quota: the limit is of the process, and needs no rights to set."""
    online = tmp_path / "online"
    export(open_store(str(online), create=True), 100, 1)
    limit = (online / "data.mdb").stat().st_size + 50_000
    code = "export(open_store(sys.argv[1]), 5000, 2)"
    done = python(
        f"try:\n    {code}\nexcept StoreError as error:\n    print(error)", online,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search("its disk is full or fails .*; nothing was changed", done.stdout), done.stdout
    assert served(online) == 1
    exported(project, online, 3)
    assert served(online) == 3


@pytest.mark.redis
def test_a_full_disk_under_the_cache(project: Path, tmp_path: Path) -> None:
    """The snapshots of a server are put aside there; the embedded store does not need it."""
    with running(valkey_binary(), tmp_path) as server:
        full_cache(project, tmp_path / "lab", server.url, tmp_path / "online")


def full_cache(project: Path, folder: Path, url: str, online: Path) -> None:
    shutil.copytree(project, folder)
    exported(folder, url, 0)
    caches = [path.parent for path in folder.glob("target/pit_join/*/*") if path.is_file()]
    cache = caches[0]
    kept = {path.name: path.read_bytes() for path in cache.iterdir() if path.is_file()}
    make_disk(cache, "4m")
    try:
        for name, content in kept.items():
            (cache / name).write_bytes(content)
        ballast = fill(cache, 8192)
        failed = exported(folder, url, 1, 3)
        is_one_error(failed.err, "cannot be spilled to disk .*([Nn]o space left|full)")
        assert served(url) == 0
        exported(folder, online, 1)
        assert served(online) == 1
        ballast.unlink()
        exported(folder, url, 1)
        assert served(url) == 1
    finally:
        subprocess.run(["umount", "--lazy", str(cache)], check=True)


RIGHTS = """
import os, numpy, pyarrow
from pit_join.online.stores import lmdb_store, redis_store
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
try:
    print(generation_of(OnlineReader(open_store(sys.argv[1]), REQUESTS), [1, 2, 3]))
    export(open_store(sys.argv[1]), 500, 2)
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("folder_mode", "data_mode", "lock_mode", "says"),
    sampled(
        [
            (0o755, 0o644, 0o666, r"1\n.*Permission denied"),
            (0o777, 0o644, 0o666, r"1\n.*(Permission denied|read-?only)"),
            (0o755, 0o644, 0o644, ".*Permission denied; readers must be able to write lock.mdb"),
            (0o755, 0o666, 0o644, ".*Permission denied; readers must be able to write lock.mdb"),
            (0o755, 0o600, 0o600, ".*Permission denied"),
            (0o700, 0o644, 0o666, ".*Permission denied"),
            (0o777, 0o666, 0o666, r"1\n"),
        ],
        3,
    ),
)
def test_the_rights_of_another_user(
    folder_mode: int, data_mode: int, lock_mode: int, says: str, tmp_path: Path
) -> None:
    if os.geteuid():
        if os.environ.get("CI") == "true":
            pytest.fail("the tests of rights need root")
        pytest.skip("becoming another user needs root")
    online = tmp_path / "online"
    export_elsewhere(online, 500, 1)
    for parent in (tmp_path, *tmp_path.parents):
        # pytest makes its folders for their owner alone
        if parent.stat().st_mode & 0o055 != 0o055 and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    (online / "data.mdb").chmod(data_mode)
    (online / "lock.mdb").chmod(lock_mode)
    (online / "export.lock").chmod(lock_mode)
    online.chmod(folder_mode)
    done = python(RIGHTS, online, NOBODY)
    assert done.returncode == 0, done.stderr
    assert re.match(says, done.stdout), done.stdout
    assert len(lines(done.stdout)) <= 2
    assert served(online) == (2 if says == r"1\n" else 1)


def test_a_read_only_file_system(tmp_path: Path) -> None:
    """Readers take no locks there, and say so once; they see what is exported through the other mount."""
    if os.geteuid():
        if os.environ.get("CI") == "true":
            pytest.fail("the tests of mounts need root")
        pytest.skip("mounting needs root")
    online, mounted = tmp_path / "online", tmp_path / "mounted"
    export_elsewhere(online, 500, 1)
    mounted.mkdir()
    subprocess.run(["mount", "--bind", str(online), str(mounted)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(mounted)], check=True)
        code = """
for _ in range(2):
    print(generation_of(OnlineReader(open_store(sys.argv[1]), REQUESTS), [1, 2, 3]))
"""
        found = python(code, mounted)
        assert (found.returncode, found.stdout) == (0, "1\n1\n")
        (said,) = lines(found.stderr)
        assert f"the online store in {mounted} is on a read-only file system, where readers take no locks" in said
        assert python(code, online).stderr == ""
        export_elsewhere(online, 500, 2)
        assert python(code, mounted).stdout == "2\n2\n"
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)


# --------------------------------------------------------------------------------------- two exports, and interrupts


@contextmanager
def exporter_at_work(online: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is the exporter until its input ends."""
    code = "import sys; from pit_join.online.opening import open_store\n"
    code += "with open_store(sys.argv[1], create=True).writing(0, print): print('holds', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(online)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds\n"
        yield holder


def test_a_second_export(project: Path, tmp_path: Path) -> None:
    online = tmp_path / "online"
    exported(project, online, 0)
    with exporter_at_work(online):
        failed = exported(project, online, 1, 3, "--wait", "0.3")
        said, error = lines(failed.err)
        assert said == "another export is at work; waiting up to 0.3 s"
        is_one_error(error + "\n", r"another export is at work on .* did not end within 0\.3 s; .*--wait")
        # Reading needs nobody's leave.
        assert served(online) == 0
    with exporter_at_work(online) as holder:
        assert holder.stdin is not None
        threading.Timer(0.5, holder.stdin.close).start()
        done = exported(project, online, 1, 0, "--wait", "30")
        assert lines(done.err) == ["another export is at work; waiting up to 30 s"]
    with exporter_at_work(online) as holder:
        holder.kill()  # what it held must not outlive it
        holder.wait()
        assert exported(project, online, 2, 0, "--wait", "0").err == ""
    assert served(online) == 2


@pytest.mark.parametrize("moment", ["snapshot", "transaction"])
def test_interrupt(moment: str, project: Path, tmp_path: Path) -> None:
    """Ctrl-C: a word, no traceback; nothing has changed, and the next export goes."""
    online = tmp_path / "online"
    exported(project, online, 0)
    interrupted = 0
    with Commands(tmp_path) as commands:
        for delay in (0.0, 0.01, 0.03, 0.06, 0.1):
            process_id = commands.start(exporting(project, online, 1))
            if moment == "transaction":
                commands.wait_for_transaction()
            else:
                while not has_open(process_id, online / "export.lock"):
                    time.sleep(0.001)
            time.sleep(delay)
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGINT)
            status, said = commands.end(), commands.output.read_text()
            if status == 0:
                exported(project, online, 0)
                continue
            interrupted += 1
            assert (status, lines(said)) == (130, ["interrupted"])
            # All is done when the transaction has ended, and what is left to do is to say so.
            assert served(online) == commands.has_written()
            exported(project, online, 0)
    assert interrupted
    assert exported(project, online, 1, 0, "--wait", "0").err == ""
    assert served(online) == 1


def has_open(process_id: int, path: Path) -> bool:
    files = f"/proc/{process_id}/fd"
    try:
        return any(os.readlink(f"{files}/{number}") == str(path) for number in os.listdir(files))
    except OSError:
        return False


def test_nobody_hears_of_ctrl_c_within_a_commit() -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with lmdb_store._uninterrupted():
            interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_export_does_not_load_pandas(project: Path, tmp_path: Path) -> None:
    """Where it is installed, pyarrow would: that takes as long as a small export."""
    code = "from pit_join.cli.main import main; main(sys.argv[1:], standalone_mode=False)\n"
    code += "assert 'pandas' not in sys.modules"
    for generation in (0, 1):  # all is new; something changes
        done = python(code, *exporting(project, tmp_path / "online", generation), stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr


def test_what_the_store_says_of_itself(project: Path, tmp_path: Path) -> None:
    """The views of the project are those of the tests' own writer, so that both can be compared."""
    exported(project, tmp_path / "one", 2)
    mine = open_store(str(tmp_path / "two"), create=True)
    export(mine, PROJECT_KEYS, 2)
    assert isinstance(mine, LmdbStore)
    theirs = open_store(str(tmp_path / "one"))
    assert [view.rows for view in contents_of(mine).views.values()] == [
        view.rows for view in contents_of(theirs).views.values()
    ]
    assert whole(OnlineReader(mine, REQUESTS), PROJECT_KEYS) == whole(OnlineReader(theirs, REQUESTS), PROJECT_KEYS)
