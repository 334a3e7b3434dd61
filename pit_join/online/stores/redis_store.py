"""Redis or Valkey as the online store, one server or a cluster. Outside world: the server.

The records of an entity's views lie in hashes, by a number made of its key; so one command reads or writes all views
of one entity at once. A field is `view@schema`, a zero byte and the key. That without a zero byte is the index of the
hash: sixteen bytes a record, by which an export tells what has changed without reading it (docs/store-format.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pit_join.errors import StoreError, StoreUrlError, option
from pit_join.online.protocol import Failed, Records, Separate, Wanted
from pit_join.online.redis_nodes import ClusterNodes
from pit_join.online.redis_servers import SENTINEL, AskAll, Command, Servers, all_answered
from pit_join.online.redis_writer import HASHES, Place, RedisWriter, hash_of, token_of
from pit_join.online.remote import NodeError
from pit_join.online.urls import store_url
from pit_join.records.stored_view import StoredView
from pit_join.waiting import wait_until

__all__ = ["SCHEMES", "RedisStore", "open_store"]

SCHEMES = ("redis", "rediss", f"redis{SENTINEL}", f"rediss{SENTINEL}")

_TIMEOUT = 1.0
_EXPORT_TIMEOUT = 30.0
_LOCK_SECONDS = 60


def open_store(url: str, *, create: bool = False) -> RedisStore:
    """Connect to `redis://[user[:password]@]host:port/db`, or `rediss://` for TLS.

    `redis+sentinel://[user[:password]@]host:port,host:port/service/db` names Sentinels and the service whose master is
    the store. Of the URL's query `prefix` (`pit_join`) tells stores on one server apart and `timeout` (1) is in
    seconds; all else goes to redis-py (`ssl_ca_certs`). PIT_JOIN_REDIS_USERNAME and PIT_JOIN_REDIS_PASSWORD keep
    secrets out of the URL, and PIT_JOIN_REDIS_SENTINEL_USERNAME and PIT_JOIN_REDIS_SENTINEL_PASSWORD those of Sentinel.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    database, example = parts.path.strip("/"), "redis://host:6379/0"
    if parts.scheme.endswith(SENTINEL):
        service, _, database = database.partition("/")
        example = "redis+sentinel://host:26379/mymaster/0"
        if not service or not all(place.strip() for place in parts.netloc.rpartition("@")[2].split(",")):
            raise ValueError("a Sentinel or the service is missing")
    if not (database or "0").isdecimal():  # redis-py would take database 0
        raise StoreUrlError(f"{store_url(url)}: a database is a number, as in {example}; write %2F for /")
    prefix = options.pop("prefix", "pit_join")
    if not prefix or set("{}") & set(prefix):
        raise StoreUrlError(f"{store_url(url)}: a prefix has no braces and is not empty")
    timeout = 0.0
    with suppress(ValueError):
        timeout = float(options.pop("timeout", _TIMEOUT))
    if not 0 < timeout < float("inf"):
        raise StoreUrlError(f"{store_url(url)}: the timeout is a number of seconds above 0")
    return RedisStore(Servers(parts._replace(query=urlencode(options)).geturl(), store_url(url), timeout), prefix)


