"""The check `drift`: the values of features now, held against those that a model was trained on, or earlier ones."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any

from pit_join.definitions.views import Limits
from pit_join.errors import PitJoinError
from pit_join.markup import histograms, notebook, notes, table
from pit_join.monitoring.drift_sources import MIN_ROWS, EarlierRows, LoggedRows, SnapshotRows, Span
from pit_join.monitoring.log_reader import LogReader
from pit_join.monitoring.results import Result
from pit_join.references import listed
from pit_join.training.profiles import FeatureDrift, drifts_of, profiles_of
from pit_join.training.set_profiler import scratch
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.workspace import Histories, Workspace

__all__ = ["Drift", "DriftBaseline", "DriftedFeature", "drift_table", "find_drift"]

_LIMITS = Limits(psi=0.2, after=1, min_rows=MIN_ROWS)
_FALSE_ALARMS = 0.001
"""The probability that chance alone raises any alarm in a run, however many features there are."""

_ZERO = 1e-290
_MEMORY_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class DriftBaseline:
    """The earlier values: a training set's file or the folder of a feature log (`path`), or the snapshot `as_of`.

    `span` bounds the rows of a log.
    """

    path: Path | None = None
    as_of: datetime | None = None
    span: Span = (None, None)


@dataclass(frozen=True, slots=True)
class DriftedFeature:
    """The drift of a feature, and whether it is an alarm.

    `bound` is the greatest stability index that is allowed; None of a feature that declares none, and is not judged.
    `judged` is false with too few rows or entities. `over` says that the index is over the bound, by more than chance;
    `breached` that it has been for the declared runs. `against` names the baseline, for runs to come.
    """

    view: str
    feature: str
    drift: FeatureDrift
    bound: float | None
    judged: bool
    over: bool = False
    breached: bool = False
    text: str = ""
    against: str = ""

    @property
    def result(self) -> Result:
        """The drift as a result."""
        drift = self.drift
        return Result(
            check="drift",
            view=self.view,
            feature=self.feature,
            value=drift.psi,
            bound=self.bound,
            judged=self.judged,
            over=self.over,
            breached=self.breached,
            text=self.text,
            details={
                "against": self.against,
                "rows": [drift.baseline_rows, drift.rows],
                "nulls": [drift.baseline_nulls, drift.nulls],
                "missing": [drift.baseline_missing, drift.missing],
                **{name: getattr(drift, name) for name in ("js", "ks", "ks_error", "noise", "baseline", "current")},
                "edges": [None if upper == float("inf") else upper for upper in drift.uppers or ()]
                if drift.kind == "number"
                else None,
                "categories": drift.labels if drift.kind == "text" else None,
                "labels": drift.labels,
            },
        )


@dataclass(frozen=True, slots=True)
class Drift:
    """The drift of all features against a baseline, which `against` names; `unchecked` says what was not compared."""

    against: str
    features: tuple[DriftedFeature, ...]
    unchecked: tuple[str, ...]

    @property
    def found(self) -> bool:
        """Whether a feature has drifted."""
        return any(each.breached for each in self.features)

    @property
    def results(self) -> tuple[Result, ...]:
        """The drift of each feature, as a result."""
        return tuple(each.result for each in self.features)

    def __repr__(self) -> str:
        drifted = sum(each.breached for each in self.features)
        return f"<Drift: {drifted:,} of {len(self.features):,} features have drifted>"

    def _repr_html_(self) -> str:
        headings, rows, lines = drift_table(self)
        plotted = [
            [
                *cells,
                histograms(each.drift.baseline or (), each.drift.current or ()),
            ]
            for cells, each in zip(rows, self.features, strict=True)
        ]
        shown = table([*headings, "before and now"], plotted, right=tuple(range(2, 8)))
        return notebook(f"Drift against {self.against}", shown, notes(lines))

    def as_json(self) -> dict[str, Any]:
        """Return the drift as plain values."""
        features = []
        for each in self.features:
            drift = {**asdict(each.drift), "uppers": [_finite(upper) for upper in each.drift.uppers or ()]}
            features.append({**asdict(each), "drift": drift})
        return {"against": self.against, "features": features, "unchecked": list(self.unchecked)}


def drift_table(found: Drift) -> tuple[list[str], list[list[str]], list[str]]:
    """Return headings, rows and what is wrong."""
    headings = ["view", "feature", "values before", "now", "PSI", "JS", "KS", "bound", "verdict"]
    rows = [
        [
            each.view,
            each.feature,
            f"{each.drift.baseline_rows or 0:,}",
            f"{each.drift.rows:,}",
            *(_number(value) for value in (each.drift.psi, each.drift.js, each.drift.ks, each.bound)),
            _verdict(each),
        ]
        for each in found.features
    ]
    return headings, rows, [f"{each.view}:{each.feature}: {each.text}" for each in found.features if each.over]


def _verdict(each: DriftedFeature) -> str:
    if not each.judged:
        return "not judged"
    if each.over:
        return "drifted" if each.breached else "over"
    if (each.drift.psi or 0) > (each.bound or 0):
        return "by chance"
    return "ok" if each.drift.kind != "other" else "ok (nulls only)"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def find_drift(
    workspace: Workspace,
    baseline: DriftBaseline,
    log: tuple[Path, Span, str | None] | None,
    now: datetime,
    *,
    names: Collection[str] = (),
    earlier: Mapping[tuple[str, str, str], int] | None = None,
) -> Drift:
    """Measure how far values have moved from a baseline.

    Args:
        workspace: the project.
        baseline: the earlier values.
        log: the folder of a feature log, its span and its service; without one the snapshot at `now` is measured.
        now: the instant of the snapshot.
        names: the views; all by default.
        earlier: for how many runs in a row, until the last, a feature was over its bound, by view, feature and
            baseline; None if no run is kept, so that one is enough for an alarm.

    Raises:
        PitJoinError: if the log, the baseline or the warehouse cannot be read, or a view is unknown.
    """
    views = {workspace.registry.view(name).name for name in names}
    unchecked: list[str] = []
    if baseline.as_of is not None or log is None:
        found, against = _between_snapshots(workspace, baseline, now, views, unchecked)
    else:
        found, against = _of_log(workspace, baseline, log, views, unchecked)
    if not found:
        unchecked.append(f"drift: there are no values to compare with {against}")
    # The earlier instant may move with each run, as it does on a schedule.
    kind = against if baseline.path else "a snapshot"
    runs = None if earlier is None else {key[:2]: number for key, number in earlier.items() if key[2] == kind}
    judged = list(_judged(found, workspace, runs, kind, unchecked))
    if found and not any(each.judged for each in judged):
        unchecked.append("drift: no feature has enough values on both sides to be judged")
    return Drift(against, tuple(judged), tuple(dict.fromkeys(unchecked)))


_Found = dict[tuple[str, str, str], FeatureDrift]  # by label, view and feature


def _of_log(
    workspace: Workspace,
    baseline: DriftBaseline,
    log: tuple[Path, Span, str | None],
    views: Collection[str],
    unchecked: list[str],
) -> tuple[_Found, str]:
    folder, span, service = log
    found: _Found = {}
    with _spilling() as session:
        rows = LoggedRows(session, LogReader(folder, span, service), workspace.registry, "_pit_now_")
        unchecked += rows.unread
        path = baseline.path
        if path is None:
            raise PitJoinError("a feature log is compared with a training set or another log; name one as the baseline")
        before = EarlierRows(session, workspace, path, baseline.span, service)
        unchecked += before.unread
        for group in rows.groups:
            if views and group.view not in views:
                continue
            profiles, made = before.profiles(group)
            columns = []
            for feature, column in group.columns.items():
                profile = profiles.get(feature)
                if profile is None or profile.kind != column.kind:
                    why = "is not in the baseline" if profile is None else "has another type in the baseline"
                    unchecked.append(f"{group.label}:{feature} {why}")
                    continue
                columns.append(replace(column, found=f"{column.found} is not null") if feature in made else column)
            drifts = drifts_of(session, workspace.macros, group.table, columns, group.cluster, profiles)
            for feature, ks in before.exact_ks(group, columns, made).items():
                drifts[feature] = replace(drifts[feature], ks=ks, ks_error=0.0)
            found |= {(group.label, group.view, feature): drift for feature, drift in drifts.items()}
    return found, str(path)


def _between_snapshots(
    workspace: Workspace, baseline: DriftBaseline, now: datetime, views: Collection[str], unchecked: list[str]
) -> tuple[_Found, str]:
    found: _Found = {}
    if baseline.as_of is None:
        raise PitJoinError("a training set is compared with what was served, which a feature log has; name its folder")
    with workspace.warehouse() as warehouse:
        histories = Histories(warehouse, workspace)
        before, after = (
            SnapshotRows(workspace, histories, at, prefix)
            for at, prefix in ((baseline.as_of, "_pit_then_"), (now, "_pit_now_"))
        )
        for name, view in sorted(workspace.registry.views.items()):
            if (views and name not in views) or view.static:
                continue
            try:
                earlier, current = before.group(view), after.group(view)
                columns = list(current.columns.values())
                profiles = profiles_of(warehouse, workspace.macros, earlier.table, columns, ())
                if not profiles:
                    unchecked.append(f"{name} had no rows as of {baseline.as_of:%Y-%m-%d %H:%M:%S}")
                    continue
                drifts = drifts_of(warehouse, workspace.macros, current.table, columns, (), profiles)
            except PitJoinError as error:
                histories.begin_anew()
                unchecked.append(str(error))
                continue
            found |= {(name, name, feature): drift for feature, drift in drifts.items()}
            for group in (earlier, current):
                before.drop(group)
            histories.forget(view)
    return found, f"the snapshot as of {baseline.as_of:%Y-%m-%d %H:%M:%S} UTC"


def _judged(
    found: _Found,
    workspace: Workspace,
    earlier: Mapping[tuple[str, str], int] | None,
    against: str,
    unchecked: list[str],
) -> Iterator[DriftedFeature]:
    """Yield the features in order, judged together: the more there are, the less likely each must be by chance."""
    judged: dict[tuple[str, str, str], Limits] = {}
    few: dict[str, list[str]] = {}
    for place, drift in found.items():
        limits = _limits(workspace, *place[1:])
        rows = min(drift.baseline_rows or 0, drift.rows)
        if rows < (limits.min_rows or 1) or drift.noise is None:
            lack = f"{rows:,} rows" if rows < (limits.min_rows or 1) else "the rows of one entity"
            if _declared(workspace, *place[1:]).psi is not None:
                few.setdefault(f"{place[0]} has {lack} on one side, too few to judge a drift of", []).append(place[2])
        else:
            judged[place] = limits
    unchecked += [f"{what} {listed(features)}" for what, features in few.items()]
    unlikely = set(_unlikely({place: found[place].noise or 0.0 for place in judged}))
    for place, drift in sorted(found.items()):
        label, view, feature = place
        limits = judged.get(place) or _limits(workspace, view, feature)
        bound, after = limits.psi or 0.0, limits.after or 1
        over = place in unlikely and drift.psi is not None and drift.psi > bound
        shown = bound if place in judged else _declared(workspace, view, feature).psi
        runs = 1 + (earlier or {}).get((label, feature), 0) if over else 0
        breached = over and (runs >= after or earlier is None)
        text = f"PSI {drift.psi:.3f} is over {bound:g}{_moved(drift)}" if over else ""
        if over and after > 1 and earlier is not None:
            text += f"; run {runs:,} in a row, and {after:,} are an alarm"
        yield DriftedFeature(label, feature, drift, shown, place in judged, over, breached, text, against)


def _declared(workspace: Workspace, view: str, feature: str) -> Limits:
    known = workspace.registry.views.get(view)
    return next((each.limits for each in known.features if each.name == feature), Limits()) if known else Limits()


def _limits(workspace: Workspace, view: str, feature: str) -> Limits:
    return _declared(workspace, view, feature).over(_LIMITS)


def _unlikely(noise: Mapping[Any, float]) -> Iterator[Any]:
    """Yield what is unlikely by chance: Holm's correction for many tests of scores that are normal without drift."""
    ranked = sorted(noise.items(), key=lambda each: -each[1])
    for number, (place, score) in enumerate(ranked):
        if score < NormalDist().inv_cdf(1 - _FALSE_ALARMS / (len(ranked) - number)):
            return
        yield place


