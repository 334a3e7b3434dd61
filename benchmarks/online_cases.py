"""The online scenarios: who is asked for what, in what turns, and the targets."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import lmdb
import redis
from online_data import ENTITIES, make
from online_measure import (
    Failed,
    Line,
    Peer,
    Process,
    Relay,
    latencies,
    markdown,
    take_turns,
    valkey,
    watched,
)
from run import pit_join

VECTOR, GETS, HMGET = "pit-join reader.get", "three LMDB gets", "bare HMGET"
SCORED, SQL = "reader.get with two on-demand features", "DuckDB, their parsed statement"
MATRIX, COPY, MGET = "pit-join to_numpy(out=)", "memcpy, warm destination", "packed Redis MGET"
FEW = "reader.get of 20 of its features"
COPY_READ = "reader.get of a copy of the store"
FEAST_ENTITIES = 100_000  # Feast writes some thousands of entities a second
FEAST_SECONDS = 60
REQUESTS = 40_000  # of a round
TURN = 1_000
CHECKED = 1_000
PRIVATE = 1e9  # bytes


class Bench:
    """What the scenarios share: the size, the rounds, and servers that are filled once."""

    def __init__(self, scale: float, repeat: int, feast: bool) -> None:
        self.scale, self.repeat, self.feast = scale, repeat, feast
        self.good = True
        self._stack = ExitStack()
        self._redis: dict[str, int] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def peer(self, script: str, *arguments: object, feast: bool = False) -> Peer:
        """A peer that ends with the run."""
        found = Peer(script, *arguments, feast=feast)
        self._stack.callback(found.close)
        return found

    def server(self) -> int:
        """A new Redis that ends with the run."""
        return self._stack.enter_context(valkey())

    def redis(self, what: str, fill: Callable[[int], object]) -> int:
        """The Redis with something in it, filled when first needed."""
        if what not in self._redis:
            port = self.server()
            said(f"filling Redis: {what}")
            fill(port)
            self._redis[what] = port
        return self._redis[what]

    def turns(self) -> int:
        return max(2, int(REQUESTS / TURN * min(1, self.scale * 5)))

    def failed(self, wrong: bool) -> None:
        self.good &= not wrong

    def exported(self, data: Path, store: str) -> dict[str, Any]:
        """Export the project's views as a user would."""
        done = watched(export_command(data, store))
        if done.error:
            raise Failed(f"pit-join export: {done.error}")
        return json.loads(done.printed)


def export_command(data: Path, store: object, as_of: str = "") -> list[str]:
    """The command line of an export."""
    more = ["--as-of", as_of] if as_of else []
    return [pit_join(), "--project-dir", str(data), "--store", str(store), "export", "--json", *more]


