"""Column types as SQL names them, read once into a value. Outside world: DuckDB's parser of types."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pit_join.definitions.engine_types import duckdb_name

if TYPE_CHECKING:
    import duckdb
    from duckdb.sqltypes import DuckDBPyType

__all__ = ["FieldType", "is_known", "memory", "read_type", "type_of"]

_INTEGERS = re.compile(r"U?(?:TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)")
_BITS = {"TINY": 8, "SMALL": 16, "BIG": 64, "HUGE": 128}
_TEXTS = ("VARCHAR", "ENUM")
_FLOATS = ("DOUBLE", "FLOAT")
_NESTED = ("struct", "tuple", "map", "union")
# Types that differ only in precision, by the start of the name.
_KINDS = (("TIMESTAMPTZ", "instant"), ("TIMESTAMP WITH", "instant"), ("TIMESTAMP", "timestamp"), ("TIME_NS", "TIME"))
# By the start of the name, since other databases have such types too: datetime2, say.
_TIMES = ("TIMESTAMP", "DATETIME", "DATE")


@dataclass(frozen=True, slots=True)
class FieldType:
    """The type of a column; types that are spelled differently are equal.

    `name` is DuckDB's own name of the type, such as BIGINT for int8; the name of a type that only a database knows,
    such as an enum by its name, is its text. `text` is the type as it was written. `number` is the kind of a number
    type, `digits` and `scale` the digits before and after the point of a decimal, `element` the type of a list's or an
    array's elements, `length` that of an array. `parts` are the fields of a struct or union, or a map's key and value.
    """

    name: str
    text: str = field(compare=False)
    number: Literal["integer", "decimal", "float"] | None = None
    scale: int = 0
    element: FieldType | None = None
    digits: int = 0
    length: int | None = None
    parts: tuple[tuple[str, FieldType], ...] = ()

    def __str__(self) -> str:
        return self.text

    @property
    def sql(self) -> str:
        """The type as DuckDB's SQL names it; one that only a database knows has its own text.

        >>> read_type("timestamp(3) with time zone", "postgres").sql, read_type("mood").sql
        ('TIMESTAMP WITH TIME ZONE', 'mood')
        """
        return self.text if self.name == self.text.strip().upper() else self.name

    @property
    def family(self) -> str:
        """The types that share values with this one: all texts, numbers or times, or the type alone.

        >>> read_type("char(3)").family, read_type("decimal(9)").family, read_type("bool").family
        ('text', 'number', 'BOOLEAN')
        """
        if self.element:
            return self.name
        base = self.name.split("(", 1)[0].strip()
        if self.number:
            return "number"
        if base in _TEXTS:
            return "text"
        return "time" if base.startswith(_TIMES) else base

    def all(self) -> Iterator[FieldType]:
        """Yield this type and all that are nested in it.

        >>> [kind.name for kind in read_type("struct(a int[])").all()]
        ['STRUCT(a INTEGER[])', 'INTEGER[]', 'INTEGER']
        """
        yield self
        for inner in (*((self.element,) if self.element else ()), *(kind for _, kind in self.parts)):
            yield from inner.all()

    @property
    def kind(self) -> str:
        """The types that differ from this one at most in width or precision; of a nested type only what nests.

        >>> read_type("real").kind, read_type("timestamp_s").kind, read_type("timestamptz").kind, read_type("json").kind
        ('float', 'timestamp', 'instant', 'JSON')
        """
        if self.element:
            return "list"
        base = self.name.split("(", 1)[0].strip()
        if self.number or base in _TEXTS:
            return self.number or "text"
        return next((kind for start, kind in _KINDS if base.startswith(start)), base)

    def describes(self, actual: FieldType) -> bool:
        """Return whether a column of the actual type is what this declaration says: see docs/concepts.md.

        >>> (
        ...     read_type("int").describes(read_type("bigint")),
        ...     read_type("decimal(9)").describes(read_type("decimal(9,2)")),
        ... )
        (True, False)
        """
        if self.kind != actual.kind or actual.scale > self.scale or actual.digits > self.digits:
            return False
        if self.element and actual.element:
            lengths = {self.length, actual.length} - {None}
            return len(lengths) < 2 and self.element.describes(actual.element)
        # The order of fields does not matter, except of those without names.
        mine, theirs = (sorted(each.parts, key=lambda part: part[0].lower()) for each in (self, actual))
        return len(mine) == len(theirs) and all(
            name.lower() == other.lower() and kind.describes(found)
            for (name, kind), (other, found) in zip(mine, theirs, strict=True)
        )

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest value of an integer type.

        >>> read_type("utinyint").limits, read_type("int1").limits
        ((0, 255), (-128, 127))
        """
        bits = next((bits for name, bits in _BITS.items() if name in self.name), 32)
        return (0, 2**bits - 1) if self.name.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    def takes(self, family: str) -> bool:
        """Return whether values of a family may be cast to the type; a time may be written as text."""
        return self.family not in ("text", "number", "time", "BOOLEAN") or family in (
            self.family,
            "text" if self.family == "time" else self.family,
        )


