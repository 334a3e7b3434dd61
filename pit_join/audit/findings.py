"""The findings of an audit of a training set: leaks and other differences, each with its likely cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pit_join.json_values import time_text
from pit_join.records.layout import instant

__all__ = ["EXPLAINED", "AuditExample", "AuditedColumn", "Cause", "FilledNulls", "SuspectColumn", "TrainingSetAudit"]

EXPLAINED = 0.9
"""The share of the rows that differ from which on a cause explains them."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A likely cause of the differences of a column.

    It explains `explained` of the `tried` rows that differ. `leak` says whether it shows what nobody could know at T.
    """

    text: str
    explained: int
    tried: int
    leak: bool

    @property
    def share(self) -> float:
        """The share of the tried rows that the cause explains."""
        return self.explained / self.tried if self.tried else 0.0


@dataclass(frozen=True, slots=True)
class FilledNulls:
    """A constant that stands in a column where the rule has no value, and the number of such rows."""

    value: Any
    rows: int


@dataclass(frozen=True, slots=True)
class AuditExample:
    """A row that differs, with both values.

    `row` is its number in the file from 1, `time` its time T in microseconds UTC.
    """

    row: int
    time: int | None
    keys: Mapping[str, Any]
    value: Any
    expected: Any


@dataclass(frozen=True, slots=True)
class AuditedColumn:
    """A column of the file beside the feature that it should hold.

    `differing` of its `rows` differ from the rule. `causes` has the simplest cause that explains them, and others if
    too few rows tell them apart; it is empty if nothing explains the rows, or too few rows differ. `filled` is what
    stands for nulls. `precision` says how the file rounds, `problem` why the column was not compared. `auc` is that of
    the column alone and of the rule's values, for a binary label; a hint.
    """

    column: str
    feature: str
    rows: int
    differing: int = 0
    filled: FilledNulls | None = None
    precision: str | None = None
    problem: str | None = None
    causes: tuple[Cause, ...] = ()
    examples: tuple[AuditExample, ...] = ()
    auc: tuple[float, float] | None = None

    @property
    def leaks(self) -> bool:
        """Whether the likeliest cause is a leak, and explains nearly all differences."""
        return self.is_explained and self.causes[0].leak

    @property
    def is_explained(self) -> bool:
        """Whether a cause explains nearly all differences."""
        return bool(self.causes) and self.causes[0].share >= EXPLAINED

    @property
    def verdict(self) -> str:
        """`ok`, `leak`, `differs`, or `not compared`."""
        if self.problem:
            return "not compared"
        return "leak" if self.leaks else "differs" if self.differing else "ok"


@dataclass(frozen=True, slots=True)
class SuspectColumn:
    """A column that is not a feature of the project, and what it seems to hold.

    `explained` of `tried` rows tell it. `leak` is false for a column that only has another name.
    """

    column: str
    text: str
    explained: int
    tried: int
    leak: bool


@dataclass(frozen=True, slots=True)
class TrainingSetAudit:
    """The audit of a training set of `rows` rows.

    `statuses` counts the rows of each view by status; see `statuses.OFFLINE`. `suspects` are columns that the project
    does not have, as far as they seem to hold a leak or a feature under another name, and `unknown` are the others.
    `missing` are features of the project's views in the file that have no column in it; `left_out` are views whose keys
    it lacks, with the reason. `hints` say why views match hardly anything. `assumed_utc` says whether naive times were
    read as UTC because no zone was named.
    """

    path: str
    rows: int
    event_timestamp: str
    columns: tuple[AuditedColumn, ...]
    statuses: Mapping[str, Mapping[str, int]]
    suspects: tuple[SuspectColumn, ...] = ()
    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    hints: tuple[str, ...] = ()
    label: str | None = None
    assumed_utc: bool = False

    @property
    def found(self) -> bool:
        """Whether a column differs from the rule, could not be compared, or holds a leak, or nothing was compared."""
        wrong = any(each.verdict != "ok" for each in self.columns) or any(each.leak for each in self.suspects)
        return wrong or not self.columns

    def as_json(self, *, show_keys: bool = False) -> dict[str, Any]:
        """Return it as plain values; times are texts in UTC, and examples have keys only with `show_keys`."""
        found = asdict(self)
        found["found"] = self.found
        for column, audited in zip(found["columns"], self.columns, strict=True):
            column["verdict"] = audited.verdict
            column["auc"] = dict(zip(("file", "rule"), audited.auc, strict=True)) if audited.auc else None
            for example in column["examples"]:
                time = example["time"]
                example["time"] = None if time is None else time_text(instant(time), True)
                if not show_keys:
                    del example["keys"]
        return found
