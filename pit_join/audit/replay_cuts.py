"""The instants at which a replay cuts its inputs: at random inside days, and just before rows that changed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from pit_join.history.inputs import ModelInput
from pit_join.project.rendering import Macros
from pit_join.warehouse.duckdb_session import DuckDBWarehouse

__all__ = ["Cuts", "draw_cuts"]

# The first tenth of the data has little history to compare, and after the last rows there is nothing to cut.
_EARLIEST, _LATEST, _BEGINNING = 0.1, 0.98, 0.25


@dataclass(frozen=True, slots=True)
class Cuts:
    """Instants in microseconds UTC: where the end is cut, where the beginning is, and the last one of the data."""

    ends: tuple[int, ...]
    beginning: int
    last: int


def draw_cuts(
    macros: Macros, warehouse: DuckDBWarehouse, inputs: Sequence[ModelInput], number: int, seed: int
) -> Cuts | None:
    """Return cuts of inputs that say when their rows are known; None if no row is known.

    Up to half of them lie just before a row was changed in place, if any was. The same seed draws the same cuts.
    """
    now = int(datetime.now(timezone.utc).timestamp() * 1_000_000)
    drawn = random.Random(seed)
    known, changed = [], []
    for one in inputs:
        if one.known is None:
            continue
        since = _instant(macros, one.known)
        times = [f"select {since} as moment from {one.relation}"]
        later = [_instant(macros, each) for each in one.updated.values()]
        changes = [f"select {each} as moment from {one.relation} where {each} > {since}" for each in later]
        known.append(_Times(warehouse, times, one.name, now))
        changed.append(_Times(warehouse, changes, one.name, now) if changes else None)
    found = [each for each in known if each.rows]
    if not found:
        return None
    largest = max(found, key=lambda each: each.rows)
    updates = [each for each in changed if each is not None and each.rows]
    before = number // 2 if updates else 0
    ends: set[int] = set()
    for index in range(number):
        places, share = (updates, before) if index < before else (found, number - before)
        position = (index if index < before else index - before) + drawn.random()
        (chosen,) = drawn.choices(places, [each.rows for each in places])
        at = chosen.quantile(_EARLIEST + (_LATEST - _EARLIEST) * position / share)
        following = chosen.following(at)
        within = 0 if following is None else int((following - at) * drawn.uniform(0.2, 0.8))
        ends.add(at - 1 if index < before else at + within)
    last = max(each.newest for each in found)
    return Cuts(tuple(sorted(ends)), largest.quantile(_BEGINNING), last)


class _Times:
    """Instants of one input, in the order of time."""

    def __init__(self, warehouse: DuckDBWarehouse, selects: Sequence[str], name: str, now: int) -> None:
        self._warehouse, self._what = warehouse, f"the times of '{name}' cannot be read"
        self._times = f"(select moment from ({' union all '.join(selects)}) as every_time where moment <= {now})"
        found = self._row("count(*) as rows, max(moment) as newest")
        self.rows: int = found["rows"]
        self.newest: int = found["newest"] or 0

    def _row(self, columns: str, where: str = "true") -> dict[str, Any]:
        return self._warehouse.row(f"select {columns} from {self._times} as times where {where}", self._what)

    def quantile(self, share: float) -> int:
        return int(self._row(f"quantile_disc(moment, {share!r}) as found")["found"])

    def following(self, at: int) -> int | None:
        found = self._row("min(moment) as found", f"moment > {at}")["found"]
        return None if found is None else int(found)


def _instant(macros: Macros, time: Any) -> str:
    return macros.text("_instant", column=time["expression"], data_type=time["data_type"], round_up=True)
