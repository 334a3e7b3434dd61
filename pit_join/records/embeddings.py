"""Embeddings: their metrics and distances, and the description of a stored index.

An embedding is a feature that is a list of floats, of one length in all rows (docs/nearest.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["EXACT_ROWS", "METRICS", "Matrix", "StoredIndex", "distances", "first_problem", "lengths"]

METRICS = ("cosine", "l2", "inner_product")
EXACT_ROWS = 10_000
"""Up to so many embeddings are all compared, which takes half a millisecond (of 64 floats); more have a graph."""

Matrix = np.ndarray[Any, np.dtype[Any]]

# The graph computes in 32 bits, in which larger squares overflow.
_GREATEST = 1e15
_SHORTEST = 1e-100
_FILE = re.compile(r"nearest-[0-9a-f]{32}\.(keys|vectors|usearch)")


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """The index of one feature of a view, as the store's contents name it.

    `dimensions` is the length of every embedding, 0 if there is none; `rows` is how many there are. `files` are in the
    folder of the store, by name with their sizes in bytes and XXH3 checksums (64 bits, hexadecimal).
    """

    metric: str
    dimensions: int
    rows: int
    files: Mapping[str, tuple[int, str]]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        files = {name: list(about) for name, about in self.files.items()}
        return {"metric": self.metric, "dimensions": self.dimensions, "rows": self.rows, "files": files}

    @classmethod
    def from_json(cls, read: Mapping[str, Any]) -> StoredIndex:
        """Read what `as_json` gave.

        Raises:
            ValueError: if it is something else.
        """
        found = cls(
            metric=read["metric"],
            dimensions=read["dimensions"],
            rows=read["rows"],
            files={name: (size, checksum) for name, (size, checksum) in read["files"].items()},
        )
        numbers = [found.dimensions, found.rows, *(size for size, _ in found.files.values())]
        kinds = sorted(name.rsplit(".", 1)[-1] for name in found.files if _FILE.fullmatch(name))
        whole = kinds in (["keys", "vectors"], ["keys", "usearch"]) if found.rows else not found.files
        if found.metric not in METRICS or not all(type(n) is int and n >= 0 for n in numbers) or not whole:
            raise ValueError(f"the index {read!r}")
        return found

    def file(self, kind: str) -> str | None:
        """The name of its file of a kind (`keys`, `vectors` or `usearch`), if it has one."""
        return next((name for name in self.files if name.endswith(f".{kind}")), None)


def lengths(matrix: Matrix) -> Matrix:
    """The Euclidean length of each row."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", matrix, matrix)))


def distances(metric: str, matrix: Matrix, vector: Matrix) -> Matrix:
    """Return the distance of each row of a matrix from a vector, computed in 64 bits, each row for itself.

    `cosine` is 1 - cos (from 0 to 2), `l2` the Euclidean distance (not squared), `inner_product` the negated inner
    product, so that nearer is always less.

    >>> distances("l2", np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([0.0, 0.0])).tolist()
    [5.0, 0.0]
    """
    rows, wanted = matrix.astype(np.float64, copy=False), vector.astype(np.float64, copy=False)
    if metric == "l2":
        return lengths(rows - wanted)
    # A matrix product would add up in an order that depends on how many rows there are.
    products = np.einsum("ij,j->i", rows, wanted)
    if metric == "inner_product":
        return np.asarray(0.0 - products)
    cosines = products / (lengths(rows) * lengths(wanted[None])[0])
    return np.asarray(1.0 - np.clip(cosines, -1.0, 1.0))


def first_problem(metric: str, matrix: Matrix) -> tuple[int, str] | None:
    """The first row that has no distance to others, and why; None if there is none."""
    rows = matrix.astype(np.float64, copy=False)
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    with np.errstate(invalid="ignore", over="ignore"):
        small = np.asarray((np.abs(rows) <= _GREATEST).all(axis=1))
        long = lengths(rows) >= (_SHORTEST if metric == "cosine" else 0.0)
    good = finite & small & long
    if good.all():
        return None
    row = int(np.argmin(good))
    if not finite[row]:
        return row, "has a NaN or an infinity"
    if not small[row]:
        return row, f"has a number beyond {_GREATEST:g}, with which distances cannot be computed"
    return row, "is zero, so that it has no direction, which cosine compares"
