"""The methods of a feature store that find leaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pit_join.errors import RequestError, option
from pit_join.references import names_of, parse_features, parse_role

if TYPE_CHECKING:
    from pit_join.audit.findings import TrainingSetAudit
    from pit_join.audit.replay_result import Replay
    from pit_join.workspace import Workspace

__all__ = ["Audited"]


class Audited:
    """A project whose training sets and feature SQL are audited; see `FeatureStore`."""

    if TYPE_CHECKING:

        def _workspace(self) -> Workspace: ...

    def audit(
        self,
        path: str | Path,
        features: str | Sequence[str | Mapping[str, Any]] | None = None,
        *,
        event_timestamp: str | None = None,
        time_zone: str | None = None,
        gap: str | timedelta | None = None,
        roles: Iterable[str] = (),
        full_feature_names: bool = False,
        columns: Mapping[str, str] | None = None,
        label: str | None = None,
        tolerance: float = 1e-9,
    ) -> TrainingSetAudit:
        """Compare a training set that anybody made with the rule, and name the likely cause of each difference.

        Args:
            path: a CSV, Parquet or Arrow file with the keys, the time and the features of each row.
            features: references, or the name of a feature service; by default the features of all views whose keys the
                file has, by the names of its columns.
            event_timestamp: the column with the time T of each row; by default what the file says itself, as for
                `features` and `gap`.
            time_zone: the time zone of naive times and dates; UTC by default.
            gap: the gap with which the set was built, as for `get_historical_features`.
            roles: views in other roles, or with keys of other names.
            full_feature_names: whether the features asked for are named `view__feature`.
            columns: references such as `"user_activity:logins"` by the names of columns that are named otherwise.
            label: the column with the label, to look for it, or its mean, in other columns.
            tolerance: the most that floats may differ, relative to themselves, besides the precision of the file.

        Raises:
            PitJoinError: one of its subclasses, saying what is wrong and what to do.
        """
        from pit_join.audit.audited_file import AuditedFile
        from pit_join.audit.training_set import AuditRequest, audit_training_set
        from pit_join.training.equality import check_tolerance

        check_tolerance(tolerance)
        workspace, file = self._workspace(), AuditedFile(Path(path))
        given, asked = file.metadata, None
        if isinstance(features, str) and ":" not in features:
            service = workspace.registry.service(features)
            asked, full_feature_names = service.requests, full_feature_names or service.full_feature_names
        elif features is not None:
            listed = [features] if isinstance(features, str) else features
            asked = parse_features(listed, [parse_role(role) for role in roles])
        elif given and not roles:
            asked, full_feature_names = given.requests, given.full_feature_names
        time = event_timestamp or (given.event_timestamp if given else None)
        if time is None:
            raise RequestError(
                f"the file {path} does not say which column has the time of each row; name it with "
                + option("event_timestamp='column'", "--event-timestamp")
            )
        request = AuditRequest(
            event_timestamp=time,
            time_zone=time_zone,
            gap=gap if gap is not None or given is None else given.gap,
            features=asked,
            roles=() if asked else tuple(parse_role(role) for role in roles),
            full_feature_names=full_feature_names,
            columns=columns or {},
            label=label,
            tolerance=tolerance,
        )
        return audit_training_set(workspace, file, request)

    def replay(
        self,
        select: Iterable[str] = (),
        *,
        cuts: int = 5,
        at: Sequence[str | date] = (),
        seed: int = 0,
        incremental: bool = False,
        allow_hooks: bool = False,
        show_keys: bool = False,
    ) -> Replay:
        """Find leaks in the SQL of feature views: build it on inputs as they were, and compare.

        A row that was known at a cut must come out the same as today. Nothing is written but below `target/`.

        Args:
            select: names of feature views; all by default.
            cuts: how many instants to draw.
            at: the instants of the cuts instead, such as `["2026-03-18 14:30"]` (naive is UTC).
            seed: the seed of the draw.
            incremental: build incremental models cut after cut in one warehouse, as production did, and not fully.
            allow_hooks: run hooks and plugins of the project, which may write anywhere.
            show_keys: put the keys of differing rows into the examples.

        Raises:
            PitJoinError: one of its subclasses, saying what is wrong and what to do.
        """
        from pit_join.audit.replay import replay

        return replay(
            self._workspace(),
            names_of(select),
            cuts=cuts,
            at=at,
            seed=seed,
            incremental=incremental,
            allow_hooks=allow_hooks,
            show_keys=show_keys,
        )
