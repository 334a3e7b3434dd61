"""A service over several stores: what is exported where, and what is served while one of them fails.

The servers are real, and are stopped, paused and emptied here.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
import redis
from http_servers import Serving, ask_as_described, fuzz, serving
from online_cases import Exporter, contents_of, dump
from servers import Server, cluster, cluster_facts, running, valkey_binary
from support.feature_logs import rows_of
from support.on_demand_cases import macro
from support.rule_sql import macro_nodes
from support.stores import put

from pit_join.errors import ComputeError, EntityError, RequestError, StoreError
from pit_join.export.export import Export
from pit_join.feature_store import FeatureStore
from pit_join.monitoring.feature_log import FeatureLog
from pit_join.online import redis_writer
from pit_join.online.opening import open_store
from pit_join.online.redis_writer import HASHES, hash_of
from pit_join.online.several import SeveralStores
from pit_join.online.stores import redis_store
from pit_join.online.stores.lmdb_store import LmdbWriter
from pit_join.records.keys import KeyCodec
from pit_join.records.stored_view import Noted
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader
from pit_join.statuses import COMPUTE_FAILED, NOT_EXPORTED, ONLINE, OUTSIDE_MAX_AGE, STALE, STORE_FAILED, STORE_LATE

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.rest]

AT = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
LATE = 30.0  # seconds that no answer may take
DEADLINE = 0.2  # of requests here: time enough for an answer on a busy machine
ROW = {"user_id": 1, "amount": 50}


def node(name: str, columns: Mapping[str, str], defaults: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    types = {"user_id": "bigint", "event_timestamp": "timestamptz", **columns}
    return {
        "resource_type": "model",
        "package_name": "pit_join",
        "name": name,
        "relation_name": f'memory.main."{name}"',
        "database": "memory", "schema": "main", "alias": name,
        "original_file_path": f"models/{name}.yml",
        "columns": {
            column: {
                "name": column,
                "data_type": kind,
                "config": {"meta": {"pit_join": {"default": defaults[column]} if column in defaults else {}}},
            }
            for column, kind in types.items()
        },
        "config": {
            "materialized": "table",
            "event_time": "event_timestamp",
            "meta": {"pit_join": {"entity": "user", "join_keys": ["user_id"], **settings}},
        },
    }  # fmt: skip


def manifest(
    store: str | None = "fast", profile_store: str | None = None, max_staleness: str | None = None
) -> dict[str, Any]:
    """The view `profile`, the view `activity` in a store of its own, and the service `s` over both."""
    bounded = {"max_staleness": max_staleness} if max_staleness else {}
    share = macro("share", "cast({{ amount }} as tinyint) / {{ visits }}", {"amount": "integer", "visits": "integer"},
                  returns="double", default=-1.0)  # fmt: skip
    double = macro("twice", "2 * {{ amount }}", {"amount": "integer"}, returns="integer")
    features = [
        "profile:age",
        "activity:visits",
        {"on_demand": "share", "arguments": {"visits": "activity:visits"}},
        {"on_demand": "twice"},
    ]
    views = {
        "profile": node(
            "profile", {"age": "integer"}, {}, **bounded, **({"online_store": profile_store} if profile_store else {})
        ),
        "activity": node(
            "activity",
            {"visits": "integer"},
            {"visits": 4},
            ttl="1 day",
            **bounded,
            **({"online_store": store} if store else {}),
        ),
    }
    exposure = {
        "name": "s",
        "type": "ml",
        "original_file_path": "models/s.yml",
        "depends_on": {"nodes": [f"model.pit_join.{name}" for name in views]},
        "config": {"meta": {"pit_join": {"features": features}}},
    }
    return {
        "metadata": {"project_name": "pit_join", "adapter_type": "duckdb"},
        "macros": macro_nodes() | {"macro.pit_join.share": share, "macro.pit_join.twice": double},
        "nodes": {f"model.pit_join.{name}": view for name, view in views.items()},
        "sources": {},
        "exposures": {"exposure.pit_join.s": exposure},
    }


class Shop(Exporter):
    """Two tables of a thousand users, and an embedded store beside a server."""

    def __init__(self, *given: Any, server: Server) -> None:
        super().__init__(*given)
        self.server, self.fast = server, f"{server.url}?timeout=5"
        self.urls = {"": str(self.folder / "store"), "fast": self.fast}
        self.fill(visits=10)

    def fill(self, visits: int) -> None:
        for name, column, first in (("profile", "age", 20), ("activity", "visits", visits)):
            self.connection.execute(
                f"create or replace table {name} as select i as user_id, timestamptz '{AT}' as event_timestamp, "
                f"cast({first} + i as integer) as {column} from range(1000) t(i)"
            )

    def export(self, views: tuple[str, ...] = (), of: Mapping[str, Any] | None = None, **options: Any) -> Export:
        return self.run(of or manifest(), int(AT.timestamp() * 1e6), views=views, named={"fast": self.fast}, **options)

    @contextmanager
    def reader(self, strict: bool = False, deadline: float | None = DEADLINE, **options: Any) -> Iterator[OnlineReader]:
        stores = SeveralStores(self.urls)
        yield OnlineReader(stores, "s", strict=strict, deadline=deadline, **options)
        stores.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(valkey_binary(), tmp_path / "server") as started:
        yield started


@pytest.fixture
def shop(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield Shop(connection, tmp_path, monkeypatch, server=server)


def vector(reader: OnlineReader, row: Mapping[str, Any] = ROW, now: datetime = AT) -> dict[str, tuple[Any, str]]:
    """Values with statuses, asked both ways."""
    found = reader.get_online_features([row, row], now=now)
    values = found.to_dict()
    one = reader.get(row, now=now)
    assert one == {name: values[name][0] for name in found.names}
    assert one.event_timestamps == {name: found.event_timestamps[name][0] for name in found.names}
    assert set(one.failures) == set(found.failures)
    for name, status in one.statuses.items():
        other = found.statuses[name][0]
        assert status == other or {status, other} <= {STORE_FAILED, STORE_LATE}  # the breaker opens between two reads
    return {name: (values[name][0], found.statuses[name][0]) for name in found.names}


WHOLE = {
    "age": (21, "PRESENT"), "visits": (11, "PRESENT"), "share": (50 / 11, "PRESENT"), "twice": (100, "PRESENT"),
}  # fmt: skip


def without_activity(status: str) -> dict[str, tuple[Any, str]]:
    """What is served where `activity` cannot be had: its default, of which `share` is computed."""
    return WHOLE | {"visits": (4, status), "share": (50 / 4, status)}


# Exporting ----------------------------------------------------------------------------------------------------


def test_each_view_is_exported_to_its_store(shop: Shop) -> None:
    done = shop.export()
    assert done.stores == {"": shop.urls[""], "fast": shop.fast}
    assert {name: changes.written for name, changes in done.views.items()} == {"profile": 1000, "activity": 1000}
    fast = open_store(shop.fast)
    assert set(contents_of(fast).views) == {"activity"}
    assert not contents_of(fast).views["activity"].store
    listed = contents_of(shop.store()).views
    assert {name: view.store for name, view in listed.items()} == {"profile": "", "activity": "fast"}
    noted = Noted(nulls=0, newest=int(AT.timestamp() * 1e6))
    assert (listed["profile"].noted, listed["activity"].noted) == ({"age": noted}, {"visits": noted})
    assert list(dump_here(shop)) == ["profile"]
    assert sum(1 for _ in fast.scan(listed["activity"])) == 1000
    with shop.reader() as reader:
        assert vector(reader) == WHOLE
        assert not reader.failures


def dump_here(shop: Shop) -> dict[str, dict[bytes, bytes]]:
    """The records of the default store, which holds no others."""
    return {name: records for name, records in dump(shop.store()).items() if records}


def test_some_views(shop: Shop) -> None:
    shop.export()
    shop.fill(visits=500)
    assert set(shop.export(("activity",)).views) == {"activity"}
    with shop.reader() as reader:
        assert vector(reader) == WHOLE | {"visits": (501, "PRESENT"), "share": (50 / 501, "PRESENT")}
        shop.fill(visits=700)
        assert set(shop.export(("profile",)).views) == {"profile"}
        assert vector(reader)["visits"] == (501, "PRESENT")
        shop.export()
        assert vector(reader)["visits"] == (701, "PRESENT")


def test_a_dry_run_changes_no_store(shop: Shop) -> None:
    assert shop.export(dry_run=True).views["activity"].written == 1000
    assert open_store(shop.fast).contents()[1] is None
    with pytest.raises(StoreError, match="there is no online store in"):
        shop.store()


def test_a_view_moves(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """There and back; an export that fails between its two stores leaves everything where its readers look for it."""
    for before, after in ((None, "fast"), ("fast", None)):
        shop.export(of=manifest(before, profile_store="fast"))
        with shop.reader() as reader:
            assert vector(reader) == WHOLE
            with monkeypatch.context() as patch:
                patch.setattr(LmdbWriter, "replace", full)
                with pytest.raises(StoreError, match="full"):
                    shop.export(of=manifest(after, profile_store="fast"))
            assert vector(reader) == WHOLE
            with shop.reader() as other:
                assert vector(other) == WHOLE
            changes = shop.export(of=manifest(after, profile_store="fast")).views["activity"]
            assert vector(reader) == WHOLE
        assert changes.written + changes.unchanged == 1000
        shop.export(of=manifest(after, profile_store="fast"))
        assert len(dump_here(shop).get("activity", ())) == (0 if after else 1000)
        assert ("activity" in contents_of(open_store(shop.fast)).views) == (after == "fast")


def test_a_view_that_moved_alone_does_not_stay_for_ever(shop: Shop) -> None:
    shop.export(of=manifest("fast", profile_store="fast"))
    moved = manifest(None, profile_store="fast")
    shop.export(("activity",), of=moved)
    shop.export(("profile",), of=moved)
    assert set(contents_of(open_store(shop.fast)).views) == {"profile"}
    with shop.reader() as reader:
        assert vector(reader) == WHOLE


def full(*_: Any) -> None:
    raise StoreError("the disk is full")


def test_an_embedding_that_is_wrong_changes_no_store(shop: Shop) -> None:
    shop.export()
    mark, _ = open_store(shop.fast).contents()
    shop.connection.execute(
        "alter table profile add column taste float[]; update profile set taste = [1, 'nan'::float]"
    )
    broken = manifest()
    column = {"name": "taste", "data_type": "float[]", "config": {"meta": {"pit_join": {"nearest": "l2"}}}}
    broken["nodes"]["model.pit_join.profile"]["columns"]["taste"] = column
    with pytest.raises(StoreError, match="profile:taste declares nearest"):
        shop.export(of=broken)
    assert open_store(shop.fast).contents()[0] == mark


def test_a_store_without_url(shop: Shop) -> None:
    wanted = r"'activity' has online_store: slow, .* online_stores=\{'slow': URL\}, .*_ONLINE_STORE_SLOW"
    with pytest.raises(StoreError, match=wanted):
        shop.export(of=manifest("slow"))
    shop.export()
    with pytest.raises(StoreError, match=r"'activity' is in the online store 'fast', .*PIT_JOIN_ONLINE_STORE_FAST"):
        OnlineReader(SeveralStores({"": shop.urls[""]}), "s")
    with pytest.raises(StoreError, match=r"'fast' and 'other' are one, redis://.*prefix"):
        SeveralStores({**shop.urls, "other": shop.fast})


def test_how_stores_are_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.export()
    monkeypatch.setenv("PIT_JOIN_ONLINE_STORE", shop.urls[""])
    monkeypatch.setenv("PIT_JOIN_ONLINE_STORE_FAST", shop.fast)
    assert FeatureStore().get_online_features("s", [ROW], now=AT).statuses["visits"] == ["PRESENT"]
    monkeypatch.setenv("PIT_JOIN_ONLINE_STORE_SLOW", "")
    assert FeatureStore().online_stores == {"fast": shop.fast}
    named = FeatureStore(online_store=shop.urls[""], online_stores={"fast": f"{shop.fast}&prefix=other"})
    found = named.get_online_features("s", [ROW], now=AT)
    assert found.statuses["visits"] == ["NOT_EXPORTED"]


# Views that are not there -------------------------------------------------------------------------------------


def test_a_view_that_was_never_exported(shop: Shop) -> None:
    shop.export(("profile",))
    with shop.reader() as reader:
        assert vector(reader) == without_activity("NOT_EXPORTED")
        assert reader.failures == {("activity", "NOT_EXPORTED"): 2}
        found = reader.get_online_features([ROW], now=AT)
        assert found.failures == {"activity": "the feature view 'activity' was not exported yet; run pit-join export"}
        assert found.to_numpy()[0].tolist() == [21, 4, 12.5, 100]
    with shop.reader(strict=True) as reader:
        for ask in (lambda: reader.get(ROW), lambda: reader.get_online_features([ROW])):
            with pytest.raises(StoreError, match="'activity' was not exported yet"):
                ask()
    shop.export(("activity",))
    with shop.reader() as reader:
        assert vector(reader) == WHOLE


def test_a_view_without_a_table(shop: Shop) -> None:
    """Nothing is known of its types, so a service that needs it is an error when its reader is made."""
    shop.connection.execute("drop table activity")
    said: list[str] = []
    shop.export(("profile",), say=said.append)
    assert [line for line in said if "features that need the feature view 'activity' cannot be served" in line]
    assert set(contents_of(shop.store()).views) == {"profile"}


def test_a_stale_export_of_each_store(shop: Shop) -> None:
    """Of two stores one is exported again: the views of the other are stale, and both are without their server."""
    bounded = manifest(max_staleness="10 minutes")
    shop.export(of=bounded)
    later = AT + timedelta(minutes=11)
    with shop.reader() as reader:
        assert vector(reader, now=AT + timedelta(minutes=10)) == WHOLE
        assert vector(reader, now=later) == without_activity("STALE") | {"age": (None, "STALE")}
        assert set(reader.failures) == {("activity", "STALE"), ("profile", "STALE")}
        shop.run(bounded, int(later.timestamp() * 1e6), views=("activity",), named={"fast": shop.fast})
        assert vector(reader, now=later) == WHOLE | {"age": (None, "STALE")}
        shop.server.stop()
        until(reader, without_activity("STORE_FAILED"))  # a failure of the store comes first
        assert vector(reader, now=later) == without_activity("STORE_FAILED") | {"age": (None, "STALE")}


def test_a_view_that_is_too_old(shop: Shop) -> None:
    shop.export()
    with shop.reader() as reader:
        found = vector(reader, now=AT + timedelta(days=2))
    assert found["visits"] == (4, "OUTSIDE_MAX_AGE")
    assert found["share"] == (50 / 4, "PRESENT")


# Stores that fail ---------------------------------------------------------------------------------------------


def until(reader: OnlineReader, expected: dict[str, tuple[Any, str]]) -> None:
    """Ask until the answer is the expected one."""
    end = time.monotonic() + LATE
    while True:
        found = reader.get_online_features([ROW], now=AT)
        values = found.to_dict()
        if {name: (values[name][0], found.statuses[name][0]) for name in found.names} == expected:
            return
        assert time.monotonic() < end, (values, found.failures)


def test_a_store_that_is_stopped(shop: Shop) -> None:
    shop.export()
    with shop.reader() as reader, shop.reader(strict=True) as strict:
        shop.server.stop()
        assert vector(reader) == without_activity("STORE_FAILED")
        assert reader.failures == {("activity", "STORE_FAILED"): 2}
        found = reader.get_online_features([ROW], now=AT)
        assert "cannot be reached" in found.failures["activity"]
        for ask in (strict.get, lambda row: strict.get_online_features([row])):
            with pytest.raises(StoreError, match="cannot be reached"):
                ask(ROW)
        with redis.Redis(port=shop.server.port) as client:
            shop.server.start(client)
        until(reader, without_activity("NOT_EXPORTED"))  # it has lost all
        shop.export()
        until(reader, WHOLE)


def test_a_store_that_is_silent(shop: Shop) -> None:
    shop.export()
    with shop.reader() as reader, shop.reader(strict=True) as strict:
        shop.server.process.send_signal(signal.SIGSTOP)
        try:
            started = time.monotonic()
            found = reader.get_online_features([ROW], now=AT)
            # Well before the store's own timeout of 5 s.
            assert time.monotonic() - started < 4
            assert found.statuses["visits"] == ["STORE_LATE"]
            assert found.to_dict()["age"] == [21]
            with pytest.raises(StoreError, match="did not answer before the deadline"):
                strict.get(ROW)
        finally:
            shop.server.process.send_signal(signal.SIGCONT)
        until(reader, WHOLE)


def test_a_store_that_goes_on_being_silent_is_left_alone(shop: Shop) -> None:
    """After five requests that came to nothing only one in a second waits."""
    shop.export()
    with shop.reader(deadline=1.0) as reader, shop.reader(strict=True) as strict:
        shop.server.process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(5):
                assert reader.get_online_features([ROW], now=AT).statuses["visits"] == ["STORE_LATE"]
            started = time.monotonic()
            for _ in range(20):
                found = reader.get_online_features([ROW], now=AT)
                assert found.statuses["visits"][0] in ("STORE_FAILED", "STORE_LATE")
            assert time.monotonic() - started < 10
            assert reader.failures["activity", "STORE_FAILED"] >= 10
            for _ in range(5):
                with pytest.raises(StoreError, match="did not answer before the deadline"):
                    strict.get(ROW)
            with pytest.raises(StoreError, match=r"failed 5 times in a row: the online store .* did not answer before"):
                strict.get(ROW)
        finally:
            shop.server.process.send_signal(signal.SIGCONT)
        until(reader, WHOLE)


def test_a_new_request_to_a_silent_store_ends_at_the_deadline(shop: Shop) -> None:
    """Once the store has answered, it must also say what it has within the deadline."""
    export_to(shop, shop.fast)
    store = FeatureStore(shop.folder, online_store=shop.fast)
    assert store.get_online_features(["profile:age"], [ROW], deadline=None).to_dict()["age"] == [21]
    shop.server.process.send_signal(signal.SIGSTOP)
    try:
        for features, options in ((["activity:visits"], {}), (["profile:age"], {"strict": True, "deadline": 0.02})):
            started = time.monotonic()
            with pytest.raises(StoreError, match="did not answer before the deadline"):
                store.get_online_features(features, [ROW], **options)
            assert time.monotonic() - started < 4  # well before the store's own timeout of 5 s
    finally:
        shop.server.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("deadline", ["50 ms", timedelta(seconds=1), -1, float("nan"), True])
def test_a_deadline_that_is_no_number_of_seconds(shop: Shop, deadline: Any) -> None:
    shop.export()
    says = "a deadline is a number of seconds, such as 0.05, or None for no bound, and not"
    with pytest.raises(RequestError, match=says), shop.reader(deadline=deadline):
        pass
    with shop.reader() as reader, pytest.raises(RequestError, match=says):
        reader.get_online_features([ROW], deadline=deadline)


def test_the_default_store_is_silent(shop: Shop, tmp_path: Path) -> None:
    """Where everything lies on a server, a reader that knows it goes on with defaults."""
    shop.urls = {"": shop.fast}
    shop.run(manifest(None), int(AT.timestamp() * 1e6), name="unused", dry_run=True)
    export_to(shop, shop.fast)
    with shop.reader() as reader:
        assert vector(reader) == WHOLE
        shop.server.stop()
        assert vector(reader) == without_activity("STORE_FAILED") | {"age": (None, "STORE_FAILED")}
        with redis.Redis(port=shop.server.port) as client:
            shop.server.start(client)
        export_to(shop, shop.fast)
        until(reader, WHOLE)


def test_a_default_store_that_has_lost_everything(shop: Shop) -> None:
    """Who knew its features gets defaults until the next export, many requests at once as well."""
    export_to(shop, shop.fast)
    shop.urls = {"": shop.fast}
    lost = without_activity("NOT_EXPORTED") | {"age": (None, "NOT_EXPORTED")}
    features = {"features": ["activity:visits", "profile:age"], "entities": {"user_id": [1]}}
    asked = [(SERVICE, WHOLE), (features, {name: WHOLE[name] for name in ("visits", "age")})]
    with (
        shop.reader() as reader,
        shop.reader(strict=True) as strict,
        serving(shop.fast, "--deadline", "20 s", "--now", AT.isoformat()) as http,
    ):
        for ask, whole in asked:
            assert answered(http, ask) == whole
        with redis.Redis(port=shop.server.port) as client:
            client.flushall()
        assert vector(reader) == lost
        assert reader.failures["activity", "NOT_EXPORTED"] == 2
        with pytest.raises(StoreError, match="nothing was exported to the online store yet; run pit-join export"):
            strict.get(ROW)
        with pytest.raises(StoreError, match="nothing was exported"), shop.reader():
            pass  # nobody has told it of any feature
        assert http.ask({**SERVICE, "full_feature_names": True}).status_code == 503
        with ThreadPoolExecutor(16) as pool:
            for ask, whole in asked:
                expected = {name: lost[name] for name in whole}
                assert all(found == expected for found in pool.map(answered, [http] * 50, [ask] * 50))
        export_to(shop, shop.fast)
        assert vector(reader) == vector(strict) == WHOLE
        for ask, whole in asked:
            assert answered(http, ask) == whole


SERVICE = {"feature_service": "s", "entities": {"user_id": [1], "amount": [50]}}


def answered(server: Serving, ask: object = SERVICE, **headers: str) -> dict[str, tuple[Any, str]]:
    """The values of one row over HTTP, with their statuses."""
    answer = server.ask(ask, **headers)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    pairs = zip(found["metadata"]["feature_names"], found["results"], strict=True)
    return {name: (each["values"][0], each["statuses"][0]) for name, each in pairs if name not in ("user_id", "amount")}


def export_to(shop: Shop, url: str) -> None:
    from pit_join.export.export import export

    export(shop.workspace(manifest(None)), url, as_of=AT)


def test_a_reader_of_a_store_that_is_down(shop: Shop) -> None:
    """What it holds, the default store says."""
    shop.export()
    shop.server.stop()
    with shop.reader() as reader:
        assert vector(reader) == without_activity("STORE_FAILED")
        with redis.Redis(port=shop.server.port) as client:
            shop.server.start(client)
        until(reader, without_activity("NOT_EXPORTED"))  # it was started empty
        shop.export()
        until(reader, WHOLE)


# A cluster of which a node is down ----------------------------------------------------------------------------

USERS = range(200)
EVERYBODY = {"user_id": list(USERS), "amount": 50}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Nodes that keep what they have when they are started anew."""
    options = ("--appendonly", "yes", "--cluster-node-timeout", "500")
    with cluster(valkey_binary(), tmp_path_factory.mktemp("nodes"), *options) as started:
        yield started


