"""Nearest neighbours of an online store, against every embedding compared in plain Python."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import httpx
import numpy as np
import pyarrow as pa
import pytest
from http_servers import serving
from nearest_worker import DIMENSIONS, K, expected, generation_table, plain, put, table
from nearest_worker import export as export_generation
from online_cases import Exporter, contents_of
from servers import running, valkey_binary
from support.processes import python
from support.rule_sql import macro_nodes
from support.runs import sampled
from support.stores import put as put_records
from usearch.index import Index
from xxhash import xxh3_64_hexdigest

import pit_join.export.indexing
import pit_join.online.index_files
from pit_join import EntityError, FeatureStore, ProjectError, RequestError, StoreError
from pit_join.definitions.registry import Registry
from pit_join.online.index_files import OpenIndex
from pit_join.online.opening import open_store
from pit_join.online.protocol import OnlineStore
from pit_join.records.embeddings import METRICS, StoredIndex, distances
from pit_join.records.store_manifest import Contents

pytestmark = [pytest.mark.slow, pytest.mark.rest]

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
WORKER = Path(__file__).parent / "nearest_worker.py"
SECOND = 1_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "online"


@pytest.fixture
def store(folder: Path) -> OnlineStore:
    return open_store(str(folder), create=True)


@pytest.fixture(params=["all compared", "by a graph"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of index, also where there are few rows."""
    if request.param == "by a graph":
        monkeypatch.setattr(pit_join.export.indexing, "EXACT_ROWS", 5)
    monkeypatch.setattr(pit_join.online.index_files, "_BLOCK", 20)
    return str(request.param)


def files(folder: Path) -> dict[str, int]:
    """The files of indexes with their inodes."""
    return {path.name: path.stat().st_ino for path in folder.glob("nearest-*")}


def reader(folder: Path) -> FeatureStore:
    return FeatureStore(online_store=folder)


# The rule -----------------------------------------------------------------------------------------------------


