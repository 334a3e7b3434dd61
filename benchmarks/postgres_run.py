"""Measure training sets on PostgreSQL beside hand-written SQL, with and without an index, and windows with a hot key.

Example: ``python benchmarks/postgres_run.py --repeat 5``. It writes RESULTS-postgres.md; see README.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import one_view
import psycopg
from online_measure import markdown
from run import HERE, facts

sys.path.append(str(HERE.parent / "tests" / "python"))

from support.postgres import running_postgres

SETTINGS = ("shared_buffers=1GB", "work_mem=64MB", "max_wal_size=4GB")
SPINE, HISTORY, KEYS, FEATURES = 100_000, 1_000_000, 50_000, 5
HOT = 0.18
NAMES = [f"f{number}" for number in range(1, FEATURES + 1)]
VALUES = ", ".join(NAMES)
OF_HISTORY = ", ".join(f"history.{name}" for name in NAMES)

MOMENT = "timestamptz '2025-01-01 00:00+00' + floor(random() * 31536000) * interval '1 second'"
# One key has the share `hot` of all rows, in the history and in the spine.
KEY = f"case when random() < {{hot}} then 0 else floor(random() * {KEYS})::bigint end"
DATA = f"""
create table history as
select {KEY} as user_id, {MOMENT} as event_timestamp, {", ".join(f"random() as {name}" for name in NAMES)},
    floor(random() * 100)::bigint as items
from generate_series(1, {HISTORY});
delete from history using (
    select user_id, event_timestamp, min(ctid) as kept
    from history
    group by user_id, event_timestamp
    having count(*) > 1
) as doubled
where
    history.user_id = doubled.user_id and history.event_timestamp = doubled.event_timestamp
    and history.ctid <> doubled.kept;
create table spine as
select row_id, {KEY} as user_id, {MOMENT} as event_timestamp, random() > 0.5 as label
from generate_series(1, {SPINE}) as row_id;
"""
MEMORY = "## Memory of the client"
PAIRS, LOOKUP, COOL = "by hand, all pairs", "by hand, lateral", "no hot key"
TIED = "by hand, lateral that breaks ties"
BY_HAND = {
    PAIRS: f"""
        select distinct on (spine.row_id) spine.*, {OF_HISTORY}
        from spine
        left join history
            on spine.user_id = history.user_id and history.event_timestamp <= spine.event_timestamp
        order by spine.row_id, history.event_timestamp desc
    """,
    "by hand, running maximum": f"""
        select spine.*, {OF_HISTORY}
        from spine
        left join (
            select row_id, user_id, max(known) over (
                partition by user_id order by at, row_id nulls first rows unbounded preceding
            ) as newest
            from (
                select user_id, event_timestamp as at, event_timestamp as known, null::integer as row_id from history
                union all
                select user_id, event_timestamp, null, row_id from spine
            ) as both_sides
        ) as filled using (row_id)
        left join history on filled.user_id = history.user_id and filled.newest = history.event_timestamp
        order by spine.row_id
    """,
}
OF_ONE = (
    "select * from history where spine.user_id = history.user_id and history.event_timestamp <= spine.event_timestamp"
)
LATERAL = f"""
    select spine.*, {VALUES}
    from spine
    left join lateral ({OF_ONE} order by history.event_timestamp desc limit 1) as history on true
    order by spine.row_id
"""
# Of rows of the same time, always the same one.
OF_TIED = f"""
    select distinct on (spine.row_id) spine.*, {VALUES}
    from spine
    left join lateral ({OF_ONE} order by history.event_timestamp desc fetch first 1 row with ties) as history on true
    order by spine.row_id, {", ".join(f"{name} desc nulls last" for name in NAMES)}
