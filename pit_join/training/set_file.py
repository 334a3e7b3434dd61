"""A training set's file, read back: its table, what it says of itself, and the spine within it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pit_join.errors import PitJoinError, SpineError
from pit_join.frames import unpacked
from pit_join.training.parquet_spine import read_parquet
from pit_join.training.request import TrainingRequest
from pit_join.training.set_metadata import SetMetadata
from pit_join.training.spine_hash import spine_hash

__all__ = ["SetFile", "read_set"]

_KEY = b"pit_join"


@dataclass(frozen=True, slots=True)
class SetFile:
    """A training set as its file has it; `metadata` is None if the file says nothing of itself."""

    path: Path
    table: pa.Table = field(repr=False)
    metadata: SetMetadata | None = field(repr=False)

    @property
    def described(self) -> SetMetadata:
        """The metadata of a file that must have some.

        Raises:
            PitJoinError: if the file has none.
        """
        if self.metadata is None:
            raise PitJoinError(
                f"{self.path} has no metadata of pit-join; give a file that build-training-set wrote, since a program "
                "that writes it again may leave them out"
            )
        return self.metadata

    @property
    def spine_columns(self) -> tuple[str, ...]:
        """The names of the spine's columns.

        Raises:
            PitJoinError: if the file has no metadata.
        """
        return self.described.spine_columns

    @property
    def spine(self) -> pa.Table:
        """The columns of the spine, as they were given, with pandas' notes of them.

        Raises:
            PitJoinError: if the file has no metadata.
        """
        return _own_notes(self.table.select(self.spine_columns))

    @property
    def request(self) -> TrainingRequest:
        """The request that built the set, with the spine of the file; its references are not checked yet.

        Raises:
            PitJoinError: if the file has no metadata, or the spine is not the one of which they hold the hash.
        """
        metadata, spine = self.described, self.spine
        if spine_hash(spine) != metadata.spine_sha256:
            raise SpineError(
                f"the spine in {self.path} is not the one that the set was built for: its rows, types or values have "
                "changed since, as the hash in the metadata shows; build a set for the changed rows with its own spine"
            )
        return metadata.request(spine)

    def as_json(self) -> dict[str, Any]:
        """Return what the file says of itself as plain values.

        Raises:
            PitJoinError: if the file has no metadata.
        """
        return {
            "file": str(self.path),
            **asdict(self.described),
            "rows_now": self.table.num_rows,
            "columns": {column.name: str(column.type) for column in self.table.schema},
        }


def read_set(path: str | Path) -> SetFile:
    """Read a training set's Parquet or Arrow file, in one state of the file.

    Raises:
        PitJoinError: if it is missing, damaged or a CSV file, or its metadata are not those of a training set.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise PitJoinError(f"there is no file {path}; give the .parquet or .arrow file of a training set")
        table = unpacked(_read(path))
        names = table.column_names
        notes = (table.schema.metadata or {}).get(_KEY)
        # A damaged value, or the name of a zone, must not be found only when it is shown.
        table.validate(full=True)
        for kind in filter(pa.types.is_timestamp, table.schema.types):
            str(kind.tz)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PitJoinError(f"{path} cannot be read as a training set: {' '.join(str(error).split())}") from error
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PitJoinError(f"{path} has the column '{twice}' twice; rename one of them")
    metadata = None if notes is None else SetMetadata.from_json(notes, str(path))
    lost = [name for name in metadata.spine_columns if name not in names] if metadata else []
    if lost:
        raise PitJoinError(
            f"{path} has lost the column '{lost[0]}' of its spine; give the file as build-training-set wrote it"
        )
    return SetFile(path, table, metadata)


def _read(path: Path) -> pa.Table:
    with path.open("rb") as file:
        start = file.read(6)
    if start[:4] == b"PAR1":
        return read_parquet(path, f"{path} cannot be read")
    if start != b"ARROW1":
        raise PitJoinError(
            f"{path} is neither a Parquet nor an Arrow file; a CSV file, say, has no metadata: give the training set "
            "as .parquet or .arrow"
        )
    with pa.OSFile(str(path)) as opened:
        return pa.ipc.open_file(opened).read_all()


def _own_notes(spine: pa.Table) -> pa.Table:
    """Return a spine without our metadata, and with pandas' notes of its own columns only."""
    notes = {**(spine.schema.metadata or {})}
    notes.pop(_KEY, None)
    if b"pandas" in notes:
        try:
            read = json.loads(notes[b"pandas"])
            read["columns"] = [each for each in read["columns"] if each["field_name"] in spine.column_names]
            notes[b"pandas"] = json.dumps(read).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            del notes[b"pandas"]  # they are not pandas' notes
    return spine.replace_schema_metadata(notes)
