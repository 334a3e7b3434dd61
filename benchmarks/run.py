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
from pathlib import Path
from statistics import median

from cases import AUDIT, BUILD, EXPLAIN, NOT_COMPARED, OURS, PRODUCT, PROGRAMS, REPLAY, TIMEOUT  # isort: skip
from cases import Entry, Run, Target, cases  # isort: skip

HERE = Path(__file__).resolve().parent
SCENARIOS = (
    "A", "B", "C", "D", "P", "U", "F", "M", "W1", "W2", "W3", "W4", "W5", "W6", "W7", "G", "V",
    "explain", "audit", "replay",
)  # fmt: skip
FEAST_VENV = HERE / ".venv-feast"


def command(entry: Entry, data: Path, output: Path) -> list[str]:
    """The command line of an entry."""
    if entry.program == EXPLAIN:
        asked = ["--feature", *entry.features, "--entity", entry.entity, "--at", "2024-12-01", "--offline"]
        return [pit_join(), "--project-dir", str(data), "explain", *asked]
    if entry.program == AUDIT:
        return [pit_join(), "--project-dir", str(data), "audit", str(output), "--event-timestamp", "event_timestamp"]
    if entry.program == REPLAY:
        return [pit_join(), "--project-dir", str(data), "audit", "--replay", "--seed", "1"]
    if entry.program == BUILD:
        return [_beside("dbt"), "build", "--profiles-dir", "profiles"]
    if entry.program != PRODUCT:
        script = PROGRAMS[entry.program]
        python = FEAST_VENV / "bin" / "python" if script.startswith("feast") else sys.executable
        wanted = [",".join(entry.features)] if entry.features else []
        return [str(python), str(HERE / "peers" / f"{script}.py"), str(data), str(output), *wanted]
    views = sorted(path.stem for path in (data / "models").glob("*.sql"))
    features = ",".join(f"{view}:{feature}" for view in views for feature in entry.features or "*")
    spine = data / "raw" / "spine.parquet"
    build = ["build-training-set", "--spine", str(spine), "--features", features, "--output", str(output)]
    plan = ["--window-plan", entry.plan] if entry.plan else []
    return [pit_join(), "--project-dir", str(data), *build, *plan]


def pit_join() -> str:
    return _beside("pit-join")


def _beside(name: str) -> str:
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or ""


def measure(
    argv: list[str], limit: str = "", timeout: int = TIMEOUT, *, status: int = 0, folder: Path | None = None
) -> Run:
    """Run a command to its end and say what it and the processes it started took; `status` is what it must end with."""
    hidden = ("PYTHONDONTWRITEBYTECODE", "PIT_JOIN_MEMORY_LIMIT")
    env = {k: v for k, v in os.environ.items() if k not in hidden}
    if limit:
        env["PIT_JOIN_MEMORY_LIMIT"] = limit
    os.sync()  # no one pays for what the one before left to be written
    with tempfile.TemporaryFile() as stderr:
        start = time.perf_counter()
        out = subprocess.DEVNULL
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=out, stderr=stderr, start_new_session=True)
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(timeout, stop)
        timer.start()
        try:
            _, ended, usage = os.wait4(process.pid, 0)
        except BaseException:  # an interrupt of this process reaches the other's session no other way
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            timer.cancel()
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(ended)
        error = ""
        if timed_out.is_set():
            error = f"not finished in {timeout} s"
        elif process.returncode != status:
            stderr.seek(0)
            error = _reason(stderr.read().decode(errors="replace"), process.returncode)
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, error, timed_out.is_set())


