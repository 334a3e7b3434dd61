"""Measure training sets on Spark beside a hand-written window join: growth, a hot key, and the bytes that are shuffled.

Example: ``target/engines/venv/bin/python benchmarks/spark_run.py``. It writes RESULTS-spark.md; see README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import one_view
import pyspark
from online_measure import markdown
from pyspark.sql import SparkSession
from run import HERE, facts

FEATURES, SPINE_SHARE, ROWS_OF_A_KEY, HOT, HOT_ROWS = 5, 10, 20, 0.18, 200_000
NAMES = [f"f{number}" for number in range(1, FEATURES + 1)]
VALUES = ", ".join(NAMES)
START, YEAR = 1_735_689_600_000_000, 31_536_000_000_000  # microseconds
BY_HAND, OURS = "by hand", "pit-join"
SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "16",
    "spark.driver.memory": "6g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.showConsoleProgress": "false",
}
TYPES = {"user_id": "bigint", "event_timestamp": "timestamp", **dict.fromkeys(NAMES, "double")}
WINDOW_JOIN = f"""
    select row_id, label, user_id, event_timestamp, {", ".join(f"newest.{name}" for name in NAMES)}
    from (
        select *, last_value(known, true) over (
            partition by user_id order by event_timestamp, row_id nulls first
            rows between unbounded preceding and current row
        ) as newest
        from (
            select row_id, user_id, event_timestamp, label, null as known from spine
            union all
            select null, user_id, event_timestamp, null, struct({VALUES}) from history
        )
    )
    where row_id is not null
