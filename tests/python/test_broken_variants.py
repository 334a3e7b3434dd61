"""Broken copies of the macros (`support/variants.py`): a stored case of the corpus must catch each of them.

`scripts/corpus.py table` prints which. Of a variant that none catches, `scripts/corpus.py update` looks for a new case.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from support.corpus import KINDS, Entry, catches, read
from support.runs import number_of, sampled
from support.variants import VARIANTS, about, broken, label

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        yield opened


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[Entry]]:
    return {kind: read(kind) for kind in KINDS}


@pytest.mark.parametrize(
    ("kind", "name", "plan"), sampled([(kind, *each) for kind in KINDS for each in about(kind)], 30)
)
def test_broken_variant_is_caught(
    kind: str, name: str, plan: str, corpus: dict[str, list[Entry]], connection: duckdb.DuckDBPyConnection
) -> None:
    """By the case that is stored for it."""
    (entry,) = (entry for entry in corpus[kind] if label(name, plan) in entry.catches)
    assert catches(entry, plan, connection, broken(VARIANTS[kind][name]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_variant_changes_the_macros(kind: str) -> None:
    """All of them, since a run tries a few."""
    for replacements in VARIANTS[kind].values():
        assert broken(replacements) != broken({})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.rest
def test_unbroken_copy_is_not_caught(
    kind: str, corpus: dict[str, list[Entry]], connection: duckdb.DuckDBPyConnection
) -> None:
    for entry in corpus[kind][:: number_of(10, 1)]:
        for plan in KINDS[kind].plans:
            assert not catches(entry, plan, connection, broken({}))


@pytest.mark.parametrize("kind", KINDS)
def test_every_stored_case_has_a_reason(kind: str, corpus: dict[str, list[Entry]]) -> None:
    """It catches a variant of today, caught a mutant that no other did, or it once failed."""
    variants = {label(name, plan) for name, plan in about(kind)}
    for entry in corpus[kind]:
        assert entry.catches
        assert all(name in variants or name.startswith(("failed: ", "mutant: ")) for name in entry.catches)
