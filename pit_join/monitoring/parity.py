"""Parity: the values in the online store, compared with the offline rule at the instant of the export.

The store was filled by `latest_snapshot`; the rule is asked through `point_in_time_join` or `window_features`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pit_join.definitions.views import FeatureView
from pit_join.errors import PitJoinError, StoreError, suggest
from pit_join.export.places import moved_versions
from pit_join.monitoring.descriptions import changed_parts, changed_services, moved_views
from pit_join.monitoring.offline_rule import OfflineRule
from pit_join.online.protocol import ReadableStore
from pit_join.records.arrow import arrow_values, values_of
from pit_join.records.keys import KeyCodec
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader
from pit_join.statuses import PRESENT
from pit_join.training.equality import same
from pit_join.workspace import Workspace

__all__ = ["Difference", "Parity", "verify"]

_KEYS_AT_ONCE = 200_000
_MOST_SHOWN = 1000
# Floats that windows add up are rounded: far less than this, but a store may have been filled by another release.
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Difference:
    """A served value that differs from the offline rule; `feature` may also be `status` or `event time`.

    Sensitive values are None, and of a view that hides its keys `key` is empty.
    """

    view: str
    key: Mapping[str, Any]
    feature: str
    offline: Any
    online: Any
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Parity:
    """The result of a comparison: compared keys by view, the number of differences, and the first thousand.

    `changed` counts by view the differences of static views, which are not among the others: the rule knows only the
    values of today, so these tables have changed since the export. `descriptions` says in a sentence each what the
    store says of itself otherwise than the project: a ttl, a default, the SQL of a service.
    """

    keys: Mapping[str, int]
    values: int
    found: int
    differences: tuple[Difference, ...]
    changed: Mapping[str, int] = field(default_factory=dict)
    descriptions: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        shown = [
            asdict(one) | {"key": {name: str(value) for name, value in one.key.items()}}
            | ({} if one.sensitive else {"offline": str(one.offline), "online": str(one.online)})
            for one in self.differences
        ]  # fmt: skip
        return {
            "keys": dict(self.keys),
            "values": self.values,
            "found": self.found,
            "differences": shown,
            "changed": dict(self.changed),
            "descriptions": list(self.descriptions),
        }


def verify(
    workspace: Workspace,
    store: ReadableStore,
    views: Sequence[str] = (),
    *,
    sample: int | None = None,
) -> Parity:
    """Compare values, statuses and event times of the store with the offline rule at the instant of the export.

    What the store says of the views, and if all are compared of the services, is compared with the project.

    Args:
        workspace: the project whose warehouse has the history.
        store: the online store.
        views: names of views; by default all in the store.
        sample: the number of keys of each view to compare, chosen at random; by default all, and then the store must
            hold no others.

    Raises:
        PitJoinError: if the store, the project or its warehouse cannot be read.
    """
    _, data = store.contents()
    contents = Contents.from_json(data, "the online store")
    stored, registry = contents.views, workspace.registry
    for message in moved_versions(contents, registry.latest):
        workspace.console.warn(message)
    views = [contents.latest.get(name, name) for name in views]
    for name in views:
        if name not in stored:
            raise PitJoinError(f"the online store has no view '{name}'; {suggest(name, stored, 'feature views')}")
        if stored[name].instant is None:
            raise StoreError(f"the feature view '{name}' was not exported yet; run pit-join export")
    chosen = list(dict.fromkeys(views)) or sorted(name for name, view in stored.items() if view.instant)
    declared = {name: registry.view(name) for name in chosen}
    keys: dict[str, int] = {}
    values = found = 0
    differences: list[Difference] = []
    changed: Counter[str] = Counter()
    with workspace.warehouse() as warehouse:
        rule = OfflineRule(workspace, warehouse)
        rule.check(declared.values())
        descriptions: list[str] = []
        if not views:
            descriptions += changed_services(workspace, contents)
            descriptions += moved_views(workspace, contents)
        for done, name in enumerate(chosen):
            workspace.console.progress(done, len(chosen), name)
            keys[name], before = 0, found + changed.total()
            comparison = _Comparison(rule, store, stored[name], declared[name])
            for chunk in comparison.chunks(sample):
                keys[name] += chunk.num_rows
                values += chunk.num_rows * len(stored[name].features)
                for difference in comparison.differences(chunk):
                    if declared[name].static:
                        changed[name] += 1
                        continue
                    found += 1
                    if len(differences) < _MOST_SHOWN:
                        differences.append(difference)
            if found + changed.total() > before and store.contents()[1] != data:
                raise StoreError("an export ended while the online store was compared; run pit-join verify again")
            descriptions += changed_parts(workspace, rule.histories, stored[name], declared[name])
            rule.forget(declared[name])
    workspace.console.progress(len(chosen), len(chosen), "")
    return Parity(keys, values, found, tuple(differences), dict(changed), tuple(descriptions))


class _Comparison:
    """The comparison of one view, offline and online."""

    def __init__(self, rule: OfflineRule, store: ReadableStore, stored: StoredView, view: FeatureView) -> None:
        self._rule, self._store, self._stored, self._view = rule, store, stored, view
        self._tolerances = {one.name: _TOLERANCE for one in view.aggregations if one.adds_up}
        self._codec = KeyCodec(stored.keys)
        self._sensitive = {*stored.sensitive, *(each.name for each in view.features if each.sensitive)}
        self._shown_keys = () if view.hides_keys or stored.hides_keys else tuple(stored.keys)

    def chunks(self, sample: int | None) -> Iterator[pa.Table]:
        """Yield the keys to compare: those of the history and those of the store."""
        known = self._rule.keys(self._view, sample)
        for start in range(0, known.num_rows, _KEYS_AT_ONCE):
            yield known.slice(start, _KEYS_AT_ONCE)
        # Most keys of the store are known; every other key is a difference, unless it has no values on either side.
        entries = self._store.scan(self._stored)
        seen = {self._codec.encode(row) for row in known.to_pylist()} if known.num_rows else set()
        others = [key for key, _ in (islice(entries, sample) if sample else entries) if key not in seen]
        if others:
            rows = [self._codec.decode(key) for key in others]
            yield pa.Table.from_pylist(rows, schema=known.schema)

    def differences(self, keys: pa.Table) -> Iterator[Difference]:
        """Yield the differences between the two sides for some keys."""
        stored, view = self._stored, self._view
        columns = {name: keys[name].combine_chunks() for name in keys.column_names}
        types = {name: column.type for name, column in columns.items()}
        moments = pa.array([stored.instant] * keys.num_rows, pa.timestamp("us", "UTC"))
        known = self._rule.ask(view, stored.features, columns, moments)
        request = Request(view.name, stored.features, view.name)
        reader = OnlineReader(self._store, [request], full_feature_names=True, strict=True, deadline=None)
        rows = {name: keys[name].to_pylist() for name in keys.column_names}
        online = reader.get_online_features(rows, now=stored.instant)
        served, statuses, times = online.to_dict(), online.statuses, online.event_timestamps
        names = [f"{view.name}__{field.name}" for field in stored.layout.fields]
        by_row = [_status(each) for each in zip(*(statuses[name] for name in names), strict=True)]
        sides = [
            (
                field.name,
                known.filled(field.name, self._rule.default(view, field.name, types)),
                field.type,
                served[name],
            )
            for field, name in zip(stored.layout.fields, names, strict=True)
        ]
        sides.append(("status", known.online_statuses, "string", by_row))
        sides.append(("event time", known.event_times, "timestamp[us, UTC]", times[names[0]]))
        for feature, expected, kind, given in sides:
            equal = same(expected, arrow_values(kind, given), self._tolerances.get(feature))
            wrong = pc.indices_nonzero(pc.invert(equal))
            shown = values_of(pa.chunked_array([expected.take(wrong)]))
            for row, offline in zip(wrong.to_pylist(), shown, strict=True):
                key = {name: rows[name][row] for name in self._shown_keys}
                if feature in self._sensitive:
                    yield Difference(view.name, key, feature, None, None, sensitive=True)
                else:
                    yield Difference(view.name, key, feature, offline, given[row])


def _status(features: Sequence[str]) -> str:
    """Return the status of a view from those of its features: NULL_VALUE only if all are null."""
    return PRESENT if PRESENT in features else features[0]
