"""The protocol of online stores: the latest record of each key, for readers who have milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Protocol

from pit_join.errors import PitJoinError
from pit_join.records.store_manifest import StoredView

__all__ = [
    "Changes", "Failed", "OnProgress", "OnlineStore", "ReadableStore", "Records", "Rows", "Wanted", "Writer",
]  # fmt: skip

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
