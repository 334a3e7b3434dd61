"""The records of one role, judged by their age: as results of keys, and as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from pit_join.online.protocol import Failed, Records
from pit_join.records.layout import NO_TIME, Decoder
from pit_join.records.stored_view import StoredView
from pit_join.statuses import NOT_FOUND, NULL_KEY, NULL_VALUE, OUTSIDE_MAX_AGE, PRESENT, STALE

__all__ = [
    "FeatureColumn", "KeyResult", "RoleColumns", "RolePlan", "RoleRecords", "RowKeys", "failures_of", "status_in",
    "status_without",
]  # fmt: skip

KeyResult = tuple[str, int | None, tuple[Any, ...] | None]
"""The status of a key, its event time (None without one), and the stored values, None where they must not be served."""


@dataclass(frozen=True, slots=True, eq=False)
class RolePlan:
    """One role of a request, prepared for reading.

    `codec_number` is the place of its keys' codec in the plan; `columns` are the places of its features in the
    request; `ttl` is in microseconds. `defaults` replace nulls of a record, and all values if they are stale; `absent`
    replaces all values where no record is young enough. `fills` is whether any feature has a default.
    """

    view: StoredView
    codec_number: int
    decoder: Decoder
    names: tuple[str, ...]
    columns: slice | np.ndarray[Any, Any]
    ttl: int | None
    defaults: tuple[Any, ...]
    absent: tuple[Any, ...]
    fills: bool

    def filled(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the values of a record, with defaults for nulls."""
        if None not in values:
            return values
        return tuple(_own(d) if v is None else v for v, d in zip(values, self.defaults, strict=True))

    def served(self, status: str, values: tuple[Any, ...] | None = None) -> tuple[Any, ...]:
        """Return the values to serve for those of a record; None without one, or if it is too old."""
        if values is not None:
            return self.filled(values)
        # A stale count of 0 would claim that nothing happened.
        return tuple(map(_own, self.defaults if status == STALE else self.absent))

    @property
    def types(self) -> tuple[str, ...]:
        """The types of the features, see `records.layout.Field`."""
        return _types(self)


def _own(default: Any) -> Any:
    """Copy a default that is a list, since callers may change the values that they receive."""
    return default[:] if type(default) is list else default


class RowKeys:
    """The keys of a request's rows, None for null; `distinct` are those to read, each once."""

    def __init__(self, each: Sequence[bytes | None]) -> None:
        self.each = each
        # No record has the key of no bytes.
        self.distinct = [key or b"" for key in (dict.fromkeys(each) if len(each) > 1 else each)]

    @cached_property
    def positions(self) -> list[int]:
        """For every row the position of its key among the distinct ones."""
        number = {key: i for i, key in enumerate(dict.fromkeys(self.each))}
        return [number[key] for key in self.each]


class FeatureColumn(NamedTuple):
    """One feature: its view, its type (see `records.layout.Field`), and for each row value, status and event time.

    Event times are in microseconds, None where there is none.
    """

    view: str
    type: str
    values: Sequence[Any]
    statuses: list[str]
    times: list[int | None]


class RoleColumns(NamedTuple):
    """The features of one role: names, types (see `records.layout.Field`), and columns of values and statuses.

    `times` are the event times of the rows in microseconds, None where there is none. Features may share a column of
    statuses.
    """

    view: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    columns: Sequence[Sequence[Any]]
    statuses: Sequence[list[str]]
    times: Sequence[int | None]


def status_without(records: Records, place: int) -> str:
    """Return the status of a key, by its place, that has no record among those that a store returned."""
    return records.status if isinstance(records, Failed) and place in records.lost else NOT_FOUND


def status_in(result: KeyResult, feature: int) -> str:
    """Return the status of one feature, by its number in the role."""
    status, _, values = result
    return NULL_VALUE if values is not None and values[feature] is None else status


def failures_of(records: Iterable[tuple[RolePlan, Records]]) -> dict[str, str]:
    """Return the views whose records could not be read, each with the sentence that says why."""
    return {role.view.name: str(each.error) for role, each in records if isinstance(each, Failed)}


class RoleRecords:
    """The sound records of one role (see `Decoder.check`), those of the distinct keys, judged at `moment`."""

    def __init__(self, role: RolePlan, keys: RowKeys, given: Records, moment: int) -> None:
        self.role, self.keys, self.given, self.moment = role, keys, given, moment
        self.records, self.lengths = given

    @cached_property
    def results(self) -> list[KeyResult]:
        """The result of every distinct key."""
        found: list[KeyResult] = []
        read, start = self.role.decoder.read_sound, 0
        oldest = NO_TIME if self.role.ttl is None else self.moment - self.role.ttl
        for key, length in zip(dict.fromkeys(self.keys.each), self.lengths, strict=True):
            if length:
                event, values = read(self.records, start, length)
                if event < oldest:
                    found.append((OUTSIDE_MAX_AGE, event, None))
                else:
                    found.append((PRESENT, None if event == NO_TIME else event, values))
                start += length
            else:
                found.append((NULL_KEY if key is None else status_without(self.given, len(found)), None, None))
        return found

    def columns(self) -> dict[str, list[Any]]:
        """Return the values of the features by name, one a row."""
        rows = self.by_row([self.role.served(status, values) for status, _, values in self.results])
        return {name: [row[i] for row in rows] for i, name in enumerate(self.role.names)}

    def by_row(self, found: Sequence[Any]) -> list[Any]:
        """Repeat what was found of the distinct keys for every row."""
        if len(found) == len(self.keys.each):
            return list(found)
        return [found[position] for position in self.keys.positions]


@lru_cache(maxsize=1024)
def _types(role: RolePlan) -> tuple[str, ...]:
    types = {field.name: field.type for field in role.decoder.layout.fields}
    return tuple(types[name] for name in role.decoder.names)
