"""Online stores: the latest record of each key, for readers who have milliseconds.

A store is one module of this package with `SCHEMES` (of URLs; "" is a path) and `open_store`. Outside world: the
store's own files or server.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from pit_join.records.store_manifest import StoredView
from pit_join.errors import PitJoinError, StoreError

__all__ = [
    "CacheLimits", "Changes", "Failed", "OnProgress", "OnlineStore", "ReadableStore", "Records", "Rows", "Wanted",
    "Writer", "cache_limits", "check_urls", "folder_of", "how_to_name", "is_remote", "open_store", "store_url",
]  # fmt: skip

_CACHE_OPTIONS = {"cache_mb": "64", "cache_seconds": "0"}

Wanted = Sequence[tuple[StoredView, Sequence[bytes]]]
"""What to read: views, each with the keys of its records."""

OnProgress = Callable[[int, int, str], None]
"""Told how many rows are done, of how many (0 if that is not known), and of which view."""

Records = tuple[bytes, list[int]]
"""The records of keys one after the other, and the length of each: 0 where there is none."""


class Failed(tuple[bytes, list[int]]):
    """What stands for the records of some keys that could not be had: none of any key.

    `status` is that of their features, `error` says what happened.
    """

    status: str
    error: PitJoinError

    @classmethod
    def of(cls, keys: int, status: str, error: PitJoinError) -> Failed:
        """For so many keys."""
        found = cls((b"", [0] * keys))
        found.status, found.error = status, error
        return found


class Rows(Protocol):
    """The rows of a snapshot: keys, and records without their written time and checksum."""

    @property
    def count(self) -> int:
        """How many there are, when all are there."""

    def in_order(self) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Batches of keys and records, all keys ascending; perhaps while they still come, and then but once."""

    def grouped(
        self, group_of: Callable[[bytes], int], groups: int
    ) -> Callable[[int, int], tuple[list[bytes], list[bytes]]]:
        """What gives the keys and records of the groups from one number up to, and without, another."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What an export did, or would do, to the records of one view."""

    written: int
    unchanged: int
    deleted: int

    def and_also(self, others: Changes) -> Changes:
        """These and those of the same view in another store: it was moved."""
        pairs = zip(astuple(self), astuple(others), strict=True)
        return Changes(*(one + other for one, other in pairs))


class Writer(Protocol):
    """The only exporter of a store, until it is closed; it takes the rows of all views, and then `replace`s once."""

    reads_once: bool
    """Whether it reads rows but once, and in order, when it is given them."""

    def take(self, view: str, rows: Rows, on_progress: OnProgress) -> None:
        """Be given the rows of a view that will be written; anew, if what came before is void."""

    def replace(
        self,
        contents: bytes,
        written: Mapping[str, StoredView],
        kept: Mapping[str, StoredView],
        written_at: int,
        dry_run: bool,
        on_progress: OnProgress,
    ) -> dict[str, Changes]:
        """Make the store hold what it took of `written` and the views of `kept` as they are, and nothing else.

        `written_at` (microseconds UTC) goes into records that change.
        """


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How many bytes of records may be kept in process, and how long they may be served without asking the store."""

    bytes: int
    seconds: float


class ReadableStore(Protocol):
    """A place for the latest records, or some of them read as one.

    Safe to share between threads; each process opens its own.
    `names` are those of the stores whose views are read here, see `FeatureView.online_store`. `until` is when an answer
    is of no use any more (`time.monotonic`); who reads in microseconds does not look.
    """

    @property
    def names(self) -> Collection[str]:
        """The default store's is empty."""

    def folder(self, view: StoredView) -> Path | None:
        """Where files may lie beside the records of a view; None if there is no such place."""

    def contents(self, until: float | None = None) -> tuple[object, bytes | None]:
        """What was exported last, None if nothing was, and a mark of the state that it belongs to.

        Raises:
            StoreError: if the store cannot be used.
        """

    def read(self, mark: object, wanted: Wanted, until: float | None = None) -> Sequence[Records] | None:
        """The records of keys, view by view, all of one state; None if that state is not `mark`'s."""

    def scan(self, view: StoredView) -> Iterator[tuple[bytes, bytes]]:
        """All keys and records of a view, in any order."""

    def close(self) -> None:
        """Let go of files or connections."""


