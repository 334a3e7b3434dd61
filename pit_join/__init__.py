"""pit-join: a SQL-first feature store on dbt and DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pit_join.errors import (
    EntityError,
    PitJoinError,
    ProjectError,
    ReferenceError,
    SpineError,
    StoreError,
    WarehouseError,
)

if TYPE_CHECKING:
    from pit_join.api import FeatureStore
    from pit_join.export import Export
    from pit_join.feature_log import FeatureLog
    from pit_join.monitoring import Monitoring
    from pit_join.neighbours import Neighbour
    from pit_join.parity import Parity
    from pit_join.results import Coverage, TrainingSet
    from pit_join.serving import OnlineReader
    from pit_join.vectors import OnlineFeatures

__all__ = [
    "Coverage",
    "EntityError",
    "Export",
    "FeatureLog",
    "FeatureStore",
    "Monitoring",
    "Neighbour",
    "OnlineFeatures",
    "OnlineReader",
    "Parity",
    "PitJoinError",
    "ProjectError",
    "ReferenceError",
    "SpineError",
    "StoreError",
    "TrainingSet",
    "WarehouseError",
]

_LAZY = {
    "Coverage": "pit_join.results",
    "Export": "pit_join.export",
    "FeatureLog": "pit_join.feature_log",
    "FeatureStore": "pit_join.api",
    "Monitoring": "pit_join.monitoring",
    "Neighbour": "pit_join.neighbours",
    "OnlineFeatures": "pit_join.vectors",
    "OnlineReader": "pit_join.serving",
    "Parity": "pit_join.parity",
    "TrainingSet": "pit_join.results",
}


def __getattr__(name: str) -> Any:
    # Importing the package must not load DuckDB and Arrow for a program that only catches its errors.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pit_join' has no attribute '{name}'")
