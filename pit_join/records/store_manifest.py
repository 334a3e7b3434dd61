"""The contents of an online store, as the store describes itself: views with their schemas, services, and instants.

It is all that a reader needs, so that reading needs neither the project nor dbt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from xxhash import xxh3_64_hexdigest

from pit_join.errors import RequestError, StoreError, suggest, suggest_service
from pit_join.records.stored_view import StoredView, view_as_json, view_from_json
from pit_join.references import OnDemandRequest, Request, RequestItem, default_alias, parse_reference
from pit_join.statuses import NOT_EXPORTED

__all__ = ["FORMAT", "Contents", "OnDemandArguments", "ResolvedRole", "StoredService"]

FORMAT = 1


class _EmptyError(StoreError):
    """A store to which nothing was exported, or that has lost everything."""

    status = NOT_EXPORTED


@dataclass(frozen=True, slots=True)
class StoredService:
    """A feature service as the project declared it when it was exported.

    `on_demand` is the SQL of its on-demand features: with their defaults, without, and for requests where one of them
    fails (see the macro `_on_demand_column`), which older stores lack; None without on-demand features.
    """

    requests: tuple[RequestItem, ...]
    full_feature_names: bool
    on_demand: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ResolvedRole:
    """One role of a request: a view, the request's names for its keys, and its features with their names."""

    alias: str
    view: StoredView
    key_names: Mapping[str, str]
    features: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnDemandArguments:
    """The arguments of on-demand features: features of roles, named `view:feature` as in SQL, and request fields.

    `fields` has the types of the arguments that each field is for; `returns` are the on-demand features by name with
    their types, `takes` the roles whose features they take.
    """

    roles: tuple[ResolvedRole, ...]
    fields: Mapping[str, tuple[str, ...]]
    returns: Mapping[str, str]
    takes: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Contents:
    """The description that a store keeps of itself.

    `target` is the dbt target that it was exported from; `latest` maps the name of a model with versions to the view of
    the version that was its latest at the export; `duckdb` is the minor version of DuckDB that exported it, such as
    2.0, and empty where an older export did not note it.
    """

    project: str
    target: str
    exported_at: datetime
    views: Mapping[str, StoredView]
    services: Mapping[str, StoredService] = field(default_factory=dict)
    latest: Mapping[str, str] = field(default_factory=dict)
    duckdb: str = ""

    def to_json(self) -> bytes:
        """The bytes that a store keeps; the last name is a checksum of those before it."""
        written = json.dumps(
            {
                "pit_join_online_store": FORMAT,
                "project": self.project,
                "target": self.target,
                "exported_at": self.exported_at.isoformat(),
                "views": {name: view_as_json(view) for name, view in self.views.items()},
                "services": {
                    name: {
                        "features": [request.as_macro_argument() for request in service.requests],
                        "full_feature_names": service.full_feature_names,
                        "on_demand": service.on_demand,
                    }
                    for name, service in self.services.items()
                },
                **({"latest": dict(self.latest)} if self.latest else {}),
                **({"duckdb": self.duckdb} if self.duckdb else {}),
            },
            ensure_ascii=False,
            indent=1,
        ).encode()
        head = written.removesuffix(b"\n}")
        return b'%s,\n "checksum": "%s"\n}' % (head, xxh3_64_hexdigest(head).encode())

    @classmethod
    def from_json(cls, data: bytes | None, where: str) -> Contents:
        """Read the bytes of `to_json`; `where` names the store.

        Raises:
            StoreError: if there are none yet, or they are something else, or of a newer format.
        """
        if data is None:
            raise _EmptyError(f"nothing was exported to {where} yet; run pit-join export")
        try:
            read = json.loads(data)
            found = read["pit_join_online_store"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{where} is damaged or is not a store of pit-join: its contents cannot be read"
            ) from error
        # Older stores have none.
        if "checksum" in read and read["checksum"] != xxh3_64_hexdigest(data[: data.rindex(b",")]):
            raise StoreError(
                f"{where} is damaged: its contents do not have the checksum that they name; run pit-join export"
            )
        if not isinstance(found, int) or not 1 <= found <= FORMAT:
            raise StoreError(
                f"{where} was written by a newer pit-join (format {found}; this one reads up to {FORMAT}); upgrade "
                "pit-join here, or remove the store and export with this version"
            )
        try:
            return cls(
                project=read["project"],
                target=read["target"],
                exported_at=datetime.fromisoformat(read["exported_at"]),
                views={name: view_from_json(name, view) for name, view in read["views"].items()},
                services={name: _service_from_json(service) for name, service in read["services"].items()},
                latest={str(model): str(view) for model, view in read.get("latest", {}).items()},
                duckdb=str(read.get("duckdb", "")),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{where} is damaged: its contents cannot be read ({error!r})") from error

    def service(self, name: str) -> StoredService:
        """The feature service of that name.

        Raises:
            RequestError: naming the nearest known one.
        """
        if name not in self.services:
            raise RequestError(
                f"the online store has no feature service '{name}'; {suggest_service(name, self.services, self.views)}"
            )
        return self.services[name]

    def resolve(
        self, requests: Sequence[RequestItem], full_feature_names: bool = False
    ) -> tuple[tuple[ResolvedRole, ...], tuple[str, ...], OnDemandArguments]:
        """The roles of a request, the names of all features in the order asked for, and what on-demand ones take.

        Names are those that a training set of the same request has.

        Raises:
            RequestError: if a view, feature or key is not in the store, or two features would have one name.
        """
        roles: dict[str, tuple[StoredView, Mapping[str, str]]] = {}
        found: dict[str, dict[str, str]] = {}
        owners: dict[str, str] = {}
        names: list[str] = []

        def take(name: str, owner: str) -> None:
            if owners.setdefault(name.lower(), owner) != owner:
                raise RequestError(
                    f"both {owners[name.lower()]} and {owner} would be named {name}; "
                    + ("rename one of them" if "__" in name else "use full feature names (view__feature)")
                )

        for number, request in enumerate(requests, 1):
            if isinstance(request, OnDemandRequest):
                take(request.name, f"item {number} ({request.macro})")
                names.append(request.name)
                continue
            view, keys = roles.setdefault(request.alias, (self._view(request), self._keys(request)))
            if view.name != self._view(request).name or keys != self._keys(request):
                raise RequestError(
                    f"'{request.alias}' is used in two meanings; give one of them another name (alias=view)"
                )
            for feature in request.features:
                if feature != "*" and feature not in view.features:
                    raise RequestError(
                        f"view '{view.name}' has no feature '{feature}' in the online store; "
                        f"{suggest(feature, view.features, 'features')}"
                    )
                for column in view.features if feature == "*" else (feature,):
                    qualified = full_feature_names or request.is_role
                    name = f"{request.alias}__{column}" if qualified else column
                    take(name, f"{request.alias}:{column}")
                    if column not in found.setdefault(request.alias, {}):
                        found[request.alias][column] = name
                        names.append(name)
        if not names:
            raise RequestError("no features are asked for; name them as view:feature, or view:* for all")
        for _, keys in roles.values():
            for key in keys.values():
                take(key, f"the key {key}")
        computed = [request for request in requests if isinstance(request, OnDemandRequest)]
        return _roles(roles, found), tuple(names), self._arguments(computed, roles)

    def _arguments(
        self, computed: Sequence[OnDemandRequest], roles: dict[str, tuple[StoredView, Mapping[str, str]]]
    ) -> OnDemandArguments:
        needed: dict[str, dict[str, str]] = {}
        fields: dict[str, tuple[str, ...]] = {}
        takes: dict[str, frozenset[str]] = {}
        for request in computed:
            references = filter(None, map(parse_reference, request.sources().values()))
            takes[request.name] = frozenset(default_alias(view) for view, _ in references)
            for argument, source in request.sources().items():
                reference = parse_reference(source)
                if reference is None:
                    fields[source] = (*fields.get(source, ()), request.types[argument])
                    continue
                view, column = reference
                alias = default_alias(view)
                if alias not in roles:
                    plain = Request(view, (column,), alias)
                    roles[alias] = (self._view(plain), self._keys(plain))
                if column not in roles[alias][0].features:
                    raise RequestError(
                        f"view '{view}' has no feature '{column}' in the online store, which '{request.name}' needs"
                    )
                needed.setdefault(alias, {})[column] = f"{alias}:{column}"
        returns = {request.name: request.returns for request in computed}
        return OnDemandArguments(_roles(roles, needed), fields, returns, takes)

    def _view(self, request: Request) -> StoredView:
        found = self.views.get(self.latest.get(request.view, request.view))
        if found is None:
            raise RequestError(
                f"the online store has no feature view '{request.view}'; export it (online: true), or is the name "
                f"wrong? {suggest(request.view, self.views, 'feature views')}"
            )
        return found

    def _keys(self, request: Request) -> Mapping[str, str]:
        keys = self._view(request).keys
        for key in request.join_keys:
            if key not in keys:
                known = suggest(key, keys, "join keys")
                raise RequestError(f"view '{request.view}' has no join key '{key}'; {known}")
        return {key: request.join_keys.get(key, key) for key in keys}


def _roles(
    roles: Mapping[str, tuple[StoredView, Mapping[str, str]]], features: Mapping[str, Mapping[str, str]]
) -> tuple[ResolvedRole, ...]:
    """The roles with the names of their features, by role and column."""
    return tuple(
        ResolvedRole(alias, *roles[alias], tuple(names), tuple(names.values())) for alias, names in features.items()
    )


def _service_from_json(read: Mapping[str, Any]) -> StoredService:
    requests, statements = tuple(map(_request_from_json, read["features"])), read.get("on_demand")
    if any(isinstance(request, OnDemandRequest) for request in requests) != (statements is not None):
        raise TypeError("on-demand features and their SQL do not belong together")
    if statements is not None and (not isinstance(statements, list) or len(statements) not in (2, 3)):
        raise TypeError(f"the SQL of on-demand features is {statements!r}")
    return StoredService(requests, read["full_feature_names"], None if statements is None else _texts(*statements))


def _request_from_json(item: Mapping[str, Any]) -> RequestItem:
    if "on_demand" in item:
        given = (item["on_demand"], item["as"], item["arguments"], item["types"], item["returns"], item["default"])
        for mapping in (item["arguments"], item["types"]):
            _texts(*mapping, *mapping.values())
        _texts(item["on_demand"], item["as"], item["returns"])
        return OnDemandRequest(*given)
    _texts(item["view"], item["as"], *item["features"], *item["join_keys"], *item["join_keys"].values())
    return Request(item["view"], tuple(item["features"]), item["as"], item["join_keys"])


def _texts(*found: Any) -> tuple[str, ...]:
    for each in found:
        if not isinstance(each, str):
            raise TypeError(f"{each!r} is not a text")
        each.encode()  # a lone surrogate, which JSON can write, is a ValueError
    return found
