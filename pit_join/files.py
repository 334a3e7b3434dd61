"""Files that appear whole or not at all, private files, and locks on files. Outside world: the file system."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pit_join.errors import PitJoinError, option
from pit_join.waiting import wait_until

__all__ = ["lock", "private_file", "private_folder", "whole"]


def private_folder(path: Path) -> None:
    """Make a folder that is its owner's alone, where there is none; one that is there keeps its mode."""
    path.mkdir(0o700, parents=True, exist_ok=True)


def private_file(path: str, flags: int) -> int:
    """Open a file, as the `opener` of `open()`, and make a new one private, whatever the umask.

    It is its owner's alone, unless a group may write its folder: then the group may read and write it. A file that is
    there keeps its mode.
    """
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    # The files of a store are of no use to a group that may only read: a reader of LMDB writes its lock file.
    _share(handle, 0o060 if _group_bits(os.path.dirname(path) or ".") & 0o020 else 0)
    return handle


def _group_bits(folder: str) -> int:
    return stat.S_IMODE(os.stat(folder).st_mode) & 0o060


def _share(handle: int, group_bits: int) -> None:
    """Let a group use a new file, whatever the umask."""
    with contextlib.suppress(PermissionError):  # of a file system without modes
        os.fchmod(handle, 0o600 | group_bits)


@contextlib.contextmanager
def whole(path: Path, *, private: bool = False) -> Iterator[str]:
    """Yield the name of a new file that replaces `path` only when the block ends without an error.

    The umask decides who may read the file; a private one is its owner's, and its folder's group may read and write it
    as it may the folder.
    On Linux the file has no name in any folder until it is complete, so that even a killed process leaves no file.
    """
    folder = str(path.resolve().parent)
    unnamed = None
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):
            unnamed = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600 if private else 0o666)
    if unnamed is None:
        handle, name = tempfile.mkstemp(dir=folder, prefix=".pit-join-")
        if private:
            _share(handle, _group_bits(folder))
        os.close(handle)
        try:
            yield name
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return
    try:
        if private:
            _share(unnamed, _group_bits(folder))
        yield f"/proc/self/fd/{unnamed}"
        # A link cannot take another file's place, a rename can. (Only with a folder's handle does link() follow /proc.)
        name = f".pit-join-{secrets.token_hex(8)}"
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.link(f"/proc/self/fd/{unnamed}", name, dst_dir_fd=handle)
        finally:
            os.close(handle)
        os.replace(os.path.join(folder, name), path.resolve())
    finally:
        os.close(unnamed)


def lock(
    handle: int,
    *,
    wait: float,
    on_wait: Callable[[str], None],
    busy: str,
    where: str,
    error: type[PitJoinError],
) -> None:
    """Lock an open file until it is closed or its process ends; wait up to `wait` seconds for the lock.

    `busy` says who else may hold it ("another export is at work"), `where` what is locked.

    Raises:
        PitJoinError: as `error`, if it stays locked.
    """

    def held() -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

    if wait_until(held, on_wait, f"{busy}; waiting up to {wait:g} s", wait):
        raise error(
            f"{busy} {where} and did not end within {wait:g} s; try again when it is done, or wait longer with "
            + option("wait=", "--wait")
        )
