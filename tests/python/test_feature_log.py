"""The feature log holds what was served, and nothing that happens to it is noticed by a request."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from generate import Case, cases
from http_servers import serving
from hypothesis import strategies as st
from online_cases import Exporter, at, entity_rows, instants, loaded, project_of, requests_of
from online_worker import AT, REQUESTS, export
from support.feature_logs import files, rows_of
from support.on_demand_cases import AT as EXPORTED
from support.on_demand_cases import Both, bits, manifest_of
from support.on_demand_cases import Case as Computed
from support.on_demand_cases import cases as on_demand_cases
from support.on_demand_cases import project_of as on_demand_project
from support.processes import python
from support.runs import for_each, number_of, sampled

from pit_join import FeatureLog, FeatureStore, PitJoinError
from pit_join.online.opening import open_store
from pit_join.records.arrow import values_of
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader

pytestmark = [pytest.mark.slow, pytest.mark.rest]

ENOUGH = 30.0  # seconds, for what takes a moment


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a hundred keys of three views."""
    folder = tmp_path_factory.mktemp("log") / "online"
    export(open_store(str(folder), create=True), 100, 1)
    return folder


def reader_of(online: Path, log: FeatureLog | None, requests: list[Request] = REQUESTS) -> OnlineReader:
    return OnlineReader(open_store(str(online)), requests, log=log)


# What it holds --------------------------------------------------------------------------------------------------


def check_file(folder: Path, asked: list[tuple[dict[str, Any], dict[str, Any], Any]]) -> dict[str, Any]:
    """Rows are what was asked and served, bit by bit; gives the metadata. There is one row a request."""
    tables = [pq.read_table(path) for path in files(folder)]
    about = json.loads(tables[0].schema.metadata[b"pit_join_feature_log"])
    logged: dict[str, dict[str, Any]] = {}
    for table in tables:
        features = table["features"].combine_chunks()
        for column in [table["request_id"], table["row"]]:
            assert column.null_count == 0
        values = {name: values_of(pa.chunked_array([features.field(i).field(0)])) for i, name in names(features)}
        statuses = {name: features.field(i).field(1).to_pylist() for i, name in names(features)}
        ids, moments = table["request_id"].to_pylist(), table["served_at"].to_pylist()
        for number, request in enumerate(ids):
            row = {name: (bits(each[number]), statuses[name][number]) for name, each in values.items()}
            assert request not in logged
            logged[request] = {"row": row, "served_at": moments[number], "number": table["row"][number].as_py()}
    in_order = [logged[request] for request in sorted(logged, key=lambda each: int(each.rsplit("-", 1)[1]))]
    wanted = [
        {"row": {name: (bits(value), statuses[name]) for name, value in values.items()}, "served_at": now, "number": 0}
        for values, statuses, now in asked
    ]
    assert in_order == wanted
    return dict(about)


def names(features: pa.StructArray) -> list[tuple[int, str]]:
    return [(i, features.type[i].name) for i in range(features.type.num_fields)]


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with pytest.MonkeyPatch.context() as monkeypatch, duckdb.connect(config={"threads": 1}) as connection:
        yield Exporter(connection, tmp_path_factory.mktemp("cases"), monkeypatch)


