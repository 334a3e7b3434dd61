"""Nearest neighbours: the entities of an online store whose embedding is nearest to a vector.

An index names candidates; distances and ages are computed from the records themselves, so that they are those of the
values that are served. Neither dbt nor DuckDB is loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from heapq import nsmallest
from operator import index as whole_number
from typing import Any

import numpy as np

from pit_join.errors import EntityError, RequestError, StoreError, suggest
from pit_join.online.index_files import OpenIndex
from pit_join.online.protocol import Failed, ReadableStore
from pit_join.records.embeddings import Matrix, StoredIndex, distances, first_problem
from pit_join.records.keys import KeyCodec
from pit_join.records.layout import NO_TIME, Decoder, instant, moment_of
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView

__all__ = ["Neighbour", "NeighbourReader", "Vector"]

Vector = Sequence[float] | np.ndarray[Any, Any]

_MOST_EXPORTS = 100  # while one request is answered


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entity: its keys by name, how far it is, and the event time of its embedding (UTC).

    The distance is 1 - cos (`cosine`), the Euclidean distance (`l2`), or the negated inner product (`inner_product`).
    """

    keys: Mapping[str, Any]
    distance: float
    event_timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class _State:
    """The last known state of the store."""

    mark: object
    views: Mapping[str, StoredView]


@dataclass(frozen=True, slots=True)
class _Search:
    """One request: the index to search, the vector, and the instant at which ages are judged."""

    mark: object
    view: StoredView
    index: StoredIndex
    opened: OpenIndex | None
    decoder: Decoder
    vector: Matrix
    moment: int


_Found = tuple[float, bytes, int]  # distance, key, event time


class NeighbourReader:
    """Finds neighbours in one store; safe to share between threads. A new export is seen with the next request."""

    def __init__(self, store: ReadableStore) -> None:
        self._store, self._opening = store, threading.Lock()
        self._state: _State | None = None
        # By view and feature, with the files that they have mapped: most exports change only some of them.
        self._indexes: dict[tuple[str, str], tuple[Mapping[str, tuple[int, str]], OpenIndex]] = {}

    def nearest(
        self, view: str, feature: str, vector: Vector, k: int = 10, *, now: str | date | None = None
    ) -> list[Neighbour]:
        """The `k` entities whose embedding is nearest to a vector, nearest first; those of one distance by key.

        Up to 10,000 embeddings are all compared; of more some neighbours may be missed (docs/nearest.md). There are
        fewer than `k` only if the store has no more that are young enough.

        Args:
            view: the feature view.
            feature: its feature, whose column declares `nearest`.
            vector: as many finite numbers as the embeddings have: a list, a tuple, or a NumPy array of one dimension.
            k: how many, from 1.
            now: the instant at which ages are judged; the clock's by default. Naive is UTC.

        Raises:
            RequestError: if the store has no such view, feature, or index of it.
            EntityError: if the vector has another form or length, or `k` is less than 1.
            StoreError: if the store or the index cannot be used, a record is damaged, or the view is stale.
        """
        wanted, query, moment = _count(k), _numbers(vector), moment_of(now)
        for _ in range(_MOST_EXPORTS):
            state = self._state or self._look()
            try:
                found = self._found(self._search(state, view, feature, query, moment), wanted)
            except (FileNotFoundError, RequestError, EntityError, StoreError) as error:
                # An export may have changed the store since.
                known = [state.views[view]] if view in state.views else []
                if self._store.read(state.mark, [(each, ()) for each in known]) is not None:
                    raise _readable(error) from None
                found = None
            if found is not None:
                return found
            self._state = None
        raise StoreError("the online store changes faster than it can be read; please report this")

    def _look(self) -> _State:
        mark, data = self._store.contents()
        self._state = state = _State(mark, Contents.from_json(data, "the online store").views)
        with self._opening:
            for name, feature in list(self._indexes):
                if name not in state.views or feature not in state.views[name].nearest:
                    del self._indexes[name, feature]
        return state

    def _search(self, state: _State, name: str, feature: str, query: Matrix, moment: int) -> _Search:
        """Prepare a request for one state of the store, and open the index."""
        if name not in state.views:
            raise RequestError(
                f"the online store has no feature view '{name}'; {suggest(name, state.views, 'feature views')}"
            )
        view = state.views[name]
        if feature not in view.features:
            raise RequestError(
                f"view '{name}' has no feature '{feature}' in the online store; "
                f"{suggest(feature, view.features, 'features')}"
            )
        if feature not in view.nearest:
            raise RequestError(
                f"'{name}:{feature}' has no index; declare nearest on its column, and export to the embedded store; "
                f"{suggest(feature, view.nearest, 'indexed features')}"
            )
        if stale := view.staleness(moment):
            raise stale
        index = view.nearest[feature]
        if index.rows and len(query) != index.dimensions:
            raise EntityError(
                f"the embeddings of '{name}:{feature}' have {index.dimensions} numbers, and the vector has {len(query)}"
            )
        if problem := first_problem(index.metric, query[None]):
            raise EntityError(f"the vector {problem[1]}")
        opened = self._opened(view, feature) if index.rows else None
        return _Search(state.mark, view, index, opened, view.decoder([feature]), query, moment)

    def _opened(self, view: StoredView, feature: str) -> OpenIndex:
        place, index = (view.name, feature), view.nearest[feature]
        files, opened = self._indexes.get(place, (None, None))
        if opened is not None and files == index.files:
            return opened
        folder = self._store.folder(view)
        if folder is None:
            raise StoreError("only the embedded store has nearest neighbours; give a folder as the store")
        (data_type,) = (field.type for field in view.layout.fields if field.name == feature)
        with self._opening:  # a large file is read once
            files, opened = self._indexes.get(place, (None, None))
            if opened is None or files != index.files:
                opened = OpenIndex(folder, index, data_type)
                self._indexes[place] = index.files, opened
        return opened

    def _found(self, search: _Search, k: int) -> list[Neighbour] | None:
        """The neighbours; None if the store has changed since the index was opened."""
        found: list[_Found] = []
        k = min(k, search.index.rows)
        parts = search.opened.candidates(search.vector, k) if search.opened else [(np.arange(0), True)]
        for labels, others_are_farther in parts:
            keys = search.opened.keys(labels) if search.opened else []
            answer = self._store.read(search.mark, [(search.view, keys)])
            if answer is None:
                return None
            if isinstance(answer[0], Failed):
                raise answer[0].error
            found = nsmallest(k, [*found, *_judged(search, keys, *answer[0])])
            if others_are_farther and len(found) == k:
                break
        codec = KeyCodec(search.view.keys)
        return [
            Neighbour(codec.decode(key), distance, None if event == NO_TIME else instant(event))
            for distance, key, event in found
        ]


