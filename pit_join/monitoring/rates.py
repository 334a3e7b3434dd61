"""The check `rates`: the shares of nulls and defaults in the warehouse, the online store and a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from pit_join.definitions.registry import Registry
from pit_join.definitions.views import FeatureView, Limits
from pit_join.errors import PitJoinError, RequestError
from pit_join.markup import notebook, notes, table
from pit_join.monitoring.drift_sources import MIN_ROWS, RowGroup, SnapshotRows
from pit_join.monitoring.freshness import unreadable
from pit_join.monitoring.log_reader import LogReader
from pit_join.monitoring.results import ON_DEMAND, Result
from pit_join.records.layout import moment_of
from pit_join.records.store_manifest import Contents
from pit_join.statuses import NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE, PRESENT, STALE, STATUSES
from pit_join.texts import share
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.workspace import Histories, Workspace

__all__ = ["FeatureRates", "Rates", "find_rates", "rates_table"]

_Log = tuple[Path, tuple[datetime | None, datetime | None], str | None]


@dataclass(frozen=True, slots=True)
class FeatureRates:
    """The values of a feature by status, in one place: `offline`, `stored` or `served`.

    `null_bound` and `default_bound` are the declared greatest rates. `judged` is false of fewer served rows than
    `min_rows`.
    """

    view: str
    feature: str
    place: str
    statuses: Mapping[str, int]
    null_bound: float | None = None
    default_bound: float | None = None
    judged: bool = True

    @property
    def rows(self) -> int:
        """The number of values."""
        return sum(self.statuses.values())

    @property
    def null_rate(self) -> float | None:
        """The share of values that are null although there was a row; None without values."""
        return self.statuses.get(NULL_VALUE, 0) / self.rows if self.rows else None

    @property
    def default_rate(self) -> float | None:
        """The share of all that are not a value of their own: a default, or null, stands for them."""
        return (self.rows - self.statuses.get(PRESENT, 0)) / self.rows if self.rows else None

    @property
    def results(self) -> tuple[Result, ...]:
        """The two rates, as results."""
        return tuple(
            self._result(check, value, bound)
            for check, value, bound in (
                ("nulls", self.null_rate, self.null_bound),
                ("defaults", self.default_rate, self.default_bound),
            )
        )

    def _result(self, check: str, value: float | None, bound: float | None) -> Result:
        over = self.judged and value is not None and bound is not None and value > bound
        # Keys that are written otherwise in the requests than in the view are found nowhere.
        unknown = self.statuses.get(NOT_FOUND, 0) > 0.9 * self.rows
        hint = "; are the keys written alike in the requests and in the view?" if unknown else ""
        counted = ", ".join(f"{status} {number:,}" for status, number in self.statuses.items() if number)
        return Result(
            check=check,
            view=self.view,
            feature=self.feature,
            value=value,
            bound=bound,
            place=self.place,
            judged=self.judged and value is not None,
            over=over,
            breached=over,
            text=f"{value:.1%} {check} {self.place} is over {bound:.1%}: {counted}{hint}" if over else "",
            details={"statuses": dict(self.statuses)},
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of all features; `unchecked` says what could not be counted or judged."""

    features: tuple[FeatureRates, ...]
    unchecked: tuple[str, ...]

    @property
    def found(self) -> bool:
        """Whether a rate is over its bound."""
        return any(result.breached for result in self.results)

    @property
    def results(self) -> tuple[Result, ...]:
        """The rates of each feature and place, as results."""
        return tuple(result for each in self.features for result in each.results)

    def __repr__(self) -> str:
        over = sum(result.breached for result in self.results)
        return f"<Rates: {len(self.features):,} features and places, {over:,} rates are over their bounds>"

    def _repr_html_(self) -> str:
        headings, rows, lines = rates_table(self)
        return notebook("Nulls and defaults", table(headings, rows, right=tuple(range(2, len(headings)))), notes(lines))

    def as_json(self) -> dict[str, Any]:
        """Return the rates as plain values."""
        features = [
            {**asdict(each), "rows": each.rows, "null_rate": each.null_rate, "default_rate": each.default_rate}
            for each in self.features
        ]
        return {"features": features, "unchecked": list(self.unchecked)}


def rates_table(found: Rates) -> tuple[list[str], list[list[str]], list[str]]:
    """Return headings, rows and what is wrong; the features of a view that are alike in every place share a row."""
    places = [place for place in ("offline", "stored", "served") if any(each.place == place for each in found.features)]
    features: dict[tuple[str, str], dict[str, FeatureRates]] = {}
    for each in found.features:
        features.setdefault((each.view, each.feature), {})[each.place] = each
    alike: dict[tuple[str, ...], list[str]] = {}
    for (view, feature), rates in sorted(features.items()):
        at = [rates.get(place) for place in places]
        shares = [share(each.null_rate if each else None) for each in at]
        shares += [share(each.default_rate if each else None) for each in at]
        counts = [f"{each.rows:,}" if each else "-" for each in at]
        alike.setdefault((view, *counts, *shares), []).append(feature)
    rows = [
        [view, f"{names[0]} and {len(names) - 1:,} more" if len(names) > 1 else names[0], *cells]
        for (view, *cells), names in alike.items()
    ]
    headings = ["view", "feature", *(f"{what} {place}" for what in ("values", "nulls", "defaults") for place in places)]
    return headings, rows, [f"{one.view}:{one.feature}: {one.text}" for one in found.results if one.breached]


