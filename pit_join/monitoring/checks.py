"""The checks of `pit-join monitor`, run one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pyarrow.compute as pc

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
_Log = tuple[Path, tuple[datetime | None, datetime | None], str | None]
_Found = TypeVar("_Found")
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
        if "skew" in asked:
            _given(None if self.log is None else (self.log, self.span, self.service))
        if "drift" in asked and self.baseline is None:
            earlier = option("baseline_as_of=", "--baseline-as-of")
            raise RequestError(
                f"the check drift needs earlier values: {option('baseline=', '--baseline')} with a training set or a "
                f"feature log, for what was served, or {earlier} with an earlier instant of the warehouse"
            )
        if self.baseline and self.baseline.path and self.baseline.as_of:
            both = f"{option('baseline=', '--baseline')} and {option('baseline_as_of=', '--baseline-as-of')}"
            raise RequestError(f"{both} exclude each other; run the check drift twice")
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
    failed: list[str] = []

    def tried(check: str, run: Callable[[], _Found]) -> _Found | None:
        """Run a check that was asked for; if others were, too, its error does not hide what they find."""
        if check not in asked:
            return None
        try:
            return run()
        except RequestError:
            raise
        except PitJoinError as error:
            if len(asked) == 1:
                raise
            failed.append(f"{check}: {error}")
            return None

    now, names, baseline = request.now, request.names, request.baseline or DriftBaseline()
    freshness = tried("freshness", lambda: find_freshness(workspace, contents, now, names))
    rates = tried("rates", lambda: find_rates(workspace, contents, log, now, names))
    earlier = None
    if "drift" in asked:
        try:
            earlier = _runs_over(request.results)
        except PitJoinError as error:  # so that one run is enough for an alarm
            failed.append(f"results: {error}")
    drift = tried("drift", lambda: find_drift(workspace, baseline, log, now, names=names, earlier=earlier))
    skew = tried("skew", lambda: find_skew(workspace, *_given(log), request.tolerance))
    project, target = workspace.manifest["metadata"]["project_name"], workspace.project.connection.target
    found = Monitoring(skew, freshness, rates, drift, tuple(failed), project, target, now)
    if request.results:
        try:
            keep_results(request.results, found.results, now)
        except PitJoinError as error:  # the findings are worth more
            found = replace(found, failed=(*failed, f"results: {error}"))
    return found


def _given(log: _Log | None) -> _Log:
    if log is None:
        raise RequestError(f"the check skew reads a feature log; give its folder with {option('log=', '--log')}")
    return log


def _runs_over(folder: Path | None) -> dict[tuple[str, str, str], int] | None:
    """Return for how many runs in a row, until the last, each feature was over its bound against each baseline."""
    if folder is None:
        return None
    runs: dict[tuple[str, str, str], int] = {}
    table = read_results(folder)
    table = table.filter(pc.equal(table["check"], "drift")).select(["view", "feature", "over", "details"])
    for row in table.to_pylist():
        key = row["view"], row["feature"], str(json.loads(row["details"] or "{}").get("against"))
        runs[key] = runs.get(key, 0) + 1 if row["over"] else 0
    return runs
