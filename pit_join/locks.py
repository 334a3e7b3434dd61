"""Locks on files, by which processes of one machine wait for each other. Outside world: the file system."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable

from pit_join.errors import PitJoinError

__all__ = ["lock"]

_POLL_SECONDS = 0.1


def lock(
    handle: int,
    *,
    wait: float,
    on_wait: Callable[[str], None],
    busy: str,
    where: str,
    error: type[PitJoinError],
) -> None:
    """Lock an open file until it is closed, or its process ends; waits up to `wait` seconds.

    `busy` says who else may hold it ("another export is at work"), `where` what is locked.

    Raises:
        PitJoinError: as `error`, if it stays locked.
    """
    started, said = time.monotonic(), False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() - started >= wait:
                raise error(
                    f"{busy} {where} and did not end within {wait:g} s; try again when it is done, or wait longer "
                    "with --wait"
                ) from None
        if not said:
            on_wait(f"{busy}; waiting up to {wait:g} s")
            said = True
        time.sleep(_POLL_SECONDS)