def test_rows_are_what_was_served(exporter: Exporter) -> None:
    """Of generated cases, with roles, several entities and null keys, and by every way to ask."""

    def check(case: Case, pick: int) -> None:
        folder, store = exporter.folder / "log", exporter.empty_store()
        shutil.rmtree(folder, ignore_errors=True)
        instant = instants(case)[pick % len(instants(case))]
        with loaded(exporter.connection, case):
            exporter.run(project_of(case), instant)
        log, rows = FeatureLog(folder, 1), entity_rows(case)
        reader = OnlineReader(store, requests_of(case), full_feature_names=case.full_feature_names, log=log)
        asked = []
        for row in rows:
            given = dict(row)
            vector = reader.get(given, now=at(instant))
            given.clear()  # a caller may go on with its row
            given = dict(row)
            reader.get_online_features([given], now=at(instant))
            given.clear()
            found = OnlineReader(store, requests_of(case), full_feature_names=case.full_feature_names)
            statuses = found.get_online_features([row], now=at(instant)).statuses
            asked += [(vector, {name: each[0] for name, each in statuses.items()}, at(instant))] * 2
        assert log.flush(ENOUGH)
        check_file(folder, asked)
        keys = [row.get("keys", {}) for row in rows_of(folder)]
        assert [[value is None for value in row.values()] for row in keys] == [
            [row[name] is None for name in reader.keys] for row in rows for _ in range(2)
        ]
        single = {json.dumps(row, default=repr, sort_keys=True) for row in map(without_ids, rows_of(folder))}
        reader.get_online_features(rows, now=at(instant))
        assert log.close(ENOUGH)
        several = [row for row in rows_of(folder) if row["request_id"] == max_request(folder)]
        assert [row["row"] for row in several] == list(range(len(rows)))
        assert {json.dumps(row, default=repr, sort_keys=True) for row in map(without_ids, several)} == single
        assert (log.logged, log.dropped, log.failed) == (3 * len(rows), 0, 0)

    for_each(check, number_of(10, 20), case=cases(), pick=st.integers(0, 999))


def max_request(folder: Path) -> str:
    return str(max((row["request_id"] for row in rows_of(folder)), key=lambda each: int(each.rsplit("-", 1)[1])))


def without_ids(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("request_id", "row")}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with pytest.MonkeyPatch.context() as monkeypatch, duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield Both(connection, tmp_path_factory.mktemp("on_demand"), monkeypatch)


def test_every_type_and_on_demand_features(both: Both) -> None:
    """All types that a store has, with nulls, NaN and lists, are logged as they were served; so are request fields."""
    seen = set()

    def check(case: Computed) -> None:
        both.load(case.history)
        both.empty_store()
        manifest = on_demand_project(case)
        (exposure,) = manifest["exposures"].values()
        asked_for = exposure["config"]["meta"]["pit_join"]["features"]
        asked_for[asked_for.index("facts:f_small")] = "facts:*"
        folder = both.folder / "log"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            both.run(manifest, int(EXPORTED.timestamp() * 1e6))
        except PitJoinError:  # types that do not go together
            return
        log, plain = FeatureLog(folder, 1), OnlineReader(both.store(), "s")
        reader, asked = OnlineReader(both.store(), "s", log=log), []
        for row in case.rows:
            try:
                vector = reader.get(row, now=EXPORTED)
                statuses = plain.get_online_features([row], now=EXPORTED).statuses
            except PitJoinError:  # an overflow, say
                continue
            asked.append((vector, {name: each[0] for name, each in statuses.items()}, EXPORTED))
        assert log.close(ENOUGH)
        assert log.failed == 0
        if asked:
            about = check_file(folder, asked)
            assert (about["service"], about["project"]) == ("s", "pit_join")
            seen.update(bits(value)[0] for vector, _, _ in asked for value in vector.values())

    for_each(check, number_of(10, 20), case=on_demand_cases())
    assert seen >= {"float", "int", "decimal", "str", "bool", "datetime", "date", "list", "bytes", "NoneType"}


def test_what_a_file_says_of_itself(both: Both) -> None:
    both.load([])
    both.empty_store()
    manifest = manifest_of({}, ["facts:f_double", {"view": "facts", "as": "other", "join_keys": {"id": "other_id"},
                                                       "features": ["f_text"]}])  # fmt: skip
    both.run(manifest, int(EXPORTED.timestamp() * 1e6))
    log = FeatureLog(both.folder / "about", 1)
    OnlineReader(both.store(), "s", log=log).get({"id": 2**70, "other_id": 3}, now=EXPORTED)
    assert log.close(ENOUGH)
    (path,) = files(both.folder / "about")
    about = json.loads(pq.read_schema(path).metadata[b"pit_join_feature_log"])
    assert about["keys"] == {"id": "integer", "other_id": "integer"}
    assert about["roles"] == {
        "facts": {"view": "facts", "keys": {"id": "id"}}, "other": {"view": "facts", "keys": {"id": "other_id"}},
    }  # fmt: skip
    assert about["features"] == [
        {"name": "f_double", "role": "facts", "feature": "f_double", "type": "double"},
        {"name": "other__f_text", "role": "other", "feature": "f_text", "type": "string"},
    ]
    assert (about["format"], about["defaults"], about["full_feature_names"]) == (1, True, False)
    (row,) = rows_of(both.folder / "about")
    assert row["keys"] == {"id": 2**70, "other_id": 3}
    assert row["roles"]["other"]["exported_at"] == EXPORTED


