"""Parity: what the online store serves, against the offline rule at the instant of the export.

The store was filled by `latest_snapshot`; the rule is asked through `point_in_time_join` or `window_features`, as for a
training set whose rows are the keys at that instant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from pit_join.definitions.views import Aggregation
from pit_join.errors import PitJoinError, StoreError, suggest
from pit_join.online.protocol import ReadableStore
from pit_join.records.arrow import event_times, values_of
from pit_join.records.keys import KeyCodec
from pit_join.records.store_manifest import Contents, StoredView
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader
from pit_join.statuses import NOT_FOUND, NOT_YET_KNOWN, PRESENT
from pit_join.training.build import build_training_set
from pit_join.workspace import Workspace

__all__ = ["Difference", "Parity", "verify"]

_KEYS_AT_ONCE = 200_000
_MOST_SHOWN = 1000
_TIME = "pit_join_instant"
# The last digits of floats that windows add up depend on what else is computed (docs/windows.md).
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is served otherwise than the offline rule says; `feature` may also be `status` or `event time`."""

    view: str
    key: Mapping[str, Any]
    feature: str
    offline: Any
    online: Any


@dataclass(frozen=True, slots=True)
class Parity:
    """What a comparison found: compared keys by view, the number of differences, and the first thousand of them."""

    keys: Mapping[str, int]
    values: int
    found: int
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        shown = [
            asdict(one) | {"key": {name: str(value) for name, value in one.key.items()}}
            | {"offline": str(one.offline), "online": str(one.online)}
            for one in self.differences
        ]  # fmt: skip
        return {"keys": dict(self.keys), "values": self.values, "found": self.found, "differences": shown}


def verify(
    workspace: Workspace,
    store: ReadableStore,
    views: Sequence[str] = (),
    *,
    sample: int | None = None,
) -> Parity:
    """Compare values, statuses and event times of the store with the offline rule at the instant of the export.

    Args:
        workspace: the project whose warehouse has the history.
        store: the online store.
        views: names of views; all in the store by default.
        sample: compare so many keys of each view, chosen by chance; by default all, and then the store must have no
            others.

    Raises:
        PitJoinError: if the store, the project or its warehouse cannot be read.
    """
    _, data = store.contents()
    if data is None:
        raise StoreError("nothing was exported to the online store yet; run pit-join export")
    stored = Contents.from_json(data, "the online store").views
    for name in views:
        if name not in stored:
            raise PitJoinError(f"the online store has no view '{name}'; {suggest(name, stored, 'feature views')}")
        if stored[name].instant is None:
            raise StoreError(f"the feature view '{name}' was not exported yet; run pit-join export")
    registry = workspace.registry
    chosen = list(dict.fromkeys(views)) or sorted(name for name, view in stored.items() if view.instant)
    keys: dict[str, int] = {}
    values = found = 0
    differences: list[Difference] = []
    for done, name in enumerate(chosen):
        workspace.console.progress(done, len(chosen), name)
        keys[name] = 0
        comparison = _Comparison(workspace, store, stored[name], registry.view(name).aggregations)
        for chunk in comparison.chunks(sample):
            keys[name] += chunk.num_rows
            values += chunk.num_rows * len(stored[name].features)
            for difference in comparison.differences(chunk):
                found += 1
                if len(differences) < _MOST_SHOWN:
                    differences.append(difference)
    workspace.console.progress(len(chosen), len(chosen), "")
    return Parity(keys, values, found, tuple(differences))


class _Comparison:
    """One view, asked both ways."""

    def __init__(
        self, workspace: Workspace, store: ReadableStore, view: StoredView, aggregations: Sequence[Aggregation]
    ) -> None:
        self._workspace, self._store, self._view, self._windowed = workspace, store, view, bool(aggregations)
        self._added_up = {one.name for one in aggregations if one.adds_up}
        self._codec = KeyCodec(view.keys)
        self._request = Request(view.name, ("*",), view.name)

    def chunks(self, sample: int | None) -> Iterator[pa.Table]:
        """The keys to compare: those of the history and those of the store."""
        statement = self._workspace.macros.text("_keys_statement", view=self._view.name, sample=sample)
        what = f"the keys of the feature view '{self._view.name}' cannot be read"
        with self._workspace.warehouse() as warehouse:
            known = warehouse.table(statement, what)
        for start in range(0, known.num_rows, _KEYS_AT_ONCE):
            yield known.slice(start, _KEYS_AT_ONCE)
        # Most keys of the store are known; of the others each is a difference, unless it has no values either way.
        entries = self._store.scan(self._view)
        seen = {self._codec.encode(row) for row in known.to_pylist()} if known.num_rows else set()
        others = [key for key, _ in (islice(entries, sample) if sample else entries) if key not in seen]
        if others:
            rows = [self._codec.decode(key) for key in others]
            yield pa.Table.from_pylist(rows, schema=known.schema)

    def differences(self, keys: pa.Table) -> Iterator[Difference]:
        """Where the two sides differ, for each of some keys."""
        view, instant = self._view, self._view.instant
        spine = keys.append_column(_TIME, pa.array([instant] * keys.num_rows, pa.timestamp("us", "UTC")))
        offline = build_training_set(
            self._workspace,
            spine,
            [self._request],
            event_timestamp=_TIME,
            full_feature_names=True,
            provenance=True,
            window_plan="stacked" if self._windowed else None,
            on_progress=lambda done, total, view: None,
        ).to_arrow()
        reader = OnlineReader(self._store, [self._request], full_feature_names=True, strict=True, deadline=None)
        rows = {name: keys[name].to_pylist() for name in keys.column_names}
        online = reader.get_online_features(rows, now=instant)
        served, statuses, times = online.to_dict(), online.statuses, online.event_timestamps
        names = [f"{view.name}__{feature}" for feature in view.features]
        sides: list[tuple[str, Iterable[Any], Iterable[Any]]] = [
            (feature, values_of(offline[name]), served[name])
            for feature, name in zip(view.features, names, strict=True)
        ]
        by_row = [_status(each) for each in zip(*(statuses[name] for name in names), strict=True)]
        sides.append(("status", _online_status(offline[f"{view.name}__status"].to_pylist()), by_row))
        moments = event_times(offline[f"{view.name}__event_timestamp"].combine_chunks()).to_pylist()
        sides.append(("event time", moments, times[names[0]]))
        for feature, expected, given in sides:
            for row, (one, other) in enumerate(zip(expected, given, strict=True)):
                if not _same(one, other, feature in self._added_up):
                    yield Difference(view.name, {name: rows[name][row] for name in rows}, feature, one, other)


def _same(offline: Any, online: Any, added_up: bool) -> bool:
    """Whether two values are one, to the bit unless they were added up."""
    if type(offline) is not type(online):
        return False
    if isinstance(offline, list):
        return len(offline) == len(online) and all(map(_same, offline, online, [added_up] * len(offline)))
    if isinstance(offline, float):
        if math.isnan(offline) or math.isnan(online):
            return math.isnan(offline) and math.isnan(online)
        return offline == online or (added_up and math.isclose(offline, online, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE))
    return bool(offline == online)


def _status(features: Sequence[str]) -> str:
    """The status of a view from those of its features: NULL_VALUE only if all are null."""
    return PRESENT if PRESENT in features else features[0]


def _online_status(statuses: Iterable[str]) -> list[str]:
    """Online there is no history, so what is not yet known is not found."""
    return [NOT_FOUND if status == NOT_YET_KNOWN else status for status in statuses]
