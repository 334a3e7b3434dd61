"""Prepared readers kept for what was asked for before, by the plain call of Python and by the HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

from cachetools import Cache, LRUCache

from pit_join.serving.reader import OnlineReader

__all__ = ["PreparedReaders"]

_MOST_BYTES = 32 * 2**20
# A reader takes 4 KB and half a kilobyte for each feature, and then more for the patterns of nulls that it remembers.
# The number of readers must also stay small, since a server renews them all after each export.
_READER_BYTES, _FEATURE_BYTES = 65_536, 640

_Asked = TypeVar("_Asked", bound=Hashable)


class PreparedReaders(Generic[_Asked]):
    """The prepared readers that were asked for last, within 32 MiB; safe to share between threads."""

    def __init__(self) -> None:
        self._readers: LRUCache[_Asked, OnlineReader] = LRUCache(_MOST_BYTES, getsizeof=_size)
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._readers)

    def get(self, asked: _Asked) -> OnlineReader | None:
        """Return the reader that was kept for what is asked for; None if there is none any more."""
        with self._lock:
            try:
                return self._readers[asked]
            except KeyError:  # `.get` would look twice, and a long request takes a while to compare
                return None

    def keep(self, asked: _Asked, reader: OnlineReader) -> None:
        """Keep a reader; those that nobody has asked for in the longest time make room."""
        with self._lock:
            self._readers[asked] = reader

    def all(self) -> dict[_Asked, OnlineReader]:
        """Return the readers by what was asked for."""
        with self._lock:
            # Not by the cache's own look-up, after which all would have been asked for.
            return {asked: Cache.__getitem__(self._readers, asked) for asked in self._readers}


def _size(reader: OnlineReader) -> int:
    """Estimate the bytes of a reader; one that is larger than the bound is kept alone."""
    return min(_MOST_BYTES, _READER_BYTES + _FEATURE_BYTES * len(reader.names))
