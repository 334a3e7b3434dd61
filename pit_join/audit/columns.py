"""The columns of a training set's file, each with the feature of the project that it should hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pit_join.definitions.registry import Registry
from pit_join.definitions.views import FeatureView
from pit_join.errors import RequestError, option, suggest
from pit_join.project.rendering import Macros
from pit_join.references import OnDemandRequest, Request, RequestItem, default_alias, listed, parse_reference

__all__ = ["MappedColumn", "MappedColumns", "map_columns"]


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """A column of the file and its feature.

    `name` is that of the feature in a set with full names, `alias` that of its role; None on demand.
    """

    column: str
    name: str
    alias: str | None
    feature: str

    @property
    def reference(self) -> str:
        """The feature as references write it; an on-demand feature has only its name."""
        return self.name if self.alias is None else f"{listed([self.alias])}:{listed([self.feature])}"


@dataclass(slots=True)
class MappedColumns:
    """The features found in a file, the requests that build them, and what has no counterpart.

    `missing` are features without a column, `left_out` views whose keys the file lacks, with the reason.
    """

    columns: list[MappedColumn] = field(default_factory=list)
    requests: tuple[RequestItem, ...] = ()
    missing: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def map_columns(
    header: Sequence[str],
    registry: Registry,
    macros: Macros,
    asked: Sequence[RequestItem] | None,
    *,
    roles: Sequence[Request] = (),
    full_feature_names: bool = False,
    renamed: Mapping[str, str] | None = None,
) -> MappedColumns:
    """Find the features that columns of a file hold.

    Args:
        header: the names of the columns.
        registry: what the project declares.
        macros: the macros of the project.
        asked: the features that the file was built with; None to look for those of all views.
        roles: views in other roles, or with keys of other names.
        full_feature_names: whether the features asked for are named `view__feature`.
        renamed: references by the names of columns that are named otherwise.

    Raises:
        RequestError: if a name may mean several features, or a given column or feature does not exist.
    """
    renamed = dict(renamed or {})
    for column in renamed:
        if column not in header:
            raise RequestError(f"the file has no column '{column}'; {suggest(column, header, 'columns')}")
    found = MappedColumns()
    if asked is not None:
        candidates = _asked(registry.check(tuple(asked)), macros, full_feature_names)
    else:
        candidates = _all(header, registry, roles, found.left_out)
    owners = {**{role.alias: role for role in roles}, **{each.owner: each for each in candidates.roles.values()}}
    for column, reference in renamed.items():
        role, feature = _named(reference, registry, owners)
        candidates.roles.setdefault(role.alias, role)
        one = MappedColumn(column, f"{role.alias}__{feature}", role.alias, feature)
        if twice := next((each.column for each in found.columns if each.name == one.name), None):
            raise RequestError(f"both '{twice}' and '{column}' are said to be {one.reference}; give one of them")
        found.columns.append(one)
        candidates.forget(one)
    by_lower: dict[str, list[str]] = {}
    for column in header:
        by_lower.setdefault(column.lower(), []).append(column)
    for name, features in candidates.names.items():
        columns = [column for column in by_lower.get(name.lower(), []) if column not in renamed]
        if not columns or not features:
            continue
        column = name if name in columns else columns[0]
        if len(features) > 1 and not any(one.column == column for one in found.columns):
            choices = " or ".join(sorted(one.reference for one in features))
            raise RequestError(
                f"the column '{column}' may be {choices}; say which with "
                + option("columns={column: reference}", f"--map '{column}={features[0].reference}'")
            )
        if not any(one.name == features[0].name for one in found.columns):
            found.columns.append(replace(features[0], column=column))
    found.requests = _requests(found.columns, candidates)
    present = {one.name for one in found.columns}
    aliases = {one.alias for one in found.columns}
    found.missing = [
        one.reference
        for one in candidates.features.values()
        if one.name not in present and (asked is not None or one.alias in aliases)
    ]
    found.columns.sort(key=lambda one: header.index(one.column))
    return found


@dataclass(slots=True)
class _Candidates:
    """Features by their full names, and by each name that a column may have; roles by alias."""

    features: dict[str, MappedColumn] = field(default_factory=dict)
    names: dict[str, list[MappedColumn]] = field(default_factory=dict)
    roles: dict[str, Request] = field(default_factory=dict)
    on_demand: list[OnDemandRequest] = field(default_factory=list)

    def add(self, one: MappedColumn, *names: str) -> None:
        self.features[one.name] = one
        for name in dict.fromkeys(names):
            self.names.setdefault(name, []).append(one)

    def forget(self, found: MappedColumn) -> None:
        """Look no longer for a feature that has its column."""
        for features in self.names.values():
            features[:] = [one for one in features if one.name != found.name]


def _asked(requests: Sequence[RequestItem], macros: Macros, full: bool) -> _Candidates:
    """Return the features that were asked for, by the names that they have in the result."""
    found = _Candidates(on_demand=[each for each in requests if isinstance(each, OnDemandRequest)])
    given = [each.as_macro_argument() for each in requests]
    resolved = macros.data("_resolved_requests", features=given, full_feature_names=full)
    for role in resolved["requests"]:
        names = tuple(feature["column"] for feature in role["features"])
        keys = {key: column for key, column in role["keys"].items() if key != column}
        found.roles[role["alias"]] = Request(role["view"], names, role["alias"], keys)
        for feature in role["features"]:
            name = f"{role['alias']}__{feature['column']}"
            if not feature["name"].startswith("_pit_"):  # one that only an on-demand feature takes
                found.add(MappedColumn("", name, role["alias"], feature["column"]), feature["name"], name)
    for each in found.on_demand:
        found.add(MappedColumn("", each.name, None, each.name), each.name)
    return found


def _all(header: Sequence[str], registry: Registry, roles: Sequence[Request], left_out: dict[str, str]) -> _Candidates:
    """Return the features of all views whose keys the file has, by the names that they may have."""
    found, lower = _Candidates(), {name.lower() for name in header}
    own = [Request(name, (), default_alias(name)) for name in registry.views if _is_latest(name, registry)]
    taken = {(role.view, role.alias) for role in roles}
    for role in [*roles, *(each for each in own if (each.view, each.alias) not in taken)]:
        view: FeatureView = registry.view(role.view)
        lacking = [key for key in view.join_keys if role.join_keys.get(key, key).lower() not in lower]
        if lacking:
            left_out[role.alias] = _why_left_out(
                role, lacking, [one.name for one in view.features if one.name in header]
            )
            continue
        found.roles[role.alias] = replace(role, view=view.name)
        for feature in view.features:
            full = f"{role.alias}__{feature.name}"
            plain = [] if role.is_role else [feature.name, f"{view.name}:{feature.name}"]
            keys = {role.join_keys.get(key, key).lower() for key in view.join_keys}
            if feature.name.lower() not in keys:
                found.add(MappedColumn("", full, role.alias, feature.name), full, *plain)
    return found


def _why_left_out(role: Request, lacking: Sequence[str], present: Sequence[str]) -> str:
    """Say which keys the file lacks, and how to name them if it has features of the view."""
    why = f"the file has no column {' and no '.join(repr(key) for key in lacking)}"
    if not present:
        return why
    spec = f"{role.view}({', '.join(f'{key}=COLUMN' for key in lacking)})"
    return f"{why}, but has {listed(present[:1])}; name the keys with " + option(
        f"roles=['{spec}']", f"--role '{spec}'"
    )


def _is_latest(name: str, registry: Registry) -> bool:
    return name in registry.latest.values() or not any(name.startswith(f"{model}.v") for model in registry.latest)


def _named(reference: str, registry: Registry, owners: Mapping[str, Request]) -> tuple[Request, str]:
    """Return the role and the feature of a reference."""
    parts = parse_reference(reference)
    if parts is None or parts[1] == "*":
        raise RequestError(f"cannot read the reference '{reference}'; write view:feature, or role:feature")
    role = owners.get(parts[0]) or Request(registry.view(parts[0]).name, (), default_alias(parts[0]))
    names = [feature.name for feature in registry.view(role.view).features]
    if parts[1] not in names:
        raise RequestError(f"'{parts[0]}' has no feature '{parts[1]}'; {suggest(parts[1], names, 'features')}")
    return role, parts[1]


def _requests(columns: Iterable[MappedColumn], candidates: _Candidates) -> tuple[RequestItem, ...]:
    wanted: dict[str, list[str]] = {}
    for one in columns:
        if one.alias is not None:
            wanted.setdefault(one.alias, []).append(one.feature)
    names = {one.name for one in columns if one.alias is None}
    computed = [each for each in candidates.on_demand if each.name in names]
    requests: list[Any] = [
        replace(candidates.roles[alias], features=tuple(features)) for alias, features in wanted.items()
    ]
    return (*requests, *computed)
