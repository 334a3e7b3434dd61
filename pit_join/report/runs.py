"""The kept results of monitoring for the page: the last state of each series, its history, and its distribution."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pit_join.json_values import time_text
from pit_join.report.catalogue import filled
from pit_join.report.hidden import Hidden

__all__ = ["monitored"]

_MOST_RUNS = 60
_MOST_POINTS = 40_000  # of all sparklines, so that the page stays small
_MOST_DRAWN = 300  # distributions
_MOST_BARS = 24
_ZERO = 1e-290
_UNTOLD = ("freshness", "nulls")  # checks whose words hold times and rates, but no values
_ORDER = {"breached": 0, "over": 1, "not judged": 2, "ok": 3}


def monitored(results: pa.Table, hidden: Hidden) -> dict[str, Any] | None:
    """Return the state of each check and feature in its last run, breaches first, and how it came there.

    `runs` are the times of the last runs. A series has `history`: the number of a run, its value, and whether it was a
    breach. There is no state without runs.
    """
    if not len(results):
        return None
    times = pc.unique(results["run_at"]).sort()[-_MOST_RUNS:]
    recent = results.filter(pc.greater_equal(results["run_at"], times[0])).sort_by("run_at")
    most, order, starts = _by_series(recent)
    # Of most rows only the points of their lines are needed: whole rows would take a minute in a large project.
    points = recent.select(["run_at", "value", "breached"]).take(order)
    runs = pc.index_in(points["run_at"], times).to_pylist()
    line = list(zip(runs, points["value"].to_pylist(), points["breached"].to_pylist(), strict=True))
    ends = [*starts[1:], len(line)]
    last = order.take(pa.array([end - 1 for end in ends], pa.int64()))
    states = recent.drop_columns(["run", "run_at", "now"]).take(last).to_pylist()
    # A feature that the last run of its check and view did not have is gone, or was not selected.
    newest: dict[tuple[str, str], int] = {}
    for row, end in zip(states, ends, strict=True):
        place = row["check"], row["view"]
        newest[place] = max(newest.get(place, 0), line[end - 1][0])
    found = [
        _series(row, line[max(start, end - most) : end], hidden)
        for row, start, end in zip(states, starts, ends, strict=True)
        if line[end - 1][0] == newest[row["check"], row["view"]]
    ]
    found.sort(key=lambda each: (_ORDER[each["state"]], each["check"], each["view"], each["feature"]))
    for each in [each for each in found if "shares" in each][_MOST_DRAWN:]:
        del each["shares"]
    return {"runs": [time_text(time, True) for time in times.to_pylist()], "series": found}


def _by_series(results: pa.Table) -> tuple[int, pa.Array, list[int]]:
    """Return how many points a line may have, the rows put together by series, and where each series begins."""
    code: np.ndarray[Any, Any] = np.zeros(len(results), dtype=np.int64)
    for name in ("check", "place", "view", "feature"):
        column = pc.dictionary_encode(pc.fill_null(results[name], "")).combine_chunks()
        code = code * len(column.dictionary) + np.from_dlpack(column.indices.cast(pa.int64()))
        code = np.unique(code, return_inverse=True)[1].astype(np.int64)  # so that it never overflows
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    most = max(2, min(_MOST_RUNS, _MOST_POINTS // max(len(starts), 1)))
    return most, pa.array(order), starts.tolist()


def _series(row: Mapping[str, Any], points: Sequence[Sequence[Any]], hidden: Hidden) -> dict[str, Any]:
    label, feature = str(row["view"] or ""), str(row["feature"] or "")
    role, _, view = label.removesuffix(")").partition(" (") if label.endswith(")") else ("", "", label)
    sensitive = hidden.feature(view, feature)
    return filled(
        check=str(row["check"]),
        place=row["place"],
        role=role,
        state=_state(row),
        value=_number(row["value"]),
        bound=_number(row["bound"]),
        text=None if sensitive and row["check"] not in _UNTOLD else row["text"],
        impact=row["impact"],
        owner=row["owner"],
        history=[[run, _number(value), int(bool(breached))] for run, value, breached in points],
        shares=None if sensitive else _shares(row["details"]),
    ) | {"view": view, "feature": feature}


def _state(row: Mapping[str, Any]) -> str:
    if row["breached"]:
        return "breached"
    if not row["judged"]:
        return "not judged"
    return "over" if row["over"] else "ok"


def _number(value: Any) -> float | None:
    """Return a number with four digits, enough to draw it."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.4g}")


def _shares(details: str | None) -> list[list[Any]] | None:
    """Return the bars of a drift: a label, and the shares before and now; None if there are none to draw."""
    try:
        read = json.loads(details or "null")
        before, now = ([float(share) for share in read[name]] for name in ("baseline", "current"))
        bars = list(zip(_labels(read["labels"], read["edges"]), before, now, strict=True))
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    if rest := bars[_MOST_BARS:]:
        others = (f"{len(rest)} others", sum(before for _, before, _ in rest), sum(now for *_, now in rest))
        bars = [*bars[:_MOST_BARS], others]
    if not bars or not all(math.isfinite(before) and math.isfinite(now) for _, before, now in bars):
        return None
    return [[label, float(f"{before:.4g}"), float(f"{now:.4g}")] for label, before, now in bars]


def _labels(labels: Sequence[str | None], edges: Sequence[float | None] | None) -> Iterator[str]:
    """Yield the labels of bars; one of numbers has none, and its upper edge, which is null if there is no bound."""
    lower = ""
    for i, label in enumerate(labels):
        if label is not None or edges is None:
            yield str(label or "a value")
        elif (edge := edges[i]) is None:
            yield f"> {lower}" if lower else "a value"
        else:
            # An edge just below a number, as 1.9999999999999996 or -1e-300, ends the bar of what is less.
            upper = f"{0.0 if abs(edge) < _ZERO else edge:.4g}"
            less = "<" if float(upper) > edge else "≤"
            yield upper if upper == lower else f"{lower} – {upper}" if lower else f"{less} {upper}"
            lower = upper
