"""The methods of a feature store that hold what it built, stored and served against the rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pit_join.errors import EntityError, PitJoinError, RequestError, StoreError, option, suggest
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

_CHECKS = ("freshness", "skew")


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
        checks: Iterable[str] | None = None,
        select: Iterable[str] = (),
        now: str | date | None = None,
        start: str | date | None = None,
        end: str | date | None = None,
        service: str | None = None,
        tolerance: float = 1e-9,
    ) -> Monitoring:
        """Look how fresh features are, and whether what was served is what the rule says.

        The check `freshness` looks for the newest values in the warehouse and in the online store, and holds their age
        against `freshness_slo`. The check `skew` compares the values of a feature log with the offline rule at the time
        when each was served.

        Args:
            log: the folder of a `FeatureLog`, for `skew`.
            checks: `"freshness"` and `"skew"`; by default `skew` if there is a log, else `freshness`.
            select: names of feature views, for `freshness`; all by default.
            now: the instant at which ages are judged, for `freshness`; the clock's by default. Naive is UTC.
            start: only values served from this time on, such as `"2026-03-18 14:30"` (naive is UTC).
            end: only values served before this time.
            service: only values served for this feature service.
            tolerance: the most that floats of windows may differ, relative to themselves; all else must be equal.

        Raises:
            PitJoinError: if the folder, the project or its warehouse cannot be read, or a check is unknown.
        """
        from pit_join.monitoring.findings import Monitoring
        from pit_join.monitoring.freshness import find_freshness
        from pit_join.monitoring.skew import find_skew

        asked = ["freshness" if log is None else "skew"] if checks is None else names_of(checks)
        for check in asked:
            if check not in _CHECKS:
                raise RequestError(f"there is no check '{check}'; {suggest(check, _CHECKS, 'checks')}")
        if "skew" in asked and log is None:
            raise RequestError(f"the check skew reads a feature log; give its folder with {option('log=', '--log')}")
        if log is not None and "skew" not in asked:
            raise RequestError(f"{option('log=', '--log')} has no effect without the check skew; leave it out")
        workspace, skew, freshness = self._workspace(), None, None
        moment = datetime.now(timezone.utc) if now is None else parse_instant(now)
        if "freshness" in asked:
            freshness = find_freshness(workspace, self._contents_by_store(workspace), moment, names_of(select))
        if log is not None and "skew" in asked:
            span = (read_instant(start), read_instant(end, past=False))
            skew = find_skew(workspace, Path(log), span, service, tolerance)
        name, target = workspace.manifest["metadata"]["project_name"], workspace.project.connection.target
        return Monitoring(skew, freshness, project=name, target=target, now=moment)

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
