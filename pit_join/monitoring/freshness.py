"""The check `freshness`: the age of the newest values, in the warehouse and as they are served."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pit_join.definitions.known_at import read_known_at
from pit_join.definitions.nodes import ancestors
from pit_join.definitions.views import FeatureView
from pit_join.errors import PitJoinError
from pit_join.history.inputs import ModelInput, read_input
from pit_join.json_values import time_text
from pit_join.markup import notebook, notes, table
from pit_join.monitoring.results import Result
from pit_join.records.layout import instant, moment_of
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.texts import age, moment_text
from pit_join.times import format_duration
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.workspace import Histories, Workspace

__all__ = ["FeatureFreshness", "Freshness", "find_freshness", "freshness_table", "unreadable"]


@dataclass(frozen=True, slots=True)
class FeatureFreshness:
    """The newest values of a feature: event times in microseconds UTC, and None where there is no value.

    `known` is that of the rows known in the warehouse, `served` that in the online store, whose export is as of
    `exported_at`. `online` is whether the view is served, `slo` how old a value may be that is served (or known, of a
    view that is not), in seconds; `impact` and `owner` are declared beside it. `judged` is false if the age is not
    known, because something could not be read. `stale` is whether defaults are served, since the export is older than
    the view's `max_staleness`. `lost` says where the time was lost if the value is older.
    """

    view: str
    feature: str
    known: int | None
    served: int | None
    exported_at: int | None
    online: bool
    age: float | None
    slo: float | None
    impact: str = ""
    owner: str = ""
    judged: bool = True
    stale: bool = False
    lost: str | None = None

    @property
    def breached(self) -> bool:
        """Whether the newest value is older than the SLO, or there is none, or defaults are served instead."""
        too_old = self.slo is not None and (self.age is None or self.age > self.slo)
        return self.judged and (too_old or self.stale)


@dataclass(frozen=True, slots=True)
class Freshness:
    """The freshness of all features at `now`, in microseconds UTC.

    `unchecked` says of which views what could not be read.
    """

    now: int
    features: tuple[FeatureFreshness, ...]
    unchecked: tuple[str, ...]

    @property
    def found(self) -> bool:
        """Whether a feature is older than its SLO."""
        return any(each.breached for each in self.features)

    def __repr__(self) -> str:
        breached = sum(each.breached for each in self.features)
        return f"<Freshness: {breached:,} of {len(self.features):,} features too old at {moment_text(self.now)} UTC>"

    def _repr_html_(self) -> str:
        headings, rows, lines = freshness_table(self)
        listed = table(headings, rows, right=(2, 3, 4, 5))
        return notebook(f"Freshness at {moment_text(self.now)} UTC", listed, notes([*lines, *self.unchecked]))

    @property
    def results(self) -> tuple[Result, ...]:
        """The age of each feature, as a result."""
        return tuple(
            Result(
                check="freshness",
                view=each.view,
                feature=each.feature,
                value=each.age,
                bound=each.slo,
                judged=each.judged,
                over=each.breached,
                breached=each.breached,
                text=(each.lost or "cannot tell where the time was lost") if each.breached else "",
                impact=each.impact,
                owner=each.owner,
            )
            for each in self.features
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values; times are texts in UTC, ages are in seconds."""
        features = []
        for each in self.features:
            texts = {name: _text(getattr(each, name)) for name in ("known", "served", "exported_at")}
            features.append({**asdict(each), **texts, "breached": each.breached})
        return {"now": _text(self.now), "features": features, "unchecked": list(self.unchecked)}


def freshness_table(found: Freshness) -> tuple[list[str], list[list[str]], list[str]]:
    """Return the headings and rows of a table of features, and the lines that say what is wrong.

    Features of a view that are alike share a row. Lines that begin with blanks belong to the one before.
    """
    alike: dict[tuple[Any, ...], list[FeatureFreshness]] = {}
    for each in found.features:
        kind = (each.view, each.known, each.served, each.slo, each.lost, each.impact, each.owner)
        alike.setdefault(kind, []).append(each)
    rows, lines = [], []
    for each, *others in alike.values():
        name = f"{each.feature} and {len(others):,} more" if others else each.feature
        times = (each.known, each.served, each.exported_at)
        ages = [age(None if time is None else (found.now - time) / 1e6) for time in times]
        rows.append([each.view, name, *ages, age(each.slo), _verdict(each)])
        if each.breached:
            lines.append(f"{each.view}: {name}: {each.lost or 'cannot tell where the time was lost'}")
            lines += [f"    {what}: {text}" for what, text in (("impact", each.impact), ("owner", each.owner)) if text]
    return ["view", "feature", "newest known", "newest served", "export", "SLO", "verdict"], rows, lines