def far(metric: str, one: Sequence[float], other: Sequence[float]) -> float:
    """The distance of two vectors of small whole numbers, for which every sum is exact."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    if metric == "inner_product":
        return -product + 0.0
    if metric == "l2":
        return math.sqrt(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)))
    cosine = product / (math.sqrt(sum(a * a for a in one)) * math.sqrt(sum(b * b for b in other)))
    return 1.0 - min(1.0, max(-1.0, cosine))


KEYS = {
    "number": (("id",), ("bigint",), lambda n: (n - 20,)),
    "text": (("name",), ("varchar",), lambda n: (f"k{n * 7 % 50}\0é" if n % 3 else f"k{n}",)),
    "both": (("shop", "id"), ("varchar", "integer"), lambda n: ("ab"[n % 2], n // 2)),
}


def manifest(name: str, metric: Any, keys: Sequence[str], types: Sequence[str], **meta: Any) -> dict[str, Any]:
    """A project with one view, which is a table in memory; `data_type` and `column` are those of the embedding."""
    data_type, own = meta.pop("data_type", "float[]"), meta.pop("column", {"nearest": metric})
    columns = dict(zip(keys, types, strict=True)) | {"happened": "timestamptz", "gone": "boolean"}
    columns = {key: {"name": key, "data_type": kind, "config": {}} for key, kind in columns.items()}
    columns["embedding"] = {"name": "embedding", "data_type": data_type, "config": {"meta": {"pit_join": own}}}
    settings = {"entity": "item", "join_keys": list(keys), "deleted": "gone", **meta}
    node = {
        "resource_type": "model", "package_name": "pit_join", "name": name, "relation_name": f"memory.main.{name}",
        "database": "memory", "schema": "main", "alias": name, "original_file_path": "items.yml", "columns": columns,
        "config": {"materialized": "table", "event_time": "happened", "meta": {"pit_join": settings}},
    }  # fmt: skip
    about = {"project_name": "pit_join", "adapter_type": "duckdb"}
    return {"metadata": about, "macros": macro_nodes(), "nodes": {name: node}, "exposures": {}}


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        yield opened


def at(second: int) -> datetime:
    return EPOCH + timedelta(seconds=second)


@pytest.mark.parametrize("seed", sampled(range(12), 2))
def test_generated_cases(
    seed: int, kind: str, connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ties, nulls, deleted keys, ages at the microsecond; exported at several instants, back and forth."""
    drawn = random.Random(seed)
    metric, which = METRICS[seed % 3], list(KEYS)[seed // 3 % 3]
    columns, types, key_of = KEYS[which]
    size, sql_type = drawn.randrange(1, 4), drawn.choice(["float[]", "double[]", "float[{}]"])
    sql_type = sql_type.format(size)
    ttl = drawn.choice([None, 20])
    rows: list[tuple[Any, ...]] = []
    for number in range(drawn.randrange(1, 40)):
        for second in drawn.sample(range(100), drawn.randrange(1, 4)):
            vector = [float(drawn.randrange(-2, 3)) for _ in range(size)]
            vector[0] = vector[0] if any(vector) else 1.0
            gone, null = drawn.random() < 0.15, drawn.random() < 0.15
            rows.append((*key_of(number), at(second), gone, None if null else vector))
    listed = ", ".join(f'"{column}" {kind}' for column, kind in zip(columns, types, strict=True))
    connection.execute(f"create table items ({listed}, happened timestamptz, gone boolean, embedding {sql_type})")
    connection.executemany(f"insert into items values ({', '.join('?' * (len(columns) + 3))})", rows)
    project = manifest(
        "items", metric, columns, types, data_type=sql_type, **({"ttl": f"{ttl} seconds"} if ttl else {})
    )
    exporter = Exporter(connection, tmp_path, monkeypatch)
    asked = reader(tmp_path / "store")
    for instant in (50, 99, 30, 99):
        exporter.run(project, instant * SECOND)
        newest: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        for row in sorted(rows, key=lambda row: row[-3]):
            if row[-3] <= at(instant):
                newest[row[: len(columns)]] = row
        for now in (at(instant), at(instant) + timedelta(microseconds=1), at(instant + 15)):
            query = [float(drawn.randrange(-2, 3)) for _ in range(size)]
            query[0] = query[0] if any(query) else 1.0
            live = [
                (far(metric, query, row[-1]), key, row[-3])
                for key, row in newest.items()
                if row[-1] is not None and not row[-2] and (ttl is None or now - row[-3] <= timedelta(seconds=ttl))
            ]
            for k in (1, 3, 100):
                found = asked.nearest("items", "embedding", query, k, now=now)
                got = [(one.distance, tuple(one.keys.values()), one.event_timestamp) for one in found]
                assert got == sorted(live)[:k] if kind == "all compared" else same_but_for_ties(got, sorted(live), k)
                assert all(tuple(one.keys) == columns for one in found)


def same_but_for_ties(got: list[Any], right: list[Any], k: int) -> bool:
    """A graph may give another of the farthest that are equally far."""
    wanted = right[:k]
    last = wanted[-1][0] if wanted else 0.0
    nearer = [one for one in wanted if one[0] < last]
    return (
        [one[0] for one in got] == [one[0] for one in wanted]
        and got[: len(nearer)] == nearer
        and set(got) <= set(right)
        and got == sorted(got)
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("floats", [pa.float32(), pa.float64()], ids=str)
def test_distances_are_those_of_the_served_values(metric: str, floats: pa.DataType, kind: str, folder: Path) -> None:
    numbers = np.random.default_rng(7)
    vectors = {n: row.tolist() for n, row in enumerate(numbers.normal(size=(40, 33)) * 10.0 ** numbers.integers(-9, 9))}
    put(open_store(str(folder), create=True), {"items": table(vectors, pa.list_(floats))}, metric)
    query = numbers.normal(size=33)
    asked = reader(folder)
    found = asked.nearest("items", "embedding", query.tolist(), 40)
    served = asked.get_online_features(["items:embedding"], {"id": [one.keys["id"] for one in found]}).to_dict()
    assert sorted(served["id"]) == list(range(40))
    for one, value in zip(found, served["embedding"], strict=True):
        product = math.fsum(a * b for a, b in zip(value, query, strict=True))
        right = {
            "l2": math.dist(value, query),
            "inner_product": -product,
            "cosine": 1 - product / (math.hypot(*value) * math.hypot(*query)),
        }[metric]
        assert one.distance == pytest.approx(right, rel=1e-12, abs=1e-12 * math.hypot(*value) if metric != "l2" else 0)
    for form in (tuple(query), query, query.astype(">f8")):
        assert asked.nearest("items", "embedding", form, 40) == found


def test_a_distance_does_not_depend_on_its_neighbours() -> None:
    """Which are compared in the index, and those few that are read, must be in one order."""
    numbers = np.random.default_rng(1)
    for dtype in ("<f4", "<f8"):
        matrix, query = numbers.normal(size=(999, 77)).astype(dtype), numbers.normal(size=77)
        for metric in METRICS:
            whole = distances(metric, matrix, query)
            for some in ([5], [998, 3], list(range(100, 117))):
                assert distances(metric, np.array(matrix[some].tolist()), query).tolist() == whole[some].tolist()


def test_a_vector_is_not_less_than_nothing_away_from_itself() -> None:
    """Although a cosine may come out as a little more than 1."""
    rows = np.random.default_rng(2).normal(size=(1000, 7))
    found = np.array([distances("cosine", np.array([row, -row]), row) for row in rows])
    assert found.min() == 0.0
    assert found.max() == 2.0


@pytest.mark.parametrize("metric", sampled(METRICS, 1))
def test_recall(metric: str, folder: Path) -> None:
    numbers = np.random.default_rng(20)
    centres = numbers.normal(size=(100, 32))
    vectors = (centres[numbers.integers(0, 100, 20_000)] + numbers.normal(scale=0.4, size=(20_000, 32))).astype("f4")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 32)
    rows = pa.table({"id": np.arange(20_000), "_pit_event": np.zeros(20_000, dtype=np.int64), "embedding": lists})
    put(open_store(str(folder), create=True), {"items": rows}, metric)
    assert {name.rsplit(".")[-1] for name in files(folder)} == {"keys", "usearch"}
    asked, hits = reader(folder), 0
    for query in vectors[:200] + numbers.normal(scale=0.2, size=(200, 32)):
        right = np.argsort(distances(metric, vectors, query), kind="stable")[:10].tolist()
        found = [one.keys["id"] for one in asked.nearest("items", "embedding", query)]
        assert len(set(found)) == 10
        hits += len({*right} & {*found})
    assert hits / 2000 >= 0.95


def test_every_row_of_a_graph_can_be_reached() -> None:
    """Of graphs that are begun by several threads one in two hundred has rows that no search finds."""
    for seed in range(1000):
        rows = np.random.default_rng(seed).integers(-900, 901, size=(150, 4)).astype("f4")
        found = pit_join.online.index_files.graph("l2", 4, iter([rows])).search(rows[0], 150, threads=1)
        assert sorted(found.keys.tolist()) == list(range(150))


def test_nearly_all_have_expired(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The young ones are the farthest."""
    rows, young = 3000, {2999, 2000, 2500}
    events = [9 * SECOND if n in young else 0 for n in range(rows)]
    vectors = {n: [1.0, float(n)] for n in range(rows)}
    put(open_store(str(folder), create=True), {"items": table(vectors, events=events)}, ttl=timedelta(seconds=5))
    asked = reader(folder)
    found = asked.nearest("items", "embedding", [1, 0], 5, now=at(14))
    assert plain(found) == [(2000, 2000.0), (2500, 2500.0), (2999, 2999.0)]
    assert [one.event_timestamp for one in found] == [at(9)] * 3
    assert asked.nearest("items", "embedding", [1, 0], 5, now=at(14) + timedelta(microseconds=1)) == []
    assert len(asked.nearest("items", "embedding", [1, 0], 2, now=at(14))) == 2
    assert plain(asked.nearest("items", "embedding", [1, 0], 2, now=at(5))) == [(0, 0.0), (1, 1.0)]
    # The farther one comes first, in another part of those that are all looked at.
    monkeypatch.setattr(pit_join.online.index_files, "EXACT_ROWS", 100)
    vectors |= {2000: [1.0, 9000.0], 2500: [1.0, 8000.0], 2999: [1.0, 8500.0]}
    put(open_store(str(folder)), {"items": table(vectors, events=events)}, ttl=timedelta(seconds=5))
    assert plain(asked.nearest("items", "embedding", [1, 0], 1, now=at(14))) == [(2500, 8000.0)]


def test_of_one_distance_keys_decide(store: OnlineStore, folder: Path) -> None:
    """Also behind those that have expired, where not all of one distance are looked at together."""
    vectors = {n: [float(n)] if n < 10 else [50.0] for n in range(300)}
    put(store, {"items": table(vectors, events=[0 if n < 10 else SECOND for n in vectors])}, ttl=timedelta(seconds=1))
    found = plain(reader(folder).nearest("items", "embedding", [0.0], 5, now=at(2)))
    assert found == [(n, 50.0) for n in range(10, 15)]
    found = plain(reader(folder).nearest("items", "embedding", [50.0], 5, now=at(1)))
    assert found == [(n, 0.0) for n in range(10, 15)]


def test_what_is_equally_far_in_32_bits_is_told_apart_in_64(kind: str, store: OnlineStore, folder: Path) -> None:
    """As a graph cannot do it: those that are asked for must be the first of those that more are asked for."""
    vectors = {n: [float(n), 0.0] for n in range(5)}
    vectors |= {n: [10.0 * math.cos(n), 10.0 * math.sin(n)] if n % 10 == 0 else [99.0, float(n)] for n in range(5, 150)}
    put(store, {"items": table(vectors, pa.list_(pa.float64()))})
    found = plain(reader(folder).nearest("items", "embedding", [0.0, 0.0], 20))
    right = sorted((math.hypot(*vector), n) for n, vector in vectors.items())
    for k in (5, 6, 9, 12, 17):
        some = plain(reader(folder).nearest("items", "embedding", [0.0, 0.0], k))
        assert some == found[:k]
        assert [distance for _, distance in some] == pytest.approx([distance for distance, _ in right[:k]])


def test_no_embeddings(store: OnlineStore, folder: Path) -> None:
    put(store, {"items": table({1: None, 2: None}), "none": table({3: None}, pa.list_(pa.float64())).slice(0, 0)})
    assert files(folder) == {}
    assert reader(folder).nearest("items", "embedding", [1.0]) == []
    assert reader(folder).nearest("none", "embedding", [1.0, 2.0]) == []


# Files --------------------------------------------------------------------------------------------------------


def test_what_has_not_changed_keeps_its_file(store: OnlineStore, folder: Path, kind: str) -> None:
    one = {n: [float(n), 1.0] for n in range(9)}
    two = {n: [float(n), 2.0] for n in range(9)}
    views = put(store, {"one": table(one), "two": table(two)})
    first = files(folder)
    assert first.keys() == {name for view in views.values() for name in view.nearest["embedding"].files}
    assert len(first) == 4
    put(store, {"one": table(one, events=[5] * 9), "two": table(two)})  # the records change, the embeddings do not
    assert files(folder) == first
    put(store, {"one": table(two)}, kept=["two"], dry_run=True)
    assert files(folder) == first
    put(store, {"one": table(one | {3: [7.0, 7.0]})}, kept=["two"])
    second = files(folder)
    assert len(second) == 4
    assert len(first.items() & second.items()) == 2
    assert plain(reader(folder).nearest("one", "embedding", [7, 7], 1)) == [(3, 0.0)]
    assert plain(reader(folder).nearest("two", "embedding", [3, 2], 1)) == [(3, 0.0)]
    put(store, {"one": table(one)})
    assert files(folder).keys() == {name for name in first if name in views["one"].nearest["embedding"].files}
    put(store, {"one": table(one)}, "cosine")
    assert len(files(folder).keys() - first.keys()) == 2
    put(store, {"one": table(one)}, None)
    assert files(folder) == {}
    with pytest.raises(RequestError, match=r"^'one:embedding' has no index; declare nearest on its column, and "):
        reader(folder).nearest("one", "embedding", [1, 1])


def test_the_same_embeddings_of_other_keys_are_another_index(store: OnlineStore, folder: Path) -> None:
    put(store, {"items": table({"a": [1.0], "bc": [2.0]})})
    first = files(folder)
    put(store, {"items": table({"ab": [1.0], "c": [2.0]})})
    assert not files(folder).keys() & first.keys()
    assert [one.keys["id"] for one in reader(folder).nearest("items", "embedding", [2])] == ["c", "ab"]


def test_another_version_of_usearch_writes_graphs_anew(
    store: OnlineStore, folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = table({n: [float(n)] for n in range(9)})
    put(store, {"items": rows})
    first = files(folder)
    monkeypatch.setattr(pit_join.export.indexing, "usearch_version", lambda: "9.9")
    put(store, {"items": rows})
    assert (files(folder) == first) == (kind == "all compared")


def test_a_copied_store(store: OnlineStore, folder: Path, tmp_path: Path, kind: str) -> None:
    export_generation(store, 3)
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    query = [1.0] * DIMENSIONS
    assert plain(reader(copy).nearest("items", "embedding", query, K)) == expected(query, 3)
    without = tmp_path / "without"
    without.mkdir()
    shutil.copy(copy / "data.mdb", without)
    with pytest.raises(StoreError, match=r"^the index .*\.keys is missing; run pit-join export, .* all of its folder"):
        reader(without).nearest("items", "embedding", query)


def test_a_reader_follows_the_exports(store: OnlineStore, folder: Path) -> None:
    """One whose index was removed, in all ways in which a store can change under it."""
    asked, query = reader(folder), [1.0] * DIMENSIONS
    for generation in (1, 2, 3, 2, 2):
        export_generation(store, generation)
        assert plain(asked.nearest("items", "embedding", query, K)) == expected(query, generation)
    put(store, {"others": table({1: [1.0]})})
    with pytest.raises(RequestError, match="has no feature view 'items'; feature views: others"):
        asked.nearest("items", "embedding", query)
    assert plain(asked.nearest("others", "embedding", [3], 5)) == [(1, 2.0)]
    put(store, {"items": table({1: [1.0]})})
    assert plain(asked.nearest("items", "embedding", [3], 5)) == [(1, 2.0)]
    put(store, {"items": table({1: [1.0, 1.0]})})
    assert plain(asked.nearest("items", "embedding", [1.0, 2.0], 5)) == [(1, 1.0)]


# Processes ----------------------------------------------------------------------------------------------------


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WORKER), *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def at_once(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A process of `nearest_worker` that asks nothing, to its end."""
    return python("import nearest_worker; nearest_worker.main(*sys.argv[1:])", *arguments)


def said(*arguments: object) -> str:
    """What a process says that must end by itself, without a crash."""
    done = at_once(*arguments)
    assert done.returncode == 0, done
    return (done.stderr + done.stdout).strip()


def test_readers_while_exports_go_on(store: OnlineStore, folder: Path, tmp_path: Path) -> None:
    export_generation(store, 0)
    stop = tmp_path / "stop"
    readers = [start("read", folder, stop, seed) for seed in range(2)]
    try:
        for process in readers:
            assert process.stdout is not None
            assert process.stdout.readline() == "reads\n"
        for generation in range(1, 60):
            export_generation(store, generation % 7)
    finally:
        stop.touch()
        told = [process.communicate(timeout=60)[0] for process in readers]
    for process, out in zip(readers, told, strict=True):
        assert process.returncode == 0, out
        requests, changes = map(int, out.split())
        assert requests > 60
        assert changes > 5


def test_kill_9_at_every_step(store: OnlineStore, folder: Path) -> None:
    """Old or new as a whole, and nothing is left over by the export after."""
    query = [1.0] * DIMENSIONS
    for step in range(100):
        old, new = (step % 2, 1 - step % 2)
        export_generation(store, old)
        assert len(files(folder)) == 2
        done = at_once("export", folder, new, step, 0)
        found = plain(reader(folder).nearest("items", "embedding", query, K))
        assert found in (expected(query, old), expected(query, new)), step
        if done.returncode == 0:
            assert done.stdout == "done\n"
            assert found == expected(query, new)
            break
        assert done.returncode == -9, done
    assert step > 12


@pytest.mark.parametrize("generation", [0, 1])
def test_full_disk(generation: int, store: OnlineStore, folder: Path) -> None:
    export_generation(store, 5)
    before = files(folder)
    says = said("export", folder, generation, -1, 1500)
    assert "File too large" in says or "erialize" in says
    assert says.startswith("Error: the index nearest-")
    assert "Nothing was changed, and what was exported before is still served" in says
    assert set(before) <= set(files(folder))
    assert not [name for name in files(folder) if name.endswith(".new")]
    query = [1.0] * DIMENSIONS
    assert plain(reader(folder).nearest("items", "embedding", query, K)) == expected(query, 5)
    export_generation(store, generation)
    assert len(files(folder)) == 2


DAMAGED = ["nothing", "half", "one byte less", "one byte more", "another byte", "foreign", "gone", "folder"]


def damage(path: Path, how: str, other: Path) -> None:
    data = path.read_bytes()
    if how == "another byte":
        data = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    elif how == "foreign":
        data = other.read_bytes()[: len(data)].ljust(len(data), b"\0")
    shorter = {
        "nothing": b"",
        "half": data[: len(data) // 2],
        "one byte less": data[:-1],
        "one byte more": data + b"\0",
    }
    data = shorter.get(how, data)
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "gone":
        path.write_bytes(data)


@pytest.mark.parametrize("ending", sampled(["keys", "vectors", "usearch"], 1))
def test_damaged_files(ending: str, store: OnlineStore, folder: Path, tmp_path: Path) -> None:
    """Asked in processes of their own, which must not crash; the next export mends them."""
    generation = 0 if ending == "usearch" else 1
    export_generation(open_store(str(tmp_path / "other"), create=True), generation + 2)
    (other,) = (tmp_path / "other").glob(f"nearest-*.{ending}")
    query = [1.0] * DIMENSIONS
    for how in DAMAGED:
        export_generation(store, generation)
        (path,) = folder.glob(f"nearest-*.{ending}")
        damage(path, how, other)
        says = said("ask", folder, "new")
        wanted = "is missing; run" if how == "gone" else "is damaged: it is not"
        assert says.startswith("Error: ")
        assert wanted in says, (how, says)
        if how == "folder":
            path.rmdir()
        export_generation(store, generation)
        assert plain(reader(folder).nearest("items", "embedding", query, K)) == expected(query, generation), how


def test_a_damaged_file_is_replaced_and_not_written_over(store: OnlineStore, folder: Path) -> None:
    """Since somebody may have it mapped."""
    export_generation(store, 1)
    (path,) = folder.glob("nearest-*.vectors")
    good = path.read_bytes()
    path.write_bytes(bytes(len(good)))
    with path.open("rb") as mapped:
        export_generation(store, 1)
        assert mapped.read() == bytes(len(good))
    assert path.read_bytes() == good


def test_a_disk_that_fails(store: OnlineStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_generation(store, 1)

    def fails(*arguments: Any) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", fails)
        with pytest.raises(StoreError, match=r"^the index nearest-\w+\.keys in .* cannot be read: Input/output error$"):
            reader(folder).nearest("items", "embedding", [1.0] * DIMENSIONS)
    assert len(reader(folder).nearest("items", "embedding", [1.0] * DIMENSIONS)) == 10


@pytest.mark.parametrize("ending", sampled(["keys", "vectors", "usearch"], 1))
def test_a_file_that_is_cut_short_while_it_is_mapped(ending: str, store: OnlineStore, folder: Path) -> None:
    export_generation(store, 0 if ending == "usearch" else 1)
    process = start("ask", folder, "opened")
    assert process.stdout is not None
    assert process.stdout.readline() == "opened\n"
    (path,) = folder.glob(f"nearest-*.{ending}")
    os.truncate(path, 0)
    out, _ = process.communicate("\n", timeout=60)
    assert process.returncode == 0, process.returncode
    assert out.startswith("Error: the index nearest-")
    assert "is damaged" in out


def test_records_of_another_export_are_noticed(store: OnlineStore, folder: Path) -> None:
    """Contents that name an index of other keys or lengths: no neighbour that the records do not confirm."""
    put(store, {"items": table({1: [1.0], 2: [2.0]})})
    index = contents_of(store).views["items"].nearest["embedding"]
    before = {name: (folder / name).read_bytes() for name in index.files}
    for others in ({1: [1.0], 3: [2.0]}, {1: [1.0, 0.0], 2: [2.0, 0.0]}, {1: [1.0], 2: None}):
        put(store, {"items": table(others)})
        view = replace(contents_of(store).views["items"], nearest={"embedding": index})
        for name, data in before.items():
            (folder / name).write_bytes(data)
        with store._environment.begin(write=True) as transaction:  # type: ignore[attr-defined] # the store in a folder
            transaction.put(b"\0", Contents("shop", "dev", EPOCH, {"items": view}).to_json())
        with pytest.raises(StoreError, match=r"a record of the online store is damaged|is not that of its records"):
            reader(folder).nearest("items", "embedding", [1.0])


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "manhattan"},
        {"rows": -1},
        {"rows": 2.0},
        {"files": {}},
        {"files": {"../data.mdb": [1, "00"]}},
        {"files": {"nearest-0123456789abcdef0123456789abcdef.keys": [1, "00"]}},
        {"dimensions": "4"},
    ],
    ids=str,
)
def test_contents_that_are_none(change: dict[str, Any], store: OnlineStore) -> None:
    export_generation(store, 1)
    index = contents_of(store).views["items"].nearest["embedding"]
    assert StoredIndex.from_json(json.loads(json.dumps(index.as_json()))) == index
    with pytest.raises(ValueError, match="the index"):
        StoredIndex.from_json({**index.as_json(), **change})
    read = json.loads(store.contents()[1] or b"")
    del read["checksum"]
    read["views"]["items"]["nearest"]["embedding"] |= change
    with pytest.raises(StoreError, match="the store is damaged: its contents cannot be read"):
        Contents.from_json(json.dumps(read).encode(), "the store")


def test_the_page_on_the_format(store: OnlineStore, folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "store-format.md").read_text().split("\n## Indexes of embeddings\n")[1]
    keys, vectors, contents = (block.split("```")[0].strip() for block in page.split("```text\n")[1:4])
    put(store, {"items": table({1: [0.5, -1.0], 2: [3.0, 0.0]})})
    found = {path.suffix: path.read_bytes() for path in folder.glob("nearest-*")}
    assert found == {".keys": bytes.fromhex(keys), ".vectors": bytes.fromhex(vectors)}
    files = {
        path.name: [len(data), xxh3_64_hexdigest(data)]
        for path in folder.glob("nearest-*")
        if (data := path.read_bytes())
    }
    shown = json.loads(f"{{{contents.replace('FILES', json.dumps(files))}}}")
    assert json.loads(store.contents()[1] or b"")["views"]["items"]["nearest"] == shown["nearest"]
    put(store, {"items": table({n: [1.0, float(n)] for n in range(10_001)})}, "cosine")
    (path,) = folder.glob("*.usearch")
    graph = Index.restore(path)
    assert graph.metric.name == "IP"
    assert graph.dtype.name == "F32"
    assert len(graph) == 10_001
    assert np.frombuffer((folder / f"{path.stem}.keys").read_bytes()[-8:], "<u8").tolist() == [9 * 10_001]


# Errors -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "online"
    rows = table({n: [float(n), 1.0] for n in range(5)})
    put(open_store(str(folder), create=True), {"items": rows.append_column("title", pa.array(["t"] * 5))}, "cosine")
    return folder


VECTOR = "^the vector must be numbers: a list, a tuple or a NumPy array of one dimension, got "


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"vector": [1.0]}, EntityError, "^the embeddings of 'items:embedding' have 2 numbers, and the vector has 1$"),
        ({"vector": [1.0, math.nan]}, EntityError, "^the vector has a NaN or an infinity$"),
        ({"vector": [1.0, -math.inf]}, EntityError, "^the vector has a NaN or an infinity$"),
        ({"vector": [1.0, 1e16]}, EntityError, r"^the vector has a number beyond 1e\+15, "),
        (
            {"vector": (0, -0.0)},
            EntityError,
            "^the vector is zero, so that it has no direction, which cosine compares$",
        ),
        ({"vector": []}, EntityError, VECTOR + "list$"),
        ({"vector": "12"}, EntityError, VECTOR + "str of shape"),
        ({"vector": None}, EntityError, VECTOR + "NoneType"),
        ({"vector": [1.0, None]}, EntityError, VECTOR + "list of shape"),
        ({"vector": [1.0, True]}, EntityError, VECTOR + "list of shape"),
        ({"vector": [1.0, 10**400]}, EntityError, VECTOR + "list of shape"),
        ({"vector": [Decimal(1), Decimal(2)]}, EntityError, VECTOR + "list of shape"),
        ({"vector": [[1.0, 2.0]]}, EntityError, VECTOR + r"list of shape \(1, 2\) and float64"),
        ({"vector": [[1.0], [2.0, 3.0]]}, EntityError, VECTOR + "list$"),
        ({"vector": np.ones((2, 1))}, EntityError, VECTOR + r"ndarray of shape \(2, 1\)"),
        ({"vector": np.array([True, True])}, EntityError, VECTOR),
        ({"vector": {"a": 1}}, EntityError, VECTOR + "dict"),
        ({"k": 0}, EntityError, "^k is how many neighbours are wanted, a whole number from 1, got 0$"),
        ({"k": -1}, EntityError, "got -1$"),
        ({"k": 2.0}, EntityError, r"got 2\.0$"),
        ({"k": True}, EntityError, "got True$"),
        ({"k": "3"}, EntityError, "got '3'$"),
        (
            {"view": "item"},
            RequestError,
            "has no feature view 'item'; did you mean 'items'\\? feature views: items$",
        ),
        ({"feature": "embeding"}, RequestError, "did you mean 'embedding'\\? features: embedding, title$"),
        ({"feature": "title"}, RequestError, "^'items:title' has no index; .* indexed features: embedding$"),
    ],
    ids=str,
)
def test_what_is_asked_wrongly(asked: dict[str, Any], error: type[Exception], says: str, small: Path) -> None:
    request: dict[str, Any] = {"view": "items", "feature": "embedding", "vector": [1.0, 2.0], "k": 3} | asked
    with pytest.raises(error, match=says):
        reader(small).nearest(**request)


