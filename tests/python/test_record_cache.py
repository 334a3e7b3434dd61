"""Records kept in process: never of another export, never a mix of two, never more than allowed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Server, counting, running, valkey_binary
from support.runs import number_of
from support.stores import put

from pit_join.errors import StoreError
from pit_join.online import cache as record_cache
from pit_join.online.cache import CachedStore
from pit_join.online.opening import open_store
from pit_join.online.protocol import Failed, OnlineStore
from pit_join.online.several import SeveralStores
from pit_join.online.urls import CacheLimits, cache_limits
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader
from pit_join.statuses import STORE_FAILED

MB = 2**20
BOTH = [Request("activity", ("*",), "activity"), Request("profile", ("*",), "profile")]


class Watched:
    """A store that notes which keys of which views it is asked for."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self.asked: list[dict[str, list[bytes]]] = []
        self.names = ("",)
        self.contents, self.folder, self.scan, self.close = store.contents, store.folder, store.scan, store.close

    def read(self, mark: object, wanted: Any, until: float | None = None) -> Any:
        self.asked.append({view.name: list(keys) for view, keys in wanted if keys})
        return self._store.read(mark, wanted, until)

    def last(self) -> dict[str, int]:
        """How many keys of each view the last request was for."""
        return {name: len(keys) for name, keys in self.asked[-1].items()}


def fill(store: OnlineStore, generation: int, rows: int = 100) -> None:
    users = [f"u{i}" for i in range(rows)]
    put(
        store,
        {
            "activity": {"user_id": users, "visits": [generation * 1000 + i for i in range(rows)]},
            "profile": {"user_id": users, "level": [generation * 1000 + i for i in range(rows)]},
        },
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OnlineStore]:
    opened = open_store(str(tmp_path / "online"), create=True)
    fill(opened, 1)
    yield opened
    opened.close()


def ask(reader: OnlineReader, *users: int) -> dict[str, list[Any]]:
    found = reader.get_online_features([{"user_id": f"u{user}"} for user in users]).to_dict()
    return {name: values for name, values in found.items() if name != "user_id"}


def test_what_was_read_is_kept(store: OnlineStore) -> None:
    watched = Watched(store)
    reader = OnlineReader(CachedStore(watched, CacheLimits(MB, 0)), BOTH)
    assert ask(reader, 1, 2, 1, 1000) == {
        "visits": [1001, 1002, 1001, None], "level": [1001, 1002, 1001, None],
    }  # fmt: skip
    assert watched.last() == {"activity": 3, "profile": 3}
    # Also that there is no record; the store is asked for its state alone.
    assert ask(reader, 1, 2, 1, 1000)["visits"] == [1001, 1002, 1001, None]
    assert watched.last() == {}
    assert ask(reader, 2, 3)["level"] == [1002, 1003]
    assert watched.last() == {"activity": 1, "profile": 1}
    assert len(watched.asked) == 3


def test_a_new_export_clears_it(store: OnlineStore) -> None:
    reader = OnlineReader(CachedStore(Watched(store), CacheLimits(MB, 0)), BOTH)
    for generation in (1, 2, 3):
        fill(store, generation)
        for _ in range(2):
            assert ask(reader, 1) == {"visits": [generation * 1000 + 1], "level": [generation * 1000 + 1]}


def test_what_comes_late_of_an_earlier_export_is_not_kept(store: OnlineStore) -> None:
    """One thread was answered by the store before an export, and another one has seen the export since."""

    class Late(Watched):
        def read(self, mark: object, wanted: Any, until: float | None = None) -> Any:
            found = super().read(mark, wanted, until)
            if len(self.asked) == 1:
                fill(store, 2)
                assert ask(quick, 1) == {"visits": [2001], "level": [2001]}
            return found

    cached = CachedStore(Late(store), CacheLimits(MB, 0))
    slow, quick = OnlineReader(cached, BOTH), OnlineReader(cached, BOTH)
    assert ask(slow, 2) == {"visits": [1002], "level": [1002]}
    assert ask(quick, 2) == {"visits": [2002], "level": [2002]}


def test_all_views_of_an_entity_are_kept_together(store: OnlineStore) -> None:
    """One that was kept beside one that is fetched would be a mix where an export changes records in place."""
    watched = Watched(store)
    cached = CachedStore(watched, CacheLimits(MB, 0))
    assert ask(OnlineReader(cached, BOTH[:1]), 1) == {"visits": [1001]}
    assert ask(OnlineReader(cached, BOTH), 1) == {"visits": [1001], "level": [1001]}
    assert watched.last() == {"activity": 1, "profile": 1}
    ask(OnlineReader(cached, BOTH[:1]), 1)
    assert watched.last() == {}