@cache
def read_type(text: str, engine: str = "duckdb") -> FieldType:
    """Read a type from its text in an engine's words; a text that is not known is a type of its own.

    >>> read_type("int8") == read_type(" BIGINT"), read_type("numeric(9)").name, read_type("real[]").element.number
    (True, 'DECIMAL(9,0)', 'float')
    >>> read_type("mood").family, read_type("float", "postgres").name, read_type("float").name
    ('MOOD', 'DOUBLE', 'FLOAT')
    """
    kind = _parsed(duckdb_name(text, engine))
    return FieldType(text.strip().upper(), text) if kind is None else type_of(kind, text)


def is_known(text: str) -> bool:
    """Return whether DuckDB itself knows a type, and not only some database.

    >>> is_known("int8"), is_known("mood")
    (True, False)
    """
    return _parsed(text) is not None


@cache
def _parsed(text: str) -> DuckDBPyType | None:
    import duckdb

    try:
        # In a struct: outside one, DuckDB reads `int not null` or `int, b int` and drops all but the first type.
        parts: dict[str, Any] = dict(
            duckdb.sqltype(f"struct(x {text})", connection=memory(os.getpid()).cursor()).children
        )
    except duckdb.Error:
        return None
    return parts["x"] if set(parts) == {"x"} else None


def type_of(kind: DuckDBPyType, text: str | None = None) -> FieldType:
    """Return the value for a type of DuckDB, such as that of a relation's column."""
    name = str(kind)
    text = name if text is None else text
    if kind.id in ("list", "array", "decimal"):
        parts: dict[str, Any] = dict(kind.children)
        if kind.id == "decimal":
            scale = parts["scale"]
            return FieldType(name, text, "decimal", scale, digits=parts["precision"] - scale)
        return FieldType(name, text, element=type_of(parts["child"]), length=parts.get("size"))
    if kind.id in _NESTED:
        children: list[tuple[str, Any]] = kind.children
        inner = children[1:] if kind.id == "union" else children  # the first of a union is its tag
        return FieldType(name, text, parts=tuple((part, type_of(each)) for part, each in inner))
    if _INTEGERS.fullmatch(name):
        return FieldType(name, text, "integer")
    return FieldType(name, text, "float" if name in _FLOATS else None)


@cache
def memory(process: int) -> duckdb.DuckDBPyConnection:
    """Return the database in memory of a process, which reads no file, and whose settings are locked.

    The SQL that it runs comes from projects and online stores. DuckDB's shared connection will not do: it refuses calls
    while it is busy. Its threads do not survive a fork.
    """
    import duckdb

    connection = duckdb.connect(
        config={"enable_external_access": False, "preserve_insertion_order": True, "arrow_large_buffer_size": True}
    )
    connection.execute("set global TimeZone = 'UTC'; set lock_configuration = true")
    return connection
