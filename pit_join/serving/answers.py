"""What was read of one view: records judged by their age, as columns or as one row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from pit_join.online.protocol import Failed, Records
from pit_join.records.layout import NO_TIME, Decoder
from pit_join.records.store_manifest import StoredView
from pit_join.statuses import NOT_FOUND, NULL_KEY, OUTSIDE_MAX_AGE, PRESENT

__all__ = ["Answer", "AskedKeys", "Block", "Column", "Judged", "Part", "Row", "failures_of", "judge", "status_without"]

Judged = tuple[str, int | None, tuple[Any, ...] | None]
"""The status of a key, its event time (None where there is none) and the values as stored, if they may be served."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One role of a request, ready to be read.

    `codec_number` is that of its keys in the plan; `columns` are where the features stand in the request; `ttl` is in
    microseconds. `defaults` stand for nulls of a record, `absent` for all values where no record is young enough;
    `fills` is whether there is any of the first.
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
        """The values of a record, with defaults for nulls."""
        if None not in values:
            return values
        return tuple(_own(d) if v is None else v for v, d in zip(values, self.defaults, strict=True))

    def served(self, values: tuple[Any, ...] | None) -> tuple[Any, ...]:
        """What is served where a record has these values, or, for None, where there is none that is young enough."""
        return tuple(map(_own, self.absent)) if values is None else self.filled(values)

    @property
    def types(self) -> tuple[str, ...]:
        """The types of the features, see `records.Field`."""
        return _types(self)


def _own(default: Any) -> Any:
    """A list that is a default is the reader's; a caller may change what it gets."""
    return default[:] if type(default) is list else default


class AskedKeys:
    """The keys of a request's rows, None for null; `distinct` are those to read, none of them twice."""

    def __init__(self, each: Sequence[bytes | None]) -> None:
        self.each = each
        # No record has the key of no bytes.
        self.distinct = [key or b"" for key in (dict.fromkeys(each) if len(each) > 1 else each)]

    @cached_property
    def positions(self) -> list[int]:
        """For every row the number of its key among the distinct ones."""
        number = {key: i for i, key in enumerate(dict.fromkeys(self.each))}
        return [number[key] for key in self.each]


class Column(NamedTuple):
    """One feature: its view, its type (see `records.Field`), and for each row value, status and event time.

    Event times are in microseconds, None where there is none.
    """

    view: str
    type: str
    values: Sequence[Any]
    statuses: list[str]
    times: list[int | None]


class Block(NamedTuple):
    """The features of one role: names, types (see `records.Field`), and columns of values and statuses, one each.

    `times` are the event times of the rows in microseconds, None where there is none. Features may share a column of
    statuses.
    """

    view: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    columns: Sequence[Sequence[Any]]
    statuses: Sequence[list[str]]
    times: Sequence[int | None]


def judge(part: Part, record: bytes, key: bytes, moment: int) -> Judged:
    """What a key's record is to a request at a moment.

    Raises:
        StoreError: if the record is damaged.
    """
    event, values = part.decoder.read(record, key)
    if part.ttl is not None and moment - event > part.ttl:
        return OUTSIDE_MAX_AGE, event, None
    return PRESENT, None if event == NO_TIME else event, values


def status_without(given: Records) -> str:
    """The status of a key that has no record among those given."""
    return given.status if isinstance(given, Failed) else NOT_FOUND


def failures_of(given: Iterable[tuple[Part, Records]]) -> dict[str, str]:
    """The views whose records could not be had, with the sentence that says why."""
    return {part.view.name: str(each.error) for part, each in given if isinstance(each, Failed)}


class Row(NamedTuple):
    """One entity row: the features in the order asked for, what was judged of each role, and `failures_of` them."""

    names: tuple[str, ...]
    judged: Sequence[tuple[Part, Judged]]
    failures: Mapping[str, str]


class Answer:
    """What a store gave for one role: the records of the distinct keys; `moment` is when ages are judged."""

    def __init__(self, part: Part, keys: AskedKeys, given: Records, moment: int) -> None:
        self.part, self.keys, self.given, self.moment = part, keys, given, moment
        self.records, self.lengths = given

    @cached_property
    def judged(self) -> list[Judged]:
        """What every distinct key's record is to the request."""
        found: list[Judged] = []
        end = 0
        for key, length in zip(dict.fromkeys(self.keys.each), self.lengths, strict=True):
            if not length:
                found.append((NULL_KEY if key is None else status_without(self.given), None, None))
                continue
            found.append(judge(self.part, self.records[end : end + length], key or b"", self.moment))
            end += length
        return found

    def columns(self) -> dict[str, list[Any]]:
        """The values of its features by name, one a row."""
        rows = self.by_row([self.part.served(values) for _, _, values in self.judged])
        return {name: [row[i] for row in rows] for i, name in enumerate(self.part.names)}

    def by_row(self, found: Sequence[Any]) -> list[Any]:
        """What was found of the distinct keys, for every row."""
        if len(found) == len(self.keys.each):
            return list(found)
        return [found[position] for position in self.keys.positions]


@lru_cache(maxsize=1024)
def _types(part: Part) -> tuple[str, ...]:
    types = {field.name: field.type for field in part.decoder.layout.fields}
    return tuple(types[name] for name in part.decoder.names)