def test_for_a_time_the_store_is_not_asked_at_all(store: OnlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(record_cache.time, "monotonic", lambda: now)
    watched = Watched(store)
    reader = OnlineReader(CachedStore(watched, CacheLimits(MB, 5)), BOTH)
    ask(reader, 1)
    fill(store, 2)
    now = 104.9
    assert ask(reader, 1)["visits"] == [1001]
    assert len(watched.asked) == 1
    now = 105.0
    assert ask(reader, 1) == {"visits": [2001], "level": [2001]}
    # What is not kept is asked for, and that tells of an export too.
    fill(store, 3)
    assert ask(reader, 2) == {"visits": [3002], "level": [3002]}
    assert ask(reader, 1) == {"visits": [3001], "level": [3001]}


def test_what_a_store_failed_to_return_is_not_kept(store: OnlineStore) -> None:
    """All else of the same answer is."""

    class Broken(Watched):
        """A store with a part that is down, where every other user is."""

        down = True

        def read(self, mark: object, wanted: Any, until: float | None = None) -> Any:
            found = super().read(mark, wanted, until)
            if not self.down:
                return found
            answers = []
            for (_, keys), records in zip(wanted, found, strict=True):
                lost = range(1, len(keys), 2)
                each = [b"" if place in lost else one for place, one in enumerate(record_cache._each(records))]
                answers.append(Failed(each, lost, STORE_FAILED, StoreError("a part is down")))
            return answers

    broken = Broken(store)
    reader = OnlineReader(CachedStore(broken, CacheLimits(MB, 0)), BOTH, strict=False)
    found = reader.get_online_features({"user_id": ["u1", "u2", "u3", "u2"]})
    assert found.to_dict()["level"] == [1001, None, 1003, None]
    assert found.statuses["level"] == ["PRESENT", "STORE_FAILED", "PRESENT", "STORE_FAILED"]
    assert set(found.failures) == {"activity", "profile"}
    broken.down = False
    assert ask(reader, 1, 2, 3)["visits"] == [1001, 1002, 1003]
    assert broken.last() == {"activity": 1, "profile": 1}


def test_it_is_bounded(store: OnlineStore) -> None:
    """The entries used last stay."""
    watched = Watched(store)
    one = record_cache._size({"activity": bytes(40), "profile": bytes(40)})
    cached = CachedStore(watched, CacheLimits(10 * one, 0))
    reader = OnlineReader(cached, BOTH)
    for user in range(100):
        ask(reader, user)
        assert cached._kept.currsize <= 10 * one
    assert len(cached._kept) >= 9
    ask(reader, 99)
    assert watched.last() == {}
    ask(reader, 0)
    assert watched.last() == {"activity": 1, "profile": 1}
    ask(OnlineReader(CachedStore(watched, CacheLimits(1, 0)), BOTH), 1)  # room for nothing
    assert len(cached._kept) <= 10


@pytest.mark.redis
@pytest.mark.rest
def test_threads_beside_exports(tmp_path: Path) -> None:
    """On a server, whose records change in place: the two views of a user are always of one export."""
    last = number_of(10, 29)
    with running(valkey_binary(), tmp_path) as server:
        writer = open_store(server.url)
        fill(writer, 1)
        stores = SeveralStores({"": f"{server.url}?cache_mb=1"})
        ended, torn, answers = threading.Event(), [], [0] * 4

        def read(number: int) -> None:
            reader = OnlineReader(stores, BOTH)
            while not ended.is_set():
                found = ask(reader, number, 50 + number)
                answers[number] += 1
                if found["visits"] != found["level"]:
                    torn.append(found)

        threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for generation in range(2, last + 1):
            fill(writer, generation)
        ended.set()
        for thread in threads:
            thread.join()
        assert not torn
        assert min(answers) > 20
        assert ask(OnlineReader(stores, BOTH), 1) == {"visits": [last * 1000 + 1], "level": [last * 1000 + 1]}
        stores.close()


@pytest.mark.redis
def test_round_trips(tmp_path: Path) -> None:
    with running(valkey_binary(), tmp_path) as server:
        fill(open_store(server.url), 1)
        assert trips_of(server, "cache_mb=0", 10) == 10
        assert trips_of(server, "cache_mb=1", 10) == 10  # each asks whether there was an export
        assert trips_of(server, "cache_mb=1&cache_seconds=600", 10) == 0


def trips_of(server: Server, options: str, requests: int) -> int:
    """The round trips of requests for what was read before."""
    with counting(server) as (port, trips):
        stores = SeveralStores({"": f"redis://127.0.0.1:{port}/0?{options}"})
        reader = OnlineReader(stores, BOTH)
        ask(reader, 1)
        before = trips()
        for _ in range(requests):
            assert ask(reader, 1)["visits"] == [1001]
        stores.close()
        return trips() - before


def test_limits() -> None:
    assert cache_limits("online/dev") is None
    assert cache_limits("redis://host") == CacheLimits(64 * MB, 0)
    assert cache_limits("redis://host?cache_mb=0") is None
    assert cache_limits("rediss://host/0?cache_mb=0.5&prefix=a&cache_seconds=2") == CacheLimits(MB // 2, 2)
    for options in ("cache_mb=much", "cache_seconds=-1", "cache_mb=nan", "cache_seconds=1e300"):
        with pytest.raises(StoreError, match=rf"redis://host\S*: {options.split('=')[0]} is a number, 0 or more$"):
            open_store(f"redis://host?{options}")
