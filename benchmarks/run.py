"""Run the benchmark: every competitor as a whole process, side by side, and a table of what each took.

Example: ``python benchmarks/run.py --scenario A B --repeat 5``. See README.md for what is measured and how.

This process stays small on purpose (no numpy, no DuckDB): Linux counts the parent's memory into the peak of a
child that it starts.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
FEAST_VENV = HERE / ".venv-feast"
TIMEOUT = 3_600  # seconds
PRODUCT, ASOF = "pit-join", "hand-written ASOF"
PROGRAMS = {  # name in the table: script in peers/
    ASOF: "duckdb_asof",
    "polars join_asof": "polars_asof",
    "pandas merge_asof": "pandas_asof",
    "Feast on DuckDB": "feast_duckdb",
    "Feast, imports only": "feast_imports",
    "floor": "floor",
}
FEAST, FEAST_IMPORTS, FLOOR = "Feast on DuckDB", "Feast, imports only", "floor"
NOT_COMPARED = (FEAST_IMPORTS, FLOOR)  # their output, if any, is no training set


@dataclass(frozen=True)
class Target:
    """A bound on the paired ratio of wall times to the entry with the label ``to``."""

    to: str
    bound: float
    at_least: bool = False
    without: str = ""  # label of the entry (a start-up) whose time is left out in a second ratio


@dataclass
class Entry:
    """One line of a table: a competitor on a data set, and what was measured of it."""

    program: str
    data: str
    label: str = ""
    shrink: float = 1.0  # part of the full size, for peers that cannot do all of it in reasonable time
    to: str = ""  # label of the entry that the ratio refers to
    target: Target | None = None
    limit: str = ""  # DuckDB's memory_limit
    runs: list[Run] = field(default_factory=list)  # the first is the warm-up
    check: str = ""
    correct: bool = False

    def __post_init__(self) -> None:
        self.label = self.label or self.program

    @property
    def failed(self) -> bool:
        return any(run.error for run in self.runs)


@dataclass(frozen=True)
class Run:
    """One process: seconds of wall and CPU, peak memory in bytes, and what it said if it failed."""

    wall: float
    cpu: float
    peak: int
    error: str = ""


def _versus_asof(data: str, bound: float, *, feast: Target | None = None) -> list[Entry]:
    return [
        Entry(ASOF, data),
        Entry(PRODUCT, data, to=ASOF, target=Target(ASOF, bound)),
        Entry("polars join_asof", data, to=ASOF),
        Entry("pandas merge_asof", data, to=ASOF),
        Entry(FEAST, data, to=ASOF, target=feast),
        Entry(FEAST_IMPORTS, data, to=ASOF),
        Entry(FLOOR, data, to=ASOF),
    ]


def cases(memory_limit: str) -> dict[str, tuple[str, list[Entry]]]:
    """The title and the entries of each scenario."""
    large = _versus_asof("C", 0.8)
    large = [e for e in large if e.program not in (FEAST, FEAST_IMPORTS)]
    tenth = f"{ASOF}, a tenth"
    large.append(Entry(ASOF, "C", tenth, shrink=0.1))
    large.append(Entry(FEAST, "C", f"{FEAST}, a tenth", shrink=0.1, to=tenth))
    variants = {
        "A": "plain",
        "D1": "created, none late",
        "D2": "ties possible",
        "D3": "25 % late",
        "D4": "5 % tied",
    }
    bounds = {"D1": 1.3, "D2": 1.3, "D3": 2.5, "D4": 2.5}
    plain = f"{PRODUCT}, {variants['A']}"
    ability = [
        Entry(
            program,
            data,
            f"{program}, {what}",
            to="" if (program, data) == (PRODUCT, "A") else plain,
            target=Target(plain, bounds[data]) if program == PRODUCT and data in bounds else None,
        )
        for program in (PRODUCT, ASOF)
        for data, what in variants.items()
    ]
    limited = [
        Entry(program, data, f"{program}, {data}", limit=memory_limit)
        for data in ("B", "C")
        for program in (PRODUCT, ASOF)
    ]
    return {
        "A": (
            "A: one narrow view (1M spine rows, 10M history rows, 5 features)",
            _versus_asof("A", 1.15, feast=Target(PRODUCT, 2.5, at_least=True, without=FEAST_IMPORTS)),
        ),
        "B": ("B: wide (17k spine rows, 10 views of 300k rows and 100 features)", _versus_asof("B", 0.5)),
        "C": ("C: large (1M spine rows, 5 views of 5M rows and 20 features)", large),
        "D": ("D: what abilities cost (as A; ratios to the product on the plain data)", ability),
        "M": (f"M: B and C under DuckDB's memory_limit of {memory_limit} (target: they finish)", limited),
    }


def command(entry: Entry, data: Path, output: Path) -> list[str]:
    """The command line of an entry."""
    if entry.program != PRODUCT:
        script = PROGRAMS[entry.program]
        python = FEAST_VENV / "bin" / "python" if script.startswith("feast") else sys.executable
        return [str(python), str(HERE / "peers" / f"{script}.py"), str(data), str(output)]
    views = sorted(path.stem for path in (data / "models").glob("*.sql"))
    features = ",".join(f"{view}:*" for view in views)
    spine = data / "raw" / "spine.parquet"
    build = ["build-training-set", "--spine", str(spine), "--features", features, "--output", str(output)]
    return [pit_join(), "--project-dir", str(data), *build]


def pit_join() -> str:
    beside = Path(sys.executable).parent / "pit-join"
    return str(beside) if beside.exists() else shutil.which("pit-join") or ""


def measure(argv: list[str], limit: str = "") -> Run:
    """Run a command to its end and say what it and the processes it started took."""
    hidden = ("PYTHONDONTWRITEBYTECODE", "PIT_JOIN_MEMORY_LIMIT")
    env = {k: v for k, v in os.environ.items() if k not in hidden}
    if limit:
        env["PIT_JOIN_MEMORY_LIMIT"] = limit
    os.sync()  # no one pays for what the one before left to be written
    with tempfile.TemporaryFile() as stderr:
        start = time.perf_counter()
        process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True)
        timer = threading.Timer(TIMEOUT, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # an interrupt of this process reaches the other's session no other way
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            timer.cancel()
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        error = ""
        if process.returncode:
            stderr.seek(0)
            error = _reason(stderr.read().decode(errors="replace"), process.returncode)
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, error)


def _reason(stderr: str, status: int) -> str:
    """The line of stderr that names the error: the last one with that word, else the last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    named = [line for line in lines if "error" in line.lower()]
    return (named or lines or [f"exit status {status}"])[-1][:200]


