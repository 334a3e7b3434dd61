"""The project `tests/projects/two_engines`, and what its tests on several engines share."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pyarrow as pa

from support.projects import ROOT

PROJECT = ROOT / "tests" / "projects" / "two_engines"
NOW = "2026-03-02"
LABELS = pd.read_csv(PROJECT / "seeds" / "labels.csv", parse_dates=["event_timestamp"])
SPINES = {
    "seed": "labels",
    "model": "label_rows",
    "sql view": "label_view",
    "csv": str(PROJECT / "seeds" / "labels.csv"),
    "frame": LABELS.assign(
        number=LABELS.index.astype("uint64"), group=pd.Categorical(["a", "b"] * (len(LABELS) // 2))
    ).sample(frac=1, random_state=1),
    "no rows": LABELS[:0],
}
UNORDERED = ("model", "sql view")
"""The spines whose rows have an order of their own on each engine."""


def unlike(one: pa.Table, other: pa.Table, order: list[str] | None = None) -> list[Any]:
    """Where two tables differ in a name, a type or a value; floats are equal to 12 digits.

    With an order, a list of columns, rows are compared in that order.
    """
    if one.schema != other.schema:
        return [(a, b) for a, b in zip(one.schema, other.schema, strict=False) if a != b] or [one.schema, other.schema]
    if order:
        one, other = (each.sort_by([(name, "ascending") for name in order]) for each in (one, other))
    return [
        (name, row, a, b)
        for name in one.column_names
        for row, (a, b) in enumerate(zip(one[name].to_pylist(), other[name].to_pylist(), strict=True))
        if a != b and not (isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=1e-12))
    ]
