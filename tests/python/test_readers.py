"""Prepared readers of the HTTP server and the plain call: which are kept, which wait, which are renewed first."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.processes import python
from support.stores import put

from pit_join import FeatureLog, FeatureStore, RequestError
from pit_join.http.readers import Asked, LateError, Readers
from pit_join.online.opening import open_store
from pit_join.records.store_manifest import Contents
from pit_join.serving import prepared as prepared_module
from pit_join.serving import reader as reader_module
from pit_join.serving.prepared import PreparedReaders

SERVICE: Asked = ("service", False)
AT_ONCE = 60.0  # seconds; what takes longer is a failure


class Prepared:
    """A reader of one state, and how often each was made and renewed."""

    state = 0
    names = ("f",) * 1000
    made: ClassVar[Counter[Asked]] = Counter()
    renewed: ClassVar[list[Asked]]
    wait: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self, asked: Asked) -> None:
        self.asked, self.mark = asked, self.state
        type(self).made[asked] += 1
        type(self).wait()

    def renew(self) -> None:
        type(self).wait()
        self.renewed.append(self.asked)
        self.mark = self.state

    def load(self) -> None:
        self.loaded = self.mark

    def is_current(self, other: Prepared) -> bool:
        return self.mark == other.mark


@pytest.fixture(autouse=True)
def _nothing_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Prepared, "state", 0)
    monkeypatch.setattr(Prepared, "made", Counter())
    monkeypatch.setattr(Prepared, "renewed", [], raising=False)
    monkeypatch.setattr(Prepared, "wait", staticmethod(lambda: None))


def in_loop(act: Callable[[Readers], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        make: Any = Prepared
        readers = Readers(make)
        try:
            await act(readers)
        finally:
            readers.close()

    asyncio.run(run())


def soon() -> float:
    return time.monotonic() + AT_ONCE


def test_services_are_not_displaced() -> None:
    async def act(readers: Readers) -> None:
        await readers.prepare([SERVICE], soon())
        for number in range(300):
            await readers.get((str(number), False), soon())
        await readers.get(SERVICE, soon())
        await readers.get(("299", False), soon())
        await readers.get(("0", False), soon())
        assert {asked: times for asked, times in Prepared.made.items() if times > 1} == {("0", False): 2}

    in_loop(act)


def test_a_service_that_is_late_at_the_start_is_not_displaced_either() -> None:
    ready = threading.Event()

    async def act(readers: Readers) -> None:
        Prepared.wait = staticmethod(ready.wait)
        await readers.prepare([SERVICE], time.monotonic())
        ready.set()
        for asked in (SERVICE, *((str(number), False) for number in range(300)), SERVICE):
            await readers.get(asked, soon())
        assert Prepared.made[SERVICE] == 1

    in_loop(act)


def test_one_request_is_prepared_once_and_may_be_late() -> None:
    ready = threading.Event()

    async def act(readers: Readers) -> None:
        Prepared.wait = staticmethod(ready.wait)
        for _ in range(3):
            with pytest.raises(LateError):
                await readers.get(("slow", True), time.monotonic() + 0.01)
        ready.set()
        found: Any = await readers.get(("slow", True), soon())
        assert found.asked == ("slow", True)
        assert Prepared.made == {("slow", True): 1}

    in_loop(act)


def test_what_is_asked_for_is_renewed_before_all_others() -> None:
    """After an export; the others follow one by one, also those that nobody asks for."""

    async def act(readers: Readers) -> None:
        await readers.prepare([SERVICE], soon())
        found = {name: await readers.get((name, False), soon()) for name in "abcdefghij"}
        Prepared.state = 1
        Prepared.wait = staticmethod(lambda: time.sleep(0.02))
        await readers.renewed(("j", False), found["j"], soon())
        await readers.renewed(("h", False), found["h"], soon())
        assert found["j"].loaded == 1  # type: ignore[attr-defined]
        assert Prepared.renewed[0] == ("j", False)
        assert ("h", False) in Prepared.renewed[1:4]
        until = soon()
        while len(Prepared.renewed) < 11:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        assert Counter(Prepared.renewed) == Counter([SERVICE, *((name, False) for name in "abcdefghij")])

    in_loop(act)


def test_an_error_is_that_of_its_request_alone() -> None:
    def broken() -> None:
        raise ValueError("no such feature")

    async def act(readers: Readers) -> None:
        Prepared.wait = staticmethod(broken)
        with pytest.raises(ValueError, match="no such feature"):
            await readers.get(("a", False), soon())
        Prepared.wait = staticmethod(lambda: None)
        found: Any = await readers.get(("a", False), soon())
        assert found.asked == ("a", False)

    in_loop(act)


def test_readers_are_kept_within_a_bound_of_bytes() -> None:
    """Many small ones or few large ones; one that is larger than the bound is kept alone."""

    def reader(features: int) -> Any:
        found = Prepared(SERVICE)
        found.names = ("f",) * features
        return found

    kept = PreparedReaders[int]()
    for number in range(1_000):
        kept.keep(number, reader(1))
    assert 400 < len(kept.all()) < 600
    assert kept.get(0) is None
    newest = kept.get(999)
    for number in range(1_000, 1_010):
        kept.keep(number, reader(2_500))
    assert 200 < len(kept.all()) < 300
    assert kept.get(999) is newest
    kept.keep(1_010, reader(100_000))
    assert list(kept.all()) == [1_010]


# The plain call of Python --------------------------------------------------------------------------------------


def counted_plans(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that grows with each request that is prepared."""
    prepared = []
    make_plan = reader_module.make_plan

    def counted(*given: Any, **how: Any) -> Any:
        prepared.append(given)
        return make_plan(*given, **how)

    monkeypatch.setattr(reader_module, "make_plan", counted)
    return prepared