def _verdict(each: FeatureFreshness) -> str:
    if not each.judged:
        return "not judged" if each.slo else ""
    if not each.breached:
        return "ok" if each.slo else ""
    return "stale" if each.stale else "no value" if each.age is None else "too old"


def find_freshness(
    workspace: Workspace, stores: Mapping[str, Contents | PitJoinError], now: datetime, names: Collection[str] = ()
) -> Freshness:
    """Look how old the newest values of feature views are at an instant.

    Args:
        workspace: the project.
        stores: what each online store says of itself, or why it cannot be read, by name.
        now: the instant.
        names: the views; all by default. Static views have no times, and are left out.

    Raises:
        PitJoinError: if a view is unknown.
    """
    registry = workspace.registry
    views = [registry.view(name) for name in names] or [registry.views[name] for name in sorted(registry.views)]
    moment, unchecked = moment_of(now), []
    features: list[FeatureFreshness] = []
    with ExitStack() as stack:
        try:
            warehouse = stack.enter_context(workspace.warehouse())
        except PitJoinError as error:  # the store is looked at without it
            unchecked.append(f"the warehouse: {error}")
            offline = None
        else:
            offline = _Offline(workspace, warehouse, moment)
        for view in views:
            if view.static:
                continue
            known = offline.newest(view, moment) if offline else {}
            stored, why = _stored(view, stores, moment)
            if why:
                unchecked.append(why)
            served = {name: noted.newest for name, noted in stored.noted.items()} if stored else {}
            if offline and stored and stored.instant and view.aggregations:
                # A record has the time of its newest event, which not all of its features take.
                served = _earlier(served, offline.newest(view, moment_of(stored.instant)))
            judged = not why if view.online else bool(known)
            found = list(_of_view(view, known, served, stored, moment, judged=judged))
            features += offline.explained(view, known, found) if offline else found
    return Freshness(moment, tuple(features), tuple(dict.fromkeys([*unchecked, *(offline.unread if offline else ())])))


def unreadable(store: str, error: PitJoinError) -> str:
    """Say that an online store, whose name is empty for the default one, cannot be read."""
    return f"the online store{f' {store!r}' if store else ''}: {error}"


def _stored(
    view: FeatureView, stores: Mapping[str, Contents | PitJoinError], moment: int
) -> tuple[StoredView | None, str]:
    """Return a view as its online store describes it, and why the age of what is served is not known."""
    if not view.online:
        return None, ""
    contents = stores[view.online_store]
    if isinstance(contents, PitJoinError):
        return None, unreadable(view.online_store, contents)
    stored = contents.views.get(view.name)
    if stored and stored.instant and not stored.noted:
        return stored, f"{view.name}: its export noted no times, as before there was this check; export anew"
    if stored and stored.instant and moment_of(stored.instant) > moment:
        return stored, f"{view.name}: its export is later than the instant at which ages are judged"
    return stored, ""


def _earlier(served: Mapping[str, int | None], known: Mapping[str, int | None]) -> dict[str, int | None]:
    """Return the earlier of two times of each feature; None where one of them is."""
    return {
        name: None if newest is None or known.get(name, newest) is None else min(newest, known.get(name) or newest)
        for name, newest in served.items()
    }


def _of_view(
    view: FeatureView,
    known: Mapping[str, int | None],
    served: Mapping[str, int | None],
    stored: StoredView | None,
    moment: int,
    *,
    judged: bool,
) -> Iterator[FeatureFreshness]:
    stale = stored.staleness(moment) if stored else None
    for feature in view.features:
        newest = served.get(feature.name) if view.online else known.get(feature.name)
        slo = feature.freshness_slo or view.freshness_slo
        yield FeatureFreshness(
            view=view.name,
            feature=feature.name,
            known=known.get(feature.name),
            served=served.get(feature.name),
            exported_at=moment_of(stored.instant) if stored and stored.instant else None,
            online=view.online,
            age=None if newest is None else (moment - newest) / 1e6,
            slo=slo.within.total_seconds() if slo else None,
            impact=slo.impact if slo else "",
            owner=slo.owner if slo else "",
            judged=judged,
            stale=stale is not None,
            lost=f"export: defaults are served, since {stale}" if stale else None,
        )


_AVAILABLE = "_pit_available"
_MICROSECOND = timedelta(microseconds=1)


