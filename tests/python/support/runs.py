"""Generated cases in a run: how many, from which seed, and those for which a check failed.

`make test` and `make test-rest` take few, `make test-long` all; the same of long lists of parameters. The seed is
printed, and `FIRST_SEED` repeats it. Where `CI` is set the commit gives the seed: another commit is tested with other
cases, and the same commit with the same.
"""

from __future__ import annotations

import functools
import itertools
import os
import random
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import duckdb
from hypothesis import HealthCheck, Phase, given, note, seed, settings

LONG = os.environ.get("TESTS") == "long"
RUN = 10
SETTINGS = settings(
    max_examples=RUN,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    database=None,
    print_blob=True,
)

ENGINES = list(itertools.product((True, False), (1, 2, 8)))
"""Whether DuckDB keeps the order of insertion, and its threads; a run of ten has one of them, by its seed."""

Value = TypeVar("Value")

failed: list[Mapping[str, Any]] = []
"""What a check was given when it failed; `conftest` writes the cases among it to files."""


def number_of(few: int, many: int, variable: str | None = None) -> int:
    """The number of cases: few, many in a long run, or what an environment variable says."""
    number = many if LONG else few
    return int(os.environ.get(variable, number)) if variable else number


def sampled(values: Iterable[Value], few: int) -> list[Value]:
    """Parameters of a test: a few of them, which the run's seed chooses; all in a long run."""
    every = list(values)
    if LONG or few >= len(every):
        return every
    chosen = random.Random(first_seed()).sample(range(len(every)), few)
    return [every[number] for number in sorted(chosen)]


def first_seed() -> int:
    """The seed of this run."""
    return int(os.environ.get("FIRST_SEED", "0"))


def new_seed() -> int:
    """The seed of a run that names none: by chance, but in CI by the commit."""
    if os.environ.get("CI") != "true":
        return random.randrange(2**32)
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=8", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True, check=False)
    return int(head.stdout, 16) if head.returncode == 0 else 0


def for_each(
    check: Callable[..., None],
    examples: int,
    first: int | None = None,
    *,
    on: duckdb.DuckDBPyConnection | None = None,
    until: Callable[[], bool] = lambda: True,
    **strategies: Any,
) -> None:
    """Call a check with that many examples, those of the run's seed or of another first seed.

    In a long run, or with a first seed of its own, more are drawn `until` all has come up that the test wants to have
    seen, which must be within ten times as many. The connection `on` keeps the order of insertion or not, and has one
    thread or several, by the seed of each ten.

    In runs of ten: of more examples in one run Hypothesis makes six of seven by copying a part of an earlier example,
    so that whole kinds of cases never come up.
    """
    wanted = until if LONG or first is not None else lambda: True
    first = first_seed() if first is None else first
    last: dict[str, Any] = {}

    @functools.wraps(check)
    def remembered(**drawn: Any) -> None:
        last.clear()
        last.update(drawn)
        if on is not None:
            note(f"DuckDB's preserve_insertion_order and threads: {engine}")
        check(**drawn)

    for number in itertools.count(first):
        drawn = (number - first) * RUN
        if drawn >= examples and (wanted() or drawn >= 10 * examples):
            break
        engine = ENGINES[number % len(ENGINES)]
        if on is not None:
            on.execute(f"set preserve_insertion_order = {engine[0]}; set threads = {engine[1]}")
        try:
            few = settings(SETTINGS, max_examples=min(RUN, examples - drawn)) if drawn < examples else SETTINGS
            seed(number)(few(given(**strategies)(remembered)))()
        except Exception:
            failed.append(dict(last))  # Hypothesis ends with the smallest example that fails
            raise
    assert wanted(), "not all has come up that the test wants to have seen"
