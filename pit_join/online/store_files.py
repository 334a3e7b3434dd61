"""The files of an embedded store at its opening: made by one process at a time, whole, locked by readers."""

from __future__ import annotations

import logging
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pit_join.errors import StoreError
from pit_join.files import lock, private_file

__all__ = ["fill_out", "is_stump", "making", "warn_without_locks"]

_SECONDS = 10.0
_MAGIC = slice(16, 20)  # of LMDB's first page

_log = logging.getLogger("pit_join")


def is_stump(data: Path) -> bool:
    """Return whether a file is the beginning of a store, as a full disk or a power cut leaves it."""
    if data.stat().st_size >= 2 * mmap.PAGESIZE:
        return False
    head = data.read_bytes()[: _MAGIC.stop]
    return head[_MAGIC] == struct.pack("=I", 0xBEEFC0DE) or not head.strip(b"\0")


@contextmanager
def making(folder: Path, data: Path) -> Iterator[None]:
    """Let only this process make a store for the moment, so that none removes what another has begun.

    Raises:
        StoreError: if another process makes one for longer than ten seconds.
    """
    with open(folder / "export.lock", "a", opener=private_file) as held:
        lock(
            held.fileno(),
            wait=_SECONDS,
            on_wait=lambda message: None,  # it takes some milliseconds
            busy="another process makes a store",
            where=f"in {folder}",
            error=StoreError,
        )
        if data.is_file() and is_stump(data):
            data.unlink()
        with open(data, "ab", opener=private_file):
            pass  # LMDB takes an empty file for a new one, and would make its own as the umask says
        yield


def fill_out(lock_file: Path, size: int) -> None:
    """Allocate the mapped lock file, since on a full disk a write to a missing page ends the process."""
    if os.access(lock_file if lock_file.exists() else lock_file.parent, os.W_OK):
        with open(lock_file, "ab", opener=private_file) as file:
            os.posix_fallocate(file.fileno(), 0, size)


def warn_without_locks(folder: Path, readers: str) -> None:
    """Warn of a store that LMDB reads without locks, as it says instead of the table of its readers."""
    if readers.startswith("(no reader locks)"):
        _log.warning(
            "the online store in %s is on a read-only file system, where readers take no locks: that is safe only "
            "while nothing is exported to it through another mount; else let readers write lock.mdb",
            folder,
        )