class OnlineStore(ReadableStore, Protocol):
    """A place for the latest records, which an export writes."""

    def writing(self, wait: float, on_wait: Callable[[str], None]) -> AbstractContextManager[Writer]:
        """Become the only exporter; waits up to `wait` seconds for another one."""


def is_remote(url: str) -> bool:
    """Whether a store is reached over a network, by its URL."""
    return "://" in url


def check_urls(urls: Mapping[str, str]) -> None:
    """Refuse two names for one store: what is exported to it under one of them would go under the other.

    Raises:
        StoreError: naming the two.
    """
    names: dict[str, str] = {}
    for name, url in urls.items():
        other = names.setdefault(url, name)
        if other != name:
            raise StoreError(
                f"the online stores '{other or 'default'}' and '{name or 'default'}' are one, {store_url(url)}; give "
                "each a folder of its own, or of a server a prefix of its own (?prefix=NAME)"
            )


def how_to_name(store: str) -> str:
    """How a user gives the URL of a store that has a name."""
    return f"give --store {store}=URL, or set PIT_JOIN_ONLINE_STORE_{store.upper()}"


def folder_of(url: str) -> Path | None:
    """The folder of an embedded store, by its URL."""
    return None if is_remote(url) else Path(url)


def store_url(url: str) -> str:
    """A store's URL without a password, for messages."""
    head, at, rest = url.rpartition("@")
    return f"{head.split('://')[0]}://{rest}" if at and "://" in head else url


def cache_limits(url: str) -> CacheLimits | None:
    """How much of a store may be kept in process, by its URL; None for nothing.

    That is `cache_mb` (64) and `cache_seconds` (0) in the query of a URL, and nothing of an embedded store.

    >>> cache_limits("redis://host:6379/0?cache_mb=1&cache_seconds=0.5")
    CacheLimits(bytes=1048576, seconds=0.5)

    Raises:
        StoreError: if they are no numbers.
    """
    if not is_remote(url):
        return None
    options = dict(parse_qsl(urlsplit(url).query))
    found = []
    for name, default in _CACHE_OPTIONS.items():
        given = options.get(name, default)
        try:
            number = float(given)
        except ValueError:
            number = -1.0
        if not 0 <= number < 1e9:
            raise StoreError(f"{store_url(url)}: {name} is a number, 0 or more, got '{given}'")
        found.append(number)
    return CacheLimits(int(found[0] * 2**20), found[1]) if found[0] else None


def _without_cache_options(url: str) -> str:
    parts = urlsplit(url)
    options = [(name, value) for name, value in parse_qsl(parts.query) if name not in _CACHE_OPTIONS]
    return parts._replace(query=urlencode(options)).geturl()


def open_store(url: str, *, create: bool = False) -> OnlineStore:
    """Open a store by its URL, or by a path for the embedded one.

    Args:
        url: a folder, or such as `redis://host:6379/0`.
        create: make an embedded store that does not exist yet.

    Raises:
        StoreError: if there is no such store, or it cannot be used.
    """
    scheme = url.split("://", 1)[0].lower() if is_remote(url) else ""
    if is_remote(url):
        cache_limits(url)  # refuses what it cannot read
        url = _without_cache_options(url)
    schemes = []
    for found in pkgutil.iter_modules([f"{__path__[0]}/stores"]):
        module = importlib.import_module(f"{__name__}.stores.{found.name}")
        if scheme in module.SCHEMES:
            store: OnlineStore = module.open_store(url, create=create)
            return store
        schemes += [known for known in module.SCHEMES if known]
    raise StoreError(
        f"no online store is known for {store_url(url)}; give a folder, or a URL that begins with "
        + " or ".join(f"{known}://" for known in sorted(schemes))
    )
