"""Spines of every kind: the CSV of a seed, a model, a file, or a table in memory."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pit_join.definitions.field_type import FieldType, read_type
from pit_join.errors import PitJoinError, SpineError, option, suggest
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.sql import identifier, literal

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Spine", "check_arguments", "check_columns", "check_float_keys", "check_types", "find_spine"]

_IN_MEMORY = "entity_df"
# Leading zeros, or whole numbers with more digits than a float keeps.
_CODE = "^ *[+-]?(0[0-9]|[0-9]{16,} *$)"
_ISO = "^ *[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]|$)"


@dataclass(frozen=True, slots=True)
class Spine:
    """The source of a spine's rows.

    `source` is the path of a file, relative to `directory`, a relation in SQL, or None for `table`; `types` are
    declared column types; `index` has the names of a pandas index, which is not kept.
    """

    label: str
    kind: str
    source: str | None
    types: Mapping[str, FieldType]
    directory: Path
    table: pa.Table | None = None
    delimiter: str | None = None
    is_seed: bool = False
    index: tuple[str, ...] = ()

    @property
    def unreadable(self) -> str:
        """The opening of an error message."""
        return f"the spine {self.label} cannot be read" + ("; run dbt build" if self.kind == "relation" else "")

    def sql(self, warehouse: DuckDBWarehouse, key_types: Mapping[str, FieldType], event_timestamp: str) -> str:
        """Return SQL that can stand behind `from`; keys of a CSV are read as the view's type.

        `key_types` maps a column of the spine to the type of the join key.

        Raises:
            SpineError: if the file cannot be read, or a column is missing or doubled.
        """
        if self.kind == "csv":
            return _CsvReader(self, warehouse).sql(key_types, event_timestamp)
        if self.kind == "parquet":
            _check_doubled(_parquet_columns(self.directory / str(self.source), self.unreadable), self.label)
            return f"read_parquet({_file(str(self.source))}, hive_partitioning = false)"
        if self.table is not None:
            _check_doubled(self.table.column_names, self.label)
            warehouse.register(_IN_MEMORY, self.table)
            return _IN_MEMORY
        return str(self.source)


class _CsvReader:
    """A reader of CSV files: casts keys and declared columns, guesses the rest, and changes no value by a guess."""

    def __init__(self, spine: Spine, warehouse: DuckDBWarehouse) -> None:
        self._spine, self._warehouse = spine, warehouse
        self._what = spine.unreadable
        self._path = spine.directory / str(spine.source)
        with self._path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            first = file.readline()
        if not first.strip():
            raise SpineError(f"{self._what}: the file is empty; its first line must name the columns")
        # The sign that splits the first line into the most columns; for a seed, that of its config, else a comma.
        signs = "," if spine.is_seed else ",;\t|"
        self._sign = spine.delimiter or max(signs, key=re.sub('"[^"]*"', "", first).count)
        self._header = next(csv.reader([first], delimiter=self._sign))
        self._options = [
            _file(str(spine.source)), "sample_size = -1", "hive_partitioning = false", "quote = '\"'", "escape = '\"'",
            f"delim = {literal(self._sign)}",
            # Without TIME: a label such as 9:30 is left as it is.
            "auto_type_candidates = ['BOOLEAN', 'BIGINT', 'DOUBLE', 'DATE', 'TIMESTAMP', 'TIMESTAMPTZ', 'VARCHAR']",
        ]  # fmt: skip

    def sql(self, key_types: Mapping[str, FieldType], event_timestamp: str) -> str:
        _check_doubled(self._header, self._spine.label)
        try:
            guessed = self._warehouse.columns(f"from {self._read('header = true')}", self._what)
        except PitJoinError as error:
            if problem := self._not_utf8() or self._ragged():
                raise SpineError(f"{self._what}: {problem}") from error
            raise
        check_columns(guessed, (*key_types, event_timestamp), self._spine)
        by_lower = {name.lower(): name for name in guessed}
        types = {
            by_lower[name.lower()]: kind
            for name, kind in {**self._spine.types, **key_types}.items()
            if name.lower() in by_lower
        }
        time = by_lower[event_timestamp.lower()]
        types |= self._corrected({name: kind for name, kind in guessed.items() if name not in types}, time)
        # Read as text and cast here, since some versions of DuckDB turn a time that they cannot read into a null.
        texts = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in types)
        casts = ", ".join(
            f"cast({identifier(name)} as {kind}) as {identifier(name)}"
            for name, kind in types.items()
            if kind.name != "VARCHAR"
        )
        source = self._read("header = true", *([f"types = {{{texts}}}"] if types else []))
        return f"(select * replace ({casts}) from {source})" if casts else source

    def _corrected(self, guessed: Mapping[str, FieldType], time: str) -> dict[str, FieldType]:
        """Return better types for columns whose guess would change values: leading zeros, dates not in ISO form."""
        patterns = {name: (_CODE, True) for name, kind in guessed.items() if kind.number}
        patterns |= {name: (_ISO, False) for name, kind in guessed.items() if kind.family == "time" or name == time}
        if not patterns:
            return {}
        import pyarrow.compute as pc

        # In Arrow, since DuckDB takes seconds to plan a statement with tests for thousands of columns.
        listed = ", ".join(map(identifier, patterns))
        raw = self._warehouse.table(
            f"select {listed} from {self._read('header = true', 'all_varchar = true')}", self._what
        )
        found = {}
        for name, (pattern, matches) in patterns.items():
            hits = pc.match_substring_regex(raw[name], pattern=pattern)
            wrong = raw[name].filter(hits if matches else pc.invert(hits))
            found[name] = wrong[0].as_py() if len(wrong) else None
        texts = {name: read_type("VARCHAR") for name, value in found.items() if value is not None}
        if time in guessed:
            if found[time] is not None:
                raise SpineError(
                    f"the column '{time}' of the spine {self._spine.label} must be a timestamp or date, got "
                    f"'{found[time]}'; write times as 2026-03-18 14:30:00 (UTC) or 2026-03-18T14:30:00+02:00"
                )
            if guessed[time].family != "time":
                texts[time] = read_type("TIMESTAMPTZ")
        return texts

    def _not_utf8(self) -> str | None:
        """Return a message about the first line in another encoding, such as the Latin-1 of older spreadsheets."""
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    return f"line {number} is not UTF-8; save the file as UTF-8"
        return None

    def _ragged(self) -> str | None:
        """Return a message about the first line with a wrong number of values; DuckDB's own does not name it."""
        with self._path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = csv.reader(file, delimiter=self._sign)
            header = next(lines)
            for values in lines:
                if values and len(values) != len(header):
                    return f"line {lines.line_num} has {len(values)} values, and the first line names {len(header)}"
        return None

    def _read(self, *options: str) -> str:
        return f"read_csv({', '.join([*self._options, *options])})"


