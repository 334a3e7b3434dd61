"""The stored corpus: today's macros give what is stored, in every plan, and the oracle still says the same.

DuckDB runs all of it as it does by itself, one half in `make test`, the other in `make test-rest`. Where it may leave
the order of insertion, with one, two or eight threads as the run's seed chooses, it runs a ninth of the cases, and all
of them with each number in `make test-long`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import duckdb
import pytest
from generate import load
from support.corpus import KINDS, Entry, decoded, differences, encoded, entry_of, generated, layout, read
from support.runs import LONG, first_seed, sampled


@pytest.fixture(scope="module", params=KINDS)
def entries(request: pytest.FixtureRequest) -> list[Entry]:
    return read(request.param)


Numbered = Sequence[tuple[int, Entry]]


def unlike_the_stored(entries: Numbered, **settings: Any) -> dict[str, list[str]]:
    """What differs in some plan."""
    wrong = {}
    with duckdb.connect(config=settings) as connection:
        for number, entry in entries:
            load(connection, entry.case)
            for plan in KINDS[entry.kind].plans:
                if found := differences(entry, plan, connection):
                    wrong[f"{entry.kind}[{number}], {plan}"] = found[:5]
    return wrong


@pytest.mark.parametrize("half", [0, pytest.param(1, marks=pytest.mark.rest)])
def test_every_plan_gives_what_is_stored(entries: list[Entry], half: int) -> None:
    assert not unlike_the_stored([*enumerate(entries)][half::2])


@pytest.mark.slow
@pytest.mark.parametrize("threads", sampled([1, 2, 8], 1))
@pytest.mark.rest
def test_every_plan_gives_what_is_stored_in_no_order(entries: list[Entry], threads: int) -> None:
    numbered = [*enumerate(entries)]
    some = numbered if LONG else numbered[first_seed() % min(9, len(numbered)) :: 9]
    assert not unlike_the_stored(some, preserve_insertion_order=False, threads=threads)


def test_the_oracle_says_what_is_stored(entries: list[Entry]) -> None:
    """Else `scripts/corpus.py expect` writes it anew, and the difference of the files is read."""
    for entry in entries:
        assert entry_of(entry.kind, entry.case).wanted == entry.wanted


def test_what_is_stored_is_read_back_as_it_was(entries: list[Entry]) -> None:
    """Not only what is stored today: any case that is generated."""
    kind = entries[0].kind
    for entry in [*entries, *(entry_of(kind, case) for case in generated(kind, 10))]:
        again = decoded(kind, json.loads(layout(encoded(entry))))
        assert repr(again.case) == repr(entry.case)  # NaN is not equal to itself
        assert again.wanted == entry.wanted
