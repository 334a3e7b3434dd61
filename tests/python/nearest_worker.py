"""Stores whose every embedding tells which export wrote it, and processes that read and export them.

`python nearest_worker.py read STORE ...` and the like are the processes of the tests; see `main`.
"""

from __future__ import annotations

import math
import os
import random
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
from writing import replace_all

import pit_join.export.indexing
import pit_join.online.index_files
from pit_join import FeatureStore, StoreError
from pit_join.definitions.field_type import read_type
from pit_join.definitions.views import Entity, Feature, FeatureView
from pit_join.export.indexing import Indexes
from pit_join.export.snapshot import Snapshot
from pit_join.online.opening import open_store
from pit_join.online.protocol import OnlineStore
from pit_join.online.stores import lmdb_store as folder_store
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.serving.neighbours import Neighbour
from pit_join.workspace import Console

AT = datetime(2026, 3, 1, tzinfo=timezone.utc)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
ROWS, DIMENSIONS, K = 150, 4, 7


def embedding(number: int, generation: int) -> list[float]:
    """That of a key in one generation: whole numbers, whose distances are exact."""
    drawn = random.Random(number * 1000 + generation)
    return [float(drawn.randrange(-900, 901)) for _ in range(DIMENSIONS)]


def expected(query: Sequence[float], generation: int, k: int = K) -> list[tuple[int, float]]:
    """The neighbours of a generation, all compared; its keys are those that the generation does not divide."""
    far = [(math.dist(query, embedding(n, generation)), n) for n in range(ROWS) if n % (generation + 2)]
    return [(n, distance) for distance, n in sorted(far)[:k]]


def plain(found: list[Neighbour]) -> list[tuple[int, float]]:
    """Neighbours as `expected` has them."""
    return [(one.keys["id"], one.distance) for one in found]


def put(
    store: OnlineStore,
    tables: dict[str, pa.Table],
    metric: str | None = "l2",
    *,
    kept: Sequence[str] = (),
    ttl: timedelta | None = None,
    dry_run: bool = False,
    keys: tuple[str, ...] = ("id",),
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, StoredView]:
    """What `export` does with snapshots; every table has the keys, `_pit_event` and `embedding`."""
    with store.writing(60, say) as writer:
        _, data = store.contents()
        before = Contents.from_json(data, "the store").views if data else {}
        folder = store.folder(None)  # type: ignore[arg-type] # the same for every view
        indexes = Indexes(folder, before, dry_run=dry_run, console=Console(say=say, warn=say))
        written = {}
        for name, table in tables.items():
            rows = Snapshot(name, keys, table)
            microseconds = None if ttl is None else ttl // timedelta(microseconds=1)
            stored = StoredView(name, "item", rows.kinds, rows.layout, microseconds, AT, rows.count)
            features = (Feature("embedding", read_type("float[]"), nearest=metric),)
            declared = FeatureView(
                name,
                Entity("item", keys),
                dict(zip(keys, keys, strict=True)),
                "at",
                features,
                {},
                name,
                ("", "", name),
                "items.yml",
                "model.p.items",
            )
            written[name] = indexes.of(declared, stored, rows), rows
        stay = {name: before[name] for name in kept}
        contents = Contents("shop", "dev", AT, stay | {name: view for name, (view, _) in written.items()})
        replace_all(writer, contents.to_json(), written, stay, 1, dry_run)
        indexes.settle(contents)
    return dict(contents.views)


def table(vectors: dict[Any, Any], kind: pa.DataType | None = None, events: Sequence[int] | None = None) -> pa.Table:
    """Embeddings by whole number or text, in order."""
    return pa.table(
        {
            "id": list(vectors),
            "_pit_event": pa.array(events or [0] * len(vectors), pa.int64()),
            "embedding": pa.array(list(vectors.values()), kind or pa.list_(pa.float32())),
        }
    )


def generation_table(generation: int) -> pa.Table:
    vectors = {n: embedding(n, generation) for n in range(ROWS) if n % (generation + 2)}
    return table(vectors, events=[generation] * len(vectors))


def export(store: OnlineStore, generation: int) -> None:
    """Make a store one generation; every other one has a graph."""
    pit_join.export.indexing.EXACT_ROWS = 10_000 if generation % 2 else 20  # type: ignore[attr-defined] # of the constant
    put(store, {"items": generation_table(generation)})


def say(line: object) -> None:
    """Tell the test, which waits for it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def check(store: FeatureStore, drawn: random.Random) -> int:
    """Ask once; gives the generation that all neighbours are of, which must be exactly its neighbours."""
    query = [float(drawn.randrange(-900, 901)) for _ in range(DIMENSIONS)]
    found = store.nearest("items", "embedding", query, K)
    times = {one.event_timestamp for one in found}
    assert len(times) == 1, f"of several generations: {found}"
    (time,) = times
    assert time is not None
    generation = (time - EPOCH) // timedelta(microseconds=1)
    right = expected(query, generation, ROWS)
    got = plain(found)
    assert got == right[:K], f"{generation}: {got}, not {right[:K]}"
    return generation


def read(url: str, stop: Path, seed: int) -> None:
    """Ask until a file appears; says how often, and which generations there were."""
    store, drawn = FeatureStore(online_store=url), random.Random(seed)
    seen: list[int] = []
    requests, parent = 0, os.getppid()
    say("reads")
    while not stop.exists() and os.getppid() == parent:  # nor outlive a test that was killed
        generation = check(store, drawn)
        requests += 1
        if not seen or seen[-1] != generation:
            seen.append(generation)
    say(f"{requests} {len(seen)}")


def killed_at(step: int) -> None:
    """Let this process kill itself before or after the step of that number of what an export does to files."""
    done = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            for act in (lambda: None, lambda: original(*arguments, **options)):
                result = act()
                if done == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                done += 1
            return result

        return stepped

    os.fsync = counted(os.fsync)
    Path.replace = counted(Path.replace)  # type: ignore[method-assign]
    Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]
    folder_store.LmdbWriter.replace = counted(folder_store.LmdbWriter.replace)  # type: ignore[method-assign]


def ask(url: str, kind: str) -> None:
    """Ask for neighbours; says them, or the error. Of an `opened` index once, and again after a line was read."""
    store = FeatureStore(online_store=url)
    if kind == "opened":
        store.nearest("items", "embedding", [1.0] * DIMENSIONS, K)
        say("opened")
        sys.stdin.readline()
    try:
        say(plain(store.nearest("items", "embedding", [1.0] * DIMENSIONS, K)))
    except StoreError as error:
        say(f"Error: {error}")


def main(what: str, url: str, *arguments: str) -> None:
    if what == "read":
        read(url, Path(arguments[0]), int(arguments[1]))
    elif what == "ask":
        ask(url, arguments[0])
    else:
        store = open_store(url, create=True)
        generation, step, most_bytes = map(int, arguments)
        if step >= 0:
            killed_at(step)
        if most_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        try:
            export(store, generation)
            say("done")
        except StoreError as error:
            say(f"Error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
