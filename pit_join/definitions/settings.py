"""Checks of single values in YAML; a problem is reported and reading goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from pit_join.definitions.field_type import FieldType
from pit_join.definitions.views import FreshnessSlo, Limits
from pit_join.errors import suggest
from pit_join.times import parse_duration

__all__ = [
    "TIMELESS",
    "Wrong",
    "check_keys",
    "column_meta",
    "default_problem",
    "feature_problem",
    "read_duration",
    "read_flag",
    "read_keys",
    "read_limits",
    "read_name",
    "read_slo",
    "read_static",
    "sensitive_columns",
    "within",
]

Wrong = Callable[[str, str], None]
"""Reports a key and its problem, with the file and the node."""

# Types without one form that training sets, stores and requests share. Arrow has no integer as wide as a UHUGEINT.
_NO_KEYS = re.compile(r"TIME\b.*|TIME_NS|INTERVAL|BIT|BIGNUM|UHUGEINT|STRUCT|TUPLE|MAP|UNION|JSON|VARIANT|GEOMETRY")
# Types that Arrow, CSV or Parquet bring back as something else: bits as bytes, a time of day without its zone.
_NO_FEATURES = re.compile(
    r"TIME WITH TIME ZONE|TIMETZ|INTERVAL|BIT|BITSTRING|BIGNUM|UHUGEINT|UNION|VARIANT|GEOMETRY|TUPLE"
)
# The settings of a view that have a meaning only for rows with a time.
_TIMED = (
    "created_timestamp",
    "lag",
    "ttl",
    "inclusive",
    "freshness_slo",
    "deleted",
    "clock_time_zone",
    "aggregations",
)
TIMELESS = "is not for a view with static: true, whose rows have no time; remove one of them"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def within(wrong: Wrong, where: str) -> Wrong:
    """Return the same report for keys below `where`."""
    return lambda key, problem: wrong(f"{where}.{key}", problem)


def check_keys(meta: Mapping[str, Any], allowed: tuple[str, ...], wrong: Wrong) -> None:
    """Check that every key is known and has a value."""
    for key in meta:
        if key not in allowed:
            wrong(str(key), f"unknown key; {suggest(str(key), allowed, 'allowed')}")
        elif meta[key] is None:
            wrong(str(key), "is empty; give it a value or leave the key out")


def column_meta(column: Mapping[str, Any]) -> Any:
    """Return the settings of a column, as they are written."""
    meta = ((column.get("config") or {}).get("meta") or {}).get("pit_join")
    return (column.get("meta") or {}).get("pit_join") if meta is None else meta


def sensitive_columns(columns: Mapping[str, Any]) -> set[str]:
    """Return the names of the columns that are declared sensitive."""
    metas = {name: column_meta(column) for name, column in columns.items()}
    return {name for name, meta in metas.items() if isinstance(meta, Mapping) and meta.get("sensitive") is True}


def read_duration(meta: Mapping[str, Any], key: str, wrong: Wrong, positive: bool = False) -> timedelta | None:
    """Return the duration under a key; None if the key is missing or cannot be read."""
    value = meta.get(key)
    if value is None:
        return None
    try:
        duration = parse_duration(str(value))
    except ValueError as error:
        wrong(key, str(error))
        return None
    if positive and not duration:
        wrong(key, f"is '{value}', so that no value would ever be valid; leave it out for no limit")
    return duration


def read_slo(meta: Mapping[str, Any], wrong: Wrong) -> FreshnessSlo | None:
    """Return the SLO of a view or a column, which is a duration or a mapping with it."""
    value, key = meta.get("freshness_slo"), "freshness_slo"
    if not isinstance(value, Mapping):
        limit = read_duration(meta, key, wrong, positive=True)
        return FreshnessSlo(limit) if limit else None
    own = within(wrong, key)
    check_keys(value, ("within", "impact", "owner"), own)
    if "within" not in value:
        own("within", "is missing; say how old the newest value may be, such as 24 hours")
    texts = {name: value.get(name, "") for name in ("impact", "owner")}
    for name, text in texts.items():
        if name in value and text is not None and (not isinstance(text, str) or not text.strip()):
            own(name, f"must be a text, got {text!r}")
    limit = read_duration(value, "within", own, positive=True)
    return FreshnessSlo(limit, *map(str, texts.values())) if limit else None


def read_limits(meta: Mapping[str, Any], wrong: Wrong) -> Limits:
    """Return the limits of monitoring that a view or a column declares."""
    nulls, defaults = (_read_rate(meta, key, wrong) for key in ("max_null_rate", "max_default_rate"))
    drift, own = meta.get("drift"), within(wrong, "drift")
    if drift is not None and not isinstance(drift, Mapping):
        wrong("drift", f"must be a mapping with psi, after or min_rows, such as {{psi: 0.1}}, got {drift!r}")
    drift = drift if isinstance(drift, Mapping) else {}
    check_keys(drift, ("psi", "after", "min_rows"), own)
    psi, after, rows = (drift.get(key) for key in ("psi", "after", "min_rows"))
    if psi is not None and not (_is_number(psi) and 0 < psi < 1e300):
        own("psi", f"must be a number over 0, such as 0.2, got {psi!r}")
        psi = None
    runs = re.fullmatch(r"0*([1-9][0-9]{0,3}) runs?", after) if isinstance(after, str) else None
    if after is not None and not runs:
        own("after", f"must be a number of runs, such as 2 runs, got {after!r}")
    if rows is not None and not (_is_number(rows) and isinstance(rows, int) and rows > 0):
        own("min_rows", f"must be a whole number over 0, got {rows!r}")
        rows = None
    return Limits(nulls, defaults, psi, int(runs[1]) if runs else None, rows)


def _read_rate(meta: Mapping[str, Any], key: str, wrong: Wrong) -> float | None:
    value = meta.get(key)
    if value is None or (_is_number(value) and 0 <= value < 1):
        return None if value is None else float(value)
    wrong(key, f"must be a share from 0 to below 1, such as 0.05, got {value!r}")
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def read_flag(meta: Mapping[str, Any], key: str, default: bool, wrong: Wrong) -> bool:
    """Return the boolean under a key; the default without a value, which `check_keys` reports."""
    value = meta.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        wrong(key, f"must be true or false, got {value!r}")
        return default
    return value


def read_static(meta: Mapping[str, Any], node: Mapping[str, Any], wrong: Wrong) -> bool:
    """Return whether a view is static: one row a key, without an event time; check the settings beside it."""
    static, event_time = read_flag(meta, "static", False, wrong), (node.get("config") or {}).get("event_time")
    if static and event_time:
        wrong("static", f"is true, so that the rows have no time, and config.event_time is '{event_time}'; remove one")
    elif not static and not event_time:
        wrong(
            "config.event_time",
            "is missing; name the column with the instant that a row describes. A table with one row a key, whose "
            "values hold at any time, says static: true in config.meta.pit_join instead",
        )
    for key in _TIMED:
        if static and meta.get(key) is not None:
            wrong(key, TIMELESS)
    if static and node["resource_type"] == "snapshot":
        wrong("static", "is true, and a dbt snapshot keeps several rows of a key; declare its event_time instead")
    return static


def read_name(meta: Mapping[str, Any], key: str, wrong: Wrong) -> str:
    """Return the name under a key, fit to be part of an environment variable's; empty without the key."""
    value = meta.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        wrong(key, f"must be a name of small letters, digits and underscores, got {value!r}")
        return ""
    return value


