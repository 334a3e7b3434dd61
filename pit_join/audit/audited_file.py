"""The file of a training set: its columns as they are, and its keys and times as a spine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pit_join.audit.moments import NO_MOMENT, Times
from pit_join.definitions.field_type import FieldType
from pit_join.errors import RequestError, SpineError, option, suggest
from pit_join.frames import unpacked
from pit_join.training.csv_spine import CsvFile, typed
from pit_join.training.parquet_spine import read_parquet
from pit_join.training.set_metadata import SetMetadata
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import identifier

__all__ = ["AuditedFile", "microseconds"]

_CSV, _PARQUET, _ARROW = (".csv", ".tsv", ".txt"), (".parquet", ".pq"), (".arrow", ".feather", ".ipc")
_TEXTS = "_pit_audited"


class AuditedFile:
    """A CSV, Parquet or Arrow file, read once.

    `table` has its columns; those of a CSV file are texts, as they are written. `metadata` is what the file says of
    itself; None if it was not written by pit-join. `naive` says whether its times have no zone, once they are read.

    Raises:
        PitJoinError: if the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.naive = path, False
        what = f"the training set {path} cannot be read"
        if not path.is_file():
            raise SpineError(f"the training set {path} does not exist; give the path of a CSV, Parquet or Arrow file")
        ending = Path(path.name.removesuffix(".gz")).suffix.lower()
        self._csv: CsvFile | None = None
        if ending in _CSV:
            self._csv = CsvFile(path, what, None)
            self.table = self._csv.texts
        elif ending in _PARQUET:
            self.table = unpacked(read_parquet(path, what))
        elif ending in _ARROW:
            try:
                with pa.OSFile(str(path)) as file:
                    self.table = unpacked(pa.ipc.open_file(file).read_all())
            except (pa.ArrowException, OSError) as error:
                raise SpineError(f"{what}: {' '.join(str(error).split())}; is it an Arrow file?") from error
        else:
            raise SpineError(f"cannot tell what {path} holds; a file's name ends in .csv, .parquet or .arrow")
        lower: dict[str, str] = {}
        for name in self.table.column_names:
            if name.lower() in lower:
                raise SpineError(f"{what}: it has both '{lower[name.lower()]}' and '{name}'; rename one of them")
            lower[name.lower()] = name
        self._lower = lower
        notes = (self.table.schema.metadata or {}).get(b"pit_join")
        self.metadata = None if notes is None else SetMetadata.from_json(notes, str(path))

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.table.num_rows)

    def name(self, column: str) -> str:
        """Return a column's name as the file writes it.

        Raises:
            RequestError: if the file does not have it.
        """
        if column.lower() not in self._lower:
            found = self.table.column_names
            raise RequestError(f"the file {self.path} has no column '{column}'; {suggest(column, found, 'columns')}")
        return self._lower[column.lower()]

    def spine(
        self, warehouse: DuckDBWarehouse, types: Mapping[str, FieldType], event_timestamp: str, zone: str | None
    ) -> pa.Table:
        """Return keys and arguments of the types of the views, and the time of each row in microseconds UTC.

        `types` are by column; `zone` is the time zone of naive times.

        Raises:
            PitJoinError: if a column is missing, or a value is not of its type.
        """
        time = self.name(event_timestamp)
        named = {self.name(column): kind for column, kind in types.items()}
        table = self.table
        if self._csv:
            warehouse.register(_TEXTS, self._csv.texts)
            found = self._csv.types(named, time, warehouse, _TEXTS)
            wanted = ", ".join(identifier(name) for name in dict.fromkeys([*named, time]))
            needed = {name: found[name] for name in found if name in named or name == time}
            table = warehouse.table(f"select {wanted} from {typed(needed, _TEXTS)}", f"{self.path} cannot be read")
        columns = {name: table[name] for name in named if name != time}
        try:
            times = _as_times(table[time].combine_chunks(), time)
            self.naive = times.type.tz is None
            return pa.table({**columns, time: _utc(times, time, zone)})
        except pa.ArrowInvalid as error:
            raise RequestError(f"the times of '{time}' cannot be read: {' '.join(str(error).split())}") from error


def _as_times(times: pa.Array, name: str) -> pa.Array:
    """Return times, dates or their texts as times."""
    kind = times.type
    if pa.types.is_dictionary(kind):
        times, kind = times.dictionary_decode(), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        times = _read(times, name)
        kind = times.type
    if pa.types.is_date(kind):
        return times.cast(pa.timestamp("us"))
    if not pa.types.is_timestamp(kind):
        raise RequestError(f"the column '{name}' must be a timestamp or date, got {kind}; cast it")
    return times


def _utc(times: pa.Array, name: str, zone: str | None) -> pa.Array:
    """Return times in UTC; naive ones are those of a zone."""
    kind = times.type
    if kind.tz is not None:
        if zone:
            raise RequestError(
                f"the times of '{name}' have a time zone already ({kind.tz}), so "
                + option("time_zone has", "--time-zone has")
                + " no effect; leave it out"
            )
        return times.cast(pa.timestamp("us", "UTC"), safe=kind.unit != "ns")
    naive = times.cast(pa.timestamp("us"), safe=kind.unit != "ns")
    try:
        local = pc.assume_timezone(naive, zone or "UTC", ambiguous="earliest", nonexistent="earliest")
    except (pa.ArrowException, ValueError) as error:
        raise RequestError(f"there is no time zone '{zone}'; write for example Europe/Berlin or UTC") from error
    return local.cast(pa.timestamp("us", "UTC"))


def _read(texts: pa.Array, name: str) -> pa.Array:
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    raise RequestError(f"the texts of the column '{name}' are not times; write them as 2026-03-18 14:30:00")


def microseconds(times: pa.Array) -> Times:
    """Return times as whole numbers, with `NO_MOMENT` for null."""
    return np.asarray(np.from_dlpack(pc.fill_null(times.cast(pa.int64()), NO_MOMENT)), np.int64)
