"""The exporter of a store in Redis, and the names of what it writes. Outside world: the server.

See the store's own module, which reads, for how records lie there.
"""

from __future__ import annotations

import json
import struct
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xxhash import xxh3_64_digest

from pit_join.online.protocol import Changes, OnProgress, Rows
from pit_join.online.redis_servers import AskAll, Command
from pit_join.records.layout import checksum, view_number
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView

__all__ = ["HASHES", "Place", "RedisWriter", "hash_of", "token_of"]

HASHES = 4096
"""The number of hashes of an entity."""

_RECORDS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a store: its prefix on a server, and the server as messages name it."""

    prefix: str
    where: str

    def own(self, name: str) -> str:
        """Return a key of the store itself; all of them are on one server of a cluster."""
        return f"{{{self.prefix}}}:{name}"

    def hash(self, entity: str, number: int) -> str:
        """Return the key of one hash of an entity."""
        return f"{self.prefix}:{{{entity}:{number}}}"


class RedisWriter:
    """The exporter; see `Writer`.

    Records change in place, all views of one entity in one command. Where a view's schema changes its records are
    written under new fields, which readers find when the contents change; the old ones go with the next export, so that
    nobody who still reads them meets a gap.
    """

    reads_once = False

    def __init__(self, place: Place, ask: AskAll, hold: Callable[[], Any]) -> None:
        self._place, self._ask, self._hold = place, ask, hold
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
        own, where = self._place.own, self._place.where
        ((old_data, left),) = self._ask([("MGET", own("contents"), own("left"))])
        described = Contents.from_json(old_data, where).views if old_data else {}
        old = {name: view for name, view in described.items() if view.is_here}
        # By entity the tokens of fields that an earlier export has left: none of its readers is there any more.
        garbage = {(entity, token.encode()) for entity, token in json.loads(left or b"[]")}
        live = {(view.entity, token_of(view)) for view in (*written.values(), *kept.values())}
        readable = {(view.entity, token_of(view)) for view in old.values()}
        if not dry_run:
            # Should this export be killed, the next one knows what it may have begun.
            self._ask([("SET", own("left"), _as_json((garbage | live) - readable))])
        changes = {name: Changes(0, 0, old[name].rows) for name in old.keys() - written.keys() - kept.keys()}
        totals: dict[str, list[int]] = {name: [0, 0, 0] for name in written}
        entities = {view.entity for view in written.values()} | {entity for entity, _ in garbage}
        for entity in sorted(entities):
            views = {name: (view, self._rows[name]) for name, view in written.items() if view.entity == entity}
            gone = {token for owner, token in garbage - live - readable if owner == entity}
            stamp = b"" if dry_run else struct.pack("<q", written_at)
            _Entity(self._place, self._ask, entity, views, gone, stamp).write(totals, self._hold, on_progress)
        if not dry_run:
            self._hold()
            mark, left = uuid.uuid4().hex.encode(), _as_json(readable - live)
            self._ask([("MSET", own("contents"), contents, own("version"), mark, own("left"), left)])
        return changes | {name: Changes(*counts) for name, counts in totals.items()}


class _Entity:
    """Makes the hashes of one entity hold the rows of its views; without a stamp it only counts."""

    def __init__(
        self,
        place: Place,
        ask: AskAll,
        entity: str,
        views: Mapping[str, tuple[StoredView, Rows]],
        gone: set[bytes],
        stamp: bytes,
    ) -> None:
        self._place, self._ask, self._entity, self._views = place, ask, entity, views
        self._gone, self._stamp = gone, stamp

    def write(self, totals: dict[str, list[int]], hold: Callable[[], Any], on_progress: OnProgress) -> None:
        take = {name: rows.grouped(hash_of, HASHES) for name, (_, rows) in self._views.items()}
        rows = sum(rows.count for _, rows in self._views.values())
        step = max(1, min(256, HASHES * _RECORDS_AT_ONCE // max(1, rows)))
        done = 0
        for first in range(0, HASHES, step):
            end = min(first + step, HASHES)
            hold()
            new = {name: self._by_hash(*take[name](first, end)) for name in self._views}
            self._change(range(first, end), new, totals)
            done += sum(len(records) for hashes in new.values() for records in hashes.values())
            on_progress(done, rows, self._entity)

    def _by_hash(self, keys: list[bytes], records: list[bytes]) -> dict[int, dict[bytes, bytes]]:
        found: dict[int, dict[bytes, bytes]] = {}
        for key, record in zip(keys, records, strict=True):
            found.setdefault(hash_of(key), {})[key] = record
        return found

    def _change(
        self,
        numbers: range,
        new: Mapping[str, Mapping[int, Mapping[bytes, bytes]]],
        totals: dict[str, list[int]],
    ) -> None:
        """Bring some hashes up to date: what is written and what goes of each hash, in one command each."""
        tokens = {name: token_of(view) for name, (view, _) in self._views.items()}
        asked = [("HMGET", self._name(number), *tokens.values()) for number in numbers if tokens]
        indexes = dict(zip(numbers, self._ask(asked), strict=True)) if tokens else {}
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
        fields = dict(zip(listed, self._ask([("HKEYS", self._name(number)) for number in listed]), strict=True))
        changes: list[Command] = []
        for number, pairs in put.items():
            deleted = []
            for field in fields.get(number, ()):
                token, zero, key = field.partition(b"\0")
                if token in self._gone or (zero and (token, xxh3_64_digest(key)) in vanished[number]):
                    deleted.append(field)
            # Empty before they are deleted, so that the change of an entity is one command.
            pairs = [*pairs, *(part for field in deleted for part in (field, b""))]
            if pairs:
                changes.append(("HSET", self._name(number), *pairs))
            if deleted:
                changes.append(("HDEL", self._name(number), *deleted))
        self._ask(changes)

    def _name(self, number: int) -> str:
        return self._place.hash(self._entity, number)


def hash_of(key: bytes) -> int:
    """Return the number of the hash that has the records of a key."""
    return zlib.crc32(key) % HASHES


def token_of(view: StoredView) -> bytes:
    """Return the prefix of a view's fields, which changes with its schema."""
    return f"{view.name}@{view.layout.id:08x}".encode()


def _as_json(left: set[tuple[str, bytes]]) -> bytes:
    return json.dumps(sorted((entity, token.decode()) for entity, token in left)).encode()
