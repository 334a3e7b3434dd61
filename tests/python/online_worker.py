"""Stores whose every value tells which export wrote it, and processes that read and export them.

`python online_worker.py read STORE ...` and the like are the processes of the tests; see `main`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from writing import replace_all

from pit_join.errors import StoreError
from pit_join.export.snapshot import Snapshot
from pit_join.online.opening import open_store
from pit_join.online.protocol import Changes, OnlineStore
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader

AT = datetime(2026, 3, 1, tzinfo=timezone.utc)
VIEWS = ("balance", "clicks", "visits")
REQUESTS = [Request(view, ("*",), view) for view in VIEWS]
HIDDEN = 7  # every seventh key is missing, another seventh in each generation


def say(line: object) -> None:
    """Tell the test, which waits for it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def is_hidden(number: int, generation: int) -> bool:
    """Whether a generation lacks a key."""
    return (number + generation) % HIDDEN == 0


def snapshot(view: str, keys: int, generation: int) -> Snapshot:
    """The rows of a view in one generation, keys `u0` to `u<keys - 1>`."""
    numbers = np.arange(keys)
    numbers = numbers[(numbers + generation) % HIDDEN != 0]
    names = pa.array(np.char.add("u", numbers.astype(str)).tolist(), pa.string())
    table = pa.table(
        {
            "user_id": names,
            "_pit_event": np.full(len(numbers), generation, dtype=np.int64),
            f"{view}_number": numbers * 1000 + generation,
            f"{view}_share": numbers + generation / 1024,
            f"{view}_text": pa.array([f"{number} of {generation}" for number in numbers.tolist()], pa.string()),
        }
    )
    return Snapshot(view, ("user_id",), table.sort_by("user_id"))


def export(
    store: OnlineStore, keys: int, generation: int, views: Iterable[str] = VIEWS, **options: Any
) -> dict[str, Changes]:
    """Make a store one generation, by its own writer."""
    written = {}
    for name in views:
        rows = snapshot(name, keys, generation)
        written[name] = (StoredView(name, "user", rows.kinds, rows.layout, None, AT, rows.count), rows)
    return replace(store, written, **options)


def replace(
    store: OnlineStore,
    written: dict[str, tuple[StoredView, Snapshot]],
    *,
    wait: float = 60,
    on_wait: Callable[[str], None] = lambda message: None,
    dry_run: bool = False,
) -> dict[str, Changes]:
    """What `export` does with snapshots once it has them."""
    contents = Contents("demo", "dev", AT, {name: view for name, (view, _) in written.items()}).to_json()
    with store.writing(wait, on_wait) as writer:
        stamp = time.time_ns() // 1000
        return replace_all(writer, contents, written, {}, stamp, dry_run)


def expected(number: int, generation: int) -> dict[str, Any]:
    """What one generation serves for a key."""
    found = written(number, generation)
    return dict.fromkeys(found) if is_hidden(number, generation) else found


def written(number: int, generation: int) -> dict[str, Any]:
    """What one generation has for a key that it does not lack."""
    found: dict[str, Any] = {}
    for view in VIEWS:
        found[f"{view}_number"] = number * 1000 + generation
        found[f"{view}_share"] = number + generation / 1024
        found[f"{view}_text"] = f"{number} of {generation}"
    return found


def generation_of(reader: OnlineReader, numbers: list[int], one: bool = False) -> int:
    """Read some keys in one request, by the `one` way or the other, and give the generation that all values are of.

    At least two neighbours must be asked for, of which no generation lacks both.

    Raises:
        AssertionError: if the values are of no generation, or of several.
    """
    if one:
        rows = [reader.get({"user_id": f"u{numbers[0]}"})]
        numbers = numbers[:1]
    else:
        found = reader.get_online_features({"user_id": [f"u{number}" for number in numbers]}).to_dict()
        names = [name for name in found if name != "user_id"]
        rows = [{name: found[name][row] for name in names} for row in range(len(numbers))]
    seen = {value % 1000 for row in rows if (value := row["clicks_number"]) is not None}
    if not seen and one:
        assert set(rows[0].values()) == {None}, rows
        return -1
    assert len(seen) == 1, f"several generations in one request: {rows}"
    (generation,) = seen
    assert rows == [expected(number, generation) for number in numbers], f"not all of {generation}: {rows}"
    return generation


