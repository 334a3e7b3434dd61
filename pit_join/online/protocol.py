"""The protocol of online stores: the latest record of each key, for readers who have milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from pit_join.errors import PitJoinError
from pit_join.records.stored_view import StoredView

__all__ = [
    "Changes", "Failed", "OnProgress", "OnlineStore", "ReadableStore", "Records", "Rows", "Separate", "Wanted",
    "Writer",
]  # fmt: skip

Wanted = Sequence[tuple[StoredView, Sequence[bytes]]]
"""What to read: views, each with the keys of its records."""

_S = TypeVar("_S", bound="Separate")

OnProgress = Callable[[int, int, str], None]
"""Called with the number of rows done, their total (0 if that is not known), and the name of the view."""

Records = tuple[bytes, list[int]]
"""The records of keys, one after the other, and the length of each: 0 for a key without a record."""


class Separate(tuple[bytes, list[int]]):
    """`Records` that a store has read one by one.

    `each` is the record of each key, empty for a key without one; a cache keeps them without copying.
    """

    each: Sequence[bytes]

    def __new__(cls: type[_S], each: Sequence[bytes]) -> _S:
        """Join the records."""
        found = super().__new__(cls, (b"".join(each), list(map(len, each))))
        found.each = each
        return found


class Failed(Separate):
    """Records of which some could not be read, and are empty.

    `lost` are the places of their keys, `status` is the status of their features, `error` says what happened.
    """

    lost: Collection[int]
    status: str
    error: PitJoinError

    def __new__(cls, each: Sequence[bytes], lost: Collection[int], status: str, error: PitJoinError) -> Failed:
        """Join the records."""
        found = super().__new__(cls, each)
        found.lost, found.status, found.error = lost, status, error
        return found

    @classmethod
    def of(cls, keys: int, status: str, error: PitJoinError) -> Failed:
        """Return no records for a number of keys."""
        return cls([b""] * keys, range(keys), status, error)


class Rows(Protocol):
    """The rows of a snapshot: keys, and records without their written time and checksum."""

    @property
    def count(self) -> int:
        """The number of rows; waits until all have come."""

    def in_order(self) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Yield batches of keys and records, all keys ascending; only once if the rows are still coming."""

    def grouped(
        self, group_of: Callable[[bytes], int], groups: int
    ) -> Callable[[int, int], tuple[list[bytes], list[bytes]]]:
        """Return a function of two numbers: the keys and records of the groups from the first up to the second."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The number of records of one view that an export wrote, left and deleted, or would have."""

    written: int
    unchanged: int
    deleted: int

    def and_also(self, others: Changes) -> Changes:
        """Add the changes of the same view in another store, from which the view was moved."""
        pairs = zip(astuple(self), astuple(others), strict=True)
        return Changes(*(one + other for one, other in pairs))


class Writer(Protocol):
    """The only exporter of a store, until it is closed: takes the rows of all views, then replaces once."""

    reads_once: bool
    """Whether `take` reads the rows, once and in order; otherwise `replace` reads them."""

    def take(self, view: str, rows: Rows, on_progress: OnProgress) -> None:
        """Take the rows of a view that will be written; called again if the rows had to begin anew."""

    def replace(
        self,
        contents: bytes,
        written: Mapping[str, StoredView],
        kept: Mapping[str, StoredView],
        written_at: int,
        dry_run: bool,
        on_progress: OnProgress,
    ) -> dict[str, Changes]:
        """Make the store hold the rows taken of `written`, the views of `kept` as they are, and nothing else.

        `written_at` (microseconds UTC) goes into records that change.
        """


class ReadableStore(Protocol):
    """A store of the latest records, or several stores read as one.

    Safe to share between threads; each process opens its own.
    `names` are the names of the stores whose views are read here, see `FeatureView.online_store`. `until` is the
    deadline of a read (`time.monotonic`); a store that answers in microseconds ignores it.
    """

    @property
    def names(self) -> Collection[str]:
        """The names of the stores; the default store's is empty."""

    def folder(self, view: StoredView) -> Path | None:
        """Return the folder for files beside the records of a view; None if the store has no folder."""

    def contents(self, until: float | None = None) -> tuple[object, bytes | None]:
        """Return a mark of the store's state, and the contents of the last export; None before the first.

        Raises:
            StoreError: if the store cannot be used.
        """

    def read(self, mark: object, wanted: Wanted, until: float | None = None) -> Sequence[Records] | None:
        """Return the records of keys, view by view, all of one state; None if that state is not `mark`'s."""

    def scan(self, view: StoredView) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys and records of a view, in any order."""

    def close(self) -> None:
        """Close files and connections."""


class OnlineStore(ReadableStore, Protocol):
    """A store of the latest records that an export can write."""

    def warnings(self) -> Iterator[str]:
        """Yield what an operator should know of the store: that it may lose records, or grows.

        Raises:
            StoreError: if the store cannot be used.
        """

    def writing(self, wait: float, on_wait: Callable[[str], None]) -> AbstractContextManager[Writer]:
        """Become the only exporter; wait up to `wait` seconds for another one."""