def read_keys(meta: Mapping[str, Any], types: Mapping[str, FieldType], event_time: Any, wrong: Wrong) -> dict[str, str]:
    """Return the columns of the join keys, by key; `types` are those of the listed columns."""
    given = meta.get("join_keys")
    keys = [given] if isinstance(given, str) else given
    if isinstance(keys, list) and all(isinstance(key, str) for key in keys):
        if len(set(keys)) < len(keys):
            wrong("join_keys", f"a column is listed twice in {keys}")
        keys = dict(zip(keys, keys, strict=True))
    names = [*keys, *keys.values()] if isinstance(keys, dict) else []
    if not isinstance(keys, dict) or not names or not all(isinstance(name, str) and name for name in names):
        wrong(
            "join_keys",
            "must list the columns that identify the entity, or map each of its keys to the column that holds it "
            f"(user_id: UserID), got {given!r}; [] is for a view that holds for every row, such as exchange rates",
        )
        return {}
    for column in keys.values():
        if column not in types:
            wrong("join_keys", f"no column '{column}' is listed; {suggest(column, types, 'columns')}")
        elif problem := _key_problem(types[column]):
            wrong("join_keys", f"the column '{column}' {problem}")
    if event_time in keys.values():
        wrong("join_keys", f"'{event_time}' is the event time, so it cannot be a key as well")
    for what, half in (("keys", keys), ("columns", keys.values())):
        if isinstance(given, dict) and len({name.lower() for name in half}) < len(half):
            wrong("join_keys", f"two {what} have one name in {keys}; letter case does not tell names apart")
    return keys


def _key_problem(data_type: FieldType) -> str | None:
    """Return why a column cannot be a join key, or None."""
    if data_type.element is None and not _NO_KEYS.fullmatch(data_type.name.split("(", 1)[0]):
        return None
    return (
        f"is of type {data_type}, and a key is a text, number, boolean, UUID, blob, date or timestamp; cast it in the "
        "model, for example to varchar"
    )


def feature_problem(data_type: FieldType) -> str | None:
    """Return why a column cannot be a feature, or None."""
    for kind in data_type.all():
        base = kind.name.split("(", 1)[0].strip()
        if _NO_FEATURES.fullmatch(base):
            what = "which" if kind is data_type else f"and {base} in it"
            return (
                f"is of type {data_type}, {what} has no form that training sets, files and stores share; cast it in "
                "the model, for example to varchar or a number, or set exclude: true"
            )
    return None


def default_problem(default: Any, data_type: FieldType) -> str | None:
    """Return why a default cannot be a value of a type, or None; the warehouse checks the rest."""
    if default is None:
        return None
    written = data_type.text.strip().lower()
    nested = data_type.element is not None or data_type.family == "STRUCT"
    if isinstance(default, (list, dict)) != nested:
        return f"{default!r} does not fit the type {written}"
    whole = isinstance(default, int) or (isinstance(default, float) and default.is_integer())
    if data_type.number == "integer" and (isinstance(default, bool) or not whole):
        return f"{default!r} is not a whole number, and the type is {written}"
    least, most = data_type.limits
    if data_type.number == "integer" and not least <= default <= most:
        return f"{default!r} does not fit the type {written}"
    if data_type.number and (isinstance(default, bool) or not isinstance(default, (int, float))):
        return f"{default!r} is not a number, and the type is {written}"
    if data_type.family == "BOOLEAN" and not isinstance(default, bool):
        return f"{default!r} is not true or false, and the type is {written}"
    return None