@pytest.fixture
def town(
    tmp_path: Path, nodes: list[Server], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Shop, Server, Server, dict[int, int]]]:
    """A shop in a cluster; the node with the store's own keys, another one, and the port of the node of each user."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        shop = Shop(connection, tmp_path, monkeypatch, server=nodes[0])
        with redis.RedisCluster("127.0.0.1", nodes[0].port) as client:
            own = client.get_node_from_key("{pit_join}:version").port
            homes = {user: client.get_node_from_key(hash_name(user)).port for user in USERS}
        first, other, third = sorted(nodes, key=lambda node: node.port != own)
        shop.urls = {"": f"{third.url}?timeout=5&cache_mb=0"}
        export_to(shop, shop.urls[""])
        yield shop, first, other, homes
        all_started(nodes)


def all_started(nodes: list[Server]) -> None:
    for node in nodes:
        if node.process.poll() is not None:
            started(node)
    end = time.monotonic() + LATE
    while not all(map(serves, nodes)):  # one that has just started says for a while that the cluster is down
        assert time.monotonic() < end
        time.sleep(0.05)


def hash_name(user: int) -> str:
    """The key in Redis of a user's records."""
    key = KeyCodec({"user_id": "integer"}).encode({"user_id": user}) or b""
    return f"pit_join:{{user:{hash_of(key)}}}"


