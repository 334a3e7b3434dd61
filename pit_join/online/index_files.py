"""The files of indexes over embeddings, in the folder of an online store. Outside world: these files, and usearch.

Their names tell their content, and the store's contents name them with sizes and checksums, so that a reader never maps
a file that is not that of its snapshot, nor one that is damaged.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_64

from pit_join.errors import StoreError
from pit_join.files import private_file
from pit_join.records.embeddings import EXACT_ROWS, Matrix, StoredIndex, distances, lengths

__all__ = ["EMBEDDING_TYPES", "OpenIndex", "check_files", "graph", "remove_others", "usearch_version", "write_file"]

EMBEDDING_TYPES: dict[str, np.dtype[Any]] = {"list<float>": np.dtype("<f4"), "list<double>": np.dtype("<f8")}
"""The types of embeddings, and the number types of their `.vectors` files."""

_OFFSET = np.dtype("<u8")
_AT_ONCE = 1 << 20
_MORE = 4  # times as many candidates are asked for, if too many have expired
_FIRST_ROWS = 1000
_SPARE = 16
_BLOCK = 1 << 17  # numbers, whose 64 bits fit into a processor's cache
# Recall of the ten nearest among 50,000 of 64 dimensions: 0.99 where they are clustered, 0.9 where they are noise.
_CONNECTIVITY, _EXPANSION_ADD, _EXPANSION_SEARCH = 16, 64, 256
_GRAPH_METRICS = {"cosine": "ip", "l2": "l2sq", "inner_product": "ip"}


def _usearch() -> Any:
    try:
        import usearch.index
    except ImportError as error:
        raise StoreError("nearest neighbours need the package usearch; run pip install 'pit-join[nearest]'") from error
    return usearch


def usearch_version() -> str:
    """The version of usearch, by which graphs are written anew.

    Raises:
        StoreError: if it is not installed.
    """
    return str(_usearch().__version__)


# Writing ------------------------------------------------------------------------------------------------------


def graph(metric: str, dimensions: int, batches: Iterator[Matrix]) -> Any:
    """A graph of all rows of some matrices, labelled by their numbers; it is in memory, and has a method `save`."""
    index, done = _new_graph(metric, dimensions), 0
    for matrix in batches:
        # Of rows that several threads put into an empty graph some do not find each other, and stay unreachable.
        threads = 1 if done < _FIRST_ROWS else 0
        index.add(np.arange(done, done + len(matrix)), _in_graph(metric, matrix), threads=threads)
        done += len(matrix)
    return index


def _new_graph(metric: str, dimensions: int) -> Any:
    return _usearch().index.Index(
        ndim=dimensions, metric=_GRAPH_METRICS[metric], dtype="f32", connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD, expansion_search=_EXPANSION_SEARCH, enable_key_lookups=False,
    )  # fmt: skip


def _in_graph(metric: str, matrix: Matrix) -> Matrix:
    """Return rows as the graph holds them: of unit length for cosine, so that no product underflows in 32 bits."""
    rows = matrix.astype(np.float64)
    return (rows / lengths(rows)[:, None] if metric == "cosine" else rows).astype(np.float32)


def write_file(folder: Path, name: str, write: Callable[[Path], None]) -> tuple[int, str]:
    """Let `write` make a file that then appears whole; return its size and checksum.

    Raises:
        StoreError: if the disk refuses.
    """
    new = folder / f"{name}.new"
    try:
        with open(new, "wb", opener=private_file):
            pass  # a file that is there keeps its mode when it is written
        write(new)
        with new.open("rb") as file:
            os.fsync(file.fileno())
            about = _described(file.fileno())
        new.replace(folder / name)
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except (OSError, RuntimeError) as error:  # the second is what usearch says
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise StoreError(
            f"the index {name} cannot be written to {folder} ({text}); is its disk full? Nothing was changed, and what "
            "was exported before is still served"
        ) from error
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)
    return about


def remove_others(folder: Path, named: Collection[str]) -> None:
    """Remove all files of indexes that are not `named`; processes that have mapped them keep reading them."""
    for path in folder.glob("nearest-*"):
        if path.name not in named:
            with suppress(OSError):  # the next export tries again
                path.unlink()


# Reading ------------------------------------------------------------------------------------------------------


def _described(handle: int) -> tuple[int, str]:
    """Return the size and checksum of an open file. It is not mapped, since a cut file would end the process."""
    hasher, size = xxh3_64(), 0
    while part := os.pread(handle, _AT_ONCE, size):
        hasher.update(part)
        size += len(part)
    return size, hasher.hexdigest()


def _checked(folder: Path, name: str, about: tuple[int, str]) -> int:
    """Return the handle of a file whose size and checksum are those in the store's contents."""
    handle = os.open(folder / name, os.O_RDONLY)
    try:
        if os.fstat(handle).st_size != about[0] or _described(handle) != about:
            raise _damaged(folder, name)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _mapped(folder: Path, name: str, about: tuple[int, str]) -> mmap.mmap:
    try:
        handle = _checked(folder, name, about)
        try:
            return mmap.mmap(handle, about[0], access=mmap.ACCESS_READ)
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"the index {name} in {folder} cannot be read: {error.strerror or error}") from error


