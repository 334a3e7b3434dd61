"""The embedded online store: one LMDB environment in a folder. Outside world: its files.

An export is one transaction, so that readers, which never wait, see all of it or nothing. For one host; LMDB does not
work on network file systems. Every key begins with the number of its view: to open a named database takes a write
transaction, for which a reader would wait until an export has ended (decision 0011).
"""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from operator import lt
from pathlib import Path
from typing import Any

import lmdb

from pit_join.errors import StoreError
from pit_join.files import lock, private_file, private_folder
from pit_join.online.delta import Delta, Spill, StoredEntries, find_delta
from pit_join.online.protocol import Changes, OnProgress, Records, Rows, Wanted
from pit_join.online.store_files import fill_out, is_stump, making, warn_without_locks
from pit_join.records.layout import checksum, view_number
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView

__all__ = ["SCHEMES", "LmdbStore", "open_store"]

SCHEMES = ("",)

# Address space, not memory: the file is as large as what it holds.
_MAP_BYTES = 1 << 38
_MOST_READERS = 1024
_LOCK_BYTES = 64 * (_MOST_READERS + 2)
_PREFIX = 4
_CONTENTS = b"\0"  # sorts before every record
_LONGEST_KEY = 511 - _PREFIX
_FEW = 8
_LOOK_SECONDS = 1.0
_STUCK_EXPORTS = 3

# LMDB calls a write that was cut short, as on a disk with a little room left, an input/output error.
_UNWRITABLE = ("Input/output error", "File too large", "quota exceeded")

_environments: dict[tuple[int, str], tuple[lmdb.Environment, int]] = {}
_opening = threading.Lock()


def open_store(url: str, *, create: bool = False) -> LmdbStore:
    """Open the store in a folder; with `create` an empty one is made where there is none."""
    folder, data = Path(url), Path(url, "data.mdb")
    with _readable_errors(folder):
        if create and (not data.is_file() or is_stump(data)):
            private_folder(folder)
            with making(folder, data):
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
        if data.is_file() and data.stat().st_size > 0 and is_stump(data):
            raise StoreError(f"the online store in {folder} was not made whole, as on a full disk; run pit-join export")
        fill_out(folder / "lock.mdb", _LOCK_BYTES)
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
        warn_without_locks(folder, environment.readers())
        inode = data.stat().st_ino
        _environments[key] = environment, inode
    if hasattr(os, "posix_fadvise"):  # the first reads shall not wait for the disk
        with data.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
    return environment, inode


def _forked(folder: Path) -> StoreError:
    return StoreError(f"the online store in {folder} was opened before this process was forked; open it after")


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
            entries = _stored(transaction, _prefix(view.name))
            while some := entries.more():
                yield from ((key[_PREFIX:], record) for key, record in some)

    @contextmanager
    def writing(self, wait: float, on_wait: Callable[[str], None]) -> Iterator[LmdbWriter]:
        """See `OnlineStore`."""
        self._look_again = 0.0
        with _readable_errors(self._folder):
            self._look()
            handle = private_file(str(self._folder / "export.lock"), os.O_RDWR)
        try:
            lock(
                handle, wait=wait, on_wait=on_wait, busy="another export is at work",
                where=f"on the online store in {self._folder}", error=StoreError,
            )  # fmt: skip
            with _readable_errors(self._folder):
                self._environment.reader_check()  # a reader that was killed would keep old pages for ever
                # The next writer publishes an export that was killed at its last step, so write before looking.
                with self._environment.begin(write=True):
                    pass
                before = self._environment.begin()
            with before, ExitStack() as files:
                yield LmdbWriter(self._folder, self._environment, before, files)
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

    def warnings(self) -> Iterator[str]:
        """See `OnlineStore`: processes that hold an old state, so that no space is used again."""
        with _readable_errors(self._folder):
            self._environment.reader_check()
            newest = self._environment.info()["last_txnid"]
            for line in self._environment.readers().splitlines()[1:]:
                process, _, read = line.split()
                if read.isdigit() and int(read) <= newest - _STUCK_EXPORTS:
                    size = (self._folder / "data.mdb").stat().st_size
                    yield (
                        f"the process {process} still reads the state of the store in {self._folder} that is "
                        f"{newest - int(read)} exports old; until it ends, the file grows with each export (it has "
                        f"{size / 2**20:,.1f} MiB now)"
                    )

    def close(self) -> None:
        """Nothing to do: the files are shared with all other stores of this process, and end with it."""


