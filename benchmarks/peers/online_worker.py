"""What every peer of the online scenarios shares: it does what it is told on standard input, and times it.

A command is a line of JSON, ``{"do": name, ...}``, and so is the answer. A peer prints nothing else to standard output.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CANDIDATES = 500
_GROUP = 20  # requests between two looks at the context switches, if there are many
_MANY = 500


def serve(commands: dict[str, Callable[..., Any]]) -> None:
    """Do commands until standard input ends; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answers.write("{}\n")
    answers.flush()
    for line in sys.stdin:
        given = json.loads(line)
        found = commands[given.pop("do")](**given)
        answers.write(json.dumps(found) + "\n")
        answers.flush()


def timed(call: Callable[[Any], Any], requests: Sequence[Any]) -> dict[str, Any]:
    """The nanoseconds of each request, and the numbers of those during which this thread was preempted.

    The kernel's count is read between groups of requests: the whole group counts as preempted if it has grown.
    """
    clock, took, preempted = time.perf_counter_ns, [0] * len(requests), []
    group = _GROUP if len(requests) >= _MANY else 1
    for start in range(0, len(requests), group):
        end = min(start + group, len(requests))
        switches = _switches()
        for i in range(start, end):
            request = requests[i]
            begin = clock()
            call(request)
            took[i] = clock() - begin
        if _switches() > switches:
            preempted += range(start, end)
    return {"ns": took, "preempted": preempted}


def _switches() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def entities(seed: int, count: int, most: int) -> list[int]:
    """Numbers of entities by chance, the same for every peer."""
    return np.random.default_rng(seed).integers(0, most, count).tolist()


def candidates(data: Path, seed: int, count: int) -> list[tuple[int, list[int]]]:
    """Requests by chance, the same for every peer: a user, and items that have a pair with it."""
    items = np.load(data / "raw" / "candidates.npy")
    rng = np.random.default_rng(seed)
    users = rng.integers(0, len(items), count).tolist()
    return [(user, rng.choice(items[user], CANDIDATES, replace=False).tolist()) for user in users]


def views_of(data: Path) -> list[dict[str, Any]]:
    """The views of the project, as `scenario.json` has them."""
    return list(json.loads((data / "scenario.json").read_text())["views"])


def features_of(data: Path) -> list[str]:
    """References to all features of all views."""
    return [f"{view['name']}:{feature}" for view in views_of(data) for feature in view["features"]]


def wrong_vectors(data: Path, ids: Sequence[int], vectors: Sequence[dict[str, Any]]) -> int:
    """How many vectors are not what the Parquet files say; a NaN stands for null where a peer has no nulls."""
    import pyarrow.parquet as pq

    expected: list[dict[str, Any]] = [{} for _ in ids]
    for view in views_of(data):
        rows = pq.read_table(data / "raw" / f"{view['name']}.parquet", columns=view["features"]).take(ids).to_pylist()
        for one, row in zip(expected, rows, strict=True):
            one |= row
    return sum(
        {name: None if value != value else value for name, value in vector.items() if name in one} != one
        for vector, one in zip(vectors, expected, strict=True)
    )
