"""A backfill as a table and lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from pit_join.history.backfill import Backfill
from pit_join.history.plan import BackfillPlan

__all__ = ["report"]


def report(found: Backfill) -> tuple[list[list[str]], list[str]]:
    """Return the table of a dry run (model, batches, number, why, rows, time), and the lines below it."""
    table = [] if found.applied else [row for plan in found.plans for row in _rows(plan)]
    lines = [line for plan in found.plans for line in _lines(found, plan)]
    return table, [*lines, *(f"! {error}" for error in found.errors)]


def _rows(plan: BackfillPlan) -> Iterator[list[str]]:
    for run in plan.as_json()["ranges"]:
        yield [
            plan.model.name,
            run["first"] if run["batches"] == 1 else f"{run['first']} to {run['last']}",
            f"{run['batches']:,}",
            run["reason"],
            "-" if run["rows"] is None else f"{run['rows']:,}",
            "-" if run["seconds"] is None else f"{run['seconds']:,.1f} s",
        ]


def _lines(found: Backfill, plan: BackfillPlan) -> Iterator[str]:
    name, total, wanted = plan.model.name, plan.total, len(plan.batches)
    if total and not wanted:
        yield f"{name}: nothing to do, all {total:,} batches are done"
    elif total and not found.applied:
        yield f"{name}: {wanted:,} of {total:,} batches to run"
    elif total:
        yield f"{name}: {len(found.done.get(name, ())):,} of {wanted:,} batches run; {total:,} in all"
        for what, batches in (("failed", found.failed.get(name)), ("not run", found.not_run.get(name))):
            if batches:
                shown = ", ".join(batches[:10]) + (f" and {len(batches) - 10:,} more" if len(batches) > 10 else "")
                yield f"{name}: {what}: {shown}"
    if plan.tables and not found.applied:
        yield f"{name}: dbt builds {', '.join(table.name for table in plan.tables)} first"
    for note in plan.notes:
        yield f"! {name}: {note}"