"""
SPANS = {"windows": ["1 day", "30 days"]}
WINDOWS: dict[str, list[dict[str, Any]]] = {
    "count, sum of integers": [
        {"name": "orders", "function": "count", **SPANS},
        {"name": "items_sum", "function": "sum", "column": "items", **SPANS},
    ],
    "avg and max of floats, last": [
        {"name": "f1_avg", "function": "avg", "column": "f1", **SPANS},
        {"name": "f2_max", "function": "max", "column": "f2", **SPANS},
        {"name": "f3_last", "function": "last", "column": "f3", **SPANS},
    ],
}


@dataclass(frozen=True)
class Taken:
    """Seconds and bytes of one query."""

    wall: float
    cpu: float
    shuffled: float
    spilled: float


def fill(session: SparkSession, rows: int, hot: float) -> None:
    """Make `history` of so many rows, and `spine` of a tenth of them; no time of the history is there twice."""
    values = ", ".join(f"rand({20 + number}) as {name}" for number, name in enumerate(NAMES))
    columns = {
        "history": f"{values}, cast(rand(30) * 100 as bigint) as items",
        "spine": "id as row_id, rand(31) > 0.5 as label",
    }
    for seed, (name, count) in enumerate({"history": rows, "spine": rows // SPINE_SHARE}.items()):
        session.sql(f"drop table if exists {name}")
        session.sql(f"""
            create table {name} using parquet as
            select
                {columns[name]},
                if(rand({seed}) < {hot}, 0, cast(rand({seed + 10}) * {rows // ROWS_OF_A_KEY} as bigint)) as user_id,
                timestamp_micros({START} + id * 7919 % {count} * {YEAR // count} + {seed}) as event_timestamp
            from range({count})
        """)


def ours(aggregations: Sequence[Mapping[str, Any]] = ()) -> str:
    types = TYPES | ({"items": "bigint"} if aggregations else {})
    return one_view.training_set("spark", "history", types, (), aggregations)


def measured(session: SparkSession, queries: Mapping[str, str], repeat: int) -> dict[str, list[Taken]]:
    """What each query takes, in turns; the first round, which also compiles, is not counted. No result is kept."""
    taken: dict[str, list[Taken]] = {name: [] for name in queries}
    for _ in range(repeat + 1):
        for name, query in queries.items():
            before, start = _stages(session), time.perf_counter()
            session.sql(query).write.format("noop").mode("overwrite").save()
            wall = time.perf_counter() - start
            spent = {key: value - before[key] for key, value in _stages(session).items()}
            taken[name].append(Taken(wall, spent["cpu"], spent["shuffled"], spent["spilled"]))
    return {name: times[1:] for name, times in taken.items()}


def _stages(session: SparkSession) -> dict[str, float]:
    """What all stages so far have taken: CPU seconds of executors, bytes written for a shuffle and spilled to disk."""
    context = session.sparkContext
    time.sleep(0.5)  # what has ended is told a moment later
    with urllib.request.urlopen(f"{context.uiWebUrl}/api/v1/applications/{context.applicationId}/stages") as answer:
        stages = json.load(answer)
    return {
        "cpu": sum(each["executorCpuTime"] for each in stages) / 1e9,
        "shuffled": sum(each["shuffleWriteBytes"] for each in stages),
        "spilled": sum(each["diskBytesSpilled"] for each in stages),
    }


def same(session: SparkSession, one: str, other: str) -> None:
    """Stop if two queries differ in a row or a value, in whatever order."""
    for first, second in ((one, other), (other, one)):
        if session.sql(f"select * from ({first}) except all select * from ({second})").limit(1).count():
            raise SystemExit("the results differ")


def line(name: str, times: Sequence[Taken], base: Sequence[Taken], target: str = "-") -> list[str]:
    """A line of a table: medians, and ratios to the runs of `base` of the same rounds."""
    pairs = list(zip(times, base, strict=True))
    ratios = [median(getattr(one, what) / getattr(other, what) for one, other in pairs) for what in ("wall", "cpu")]
    walls = [each.wall for each in times]
    sizes = [f"{median(getattr(each, what) for each in times) / 1e6:,.0f}" for what in ("shuffled", "spilled")]
    spent = f"{median(each.cpu for each in times):.1f}"
    spread = f"{min(walls):.1f} - {max(walls):.1f}"
    return [name, f"{median(walls):.1f}", spread, spent, *(f"{each:.2f}x" for each in ratios), *sizes, target]


HEAD = ["", "wall s", "from - to", "CPU s", "ratio of wall", "ratio of CPU", "MB shuffled", "MB spilled", "target"]


def report(session: SparkSession, sizes: Sequence[int], repeat: int) -> list[str]:
    """The tables of RESULTS-spark.md."""
    parts, plain = [], {}
    for rows in sizes:
        fill(session, rows, 0)
        if rows == sizes[0]:
            same(session, WINDOW_JOIN, ours())
        found = measured(session, {BY_HAND: WINDOW_JOIN, OURS: ours()}, repeat)
        plain[rows] = found
        lines = [
            line(BY_HAND, found[BY_HAND], found[BY_HAND]),
            line(OURS, found[OURS], found[BY_HAND], most(1.1, found[OURS], found[BY_HAND])),
        ]
        parts += [
            f"## {FEATURES} features, {rows:,} rows of the history, {rows // SPINE_SHARE:,} of the spine",
            markdown([HEAD, *lines]),
        ]
        print(*parts[-2:], sep="\n\n", flush=True)
    base = plain[sizes[0]][OURS]
    grown = [
        [f"{rows:,}", f"{median(one.wall for one in plain[rows][OURS]) / median(one.wall for one in base):.1f}x"]
        for rows in sizes
    ]
    parts += ["## Growth", markdown([["rows", f"wall to that of {sizes[0]:,}"], *grown])]
    return parts + hot_key(session, min(sizes[0], HOT_ROWS), repeat)


def most(target: float, times: Sequence[Taken], base: Sequence[Taken]) -> str:
    ratio = median(one.wall / other.wall for one, other in zip(times, base, strict=True))
    return f"<= {target}x: {'met' if ratio <= target else 'missed'}"


def hot_key(session: SparkSession, rows: int, repeat: int) -> list[str]:
    """What a key takes that has 18 % of both sides: each query without it and with it."""
    queries = {"as-of join": ours(), **{f"windows: {name}": ours(each) for name, each in WINDOWS.items()}}
    taken = {}
    for hot in (0.0, HOT):
        fill(session, rows, hot)
        taken[hot] = measured(session, queries, repeat)
    lines = [HEAD]
    for name, exact in zip(queries, (True, True, False), strict=True):
        cool, hot = taken[0.0][name], taken[HOT][name]
        lines.append(line(f"{name}, no hot key", cool, cool))
        lines.append(line(f"{name}, hot key", hot, cool, most(2, hot, cool) if exact else "-"))
    return [f"## One key has {HOT:.0%} of both sides, {rows:,} rows of the history", markdown(lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1_000_000, 10_000_000, 50_000_000], help="sizes of the history"
    )
    parser.add_argument("--repeat", type=int, default=3, help="rounds after the first")
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS-spark.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        builder = SparkSession.builder.master(f"local[{os.cpu_count()}]").config(
            "spark.sql.warehouse.dir", f"{folder}/warehouse"
        )
        for name, value in {**SETTINGS, "spark.local.dir": f"{folder}/local"}.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        parts = [
            "# Benchmark results: Spark",
            "Made by `benchmarks/spark_run.py`; README.md says what the lines are.",
            f"{facts()}* Spark {pyspark.__version__}, local[{os.cpu_count()}], 6 GB of memory, 16 partitions, all "
            "else as it comes\n"
            f"* medians of {arguments.repeat} rounds; the result is computed, and written nowhere",
            *report(session, arguments.rows, arguments.repeat),
        ]
        session.stop()
    arguments.output.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