def _moved(drift: FeatureDrift) -> str:
    """Say which values became more or less frequent: those that add most to the index."""
    shares = list(zip(drift.baseline or (), drift.current or (), strict=True))
    labels = drift.labels or ()
    number, (before, now) = max(
        enumerate(shares), key=lambda each: (round(abs(each[1][0] - each[1][1]), 9), labels[each[0]] is not None)
    )
    return f": {_bin(drift, number)} {before:.1%} -> {now:.1%}"


def _bin(drift: FeatureDrift, number: int) -> str:
    label, uppers = (drift.labels or ())[number], drift.uppers or ()
    if label is not None:
        return label if drift.kind != "text" or label in ("other", "null", "missing") else f"'{label}'"
    upper, lower = _finite(uppers[number]), _finite(uppers[number - 1]) if number else None
    if drift.kind == "other":
        return "a value"
    if upper is None:
        return f"over {lower:g}" if lower is not None else "a value"
    return f"up to {upper:g}" if lower is None else f"{lower:g} to {upper:g}"


def _finite(upper: float | None) -> float | None:
    """Return the end of a bin; None without a bound. That just below 0 is 0."""
    if upper is None or upper in (float("inf"), float("-inf")):
        return None
    return 0.0 if abs(upper) < _ZERO else upper


@contextmanager
def _spilling() -> Iterator[DuckDBWarehouse]:
    """Open a session without a warehouse, which spills to a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="pit-join-") as folder, scratch() as session:
        session.spill_to(Path(folder), _MEMORY_BYTES)
        yield session
