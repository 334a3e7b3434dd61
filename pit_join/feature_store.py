"""The store as a Python object, with the verbs that users of feature stores know."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pit_join.errors import RequestError
from pit_join.monitoring.feature_log import FeatureLog
from pit_join.online.opening import open_store
from pit_join.online.protocol import ReadableStore
from pit_join.online.urls import is_remote
from pit_join.references import parse_features, parse_role, split_list
from pit_join.serving.client import OnlineClient
from pit_join.times import read_instant

if TYPE_CHECKING:
    from pit_join.definitions.registry import Registry
    from pit_join.export.export import Export
    from pit_join.history.backfill import Backfill
    from pit_join.monitoring.findings import Monitoring
    from pit_join.monitoring.parity import Parity
    from pit_join.training.result import TrainingSet
    from pit_join.workspace import Workspace

__all__ = ["FeatureStore"]

_STORE_VARIABLE = "PIT_JOIN_ONLINE_STORE"
_NO_SPAN = (
    "an export has no start and no end: it makes the online store the snapshot of one instant, late rows included, and "
    "writes only what differs; call export(as_of=end_date), or export() for now, and name views by select=[...]"
)


class FeatureStore(OnlineClient):
    """A dbt project with feature views, and its online store.

    The project is read when it is first needed; for reading online that is only to find the store, and not at all where
    `online_store` or the environment variable PIT_JOIN_ONLINE_STORE names it.

    Args:
        project_dir: the folder with dbt_project.yml.
        profiles_dir: the folder with profiles.yml; by default the project's `profiles/`, then dbt's own search.
        target: the target of the profile.
        online_store: a folder, or a URL such as `redis://host:6379/0`; by default what PIT_JOIN_ONLINE_STORE names,
            then `online/<target>` in the project.
        online_stores: the same for other stores by name, which views choose with `online_store: fast`; by default what
            PIT_JOIN_ONLINE_STORE_FAST names.
        wait: seconds to wait for a warehouse that another process holds, and for another export.
        on_message: called with what takes time and with warnings, instead of the logger `pit_join`.
        feature_log: where a sample of what is served online is logged: a `FeatureLog`, or a folder for one of its own.
    """

    # Modules that load DuckDB and Arrow are imported by the methods that need them: a service only reads online.

    def __init__(
        self,
        project_dir: str | Path = ".",
        *,
        profiles_dir: str | Path | None = None,
        target: str | None = None,
        online_store: str | Path | None = None,
        online_stores: Mapping[str, str | Path] | None = None,
        wait: float = 60.0,
        on_message: Callable[[str], None] | None = None,
        feature_log: FeatureLog | str | Path | None = None,
    ) -> None:
        log = FeatureLog(feature_log) if isinstance(feature_log, (str, Path)) else feature_log
        super().__init__(self._open_online_store, log)
        self.feature_log = log
        self._place = (project_dir, profiles_dir, target)
        self._online_store, self._named = online_store, online_stores or {}
        self._wait, self._on_message = wait, on_message

    def _workspace(self, on_progress: Callable[[int, int, str], None] | None = None) -> Workspace:
        """The project as its files are now, for one command."""
        from pit_join.project.dbt_project import Project
        from pit_join.workspace import Console, Workspace

        console = Console(self._wait)
        if self._on_message:
            console = replace(console, say=self._on_message, warn=self._on_message)
        if on_progress:
            console = replace(console, progress=on_progress)
        return Workspace(Project(*self._place, console.say), console)

    @property
    def online_store(self) -> str:
        """The folder or URL of the online store.

        Raises:
            ProjectError: if nothing names it, and there is no readable dbt project or profile.
        """
        if given := self._online_store or os.environ.get(_STORE_VARIABLE):
            return str(given)
        project = self._workspace().project
        return str(project.directory / "online" / project.connection.target)

    @property
    def online_stores(self) -> dict[str, str]:
        """The folders or URLs of the other online stores by name."""
        start = f"{_STORE_VARIABLE}_"
        given = {name.removeprefix(start): url for name, url in os.environ.items() if name.startswith(start)}
        found = {name.lower(): url for name, url in given.items() if name and url}
        return found | {name: str(url) for name, url in self._named.items()}

    def _open_online_store(self) -> ReadableStore:
        urls = {**self.online_stores, "": self.online_store}
        if len(urls) == 1 and not is_remote(urls[""]):
            return open_store(urls[""])
        from pit_join.online.several import Tiers

        return Tiers(urls)

    def registry(self) -> Registry:
        """Everything that the project declares, as its files are now.

        Raises:
            ProjectError: with every problem of the declarations.
        """
        return self._workspace().registry

    def describe_views(self) -> list[dict[str, Any]]:
        """The feature views with entity, keys, times, features, rows and newest event time (ISO 8601, UTC).

        Raises:
            PitJoinError: if the project or its warehouse cannot be read.
        """
        from pit_join.catalog import describe_views

        return describe_views(self._workspace())

    def get_historical_features(
        self,
        entity_df: Any,
        features: str | Sequence[str | Mapping[str, Any]],
        *,
        roles: Iterable[str] = (),
        event_timestamp: str = "event_timestamp",
        gap: str | None = None,
        full_feature_names: bool = False,
        provenance: bool = False,
        defaults: bool = True,
        sql_only: bool = False,
        plan_only: bool = False,
        window_plan: str | None = None,
        on_progress: Callable[[int, int, str], None] = lambda done, total, view: None,
    ) -> TrainingSet:
        """Join features to a spine, each as it was known at the row's time.

        Rows come back as given: same number, same order, duplicates kept. A naive time is UTC.

        Args:
            entity_df: the spine: a pandas, polars or Arrow table, a CSV or Parquet file, or the name of a seed or
                model.
            features: references such as `["user_activity:login_count_30d"]`, or the name of a feature service.
            roles: mappings such as `"dest_weather=weather(airport=dest)"`, for references to `dest_weather:temp`.
            event_timestamp: the spine's column with the time of each row.
            gap: predict this long ahead, such as `"1 day"`.
            full_feature_names: name every feature `view__feature`.
            provenance: add `<view>__event_timestamp` and `<view>__status`.
            defaults: replace nulls by the declared defaults.
            sql_only: build nothing; the result has only its `sql`.
            plan_only: build nothing; the result has only its `sql` and, in `metadata["plans"]`, how each view would be
                joined and why.
            window_plan: join window views by `"range"` or `"stacked"` instead of the plan that looks cheaper.
            on_progress: told how many views are done, of how many, and which is next.

        Raises:
            PitJoinError: one of its subclasses, saying what is wrong and what to do.
        """
        from pit_join.training.build import TrainingBuild
        from pit_join.training.request import TrainingRequest

        workspace = self._workspace(on_progress)
        if isinstance(features, str) and ":" in features:
            features = [features]
        if isinstance(features, str):
            service = workspace.registry.service(features)
            requests = service.requests
            full_feature_names = full_feature_names or service.full_feature_names
        else:
            requests = parse_features(features, [parse_role(role) for role in roles])
        request = TrainingRequest(
            entity_df,
            tuple(requests),
            event_timestamp=event_timestamp,
            gap=gap,
            full_feature_names=full_feature_names,
            provenance=provenance,
            defaults=defaults,
            window_plan=window_plan,
        )
        build = TrainingBuild(workspace, request)
        if sql_only or plan_only:
            from pit_join.training.result import TrainingSet

            plans = {"plans": build.plan()} if plan_only else {}
            return TrainingSet(table=None, sql=build.sql(), coverage=(), metadata=plans)
        return build.run()

    def backfill(
        self,
        select: Iterable[str] = (),
        *,
        start: str | date | None = None,
        end: str | date | None = None,
        apply: bool = False,
        on_progress: Callable[[int, int, str], None] = lambda done, total, batch: None,
    ) -> Backfill:
        """Find, and with `apply` run, the batches that the stored history of `microbatch` models lacks.

        Args:
            select: names of microbatch models; all of them by default.
            start: the first batch is the one that holds it (UTC); by default the model's `begin`.
            end: batches end there (UTC, exclusive); by default with the last one that holds a row of the model's
                inputs or of its own. No batch lies in the future.
            apply: let dbt run them; without it nothing is changed.
            on_progress: told how many batches are done, of how many, and which is next.

        Raises:
            PitJoinError: one of its subclasses, saying what is wrong and what to do.
        """
        from pit_join.history.backfill import backfill

        return backfill(
            self._workspace(on_progress),
            _names(select),
            start=start,
            end=end,
            apply=apply,
        )

    def export(
        self,
        select: Iterable[str] = (),
        *,
        as_of: str | datetime | None = None,
        dry_run: bool = False,
        on_progress: Callable[[int, int, str], None] = lambda done, total, view: None,
    ) -> Export:
        """Make the online store hold what was known of the feature views at an instant.

        Args:
            select: names of feature views; the others stay as they are. All with `online: true` by default, and then
                nothing else stays in the store.
            as_of: the instant, such as `"2026-03-18 14:30"` (naive is UTC); now by default.
            dry_run: find out what would change, and change nothing.
            on_progress: called with how many rows of how many are compared, and of which view.

        Raises:
            PitJoinError: one of its subclasses, saying what is wrong and what to do.
        """
        from pit_join.export.export import export

        return export(
            self._workspace(on_progress),
            self.online_store,
            _names(select),
            named=self.online_stores,
            as_of=read_instant(as_of),
            dry_run=dry_run,
        )

    def materialize(
        self,
        select: Iterable[str] = (),
        end_date: object = None,
        feature_views: object = None,
        *,
        start_date: object = None,
        as_of: str | datetime | None = None,
        dry_run: bool = False,
    ) -> Export:
        """Export, by Feast's name for it; `select`, `as_of` and `dry_run` are those of `export`.

        Raises:
            RequestError: if it is called with a start and an end, as Feast's is.
        """
        if isinstance(select, date) or not (end_date is feature_views is start_date is None):
            raise RequestError(_NO_SPAN)
        return self.export(select, as_of=as_of, dry_run=dry_run)

    def materialize_incremental(self, end_date: object = None, feature_views: object = None) -> NoReturn:
        """Say what to call instead of Feast's method of this name.

        Raises:
            RequestError: always.
        """
        raise RequestError(_NO_SPAN)

    def verify(
        self,
        select: Iterable[str] = (),
        *,
        sample: int | None = None,
        on_progress: Callable[[int, int, str], None] = lambda done, total, view: None,
    ) -> Parity:
        """Compare the online store with the offline rule at the instant of the export.

        Values, statuses and event times must be equal. A warehouse that was built anew since may know more.

        Args:
            select: names of feature views; all in the store by default.
            sample: compare so many keys of each view, chosen by chance; by default all, and then the store must have no
                others.
            on_progress: told how many views are done, of how many, and which is next.

        Raises:
            PitJoinError: if the store, the project or its warehouse cannot be read.
        """
        from pit_join.monitoring.parity import verify

        return verify(
            self._workspace(on_progress),
            self._online,
            _names(select),
            sample=sample,
        )

    def monitor(
        self,
        log: str | Path,
        *,
        start: str | datetime | None = None,
        end: str | datetime | None = None,
        service: str | None = None,
        tolerance: float = 1e-9,
        on_progress: Callable[[int, int, str], None] = lambda done, total, view: None,
    ) -> Monitoring:
        """Compare what was served with the offline rule at the time it was served.

        Args:
            log: the folder of a `FeatureLog`.
            start: only what was served from then on, such as `"2026-03-18 14:30"` (naive is UTC).
            end: only what was served before.
            service: only what this feature service served.
            tolerance: by how much floats of windows may differ, relative or absolute; all else must be equal.
            on_progress: told how many rows are done, of how many.

        Raises:
            PitJoinError: if the folder, the project or its warehouse cannot be read.
        """
        from pit_join.monitoring.findings import Monitoring
        from pit_join.monitoring.skew import find_skew

        span = (read_instant(start), read_instant(end, past=False))
        skew = find_skew(
            self._workspace(on_progress),
            Path(log),
            span,
            service,
            tolerance,
        )
        return Monitoring(skew)


def _names(select: Iterable[str]) -> list[str]:
    """Return names of views; one text is a list with commas, as on the command line."""
    return split_list(select) if isinstance(select, str) else list(select)