class RedisStore:
    """The store under one prefix of a server or cluster."""

    names = ("",)

    def __init__(self, servers: Servers, prefix: str) -> None:
        self._servers, self._place = servers, Place(prefix, servers.where)
        self._client = servers.connect(servers.timeout, retries=0)
        self._nodes = _nodes_of(self._client, servers)

    def contents(self, until: float | None = None) -> tuple[object, bytes | None]:
        """See `OnlineStore`."""
        own = self._place.own
        (answer,) = self._ask([("MGET", own("version"), own("contents"))], until)
        if isinstance(answer, StoreError):
            raise _without_description(answer)
        mark, data = answer
        return mark, data

    def read(self, mark: object, wanted: Wanted, until: float | None = None) -> list[Records] | None:
        """See `OnlineStore`. One round trip for each server that is asked, all at the same time."""
        fields: dict[str, list[bytes]] = {}
        places: dict[str, list[tuple[int, int]]] = {}
        for number, (view, keys) in enumerate(wanted):
            token = token_of(view) + b"\0"
            for row, key in enumerate(keys):
                name = self._place.hash(view.entity, hash_of(key))
                fields.setdefault(name, []).append(token + key)
                places.setdefault(name, []).append((number, row))
        own = ("GET", self._place.own("version"))
        version, *answers = self._ask([own, *(("HMGET", name, *asked) for name, asked in fields.items())], until)
        if isinstance(version, StoreError):
            # Nobody can export while that node is down: those who know a state of the store go on with it.
            if not isinstance(mark, bytes):
                raise _without_description(version)
        elif version != mark:
            return None
        found = [[b""] * len(keys) for _, keys in wanted]
        lost: list[dict[int, StoreError]] = [{} for _ in wanted]
        for name, records in zip(fields, answers, strict=True):
            if isinstance(records, StoreError):
                for number, row in places[name]:
                    lost[number][row] = records
            else:
                for (number, row), record in zip(places[name], records, strict=True):
                    found[number][row] = record or b""
        return [_records(each, errors) for each, errors in zip(found, lost, strict=True)]

    def warnings(self) -> Iterator[str]:
        """See `OnlineStore`: a server that may evict records, which would then be served as if there were none."""
        from redis.exceptions import NoPermissionError

        with self._servers.readable_errors():
            try:
                found = self._client.info("memory")
            except NoPermissionError:
                yield (
                    f"whether {self._place.where} may evict records is unknown, since INFO is forbidden to this user; "
                    "its maxmemory-policy must be noeviction"
                )
                return
        nodes = [found] if "maxmemory" in found else list(found.values())  # of a cluster by node
        if policies := {node["maxmemory_policy"] for node in nodes if node["maxmemory"]} - {"noeviction"}:
            yield (
                f"{self._place.where} may evict records (maxmemory-policy {', '.join(sorted(policies))}), which are "
                "then served as NOT_FOUND; set its maxmemory-policy to noeviction"
            )

    def folder(self, view: StoredView) -> None:
        """See `ReadableStore`: there is none."""

    def scan(self, view: StoredView) -> Iterator[tuple[bytes, bytes]]:
        """See `OnlineStore`."""
        start = token_of(view) + b"\0"
        for first in range(0, HASHES, 64):
            for found in self._ask([("HGETALL", self._place.hash(view.entity, first + i)) for i in range(64)], None):
                if isinstance(found, StoreError):
                    raise found
                # The fields and records alternate in the older protocol of Redis.
                pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
                yield from ((k[len(start) :], record) for k, record in pairs if k.startswith(start) and record)

    @contextmanager
    def writing(self, wait: float, on_wait: Callable[[str], None]) -> Iterator[RedisWriter]:
        """See `OnlineStore`."""
        from redis.exceptions import LockError, RedisError

        servers = replace(self._servers, timeout=max(self._servers.timeout, _EXPORT_TIMEOUT))
        with servers.readable_errors():
            client = self._servers.connect(servers.timeout, retries=1)
            # It ends by itself soon after an exporter was killed; until then a thread holds on to it.
            lock = client.lock(self._place.own("lock"), timeout=_LOCK_SECONDS, thread_local=False)
            message = f"another export is at work; waiting up to {wait:g} s"
            if wait_until(lambda: not lock.acquire(blocking=False), on_wait, message, wait):
                raise StoreError(
                    f"another export is at work on {self._place.where} and did not end within {wait:g} s; try again "
                    f"when it is done, or wait longer with {option('wait=', '--wait')}"
                )
            ended = threading.Event()
            holding = threading.Thread(target=_hold, args=(lock, ended), daemon=True)
            holding.start()
            try:
                yield RedisWriter(self._place, _asking_all(client, servers), lock.reacquire)
            except LockError as error:
                taken = client.exists(self._place.own("lock"))
                raise StoreError(
                    f"another export took over {self._place.where}, since this one was silent for {_LOCK_SECONDS} s; "
                    "run it again"
                    if taken
                    else f"{self._place.where} has lost the lock of this export: it was evicted (see maxmemory-policy) "
                    f"or removed, or the export was silent for {_LOCK_SECONDS} s; run it again"
                ) from error
            finally:
                ended.set()
                # A server that has become silent would take the time of an export here, too.
                holding.join(self._servers.timeout)
                lock.redis = self._client
                with suppress(RedisError):  # the server is gone, or the lock has ended
                    lock.release()
                client.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, commands: Sequence[Command], until: float | None) -> list[Any]:
        """Return the answers to commands; an error in place of each that was refused, or not answered by a node."""
        if self._nodes is not None:
            return self._nodes.ask(commands, until)
        found = self._servers.answers(self._client, commands)
        return found if any(not isinstance(answer, StoreError) for answer in found) else all_answered(found)


def _nodes_of(client: Any, servers: Servers) -> ClusterNodes | None:
    """Return the nodes of a cluster; of one server there is no part that can fail alone."""
    if not hasattr(client, "nodes_manager"):
        return None
    return ClusterNodes(client, replace(servers, timeout=servers.timeout / 2))  # see `Servers.connect`


def _asking_all(client: Any, servers: Servers) -> AskAll:
    nodes = _nodes_of(client, servers)
    return nodes.ask_all if nodes else lambda commands: all_answered(servers.answers(client, commands))


def _records(each: Sequence[bytes], errors: Mapping[int, StoreError]) -> Records:
    if not errors:
        return Separate(each)
    first = next(iter(errors.values()))
    return Failed(each, errors.keys(), first.status, first)


def _without_description(error: StoreError) -> NodeError:
    return NodeError(f"{error}; that node has the description of the store", error.status)


def _hold(lock: Any, ended: threading.Event) -> None:
    """Renew a lock for as long as an export runs; if that fails, the export will find out by itself."""
    from redis.exceptions import RedisError

    while not ended.wait(_LOCK_SECONDS / 3):
        with suppress(RedisError):
            lock.reacquire()