def check_files(folder: Path, stored: StoredIndex) -> bool:
    """Return whether all files of an index exist and are whole."""
    try:
        for name, about in stored.files.items():
            os.close(_checked(folder, name, about))
    except (OSError, StoreError):
        return False
    return True


def _damaged(folder: Path, name: str) -> StoreError:
    return StoreError(
        f"the index {name} in {folder} is damaged: it is not the file that the export wrote; run pit-join export, "
        "which writes it anew"
    )


class OpenIndex:
    """The index of one feature, mapped into memory; safe to share between threads.

    Args:
        folder: that of the store.
        stored: what the store's contents say of the index; it has rows.
        data_type: the type of the feature, one of `EMBEDDING_TYPES`.

    Raises:
        FileNotFoundError: if a file is not there, as after an export.
        StoreError: if one is damaged, or usearch is not there or of a version that cannot read it.
    """

    def __init__(self, folder: Path, stored: StoredIndex, data_type: str) -> None:
        usearch = _usearch()
        self._folder, self._stored, self._busy = folder, stored, threading.Lock()
        self._maps: dict[str, mmap.mmap] = {}
        for name, about in stored.files.items():
            self._maps[name] = _mapped(folder, name, about)
        self._keys = self._maps[str(stored.file("keys"))]
        at = len(self._keys) - _OFFSET.itemsize * (stored.rows + 1)
        self._ends = np.frombuffer(self._keys, dtype=_OFFSET, offset=at)
        self._graph = self._matrix = None
        if vectors := stored.file("vectors"):
            flat = np.frombuffer(self._maps[vectors], dtype=EMBEDDING_TYPES[data_type])
            self._matrix = flat.reshape(stored.rows, stored.dimensions)
            return
        name = str(stored.file("usearch"))
        try:
            self._graph = _new_graph(stored.metric, stored.dimensions)
            self._graph.view(str(folder / name))
        except (RuntimeError, ValueError) as error:
            raise StoreError(
                f"usearch {usearch.__version__} cannot read the index {name} in {folder} ({error}); run pit-join "
                "export with this version"
            ) from error

    def keys(self, labels: Sequence[int] | Matrix) -> list[bytes]:
        """Return the keys of rows by their numbers."""
        starts, ends = self._ends[labels].tolist(), self._ends[np.asarray(labels) + 1].tolist()
        return [self._keys[start:end] for start, end in zip(starts, ends, strict=True)]

    def candidates(self, vector: Matrix, k: int) -> Iterator[tuple[Matrix, bool]]:
        """The numbers of all rows, in parts, for the `k` nearest to a vector.

        With each part comes whether the rows of all later parts are farther away: then no more of them need be asked
        for than it takes to find k rows that are wanted.

        Raises:
            StoreError: if a file was cut short since it was opened.
        """
        for name, (size, _) in self._stored.files.items():
            # A page that is missing would end the process when it is read.
            if self._maps[name].size() < size:
                raise _damaged(self._folder, name)
        yield from self._all_compared(vector, k) if self._matrix is not None else self._by_graph(vector, k)

    def _all_compared(self, vector: Matrix, k: int) -> Iterator[tuple[Matrix, bool]]:
        assert self._matrix is not None
        step = max(1, _BLOCK // self._stored.dimensions)
        parts = (self._matrix[start : start + step] for start in range(0, self._stored.rows, step))
        found = np.concatenate([distances(self._stored.metric, part, vector) for part in parts])
        rest = np.arange(len(found))
        if k < len(found):
            # All that are as far as the last one: among these the keys decide.
            near = found <= np.partition(found, k - 1)[k - 1]
            yield np.flatnonzero(near), True
            rest = np.flatnonzero(~near)
        rest = rest[np.argsort(found[rest], kind="stable")]  # rows are in the order of keys
        size = max(k, 64)
        for start in range(0, len(rest), size):
            yield rest[start : start + size], True

    def _by_graph(self, vector: Matrix, k: int) -> Iterator[tuple[Matrix, bool]]:
        assert self._graph is not None
        rows, wanted = self._stored.rows, min(k, self._stored.rows)
        seen = np.zeros(rows, dtype=bool)
        asked = _in_graph(self._stored.metric, vector[None])[0]
        while wanted <= min(rows, EXACT_ROWS):
            with self._busy:  # its threads share what it works in
                found = self._graph.search(asked, min(rows, wanted + _SPARE), threads=1)
            # Those that are as far as the last one in 32 bits may be nearer in 64, or of a lesser key.
            last = found.distances[min(wanted, len(found)) - 1]
            labels = found.keys[found.distances <= last + 1e-5 * max(1.0, abs(last))].astype(np.int64)
            new = labels[~seen[labels]]
            seen[new] = True
            yield new, True
            wanted *= _MORE
        # Nearly all have expired: then it is quicker to look at every one.
        rest = np.flatnonzero(~seen)
        for start in range(0, len(rest), EXACT_ROWS):
            yield rest[start : start + EXACT_ROWS], False