def everybody(gone: set[int]) -> dict[str, tuple[list[Any], list[str]]]:
    """What is served of all users, of whom the records of some are lost."""
    lost = ["STORE_FAILED" if user in gone else "PRESENT" for user in USERS]
    visits = [4 if user in gone else 10 + user for user in USERS]
    return {
        "age": ([None if user in gone else 20 + user for user in USERS], lost),
        "visits": (visits, lost),
        "share": ([50 / each for each in visits], lost),
        "twice": ([100] * len(USERS), ["PRESENT"] * len(USERS)),
    }


def check_town(reader: OnlineReader, server: Serving | None, gone: set[int]) -> None:
    found = reader.get_online_features(EVERYBODY, now=AT)
    values = found.to_dict()
    assert {name: (values[name], found.statuses[name]) for name in found.names} == everybody(gone)
    assert set(found.failures) == ({"profile", "activity"} if gone else set())
    expected = everybody(gone)
    for user in USERS[::40]:
        one = {name: (each[user], statuses[user]) for name, (each, statuses) in expected.items()}
        assert vector(reader, {"user_id": user, "amount": 50}) == one
        if server is not None:
            assert answered(server, {**SERVICE, "entities": {"user_id": [user], "amount": [50]}}) == one
    if server is not None:
        answer = server.ask({**SERVICE, "entities": {"user_id": list(USERS), "amount": [50] * len(USERS)}}).json()
        columns = zip(answer["metadata"]["feature_names"], answer["results"], strict=True)
        found_there = {name: (each["values"], each["statuses"]) for name, each in columns if name in expected}
        assert found_there == expected