"""


@dataclass(frozen=True)
class Taken:
    """Seconds of one statement."""

    wall: float
    cpu: float


def training_set(indexes: Sequence[Mapping[str, Any]] = (), aggregations: Sequence[Mapping[str, Any]] = ()) -> str:
    """The SQL of a dbt model that is a training set of all features of the view `history`."""
    types = {"user_id": "bigint", "event_timestamp": "timestamptz", **dict.fromkeys(NAMES, "double precision")}
    if aggregations:
        types["items"] = "bigint"
    return one_view.training_set("postgres", '"postgres"."public"."history"', types, indexes, aggregations)


def measured(
    connection: psycopg.Connection[Any], queries: Mapping[str, str], repeat: int, *, jit: bool = True
) -> dict[str, list[Taken]]:
    """What `create table as` takes for each query, in turns; the first round is not counted. All results are equal."""
    connection.execute(f"set jit = {'on' if jit else 'off'}")  # type: ignore[arg-type]
    taken: dict[str, list[Taken]] = {name: [] for name in queries}
    for turn in range(repeat + 1):
        for number, (name, query) in enumerate(queries.items()):
            connection.execute(f"drop table if exists result_{number}")  # type: ignore[arg-type]
            start, before = time.perf_counter(), _cpu(connection)
            connection.execute(f"create table result_{number} as {query}")  # type: ignore[arg-type]
            taken[name].append(Taken(time.perf_counter() - start, _cpu(connection) - before))
            if turn == 0 and number:
                _compare(connection, number)
    return {name: times[1:] for name, times in taken.items()}


def _cpu(connection: psycopg.Connection[Any]) -> float:
    """The CPU time of the server's process so far. No plan here has more than one."""
    fields = Path(f"/proc/{connection.info.backend_pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _compare(connection: psycopg.Connection[Any], number: int) -> None:
    sides = (("result_0", f"result_{number}"), (f"result_{number}", "result_0"))
    for one, other in sides:
        differs = f"select 1 from (select * from {one} except all select * from {other}) as surplus limit 1"
        if connection.execute(differs).fetchall():  # type: ignore[arg-type]
            sys.exit(f"the results differ: {one} has rows that {other} lacks")


def lines_of(taken: Mapping[str, Sequence[Taken]], base: str, most: float | None) -> list[list[str]]:
    """A table of times and their ratios to those of `base`, which should be at most `most`."""
    lines = [["", "wall s", "from - to", "CPU s", "ratio of wall", "ratio of CPU", "target"]]
    for name, times in taken.items():
        pairs = list(zip(times, taken[base], strict=True))
        wall, cpu = (
            median(one.wall / other.wall for one, other in pairs),
            median(one.cpu / other.cpu for one, other in pairs),
        )
        judged = most is not None and name != base and not name.startswith("by hand")
        walls = [each.wall for each in times]
        spread = f"{min(walls):.2f} - {max(walls):.2f}"
        target = f"<= {most}x: {'met' if wall <= (most or 0) else 'missed'}" if judged else "-"
        spent = f"{median(each.cpu for each in times):.2f}"
        lines.append([name, f"{median(walls):.2f}", spread, spent, f"{wall:.2f}x", f"{cpu:.2f}x", target])
    return lines


def point_in_time(connection: psycopg.Connection[Any], repeat: int) -> list[str]:
    """Training sets of 5 features, before and after `analyze`, without and with indexes."""
    connection.execute(DATA.format(hot=0))  # type: ignore[arg-type]
    ours = training_set()
    parts = ["## Without an index, tables never analyzed"]
    parts.append(markdown(lines_of(measured(connection, {**BY_HAND, "pit-join": ours}, repeat), PAIRS, None)))
    connection.execute("vacuum analyze history")
    connection.execute("vacuum analyze spine")
    for jit in (True, False):
        parts.append(f"## Without an index, analyzed, {_jit(jit)}")
        parts.append(
            markdown(lines_of(measured(connection, {**BY_HAND, "pit-join": ours}, repeat, jit=jit), PAIRS, 1.2))
        )
    start = time.perf_counter()
    connection.execute("create unique index on history (user_id, event_timestamp)")
    connection.execute("analyze history")
    made = time.perf_counter() - start
    index = {"columns": ["user_id", "event_timestamp"]}
    queries = {
        LOOKUP: LATERAL,
        TIED: OF_TIED,
        "pit-join, `unique: true`": training_set([{**index, "unique": True}]),
        "pit-join, an index that may have ties": training_set([index]),
    }
    for jit in (True, False):
        parts.append(f"## With an index on the key and the event time ({made:.1f} s to make), {_jit(jit)}")
        parts.append(markdown(lines_of(measured(connection, queries, repeat, jit=jit), LOOKUP, 1.2)))
    return parts


def _jit(jit: bool) -> str:
    return "jit as it comes, on" if jit else "jit off"


def windows(connection: psycopg.Connection[Any], repeat: int) -> list[str]:
    """Counts and sums over 1 and 30 days, without a hot key and with one."""
    spans = {"windows": ["1 day", "30 days"]}
    added = [
        {"name": "orders", "function": "count", **spans},
        {"name": "items", "function": "sum", "column": "items", **spans},
    ]
    query = training_set(aggregations=added)
    taken = {}
    for name, hot in ((COOL, 0.0), (f"one key has {HOT:.0%} of both sides", HOT)):
        connection.execute("drop table history; drop table spine")
        connection.execute(DATA.format(hot=hot))  # type: ignore[arg-type]
        connection.execute("vacuum analyze history")
        connection.execute("vacuum analyze spine")
        taken[name] = measured(connection, {name: query}, repeat, jit=False)[name]
    return ["## Windows: count and sum over 1 and 30 days, jit off", markdown(lines_of(taken, COOL, 2))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="rounds after the first")
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS-postgres.md")
    arguments = parser.parse_args()
    with running_postgres(SETTINGS) as url, psycopg.connect(url, autocommit=True) as connection:
        version = connection.execute("show server_version").fetchone()
        connection.execute("alter system set autovacuum = off")
        connection.execute("select pg_reload_conf()")
        parts = [
            "# Benchmark results: PostgreSQL",
            "Made by `benchmarks/postgres_run.py`; README.md says what the lines are.",
            f"{facts()}* PostgreSQL {version[0] if version else ''}, {', '.join(SETTINGS)}, all else as it comes\n"
            f"* medians of {arguments.repeat} rounds",
            f"* {SPINE:,} rows of the spine, {HISTORY:,} of the history, {KEYS:,} keys, {FEATURES} features; times of "
            "`create table as`",
            *point_in_time(connection, arguments.repeat),
            *windows(connection, arguments.repeat),
        ]
    print("\n\n".join(parts[4:]))
    # The last section is that of memory_run.py.
    _, heading, memory = (arguments.output.read_text() if arguments.output.exists() else "").partition(MEMORY)
    arguments.output.write_text("\n\n".join([*parts, *([heading + memory.rstrip()] if heading else [])]) + "\n")


if __name__ == "__main__":
    main()
