"""What an export finds to change, against plain dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pit_join.online.delta as delta_module
from pit_join.online.delta import Delta, Spill, StoredEntries, find_delta

# Content is never empty: every record has a header.
KEYS = st.binary(min_size=1, max_size=2)
CONTENT = st.sampled_from([b"a", b"b", b"ab", b"\0" * 16, b"\0" * 17])
WRITTEN, CHECK = b"written!", b"checksum"
END = b"\xf0"


def batches(rows: dict[bytes, bytes], size: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
    keys = sorted(rows)
    for start in range(0, len(keys), size):
        some = keys[start : start + size]
        yield some, [rows[key] for key in some]


def flat(aside: Spill) -> list[tuple[bytes, bytes]]:
    """All that was put aside; records are b"" where there are none."""
    found = [(key, record) for keys, records in aside for key, record in zip_longest(keys, records, fillvalue=b"")]
    assert len(found) == len(aside)
    return found


def check(delta: Delta, stored: dict[bytes, bytes], rows: dict[bytes, bytes]) -> None:
    assert delta.rows == len(rows)
    assert flat(delta.changed) == [(key, rows[key]) for key in sorted(rows) if stored.get(key) != rows[key]]
    assert flat(delta.gone) == [(key, b"") for key in sorted(stored) if key not in rows]


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=st.dictionaries(KEYS, CONTENT), rows=st.dictionaries(KEYS, CONTENT), size=st.integers(1, 5))
def test_what_differs(stored: dict[bytes, bytes], rows: dict[bytes, bytes], size: int, tmp_path: Path) -> None:
    rows = {key: content for key, content in rows.items() if key < END}
    entries = [(key, WRITTEN + stored[key] + CHECK) for key in sorted(stored)]  # also of others, from END on
    with ExitStack() as files:
        delta = find_delta(StoredEntries(iter(entries), END), batches(rows, size), tmp_path, files)
        check(delta, {key: content for key, content in stored.items() if key < END}, rows)


@pytest.mark.parametrize("in_memory", [1, 2**30])
@pytest.mark.parametrize("size", [7, 4096, 20_000])
def test_many(size: int, in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch may cover many takes of stored entries, one take many batches; and what is much goes to a file."""
    monkeypatch.setattr(delta_module, "_IN_MEMORY", in_memory)
    stored = {i.to_bytes(4, "big"): b"same" for i in range(20_000)}
    rows = {key: b"other" if key[-1] % 3 else content for key, content in stored.items() if key[-1] % 7}
    entries = [(key, WRITTEN + content + CHECK) for key, content in stored.items()]
    with ExitStack() as files:
        delta = find_delta(StoredEntries(iter(entries), END), batches(rows, size), tmp_path, files)
        for _ in range(2):  # it can be read again
            check(delta, stored, rows)
    assert list(tmp_path.iterdir()) == []
