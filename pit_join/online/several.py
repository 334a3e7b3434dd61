"""Several online stores read as one: in parallel, each within the deadline and behind a circuit breaker.

An embedded store is read in the caller's thread, in microseconds, and a remote store in another one (see `Remote`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from pit_join.errors import StoreError
from pit_join.online.cache import CachedStore
from pit_join.online.opening import open_store
from pit_join.online.protocol import Failed, ReadableStore, Records, Wanted
from pit_join.online.remote import Remote
from pit_join.online.urls import cache_limits, check_urls, folder_of, is_remote, store_url
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView

__all__ = ["SeveralStores"]

_log = logging.getLogger("pit_join")
_T = TypeVar("_T")


class SeveralStores:
    """The stores of a project; see `ReadableStore`. Each is opened when it is first read.

    The records of a store that cannot be read are `Failed`. The default store must be readable at first, since it says
    which views the others hold.

    Args:
        urls: the stores by name; the default store's is empty.

    Raises:
        StoreError: if two names are one store.
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        check_urls(urls)
        self.names = tuple(urls)
        self._urls = urls
        self._sources = {
            name: _Remote(name, url) if is_remote(url) else _Embedded(name, url) for name, url in urls.items()
        }

    def contents(self, until: float | None = None) -> tuple[object, bytes | None]:
        """See `ReadableStore`; for a store that cannot be read, the default store's description of it."""
        # The default store's failure is the caller's error; of another store's records are defaults.
        started = {
            name: source.start(partial(_contents, until=until), says=bool(name))
            for name, source in self._sources.items()
        }
        marks: dict[str, object] = {}
        own: list[tuple[str, bytes | None]] = []
        for name, answer in started.items():
            try:
                marks[name], data = answer(until)
                own.append((name, data))
            except StoreError:
                if not name:
                    raise
                marks[name] = object()  # the mark of no state, so that the store's contents are read before its records
        default = dict(own)[""]
        return marks, None if default is None else _merged(default, tuple(own))

    def read(self, mark: object, wanted: Wanted, until: float | None = None) -> Sequence[Records] | None:
        """See `ReadableStore`."""
        assert isinstance(mark, Mapping)
        places: dict[str, list[int]] = {"": []}  # the default store is always read: it knows of a new export
        for place, (view, _) in enumerate(wanted):
            places.setdefault(view.store, []).append(place)
        # Remote stores, which take longest, are asked first.
        names = sorted(places, key=lambda name: not isinstance(self._sources[name], _Remote))
        started = [
            self._sources[name].start(partial(_read, mark[name], [wanted[place] for place in places[name]], until))
            for name in names
        ]
        found: list[Records] = [(b"", [])] * len(wanted)
        changed = False
        for name, answer in reversed(list(zip(names, started, strict=True))):
            try:
                records = answer(until)
            except StoreError as error:
                records = [Failed.of(len(wanted[place][1]), error.status, error) for place in places[name]]
            if records is None:
                changed = True
                continue
            for place, several in zip(places[name], records, strict=True):
                found[place] = several
        return None if changed else found

    def folder(self, view: StoredView) -> Path | None:
        """See `ReadableStore`."""
        return folder_of(self._urls[view.store])

    def scan(self, view: StoredView) -> Iterator[tuple[bytes, bytes]]:
        """See `ReadableStore`."""
        return open_store(self._urls[view.store]).scan(view)

    def close(self) -> None:
        """See `ReadableStore`."""
        for source in self._sources.values():
            source.close()


def _contents(store: ReadableStore, until: float | None) -> tuple[object, bytes | None]:
    return store.contents(until)


def _read(mark: object, wanted: Wanted, until: float | None, store: ReadableStore) -> Sequence[Records] | None:
    return store.read(mark, wanted, until)


@lru_cache(maxsize=4)
def _merged(default: bytes, own: tuple[tuple[str, bytes | None], ...]) -> bytes:
    """Merge the contents of the default store with what the other stores say of their own views."""
    contents = Contents.from_json(default, "the online store")
    views = dict(contents.views)
    for name, data in own:
        if not name:
            continue
        there: Mapping[str, StoredView] = {}
        try:
            there = Contents.from_json(data, f"the online store '{name}'").views if data else {}
        except StoreError as error:  # readers treat the store as empty until the next export
            _log.warning("the features of an online store are defaults until the next export: %s", error)
        for view in contents.views.values():
            if view.store == name:
                known = there.get(view.name)
                views[view.name] = replace(known or view, store=name, instant=known.instant if known else None)
    return replace(contents, views=views).to_json()


class _Embedded:
    """A store that is read in the caller's thread."""

    def __init__(self, name: str, url: str) -> None:
        self._url = url
        self._store: ReadableStore | None = None

    def start(self, act: Callable[[ReadableStore], _T], *, says: bool = True) -> Callable[[float | None], _T]:
        """Return a function that does something with the store."""
        return lambda until: act(self._opened())

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _opened(self) -> ReadableStore:
        if self._store is None:
            store: ReadableStore = open_store(self._url)
            limits = cache_limits(self._url)
            self._store = CachedStore(store, limits) if limits else store
        return self._store


class _Remote(_Embedded):
    """A store that is read in other threads."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(name, url)
        shown = store_url(url)
        self._server = Remote(f"the online store '{name}' ({shown})" if name else f"the online store {shown}")

    def start(self, act: Callable[[ReadableStore], _T], *, says: bool = True) -> Callable[[float | None], _T]:
        """See `Remote`."""
        return self._server.start(lambda: act(self._opened()), says=says)
