"""Redis or Valkey as the online store, one server or a cluster. Outside world: the server.

The records of an entity's views lie in hashes, by a number made of its key; so one command reads or writes all views
of one entity at once. A field is `view@schema`, a zero byte and the key. That without a zero byte is the index of the
hash: sixteen bytes a record, by which an export tells what has changed without reading it (docs/store-format.md).
"""

from __future__ import annotations

import json
import os
import struct
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from xxhash import xxh3_64_digest

from pit_join.errors import PitJoinError, StoreError, StoreUrlError, option
from pit_join.online.protocol import Changes, OnProgress, Records, Rows, Wanted
from pit_join.online.urls import store_url
from pit_join.records.layout import checksum, view_number
from pit_join.records.store_manifest import Contents, StoredView
from pit_join.waiting import wait_until

__all__ = ["SCHEMES", "RedisStore", "open_store"]

SCHEMES = ("redis", "rediss")

_HASHES = 4096
_RECORDS_AT_ONCE = 10_000
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
        raise StoreUrlError(f"{store_url(url)}: a prefix has no braces and is not empty, got '{prefix}'")
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
        self._url, self._prefix, self._timeout = url, prefix, timeout
        self._client = self._connected(timeout, retries=0)

    def contents(self, until: float | None = None) -> tuple[object, bytes | None]:
        """See `OnlineStore`."""
        mark, data = self._asked(lambda: self._client.mget(self._own("version"), self._own("contents")))
        return mark, data

    def read(self, mark: object, wanted: Wanted, until: float | None = None) -> list[Records] | None:
        """See `OnlineStore`. One round trip for each server that is asked, all at the same time."""
        fields: dict[str, list[bytes]] = {}
        places: dict[str, list[tuple[int, int]]] = {}
        for number, (view, keys) in enumerate(wanted):
            token = _token(view) + b"\0"
            for row, key in enumerate(keys):
                name = self._hash(view.entity, _hash_of(key))
                fields.setdefault(name, []).append(token + key)
                places.setdefault(name, []).append((number, row))

        def ask() -> list[Any]:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.get(self._own("version"))
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

    def folder(self, view: StoredView) -> None:
        """See `ReadableStore`: there is none."""

    def scan(self, view: StoredView) -> Iterator[tuple[bytes, bytes]]:
        """See `OnlineStore`."""
        start = _token(view) + b"\0"
        for first in range(0, _HASHES, 64):
            with self._readable_errors():
                pipeline = self._client.pipeline(transaction=False)
                for number in range(first, first + 64):
                    pipeline.hgetall(self._hash(view.entity, number))
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
            lock = client.lock(self._own("lock"), timeout=_LOCK_SECONDS, thread_local=False)
            message = f"another export is at work; waiting up to {wait:g} s"
            if wait_until(lambda: not lock.acquire(blocking=False), on_wait, message, wait):
                raise StoreError(
                    f"another export is at work on {self._where} and did not end within {wait:g} s; try again when "
                    f"it is done, or wait longer with {option('wait=', '--wait')}"
                )
            ended = threading.Event()
            holding = threading.Thread(target=_hold, args=(lock, ended), daemon=True)
            holding.start()
            try:
                yield RedisWriter(self, client, lock.reacquire)
            except LockError as error:
                raise StoreError(
                    f"another export took over {self._where}, since this one was silent for {_LOCK_SECONDS} s; "
                    "run it again"
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
                f"the online store {self._where} needs the package redis; run pip install 'pit-join[redis]'"
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
            if not client.info("cluster").get("cluster_enabled"):
                return client
            client.close()
            # A node that is silent takes the time twice: redis-py may ask it too where the keys are now.
            options |= {"socket_timeout": timeout / 2, "socket_connect_timeout": timeout / 2}
            return redis.RedisCluster.from_url(self._url, **options)

    @property
    def _where(self) -> str:
        return store_url(self._url)

    def _own(self, name: str) -> str:
        """A key of the store itself; all of them are on one server of a cluster."""
        return f"{{{self._prefix}}}:{name}"

    def _hash(self, entity: str, number: int) -> str:
        return f"{self._prefix}:{{{entity}:{number}}}"

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        import redis

        try:
            yield
        except PitJoinError:
            raise
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise StoreError(
                f"{self._where} refuses the user or password ({error}); set PIT_JOIN_REDIS_USERNAME and "
                "PIT_JOIN_REDIS_PASSWORD"
            ) from error
        except redis.TimeoutError as error:
            raise StoreError(
                f"{self._where} did not answer within {self._timeout:g} s (timeout= in the URL)"
            ) from error
        except (redis.exceptions.ClusterError, redis.exceptions.RedisClusterException) as error:
            raise StoreError(f"the cluster at {self._where} does not serve all keys now: {error}") from error
        except redis.ConnectionError as error:
            raise StoreError(f"{self._where} cannot be reached: {error}") from error
        except redis.ResponseError as error:
            if "NOAUTH" in str(error) or "WRONGPASS" in str(error):
                raise StoreError(f"{self._where} wants a password; set PIT_JOIN_REDIS_PASSWORD") from error
            raise StoreError(f"{self._where} refuses: {error}") from error
        except redis.RedisError as error:
            raise StoreError(f"{self._where} cannot be used: {error}") from error


def _hold(lock: Any, ended: threading.Event) -> None:
    """Renew a lock for as long as an export runs; if that fails, the export will find out by itself."""
    from redis.exceptions import RedisError

    while not ended.wait(_LOCK_SECONDS / 3):
        with suppress(RedisError):
            lock.reacquire()


class RedisWriter:
    """The exporter; see `Writer`.

    Records change in place, all views of one entity in one command. Where a view's schema changes its records are
    written under new fields, which readers find when the contents change; the old ones go with the next export, so that
    nobody who still reads them meets a gap.
    """

    reads_once = False

    def __init__(self, store: RedisStore, client: Any, hold: Callable[[], Any]) -> None:
        self._store, self._client, self._hold = store, client, hold
        self._rows: dict[str, Rows] = {}

    def take(self, view: str, rows: Rows, on_progress: OnProgress) -> None:
        """See `Writer`."""
        self._rows[view] = rows

    def replace(
        self,
        contents: bytes,
        written: Mapping[str, StoredView],
        kept: Mapping[str, StoredView],
        written_at: int,
        dry_run: bool,
        on_progress: OnProgress,
    ) -> dict[str, Changes]:
        """See `Writer`."""
        own, where = self._store._own, self._store._where
        old_data, left = self._client.mget(own("contents"), own("left"))
        described = Contents.from_json(old_data, where).views if old_data else {}
        old = {name: view for name, view in described.items() if view.is_here}
        # By entity the tokens of fields that an earlier export has left: none of its readers is there any more.
        garbage = {(entity, token.encode()) for entity, token in json.loads(left or b"[]")}
        live = {(view.entity, _token(view)) for view in (*written.values(), *kept.values())}
        readable = {(view.entity, _token(view)) for view in old.values()}
        if not dry_run:
            # Should this export be killed, the next one knows what it may have begun.
            self._client.set(own("left"), _as_json((garbage | live) - readable))
        changes = {name: Changes(0, 0, old[name].rows) for name in old.keys() - written.keys() - kept.keys()}
        totals: dict[str, list[int]] = {name: [0, 0, 0] for name in written}
        entities = {view.entity for view in written.values()} | {entity for entity, _ in garbage}
        for entity in sorted(entities):
            views = {name: (view, self._rows[name]) for name, view in written.items() if view.entity == entity}
            gone = {token for owner, token in garbage - live - readable if owner == entity}
            stamp = b"" if dry_run else struct.pack("<q", written_at)
            _Entity(self._store, self._client, entity, views, gone, stamp).write(totals, self._hold, on_progress)
        if not dry_run:
            self._hold()
            mark, left = uuid.uuid4().hex.encode(), _as_json(readable - live)
            self._client.mset({own("contents"): contents, own("version"): mark, own("left"): left})
        return changes | {name: Changes(*counts) for name, counts in totals.items()}


class _Entity:
    """Makes the hashes of one entity hold the rows of its views; without a stamp it only counts."""

    def __init__(
        self,
        store: RedisStore,
        client: Any,
        entity: str,
        views: Mapping[str, tuple[StoredView, Rows]],
        gone: set[bytes],
        stamp: bytes,
    ) -> None:
        self._store, self._client, self._entity, self._views = store, client, entity, views
        self._gone, self._stamp = gone, stamp

    def write(self, totals: dict[str, list[int]], hold: Callable[[], Any], on_progress: OnProgress) -> None:
        take = {name: rows.grouped(_hash_of, _HASHES) for name, (_, rows) in self._views.items()}
        rows = sum(rows.count for _, rows in self._views.values())
        step = max(1, min(256, _HASHES * _RECORDS_AT_ONCE // max(1, rows)))
        done = 0
        for first in range(0, _HASHES, step):
            end = min(first + step, _HASHES)
            hold()
            new = {name: self._by_hash(*take[name](first, end)) for name in self._views}
            self._change(range(first, end), new, totals)
            done += sum(len(records) for hashes in new.values() for records in hashes.values())
            on_progress(done, rows, self._entity)

    def _by_hash(self, keys: list[bytes], records: list[bytes]) -> dict[int, dict[bytes, bytes]]:
        found: dict[int, dict[bytes, bytes]] = {}
        for key, record in zip(keys, records, strict=True):
            found.setdefault(_hash_of(key), {})[key] = record
        return found

    def _change(
        self,
        numbers: range,
        new: Mapping[str, Mapping[int, Mapping[bytes, bytes]]],
        totals: dict[str, list[int]],
    ) -> None:
        """Bring some hashes up to date: what is written and what goes of each hash, in one command each."""
        tokens = {name: _token(view) for name, (view, _) in self._views.items()}
        pipeline = self._client.pipeline(transaction=False)
        for number in numbers:
            if tokens:
                pipeline.hmget(self._name(number), list(tokens.values()))
        indexes = dict(zip(numbers, pipeline.execute(), strict=True)) if tokens else {}
        put: dict[int, list[bytes]] = {number: [] for number in numbers}
        vanished: dict[int, set[tuple[bytes, bytes]]] = {number: set() for number in numbers}
        for place, (name, token) in enumerate(tokens.items()):
            for number in numbers:
                index = indexes[number][place] or b""
                records = new[name].get(number, {})
                known = {index[i : i + 8]: index[i + 8 : i + 16] for i in range(0, len(index), 16)}
                made = b""
                for key, record in records.items():
                    short, digest = xxh3_64_digest(key), xxh3_64_digest(record)
                    made += short + digest
                    if known.pop(short, None) != digest:
                        whole = self._stamp + record
                        put[number] += (token + b"\0" + key, whole + checksum(whole, view_number(name), key))
                        totals[name][0] += 1
                    else:
                        totals[name][1] += 1
                totals[name][2] += len(known)
                vanished[number] |= {(token, short) for short in known}
                if made != index:
                    put[number] += (token, made)
        if self._stamp:
            self._send(put, vanished)

    def _send(self, put: Mapping[int, list[bytes]], vanished: Mapping[int, set[tuple[bytes, bytes]]]) -> None:
        # Only where something goes must the fields be listed.
        listed = [number for number in put if vanished[number] or self._gone]
        pipeline = self._client.pipeline(transaction=False)
        for number in listed:
            pipeline.hkeys(self._name(number))
        fields = dict(zip(listed, pipeline.execute(), strict=True)) if listed else {}
        pipeline = self._client.pipeline(transaction=False)
        for number, pairs in put.items():
            deleted = []
            for field in fields.get(number, ()):
                token, zero, key = field.partition(b"\0")
                if token in self._gone or (zero and (token, xxh3_64_digest(key)) in vanished[number]):
                    deleted.append(field)
            # Empty before they are deleted, so that the change of an entity is one command.
            pairs = [*pairs, *(part for field in deleted for part in (field, b""))]
            if pairs:
                pipeline.execute_command("HSET", self._name(number), *pairs)
            if deleted:
                pipeline.hdel(self._name(number), *deleted)
        pipeline.execute()

    def _name(self, number: int) -> str:
        return self._store._hash(self._entity, number)


def _hash_of(key: bytes) -> int:
    return zlib.crc32(key) % _HASHES


def _token(view: StoredView) -> bytes:
    """Return the prefix of a view's fields, which changes with its schema."""
    return f"{view.name}@{view.layout.id:08x}".encode()


def _as_json(left: set[tuple[str, bytes]]) -> bytes:
    return json.dumps(sorted((entity, token.decode()) for entity, token in left)).encode()
