"""The columns that dbt adds to its snapshots: those with its own clock, and the one filled in later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["SnapshotClocks", "end_column"]

_TIMES = ("dbt_valid_from", "dbt_updated_at", "dbt_valid_to")


class SnapshotClocks:
    """The columns of a project's snapshots into which dbt writes its own clock, in the time zone of its session."""

    def __init__(self, nodes: Mapping[str, Mapping[str, Any]]) -> None:
        self._nodes = nodes
        self._columns = {
            name: _clock_columns(node.get("config") or {})
            for name, node in nodes.items()
            if node.get("resource_type") == "snapshot"
        }

    def among(self, columns: Iterable[str], node: str) -> tuple[str, ...]:
        """Return those columns of a node that, by their names, hold dbt's clock; the node is or reads a snapshot."""
        wanted = {column.lower(): column for column in columns}
        if not any(wanted.keys() & columns for _, columns in self._columns.values()):
            return ()
        found: set[str] = set()
        seen, waiting = {node}, [node]
        while waiting:
            one = waiting.pop()
            own, of_readers = self._columns.get(one, (set(), set()))
            found |= own if one == node else of_readers
            read = set((self._nodes.get(one, {}).get("depends_on") or {}).get("nodes") or []) - seen
            seen |= read
            waiting += read
        return tuple(column for lower, column in wanted.items() if lower in found)


def end_column(node: Mapping[str, Any]) -> str | None:
    """Return the column that dbt fills in when a row of a snapshot ends, in lower case; None for any other node."""
    return _named(node.get("config") or {}, "dbt_valid_to") if node.get("resource_type") == "snapshot" else None


def _clock_columns(config: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Return the columns with dbt's clock in a snapshot, and in models made from it.

    With `updated_at` dbt copies that column; only the rows and the ends of deleted keys have its own clock. A model may
    turn ends into rows.
    """
    every = {_named(config, column) for column in _TIMES}
    if not config.get("updated_at") or config.get("hard_deletes") == "new_record":
        return every, every
    if config.get("hard_deletes") == "invalidate" or config.get("invalidate_hard_deletes"):
        return {_named(config, "dbt_valid_to")}, every
    return set(), set()


def _named(config: Mapping[str, Any], column: str) -> str:
    return str((config.get("snapshot_meta_column_names") or {}).get(column) or column).lower()
