"""A training set as a table of the warehouse. The engine makes it, and no row comes to this process."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pit_join.definitions.field_type import FieldType
from pit_join.definitions.nodes import location_of
from pit_join.definitions.portable import name_problem
from pit_join.errors import RequestError, SpineError, option
from pit_join.training.joins import ViewJoins
from pit_join.training.spine import Spine, SpineRows, check_key_values
from pit_join.warehouse.sql import identifier
from pit_join.workspace import Workspace

if TYPE_CHECKING:
    from pit_join.training.result import Coverage

__all__ = ["TableJoins", "TrainingTable", "check_request", "table_location"]

_MOST_COLUMNS = {"postgres": 1_600}
_PART = r'("(?:[^"]|"")+"|[^".]+)'
_NAME = re.compile(rf"(?:{_PART}\.)?{_PART}")
# Of a spine that is given: what all engines have, so that a column of the table is of the type of the spine.
_GIVEN = ("text", "number", "time", "BOOLEAN", "BLOB", "UUID")


@dataclass(frozen=True, slots=True)
class TrainingTable:
    """A training set that stays in the warehouse.

    `name` is the schema and name of the table, `columns` are those of the spine and then the features, and `sql` is the
    whole query as dbt would compile it; the table was made in steps. `coverage` has an entry for each view.
    """

    name: str
    rows: int
    columns: tuple[str, ...]
    coverage: tuple[Coverage, ...]
    sql: str = field(repr=False)


def table_location(name: str, workspace: Workspace) -> tuple[str, str, str]:
    """Return the database, schema and name of a new table; without a schema it is that of the dbt target.

    Raises:
        RequestError: if it is not a name, or is one that dbt builds or reads.
    """
    found = _NAME.fullmatch(name)
    written = [part for part in found.groups() if part] if found else []
    parts = [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in written]
    if not parts or not all(part.strip() for part in parts):
        raise RequestError(
            f"a table is named NAME or SCHEMA.NAME, and a part with a dot stands in double quotes; got {name!r}"
        )
    connection = workspace.project.connection
    for part in parts:
        if problem := name_problem(part, connection.engine):
            raise RequestError(problem)
    schema = parts[0] if len(parts) == 2 else connection.schema
    location = connection.database, schema, parts[-1]
    for node in (*workspace.manifest["nodes"].values(), *workspace.manifest["sources"].values()):
        database, *rest = (part.lower() for part in location_of(node))
        if rest == [part.lower() for part in location[1:]] and database in (location[0].lower(), "none", ""):
            raise RequestError(
                f"{schema}.{parts[-1]} is the table of the {node['resource_type']} {node['name']}, which is not "
                "replaced; choose another name"
            )
    return location


def check_request(computed: list[Any], columns: int, engine: str) -> None:
    """Check that an engine can hold a set of so many columns, with these on-demand features.

    Raises:
        RequestError: naming a file instead.
    """
    instead = "write " + option("the result of run() to a file", "a file with --output") + " instead"
    if computed and engine != "duckdb":
        raise RequestError(
            f"DuckDB computes on-demand features, and {engine} makes the table; {instead}, or leave "
            f"{', '.join(str(each['name']) for each in computed)} out"
        )
    most = _MOST_COLUMNS.get(engine)
    if most and columns > most:
        raise RequestError(
            f"a table of PostgreSQL has at most {most:,} columns, and this training set has {columns:,}; {instead}"
        )


class TableJoins(ViewJoins):
    """The joins of a set that stays in the warehouse: each view is joined into a temporary table."""

    _stays = True

    def load_spine(self, source: Spine, rows: SpineRows) -> int:
        """Copy the checked spine with all its columns to a temporary table, and return its number of rows."""
        if self._session is self._warehouse or source.kind != "relation":
            self._check_given(source, rows)
            return super().load_spine(source, rows)
        statement = self._workspace.view_macros.text(
            "_stored_spine",
            spine=rows.relation,
            event_timestamp=self._request.event_timestamp,
            gap=self._request.gap,
            data_type=rows.time_type,
        )
        self._session.keep("_pit_spine", statement, source.unreadable)
        check_key_values(self._warehouse, self._fetched, rows.types, self._keys, source.label)
        self._rows = int(self._row("select count(*) as rows from _pit_spine", source.unreadable)["rows"])
        return self._rows

    def _fetched(self, column: str) -> str:
        values = f"select distinct {self._quoted(column)} as {self._quoted(column)} from _pit_spine"
        return self._warehouse.here(values, "the keys of the spine cannot be read")

    def _check_given(self, source: Spine, rows: SpineRows) -> None:
        """Check that a server has the types of a spine that is copied to it, and can hold its times."""
        if self._session is self._warehouse:
            return
        for name, kind in rows.types.items():
            if kind.family not in _GIVEN and not name.startswith("_pit_"):
                raise SpineError(
                    f"the column '{name}' of the spine {source.label} is {kind}, which is not copied to a table of "
                    f"{self._session.engine}; leave it out, cast it, or name a model as the spine"
                )
        times = [name for name, kind in rows.types.items() if kind.family == "time"]
        infinite = ", ".join(
            f"bool_or(isinf(cast({identifier(name)} as {_as_given(rows.types[name])}))) as {identifier(name)}"
            for name in times
        )
        found = self._warehouse.row(f"select {infinite} from {rows.relation}", source.unreadable)
        if names := [name for name, is_infinite in found.items() if is_infinite]:
            raise SpineError(
                f"the column '{names[0]}' of the spine {source.label} has infinite times, which are not copied to a "
                "table; make nulls of them"
            )

    def _asked_rows(self, rows: SpineRows) -> str:
        """Return the SQL of all columns of the spine as a server takes them."""
        quoted = {identifier(name): _as_given(rows.types[name]) for name in rows.names}
        columns = [f"cast({name} as {kind}) as {name}" for name, kind in quoted.items()]
        return f"select _pit_row, _pit_time, {', '.join(columns)} from _pit_spine"

    def keep_all(self, progress: Callable[[int, int, str], None]) -> list[Coverage]:
        """Join the views one after the other, each into a table, and return the coverage of each."""
        from pit_join.training.result import coverage

        found, started = [], time.monotonic()
        for done, role in enumerate(self._roles):
            progress(done, len(self._roles), role["alias"])
            *before, joined = self._statements(role)
            for statement in before:
                self._session.execute(statement, self._cannot_join(role))
            self._session.keep(_part(done), joined, self._cannot_join(role))
            view, facts = self._view_and_facts(role)
            met = self._counted(_part(done), role)
            started, seconds = time.monotonic(), time.monotonic() - started
            found.append(coverage(role["alias"], view, met, facts, seconds))
        progress(len(self._roles), len(self._roles), "")
        return found

    def _counted(self, part: str, role: Mapping[str, Any]) -> tuple[dict[str, int], list[int]]:
        macros, what = self._workspace.view_macros, self._cannot_join(role)
        statement = macros.text("_statuses_statement", part=part, status=self._status(role))
        statuses = {row["status"]: int(row["rows"]) for row in self._session.rows_later(statement, what).result()}
        ages = self._row(macros.text("_ages_statement", part=part), what)
        return statuses, [int(age) for age in ages.values() if age is not None]

    def _row(self, sql: str, what: str) -> dict[str, Any]:
        return self._session.rows_later(sql, what).result()[0]

    def query(self, source: Spine, rows: SpineRows) -> str:
        """Return the SQL that puts the spine and the joined views side by side."""
        columns, is_copied = [], source.kind != "relation" and self._session is not self._warehouse
        for name in rows.names:
            column = f"_pit_spine.{self._quoted(name)}"
            if is_copied and (kind := _kept_as(rows.types[name], self._session.engine)):
                column = f"cast({column} as {kind})"
            columns.append(f"{column} as {self._quoted(name)}")
        asked = self._request.macro_arguments()
        return self._workspace.view_macros.text(
            "_set_statement",
            features=asked.pop("features"),
            parts={role["alias"]: _part(number) for number, role in enumerate(self._roles)},
            columns=columns,
            options=asked,
        )

    def _quoted(self, name: str) -> str:
        return self._workspace.view_macros.text("_identifier", name=name)


def _part(number: int) -> str:
    return f"_pit_part_{number}"


def _as_given(kind: FieldType) -> str:
    """Return the type in which a column of DuckDB is copied to a server: of those that all engines have."""
    if kind.name in ("UTINYINT", "USMALLINT", "UINTEGER"):
        return "bigint"
    if kind.number == "integer" and kind.name[0] in "UH":
        return "decimal(38, 0)"
    if kind.family == "text" or kind.name == "UUID":
        return "varchar"
    if kind.name.startswith("TIMESTAMPTZ"):
        return "timestamptz"
    return "timestamp" if kind.name.startswith("TIMESTAMP_") else kind.sql


def _kept_as(kind: FieldType, engine: str) -> str | None:
    """Return the type to cast a copied column to on the server, if the copy loses it."""
    given = _as_given(kind).lower()
    if kind.name == "UUID" and engine == "postgres":
        return "uuid"
    return given if given.startswith("decimal") else None


def comment_of(metadata: Mapping[str, Any]) -> str:
    """Return the comment of a table: the metadata that a file has but the spine's hash and the statistics."""
    return json.dumps({"pit_join": dict(metadata)})
