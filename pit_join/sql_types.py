"""Kinds of SQL types: which numbers a type holds, and what its values can be equal to."""

from __future__ import annotations

import re

__all__ = ["decimal_scale", "family", "fits", "number_kind"]

_TEXT = ("VARCHAR", "TEXT", "STRING", "CHAR", "BPCHAR", "ENUM")

_NUMBER_NAMES = ("DOUBLE", "FLOAT", "REAL", "DECIMAL", "NUMERIC", "FLOAT4", "FLOAT8", "LONG", "SHORT", "SIGNED")

_NUMBERS = {
    "integer": re.compile(r"u?(?:tinyint|smallint|integer|int|bigint|hugeint|int(?:8|16|32|64|128))|int[124]"),
    "decimal": re.compile(r"(?:decimal|numeric)(?:\s*\(\s*\d+\s*(?:,\s*(\d+)\s*)?\))?"),
    "float": re.compile(r"double(?:\s+precision)?|float[48]?|real"),
}


def number_kind(data_type: str) -> str | None:
    """Whether a type is an `integer`, `decimal` or `float` type; None for all others.

    >>> number_kind("UBIGINT"), number_kind("decimal(10, 2)"), number_kind("real"), number_kind("integer[]")
    ('integer', 'decimal', 'float', None)
    """
    return next((kind for kind, types in _NUMBERS.items() if types.fullmatch(data_type.strip().lower())), None)


def decimal_scale(data_type: str) -> int:
    """The digits after the point of a decimal type; one without any numbers is DuckDB's decimal(18, 3).

    >>> decimal_scale("decimal(10, 2)"), decimal_scale("numeric(9)"), decimal_scale("decimal")
    (2, 0, 3)
    """
    found = _NUMBERS["decimal"].fullmatch(data_type.strip().lower())
    if found and found[1]:
        return int(found[1])
    return 0 if "(" in data_type else 3


def family(data_type: str) -> str:
    """What a value of a type can be equal to: any text, any number, any time, or only its own type."""
    base = data_type.upper().split("(", 1)[0].strip()
    if base in _TEXT:
        return "text"
    if base in _NUMBER_NAMES or (
        base.lstrip("U").endswith(("INT", "INTEGER")) or (base.startswith("INT") and base[3:].isdigit())
    ):
        return "number"
    if base.startswith(("TIMESTAMP", "DATETIME", "DATE")):
        return "time"
    return base


def fits(given: str, wanted_type: str) -> bool:
    """Whether values of a family may be cast to the type of an argument; a time may be written as text."""
    wanted = family(wanted_type)
    also = "text" if wanted == "time" else wanted
    return wanted not in ("text", "number", "time", "BOOLEAN") or given in (wanted, also)
