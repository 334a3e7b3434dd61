"""Test the tests: change one token of the macros at a time, and compare with the oracle.

python scripts/mutants.py                         list the mutants
python scripts/mutants.py run [--only TEXT] [--part I/N] [--cases CASES] [--keep]

A mutant that no stored case catches is tried on CASES generated ones (1200) of each kind that it may affect. With
--keep the first generated case that catches a mutant joins the corpus.
"""

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python"))

from generate import load
from support.corpus import KINDS, Entry, asks, differences, entry_of, generated, read, write
from support.mutants import Mutant, mutants

from pit_join.errors import PitJoinError

FAILS = (duckdb.Error, PitJoinError)
LONGEST = 60  # seconds for the results of a case; a recursion without end is an error


class Bench:
    """Stored and generated cases, and the SQL that the unchanged macros render for them."""

    def __init__(self, cases: int) -> None:
        self.connection = duckdb.connect(config={"threads": 1})
        self.stored = {kind: read(kind) for kind in KINDS}
        self.pools = {kind: generated(kind, cases) for kind in KINDS}
        self.made: dict[str, list[Entry]] = {kind: [] for kind in KINDS}
        self.sql: dict[tuple[int, str, str], str] = {}
        self.touched: set[str] = set()
        self.of_looks = False

    def generated(self, kind: str) -> Iterator[Entry]:
        """Yield the generated cases, each made once."""
        yield from self.made[kind]
        for case in self.pools[kind]:
            self.made[kind].append(entry_of(kind, case))
            yield self.made[kind][-1]

    def differs(self, entry: Entry, plan: str, macros: Any) -> bool:
        """Return whether the mutation changes the SQL of any result of a case."""
        kind = KINDS[entry.kind]
        for sheet in kind.sheets(entry.case):
            if not asks(entry.kind, plan, sheet):
                continue
            key = (id(entry), plan, sheet.name)
            if key not in self.sql:
                self.sql[key] = kind.query(entry.case, sheet, plan, self.connection, None)
            if kind.query(entry.case, sheet, plan, self.connection, macros) != self.sql[key]:
                return True
        return False

    def catches(self, entry: Entry, macros: Any) -> str | None:
        """Return the plan in which a case shows that macros are wrong, with a note if DuckDB raises an error."""
        loaded = other = False
        for plan in KINDS[entry.kind].plans:
            try:
                # These plans first read the tables, which must have been loaded.
                looks = plan in ("staged", "export")
                differs = other or self.of_looks if looks else self.differs(entry, plan, macros)
                if not differs:
                    continue
                other = True
                self.touched.add(entry.kind)
                if not loaded:
                    load(self.connection, entry.case)
                    loaded = True
                timer = threading.Timer(LONGEST, self.connection.interrupt)
                timer.start()
                try:
                    if differences(entry, plan, self.connection, macros):
                        return plan
                finally:
                    timer.cancel()
            except FAILS:
                self.touched.add(entry.kind)
                return f"{plan}, an error"
        return None


def first(bench: Bench, entries: Iterator[Entry], macros: Any) -> tuple[int, Entry, str] | None:
    """Return the first case that shows that macros are wrong: its number, the case, the plan."""
    for number, entry in enumerate(entries):
        if plan := bench.catches(entry, macros):
            return number, entry, plan
    return None


def look_at(bench: Bench, mutant: Mutant, keep: bool) -> str:
    """Return a description of the case that catches a mutant."""
    macros = mutant.macros()
    bench.touched, bench.of_looks = set(), mutant.macro.endswith("_facts") or mutant.macro == "_ordered_snapshot"
    for kind in KINDS:
        if found := first(bench, iter(bench.stored[kind]), macros):
            return f"corpus/{kind}.json[{found[0]}], {found[2]}"
    for kind in bench.touched or KINDS:  # stored cases cover, with few exceptions, the macros that generated ones do
        if found := first(bench, bench.generated(kind), macros):
            number, entry, plan = found
            if keep:
                stored = read(kind)
                entry.catches = [f"mutant: {mutant.name}"]
                write(kind, [*stored, entry])
                bench.stored[kind].append(entry)
            return f"generated {kind}[{number}], {plan}"
    return "NOTHING" if bench.touched else "NOTHING, nor does it change the SQL of a case"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", nargs="?", default="list")
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--only", default="", help="text in the name of a mutant")
    parser.add_argument("--cases", type=int, default=1200)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    chosen = [mutant for mutant in mutants() if options.only in mutant.name][part - 1 :: parts]
    if options.command == "list":
        for mutant in chosen:
            print(mutant.name)
        return 0
    bench = Bench(options.cases)
    for mutant in chosen:
        began = time.monotonic()
        print(f"{look_at(bench, mutant, options.keep):40} {time.monotonic() - began:6.1f} s  {mutant.name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
