"""The profiles of a training set's features, for its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pit_join.definitions.connection import Connection
from pit_join.references import parse_reference
from pit_join.training.gather import FOUND
from pit_join.training.profiles import FeatureProfile, ProfiledColumn, kind_of, profiles_of
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import identifier
from pit_join.workspace import Workspace

__all__ = ["SetProfiler", "profiled", "scratch"]

_GIVEN, _SOURCE = "_pit_given", "_pit_profiled"


class SetProfiler:
    """Profiles the features of a training set; `resolved` is the result of the macro `_resolved_requests`.

    The rows of one entity, which has equal keys of a view, are one cluster; of an on-demand feature these are the keys
    of the views that it reads. Of a sensitive feature only nulls are counted.
    """

    def __init__(self, workspace: Workspace, resolved: Mapping[str, Any]) -> None:
        self._macros, self._registry = workspace.macros, workspace.registry
        self._roles, self._computed = resolved["requests"], resolved["computed"]

    def __call__(self, table: pa.Table) -> dict[str, FeatureProfile]:
        """Profile the features of a table, which has the columns of the set and those of `gather.found`."""
        lower = {name.lower(): name for name in table.column_names}
        found: dict[str, FeatureProfile] = {}
        with scratch() as session:
            for role in self._roles:
                hidden = {one.name for one in self._registry.view(role["view"]).features if one.sensitive}
                names = {
                    one["name"]: one["column"] in hidden
                    for one in role["features"]
                    if one["name"] in table.column_names
                }
                keys = [lower[column.lower()] for column in role["keys"].values()]
                source, columns = profiled(session, table, names, keys, f"{FOUND}{role['alias']}")
                found |= profiles_of(session, self._macros, source, columns, keys)
            for one in self._computed:
                keys = [lower[column.lower()] for column in self._keys_of(one)]
                source, columns = profiled(session, table, {one["name"]: self._hides(one)}, keys)
                found |= profiles_of(session, self._macros, source, columns, keys)
        return found

    def _keys_of(self, computed: Mapping[str, Any]) -> list[str]:
        """Return the columns of the keys that the views of an on-demand feature share, or those of the first."""
        keys = {role["alias"]: list(role["keys"].values()) for role in self._roles}
        parsed = (parse_reference(each["column"]) for each in computed["arguments"] if each["reference"])
        read = [keys[found[0]] for found in parsed if found and found[0] in keys]
        if not read:
            return sorted({column for columns in keys.values() for column in columns})
        return [column for column in read[0] if all(column in columns for columns in read)] or read[0]

    def _hides(self, computed: Mapping[str, Any]) -> bool:
        """Whether an on-demand feature has an argument that is a sensitive feature or key."""
        views = {role["alias"]: self._registry.view(role["view"]) for role in self._roles}
        keys = {
            column.lower()
            for role in self._roles
            if views[role["alias"]].hides_keys
            for column in role["keys"].values()
        }
        hidden = {f"{alias}:{one.name}" for alias, view in views.items() for one in view.features if one.sensitive}
        # The column of a feature is named by its role.
        return any(
            argument["column"] in hidden if argument["reference"] else argument["column"].lower() in keys
            for argument in computed["arguments"]
        )


def scratch() -> DuckDBWarehouse:
    """Return a session without a warehouse, for a `with` statement."""
    return DuckDBWarehouse(Connection("", Path(), {}))


def profiled(
    session: DuckDBWarehouse, table: pa.Table, names: Mapping[str, bool], keys: Sequence[str], found: str | None = None
) -> tuple[str, list[ProfiledColumn]]:
    """Copy columns into a table to be profiled, and return its name with the features.

    Args:
        session: the session that gets the table.
        table: the rows.
        names: the features, and whether each is sensitive.
        keys: the columns that tell entities apart.
        found: the column that says whether there was a row.
    """
    marks = identifier(found) if found else None
    columns = [
        ProfiledColumn(name, name, "other" if hidden else kind_of(table.schema.field(name).type), marks)
        for name, hidden in names.items()
    ]
    session.register(_GIVEN, table.select(dict.fromkeys([*names, *keys, *([found] if found else [])])))
    copied = ", ".join([*map(_as_profiled, columns), *(identifier(key) for key in (*keys, *filter(None, [found])))])
    session.execute(f"create or replace temp table {_SOURCE} as select {copied} from {_GIVEN}", "the set is not read")
    return _SOURCE, columns


def _as_profiled(column: ProfiledColumn) -> str:
    name = identifier(column.column)
    kinds = {"number": f"cast({name} as double)", "text": f"cast({name} as varchar)"}
    return f"{kinds.get(column.kind, name)} as {name}"
