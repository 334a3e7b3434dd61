"""Checks of what a view declares, for engines other than DuckDB.

It means there what it means on DuckDB, or it is refused. The macro `_check_portable` says the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pit_join.definitions.aggregations import result_type
from pit_join.definitions.conditions import condition_problem, is_time
from pit_join.definitions.engine_types import engine_type_problem, is_padded, parts_of_type
from pit_join.definitions.field_type import FieldType
from pit_join.definitions.settings import column_meta, default_problem
from pit_join.definitions.views import FeatureView
from pit_join.references import default_alias

__all__ = ["name_problem", "portable_problems"]

_LONGEST = {"postgres": 63}  # PostgreSQL cuts a longer name without an error, so that two names may become one
_KINDS = {"DATE": "date", "TIMESTAMP": "timestamp", "TIMESTAMP WITH TIME ZONE": "timestamptz"}


def portable_problems(
    view: FeatureView, columns: Mapping[str, Any], meta: Mapping[str, Any], engine: str
) -> Iterator[tuple[str, str]]:
    """Yield key and problem of what means something else on an engine than on DuckDB.

    `columns` and `meta` are those of the view's YAML.
    """
    if engine == "duckdb":
        return
    if problem := name_problem(default_alias(view.name), engine):
        yield "name", problem
    for name, column in columns.items():
        yield from _column_problems(view, name, column, engine)
    for key in view.key_columns.values():
        if key in view.types and is_padded(view.types[key].text, engine):
            yield (
                "join_keys",
                f"the column '{key}' is of type {view.types[key]}, whose texts are padded with blanks; cast it "
                "in the model, for example to varchar",
            )
    listed = meta.get("aggregations")
    for number, item in enumerate(listed if isinstance(listed, list) else [], 1):
        if isinstance(item, Mapping):
            own = item.get("name")
            place = f"aggregations.{own if own and isinstance(own, str) else f'#{number}'}"
            for key, problem in _aggregation_problems(item, view.types, engine):
                yield f"{place}.{key}", problem
    for one in view.aggregations:
        if problem := name_problem(one.name, engine):
            yield f"aggregations.{one.name}.name", problem


def name_problem(name: str, engine: str) -> str | None:
    """Return why an engine would not keep a name whole; None if it would."""
    longest, size = _LONGEST.get(engine), len(name.encode())
    if longest is None or size <= longest:
        return None
    return f"the name '{name}' has {size} bytes, and PostgreSQL keeps {longest} of a name; use a shorter one"


def _column_problems(view: FeatureView, name: str, column: Any, engine: str) -> Iterator[tuple[str, str]]:
    own = column_meta(column)
    own = own if isinstance(own, Mapping) else {}
    special = (*view.key_columns.values(), view.event_timestamp, view.created_timestamp, view.deleted)
    if engine == "postgres" and re.search("[A-Z]", name) and column.get("quote") is not True:
        yield (
            f"columns.{name}",
            "PostgreSQL folds a name to small letters where the SQL of the model does not quote it; write it in small "
            "letters here, or quote it in the model and say quote: true",
        )
    elif problem := name_problem(name, engine):
        yield f"columns.{name}", problem
    if (name in special or own.get("exclude") is not True) and (
        problem := engine_type_problem(view.types[name].text, engine)
    ):
        yield f"columns.{name}", f"is of type {view.types[name]}, which {problem}"
    features = () if view.aggregations else (each.name for each in view.features)
    if name in features and (problem := _default_problem(own.get("default"), view.types[name], engine)):
        yield f"columns.{name}.default", problem


def _aggregation_problems(
    item: Mapping[str, Any], types: Mapping[str, FieldType], engine: str
) -> Iterator[tuple[str, str]]:
    where, function, column = item.get("where"), str(item.get("function")), item.get("column")
    if isinstance(where, str) and where.strip() and (problem := condition_problem(where, types, engine)):
        yield "where", f"{where!r} {problem}"
    kind = types.get(column) if isinstance(column, str) else None
    if not kind or not kind.text:
        return
    if function in _functions_without(kind, engine):
        yield (
            "column",
            f"{engine} has no {function} of '{column}', which is of type {kind}; compute it as a column of the model",
        )
    if problem := _default_problem(item.get("default"), result_type(function, kind), engine):
        yield "default", problem


def _functions_without(kind: FieldType, engine: str) -> tuple[str, ...]:
    """Return the functions of aggregations that an engine does not have for a type."""
    if kind.element and engine == "postgres":
        return ("first", "last", "last_n", "min", "max")
    return ("min", "max", "count_distinct") if kind.name.split("(")[0] in ("JSON", "MAP") else ()


def _default_problem(default: Any, kind: FieldType, engine: str) -> str | None:
    """Return why a default, which fits its type on DuckDB, is not the same value on all engines; None if it is."""
    if default is None or default_problem(default, kind):
        return None
    element = kind.element
    if isinstance(default, Mapping) or kind.name == "BLOB" or (element and (element.element or None in default)):
        return f"{default!r} is not a literal or a list of literals, which a default off DuckDB is; leave it out"
    name, digits, _ = parts_of_type(kind.text)
    one_kind = element or kind
    length = int(digits or 1) if one_kind.kind == "text" and (digits.isdigit() or is_padded(name, engine)) else None
    for one in default if isinstance(default, list) else [default]:
        if element and (problem := default_problem(one, replace(element, text=kind.text))):
            return problem
        if one_kind.name in _KINDS and not is_time(one, _KINDS[one_kind.name]):
            return (
                f"{default!r} is not a date or time such as 2026-01-31 or 2026-01-31 12:00:00, and the type is "
                f"{kind.text.lower()}"
            )
        size = len(str(one))
        if length and (size > length or (size < length and is_padded(name, engine))):
            return f"{default!r} does not fit the type {kind.text.lower()}"
    return None
