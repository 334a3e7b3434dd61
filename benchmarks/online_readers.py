"""Readers at full speed while a store of 1M entities and three views is exported to: errors, mixes, latency, size.

    python benchmarks/online_readers.py                    # 1M entities, 4 readers, 50 exports of which 20 beside them
    python benchmarks/online_readers.py --entities 20000   # smoke run

Snapshots are made with NumPy and go to the store by its own writer: DuckDB, which usually makes them, is not measured.
Each export changes a tenth of the keys in every view, the same ones, and their values are its number. So ten neighbours
tell which export wrote them, and a mix of two would be seen.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pit_join.export.snapshot import Snapshot
from pit_join.online.opening import open_store
from pit_join.online.protocol import OnlineStore
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader

VIEWS = ("balance", "clicks", "visits")
REQUESTS = [Request(view, ("*",), view) for view in VIEWS]
AT = datetime(2026, 3, 1, tzinfo=timezone.utc)
PART = 10
QUIET, BESIDE, DONE = 0, 1, 2
MOST_SAMPLES = 3_000_000


def written_by(number: Any, export: int) -> Any:
    """The export that wrote a key last, when there have been so many."""
    return export - (export - number) % PART


def replace(store: OnlineStore, entities: int, export: int) -> tuple[int, float]:
    """Make the store what an export has; gives the number of records that were written, and the seconds."""
    numbers = np.arange(entities)
    values = written_by(numbers, export)
    written = {}
    for view in VIEWS:
        columns = {"user_id": numbers, "_pit_event": values, f"{view}_export": values}
        columns |= {f"{view}_{i}": values + numbers * i / 8 for i in range(6)}
        rows = Snapshot(view, ("user_id",), pa.table(columns))
        written[view] = (StoredView(view, "user", rows.kinds, rows.layout, None, AT, rows.count), rows)
    contents = Contents("demo", "dev", AT, {name: view for name, (view, _) in written.items()}).to_json()
    started = time.monotonic()
    with store.writing(60, lambda message: None) as writer:
        for view, (_, rows) in written.items():
            writer.take(view, rows, lambda *_: None)
        views = {name: view for name, (view, _) in written.items()}
        changes = writer.replace(contents, views, {}, time.time_ns() // 1000, False, lambda *_: None)
    return sum(each.written for each in changes.values()), time.monotonic() - started


def right(row: dict[str, Any], number: int, value: int) -> bool:
    """Whether all features of a key are those that one export wrote."""
    return all(
        row[f"{view}_export"] == value and all(row[f"{view}_{i}"] == value + number * i / 8 for i in range(6))
        for view in VIEWS
    )


def read(url: str, entities: int, seed: int, phase: Any, results: Any) -> None:
    """One reader: times `get`, and checks every answer; each eighth is a request of ten rows."""
    reader, drawn = OnlineReader(open_store(url), REQUESTS), random.Random(seed)
    samples: dict[int, list[int]] = {QUIET: [], BESIDE: []}
    errors: list[str] = []
    mixes = requests = newest = 0
    parent = os.getppid()
    while (now := phase.value) != DONE and os.getppid() == parent:  # nor outlive a benchmark that was killed
        number = drawn.randrange(entities - PART)
        requests += 1
        try:
            if requests % 8:
                started = time.perf_counter_ns()
                row = reader.get({"user_id": number})
                taken = time.perf_counter_ns() - started
                if len(samples[now]) < MOST_SAMPLES:
                    samples[now].append(taken)
                mixes += not right(row, number, row["clicks_export"])
                newest = max(newest, row["clicks_export"])
                continue
            numbers = list(range(number, number + PART))
            found = reader.get_online_features({"user_id": numbers}).to_dict()
            rows = [{name: found[name][i] for name in found} for i in range(PART)]
            export = max(row["clicks_export"] for row in rows)
            whole = all(right(row, n, written_by(n, export)) for n, row in zip(numbers, rows, strict=True))
            # No reader goes back to an older export.
            mixes += not whole or export < newest
            newest = export
        except Exception as error:
            errors.append(repr(error))
    nanoseconds = {which: np.array(taken) for which, taken in samples.items()}
    results.put((requests, mixes, errors, newest, nanoseconds))


def percentiles(samples: list[np.ndarray[Any, Any]]) -> dict[str, Any]:
    together = np.concatenate(samples) / 1000
    p50, p99 = np.percentile(together, [50, 99])
    return {"p50_us": round(float(p50), 1), "p99_us": round(float(p99), 1), "reads": len(together)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--exports", type=int, default=50)
    parser.add_argument("--beside", type=int, default=20, help="exports beside readers")
    parser.add_argument("--quiet-seconds", type=float, default=8)
    parser.add_argument("--folder", type=Path, help="where the store is made; by default a temporary folder")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="readers-", dir=options.folder))
    url, context = str(folder / "online"), multiprocessing.get_context("spawn")
    try:
        store = open_store(url, create=True)
        records, seconds = replace(store, options.entities, PART)
        sizes = {0: (folder / "online" / "data.mdb").stat().st_size}
        phase, results = context.Value("i", QUIET, lock=False), context.Queue()
        readers = [
            context.Process(target=read, args=(url, options.entities, seed, phase, results))
            for seed in range(options.readers)
        ]
        for reader in readers:
            reader.start()
        time.sleep(2 + options.quiet_seconds)
        phase.value = BESIDE
        beside, alone = [], []
        for number in range(1, options.exports + 1):
            taken = replace(store, options.entities, PART + number)[1]
            (beside if number <= options.beside else alone).append(taken)
            sizes[number] = (folder / "online" / "data.mdb").stat().st_size
            if number == options.beside:
                time.sleep(0.2)
                phase.value = DONE
                seen = [results.get(timeout=120) for _ in readers]
                for reader in readers:
                    reader.join()
        found = {
            "entities": options.entities,
            "views": len(VIEWS),
            "readers": options.readers,
            "first_export": {"records": records, "seconds": round(seconds, 2)},
            "exports_beside_readers": {"number": len(beside), "median_seconds": round(float(np.median(beside)), 2)},
            "exports_alone": {"number": len(alone), "median_seconds": round(float(np.median(alone or [0])), 2)},
            "requests": sum(one[0] for one in seen),
            "mixes": sum(one[1] for one in seen),
            "errors": [error for one in seen for error in one[2]][:5],
            "newest_export_seen": min(one[3] for one in seen) - PART,
            "without_writer": percentiles([one[4][QUIET] for one in seen]),
            "with_writer": percentiles([one[4][BESIDE] for one in seen]),
            "file_mb": {number: round(size / 1e6, 1) for number, size in sizes.items() if number in (0, 1, 2, 5)}
            | {number: round(sizes[number] / 1e6, 1) for number in sorted({options.beside, options.exports})},
        }
        print(json.dumps(found, indent=1))
        if found["mixes"] or found["errors"]:
            raise SystemExit(1)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
