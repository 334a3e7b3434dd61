"""The facade: a project and its online store as one Python object."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pit_join.audit.audited import Audited
from pit_join.described import Described
from pit_join.errors import RequestError, SpineError, suggest
from pit_join.monitoring.feature_log import FeatureLog
from pit_join.monitoring.monitored import Monitored
from pit_join.online.opening import open_store
from pit_join.online.protocol import ReadableStore
from pit_join.online.urls import is_remote, store_url
from pit_join.references import names_of, parse_features, parse_role
from pit_join.report.reported import Reported
from pit_join.serving.client import OnlineClient
from pit_join.times import read_instant

if TYPE_CHECKING:
    from pit_join.export.export import Export
    from pit_join.history.backfill import Backfill
    from pit_join.project.dbt_project import Project
    from pit_join.training.build import TrainingBuild
    from pit_join.training.comparison import SetComparison
    from pit_join.training.result import TrainingSet
    from pit_join.training.set_file import SetFile
    from pit_join.workspace import Workspace

__all__ = ["FeatureStore"]

_STORE_VARIABLE = "PIT_JOIN_ONLINE_STORE"
_NO_SPAN = (
    "an export has no start and no end: it makes the online store the snapshot of one instant, late rows included, and "
    "writes only what differs; call export(as_of=end_date), or export() for now, and name views by select=[...]"
)


class FeatureStore(OnlineClient, Described, Monitored, Audited, Reported):
    """A dbt project with feature views, and its online store.

    Each method reads the project as its files are at the time. Online reads need the project only to find the store,
    once, and not at all where `online_store` or the environment variable PIT_JOIN_ONLINE_STORE names the store.

    A copy, also one that was pickled for another process, has the same arguments, and opens its stores for itself.

    Messages and progress go to the logger `pit_join`: as `INFO` where work takes time, as `WARNING` where it needs you.

    Args:
        project_dir: the folder with dbt_project.yml.
        profiles_dir: the folder with profiles.yml; by default the project's `profiles/`, then dbt's own search.
        target: the target of the profile.
        online_store: a folder, or a URL such as `redis://host:6379/0`; by default what PIT_JOIN_ONLINE_STORE names,
            then `online/<target>` in the project.
        online_stores: the same for other stores by name, which views choose with `online_store: fast`; by default what
            PIT_JOIN_ONLINE_STORE_FAST names.
        wait: seconds to wait for a warehouse that another process has locked, and for another export.
        feature_log: a `FeatureLog`, or the folder of a new one, for a sample of the values that are served online.
    """

    # Methods import the modules that load DuckDB and Arrow, since a service only reads online.

    def __init__(
        self,
        project_dir: str | Path = ".",
        *,
        profiles_dir: str | Path | None = None,
        target: str | None = None,
        online_store: str | Path | None = None,
        online_stores: Mapping[str, str | Path] | None = None,
        wait: float = 60.0,
        feature_log: FeatureLog | str | Path | None = None,
    ) -> None:
        log = FeatureLog(feature_log) if isinstance(feature_log, (str, Path)) else feature_log
        super().__init__(self._open_online_store, log)
        self.feature_log = log
        self._place = (project_dir, profiles_dir, target)
        self._online_store, self._named = online_store, online_stores or {}
        self._wait = wait

    def __repr__(self) -> str:
        return f"<FeatureStore: {', '.join(f'{name}={value!r}' for name, value in self._given().items())}>"

    def _repr_html_(self) -> str:
        # Imported here, since a service shows nothing.
        from pit_join.markup import notebook, table

        return notebook("FeatureStore", table(["argument", "as given"], list(self._given().items())))

    def _given(self) -> dict[str, str]:
        """Return the arguments that were given as texts; nothing is opened, and no secret of a URL is shown."""
        stores = {
            "online_store": self._online_store,
            **{f"online_stores[{n!r}]": url for n, url in self._named.items()},
        }
        found = {
            **dict(zip(("project_dir", "profiles_dir", "target"), self._place, strict=True)),
            **{name: url and store_url(str(url)) for name, url in stores.items()},
            "feature_log": self.feature_log and self.feature_log.folder,
        }
        return {name: str(value) for name, value in found.items() if value}

    def _workspace(self) -> Workspace:
        """The project as its files are now, for one command."""
        from pit_join.project.dbt_project import Project
        from pit_join.workspace import Console, Workspace

        console = Console(self._wait)
        return Workspace(Project(*self._place, console.say), console)

    @property
    def online_store(self) -> str:
        """The folder or URL of the default online store.

        Raises:
            ProjectError: if nothing names it, and there is no readable dbt project or profile.
        """
        return self._default_url()

    def _default_url(self, project: Project | None = None) -> str:
        """Return the URL of the default store; a given `project` is not opened again."""
        if given := self._online_store or os.environ.get(_STORE_VARIABLE):
            return str(given)
        if project is None:
            from pit_join.project.dbt_project import Project

            project = Project(*self._place)  # not a workspace, which loads Jinja and DuckDB
        return str(project.directory / "online" / project.connection.target)

    @property
    def online_stores(self) -> dict[str, str]:
        """The folders or URLs of the other online stores, by name."""
        start = f"{_STORE_VARIABLE}_"
        given = {name.removeprefix(start): url for name, url in os.environ.items() if name.startswith(start)}
        found = {name.lower(): url for name, url in given.items() if name and url}
        return found | {name: str(url) for name, url in self._named.items()}

    def _store_urls(self, project: Project | None = None) -> dict[str, str]:
        return {**self.online_stores, "": self._default_url(project)}

    def _open_online_store(self, project: Project | None = None) -> ReadableStore:
        urls = self._store_urls(project)
        if len(urls) == 1 and not is_remote(urls[""]):
            return open_store(urls[""])
        from pit_join.online.several import SeveralStores

        return SeveralStores(urls)

    def check_named_stores(self) -> None:
        """Check that each store in `online_stores` has a feature view.

        Raises:
            RequestError: naming the store that has none, and those that have.
            StoreError: if the default store cannot be used, or nothing was exported.
        """
        if not self._named:
            return
        used = {view.store for view in self.online_contents().views.values()} - {""}
        for name in self._named:
            if name not in used:
                raise RequestError(
                    f"no feature view is in an online store named '{name}'; {suggest(name, used, 'named stores')}"
                )

    def get_historical_features(
        self,
        entity_df: Any,
        features: str | Sequence[str | Mapping[str, Any]],
        *,
        roles: Iterable[str] = (),
        event_timestamp: str = "event_timestamp",
        gap: str | timedelta | None = None,
        full_feature_names: bool = False,
        provenance: bool = False,
        defaults: bool = True,
        window_plan: str | None = None,
    ) -> TrainingSet:
        """Join features to a spine, each as it was known at the row's time.

        Rows come back as given: same number, same order, duplicates kept. A naive time is UTC.

        Args:
            entity_df: the spine: a pandas, polars or Arrow table, a CSV or Parquet file, or the name of a seed or
                model.
            features: references such as `["user_activity:login_count_30d"]`, or the name of a feature service.
            roles: mappings such as `"dest_weather=weather(airport=dest)"`, for references to `dest_weather:temp`.
            event_timestamp: the spine's column with the time of each row.
            gap: predict ahead: use only values known this long before each row's time, such as `"1 day"`.
            full_feature_names: name every feature `view__feature`.
            provenance: add `<view>__event_timestamp` and `<view>__status`.
            defaults: replace nulls by the declared defaults.
            window_plan: join window views by `"range"` or `"stacked"` instead of the plan that looks cheaper.

        Raises:
            PitJoinError: one of its subclasses, saying what is wrong and what to do.
        """
        return self.prepare_training_set(
            entity_df,
            features,
            roles=roles,
            event_timestamp=event_timestamp,
            gap=gap,
            full_feature_names=full_feature_names,
            provenance=provenance,
            defaults=defaults,
            window_plan=window_plan,
        ).run()

    def prepare_training_set(
        self,
        entity_df: Any,
        features: str | Sequence[str | Mapping[str, Any]],
        *,
        roles: Iterable[str] = (),
        full_feature_names: bool = False,
        **options: Any,
    ) -> TrainingBuild:
        """Check what `get_historical_features` would build, and join nothing yet.

        The result has the query (`sql()`), how each view would be joined and why (`plan()`), and the training set
        (`run()`).

        Args:
            entity_df: the spine, as for `get_historical_features`.
            features: references, or the name of a feature service.
            roles: mappings of roles.
            full_feature_names: name every feature `view__feature`; a service may say so itself.
            options: `event_timestamp`, `gap`, `provenance`, `defaults` and `window_plan` of `get_historical_features`.

        Raises:
            PitJoinError: one of its subclasses, saying what is wrong and what to do.
        """
        from pit_join.training.build import TrainingBuild
        from pit_join.training.request import TrainingRequest

        workspace = self._workspace()
        if isinstance(features, str) and ":" in features:
            features = [features]
        if isinstance(features, str):
            service = workspace.registry.service(features)
            requests = service.requests
            full_feature_names = full_feature_names or service.full_feature_names
        else:
            requests = parse_features(features, [parse_role(role) for role in roles])
        request = TrainingRequest(entity_df, tuple(requests), full_feature_names=full_feature_names, **options)
        return TrainingBuild(workspace, request)

    def describe_training_set(self, path: str | Path) -> SetFile:
        """Read the Parquet or Arrow file of a training set, and what it says of itself; the project is not needed.

        Raises:
            PitJoinError: if the file is damaged, or is not that of a training set.
        """
        from pit_join.training.set_file import read_set

        return read_set(path)

    def compare_training_sets(
        self, one: str | Path, other: str | Path, *, tolerance: float = 0.0, examples: int = 3
    ) -> SetComparison:
        """Find what differs between the files of two training sets, and why; the project is not needed.

        Args:
            one: a Parquet or Arrow file.
            other: the file to compare with it, such as one built later.
            tolerance: the most that floats may differ, relative to themselves; all else must be equal.
            examples: the number of rows to show of each difference.

        Raises:
            PitJoinError: if a file is damaged, or neither is that of a training set.
        """
        from pit_join.training.comparison import compare_sets
        from pit_join.training.set_file import read_set

        return compare_sets(read_set(one), read_set(other), tolerance, examples)

    def rebuild_training_set(self, path: str | Path) -> TrainingSet:
        """Build a training set again from what its file says of itself, for the spine that is in it.

        The references and options are those of the file; the project says what they mean today.

        Raises:
            PitJoinError: if the file's spine was changed, or the project lacks what the file asks for.
        """
        from pit_join.training.build import TrainingBuild
        from pit_join.training.set_file import read_set

        request = read_set(path).request
        try:
            return TrainingBuild(self._workspace(), request).run()
        except (RequestError, SpineError) as error:
            raise type(error)(f"{path} cannot be built again: {error}") from error

    def backfill(
        self,
        select: Iterable[str] = (),
        *,
        start: str | date | None = None,
        end: str | date | None = None,
        apply: bool = False,
    ) -> Backfill:
        """Find, and with `apply` run, the batches that the stored history of `microbatch` models lacks.

        Args:
            select: names of microbatch models; all of them by default.
            start: a time in the first batch (UTC); by default the model's `begin`.
            end: the end of the batches (UTC, exclusive); by default the end of the last batch with a row of the model
                or of its inputs, or in which an event leaves a window. No batch lies in the future.
            apply: let dbt run the batches; without it nothing is changed.

        Raises:
            PitJoinError: one of its subclasses, saying what is wrong and what to do.
        """
        from pit_join.history.backfill import backfill

        return backfill(self._workspace(), names_of(select), start=start, end=end, apply=apply)

    def export(
        self,
        select: Iterable[str] = (),
        *,
        as_of: str | date | None = None,
        dry_run: bool = False,
    ) -> Export:
        """Make the online store the snapshot of one instant: the values that were known then.

        Args:
            select: names of feature views; the others stay as they are. All with `online: true` by default, and then
                nothing else stays in the store.
            as_of: the instant, such as `"2026-03-18 14:30"` (naive is UTC); now by default, if the store does not hold
                a later one. `"now"` replaces that, too.
            dry_run: count the changes, and make none.

        Raises:
            PitJoinError: one of its subclasses, saying what is wrong and what to do.
        """
        from pit_join.export.export import export

        workspace = self._workspace()
        return export(
            workspace,
            self._default_url(workspace.project),
            names_of(select),
            named=self.online_stores,
            as_of=None if as_of == "now" else read_instant(as_of),
            roll_back=as_of == "now",
            dry_run=dry_run,
        )

    def materialize(
        self,
        select: Iterable[str] = (),
        end_date: object = None,
        feature_views: object = None,
        *,
        start_date: object = None,
        as_of: str | date | None = None,
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
        """Raise an error that names `export`, since an export has no watermark.

        Raises:
            RequestError: always.
        """
        raise RequestError(_NO_SPAN)
