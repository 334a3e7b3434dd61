"""The feature log: a sample of the served rows, written to Parquet files by a background thread.

A request only decides at random whether it is logged, and if so hands its rows over. Everything else happens in the
thread, so that a slow, full or missing disk never delays a request.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from random import random
from typing import TYPE_CHECKING, Any

from pit_join.errors import PitJoinError
from pit_join.serving.log_entry import Served

if TYPE_CHECKING:
    from pit_join.monitoring.log_rows import LogRows

__all__ = ["FeatureLog", "close_logs"]

_AT_EXIT_SECONDS = 5.0

_log = logging.getLogger("pit_join")


class FeatureLog:
    """A logger of a sample of the served rows, into a folder of Parquet files (their contents: docs/monitoring.md).

    Files are written atomically. A process that is killed loses the rows that it has not written yet: at most those of
    the last `roll_seconds`, and those in the queue. Several processes may share a folder, and after a fork the child
    has a thread and files of its own, as a copy has. Threads and readers may share a logger.

    Args:
        folder: the folder of the files, created with the first of them.
        sample: the share of requests that are logged, 0 to 1; a request is logged whole or not at all.
        roll_seconds: a file is written when its first row is this old,
        roll_rows: or when it has this many rows.
        max_bytes: the limit of the folder's log files together; beyond it the oldest are removed.
        most_waiting: the rows that the queue holds; rows of further requests are dropped, and counted.
        on_rows: called with "logged", "dropped" or "failed" and a number of rows.

    Raises:
        PitJoinError: if a number is out of range.
    """

    def __init__(
        self,
        folder: str | Path,
        sample: float = 0.01,
        *,
        roll_seconds: float = 60.0,
        roll_rows: int = 20_000,
        max_bytes: int = 2**30,
        most_waiting: int = 20_000,
        on_rows: Callable[[str, int], None] | None = None,
    ) -> None:
        if not 0 <= sample <= 1:
            raise PitJoinError(f"the sample of a feature log is a share of the requests, 0 to 1, got {sample}")
        if not (roll_seconds > 0 and roll_rows > 0 and max_bytes > 0 and most_waiting > 0):
            raise PitJoinError("the limits of a feature log (roll_seconds, roll_rows, max_bytes, most_waiting) are > 0")
        self.folder, self.sample = Path(folder).absolute(), sample
        self._limits = _Limits(roll_seconds, roll_rows, max_bytes, most_waiting)
        self._on_rows = on_rows
        self._enter()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy has, which writes files of its own into the same folder."""
        return {name: vars(self)[name] for name in ("folder", "sample", "_limits", "_on_rows")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._enter()

    def _enter(self) -> None:
        # Here, and not in the thread: the import holds up requests while it runs, and fails at exit.
        from pit_join.monitoring.log_rows import load_arrow

        load_arrow()
        self._begin()
        _logs.add(self)

    def _begin(self) -> None:
        """Start with an empty queue and no thread, as a forked child must: it inherits neither."""
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._waiting, self._closed = 0, False
        self._counts = dict.fromkeys(("logged", "dropped", "failed"), 0)

    @property
    def logged(self) -> int:
        """The number of rows written to files since this process began."""
        return self._counts["logged"]

    @property
    def dropped(self) -> int:
        """The number of rows that came while the queue was full, or after `close`."""
        return self._counts["dropped"]

    @property
    def failed(self) -> int:
        """The number of rows that could not be written."""
        return self._counts["failed"]

    def sampled(self) -> bool:
        """Decide at random whether a request is logged."""
        return random() < self.sample

    def add(self, rows: int, make: Callable[[], Served]) -> None:
        """Log a request of `rows` rows, without waiting and without raising.

        `make` returns the served rows; it is called in the thread.
        """
        try:
            with self._lock:
                accepted = not self._closed and self._waiting + rows <= self._limits.most_waiting
                if accepted:
                    self._waiting += rows
                    self._start()
                    self._queue.put(_Item(rows, make))
            if not accepted:
                self._count("dropped", rows)
        except Exception:  # the system may refuse another thread
            self._count("failed", rows)

    def flush(self, timeout: float = 10.0) -> bool:
        """Write all queued rows, and return whether they were written within `timeout` seconds."""
        done = threading.Event()
        with self._lock:
            if self._thread is None:
                return True
            self._queue.put(_Item(0, None, done))
        return done.wait(timeout)

    def close(self, timeout: float = _AT_EXIT_SECONDS) -> bool:
        """Write all queued rows, end the thread, and return whether it ended within `timeout` seconds.

        Also called at exit.
        """
        with self._lock:
            self._closed = True
            thread = self._thread
            if thread is None:
                return True
            self._queue.put(_Item(0, None, None))
        thread.join(timeout)
        return not thread.is_alive()

    def _start(self) -> None:
        if self._thread is None:
            writer = _Writer(self.folder, self._limits, self._queue, self._count, self._taken)
            thread = threading.Thread(target=writer.run, name="pit-join-feature-log", daemon=True)
            thread.start()
            self._thread = thread

    def _taken(self, rows: int) -> None:
        with self._lock:
            self._waiting -= rows

    def _count(self, outcome: str, rows: int) -> None:
        with self._lock:
            self._counts[outcome] += rows
        if self._on_rows is not None:
            with suppress(Exception):  # requests call this, too
                self._on_rows(outcome, rows)


@dataclass(frozen=True, slots=True)
class _Limits:
    roll_seconds: float
    roll_rows: int
    max_bytes: int
    most_waiting: int


@dataclass(frozen=True, slots=True)
class _Item:
    """Rows for the thread; without `make` a command: flush and set `done`, or without `done` flush and end."""

    rows: int
    make: Callable[[], Served] | None
    done: threading.Event | None = None


class _Writer:
    """The code of the thread: groups rows by their request's features, and writes each group into a file."""

    def __init__(
        self,
        folder: Path,
        limits: _Limits,
        queue: SimpleQueue[_Item],
        count: Callable[[str, int], None],
        taken: Callable[[int], None],
    ) -> None:
        from pit_join.monitoring.log_rows import FileNames

        self._folder, self._limits, self._queue, self._count, self._taken = folder, limits, queue, count, taken
        self._names = FileNames()
        self._groups: dict[Any, LogRows] = {}
        self._rows, self._since, self._complained = 0, 0.0, False

    def run(self) -> None:
        """Take items from the queue until one ends the thread."""
        while True:
            try:
                item = self._queue.get(timeout=self._seconds_left())
            except Empty:
                self._roll()
                continue
            if item.make:
                self._take(item.rows, item.make)
                if self._rows >= self._limits.roll_rows or self._seconds_left() == 0:
                    self._roll()
                continue
            self._roll()
            if item.done is None:
                return
            item.done.set()

    def _seconds_left(self) -> float | None:
        """Return the seconds until rows are due to be written; None if there are no rows."""
        return max(0.0, self._since + self._limits.roll_seconds - time.monotonic()) if self._rows else None

    def _take(self, rows: int, make: Callable[[], Served]) -> None:
        from pit_join.monitoring.log_rows import LogRows

        try:
            batch = LogRows.of(make(), self._names.next_request())
            if not self._rows:
                self._since = time.monotonic()
            if batch.key in self._groups:
                self._groups[batch.key].extend(batch)
            else:
                self._groups[batch.key] = batch
            self._rows += len(batch)
            if lost := rows - len(batch):
                self._count("failed", lost)
        except Exception as error:
            self._fail(rows, error)
        finally:
            self._taken(rows)

    def _roll(self) -> None:
        from pit_join.monitoring.log_rows import make_room

        groups, self._groups, self._rows = self._groups, {}, 0
        for group in groups.values():
            try:
                group.write(self._folder, self._names)
            except Exception as error:
                self._fail(len(group), error)
            else:
                self._count("logged", len(group))
        try:
            if groups:
                make_room(self._folder, self._limits.max_bytes)
        except OSError as error:
            self._fail(0, error)

    def _fail(self, rows: int, error: Exception) -> None:
        if rows:
            self._count("failed", rows)
        if not self._complained:
            self._complained = True
            _log.warning(
                "the feature log in %s cannot be written: %s; requests go on, and what cannot be logged is counted",
                self._folder,
                error,
            )


_logs: weakref.WeakSet[FeatureLog] = weakref.WeakSet()


def close_logs() -> None:
    """Close all logs of the process; each has a few seconds to write its rows."""
    for log in list(_logs):
        log.close()


def _forked() -> None:
    for log in list(_logs):
        log._begin()


atexit.register(close_logs)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