class _Offline:
    """The newest rows of views and of sources in the warehouse; `unread` says what could not be read."""

    def __init__(self, workspace: Workspace, warehouse: DuckDBWarehouse, moment: int) -> None:
        self._workspace, self._moment = workspace, moment
        self._histories = Histories(warehouse, workspace)
        self._sources: dict[str, int | None] = {}
        self.unread: list[str] = []

    def newest(self, view: FeatureView, at: int) -> Mapping[str, int | None]:
        """Return the newest event time of each feature, as known at an instant; nothing if it cannot be read."""
        try:
            self._histories.stage([view])
            statement = self._workspace.view_macros.text(
                "_newest_statement", view=view.name, now=at, history=self._histories.staged(view)
            )
            what = f"the feature view '{view.name}' cannot be read"
            (row,) = self._histories.session.rows_later(statement, what).result()
            self._histories.forget(view)
        except PitJoinError as error:
            self._histories.begin_anew()
            self.unread.append(str(error))
            return {}
        return row

    def explained(
        self, view: FeatureView, known: Mapping[str, int | None], found: Sequence[FeatureFreshness]
    ) -> list[FeatureFreshness]:
        """Say where the time was lost of the features of a view that are too old; `known` is what `newest` returned."""
        return [
            replace(each, lost=self._where(view, known, each)) if each.breached and not each.stale else each
            for each in found
        ]

    def _where(self, view: FeatureView, known: Mapping[str, int | None], found: FeatureFreshness) -> str:
        slo = round((found.slo or 0) * 1e6)
        limit, exported, newest = self._moment - slo, found.exported_at, found.known
        if view.lag // _MICROSECOND >= slo:
            return f"lag: the view's lag of {format_duration(view.lag)} is not shorter than the SLO"
        if found.online and exported is None:
            return "export: the view was not exported yet"
        behind = found.online and newest is not None and exported is not None and exported < newest
        export = f"export: the last one is as of {_text(exported)}, and the warehouse has newer values"
        if newest is not None and newest >= limit:
            return (
                export if behind else f"value: it is null in the newest rows; {_text(newest)} is the last with a value"
            )
        others = max((time for name, time in known.items() if time and name != _AVAILABLE), default=None)
        if others is not None and others >= limit:
            since = "in all rows" if newest is None else f"since {_text(newest)}"
            return f"value: it is null {since}, and other features of the view have newer values"
        return self._sources_or_build(view, known.get(_AVAILABLE), slo) + (f"; {export}" if behind else "")

    def _sources_or_build(self, view: FeatureView, available: int | None, slo: int) -> str:
        """Say which lack newer rows: the sources of a view, or its table, whose last row was known at `available`."""
        silent: list[str] = []
        fresh: list[str] = []
        behind = False
        # Only a created time, which is when a row was loaded, can be held against the times of a source.
        slack = 0 if view.created_timestamp else slo
        for name, loaded in sorted(self._above(view)):
            if loaded is None:
                silent.append(f"{name} has no rows, or cannot be read")
                continue
            (fresh if loaded >= self._moment - slo else silent).append(f"{name} has rows until {_text(loaded)}")
            behind = behind or available is None or loaded > available + slack
        if not silent and not fresh:
            return "source or build: no source says when its rows were loaded (loaded_at_field)"
        if not fresh:
            which = "source and build" if behind else "source"
        elif silent or not (behind or view.created_timestamp):
            which = "source or build"
        else:
            which = "build" if behind else "source"
        table = "no rows" if available is None else f"rows until {_text(available)}"
        return f"{which}: {'; '.join([*silent, *fresh])}; the table of the view has {table}"

    def _above(self, view: FeatureView) -> Iterator[tuple[str, int | None]]:
        """Yield the sources of a view that say when their rows were loaded, with the newest time; None without one."""
        nodes = {**self._workspace.manifest["sources"], **self._workspace.manifest["nodes"]}
        for one in ancestors(view.unique_id, nodes):
            node = nodes[one]
            if node["resource_type"] == "source" and read_known_at(node, lambda key, problem: None).expression:
                if one not in self._sources:
                    self._sources[one] = self._read(one)
                yield f"{node['source_name']}.{node['name']}", self._sources[one]

    def _read(self, unique_id: str) -> int | None:
        try:
            source = read_input(self._workspace, self._histories.session, unique_id)
            return None if source is None else self._loaded(source)
        except PitJoinError as error:
            self._histories.begin_anew()
            self.unread.append(str(error))
            return None

    def _loaded(self, source: ModelInput) -> int | None:
        statement = self._workspace.view_macros.text(
            "_newest_of_source_statement", relation=source.relation, known=source.known, now=self._moment
        )
        what = f"the source '{source.name}' cannot be read"
        (row,) = self._histories.session.rows_later(statement, what).result()
        newest: int | None = row["newest"]
        return newest


def _text(microseconds: int | None) -> str | None:
    return None if microseconds is None else str(time_text(instant(microseconds), True))