def _reason(stderr: str, status: int) -> str:
    """The line of stderr that names the error: the last one with that word, else the last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    named = [line for line in lines if "error" in line.lower()]
    return (named or lines or [f"exit status {status}"])[-1][:200]


class Data:
    """The data of this run, made when first needed, with the reference outputs in each directory."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.directories: dict[tuple[str, float], Path] = {}
        self.references: dict[tuple[Path, str, tuple[str, ...]], Path] = {}

    def directory(self, entry: Entry) -> Path:
        key = (entry.data, self.scale * entry.shrink)
        if key not in self.directories:
            make = [sys.executable, str(HERE / "make_data.py")]
            make += ["--scenario", key[0], "--scale", f"{key[1]:g}"]
            made = subprocess.run(make, stdout=subprocess.PIPE, text=True, check=False)
            if made.returncode:
                sys.exit("the data could not be made")
            self.directories[key] = Path(made.stdout.strip())
        return self.directories[key]

    def reference(self, entry: Entry) -> Path:
        """The output that is right for an entry."""
        directory = self.directory(entry)
        key = (directory, entry.reference, entry.features)
        if key not in self.references:
            output = directory / f"reference-{len(self.references)}.parquet"
            maker = Entry(entry.reference, entry.data, features=entry.features, plan="range" if entry.plan else "")
            run = measure(command(maker, directory, output))
            if run.error:
                sys.exit(f"the reference output of {directory.name} could not be made: {run.error}")
            self.references[key] = output
        return self.references[key]

    def audited(self, entry: Entry) -> Path:
        """The training set that is audited: the reference, or one with the features of each key's next row."""
        reference = self.reference(entry)
        if not entry.leaks:
            return reference
        leaking = reference.with_name(f"leaking-{reference.name}")
        if not leaking.exists():
            run = measure([sys.executable, str(HERE / "peers" / "off_by_one.py"), str(reference), str(leaking)])
            if run.error:
                sys.exit(f"the leaking set of {reference.parent.name} could not be made: {run.error}")
        return leaking

    def output(self, entry: Entry) -> Path:
        return self.directory(entry) / "output.parquet"

    def remove_references(self) -> None:
        for reference in self.references.values():
            reference.unlink(missing_ok=True)
            reference.with_name(f"leaking-{reference.name}").unlink(missing_ok=True)


def run_case(entries: list[Entry], data: Data, repeat: int) -> None:
    """One warm-up of each entry, whose output is compared, then the timed rounds in turn."""
    for entry in entries:
        if entry.program not in NOT_COMPARED:
            data.reference(entry)
    for turn in range(1 + repeat):
        for entry in entries:
            if entry.failed:
                continue
            output = data.audited(entry) if entry.program == AUDIT else data.output(entry)
            folder = data.directory(entry)
            argv = command(entry, folder, output)
            run = measure(argv, entry.limit, entry.timeout, status=entry.status, folder=folder)
            entry.runs.append(run)
            if turn == 0 and not run.error and entry.program not in NOT_COMPARED:
                check(entry, data.reference(entry), output)
            data.output(entry).unlink(missing_ok=True)
            what = "warm-up" if turn == 0 else f"round {turn}"
            print(f"{what}: {entry.label}: {run.error or f'{run.wall:.2f} s'}", file=sys.stderr, flush=True)


def check(entry: Entry, reference: Path, output: Path) -> None:
    """Compare an output with the reference, in a process of its own."""
    how = [*(["--within", entry.within] if entry.within else []), *(["--as-of"] if entry.as_of else [])]
    argv = [sys.executable, HERE / "compare.py", reference, output, *how]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    entry.check = done.stdout.strip() or f"could not be compared: {_reason(done.stderr, done.returncode)}"
    entry.correct = done.returncode == 0


def seconds(entry: Entry, without: Entry | None = None) -> list[float]:
    """The wall time of each round, less that of another entry in the same round."""
    if without is None:
        return [run.wall for run in entry.runs[1:]]
    return [run.wall - other.wall for run, other in zip(entry.runs[1:], without.runs[1:], strict=True)]


def ratio(entry: Entry, other: Entry | None, without: Entry | None = None, *, cpu: bool = False) -> float | None:
    """The median over the rounds of the ratio of wall (or CPU) times in the same round."""
    if other is None or entry.failed or other.failed:
        return None
    if cpu:
        return median(a.cpu / b.cpu for a, b in zip(entry.runs[1:], other.runs[1:], strict=True))
    return median(a / b for a, b in zip(seconds(entry, without), seconds(other), strict=True))


def per_unit(entry: Entry, start_up: Entry | None) -> list[float]:
    """The wall time of each round for a million events or a view, the start-up left out; none if a run failed."""
    if start_up is None or start_up.failed or entry.failed:
        return []
    return [wall / entry.units for wall in seconds(entry, start_up)]