class LmdbWriter:
    """The exporter; see `Writer`. `before` is what was stored when it began."""

    reads_once = True

    def __init__(self, folder: Path, environment: lmdb.Environment, before: lmdb.Transaction, files: ExitStack) -> None:
        self._folder, self._environment, self._before, self._files = folder, environment, before, files
        self._empty = not before.stat()["entries"]
        if not self._empty and before.get(_CONTENTS) is None:
            raise StoreError(f"{folder} holds something else than an online store; choose another folder")
        self._found: dict[str, Delta] = {}

    def take(self, view: str, rows: Rows, on_progress: OnProgress) -> None:
        """See `Writer`: the difference is found at once and spilled."""
        with _readable_errors(self._folder):
            batches = _checked(view, rows.in_order(), on_progress)
            self._found[view] = self._delta(_prefix(view), batches)

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
        names = {_prefix(name): name for name in (*written, *kept)}
        if len(names) < len(written) + len(kept):
            raise StoreError(f"two of the views {', '.join([*written, *kept])} have one number in LMDB; rename one")
        with _readable_errors(self._folder):
            if not self._empty:
                data = bytes(self._before.get(_CONTENTS, b""))
                gone = Contents.from_json(data, f"the online store in {self._folder}").views
                names = {_prefix(name): name for name, view in gone.items() if view.is_here} | names
            for prefix in {*names, *_prefixes(self._before)}:
                name = names.get(prefix, prefix.hex())
                if name not in written and name not in kept:
                    self._found[name] = self._delta(prefix, ())
            if not dry_run:
                after = self._environment.begin(write=True)
                try:
                    # Ascending, so that a new store is only appended to.
                    for name in sorted(written, key=_prefix):
                        self._put(after.cursor(), name, written_at, on_progress)
                    for found in self._found.values():
                        _delete(after.cursor(), found.gone)
                    after.put(_CONTENTS, contents)
                except BaseException:
                    after.abort()
                    raise
                with _uninterrupted():
                    after.commit()
        return {
            name: Changes(len(found.changed), found.rows - len(found.changed), len(found.gone))
            for name, found in self._found.items()
        }

    def _delta(self, prefix: bytes, batches: Iterable[tuple[list[bytes], list[bytes]]]) -> Delta:
        return find_delta(_stored(self._before, prefix), batches, self._folder, self._files)

    def _put(self, cursor: lmdb.Cursor, view: str, written_at: int, on_progress: OnProgress) -> None:
        number, stamp, changed, done = view_number(view), struct.pack("<q", written_at), self._found[view].changed, 0
        for keys, records in changed:
            whole = ((key, stamp + record) for key, record in zip(keys, records, strict=True))
            sealed = [(key, content + checksum(content, number, key[_PREFIX:])) for key, content in whole]
            cursor.putmulti(sealed, append=self._empty)
            done += len(keys)
            on_progress(done, len(changed), view)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Without Ctrl-C, which in the middle of a commit would say that nothing has changed when everything has."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _delete(cursor: lmdb.Cursor, gone: Spill) -> None:
    for keys, _ in gone:
        for key in keys:
            cursor.set_key(key)
            cursor.delete()


def _checked(
    view: str, batches: Iterable[tuple[list[bytes], list[bytes]]], on_progress: OnProgress
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Batches of keys and records, with the keys as they are stored."""
    prefix, last, done = _prefix(view), _prefix(view), 0
    for short_keys, records in batches:
        longest = max(short_keys, key=len)
        if len(longest) > _LONGEST_KEY:
            raise StoreError(
                f"{view}: a key is {len(longest):,} bytes long, and LMDB holds at most {_LONGEST_KEY}; it begins "
                f"{longest[: 60 - _PREFIX]!r}. Use a shorter key (a hash of it), or a store without this limit"
            )
        keys = [prefix + key for key in short_keys]
        if not last < keys[0] or not all(map(lt, keys, keys[1:])):
            raise StoreError(f"{view}: the rows of the snapshot do not ascend by key; please report this")
        yield keys, records
        last, done = keys[-1], done + len(keys)
        on_progress(done, 0, view)


def _stored(transaction: lmdb.Transaction, prefix: bytes) -> StoredEntries:
    """The keys (with their prefix) and records of a view."""
    cursor = transaction.cursor()
    entries: Iterator[Any] = cursor.iternext() if cursor.set_range(prefix) else iter(())
    return StoredEntries(entries, _after(prefix))


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
        return StoreError(
            f"{folder} is not an online store: data.mdb is not an LMDB file that this version can read ({text})"
        )
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
        return StoreError(
            f"the online store in {folder} cannot be used: {text}; readers must be able to write lock.mdb"
        )
    return StoreError(f"the online store in {folder} cannot be used: {text}")
