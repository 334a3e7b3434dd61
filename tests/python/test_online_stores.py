"""The contract of online stores: every store passes the same tests, on real files and servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from servers import cluster, redis_binary, running, sentinel, valkey_binary
from support.stores import put

from pit_join.errors import RequestError, StoreError
from pit_join.online.opening import open_store
from pit_join.online.protocol import Changes, OnlineStore
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader


def lmdb(folder: Path) -> Iterator[str]:
    yield str(folder / "online")


def valkey(folder: Path) -> Iterator[str]:
    with running(valkey_binary(), folder) as server:
        yield server.url


def redis_server(folder: Path) -> Iterator[str]:
    with running(redis_binary(), folder, "--requirepass", "secret", password="secret") as server:
        yield server.url.replace("://", "://:secret@")


def valkey_cluster(folder: Path) -> Iterator[str]:
    with cluster(valkey_binary(), folder) as servers:
        yield servers[0].url


def redis_sentinel(folder: Path) -> Iterator[str]:
    with (
        running(redis_binary(), folder / "master", "--requirepass", "secret", password="secret") as master,
        sentinel(redis_binary(), folder / "sentinel", master) as port,
    ):
        yield f"redis+sentinel://:secret@127.0.0.1:{port}/lab"


STORES = [
    pytest.param(lmdb, id="lmdb"),
    pytest.param(valkey, id="valkey", marks=pytest.mark.redis),
    pytest.param(redis_server, id="redis_server", marks=[pytest.mark.redis, pytest.mark.rest]),
    pytest.param(redis_sentinel, id="redis_sentinel", marks=[pytest.mark.redis, pytest.mark.rest]),
    pytest.param(valkey_cluster, id="valkey_cluster", marks=[pytest.mark.redis, pytest.mark.rest]),
]


@pytest.fixture(params=STORES, scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from request.param(tmp_path_factory.mktemp("store"))


@pytest.fixture
def url(place: str, request: pytest.FixtureRequest) -> str:
    """A store of its own for each test: another folder, or another prefix on the same server."""
    name = request.node.name.split("[")[0]
    return f"{place}?prefix={name}" if "://" in place else f"{place}/{name}"


@pytest.fixture
def store(url: str) -> Iterator[OnlineStore]:
    opened = open_store(url, create=True)
    yield opened
    opened.close()


def held(store: OnlineStore, view: StoredView) -> dict[bytes, tuple[Any, ...]]:
    """All values of a view, by key."""
    decoder = view.decoder(view.features)
    found = {}
    for key, record in store.scan(view):
        decoder.check(record, [len(record)], [key])
        assert key not in found
        found[key] = decoder.read(record, key)[1]
    return found


def vector(store: OnlineStore, reference: str, **keys: Any) -> dict[str, Any]:
    view, feature = reference.split(":")
    return OnlineReader(store, [Request(view, (feature,), view)]).get(keys)


def test_nothing_was_exported(store: OnlineStore) -> None:
    _, data = store.contents()
    assert data is None
    with pytest.raises(StoreError, match="nothing was exported to the online store yet; run pit-join export"):
        OnlineReader(store, "churn_v1")


def test_what_was_written_is_read(store: OnlineStore) -> None:
    rows = 3000
    table = {
        "user_id": [f"u{i}" for i in range(rows)],
        "a": list(range(rows)),
        "b": [None, *map(float, range(1, rows))],
    }
    changes, views = put(store, {"activity": table})
    assert changes == {"activity": Changes(rows, 0, 0)}
    reader = OnlineReader(store, [Request("activity", ("*",), "activity")])
    asked = [f"u{i}" for i in (*range(rows), 5, 5, rows, rows + 1)]
    found = reader.get_online_features({"user_id": asked})
    assert found.to_dict()["a"] == [*range(rows), 5, 5, None, None]
    assert found.to_dict()["b"][:2] == [None, 1.0]
    assert found.statuses["b"][:2] == ["NULL_VALUE", "PRESENT"]
    assert found.statuses["a"][-2:] == ["NOT_FOUND", "NOT_FOUND"]
    assert len(held(store, views["activity"])) == rows


def test_a_feature_that_is_called_as_a_key(store: OnlineStore) -> None:
    """Both would be one item of an answer."""
    put(store, {"activity": {"user_id": ["a"], "Item_Id": [1], "n": [2]}})
    requests = [Request("activity", ("*",), "activity"), Request("activity", ("n",), "item", {"user_id": "item_id"})]
    with pytest.raises(RequestError, match="both activity:Item_Id and the key item_id would be named item_id"):
        OnlineReader(store, requests)
    reader = OnlineReader(store, requests, full_feature_names=True)
    assert reader.get({"user_id": "a", "item_id": "a"}) == {
        "activity__Item_Id": 1, "activity__n": 2, "item__n": 2,
    }  # fmt: skip


def test_keys_that_no_store_can_hold_are_not_found(store: OnlineStore) -> None:
    put(store, {"activity": {"user_id": ["", "a"], "a": [1, 2]}})
    assert vector(store, "activity:a", user_id="") == {"a": 1}
    reader = OnlineReader(store, [Request("activity", ("*",), "activity")])
    found = reader.get_online_features(
        [{"user_id": "x" * 5000}, {"user_id": "a"}, {"user_id": None}, {"user_id": "\0"}]
    )
    assert found.to_dict()["a"] == [None, 2, None, None]
    assert found.statuses["a"] == ["NOT_FOUND", "PRESENT", "NULL_KEY", "NOT_FOUND"]


def test_only_what_differs_is_written(store: OnlineStore) -> None:
    before = {"user_id": ["a", "b", "c", "d"], "a": [1, 2, 3, 4]}
    after = {"user_id": ["a", "c", "d", "e"], "a": [1, 30, 4, 5]}
    _, views = put(store, {"activity": before}, written_at=1)
    first = dict(store.scan(views["activity"]))
    expected = {"activity": Changes(written=2, unchanged=2, deleted=1)}
    dry, _ = put(store, {"activity": after}, dry_run=True, written_at=2)
    assert dry == expected
    assert dict(store.scan(views["activity"])) == first
    changes, views = put(store, {"activity": after}, written_at=3)
    assert changes == expected
    second = dict(store.scan(views["activity"]))
    assert sorted(value for (value,) in held(store, views["activity"]).values()) == [1, 4, 5, 30]
    # An unchanged record keeps the time at which it was written.
    assert sorted(int.from_bytes(record[:8], "little") for record in second.values()) == [1, 1, 3, 3]
    changes, _ = put(store, {"activity": after}, written_at=4)
    assert changes == {"activity": Changes(0, 4, 0)}
    assert dict(store.scan(views["activity"])) == second


def test_views_come_and_go(store: OnlineStore) -> None:
    table = {"user_id": ["a", "b"], "a": [1, 2]}
    put(store, {"one": table, "two": table})
    changes, views = put(store, {"two": table, "three": table})
    assert changes == {"one": Changes(0, 0, 2), "two": Changes(0, 2, 0), "three": Changes(2, 0, 0)}
    assert set(Contents.from_json(store.contents()[1] or b"", "").views) == {"two", "three"}
    # A part of the views is written; those that are kept stay as they are.
    changes, views = put(store, {"two": {"user_id": ["a"], "a": [7]}}, kept={"three": views["three"]})
    assert changes == {"two": Changes(1, 0, 1)}
    assert len(held(store, views["three"])) == 2
    # One that comes back with other rows has only these.
    changes, views = put(store, {"one": {"user_id": ["b", "z"], "a": [5, 6]}})
    assert changes["one"] == Changes(2, 0, 0)
    assert sorted(held(store, views["one"]).values()) == [(5,), (6,)]
    changes, views = put(store, {})
    assert changes == {"one": Changes(0, 0, 2)}


def test_a_changed_schema_takes_effect_at_once(store: OnlineStore) -> None:
    put(store, {"activity": {"user_id": ["a", "b"], "a": [1, 2], "b": [1.5, 2.5]}})
    prepared = OnlineReader(store, [Request("activity", ("a",), "activity")])
    assert prepared.get({"user_id": "b"}) == {"a": 2}
    mark, _ = store.contents()
    changes, views = put(store, {"activity": {"user_id": ["a", "b"], "c": ["x", "y"], "a": ["1", "2"]}})
    assert changes["activity"].written == 2
    assert store.read(mark, [(views["activity"], [b"a\0\0"])]) is None
    assert prepared.get({"user_id": "b"}) == {"a": "2"}
    # And back, twice: what an earlier schema left is no longer there.
    for _ in range(2):
        _, views = put(store, {"activity": {"user_id": ["b"], "a": [3], "b": [0.5]}})
        assert prepared.get({"user_id": "b"}) == {"a": 3}
        assert prepared.get({"user_id": "a"}) == {"a": None}
        assert held(store, views["activity"]) == {b"b\0\0": (3, 0.5)}


def test_views_of_several_entities_in_one_read(store: OnlineStore) -> None:
    users, items = [f"u{i}" for i in range(20)], list(range(30))
    _, first = put(store, {"user": {"user_id": users, "age": list(range(20))}})
    _, second = put(
        store,
        {"item": {"item_id": items, "price": [i / 4 for i in items]}},
        keys=("item_id",),
        entity="item",
        kept=first,
    )
    pairs = [(user, item) for user in users for item in items]
    table = {"user_id": [u for u, _ in pairs], "item_id": [i for _, i in pairs], "clicks": list(range(len(pairs)))}
    put(store, {"pair": table}, keys=("user_id", "item_id"), entity="pair", kept=second)
    requests = [Request("user", ("*",), "user"), Request("pair", ("*",), "pair"), Request("item", ("*",), "item")]
    requests.append(Request("user", ("age",), "friend", {"user_id": "friend_id"}))
    reader = OnlineReader(store, requests)
    found = reader.get_online_features({"user_id": "u7", "friend_id": "u9", "item_id": items}).to_dict()
    assert found["age"] == [7] * 30
    assert found["friend__age"] == [9] * 30
    assert found["price"] == [i / 4 for i in items]
    assert found["clicks"] == [7 * 30 + i for i in items]


def test_a_view_without_keys_has_one_record(store: OnlineStore) -> None:
    """Its key is not that of a null key, nor that of a value that no key can be."""
    rates = {"usd": [1.25]}
    changes, one = put(store, {"rates": rates}, keys=(), entity="")
    assert changes == {"rates": Changes(1, 0, 0)}
    assert held(store, one["rates"]) == {b"\0": (1.25,)}
    _, views = put(store, {"user": {"user_id": [7], "age": [30]}}, kept=one)
    requests = [Request("rates", ("*",), "rates"), Request("user", ("*",), "user")]
    found = OnlineReader(store, requests).get_online_features({"user_id": [None, 10**30, 8, 7]})
    assert found.to_dict() == {"user_id": [None, 10**30, 8, 7], "usd": [1.25] * 4, "age": [None, None, None, 30]}
    assert found.statuses == {"usd": ["PRESENT"] * 4, "age": ["NULL_KEY", "NOT_FOUND", "NOT_FOUND", "PRESENT"]}
    reader = OnlineReader(store, requests[:1])
    for rows in ({}, [{}], [{"user_id": 1}]):
        assert reader.get_online_features(rows).to_dict() == {"usd": [1.25]}
    for asked in ({}, {"user_id": None}):
        assert reader.get(asked).statuses == {"usd": "PRESENT"}
    assert reader.get_online_features([]).to_dict() == {"usd": []}
    kept = {"user": views["user"]}
    assert put(store, {"rates": rates}, keys=(), entity="", kept=kept)[0] == {"rates": Changes(0, 1, 0)}
    assert put(store, {"rates": {"usd": [1.5]}}, keys=(), entity="", kept=kept)[0] == {"rates": Changes(1, 0, 0)}
    assert reader.get({}) == {"usd": 1.5}
    nothing = {"usd": pa.array([], pa.float64())}
    assert put(store, {"rates": nothing}, keys=(), entity="", kept=kept)[0] == {"rates": Changes(0, 0, 1)}
    assert (reader.get({}), reader.get({}).statuses) == ({"usd": None}, {"usd": "NOT_FOUND"})
    assert reader.get_online_features([{}, {}]).statuses == {"usd": ["NOT_FOUND"] * 2}


def test_large_records(store: OnlineStore) -> None:
    vectors = [[float(i + j) for j in range(2000)] for i in range(50)]
    put(store, {"embedding": {"user_id": list(range(50)), "v": pa.array(vectors, pa.list_(pa.float32()))}})
    assert vector(store, "embedding:v", user_id=49) == {"v": vectors[49]}


def test_one_export_at_a_time(store: OnlineStore, url: str) -> None:
    said: list[str] = []
    other = open_store(url, create=True)
    with store.writing(1, said.append):
        with (
            pytest.raises(StoreError, match=r"another export is at work on .* did not end within 0\.2 s"),
            other.writing(0.2, said.append),
        ):
            pytest.fail("two exports at once")
        assert said == ["another export is at work; waiting up to 0.2 s"]
    with other.writing(0, said.append):
        pass
    other.close()
    assert len(said) == 1


def test_a_second_export_waits_for_the_first(store: OnlineStore, url: str) -> None:
    said: list[str] = []
    order: list[str] = []
    begun, waited_for = threading.Event(), threading.Event()

    def say(text: str) -> None:
        said.append(text)
        waited_for.set()

    def first() -> None:
        with store.writing(1, said.append):
            begun.set()
            waited_for.wait(10)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(10)
    other = open_store(url, create=True)
    with other.writing(10, say):
        order.append("second")
    thread.join()
    other.close()
    assert order == ["first", "second"]
    assert said == ["another export is at work; waiting up to 10 s"]


def test_two_stores_of_one_place_see_each_other(store: OnlineStore, url: str) -> None:
    put(store, {"activity": {"user_id": ["a"], "a": [1]}})
    other = open_store(url)
    reader = OnlineReader(other, [Request("activity", ("a",), "activity")])
    assert reader.get({"user_id": "a"}) == {"a": 1}
    put(store, {"activity": {"user_id": ["a"], "a": [2]}})
    assert reader.get({"user_id": "a"}) == {"a": 2}
    other.close()