class Data:
    """The data of this run, made when first needed, with the reference output of each directory."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.known: dict[tuple[str, float], Path] = {}

    def directory(self, entry: Entry) -> Path:
        key = (entry.data, self.scale * entry.shrink)
        if key not in self.known:
            make = [sys.executable, str(HERE / "make_data.py")]
            make += ["--scenario", key[0], "--scale", f"{key[1]:g}"]
            made = subprocess.run(make, stdout=subprocess.PIPE, text=True, check=False)
            if made.returncode:
                sys.exit("the data could not be made")
            directory = Path(made.stdout.strip())
            run = measure(command(Entry(ASOF, entry.data), directory, directory / "reference.parquet"))
            if run.error:
                sys.exit(f"the reference output of {directory.name} could not be made: {run.error}")
            self.known[key] = directory
        return self.known[key]

    def output(self, entry: Entry) -> Path:
        return self.directory(entry) / "output.parquet"

    def remove_references(self) -> None:
        for directory in self.known.values():
            (directory / "reference.parquet").unlink(missing_ok=True)


def run_case(entries: list[Entry], data: Data, repeat: int) -> None:
    """One warm-up of each entry, whose output is compared, then the timed rounds in turn."""
    for entry in entries:
        data.directory(entry)
    for turn in range(1 + repeat):
        for entry in entries:
            if entry.failed:
                continue
            output = data.output(entry)
            run = measure(command(entry, data.directory(entry), output), entry.limit)
            entry.runs.append(run)
            if turn == 0 and not run.error and entry.program not in NOT_COMPARED:
                check(entry, output)
            output.unlink(missing_ok=True)
            what = "warm-up" if turn == 0 else f"round {turn}"
            print(f"{what}: {entry.label}: {run.error or f'{run.wall:.2f} s'}", file=sys.stderr, flush=True)


def check(entry: Entry, output: Path) -> None:
    """Compare an output with the reference beside it, in a process of its own."""
    argv = [sys.executable, HERE / "compare.py", output.with_name("reference.parquet"), output]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    entry.check = done.stdout.strip() or f"could not be compared: {_reason(done.stderr, done.returncode)}"
    entry.correct = done.returncode == 0


def ratio(entry: Entry, other: Entry | None, without: Entry | None = None) -> float | None:
    """The median over the rounds of the ratio of wall times in the same round."""
    if other is None or entry.failed or other.failed:
        return None
    walls = [run.wall for run in entry.runs[1:]]
    if without is not None:
        walls = [wall - run.wall for wall, run in zip(walls, without.runs[1:], strict=True)]
    return median(wall / run.wall for wall, run in zip(walls, other.runs[1:], strict=True))


def table(entries: list[Entry]) -> str:
    """The markdown table of a case."""
    by_label = {entry.label: entry for entry in entries}
    head = ["", "wall s", "from - to", "CPU s", "peak MB", "first run s", "ratio", "to", "target", "output"]
    lines = []
    for entry in entries:
        if entry.failed:
            error = next(run.error for run in entry.runs if run.error).replace("|", "/")
            lines.append([entry.label, *["-"] * 7, "failed" if entry.limit else "-", f"FAILED: {error}"])
            continue
        timed = entry.runs[1:]
        walls = [run.wall for run in timed]
        value = ratio(entry, by_label.get(entry.to))
        lines.append(
            [
                entry.label,
                f"{median(walls):.2f}",
                f"{min(walls):.2f} - {max(walls):.2f}",
                f"{median(run.cpu for run in timed):.2f}",
                f"{max(run.peak for run in timed) / 1e6:.0f}",
                f"{entry.runs[0].wall:.2f}",
                "-" if value is None else f"{value:.2f}x",
                entry.to if value is not None else "-",
                verdict(entry, by_label),
                entry.check or "not compared",
            ]
        )
    rows = [head, ["---"] * len(head), *lines]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def verdict(entry: Entry, by_label: dict[str, Entry]) -> str:
    """The target and whether it is met."""
    target = entry.target
    if entry.limit:
        return "finished" if entry.correct else "output differs"
    if target is None:
        return "-"
    text = f"{'>=' if target.at_least else '<='} {target.bound:g}x {target.to}"
    value = ratio(entry, by_label.get(target.to))
    if value is None:
        return f"{text}: unknown"
    if entry.program == PRODUCT and not entry.correct:
        return f"{text}: MISSED, output differs"
    met = value >= target.bound if target.at_least else value <= target.bound
    text += f": {'met' if met else 'MISSED'} ({value:.2f}x"
    without = by_label.get(target.without)
    if without is not None and not without.failed:
        text += f"; {ratio(entry, by_label[target.to], without):.2f}x less its imports"
    return text + ")"


def prepare_feast() -> None:
    """Make the virtual environment of Feast, or make it anew if the requirements changed."""
    requirements, stamp = HERE / "requirements-feast.txt", FEAST_VENV / "installed.txt"
    if stamp.exists() and stamp.read_text() == requirements.read_text():
        return
    print("installing Feast into benchmarks/.venv-feast", file=sys.stderr, flush=True)
    pip = [str(FEAST_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "-r", str(requirements)]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(FEAST_VENV)], check=True)
        subprocess.run(pip, check=True)
    except subprocess.CalledProcessError:
        sys.exit("Feast could not be installed (it needs Python 3.11 or newer); --skip feast_duckdb goes without")
    stamp.write_text(requirements.read_text())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def facts() -> str:
    """The versions and the machine, without its name."""
    names = ["pit-join", "duckdb", "dbt-core", "dbt-duckdb", "polars", "pandas", "pyarrow"]
    versions = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in names)]
    pins = (HERE / "requirements-feast.txt").read_text().split()
    chosen = ("feast==", "ibis-framework==", "duckdb==", "pandas==")
    shown = [pin.replace("==", " ") for pin in pins if pin.startswith(chosen)]
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        cpu = next((x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x), cpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"* {', '.join(versions)}\n* Feast's environment: {', '.join(shown)}\n"
        f"* {cpu}, {os.cpu_count()} cores, {memory:.0f} GB of memory, {platform.system()}\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", nargs="+", choices=list("ABCDM"), default=list("ABCDM"))
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full size (smoke run: 0.02)")
    parser.add_argument("--repeat", type=int, default=3, help="timed rounds after the warm-up")
    parser.add_argument("--memory-limit", default="1GB", help="DuckDB's memory_limit in scenario M")
    parser.add_argument("--skip", nargs="+", choices=[PRODUCT, *PROGRAMS.values()], default=[])
    parser.add_argument("--output", type=Path, help="default: RESULTS.md; in data/ if --scale is not 1")
    args = parser.parse_args()
    if args.repeat < 1 or args.scale <= 0:
        parser.error("--repeat and --scale must be positive")
    if PRODUCT not in args.skip and not pit_join():
        parser.error("pit-join is not installed beside this Python; install it, or --skip pit-join")
    if "feast_duckdb" in args.skip:
        args.skip.append("feast_imports")
    elif {"A", "B", "C"} & set(args.scenario):
        prepare_feast()
    usual = HERE / "RESULTS.md" if args.scale == 1 else HERE / "data" / f"RESULTS-{args.scale:g}.md"
    output = args.output or usual
    text = "# Benchmark results\n\nMade by `benchmarks/run.py`; README.md says what the columns mean.\n\n"
    text += f"{facts()}* scale {args.scale:g}, medians of {args.repeat} rounds\n"
    if args.scale != 1:
        text += "\nThe targets are meant for scale 1: at this scale start-up decides.\n"
    data, good = Data(args.scale), True
    try:
        for name in args.scenario:
            title, entries = cases(args.memory_limit)[name]
            entries = [e for e in entries if PROGRAMS.get(e.program, PRODUCT) not in args.skip]
            run_case(entries, data, args.repeat)
            section = f"\n## {title}\n\n{table(entries)}\n"
            print(section, flush=True)
            text += section
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(text)
            good &= all(e.correct and not e.failed for e in entries if e.program == PRODUCT)
    finally:
        data.remove_references()
    print(f"written to {output}", file=sys.stderr)
    if not good:
        print("pit-join failed or its output differs from the reference", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
