"""The types of engines other than DuckDB, by name, and those that no column of a view may have.

The macro `_engine_types` has the same tables, for projects that dbt builds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ENGINES", "Engine", "duckdb_name", "engine_type_problem", "in_duckdb", "is_padded", "parts_of_type"]

_LIST = re.compile(r"(.*?) ?(?:\[[0-9]*\]| array(?: ?\[[0-9]*\])?)|array ?< ?(.*?) ?>")
_DECIMAL = re.compile(r"([0-9]+)(?: ?, ?([0-9]+))?")
_FORMLESS = "has no form that training sets, files and stores share; cast it in the model, for example to "


@dataclass(frozen=True, slots=True)
class Engine:
    """The types of an engine.

    `names` are its names of types by DuckDB's, `instead` names that it lacks by its own name for such values, `refused`
    types that no feature or key may have by the reason, and `padded` texts with blanks added to them.
    """

    title: str
    names: Mapping[str, Sequence[str]]
    instead: Mapping[str, Sequence[str]]
    refused: Mapping[str, Sequence[str]]
    padded: Sequence[str]


# fmt: off
_POSTGRES = Engine(
    "PostgreSQL",
    names={
        "boolean": ["boolean", "bool"], "smallint": ["smallint", "int2"], "integer": ["integer", "int", "int4"],
        "bigint": ["bigint", "int8"], "float": ["real", "float4"], "double": ["double precision", "float8", "float"],
        "decimal": ["numeric", "decimal", "dec"],
        "varchar": [
            "text", "varchar", "character varying", "char varying", "name", "char", "character", "bpchar", "citext",
        ],
        "blob": ["bytea"], "uuid": ["uuid"], "date": ["date"],
        "timestamp": ["timestamp", "timestamp without time zone"],
        "timestamptz": ["timestamptz", "timestamp with time zone"], "time": ["time", "time without time zone"],
        "json": ["json", "jsonb", "xml"],
    },
    instead={
        "double precision": ["double"], "text": ["string", "nvarchar", "bitstring", "enum"],
        "bytea": ["blob", "binary", "varbinary"],
        "smallint": ["tinyint", "int1", "utinyint", "uint8", "int16", "short"],
        "integer": ["usmallint", "uint16", "int32", "signed", "integral"],
        "bigint": ["uinteger", "uint32", "int64", "long"], "numeric(20, 0)": ["ubigint", "uint64"],
        "numeric(38, 0)": ["hugeint", "int128", "uhugeint", "uint128", "bignum", "varint"],
        "timestamp": ["datetime", "timestamp_s", "timestamp_ms", "timestamp_us", "timestamp_ns"],
        "timestamptz": ["timestamptz_ns"], "time": ["time_ns"], "boolean": ["logical"], "uuid": ["guid"],
        "jsonb": ["struct", "row", "tuple", "map", "union", "variant"],
    },
    refused={
        "depends on the locale of the server; cast it in the model to numeric(38, 2)": ["money"],
        "compares texts whatever their case; cast it in the model to text": ["citext"],
        "is an integer with a counter; say integer or bigint": ["serial", "bigserial", "smallserial"],
        f"{_FORMLESS}text": [
            "point", "line", "lseg", "box", "path", "polygon", "circle", "inet", "cidr", "macaddr", "tsvector",
            "tsquery", "oid", "xid", "int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange",
            "bit varying", "varbit",
        ],
    },
    padded=["char", "character", "bpchar"],
)

_SPARK = Engine(
    "Spark",
    # Its own names first, then those that DuckDB and PostgreSQL share and that mean nothing else there.
    names={
        "boolean": ["boolean", "bool"], "tinyint": ["tinyint", "byte"], "smallint": ["smallint", "short", "int2"],
        "integer": ["int", "integer", "int4"], "bigint": ["bigint", "long", "int8"],
        "float": ["float", "real", "float4"], "double": ["double", "double precision", "float8"],
        "decimal": ["decimal", "dec", "numeric"], "varchar": ["string", "varchar", "char", "character", "text"],
        "blob": ["binary", "bytea"], "date": ["date"],
        "timestamptz": ["timestamp", "timestamp_ltz", "timestamptz", "timestamp with time zone"],
        "timestamp": ["timestamp_ntz", "timestamp without time zone"], "map": ["map"], "struct": ["struct"],
    },
    instead={
        "boolean": ["logical"], "tinyint": ["int1"], "smallint": ["int16", "utinyint", "uint8"],
        "int": ["int32", "signed", "integral", "usmallint", "uint16"],
        "bigint": ["int64", "uinteger", "uint32", "oid"], "decimal(20, 0)": ["ubigint", "uint64"],
        "decimal(38, 0)": ["hugeint", "int128", "uhugeint", "uint128", "bignum", "varint"],
        "string": [
            "nvarchar", "bpchar", "character varying", "char varying", "enum", "uuid", "guid", "json", "jsonb", "xml",
            "bitstring", "bit", "time", "time_ns", "timetz", "time with time zone", "time without time zone",
            "geometry",
        ],
        "binary": ["blob", "varbinary"],
        "timestamp_ntz": ["datetime", "timestamp_s", "timestamp_ms", "timestamp_us", "timestamp_ns"],
        "timestamp": ["timestamptz_ns"], "struct<...>": ["row", "tuple", "union"],
    },
    refused={f"{_FORMLESS}string": ["void"]},
    padded=["char", "character"],
)
# fmt: on

ENGINES: Mapping[str, Engine] = {"postgres": _POSTGRES, "spark": _SPARK}
"""By dbt's type of adapter; an engine that is not here has DuckDB's names of types, as far as is known."""


def parts_of_type(text: str) -> tuple[str, str, str]:
    """Return the name of a type, what is in parentheses, and `[]` for each list around it.

    >>> parts_of_type("Timestamp(3)  with time zone[]"), parts_of_type("array<decimal(9,2)>")
    (('timestamp with time zone', '3', '[]'), ('decimal', '9,2', '[]'))
    """
    text = re.sub(r"\s+", " ", text.lower().strip())
    if found := _LIST.fullmatch(text):
        name, digits, lists = parts_of_type(found[1] or found[2] or "")
        return name, digits, f"{lists}[]"
    if nested := re.match(r"(map|struct) ?[<(]", text):
        return nested[1], "", ""
    inner = re.search(r"\(([^()]*)\)", text)
    return re.sub(r" ?\([^()]*\)", "", text), inner[1].strip() if inner else "", ""


def duckdb_name(text: str, engine: str) -> str:
    """Return a type of an engine as DuckDB writes it; the text itself if only the database knows the type.

    >>> duckdb_name("float8", "postgres"), duckdb_name("map<string, array<timestamp>>", "spark")
    ('double', 'map(varchar, timestamptz[])')
    """
    if engine not in ENGINES or not text.strip():
        return text
    if engine == "spark" and (found := re.fullmatch(r"(?is)\s*(array|map|struct)\s*<(.*)>\s*", text)):
        return _nested(found[1].lower(), found[2])
    name, digits, lists = parts_of_type(text)
    known = _entry_of(ENGINES[engine].names, name) or name
    # Spark's decimal without digits is a decimal(10, 0).
    return f"{known}({digits or '10, 0'}){lists}" if known == "decimal" else f"{known}{lists}"


def in_duckdb(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with the adapter of DuckDB, and with its names of the types of columns."""
    metadata, nodes = manifest["metadata"], {}
    engine = metadata.get("adapter_type") or "duckdb"
    for unique_id, node in manifest["nodes"].items():
        columns = {
            name: {**column, "data_type": duckdb_name(column["data_type"], engine)}
            for name, column in (node.get("columns") or {}).items()
            if column.get("data_type")
        }
        nodes[unique_id] = {**node, "columns": {**(node.get("columns") or {}), **columns}}
    return {**manifest, "metadata": {**metadata, "adapter_type": "duckdb"}, "nodes": nodes}


