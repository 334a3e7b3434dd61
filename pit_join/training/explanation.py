"""The explanation of one value: the rows of its key, each with a verdict, and the online value beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from pit_join.json_values import time_text, with_zone
from pit_join.records.layout import instant

__all__ = ["ExplainedArgument", "ExplainedRow", "ExplainedWindow", "Explanation", "OnlineValue", "Verdict"]


class Verdict(str, Enum):
    """The verdict of the rule on a row of a history, or on an event of a window."""

    CHOSEN = "chosen"
    TOO_OLD = "older than the ttl"
    DELETED = "deleted"
    SUPERSEDED = "superseded"
    TIE_LOST = "tie lost"
    NOT_YET_KNOWN = "not yet known"
    LATER = "later than the time asked"
    UNDATED = "no time"
    COUNTED = "counted"
    LEFT = "has left the window"
    MISSED = "known too late"
    NOT_COUNTED = "does not meet the condition, or is null"


_OF_THE_WINNER = (Verdict.CHOSEN, Verdict.TOO_OLD, Verdict.DELETED)


@dataclass(frozen=True, slots=True)
class ExplainedRow:
    """A row of a history with the verdict of the rule.

    `position` is its number in the order of event times, those without one last. Times are in microseconds UTC, None
    where the row has none. `values` are as stored: those of the features asked for, or of the aggregated column.
    `until` is the time at which an event leaves the window, None if it never does.
    """

    verdict: Verdict
    position: int
    event: int | None
    known_from: int | None
    values: tuple[Any, ...]
    until: int | None = None


@dataclass(frozen=True, slots=True)
class ExplainedWindow:
    """The window of one feature at T, and the events around its two edges.

    `function` is what is computed of the events, in words, `column` what is aggregated and `type` its type (None where
    rows are counted), and `events` the number of those that count. `rows` are in the order of event times.
    """

    feature: str
    function: str
    column: str | None
    type: str | None
    events: int
    rows: tuple[ExplainedRow, ...]


@dataclass(frozen=True, slots=True)
class ExplainedArgument:
    """An argument of an on-demand feature, and its value at T.

    `source` is the stored feature that it takes, or the field of the request; a field has neither status nor times.
    `event` and `known_from`, in microseconds UTC, are those of the row that the feature's value comes from; that of a
    window comes from more than one, of which `event` is the newest. `type` is that of the value (see
    `records.layout.Field`).
    """

    name: str
    source: str
    value: Any
    type: str
    status: str | None = None
    event: int | None = None
    known_from: int | None = None


@dataclass(frozen=True, slots=True)
class OnlineValue:
    """The online features of one key, beside those of the rule at the instant of the export.

    `exported_at` and `event` are in microseconds UTC. `values` are those of the store, of `types` (see
    `records.layout.Field`), and `expected` those of the rule; both with declared defaults, and ages judged at the
    export. `why` has a sentence for each reason why they differ.
    """

    exported_at: int
    event: int | None
    values: Mapping[str, Any]
    statuses: Mapping[str, str]
    types: Mapping[str, str]
    expected: Mapping[str, Any]
    why: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether the store has what the rule says."""
        return not self.why


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer of the rule for one key at one time, and the rows that led to it.

    `at` is the time T and `asked` is T less the gap, in microseconds UTC. `rule` are the settings of the view that were
    applied, in words. `event` is the event time of the answer. `values` are the features as a training set has them,
    with the status of each in `statuses`; `defaulted` are those that a declared default replaced. `rows` are in the
    order of event times, those without one last. `counts` has the number of all rows of the key (`rows`), of those
    known at the time asked, of those up to it (`before`) and later (`after`), and of those undated. `types` are those
    of keys and features (see `records.layout.Field`), empty for one that no record can hold. A window view has
    `windows` instead of rows, one a feature. An on-demand feature has `arguments` instead, its service as `view`, its
    expression as `rule`, and nothing to count. `online` is what the store has beside it, or a sentence that says why
    there is nothing; None if it was not read.
    """

    view: str
    keys: Mapping[str, Any]
    at: int
    asked: int
    rule: tuple[str, ...]
    statuses: Mapping[str, str]
    event: int | None
    values: Mapping[str, Any]
    defaulted: tuple[str, ...]
    rows: tuple[ExplainedRow, ...]
    counts: Mapping[str, int]
    types: Mapping[str, str]
    windows: tuple[ExplainedWindow, ...] = ()
    arguments: tuple[ExplainedArgument, ...] = ()
    online: OnlineValue | str | None = None

    @property
    def chosen(self) -> ExplainedRow | None:
        """The row that wins; if it is too old or deleted, its values are not served."""
        return next((row for row in self.rows if row.verdict in _OF_THE_WINNER), None)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values; times are texts in UTC."""
        found = asdict(self)
        found |= {name: _text(found[name]) for name in ("at", "asked", "event")}
        found |= {name: _with_zones(found[name], self.types) for name in ("keys", "values")}
        kinds = [self.types[name] for name in self.values]
        for rows, types in ((found["rows"], kinds), *((each["rows"], [each["type"]]) for each in found["windows"])):
            for row in rows:
                row |= {name: _text(row[name]) for name in ("event", "known_from", "until")}
                row["values"] = list(map(with_zone, row["values"], types))
        for argument in found["arguments"]:
            argument |= {name: _text(argument[name]) for name in ("event", "known_from")}
            argument["value"] = with_zone(argument["value"], argument["type"])
        if isinstance(self.online, OnlineValue):
            online = found["online"]
            online |= {name: _text(online[name]) for name in ("exported_at", "event")}
            online["values"] = _with_zones(online["values"], self.online.types)
            online["expected"] = _with_zones(online["expected"], self.types)
            online["equal"] = self.online.equal
        return found


def _with_zones(values: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    return {name: with_zone(value, types[name]) for name, value in values.items()}


def _text(microseconds: int | None) -> str | None:
    return None if microseconds is None else str(time_text(instant(microseconds), True))
