"""Spines of every kind: the CSV of a seed, a model, a file, or a table in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pit_join.definitions.field_type import FieldType, read_type
from pit_join.definitions.nodes import Nodes, versioned_name
from pit_join.errors import PitJoinError, SpineError, option, suggest
from pit_join.frames import as_arrow, columns_of, copy_of, readable, table_of, unpacked
from pit_join.training.csv_spine import CsvFile, typed
from pit_join.training.parquet_spine import read_parquet
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import identifier, literal

__all__ = ["Spine", "SpineRows", "check_arguments", "check_key_values", "check_types", "find_spine"]

_IN_MEMORY = "entity_df"
_KINDS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet"}


@dataclass(frozen=True, slots=True)
class SpineRows:
    """The rows of a spine as SQL that can stand behind `from`.

    `sql` reads the spine itself, `relation` what this process has read of it. `types` are the columns of the relation,
    `time_type` is the type of T in the SQL, and `names` are all columns of the spine. Of a `frame`, a table in memory,
    the relation has only what the joins need, and the numbers of the rows as `_pit_row`. `csv` is the file of a CSV
    spine.
    """

    sql: str
    relation: str
    types: Mapping[str, FieldType]
    time_type: str
    names: Sequence[str]
    frame: Any = None
    csv: CsvFile | None = None


@dataclass(frozen=True, slots=True)
class Spine:
    """The source of a spine's rows.

    `source` is the path of a file, relative to `directory`, or a relation in SQL; `frame` is a table in memory. `types`
    are declared column types; `delimiter` is declared, None if it is not.
    """

    label: str
    kind: str
    source: str
    types: Mapping[str, FieldType]
    directory: Path
    frame: Any = None
    delimiter: str | None = None

    @property
    def unreadable(self) -> str:
        """The opening of an error message."""
        return f"the spine {self.label} cannot be read" + ("; run dbt build" if self.kind == "relation" else "")

    def rows(
        self,
        warehouse: DuckDBWarehouse,
        key_types: Mapping[str, FieldType],
        event_timestamp: str,
        arguments: Mapping[str, FieldType] | None = None,
        *,
        whole: bool = False,
    ) -> SpineRows:
        """Return the rows; keys of a CSV are read as the view's type.

        With `whole` the rows stay in the warehouse: a model's are not fetched, and a relation has all columns.
        `key_types` maps a column of the spine to the type of the join key, `arguments` one to that of an argument of an
        on-demand feature.

        Raises:
            SpineError: if the file cannot be read, or a column is missing or doubled.
        """
        needed = (*key_types, event_timestamp)
        if self.kind == "csv":
            return self._csv_rows(warehouse, key_types, event_timestamp)
        frame, session = self.frame, warehouse.views
        if self.kind == "relation":
            session.hold([self.source])
            types = session.columns(f"select * from {self.source}", self.unreadable)
            check_columns(types, needed, self)
            if whole or session is warehouse:
                return SpineRows(self.source, self.source, types, _name_of(types, event_timestamp), list(types))
            frame = session.table_later([f"select * from {self.source}"], self.unreadable).result()
        if self.kind == "parquet":
            frame = read_parquet(self.directory / self.source, self.unreadable, spill=session is not warehouse)
        names = [name for name, _ in columns_of(frame)]
        _check_doubled(names, self.label)
        check_columns(names, needed, self)
        wanted = {event_timestamp: read_type("timestamp"), **(arguments or {}), **key_types}
        casts = self._register(frame, {**dict.fromkeys(names if whole else ()), **wanted}, warehouse)
        relation = _replaced(casts, _IN_MEMORY)
        types = warehouse.columns(f"from {relation}", self.unreadable)
        if self.kind == "relation":
            return SpineRows(self.source, relation, types, _name_of(types, event_timestamp), names, frame)
        if self.kind != "parquet":
            return SpineRows(relation, relation, types, _name_of(types, event_timestamp), names, frame)
        # DuckDB would first look for a relative path in the current folder.
        seen = warehouse.columns(f"from {_replaced(casts, _parquet(self.directory / self.source))}", self.unreadable)
        sql = _replaced(casts, _parquet(self.source))
        return SpineRows(sql, relation, types, _name_of(seen, event_timestamp), names, frame)

    def _csv_rows(
        self, warehouse: DuckDBWarehouse, key_types: Mapping[str, FieldType], event_timestamp: str
    ) -> SpineRows:
        file = CsvFile(self.directory / self.source, self.unreadable, self.delimiter)
        _check_doubled(file.header, self.label)
        check_columns(file.header, (*key_types, event_timestamp), self)
        by_lower = {name.lower(): name for name in file.header}
        declared = {
            by_lower[name.lower()]: kind
            for name, kind in {**key_types, **self.types}.items()
            if name.lower() in by_lower
        }
        warehouse.register(_IN_MEMORY, file.texts)
        found = file.types(declared, by_lower[event_timestamp.lower()], warehouse, _IN_MEMORY)
        relation = typed(found, _IN_MEMORY)
        types = warehouse.columns(f"from {relation}", self.unreadable)
        time_type = _name_of(types, event_timestamp)
        sql = typed(found, file.sql(_escaped(self.source)))
        return SpineRows(sql, relation, types, time_type, file.header, csv=file)

    def _register(
        self, frame: Any, wanted: Mapping[str, FieldType | None], warehouse: DuckDBWarehouse
    ) -> dict[str, str]:
        """Give DuckDB the wanted columns and row numbers, and return expressions for columns that it must cast.

        A column without any value may be of any type, and becomes one of the wanted type; without a wanted type only a
        column without a type does, and becomes a text.
        """
        import numpy as np
        import pyarrow as pa

        from pit_join.training.gather import row_numbers

        by_lower = {name.lower(): name for name, _ in columns_of(frame)}
        needed = {by_lower[name.lower()]: kind for name, kind in wanted.items() if name.lower() in by_lower}
        table = unpacked(as_arrow(frame, needed))
        nulls = {name for name in needed if table[name].null_count == len(table)}
        empty = [name for name in nulls if needed[name] or pa.types.is_null(table[name].type)]
        for name in empty:
            table = table.set_column(table.column_names.index(name), name, pa.nulls(len(table)))
        numbers = row_numbers(np.arange(1, len(table) + 1, dtype="int64"))
        try:
            warehouse.register(_IN_MEMORY, readable(table).append_column("_pit_row", numbers))
        except PitJoinError as error:
            raise SpineError(f"{self.unreadable}: {error}") from error
        # Beside a UUID, a text is a key of other views, too.
        text = read_type("varchar")
        kinds = {name: text if (kind := needed[name] or text).name == "UUID" else kind for name in empty}
        return {name: f"cast(null as {kind.sql})" for name, kind in kinds.items()}

    def check_sql(self, rows: SpineRows, warehouse: DuckDBWarehouse) -> None:
        """Check that the SQL alone reads these rows.

        Raises:
            SpineError: if DuckDB's own reader makes other rows of a CSV file.
        """
        if rows.csv:
            rows.csv.check_sql(warehouse, _escaped(self.directory / self.source))


def _parquet(path: str | Path) -> str:
    """Return SQL that reads a Parquet file and can stand behind `from`."""
    return f"read_parquet({_escaped(path)}, hive_partitioning = false)"


def _escaped(path: str | Path) -> str:
    """Return a path as a literal of SQL, with wildcards such as * escaped."""
    return literal(re.sub(r"([*?\[])", r"[\1]", str(path)))


def _name_of(types: Mapping[str, FieldType], column: str) -> str:
    """Return the name of a column's type."""
    return next(kind.name for name, kind in types.items() if name.lower() == column.lower())


