"""pit-join: a SQL-first feature store on dbt and DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pit_join.errors import PitJoinError, ProjectError, ReferenceError, SpineError, WarehouseError

if TYPE_CHECKING:
    from pit_join.api import FeatureStore
    from pit_join.results import Coverage, TrainingSet

__all__ = [
    "Coverage",
    "FeatureStore",
    "PitJoinError",
    "ProjectError",
    "ReferenceError",
    "SpineError",
    "TrainingSet",
    "WarehouseError",
]

_LAZY = {"FeatureStore": "pit_join.api", "Coverage": "pit_join.results", "TrainingSet": "pit_join.results"}


def __getattr__(name: str) -> Any:
    # Importing the package must not load DuckDB and Arrow for a program that only catches its errors.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pit_join' has no attribute '{name}'")
