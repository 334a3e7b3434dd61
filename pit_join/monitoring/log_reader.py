"""A reader of feature logs: their files in order, as chunks of rows with one schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pit_join.errors import PitJoinError, RequestError, option, suggest
from pit_join.serving.log_entry import LOG_FORMAT, LOG_METADATA

__all__ = ["LogReader"]

_CHUNK_ROWS, _LEAST_ROWS, _CHUNK_CELLS = 200_000, 10_000, 2**22
_TIME = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class _File:
    """A file of a log: the request as in `LogSource.metadata`, and the number of rows."""

    path: Path
    about: Mapping[str, Any]
    key: tuple[bytes, pa.Schema]
    rows: int


class LogReader:
    """The files of a feature log that hold the rows of a service in a span of time.

    `span` is from an instant, inclusive, to another, exclusive; None is unbounded. `rows` counts all rows of the files,
    which may be more than those of the span. `unread` lists the files that could not be read, with the reasons; a file
    that another process removes in the meantime is not among them.

    Raises:
        PitJoinError: if the folder is missing.
        RequestError: if it has no rows of the service.
    """

    def __init__(self, folder: Path, span: tuple[datetime | None, datetime | None], service: str | None) -> None:
        if not folder.is_dir():
            given = option("feature_log=", "--feature-log")
            sample = option("sample=", "--log-sample")
            raise PitJoinError(
                f"there is no feature log in {folder}; name the folder that {given} was given, or nothing was "
                f"sampled yet ({sample})"
            )
        self._span = span
        self.unread: list[str] = []
        files = [file for path in sorted(folder.glob("*.parquet")) if (file := self._opened(path))]
        services = {str(file.about["service"]) for file in files if file.about["service"]}
        if service is not None and service not in services:
            raise RequestError(
                f"the feature log in {folder} has nothing of the service '{service}'; "
                f"{suggest(service, services, 'feature services')}"
            )
        self._files = [file for file in files if service is None or file.about["service"] == service]
        self.rows = sum(file.rows for file in self._files)

    @property
    def views(self) -> set[str]:
        """The names of the feature views of all rows."""
        return {role["view"] for file in self._files for role in file.about["roles"].values()}

    def chunks(self) -> Iterator[tuple[Mapping[str, Any], pa.Table, int]]:
        """Yield chunks: the request, its rows within the span, and the number of rows read from the files.

        All rows of a chunk have one schema.
        """
        waiting: dict[tuple[bytes, pa.Schema], list[pa.Table]] = {}
        abouts: dict[tuple[bytes, pa.Schema], Mapping[str, Any]] = {}
        cells = rows = 0
        for file in self._files:
            table = self._read(file)
            if table is None:
                continue
            abouts[file.key] = file.about
            waiting.setdefault(file.key, []).append(table)
            rows += table.num_rows
            cells += table.num_rows * (1 + len(file.about["features"]))
            if rows >= _CHUNK_ROWS or (rows >= _LEAST_ROWS and cells >= _CHUNK_CELLS):
                for key, tables in waiting.items():
                    yield self._chunk(abouts[key], tables)
                waiting, cells, rows = {}, 0, 0
        for key, tables in waiting.items():
            yield self._chunk(abouts[key], tables)

    def _chunk(self, about: Mapping[str, Any], tables: list[pa.Table]) -> tuple[Mapping[str, Any], pa.Table, int]:
        table = pa.concat_tables(tables)
        since, until = (None if end is None else pa.scalar(end, _TIME) for end in self._span)
        inside = table
        if since is not None:
            inside = inside.filter(pc.greater_equal(inside["served_at"], since))
        if until is not None:
            inside = inside.filter(pc.less(inside["served_at"], until))
        return about, inside, table.num_rows

    def _opened(self, path: Path) -> _File | None:
        with self._noting(path), pq.ParquetFile(path) as file:
            metadata = (file.schema_arrow.metadata or {}).get(LOG_METADATA)
            if metadata is None:
                raise ValueError("it is not a file of a feature log")
            about = json.loads(metadata)
            if about["format"] > LOG_FORMAT:
                raise ValueError(
                    f"it was written by a newer pit-join (format {about['format']}; this one reads up to {LOG_FORMAT})"
                )
            return _File(path, about, (metadata, file.schema_arrow.remove_metadata()), file.metadata.num_rows)
        return None

    def _read(self, file: _File) -> pa.Table | None:
        with self._noting(file.path), pq.ParquetFile(file.path, page_checksum_verification=True) as opened:
            return opened.read().replace_schema_metadata(None)
        return None

    @contextmanager
    def _noting(self, path: Path) -> Iterator[None]:
        """Note the error of a file, and go on."""
        try:
            yield
        except FileNotFoundError:
            pass
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            self.unread.append(f"{path.name}: {' '.join(str(error).split())}")