def test_the_plain_call_prepares_a_request_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it names the features; and it sees each export."""
    store = open_store(str(tmp_path / "online"), create=True)
    put(store, {"activity": {"user_id": ["a"], "n": [1], "m": [5]}})
    prepared = counted_plans(monkeypatch)
    features = FeatureStore(online_store=tmp_path / "online")
    for asked in (["activity:n"], ("activity:n",), iter(["activity:n"])):
        assert features.get_online_features(asked, [{"user_id": "a"}]).to_dict() == {"user_id": ["a"], "n": [1]}
    assert len(prepared) == 1
    others: list[dict[str, Any]] = [
        {"full_feature_names": True},
        {"defaults": False},
        {"strict": True},
        {"deadline": None},
    ]
    for how in others:
        features.get_online_features(["activity:n"], [{"user_id": "a"}], **how)
    features.get_online_features(["x:n"], [{"user_id": "a"}], roles=["x=activity"])
    features.get_online_features([{"view": "activity", "features": ["m"]}], [{"user_id": "a"}])
    features.get_online_features([{"view": "activity", "features": ["m"]}], [{"user_id": "a"}])
    assert len(prepared) == 7
    put(store, {"activity": {"user_id": ["a"], "n": [2], "m": [5]}})
    assert features.get_online_features(["activity:n"], [{"user_id": "a"}]).to_dict()["n"] == [2]
    assert len(prepared) == 8


def test_the_plain_call_keeps_requests_within_a_bound_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(open_store(str(tmp_path / "online"), create=True), {"activity": {"user_id": ["a"], "n": [1], "m": [5]}})
    prepared = counted_plans(monkeypatch)
    monkeypatch.setattr(prepared_module, "_MOST_BYTES", 140_000)
    features = FeatureStore(online_store=tmp_path / "online")
    for reference in ("activity:n", "activity:m", "activity:n", "activity:*", "activity:n", "activity:m"):
        features.get_online_features([reference], [{"user_id": "a"}])
    assert len(prepared) == 4


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of what other tests left to collect
def test_a_kept_reader_does_not_hold_what_the_store_said_of_itself(tmp_path: Path) -> None:
    """Otherwise each request that nobody repeats would hold the views and services of the whole store."""
    store = open_store(str(tmp_path / "online"), create=True)
    features = FeatureStore(online_store=tmp_path / "online")
    for view in ("held", "b", "c", "d", "e", "f"):
        put(store, {view: {"user_id": ["a"], "n": [1]}})
        features.get_online_features([f"{view}:n"], [{"user_id": "a"}])
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, Contents) and "held" in each.views]


def test_the_plain_call_by_many_threads_beside_an_exporter(tmp_path: Path) -> None:
    """No call that begins after an export has ended sees the state before it."""
    store = open_store(str(tmp_path / "online"), create=True)
    put(store, {"activity": {"user_id": ["a"], "n": [0], "m": [0]}})
    features = FeatureStore(online_store=tmp_path / "online")
    done, wrong, ended = [0], [], threading.Event()

    def call() -> None:
        while not ended.is_set():
            least = done[0]
            found = features.get_online_features(["activity:n", "activity:m"], [{"user_id": "a"}]).to_dict()
            if found["n"] != found["m"] or found["n"][0] < least:
                wrong.append((least, found))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for n in range(1, 11):
            put(store, {"activity": {"user_id": ["a"], "n": [n], "m": [n]}})
            done[0] = n
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_copy_of_a_feature_store(tmp_path: Path) -> None:
    """It has what was given, and opens the store for itself; the other one may be in use, and goes on."""
    folder = tmp_path / "online"
    put(open_store(str(folder), create=True), {"a": {"user_id": [1, 2], "x": [0.5, 1.5]}})
    store = FeatureStore(online_store=folder, feature_log=FeatureLog(tmp_path / "log", 1))

    def read(one: FeatureStore) -> list[Any]:
        return one.get_online_features(["a:x"], {"user_id": [1, 2]}).to_dict()["x"]

    for _ in range(2):  # before it was used, and after
        pickled = pickle.dumps(store)
        for copied in (copy.copy(store), copy.deepcopy(store), pickle.loads(pickled)):
            assert copied.online_store == str(folder)
            assert read(copied) == [0.5, 1.5]
            assert copied._online is not store._online
        assert read(store) == [0.5, 1.5]


def test_to_look_at_all_readers_asks_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an export all are renewed; the ones that make room are still those that nobody asks for."""
    put(open_store(str(tmp_path), create=True), {"a": {"user_id": [1], "x": [0.5]}})
    reader = FeatureStore(online_store=tmp_path).online_reader(["a:x"])
    monkeypatch.setattr(prepared_module, "_MOST_BYTES", 3 * prepared_module._size(reader))
    readers = PreparedReaders[str]()
    for asked in "abc":
        readers.keep(asked, reader)
    assert readers.get("a") is reader
    assert list(readers.all()) == ["a", "b", "c"]
    readers.keep("d", reader)
    assert sorted(readers.all()) == ["a", "c", "d"]


