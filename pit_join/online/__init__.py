"""Online stores: the latest record of each key, for readers who have milliseconds.

A store is one module of this package with `SCHEMES` (of URLs; "" is a path) and `open_store`. Outside world: the
store's own files or server.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pit_join.contents import StoredView
from pit_join.errors import StoreError

__all__ = ["Changes", "OnlineStore", "Records", "Rows", "Wanted", "Writer", "open_store", "store_url"]

Wanted = Sequence[tuple[StoredView, Sequence[bytes]]]
"""What to read: views, each with the keys of its records."""

Records = tuple[bytes, list[int]]
"""The records of keys one after the other, and the length of each: 0 where there is none."""


class Rows(Protocol):
    """The rows of a snapshot: keys, and records without their written time and checksum."""

    count: int

    def in_order(self) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Batches of keys and records, all keys ascending."""

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


class Writer(Protocol):
    """The only exporter of a store, until it is closed."""

    def replace(
        self,
        contents: bytes,
        written: Mapping[str, tuple[StoredView, Rows]],
        kept: Mapping[str, StoredView],
        written_at: int,
        dry_run: bool,
        on_progress: Callable[[int, int, str], None],
    ) -> dict[str, Changes]:
        """Make the store hold exactly the rows of `written` beside the views of `kept` as they are; nothing else stays.

        `written_at` (microseconds UTC) goes into records that change.
        """


class OnlineStore(Protocol):
    """A place for the latest records. Safe to share between threads; each process opens its own."""

    @property
    def folder(self) -> Path | None:
        """Where files may lie beside the records; None if there is no such place."""

    def contents(self) -> tuple[object, bytes | None]:
        """What was exported last, None if nothing was, and a mark of the state that it belongs to.

        Raises:
            StoreError: if the store cannot be used.
        """

    def read(self, mark: object, wanted: Wanted) -> list[Records] | None:
        """The records of keys, view by view, all of one state; None if that state is not `mark`'s."""

    def scan(self, view: StoredView) -> Iterator[tuple[bytes, bytes]]:
        """All keys and records of a view, in any order."""

    def writing(self, wait: float, on_wait: Callable[[str], None]) -> AbstractContextManager[Writer]:
        """Become the only exporter; waits up to `wait` seconds for another one."""

    def close(self) -> None:
        """Let go of files or connections."""


def store_url(url: str) -> str:
    """A store's URL without a password, for messages."""
    head, at, rest = url.rpartition("@")
    return f"{head.split('://')[0]}://{rest}" if at and "://" in head else url


def open_store(url: str, *, create: bool = False) -> OnlineStore:
    """Open a store by its URL, or by a path for the embedded one.

    Args:
        url: a folder, or such as `redis://host:6379/0`.
        create: make an embedded store that does not exist yet.

    Raises:
        StoreError: if there is no such store, or it cannot be used.
    """
    scheme = url.split("://", 1)[0].lower() if "://" in url else ""
    schemes = []
    for found in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{found.name}")
        if scheme in module.SCHEMES:
            store: OnlineStore = module.open_store(url, create=create)
            return store
        schemes += [known for known in module.SCHEMES if known]
    raise StoreError(
        f"no online store is known for {store_url(url)}; give a folder, or a URL that begins with "
        + " or ".join(f"{known}://" for known in sorted(schemes))
    )
