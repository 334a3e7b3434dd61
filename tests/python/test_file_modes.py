"""Who may read an online store and a feature log: their owner, and the group that their folder was made for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from online_worker import REQUESTS, export
from support.processes import python

from pit_join import FeatureLog
from pit_join.files import private_file, whole
from pit_join.online.index_files import graph, write_file
from pit_join.online.opening import open_store
from pit_join.serving.reader import OnlineReader

pytestmark = pytest.mark.slow

GROUP, SERVER = 65533, 65534


@pytest.fixture(autouse=True)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(getattr(request, "param", 0o022))
    yield
    os.umask(before)


umasks = pytest.mark.parametrize("umask", [0o022, 0o077, 0o000], ids=["022", "077", "000"], indirect=True)


def modes(folder: Path) -> dict[str, str]:
    """The modes of a folder and of all files in it, by name."""
    return {path.name: oct(stat.S_IMODE(path.stat().st_mode))[2:] for path in (folder, *folder.iterdir())}


def folder_of_mode(path: Path, mode: int) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


def write_indexes(folder: Path) -> None:
    vectors = np.ones((3, 2), dtype=np.float32)
    write_file(folder, "nearest-a.vectors", lambda path: path.write_bytes(vectors.tobytes()) and None)
    write_file(folder, "nearest-a.usearch", lambda path: graph("l2", 2, iter([vectors])).save(str(path)))


@umasks
@pytest.mark.parametrize(
    ("folder_mode", "files"),
    [(None, "600"), (0o700, "600"), (0o755, "600"), (0o2750, "600"), (0o770, "660"), (0o2770, "660")],
)
def test_a_store(folder_mode: int | None, files: str, tmp_path: Path) -> None:
    """Also what is written later: indexes, the lock file of a copy, and a file that takes another's place."""
    online = tmp_path / "all" / "online"
    if folder_mode is not None:
        folder_of_mode(tmp_path / "all", 0o755)
        folder_of_mode(online, folder_mode)
    export(open_store(str(online), create=True), 5, 1)
    write_indexes(online)
    names = {"data.mdb", "lock.mdb", "export.lock", "nearest-a.vectors", "nearest-a.usearch"}
    expected = {"online": oct(folder_mode or 0o700)[2:]} | dict.fromkeys(names, files)
    assert modes(online) == expected
    write_indexes(online)
    assert modes(online) == expected
    copy = folder_of_mode(tmp_path / "copy", folder_mode or 0o700)
    (copy / "data.mdb").write_bytes((online / "data.mdb").read_bytes())
    OnlineReader(open_store(str(copy)), REQUESTS)
    assert modes(copy)["lock.mdb"] == files


def test_an_old_store_keeps_its_modes(tmp_path: Path) -> None:
    online = tmp_path / "online"
    export(open_store(str(online), create=True), 5, 1)
    online.chmod(0o755)
    for path in online.iterdir():
        path.chmod(0o644)
    export(open_store(str(online), create=True), 5, 2)
    assert modes(online) == {"online": "755", "data.mdb": "644", "lock.mdb": "644", "export.lock": "644"}


@umasks
@pytest.mark.parametrize(("folder_mode", "files"), [(None, "600"), (0o2770, "660"), (0o2750, "640")])
def test_a_feature_log(folder_mode: int | None, files: str, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    if folder_mode is not None:
        folder_of_mode(folder, folder_mode)
    export(open_store(str(tmp_path / "online"), create=True), 5, 1)
    log = FeatureLog(folder, 1)
    reader = OnlineReader(open_store(str(tmp_path / "online")), REQUESTS, log=log)
    for _ in range(2):
        reader.get({"user_id": "u1"})
        assert log.flush(30)
    found = modes(folder)
    assert found.pop("log") == oct(folder_mode or 0o700)[2:]
    assert list(found.values()) == [files] * 2


def test_without_unnamed_files_and_without_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, and on a file system that refuses to change a mode."""
    monkeypatch.delattr(os, "O_TMPFILE")
    folder = folder_of_mode(tmp_path / "log", 0o2770)
    with whole(folder / "one", private=True) as name:
        Path(name).write_bytes(b"1")

    def refuse(handle: int, mode: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchmod", refuse)
    with open(folder / "two", "w", opener=private_file):
        pass
    assert modes(folder) == {"log": "2770", "one": "660", "two": "600"}


def test_a_server_and_an_exporter_in_one_group(tmp_path: Path) -> None:
    if os.geteuid():
        if os.environ.get("CI") == "true":
            pytest.fail("the tests of rights need root")
        pytest.skip("becoming another user needs root")
    for parent in (tmp_path, *tmp_path.parents):
        # pytest makes its folders for their owner alone
        if parent.stat().st_mode & 0o055 != 0o055 and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, -1, GROUP)
    shared.chmod(0o2770)
    export(open_store(str(shared), create=True), 50, 1)
    export(open_store(str(tmp_path / "own"), create=True), 50, 1)
    code = """
import os
from pit_join.online.stores import lmdb_store, redis_store
os.setgroups([int(sys.argv[3])]); os.setgid(int(sys.argv[4])); os.setuid(int(sys.argv[4]))
print(generation_of(OnlineReader(open_store(sys.argv[1]), REQUESTS), [1, 2, 3]))
export(open_store(sys.argv[1]), 50, 2)
try: open_store(sys.argv[2])
except (OSError, StoreError) as error: print(error)
"""
    done = python(code, shared, tmp_path / "own", GROUP, SERVER, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    generation, refused = done.stdout.splitlines()
    assert generation == "1"
    assert "Permission denied" in refused
    assert OnlineReader(open_store(str(shared)), REQUESTS).get({"user_id": "u1"})["clicks_text"] == "1 of 2"
