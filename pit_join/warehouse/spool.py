"""The result of a query, readable while it is computed. Outside world: the file that keeps it."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import Full, Queue
from typing import IO, TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Restarted", "Spool", "kept", "mapped", "release_pages"]

_AHEAD = 2  # batches
_POLL_SECONDS = 0.1
_WRITE_BYTES = 2**24
_IN_MEMORY_BYTES = 2**26

_maps: WeakSet[mmap.mmap] = WeakSet()


def mapped(file: IO[bytes]) -> pa.Table:
    """Return the table of an Arrow file, mapped into memory: only the rows that are read take some."""
    import pyarrow as pa

    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _maps.add(mapping)
    return pa.ipc.open_file(pa.py_buffer(mapping)).read_all()


def release_pages() -> None:
    """Give back the memory of mapped files; what is read again comes from the system's cache, or from the disk."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for mapping in list(_maps):
            mapping.madvise(mmap.MADV_DONTNEED)


class Restarted(Exception):
    """The query had to begin anew: the batches that came before are void."""


class Spool:
    """An Arrow table of any size, which one thread fills while another reads.

    The first reader gets the batches as they come; the query runs at most a few batches ahead of it. With a file all
    batches are kept there, and can be read again when the query has ended.
    """

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file = file
        self._coming: Queue[Any] = Queue(_AHEAD)  # a schema, batches, and None as the end
        self._followed = True
        self._schema: pa.Schema | None = None
        self._table: pa.Table | None = None
        self._rows = 0
        self.filling: Future[None] = Future()

    def fill(self, reader: pa.RecordBatchReader) -> None:
        """Take all batches; called again, start anew."""
        self._rows = 0
        self._offer(reader.schema)
        with reader, self._writer(reader.schema) as write:
            for batch in reader:
                write(batch)
                self._offer(batch)
                self._rows += len(batch)

    @contextmanager
    def _writer(self, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
        """Empty the file and yield a function that appends a batch to it."""
        import pyarrow as pa

        if self._file is None:
            yield lambda batch: None
            return
        self._file.seek(0)
        self._file.truncate()
        # Each write of a Python file waits for Python's lock: many small ones would hold up the query.
        with (
            os.fdopen(os.dup(self._file.fileno()), "wb") as file,
            pa.BufferedOutputStream(pa.PythonFile(file), _WRITE_BYTES) as sink,
            pa.ipc.new_file(sink, schema) as writer,
        ):
            yield writer.write_batch

    def end(self) -> None:
        """Tell the reader that no more batches come: the query has ended or failed."""
        self._offer(None)

    def leave(self) -> None:
        """Tell the query that there is no reader any more."""
        self._followed = False

    def _offer(self, item: pa.Schema | pa.RecordBatch | None) -> None:
        while self._followed:
            with suppress(Full):
                self._coming.put(item, timeout=_POLL_SECONDS)
                return

    def _next(self) -> Any:
        item = self._coming.get()
        if item is None:
            self.filling.result()
        return item

    @property
    def schema(self) -> pa.Schema:
        """The columns; known before the rows."""
        if self._schema is None:
            self._schema = self._next() if self._followed else self.whole().schema
        return self._schema

    @property
    def num_rows(self) -> int:
        """The number of rows; waits until the query has ended."""
        self.leave()
        self.filling.result()
        return self._rows

    def to_batches(self, max_chunksize: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most `max_chunksize` rows.

        Raises:
            Restarted: if the query runs and had to begin anew; the batches may then be asked for again.
        """
        if not self._followed:
            yield from self.whole().to_batches(max_chunksize=max_chunksize)
            return
        known = self.schema
        while (batch := self._next()) is not None:
            if isinstance(batch, type(known)):
                raise Restarted
            for start in range(0, len(batch), max_chunksize):
                yield batch.slice(start, max_chunksize)
        self.leave()

    def whole(self) -> pa.Table:
        """Return the whole table from the file; waits until the query has ended."""
        if self._table is None:
            if self._file is None:
                raise ValueError("these rows are read only as they come")
            self.leave()
            self.filling.result()
            self._table = mapped(self._file)
        return self._table


def kept(reader: pa.RecordBatchReader) -> pa.Table:
    """Return all batches as a table; many lie in an unnamed temporary file, which vanishes with the process."""
    import pyarrow as pa

    batches: list[pa.RecordBatch] = []
    size = 0
    for batch in reader:
        batches.append(batch)
        size += batch.nbytes
        if size > _IN_MEMORY_BYTES:
            break
    else:
        return pa.Table.from_batches(batches, reader.schema)
    with tempfile.TemporaryFile(prefix="pit-join-") as file:
        with pa.ipc.new_file(file, reader.schema) as writer:
            while batches:
                writer.write_batch(batches.pop(0))
            for batch in reader:
                writer.write_batch(batch)
        file.flush()
        return mapped(file)
