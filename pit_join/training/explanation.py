"""The explanation of one value: the rows of its key, each with a verdict, and the online value beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from pit_join.json_values import time_text
from pit_join.records.layout import instant

__all__ = ["ExplainedRow", "ExplainedWindow", "Explanation", "OnlineValue", "Verdict"]


class Verdict(str, Enum):
    """The verdict of the rule on a row of a history, or on an event of a window."""

    CHOSEN = "chosen"
    TOO_OLD = "older than the ttl"
    DELETED = "deleted"
    SUPERSEDED = "superseded"
    TIE_LOST = "tie lost"
    NOT_YET_KNOWN = "not yet known"
    LATER = "later than T"
    UNDATED = "no time"
    COUNTED = "counted"
    LEFT = "has left the window"
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

    `function` is what is computed of the events, in words, `column` what is aggregated (None where rows are counted),
    and `events` the number of those that count. `rows` are in the order of event times.
    """

    feature: str
    function: str
    column: str | None
    events: int
    rows: tuple[ExplainedRow, ...]


@dataclass(frozen=True, slots=True)
class OnlineValue:
    """The online features of one key, beside those of the rule at the instant of the export.

    `exported_at` and `event` are in microseconds UTC. `values` are those of the store and `expected` those of the rule,
    with declared defaults, and ages judged at the export. `why` has a sentence for each reason why they differ.
    """

    exported_at: int
    event: int | None
    values: Mapping[str, Any]
    statuses: Mapping[str, str]
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
    applied, in words. `event` is the event time of the answer. `values` are the features as a training set has them;
    `defaulted` are those that a declared default replaced. `rows` are in the order of event times, those without one
    last. `counts` has the number of all rows of the key (`rows`), of those known at T, before it and after it, and of
    those undated. A window view has `windows` instead of rows, one a feature. `online` is what the store has beside
    it, or a sentence that says why there is nothing; None if it was not read.
    """

    view: str
    keys: Mapping[str, Any]
    at: int
    asked: int
    rule: tuple[str, ...]
    status: str
    event: int | None
    values: Mapping[str, Any]
    defaulted: tuple[str, ...]
    rows: tuple[ExplainedRow, ...]
    counts: Mapping[str, int]
    windows: tuple[ExplainedWindow, ...] = ()
    online: OnlineValue | str | None = None

    @property
    def chosen(self) -> ExplainedRow | None:
        """The row that wins; if it is too old or deleted, its values are not served."""
        return next((row for row in self.rows if row.verdict in _OF_THE_WINNER), None)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values; times are texts in UTC."""
        found = asdict(self)
        found |= {name: _text(found[name]) for name in ("at", "asked", "event")}
        for rows in (found["rows"], *(window["rows"] for window in found["windows"])):
            for row in rows:
                row |= {name: _text(row[name]) for name in ("event", "known_from", "until")}
        if isinstance(self.online, OnlineValue):
            found["online"] |= {name: _text(found["online"][name]) for name in ("exported_at", "event")}
            found["online"]["equal"] = self.online.equal
        return found


def _text(microseconds: int | None) -> str | None:
    return None if microseconds is None else str(time_text(instant(microseconds), True))
