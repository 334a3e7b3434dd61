"""The embedded online store: one LMDB environment in a folder. Outside world: its files.

An export is one transaction, so that readers, which never wait, see all of it or nothing. For processes of one host;
LMDB does not work on network file systems. Every key begins with the number of its view: named databases would have to
be opened in a write transaction, for which a reader would wait until an export has ended (decision 0011).
"""

from __future__ import annotations

import os
import struct
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import islice
from operator import itemgetter, lt
from pathlib import Path
from typing import Any

import lmdb

from pit_join.contents import Contents, StoredView
from pit_join.errors import StoreError
from pit_join.locks import lock
from pit_join.online import Changes, Records, Rows, Wanted
from pit_join.records import CHECK, checksum, view_number

__all__ = ["SCHEMES", "LmdbStore", "open_store"]

SCHEMES = ("",)

# Address space, not memory: the file is as large as what it holds.
_MAP_BYTES = 1 << 38
_MOST_READERS = 1024
_LOCK_BYTES = 64 * (_MOST_READERS + 2)
_PREFIX = 4
_CONTENTS = b"\0"  # sorts before every record
_LONGEST_KEY = 511 - _PREFIX
_WRITTEN = 8
_AT_ONCE = 4096
_FEW = 8
_LOOK_SECONDS = 1.0

# LMDB calls a write that was cut short, as on a disk with a little room left, an input/output error.
_UNWRITABLE = ("Input/output error", "File too large", "quota exceeded")

_environments: dict[tuple[int, str], tuple[lmdb.Environment, int]] = {}
_opening = threading.Lock()


def open_store(url: str, *, create: bool = False) -> LmdbStore:
    """Open the store in a folder; with `create` an empty one is made where there is none."""
    folder = Path(url)
    data = folder / "data.mdb"
    with _readable_errors(folder):
        if create and not data.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            _environment(folder, data)
        return LmdbStore(folder)


def _environment(folder: Path, data: Path) -> tuple[lmdb.Environment, int]:
    """The environment of a folder and the number of its file.

    LMDB must not have one twice in a process, nor use one from before a fork.
    """
    key = (os.getpid(), str(folder.resolve()))
    with _opening:
        environment, inode = _environments.get(key, (None, 0))
        if environment is not None and data.is_file() and data.stat().st_ino == inode:
            return environment, inode
        if any(path == key[1] and process != key[0] for process, path in _environments):
            raise _forked(folder)
        if environment is not None:  # the store was removed, and perhaps made anew
            environment.close()
        _fill_out(folder / "lock.mdb")
        # Only a writable environment can be shared by the readers and the exporter of one process.
        writable = os.access(data if data.exists() else folder, os.W_OK)
        environment = lmdb.open(key[1], map_size=_MAP_BYTES, max_readers=_MOST_READERS, readonly=not writable)
        # A page that is missing would end the process when it is read.
        pages, size = environment.info()["last_pgno"] + 1, data.stat().st_size
        if size < pages * environment.stat()["psize"]:
            environment.close()
            raise StoreError(
                f"the online store in {folder} is truncated ({size:,} bytes are left of {pages:,} pages); remove the "
                "folder and run pit-join export"
            )
        inode = data.stat().st_ino
        _environments[key] = environment, inode
    if hasattr(os, "posix_fadvise"):  # the first reads shall not wait for the disk
        with data.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
    return environment, inode


def _forked(folder: Path) -> StoreError:
    return StoreError(f"the online store in {folder} was opened before this process was forked; open it after")


def _fill_out(lock_file: Path) -> None:
    """A page that a full disk does not have for this mapped file would end the process when it is written."""
    if os.access(lock_file if lock_file.exists() else lock_file.parent, os.W_OK):
        with lock_file.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, _LOCK_BYTES)