def find_rates(
    workspace: Workspace,
    stores: Mapping[str, Contents | PitJoinError],
    log: _Log | None,
    now: datetime,
    names: Collection[str] = (),
) -> Rates:
    """Count values by status.

    Args:
        workspace: the project.
        stores: what each online store says of itself, or why it cannot be read, by name.
        log: the folder of a feature log, its span and its service.
        now: the instant of the snapshot that is counted in the warehouse.
        names: the views; all by default.

    Raises:
        PitJoinError: if a view is unknown, or there is no such log.
    """
    registry = workspace.registry
    views = [registry.view(name) for name in names] or [view for _, view in sorted(registry.views.items())]
    unchecked: list[str] = []
    found = [*_offline(workspace, views, now, unchecked), *_stored(views, stores, now, unchecked)]
    if log:
        try:
            served = list(_served(registry, log, {view.name for view in views} if names else set(), unchecked))
        except RequestError:
            raise
        except PitJoinError as error:
            unchecked.append(f"rates: {error}")
        else:
            found += served
            if not served:
                unchecked.append("rates: the log has no such values in the span of time")
    for each in found:
        if each.null_bound is None and each.default_bound is None:
            continue
        if not each.judged:
            unchecked.append(f"{each.view}:{each.feature} was served in {each.rows:,} rows, too few to judge its rates")
        elif not each.rows:
            unchecked.append(f"{each.view}:{each.feature} has no {each.place} values")
    return Rates(tuple(found), tuple(dict.fromkeys(unchecked)))


def _offline(
    workspace: Workspace, views: Collection[FeatureView], now: datetime, unchecked: list[str]
) -> Iterator[FeatureRates]:
    try:
        warehouse = workspace.warehouse()
    except PitJoinError as error:
        unchecked.append(f"the warehouse: {error}")
        return
    with warehouse:
        histories = Histories(warehouse, workspace)
        snapshot = SnapshotRows(workspace, histories, now, "_pit_rated_")
        for view in views:
            try:
                group = snapshot.group(view, nulls_only=True)
                yield from _counted(workspace, warehouse, view, group)
                snapshot.drop(group)
                histories.forget(view)
            except PitJoinError as error:
                histories.begin_anew()
                unchecked.append(str(error))


def _counted(
    workspace: Workspace, warehouse: DuckDBWarehouse, view: FeatureView, group: RowGroup
) -> Iterator[FeatureRates]:
    asked = [column.as_macro_argument() for column in group.columns.values()]
    statement = workspace.macros.text("_grouped_counts", source=group.table, features=asked, cluster=[], edges="")
    what = f"the feature view '{view.name}' cannot be read"
    counted = {row["feature"]: row["counts"] for row in warehouse.rows_later(statement, what).result()}
    for feature in view.features:
        present, _, nulls, too_old = counted.get(feature.name, (0, 0, 0, 0))
        statuses = {PRESENT: present, NULL_VALUE: nulls, OUTSIDE_MAX_AGE: too_old}
        yield _rates(view.name, feature.name, "offline", statuses, feature.limits)


def _stored(
    views: Collection[FeatureView],
    stores: Mapping[str, Contents | PitJoinError],
    now: datetime,
    unchecked: list[str],
) -> Iterator[FeatureRates]:
    for view in views:
        contents = stores.get(view.online_store) if view.online else None
        if isinstance(contents, PitJoinError):
            unchecked.append(unreadable(view.online_store, contents))
        stored = contents.views.get(view.name) if isinstance(contents, Contents) else None
        if stored is None or not stored.noted:
            continue
        stale = stored.staleness(moment_of(now)) is not None
        for feature in view.features:
            if feature.name not in stored.noted:
                continue
            nulls = stored.noted[feature.name].nulls
            statuses = {STALE: stored.rows} if stale else {PRESENT: stored.rows - nulls, NULL_VALUE: nulls}
            yield _rates(view.name, feature.name, "stored", statuses, feature.limits)


def _served(registry: Registry, log: _Log, views: Collection[str], unchecked: list[str]) -> Iterator[FeatureRates]:
    reader = LogReader(*log)
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for about, rows, _ in reader.chunks():
        for each in about["features"] if len(rows) else ():
            alias = each.get("role", ON_DEMAND)
            view = about["roles"][alias]["view"] if alias in about["roles"] else ON_DEMAND
            label = view if alias == view else f"{alias} ({view})"
            statuses = pc.struct_field(pc.struct_field(rows["features"], each["name"]), "status")
            counted = pc.value_counts(statuses.combine_chunks()).to_pylist()
            place = label, view, each.get("feature", each["name"])
            counts.setdefault(place, Counter()).update({one["values"]: one["counts"] for one in counted})
    unchecked += [f"left out {problem}" for problem in reader.unread]
    for (label, view, feature), statuses in sorted(counts.items()):
        if views and view not in views:
            continue
        known = registry.views.get(view)
        limits = next((one.limits for one in known.features if one.name == feature), None) if known else None
        yield _rates(label, feature, "served", statuses, limits or Limits())


def _rates(view: str, feature: str, place: str, statuses: Mapping[str, int], limits: Limits) -> FeatureRates:
    enough = place != "served" or sum(statuses.values()) >= (limits.min_rows or MIN_ROWS)
    statuses = {status: statuses[status] for status in STATUSES if status in statuses}
    return FeatureRates(view, feature, place, statuses, limits.null_rate, limits.default_rate, enough)
