"""The name of a table that pit-join makes in the warehouse, and whether it may be made."""

from __future__ import annotations

from pit_join.errors import WarehouseError, option
from pit_join.warehouse.sql import identifier

__all__ = ["check_overwrite", "qualified", "table_name"]


def qualified(location: tuple[str, str, str]) -> str:
    """Return a database, a schema and a name as SQL writes them."""
    return ".".join(map(identifier, location))


def table_name(location: tuple[str, str, str]) -> str:
    """Return a schema and a name as messages write them."""
    return ".".join(location[1:])


def check_overwrite(location: tuple[str, str, str], *, exists: bool, overwrite: bool) -> None:
    """Refuse to replace a table unless it was asked for.

    Raises:
        WarehouseError: naming the table.
    """
    if exists and not overwrite:
        raise WarehouseError(
            f"the table {table_name(location)} exists; choose another name, or replace it with "
            + option("overwrite=True", "--overwrite")
        )
