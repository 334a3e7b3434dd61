"""Warnings that would otherwise be written with each request."""

from __future__ import annotations

import logging
import time

from cachetools import LRUCache

__all__ = ["Seldom"]

_MESSAGES = 64

_log = logging.getLogger("pit_join")


class Seldom:
    """Logs each warning once a minute at most, with the number of times that it was not said."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._said: LRUCache[str, tuple[float, int]] = LRUCache(_MESSAGES)

    def __call__(self, message: str) -> None:
        """Log it, unless it was logged a short time ago."""
        now = time.monotonic()
        last, unsaid = self._said.get(message, (now - self._seconds, 0))
        if now < last + self._seconds:
            self._said[message] = last, unsaid + 1
            return
        _log.warning("%s", message + (f" ({unsaid:,} times more since the last such line)" if unsaid else ""))
        self._said[message] = now, 0
