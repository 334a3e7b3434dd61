"""Errors of DuckDB as errors of ours. Outside world: DuckDB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from pit_join.errors import PitJoinError, WarehouseError

__all__ = ["QueryError", "first_line", "is_locked", "readable_errors"]


def is_locked(error: duckdb.Error) -> bool:
    """Return whether another process holds a file."""
    # The word lock alone may be part of a path.
    return re.search(r"could not set lock|conflicting lock|is locked", str(error), re.IGNORECASE) is not None


class QueryError(WarehouseError):
    """An error of the query or its data: bad input rather than a broken warehouse."""

    exit_status = 2


@contextmanager
def readable_errors(what: str) -> Iterator[None]:
    """Raise an error of DuckDB as one of ours, whose message `what` opens."""
    try:
        yield
    except PitJoinError:
        raise
    except (
        duckdb.CatalogException,
        duckdb.IOException,
        duckdb.InternalException,
        duckdb.OutOfMemoryException,
    ) as error:
        raise WarehouseError(f"{what}: {first_line(error)}") from error
    except duckdb.Error as error:
        raise QueryError(f"{what}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return what an error of DuckDB says, without the copy of the SQL below it."""
    # The rest is a copy of the SQL, or all options of a CSV reader.
    text = re.split(r"\n\nLINE |\n *\nPossible|\nColumn .* is being converted|\n *file = ", str(error), maxsplit=1)[0]
    return " ".join(text.split())