def _nested(kind: str, inner: str) -> str:
    """Return a nested type of Spark as DuckDB writes it."""
    parts = [""]
    depth = 0
    for letter in inner:
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    if kind == "array":
        return f"{duckdb_name(inner, 'spark')}[]"
    if kind == "map":
        return f"map({', '.join(duckdb_name(part, 'spark') for part in parts)})"
    fields = (re.fullmatch(r"(?s)\s*`?(.*?)`?\s*[:\s]\s*(.*)", part) for part in parts)
    written = (
        '"{}" {}'.format(found[1].replace('"', '""'), duckdb_name(found[2], "spark")) for found in fields if found
    )
    return f"struct({', '.join(written)})"


def is_padded(text: str, engine: str) -> bool:
    """Return whether the values of a type are texts with blanks added to them."""
    return engine in ENGINES and parts_of_type(text)[0] in ENGINES[engine].padded


def engine_type_problem(text: str, engine: str) -> str | None:
    """Return why no column of a view may be of a type, as the end of a sentence; None if it may."""
    if engine not in ENGINES or not text.strip():
        return None
    types, (name, digits, lists) = ENGINES[engine], parts_of_type(text)
    if refused := _entry_of(types.refused, name):
        return refused
    if other := _entry_of(types.instead, name):
        return f"{types.title} does not have; say {other}{lists}"
    if name == "float" and digits:
        two = "real or double precision" if types is _POSTGRES else "float or double"
        return f"has a length there, or none; say {two}"
    if _entry_of(types.names, name) != "decimal":
        return None
    if types is _POSTGRES and not digits:
        return (
            "holds numbers of any length, unlike files and stores; say numeric(38, s), where s is the number of digits "
            "after the point, or double precision"
        )
    found = _DECIMAL.fullmatch(digits or "10, 0")
    if not found or not 1 <= int(found[1]) <= 38 or int(found[2] or 0) > int(found[1]):
        return (
            "files and stores do not have; a decimal has 1 to 38 digits, of which as many or fewer stand after the "
            "point"
        )
    return None


def _entry_of(table: Mapping[str, Sequence[str]], name: str) -> str | None:
    return next((entry for entry, names in table.items() if name in names), None)