def table(entries: list[Entry]) -> str:
    """The markdown table of a case."""
    by_label = {entry.label: entry for entry in entries}
    head = ["", "wall s", "from - to", "CPU s", "peak MB", "first run s", "ratio", "to", "target", "output"]
    unit = next((entry.unit for entry in entries if entry.unit), "")
    if unit:
        head.insert(6, f"s per {unit}")
    lines = []
    for entry in entries:
        if entry.failed:
            error = next(run.error for run in entry.runs if run.error).replace("|", "/")
            said = error if entry.unfinished else f"FAILED: {error}"
            lines.append([entry.label, *["-"] * (len(head) - 3), "failed" if entry.limit else "-", said])
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
        if unit:
            each = per_unit(entry, by_label.get(entry.start_up))
            lines[-1].insert(6, f"{median(each):.2f}" if each else "-")
    rows = [head, ["---"] * len(head), *lines]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def verdict(entry: Entry, by_label: dict[str, Entry]) -> str:
    """The targets and whether they are met."""
    target = entry.target
    if entry.wall:
        met = median(run.wall for run in entry.runs[1:]) <= entry.wall
        return f"<= {entry.wall:g} s: {'met' if met else 'MISSED'}"
    if entry.limit:
        return "finished" if entry.correct else "output differs"
    if target is None:
        return "-"
    text = _bound(entry, target, by_label)
    if entry.peak:
        peak = max(run.peak for run in entry.runs[1:]) / 1e9
        text += f"; <= {entry.peak:g} GB: {'met' if peak <= entry.peak else 'MISSED'}"
    return text


def _bound(entry: Entry, target: Target, by_label: dict[str, Entry]) -> str:
    names = (target.to,) if isinstance(target.to, str) else target.to
    text = f"{'>=' if target.at_least else '<='} {target.bound:g}x "
    text += names[0] if len(names) == 1 else f"the better of {' and '.join(names)}"
    if target.per_unit:
        other = by_label.get(names[0])
        mine = per_unit(entry, by_label.get(entry.start_up))
        theirs = per_unit(other, by_label.get(other.start_up)) if other else []
        value = median(a / b for a, b in zip(mine, theirs, strict=True)) if mine and theirs else None
        text += f", per {entry.unit}"
    else:
        # one that did not finish in its time is not the better one
        others = [by_label.get(name) for name in names]
        values = [ratio(entry, other, cpu=target.cpu) for other in others if other is None or not other.unfinished]
        text += " of CPU time" if target.cpu else ""
        value = max(values) if values and None not in values else None
    if target.memory and value is not None:
        mine, theirs = (max(run.peak for run in one.runs[1:]) for one in (entry, by_label[names[0]]))
        met = "met" if mine <= target.memory * theirs else "MISSED"
        text += f", {target.memory:g}x of its memory ({met}, {mine / theirs:.2f}x)"
    if value is None:
        return f"{text}: unknown"
    if entry.program in OURS and not _is_good(entry):
        return f"{text}: MISSED, output differs"
    met = value >= target.bound if target.at_least else value <= target.bound
    text += f": {'met' if met else 'MISSED'} ({value:.2f}x"
    without = by_label.get(target.without)
    if without is not None and not without.failed:
        text += f"; {ratio(entry, by_label[names[0]], without):.2f}x less its imports"
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


def _is_good(entry: Entry) -> bool:
    return not entry.failed and (entry.correct or entry.program in NOT_COMPARED)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
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
            title, entries = cases(args.memory_limit, args.scale)[name]
            entries = [e for e in entries if PROGRAMS.get(e.program, PRODUCT) not in args.skip]
            run_case(entries, data, args.repeat)
            section = f"\n## {title}\n\n{table(entries)}\n"
            print(section, flush=True)
            text += section
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(text)
            good &= all(_is_good(e) for e in entries if e.program in OURS)
    finally:
        data.remove_references()
    print(f"written to {output}", file=sys.stderr)
    if not good:
        print("pit-join failed or its output differs from the reference", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