def _parquet_columns(path: Path, what: str) -> list[str]:
    """Return the columns as the file names them; DuckDB would rename a doubled column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise SpineError(f"{what}: {' '.join(str(error).split())}; is it a Parquet file?") from error


def _file(path: str) -> str:
    """Return a path as an SQL literal, with wildcards such as * escaped."""
    return literal(re.sub(r"([*?\[])", r"[\1]", path))


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
    nodes = {
        node["name"]: node
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("seed", "model", "snapshot")
    }
    if name in nodes:
        return _from_node(nodes[name], directory)
    path = Path(name)
    kinds = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet"}
    if path.suffix.lower() not in kinds and re.match(r"[\s(]*(select|with|from)\s", name, re.IGNORECASE):
        raise SpineError(
            "a spine is not SQL text; write the query as a dbt model and give its name, or give a table or a file"
        )
    if path.is_file():
        if path.suffix.lower() not in kinds:
            raise SpineError(f"cannot tell what the spine {name} holds; a file's name ends in .csv or .parquet")
        return Spine(name, kinds[path.suffix.lower()], _seen_from(directory, path.resolve()), {}, directory)
    if path.is_dir():
        raise SpineError(f"the spine {name} is a folder; give the path of one CSV or Parquet file")
    if path.suffix.lower() in kinds or "/" in name:
        raise SpineError(
            f"the spine {name} does not exist; give the path of a CSV or Parquet file, or the name of a seed or model"
        )
    raise SpineError(f"there is no spine '{name}'; {suggest(name, nodes, 'seeds and models')}")


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
            delimiter=config.get("delimiter"),
            is_seed=True,
        )
    if config.get("materialized") == "ephemeral":
        raise SpineError(f"the model {node['name']} is ephemeral and has no rows of its own; make it a table or a view")
    return Spine(node["name"], "relation", node["relation_name"], {}, directory)


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
    columns: Mapping[str, FieldType], event_timestamp: str, key_types: Mapping[str, FieldType], label: str
) -> None:
    """Check that the time is a time and that keys can equal those of the views.

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
    for column, wanted in key_types.items():
        got = types[column.lower()]
        if got.family != wanted.family:
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


def check_float_keys(
    warehouse: DuckDBWarehouse,
    table: str,
    columns: Mapping[str, FieldType],
    key_types: Mapping[str, FieldType],
    label: str,
) -> None:
    """Check that no float key is so large that it has lost digits and may equal another key.

    Raises:
        SpineError: naming the column.
    """
    types = {name.lower(): kind for name, kind in columns.items()}
    for column, wanted in key_types.items():
        if types[column.lower()].number != "float" or not wanted.number:
            continue
        name = identifier(column)
        found = warehouse.row(f"select max(abs({name})) as most from {table} where isfinite({name})", label)
        if (found["most"] or 0) >= 2**53:
            raise SpineError(
                f"the key '{column}' of the spine {label} holds numbers above 2^53 as floats, which cannot tell them "
                "apart; read it as whole numbers (in pandas: astype('Int64') before the values are lost)"
            )
