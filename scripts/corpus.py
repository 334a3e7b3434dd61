"""Show or extend the stored corpus of cases (tests/python/corpus) and the variants that each case catches.

python scripts/corpus.py table           each broken variant, and the first case that catches it in each plan
python scripts/corpus.py update [KIND]   look for a case for each variant that no stored case catches
python scripts/corpus.py add FILE ...    add cases that failed in a run (target/failed_cases/*.json)
python scripts/corpus.py expect          write the results of the oracle again, after a change of the rule
"""

import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python"))

from support.corpus import CORPUS, KINDS, Entry, catches, entry_of, generated, kept, read, write
from support.variants import VARIANTS, about, broken, label

POOL = {"rule": 2000, "windows": 1000, "history": 1000}


def table() -> int:
    """Print each variant, its plan, and the first case that catches it."""
    missing = 0
    for kind in KINDS:
        entries = read(kind)
        for name, plan in about(kind):
            number = next((i for i, entry in enumerate(entries) if label(name, plan) in entry.catches), None)
            missing += number is None
            case = "NONE" if number is None else f"corpus/{kind}.json[{number}]"
            print(f"{kind:8} {plan:9} {name:60} {case}")
    return 1 if missing else 0


def update(kinds: Iterable[str]) -> int:
    """Assign to each variant the first case that catches it: its stored one, a generated one, or any stored one."""
    missing = 0
    for kind in kinds:
        entries: list[Entry] = read(kind) if (CORPUS / f"{kind}.json").exists() else []
        pool = Pool(kind)
        with duckdb.connect(config={"threads": 1}) as connection:
            for name, plan in about(kind):
                macros, called = broken(VARIANTS[kind][name]), label(name, plan)
                own = [entry for entry in entries if called in entry.catches]
                candidates = itertools.chain(own, pool.entries(), entries)
                found = next((each for each in candidates if catches(each, plan, connection, macros)), None)
                for entry in own:
                    entry.catches.remove(called)
                if found is None:
                    print(f"{kind}: no case catches {name!r} in the plan {plan!r}")
                    missing += 1
                    continue
                found.catches.append(called)
                if not any(found is entry for entry in entries):
                    entries.append(found)
        write(kind, entries)
        print(f"{kind}: {len(entries)} cases")
    return 1 if missing else 0


class Pool:
    """The generated cases of a kind with their results, each made once."""

    def __init__(self, kind: str) -> None:
        self.kind, self.made, self.cases = kind, list[Entry](), generated(kind, POOL[kind])

    def entries(self) -> Iterator[Entry]:
        """Yield the cases from the first on."""
        for number in itertools.count():
            if number == len(self.made):
                case = next(self.cases, None)
                if case is None:
                    return
                self.made.append(entry_of(self.kind, case))
            yield self.made[number]


def add(files: list[str]) -> int:
    """Add cases that failed in a run, with the results of the oracle."""
    for entry in (kept(Path(file)) for file in files):
        write(entry.kind, [*read(entry.kind), entry])
    return 0


def expect() -> int:
    """Write the results of the oracle again."""
    for kind in KINDS:
        entries = read(kind)
        for entry in entries:
            entry.wanted = entry_of(kind, entry.case).wanted
        write(kind, entries)
    return 0


def main() -> int:
    """Run the command."""
    command, *files = sys.argv[1:] or ["help"]
    commands = {"table": table, "update": lambda: update(files or KINDS), "expect": expect, "add": lambda: add(files)}
    if command not in commands:
        print(__doc__)
        return 2
    return commands[command]()


if __name__ == "__main__":
    sys.exit(main())
