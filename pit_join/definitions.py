"""What a project can declare, as plain values: entities, features, feature views and feature services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pit_join.references import Request

__all__ = ["Entity", "Feature", "FeatureService", "FeatureView"]


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing that features describe, and the columns that tell one from another."""

    name: str
    join_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of a feature view; `default` stands for a null in training and online alike."""

    name: str
    data_type: str
    default: Any = None
    freshness_slo: timedelta | None = None


@dataclass(frozen=True, slots=True)
class FeatureView:
    """A dbt model whose rows say what was true of an entity at an instant.

    `created_timestamp` is when a row became known, `lag` how long after the event time it does; values older than
    `ttl` are null. `types` are the declared types of all columns, `relation` is the table as SQL names it,
    `location` its database, schema and name, `path` the YAML file that declares it.
    """

    name: str
    entity: Entity
    event_timestamp: str
    features: tuple[Feature, ...]
    types: Mapping[str, str]
    relation: str
    location: tuple[str, str, str]
    path: str
    description: str = ""
    created_timestamp: str | None = None
    lag: timedelta = timedelta(0)
    ttl: timedelta | None = None
    inclusive: bool = True
    online: bool = True
    freshness_slo: timedelta | None = None
    deleted: str | None = None

    @property
    def join_keys(self) -> tuple[str, ...]:
        """The columns that identify the entity."""
        return self.entity.join_keys


@dataclass(frozen=True, slots=True)
class FeatureService:
    """The features of one model, a dbt exposure of `type: ml`."""

    name: str
    requests: tuple[Request, ...]
    path: str
    description: str = ""
    full_feature_names: bool = False
