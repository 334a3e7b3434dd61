"""The features of one entity row: values by name, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pit_join.online.protocol import Records
from pit_join.records.layout import NO_TIME, instant
from pit_join.serving.read_plan import ReadPlan
from pit_join.serving.role_records import (
    KeyResult,
    RolePlan,
    RowKeys,
    failures_of,
    status_in,
    status_without,
)
from pit_join.statuses import NULL_KEY, OUTSIDE_MAX_AGE, PRESENT

__all__ = ["FeatureVector", "make_vector"]

_Result = str | tuple[int, tuple[Any, ...] | None]
"""A status without a record; or the event time of a record and its values, None where it is too old."""


class FeatureVector(dict[str, Any]):
    """The features of one entity row by name, in the order asked for, read from one state of the store.

    It is a dict of values; statuses, event times and failures are computed when they are asked for. A value that is
    null, missing or too old is the declared default, if there is one; its status says so. A copy is a plain dict.
    """

    __slots__ = ("_plan", "_records", "_results", "on_demand_statuses")

    _plan: ReadPlan
    _records: Sequence[Records]
    _results: Sequence[_Result]
    on_demand_statuses: Sequence[str]

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (self.copy(),)

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each feature; see `OnlineFeatures.statuses`."""
        found: dict[str, str] = dict.fromkeys(self._plan.names, "")
        if self._plan.on_demand:
            found |= zip(self._plan.on_demand.names, self.on_demand_statuses, strict=True)
        for role, result in self.roles():
            found |= {name: status_in(result, i) for i, name in enumerate(role.names)}
        return found

    @property
    def event_timestamps(self) -> dict[str, datetime | None]:
        """The event time of each feature's record (UTC, microseconds); None where there is none."""
        found: dict[str, datetime | None] = dict.fromkeys(self._plan.names)
        for role, (_, event, _) in self.roles():
            found |= dict.fromkeys(role.names, None if event is None else instant(event))
        return found

    @property
    def failures(self) -> dict[str, str]:
        """The views whose records could not be read, each with the sentence that says why; defaults stand for them."""
        return failures_of(zip(self._plan.roles, self._records, strict=False))  # the last may be arguments alone

    def roles(self) -> list[tuple[RolePlan, KeyResult]]:
        """Return the roles whose features are stored, each with the result of its key."""
        return list(zip(self._plan.roles, map(_key_result, self._results), strict=True))


def make_vector(
    plan: ReadPlan,
    keys: Sequence[Sequence[bytes]],
    records: Sequence[Records],
    entity_row: Mapping[str, Any],
    moment: int,
) -> FeatureVector:
    """Make the vector of an entity row from its records; `keys` are those of the plan's codecs.

    Raises:
        StoreError: if a record is damaged.
        EntityError, ComputeError: see `OnDemand.one`.
    """
    values: list[Any] = []
    results: list[_Result] = []
    for role, given in zip(plan.roles, records):  # noqa: B905 strict takes a twentieth of the time
        record, key = given[0], keys[role.codec_number][0]
        if record:
            result = event, stored = role.decoder.read(record, key)
            if role.ttl is None or moment - event <= role.ttl:
                values += role.filled(stored) if role.fills else stored
                results.append(result)
                continue
            results.append((event, None))
        else:
            is_null = not key and plan.codecs[role.codec_number].encode(entity_row) is None
            results.append(NULL_KEY if is_null else status_without(given))
        values += role.served(None)
    statuses: Sequence[str] = ()
    if plan.on_demand:
        taken = plan.taken([RowKeys(each) for each in keys], records, moment)
        computed, statuses = plan.on_demand.one(taken, entity_row)
        values += computed
    vector = FeatureVector(zip(plan.names, plan.pick(values) if plan.pick else values))  # noqa: B905 as above
    vector._plan, vector._records, vector._results, vector.on_demand_statuses = plan, records, results, statuses
    return vector


def _key_result(result: _Result) -> KeyResult:
    if isinstance(result, str):
        return result, None, None
    event, stored = result
    if stored is None:
        return OUTSIDE_MAX_AGE, event, None
    return PRESENT, None if event == NO_TIME else event, stored
