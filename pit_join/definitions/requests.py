"""Checks of a request for features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pit_join.definitions.field_type import read_type
from pit_join.definitions.portable import name_problem
from pit_join.definitions.views import FeatureView, OnDemandFeature
from pit_join.errors import suggest
from pit_join.references import (
    OnDemandRequest,
    Request,
    RequestItem,
    default_alias,
    model_and_version,
    parse_reference,
)

__all__ = ["feature_names", "name_problems", "on_demand_problems", "request_problems", "views_read", "with_versions"]


def with_versions(requests: tuple[RequestItem, ...], latest: Mapping[str, str]) -> tuple[RequestItem, ...]:
    """Return requests that name a version of each view that has versions; `latest` maps models to views."""
    return tuple(
        replace(request, view=latest.get(request.view, request.view)) if isinstance(request, Request) else request
        for request in requests
    )


def views_read(requests: tuple[RequestItem, ...], latest: Mapping[str, str]) -> set[str]:
    """Return the names of the views that requests with versions read, also through arguments."""
    roles = {request.alias: request.view for request in requests if isinstance(request, Request)}
    found = set(roles.values())
    for request in requests:
        if isinstance(request, OnDemandRequest):
            found |= {
                _view_of(reference[0], roles, latest)
                for reference in map(parse_reference, request.arguments.values())
                if reference
            }
    return found


def _view_of(name: str, roles: Mapping[str, str], latest: Mapping[str, str]) -> str:
    """Return the view that an argument means: that of a role, or one of the project."""
    return roles.get(default_alias(name)) or latest.get(name, name)


def feature_names(requests: tuple[RequestItem, ...], views: Mapping[str, FeatureView], full: bool) -> list[str]:
    """Return the names of the features of requests with versions, in order; with `full` they begin with the view."""
    return [name for number, request in enumerate(requests, 1) for name, _, _ in _names(number, request, views, full)]


def name_problems(
    requests: tuple[RequestItem, ...], views: Mapping[str, FeatureView], full: bool, engine: str = "duckdb"
) -> Iterator[str]:
    """Yield the names that two features of requests with versions would share, or that an engine would cut.

    With `full` they begin with the view.
    """
    taken: dict[str, str] = {}
    for number, request in enumerate(requests, 1):
        for name, owner, advice in _names(number, request, views, full):
            if (other := taken.setdefault(name.lower(), owner)) != owner:
                hint = "rename one of them" if "__" in name else advice
                yield f"both {other} and {owner} would be named {name}; {hint}"
            if isinstance(request, Request) and (problem := name_problem(name, engine)):
                yield problem


def _names(
    number: int, request: RequestItem, views: Mapping[str, FeatureView], full: bool
) -> Iterator[tuple[str, str, str]]:
    """Yield name, owner, and advice where the name is taken, of each feature of a request; `number` is the item's."""
    if isinstance(request, OnDemandRequest):
        yield request.name, f"item {number} ({request.macro})", "use another name with as"
    elif request.view in views:
        known = [feature.name for feature in views[request.view].features]
        for name in (name for one in request.features for name in known if one in ("*", name)):
            long = full or request.is_role
            owner = f"{request.owner}:{name}"
            yield f"{request.alias}__{name}" if long else name, owner, "set full_feature_names"


def on_demand_problems(
    requests: tuple[RequestItem, ...],
    views: Mapping[str, FeatureView],
    latest: Mapping[str, str],
    on_demand: Mapping[str, OnDemandFeature],
) -> Iterator[str]:
    """Yield what is wrong with the on-demand features of requests with versions."""
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
                view = views.get(_view_of(found[0], roles, latest))
                if view is None:
                    known = suggest(found[0], {*views, *latest, *roles}, "feature views")
                    yield f"unknown feature view '{found[0]}' in the arguments of '{request.name}'; {known}"
                else:
                    yield from _argument_problems(request, argument, on_demand[request.macro], view, found[1])


def _argument_problems(
    request: OnDemandRequest, argument: str, macro: OnDemandFeature, view: FeatureView, name: str
) -> Iterator[str]:
    """Yield what is wrong with a feature as an argument."""
    features = {feature.name: feature.data_type for feature in view.features}
    if name not in features:
        yield f"view '{view.name}' has no feature '{name}'; {suggest(name, features, 'features')}"
    elif argument in macro.types and features[name].family in ("text", "number", "time", "BOOLEAN"):
        wanted = read_type(macro.types[argument])
        if wanted.family != "text" and not wanted.takes(features[name].family):  # a text takes anything
            yield (
                f"the argument '{argument}' of '{request.name}' is of type {wanted}, and the feature "
                f"{view.name}:{name} is of type {features[name]}; cast one of them"
            )


def request_problems(
    requests: tuple[Request, ...], views: Mapping[str, FeatureView], latest: Mapping[str, str]
) -> Iterator[str]:
    """Yield what is wrong with requests, with versions, for features of views."""
    roles: dict[str, Request] = {}
    if not requests:
        yield "no features are asked for; name them as view:feature, or view:* for all"
    for request in requests:
        if request.view not in views:
            if request.view not in {seen.view for seen in roles.values()}:
                known = suggest(request.view, {*views, *latest}, "feature views")
                yield f"unknown feature view '{request.view}'; {known}"
            roles.setdefault(request.alias, request)
            continue
        if request.alias.lower().startswith("_pit_"):
            yield f"the name '{request.alias}' is not free: names that start with _pit_ are kept for the joins"
        for other in roles:
            if other != request.alias and other.lower() == request.alias.lower():
                yield f"letter case does not tell '{other}' and '{request.alias}' apart; rename one of them"
        model, version = model_and_version(request.view)
        if version and request.alias == model and latest.get(model) != request.view:
            yield f"'{model}' is the latest version, and not {request.view}; give the role another name (alias=view)"
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
