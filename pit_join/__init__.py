"""pit-join: a SQL-first feature store on dbt and DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pit_join.errors import (
    EntityError,
    PitJoinError,
    ProjectError,
    RequestError,
    SpineError,
    StoreError,
    WarehouseError,
)

if TYPE_CHECKING:
    from pit_join.export.export import Export
    from pit_join.feature_store import FeatureStore
    from pit_join.monitoring.feature_log import FeatureLog
    from pit_join.monitoring.findings import Monitoring
    from pit_join.monitoring.parity import Parity
    from pit_join.serving.features import OnlineFeatures
    from pit_join.serving.neighbours import Neighbour
    from pit_join.serving.reader import OnlineReader
    from pit_join.training.result import Coverage, TrainingSet

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
    "RequestError",
    "SpineError",
    "StoreError",
    "TrainingSet",
    "WarehouseError",
]

_LAZY = {
    "Coverage": "pit_join.training.result",
    "Export": "pit_join.export.export",
    "FeatureLog": "pit_join.monitoring.feature_log",
    "FeatureStore": "pit_join.feature_store",
    "Monitoring": "pit_join.monitoring.findings",
    "Neighbour": "pit_join.serving.neighbours",
    "OnlineFeatures": "pit_join.serving.features",
    "OnlineReader": "pit_join.serving.reader",
    "Parity": "pit_join.monitoring.parity",
    "TrainingSet": "pit_join.training.result",
}


def __getattr__(name: str) -> Any:
    # Importing the package must not load DuckDB and Arrow for a program that only catches its errors.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pit_join' has no attribute '{name}'")
