"""pit-join: a SQL-first feature store on dbt and DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pit_join.errors import (
    ComputeError,
    EntityError,
    PitJoinError,
    ProjectError,
    RequestError,
    SpineError,
    StoreError,
    StoreUrlError,
    WarehouseError,
)

if TYPE_CHECKING:
    from pit_join.audit.findings import (
        AuditedColumn,
        AuditExample,
        Cause,
        FilledNulls,
        SuspectColumn,
        TrainingSetAudit,
    )
    from pit_join.audit.replay_result import Replay, ReplayedView, ReplayExample
    from pit_join.catalog import Check
    from pit_join.definitions.field_type import FieldType
    from pit_join.definitions.registry import Registry
    from pit_join.definitions.views import (
        Aggregation,
        Entity,
        Feature,
        FeatureService,
        FeatureView,
        FreshnessSlo,
        Limits,
        OnDemandFeature,
    )
    from pit_join.export.export import Export
    from pit_join.feature_store import FeatureStore
    from pit_join.history.backfill import Backfill
    from pit_join.history.batches import BatchInput, BatchModel, WholeTable
    from pit_join.history.plan import BackfillPlan, BatchRange
    from pit_join.monitoring.drift import Drift, DriftedFeature
    from pit_join.monitoring.feature_log import FeatureLog
    from pit_join.monitoring.findings import FeatureSkew, Monitoring, Skew, SkewExample, StaleView
    from pit_join.monitoring.freshness import FeatureFreshness, Freshness
    from pit_join.monitoring.parity import Difference, Parity
    from pit_join.monitoring.rates import FeatureRates, Rates
    from pit_join.monitoring.results import Result
    from pit_join.online.protocol import Changes
    from pit_join.references import OnDemandRequest, Request
    from pit_join.report.report import Report
    from pit_join.serving.features import OnlineFeatures
    from pit_join.serving.neighbours import Neighbour
    from pit_join.serving.reader import OnlineReader
    from pit_join.serving.vector import FeatureVector
    from pit_join.training.build import TrainingBuild
    from pit_join.training.comparison import ColumnDifference, LoneRow, SetComparison, SetExample
    from pit_join.training.explanation import (
        ExplainedArgument,
        ExplainedRow,
        ExplainedWindow,
        Explanation,
        OnlineValue,
        Verdict,
    )
    from pit_join.training.profiles import FeatureDrift, FeatureProfile
    from pit_join.training.request import TrainingRequest
    from pit_join.training.result import Coverage, TrainingSet
    from pit_join.training.set_changes import SetChange
    from pit_join.training.set_file import SetFile
    from pit_join.training.set_metadata import DeclaredView, FeatureStatistics, ModelHash, SetMetadata
    from pit_join.training.set_table import TrainingTable

__all__ = [
    "Aggregation",
    "AuditExample",
    "AuditedColumn",
    "Backfill",
    "BackfillPlan",
    "BatchInput",
    "BatchModel",
    "BatchRange",
    "Cause",
    "Changes",
    "Check",
    "ColumnDifference",
    "ComputeError",
    "Coverage",
    "DeclaredView",
    "Difference",
    "Drift",
    "DriftedFeature",
    "Entity",
    "EntityError",
    "ExplainedArgument",
    "ExplainedRow",
    "ExplainedWindow",
    "Explanation",
    "Export",
    "Feature",
    "FeatureDrift",
    "FeatureFreshness",
    "FeatureLog",
    "FeatureProfile",
    "FeatureRates",
    "FeatureService",
    "FeatureSkew",
    "FeatureStatistics",
    "FeatureStore",
    "FeatureVector",
    "FeatureView",
    "FieldType",
    "FilledNulls",
    "Freshness",
    "FreshnessSlo",
    "Limits",
    "LoneRow",
    "ModelHash",
    "Monitoring",
    "Neighbour",
    "OnDemandFeature",
    "OnDemandRequest",
    "OnlineFeatures",
    "OnlineReader",
    "OnlineValue",
    "Parity",
    "PitJoinError",
    "ProjectError",
    "Rates",
    "Registry",
    "Replay",
    "ReplayExample",
    "ReplayedView",
    "Report",
    "Request",
    "RequestError",
    "Result",
    "SetChange",
    "SetComparison",
    "SetExample",
    "SetFile",
    "SetMetadata",
    "Skew",
    "SkewExample",
    "SpineError",
    "StaleView",
    "StoreError",
    "StoreUrlError",
    "SuspectColumn",
    "TrainingBuild",
    "TrainingRequest",
    "TrainingSet",
    "TrainingSetAudit",
    "TrainingTable",
    "Verdict",
    "WarehouseError",
    "WholeTable",
]

_LAZY = {
    "Aggregation": "pit_join.definitions.views",
    "AuditExample": "pit_join.audit.findings",
    "AuditedColumn": "pit_join.audit.findings",
    "Backfill": "pit_join.history.backfill",
    "BackfillPlan": "pit_join.history.plan",
    "BatchInput": "pit_join.history.batches",
    "BatchModel": "pit_join.history.batches",
    "BatchRange": "pit_join.history.plan",
    "Cause": "pit_join.audit.findings",
    "Changes": "pit_join.online.protocol",
    "Check": "pit_join.catalog",
    "ColumnDifference": "pit_join.training.comparison",
    "Coverage": "pit_join.training.result",
    "DeclaredView": "pit_join.training.set_metadata",
    "Difference": "pit_join.monitoring.parity",
    "Drift": "pit_join.monitoring.drift",
    "DriftedFeature": "pit_join.monitoring.drift",
    "Entity": "pit_join.definitions.views",
    "ExplainedArgument": "pit_join.training.explanation",
    "ExplainedRow": "pit_join.training.explanation",
    "ExplainedWindow": "pit_join.training.explanation",
    "Explanation": "pit_join.training.explanation",
    "Export": "pit_join.export.export",
    "Feature": "pit_join.definitions.views",
    "FeatureDrift": "pit_join.training.profiles",
    "FeatureFreshness": "pit_join.monitoring.freshness",
    "FeatureLog": "pit_join.monitoring.feature_log",
    "FeatureProfile": "pit_join.training.profiles",
    "FeatureRates": "pit_join.monitoring.rates",
    "FeatureService": "pit_join.definitions.views",
    "FeatureSkew": "pit_join.monitoring.findings",
    "FeatureStatistics": "pit_join.training.set_metadata",
    "FeatureStore": "pit_join.feature_store",
    "FeatureVector": "pit_join.serving.vector",
    "FeatureView": "pit_join.definitions.views",
    "FieldType": "pit_join.definitions.field_type",
    "FilledNulls": "pit_join.audit.findings",
    "Freshness": "pit_join.monitoring.freshness",
    "FreshnessSlo": "pit_join.definitions.views",
    "Limits": "pit_join.definitions.views",
    "LoneRow": "pit_join.training.comparison",
    "ModelHash": "pit_join.training.set_metadata",
    "Monitoring": "pit_join.monitoring.findings",
    "Neighbour": "pit_join.serving.neighbours",
    "OnDemandFeature": "pit_join.definitions.views",
    "OnDemandRequest": "pit_join.references",
    "OnlineFeatures": "pit_join.serving.features",
    "OnlineReader": "pit_join.serving.reader",
    "OnlineValue": "pit_join.training.explanation",
    "Parity": "pit_join.monitoring.parity",
    "Rates": "pit_join.monitoring.rates",
    "Registry": "pit_join.definitions.registry",
    "Replay": "pit_join.audit.replay_result",
    "ReplayExample": "pit_join.audit.replay_result",
    "ReplayedView": "pit_join.audit.replay_result",
    "Report": "pit_join.report.report",
    "Request": "pit_join.references",
    "Result": "pit_join.monitoring.results",
    "SetChange": "pit_join.training.set_changes",
    "SetComparison": "pit_join.training.comparison",
    "SetExample": "pit_join.training.comparison",
    "SetFile": "pit_join.training.set_file",
    "SetMetadata": "pit_join.training.set_metadata",
    "Skew": "pit_join.monitoring.findings",
    "SkewExample": "pit_join.monitoring.findings",
    "StaleView": "pit_join.monitoring.findings",
    "SuspectColumn": "pit_join.audit.findings",
    "TrainingBuild": "pit_join.training.build",
    "TrainingRequest": "pit_join.training.request",
    "TrainingSet": "pit_join.training.result",
    "TrainingSetAudit": "pit_join.audit.findings",
    "TrainingTable": "pit_join.training.set_table",
    "Verdict": "pit_join.training.explanation",
    "WholeTable": "pit_join.history.batches",
}


def __getattr__(name: str) -> Any:
    # Importing the package must not load DuckDB and Arrow for a program that only catches its errors.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pit_join' has no attribute '{name}'")
