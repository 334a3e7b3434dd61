"""The checks of `pit-join monitor`, run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pit_join.errors import PitJoinError, RequestError, option, suggest
from pit_join.monitoring.drift import DriftBaseline, find_drift
from pit_join.monitoring.findings import Monitoring
from pit_join.monitoring.freshness import find_freshness
from pit_join.monitoring.rates import find_rates
from pit_join.monitoring.results import keep_results, read_results
from pit_join.monitoring.skew import find_skew
from pit_join.records.store_manifest import Contents
from pit_join.workspace import Workspace

__all__ = ["CHECKS", "MonitorRequest", "run_checks"]

CHECKS = ("freshness", "rates", "drift", "skew")
_Stores = Callable[[], Mapping[str, Contents | PitJoinError]]


@dataclass(frozen=True, slots=True)
class MonitorRequest:
    """The checks to run, and what they compare; see `FeatureStore.monitor`. Without `checks` all possible ones run."""

    now: datetime
    checks: Sequence[str] = ()
    names: Sequence[str] = ()
    log: Path | None = None
    span: tuple[datetime | None, datetime | None] = (None, None)
    service: str | None = None
    tolerance: float = 1e-9
    baseline: DriftBaseline | None = None
    results: Path | None = None

    @property
    def asked(self) -> tuple[str, ...]:
        """The checks to run.

        Raises:
            RequestError: if one is unknown, or lacks what it compares.
        """
        possible = {"freshness": True, "rates": True, "drift": self.baseline is not None, "skew": self.log is not None}
        asked = tuple(self.checks) or tuple(check for check in CHECKS if possible[check])
        for check in asked:
            if check not in CHECKS:
                raise RequestError(f"there is no check '{check}'; {suggest(check, CHECKS, 'checks')}")
        if "skew" in asked and self.log is None:
            raise RequestError(f"the check skew reads a feature log; give its folder with {option('log=', '--log')}")
        if "drift" in asked and self.baseline is None:
            earlier = option("baseline_as_of=", "--baseline-as-of")
            raise RequestError(
                f"the check drift needs earlier values: {option('baseline=', '--baseline')} with a training set or a "
                f"feature log, for what was served, or {earlier} with an earlier instant of the warehouse"
            )
        for given, of, what in ((self.log, ("skew", "rates", "drift"), "log"), (self.baseline, ("drift",), "baseline")):
            if given is not None and not set(of) & set(asked):
                raise RequestError(f"{option(f'{what}=', f'--{what}')} has no effect on these checks; leave it out")
        return asked


def run_checks(workspace: Workspace, request: MonitorRequest, stores: _Stores) -> Monitoring:
    """Run the checks, and keep their results if the request says where.

    Raises:
        PitJoinError: if a check cannot begin.
    """
    asked = request.asked
    contents = stores() if {"freshness", "rates"} & set(asked) else {}
    log = None if request.log is None else (request.log, request.span, request.service)
    freshness = rates = drift = skew = None
    if "freshness" in asked:
        freshness = find_freshness(workspace, contents, request.now, request.names)
    if "rates" in asked:
        rates = find_rates(workspace, contents, log, request.now, request.names)
    if "drift" in asked and request.baseline:
        earlier = _runs_over(request.results)
        now, names = request.now, request.names
        drift = find_drift(workspace, request.baseline, log, now, names=names, earlier=earlier)
    if "skew" in asked and request.log:
        skew = find_skew(workspace, request.log, request.span, request.service, request.tolerance)
    project, target = workspace.manifest["metadata"]["project_name"], workspace.project.connection.target
    found = Monitoring(skew, freshness, rates, drift, project, target, request.now)
    if request.results:
        keep_results(request.results, found.results, request.now)
    return found


def _runs_over(folder: Path | None) -> dict[tuple[str, str], int]:
    """Return for how many runs in a row, until the last, each feature drifted over its bound."""
    runs: dict[tuple[str, str], int] = {}
    if folder is None:
        return runs
    table = read_results(folder)
    for check, view, feature, over in zip(
        *(table[name].to_pylist() for name in ("check", "view", "feature", "over")), strict=True
    ):
        if check == "drift":
            runs[view, feature] = runs.get((view, feature), 0) + 1 if over else 0
    return runs
