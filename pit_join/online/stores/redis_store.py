"""Redis or Valkey as the online store, one server or a cluster. Outside world: the server.

The records of an entity's views lie in hashes, by a number made of its key; so one command reads or writes all views
of one entity at once. A field is `view@schema`, a zero byte and the key. That without a zero byte is the index of the
hash: sixteen bytes a record, by which an export tells what has changed without reading it (docs/store-format.md).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pit_join.errors import PitJoinError, StoreError, StoreUrlError, option
from pit_join.online.protocol import Records, Wanted
from pit_join.online.redis_writer import HASHES, Place, RedisWriter, hash_of, token_of
from pit_join.online.urls import store_url
from pit_join.records.store_manifest import StoredView
from pit_join.waiting import wait_until

__all__ = ["SCHEMES", "RedisStore", "open_store"]

SCHEMES = ("redis", "rediss")

_TIMEOUT = 1.0
_EXPORT_TIMEOUT = 30.0
_LOCK_SECONDS = 60


def open_store(url: str, *, create: bool = False) -> RedisStore:
    """Connect to `redis://[user[:password]@]host:port/db`, or `rediss://` for TLS.

    Of the URL's query `prefix` (`pit_join`) tells stores on one server apart and `timeout` (1) is in seconds; all else
    goes to redis-py (`ssl_ca_certs`). PIT_JOIN_REDIS_USERNAME and PIT_JOIN_REDIS_PASSWORD keep secrets out of the URL.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if not (parts.path.strip("/") or "0").isdecimal():  # redis-py would take database 0
        raise StoreUrlError(f"{store_url(url)}: a database is a number, as in redis://host:6379/0; write %2F for /")
    prefix = options.pop("prefix", "pit_join")
    if not prefix or set("{}") & set(prefix):
        raise StoreUrlError(f"{store_url(url)}: a prefix has no braces and is not empty")
    timeout = 0.0
    with suppress(ValueError):
        timeout = float(options.pop("timeout", _TIMEOUT))
    if not 0 < timeout < float("inf"):
        raise StoreUrlError(f"{store_url(url)}: the timeout is a number of seconds above 0")
    return RedisStore(parts._replace(query=urlencode(options)).geturl(), prefix, timeout)


class RedisStore:
    """The store under one prefix of a server or cluster."""

    names = ("",)

    def __init__(self, url: str, prefix: str, timeout: float) -> None:
        self._url, self._place, self._timeout = url, Place(prefix, store_url(url)), timeout
        self._client = self._connected(timeout, retries=0)

    def contents(self, until: float | None = None) -> tuple[object, bytes | None]:
        """See `OnlineStore`."""
        mark, data = self._asked(lambda: self._client.mget(self._place.own("version"), self._place.own("contents")))
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

        def ask() -> list[Any]:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.get(self._place.own("version"))
            for name, asked in fields.items():
                pipeline.hmget(name, asked)
            return list(pipeline.execute())

        version, *answers = self._asked(ask)
        if version != mark:
            return None
        found = [[b""] * len(keys) for _, keys in wanted]
        for name, records in zip(fields, answers, strict=True):
            for (number, row), record in zip(places[name], records, strict=True):
                found[number][row] = record or b""
        return [(b"".join(records), list(map(len, records))) for records in found]

    def warnings(self) -> Iterator[str]:
        """See `OnlineStore`: a server that may evict records, which would then be served as if there were none."""
        from redis.exceptions import NoPermissionError

        with self._readable_errors():
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
            with self._readable_errors():
                pipeline = self._client.pipeline(transaction=False)
                for number in range(first, first + 64):
                    pipeline.hgetall(self._place.hash(view.entity, number))
                hashes = pipeline.execute()
            for found in hashes:
                yield from ((k[len(start) :], record) for k, record in found.items() if k.startswith(start) and record)

    @contextmanager
    def writing(self, wait: float, on_wait: Callable[[str], None]) -> Iterator[RedisWriter]:
        """See `OnlineStore`."""
        from redis.exceptions import LockError, RedisError

        with self._readable_errors():
            client = self._connected(max(self._timeout, _EXPORT_TIMEOUT), retries=1)
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
                yield RedisWriter(self._place, client, lock.reacquire)
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
                holding.join()
                with suppress(RedisError):  # the server is gone, or the lock has ended
                    lock.release()
                client.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """Return the answer of the server; ask again if it closed an idle connection, not if it is silent."""
        import redis

        with self._readable_errors():
            try:
                return ask()
            except redis.ConnectionError:
                return ask()

    def _connected(self, timeout: float, retries: int) -> Any:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise StoreError(
                f"the online store {self._place.where} needs the package redis; run pip install 'pit-join[redis]'"
            ) from error
        options: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), retries, supported_errors=(redis.ConnectionError,)),
        }
        for name in ("username", "password"):
            if given := os.environ.get(f"PIT_JOIN_REDIS_{name.upper()}"):
                options[name] = given
        with self._readable_errors():
            client = redis.Redis.from_url(self._url, **options)
            with suppress(redis.exceptions.NoPermissionError):  # then it is taken for one server
                if client.info("cluster").get("cluster_enabled"):
                    client.close()
                    # A node that is silent takes the time twice: redis-py may ask it too where the keys are now.
                    options |= {"socket_timeout": timeout / 2, "socket_connect_timeout": timeout / 2}
                    return redis.RedisCluster.from_url(self._url, **options)
            return client

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        import redis

        try:
            yield
        except PitJoinError:
            raise
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise StoreError(
                f"{self._place.where} refuses the user or password ({error}); set PIT_JOIN_REDIS_USERNAME and "
                "PIT_JOIN_REDIS_PASSWORD"
            ) from error
        except redis.TimeoutError as error:
            raise StoreError(
                f"{self._place.where} did not answer within {self._timeout:g} s (timeout= in the URL)"
            ) from error
        except (redis.exceptions.ClusterError, redis.exceptions.RedisClusterException) as error:
            raise StoreError(f"the cluster at {self._place.where} does not serve all keys now: {error}") from error
        except redis.ConnectionError as error:
            raise StoreError(f"{self._place.where} cannot be reached: {error}") from error
        except redis.ResponseError as error:
            if "NOAUTH" in str(error) or "WRONGPASS" in str(error):
                raise StoreError(f"{self._place.where} wants a password; set PIT_JOIN_REDIS_PASSWORD") from error
            raise StoreError(f"{self._place.where} refuses: {error}") from error
        except redis.RedisError as error:
            if type(error) is redis.RedisError:  # of the options of the URL
                raise ValueError(str(error)) from None
            raise StoreError(f"{self._place.where} cannot be used: {error}") from error


def _hold(lock: Any, ended: threading.Event) -> None:
    """Renew a lock for as long as an export runs; if that fails, the export will find out by itself."""
    from redis.exceptions import RedisError

    while not ended.wait(_LOCK_SECONDS / 3):
        with suppress(RedisError):
            lock.reacquire()
