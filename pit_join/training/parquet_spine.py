"""Parquet files as spines, read once and with the types that their writer gave the columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pit_join.errors import SpineError
from pit_join.warehouse.spool import kept

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_parquet"]


def read_parquet(path: Path, what: str, *, spill: bool = False) -> pa.Table:
    """Return the columns of a file; `what` opens the message of an error.

    With `spill` the rows of a large file are in a temporary file that is mapped into memory, which takes longer.

    Raises:
        SpineError: if it is not a Parquet file, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pa.OSFile(str(path)) as opened:
            file = pq.ParquetFile(opened, coerce_int96_timestamp_unit="us")  # as DuckDB; in ns, far years overflow
            schema = file.schema_arrow
            # Of a file without row groups pyarrow before version 21 reads nothing.
            if not file.num_row_groups:
                table = schema.empty_table()
            # An Arrow file has one dictionary for a column, and each batch may have another.
            elif spill and not any("dictionary" in str(kind) for kind in schema.types):
                table = kept(pa.RecordBatchReader.from_batches(schema, file.iter_batches()))
            else:
                table = file.read()
            leaves = [file.schema.column(number) for number in range(len(file.schema))]
    except (pa.ArrowException, OSError) as error:
        raise SpineError(f"{what}: {' '.join(str(error).split())}; is it a Parquet file?") from error
    # pyarrow returns the bytes of the one always, and of the other before version 21.
    kinds = {
        **{leaf.path: _interval for leaf in leaves if leaf.converted_type == "INTERVAL"},
        **{leaf.path: _uuid for leaf in leaves if leaf.logical_type.type == "UUID"},
    }
    for number, field in enumerate(table.schema):
        if field.name in kinds and pa.types.is_fixed_size_binary(field.type):
            chunks = [kinds[field.name](chunk) for chunk in table.column(number).chunks]
            table = table.set_column(number, field.name, pa.chunked_array(chunks))
    return table


def _uuid(column: pa.FixedSizeBinaryArray) -> pa.Array:
    import pyarrow as pa

    return pa.ExtensionArray.from_storage(pa.uuid(), column)


def _interval(column: pa.FixedSizeBinaryArray) -> pa.Array:
    """Return intervals as Arrow has them, from months, days and milliseconds of four bytes each."""
    import numpy as np
    import pyarrow as pa

    rows = len(column)
    parts = np.frombuffer(column.buffers()[1], "<u4", 3 * rows, 12 * column.offset).reshape(-1, 3)
    found = np.empty(rows, [("months", "<u4"), ("days", "<u4"), ("nanoseconds", "<u8")])
    found["months"], found["days"] = parts[:, 0], parts[:, 1]
    found["nanoseconds"] = parts[:, 2].astype("<u8") * 1_000_000
    valid = column.is_valid().buffers()[1]
    return pa.Array.from_buffers(pa.month_day_nano_interval(), rows, [valid, pa.py_buffer(found)])
