"""The store as a Python object, with the verbs that users of feature stores know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pit_join.backfill import Backfill, backfill
from pit_join.catalog import describe_views
from pit_join.project import Project
from pit_join.references import parse_features, parse_role
from pit_join.registry import Registry
from pit_join.training import build_training_set

if TYPE_CHECKING:
    from pit_join.results import TrainingSet

__all__ = ["FeatureStore"]


class FeatureStore:
    """A dbt project with feature views.

    Args:
        project_dir: the folder with dbt_project.yml.
        profiles_dir: the folder with profiles.yml; by default the project's `profiles/`, then dbt's own search.
        target: the target of the profile.
        wait: seconds to wait for a warehouse that another process holds.
        on_message: told what takes time; silent by default.

    Raises:
        ProjectError: if there is no readable dbt project or profile.
    """

    def __init__(
        self,
        project_dir: str | Path = ".",
        *,
        profiles_dir: str | Path | None = None,
        target: str | None = None,
        wait: float = 60.0,
        on_message: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._project = Project(project_dir, profiles_dir, target, on_message)
        self._wait, self._on_message = wait, on_message

    def registry(self) -> Registry:
        """Everything that the project declares, as its files are now.

        Raises:
            ProjectError: with every problem of the declarations.
        """
        return Registry.from_manifest(self._project.manifest())

    def describe_views(self) -> list[dict[str, Any]]:
        """The feature views with entity, keys, times, features, rows and newest event time (ISO 8601, UTC).

        Raises:
            PitJoinError: if the project or its warehouse cannot be read.
        """
        return describe_views(self._project, wait=self._wait, on_message=self._on_message)

    def get_historical_features(
        self,
        entity_df: Any,
        features: str | Sequence[str | Mapping[str, Any]],
        *,
        views: Iterable[str] = (),
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
            views: roles such as `"dest_weather=weather(airport=dest)"`, for references to `dest_weather:temp`.
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
        if isinstance(features, str) and ":" in features:
            features = [features]
        if isinstance(features, str):
            service = self.registry().service(features)
            requests = service.requests
            full_feature_names = full_feature_names or service.full_feature_names
        else:
            requests = parse_features(features, [parse_role(view) for view in views])
        return build_training_set(
            self._project,
            entity_df,
            requests,
            event_timestamp=event_timestamp,
            gap=gap,
            full_feature_names=full_feature_names,
            provenance=provenance,
            defaults=defaults,
            sql_only=sql_only,
            plan_only=plan_only,
            window_plan=window_plan,
            wait=self._wait,
            on_message=self._on_message,
            on_progress=on_progress,
        )

    def backfill(
        self,
        views: Iterable[str] = (),
        *,
        start: str | date | None = None,
        end: str | date | None = None,
        apply: bool = False,
        on_progress: Callable[[int, int, str], None] = lambda done, total, batch: None,
    ) -> Backfill:
        """Find, and with `apply` run, the batches that the stored history of `microbatch` models lacks.

        Args:
            views: names of microbatch models; all of them by default.
            start: the first batch is the one that holds it (UTC); by default the model's `begin`.
            end: batches end there (UTC, exclusive); by default with the last one that holds a row of the model's
                inputs or of its own. No batch lies in the future.
            apply: let dbt run them; without it nothing is changed.
            on_progress: told how many batches are done, of how many, and which is next.

        Raises:
            PitJoinError: one of its subclasses, saying what is wrong and what to do.
        """
        return backfill(
            self._project,
            views,
            start=start,
            end=end,
            apply=apply,
            wait=self._wait,
            on_message=self._on_message,
            on_progress=on_progress,
        )