def test_a_key_without_a_form_is_counted_and_the_others_are_logged(online: Path, tmp_path: Path) -> None:
    log = FeatureLog(tmp_path / "log", 1)
    reader_of(online, log).get_online_features([{"user_id": "u1"}, {"user_id": "\ud800"}, {"user_id": None}])
    assert log.close(ENOUGH)
    assert (log.logged, log.failed) == (2, 1)
    assert [(row["row"], row["keys"]["user_id"]) for row in rows_of(tmp_path / "log")] == [(0, "u1"), (2, None)]


# How much of it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", sampled([0.0, 0.25, 1.0], 1))
def test_the_share_that_is_logged(online: Path, tmp_path: Path, sample: float) -> None:
    random.seed(1)
    log = FeatureLog(tmp_path / "log", sample)
    reader = reader_of(online, log)
    for _ in range(4000):
        reader.get({"user_id": "u1"})
    assert log.close(ENOUGH)
    assert log.logged == {0.0: 0, 1.0: 4000}.get(sample, pytest.approx(1000, abs=100))
    assert len(rows_of(tmp_path / "log")) == log.logged


@pytest.mark.parametrize("sample", [-0.1, 1.1, float("nan")])
def test_a_sample_is_a_share(tmp_path: Path, sample: float) -> None:
    with pytest.raises(PitJoinError, match="a share of the requests, 0 to 1, got"):
        FeatureLog(tmp_path, sample)
    with pytest.raises(PitJoinError, match="are > 0"):
        FeatureLog(tmp_path, roll_rows=0)


def test_a_store_logs_into_a_folder(online: Path, tmp_path: Path) -> None:
    store = FeatureStore(online_store=online, feature_log=tmp_path / "log")
    assert store.feature_log is not None
    assert (store.feature_log.folder, store.feature_log.sample) == (tmp_path / "log", 0.01)
    store.feature_log.sample = 1
    store.get_online_features(["visits:visits_number"], [{"user_id": "u1"}])
    assert store.feature_log.close(ENOUGH)
    assert [row["features"]["visits_number"]["value"] for row in rows_of(tmp_path / "log")] == [1001]


def test_files_roll_by_rows_and_by_age(online: Path, tmp_path: Path) -> None:
    written = threading.Event()
    log = FeatureLog(tmp_path / "rows", 1, roll_rows=10)
    reader = reader_of(online, log)
    for number in range(25):
        reader.get({"user_id": f"u{number}"})
    assert log.flush(ENOUGH)
    assert [pq.read_metadata(path).num_rows for path in files(tmp_path / "rows")] == [10, 10, 5]
    log = FeatureLog(tmp_path / "age", 1, roll_seconds=0.05, on_rows=lambda outcome, rows: written.set())
    reader_of(online, log).get({"user_id": "u1"})
    assert written.wait(ENOUGH)
    assert len(rows_of(tmp_path / "age")) == 1


def test_one_file_for_each_thing_that_is_asked(online: Path, tmp_path: Path) -> None:
    log = FeatureLog(tmp_path / "log", 1)
    for request in REQUESTS:
        reader_of(online, log, [request]).get({"user_id": "u1"})
        reader_of(online, log, [request]).get({"user_id": "u2"})
    assert log.close(ENOUGH)
    assert [len(pq.read_table(path)) for path in files(tmp_path / "log")] == [2, 2, 2]


def test_the_oldest_files_make_room(online: Path, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "mine.parquet").write_bytes(b"x" * 100_000)
    log = FeatureLog(tmp_path / "log", 1, roll_rows=1, max_bytes=40_000)
    reader = reader_of(online, log)
    for number in range(30):
        reader.get({"user_id": f"u{number}"})
    assert log.close(ENOUGH)
    own = [path for path in files(tmp_path / "log") if path.name != "mine.parquet"]
    assert 20_000 < sum(path.stat().st_size for path in own) <= 40_000
    kept = [pq.read_table(path).to_pylist()[0]["keys"]["user_id"] for path in own]
    assert kept == [f"u{number}" for number in range(30 - len(kept), 30)]
    assert log.logged == 30
    assert (tmp_path / "log" / "mine.parquet").exists()


