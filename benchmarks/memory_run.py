"""Measure the memory of `pit-join build-training-set` on PostgreSQL, and on DuckDB for comparison.

Example: ``python benchmarks/memory_run.py``. It writes the last section of RESULTS-postgres.md; see README.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlparse

import duckdb
import psycopg
from make_data import install_macros
from online_measure import Process, markdown, watched
from postgres_run import MEMORY, SETTINGS
from run import HERE, facts, pit_join

sys.path.append(str(HERE.parent / "tests" / "python"))

from support.postgres import running_postgres

ROWS, VIEWS, HISTORY, KEYS = 10_000_000, 4, 250_000, 50_000
NAMES = ["amount", "rate", "score", "items", "flag"]
MOST = 1e9

# Random numbers are of a hash, so that both engines have the same ones.
RANDOM = "(({row} + {seed} * 1000003) % 2147483647 * 1103515245 % 2147483647)"
MOMENT = "timestamptz '2025-01-01 00:00+00' + {number} % 31536000 * interval '1' second"


def moment(row: str, seed: int) -> str:
    return MOMENT.format(number=RANDOM.format(row=row, seed=seed))


def history(number: int, rows: str) -> str:
    """The rows of a view, each key with one row a time; `rows` yields numbers as n."""
    values = [f"cast({RANDOM.format(row='n', seed=seed + 10 * number)} as double precision) / 7" for seed in range(3)]
    return f"""
        select n % {KEYS} as user_id, {moment(f"cast(floor(n / {KEYS}.0) as bigint)", number)} as event_timestamp,
            {values[0]} as amount, case when n % 33 > 0 then {values[1]} end as rate, {values[2]} as score,
            n % 100 as items, n % 3 = 0 as flag
        from {rows}
    """


def spine(rows: str) -> str:
    key = f"{RANDOM.format(row='n', seed=5)} % {KEYS} as user_id"
    return f"select n as row_id, {key}, {moment('n', 6)} as event_timestamp, n % 2 as label from {rows}"


def make_project(folder: Path, url: str) -> None:
    """A project whose models are the tables that this script makes."""
    (folder / "models").mkdir()
    (folder / "profiles").mkdir()
    settings = {"name": "memory", "version": "1.0", "profile": "memory", "flags": {"send_anonymous_usage_stats": False}}
    (folder / "dbt_project.yml").write_text(json.dumps({**settings, "models": {"+materialized": "table"}}))
    install_macros(folder)
    found = urlparse(url)
    server = {"type": "postgres", "host": found.hostname, "port": found.port, "user": "postgres", "password": ""}
    outputs = {
        "postgres": {**server, "dbname": "postgres", "schema": "public", "threads": 1},
        "duckdb": {"type": "duckdb", "path": "warehouse.duckdb", "threads": 2},
    }
    (folder / "profiles" / "profiles.yml").write_text(
        json.dumps({"memory": {"target": "postgres", "outputs": outputs}})
    )
    types = ["bigint", "timestamptz", *["double precision"] * 3, "bigint", "boolean"]
    columns = [
        {"name": name, "data_type": kind}
        for name, kind in zip(["user_id", "event_timestamp", *NAMES], types, strict=True)
    ]
    models: list[dict[str, object]] = [{"name": "spine"}]
    for number in range(1, VIEWS + 1):
        meta = {"pit_join": {"entity": "user", "join_keys": ["user_id"]}}
        config = {"event_time": "event_timestamp", "meta": meta}
        models.append({"name": f"view_{number}", "config": config, "columns": columns})
    (folder / "models" / "_models.yml").write_text(json.dumps({"models": models}))
    for model in models:
        (folder / "models" / f"{model['name']}.sql").write_text("select 1 as made_by_the_benchmark")


def fill(folder: Path, url: str, rows: int) -> None:
    """Make the same tables on both engines, and the spine as a Parquet file."""
    with psycopg.connect(url, autocommit=True) as server, duckdb.connect(str(folder / "warehouse.duckdb")) as file:
        for name, count in (("spine", rows), *((f"view_{number}", HISTORY) for number in range(1, VIEWS + 1))):
            for connection, numbers in (
                (server, f"generate_series(0, {count - 1}::bigint) as n"),
                (file, f"range({count}) as numbers(n)"),
            ):
                query = spine(numbers) if name == "spine" else history(int(name[-1]), numbers)
                connection.execute(f"create table {name} as {query}")  # type: ignore[arg-type]
        server.execute("analyze")
        file.execute(f"copy spine to '{folder / 'spine.parquet'}' (format parquet)")


def measured(folder: Path, spines: Sequence[str]) -> list[list[str]]:
    """A line for each engine and spine: time and memory of the whole process."""
    lines = [["warehouse", "spine", "wall s", "peak MB", "of them private", "target"]]
    features = ",".join(f"view_{number}:*" for number in range(1, VIEWS + 1))
    for target in ("postgres", "duckdb"):
        for name in spines:
            output = folder / f"{target}-{Path(name).suffix[1:] or 'model'}.parquet"
            asked = ["--spine", name, "--features", features, "--full-feature-names", "--output", str(output)]
            command = [pit_join(), "--project-dir", str(folder), "--target", target, "build-training-set", *asked]
            subprocess.run([*command[:5], "check"], check=False, capture_output=True)  # so that nothing is parsed
            found = watched(command)
            if found.error:
                sys.exit(f"{target}, {name}: {found.error}")
            lines.append(_line(target, name, found))
            print(*lines[-1], flush=True)
    _compare(folder, [Path(name).suffix[1:] or "model" for name in spines])
    return lines


def _line(target: str, name: str, found: Process) -> list[str]:
    verdict = (
        f"<= {MOST / 1e6:,.0f} MB: {'met' if found.resident <= MOST else 'missed'}" if target == "postgres" else "-"
    )
    sizes = [f"{size / 1e6:,.0f}" for size in (found.resident, found.private)]
    return [target, Path(name).suffix[1:] or "model", f"{found.wall:.0f}", *sizes, verdict]


def _compare(folder: Path, kinds: Sequence[str]) -> None:
    """All files have the same rows; those of a file as the spine have them in its order."""
    sums = set()
    with duckdb.connect() as connection:
        for target in ("postgres", "duckdb"):
            for kind in kinds:
                path = folder / f"{target}-{kind}.parquet"
                row = "hash(" + ", ".join(f'"{name}"' for name in _columns(connection, path)) + ")"
                (found,) = connection.execute(f"select count(*), bit_xor({row}) from '{path}'").fetchall()
                sums.add(found)
                if kind == "parquet":
                    numbers = f"select row_id <> row_number() over () - 1 as moved from '{path}'"
                    if connection.execute(f"select count(*) from ({numbers}) where moved").fetchall() != [(0,)]:
                        sys.exit(f"{path.name} is not in the order of its spine")
    if len(sums) > 1:
        sys.exit("the training sets differ")


def _columns(connection: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    return [row[0] for row in connection.execute(f"describe from '{path}'").fetchall()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--rows", type=int, default=ROWS, help="rows of the spine; the file is written for all of them only"
    )
    parser.add_argument("--spine", nargs="*", choices=("model", "file"), default=["model", "file"])
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS-postgres.md")
    arguments = parser.parse_args()
    (HERE / "data").mkdir(exist_ok=True)
    with running_postgres(SETTINGS) as url, tempfile.TemporaryDirectory(dir=HERE / "data") as name:
        folder = Path(name)
        make_project(folder, url)
        fill(folder, url, arguments.rows)
        spines = {"model": "spine", "file": str(folder / "spine.parquet")}
        lines = measured(folder, [spines[each] for each in arguments.spine])
    if arguments.rows == ROWS:
        said = (
            f"{facts()}* {arguments.rows:,} rows of the spine, {VIEWS} views of {HISTORY:,} rows and {len(NAMES)} "
            f"features each, {KEYS:,} keys; one run each, `benchmarks/memory_run.py`"
        )
        kept = arguments.output.read_text().partition(MEMORY)[0].rstrip()
        arguments.output.write_text("\n\n".join([kept, MEMORY, said, markdown(lines)]) + "\n")


if __name__ == "__main__":
    main()
