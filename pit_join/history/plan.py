"""The plan of a backfill: batches that are missing, failed, changed or outdated, and the tables that they need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from statistics import fmean
from typing import Any

from pit_join.errors import PitJoinError, option
from pit_join.history.batches import (
    Batch,
    BatchInput,
    BatchModel,
    WholeTable,
    batch_label,
    batch_models,
    batches_between,
    ceiling,
    floor,
    runs,
)
from pit_join.history.ledger import Record
from pit_join.project.dbt_project import Project
from pit_join.project.rendering import Macros
from pit_join.times import parse_instant
from pit_join.warehouse.protocol import ViewSession
from pit_join.warehouse.sql import identifier, literal
from pit_join.workspace import Workspace

__all__ = ["BackfillPlan", "BatchRange", "StoredBatches", "latest", "look", "make_plans", "recognised"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
# Other years, such as that of a sentinel, Python cannot hold.
_FIRST, _LAST = ((datetime(year, 1, 1, tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND for year in (1, 9999))


@dataclass(frozen=True, slots=True)
class BatchRange:
    """Adjacent batches to run for one reason; `rows` and `seconds` are estimates from the ledger."""

    batches: tuple[Batch, ...]
    reason: str
    rows: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """The plan of one model.

    `first` and `end` bound the batches that were examined (both None: there are no data yet), `total` is their number;
    `tables` have to be built first, `notes` are messages for the user.
    """

    model: BatchModel
    first: datetime | None
    end: datetime | None
    total: int
    ranges: tuple[BatchRange, ...]
    tables: tuple[WholeTable, ...]
    notes: tuple[str, ...]

    @property
    def batches(self) -> list[Batch]:
        """All batches to run, in order."""
        return sorted(batch for one in self.ranges for batch in one.batches)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values; times are ISO 8601 in UTC, a range includes `start` and not `end`."""
        return {
            "model": self.model.name,
            "batch_size": self.model.size,
            "start": self.first.isoformat() if self.first else None,
            "end": self.end.isoformat() if self.end else None,
            "batches": self.total,
            "to_run": len(self.batches),
            "ranges": [
                {
                    "start": one.batches[0][0].isoformat(),
                    "end": one.batches[-1][1].isoformat(),
                    "batches": len(one.batches),
                    "first": batch_label(one.batches[0][0], self.model.size),
                    "last": batch_label(one.batches[-1][0], self.model.size),
                    "reason": one.reason,
                    "rows": one.rows,
                    "seconds": one.seconds,
                }
                for one in self.ranges
            ],
            "build_first": [table.name for table in self.tables],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class StoredBatches:
    """The stored state of a model in the warehouse.

    `rows` are row counts by the start of their batch (None: there is no table), `newest` is the newest instant at which
    the inputs and the table itself say that there may be a row, `missing` are the tables of ancestors that do not
    exist, `inputs` are the times of the newest rows of the inputs (None: there is none). Neither instant is in the
    future.
    """

    rows: Mapping[datetime, int] | None
    newest: datetime | None
    missing: frozenset[str]
    inputs: Mapping[str, datetime | None] = field(default_factory=dict)

    def behind(self, batch: Batch) -> dict[str, datetime | None]:
        """Return the inputs that do not reach the end of a batch: more of their rows may belong to it."""
        return {name: newest for name, newest in self.inputs.items() if newest is None or newest < batch[1]}


def look(workspace: Workspace, models: Iterable[BatchModel]) -> dict[str, StoredBatches]:
    """Return the stored state of models, by their unique ids."""
    if not workspace.project.has_warehouse:
        missing = {model.unique_id: frozenset(table.relation for table in model.tables) for model in models}
        return {unique_id: StoredBatches(None, None, tables) for unique_id, tables in missing.items()}
    with workspace.warehouse() as warehouse:
        seen = _Look(warehouse.views, workspace.view_macros)
        return {model.unique_id: seen.stored(model) for model in models}


class _Look:
    """One look at the tables of a warehouse."""

    def __init__(self, session: ViewSession, macros: Macros) -> None:
        self._session, self._macros = session, macros
        self._now = datetime.now(timezone.utc)
        self._found: dict[tuple[str, tuple[str, ...]], tuple[datetime | None, datetime | None]] = {}

    def stored(self, model: BatchModel) -> StoredBatches:
        rows = self._rows(model) if self._session.has(model.location) else None
        newest = [start for start in rows or () if start <= self._now]
        inputs: dict[str, datetime | None] = {}
        for one in model.inputs:
            # Models may share an input, which may be a slow SQL view.
            if (one.relation, one.times) not in self._found:
                self._found[one.relation, one.times] = self._newest(one)
            event, created = self._found[one.relation, one.times]
            known = [time for time in (event, created) if time]
            inputs[one.relation] = max(known, default=None)
            newest += known
            if event:
                newest.append(event + min(one.reach, self._now - event))
        if newest:
            past = max(newest) - _EPOCH
            newest += [_EPOCH + min(-(-past // grid) * grid, self._now - _EPOCH) for grid in model.grids]
        return StoredBatches(
            rows=rows,
            newest=max(newest, default=None),
            missing=frozenset(table.relation for table in model.tables if not self._session.has(table.location)),
            inputs=inputs,
        )

    def _rows(self, model: BatchModel) -> dict[datetime, int]:
        what = f"the table of '{model.name}' cannot be read"
        (instant,) = self._instants(model.relation, (model.event_time,), False, what)
        time = self._macros.text("_as_time", microseconds="_pit_at", data_type="timestamp")
        start = self._macros.text(
            "_instant", column=f"date_trunc({literal(model.size)}, {time})", data_type="timestamp"
        )
        rows = f"(select {instant} as _pit_at from {model.relation}) as timed"
        counted = self._session.rows_later(
            f"select {start} as start, count(*) as rows from {rows} "
            f"where _pit_at between {_FIRST} and {_LAST} group by 1",
            what,
        ).result()
        return {_EPOCH + timedelta(microseconds=row["start"]): row["rows"] for row in counted}

    def _newest(self, one: BatchInput) -> tuple[datetime | None, datetime | None]:
        """Return the newest event time and the newest created time of an input."""
        if not self._session.has(one.location):
            return None, None
        what = f"'{one.name}' cannot be read"
        now = (self._now - _EPOCH) // _MICROSECOND
        newest = [
            f"max(case when {instant} between {_FIRST} and {now} then {instant} end) as newest_{number}"
            for number, instant in enumerate(self._instants(one.relation, one.times, True, what))
        ]
        (found,) = self._session.rows_later(f"select {', '.join(newest)} from {one.relation}", what).result()
        times = [None if at is None else _EPOCH + timedelta(microseconds=at) for at in found.values()]
        return times[0], times[-1]

    def _instants(self, relation: str, columns: Iterable[str], round_up: bool, what: str) -> Iterator[str]:
        """Yield time columns as instants in SQL; text is read as a time."""
        types = {name.lower(): kind for name, kind in self._session.columns(f"select * from {relation}", what).items()}
        for name in columns:
            column, kind = identifier(name), types.get(name.lower())
            if kind and kind.family == "text":
                column, kind = f"cast({column} as timestamptz)", None
            yield self._macros.text(
                "_instant", column=column, data_type=kind.name if kind else "timestamptz", round_up=round_up
            )


def recognised(project: Project, stored: Mapping[str, StoredBatches]) -> list[Record]:
    """Return the batches and tables that dbt's own last command built, according to its artifacts.

    The inputs are taken to be as that command left them.
    """
    found = project.last_run()
    if found is None:
        return []
    results, manifest = found
    arguments = results.get("args") or {}
    if any(arguments.get(name) for name in ("vars", "empty", "sample", "defer")):
        return []  # built from something other than the project as it is
    try:
        models = batch_models(manifest, project.variables)
    except PitJoinError:
        return []
    made = {model.relation: model for model in models}
    tables = {table.relation: table.definition for model in models for table in model.tables}
    at = parse_instant(results["metadata"].get("invocation_started_at") or results["metadata"]["generated_at"])
    records = []
    for result in results["results"]:
        relation = result.get("relation_name") or _relation(manifest, result["unique_id"])
        if relation in tables and result["status"] == "success":
            records.append(Record(relation, None, None, tables[relation], "success", None, None, at))
        if relation in made:
            batches = (result.get("batch_results") or {}).get("successful") or []
            seconds = round(result["execution_time"] / max(len(batches), 1), 3)
            model = made[relation]
            known = stored.get(model.unique_id, StoredBatches(None, None, frozenset()))
            for batch in ((parse_instant(start), parse_instant(end)) for start, end in batches):
                behind = known.behind(batch)
                records.append(Record(relation, *batch, model.definition, "success", None, seconds, at, behind))
    return records


def _relation(manifest: Mapping[str, Any], unique_id: str) -> str | None:
    return (manifest["nodes"].get(unique_id) or {}).get("relation_name")


Key = tuple[str, datetime | None, datetime | None]


def latest(records: Iterable[Record]) -> dict[Key, Record]:
    """Return the latest record of every batch and table: the newest `at`, and of equal ones the last written."""
    found: dict[Key, Record] = {}
    for record in records:
        key = (record.model, record.start, record.end)
        if key not in found or found[key].at <= record.at:
            found[key] = record
    return found


def make_plans(
    models: Iterable[BatchModel],
    stored: Mapping[str, StoredBatches],
    records: Iterable[Record],
    start: datetime | None,
    end: datetime | None,
) -> tuple[BackfillPlan, ...]:
    """Compare the batches that there should be with the stored ones.

    Raises:
        PitJoinError: if `start` or `end` lies in the future, or `start` is not before `end`.
    """
    now = datetime.now(timezone.utc)
    named = option("start", "--start")
    if start and start > now:
        raise PitJoinError(f"{named} {start.isoformat()} lies in the future; there is nothing to run yet")
    if start and end and start >= end:
        until = option("end", "--end")
        raise PitJoinError(f"{named} {start.isoformat()} is not before {until} {end.isoformat()}, which is exclusive")
    known = latest(records)
    return tuple(_plan(model, stored[model.unique_id], known, start, end, now) for model in models)


def _plan(
    model: BatchModel,
    stored: StoredBatches,
    known: Mapping[Key, Record],
    start: datetime | None,
    end: datetime | None,
    now: datetime,
) -> BackfillPlan:
    if end and end > ceiling(now, model.size):
        raise PitJoinError(
            f"{option('end', '--end')} {end.isoformat()} lies in the future; the last {model.size} of '{model.name}' "
            f"that has begun ends at {ceiling(now, model.size).isoformat()}"
        )
    first = floor(start, model.size) if start else model.begin
    last = ceiling(end, model.size) if end else None
    if last is None and stored.newest is not None:
        # A row at the very start of a batch belongs to it.
        last = ceiling(min(stored.newest, now) + _MICROSECOND, model.size)
    batches = batches_between(first, last, model.size) if last else []
    reasons: dict[str, list[Batch]] = {}
    for batch in batches:
        if reason := _reason(model, batch, stored, known.get((model.relation, *batch))):
            reasons.setdefault(reason, []).append(batch)
    done = [record for record in known.values() if record.model == model.relation and record.status == "success"]
    rows = [record.rows for record in done if record.rows is not None]
    seconds = [record.seconds for record in done if record.seconds is not None]
    ranges = [
        BatchRange(
            tuple(run),
            reason,
            round(fmean(rows) * len(run)) if rows else None,
            round(fmean(seconds) * len(run), 1) if seconds else None,
        )
        for reason, found in reasons.items()
        for run in runs(found)
    ]
    tables = tuple(_tables_to_build(model, stored, known)) if ranges or not batches else ()
    return BackfillPlan(
        model=model,
        first=first if batches else None,
        end=last if batches else None,
        total=len(batches),
        ranges=tuple(sorted(ranges, key=lambda one: one.batches)),
        tables=tables,
        notes=tuple(_notes(model, stored, bool(batches), tables, reasons)),
    )


def _reason(model: BatchModel, batch: Batch, stored: StoredBatches, record: Record | None) -> str | None:
    """Return the reason to run a batch; None if it need not be run."""
    if record is None or stored.rows is None:
        return "missing"
    if record.status != "success":
        return "failed"
    if record.definition != model.definition:
        return "older definition"
    if record.at < batch[1] or any(_is_later(stored.inputs.get(one), then) for one, then in record.behind.items()):
        return "not over when it ran"
    if record.rows is not None and record.rows != stored.rows.get(batch[0], 0):
        return "rows changed"
    return None


def _is_later(newest: datetime | None, then: datetime | None) -> bool:
    return newest is not None and (then is None or newest > then)


def _tables_to_build(model: BatchModel, stored: StoredBatches, known: Mapping[Key, Record]) -> Iterator[WholeTable]:
    """Yield ancestors that are missing or may be outdated; building one again is harmless."""
    for table in model.tables:
        record = known.get((table.relation, None, None))
        if table.relation in stored.missing or record is None or record.definition != table.definition:
            yield table


def _notes(
    model: BatchModel,
    stored: StoredBatches,
    any_batches: bool,
    tables: Iterable[WholeTable],
    reasons: Mapping[str, Any],
) -> Iterator[str]:
    if not any_batches:
        inputs = ", ".join(one.name for one in model.inputs) or "its inputs"
        yield f"no data yet in {inputs}; run dbt build, or give {option('end=', '--end')}"
    if "older definition" in reasons and stored.rows is not None and not model.keeps_new_columns:
        yield (
            "a new feature gets no column in the stored table: set on_schema_change: append_new_columns, "
            "without which dbt leaves it out silently"
        )
    for table in tables:
        if table.materialized == "incremental":
            yield (
                f"{table.name} is incremental: if its past rows have changed as well, first run "
                f"dbt build --full-refresh --select {table.name}"
            )
