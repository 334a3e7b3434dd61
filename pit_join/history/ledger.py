"""The ledger of the batches that are done: a file of JSON lines beside the warehouse. Outside world: that file.

The file is append-only; each line is one write that has reached the disk before the next batch counts as done. The last
line of a killed process may be torn: it is ignored, and the batch is run again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pit_join.errors import WarehouseError
from pit_join.files import lock

__all__ = ["Ledger", "Record", "read_records"]


@dataclass(frozen=True, slots=True)
class Record:
    """A batch that was run, or (`start` and `end` are None) a table that was built whole.

    `model` is the table as SQL names it, `definition` the hash of the definition that built it, `status` `success` or
    `failed`, `rows` the number of rows afterwards (None: not counted yet), `at` the instant at which it began. `behind`
    has the inputs, as SQL names them, without a row at or after the end of the batch, each with the time of its newest
    row (None: it had none).
    """

    model: str
    start: datetime | None
    end: datetime | None
    definition: str
    status: str
    rows: int | None
    seconds: float | None
    at: datetime
    behind: Mapping[str, datetime | None] = field(default_factory=dict)


def read_records(path: Path, on_message: Callable[[str], None] = lambda message: None) -> list[Record]:
    """Return all records in the order in which they were written; an empty list if there is no file.

    Raises:
        WarehouseError: if the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WarehouseError(f"cannot read the ledger of batches {path}: {error.strerror}") from error
    records, unreadable = [], 0
    for line in content.split(b"\n")[:-1]:  # bytes after the last newline are a torn line
        try:
            records.append(_record(json.loads(line)))
        except (ValueError, TypeError, KeyError):
            unreadable += 1
    if unreadable:
        on_message(f"{path}: {unreadable} lines cannot be read; the batches of these lines are run again")
    return records


def _record(read: dict[str, Any]) -> Record:
    start, end, at = (_time(read[key]) for key in ("start", "end", "at"))
    behind = {name: _time(time) for name, time in read.get("behind", {}).items()}
    return Record(**(read | {"start": start, "end": end, "at": at, "behind": behind}))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


class Ledger:
    """The ledger file, open for one writer.

    `handle` is its file descriptor: a child process that inherits it holds the lock, too, until the child has ended.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path, self.handle = path, handle

    @classmethod
    @contextmanager
    def writing(
        cls, path: Path, *, wait: float = 60.0, on_wait: Callable[[str], None] = lambda message: None
    ) -> Iterator[Ledger]:
        """Open the ledger as its only writer, waiting up to `wait` seconds for another writer.

        Raises:
            WarehouseError: if another backfill holds the ledger, or the file cannot be written.
        """
        try:
            handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise WarehouseError(f"cannot write the ledger of batches {path}: {error.strerror}") from error
        try:
            lock(
                handle, wait=wait, on_wait=on_wait, busy="another backfill is at work",
                where=f"on this warehouse (it holds {path})", error=WarehouseError,
            )  # fmt: skip
            _drop_torn_line(handle)
            yield cls(path, handle)
        finally:
            os.close(handle)

    def append(self, records: Sequence[Record]) -> None:
        """Append records, and flush them to the disk."""
        lines = [json.dumps(asdict(record), default=lambda time: time.isoformat()) for record in records]
        content = "".join(f"{line}\n" for line in lines).encode()
        try:
            while content:
                content = content[os.write(self.handle, content) :]
            os.fsync(self.handle)
        except OSError as error:
            raise WarehouseError(f"cannot write the ledger of batches {self.path}: {error.strerror}") from error


def _drop_torn_line(handle: int) -> None:
    size = os.fstat(handle).st_size
    content = os.pread(handle, size, 0)
    whole = content.rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(handle, whole)
