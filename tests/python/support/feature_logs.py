"""The files of a feature log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """All rows, in the order of the files."""
    return [row for path in files(folder) for row in pq.read_table(path).to_pylist()]
