"""A table that is read while it comes: followed, left, begun anew, failed."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from pit_join.warehouse.spool import Restarted, Spool

SCHEMA = pa.schema([("i", pa.int64()), ("s", pa.string())])
ROWS = 1000


def reader(batches: int, gate: Callable[[int], None] = lambda number: None) -> pa.RecordBatchReader:
    def made() -> Iterator[pa.RecordBatch]:
        for number in range(batches):
            gate(number)
            first = number * ROWS
            values = [range(first, first + ROWS), map(str, range(ROWS))]
            yield pa.record_batch([pa.array(list(v)) for v in values], schema=SCHEMA)

    return pa.RecordBatchReader.from_batches(SCHEMA, made())


Start = Callable[..., Spool]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Begins to fill a spool in a thread of its own."""
    with ThreadPoolExecutor(1) as thread, tempfile.TemporaryFile(dir=tmp_path) as file:

        def started(work: Callable[[Spool], None], *, kept: bool = True) -> Spool:
            spool = Spool(file if kept else None)

            def run() -> None:
                try:
                    work(spool)
                finally:
                    spool.end()

            spool.filling = thread.submit(run)
            return spool

        yield started


@pytest.mark.parametrize("batches", [0, 1, 2, 3, 9])
def test_followed_and_then_read_again(start: Start, batches: int) -> None:
    spool = start(lambda spool: spool.fill(reader(batches)))
    assert spool.schema == SCHEMA
    for _ in range(2):  # as they come, and from the file
        found = [batch["i"].to_pylist() for batch in spool.to_batches(300)]
        assert all(len(batch) <= 300 for batch in found)
        assert [i for batch in found for i in batch] == list(range(batches * ROWS))
    assert spool.whole()["i"].to_pylist() == list(range(batches * ROWS))


def test_rows_come_before_all_are_there(start: Start) -> None:
    seen = threading.Event()
    waited: list[bool] = []
    spool = start(lambda spool: spool.fill(reader(5, lambda number: waited.append(number < 4 or seen.wait(60)))))
    batches = spool.to_batches(ROWS)
    assert next(batches)["i"][0].as_py() == 0
    seen.set()
    assert len(list(batches)) == 4
    assert waited == [True] * 5


def test_it_is_not_far_ahead_of_who_follows(start: Start) -> None:
    made: list[int] = []
    spool = start(lambda spool: spool.fill(reader(100, made.append)))
    batches = spool.to_batches(ROWS)
    next(batches)
    with pytest.raises(TimeoutError):
        spool.filling.result(0.5)
    assert len(made) < 10
    assert len(list(batches)) == 99


@pytest.mark.parametrize("read", [0, 1, 3])
def test_who_follows_may_leave(start: Start, read: int) -> None:
    spool = start(lambda spool: spool.fill(reader(20)))
    batches = spool.to_batches(ROWS)
    for _ in range(read):
        next(batches)
    assert spool.whole().num_rows == 20 * ROWS
    assert spool.schema == SCHEMA


def test_nobody_follows_at_all(start: Start) -> None:
    spool = start(lambda spool: spool.fill(reader(20)))
    spool.leave()
    spool.filling.result(60)
    assert spool.schema == SCHEMA
    assert spool.whole().num_rows == 20 * ROWS


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("read", [0, 1, 5])
def test_begun_anew(start: Start, read: int, kept: bool) -> None:
    """What has come is void; what comes then, and lies in the file, is the second try alone."""
    second = threading.Event()

    def fill(spool: Spool) -> None:
        with pytest.raises(ZeroDivisionError):
            spool.fill(reader(20, lambda number: 1 // (read + 3 - number) and None))
        second.wait(60)
        spool.fill(reader(4))

    spool = start(fill, kept=kept)
    batches = spool.to_batches(ROWS)
    for _ in range(read):
        next(batches)
    second.set()
    with pytest.raises(Restarted):
        list(batches)
    assert [i for batch in spool.to_batches(ROWS) for i in batch["i"].to_pylist()] == list(range(4 * ROWS))
    assert spool.num_rows == 4 * ROWS
    if kept:
        assert spool.whole()["i"].to_pylist() == list(range(4 * ROWS))


def test_what_is_not_kept_is_read_but_once(start: Start) -> None:
    spool = start(lambda spool: spool.fill(reader(5)), kept=False)
    assert sum(map(len, spool.to_batches(ROWS))) == spool.num_rows == 5 * ROWS
    for again in (spool.whole, lambda: list(spool.to_batches(ROWS))):
        with pytest.raises(ValueError, match="read only as they come"):
            again()


READS: dict[str, Callable[[Spool], object]] = {
    "schema": lambda spool: spool.schema,
    "batches": lambda spool: list(spool.to_batches(ROWS)),
    "whole": lambda spool: spool.whole(),
    "rows": lambda spool: spool.num_rows,
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("batches", [None, 0, 3])
def test_an_error_reaches_who_reads(start: Start, read: str, batches: int | None) -> None:
    def fill(spool: Spool) -> None:
        if batches is not None:
            spool.fill(reader(batches))
        raise ValueError("no more")

    spool = start(fill)
    if read == "schema" and batches is not None:
        assert spool.schema == SCHEMA
        read = "batches"
    with pytest.raises(ValueError, match="no more"):
        READS[read](spool)