class LmdbStore:
    """The store in one folder."""

    names = ("",)

    def __init__(self, folder: Path) -> None:
        self._folder, self._process, self._look_again = folder, os.getpid(), 0.0
        self._environment, self._file = self._opened()

    def contents(self, until: float | None = None) -> tuple[object, bytes | None]:
        """See `OnlineStore`."""
        with _readable_errors(self._folder):
            self._look()
            with self._environment.begin() as transaction:
                data = transaction.get(_CONTENTS)
                if data is None and transaction.stat()["entries"]:
                    raise StoreError(f"{self._folder} holds something else than an online store of pit-join")
                return self._file + transaction.id(), data

    def read(self, mark: object, wanted: Wanted, until: float | None = None) -> list[Records] | None:
        """See `OnlineStore`."""
        try:
            # Many records are copied once, all together; for a few that is not worth its while.
            buffers = False
            for _, keys in wanted:
                if len(keys) > _FEW:
                    buffers = True
            if time.monotonic() >= self._look_again or os.getpid() != self._process:
                self._look()
            transaction: Any = self._environment.begin(None, None, False, buffers)  # type: ignore[call-overload] # either
            try:
                if self._file + transaction.id() != mark:
                    return None
                get, found = transaction.get, []
                for view, keys in wanted:
                    prefix = _prefix(view.name)
                    if len(keys) == 1:
                        record = get(prefix + keys[0], b"")
                        found.append((bytes(record) if buffers else record, [len(record)]))
                    else:
                        records = [get(prefix + key, b"") for key in keys]
                        found.append((b"".join(records), list(map(len, records))))
                return found
            finally:
                transaction.abort()
        except lmdb.BadValsizeError:
            # A key that is longer than any in the store: the shortest one that no view has stands for it.
            fitting = [(view, [key if len(key) <= _LONGEST_KEY else b"" for key in keys]) for view, keys in wanted]
            return self.read(mark, fitting)
        except (lmdb.Error, OSError) as error:
            raise _unusable(self._folder, error) from error

    def folder(self, view: StoredView) -> Path:
        """See `ReadableStore`."""
        return self._folder

    def scan(self, view: StoredView) -> Iterator[tuple[bytes, bytes]]:
        """See `OnlineStore`."""
        self._look()
        with _readable_errors(self._folder), self._environment.begin() as transaction:
            entries = _Entries(transaction.cursor(), _prefix(view.name))
            while some := entries.more():
                yield from ((key[_PREFIX:], record) for key, record in some)

    @contextmanager
    def writing(self, wait: float, on_wait: Callable[[str], None]) -> Iterator[LmdbWriter]:
        """See `OnlineStore`."""
        self._look_again = 0.0
        with _readable_errors(self._folder):
            self._look()
            handle = os.open(self._folder / "export.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock(
                handle, wait=wait, on_wait=on_wait, busy="another export is at work",
                where=f"on the online store in {self._folder}", error=StoreError,
            )  # fmt: skip
            with _readable_errors(self._folder):
                self._environment.reader_check()  # a reader that was killed would keep old pages for ever
                # One killed in its last step becomes what is there as soon as somebody writes: so before we look.
                with self._environment.begin(write=True):
                    pass
            yield LmdbWriter(self._folder, self._environment)
        finally:
            os.close(handle)

    def _look(self) -> None:
        """See once a second whether the files are still those that were opened: they may be removed, and made anew."""
        if os.getpid() != self._process:
            raise _forked(self._folder)
        if time.monotonic() >= self._look_again:
            self._environment, self._file = self._opened()

    def _opened(self) -> tuple[lmdb.Environment, int]:
        """The environment, and a number that no mark of another file is in reach of."""
        data = self._folder / "data.mdb"
        if not data.is_file():
            raise StoreError(f"there is no online store in {self._folder}; run pit-join export")
        environment, inode = _environment(self._folder, data)
        self._look_again = time.monotonic() + _LOOK_SECONDS
        return environment, inode << 64

    def close(self) -> None:
        """Nothing to do: the files are shared with all other stores of this process, and end with it."""


class LmdbWriter:
    """The exporter; see `Writer`."""

    def __init__(self, folder: Path, environment: lmdb.Environment) -> None:
        self._folder, self._environment = folder, environment

    def replace(
        self,
        contents: bytes,
        written: Mapping[str, tuple[StoredView, Rows]],
        kept: Mapping[str, StoredView],
        written_at: int,
        dry_run: bool,
        on_progress: Callable[[int, int, str], None],
    ) -> dict[str, Changes]:
        """See `Writer`."""
        names = {_prefix(name): name for name in (*written, *kept)}
        if len(names) < len(written) + len(kept):
            raise StoreError(f"two of the views {', '.join([*written, *kept])} have one number in LMDB; rename one")
        # What was there before is read as of before, so that no page is read that is being written.
        with _readable_errors(self._folder), self._environment.begin() as before:
            data = before.get(_CONTENTS)
            if data is None and before.stat()["entries"]:
                raise StoreError(f"{self._folder} holds something else than an online store; choose another folder")
            if data is not None:
                gone = Contents.from_json(bytes(data), f"the online store in {self._folder}").views
                names = {_prefix(name): name for name, view in gone.items() if view.is_here} | names
            after = self._environment.begin(write=True)
            try:
                stamp = b"" if dry_run else struct.pack("<q", written_at)
                changes = {}
                # Ascending, so that a new store is only appended to.
                for prefix in sorted({*names, *_prefixes(before)}):
                    name = names.get(prefix, prefix.hex())
                    if name in kept:
                        continue
                    rows = written[name][1] if name in written else None
                    differences = _Differences(name, prefix, before, after.cursor(), stamp)
                    changes[name] = differences.apply(rows, on_progress)
                if not dry_run:
                    after.put(_CONTENTS, contents)
            except BaseException:
                after.abort()
                raise
            after.commit()  # of nothing, if dry; an abort would wait for the readers of this process to pause
            return changes


