"""The rows that drift is measured in, of a feature log, a training set, or a view at an instant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pit_join.definitions.registry import Registry
from pit_join.definitions.views import FeatureView
from pit_join.monitoring.log_reader import LogReader
from pit_join.monitoring.results import ON_DEMAND
from pit_join.monitoring.sensitive import sensitive_names, sources_of
from pit_join.statuses import NULL_VALUE, PRESENT
from pit_join.training.profiles import FeatureProfile, ProfiledColumn, exact_ks, kind_of, profiles_of
from pit_join.training.set_file import SetFile, read_set
from pit_join.training.set_profiler import profiled
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import identifier, literal
from pit_join.workspace import Histories, Workspace

__all__ = ["MIN_ROWS", "EarlierRows", "LoggedRows", "SnapshotRows", "Span"]

MIN_ROWS = 500
"""The rows below which a share is not judged, unless `min_rows` is declared."""

Span = tuple[datetime | None, datetime | None]

_CHUNK = "_pit_chunk"
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class RowGroup:
    """A table with the features of one role, or with one on-demand feature (`computed`); `columns` are by feature.

    `names` are the columns that a training set may have them in, `keys` those of the entity, `cluster` the columns that
    tell entities apart here, none if each row stands for itself.
    """

    alias: str
    view: str
    table: str
    keys: tuple[str, ...] = ()
    cluster: tuple[str, ...] = ()
    columns: dict[str, ProfiledColumn] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    computed: str = ""

    @property
    def label(self) -> str:
        """The view, with its role where that has another name."""
        return self.view if self.alias == self.view else f"{self.alias} ({self.view})"


class _LoggedValue(NamedTuple):
    """A feature of logged rows, with its name in its view and the SQL of its values."""

    name: str
    feature: str
    kind: str
    value: str


class LoggedRows:
    """The rows of a feature log, in a table for each role and for each on-demand feature.

    Args:
        session: the session that gets the tables.
        reader: the log.
        registry: the declarations, which say what is sensitive.
        prefix: the start of the tables' names.
    """

    def __init__(self, session: DuckDBWarehouse, reader: LogReader, registry: Registry, prefix: str) -> None:
        self._session, self._registry, self._prefix = session, registry, prefix
        self._groups: dict[tuple[str, str, str], RowGroup] = {}
        self._meanings: dict[str, Mapping[str, Any]] = {}
        self.unread: list[str] = []
        for about, rows, _ in reader.chunks():
            if len(rows):
                self._add(about, rows)
        self.unread += [f"left out {problem}" for problem in reader.unread]

    @property
    def groups(self) -> Sequence[RowGroup]:
        """The tables."""
        return list(self._groups.values())

    def _add(self, about: Mapping[str, Any], rows: pa.Table) -> None:
        self._session.register(_CHUNK, rows)
        sensitive = sensitive_names(self._registry, about)
        by_place: dict[tuple[str, str], list[_LoggedValue]] = {}
        for each in about["features"]:
            alias, name, feature = each.get("role", ON_DEMAND), each["name"], each.get("feature", each["name"])
            kind, value = "other", f"features.{identifier(name)}.value"
            if name not in sensitive.features:
                kind = kind_of(rows.schema.field("features").type.field(name).type.field("value").type)
            if name in sensitive.unlogged.features:
                view = about["roles"][alias]["view"] if alias in about["roles"] else ""
                value = self._is_value(name, view, feature, defaults=about["defaults"])
            place = alias, "" if "role" in each else name
            if "role" not in each and not self._means_the_same(about, name):
                self.unread.append(f"{ON_DEMAND}:{name} has two meanings in the log; name one service")
                continue
            by_place.setdefault(place, []).append(_LoggedValue(name, feature, kind, _read_as(kind, value)))
        for (alias, computed), values in by_place.items():
            view = ON_DEMAND if computed else about["roles"][alias]["view"]
            keys = _keys_of(about, computed) if computed else tuple(about["roles"][alias]["keys"].values())
            entity = f"hash({', '.join(f'keys.{identifier(key)}' for key in keys)})" if keys else "0"
            if not sensitive.unlogged.keys.isdisjoint(keys):
                entity = 'hash(request_id, "row")'  # each row stands for itself
            self._insert((alias, view, computed), keys, entity, values)

    def _means_the_same(self, about: Mapping[str, Any], computed: str) -> bool:
        """Return whether an on-demand feature has the macro and arguments that it had in the rows before."""
        (item,) = (each for each in about["references"] if "on_demand" in each and each["as"] == computed)
        return bool(self._meanings.setdefault(computed, item) == item)

    def _is_value(self, name: str, view: str, feature: str, *, defaults: bool) -> str:
        """Return the SQL that is null where a value was served that is not in the log and was null."""
        known = self._registry.views.get(view)
        default = next((each.default for each in known.features if each.name == feature), None) if known else None
        found = [PRESENT] if default is None or not defaults else [PRESENT, NULL_VALUE]
        return f"nullif(features.{identifier(name)}.status in ({', '.join(map(literal, found))}), false)"

    def _insert(
        self, place: tuple[str, str, str], keys: tuple[str, ...], entity: str, values: Iterable[_LoggedValue]
    ) -> None:
        alias, view, computed = place
        if place not in self._groups:
            table = f"{self._prefix}{len(self._groups)}"
            cluster = ("_pit_entity",) if keys else ()
            self._groups[place] = RowGroup(alias, view, table, keys, cluster, computed=computed)
            self._execute(f"create temp table {table} (_pit_entity ubigint)")
        group, taken = self._groups[place], {}
        for name, feature, kind, value in values:
            column = self._column(group, feature, kind)
            if column is None:
                continue
            group.names[feature] = tuple(dict.fromkeys((*group.names.get(feature, ()), name, f"{alias}__{feature}")))
            taken[column.column] = value
            taken[str(column.found)] = (
                f"features.{identifier(name)}.status in ({literal(PRESENT)}, {literal(NULL_VALUE)})"
            )
        columns = ", ".join(["_pit_entity", *map(identifier, taken)])
        self._execute(
            f"insert into {group.table} ({columns}) select {', '.join([entity, *taken.values()])} from {_CHUNK}"
        )

    def _column(self, group: RowGroup, feature: str, kind: str) -> ProfiledColumn | None:
        """Return the column of a feature, which is added with its first rows; None if it had another type then."""
        if feature not in group.columns:
            number = len(group.columns)
            column = ProfiledColumn(feature, f"v{number}", kind, f"f{number}")
            sql_type = {"number": "double", "text": "varchar"}.get(kind, "boolean")
            self._execute(f"alter table {group.table} add column {column.column} {sql_type}")
            self._execute(f"alter table {group.table} add column {column.found} boolean")
            group.columns[feature] = column
        if group.columns[feature].kind != kind:
            self.unread.append(f"{group.label}:{feature} has two types in the log; narrow the span of time")
            return None
        return group.columns[feature]

    def _execute(self, sql: str) -> None:
        self._session.execute(sql, "the feature log cannot be read")


def _read_as(kind: str, value: str) -> str:
    """Return the SQL of a value as a profile counts it; of other kinds it matters only whether there is one."""
    casts = {"number": f"cast({value} as double)", "text": f"cast({value} as varchar)"}
    return casts.get(kind, f"case when {value} is not null then true end")


class SnapshotRows:
    """The values of views as they were known at an instant, in tables of a session with the warehouse."""

    def __init__(self, workspace: Workspace, histories: Histories, at: datetime, prefix: str) -> None:
        self._workspace, self._histories, self._at, self._prefix = workspace, histories, at, prefix

    def group(self, view: FeatureView, *, nulls_only: bool = False) -> RowGroup:
        """Read a view, or only whether its values are null; those older than its ttl count as not found.

        Raises:
            PitJoinError: if the view cannot be read.
        """
        table = f"{self._prefix}rows"
        group = RowGroup(view.name, view.name, table)
        self._histories.stage([view])
        statement = self._workspace.view_macros.text(
            "_snapshot_statement",
            view=view.name,
            as_of=self._at.isoformat(),
            in_order=False,
            history=self._histories.staged(view),
        )
        what = f"the feature view '{view.name}' cannot be read"
        types = self._histories.session.columns(statement, what)
        kinds = {name: _kind(kind.family, kind.number) for name, kind in types.items()}
        found = "true"
        if view.ttl is not None:
            oldest = (self._at - datetime(1970, 1, 1, tzinfo=self._at.tzinfo) - view.ttl) // _MICROSECOND
            found = f"coalesce(_pit_event >= {oldest}, true)"
        columns = [f"{found} as _pit_found"]
        for number, feature in enumerate(view.features):
            kind = "other" if nulls_only or feature.sensitive else kinds[feature.name]
            group.columns[feature.name] = ProfiledColumn(feature.name, f"v{number}", kind, "_pit_found")
            columns.append(f"{_read_as(kind, identifier(feature.name))} as v{number}")
        warehouse = self._histories.warehouse
        rows = warehouse.here(statement, what)
        warehouse.execute(f"create or replace temp table {table} as select {', '.join(columns)} from {rows}", what)
        return group

    def drop(self, group: RowGroup) -> None:
        """Remove the table of a view."""
        self._histories.warehouse.execute(f"drop table if exists {group.table}", "the rows cannot be removed")


def _kind(family: str, number: str | None) -> str:
    return "number" if number else "text" if family in ("text", "BOOLEAN") else "other"


def _set_profiles(
    session: DuckDBWarehouse, workspace: Workspace, file: SetFile, group: RowGroup
) -> tuple[dict[str, FeatureProfile], set[str]]:
    """Return the profiles of a training set by feature, and the features whose profiles are made from its rows.

    Profiles in the file are taken as they are. In the rows, a default looks like a value.
    """
    columns = dict(_named(file, group))
    said = file.metadata.statistics if file.metadata else {}
    profiles = {feature: said[name].profile for feature, name in columns.items() if name in said}
    known = {feature: profile for feature, profile in profiles.items() if profile is not None}
    made = columns.keys() - known.keys()
    if made:
        lower = {name.lower(): name for name in file.table.column_names}
        named = [lower[key.lower()] for key in group.keys if key.lower() in lower]
        keys = named if len(named) == len(group.keys) else []
        hidden = {columns[feature]: group.columns[feature].kind == "other" for feature in made}
        source, found = profiled(session, file.table, hidden, keys)
        rows = profiles_of(session, workspace.macros, source, found, keys)
        known |= {feature: replace(rows[columns[feature]], feature=feature) for feature in made}
    return {feature: replace(profile, feature=feature) for feature, profile in known.items()}, set(made)


class EarlierRows:
    """A training set or a feature log, whose profiles are looked up by the features of a log."""

    def __init__(
        self, session: DuckDBWarehouse, workspace: Workspace, path: Path, span: Span, service: str | None
    ) -> None:
        self._session, self._workspace = session, workspace
        self._file = None if path.is_dir() else read_set(path)
        self._groups: dict[tuple[str, str, str], RowGroup] = {}
        self.unread: list[str] = []
        if self._file is None:
            rows = LoggedRows(session, LogReader(path, span, service), workspace.registry, "_pit_then_")
            self._groups = {(group.alias, group.view, group.computed): group for group in rows.groups}
            self.unread = rows.unread

    def profiles(self, group: RowGroup) -> tuple[dict[str, FeatureProfile], set[str]]:
        """Return the profiles for the features of a group, and which of them do not know what was not found."""
        if self._file:
            return _set_profiles(self._session, self._workspace, self._file, group)
        before = self._groups.get((group.alias, group.view, group.computed))
        if before is None:
            return {}, set()
        columns = [before.columns[feature] for feature in group.columns if feature in before.columns]
        return profiles_of(self._session, self._workspace.macros, before.table, columns, before.cluster), set()

    def exact_ks(self, group: RowGroup, columns: Iterable[ProfiledColumn], made: Collection[str]) -> dict[str, float]:
        """Return the exact KS distance of numbers from their rows in a training set.

        Args:
            group: the rows of now.
            columns: their features that are in the set.
            made: the features that were profiled from the set's rows.
        """
        if self._file is None:
            return {}
        names = dict(_named(self._file, group))
        numbers = {
            names[column.feature]: column
            for column in columns
            if column.kind == "number"
            and (column.feature in made or not self._has_defaults(group, names[column.feature]))
        }
        found: dict[str, float] = {}
        if not numbers:
            return found
        source, before = profiled(self._session, self._file.table, dict.fromkeys(numbers, False), [])
        for earlier in (each for each in before if each.kind == "number"):
            now = numbers[earlier.column]
            ks = exact_ks(self._session, self._workspace.macros, (source, group.table), earlier, now)
            found |= {now.feature: ks} if ks is not None else {}
        return found

    def _has_defaults(self, group: RowGroup, name: str) -> bool:
        """Whether the set's rows may have a default for what was not found, which its profile tells from values."""
        said = self._file.metadata if self._file else None
        if not said or not said.defaults or group.view == ON_DEMAND:
            return False
        declared = said.views.get(group.alias)
        return declared is None or f"default of {name}" in declared.settings


def _keys_of(about: Mapping[str, Any], computed: str) -> tuple[str, ...]:
    """Return the keys by which the rows of an on-demand feature are alike: those of the roles that it reads."""
    (item,) = (each for each in about["references"] if "on_demand" in each and each["as"] == computed)
    read = [about["roles"][found[0]]["keys"].values() for found in sources_of(item).values() if found]
    shared = [key for key in read[0] if all(key in keys for keys in read)] if read else list(about["keys"])
    return tuple(shared or read[0])


def _named(file: SetFile, group: RowGroup) -> Iterator[tuple[str, str]]:
    """Yield the features of a group with the column that a training set has each in.

    The set's own description says which view and role a column is of; without one the names decide.
    """
    said = file.metadata
    columns = set(file.table.column_names)
    if said and said.views:
        declared = said.views.get(group.alias)
        if group.view == ON_DEMAND:
            columns &= said.expressions.keys()
        else:
            columns &= set(declared.features) if declared and declared.view == group.view else set()
    elif said:
        columns &= set(said.features)
    for feature, names in group.names.items():
        if found := [name for name in reversed(names) if name in columns]:
            yield feature, found[0]
