"""The times from which the rows of a source are known: `known_at`, or dbt's `loaded_at_field`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pit_join.definitions.misplaced import meta_of
from pit_join.definitions.settings import Wrong, check_keys, within

__all__ = ["KnownAt", "read_known_at"]

_SOURCE_KEYS = ("created_timestamp", "known_at")
_COLUMN_KEYS = ("known_at",)


@dataclass(frozen=True, slots=True)
class KnownAt:
    """The time from which a row of a source is known.

    `expression` is a column, or for the `key` loaded_at_field perhaps SQL; it is empty if nothing says. `columns` are
    the columns that are filled in later, each with the column that says when.
    """

    expression: str = ""
    key: str = "config.meta.pit_join.known_at"
    columns: Mapping[str, str] = field(default_factory=dict)


def read_known_at(source: Mapping[str, Any], wrong: Wrong) -> KnownAt:
    """Read what a source of a manifest says of when its rows are known."""

    def name(meta: Mapping[str, Any], where: str) -> str:
        value = meta.get("known_at")
        if value is not None and (not isinstance(value, str) or not value.strip()):
            wrong(f"{where}.known_at", f"must be a column with a time, got {value!r}")
            return ""
        return value or ""

    def ours(node: Mapping[str, Any], keys: tuple[str, ...], where: str) -> Mapping[str, Any]:
        meta = meta_of(node).get("pit_join", {})
        if not isinstance(meta, Mapping):
            wrong(where, f"must be a mapping, got {meta!r}; allowed keys are {', '.join(keys)}")
            return {}
        check_keys(meta, keys, within(wrong, where))
        return meta

    where = "config.meta.pit_join"
    expression, key = name(ours(source, _SOURCE_KEYS, where), where), f"{where}.known_at"
    loaded = source.get("loaded_at_field") or (source.get("config") or {}).get("loaded_at_field")
    if not expression and loaded:
        expression, key = str(loaded), "loaded_at_field"
    columns = {}
    for column, declared in (source.get("columns") or {}).items():
        place = f"columns.{column}.{where}"
        if later := name(ours(declared, _COLUMN_KEYS, place), place):
            columns[column] = later
    if columns and not expression:
        wrong(
            f"columns.{next(iter(columns))}.{where}.known_at",
            "has no effect, since nothing says when rows of the source are known; give config.meta.pit_join.known_at",
        )
    return KnownAt(expression, key, columns)