class _Differences:
    """Makes the records of one view equal to its rows, touching only what differs; without a stamp nothing at all."""

    def __init__(self, name: str, prefix: bytes, before: lmdb.Transaction, cursor: lmdb.Cursor, stamp: bytes) -> None:
        self._name, self._prefix, self._cursor, self._stamp = name, prefix, cursor, stamp
        self._old = _Entries(before.cursor(), prefix)
        self._new_store = not before.stat()["entries"]
        self._written = self._deleted = 0

    def apply(self, rows: Rows | None, on_progress: Callable[[int, int, str], None]) -> Changes:
        done, last = 0, self._prefix
        for short_keys, records in rows.in_order() if rows else ():
            keys = [self._prefix + key for key in short_keys]
            self._check(keys, last)
            last = keys[-1]
            old = self._old.until(last)
            old_keys, found = [key for key, _ in old], [record for _, record in old]
            if old_keys != keys:
                by_key = dict(old)
                found = [by_key.pop(key, b"") for key in keys]
                self._delete(by_key)
            self._put(
                [
                    (key, record)
                    for key, record, stored in zip(keys, records, found, strict=True)
                    if stored[_WRITTEN:-CHECK] != record
                ]
            )
            done += len(keys)
            on_progress(done, rows.count if rows else 0, self._name)
        while rest := self._old.more():
            self._delete(key for key, _ in rest)
        return Changes(self._written, done - self._written, self._deleted)

    def _check(self, keys: list[bytes], last: bytes) -> None:
        longest = max(keys, key=len)
        if len(longest) > _LONGEST_KEY + _PREFIX:
            raise StoreError(
                f"{self._name}: a key is {len(longest) - _PREFIX:,} bytes long, and LMDB holds at most {_LONGEST_KEY}; "
                f"it begins {longest[_PREFIX:60]!r}. Use a shorter key (a hash of it), or a store without this limit"
            )
        if not last < keys[0] or not all(map(lt, keys, keys[1:])):
            raise StoreError(f"{self._name}: the rows of the snapshot do not ascend by key; please report this")

    def _put(self, changed: list[tuple[bytes, bytes]]) -> None:
        self._written += len(changed)
        if changed and self._stamp:
            number = view_number(self._name)
            whole = ((key, self._stamp + record) for key, record in changed)
            sealed = [(key, content + checksum(content, number, key[_PREFIX:])) for key, content in whole]
            self._cursor.putmulti(sealed, append=self._new_store)

    def _delete(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self._deleted += 1
            if self._stamp:
                self._cursor.set_key(key)
                self._cursor.delete()


class _Entries:
    """The stored keys (with their prefix) and records of a view, ascending."""

    def __init__(self, cursor: lmdb.Cursor, prefix: bytes) -> None:
        found = cursor.set_range(prefix)
        self._entries: Iterator[Any] = cursor.iternext() if found else iter(())
        self._end = _after(prefix)
        self._held: list[tuple[bytes, bytes]] = []

    def until(self, key: bytes) -> list[tuple[bytes, bytes]]:
        """The next ones up to a key, itself included."""
        taken: list[tuple[bytes, bytes]] = []
        while not taken or taken[-1][0] <= key:
            if not (more := self.more()):
                return taken
            taken += more
        end = bisect_right(taken, key, key=itemgetter(0))
        self._held = taken[end:]
        return taken[:end]

    def more(self) -> list[tuple[bytes, bytes]]:
        """The next ones, whatever their keys."""
        taken, self._held = self._held or list(islice(self._entries, _AT_ONCE)), []
        if taken and taken[-1][0] >= self._end:
            self._entries = iter(())
            del taken[bisect_left(taken, self._end, key=itemgetter(0)) :]
        return taken


@cache
def _prefix(view: str) -> bytes:
    """The number of a view, with which all its keys begin."""
    return struct.pack(">I", view_number(view))


def _after(prefix: bytes) -> bytes:
    """The least bytes that are greater than all keys with a prefix."""
    return (int.from_bytes(prefix, "big") + 1).to_bytes(_PREFIX + 1, "big").removeprefix(b"\0")


def _prefixes(transaction: lmdb.Transaction) -> Iterator[bytes]:
    """The prefixes of all views that have records."""
    cursor = transaction.cursor()
    found = cursor.set_range(_CONTENTS + b"\0")
    while found:
        prefix = bytes(cursor.key()[:_PREFIX])
        yield prefix
        found = cursor.set_range(_after(prefix))


@contextmanager
def _readable_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: lmdb.Error | OSError) -> StoreError:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, (lmdb.InvalidError, lmdb.VersionMismatchError)):
        return StoreError(f"{folder} is no online store: data.mdb is no LMDB file that this version can read ({text})")
    if isinstance(error, (lmdb.CorruptedError, lmdb.PageNotFoundError)):
        return StoreError(f"the online store in {folder} is damaged ({text}); remove the folder and export anew")
    if "No space left" in text:
        return StoreError(
            f"the disk of the online store in {folder} is full; nothing was changed, and what was exported before is "
            "still served"
        )
    if any(words in text for words in _UNWRITABLE):
        return StoreError(
            f"the online store in {folder} cannot be written, its disk is full or fails ({text}); nothing was changed, "
            "and what was exported before is still served"
        )
    if "Permission denied" in text:
        return StoreError(f"the online store in {folder} cannot be used: {text}; who reads must write lock.mdb, too")
    return StoreError(f"the online store in {folder} cannot be used: {text}")
