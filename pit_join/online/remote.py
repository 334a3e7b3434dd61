"""A server asked in other threads: within a deadline, and not while its circuit breaker is open.

The caller leaves a thread behind at the deadline; the thread ends at the server's own timeout.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import Any, TypeVar

from circuitbreaker import STATE_HALF_OPEN, STATE_OPEN, CircuitBreaker

from pit_join.errors import StoreError
from pit_join.statuses import STORE_LATE

__all__ = ["NodeError", "Remote"]

_THREADS = 32
_MOST_FAILURES = 5  # in a row
_RECOVERY_SECONDS = 1.0
_CLOCK_SECONDS = 0.001  # by which a clock may be read too early
_QUIET_SECONDS = 60.0  # from one line of the log on a failure to the next

_log = logging.getLogger("pit_join")
_T = TypeVar("_T")


class _LateError(StoreError):
    """A server did not answer before the deadline."""

    status = STORE_LATE


class NodeError(StoreError):
    """A failure of one server of a store, which only the circuit breaker of that server counts."""

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status


class Remote:
    """A server with threads and a circuit breaker of its own; `where` names it in messages."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._breaker = CircuitBreaker(_MOST_FAILURES, _RECOVERY_SECONDS, _is_failure)
        self._tried_at = 0.0
        self._told, self._quiet_until = False, 0.0
        self._threads: tuple[int, ThreadPoolExecutor] | None = None

    def start(self, act: Callable[[], _T], *, says: bool = True) -> Callable[[float | None], _T]:
        """Begin to ask, unless the server has failed too often; return a function that waits for the answer.

        With `says` the log says that defaults are served if it fails.
        """
        state, now = self._breaker.state, time.monotonic()
        # After a pause only one caller tries the server again; the others must not wait for it.
        if state == STATE_OPEN or (state == STATE_HALF_OPEN and now < self._tried_at + _RECOVERY_SECONDS):
            return self._refuse
        if state == STATE_HALF_OPEN:
            self._tried_at = now
        return partial(self._wait, self._pool().submit(act), says)

    def _wait(self, future: Future[_T], says: bool, until: float | None) -> _T:
        try:
            with self._breaker:
                found = self._answer(future, until)
        except StoreError as error:
            if says:
                self._failed(error)
            raise
        if self._told:
            self._told = False
            _log.warning("%s answers again", self._where)
        return found

    def _answer(self, future: Future[_T], until: float | None) -> _T:
        seconds = None if until is None else max(0.0, until - time.monotonic())
        try:
            return future.result(seconds)
        except FutureTimeoutError as error:
            # Before the deadline it is that of the caller's own alarm: since Python 3.11 it is the same class.
            if until is None or until - time.monotonic() > _CLOCK_SECONDS:
                raise
            future.cancel()
            raise _LateError(f"{self._where} did not answer before the deadline") from error

    def _refuse(self, until: float | None) -> Any:
        raise StoreError(
            f"{self._where} is not asked for up to {_RECOVERY_SECONDS:g} s, since it failed {_MOST_FAILURES} times in "
            f"a row: {self._breaker.last_failure}"
        )

    def _failed(self, error: StoreError) -> None:
        now = time.monotonic()
        if not self._told and now >= self._quiet_until:  # one that refuses some requests and answers others
            self._told, self._quiet_until = True, now + _QUIET_SECONDS
            _log.warning("the features of an online store are defaults until it answers: %s", error)

    def _pool(self) -> ThreadPoolExecutor:
        """Return the threads of this process; a forked process has none of its parent's."""
        if self._threads is None or self._threads[0] != os.getpid():
            self._threads = os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="pit-join")
        return self._threads[1]


def _is_failure(kind: type[BaseException], error: BaseException) -> bool:
    return issubclass(kind, StoreError) and not issubclass(kind, NodeError)
