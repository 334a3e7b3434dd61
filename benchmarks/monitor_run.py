"""Measure monitoring and the page: drift beside hand-written SQL, `monitor` of the demo, `report` of 500 views.

Example: ``python benchmarks/monitor_run.py --repeat 5``. It writes RESULTS-monitor.md; see README.md.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
from make_data import install_macros
from online_measure import markdown
from run import HERE, facts, measure, pit_join
from start_run import demo

from pit_join.monitoring.results import Result, keep_results
from pit_join.project.rendering import Renderer
from pit_join.training.profiles import ProfiledColumn, drifts_of, profiles_of
from pit_join.training.set_profiler import scratch

ROWS, FEATURES, ENTITIES = 1_000_000, 20, 50_000
WIDE, COLUMNS, RUNS = 500, 10, 8
SERIES = [
    ("freshness", ""),
    ("drift", ""),
    *((rate, at) for rate in ("nulls", "defaults") for at in ("offline", "stored")),
]
NOW = "2013-03-10 18:00"
MACRO = re.compile(r"\{%-?\s*macro\s+(?P<name>\w+)\(.*?\{%-?\s*endmacro\s*-?%\}", re.DOTALL)
VIEW = """\
  - name: view_{number}
    description: The numbers of a user.
    config:
      event_time: event_timestamp
      meta: {{pit_join: {{entity: user, join_keys: [user_id]}}}}
    columns:
      - {{name: user_id, data_type: bigint}}
      - {{name: event_timestamp, data_type: timestamptz}}
