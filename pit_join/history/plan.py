"""The plan of a backfill: batches that are missing, failed, changed or outdated, and the tables that they need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
from pit_join.times import parse_instant
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import identifier, literal
from pit_join.workspace import Workspace

__all__ = ["BackfillPlan", "BatchRange", "StoredBatches", "latest", "look", "make_plans", "recognised"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


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

    `rows` are row counts by the start of their batch (None: there is no table), `newest` is the newest instant of the
    inputs and of the table itself, `missing` are the tables of ancestors that do not exist.
    """

    rows: Mapping[datetime, int] | None
    newest: datetime | None
    missing: frozenset[str]


def look(workspace: Workspace, models: Iterable[BatchModel]) -> dict[str, StoredBatches]:
    """Return the stored state of models, by their unique ids."""
    if not workspace.project.warehouse.is_file():
        missing = {model.unique_id: frozenset(table.relation for table in model.tables) for model in models}
        return {unique_id: StoredBatches(None, None, tables) for unique_id, tables in missing.items()}
    with workspace.warehouse() as warehouse:
        return {model.unique_id: _stored(model, warehouse) for model in models}


def _stored(model: BatchModel, warehouse: DuckDBWarehouse) -> StoredBatches:
    what = f"the table of '{model.name}' cannot be read"
    rows: dict[datetime, int] | None = None
    newest = [_newest(one, warehouse) for one in model.inputs]
    if warehouse.has_table(model.location):
        time = f"cast({identifier(model.event_time)} as timestamptz)"
        counted = warehouse.rows_later(
            f"select epoch_us(date_trunc({literal(model.size)}, {time})) as start, count(*) as rows "
            f"from {model.relation} where isfinite({time}) group by all",
            what,
        ).result()
        rows = {_EPOCH + timedelta(microseconds=row["start"]): row["rows"] for row in counted}
        newest.append(max(rows, default=None))
    return StoredBatches(
        rows=rows,
        newest=max((time for time in newest if time), default=None),
        missing=frozenset(table.relation for table in model.tables if not warehouse.has(table.location)),
    )


def _newest(one: BatchInput, warehouse: DuckDBWarehouse) -> datetime | None:
    if not warehouse.has(one.location):
        return None
    times = [f"cast({identifier(time)} as timestamptz)" for time in one.times]
    newest = ", ".join(f"max(epoch_us({time})) filter (isfinite({time}) and {time} <= now())" for time in times)
    found = warehouse.row(
        f"select greatest({newest}, null) as newest from {one.relation}", f"'{one.name}' cannot be read"
    )
    return None if found["newest"] is None else _EPOCH + timedelta(microseconds=found["newest"])


def recognised(project: Project) -> list[Record]:
    """Return the batches and tables that dbt's own last command built, according to its artifacts."""
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
    made = {model.relation: model.definition for model in models}
    tables = {table.relation: table.definition for model in models for table in model.tables}
    at = parse_instant(results["metadata"]["generated_at"])
    records = []
    for result in results["results"]:
        relation = result.get("relation_name") or _relation(manifest, result["unique_id"])
        if relation in tables and result["status"] == "success":
            records.append(Record(relation, None, None, tables[relation], "success", None, None, at))
        if relation in made:
            batches = (result.get("batch_results") or {}).get("successful") or []
            seconds = round(result["execution_time"] / max(len(batches), 1), 3)
            records += [
                Record(relation, parse_instant(a), parse_instant(b), made[relation], "success", None, seconds, at)
                for a, b in batches
            ]
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
        last = ceiling(min(stored.newest, now) + timedelta(microseconds=1), model.size)
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
    if record.at < batch[1]:
        return "not over when it ran"
    if record.rows is not None and record.rows != stored.rows.get(batch[0], 0):
        return "rows changed"
    return None


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
