"""On-demand features: macros of a project, read from their YAML and checked (docs/on-demand.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pit_join.definitions.field_type import is_known, read_type
from pit_join.definitions.settings import Wrong, check_keys, default_problem, feature_problem, within
from pit_join.definitions.views import OnDemandFeature

__all__ = ["read_on_demand"]

_KEYS = ("returns", "default")


def read_on_demand(macro: Mapping[str, Any], name: str, path: str, wrong: Wrong) -> OnDemandFeature | None:
    """Return the on-demand feature that a macro of the manifest declares; None for any other macro."""
    meta = (macro.get("config") or {}).get("meta") or macro.get("meta") or {}
    if "pit_join" not in meta:
        return None
    own = meta["pit_join"]
    if not isinstance(own, Mapping):
        wrong("config.meta.pit_join", f"must be a mapping, got {own!r}; allowed keys are {', '.join(_KEYS)}")
        own = {}
    check_keys(own, _KEYS, within(wrong, "config.meta.pit_join"))
    returns, default = own.get("returns"), own.get("default")
    if not isinstance(returns, str) or not returns.strip():
        wrong("returns", f"must be the SQL type of the result, such as double, got {returns!r}")
        returns = ""
    elif not is_known(returns):
        wrong("returns", f"{returns!r} is not a type that DuckDB knows")
    elif problem := feature_problem(read_type(returns)):
        wrong("returns", problem)
    elif problem := default_problem(default, read_type(returns)):
        wrong("default", problem)
    types: dict[str, str] = {}
    for argument in macro.get("arguments") or []:
        argument_type = argument.get("type")
        if not isinstance(argument_type, str) or not argument_type.strip():
            wrong(
                f"arguments.{argument['name']}", "has no type; give the SQL type that its values have, such as double"
            )
        elif not is_known(argument_type):
            wrong(f"arguments.{argument['name']}", f"{argument_type!r} is not a type that DuckDB knows")
        types[argument["name"]] = str(argument_type or "")
    if not types:
        wrong("arguments", "none is listed; list each argument of the macro with its name and type")
    return OnDemandFeature(name, types, returns, default, path, macro.get("description") or "")