def serves(node: Server) -> bool:
    with redis.Redis(port=node.port) as client:
        return cluster_facts(client)["cluster_state"] == "ok"


def mark_of(shop: Shop) -> object:
    with closing(open_store(shop.urls[""])) as store:
        return store.contents()[0]


def started(node: Server) -> None:
    with redis.Redis(port=node.port) as client:
        node.start(client)


def until_whole(reader: OnlineReader) -> None:
    end = time.monotonic() + LATE
    while set(statuses := reader.get_online_features(EVERYBODY, now=AT).statuses["visits"]) != {"PRESENT"}:
        assert time.monotonic() < end, statuses
        time.sleep(0.05)


def test_a_node_of_a_cluster_that_is_down(town: tuple[Shop, Server, Server, dict[int, int]]) -> None:
    """It costs what lies there, in each request, for who comes while it is down as well; until it is back."""
    shop, _, node, homes = town
    gone = {user for user, port in homes.items() if port == node.port}
    assert 0 < len(gone) < len(USERS)
    with (
        shop.reader(deadline=5) as reader,
        shop.reader(strict=True, deadline=5) as strict,
        serving(shop.urls[""], "--deadline", "5 s", "--now", AT.isoformat()) as http,
    ):
        check_town(reader, http, set())
        before = mark_of(shop)
        node.stop()
        check_town(reader, http, gone)
        check_town(reader, http, gone)  # the circuit breaker of the node is open
        with shop.reader(deadline=5) as late:
            check_town(late, None, gone)
        with pytest.raises(StoreError, match=rf"the node 127.0.0.1:{node.port} of redis://"):
            strict.get_online_features(EVERYBODY)
        with pytest.raises(StoreError, match=rf"cannot be reached: .*{node.port}"):
            export_to(shop, shop.urls[""])
        assert mark_of(shop) == before
        started(node)
        until_whole(reader)
        check_town(reader, http, set())


