"""Files that appear whole or not at all, and locks on files. Outside world: the file system."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pit_join.errors import PitJoinError, option
from pit_join.waiting import wait_until

__all__ = ["lock", "whole"]


@contextlib.contextmanager
def whole(path: Path) -> Iterator[str]:
    """Yield the name of a new file that replaces `path` only when the block ends without an error.

    On Linux the file has no name in any folder until it is complete, so that even a killed process leaves no file.
    """
    folder = str(path.resolve().parent)
    unnamed = None
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):
            unnamed = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666)
    if unnamed is None:
        handle, name = tempfile.mkstemp(dir=folder, prefix=".pit-join-")
        os.close(handle)
        try:
            yield name
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return
    try:
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
