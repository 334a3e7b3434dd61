"""The rows of the feature log as Arrow and Parquet: their layout and their writer.

A file holds rows of one service, or one list of references, and of one schema; its metadata hold the request, so that
the offline rule can be asked for the same features.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pit_join.definitions.field_type import read_type
from pit_join.errors import PitJoinError
from pit_join.files import private_folder, whole
from pit_join.records.arrow import arrow_values
from pit_join.records.keys import KeyCodec
from pit_join.references import listed
from pit_join.serving.log_entry import LOG_METADATA, LogSource, Served

__all__ = ["FileNames", "LogRows", "load_arrow", "make_room"]

# A file of a log, or one that was complete but not yet renamed when its process was killed.
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-\d+-[0-9a-f]{8}-\d+\.parquet|\.pit-join-\w+")
_TIME = pa.timestamp("us", "UTC")
_TYPES_OF_NULLS = {"number": pa.float64(), "text": pa.string(), "BOOLEAN": pa.bool_(), "time": _TIME}
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=timezone.utc), timedelta(microseconds=1)
_NO_KEY = object()  # for a value that equals no key of its type
_INTEGERS = ("int64", "uint64", "decimal(38, 0)")


def load_arrow() -> None:
    """Load everything that writing needs: with its first array pyarrow imports pandas where it is installed."""
    pa.array([0])


class LogRows:
    """Rows of one schema, column by column; rows with different `key` cannot be in one file.

    `types` are the types of the features (see `records.layout.Field`).
    """

    def __init__(self, source: LogSource, types: Mapping[str, str], field_types: Mapping[str, pa.DataType]) -> None:
        self._source, self._types, self._field_types = source, types, field_types
        self.key = (source.metadata, tuple(types.items()), tuple(field_types.items()))
        self._columns: dict[tuple[str, ...], list[Any]] = {}
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    @classmethod
    def of(cls, served: Served, request_id: str) -> LogRows:
        """Return the rows of one request, except those whose keys no store can hold.

        Raises:
            PitJoinError, ValueError, OverflowError, pyarrow.ArrowException: if the rows cannot be logged.
        """
        source, roles, rows = served.source, served.features.by_role(), len(served.features)
        unlogged, nulls = source.unlogged, (None,) * rows
        fields = {
            name: [_plain(value) for value in (nulls if name in unlogged.fields else served.rows[name])]
            for name in source.fields
        }
        field_types = {name: _field_type(values, source.fields[name]) for name, values in fields.items()}
        types = {name: kind for role in roles for name, kind in zip(role.names, role.types, strict=True)}
        found = cls(source, {name: types[name] for name in source.names}, field_types)
        columns: dict[tuple[str, ...], list[Any]] = {
            ("request_id",): [request_id] * rows,
            ("row",): list(range(rows)),
            ("served_at",): [served.moment] * rows,
        }
        columns |= {
            ("keys", name): _keys(kind, nulls if name in unlogged.keys else served.rows[name])
            for name, kind in source.keys.items()
        }
        columns |= {("fields", name): values for name, values in fields.items()}
        for alias, resolved in source.roles.items():
            instant = resolved.view.instant
            columns["roles", alias, "exported_at"] = [(instant - _EPOCH) // _MICROSECOND if instant else None] * rows
            columns["roles", alias, "event_timestamp"] = [None] * rows
        for role in roles:
            if role.names[0] in source.role_of:
                columns["roles", source.role_of[role.names[0]], "event_timestamp"] = list(role.times)
            for name, values, statuses in zip(role.names, role.columns, role.statuses, strict=True):
                given = [served.values[name]] if served.values else values
                columns["features", name, "value"] = list(nulls if name in unlogged.features else given)
                columns["features", name, "status"] = list(statuses)
        found._columns, found._rows = columns, rows
        found._leave_out_impossible_keys()
        return found

    def _leave_out_impossible_keys(self) -> None:
        keys = [values for path, values in self._columns.items() if path[0] == "keys"]
        kept = [row for row in range(self._rows) if not any(values[row] is _NO_KEY for values in keys)]
        if len(kept) < self._rows:
            self._columns = {path: [values[row] for row in kept] for path, values in self._columns.items()}
            self._rows = len(kept)

    def extend(self, others: LogRows) -> None:
        """Append other rows with the same `key`."""
        for path, values in others._columns.items():
            self._columns.setdefault(path, []).extend(values)
        self._rows += len(others)

    def write(self, folder: Path, names: FileNames) -> None:
        """Write a file atomically into a folder, which is created if necessary.

        Raises:
            PitJoinError, OSError, ValueError, OverflowError, pyarrow.ArrowException: if the file cannot be written.
        """
        private_folder(folder)
        table = self._table()
        try:
            with whole(folder / names.next(), private=True) as name:
                pq.write_table(table, name, compression="zstd", write_page_checksum=True)
        except pa.ArrowInvalid as error:
            # Parquet has no seconds, and an infinite time cannot be cast to milliseconds.
            seconds = [name for name, kind in self._types.items() if "timestamp[s" in kind]
            raise PitJoinError(
                f"a time in {listed(seconds)} is infinite or too far off, and Parquet has no TIMESTAMP_S ({error}); "
                "make nulls of such times in the model, or cast them to timestamp"
            ) from error

    def _table(self) -> pa.Table:
        columns, source = self._columns, self._source
        features = {
            name: _struct(
                {
                    "value": arrow_values(kind, columns["features", name, "value"]),
                    "status": pa.array(columns["features", name, "status"], pa.string()),
                }
            )
            for name, kind in self._types.items()
        }
        roles = {
            alias: _struct(
                {what: _instants(columns["roles", alias, what]) for what in ("exported_at", "event_timestamp")}
            )
            for alias in source.roles
        }
        keys = {name: _key_array(kind, columns["keys", name]) for name, kind in source.keys.items()}
        fields = {name: pa.array(columns["fields", name], kind) for name, kind in self._field_types.items()}
        arrays = {
            "request_id": pa.array(columns["request_id",], pa.string()),
            "row": pa.array(columns["row",], pa.int32()),
            "served_at": _instants(columns["served_at",]),
            **({"keys": _struct(keys)} if keys else {}),  # Parquet has no empty groups
            **({"fields": _struct(fields)} if fields else {}),
            "roles": _struct(roles),
            "features": _struct(features),
        }
        return pa.table(arrays).replace_schema_metadata({LOG_METADATA: source.metadata})


def _struct(columns: Mapping[str, pa.Array]) -> pa.Array:
    return pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


def _instants(microseconds: Sequence[int | None]) -> pa.Array:
    return pa.array(microseconds, pa.int64()).cast(_TIME)


@lru_cache(maxsize=256)
def _codec(kind: str) -> KeyCodec:
    return KeyCodec({"": kind})


def _keys(kind: str, values: Sequence[Any]) -> list[Any]:
    """Return the values of a key as the store holds them, however the request wrote them."""
    codec, found = _codec(kind), []
    for value in values:
        key = codec.encode({"": value})
        found.append(None if key is None else codec.decode(key)[""] if key else _NO_KEY)
    return found


def _key_array(kind: str, values: Sequence[Any]) -> pa.Array:
    if kind != "integer":
        # A float key is compared as a double, so the double 0.1 equals no value of a float column.
        return arrow_values("double" if kind == "float" else kind, values)
    for each in _INTEGERS[:-1]:  # integer keys have any width
        with suppress(OverflowError):
            return arrow_values(each, values)
    return arrow_values(_INTEGERS[-1], values)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) and not isinstance(value, np.datetime64) else value


def _field_type(values: Sequence[Any], wanted: Sequence[str]) -> pa.DataType:
    """Return the type in which on-demand features got a request field; for nulls alone, a type that they accept."""
    kind = pa.array(values).type
    if pa.types.is_null(kind):
        return _TYPES_OF_NULLS.get(read_type(wanted[0]).family, pa.string())
    return pa.timestamp(kind.unit, "UTC") if pa.types.is_timestamp(kind) and kind.tz else kind


class FileNames:
    """A generator of file names, unique among processes and sorted by time, and of request ids."""

    def __init__(self) -> None:
        # A process id alone is not unique where several containers share a folder.
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._files, self._requests = count(1), count(1)

    def next(self) -> str:
        """Return the name of the next file."""
        return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}-{self._process}-{next(self._files)}.parquet"

    def next_request(self) -> str:
        """Return the id of the next request."""
        return f"{self._process}-{next(self._requests)}"


def make_room(folder: Path, max_bytes: int) -> None:
    """Remove the oldest files of a log until the others have at most `max_bytes`; files of other kinds stay.

    Raises:
        OSError: if the folder cannot be read, or a file cannot be removed.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                with suppress(FileNotFoundError):  # another process may remove files, too
                    facts = entry.stat()
                    found.append((facts.st_mtime_ns, entry.path, facts.st_size))
    total = sum(size for _, _, size in found)
    for _, path, size in sorted(found):
        if total <= max_bytes:
            return
        with suppress(FileNotFoundError):
            os.unlink(path)
        total -= size
