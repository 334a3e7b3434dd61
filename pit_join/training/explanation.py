"""The explanation of one value: the rows of its key, each with a verdict, and the online value beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from textwrap import shorten
from typing import Any

from pit_join.json_values import time_text, with_zone
from pit_join.markup import Html, Lane, details, notebook, notes, table, timeline
from pit_join.records.layout import instant
from pit_join.texts import age, escaped, moment_text, shown

__all__ = [
    "ExplainedArgument", "ExplainedRow", "ExplainedWindow", "Explanation", "OnlineValue", "Verdict", "answer_lines",
    "argument_table", "asked_text", "online_lines",
]  # fmt: skip


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
_MARKED = (*_OF_THE_WINNER, Verdict.COUNTED)
_MOST_LANES, _MOST_ROWS, _MOST_COLUMNS, _MOST_TEXT = 30, 100, 12, 200


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

    def __repr__(self) -> str:
        answers = shorten(", ".join(answer_lines(self)), _MOST_TEXT, placeholder="...")
        return f"<Explanation: {asked_text(self)}: {answers}>"

    def _repr_html_(self) -> str:
        parts = [notes(answer_lines(self)), " ".join("; ".join(self.rule).split())]
        kinds = {name: self.types[name] for name in self.values}
        if self.arguments:
            parts.append(table(*argument_table(self.arguments)))
        elif not self.windows:
            parts += self._drawn(self.rows, kinds)
        for window in self.windows:
            parts.append(f"{window.feature}: {window.function}; {window.events:,} events count")
            parts += self._drawn(window.rows, {window.column: window.type or ""} if window.column else {})
        if self.online is not None:
            parts.append(notes(online_lines(self.online)))
        return notebook(f"Explanation: {asked_text(self)}", *parts)

    def _drawn(self, rows: Sequence[ExplainedRow], types: Mapping[str, str]) -> tuple[Html, Html]:
        """Return the timeline of the rows nearest to T, the chosen one or those that count marked, and their table."""

        def distance(row: ExplainedRow) -> tuple[bool, bool, int]:
            return row.verdict not in _OF_THE_WINNER, row.event is None, abs((row.event or 0) - self.asked)

        def in_order(some: Sequence[ExplainedRow]) -> list[ExplainedRow]:
            return sorted(some, key=lambda row: row.position)

        near = sorted(rows, key=distance)[:_MOST_ROWS]
        lanes = [
            Lane(row.event, row.known_from if row.until is None else row.until, _times_of(row), row.verdict in _MARKED)
            for row in in_order(near[:_MOST_LANES])
            if row.event is not None
        ]
        columns = dict(list(types.items())[:_MOST_COLUMNS])
        listed = [
            [
                *(_moment(time) for time in (row.event, row.known_from)),
                *map(shown, map(with_zone, row.values, columns.values())),
                row.verdict.value,
            ]
            for row in in_order(near)
        ]
        listing = table(["event time (UTC)", "known from (UTC)", *columns, "verdict"], listed)
        hidden = [
            f"{seen:,} of {number:,} {what}"
            for seen, number, what in ((len(near), len(rows), "rows"), (len(columns), len(types), "features"))
            if seen < number
        ]
        return timeline(lanes, self.asked, "asked"), details(", ".join(hidden) or f"{len(rows):,} rows", listing)


def asked_text(found: Explanation) -> str:
    """Return the view, the keys and T of an explanation."""
    keys = (f"{name}={shown(with_zone(value, found.types[name]))}" for name, value in found.keys.items())
    return " ".join([escaped(found.view), *keys, f"T = {moment_text(found.at)} UTC"])


def answer_lines(found: Explanation) -> list[str]:
    """Return the value of each feature with its status and age."""
    old = "" if found.event is None else f", {age((found.asked - found.event) / 1e6)} old"
    lines = []
    for name, value in found.values.items():
        default = ", the declared default" if name in found.defaulted else ""
        lines.append(
            f"{escaped(name)} = {shown(with_zone(value, found.types[name]))}{default} ({found.statuses[name]}{old})"
        )
    return lines


def online_lines(online: OnlineValue | str) -> list[str]:
    """Return what the store has, and below it why that is or is not what the rule says."""
    if isinstance(online, str):
        return [f"online: {online}"]
    values = ", ".join(
        f"{name} = {shown(with_zone(value, online.types[name]))} ({online.statuses[name]})"
        for name, value in online.values.items()
    )
    return [
        f"online, as of the export of {moment_text(online.exported_at)} UTC: {values}",
        *(f"  {sentence}" for sentence in online.why or ("which is what the rule says at that instant",)),
    ]


def _moment(microseconds: int | None) -> str:
    return "-" if microseconds is None else moment_text(microseconds)


def _times_of(row: ExplainedRow) -> str:
    until = "" if row.until is None else f", until {moment_text(row.until)}"
    return f"{_moment(row.event)}, known from {_moment(row.known_from)}{until}: {row.verdict.value}"


def argument_table(arguments: Sequence[ExplainedArgument]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and rows of a table of arguments."""
    rows = [
        [
            each.name,
            each.source,
            _moment(each.event),
            _moment(each.known_from),
            shown(with_zone(each.value, each.type)),
            each.status or "as given",
        ]
        for each in arguments
    ]
    return ["argument", "from", "event time (UTC)", "known from (UTC)", "value", "status"], rows


def _with_zones(values: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    return {name: with_zone(value, types[name]) for name, value in values.items()}


def _text(microseconds: int | None) -> str | None:
    return None if microseconds is None else str(time_text(instant(microseconds), True))