def said(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def folder(data: Path) -> Iterator[Path]:
    """A folder on the disk of the data, which goes afterwards."""
    with tempfile.TemporaryDirectory(dir=data, prefix="store-") as name:
        yield Path(name)


def one_entity(bench: Bench) -> str:
    """O1: one feature vector of 20 features in three views."""
    data = make("O1", bench.scale)
    most = json.loads((data / "scenario.json").read_text())["entities"]
    lines = []
    with folder(data) as store, folder(data) as copies:
        bench.exported(data, str(store))
        ours, bare = bench.peer("online_pit_join", data, store), bench.peer("online_lmdb", data, store)

        def of(seed: int) -> dict[str, int]:
            return {"seed": seed, "count": TURN, "most": most}

        lines = [
            Line(GETS, lambda seed: bare.ask("three", seed=seed, count=TURN, most=most)),
            Line(VECTOR, lambda seed: ours.ask("vector", seed=seed, count=TURN, most=most), to=GETS, bound=3, goal=2),
            Line("pit-join, one row to_dict", lambda seed: ours.ask("row", seed=seed, count=TURN, most=most), to=GETS),
            Line(COPY_READ, lambda seed: ours.ask("copied", **of(seed), where=str(copies / "plain"), bound=False)),
            Line("the same with max_staleness",
                 lambda seed: ours.ask("copied", **of(seed), where=str(copies / "bound"), bound=True),
                 to=COPY_READ, bound=1.02),
            Line("plain call, to_dict", lambda seed: ours.ask("plain", seed=seed, count=TURN, most=most),
                 to=VECTOR, bound=3, goal=2),
            Line(SQL, lambda seed: ours.ask("bare_sql", seed=seed, count=TURN // 10, most=most)),
            Line(SCORED, lambda seed: ours.ask("on_demand", seed=seed, count=TURN // 10, most=most),
                 to=SQL, bound=1.25),
            Line("plain call with two on-demand features",
                 lambda seed: ours.ask("on_demand_plain", seed=seed, count=TURN // 10, most=most),
                 to=SCORED, bound=1.3, goal=1.1),
        ]  # fmt: skip
        for line, count in zip(lines[1:3], (CHECKED, CHECKED), strict=True):
            wrong = ours.ask("wrong", seed=0, count=count, most=most)
            line.check = f"{wrong} of {count:,} vectors differ" if wrong else "identical"
            bench.failed(wrong > 0)
        if bench.feast:
            lines += [_feast(bench, data, most, kind) for kind in ("SQLite", "Redis")]
        take_turns(lines, bench.repeat, bench.turns())
    bench.failed(any(line.error for line in lines[:9]))
    return latencies(lines)


def _feast(bench: Bench, data: Path, most: int, kind: str, to: str = VECTOR, bound: float = 40) -> Line:
    """Feast with the first entities of the same data."""
    some = min(most, FEAST_ENTITIES)

    def fill(where: object) -> Peer:
        peer = bench.peer("online_feast", data, where, feast=True)
        peer.ask("load", most=some, timeout=1_800)
        return peer

    if kind == "SQLite":
        peer = fill("sqlite")
    else:
        port = bench.redis(f"{some:,} entities for Feast", fill)
        peer = bench.peer("online_feast", data, port, feast=True)
    wrong = peer.ask("wrong", seed=0, count=CHECKED // 5, most=some)
    return Line(
        f"Feast on {kind}",
        lambda seed: peer.ask("row", seed=seed, count=TURN // 20, most=some),
        to=to,
        bound=bound,
        at_least=True,
        check=f"{wrong} vectors differ" if wrong else "identical",
        note="" if some == most else f"has {some:,} entities only",
    )


def candidates(bench: Bench) -> str:
    """O2: 500 candidates x 2,500 float32 features as one matrix."""
    data = make("O2", bench.scale)
    turns, some = bench.turns() // 2, 5
    with folder(data) as store:
        bench.exported(data, str(store))
        packed = bench.server()
        by_hand, copy = bench.peer("online_redis", data, packed), bench.peer("online_memcpy")
        said("filling Redis: packed vectors")
        by_hand.ask("load")
        port = bench.redis("O2", lambda port: bench.exported(data, f"redis://127.0.0.1:{port}/0"))
        ours, bare = bench.peer("online_pit_join", data, store), bench.peer("online_lmdb", data, store)
        on_redis = bench.peer("online_pit_join", data, f"redis://127.0.0.1:{port}/0")
        digests = {peer: peer.ask("digest", seed=0) for peer in (by_hand, ours, bare, on_redis)}
        same = {peer: "identical" if found == digests[by_hand] else "DIFFERS" for peer, found in digests.items()}
        bench.failed(same[ours] != "identical" or same[on_redis] != "identical")

        def line(label: str, peer: Peer, do: str, to: str = COPY, **more: Any) -> Line:
            check = same.get(peer, "not compared") if do in ("batch", "mget", "by_hand") else "not compared"
            return Line(label, lambda seed: peer.ask(do, seed=seed, count=some), to=to, check=check, **more)

        lines = [
            line(COPY, copy, "warm", to=""),
            line("memcpy, cold destination", copy, "cold"),
            line("1,001 LMDB gets, no copy", bare, "gets"),
            line("1,001 LMDB gets and NumPy", bare, "by_hand"),
            line(MATRIX, ours, "batch", bound=6, goal=4),
            line("plain call, view:*, to_numpy()", ours, "batch_plain", to=MATRIX, bound=1.2),
            line(FEW, ours, "few_of_wide_prepared", to=""),
            line("plain call of the 20, to_dict", ours, "few_of_wide", to=FEW, bound=3, goal=2),
            line(MGET, by_hand, "mget", to=MATRIX, bound=8, at_least=True, every=2),
            line("pit-join on Redis", on_redis, "batch", to=MGET, bound=1.5, every=2),
        ]
        take_turns(lines, bench.repeat, turns)
        bench.failed(any(one.error for one in lines if one.label != MGET))
        if bench.feast:
            lines.append(_feast_candidates(bench, data))
        return latencies(lines, "ms")


def _feast_candidates(bench: Bench, data: Path) -> Line:
    """Feast is asked once, for what alone it has."""
    line = Line("Feast on Redis", lambda seed: {}, note="one request; has 500 candidates of one user only", to=MATRIX)
    peer = bench.peer("online_feast", data, bench.server(), feast=True)
    try:
        said("filling Redis: candidates for Feast")
        peer.ask("load_candidates", seed=0, timeout=600)
        found = peer.ask("batch", seed=0, timeout=FEAST_SECONDS)
        line.rounds = [found["ns"], *([] for _ in range(bench.repeat - 1))]
        line.undisturbed = [] if found["preempted"] else found["ns"]
    except Failed as error:
        line.error = str(error)
    return line


def exports(bench: Bench) -> str:
    """O3: exports as whole processes."""
    parts = []
    for name, title in (("O3", "history in order"), ("O3-late", "a quarter of the rows known late")):
        data = make(name, bench.scale)
        parts.append(f"{title}:\n\n{_exports(bench, data, bench.repeat)}")
    data = make("O3-large", bench.scale)
    title = f"{int(10 * ENTITIES * bench.scale):,} entities, one row each, run once"
    parts.append(f"{title}:\n\n{_exports(bench, data, 0)}")
    return "\n\n".join(parts)


def _exports(bench: Bench, data: Path, repeat: int) -> str:
    """A warm-up (not if it is to run once), then rounds in which all take turns."""
    facts = json.loads((data / "scenario.json").read_text())
    entities, instants = facts["entities"], facts["instants"]
    floor, first, few, none = "floor", "first export", "after a few changed", "after nothing changed"
    runs: dict[str, list[Process]] = {floor: [], first: [], few: [], none: []}
    changed: dict[str, int] = {}
    rows = size = 0
    with folder(data) as made:
        watched(export_command(data, made, instants[0]))  # dbt has parsed, files are in memory
        length = _length(made)
    for number in range(repeat + 1):
        with folder(data) as bare, folder(data) as store:
            script = Path(__file__).parent / "peers" / "online_export_floor.py"
            by_hand = [sys.executable, str(script), str(data), str(bare), instants[0], str(length)]
            turn = {floor: by_hand, first: export_command(data, store, instants[0])}
            if len(instants) > 1:
                turn |= dict.fromkeys((few, none), export_command(data, store, instants[1]))
            for label, argv in turn.items():
                done = watched(argv)
                if done.error:
                    said(f"{label}: {done.error}")
                    bench.failed(label != floor)
                if number or not repeat:
                    runs[label].append(done)
                if not done.error and label == floor:
                    rows = int(done.printed)
                elif not done.error:
                    counts = json.loads(done.printed)["views"]["view_1"]
                    changed[label] = counts["written"] + counts["deleted"]
                said(
                    f"{'round ' + str(number) if number else 'warm-up'}: {label}: {done.error or f'{done.wall:.2f} s'}"
                )
            size = (store / "data.mdb").stat().st_blocks * 512
    if rows != changed.get(first):
        said(f"the floor found {rows:,} rows, the export {changed.get(first, 0):,}")
        bench.failed(True)
    head = ["", "wall s", "from - to", "rows/s", "records changed", "peak private MB", "mapped MB"]
    table = [[*head, "ratio", "to", "target"]]
    for label, found in runs.items():
        if not found:
            continue
        if any(one.error for one in found):
            table.append([label, *["-"] * 8, f"FAILED: {next(one.error for one in found if one.error)}"])
            continue
        walls = [one.wall for one in found]
        to = {first: floor, few: first, none: first}.get(label, "")
        of = median(a.wall / b.wall for a, b in zip(found, runs[to], strict=True)) if to else 0
        rate, private = entities / median(walls), max(one.private for one in found)
        target = {
            first: f">= 150,000 rows/s or <= 2x: {_met(rate >= 150_000 or of <= 2)}",
            few: f"<= 0.5x: {_met(of <= 0.5)}",
        }
        bounds = [target[label]] if label in target else []
        if label != floor:
            bounds.append(f"<= 1 GB private: {_met(private <= PRIVATE)}")
        table.append(
            [
                label,
                f"{median(walls):.2f}",
                f"{min(walls):.2f} - {max(walls):.2f}",
                f"{rate:,.0f}" if label in (floor, first) else "-",
                f"{changed[label]:,}" if label in changed else "-",
                f"{private / 1e6:.0f}",
                f"{max(one.mapped for one in found) / 1e6:.0f}",
                f"{of:.2f}x" if to else "-",
                to or "-",
                "; ".join(bounds) or "-",
            ]
        )
    sizes = {"Parquet": data / "raw" / "view_1.parquet", "warehouse": data / "warehouse.duckdb"}
    shown = [f"{name} {path.stat().st_size / 1e6:,.0f} MB" for name, path in sizes.items()]
    shown.append(f"online store {size / 1e6:,.0f} MB (a record has {length} bytes)")
    return f"{markdown(table)}\n\n{', '.join(shown)}"


def _met(condition: bool) -> str:
    return "met" if condition else "MISSED"


def _length(store: Path) -> int:
    """The length of a record."""
    with lmdb.open(str(store), readonly=True, lock=False) as environment, environment.begin() as transaction:
        cursor = transaction.cursor()
        cursor.last()
        return len(cursor.value())


def _export_to(bench: Bench, data: Path, port: int) -> dict[str, Any]:
    return bench.exported(data, f"redis://127.0.0.1:{port}/0")


def on_redis(bench: Bench) -> str:
    """O4: round trips, and one feature vector."""
    users, wide = make("O1", bench.scale), make("O2", bench.scale)
    most = json.loads((users / "scenario.json").read_text())["entities"]
    ports = {data: bench.redis(name, partial(_export_to, bench, data)) for name, data in (("O1", users), ("O2", wide))}
    trips = [["one request", "round trips", "reads of the server", "commands", "target"]]
    for what, data, do, given in (
        ("a vector of 20 features in 3 views", users, "vector", {"count": 1, "most": most}),
        ("a vector of 2,500 features in 3 views", wide, "wide", {"count": 1}),
        ("500 candidates x 2,500 features", wide, "batch", {"count": 1}),
    ):
        trips.append([what, *_trips(bench, data, ports[data], do, given)])
    port = ports[users]
    ours = bench.peer("online_pit_join", users, f"redis://127.0.0.1:{port}/0")
    bare = bench.peer("online_redis", users, port)
    some = TURN // 5
    lines = [
        Line(HMGET, lambda seed: bare.ask("hmget", seed=seed, count=some)),
        Line("PING", lambda seed: bare.ask("ping", seed=seed, count=some), to=HMGET),
        Line(VECTOR, lambda seed: ours.ask("vector", seed=seed, count=some, most=most), to=HMGET),
        Line("pit-join, one row to_dict", lambda seed: ours.ask("row", seed=seed, count=some, most=most), to=HMGET),
    ]
    wrong = ours.ask("wrong", seed=0, count=CHECKED, most=most)
    lines[2].check = f"{wrong} of {CHECKED:,} vectors differ" if wrong else "identical"
    bench.failed(wrong > 0)
    if bench.feast:
        lines.append(_feast(bench, users, most, "Redis", bound=0))
    take_turns(lines, bench.repeat, bench.turns())
    bench.failed(bool(lines[2].error))
    memory = redis.Redis(port=port).info("memory")["used_memory"]
    return f"{markdown(trips)}\n\n{latencies(lines)}\n\nThe server holds O1 in {memory / 1e6:,.0f} MB."


def _trips(bench: Bench, data: Path, port: int, do: str, given: dict[str, Any]) -> list[str]:
    """Count what one request is for the server, when the connection is there already."""
    relay, client = Relay(port), redis.Redis(port=port)
    try:
        peer = bench.peer("online_pit_join", data, f"redis://127.0.0.1:{relay.port}/0")
        peer.ask(do, seed=0, **given)
        relay.trips = 0
        client.config_resetstat()
        peer.ask(do, seed=1, **given)
        trips, reads = relay.trips, client.info("stats")["total_reads_processed"] - 1
        counted = client.info("commandstats")
        own = ("cmdstat_info", "cmdstat_config|resetstat")
        commands = {name[8:]: one["calls"] for name, one in counted.items() if name not in own}
        peer.close()
    finally:
        relay.close()
        client.close()
    bench.failed(trips != 1)
    shown = ", ".join(f"{calls} {name.upper()}" for name, calls in sorted(commands.items()))
    return [str(trips), str(reads), shown, f"1: {_met(trips == 1)}"]


SCENARIOS: dict[str, tuple[str, Callable[[Bench], str]]] = {
    "O1": ("O1: one entity (1M entities, 20 features in three views)", one_entity),
    "O2": ("O2: 500 candidates x 2,500 float32 features (a matrix of 5 MB)", candidates),
    "O3": ("O3: export (1M entities, 20 features, 10M rows of history)", exports),
    "O4": ("O4: Redis (the data of O1 and O2)", on_redis),
}
