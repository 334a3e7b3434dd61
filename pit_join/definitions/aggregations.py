"""The settings of a window view: its aggregations, `closed` and `event_key`, read from YAML and checked.

An aggregation over several windows declares one feature for each (docs/concepts.md). A problem is reported and reading
goes on, so that all problems are shown at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pit_join.definitions.field_type import FieldType, read_type
from pit_join.definitions.settings import Wrong, check_keys, default_problem, read_limits, within
from pit_join.definitions.views import ARITHMETIC, COUNTS, Aggregation
from pit_join.errors import suggest
from pit_join.times import parse_duration, short_duration

__all__ = ["FUNCTIONS", "WindowSettings", "check_column", "read_window_settings", "result_type"]

FUNCTIONS = ("count", "count_distinct", "sum", "avg", "min", "max", "stddev", "first", "last", "last_n")
_KEYS = (
    "name", "function", "column", "window", "windows", "where", "n", "default",
    "max_null_rate", "max_default_rate", "drift",
)  # fmt: skip
_LIFETIME = "lifetime"
_LONGEST_LIST = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COLUMN_HINTS = {
    "default": "put the default on the aggregation",
    "drift": "put it on the aggregation",
    "exclude": "leave it out",
    "freshness_slo": "put it on the view",
    "max_default_rate": "put it on the aggregation",
    "max_null_rate": "put it on the aggregation",
    "nearest": "declare it in a view without aggregations",
}


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """The window settings of a view; the defaults for a view without aggregations."""

    aggregations: tuple[Aggregation, ...] = ()
    closed: str = "left"
    event_key: tuple[str, ...] = ()


def read_window_settings(
    meta: Mapping[str, Any], types: Mapping[str, FieldType], taken: Mapping[str, str], wrong: Wrong
) -> WindowSettings:
    """Read the window settings in `config.meta.pit_join`.

    `types` are the types of the listed columns; `taken` maps the names that a feature cannot have to what they name.
    """
    _check_neighbours(meta, wrong)
    closed = meta.get("closed")
    if closed is not None and closed not in ("left", "right"):
        wrong("closed", f"must be left or right, got {closed!r}")
    event_key = _event_key(meta, types, wrong)
    if "aggregations" not in meta:
        return WindowSettings()
    return WindowSettings(tuple(_aggregations(meta, types, taken, wrong)), str(closed or "left"), event_key)


def check_column(meta: Mapping[str, Any], wrong: Wrong) -> None:
    """Check that a column of a window view, which is not a feature, has no settings of a feature."""
    for key, hint in _COLUMN_HINTS.items():
        if meta.get(key) is not None:
            wrong(key, f"the features of a view with aggregations are these, not its columns; {hint}")


def result_type(function: str, data_type: FieldType) -> FieldType:
    """Return the type of a feature, from the type of the column that is aggregated.

    >>> str(result_type("sum", read_type("decimal(10, 2)"))), str(result_type("last_n", read_type("text")))
    ('decimal(38, 2)', 'text[]')
    """
    if function in COUNTS or (function == "sum" and data_type.number == "integer"):
        return read_type("bigint")
    if function == "sum" and data_type.number == "decimal":
        return read_type(f"decimal(38, {data_type.scale})")
    if function in ARITHMETIC:
        return read_type("double")
    if function == "last_n":
        return FieldType(f"{data_type.name}[]", f"{data_type}[]", element=data_type)
    return data_type


def _check_neighbours(meta: Mapping[str, Any], wrong: Wrong) -> None:
    given = {key for key in meta if meta[key] is not None}
    if "aggregations" not in meta:
        for key in sorted({"closed", "event_key"} & given):
            wrong(key, "is only for a view with aggregations; declare these or leave it out")
        return
    if "ttl" in given:
        wrong("ttl", "is not for a view with aggregations; their windows say how old an event may be")
    if "inclusive" in given:
        wrong(
            "inclusive", "is not for a view with aggregations; closed: left leaves out what becomes known at exactly T"
        )
    if "deleted" in given and "event_key" not in meta:
        wrong("deleted", "beside aggregations needs event_key, which says of which event the marked row is the end")


def _event_key(meta: Mapping[str, Any], types: Mapping[str, FieldType], wrong: Wrong) -> tuple[str, ...]:
    value = meta.get("event_key")
    if value is None:
        return ()
    columns = [value] if isinstance(value, str) else value
    if not isinstance(columns, list) or not columns or not all(isinstance(column, str) for column in columns):
        wrong("event_key", f"must be a column, or a list of them, that tells one event from another, got {value!r}")
        return ()
    for column in dict.fromkeys(columns):
        if column not in types:
            wrong("event_key", f"no column '{column}' is listed; {suggest(column, types, 'columns')}")
        elif column in (meta.get("created_timestamp"), meta.get("deleted")):
            # With this column two rows could never be versions of one event, and corrections would count twice.
            wrong("event_key", f"the column '{column}' differs between versions of one event; leave it out")
    if len(set(columns)) < len(columns):
        wrong("event_key", f"a column is listed twice in {columns}")
    if "aggregations" in meta and "created_timestamp" not in meta:
        wrong("event_key", "needs created_timestamp, which says what version of an event is the newest")
    return tuple(columns)


def _aggregations(
    meta: Mapping[str, Any], types: Mapping[str, FieldType], taken: Mapping[str, str], wrong: Wrong
) -> list[Aggregation]:
    listed = meta["aggregations"]
    if listed is None:
        return []
    if not isinstance(listed, list) or not listed:
        wrong("aggregations", f"must be a list of aggregations, each with name, function and window, got {listed!r}")
        return []
    found: list[Aggregation] = []
    # SQL ignores letter case in names.
    used = {name.lower(): f"is the name of {what}" for name, what in taken.items()}
    for number, item in enumerate(listed, start=1):
        if not isinstance(item, Mapping):
            wrong(f"aggregations.#{number}", f"must be a mapping, got {item!r}; allowed keys are {', '.join(_KEYS)}")
            continue
        name = item.get("name")
        own = within(wrong, f"aggregations.{name if name and isinstance(name, str) else f'#{number}'}")
        for aggregation in _expand(item, types, own):
            if clash := used.get(aggregation.name.lower()):
                own("name", f"'{aggregation.name}' {clash}; letter case does not tell names apart, so choose another")
            used.setdefault(aggregation.name.lower(), f"is a feature of the aggregation #{number} already")
            found.append(aggregation)
    return found


def _expand(item: Mapping[str, Any], types: Mapping[str, FieldType], own: Wrong) -> list[Aggregation]:
    """Return the features of one aggregation.

    An aggregation with a problem is kept if it has a name, so that a service which uses it is not reported as well.
    """
    check_keys(item, _KEYS, own)
    name_is_right = _check_name(item, own)
    function = _function(item, own)
    column = _column(item, function, types, own)
    windows = _windows(item, own)
    where = item.get("where")
    if where is not None and (not isinstance(where, str) or not where.strip()):
        own("where", f"must be a text, an SQL condition over the columns of the model, got {where!r}")
    _check_n(item, function, own)
    column_type = types.get(column or "", read_type(""))
    _check_default(item, function, column_type, own)
    data_type, limits = result_type(function, column_type), read_limits(item, own)
    if not name_is_right:
        return []
    n, default = item.get("n"), item.get("default")
    return [
        Aggregation(f"{item['name']}{suffix}", function, column, window, where, n, default, data_type, limits)
        for suffix, window in windows
    ]


def _missing(item: Mapping[str, Any], key: str) -> bool:
    # `check_keys` has reported a key without a value.
    return key not in item


def _check_name(item: Mapping[str, Any], own: Wrong) -> bool:
    name = item.get("name")
    if _missing(item, "name"):
        own("name", "is missing; give the feature a name")
    elif name is not None and (not isinstance(name, str) or not _NAME.fullmatch(name)):
        own("name", f"must be letters (a to z), digits and underscores, no digit first, got {name!r}")
    elif name is not None and name.lower().startswith("_pit_"):
        own("name", f"names that start with _pit_ are kept for the joins, got '{name}'; choose another")
    else:
        return name is not None
    return False


def _function(item: Mapping[str, Any], own: Wrong) -> str:
    function = item.get("function")
    if _missing(item, "function"):
        own("function", f"is missing; allowed: {', '.join(FUNCTIONS)}")
    elif function is not None and function not in FUNCTIONS:
        near = "avg" if function == "mean" else str(function)  # the two names have few letters in common
        own("function", f"unknown function {function!r}; {suggest(near, FUNCTIONS, 'allowed')}")
    return str(function)


def _column(item: Mapping[str, Any], function: str, types: Mapping[str, FieldType], own: Wrong) -> str | None:
    column = item.get("column")
    if _missing(item, "column") and function in FUNCTIONS and function != "count":
        own("column", f"is missing; {function} needs the column that it aggregates; {suggest('', types, 'columns')}")
    if column is None:
        return None
    if not isinstance(column, str) or column not in types:
        own("column", f"no column '{column}' is listed; {suggest(str(column), types, 'columns')}")
        return None
    if function in ARITHMETIC and types[column].text and not types[column].number:
        own("column", f"{function} needs an integer, decimal or float column, and '{column}' is {types[column]}")
    return column


def _windows(item: Mapping[str, Any], own: Wrong) -> list[tuple[str, timedelta | None]]:
    """Return each window with the suffix that it adds to the feature's name."""
    if "windows" not in item:
        if _missing(item, "window"):
            own("window", f"is missing; give a duration such as '24 hours', or {_LIFETIME}, or several in windows")
        return [("", _window(item.get("window"), "window", own))]
    if "window" in item:
        own("windows", "stands beside window; give one of them")
        _window(item["window"], "window", own)
    listed = item["windows"]
    if listed is None:
        return []
    if not isinstance(listed, list) or not listed:
        own("windows", f"must be a list of durations such as '24 hours', or {_LIFETIME}, got {listed!r}")
        return []
    problems: list[str] = []
    seen: dict[timedelta | None, str] = {}
    found = []
    for value in listed:
        before = len(problems)
        window = _window(value, "windows", lambda _, problem: problems.append(problem))
        if len(problems) > before:
            continue
        if window in seen:
            problems.append(f"'{value}' and '{seen[window]}' are the same window; leave one out")
            continue
        seen[window] = value
        found.append((f"_{_LIFETIME if window is None else short_duration(value)}", window))
    for problem in problems:
        own("windows", problem)
    return found


