"""Waiting for what another process holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["wait_until"]

_T = TypeVar("_T")


def wait_until(
    attempt: Callable[[], _T], say: Callable[[str], None], message: str, seconds: float, *, every: float = 0.1
) -> _T:
    """Repeat an attempt until it returns something false, or the time is over; return its last result.

    An attempt returns what stood in its way. `say` is called once with the message, before the first pause.
    """
    started, said = time.monotonic(), False
    while (obstacle := attempt()) and time.monotonic() - started < seconds:
        if not said:
            say(message)
            said = True
        time.sleep(every)
    return obstacle