"""


class Macros:
    """The macros of the package, rendered as the command does."""

    def __init__(self) -> None:
        found = (
            each
            for path in sorted((HERE.parent / "macros").rglob("*.sql"))
            for each in MACRO.finditer(path.read_text())
        )
        macros = {
            f"macro.pit_join.{each['name']}": {"package_name": "pit_join", "name": each["name"], "macro_sql": each[0]}
            for each in found
        }
        empty: dict[str, Any] = {"nodes": {}, "sources": {}, "exposures": {}, "metadata": {"project_name": "bench"}}
        self._renderer = Renderer({**empty, "macros": macros})

    def text(self, macro: str, **arguments: Any) -> str:
        return str(self._renderer.call(macro, **arguments))


def _tables(execute: Callable[[str], Any]) -> None:
    """Fill the tables of before and now: doubles of which 2 % are null, 20 rows an entity."""
    columns = ", ".join(
        f"case when random() < 0.02 then null else (random() + random() + random()) * {number + 1} end as f{number}"
        for number in range(FEATURES)
    )
    for name in ("before", "now"):
        execute(f"create table {name} as select range % {ENTITIES} as entity, {columns} from range({ROWS})")


def by_hand(connection: duckdb.DuckDBPyConnection) -> None:
    """The same 100 quantiles of each feature, and the histograms of both tables with them as literals."""
    shares = [number / 100 for number in range(101)]
    quantiles = ", ".join(f"quantile_disc(f{number}, {shares})" for number in range(FEATURES))
    (ends,) = connection.execute(f"select {quantiles} from before").fetchall()
    for name in ("before", "now"):
        bins = ", ".join(f"histogram(f{number}, {list(ends[number][1:])})" for number in range(FEATURES))
        connection.execute(f"select {bins} from {name}").fetchall()


def drift(repeat: int) -> str:
    """Profile and drift of features, in turns with the query by hand, in one process."""
    columns = [ProfiledColumn(f"f{number}", f"f{number}", "number") for number in range(FEATURES)]
    taken: dict[str, list[float]] = {"by hand": [], "pit-join": []}
    macros: Any = Macros()
    with scratch() as session, duckdb.connect() as connection:
        _tables(lambda sql: session.execute(sql, "the tables cannot be made"))
        _tables(connection.execute)
        for _ in range(repeat + 1):
            start = time.perf_counter()
            by_hand(connection)
            taken["by hand"].append(time.perf_counter() - start)
            start = time.perf_counter()
            profiles = profiles_of(session, macros, "before", columns, ["entity"])
            found = drifts_of(session, macros, "now", columns, ["entity"], profiles)
            taken["pit-join"].append(time.perf_counter() - start)
            if len(found) != FEATURES or any(one.psi is None or one.psi > 0.01 for one in found.values()):
                sys.exit("the drift is wrong")
    lines = [["", "wall s", "from - to", "ratio", "target"]]
    for what, times in taken.items():
        ours = times[1:]  # the first round is not warm
        ratio = median(one / other for one, other in zip(ours, taken["by hand"][1:], strict=True))
        met = "met" if ratio <= 1.5 else "missed"
        target = f"<= 1.5x by hand: {met} ({ratio:.2f}x)" if what == "pit-join" else "-"
        lines.append([what, f"{median(ours):.2f}", f"{min(ours):.2f} - {max(ours):.2f}", f"{ratio:.2f}x", target])
    return markdown(lines)


def _take(command: list[str], repeat: int) -> list[float]:
    taken = []
    for _ in range(repeat + 1):
        done = measure(command)
        if done.error:
            sys.exit(f"{command}: {done.error}")
        taken.append(done.wall)
    return taken[1:]


def _row(what: str, taken: list[float], most: float, more: str = "") -> list[str]:
    met = "met" if median(taken) <= most else "missed"
    return [what, f"{median(taken):.2f}", f"{min(taken):.2f} - {max(taken):.2f}", f"<= {most:g} s: {met}", more]


def monitored(where: Path, repeat: int) -> list[str]:
    """`pit-join monitor` of the demo, freshness and rates of all views."""
    demo(where)
    os.chdir(where)
    place = ["--project-dir", str(where), "--profiles-dir", str(where / "profiles")]
    dbt = [str(Path(sys.executable).with_name("dbt")), "--no-send-anonymous-usage-stats", "--quiet", "build", *place]
    for command in (dbt, [pit_join(), *place, "export", "--as-of", NOW]):
        if error := measure(command).error:
            sys.exit(error)
    views = "aircraft_facts,aircraft_last_leg,carrier_daily_delay,carrier_landings,route_history,airport_weather"
    command = [pit_join(), *place, "monitor", "--now", NOW, "--select", views]
    return _row("`monitor` of the demo: freshness and rates", _take(command, repeat), 3)


def reported(where: Path, repeat: int) -> list[str]:
    """`pit-join report` of many views, with kept results."""
    for name in ("models", "profiles"):
        (where / name).mkdir(parents=True)
    (where / "dbt_project.yml").write_text("name: bench\nprofile: bench\n")
    profile = "bench: {target: dev, outputs: {dev: {type: duckdb, path: warehouse.duckdb}}}\n"
    (where / "profiles" / "profiles.yml").write_text(profile)
    for number in range(WIDE):
        (where / "models" / f"view_{number}.sql").write_text("select 1 as user_id")
        columns = "".join(
            f"      - {{name: f{i}, data_type: double, description: A number.}}\n" for i in range(COLUMNS)
        )
        (where / "models" / f"view_{number}.yml").write_text(f"models:\n{VIEW.format(number=number)}{columns}")
    install_macros(where)
    os.chdir(where)
    columns = ", ".join(f"random() as f{i}" for i in range(COLUMNS))
    with duckdb.connect(str(where / "warehouse.duckdb")) as connection:
        for number in range(WIDE):
            connection.execute(
                f"create table view_{number} as select range as user_id, "
                f"timestamptz '2026-03-01' + to_seconds(range) as event_timestamp, {columns} from range(1000)"
            )
    for run in range(RUNS):
        results = [
            Result(check, f"view_{number}", f"f{i}", run / 100 + i / 1000, 0.2, place)
            for check, place in SERIES
            for number in range(WIDE)
            for i in range(COLUMNS)
        ]
        keep_results(where / "monitoring" / "dev", results, datetime(2026, 3, 1 + run, tzinfo=timezone.utc))
    page = where / "page.html"
    place = ["--project-dir", str(where), "--profiles-dir", str(where / "profiles")]
    taken = _take([pit_join(), *place, "report", "--output", str(page)], repeat)
    size = page.stat().st_size / 1e6
    met = "met" if size <= 3 else "missed"
    return _row(f"`report` of {WIDE} views with {COLUMNS} features", taken, 5, f"{size:.2f} MB, <= 3 MB: {met}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="rounds")
    arguments = parser.parse_args()
    about = f"Profile and drift of {FEATURES} features of {ROWS:,} rows, {ENTITIES:,} entities, on both sides"
    parts = [
        "# Benchmark results: monitoring and the page",
        "Made by `benchmarks/monitor_run.py`; README.md says what the lines are.",
        f"{facts()}* medians of {arguments.repeat} rounds",
        f"## {about}",
        drift(arguments.repeat),
    ]
    with tempfile.TemporaryDirectory(prefix="monitor-") as name:
        rows = [monitored(Path(name, "demo"), arguments.repeat), reported(Path(name, "wide"), arguments.repeat)]
    table = markdown([["whole commands", "wall s", "from - to", "target", ""], *rows])
    parts += ["## Commands", table]
    print("\n\n".join(parts[3:]))
    (HERE / "RESULTS-monitor.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
