"""One entity row: its records, decoded and judged by their age, and the vector of its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pit_join.online.protocol import Records
from pit_join.records.layout import NO_TIME, instant
from pit_join.serving.features import OnlineFeatures
from pit_join.serving.read_plan import ReadPlan
from pit_join.serving.role_records import (
    FeatureColumn,
    KeyResult,
    RolePlan,
    RoleRecords,
    RowKeys,
    failures_of,
    status_in,
    status_without,
)
from pit_join.statuses import NULL_KEY, OUTSIDE_MAX_AGE, PRESENT

__all__ = ["FeatureVector", "OneRow", "ReadRow", "RowRecords", "read_row"]

_Result = str | tuple[int, tuple[Any, ...] | None]
"""A status without a record; or the event time of a record and its values, None where it is too old."""


ReadRow = tuple[ReadPlan, Sequence[Records], list[Any], list[_Result], Sequence[str]]
"""The fields of `RowRecords`. A request makes no object of them before it needs one, which would take time."""


class RowRecords(NamedTuple):
    """The records of one entity row, decoded and judged at a moment.

    `values` are those to serve, in the order in which they were read (see `ReadPlan.in_order`).
    """

    plan: ReadPlan
    records: Sequence[Records]
    values: list[Any]
    results: list[_Result]
    on_demand_statuses: Sequence[str]

    def by_role(self) -> list[tuple[RolePlan, KeyResult]]:
        """Return the roles whose features are stored, each with the result of its key."""
        return list(zip(self.plan.roles, map(_key_result, self.results), strict=True))

    def computed(self) -> dict[str, FeatureColumn]:
        """Return the on-demand features, each as a column of one row."""
        on_demand = self.plan.on_demand
        if on_demand is None:
            return {}
        values = self.values[len(self.values) - len(on_demand.names) :]
        return on_demand.columns(dict(zip(on_demand.names, values, strict=True)), self.on_demand_statuses)

    def failures(self) -> dict[str, str]:
        """Return the views whose records could not be read, each with the sentence that says why."""
        return failures_of(zip(self.plan.roles, self.records, strict=False))  # the last may be arguments alone


class FeatureVector(dict[str, Any]):
    """The features of one entity row by name, in the order asked for, read from one state of the store.

    It is a dict of values; statuses, event times and failures are computed when they are asked for. A value that is
    null, missing or too old is the declared default, if there is one; its status says so. A copy is a plain dict.
    """

    __slots__ = ("_row",)

    _row: ReadRow

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (self.copy(),)

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each feature; see `OnlineFeatures.statuses`."""
        row = RowRecords(*self._row)
        plan = row.plan
        found: dict[str, str] = dict.fromkeys(plan.names, "")
        if plan.on_demand:
            found |= zip(plan.on_demand.names, row.on_demand_statuses, strict=True)
        for role, result in row.by_role():
            found |= {name: status_in(result, i) for i, name in enumerate(role.names)}
        return found

    @property
    def event_timestamps(self) -> dict[str, datetime | None]:
        """The event time of each feature's record (UTC, microseconds); None where there is none."""
        row = RowRecords(*self._row)
        found: dict[str, datetime | None] = dict.fromkeys(row.plan.names)
        for role, (_, event, _) in row.by_role():
            found |= dict.fromkeys(role.names, None if event is None else instant(event))
        return found

    @property
    def failures(self) -> dict[str, str]:
        """The views whose records could not be read, each with the sentence that says why; defaults stand for them."""
        return RowRecords(*self._row).failures()


class OneRow(OnlineFeatures):
    """The features of one entity row in the form of many; its records are laid out only where values do not suffice."""

    def __init__(self, row: ReadRow, keys: dict[str, Any], moment: int) -> None:
        super().__init__(row[0].names, {name: [value] for name, value in keys.items()}, 1, self._of_one)
        self._row, self._moment = row, moment

    @property
    def values(self) -> Sequence[Any]:
        """The values to serve, in the order of `names`."""
        return self._row[0].in_order(self._row[2])

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, list[Any]]:
        """See `OnlineFeatures.to_dict`."""
        if include_event_timestamps:
            return super().to_dict(include_event_timestamps)
        found = {name: [value] for name, value in zip(self._names, self.values)}  # noqa: B905 as in `read_row`
        return {**self._keys, **found}

    def _of_one(self) -> tuple[Sequence[RoleRecords], Mapping[str, FeatureColumn]]:
        row, keys = RowRecords(*self._row), {name: value for name, (value,) in self._keys.items()}
        row_keys = [RowKeys([codec.encode(keys)]) for codec in row.plan.codecs]
        return row.plan.stored(row_keys, row.records, self._moment), row.computed()


def read_row(
    plan: ReadPlan,
    keys: Sequence[Sequence[bytes]],
    records: Sequence[Records],
    entity_row: Mapping[str, Any],
    moment: int,
) -> ReadRow:
    """Decode the records of one entity row, and judge them at a moment; `keys` are those of the plan's codecs.

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
            values += role.served(OUTSIDE_MAX_AGE)
        else:
            is_null = not key and plan.codecs[role.codec_number].encode(entity_row) is None
            status = NULL_KEY if is_null else status_without(given, 0)
            results.append(status)
            values += role.served(status)
    statuses: Sequence[str] = ()
    if plan.on_demand:
        for role, place in plan.arguments:
            if place >= len(plan.roles):  # all others were read above
                role.decoder.check(*records[place], keys[role.codec_number])
        taken = plan.taken([RowKeys(each) for each in keys], records, moment)
        computed, statuses = plan.on_demand.one(taken, entity_row)
        values += computed
    return plan, records, values, results, statuses


def _key_result(result: _Result) -> KeyResult:
    if isinstance(result, str):
        return result, None, None
    event, stored = result
    if stored is None:
        return OUTSIDE_MAX_AGE, event, None
    return PRESENT, None if event == NO_TIME else event, stored