def test_more_are_wanted_than_there_are(small: Path) -> None:
    for k in (5, 6, 10**30, np.int64(7)):
        found = reader(small).nearest("items", "embedding", [1.0, 0.0], k)
        assert [one.keys["id"] for one in found] == [4, 3, 2, 1, 0]


def test_no_store(tmp_path: Path) -> None:
    open_store(str(tmp_path / "empty"), create=True)
    with pytest.raises(StoreError, match="nothing was exported to the online store yet; run pit-join export"):
        reader(tmp_path / "empty").nearest("items", "embedding", [1.0])
    with pytest.raises(StoreError, match="there is no online store in"):
        reader(tmp_path / "none").nearest("items", "embedding", [1.0])


ALL = "; all must have one length and finite numbers. Correct it in the model, or make it null there"


@pytest.mark.parametrize(
    ("vector", "metric", "says"),
    [
        ([1.0], "l2", "has 1 numbers, and the first one has 2"),
        ([], "l2", "has 0 numbers, and the first one has 2"),
        ([1.0, math.nan], "l2", "has a NaN or an infinity"),
        ([math.inf, 1.0], "inner_product", "has a NaN or an infinity"),
        ([1.0, None], "l2", "has a null in it"),
        ([1e16, 1.0], "l2", r"has a number beyond 1e\+15, with which distances cannot be computed"),
        ([0.0, 0.0], "cosine", "is zero, so that it has no direction, which cosine compares"),
    ],
    ids=str,
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_embeddings_that_have_no_distance(
    vector: list[Any], metric: str, says: str, dry_run: bool, store: OnlineStore, folder: Path
) -> None:
    """Nothing is written, and the view, the feature and the key are named; the good ones may be of zeros."""
    put(store, {"items": table({"a": [1.0, 1.0]})}, metric)
    before = files(folder)
    rows = table({"a": [0.0, 1.0], "b": None, "c\0": vector})
    match = rf"^items:embedding declares nearest, and the embedding of id='c\\x00' {says}{ALL}"
    with pytest.raises(StoreError, match=match):
        put(store, {"items": rows}, metric, dry_run=dry_run)
    assert files(folder) == before
    if metric != "cosine":
        put(store, {"items": table({"a": [0.0, 0.0]})}, metric)
        assert plain(reader(folder).nearest("items", "embedding", [0, 0])) == [("a", 0.0)]


def test_embeddings_of_length_zero(store: OnlineStore) -> None:
    with pytest.raises(StoreError, match="the embedding of id=1 has 0 numbers"):
        put(store, {"items": table({1: []})})


def test_a_table_of_another_type_than_declared(store: OnlineStore) -> None:
    with pytest.raises(StoreError, match=r"^items:embedding declares nearest, and its table has list<int64>, which is"):
        put(store, {"items": table({1: [1]}, pa.list_(pa.int64()))})


@pytest.mark.parametrize(
    ("metric", "options", "says"),
    [
        ("cosin", {}, "nearest: must be one of cosine, l2, inner_product, got 'cosin'"),
        (True, {}, "nearest: must be one of cosine, l2, inner_product, got True"),
        (["l2"], {}, r"nearest: must be one of cosine, l2, inner_product, got \['l2'\]"),
        (None, {}, "config.meta.pit_join.nearest: is empty; give it a value or leave the key out"),
        ("l2", {"data_type": "float"}, r"nearest: is for a column of a list of floats, such as .*, got 'float'"),
        ("l2", {"data_type": "integer[]"}, r"nearest: is for a column of a list of floats, .*, got 'integer\[\]'"),
        ("l2", {"data_type": "float[][]"}, r"nearest: is for a column of a list of floats, .*, got 'float\[\]\[\]'"),
        ("l2", {"column": {"nearest": "l2", "exclude": True}}, "nearest: only a feature is searched; this"),
        ("l2", {"deleted": "embedding", "data_type": "float[]"}, "nearest: only a feature has a nearest; this column"),
        ("l2", {"column": {"neerest": "l2"}}, r"config.meta.pit_join.neerest: unknown key; did you mean 'nearest'\?"),
    ],
)  # fmt: skip
def test_declarations(metric: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ProjectError, match=rf"(^|\n)items.yml: items: columns.embedding.{says}"):
        Registry.from_manifest(manifest("items", metric, ["id"], ["bigint"], **options))


@pytest.mark.parametrize(
    "data_type", ["float[]", "FLOAT[3]", "double[]", "real [ ]", "double precision[64]", "float8[]"]
)
def test_types_of_embeddings(data_type: str) -> None:
    nodes = manifest("items", "l2", ["id"], ["bigint"], data_type=data_type.replace("[ ]", "[]"))
    (feature,) = Registry.from_manifest(nodes).views["items"].features
    assert feature.nearest == "l2"


def test_a_window_view_has_none() -> None:
    count = {"name": "seen", "function": "count", "window": "1 day"}
    with pytest.raises(ProjectError, match=r"columns.embedding.nearest: the features of a view with aggregations are "):
        Registry.from_manifest(manifest("items", "l2", ["id"], ["bigint"], aggregations=[count]))


# Without the package, and other stores --------------------------------------------------------------------------


def test_without_usearch(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute(
        "create table items as select 1::bigint as id, now() as happened, false as gone, [1.0::float] embedding"
    )
    exporter = Exporter(connection, tmp_path, monkeypatch)
    for module in ("usearch", "usearch.index"):
        monkeypatch.setitem(sys.modules, module, None)
    says = r"^nearest neighbours need the package usearch; run pip install 'pit-join\[nearest\]'$"
    with pytest.raises(StoreError, match=says):
        exporter.run(manifest("items", "l2", ["id"], ["bigint"]), 0)
    with pytest.raises(StoreError, match=says):
        reader(small).nearest("items", "embedding", [1.0, 2.0])
    exporter.run(manifest("items", "l2", ["id"], ["bigint"], column={}), 0)
    assert reader(small).get_online_features(["items:title"], [{"id": 1}]).to_dict()["title"] == ["t"]


def test_what_reading_loads(small: Path) -> None:
    code = """
import sys
from pit_join import FeatureStore
store = FeatureStore(online_store=sys.argv[1])
store.get_online_features(["items:title"], [{"id": 1}])
print([m for m in ("usearch", "numkong", "tqdm") if m in sys.modules])
store.nearest("items", "embedding", [1.0, 2.0])
print([m for m in ("dbt", "duckdb", "jinja2", "pandas", "pyarrow", "redis", "yaml") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code, str(small)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


@pytest.mark.redis
def test_redis_has_no_indexes(tmp_path: Path) -> None:
    said: list[str] = []
    with running(valkey_binary(), tmp_path) as server:
        store = open_store(server.url, create=True)
        views = put(store, {"items": table({1: [1.0]})}, say=said.append)
        assert said == ["items:embedding: only the embedded store has nearest neighbours; this one gets no index"]
        assert views["items"].nearest == {}
        with pytest.raises(RequestError, match="has no index; declare nearest on its column, and export to the emb"):
            FeatureStore(online_store=server.url).nearest("items", "embedding", [1.0])
        store.close()


def test_a_store_without_indexes(store: OnlineStore, folder: Path) -> None:
    """As one that was exported before there were any."""
    put_records(store, {"items": {"user_id": [1], "embedding": [[1.0]]}})
    assert b"nearest" not in (store.contents()[1] or b"")
    with pytest.raises(RequestError, match=r"^'items:embedding' has no index; .*; there are no indexed features$"):
        reader(folder).nearest("items", "embedding", [1.0])


def test_an_export_of_the_command_line_has_all_of_it(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--select keeps the others, --dry-run writes nothing, and a bad embedding leaves the store as it was."""
    sql = "create table {} as select i as id, timestamptz '1970-01-01' as happened, false as gone, "
    for name in ("one", "two"):
        connection.execute(f"{sql.format(name)} [i, 1.0::float] as embedding from range(3) as r(i)")
    project = manifest("one", "l2", ["id"], ["bigint"])
    project["nodes"] |= manifest("two", "cosine", ["id"], ["bigint"])["nodes"]
    exporter = Exporter(connection, tmp_path, monkeypatch)
    exporter.run(project, 0, dry_run=True)
    assert files(tmp_path / "store") == {}
    exporter.run(project, 0)
    first = files(tmp_path / "store")
    assert len(first) == 4
    connection.execute("update one set embedding = [7.0::float, 7.0]")
    exporter.run(project, 0, dry_run=True)
    assert files(tmp_path / "store") == first
    exporter.run(project, 0, views=["one"])
    assert len(files(tmp_path / "store").items() & first.items()) == 2
    asked = reader(tmp_path / "store")
    assert plain(asked.nearest("one", "embedding", [7, 7])) == [(0, 0.0), (1, 0.0), (2, 0.0)]
    assert [one.keys["id"] for one in asked.nearest("two", "embedding", [2, 1])] == [2, 1, 0]
    connection.execute("update two set embedding = [0.0::float, 0.0] where id = 1")
    with pytest.raises(StoreError, match=r"^two:embedding declares nearest, and the embedding of id=1 is zero"):
        exporter.run(project, 0)
    assert [one.keys["id"] for one in asked.nearest("two", "embedding", [2, 1])] == [2, 1, 0]


# HTTP ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(small: Path) -> Iterator[httpx.Client]:
    with serving(small, "--max-rows", "4", "--max-body-bytes", "2000") as server:
        yield server.client


ASKED = {"view": "items", "feature": "embedding", "vector": [1.0, 0], "k": 2}


def test_http(client: httpx.Client) -> None:
    answer = client.post("/nearest", json=ASKED)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    right = [
        {"keys": {"id": n}, "distance": far("cosine", [1, 0], [n, 1]), "event_timestamp": "1970-01-01T00:00:00Z"}
        for n in (4, 3, 2, 1)
    ]
    assert answer.json() == {"neighbours": right[:2]}
    assert client.post("/nearest", json={**ASKED, "k": 4, "other": 1}).json() == {"neighbours": right}
    assert 'pit_join_requests_total{path="/nearest",status="200"} 2.0' in client.get("/metrics").text
    assert client.get("/nearest").status_code == 405
    assert client.post("/nearest", content="{}", headers={"content-type": "text/csv"}).status_code == 415
    assert client.post("/nearest", json={**ASKED, "vector": [1] * 2000}).status_code == 413


@pytest.mark.parametrize(("now", "ids"), [(at(5), [0, 1]), (at(6), [1])])
def test_http_as_of_an_instant(now: datetime, ids: list[int], store: OnlineStore, folder: Path) -> None:
    put(store, {"items": table({0: [1.0], 1: [2.0]}, events=[0, 9 * SECOND])}, ttl=timedelta(seconds=5))
    with serving(folder, "--now", now.isoformat()) as server:
        answer = server.client.post("/nearest", json={"view": "items", "feature": "embedding", "vector": [1]})
    assert [one["keys"]["id"] for one in answer.json()["neighbours"]] == ids


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"view": None}, "'view' must be a name"),
        ({"feature": ["embedding"]}, "'feature' must be a name"),
        ({"view": "x" * 1001}, "'view' has more than 1,000 characters"),
        ({"vector": "1"}, "'vector' must be a list of numbers"),
        ({"vector": [True, 1]}, "'vector' must be a list of numbers"),
        ({"vector": []}, "the vector must be numbers"),
        ({"vector": [0, 0]}, "the vector is zero"),
        ({"vector": [1, 2, 3]}, "have 2 numbers, and the vector has 3"),
        ({"k": 0}, "'k' must be a whole number from 1 to 4, got 0"),
        ({"k": 5}, "'k' must be a whole number from 1 to 4, got 5"),
        ({"k": 2.5}, "'k' must be a whole number from 1 to 4, got 2.5"),
        ({"k": None}, "'k' must be a whole number from 1 to 4, got None"),
        ({"feature": "embeddings"}, "did you mean 'embedding'?"),
    ],
    ids=str,
)
def test_http_errors(change: dict[str, Any], says: str, client: httpx.Client) -> None:
    answer = client.post("/nearest", json={**ASKED, **change})
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_http_bodies_that_are_none(client: httpx.Client) -> None:
    for body in ("", "[]", "{", '{"view": "a", "view": "b"}', "[" * 900):
        answer = client.post("/nearest", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, list(answer.json())) == (422, ["detail"])
    bad = '{"view": "items", "feature": "embedding", "vector": [1, NaN]}'
    assert client.post("/nearest", content=bad).status_code == 422


