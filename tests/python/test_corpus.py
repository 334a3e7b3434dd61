"""The stored corpus: today's macros give what is stored, in every plan, and the oracle still says the same.

DuckDB runs all of it as it does by itself. Where it may keep no order of insertion, with one, two or eight threads as
the run's seed chooses, it runs a ninth of the cases, and all of them with each number in `make test-long`.
"""

from __future__ import annotations

import json

import duckdb
import pytest
from generate import load
from support.corpus import KINDS, Entry, decoded, differences, encoded, entry_of, generated, layout, read
from support.runs import LONG, first_seed, sampled

SETTINGS = {
    "default": {},
    "no order, 1 thread": {"preserve_insertion_order": False, "threads": 1},
    "no order, 2 threads": {"preserve_insertion_order": False, "threads": 2},
    "no order, 8 threads": {"preserve_insertion_order": False, "threads": 8},
}


@pytest.fixture(scope="module", params=KINDS)
def entries(request: pytest.FixtureRequest) -> list[Entry]:
    return read(request.param)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="default"),
        *(pytest.param(SETTINGS[name], id=name, marks=pytest.mark.slow) for name in sampled([*SETTINGS][1:], 1)),
    ],
)
def test_every_plan_gives_what_is_stored(entries: list[Entry], settings: dict[str, object]) -> None:
    wrong = {}
    part = list(SETTINGS.values()).index(settings)
    with duckdb.connect(config=settings) as connection:
        for number, entry in enumerate(entries):
            if part and (number + first_seed()) % 9 != part and not LONG:
                continue
            load(connection, entry.case)
            for plan in KINDS[entry.kind].plans:
                if found := differences(entry, plan, connection):
                    wrong[f"{entry.kind}[{number}], {plan}"] = found[:5]
    assert not wrong


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
