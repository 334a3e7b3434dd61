"""The declarations of a project as plain values: entities, features, feature views and feature services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import timedelta
from typing import Any

from pit_join.definitions.field_type import FieldType
from pit_join.references import RequestItem

__all__ = [
    "Aggregation",
    "Entity",
    "Feature",
    "FeatureService",
    "FeatureView",
    "FreshnessSlo",
    "Limits",
    "OnDemandFeature",
]


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing that features describe, and the keys that identify it; no name and no keys if it is everything."""

    name: str
    join_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FreshnessSlo:
    """A bound on the age of the newest value that is served.

    `impact` is what it means if the value is older, `owner` who is to be told.
    """

    within: timedelta
    impact: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of monitoring on a feature; None where there is no bound, or the usual one.

    `null_rate` is the greatest share of nulls, `default_rate` that of values which are replaced by a default or null.
    `psi` is the greatest population stability index, which breaches when it was exceeded in `after` runs in a row;
    with fewer than `min_rows` rows on either side it is not judged.
    """

    null_rate: float | None = None
    default_rate: float | None = None
    psi: float | None = None
    after: int | None = None
    min_rows: int | None = None

    def over(self, wider: Limits) -> Limits:
        """Return these limits, and those of the view where a feature has none."""
        return Limits(*(b if a is None else a for a, b in zip(astuple(self), astuple(wider), strict=True)))


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of a feature view; `default` replaces a null in training and online alike.

    `nearest` is the metric of embeddings (see `embeddings.METRICS`); None for a feature that is not searched. The
    values of a `sensitive` feature are in no statistics, findings, reports and alerts, nor in the feature log.
    """

    name: str
    data_type: FieldType
    default: Any = None
    freshness_slo: FreshnessSlo | None = None
    nearest: str | None = None
    limits: Limits = Limits()
    sensitive: bool = False


ARITHMETIC = ("sum", "avg", "stddev")
"""The functions of windows that add up values."""

COUNTS = ("count", "count_distinct")
"""The functions of windows that are 0, and not null, where there is no event."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """One feature of a window view: a function of the events in a sliding window.

    `column` is what is aggregated (None: the rows themselves are counted), `window` how far back it reaches (None: to
    the first event), `where` an SQL condition that an event must meet, `n` how many values `last_n` keeps at most.
    `data_type` is the type of the result; `default` replaces a null in training and online alike; `limits` are those
    of monitoring.
    """

    name: str
    function: str
    column: str | None
    window: timedelta | None
    where: str | None
    n: int | None
    default: Any
    data_type: FieldType
    limits: Limits = Limits()

    @property
    def counts(self) -> bool:
        """Whether the feature is 0, and not null, where there is no event."""
        return self.function in COUNTS

    @property
    def adds_up(self) -> bool:
        """Whether values are added up: floats are then rounded."""
        return self.function in ARITHMETIC


@dataclass(frozen=True, slots=True)
class FeatureView:
    """A dbt model whose rows say what was true of an entity at an instant, or are events to aggregate.

    `key_columns` maps the keys of the entity to the columns of the table that hold them. `created_timestamp` is
    when a row became known, `lag` how long after the event time it does; values older than `ttl` are null. `types`
    are the declared types of all columns, `relation` is the table as SQL names it, `location` its database, schema
    and name, `path` the YAML file that declares it, `unique_id` is dbt's name of the model, with its version.
    `online_store` is the name of the online store that it is exported to, empty for the default one; what is served
    from it is stale if the export is older than `max_staleness`.

    A `static` view has one row for each key, and no times: `event_timestamp` is empty, and the rows hold at any time.

    A view with `aggregations` is a window view: its rows are events, and its features are exactly the aggregations, in
    their order, each over one window. `closed` is the end of the windows that counts: "left" takes the events with
    T - window <= event time that are known strictly before T, "right" those with T - window < event time that are known
    at or before T. `event_key` are the columns whose equal values make rows versions of one event, of which the newest
    by `created_timestamp` counts; with none every row is an event of its own. On any other view neither has a meaning.

    The keys of a view that `hides_keys` are in no findings, reports and alerts, nor in the feature log.

    `clock_times` are its naive times that dbt's clock wrote into a snapshot, in a time zone that the view does not say.
    """

    name: str
    entity: Entity
    key_columns: Mapping[str, str]
    event_timestamp: str
    features: tuple[Feature, ...]
    types: Mapping[str, FieldType]
    relation: str
    location: tuple[str, str, str]
    path: str
    unique_id: str
    description: str = ""
    created_timestamp: str | None = None
    lag: timedelta = timedelta(0)
    ttl: timedelta | None = None
    inclusive: bool = True
    online: bool = True
    online_store: str = ""
    freshness_slo: FreshnessSlo | None = None
    max_staleness: timedelta | None = None
    deleted: str | None = None
    static: bool = False
    aggregations: tuple[Aggregation, ...] = ()
    closed: str = "left"
    event_key: tuple[str, ...] = ()
    clock_times: tuple[str, ...] = ()
    hides_keys: bool = False

    @property
    def join_keys(self) -> tuple[str, ...]:
        """The keys of the entity, as spines and requests name them; none for a view that holds for every row."""
        return self.entity.join_keys

    @property
    def key_types(self) -> dict[str, FieldType]:
        """The declared types of the keys."""
        return {key: self.types[column] for key, column in self.key_columns.items()}


@dataclass(frozen=True, slots=True)
class OnDemandFeature:
    """A macro of the project that renders an SQL expression of its arguments.

    `types` are those of its arguments and `returns` that of the result, as SQL names them; `default` stands for a null.
    """

    name: str
    types: Mapping[str, str]
    returns: str
    default: Any
    path: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class FeatureService:
    """The features of one model, a dbt exposure of `type: ml`."""

    name: str
    requests: tuple[RequestItem, ...]
    path: str
    description: str = ""
    full_feature_names: bool = False
