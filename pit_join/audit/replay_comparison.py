"""The comparison of two builds of a feature view: rows that changed, vanished or appeared, by column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pit_join.definitions.connection import Connection, Database
from pit_join.definitions.views import FeatureView
from pit_join.errors import WarehouseError, suggest
from pit_join.project.rendering import Macros
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import identifier
from pit_join.workspace import Console

__all__ = ["Comparison", "Differences", "compared_builds", "compared_columns"]

_MEMORY = 2**30


@dataclass(frozen=True, slots=True)
class Differences:
    """The differences of a view between two builds, among its rows of a span.

    `rows` is the number of rows of the later build, `first` and `last` the instants from which its rows are known;
    `kinds` and `columns` count the rows that differ; `oldest` and `newest` are instants of these. Examples have the
    kind, the instant, the keys, and the values of both builds by column.
    """

    rows: int = 0
    first: int | None = None
    last: int | None = None
    kinds: Mapping[str, int] = field(default_factory=dict)
    columns: Mapping[str, int] = field(default_factory=dict)
    oldest: int = 0
    newest: int = 0
    examples: tuple[Mapping[str, Any], ...] = ()


def compared_columns(view: FeatureView) -> list[str]:
    """Return the columns of a view that decide its features, keys and times apart."""
    apart = {*view.key_columns.values(), view.event_timestamp, view.created_timestamp}
    columns = [*view.types] if view.aggregations else [feature.name for feature in view.features]
    return [column for column in dict.fromkeys([*columns, view.deleted]) if column is not None and column not in apart]


@contextmanager
def compared_builds(
    connection: Connection, console: Console, folder: Path, builds: Mapping[str, Mapping[str, str]]
) -> Iterator[DuckDBWarehouse]:
    """Open the files of builds, read only; `builds` are their files by database, by the name of the build."""
    databases = {
        f"_pit_{build}_{number}": Database(path, {"type": "duckdb"})
        for build, files in builds.items()
        for number, path in enumerate(files.values())
    }
    with DuckDBWarehouse(
        replace(connection, databases=databases), wait=console.wait, on_wait=console.warn
    ) as warehouse:
        warehouse.spill_to(folder, _MEMORY)
        yield warehouse


class Comparison:
    """Two builds of feature views, named as in `compared_builds`; `databases` are the names of the databases."""

    def __init__(
        self, macros: Macros, warehouse: DuckDBWarehouse, databases: Mapping[str, Any], then: str, today: str
    ) -> None:
        self._macros, self._warehouse = macros, warehouse
        self._numbers = {name.lower(): number for number, name in enumerate(databases)}
        self._then, self._today = then, today

    def _relation(self, view: FeatureView, build: str) -> str:
        database, *rest = view.location
        return ".".join(map(identifier, (f"_pit_{build}_{self._numbers[database.lower()]}", *rest)))

    def of(
        self,
        view: FeatureView,
        columns: list[str],
        *,
        after: int | None = None,
        until: int | None = None,
        examples: int = 0,
        keys: bool = False,
    ) -> Differences:
        """Return the differences of some columns, among the rows known after an instant and at another."""
        what = f"the builds of the feature view '{view.name}' cannot be compared"
        then, today = (self._relation(view, build) for build in (self._then, self._today))
        types = self._warehouse.columns(f"from {today}", what)
        for relation in (then, today):
            known = {name.lower() for name in self._warehouse.columns(f"from {relation}", what)}
            for column in columns:
                if column.lower() not in known:
                    raise WarehouseError(f"{what}: one lacks '{column}'; {suggest(column, known, 'columns')}")
        span = {"columns": columns, "after": after, "until": until}
        # Mostly all rows are equal, and a sum of hashes says so without a sort.
        digests = [self._digest(view, relation, span, what) for relation in (then, today)]
        every = {name: digests[1][name] for name in ("rows", "first", "last")}
        if digests[0] == digests[1]:
            return Differences(**every)
        floats = {name.lower() for name, kind in types.items() if kind.number == "float"}
        statements = self._macros.data(
            "_differences_statements",
            view=view.name,
            then=then,
            today=today,
            options={
                "columns": columns,
                "floats": [column for column in columns if column.lower() in floats],
                "after": after,
                "until": until,
            },
        )
        for statement in statements[:-1]:
            self._warehouse.execute(statement, what)
        found = self._warehouse.rows_later(statements[-1], what).result()
        if view.static:  # without a time, a key is new or gone, and nobody can say since when
            found = [row for row in found if row["kind"] == "changed"]
        counts = [sum(numbers) for numbers in zip(*(row["columns"] for row in found), strict=True)] if found else []
        return Differences(
            **every,
            kinds={row["kind"]: row["rows"] for row in found},
            columns={name: count for name, count in zip(columns, counts, strict=False) if count},
            oldest=min((row["oldest"] for row in found), default=0),
            newest=max((row["newest"] for row in found), default=0),
            examples=tuple(self._examples(view, columns, examples, keys, what)) if found and examples else (),
        )

    def _digest(self, view: FeatureView, relation: str, span: Mapping[str, Any], what: str) -> dict[str, Any]:
        statement = self._macros.text("_digest_statement", view=view.name, relation=relation, options=dict(span))
        return self._warehouse.row(statement, what)

    def _examples(
        self, view: FeatureView, columns: list[str], number: int, keys: bool, what: str
    ) -> Iterator[Mapping[str, Any]]:
        """Yield differing rows, the oldest first, since the newest differ for any reason."""
        where = "where _pit_kind = 'changed'" if view.static else ""
        order = "_pit_available_at, " + ", ".join(f"_pit_key_{n + 1}" for n in range(len(view.join_keys) or 1))
        query = f"from _pit_differences {where} order by {order} limit {number}"
        for row in self._warehouse.rows_later(query, what).result():
            kind = row["_pit_kind"]
            yield {
                "kind": kind,
                "known_from": None if view.static else row["_pit_available_at"],
                "keys": {key: row[f"_pit_key_{n}"] for n, key in enumerate(view.join_keys, 1)} if keys else {},
                "values": {
                    column: [row[f"_pit_then_{n}"], row[f"_pit_today_{n}"]]
                    for n, column in enumerate(columns, 1)
                    if kind == "changed" and row[f"_pit_differs_{n}"]
                },
            }
