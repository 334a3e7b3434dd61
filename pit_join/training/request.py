"""The request for a training set: one object, from the command line and from Python to the macros."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pit_join.definitions.registry import Registry
from pit_join.errors import PitJoinError
from pit_join.references import RequestItem
from pit_join.times import gap_text

__all__ = ["TrainingRequest"]

_WINDOW_PLANS = (None, "range", "stacked")


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """The features of a training set, its spine, and its options.

    Attributes:
        spine: the name of a seed or model, a CSV or Parquet file, or a table in memory.
        requests: the features, see `parse_features`.
        event_timestamp: the spine's column with the time T of each row; naive is UTC.
        gap: predict this long ahead: every T becomes T - gap.
        full_feature_names: name every feature `view__feature`.
        provenance: add `<view>__event_timestamp` and `<view>__status`.
        defaults: replace nulls by the declared defaults.
        window_plan: join all window views by this plan, `range` or `stacked`, instead of the one that looks cheaper.

    Raises:
        PitJoinError: if there is no such window plan, or the gap is not a duration.
    """

    spine: Any
    requests: tuple[RequestItem, ...]
    event_timestamp: str = "event_timestamp"
    gap: str | None = None
    full_feature_names: bool = False
    provenance: bool = False
    defaults: bool = True
    window_plan: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "gap", gap_text(self.gap))
        if self.window_plan not in _WINDOW_PLANS:
            raise PitJoinError(f"unknown window plan '{self.window_plan}'; there are range and stacked")

    def checked(self, registry: Registry) -> TrainingRequest:
        """Return the request with what the project declares of its on-demand features.

        Raises:
            RequestError: with every problem of the requests.
        """
        return replace(self, requests=registry.check(self.requests))

    @property
    def references(self) -> list[dict[str, Any]]:
        """The features as macros take them."""
        return [request.as_macro_argument() for request in self.requests]

    def macro_arguments(self, alias: str | None = None) -> dict[str, Any]:
        """Return the arguments of the macros for all views, or for one role."""
        # An on-demand feature may take arguments from any view.
        everything = alias is None or any("on_demand" in item for item in self.references)
        return {
            "features": [item for item in self.references if everything or item["as"] == alias],
            "full_feature_names": self.full_feature_names,
            "provenance": self.provenance,
            "defaults": self.defaults,
        }

    def as_metadata(self) -> Mapping[str, Any]:
        """Return everything except the spine as plain values, for the metadata of files."""
        return {
            "references": self.references,
            "event_timestamp": self.event_timestamp,
            "gap": self.gap,
            "full_feature_names": self.full_feature_names,
            "provenance": self.provenance,
            "defaults": self.defaults,
            "window_plan": self.window_plan,
        }
