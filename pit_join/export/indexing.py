"""The index files of an export, built from the snapshots of views whose columns declare `nearest`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from xxhash import xxh3_128

from pit_join.definitions.views import FeatureView
from pit_join.errors import StoreError
from pit_join.export.snapshot import Snapshot
from pit_join.online.index_files import EMBEDDING_TYPES, check_files, graph, remove_others, usearch_version, write_file
from pit_join.records.embeddings import EXACT_ROWS, Matrix, StoredIndex, first_problem
from pit_join.records.keys import KeyCodec
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.workspace import Console

__all__ = ["Indexes", "check_can_index"]


def check_can_index(views: Iterable[FeatureView]) -> None:
    """Check, before the long work starts, that the packages for the indexes of some views are installed.

    Raises:
        StoreError: if one is missing.
    """
    if any(feature.nearest for view in views for feature in view.features):
        usearch_version()


class Indexes:
    """The indexes that an export writes beside the records.

    Files are written before the records change, and have no meaning until the contents name them; the next export
    removes the files of one that did not end. An index whose embeddings have not changed is kept.

    Args:
        folder: the folder of the store, which the caller has locked; None if the store has no folder.
        before: the views in the store before the export.
        dry_run: check the embeddings, and write nothing.
        console: called with announcements of long steps, and with features that get no index.
    """

    def __init__(
        self, folder: Path | None, before: Mapping[str, StoredView], *, dry_run: bool, console: Console
    ) -> None:
        self._folder, self._views, self._dry_run, self._console = folder, before, dry_run, console
        self._remove_others(before)

    def of(self, view: FeatureView, stored: StoredView, snapshot: Snapshot) -> StoredView:
        """Write the index files of a view, and return the view with its indexes, as the store will describe it.

        Raises:
            StoreError: if an embedding has another length than the first, or no distance to others; if a file cannot be
                written.
        """
        found = {}
        for feature in view.features:
            if not feature.nearest:
                continue
            if self._folder is None:
                where = f"{view.name}:{feature.name}"
                self._console.warn(f"{where}: only the embedded store has nearest neighbours; this one gets no index")
                continue
            embeddings = _Embeddings(stored, snapshot, feature.name, feature.nearest)
            old = self._views[view.name].nearest.get(feature.name) if view.name in self._views else None
            if not self._dry_run:
                found[feature.name] = self._index(self._folder, embeddings, old)
        return replace(stored, nearest=found)

    def settle(self, contents: Contents) -> None:
        """Remove the files that the new contents of the store do not name."""
        self._remove_others(contents.views)

    def _remove_others(self, views: Mapping[str, StoredView]) -> None:
        if self._folder is not None and not self._dry_run:
            named = {name for view in views.values() for index in view.nearest.values() for name in index.files}
            remove_others(self._folder, named)

    def _index(self, folder: Path, embeddings: _Embeddings, old: StoredIndex | None) -> StoredIndex:
        names = embeddings.files()
        if old and set(old.files) == set(names) and check_files(folder, old):
            return old
        if embeddings.rows > EXACT_ROWS:
            self._console.say(f"{embeddings.name}: indexing {embeddings.rows:,} embeddings")
        files = {name: write_file(folder, name, write) for name, write in names.items()}
        return StoredIndex(embeddings.metric, embeddings.dimensions, embeddings.rows, files)


@dataclass(frozen=True, slots=True)
class _Batch:
    keys: list[bytes]
    matrix: Matrix


class _Embeddings:
    """The checked embeddings of one feature in a snapshot: their number, their dimensions, and a hash.

    Each use reads the embeddings from the snapshot again, batch by batch.
    """

    def __init__(self, stored: StoredView, snapshot: Snapshot, feature: str, metric: str) -> None:
        self.name, self.metric, self.rows, self.dimensions = f"{stored.name}:{feature}", metric, 0, 0
        self._snapshot, self._feature = snapshot, feature
        self._codec = KeyCodec(stored.keys)
        (data_type,) = (field.type for field in stored.layout.fields if field.name == feature)
        if data_type not in EMBEDDING_TYPES:
            raise StoreError(
                f"{self.name} declares nearest, and its table has {data_type}, which is not a list of floats; cast the "
                "column in the model, and run dbt build"
            )
        self._dtype = EMBEDDING_TYPES[data_type]
        keys, numbers = xxh3_128(), xxh3_128()
        for batch in self._batches():
            self.rows += len(batch.keys)
            keys.update(b"".join(batch.keys))
            numbers.update(batch.matrix.tobytes())
        about = f"{self.name} {metric} {data_type} {self.dimensions} {list(stored.keys.items())}"
        if self.rows > EXACT_ROWS:
            about += f" usearch {usearch_version()}"
        self._hash = xxh3_128(about.encode() + keys.digest() + numbers.digest()).hexdigest()

    def files(self) -> dict[str, Callable[[Path], None]]:
        """Return the functions that write the index files, by file name."""
        if not self.rows:
            return {}
        name = f"nearest-{self._hash}"
        return {
            f"{name}.keys": self._write_keys,
            **(
                {f"{name}.usearch": self._write_graph}
                if self.rows > EXACT_ROWS
                else {f"{name}.vectors": self._write_vectors}
            ),
        }

    def _write_keys(self, path: Path) -> None:
        sizes = [np.zeros(1, dtype="<u8")]
        with path.open("wb") as file:
            for batch in self._batches():
                file.write(b"".join(batch.keys))
                sizes.append(np.fromiter(map(len, batch.keys), dtype="<u8", count=len(batch.keys)))
            file.write(np.cumsum(np.concatenate(sizes), dtype="<u8").tobytes())

    def _write_vectors(self, path: Path) -> None:
        with path.open("wb") as file:
            for batch in self._batches():
                file.write(batch.matrix.tobytes())

    def _write_graph(self, path: Path) -> None:
        graph(self.metric, self.dimensions, (batch.matrix for batch in self._batches())).save(str(path))

    def _batches(self) -> Iterator[_Batch]:
        for keys, lists in self._snapshot.lists(self._feature):
            sizes = np.asarray(pc.list_value_length(lists))
            self.dimensions = self.dimensions or int(sizes[0])
            if (other := np.flatnonzero(sizes != self.dimensions)).size or not self.dimensions:
                row = int(other[0]) if other.size else 0
                raise self._wrong(keys[row], f"has {sizes[row]} numbers, and the first one has {self.dimensions}")
            numbers = lists.flatten()
            if numbers.null_count:
                row = int(np.argmin(np.asarray(numbers.is_valid()))) // self.dimensions
                raise self._wrong(keys[row], "has a null in it")
            matrix = np.asarray(numbers).astype(self._dtype, copy=False).reshape(len(keys), self.dimensions)
            if problem := first_problem(self.metric, matrix):
                raise self._wrong(keys[problem[0]], problem[1])
            yield _Batch(keys, matrix)

    def _wrong(self, key: bytes, problem: str) -> StoreError:
        shown = ", ".join(f"{column}={value!r}" for column, value in self._codec.decode(key).items())
        return StoreError(
            f"{self.name} declares nearest, and the embedding of {shown} {problem}; all must have one length "
            "and finite numbers. Correct it in the model, or make it null there, which leaves it out of the index"
        )
