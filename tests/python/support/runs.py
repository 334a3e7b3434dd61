"""Generated cases in a run: how many, from which seed, and those for which a check failed.

`make test` takes few, `make test-long` all. The seed is printed, and `FIRST_SEED` repeats it; under `CI=true` it is 0.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

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

failed: list[Mapping[str, Any]] = []
"""What a check was given when it failed; `conftest` writes the cases among it to files."""


def number_of(few: int, many: int, variable: str | None = None) -> int:
    """The number of cases: few, many in a long run, or what an environment variable says."""
    number = many if LONG else few
    return int(os.environ.get(variable, number)) if variable else number


def first_seed() -> int:
    """The seed of this run."""
    return int(os.environ.get("FIRST_SEED", "0"))


def for_each(check: Callable[..., None], examples: int, first: int | None = None, **strategies: Any) -> None:
    """Call a check with that many examples, those of the run's seed or of another first seed.

    In runs of ten: of more examples in one run Hypothesis makes six of seven by copying a part of an earlier example,
    so that whole kinds of cases never come up.
    """
    first = first_seed() if first is None else first
    last: dict[str, Any] = {}

    @functools.wraps(check)
    def remembered(**drawn: Any) -> None:
        last.clear()
        last.update(drawn)
        check(**drawn)

    for number in range(first, first + -(-examples // RUN)):
        try:
            seed(number)(SETTINGS(given(**strategies)(remembered)))()
        except Exception:
            failed.append(dict(last))  # Hypothesis ends with the smallest example that fails
            raise
