"""The choice of the views that an export writes, and of their stores."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from pit_join.definitions.field_type import FieldType
from pit_join.definitions.registry import Registry
from pit_join.definitions.views import FeatureView
from pit_join.errors import PitJoinError, StoreError, option, suggest
from pit_join.online.protocol import OnlineStore
from pit_join.online.urls import how_to_name
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.references import listed, model_and_version

__all__ = [
    "check_clock",
    "chosen_views",
    "contents_of",
    "hidden_latest",
    "kept_views",
    "latest_online",
    "moved_versions",
    "needed_stores",
    "not_storable",
    "online_views",
    "views_elsewhere",
]

# Types of DuckDB that training sets have and `records.arrow.type_name` does not; of lists, those of lists.
_CLOCKS_DIFFER = timedelta(seconds=60)  # of two hosts that export in turn
_NOT_STORED = re.compile(r"TIME|TIME_NS|STRUCT|MAP")


def needed_stores(chosen: Sequence[FeatureView], urls: Mapping[str, str]) -> dict[str, str]:
    """Return the stores that an export of some views changes, always including the default one."""
    for view in chosen:
        if view.online_store not in urls:
            raise StoreError(
                f"the feature view '{view.name}' has online_store: {view.online_store}, of which no URL is known; "
                f"{how_to_name(view.online_store)}"
            )
    names = {"", *(view.online_store for view in chosen)}
    return {name: url for name, url in urls.items() if name in names}


def contents_of(store: OnlineStore) -> Contents | None:
    """Return what a store says of itself; None before its first export."""
    _, data = store.contents()
    return None if data is None else Contents.from_json(data, "the online store")


def check_clock(before: Mapping[str, Mapping[str, StoredView]], now: datetime) -> None:
    """Refuse to export the present where it lies before what is stored: a wrong clock would roll the stores back.

    Raises:
        StoreError: if a view of the stores is of an instant more than a minute later.
    """
    instants = [view.instant for views in before.values() for view in views.values() if view.instant]
    if instants and max(instants) > now + _CLOCKS_DIFFER:
        raise StoreError(
            f"the online store is as of {max(instants):%Y-%m-%d %H:%M:%S} UTC, and the clock of this host says "
            f"{now:%Y-%m-%d %H:%M:%S} UTC; set the clock, or roll the store back with "
            + option("as_of='now'", "--as-of now")
        )


def moved_versions(before: Contents | None, latest: Mapping[str, str]) -> Iterator[str]:
    """Yield a message for each model whose latest version is another one than at the last export."""
    for model, old in sorted(before.latest.items()) if before else ():
        if (new := latest.get(model, old)) != old:
            yield (
                f"the latest version of '{model}' was {old}, and is {new}; an export of {new} makes references without "
                "a version read it online"
            )


def hidden_latest(registry: Registry) -> Iterator[str]:
    """Yield a message for each model of which other versions are online, and not the latest one."""
    online = online_views(registry)
    for model, latest in sorted(registry.latest.items()):
        others = [name for name in online if model_and_version(name)[0] == model]
        if latest not in online and others:
            yield (
                f"{registry.views[latest].path}: {latest}: online: is false for the latest version of '{model}', so "
                f"'{model}:feature' cannot be read online; {listed(others)} can"
            )


def latest_online(
    before: Contents | None, chosen: Sequence[FeatureView], registry: Registry, *, all_views: bool
) -> dict[str, str]:
    """Return the latest versions as the store has them after an export; only of exported models do they move."""
    if before is None or all_views:
        return dict(registry.latest)
    written, online = {view.name for view in chosen}, online_views(registry)
    kept = {model: view for model, view in before.latest.items() if view in online}
    return {model: view if view in written else kept.get(model, view) for model, view in registry.latest.items()}


def kept_views(
    store: str, before: Mapping[str, Mapping[str, StoredView]], chosen: Sequence[FeatureView], registry: Registry
) -> dict[str, StoredView]:
    """Return the views whose records stay in a store unchanged: those that the default store places there.

    A view that moves to another store stays, too, until the default store has changed, since readers look for it here.
    """
    online = online_views(registry)
    written = {view.name for view in chosen if view.online_store == store or not store}
    return {
        name: view
        for name, view in before[store].items()
        if view.is_here and name in online and name not in written
        if name in before[""] and before[""][name].store == store
    }


def views_elsewhere(
    before: Mapping[str, StoredView], chosen: Sequence[FeatureView], registry: Registry
) -> dict[str, StoredView]:
    """Return the views that the default store lists and that other stores keep unchanged."""
    online = online_views(registry).keys() - {view.name for view in chosen}
    return {name: view for name, view in before.items() if view.store and name in online}


def online_views(registry: Registry) -> dict[str, FeatureView]:
    """Return the views of a project that have `online: true`, by name."""
    return {name: view for name, view in sorted(registry.views.items()) if view.online}


def chosen_views(registry: Registry, names: Iterable[str]) -> list[FeatureView]:
    """Return the views to export: those named, or all.

    Raises:
        PitJoinError: naming every view that does not exist or is not online.
    """
    online = online_views(registry)
    if not online:
        raise PitJoinError("there is no feature view with online: true (the default) to export")
    wanted = {name: registry.latest.get(name, name) for name in names}
    problems = [
        f"the feature view '{name}' has config.meta.pit_join.online: false"
        if view in registry.views
        else f"unknown feature view '{name}'; {suggest(name, online, 'feature views')}"
        for name, view in wanted.items()
        if view not in online
    ]
    if problems:
        raise PitJoinError("\n".join(problems))
    return [online[view] for view in dict.fromkeys(wanted.values())] or list(online.values())


def not_storable(view: FeatureView) -> Iterator[str]:
    """Yield a problem for each feature of an online view whose declared type no online store holds."""
    where = "aggregations" if view.aggregations else "columns"
    for feature in view.features if view.online else ():
        if not _is_stored(feature.data_type):
            yield (
                f"{view.path}: {view.name}: {where}.{feature.name}: is of type {feature.data_type}, which the online "
                "store cannot hold; cast it in the model, set exclude: true for it, or online: false for the view"
            )


def _is_stored(data_type: FieldType) -> bool:
    inner = data_type.element or data_type
    return inner.element is None and not _NOT_STORED.fullmatch(inner.name.split("(", 1)[0])
