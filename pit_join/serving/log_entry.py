"""The entries of the feature log: what a request asked for, and what it was served."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol

from pit_join.records.store_manifest import FORMAT, OnDemandArguments, ResolvedRole
from pit_join.references import OnDemandRequest, RequestItem, default_alias, parse_reference
from pit_join.serving.features import OnlineFeatures

__all__ = ["LOG_FORMAT", "LOG_METADATA", "LogSource", "Served", "ServedLog", "Unlogged"]

LOG_FORMAT = 1
LOG_METADATA = b"pit_join_feature_log"
"""The key of `LogSource.metadata` in the metadata of a Parquet file."""


class Unlogged(NamedTuple):
    """The names of features, keys and request fields that are sensitive: the log has nulls in their place."""

    features: frozenset[str]
    keys: frozenset[str]
    fields: frozenset[str]


@dataclass(frozen=True, eq=False)
class LogSource:
    """The features that a reader is prepared for.

    `service` names them; a list of references leaves it None. `project` and `target` are those of the export,
    `resolved` are the roles, the names of the features, and the arguments of on-demand features. Properties are
    computed when they are first needed.
    """

    service: str | None
    requests: Sequence[RequestItem]
    full_feature_names: bool
    defaults: bool
    project: str
    target: str
    resolved: tuple[tuple[ResolvedRole, ...], tuple[str, ...], OnDemandArguments]

    @cached_property
    def roles(self) -> dict[str, ResolvedRole]:
        """The roles by name, those that only on-demand features read among them."""
        stored, _, needed = self.resolved
        return {role.alias: role for role in (*needed.roles, *stored)}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features in the order asked for."""
        return self.resolved[1]

    @cached_property
    def role_of(self) -> dict[str, str]:
        """For every stored feature, by the name it has here, its role."""
        return {name: role.alias for role in self.resolved[0] for name in role.names}

    @cached_property
    def keys(self) -> dict[str, str]:
        """The keys of an entity row with their kinds (see `keys.key_kind`)."""
        return {role.key_names[key]: kind for role in self.roles.values() for key, kind in role.view.keys.items()}

    @cached_property
    def fields(self) -> Mapping[str, tuple[str, ...]]:
        """The request fields with the SQL types of the arguments that each is for."""
        return self.resolved[2].fields

    @cached_property
    def unlogged(self) -> Unlogged:
        """The names whose values the log does not get.

        An on-demand feature is as sensitive as its arguments; a field that only sensitive ones take goes with them.
        A key that several roles share is hidden for all of them if one of their views hides it.
        """
        keys = {name for role in self.roles.values() if role.view.hides_keys for name in role.key_names.values()}
        features = {
            name
            for role in self.resolved[0]
            for feature, name in zip(role.features, role.names, strict=True)
            if feature in role.view.sensitive
        }
        taken: set[str] = set()
        for request in self.requests:
            if isinstance(request, OnDemandRequest):
                sources = {source: parse_reference(source) for source in request.sources().values()}
                if any(
                    found[1] in self.roles[default_alias(found[0])].view.sensitive if found else source in keys
                    for source, found in sources.items()
                ):
                    features.add(request.name)
                else:
                    taken.update(source for source, found in sources.items() if not found)
        return Unlogged(frozenset(features), frozenset(keys), frozenset(self.fields.keys() - taken))

    @cached_property
    def metadata(self) -> bytes:
        """A description from which the offline rule can be asked for the same features, as JSON."""
        stored, names, _ = self.resolved
        features: dict[str, dict[str, Any]] = {}
        for role in stored:
            types = {field.name: field.type for field in role.view.layout.fields}
            for feature, name in zip(role.features, role.names, strict=True):
                features[name] = {"name": name, "role": role.alias, "feature": feature, "type": types[feature]}
        for request in self.requests:
            if isinstance(request, OnDemandRequest):
                features[request.name] = {"name": request.name, "on_demand": request.macro, "returns": request.returns}
        unlogged = {what: sorted(some) for what, some in self.unlogged._asdict().items()}
        return json.dumps(
            {
                "format": LOG_FORMAT,
                "pit_join": version("pit-join"),
                "store_format": FORMAT,
                "project": self.project,
                "target": self.target,
                "service": self.service,
                "references": [request.as_macro_argument() for request in self.requests],
                "full_feature_names": self.full_feature_names,
                "defaults": self.defaults,
                "keys": self.keys,
                "fields": {name: list(types) for name, types in self.fields.items()},
                "roles": {
                    alias: {"view": role.view.name, "keys": dict(role.key_names)} for alias, role in self.roles.items()
                },
                "features": [features[name] for name in names],
                **({"unlogged": unlogged} if any(unlogged.values()) else {}),
            },
            ensure_ascii=False,
            default=str,
        ).encode()


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """One request as it was served.

    `moment` is the instant at which ages were judged (microseconds UTC), `rows` are the keys and request fields by
    name, a list each. `values` are the features of a single row as they were returned; None where `features` has them.
    """

    source: LogSource
    moment: int
    rows: Mapping[str, Sequence[Any]]
    features: OnlineFeatures
    values: Mapping[str, Any] | None = None


class ServedLog(Protocol):
    """A log of what is served, such as `FeatureLog`; a request waits for both methods, so they must be quick."""

    def sampled(self) -> bool:
        """Whether this request is to be logged."""

    def add(self, rows: int, make: Callable[[], Served]) -> None:
        """Log so many rows, which `make` describes later, in the log's own thread."""
