"""Tables as files: the format goes by the name's ending, and a file appears whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pit_join.errors import PitJoinError
from pit_join.files import whole
from pit_join.frames import readable, unpacked
from pit_join.warehouse.interrupts import interruptible
from pit_join.warehouse.spool import release_pages

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FORMATS", "check_output", "write_table"]

FORMATS = (".parquet", ".csv", ".arrow")

_ROW_GROUP = 122_880


def check_output(path: Path) -> None:
    """Check before long work that a file can be written.

    Raises:
        PitJoinError: if the ending names no format, or the folder is missing or not writable.
    """
    if path.suffix.lower() not in FORMATS:
        raise PitJoinError(f"cannot tell the format of {path}; its name must end in {', '.join(FORMATS)}")
    try:
        is_folder, is_special = path.is_dir(), path.exists() and not path.is_file()
    except OSError as error:
        raise PitJoinError(f"cannot write {path}: {error.strerror}") from error
    if is_folder:
        raise PitJoinError(f"{path} is a folder; give the name of a file")
    if is_special:  # it would be replaced, also where a link leads to it
        raise PitJoinError(f"{path} is a device or a pipe; give the name of a file")
    if not path.parent.is_dir():
        raise PitJoinError(f"the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise PitJoinError(f"the folder {path.parent} is not writable")


def write_table(table: pa.Table, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a table in the format that the name's ending tells.

    Parquet and Arrow files have the table's own metadata, and `metadata` as JSON.

    Raises:
        PitJoinError: if the name tells no format, a column's type does not fit it, or the disk refuses.
    """
    check_output(path)
    # Here, so that a wrong name is found without loading Arrow.
    import duckdb
    import pyarrow as pa

    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            table = unpacked(table)
        elif suffix == ".csv":
            table = readable(table, as_text=True)
    except PitJoinError as error:
        raise PitJoinError(f"cannot write {path}: {error}") from error
    own = {key: json.dumps(value) for key, value in metadata.items()}
    described = table.replace_schema_metadata({**(table.schema.metadata or {}), **own})
    try:
        with whole(path) as name:
            _write(described, name, suffix)
    except duckdb.IOException as error:
        raise PitJoinError(f"cannot write {path}: {error}") from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, duckdb.Error) as error:
        columns = "; ".join(_refused(table, suffix)) or _first_line(error)
        raise PitJoinError(
            f"cannot write {path}: {columns}; change the column in the model, or cast it to a type that {suffix} "
            "files know"
        ) from error
    except OSError as error:
        raise PitJoinError(f"cannot write {path}: {error.strerror or error}") from error


def _write(table: pa.Table, name: str, suffix: str) -> None:
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    if suffix == ".parquet":
        # Dictionaries pay for text; for numbers they cost time and are given up halfway.
        text = [field.name for field in table.schema if not pa.types.is_primitive(field.type)]
        # By its name Arrow would remove the file after an error, a device too.
        with pa.OSFile(name, "wb") as sink, pq.ParquetWriter(sink, table.schema, use_dictionary=text) as writer:
            for start in range(0, max(1, len(table)), _ROW_GROUP):
                writer.write_table(table.slice(start, _ROW_GROUP), _ROW_GROUP)
                release_pages()
    elif suffix == ".arrow":
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            for start in range(0, len(table), _ROW_GROUP):
                writer.write_table(table.slice(start, _ROW_GROUP))
                release_pages()
    else:
        with interruptible(), duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'")
            connection.register("result", table)
            connection.execute("copy result to $name (format csv, header true, use_tmp_file false)", {"name": name})


def _refused(table: pa.Table, suffix: str) -> Iterator[str]:
    """Yield the columns that cannot be written even alone, with their types and the reasons."""
    import duckdb
    import pyarrow as pa

    for field in table.schema:
        try:
            _write(table.select([field.name]), os.devnull, suffix)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, duckdb.Error) as error:
            yield f"'{field.name}' is {field.type} ({_first_line(error)})"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