def read(url: str, keys: int, stop: Path, seed: int, pause: float) -> dict[str, Any]:
    """Read until a file appears: what was seen and when, and every error."""
    reader, drawn = OnlineReader(open_store(url), REQUESTS), random.Random(seed)
    seen: list[tuple[float, float, int]] = []
    errors: list[str] = []
    requests = 0
    say("reads")
    parent = os.getppid()
    while requests % 10 or not (stop.exists() or os.getppid() != parent):  # nor outlive a test that was killed
        start = drawn.randrange(keys - 40)
        one = requests % 3 > 0
        began = time.monotonic()
        try:
            generation = generation_of(reader, [*range(start, start + 20), *drawn.sample(range(keys), 20)], one)
        except Exception as error:  # what it is decides the test
            errors.append(f"{type(error).__name__}: {error}"[:2000])
            time.sleep(0.1)
        else:
            if generation >= 0:
                seen.append((began, time.monotonic(), generation))
        requests += 1
        if pause:
            time.sleep(pause)
    return {"requests": requests, "seen": seen, "errors": errors}


def read_all(url: str, keys: int) -> None:
    """Read every key in both ways; ends with 0 if all are of generation 0, 3 for an error, 8 if some are not found.

    A wrong value ends it with 9.
    """
    status = 0
    try:
        reader = OnlineReader(open_store(url), REQUESTS)
        for start in range(0, keys, 100):
            numbers = range(start, min(start + 100, keys))
            found = reader.get_online_features({"user_id": [f"u{number}" for number in numbers]}).to_dict()
            for row, number in enumerate(numbers):
                right = expected(number, 0)
                both = [
                    {name: found[name][row] for name in right},
                    reader.get({"user_id": f"u{number}"}),
                ]
                for served in both:
                    if any(value not in (None, right[name]) for name, value in served.items()):
                        say(f"wrong: {served}, not {right}")
                        os._exit(9)
                    if served != right:
                        status = 8
    except StoreError as error:
        say(f"Error: {error}")
        status = 3
    os._exit(status)


def serve_commands(output: str, transactions: str) -> None:
    """Run the command `pit-join` again and again, each time in a new process that has already loaded its modules.

    A line of standard input is a JSON list of arguments; the answer is the process, and, when it has ended, its status.
    What it prints goes to the file `output`; `transactions` gets "(" when one begins, and ")" when it has ended.
    """
    import pit_join.export.export
    import pit_join.training.build  # noqa: F401
    from pit_join.cli import main as cli
    from pit_join.online.stores import lmdb_store

    original = lmdb_store.LmdbWriter.replace
    file = os.open(transactions, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def watched(self: Any, *arguments: Any) -> Any:
        os.write(file, b"(")
        done = original(self, *arguments)
        os.write(file, b")")
        return done

    lmdb_store.LmdbWriter.replace = watched  # type: ignore[method-assign]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            printed = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            sys.argv[1:] = json.loads(line)
            if sys.argv[1] == "read-all":
                read_all(sys.argv[2], int(sys.argv[3]))
            cli.run()
            os._exit(0)
        say(child)
        _, status = os.waitpid(child, 0)
        say(os.waitstatus_to_exitcode(status))


def main(what: str, *arguments: str) -> None:
    if what == "read":
        url, keys, stop, seed, pause = arguments
        say(json.dumps(read(url, int(keys), Path(stop), int(seed), float(pause))))
    elif what == "export":
        url, keys, *generations = arguments
        store = open_store(url, create=True)
        for generation in generations:
            export(store, int(keys), int(generation))
            say(generation)
    elif what == "commands":
        serve_commands(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
