"""Conditions and literals that mean the same on all engines.

A condition is a text of YAML in a small part of SQL. The macro `_portable_condition` reads the same part, and puts the
SQL of an engine together from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pit_join.definitions.engine_types import is_padded
from pit_join.definitions.field_type import FieldType

__all__ = ["condition_problem", "is_time"]

_TOKENS = re.compile(
    r"\s+|(?P<time>date|timestamptz|timestamp)\s*'(?P<at>[^']*)'|(?P<text>'(?:[^']|'')*')|\"(?P<name>(?:[^\"]|\"\")+)\""
    r"|(?P<word>[^\W\d]\w*)|(?P<number>[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)|(?P<operator><=|>=|<>|!=|[=<>])"
    r"|(?P<parenthesis>[()])|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
_DAY = r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
_CLOCK = r"[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,6})?)?"
_ZONE = r"(?:Z|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?"
_TIMES = {"date": _DAY, "timestamp": f"{_DAY}(?:{_CLOCK})?", "timestamptz": f"{_DAY}(?:{_CLOCK}{_ZONE})?"}
_WIDER = {
    "DATE": ("date",),
    "TIMESTAMP": ("date", "timestamp"),
    "TIMESTAMP WITH TIME ZONE": ("date", "timestamp", "timestamptz"),
}
"""The literals that a column of times is compared with; an instant without a zone is UTC."""

_ADVICE = (
    "off DuckDB a condition compares columns with literals (status = 'paid', day >= date '2026-01-01'), asks for is "
    "null, and joins these and boolean columns with and, or, not; compute anything else as a column of the model"
)
Token = tuple[str, str]


def condition_problem(condition: str, types: Mapping[str, FieldType], engine: str) -> str | None:
    """Return why a condition would not mean the same on all engines, as the end of a sentence; None if it would."""
    problem = _problem(_tokens(condition), {name.lower(): kind for name, kind in types.items()}, engine)
    return f"{problem}; {_ADVICE}" if problem else None


def is_time(text: Any, kind: str) -> bool:
    """Return whether a text is a date, timestamp or timestamptz as all engines read it.

    >>> is_time("2026-02-28 12:00", "timestamp"), is_time("2026-02-30", "date"), is_time("now", "timestamptz")
    (True, False, False)
    """
    found = re.fullmatch(_TIMES[kind], str(text).strip())
    try:
        return found is not None and bool(date.fromisoformat(found[1]))
    except ValueError:
        return False


def _tokens(condition: str) -> list[Token]:
    found = []
    for token in _TOKENS.finditer(condition):
        kind = token.lastgroup
        if kind == "at":
            found.append((token["time"].lower(), token["at"]))
        elif kind == "text":
            found.append(("text", token["text"][1:-1].replace("''", "'")))
        elif kind == "name":
            found.append(("name", token["name"].replace('""', '"')))
        elif kind:
            found.append((kind, token[kind]))
    return found


def _problem(tokens: Sequence[Token], types: Mapping[str, FieldType], engine: str) -> str | None:
    """Walk over the tokens; `ended` says that a condition is complete, and can only be joined with another one."""
    at, depth, ended = 0, 0, False
    while at < len(tokens):
        kind, token = tokens[at]
        word = token.lower() if kind == "word" else ""
        at += 1
        if ended and word in ("and", "or"):
            ended = False
        elif ended and (kind, token) == ("parenthesis", ")") and depth:
            depth -= 1
        elif not ended and (kind, token) == ("parenthesis", "("):
            depth += 1
        elif ended or kind not in ("word", "name"):
            return f"cannot be read at '{token}'"
        elif word in ("true", "false"):
            ended = True
        elif word != "not":
            if not types.get(token.lower()) or not types[token.lower()].text:
                return f"reads '{token}', which is not a column that is listed with its data_type"
            taken = _of_column(token, types[token.lower()], tokens[at:], engine)
            if isinstance(taken, str):
                return taken
            at, ended = at + taken, True
    return None if ended and not depth else "ends too early"


def _of_column(name: str, kind: FieldType, follows: Sequence[Token], engine: str) -> int | str:
    """Return how many tokens after a column belong to its condition, or the problem."""
    words = [token.lower() if said == "word" else "" for said, token in follows[:3]]
    if words[:2] == ["is", "null"]:
        return 2
    if words == ["is", "not", "null"]:
        return 3
    if follows and follows[0][0] == "operator":
        if len(follows) > 1 and _alike(follows[1], kind, engine):
            return 2
        return f"does not compare '{name}', which is of type {kind}, with a literal of that type"
    if kind.family == "BOOLEAN":
        return 0
    return f"cannot be read at '{follows[0][1] if follows else name}'"


def _alike(literal: Token, kind: FieldType, engine: str) -> bool:
    """Return whether a literal is a value of a type."""
    said, text = literal
    if said == "text":
        return kind.kind == "text" and not is_padded(kind.text, engine)
    if said == "number":
        return kind.number == "float" or (kind.number is not None and "e" not in text.lower())
    if said == "word":
        return kind.family == "BOOLEAN" and text.lower() in ("true", "false")
    with_zone = said != "timestamptz" or not is_time(text, "timestamp")
    return said in _WIDER.get(kind.name, ()) and is_time(text, said) and with_zone