def _replaced(expressions: Mapping[str, str], source: str) -> str:
    """Return SQL that can stand behind `from`: a source with expressions instead of some columns."""
    items = ", ".join(f"{expression} as {identifier(name)}" for name, expression in expressions.items())
    return f"(select * replace ({items}) from {source})" if items else source


def _check_doubled(names: Sequence[str], label: str) -> None:
    """Refuse two columns of one name: DuckDB would silently rename the second."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            other = seen[name.lower()]
            also = f"'{name}' twice" if name == other else f"both '{other}' and '{name}', which SQL does not tell apart"
            raise SpineError(f"the spine {label} has the column {also}; rename one of them")
        seen[name.lower()] = name


def find_spine(spine: Any, manifest: Mapping[str, Any], directory: Path) -> Spine:
    """Find what `spine` names: a seed, a model, a CSV or Parquet file, or a table in memory.

    Tables in memory may be pandas, polars or Arrow: anything with `__arrow_c_stream__`.

    Raises:
        SpineError: if nothing of that name exists, or it cannot be a spine.
    """
    try:
        table = table_of(spine)
    except PitJoinError as error:
        raise SpineError(f"the spine given in memory: {error}") from error
    if table is not None:
        return Spine("given in memory", "table", _IN_MEMORY, {}, directory, copy_of(table))
    if not isinstance(spine, (str, Path)):
        raise SpineError(
            f"a spine is the name of a seed or model, a CSV or Parquet file, or a table, got {type(spine).__name__}"
        )
    name = str(spine)
    nodes = Nodes(manifest)
    if node := nodes.named(name):
        return _from_node(node, directory, manifest["metadata"].get("adapter_type") or "duckdb")
    path = Path(name)
    ending = Path(name.removesuffix(".gz")).suffix.lower()
    if ending not in _KINDS and re.match(r"[\s(]*(select|with|from)\s", name, re.IGNORECASE):
        raise SpineError(
            "a spine is not SQL text; write the query as a dbt model and give its name, or give a table or a file"
        )
    if path.is_file():
        if ending not in _KINDS:
            raise SpineError(f"cannot tell what the spine {name} holds; a file's name ends in .csv or .parquet")
        return Spine(name, _KINDS[ending], _seen_from(directory, path.resolve()), {}, directory)
    if path.exists() and not path.is_dir():
        raise SpineError(
            f"the spine {name} is not a regular file, so it can be read only once; save it to a file first"
        )
    if path.is_dir() or re.search(r"[*?\[]", name):
        several = "is a folder" if path.is_dir() else "is not one file"
        pattern = f"{name.rstrip('/')}/**/*.parquet" if path.is_dir() else name
        raise SpineError(
            f"the spine {name} {several}; a spine is one CSV or Parquet file. Write one, for example with DuckDB: "
            f"copy (from read_parquet({literal(pattern)}, hive_partitioning = true)) to 'spine.parquet'"
        )
    if ending in _KINDS or "/" in name:
        raise SpineError(
            f"the spine {name} does not exist; give the path of a CSV or Parquet file, or the name of a seed or model"
        )
    raise SpineError(f"there is no spine '{name}'; {suggest(name, nodes.names, 'seeds and models')}")


def _from_node(node: Mapping[str, Any], directory: Path, engine: str) -> Spine:
    config = node.get("config") or {}
    if node["resource_type"] == "seed":
        listed = (config.get("column_types") or {}).items()
        types = {str(column): read_type(str(kind), engine) for column, kind in listed}
        path = Path(node.get("root_path") or directory) / node["original_file_path"]
        if not path.is_file():
            raise SpineError(f"the seed {node['name']} has lost its file {path}")
        return Spine(
            label=node["name"],
            kind="csv",
            source=_seen_from(directory, path),
            types=types,
            directory=directory,
            delimiter=config.get("delimiter") or ",",
        )
    if config.get("materialized") == "ephemeral":
        raise SpineError(f"the model {node['name']} is ephemeral and has no rows of its own; make it a table or a view")
    return Spine(versioned_name(node), "relation", node["relation_name"], {}, directory)


def _seen_from(directory: Path, path: Path) -> str:
    """Return a path of the project relative to it, so that the SQL is the same on every machine."""
    return str(path.relative_to(directory)) if path.is_relative_to(directory) else str(path)


def check_columns(found: Collection[str], needed: tuple[str, ...], spine: Spine) -> None:
    """Check that a spine has the columns that a build needs, and no reserved ones.

    Raises:
        SpineError: naming the column and the existing columns.
    """
    by_lower = {name.lower() for name in found}
    for name in needed:
        if name.lower() not in by_lower:
            raise SpineError(
                f"the spine {spine.label} has no column '{name}'; {suggest(name, found, 'columns')}. Name the "
                + option("time with event_timestamp='column'", "time with --event-timestamp")
                + ", a key under another name with "
                + option("roles=['view(key=column)']", "--role 'view(key=column)'")
            )
    for name in found:
        if name.lower().startswith("_pit_"):
            raise SpineError(
                f"the spine {spine.label} has the column '{name}'; names that start with _pit_ are kept for the joins"
            )


def check_types(
    columns: Mapping[str, FieldType], event_timestamp: str, keys: Iterable[tuple[str, FieldType]], label: str
) -> None:
    """Check that the time is a time and that keys can equal those of the views.

    `keys` are columns of the spine, each with the type of a view's join key.

    Raises:
        SpineError: naming the column, its type, and what is needed.
    """
    types = {name.lower(): kind for name, kind in columns.items()}
    time_type = types[event_timestamp.lower()]
    if time_type.family != "time":
        raise SpineError(
            f"the column '{event_timestamp}' of the spine {label} must be a timestamp or date, got {time_type}; "
            "write times as 2026-03-18 14:30:00 (UTC) or 2026-03-18T14:30:00+02:00, or cast the column"
        )
    for column, wanted in sorted(keys, key=str):
        got = types[column.lower()]
        if got.family != wanted.family and (got.family, wanted.name) != ("text", "UUID"):
            raise SpineError(
                f"the key '{column}' of the spine {label} is {got}, and the feature view's is {wanted.text.upper()}; "
                "cast one of them, since values of different kinds are never equal"
            )


def check_arguments(rows: SpineRows, computed: Sequence[Mapping[str, Any]], spine: Spine) -> None:
    """Check that a spine has the columns of on-demand features; `computed` comes from the macro `_resolved_requests`.

    Raises:
        SpineError: naming the column, its type, and what is needed.
    """
    types = {name.lower(): kind for name, kind in rows.types.items()}
    for feature in computed:
        for argument in feature["arguments"]:
            column, wanted = argument["column"], argument["type"]
            if argument["reference"]:
                continue
            if column.lower() not in types:
                raise SpineError(
                    f"the spine {spine.label} has no column '{column}', which the on-demand feature "
                    f"'{feature['name']}' needs; {suggest(column, rows.names, 'columns')}"
                )
            got = types[column.lower()]
            if not read_type(wanted).takes(got.family):
                raise SpineError(
                    f"the column '{column}' of the spine {spine.label} is {got}, and the argument '{argument['name']}' "
                    f"of the on-demand feature '{feature['name']}' is {wanted.upper()}; cast one of them"
                )


def check_key_values(
    warehouse: DuckDBWarehouse,
    read: Callable[[str], str],
    columns: Mapping[str, FieldType],
    keys: Iterable[tuple[str, FieldType]],
    label: str,
) -> None:
    """Check that each text beside a UUID can be read as one, and that no float may equal another key.

    `read` returns what can stand behind `from`, and has a column of the spine.

    Raises:
        SpineError: naming the column and, of a text, the value.
    """
    types = {name.lower(): kind for name, kind in columns.items()}
    for column, wanted in sorted(keys, key=str):
        got, name = types[column.lower()], identifier(column)
        floats = [kind.name for kind in (got, wanted) if kind.number == "float"]
        of_numbers = floats and got.number and wanted.number
        if not of_numbers and (got.family, wanted.name) != ("text", "UUID"):
            continue
        table = read(column)
        if (got.family, wanted.name) == ("text", "UUID"):
            query = (
                f"select min({name}) as bad from {table} where {name} is not null and try_cast({name} as uuid) is null"
            )
            if (bad := warehouse.row(query, label)["bad"]) is not None:
                raise SpineError(f"the key '{column}' of the spine {label} must be a UUID, and '{bad}' is not one")
            continue
        bits = 24 if "FLOAT" in floats else 53
        query = f"select max(abs({name}::double)) as most from {table} where isfinite({name}::double)"
        if (warehouse.row(query, label)["most"] or 0) < 2**bits:
            continue
        why = (
            "as floats, which cannot tell them apart; read it as whole numbers (in pandas: astype('Int64') before the "
            "values are lost)"
            if got.number == "float"
            else f"and the feature view's is {wanted}, which cannot tell them apart; make the view's key a bigint"
        )
        raise SpineError(f"the key '{column}' of the spine {label} holds numbers above 2^{bits} {why}")
