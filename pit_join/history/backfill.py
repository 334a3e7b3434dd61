"""The backfill of microbatch models: find the missing batches, let dbt run exactly those, and record them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from pit_join.errors import RequestError, WarehouseError, option
from pit_join.history.batches import Batch, BatchModel, WholeTable, batch_label, batch_models, runs
from pit_join.history.ledger import Ledger, Record, read_records
from pit_join.history.plan import BackfillPlan, StoredBatches, latest, look, make_plans, recognised
from pit_join.times import parse_instant
from pit_join.waiting import wait_until
from pit_join.warehouse.free_file import wait_until_free
from pit_join.workspace import Workspace

__all__ = ["Backfill", "backfill"]

_RETRY_SECONDS = 0.5
_ENGINES = ("duckdb", "postgres")
_LOCKED = "Could not set lock on file"


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill: its plans and, if it was applied, the batches by model that were done and that failed.

    `errors` are dbt's messages about the failures; `built` names the tables that were built before.
    """

    plans: tuple[BackfillPlan, ...]
    applied: bool
    done: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)
    not_run: dict[str, list[str]] = field(default_factory=dict)
    built: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every planned batch is done."""
        return not self.failed and not self.not_run

    def as_json(self) -> dict[str, Any]:
        """Return the backfill as plain values."""
        found: dict[str, Any] = {"models": [plan.as_json() for plan in self.plans], "applied": self.applied}
        if self.applied:
            found |= {"built": list(self.built), "done": self.done, "failed": self.failed, "not_run": self.not_run}
            found |= {"errors": list(self.errors)}
        return found


def backfill(
    workspace: Workspace,
    names: Iterable[str] = (),
    *,
    start: str | date | None = None,
    end: str | date | None = None,
    apply: bool = False,
) -> Backfill:
    """Plan, or plan and run, the missing batches of the microbatch models (all, or those named).

    `start` and `end` bound the batches (UTC; `end` is exclusive); by default they reach from the model's `begin` to the
    last batch that may hold a row: that of the newest row of its inputs or of its own, or, if it is later, the one in
    which the newest event leaves the longest window.

    Raises:
        PitJoinError: if a name or date is wrong, or another process holds the warehouse or its ledger for too long.
    """
    since = None if start is None else parse_instant(start)
    until = None if end is None else parse_instant(end)
    project, console = workspace.project, workspace.console
    if project.connection.engine not in _ENGINES:
        raise RequestError(
            f"the target '{project.connection.target}' is of type {project.connection.engine}, whose microbatch models "
            f"pit-join does not fill; run them with dbt, or name another target, with {option('target=', '--target')}"
        )
    models = batch_models(workspace.manifest, project.variables, tuple(names))
    path = project.ledger
    if not apply:
        stored = look(workspace, models)
        records = [*read_records(path, console.warn), *recognised(project, stored)]
        return Backfill(make_plans(models, stored, records, since, until), applied=False)
    make_plans(models, {model.unique_id: StoredBatches(None, None, frozenset()) for model in models}, (), since, until)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Ledger.writing(path, wait=console.wait, on_wait=console.warn) as ledger:
        return _Work(workspace, ledger, models).apply(since, until)


class _Work:
    """One application of a plan, which holds the lock of the ledger."""

    def __init__(self, workspace: Workspace, ledger: Ledger, models: Sequence[BatchModel]) -> None:
        self._workspace, self._ledger, self._models = workspace, ledger, models
        self._project, self._console = workspace.project, workspace.console
        self._records = read_records(ledger.path, self._console.warn)
        self._stored: Mapping[str, StoredBatches] = {}
        self._done: dict[str, list[Batch]] = {}
        self._failed: dict[str, list[Batch]] = {}
        self._errors: list[str] = []
        self._ran = self._total = 0

    def apply(self, start: datetime | None, end: datetime | None) -> Backfill:
        def plan(*models: BatchModel) -> list[BackfillPlan]:
            return list(make_plans(models, self._stored, self._records, start, end))

        self._stored = look(self._workspace, self._models)
        self._adopt()
        self._count()
        tables = {table.relation: table for one in plan(*self._models) for table in one.tables}
        if tables:
            self._build(tuple(tables.values()))
            self._settle()
        plans = plan(*self._models)
        for number, model in enumerate(self._models):
            if self._ran:
                # This model may read one that was run before, whose rows may now reach further.
                plans[number] = plan(model)[0]
            self._total = self._ran + sum(len(one.batches) for one in plans[number:])
            broken = [one for one in model.above if one in self._failed]
            if plans[number].batches and not broken:
                self._run(plans[number])
            elif plans[number].batches:
                self._failed.setdefault(model.unique_id, [])
                self._errors.append(f"{model.name} was skipped, since a model that it reads failed")
        return self._outcome(tuple(plans), tuple(table.name for table in tables.values()))

    def _outcome(self, plans: tuple[BackfillPlan, ...], built: tuple[str, ...]) -> Backfill:
        done: dict[str, list[str]] = {}
        failed: dict[str, list[str]] = {}
        not_run: dict[str, list[str]] = {}
        for plan in plans:
            model = plan.model
            ended = [self._done.get(model.unique_id, []), self._failed.get(model.unique_id, [])]
            rest = [batch for batch in plan.batches if batch not in ended[0] + ended[1]]
            for found, batches in zip((done, failed, not_run), (*ended, rest), strict=True):
                if batches:
                    found[model.name] = [batch_label(batch[0], model.size) for batch in sorted(batches)]
        return Backfill(plans, True, done, failed, not_run, built, tuple(dict.fromkeys(self._errors)))

    def _write(self, records: Sequence[Record]) -> None:
        if records:
            self._ledger.append(records)
            self._records += records

    def _adopt(self) -> None:
        """Record the batches that dbt's own last command built."""
        known = latest(self._records)
        new = []
        for record in recognised(self._project, self._stored):
            before = known.get((record.model, record.start, record.end))
            if before is None or before.at < record.at:
                new.append(record)
        self._write(new)

    def _settle(self) -> None:
        """Look at the tables again, after dbt has ended."""
        self._stored = look(self._workspace, self._models)
        self._count()

    def _count(self) -> None:
        """Record the row counts of batches that could not be counted while dbt held the warehouse."""
        counts = {model.relation: self._stored[model.unique_id].rows for model in self._models}
        self._write(
            [
                replace(record, rows=found.get(record.start, 0))
                for record in latest(self._records).values()
                if record.start and record.rows is None and record.status == "success"
                if (found := counts.get(record.model)) is not None
            ]
        )

    def _build(self, tables: tuple[WholeTable, ...]) -> None:
        """Let dbt build whole tables that batches read."""
        self._console.say(f"dbt builds {', '.join(table.name for table in tables)} first")
        kinds = [word for kind in ("model", "seed") for word in ("--resource-type", kind)]
        said: list[str] = []
        status = self._dbt(["build", "--select", *(table.selector for table in tables), *kinds], lambda event: 0, said)
        if status:
            raise WarehouseError("\n".join(["dbt could not build the tables that the batches read:", *said]))
        now = datetime.now(timezone.utc)
        self._write([Record(one.relation, None, None, one.definition, "success", None, None, now) for one in tables])

    def _run(self, plan: BackfillPlan) -> None:
        """Run the batches of a model, oldest first.

        When the first batch of a run fails, dbt skips all others of that run. They are tried again without it, but only
        until two runs in a row have no success, since the model itself may be at fault.
        """
        model = plan.model
        waiting = deque(runs(plan.batches))
        barren = 0
        while waiting and barren < 2:
            run = waiting.popleft()
            ended = self._run_range(model, run)
            left = [batch for batch in run if batch not in ended]
            barren = 0 if any(ended.values()) else barren + 1
            if left and ended:
                waiting.extendleft(reversed(list(runs(left))))
        self._settle()

    def _run_range(self, model: BatchModel, run: Sequence[Batch]) -> dict[Batch, bool]:
        """Let dbt run adjacent batches, and return for each that ended whether it succeeded."""
        ended: dict[Batch, bool] = {}
        began = datetime.now(timezone.utc)

        def on_event(event: dict[str, Any]) -> int:
            if event["info"]["name"] != "LogBatchResult":
                return 0
            data = event["data"]
            batch, status = run[data["batch_index"] - 1], str(data.get("status")).lower()
            if status == "skipped":
                return 0
            ended[batch] = status != "error"
            self._record(model, batch, ended[batch], (began, data.get("execution_time")))
            return 1

        self._console.progress(self._ran, self._total, f"{model.name} {batch_label(run[0][0], model.size)}")
        times = [time.replace(tzinfo=None).isoformat() for time in (run[0][0], run[-1][1])]
        said: list[str] = []
        command = ["run", "--select", model.selector, "--event-time-start", times[0], "--event-time-end", times[1]]
        status = self._dbt(command, on_event, said)
        if status and not all(ended.get(batch) for batch in run):
            self._failed.setdefault(model.unique_id, [])
            self._errors += said or [f"dbt ended with status {status} and did not say why"]
        return ended

    def _record(self, model: BatchModel, batch: Batch, good: bool, run: tuple[datetime, float | None]) -> None:
        began, seconds = run
        took = None if seconds is None else round(seconds, 3)
        status = "success" if good else "failed"
        behind = self._stored[model.unique_id].behind(batch)
        self._write([Record(model.relation, *batch, model.definition, status, None, took, began, behind)])
        (self._done if good else self._failed).setdefault(model.unique_id, []).append(batch)
        self._ran += 1
        self._console.progress(self._ran, self._total, f"{model.name} {batch_label(batch[0], model.size)}")

    def _dbt(self, command: Sequence[str], on_event: Callable[[dict[str, Any]], int], said: list[str]) -> int:
        """Run dbt, with retries while another process holds the warehouse; `said` receives its error messages."""
        is_file = self._project.connection.engine == "duckdb"
        path, started, status = self._project.warehouse if is_file else self._ledger.path, time.monotonic(), 0

        def held() -> bool:
            nonlocal status
            left = max(0.0, self._console.wait - (time.monotonic() - started))
            if is_file:
                wait_until_free(path, left, self._console.warn)
            said.clear()
            status, heard = 0, 0
            with closing(self._project.run(*command, inherited=(self._ledger.handle,))) as events:
                for event in events:
                    if "exit" in event:
                        status = int(event["exit"])
                        continue
                    heard += on_event(event)
                    if event["info"]["level"] == "error" and event["info"]["name"] != "MainStackTrace":
                        said.append(" ".join(str(event["info"]["msg"]).split()))
            return bool(status) and not heard and any(_LOCKED in line for line in said)

        message = f"another process holds {path}; waiting up to {self._console.wait:g} s"
        if wait_until(held, self._console.warn, message, self._console.wait, every=_RETRY_SECONDS):
            raise WarehouseError(_held(path, self._console.wait))
        return status


def _held(path: Path, wait: float) -> str:
    return (
        f"another process holds {path}, so that dbt could not write it within {wait:g} s; try again when it is done, "
        f"or wait longer with {option('wait=', '--wait')}"
    )
