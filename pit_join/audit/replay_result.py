"""The result of a replay: the findings of each view, and what could not be audited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pit_join.json_values import time_text
from pit_join.records.layout import instant
from pit_join.times import format_duration

__all__ = ["Replay", "ReplayExample", "ReplayedView"]


@dataclass(frozen=True, slots=True)
class ReplayExample:
    """A row of a view that differs at a cut; `known_from` and `cut` are in microseconds UTC.

    `kind` is changed, vanished (only the build at the cut has the row) or appeared (only today's has it). `keys` are
    empty unless they were asked for, `values` are those at the cut and today of each column that differs.
    """

    kind: str
    cut: int
    known_from: int | None
    keys: Mapping[str, Any]
    values: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class ReplayedView:
    """The result of the comparisons of one view.

    `rows` counts the rows compared at all cuts, `kinds` those that differ, `columns` those in which a column does.
    `horizon` is the greatest time between a row's availability and a cut at which it differed, None for a static view;
    it is `unbounded` if rows as old as the history differ. `lag` would make the view honest, as far as the cuts show.
    `not_reproducible` are columns in which two builds of the same inputs differ, and `rows` if nothing else is left.
    `look_back` is how long after the beginning of the data rows depend on what was before it; None if none do.
    `stored` counts the rows in which the stored table differs from today's build; None if there is no table.
    `not_audited` are inputs that do not say when their rows are known.
    """

    view: str
    rows: int
    kinds: Mapping[str, int] = field(default_factory=dict)
    columns: Mapping[str, int] = field(default_factory=dict)
    horizon: timedelta | None = None
    unbounded: bool = False
    lag: timedelta | None = None
    examples: tuple[ReplayExample, ...] = ()
    not_reproducible: tuple[str, ...] = ()
    look_back: timedelta | None = None
    stored: int | None = None
    not_audited: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """The number of rows that differ."""
        return sum(self.kinds.values())

    @property
    def verdict(self) -> str:
        """The result in one or two words: leak, not reproducible, not audited, part audited or clean."""
        if self.found:
            return "leak"
        if "rows" in self.not_reproducible:
            return "not reproducible"
        if not self.rows:
            return "not audited"
        return "part audited" if self.not_audited else "clean"

    def as_json(self) -> dict[str, Any]:
        """Return the view as plain values; durations are in seconds."""
        return {
            "view": self.view,
            "verdict": self.verdict,
            "rows": self.rows,
            "found": self.found,
            "kinds": dict(self.kinds),
            "columns": dict(self.columns),
            "horizon_seconds": None if self.horizon is None else self.horizon.total_seconds(),
            "unbounded": self.unbounded,
            "lag": None if self.lag is None else format_duration(self.lag),
            "examples": [
                {
                    "kind": one.kind,
                    "cut": time_text(instant(one.cut), True),
                    "known_from": None if one.known_from is None else time_text(instant(one.known_from), True),
                    "keys": {name: str(value) for name, value in one.keys.items()},
                    "values": {name: list(map(str, values)) for name, values in one.values.items()},
                }
                for one in self.examples
            ],
            "not_reproducible": list(self.not_reproducible),
            "look_back_seconds": None if self.look_back is None else self.look_back.total_seconds(),
            "stored_rows_that_differ": self.stored,
            "not_audited": list(self.not_audited),
        }


@dataclass(frozen=True, slots=True)
class Replay:
    """The result of a replay.

    `cuts` and `beginning` are instants in microseconds UTC. `inputs` has a sentence for each input that is not audited,
    `views` those that were built, `builds` the number of builds.
    """

    views: tuple[ReplayedView, ...]
    cuts: tuple[int, ...]
    beginning: int | None
    seed: int
    inputs: tuple[str, ...]
    builds: int
    seconds: float

    @property
    def found(self) -> int:
        """The number of views with a leak."""
        return sum(view.found > 0 for view in self.views)

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values; times are texts in UTC."""
        return {
            "found": self.found,
            "cuts": [time_text(instant(cut), True) for cut in self.cuts],
            "beginning": None if self.beginning is None else time_text(instant(self.beginning), True),
            "seed": self.seed,
            "builds": self.builds,
            "seconds": round(self.seconds, 3),
            "not_audited": list(self.inputs),
            "views": [view.as_json() for view in self.views],
        }