def test_a_node_of_a_cluster_that_is_silent(town: tuple[Shop, Server, Server, dict[int, int]]) -> None:
    """The other nodes have answered by the deadline."""
    shop, _, node, homes = town
    with shop.reader(deadline=1.0) as reader:
        until_whole(reader)
        node.process.send_signal(signal.SIGSTOP)
        try:
            found = reader.get_online_features(EVERYBODY, now=AT)
        finally:
            node.process.send_signal(signal.SIGCONT)
        expected = ["STORE_LATE" if homes[user] == node.port else "PRESENT" for user in USERS]
        assert found.statuses["age"] == expected
        assert "did not answer before the deadline" in found.failures["profile"]
        until_whole(reader)


@pytest.mark.parametrize("has_description", [False, True])
def test_an_export_that_meets_a_silent_node(
    has_description: bool, nodes: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits once, and not for each command and each retry."""
    monkeypatch.setattr(redis_store, "_EXPORT_TIMEOUT", 1.0)
    prefix = f"silent_{has_description}"
    with redis.RedisCluster("127.0.0.1", nodes[0].port) as client:
        own = client.get_node_from_key(f"{{{prefix}}}:version").port
    node, other, *_ = sorted(nodes, key=lambda node: (node.port == own) != has_description)
    meanwhile(monkeypatch, lambda: node.process.send_signal(signal.SIGSTOP))
    with closing(open_store(f"{other.url}?timeout=0.5&prefix={prefix}")) as store:
        began = time.monotonic()
        try:
            with pytest.raises(
                StoreError, match=rf"^the node 127.0.0.1:{node.port} of .* did not answer within 0\.5 s "
            ):
                put(store, {"activity": {"user_id": USERS, "visits": USERS}})
        finally:
            node.process.send_signal(signal.SIGCONT)
        assert time.monotonic() - began < LATE


def test_an_export_during_a_failover(nodes: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on where the keys are now."""
    with redis.RedisCluster("127.0.0.1", nodes[0].port) as client:
        own = client.get_node_from_key("{failover}:version").port
        node, target, third = sorted(nodes, key=lambda node: node.port == own)
        names = [f"failover:{{user:{number}}}" for number in range(HASHES)]
        slots = {client.keyslot(name) for name in names if client.get_node_from_key(name).port == node.port}

    def fail_over() -> None:
        node.stop()
        give(slots, target, (target, third))

    meanwhile(monkeypatch, fail_over)
    try:
        with closing(open_store(f"{target.url}?timeout=5&prefix=failover")) as store:
            put(store, {"activity": {"user_id": USERS, "visits": USERS}})
        with closing(open_store(f"{target.url}?timeout=5&prefix=failover")) as store:
            reader = OnlineReader(store, [Request("activity", ("*",), "activity")])
            assert reader.get_online_features({"user_id": USERS}).to_dict()["visits"] == list(USERS)
    finally:
        all_started(nodes)
        with redis.Redis(port=target.port) as client:
            client.flushall()  # a node that has keys does not let their slots go
        give(slots, node, nodes)


def test_a_cluster_that_is_taken_for_one_server(nodes: list[Server]) -> None:
    """Without INFO nobody knows that it is one, and what leads to another node is an error."""
    with redis.RedisCluster("127.0.0.1", nodes[0].port) as client:
        own = client.get_node_from_key("{pit_join}:version").port
    node = next(node for node in nodes if node.port != own)
    with redis.Redis(port=node.port) as client:
        client.execute_command("ACL", "SETUSER", "default", "-info")
        try:
            with closing(open_store(f"{node.url}?timeout=5")) as store:
                with pytest.raises(StoreError, match="is a node of a cluster; let its user ask for INFO"):
                    store.contents()
                with pytest.raises(StoreError):
                    put(store, {"activity": {"user_id": USERS, "visits": USERS}})
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+info")


def give(slots: set[int], node: Server, told: Iterable[Server]) -> None:
    """Make a node the one of some slots, as those see it that are told."""
    with ExitStack() as stack:
        clients = [stack.enter_context(redis.Redis(port=each.port)) for each in told]
        owner = stack.enter_context(redis.Redis(port=node.port))
        name, end = owner.execute_command("CLUSTER", "MYID"), time.monotonic() + LATE
        # What a node has said of its slots may still be on its way, and take them from this one.
        while not all(owned(client, node.port) >= slots for client in clients):
            assert time.monotonic() < end
            for client in clients:
                pipeline = client.pipeline(transaction=False)
                for slot in slots:
                    pipeline.execute_command("CLUSTER", "SETSLOT", slot, "NODE", name)
                pipeline.execute()
            owner.execute_command("CLUSTER", "BUMPEPOCH")
            time.sleep(0.1)


def owned(client: redis.Redis, port: int) -> set[int]:
    """The slots of the node at a port, as another node sees it."""
    ranges = client.execute_command("CLUSTER", "SLOTS")
    return {slot for first, last, master, *_ in ranges if master[1] == port for slot in range(first, last + 1)}


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something before the first records of the next export to Redis are written."""
    send, done = redis_writer._Entity._send, []

    def sending(self: Any, *arguments: Any) -> None:
        if not done:
            done.append(act())
        send(self, *arguments)

    monkeypatch.setattr(redis_writer._Entity, "_send", sending)


def test_the_node_with_the_description_is_down(town: tuple[Shop, Server, Server, dict[int, int]]) -> None:
    """Who has read it goes on; nobody can begin, and who tries in vain does not keep the others from reading."""
    shop, node, _, homes = town
    gone = {user for user, port in homes.items() if port == node.port}
    assert 0 < len(gone) < len(USERS)
    with (
        shop.reader(deadline=5) as reader,
        serving(shop.urls[""], "--deadline", "5 s", "--now", AT.isoformat()) as http,
    ):
        assert answered(http) == WHOLE
        node.stop()
        check_town(reader, http, gone)
        for _ in range(10):
            assert http.client.get("/ready").status_code == 503
            with pytest.raises(StoreError, match=rf"{node.port} .*; that node has the description of the store"):
                OnlineReader(reader._store, "s")
        check_town(reader, http, gone)
        with pytest.raises(StoreError, match=rf"cannot be reached: .*{node.port}"):
            export_to(shop, shop.urls[""])
        started(node)
        until_whole(reader)
        check_town(reader, http, set())
        with redis.RedisCluster("127.0.0.1", node.port) as client:
            client.flushall()
        lost = without_activity("NOT_EXPORTED") | {"age": (None, "NOT_EXPORTED")}
        assert vector(reader) == answered(http) == lost
        export_to(shop, shop.urls[""])
        assert vector(reader) == answered(http) == WHOLE


def test_slots_that_move(town: tuple[Shop, Server, Server, dict[int, int]]) -> None:
    """They are read while they move and after it, and from the node that takes them over from one that is down."""
    shop, own, node, homes = town
    user, other = [user for user, port in homes.items() if port == node.port][:2]
    (port,) = set(homes.values()) - {own.port, node.port}
    with (
        redis.Redis(port=node.port) as source,
        redis.Redis(port=port) as target,
        redis.Redis(port=own.port) as third,
        shop.reader(deadline=None) as reader,
    ):
        ids = {client: client.execute_command("CLUSTER", "MYID") for client in (source, target)}
        slot, later = (source.execute_command("CLUSTER", "KEYSLOT", hash_name(each)) for each in (user, other))
        row = {"user_id": user, "amount": 50}
        whole = vector(reader, row)
        target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        keys = source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        source.migrate("127.0.0.1", port, keys, 0, 5000)
        assert vector(reader, row) == whole
        for client in (target, source, third):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        assert vector(reader, row) == whole
        assert not reader.failures
        node.stop()
        for client in (target, third):
            client.execute_command("CLUSTER", "SETSLOT", later, "NODE", ids[target])
        target.execute_command("CLUSTER", "BUMPEPOCH")
        row, end = {"user_id": other, "amount": 50}, time.monotonic() + LATE
        while (status := reader.get(row, now=AT).statuses["age"]) != "NOT_FOUND":  # that node has none of its records
            assert time.monotonic() < end, status
            time.sleep(0.05)


def test_a_slot_that_no_node_serves(town: tuple[Shop, Server, Server, dict[int, int]]) -> None:
    """It costs its own records, whether the reader learns of it by an error or knows it, until a node has it again."""
    shop, _, node, homes = town
    user = next(user for user, port in homes.items() if port == node.port)
    with redis.Redis(port=node.port) as client, shop.reader(deadline=5) as reader:
        check_town(reader, None, set())
        slot = client.execute_command("CLUSTER", "KEYSLOT", hash_name(user))
        gone = {each for each in USERS if client.execute_command("CLUSTER", "KEYSLOT", hash_name(each)) == slot}
        client.execute_command("CLUSTER", "DELSLOTSRANGE", slot, slot)
        try:
            check_town(reader, None, gone)
            assert "does not serve all keys now" in reader.get(ROW | {"user_id": user}, now=AT).failures["profile"]
            with pytest.raises(StoreError, match="does not serve all keys now"):
                export_to(shop, shop.urls[""])
            for other in set(homes.values()) - {node.port}:  # as these learn of it by and by
                with redis.Redis(port=other) as another:
                    another.execute_command("CLUSTER", "DELSLOTSRANGE", slot, slot)
            with shop.reader(deadline=5) as late:
                check_town(late, None, gone)
                check_town(late, None, gone)
                client.execute_command("CLUSTER", "ADDSLOTS", slot)
                until_whole(late)
        finally:
            with suppress(redis.ResponseError):  # it has it
                client.execute_command("CLUSTER", "ADDSLOTS", slot)
        until_whole(reader)


def test_an_error_reply(town: tuple[Shop, Server, Server, dict[int, int]], caplog: pytest.LogCaptureFixture) -> None:
    """It costs the records of one key, and the log says so."""
    shop, _, node, homes = town
    user = next(user for user, port in homes.items() if port == node.port)
    gone = {each for each in USERS if hash_name(each) == hash_name(user)}
    with redis.Redis(port=node.port) as client, shop.reader(deadline=5) as reader:
        check_town(reader, None, set())
        client.rename(hash_name(user), f"{hash_name(user)}kept")
        client.set(hash_name(user), "of another program")
        caplog.clear()
        try:
            for _ in range(6):  # more often than the circuit breaker would let pass
                check_town(reader, None, gone)
            name = f"'{hash_name(user)}' of the node 127.0.0.1:{node.port} of redis:.*"
            with pytest.raises(StoreError, match=f"^the key {name} is not what an export has written; delete it"):
                export_to(shop, shop.urls[""])
        finally:
            client.rename(f"{hash_name(user)}kept", hash_name(user))
        (said,) = [text for text in caplog.messages if text.startswith("the features of an online store are defaults")]
        assert f"the key '{hash_name(user)}' of the node 127.0.0.1:{node.port}" in said
        check_town(reader, None, set())


def test_a_key_that_moved_to_a_node_that_is_down(
    town: tuple[Shop, Server, Server, dict[int, int]], nodes: list[Server]
) -> None:
    """The node that says where it went still has all others."""
    shop, own, node, homes = town
    (port,) = set(homes.values()) - {own.port, node.port}
    user = next(user for user, home in homes.items() if home == port)
    first = next(each for each in nodes if each.port == port)
    with redis.Redis(port=port) as client, shop.reader(deadline=5) as reader:
        check_town(reader, None, set())
        slot = client.execute_command("CLUSTER", "KEYSLOT", hash_name(user))
        gone = {each for each in USERS if client.execute_command("CLUSTER", "KEYSLOT", hash_name(each)) == slot}
        # A node that has keys does not let their slot go.
        client.delete(*client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100))
        with redis.Redis(port=node.port) as target:
            name = target.execute_command("CLUSTER", "MYID")
        node.stop()
        try:
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", name)
            check_town(reader, None, gone | {each for each, home in homes.items() if home == node.port})
        finally:
            give({slot}, first, (first, own))


def test_a_cluster_that_wants_all_its_nodes(town: tuple[Shop, Server, Server, dict[int, int]]) -> None:
    """As clusters do by default: then it serves nothing."""
    shop, _, node, _ = town
    living = [redis.Redis(port=port) for port in set(town[3].values()) - {node.port}]
    everything = set(USERS)
    try:
        with shop.reader(deadline=5) as reader:
            assert vector(reader) == WHOLE
            for client in living:
                client.config_set("cluster-require-full-coverage", "yes")
            node.stop()
            end = time.monotonic() + LATE
            while set((found := reader.get_online_features(EVERYBODY, now=AT)).statuses["age"]) != {"STORE_FAILED"}:
                assert time.monotonic() < end, found.statuses
                time.sleep(0.05)
            check_town(reader, None, everything)
            assert "does not serve all keys now" in found.failures["profile"]
            for client in living:
                client.config_set("cluster-require-full-coverage", "no")
            started(node)
            until_whole(reader)
    finally:
        for client in living:
            client.close()


FORK = """
import os, signal, sys
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader
from pit_join.online.several import SeveralStores

reader = OnlineReader(SeveralStores({"": sys.argv[1]}), [Request("activity", ("*",), "activity")])
first = reader.get({"user_id": "a"})
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(reader.get({"user_id": "a"}) != first)
sys.exit(os.waitpid(child, 0)[1] or first != {"n": 1})
"""


def test_a_fork_asks_with_threads_of_its_own(server: Server) -> None:
    with closing(open_store(server.url, create=True)) as store:
        put(store, {"activity": {"user_id": ["a"], "n": [1]}})
    assert subprocess.run([sys.executable, "-c", FORK, server.url], check=False).returncode == 0


def test_a_damaged_record(shop: Shop) -> None:
    shop.export()
    key = KeyCodec(contents_of(open_store(shop.fast)).views["activity"].keys).encode(ROW) or b""
    with redis.Redis(port=shop.server.port) as client:
        for name in client.scan_iter("pit_join:{user:*"):
            for field, record in client.hgetall(name).items():
                if field.endswith(b"\0" + key):
                    client.hset(name, field, record[:-1] + bytes([record[-1] ^ 1]))
    with shop.reader() as reader, shop.reader(strict=True) as strict:
        assert vector(reader) == without_activity("STORE_FAILED")
        with pytest.raises(StoreError, match="damaged"):
            strict.get(ROW)


def test_a_store_that_is_garbage(shop: Shop) -> None:
    """It costs its own features alone."""
    shop.export()
    with shop.reader() as reader:
        with redis.Redis(port=shop.server.port) as client:
            client.mset({"{pit_join}:contents": b"garbage", "{pit_join}:version": b"other"})
        assert vector(reader) == without_activity("NOT_EXPORTED")


# On-demand features that fail ---------------------------------------------------------------------------------


def test_what_cannot_be_computed(shop: Shop) -> None:
    """Of the rows and features that can be computed all are."""
    shop.export()
    rows = [ROW, {"user_id": 1, "amount": 1000}, {"user_id": 2, "amount": None}, {"user_id": 2, "amount": 2**31 - 1}]
    with shop.reader() as reader:
        found = reader.get_online_features(rows, now=AT)
        assert found.to_dict()["share"] == [50 / 11, -1.0, -1.0, -1.0]
        assert found.statuses["share"] == ["PRESENT", "COMPUTE_FAILED", "PRESENT", "COMPUTE_FAILED"]
        assert found.to_dict()["twice"] == [100, 2000, None, None]
        assert found.statuses["twice"] == ["PRESENT", "PRESENT", "NULL_VALUE", "COMPUTE_FAILED"]
        assert reader.failures == {("on_demand", "COMPUTE_FAILED"): 1}
        assert vector(reader, rows[1])["share"] == (-1.0, "COMPUTE_FAILED")
        assert vector(reader, rows[1])["twice"] == (2000, "PRESENT")
    with shop.reader(defaults=False) as reader:
        assert reader.get_online_features(rows, now=AT).to_dict()["share"] == [50 / 11, None, None, None]
    with shop.reader(strict=True) as reader:
        for ask in (lambda: reader.get_online_features(rows), lambda: reader.get(rows[1])):
            with pytest.raises(ComputeError, match="cannot be computed"):
                ask()


def test_a_field_of_another_type_is_a_bad_request(shop: Shop) -> None:
    shop.export()
    with shop.reader() as reader:
        for row in ({"user_id": 1, "amount": "much"}, {"user_id": 1, "amount": 1e30}):
            for ask in (reader.get, lambda one: reader.get_online_features([one])):
                with pytest.raises((EntityError, ComputeError)):
                    ask(row)


def test_what_is_logged(shop: Shop) -> None:
    shop.export(("profile",))
    log = FeatureLog(shop.folder / "log", 1)
    with shop.reader(log=log) as reader:
        reader.get({"user_id": 1, "amount": 1000}, now=AT)
        reader.get_online_features([{"user_id": 1, "amount": 1000}], now=AT)
    log.close()
    for row in rows_of(shop.folder / "log"):
        statuses = {name: each["status"] for name, each in row["features"].items()}
        assert statuses == {
            "age": "PRESENT", "visits": "NOT_EXPORTED", "share": "COMPUTE_FAILED", "twice": "PRESENT",
        }  # fmt: skip


# Over HTTP ----------------------------------------------------------------------------------------------------


def counted(server: Serving, view: str, status: str) -> float:
    return server.metrics().get(f'pit_join_feature_values_total{{status="{status}",view="{view}"}}', 0)


def recent(shop: Shop, days: int = 0, max_staleness: str | None = None) -> None:
    """The server judges ages by the clock."""
    shop.connection.execute(f"update activity set event_timestamp = now() - interval {days} days")
    now = int(datetime.now(timezone.utc).timestamp() * 1e6)
    shop.run(manifest(max_staleness=max_staleness), now, named={"fast": shop.fast})


def test_a_server_of_a_store_that_fails(shop: Shop) -> None:
    recent(shop)
    with serving(shop.urls[""], "--deadline", "200 ms", named={"fast": shop.fast}) as server:
        assert answered(server) == WHOLE
        assert server.metrics()["pit_join_store_errors_total"] == 0
        shop.server.process.send_signal(signal.SIGSTOP)
        try:
            assert answered(server) == without_activity("STORE_LATE")
        finally:
            shop.server.process.send_signal(signal.SIGCONT)
        assert server.metrics()["pit_join_store_errors_total"] == 1
        assert counted(server, "activity", "STORE_LATE") == 1
        shop.server.stop()
        assert answered(server) == without_activity("STORE_FAILED")
        assert counted(server, "activity", "STORE_FAILED") == 1
        assert server.metrics()["pit_join_store_errors_total"] == 2
        floats = server.ask(
            {"feature_service": "s", "entities": {"user_id": [1], "amount": [50]}}, accept="application/octet-stream"
        )
        assert floats.headers["pit-join-failures"] == '["activity"]'
        stored = server.ask({"features": ["activity:visits", "profile:*"], "entities": {"user_id": [1]}})
        assert stored.json()["results"][1] == {
            "values": [4], "statuses": ["STORE_FAILED"], "event_timestamps": ["1970-01-01T00:00:00Z"],
        }  # fmt: skip
        assert {each["statuses"][0] for each in stored.json()["results"][2:]} == {"PRESENT"}
        assert server.metrics()["pit_join_store_errors_total"] == 4
        assert server.says("the features of an online store are defaults until it answers")
        assert server.client.get("/ready").status_code == 200


def test_a_strict_server(shop: Shop) -> None:
    recent(shop)
    with serving(shop.urls[""], "--strict", named={"fast": shop.fast}) as server:
        shop.server.stop()
        answer = server.ask({"feature_service": "s", "entities": {"user_id": [1], "amount": [50]}})
        assert (answer.status_code, "cannot be reached" in answer.text) == (503, False)
        assert server.says("cannot be reached")
        assert server.metrics()["pit_join_store_errors_total"] == 1


def test_a_server_of_views_that_are_missing_or_too_old(shop: Shop) -> None:
    shop.export(("profile",))
    with serving(shop.urls[""], named={"fast": shop.fast}) as server:
        assert answered(server) == without_activity("NOT_EXPORTED")
        assert counted(server, "activity", "NOT_EXPORTED") == 1
        recent(shop, days=3)
        assert answered(server) == WHOLE | {"visits": (4, "OUTSIDE_MAX_AGE"), "share": (12.5, "PRESENT")}
        assert counted(server, "activity", "OUTSIDE_MAX_AGE") == 1
        found = server.ask({"feature_service": "s", "entities": {"user_id": [1], "amount": [1000]}}).json()
        assert found["results"][3] == {
            "values": [-1.0], "statuses": ["COMPUTE_FAILED"], "event_timestamps": ["1970-01-01T00:00:00Z"],
        }  # fmt: skip
        assert counted(server, "on_demand", "COMPUTE_FAILED") == 1


def as_described(server: Serving) -> set[str]:
    """Ask for features, and hold the answers against the OpenAPI document; returns the statuses of values."""
    entities = {"user_id": [1, 2, None, 10**9], "amount": [50, 1000, None, 1]}
    bodies: list[dict[str, Any]] = [
        {"feature_service": "s", "entities": entities},
        {"features": ["activity:*", "profile:*"], "entities": entities},
        *({"features": ["activity:*"], "entities": {"user_id": [key]}} for key in entities["user_id"]),
    ]
    answers = ask_as_described(server, bodies)
    assert {answer.status_code for answer in answers} == {200}
    return {status for answer in answers for column in answer.json()["results"] for status in column["statuses"]}


def test_the_description_holds_while_a_store_fails(shop: Shop) -> None:
    """Defaults are served in all these states; together their answers have every status of the document."""
    shop.export(("profile",))
    with serving(shop.urls[""], "--deadline", "200 ms", named={"fast": shop.fast}) as server:
        seen = [as_described(server)]
        recent(shop, days=3)
        seen.append(as_described(server))
        recent(shop, max_staleness="1 millisecond")
        seen.append(as_described(server))
        recent(shop)
        as_described(server)  # so that it knows the new state before a store is silent
        shop.server.process.send_signal(signal.SIGSTOP)
        try:
            seen.append(as_described(server))
        finally:
            shop.server.process.send_signal(signal.SIGCONT)
        shop.server.stop()
        seen.append(as_described(server))
        assert max(fuzz(server, examples=5)) < 500
    expected = ({NOT_EXPORTED}, {OUTSIDE_MAX_AGE, COMPUTE_FAILED}, {STALE}, {STORE_LATE}, {STORE_FAILED})
    assert [found & some for found, some in zip(seen, expected, strict=True)] == list(expected)
    assert set().union(*seen) == set(ONLINE)


def test_the_description_holds_for_a_strict_server(shop: Shop) -> None:
    recent(shop)
    with serving(shop.urls[""], "--strict", named={"fast": shop.fast}) as server:
        shop.server.stop()
        answers = ask_as_described(server, [{"features": ["activity:*"], "entities": {"user_id": [1]}}] * 2)
        assert [answer.status_code for answer in answers] == [503, 503]
        assert max(fuzz(server, examples=5)) <= 503


def test_the_time_out_of_the_caller_is_not_that_of_a_store(shop: Shop) -> None:
    """An alarm of the application raises Python's own TimeoutError while a store is waited for."""

    def alarm(number: int, frame: object) -> None:
        raise TimeoutError("the application's own")

    shop.export()
    with shop.reader(deadline=5.0) as reader:
        shop.server.process.send_signal(signal.SIGSTOP)
        before = signal.signal(signal.SIGALRM, alarm)
        try:
            for ask in (reader.get, lambda row: reader.get_online_features([row])):
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                with pytest.raises(TimeoutError, match="the application's own"):
                    ask(ROW)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            shop.server.process.send_signal(signal.SIGCONT)
        assert not reader.failures
        until(reader, WHOLE)
