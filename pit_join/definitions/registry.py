"""What a dbt project declares: entities, feature views and feature services, read from dbt's manifest and checked.

The manifest is the only registry; nothing else stores definitions. Source: `config.meta.pit_join` of models, seeds,
snapshots and exposures (docs/concepts.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from pit_join.definitions.aggregations import WindowSettings, check_column, read_window_settings
from pit_join.definitions.settings import Wrong, check_keys, default_problem, read_duration, read_flag, read_name, within
from pit_join.definitions.views import Entity, Feature, FeatureService, FeatureView, OnDemandFeature
from pit_join.records.embeddings import read_nearest
from pit_join.errors import ProjectError, ReferenceError, suggest
from pit_join.definitions.on_demand import read_on_demand
from pit_join.references import Asked, OnDemandRequest, Request, parse_features, parse_reference

__all__ = ["Registry"]

_VIEW_KEYS = (
    "entity",
    "join_keys",
    "created_timestamp",
    "lag",
    "ttl",
    "inclusive",
    "online",
    "online_store",
    "freshness_slo",
    "deleted",
    "aggregations",
    "closed",
    "event_key",
)
_COLUMN_KEYS = ("default", "exclude", "freshness_slo", "nearest")
_SERVICE_KEYS = ("features", "full_feature_names")
_TIME_TYPES = ("timestamp", "date", "datetime")


@dataclass(frozen=True, slots=True)
class Registry:
    """All definitions of a project by name."""

    entities: Mapping[str, Entity]
    views: Mapping[str, FeatureView]
    services: Mapping[str, FeatureService]
    on_demand: Mapping[str, OnDemandFeature]

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Registry:
        """Read and check a manifest (the parsed `manifest.json` of dbt 1.10 or newer).

        Raises:
            ProjectError: with every problem of the project, each naming its file and key.
        """
        reader = _Reader()
        for macro in (manifest.get("macros") or {}).values():
            reader.macro(macro, manifest["metadata"]["project_name"])
        for node in manifest["nodes"].values():
            meta = (node.get("config") or {}).get("meta") or {}
            if "pit_join" in meta and node["resource_type"] in ("model", "seed", "snapshot"):
                reader.view(node, meta["pit_join"])
        views = reader.views
        for exposure in manifest["exposures"].values():
            meta = (exposure.get("config") or {}).get("meta") or exposure.get("meta") or {}
            if "pit_join" in meta:
                reader.service(exposure, meta["pit_join"])
        if reader.problems:
            raise ProjectError(sorted(reader.problems))
        return cls(entities=reader.entities, views=views, services=reader.services, on_demand=reader.on_demand)

    def view(self, name: str) -> FeatureView:
        """The feature view of that name.

        Raises:
            ReferenceError: naming the nearest known one.
        """
        if name not in self.views:
            raise ReferenceError(f"unknown feature view '{name}'; {suggest(name, self.views, 'feature views')}")
        return self.views[name]

    def service(self, name: str) -> FeatureService:
        """The feature service of that name.

        Raises:
            ReferenceError: naming the nearest known one.
        """
        if name not in self.services:
            raise ReferenceError(
                f"unknown feature service '{name}'; {suggest(name, self.services, 'feature services')}"
            )
        return self.services[name]

    def check(self, requests: tuple[Asked, ...]) -> tuple[Asked, ...]:
        """Check that views, features, keys and macros of the requests exist, and that a role means one thing.

        Gives the requests with what the project declares of the macros.

        Raises:
            ReferenceError: with every problem.
        """
        stored = tuple(request for request in requests if isinstance(request, Request))
        problems = list(_request_problems(stored, self.views))
        problems += _on_demand_problems(requests, self.views, self.on_demand)
        if problems:
            raise ReferenceError("\n".join(problems))
        return tuple(self._complete(request) for request in requests)

    def _complete(self, request: Asked) -> Asked:
        if isinstance(request, Request):
            return request
        declared = self.on_demand[request.macro]
        return replace(request, types=declared.types, returns=declared.returns, default=declared.default)


def _on_demand_problems(
    requests: tuple[Asked, ...], views: Mapping[str, FeatureView], on_demand: Mapping[str, OnDemandFeature]
) -> Iterator[str]:
    roles = {request.alias: request.view for request in requests if isinstance(request, Request)}
    for request in requests:
        if not isinstance(request, OnDemandRequest):
            continue
        if request.name.lower().startswith("_pit_"):
            yield f"the name '{request.name}' is not free: names that start with _pit_ are kept for the joins"
        if request.macro not in on_demand:
            known = suggest(request.macro, on_demand, "on-demand features")
            yield f"there is no macro '{request.macro}' with config.meta.pit_join; {known}"
            continue
        types = on_demand[request.macro].types
        for argument, source in request.arguments.items():
            if argument not in types:
                yield f"'{request.macro}' has no argument '{argument}'; {suggest(argument, types, 'arguments')}"
            if found := parse_reference(source):
                view = views.get(roles.get(found[0], found[0]))
                if view is None:
                    known = suggest(found[0], {*views, *roles}, "feature views")
                    yield f"unknown feature view '{found[0]}' in the arguments of '{request.name}'; {known}"
                elif found[1] not in (names := [feature.name for feature in view.features]):
                    yield f"view '{view.name}' has no feature '{found[1]}'; {suggest(found[1], names, 'features')}"


def _request_problems(requests: tuple[Request, ...], views: Mapping[str, FeatureView]) -> Iterator[str]:
    roles: dict[str, Request] = {}
    if not requests:
        yield "no features are asked for; name them as view:feature, or view:* for all"
    for request in requests:
        if request.view not in views:
            if request.view not in {seen.view for seen in roles.values()}:
                yield f"unknown feature view '{request.view}'; {suggest(request.view, views, 'feature views')}"
            roles.setdefault(request.alias, request)
            continue
        if request.alias.lower().startswith("_pit_"):
            yield f"the name '{request.alias}' is not free: names that start with _pit_ are kept for the joins"
        for other in roles:
            if other != request.alias and other.lower() == request.alias.lower():
                yield f"letter case does not tell '{other}' and '{request.alias}' apart; rename one of them"
        first = roles.setdefault(request.alias, request)
        if (first.view, first.join_keys) != (request.view, request.join_keys):
            yield f"'{request.alias}' is used in two meanings; give one of them another name (alias=view)"
        view = views[request.view]
        for key in request.join_keys:
            if key not in view.join_keys:
                yield f"view '{view.name}' has no join key '{key}'; {suggest(key, view.join_keys, 'join keys')}"
        names = [feature.name for feature in view.features]
        for name in request.features:
            if name != "*" and name not in names:
                yield f"view '{view.name}' has no feature '{name}'; {suggest(name, names, 'features')}"


class _Reader:
    """Collects definitions and, beside them, every problem on the way."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.entities: dict[str, Entity] = {}
        self.views: dict[str, FeatureView] = {}
        self.services: dict[str, FeatureService] = {}
        self.on_demand: dict[str, OnDemandFeature] = {}

    def macro(self, macro: Mapping[str, Any], project: str) -> None:
        name = macro["name"] if macro["package_name"] == project else f"{macro['package_name']}.{macro['name']}"
        path = _path(macro)

        def wrong(key: str, problem: str) -> None:
            self.problems.append(f"{path}: {name}: {key}: {problem}")

        if found := read_on_demand(macro, name, path, wrong):
            self.on_demand[name] = found

    def view(self, node: Mapping[str, Any], meta: Any) -> None:
        name = node["name"]
        path = _path(node)
        before = len(self.problems)

        def wrong(key: str, problem: str) -> None:
            self.problems.append(f"{path}: {name}: {key}: {problem}")

        if not isinstance(meta, Mapping):
            wrong("config.meta.pit_join", f"must be a mapping, got {meta!r}; allowed keys are {', '.join(_VIEW_KEYS)}")
            return
        if name in self.views:
            wrong("name", f"two feature views have this name; the other is in {self.views[name].path}")
        check_keys(meta, _VIEW_KEYS, within(wrong, "config.meta.pit_join"))
        columns = node.get("columns") or {}
        types = _types(columns)
        event_timestamp = (node.get("config") or {}).get("event_time")
        entity = self._entity(meta, event_timestamp, types, wrong)
        if not event_timestamp:
            wrong("config.event_time", "is missing; name the column with the instant that a row describes")
        features, windows = self._contents(columns, entity, event_timestamp, meta, wrong)
        materialized = (node.get("config") or {}).get("materialized")
        if materialized in ("view", "ephemeral"):
            wrong(
                "config.materialized", f"a feature view must be stored, got '{materialized}'; use table or incremental"
            )
        view = FeatureView(
            name=name,
            entity=entity,
            event_timestamp=event_timestamp or "",
            features=features,
            types=types,
            relation=node.get("relation_name") or "",
            location=(str(node.get("database")), str(node.get("schema")), str(node.get("alias") or name)),
            path=path,
            description=node.get("description") or "",
            created_timestamp=meta.get("created_timestamp"),
            lag=read_duration(meta, "lag", wrong) or timedelta(0),
            ttl=read_duration(meta, "ttl", wrong, positive=True),
            inclusive=read_flag(meta, "inclusive", True, wrong),
            online=read_flag(meta, "online", True, wrong),
            online_store=read_name(meta, "online_store", wrong),
            freshness_slo=read_duration(meta, "freshness_slo", wrong, positive=True),
            deleted=meta.get("deleted"),
            aggregations=windows.aggregations,
            closed=windows.closed,
            event_key=windows.event_key,
        )
        # A broken view stays known by name, so that a service which uses it is not reported as well.
        self.views[name] = view
        if len(self.problems) == before:
            self.entities.setdefault(entity.name, entity)

    def service(self, exposure: Mapping[str, Any], meta: Any) -> None:
        name = exposure["name"]
        path = _path(exposure)

        def wrong(key: str, problem: str) -> None:
            self.problems.append(f"{path}: {name}: {key}: {problem}")

        if not isinstance(meta, Mapping):
            wrong(
                "config.meta.pit_join", f"must be a mapping, got {meta!r}; allowed keys are {', '.join(_SERVICE_KEYS)}"
            )
            return
        if exposure.get("type") != "ml":
            wrong("type", f"a feature service is an exposure of type ml, got '{exposure.get('type')}'")
        check_keys(meta, _SERVICE_KEYS, within(wrong, "config.meta.pit_join"))
        features = meta.get("features")
        if not isinstance(features, list) or not features:
            wrong("features", f"must be a list of references such as view:feature, got {features!r}")
            return
        try:
            requests = parse_features(features)
        except ReferenceError as error:
            wrong("features", str(error))
            return
        stored = tuple(request for request in requests if isinstance(request, Request))
        for problem in (
            *_request_problems(stored, self.views),
            *_on_demand_problems(requests, self.views, self.on_demand),
        ):
            wrong("features", problem)
        listed = {node.rsplit(".", 1)[-1] for node in (exposure.get("depends_on") or {}).get("nodes", [])}
        for view in sorted((_views_of(requests) & set(self.views)) - listed):
            wrong("depends_on", f"does not list ref('{view}'), which its features need")
        self.services[name] = FeatureService(
            name=name,
            requests=requests,
            path=path,
            description=exposure.get("description") or "",
            full_feature_names=read_flag(meta, "full_feature_names", False, wrong),
        )

    def _column(self, key: str, column: Any, types: Mapping[str, str], wrong: Wrong) -> None:
        if column is None:
            return
        if not isinstance(column, str) or column not in types:
            wrong(key, f"no column '{column}' is listed; {suggest(str(column), types, 'columns')}")
        elif key == "deleted" and types[column].lower() not in ("", "boolean", "bool"):
            wrong(key, f"the column '{column}' must be boolean, got {types[column]}")
        elif key != "deleted" and types[column] and not types[column].lower().startswith(_TIME_TYPES):
            wrong(key, f"the column '{column}' must be a timestamp or date, got {types[column]}")

    def _entity(self, meta: Mapping[str, Any], event_time: Any, types: Mapping[str, str], wrong: Wrong) -> Entity:
        keys = meta.get("join_keys")
        keys = [keys] if isinstance(keys, str) else keys
        if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
            wrong("join_keys", f"must list the columns that identify the entity, got {meta.get('join_keys')!r}")
            keys = []
        for key in keys:
            if key not in types:
                wrong("join_keys", f"no column '{key}' is listed; {suggest(key, types, 'columns')}")
        if event_time in keys:
            wrong("join_keys", f"'{event_time}' is the event time, so it cannot be a key as well")
        if len(set(keys)) < len(keys):
            wrong("join_keys", f"a column is listed twice in {keys}")
        name = meta.get("entity")
        if not isinstance(name, str) or not name:
            wrong("entity", f"must name what the view describes, such as user, got {name!r}")
            name = ""
        entity = Entity(name, tuple(keys))
        known = self.entities.get(name)
        if known and keys and set(known.join_keys) != set(keys):
            wrong("join_keys", f"views of one entity share its keys; '{name}' has {list(known.join_keys)}, got {keys}")
        return entity

    def _contents(
        self, columns: Mapping[str, Any], entity: Entity, event_time: Any, meta: Mapping[str, Any], wrong: Wrong
    ) -> tuple[tuple[Feature, ...], WindowSettings]:
        """The features of a view, which are columns or, in a window view, its aggregations."""
        types, created, deleted = _types(columns), meta.get("created_timestamp"), meta.get("deleted")
        for key, column in (("config.event_time", event_time), ("created_timestamp", created), ("deleted", deleted)):
            self._column(key, column, types, wrong)
        special = {column for column in (*entity.join_keys, event_time, created, deleted) if isinstance(column, str)}
        windowed = "aggregations" in meta
        features = tuple(self._features(columns, special, windowed, wrong))
        taken = dict.fromkeys(entity.join_keys, "a join key") | {str(event_time): "the event time"}
        windows = read_window_settings(meta, types, taken, wrong)
        if windowed:
            features = tuple(Feature(one.name, one.data_type, one.default) for one in windows.aggregations)
        elif not features:
            wrong("columns", "no feature is listed; features are the columns that are no key, no time and not excluded")
        return features, windows

    def _features(
        self, columns: Mapping[str, Any], special: set[str], windowed: bool, wrong: Wrong
    ) -> Iterator[Feature]:
        """Check the columns; give those that are features, which in a window view none is."""
        seen: dict[str, str] = {}
        for name, column in columns.items():
            where = f"columns.{name}"
            meta = ((column.get("config") or {}).get("meta") or {}).get("pit_join")
            meta = (column.get("meta") or {}).get("pit_join") if meta is None else meta
            if name.lower() in seen:
                wrong(where, f"'{seen[name.lower()]}' is listed too, and letter case does not tell columns apart")
            seen[name.lower()] = name
            if name.lower().startswith("_pit_"):
                wrong(where, "names that start with _pit_ are kept for the joins; rename the column")
            if not isinstance(meta or {}, Mapping):
                wrong(f"{where}.config.meta.pit_join", f"must be a mapping, got {meta!r}")
                continue
            meta = meta or {}
            own = within(wrong, where)
            check_keys(meta, _COLUMN_KEYS, within(own, "config.meta.pit_join"))
            data_type = str(column.get("data_type") or "")
            if not data_type:
                wrong(where, "has no data_type")
            if windowed:
                check_column(meta, own)
                continue
            slo = read_duration(meta, "freshness_slo", own, positive=True)
            nearest = read_nearest(meta, data_type, own)
            excluded = read_flag(meta, "exclude", False, own)
            if nearest and excluded:
                own("nearest", "only a feature is searched; this column is excluded")
            if name in special:
                for key in sorted({"default", "nearest"} & set(meta)):
                    own(key, f"only a feature has a {key}; this column is a key, a time or a mark")
            if name in special or excluded:
                continue
            default = meta.get("default")
            if problem := default_problem(default, data_type):
                own("default", problem)
            yield Feature(name, data_type, default, slo, nearest)


def _views_of(requests: tuple[Asked, ...]) -> set[str]:
    """The views that requests read, those of arguments among them."""
    roles = {request.alias: request.view for request in requests if isinstance(request, Request)}
    found = set(roles.values())
    for request in requests:
        if isinstance(request, OnDemandRequest):
            references = filter(None, map(parse_reference, request.arguments.values()))
            found |= {roles.get(alias, alias) for alias, _ in references}
    return found


def _types(columns: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(column.get("data_type") or "") for name, column in columns.items()}


def _path(node: Mapping[str, Any]) -> str:
    patch = node.get("patch_path")
    return patch.split("://", 1)[-1] if patch else str(node.get("original_file_path", "?"))