# What goes wrong ------------------------------------------------------------------------------------------------


def test_a_disk_that_does_not_answer(online: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go on; those for which there is no more room are dropped and counted."""
    reached, released = threading.Event(), threading.Event()

    def blocked(*_: Any, **__: Any) -> Any:
        reached.set()
        released.wait(ENOUGH)
        return whole(*_, **__)

    from pit_join.files import whole

    monkeypatch.setattr("pit_join.monitoring.log_rows.whole", blocked)
    log = FeatureLog(tmp_path / "log", 1, roll_rows=1, most_waiting=50)
    reader = reader_of(online, log)
    reader.get({"user_id": "u1"})
    assert reached.wait(ENOUGH)
    for _ in range(200):
        assert reader.get({"user_id": "u1"})["visits_number"] == 1001
    assert (log.logged, log.dropped) == (0, 150)
    assert not log.flush(0.01)
    assert not log.close(0.01)
    released.set()
    assert log.close(ENOUGH)
    assert (log.logged, log.dropped, log.failed) == (51, 150, 0)
    reader.get({"user_id": "u1"})
    assert log.dropped == 151  # it is closed


def test_a_folder_that_cannot_be_written(online: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, counted each time, and goes on when the folder can be written again."""
    (tmp_path / "log").write_text("a file where the folder should be")
    outcomes: list[tuple[str, int]] = []
    log = FeatureLog(tmp_path / "log", 1, roll_rows=1, on_rows=lambda *outcome: outcomes.append(outcome))
    reader = reader_of(online, log)
    with caplog.at_level(logging.WARNING, "pit_join"):
        for _ in range(5):
            reader.get({"user_id": "u1"})
        assert log.flush(ENOUGH)
    assert (log.logged, log.failed) == (0, 5)
    (said,) = caplog.records
    assert said.getMessage().startswith(f"the feature log in {tmp_path / 'log'} cannot be written: ")
    (tmp_path / "log").unlink()
    reader.get({"user_id": "u1"})
    assert log.close(ENOUGH)
    assert (log.logged, log.failed) == (1, 5)
    assert outcomes == [("failed", 1)] * 5 + [("logged", 1)]


def test_what_is_told_may_fail(online: Path, tmp_path: Path) -> None:
    def refuse(outcome: str, rows: int) -> None:
        raise RuntimeError(outcome)

    log = FeatureLog(tmp_path / "log", 1, most_waiting=1, on_rows=refuse)
    reader_of(online, log).get_online_features([{"user_id": "u1"}] * 2)  # dropped: there is no room for two
    reader_of(online, log).get({"user_id": "u1"})
    assert log.close(ENOUGH)
    assert (log.logged, log.dropped) == (1, 2)


SERVE = """
from pit_join import FeatureLog
def reader(log): return OnlineReader(open_store(sys.argv[1]), REQUESTS, log=log)
"""


def test_a_full_disk(online: Path, tmp_path: Path) -> None:
    """Files may be no longer than 32 KB: a larger one fails whole and leaves nothing, and a small one is written."""
    code = (
        SERVE
        + """
import resource
log = FeatureLog(sys.argv[2], 1)
one = reader(log)
resource.setrlimit(resource.RLIMIT_FSIZE, (32768, 32768))
for rows in (4000, 3):
    one.get_online_features({"user_id": [f"u{i}" for i in range(rows)]})
    log.flush()
    print(log.logged, log.failed)
"""
    )
    done = python(code, online, tmp_path / "log")
    assert done.stdout.splitlines() == ["0 4000", "3 4000"], done.stderr
    assert done.stderr.count("cannot be written") == 1
    (path,) = (tmp_path / "log").iterdir()
    assert pq.read_metadata(path).num_rows == 3


@pytest.mark.kill
def test_a_kill_leaves_whole_files(online: Path, tmp_path: Path) -> None:
    code = (
        SERVE
        + """
one = reader(FeatureLog(sys.argv[2], 1, roll_rows=20))
say("ready")
while True:
    one.get({"user_id": "u1"})
"""
    )
    known = "import sys; from online_worker import *\n"
    command = [sys.executable, "-c", known + code, str(online), str(tmp_path / "log")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    total = 0
    for _ in range(number_of(2, 5)):
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            known_files = len(files(tmp_path / "log"))
            while len(files(tmp_path / "log")) < known_files + 20:
                assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
        total += 20
    found = [pq.read_table(path).num_rows for path in files(tmp_path / "log")]
    assert len(found) >= total
    assert set(found) == {20}


def test_at_the_end_of_a_process_everything_is_written(online: Path, tmp_path: Path) -> None:
    code = SERVE + 'reader(FeatureLog(sys.argv[2], 1)).get({"user_id": "u1"})'
    done = python(code, online, tmp_path / "log")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(rows_of(tmp_path / "log")) == 1


def test_several_processes_share_a_folder(online: Path, tmp_path: Path) -> None:
    code = (
        SERVE
        + """
one = reader(FeatureLog(sys.argv[2], 1, roll_rows=7, max_bytes=2**30))
for i in range(100): one.get({"user_id": f"u{i}"})
"""
    )
    known = "import sys; from online_worker import *\n"
    command = [sys.executable, "-c", known + code, str(online), str(tmp_path / "log")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    processes = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [process.wait(ENOUGH) for process in processes] == [0, 0, 0]
    rows = rows_of(tmp_path / "log")
    assert len(rows) == len({row["request_id"] for row in rows}) == 300


def test_a_fork_has_a_log_of_its_own(online: Path, tmp_path: Path) -> None:
    """What waits in the parent while it is forked is written, or fails, in the parent alone."""
    code = (
        SERVE
        + """
import os, threading
log, gate = FeatureLog(sys.argv[2], 1), threading.Event()
for _ in range(2):
    log.add(1, lambda: gate.wait() and 1 / 0)
child = os.fork()
gate.set()
# An environment of LMDB does not go through a fork, so each opens the store for itself.
reader(log).get({"user_id": "parent" if child else "child"})
assert log.close()
if child:
    assert os.waitpid(child, 0)[1] == 0
    print(log.logged, log.failed)
else:
    os._exit((log.logged, log.failed) != (1, 0))
"""
    )
    done = python(code, online, tmp_path / "log")
    assert (done.returncode, done.stdout) == (0, "1 2\n"), done.stderr
    assert {row["keys"]["user_id"] for row in rows_of(tmp_path / "log")} == {"parent", "child"}
    assert len({path.name.split("-")[1] for path in files(tmp_path / "log")}) == 2


# The server -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", sampled([1, 2], 1))
def test_the_server_logs(online: Path, tmp_path: Path, workers: int) -> None:
    """What the server has answered is in files when it has ended, and counted while it runs."""
    body = {"features": ["visits:visits_number"], "entities": {"user_id": ["u1", "u2"]}}
    options = ["--feature-log", str(tmp_path / "log"), "--log-sample", "1", "--workers", str(workers)]
    with serving(online, *options) as server:
        for _ in range(4):
            assert server.ask(body).status_code == 200
        assert server.stop() == 0
    rows = rows_of(tmp_path / "log")
    assert [row["features"]["visits_number"]["value"] for row in rows] == [1001, 2001] * 4
    assert all(row["served_at"] > datetime(2026, 1, 1, tzinfo=timezone.utc) for row in rows)
    assert {row["roles"]["visits"]["exported_at"] for row in rows} == {AT}


def test_the_server_counts_rows(online: Path, tmp_path: Path) -> None:
    """There is never room for a request of so many rows."""
    body = {"features": ["visits:visits_number"], "entities": {"user_id": ["u1"] * 20_001}}
    options = ["--feature-log", str(tmp_path / "log"), "--log-sample", "1", "--max-rows", "20001"]
    with serving(online, *options) as server:
        assert server.ask(body).status_code == 200
        counted = {name: rows for name, rows in server.metrics().items() if "feature_log" in name}
        assert counted == {'pit_join_feature_log_rows_total{outcome="dropped"}': 20_001}