def test_http_store_errors_and_odd_keys(store: OnlineStore, folder: Path) -> None:
    utc = pa.array([1, 2**62], pa.timestamp("ns", "UTC"))
    rows = pa.table(
        {
            "t": utc,
            "f": pa.array([math.nan, 0.5], pa.float64()),
            "b": pa.array([b"\0", b"a"], pa.binary()),
            "_pit_event": [2**62, 0],
            "embedding": [[1.0], [2.0]],
        }
    )
    put(store, {"items": rows}, keys=("t", "f", "b"))
    with serving(folder) as server:
        answer = server.client.post("/nearest", json={"view": "items", "feature": "embedding", "vector": [1]})
        assert [one["keys"] for one in answer.json()["neighbours"]] == [
            {"t": "1970-01-01T00:00:00.000000001Z", "f": "NaN", "b": "AA=="},
            {"t": "2116-02-20T23:53:38.427387904Z", "f": 0.5, "b": "YQ=="},
        ]
        assert answer.json()["neighbours"][0]["event_timestamp"] == "148108-07-06T14:00:27.387904Z"
        for path in folder.glob("nearest-*.keys"):
            path.write_bytes(b"")
        put(store, {"items": rows.slice(0, 1)}, keys=("t", "f", "b"))
        for path in folder.glob("nearest-*.keys"):
            path.unlink()
        answer = server.client.post("/nearest", json={"view": "items", "feature": "embedding", "vector": [1]})
        assert answer.status_code == 503
        assert server.says("is missing; run pit-join export")


def test_an_open_index_is_shared_between_threads(store: OnlineStore, folder: Path) -> None:
    """And what has not changed is not opened anew after an export."""
    export_generation(store, 0)
    asked, query = reader(folder), [1.0] * DIMENSIONS
    asked.nearest("items", "embedding", query)
    opened = asked._neighbours._indexes["items", "embedding"][1]
    assert isinstance(opened, OpenIndex)
    put(store, {"items": generation_table(0), "more": table({1: [1.0]})})
    asked.nearest("items", "embedding", query)
    assert asked._neighbours._indexes["items", "embedding"][1] is opened
