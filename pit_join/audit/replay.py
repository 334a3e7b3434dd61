"""Replay the SQL of feature views on inputs as they were: what was known must come out the same.

dbt builds the views in a scratch folder, on the inputs as they are (twice), and on inputs whose end, and once whose
beginning, is cut.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pit_join.audit.replay_comparison import Comparison, Differences, compared_builds, compared_columns
from pit_join.audit.replay_cuts import Cuts, draw_cuts
from pit_join.audit.replay_inputs import Lineage, find_lineage
from pit_join.audit.replay_result import Replay, ReplayedView, ReplayExample
from pit_join.audit.replay_scratch import Scratch, scratch_folder
from pit_join.definitions.connection import Connection
from pit_join.definitions.nodes import selector
from pit_join.definitions.views import FeatureView
from pit_join.errors import ProjectError, RequestError, WarehouseError, option
from pit_join.files import whole
from pit_join.history.inputs import ModelInput, read_input
from pit_join.project.rebuilds import Rebuilds
from pit_join.records.layout import instant
from pit_join.times import parse_instant
from pit_join.workspace import Workspace

__all__ = ["replay"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND, _MINUTE, _HOUR = timedelta(microseconds=1), timedelta(minutes=1), timedelta(hours=1)
_EXAMPLES = 3
# A row that is older than this share of the history before the cut: more history would show still older ones.
_UNBOUNDED = 0.5


def replay(
    workspace: Workspace,
    names: Iterable[str],
    *,
    cuts: int,
    at: Sequence[str | date],
    seed: int,
    incremental: bool,
    allow_hooks: bool,
    show_keys: bool,
) -> Replay:
    """Build feature views on inputs cut at several times, and compare them; see `FeatureStore.replay`."""
    began = time.monotonic()
    moments = [(parse_instant(one) - _EPOCH) // _MICROSECOND for one in at]
    if cuts < 1:
        raise RequestError(f"{option('cuts=', '--cuts')} must be at least 1, got {cuts}")
    _check_engine(workspace.project.connection)
    lineage = find_lineage(workspace, names, allow_hooks=allow_hooks)
    if not lineage.views:
        raise RequestError(
            "none of the feature views is a model, so there is no SQL to replay; declare or choose others"
        )
    kept = workspace.project.cache / "replay"
    with scratch_folder(kept, workspace.console) as folder, workspace.warehouse() as warehouse:
        inputs = {one: read_input(workspace, warehouse, one) for one in lineage.inputs}
        present = [one for one in inputs.values() if one is not None]
        drawn = draw_cuts(workspace.macros, warehouse, present, cuts, seed)
        if drawn and moments:
            drawn = replace(drawn, ends=tuple(sorted(set(moments))))
        unsaid = {unique_id: one.name for unique_id, one in inputs.items() if one is not None and one.known is None}
        unsaid |= {unique_id: unique_id.split(".")[-1] for unique_id, one in inputs.items() if one is None}
        if drawn is None:
            views = tuple(
                ReplayedView(view.name, 0, not_audited=_unsaid(lineage, unsaid, view)) for view in lineage.views
            )
            builds = 0
        else:
            scratch = Scratch(folder, workspace.project.connection, workspace.console)
            scratch.copy(warehouse, present)
            unloaded = [one for one, read in inputs.items() if read is None]
            run = _Run(workspace, lineage, scratch, present, drawn, unloaded)
            found = run.all(incremental=incremental, show_keys=show_keys)
            said = {unique_id for unique_id, one in inputs.items() if one is not None and one.known is not None}
            views = tuple(
                # Without a cut input all builds are the same, which says nothing.
                replace(one if said & lineage.reads[view.name] else ReplayedView(view.name, 0), not_audited=missing)
                for view, one in found
                for missing in [_unsaid(lineage, unsaid, view)]
            )
            builds = run.builds
        _keep(workspace, kept, lineage, views)
    return Replay(
        views=views,
        cuts=drawn.ends if drawn else (),
        beginning=drawn.beginning if drawn else None,
        seed=seed,
        inputs=tuple(_not_audited(lineage, unsaid)),
        builds=builds,
        seconds=time.monotonic() - began,
    )


def _check_engine(connection: Connection) -> None:
    if connection.engine != "duckdb":
        raise RequestError(
            f"a replay builds models in copies of DuckDB files, and the target '{connection.target}' is of type "
            f"{connection.engine}; replay a target of type duckdb, with {option('target=', '--target')}"
        )


def _unsaid(lineage: Lineage, unsaid: dict[str, str], view: FeatureView) -> tuple[str, ...]:
    read = [name for unique_id, name in unsaid.items() if unique_id in lineage.reads[view.name]]
    return tuple(sorted([*read, *lineage.direct[view.name]]))


def _not_audited(lineage: Lineage, unsaid: dict[str, str]) -> Iterable[str]:
    """Yield a sentence for each input that says nothing of when its rows are known, and for each stored view."""
    readers: dict[str, list[str]] = {}
    for view in lineage.views:
        for name in _unsaid(lineage, unsaid, view):
            readers.setdefault(name, []).append(view.name)
    for name, views in sorted(readers.items()):
        yield f"{name} does not say when its rows are known; it feeds {', '.join(views)}"
    for view in lineage.stored:
        yield f"{view.name} is not built from SQL alone: it is a snapshot or a seed"


class _Run:
    """The builds of one replay."""

    def __init__(
        self,
        workspace: Workspace,
        lineage: Lineage,
        scratch: Scratch,
        inputs: Sequence[ModelInput],
        cuts: Cuts,
        seeds: Sequence[str],
    ) -> None:
        self._workspace, self._lineage, self._scratch, self._inputs = workspace, lineage, scratch, inputs
        self._cuts, self._seeds = cuts, bool(seeds)
        nodes = workspace.manifest["nodes"]
        self._selectors = [*lineage.selectors, *(selector(nodes[one]) for one in seeds)]
        self.builds = 0
        self._total = len(cuts.ends) + 3
        self._files: dict[str, dict[str, str]] = {}
        self._columns = {view.name: compared_columns(view) for view in lineage.views}
        self._unstable: dict[str, list[str]] = {view.name: [] for view in lineage.views}

    def all(self, *, incremental: bool, show_keys: bool) -> list[tuple[FeatureView, ReplayedView]]:
        """Build and compare everything."""
        views = self._lineage.views
        redirected = {
            "sources": [one for one in self._lineage.inputs if one.startswith("source.")],
            "models": self._lineage.models,
            "views": [view.unique_id for view in views],
        }
        folder = self._scratch.folder
        with Rebuilds(
            self._workspace.project, folder, self._scratch.databases, self._scratch.copies, redirected
        ) as dbt:
            self._build(dbt, "today", None)
            self._build(dbt, "again", None)
            self._find_unstable()
            stored = self._stored()
            at_cuts: dict[str, list[tuple[int, Differences]]] = {view.name: [] for view in views}
            for number, cut in enumerate(self._cuts.ends):
                self._build(dbt, "cut", cut, grown=self._cuts.ends[number - 1] if incremental and number else None)
                for view, found in self._compare("cut", until=cut, examples=_EXAMPLES, keys=show_keys):
                    at_cuts[view.name].append((cut, found))
                if incremental:
                    self._scratch.put_back("cut")
            self._build(dbt, "late", None, after=self._cuts.beginning)
            looking = {view.name: found for view, found in self._compare("late", after=self._cuts.beginning)}
        return [
            (
                view,
                replace(
                    _summary(view, at_cuts[view.name]),
                    not_reproducible=tuple(self._unstable[view.name]),
                    look_back=self._look_back(view, looking.get(view.name)),
                    stored=stored.get(view.name),
                ),
            )
            for view in views
        ]

    def _build(
        self, dbt: Rebuilds, name: str, until: int | None, *, after: int | None = None, grown: int | None = None
    ) -> None:
        """Build the views on the inputs of a span; `grown` is the cut of the build that goes on, if one does."""
        what = "the inputs as they are" if until is None else f"the inputs known at {_text(until)}"
        what = f"the inputs known after {_text(after)}" if after is not None else what
        self._workspace.console.progress(self.builds, self._total, what)
        span = {"after": after, "until": until}
        self._scratch.cut(self._workspace.macros, self._inputs, span, anew=grown is None)
        # To the microsecond after it: dbt's batches do not include their end.
        end = instant((self._cuts.last if until is None else until) + 1)
        start = None if grown is None else instant(grown)
        failed = dbt.build(self._selectors, end=end, start=start, seeds=self._seeds, on_event=lambda event: None)
        if failed is not None:
            raise WarehouseError("\n".join([f"dbt could not build the views on {what}:", *failed]))
        self.builds += 1
        self._workspace.console.progress(self.builds, self._total, what)
        self._files[name] = self._scratch.keep(name)

    def _compare(self, name: str, **options: Any) -> list[tuple[FeatureView, Differences]]:
        """Compare a build with today's; views of which whole rows are not reproducible are left out."""
        project, console = self._workspace.project, self._workspace.console
        builds = {name: self._files[name], "today": self._files["today"]}
        with compared_builds(project.connection, console, self._scratch.folder, builds) as warehouse:
            comparison = Comparison(self._workspace.macros, warehouse, project.connection.databases, name, "today")
            return [
                (view, comparison.of(view, self._stable(view), **options))
                for view in self._lineage.views
                if "rows" not in self._unstable[view.name]
            ]

    def _stable(self, view: FeatureView) -> list[str]:
        return [column for column in self._columns[view.name] if column not in self._unstable[view.name]]

    def _find_unstable(self) -> None:
        for view, found in self._compare("again"):
            whole_rows = found.kinds.keys() - {"changed"}
            nothing_left = self._columns[view.name] and len(found.columns) == len(self._columns[view.name])
            columns = [] if whole_rows else list(found.columns)
            self._unstable[view.name] = [*columns, *(["rows"] if whole_rows or nothing_left else [])]

    def _stored(self) -> dict[str, int]:
        """Return the number of rows in which the stored table of each view differs from today's build."""
        project, console = self._workspace.project, self._workspace.console
        stored = {name: each.path for name, each in project.connection.databases.items()}
        builds = {"stored": stored, "today": self._files["today"]}
        found = {}
        with compared_builds(project.connection, console, self._scratch.folder, builds) as warehouse:
            comparison = Comparison(self._workspace.macros, warehouse, project.connection.databases, "stored", "today")
            for view in self._lineage.views:
                names = list(project.connection.databases)
                number = [name.lower() for name in names].index(view.location[0].lower())
                place = (f"_pit_stored_{number}", *view.location[1:])
                # A view would read tables by names that have another meaning here.
                if warehouse.has_table(place) and "rows" not in self._unstable[view.name]:
                    found[view.name] = sum(comparison.of(view, self._stable(view)).kinds.values())
        return found

    def _look_back(self, view: FeatureView, found: Differences | None) -> timedelta | None:
        if found is None or not found.kinds or view.static:
            return None
        return (found.newest - self._cuts.beginning) * _MICROSECOND