def _window(value: Any, key: str, own: Wrong) -> timedelta | None:
    """Return a window; None for a lifetime, and for a value with a problem."""
    if (value is None and key == "window") or value == _LIFETIME:
        return None
    if not isinstance(value, str):
        own(key, f"must be a duration such as '24 hours', or {_LIFETIME}, got {value!r}")
        return None
    try:
        window = parse_duration(value)
    except ValueError as error:
        own(key, f"{error}; or {_LIFETIME} for no limit")
        return None
    if not window:
        own(key, f"is '{value}', so that no event would ever be in it; write {_LIFETIME} for no limit")
    return window


def _check_n(item: Mapping[str, Any], function: str, own: Wrong) -> None:
    n = item.get("n")
    if function == "last_n":
        if _missing(item, "n"):
            own("n", f"is missing; last_n needs the greatest number of values, from 1 to {_LONGEST_LIST}")
        elif n is not None and (isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= _LONGEST_LIST):
            own("n", f"must be a whole number from 1 to {_LONGEST_LIST}, got {n!r}")
    elif n is not None and function in FUNCTIONS:
        own("n", f"is only for last_n, not for {function}; leave it out")


def _check_default(item: Mapping[str, Any], function: str, column_type: FieldType, own: Wrong) -> None:
    default = item.get("default")
    if default is not None and function in COUNTS:
        own("default", f"{function} is never null, so it has no default; leave it out")
        return
    # Most results have the type of the column; without a column the default cannot be checked.
    known = function in FUNCTIONS and (column_type.text or function in ("avg", "stddev"))
    if known and (problem := default_problem(default, result_type(function, column_type))):
        own("default", problem)
