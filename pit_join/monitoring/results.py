"""The results of monitoring: one form for the findings of every check, and the Parquet files that keep them.

A folder of results has one file a month, `results-2026-11.parquet`, and a small file for each run since the last time
that runs were put together.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pit_join.errors import PitJoinError
from pit_join.files import lock, private_folder, whole

__all__ = ["ON_DEMAND", "RETENTION", "Result", "keep_results", "read_results"]

RETENTION = timedelta(days=400)
"""How long results are kept: by whole months, so that a year can be compared with the one before."""

ON_DEMAND = "on_demand"
"""What stands for a view in the findings of on-demand features."""

_MOST_RUNS = 32
_OWN = re.compile(r"run-\d{8}T\d{12}Z-[0-9a-f]{8}\.parquet|results-\d{4}-\d{2}\.parquet")
_MONTH, _RUN = "results-{:%Y-%m}.parquet", "run-{:%Y%m%dT%H%M%S%fZ}-{}.parquet"
_SCHEMA = pa.schema(
    [
        pa.field("run", pa.string()),
        pa.field("run_at", pa.timestamp("us", "UTC")),
        pa.field("now", pa.timestamp("us", "UTC")),
        *(pa.field(name, pa.string()) for name in ("check", "place", "view", "feature")),
        *(pa.field(name, pa.float64()) for name in ("value", "bound")),
        *(pa.field(name, pa.bool_()) for name in ("judged", "over", "breached")),
        *(pa.field(name, pa.string()) for name in ("text", "impact", "owner", "details")),
    ]
)


@dataclass(frozen=True, slots=True)
class Result:
    """The finding of one check about one feature in one run.

    Attributes:
        check: `freshness`, `nulls`, `defaults`, `drift` or `skew`.
        view: the feature view, with its role where the two differ; `on_demand` for on-demand features.
        feature: the feature.
        value: what was measured: an age in seconds, a rate, a stability index, or a number of rows.
        bound: the greatest value that is allowed; None where nothing is declared.
        place: `offline`, `stored` or `served`, where a check looks at several.
        judged: whether the value could be held against the bound.
        over: whether it is over the bound.
        breached: whether that is an alarm: a drift may have to last for several runs.
        text: the breach in words.
        impact: the declared meaning of a breach.
        owner: the declared address for alarms.
        details: what a report shows of it, as plain values.
    """

    check: str
    view: str
    feature: str
    value: float | None
    bound: float | None = None
    place: str = ""
    judged: bool = True
    over: bool = False
    breached: bool = False
    text: str = ""
    impact: str = ""
    owner: str = ""
    details: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class _BusyError(PitJoinError):
    """Another process puts runs together."""


def keep_results(folder: Path, results: Iterable[Result], now: datetime) -> None:
    """Add the results of a run to a folder, and remove those of months that ended before the retention.

    Args:
        folder: the folder, which is made if it is missing.
        results: the results.
        now: the instant that they are about; the time of the run is the clock's.

    Raises:
        PitJoinError: if the folder cannot be written.
    """
    at = datetime.now(timezone.utc)
    name = _RUN.format(at, secrets.token_hex(4))
    rows = [_row(name, at, now, each) for each in results]
    try:
        private_folder(folder)
        with whole(folder / name, private=True) as path:
            pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), path, compression="zstd")
        runs = _files(folder, "run")
        if len(runs) > _MOST_RUNS or any(run.name[4:10] != f"{at:%Y%m}" for run in runs[:1]):
            with suppress(_BusyError):
                _compact(folder)
        oldest = _MONTH.format(at - RETENTION)
        for month in _files(folder, "results"):
            if month.name < oldest:
                month.unlink(missing_ok=True)
    except (OSError, pa.ArrowException) as error:
        raise PitJoinError(f"the results of monitoring cannot be kept in {folder}: {error}") from error


def _row(run: str, at: datetime, now: datetime, result: Result) -> dict[str, Any]:
    details = None if result.details is None else json.dumps(result.details, separators=(",", ":"))
    return {**result.as_json(), "details": details, "run": run, "run_at": at, "now": now}


def _compact(folder: Path) -> None:
    """Put the files of runs into those of their months."""
    with (folder / ".lock").open("a") as opened:
        lock(
            opened.fileno(),
            wait=0.0,
            on_wait=lambda message: None,
            busy="another run puts results together",
            where=str(folder),
            error=_BusyError,
        )
        months: dict[str, list[Path]] = {}
        for path in _files(folder, "run"):
            months.setdefault(f"results-{path.name[4:8]}-{path.name[8:10]}.parquet", []).append(path)
        for name, paths in months.items():
            known = [folder / name] if (folder / name).exists() else []
            # A run that was put in before a crash is in both.
            table = _together([*known, *paths])
            with whole(folder / name, private=True) as new:
                pq.write_table(table, new, compression="zstd")
            for each in paths:
                each.unlink(missing_ok=True)


def _files(folder: Path, kind: str = "") -> list[Path]:
    """Return the files of results in order; others in the folder are somebody's own."""
    return [path for path in sorted(folder.glob(f"{kind}*.parquet")) if _OWN.fullmatch(path.name)]


def _together(paths: Sequence[Path]) -> pa.Table:
    """Return the rows of files, each run once; a file that vanishes meanwhile is now part of another."""
    tables: list[pa.Table] = []
    seen: set[str] = set()
    for path in paths:
        with suppress(FileNotFoundError):
            try:
                table = pq.ParquetFile(path).read()
                table = pa.table({field.name: _column(table, field) for field in _SCHEMA}, schema=_SCHEMA)
            except (pa.ArrowException, KeyError) as error:
                raise PitJoinError(f"{path} cannot be read ({error}); remove it, and its results are lost") from error
            if table["run"].null_count:
                raise PitJoinError(f"{path} is not a file of results; remove it")
            new = table.filter(pc.invert(pc.is_in(table["run"], pa.array(sorted(seen), pa.string()))))
            seen.update(new["run"].unique().to_pylist())
            tables.append(new)
    return pa.concat_tables(tables) if tables else _SCHEMA.empty_table()


def _column(table: pa.Table, field: pa.Field) -> Any:
    """Return a column; of nulls if a release before this one wrote the file without it."""
    return table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)


def read_results(folder: Path, since: datetime | None = None) -> pa.Table:
    """Return the kept results, those of the oldest run first; no rows where nothing was kept.

    Columns are those of `Result`, `details` as JSON, and `run`, `run_at` and `now` (timestamps in microseconds, UTC).

    Args:
        folder: the folder of results.
        since: only runs from this time on.

    Raises:
        PitJoinError: naming a file that cannot be read.
    """
    for _ in range(3):
        before = _files(folder)
        paths = [path for path in before if since is None or _month(path) >= f"{since:%Y%m}"]
        try:
            # Months first, since a run may be moved into its month meanwhile.
            table = _together(sorted(paths, key=lambda path: (not path.name.startswith("results"), path.name)))
        except (pa.ArrowException, OSError) as error:
            raise PitJoinError(f"the results of monitoring in {folder} cannot be read: {error}") from error
        if _files(folder) == before:
            break
    if since is not None:
        table = table.filter(pc.greater_equal(table["run_at"], pa.scalar(since, _SCHEMA.field("run_at").type)))
    return table.sort_by([("run_at", "ascending"), ("run", "ascending")])


def _month(path: Path) -> str:
    return path.name[4:10] if path.name.startswith("run-") else path.name[8:15].replace("-", "")