class Silent(dict[str, Any]):
    """A mapping that looks the same whatever it holds, and changes."""

    def __repr__(self) -> str:
        return "<role>"

    def __hash__(self) -> int:  # type: ignore[override]
        return 1


def test_requests_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "online"
    put(open_store(str(folder), create=True), {"a": {"user_id": [1, 2], "x": [0.5, 1.5]}})
    store, row = FeatureStore(online_store=folder), {"buyer": 1, "seller": 2}
    role = Silent({"view": "a", "as": "r", "join_keys": {"user_id": "buyer"}, "features": ["x"]})
    for key, value in (("buyer", 0.5), ("seller", 1.5)):
        for wanted in (role, Silent(role)):
            wanted["join_keys"] = {"user_id": key}
            assert store.get_online_features([wanted], [row]).to_dict()["r__x"] == [value]


@pytest.mark.parametrize(
    ("features", "roles", "says"),
    [
        (None, (), "features are references"), (7, (), "features are references"),
        (["a:x"], None, "roles are mappings"), (["a:x"], 3, "roles are mappings"), (["a:x"], [1], "'1'"),
        (["a:x"], [{"a": 1}], "{'a': 1}"),
        ([1], (), "cannot read the reference '1'"),
    ],
)  # fmt: skip
def test_what_is_no_request(features: Any, roles: Any, says: str, tmp_path: Path) -> None:
    folder = tmp_path / "online"
    put(open_store(str(folder), create=True), {"a": {"user_id": [1], "x": [0.5]}})
    store = FeatureStore(online_store=folder)
    for read in (
        partial(store.get_online_features, features, [{"user_id": 1}]),
        partial(store.online_reader, features),
    ):
        with pytest.raises(RequestError, match=re.escape(says)):
            read(roles=roles)
    found = store.get_online_features("r:x", [{"buyer": 1}], roles="r=a(user_id=buyer)")
    assert found.to_dict()["r__x"] == [0.5]


def test_a_feature_store_in_another_process(tmp_path: Path) -> None:
    folder, log = tmp_path / "online", tmp_path / "log"
    put(open_store(str(folder), create=True), {"a": {"user_id": [1, 2], "x": [0.5, 1.5]}})
    store = FeatureStore(online_store=folder, feature_log=FeatureLog(log, 1))
    tmp_path.joinpath("pickled").write_bytes(pickle.dumps(store))
    code = """
import pickle
store = pickle.load(open(sys.argv[1], "rb"))
print(store.get_online_features(["a:x"], {"user_id": [1, 2]}).to_dict()["x"])
"""
    done = python(code, tmp_path / "pickled", timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0.5, 1.5]\n", "")
    assert len(list(log.iterdir())) == 1
