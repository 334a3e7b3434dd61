"""The difference of a snapshot and the stored records, both ascending by key. Outside world: a spill file."""

from __future__ import annotations

import marshal
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import compress, islice
from operator import itemgetter
from pathlib import Path
from tempfile import SpooledTemporaryFile

from pit_join.records.layout import CHECK

__all__ = ["Delta", "Spill", "StoredEntries", "find_delta"]

_AT_ONCE = 4096
_WRITTEN = 8
_IN_MEMORY = 2**20  # bytes, of each
_WITHOUT_REFERENCES = 2


class StoredEntries:
    """Stored keys and records, ascending, before a key `end`; taken a part at a time."""

    def __init__(self, entries: Iterator[tuple[bytes, bytes]], end: bytes) -> None:
        self._entries, self._end = entries, end
        self._held: list[tuple[bytes, bytes]] = []

    def until(self, key: bytes) -> list[tuple[bytes, bytes]]:
        """Take the entries up to and with a key."""
        taken: list[tuple[bytes, bytes]] = []
        while not taken or taken[-1][0] <= key:
            if not (more := self.more()):
                return taken
            taken += more
        end = bisect_right(taken, key, key=itemgetter(0))
        self._held = taken[end:]
        return taken[:end]

    def more(self) -> list[tuple[bytes, bytes]]:
        """Take the next entries, whatever their keys."""
        taken, self._held = self._held or list(islice(self._entries, _AT_ONCE)), []
        if taken and taken[-1][0] >= self._end:
            self._entries = iter(())
            del taken[bisect_left(taken, self._end, key=itemgetter(0)) :]
        return taken


class Spill:
    """Keys and records in batches: a few in memory, many in an unnamed file in a folder."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self._file = SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115 closed with the others
        files.callback(self._close)
        self._lengths: list[int] = []
        self._count = 0

    def add(self, keys: list[bytes], records: list[bytes]) -> None:
        """Append a batch."""
        if keys:
            data = marshal.dumps((keys, records), _WITHOUT_REFERENCES)
            self._file.write(data)
            self._lengths.append(len(data))
            self._count += len(keys)

    def _close(self) -> None:
        with suppress(OSError):  # which would try once more to write what a full disk has no room for
            self._file.close()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[list[bytes], list[bytes]]]:
        self._file.seek(0)
        for length in self._lengths:
            yield marshal.loads(self._file.read(length))


@dataclass(frozen=True, slots=True)
class Delta:
    """The changes that turn stored records into those of a snapshot of `rows` rows.

    `changed` are the rows that differ from their stored records, `gone` the stored keys without a row.
    """

    rows: int
    changed: Spill
    gone: Spill


def find_delta(
    stored: StoredEntries, batches: Iterable[tuple[list[bytes], list[bytes]]], folder: Path, files: ExitStack
) -> Delta:
    """Compare stored records with batches of keys and records without written time and checksum.

    A long difference spills to `folder` until `files` are closed.
    """
    rows, changed, gone = 0, Spill(folder, files), Spill(folder, files)
    for keys, records in batches:
        old = stored.until(keys[-1])
        old_keys, found = [key for key, _ in old], [record for _, record in old]
        if old_keys != keys:
            by_key = dict(old)
            found = [by_key.pop(key, b"") for key in keys]
            gone.add(list(by_key), [])
        differs = [was[_WRITTEN:-CHECK] != record for record, was in zip(records, found, strict=True)]
        changed.add(list(compress(keys, differs)), list(compress(records, differs)))
        rows += len(keys)
    while rest := stored.more():
        gone.add([key for key, _ in rest], [])
    return Delta(rows, changed, gone)
