"""What a spine may be, and how each kind is read: a seed's CSV as it stands, a model, a file, or a table in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pit_join.errors import SpineError, suggest
from pit_join.warehouse import DuckDBWarehouse, identifier, literal

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Spine", "check_columns", "check_types", "find_spine"]

_TIME_TYPES = ("TIMESTAMP", "DATE", "DATETIME")
_IN_MEMORY = "entity_df"


@dataclass(frozen=True, slots=True)
class Spine:
    """Where a spine's rows come from.

    `source` is a path to a file, a relation in SQL, or None for `table`; `types` are declared column types.
    """

    label: str
    kind: str
    source: str | None
    types: Mapping[str, str]
    table: pa.Table | None = None
    delimiter: str | None = None

    def sql(self, warehouse: DuckDBWarehouse, key_types: Mapping[str, str], event_timestamp: str) -> str:
        """SQL that can stand behind `from`; keys of a CSV are read as the view's type.

        `key_types` maps a column of the spine to the type of the join key.

        Raises:
            SpineError: if the file cannot be read, or a column is missing.
        """
        what = f"the spine {self.label} cannot be read"
        if self.kind == "csv":
            return self._csv(warehouse, key_types, event_timestamp, what)
        if self.kind == "parquet":
            return f"read_parquet({literal(str(self.source))})"
        if self.table is not None:
            warehouse.register(_IN_MEMORY, self.table)
            return _IN_MEMORY
        return str(self.source)

    def _csv(self, warehouse: DuckDBWarehouse, key_types: Mapping[str, str], event_timestamp: str, what: str) -> str:
        path = Path(str(self.source))
        if not path.stat().st_size:
            raise SpineError(f"{what}: {path} is empty; its first line must name the columns")
        options = [literal(str(path)), "header = true", "sample_size = -1"]
        if self.kind == "csv" and self.delimiter:
            options.append(f"delim = {literal(self.delimiter)}")
        found = warehouse.columns(f"from read_csv({', '.join(options)})", what)
        check_columns(found, (*key_types, event_timestamp), self.label)
        by_lower = {name.lower(): name for name in found}
        types = {
            by_lower[name.lower()]: kind
            for name, kind in {**key_types, **self.types}.items()
            if name.lower() in by_lower
        }
        # A number with a leading zero is a code, not a number: reading it as one would change it.
        guessed = [name for name, kind in found.items() if kind == "BIGINT" and name not in types]
        if guessed:
            tests = ", ".join(
                f"coalesce(bool_or(regexp_matches({identifier(name)}, '^[+-]?0[0-9]')), false) as {identifier(name)}"
                for name in guessed
            )
            raw = warehouse.row(f"select {tests} from read_csv({', '.join([*options, 'all_varchar = true'])})", what)
            types |= {name: "VARCHAR" for name in guessed if raw[name]}
        if not types:
            return f"read_csv({', '.join(options)})"
        # Read as text and cast here: some versions of DuckDB turn a time that they cannot read into a null.
        texts = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in types)
        casts = ", ".join(
            f"cast({identifier(name)} as {kind}) as {identifier(name)}"
            for name, kind in types.items()
            if kind.upper() != "VARCHAR"
        )
        replaced = f"* replace ({casts})" if casts else "*"
        return f"(select {replaced} from read_csv({', '.join([*options, f'types = {{{texts}}}'])}))"


def find_spine(spine: Any, manifest: Mapping[str, Any], directory: Path) -> Spine:
    """Find what `spine` names: a seed, a model, a CSV or Parquet file, or a table in memory.

    Tables in memory may be Arrow, pandas or polars: anything with `__arrow_c_stream__`.

    Raises:
        SpineError: if nothing of that name exists, or it cannot be a spine.
    """
    if hasattr(spine, "__arrow_c_stream__") or hasattr(spine, "__dataframe__"):
        import pyarrow as pa

        try:
            table = spine if isinstance(spine, pa.Table) else pa.table(spine)
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
            raise SpineError(f"the spine cannot be read as a table: {error}") from error
        return Spine(label="given in memory", kind="table", source=None, types={}, table=table)
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
    if path.is_file():
        if path.suffix.lower() not in kinds:
            raise SpineError(f"cannot tell what the spine {name} holds; a file's name ends in .csv or .parquet")
        return Spine(label=name, kind=kinds[path.suffix.lower()], source=str(path.resolve()), types={})
    if path.suffix.lower() in kinds or "/" in name:
        raise SpineError(
            f"the spine {name} does not exist; give the path of a CSV or Parquet file, or the name of a seed or model"
        )
    raise SpineError(f"there is no spine '{name}'; {suggest(name, nodes, 'seeds and models')}")


def _from_node(node: Mapping[str, Any], directory: Path) -> Spine:
    config = node.get("config") or {}
    if node["resource_type"] == "seed":
        types = {str(column): str(kind) for column, kind in (config.get("column_types") or {}).items()}
        path = Path(node.get("root_path") or directory) / node["original_file_path"]
        if not path.is_file():
            raise SpineError(f"the seed {node['name']} has lost its file {path}")
        delimiter = config.get("delimiter")
        return Spine(
            label=node["name"],
            kind="csv",
            source=str(path),
            types=types,
            delimiter=delimiter if delimiter not in (None, ",") else None,
        )
    if config.get("materialized") == "ephemeral":
        raise SpineError(f"the model {node['name']} is ephemeral and has no rows of its own; make it a table or a view")
    return Spine(label=node["name"], kind="relation", source=node["relation_name"], types={})


def check_columns(found: Mapping[str, str], needed: tuple[str, ...], label: str) -> None:
    """Check that a spine has the columns that a build needs, and none that it must not have.

    Raises:
        SpineError: naming the column and what there is.
    """
    by_lower = {name.lower() for name in found}
    for name in needed:
        if name.lower() not in by_lower:
            raise SpineError(
                f"the spine {label} has no column '{name}'; {suggest(name, found, 'columns')}. "
                "Name the time with --event-timestamp, a key that is called otherwise with --view 'view(key=column)'"
            )
    for name in found:
        if name.lower().startswith("_pit_"):
            raise SpineError(
                f"the spine {label} has the column '{name}'; names that start with _pit_ are kept for the joins"
            )


def check_types(columns: Mapping[str, str], event_timestamp: str, key_types: Mapping[str, str], label: str) -> None:
    """Check that the time is a time and that keys can equal those of the views.

    Raises:
        SpineError: naming the column, its type, and what is needed.
    """
    types = {name.lower(): kind for name, kind in columns.items()}
    time_type = types[event_timestamp.lower()]
    if not time_type.upper().startswith(_TIME_TYPES):
        raise SpineError(
            f"the column '{event_timestamp}' of the spine {label} must be a timestamp or date, got {time_type}; "
            "write times as 2026-03-18 14:30:00 (UTC) or 2026-03-18T14:30:00+02:00, or cast the column"
        )
    for column, wanted in key_types.items():
        got = types[column.lower()]
        if _family(got) != _family(wanted):
            raise SpineError(
                f"the key '{column}' of the spine {label} is {got}, and the feature view's is {wanted.upper()}; "
                "cast one of them, since a text never equals a number"
            )


def _family(data_type: str) -> str:
    base = data_type.upper().split("(", 1)[0].strip()
    if base in ("VARCHAR", "TEXT", "STRING", "CHAR", "BPCHAR", "ENUM"):
        return "text"
    if (
        base in ("DOUBLE", "FLOAT", "REAL", "DECIMAL", "NUMERIC", "FLOAT4", "FLOAT8")
        or "INT" in base
        or base in ("LONG", "SHORT")
    ):
        return "number"
    if base.startswith(("TIMESTAMP", "DATETIME", "DATE")):
        return "time"
    return base
