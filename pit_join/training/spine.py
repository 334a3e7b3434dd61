"""Spines of every kind: the CSV of a seed, a model, a file, or a table in memory."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pit_join.definitions.field_type import FieldType, read_type
from pit_join.definitions.nodes import Nodes, versioned_name
from pit_join.errors import SpineError, option, suggest
from pit_join.training.csv_spine import CsvFile, typed
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import identifier, literal

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Spine", "SpineRows", "check_arguments", "check_columns", "check_key_values", "check_types", "find_spine"]

_IN_MEMORY = "entity_df"
_KINDS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet"}


@dataclass(frozen=True, slots=True)
class SpineRows:
    """The rows of a spine as SQL that can stand behind `from`.

    `sql` reads the spine itself, `relation` what this process has read of it; `csv` is the file of a CSV spine.
    """

    sql: str
    relation: str
    csv: CsvFile | None = None


@dataclass(frozen=True, slots=True)
class Spine:
    """The source of a spine's rows.

    `source` is the path of a file, relative to `directory`, a relation in SQL, or None for `table`; `types` are
    declared column types; `delimiter` is declared, None if it is not; `index` has the names of a pandas index, which
    is not kept.
    """

    label: str
    kind: str
    source: str | None
    types: Mapping[str, FieldType]
    directory: Path
    table: pa.Table | None = None
    delimiter: str | None = None
    index: tuple[str, ...] = ()

    @property
    def unreadable(self) -> str:
        """The opening of an error message."""
        return f"the spine {self.label} cannot be read" + ("; run dbt build" if self.kind == "relation" else "")

    def rows(self, warehouse: DuckDBWarehouse, key_types: Mapping[str, FieldType], event_timestamp: str) -> SpineRows:
        """Return the rows; keys of a CSV are read as the view's type.

        `key_types` maps a column of the spine to the type of the join key.

        Raises:
            SpineError: if the file cannot be read, or a column is missing or doubled.
        """
        if self.kind == "csv":
            return self._csv_rows(warehouse, key_types, event_timestamp)
        source = str(self.source)
        if self.kind == "parquet":
            _check_doubled(_parquet_columns(self.directory / source, self.unreadable), self.label)
            source = f"read_parquet({self._path}, hive_partitioning = false)"
        if self.table is not None:
            _check_doubled(self.table.column_names, self.label)
            warehouse.register(_IN_MEMORY, self.table)
            source = _IN_MEMORY
        return SpineRows(source, source)

    def _csv_rows(
        self, warehouse: DuckDBWarehouse, key_types: Mapping[str, FieldType], event_timestamp: str
    ) -> SpineRows:
        file = CsvFile(self.directory / str(self.source), self.unreadable, self.delimiter)
        _check_doubled(file.header, self.label)
        check_columns(file.header, (*key_types, event_timestamp), self)
        by_lower = {name.lower(): name for name in file.header}
        declared = {
            by_lower[name.lower()]: kind
            for name, kind in {**key_types, **self.types}.items()
            if name.lower() in by_lower
        }
        warehouse.register(_IN_MEMORY, file.texts)
        types = file.types(declared, by_lower[event_timestamp.lower()], warehouse, _IN_MEMORY)
        return SpineRows(typed(types, file.sql(self._path)), typed(types, _IN_MEMORY), file)

    def check_sql(self, rows: SpineRows, warehouse: DuckDBWarehouse) -> None:
        """Check that the SQL alone reads these rows.

        Raises:
            SpineError: if DuckDB's own reader makes other rows of a CSV file.
        """
        if rows.csv:
            rows.csv.check_sql(warehouse, self._path)

    @property
    def _path(self) -> str:
        """The path as a literal of SQL, with wildcards such as * escaped."""
        return literal(re.sub(r"([*?\[])", r"[\1]", str(self.source)))


def _parquet_columns(path: Path, what: str) -> list[str]:
    """Return the columns as the file names them; DuckDB would rename a doubled column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise SpineError(f"{what}: {' '.join(str(error).split())}; is it a Parquet file?") from error


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

    Tables in memory may be Arrow, pandas or polars: anything with `__arrow_c_stream__`.

    Raises:
        SpineError: if nothing of that name exists, or it cannot be a spine.
    """
    if hasattr(spine, "__arrow_c_stream__") or hasattr(spine, "__dataframe__"):
        import pyarrow as pa

        pandas = sys.modules.get("pandas")  # not imported: a caller with a frame has imported it
        index: tuple[str, ...] = ()
        try:
            if isinstance(spine, pa.Table):
                table = spine
            elif pandas and isinstance(spine, pandas.DataFrame):
                table = pa.Table.from_pandas(spine, preserve_index=False)
                index = tuple(str(name) for name in spine.index.names if name is not None)
            else:
                table = pa.table(spine)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise SpineError(f"the spine cannot be read as a table: {error}") from error
        return Spine("given in memory", "table", None, {}, directory, table, index=index)
    if not isinstance(spine, (str, Path)):
        raise SpineError(
            f"a spine is the name of a seed or model, a CSV or Parquet file, or a table, got {type(spine).__name__}"
        )
    name = str(spine)
    nodes = Nodes(manifest)
    if node := nodes.named(name):
        return _from_node(node, directory)
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


def _from_node(node: Mapping[str, Any], directory: Path) -> Spine:
    config = node.get("config") or {}
    if node["resource_type"] == "seed":
        types = {str(column): read_type(str(kind)) for column, kind in (config.get("column_types") or {}).items()}
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
                f"the spine {spine.label} has no column '{name}'; {_index_hint(name, spine)}"
                f"{suggest(name, found, 'columns')}. Name the time with "
                + option("event_timestamp='column'", "--event-timestamp")
                + ", a key under another name with "
                + option("roles=['view(key=column)']", "--role 'view(key=column)'")
            )
    for name in found:
        if name.lower().startswith("_pit_"):
            raise SpineError(
                f"the spine {spine.label} has the column '{name}'; names that start with _pit_ are kept for the joins"
            )


def _index_hint(name: str, spine: Spine) -> str:
    if name.lower() not in (level.lower() for level in spine.index):
        return ""
    return f"'{name}' is in the index of the frame, which is not kept: give it as a column, by reset_index(); "


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
                "cast one of them, since a text never equals a number"
            )


def check_arguments(columns: Mapping[str, FieldType], computed: Sequence[Mapping[str, Any]], spine: Spine) -> None:
    """Check that a spine has the columns of on-demand features; `computed` comes from the macro `_resolved_requests`.

    Raises:
        SpineError: naming the column, its type, and what is needed.
    """
    types = {name.lower(): kind for name, kind in columns.items()}
    for feature in computed:
        for argument in feature["arguments"]:
            column, wanted = argument["column"], argument["type"]
            if argument["reference"]:
                continue
            if column.lower() not in types:
                raise SpineError(
                    f"the spine {spine.label} has no column '{column}', which the on-demand feature "
                    f"'{feature['name']}' needs; {_index_hint(column, spine)}{suggest(column, columns, 'columns')}"
                )
            got = types[column.lower()]
            if not read_type(wanted).takes(got.family):
                raise SpineError(
                    f"the column '{column}' of the spine {spine.label} is {got}, and the argument '{argument['name']}' "
                    f"of the on-demand feature '{feature['name']}' is {wanted.upper()}; cast one of them"
                )


def check_key_values(
    warehouse: DuckDBWarehouse,
    table: str,
    columns: Mapping[str, FieldType],
    keys: Iterable[tuple[str, FieldType]],
    label: str,
) -> None:
    """Check that each text beside a UUID can be read as one, and that no float may equal another key.

    Raises:
        SpineError: naming the column and, of a text, the value.
    """
    types = {name.lower(): kind for name, kind in columns.items()}
    for column, wanted in sorted(keys, key=str):
        got, name = types[column.lower()], identifier(column)
        if (got.family, wanted.name) == ("text", "UUID"):
            query = (
                f"select min({name}) as bad from {table} where {name} is not null and try_cast({name} as uuid) is null"
            )
            if (bad := warehouse.row(query, label)["bad"]) is not None:
                raise SpineError(f"the key '{column}' of the spine {label} must be a UUID, and '{bad}' is not one")
        floats = [kind.name for kind in (got, wanted) if kind.number == "float"]
        if not floats or not (got.number and wanted.number):
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