def _summary(view: FeatureView, cuts: Sequence[tuple[int, Differences]]) -> ReplayedView:
    """Return what all cuts have shown of a view."""
    kinds: dict[str, int] = {}
    columns: dict[str, int] = {}
    for _, found in cuts:
        for counts, more in ((kinds, found.kinds), (columns, found.columns)):
            for name, number in more.items():
                counts[name] = counts.get(name, 0) + number
    differing = [(cut, found) for cut, found in cuts if found.kinds]
    horizon, unbounded, lag = None, False, None
    if differing and not view.static:
        horizon = max(cut - found.oldest for cut, found in differing) * _MICROSECOND
        cut, last = differing[-1]
        first = last.oldest if last.first is None else min(last.first, last.oldest)
        unbounded = cut - last.oldest > _UNBOUNDED * (cut - first)
        unit = _MINUTE if view.lag + horizon < _HOUR else _HOUR
        lag = None if unbounded else -(-(view.lag + horizon) // unit) * unit
    return ReplayedView(
        view=view.name,
        rows=sum(found.rows for _, found in cuts),
        kinds=kinds,
        columns=columns,
        horizon=horizon,
        unbounded=unbounded,
        lag=lag,
        examples=tuple(
            ReplayExample(
                one["kind"],
                cut,
                one["known_from"],
                one["keys"],
                {name: (values[0], values[1]) for name, values in one["values"].items()},
            )
            for cut, found in differing
            for one in found.examples
        )[:_EXAMPLES],
    )


def _text(microseconds: int | None) -> str:
    assert microseconds is not None
    return str(instant(microseconds).strftime("%Y-%m-%d %H:%M:%S"))


def _keep(workspace: Workspace, kept: Path, lineage: Lineage, views: Sequence[ReplayedView]) -> None:
    """Keep the result of each view by what decides its rows, for the generic test `replay_is_clean`."""
    for view, result in zip(lineage.views, views, strict=True):
        code = workspace.macros.text("_replayed_code", view=view.name)
        name = hashlib.md5(code.encode(), usedforsecurity=False).hexdigest()
        for old in kept.glob(f"{name}.*.json"):
            old.unlink(missing_ok=True)
        verdict = "clean" if result.verdict in ("clean", "part audited") else "found"
        try:
            with whole(kept / f"{name}.{verdict}.json") as path:
                Path(path).write_text(json.dumps(result.as_json()), encoding="utf-8")
        except OSError as error:
            raise ProjectError(f"cannot keep the result in {kept}: {error}") from error
