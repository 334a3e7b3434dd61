"""A connection to a database and the only thread that uses it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Worker"]

_STOP_SECONDS = 0.02
_T = TypeVar("_T")


class _Closable(Protocol):
    def close(self) -> Any: ...


_Connection = TypeVar("_Connection", bound=_Closable)


class Worker(Generic[_Connection]):
    """A connection that only work given to `run` can reach, one piece after the other.

    A connection refuses a second call while it is busy, also one from a thread that only wants to register a table. In
    a thread of its own it leaves Ctrl-C to the main thread: DuckDB itself may not listen for minutes.

    Args:
        connect: opens the connection, in the thread of the worker.
        interrupt: ends the statement that a connection runs; called from another thread.
    """

    def __init__(self, connect: Callable[[], _Connection], interrupt: Callable[[_Connection], None]) -> None:
        self._interrupt = interrupt
        self._thread = ThreadPoolExecutor(max_workers=1)
        # The executor may lose a thread in whose start it is interrupted: that must not be one with a statement.
        self._thread.submit(int).result()
        self.__connection = self._thread.submit(connect).result()

    def run(self, work: Callable[[_Connection], _T]) -> Future[_T]:
        """Start work when all that was given before has ended."""
        return self._thread.submit(lambda: work(self.__connection))

    def stop(self) -> None:
        """Interrupt the running work and all that waits."""
        last = self._thread.submit(int)
        while not last.done():
            self._interrupt(self.__connection)
            wait([last], timeout=_STOP_SECONDS)

    def close(self) -> Future[None]:
        """Close the connection when the running work has ended."""
        closed = self.run(lambda connection: connection.close())
        self._thread.shutdown(wait=False)
        return closed
