"""Measure how a command of pit-join starts: after dbt has read the project, once more, and after an edit.

Example: ``python benchmarks/start_run.py --repeat 5``. It writes RESULTS-start.md; see README.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from make_data import install_macros
from online_measure import markdown
from run import HERE, facts, measure, pit_join

MODELS, VIEWS = 300, 30
PROFILE = "bench: {target: dev, outputs: {dev: {type: duckdb, path: warehouse.duckdb}}}\n"
DEMO = (
    "dbt_project.yml",
    "profiles",
    "seeds",
    "models",
    "macros",
    "examples/on_demand",
    "examples/engines",
    "tests/dbt",
)
VIEW = """\
  - name: model_{number}
    config:
      event_time: event_timestamp
      meta: {{pit_join: {{entity: user, join_keys: [user_id]}}}}
    columns:
      - {{name: user_id, data_type: bigint, data_tests: [not_null]}}
      - {{name: event_timestamp, data_type: timestamptz}}
      - {{name: amount_{number}, data_type: double}}
"""
MODEL = "  - {{name: model_{number}, description: a model, columns: [{{name: user_id, data_tests: [not_null]}}]}}\n"
SQL = """\
select {key} as user_id, timestamptz '2026-01-01 00:00:00+00' as event_timestamp, {number}.5::double as amount_{number}
"""


def demo(where: Path) -> Path:
    """A copy of the demo project; returns the model that is edited."""
    for name in DEMO:
        source = HERE.parent / name
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, where / name) if source.is_dir() else shutil.copy(source, where / name)
    return where / "models" / "examples" / "user_activity.sql"


def many(where: Path) -> Path:
    """A project of many models, most on the one before them, some feature views; returns the one in the middle."""
    for name in ("models", "profiles"):
        (where / name).mkdir(parents=True)
    (where / "dbt_project.yml").write_text("name: bench\nprofile: bench\n")
    (where / "profiles" / "profiles.yml").write_text(PROFILE)
    for number in range(MODELS):
        source = "" if number % 10 == 0 else f"from {{{{ ref('model_{number - 1}') }}}}"
        key = "user_id" if source else "1::bigint"
        (where / "models" / f"model_{number}.sql").write_text(SQL.format(key=key, number=number) + source)
    for first in range(0, MODELS, 10):
        numbers = range(first, first + 10)
        text = "".join((VIEW if number % (MODELS // VIEWS) == 0 else MODEL).format(number=number) for number in numbers)
        (where / "models" / f"models_{first}.yml").write_text(f"models:\n{text}")
    install_macros(where)
    return where / "models" / f"model_{MODELS // 2}.sql"


def rounds(where: Path, model: Path, repeat: int) -> dict[str, list[float]]:
    """The CPU seconds of each command, round by round; each round edits a model twice."""
    os.chdir(where)  # for dbt, relative paths of a profile start where it is run
    place = ["--project-dir", str(where), "--profiles-dir", str(where / "profiles")]
    dbt = [str(Path(sys.executable).with_name("dbt")), "--no-send-anonymous-usage-stats", "--quiet"]
    parse, views = [*dbt, "parse", *place], [pit_join(), "views", *place]
    taken: dict[str, list[float]] = {}

    def take(what: str, command: list[str]) -> None:
        done = measure(command)
        if done.error:
            sys.exit(f"{what}: {done.error}")
        taken.setdefault(what, []).append(done.cpu)

    def edit(number: int) -> None:
        with model.open("a") as file:
            file.write(f"\n-- {number}")

    take("", [*dbt, "build", *place])
    for number in range(repeat + 1):
        edit(2 * number)
        take("dbt parse, after an edit", parse)
        take("pit-join views, right after dbt", views)
        take("pit-join views, again", views)
        edit(2 * number + 1)
        take("pit-join views, after an edit", views)
    del taken[""]
    return {what: times[1:] for what, times in taken.items()}  # the first round fills the caches of files and bytecode


def table(taken: dict[str, list[float]]) -> str:
    dbts = next(iter(taken.values()))
    lines = [["", "CPU s", "from - to", "ratio to dbt parse"]]
    for what, times in taken.items():
        ratio = median(ours / theirs for ours, theirs in zip(times, dbts, strict=True))
        lines.append([what, f"{median(times):.2f}", f"{min(times):.2f} - {max(times):.2f}", f"{ratio:.2f}x"])
    return markdown(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="rounds")
    arguments = parser.parse_args()
    parts = [
        "# Benchmark results: the start of a command",
        "Made by `benchmarks/start_run.py`; README.md says what the lines are.",
        f"{facts()}* medians of {arguments.repeat} rounds",
    ]
    with tempfile.TemporaryDirectory(prefix="start-") as name:
        for title, make in (("the demo project", demo), (f"{MODELS} models, {VIEWS} of them feature views", many)):
            where = Path(name, make.__name__)
            taken = rounds(where, make(where), arguments.repeat)
            parts += [f"## {title[0].upper()}{title[1:]}", table(taken)]
            print(f"\n{title}\n\n{table(taken)}")
    (HERE / "RESULTS-start.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
