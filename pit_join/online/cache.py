"""Records of a network store kept in process, so that what was read before is not fetched again.

Each answer belongs to one export: a new one clears all. All views of one entity are kept, and dropped, together, since
an export changes them together: a kept record beside one that was fetched later would be a mix of two exports.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from pathlib import Path

from cachetools import LRUCache

from pit_join.online.protocol import Failed, ReadableStore, Records, Separate, Wanted
from pit_join.online.urls import CacheLimits
from pit_join.records.stored_view import StoredView

__all__ = ["CachedStore"]

# The overhead of a key with its mapping, and of a record, in Python.
_ENTRY_BYTES, _RECORD_BYTES = 400, 100

_Entry = tuple[str, bytes]


class CachedStore:
    """A store with a cache of the records used last, within `limits`."""

    def __init__(self, store: ReadableStore, limits: CacheLimits) -> None:
        self._store, self._seconds = store, limits.seconds
        self._kept: LRUCache[_Entry, Mapping[str, bytes]] = LRUCache(limits.bytes, getsizeof=_size)
        self._lock = threading.Lock()
        self._mark: object = None
        self._asked_at = -math.inf

    @property
    def names(self) -> Collection[str]:
        """See `ReadableStore`."""
        return self._store.names

    def contents(self, until: float | None = None) -> tuple[object, bytes | None]:
        """See `ReadableStore`."""
        return self._store.contents(until)

    def read(self, mark: object, wanted: Wanted, until: float | None = None) -> Sequence[Records] | None:
        """See `ReadableStore`.

        Records that are not cached come from the store, which also says whether its state is still `mark`'s. If all are
        cached, the store is asked for its state only after as many seconds as the limits allow.
        """
        needed: dict[_Entry, list[str]] = {}
        for view, keys in wanted:
            for key in keys:
                needed.setdefault((view.entity, key), []).append(view.name)
        found, fresh = self._known(mark, needed)
        if fresh and len(found) == len(needed):
            return [_laid_out(view, keys, found, {}) for view, keys in wanted]
        missing = wanted
        if found:
            missing = [(view, [key for key in keys if (view.entity, key) not in found]) for view, keys in wanted]
        asked_at = time.monotonic()
        records = self._store.read(mark, missing, until)
        if records is None:
            return None
        fetched: dict[_Entry, dict[str, bytes]] = {}
        lost: dict[_Entry, Failed] = {}
        for (view, keys), several in zip(missing, records, strict=True):
            failed = several if isinstance(several, Failed) else None
            for place, (key, record) in enumerate(zip(keys, _each(several), strict=True)):
                if failed is not None and place in failed.lost:
                    lost[view.entity, key] = failed
                else:
                    fetched.setdefault((view.entity, key), {})[view.name] = record
        self._keep(mark, fetched, asked_at)
        if missing is wanted:
            return records
        found.update(fetched)
        return [_laid_out(view, keys, found, lost) for view, keys in wanted]

    def _known(
        self, mark: object, needed: Mapping[_Entry, Sequence[str]]
    ) -> tuple[dict[_Entry, Mapping[str, bytes]], bool]:
        """The entries that have all views that are needed, and whether the store need not be asked."""
        with self._lock:
            if mark != self._mark:
                self._kept.clear()
                self._mark = mark
            entries = {entry: self._kept.get(entry) for entry in needed}
            fresh = time.monotonic() - self._asked_at < self._seconds
        return {
            entry: views
            for entry, views in entries.items()
            if views is not None and all(name in views for name in needed[entry])
        }, fresh

    def _keep(self, mark: object, fetched: Mapping[_Entry, Mapping[str, bytes]], asked_at: float) -> None:
        with self._lock:
            if mark != self._mark:  # another thread has seen a newer export
                return
            self._asked_at = max(self._asked_at, asked_at)
            for entry, views in fetched.items():
                with suppress(ValueError):  # larger than the cache
                    self._kept[entry] = views

    def folder(self, view: StoredView) -> Path | None:
        """See `ReadableStore`."""
        return self._store.folder(view)

    def scan(self, view: StoredView) -> Iterator[tuple[bytes, bytes]]:
        """See `ReadableStore`; nothing is kept."""
        return self._store.scan(view)

    def close(self) -> None:
        """See `ReadableStore`."""
        self._store.close()


def _each(records: Records) -> Sequence[bytes]:
    if isinstance(records, Separate):
        return records.each
    whole, lengths = records
    ends = list(accumulate(lengths, initial=0))
    return [whole[start:end] for start, end in pairwise(ends)]


def _laid_out(
    view: StoredView,
    keys: Sequence[bytes],
    found: Mapping[_Entry, Mapping[str, bytes]],
    lost: Mapping[_Entry, Failed],
) -> Records:
    """Return the records of a view's keys, some of which the store may have failed to return."""
    known = [found.get((view.entity, key), {}).get(view.name) for key in keys]
    failures = {place: lost[view.entity, keys[place]] for place, record in enumerate(known) if record is None}
    each = [record or b"" for record in known]
    if not failures:
        return Separate(each)
    first = next(iter(failures.values()))
    return Failed(each, failures.keys(), first.status, first.error)


def _size(views: Mapping[str, bytes]) -> int:
    return _ENTRY_BYTES + _RECORD_BYTES * len(views) + sum(map(len, views.values()))