def _judged(search: _Search, keys: list[bytes], records: bytes, lengths: Sequence[int]) -> list[_Found]:
    """Return the distances of entities by their keys, without those whose record is too old."""
    young: list[tuple[bytes, int]] = []
    vectors: list[list[float]] = []
    start, ttl = 0, search.view.ttl
    for key, length in zip(keys, lengths, strict=True):
        # A damaged page may lack the record: the decoder refuses no bytes as damaged.
        event, (value,) = search.decoder.read(records[start : start + length], key)
        start += length
        if value is None or len(value) != search.index.dimensions:
            raise StoreError(
                f"the index of {search.view.name} is not that of its records; remove the store and export anew"
            )
        if ttl is None or search.moment - event <= ttl:
            young.append((key, event))
            vectors.append(value)
    if not young:
        return []
    far = distances(search.index.metric, np.array(vectors, dtype=np.float64), search.vector).tolist()
    return [(distance, key, event) for distance, (key, event) in zip(far, young, strict=True)]


def _count(k: Any) -> int:
    try:
        number = whole_number(k)
    except TypeError:
        number = 0
    if number < 1 or isinstance(k, bool):
        raise EntityError(f"k is how many neighbours are wanted, a whole number from 1, got {k!r}")
    return number


def _numbers(vector: Any) -> Matrix:
    """Return a vector as floats of 64 bits."""
    try:
        found = np.asarray(vector)
    except (ValueError, TypeError):  # lists of several lengths
        found = np.empty(0)
    flags = isinstance(vector, (list, tuple)) and not {bool, np.bool_}.isdisjoint(map(type, vector))
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iuf" or flags:
        raise EntityError(
            "the vector must be numbers: a list, a tuple or a NumPy array of one dimension, got "
            f"{type(vector).__name__}" + (f" of shape {found.shape} and {found.dtype}" if found.size else "")
        )
    return found.astype(np.float64)


def _readable(error: Exception) -> Exception:
    if isinstance(error, FileNotFoundError):
        return StoreError(
            f"the index {error.filename} is missing; run pit-join export, which writes it anew (a copy of a store "
            "needs all of its folder)"
        )
    return error
