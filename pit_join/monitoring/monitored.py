"""The methods of a feature store that hold what it built, stored and served against the rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pit_join.errors import EntityError, PitJoinError, RequestError, StoreError
from pit_join.online.urls import how_to_name
from pit_join.references import names_of, parse_reference
from pit_join.times import parse_instant, read_instant

if TYPE_CHECKING:
    from pit_join.monitoring.findings import Monitoring
    from pit_join.monitoring.parity import Parity
    from pit_join.online.protocol import ReadableStore
    from pit_join.project.dbt_project import Project
    from pit_join.records.store_manifest import Contents
    from pit_join.training.explanation import Explanation
    from pit_join.workspace import Workspace

__all__ = ["Monitored"]


class Monitored:
    """A project and its online store, to be checked; see `FeatureStore`."""

    # Methods import the modules that load DuckDB and Arrow, since a service only reads online.

    if TYPE_CHECKING:

        def _workspace(self) -> Workspace: ...

        def _open_online_store(self, project: Project | None = None) -> ReadableStore: ...

        def _store_urls(self, project: Project | None = None) -> dict[str, str]: ...

    def verify(
        self,
        select: Iterable[str] = (),
        *,
        sample: int | None = None,
    ) -> Parity:
        """Compare the online store with the offline rule at the instant of the export.

        Values, statuses and event times must be equal. A warehouse that was built again since may know more.

        Args:
            select: names of feature views; all in the store by default.
            sample: the number of keys to compare of each view, drawn at random; by default all keys, and then the store
                must have no others.

        Raises:
            PitJoinError: if the store, the project or its warehouse cannot be read.
        """
        from pit_join.monitoring.parity import verify

        workspace = self._workspace()
        with closing(self._open_online_store(workspace.project)) as store:
            return verify(workspace, store, names_of(select), sample=sample)

    def monitor(
        self,
        log: str | Path | None = None,
        *,
        checks: Iterable[str] = (),
        select: Iterable[str] = (),
        now: str | date | None = None,
        start: str | date | None = None,
        end: str | date | None = None,
        service: str | None = None,
        tolerance: float = 1e-9,
        baseline: str | Path | None = None,
        baseline_start: str | date | None = None,
        baseline_end: str | date | None = None,
        baseline_as_of: str | date | None = None,
        results: str | Path | None = None,
    ) -> Monitoring:
        """Check how fresh and how complete features are, whether they drift, and whether what was served is right.

        The check `freshness` holds the ages of the newest values, in the warehouse and in the online store, against
        `freshness_slo`; `rates` the shares of nulls and defaults against `max_null_rate` and `max_default_rate`;
        `drift` the distance of values from a baseline against `drift: {psi: ...}`, by default 0.2. The check `skew`
        compares the values of a feature log with the offline rule at the time when each was served.

        Args:
            log: the folder of a `FeatureLog`, for `skew`, for the rates of what was served, and for `drift`.
            checks: some of `"freshness"`, `"rates"`, `"drift"` and `"skew"`; by default all for which there is a log or
                a baseline where they need one.
            select: names of feature views, except for `skew`; all by default.
            now: the instant at which ages are judged and snapshots are taken; the clock's by default. Naive is UTC.
            start: only values served from this time on, such as `"2026-03-18 14:30"` (naive is UTC).
            end: only values served before this time.
            service: only values served for this feature service.
            tolerance: the most that floats of windows may differ, relative to themselves; all else must be equal.
            baseline: for `drift` of a log: the Parquet file of a training set, or the folder of another log.
            baseline_start: only values of that log from this time on.
            baseline_end: only values of that log before this time.
            baseline_as_of: for `drift` without a log: the instant of an earlier snapshot of the warehouse.
            results: a folder in which to keep the results; `after: 2 runs` looks up earlier runs there.

        Raises:
            PitJoinError: if the folder, the project or its warehouse cannot be read, or a check is unknown.
        """
        from pit_join.monitoring.checks import MonitorRequest, run_checks
        from pit_join.monitoring.drift import DriftBaseline

        before = None
        if baseline is not None or baseline_as_of is not None:
            before = DriftBaseline(
                path=None if baseline is None else Path(baseline),
                as_of=None if baseline_as_of is None else parse_instant(baseline_as_of),
                span=(read_instant(baseline_start), read_instant(baseline_end, past=False)),
            )
        request = MonitorRequest(
            now=datetime.now(timezone.utc) if now is None else parse_instant(now),
            checks=names_of(checks),
            names=names_of(select),
            log=None if log is None else Path(log),
            span=(read_instant(start), read_instant(end, past=False)),
            service=service,
            tolerance=tolerance,
            baseline=before,
            results=None if results is None else Path(results),
        )
        workspace = self._workspace()
        return run_checks(workspace, request, lambda: self._contents_by_store(workspace))

    def results_folder(self) -> Path:
        """Return the folder in which `pit-join monitor` keeps its results: `monitoring/<target>` in the project."""
        project = self._workspace().project
        return project.directory / "monitoring" / project.connection.target

    def _contents_by_store(self, workspace: Workspace) -> dict[str, Contents | PitJoinError]:
        """Return what each online store of the project's views says of itself, or why it cannot be read."""
        from pit_join.online.opening import open_store
        from pit_join.records.store_manifest import Contents

        urls = self._store_urls(workspace.project)
        found: dict[str, Contents | PitJoinError] = {}
        for name in {view.online_store for view in workspace.registry.views.values() if view.online}:
            try:
                if name not in urls:
                    raise StoreError(f"no URL of it is known here; {how_to_name(name)}")
                with closing(open_store(urls[name])) as store:
                    found[name] = Contents.from_json(store.contents()[1], "it")
            except PitJoinError as error:
                found[name] = error
        return found

    def explain(
        self,
        feature: str,
        entity: Mapping[str, Any],
        at: str | date,
        *,
        gap: str | timedelta | None = None,
        around: int = 20,
        online: bool = True,
    ) -> Explanation:
        """Show why a feature has its value at a time, and what the online store has beside it.

        Args:
            feature: a reference such as `"user_activity:login_count_30d"`, a view for all its features, or an on-demand
                feature by its name (`service:name` where several services have one of that name).
            entity: a value for every key of the view, of an on-demand feature for every key and field of its arguments;
                a text is read as the key's type.
            at: the time T of the spine's row; naive is UTC.
            gap: predict ahead, as for `get_historical_features`.
            around: the number of rows to show before and after T, or at each edge of a window.
            online: whether to read the online store, too; that of an on-demand feature is not read.

        Raises:
            PitJoinError: one of its subclasses, saying what is wrong and what to do.
        """
        from pit_join.training.explain import Explainer
        from pit_join.training.explain_on_demand import explain_on_demand, find_on_demand
        from pit_join.training.online_value import online_value

        _check_question(feature, entity)
        workspace, moment = self._workspace(), parse_instant(at)
        if asked := find_on_demand(workspace.registry, feature):
            with workspace.warehouse() as warehouse:
                return explain_on_demand(workspace, warehouse, asked, entity, moment, gap)
        name, column = parse_reference(feature) or (feature, "*")
        view = workspace.registry.view(name)
        with workspace.warehouse() as warehouse:
            explainer = Explainer(workspace, warehouse, view, [] if column == "*" else [column], entity)
            found = explainer.at(moment, gap, around)
            if not online:
                return found
            try:
                store = self._open_online_store(workspace.project)
            except StoreError as error:
                return replace(found, online=str(error))
            with closing(store):
                return replace(found, online=online_value(store, explainer, view, list(found.values)))


def _check_question(feature: Any, entity: Any) -> None:
    if not isinstance(feature, str):
        raise RequestError(f"a feature is a text such as 'user_activity:login_count_30d', and not {feature!r}")
    if not isinstance(entity, Mapping) or not all(isinstance(name, str) for name in entity):
        raise EntityError(f"an entity is one mapping of keys to values, such as {{'user_id': 42}}, and not {entity!r}")
