"""The export: the online store becomes the snapshot of one instant.

The macros' SQL alone (`latest_snapshot`) decides the contents of a snapshot; this module brings it to the store.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any

from pit_join.export.indexing import Indexes, check_can_index
from pit_join.export.places import (
    check_clock,
    chosen_views,
    contents_of,
    hidden_latest,
    kept_views,
    latest_online,
    moved_versions,
    needed_stores,
    online_views,
    views_elsewhere,
)
from pit_join.export.taking import SnapshotTaker
from pit_join.online.opening import open_store
from pit_join.online.protocol import Changes, OnlineStore, Writer
from pit_join.online.urls import check_urls, folder_of, store_url
from pit_join.records.store_manifest import Contents, StoredService
from pit_join.records.stored_view import StoredView
from pit_join.references import OnDemandRequest
from pit_join.warehouse.expressions import ARGUMENTS, minor_version
from pit_join.workspace import Console, Histories, Workspace

__all__ = ["Export", "export", "services_of"]

# DuckDB's memory; it spills the rest to disk. The store starts to write after DuckDB has finished.
_MEMORY_BYTES = 384 * 2**20


@dataclass(frozen=True, slots=True)
class Export:
    """The result of an export, or with `dry_run` its preview.

    `stores` are the stores by name, the default one under the empty name; `instant` is the instant of the snapshot;
    `views` has the changes of each view, including views that were removed from a store; `seconds` is the whole time.
    """

    stores: Mapping[str, str]
    instant: datetime
    dry_run: bool
    views: Mapping[str, Changes]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "store": self.stores[""],
            "stores": dict(self.stores),
            "instant": self.instant.isoformat(),
            "dry_run": self.dry_run,
            "views": {name: asdict(changes) for name, changes in self.views.items()},
            "seconds": round(self.seconds, 3),
        }


def export(
    workspace: Workspace,
    url: str,
    views: Sequence[str] = (),
    *,
    named: Mapping[str, str] | None = None,
    as_of: datetime | None = None,
    roll_back: bool = False,
    dry_run: bool = False,
) -> Export:
    """Make the online stores hold the snapshot of the feature views at an instant.

    Each store is consistent at any time; the default one, which says where the views are, changes last.

    Args:
        workspace: the project that declares the views.
        url: the default store, see `open_store`.
        views: names of views; other views keep the state of their last export. By default all views with
            `online: true`, and then no others stay in the stores.
        named: the URLs of the other stores by name, see `FeatureView.online_store`.
        as_of: the instant; now by default.
        roll_back: export the present also where the stores are of a later time.
        dry_run: compute the changes without making them.

    Raises:
        StoreError: if a store cannot be used, or cannot hold a column.
        PitJoinError: see its other subclasses; bad names, tables and projects.
    """
    started = time.monotonic()
    registry, console = workspace.registry, workspace.console
    served = {
        each.macro for one in registry.services.values() for each in one.requests if isinstance(each, OnDemandRequest)
    }
    workspace.check_on_demand(served, others=True)
    chosen = chosen_views(registry, views)
    check_can_index(chosen)
    known = {**(named or {}), "": url}
    check_urls(known)
    urls = needed_stores(chosen, known)
    workspace.project.cache.mkdir(parents=True, exist_ok=True)
    with ExitStack() as open_now:
        stores = _opened(urls, open_now, console, dry_run=dry_run)
        # All exports take the default store first: a fixed lock order cannot deadlock.
        writers = {
            name: open_now.enter_context(stores[name].writing(console.wait, console.warn)) for name in sorted(stores)
        }
        contents = {name: contents_of(store) for name, store in stores.items()}
        for message in (*moved_versions(contents[""], registry.latest), *hidden_latest(registry)):
            console.warn(message)
        before = {name: each.views if each else {} for name, each in contents.items()}
        kept = {name: kept_views(name, before, chosen, registry) for name in stores}
        with workspace.warehouse() as warehouse:
            instant = as_of or datetime.now(timezone.utc)  # after the wait for locks, so that nothing known is missed
            if as_of is None and not roll_back:
                check_clock(before, instant)
            warehouse.spill_to(workspace.project.cache, _MEMORY_BYTES)
            taken = SnapshotTaker(workspace, Histories(warehouse, workspace), open_now, instant)
            taken.check(chosen)
            found = {view.name: taken.view(view, writers[view.online_store]) for view in chosen}
            listed = views_elsewhere(before[""], chosen, registry) if views else {}
            listed |= taken.declared(online_views(registry), {*found, *listed, *kept[""]})
        targets = {}
        for name, each in urls.items():
            indexes = Indexes(folder_of(each), before[name], dry_run=dry_run, console=console)
            targets[name] = _Target(writers[name], kept[name], indexes, {})
        # Every problem of a value is found before the first store changes.
        for view in chosen:
            target = targets[view.online_store]
            target.written[view.name] = target.indexes.of(view, *found[view.name])
        latest = latest_online(contents[""], chosen, registry, all_views=not views)
        changes = _replace(targets, _about(workspace, listed, latest), dry_run, console)
    return Export(
        {name: store_url(each) for name, each in urls.items()},
        instant,
        dry_run,
        dict(sorted(changes.items())),
        time.monotonic() - started,
    )


@dataclass(frozen=True, slots=True)
class _Target:
    """One store of an export: its writer, the views that stay as they are, and those that are written."""

    writer: Writer
    kept: Mapping[str, StoredView]
    indexes: Indexes
    written: dict[str, StoredView]


def _opened(urls: Mapping[str, str], open_now: ExitStack, console: Console, *, dry_run: bool) -> dict[str, OnlineStore]:
    """Open the stores, each made where there is none; for a preview it is made in a folder that is removed after it."""
    found = {}
    for name, url in urls.items():
        folder = folder_of(url)
        if dry_run and folder and not (folder.exists() and any(folder.iterdir())):
            url = open_now.enter_context(tempfile.TemporaryDirectory(prefix="pit-join-"))
        found[name] = open_now.enter_context(closing(open_store(url, create=True)))
        for message in found[name].warnings():
            console.warn(message)
    return found


def _about(workspace: Workspace, listed: Mapping[str, StoredView], latest: Mapping[str, str]) -> Contents:
    """Return the manifest of the default store, before its own views are added."""
    return Contents(
        project=str(workspace.manifest["metadata"]["project_name"]),
        target=workspace.project.connection.target,
        exported_at=datetime.now(timezone.utc),
        views=listed,
        services=services_of(workspace),
        latest=latest,
        duckdb=minor_version(),
    )


def _replace(targets: Mapping[str, _Target], about: Contents, dry_run: bool, console: Console) -> dict[str, Changes]:
    """Make all stores hold the snapshots that their writers took, and return the changes by view."""
    written_at = time.time_ns() // 1000
    listed = dict(about.views)
    changes: dict[str, Changes] = {}
    for name in sorted(targets, reverse=True):
        target = targets[name]
        described = {**target.kept, **target.written}
        if name:
            contents = replace(about, views=described, services={})
            listed |= {view: replace(stored, store=name) for view, stored in target.written.items()}
        else:
            contents = replace(about, views=listed | described)
        data = contents.to_json()
        done = target.writer.replace(data, target.written, target.kept, written_at, dry_run, console.progress)
        target.indexes.settle(contents)
        for view_name, each in done.items():
            changes[view_name] = changes[view_name].and_also(each) if view_name in changes else each
    return changes


def services_of(workspace: Workspace) -> dict[str, StoredService]:
    """Return the feature services of a project as a store describes them."""
    registry, macros, found = workspace.registry, workspace.macros, {}
    for name, service in registry.services.items():
        requests = registry.completed(service.requests)
        on_demand = None
        if any(isinstance(request, OnDemandRequest) for request in requests):
            features = [request.as_macro_argument() for request in requests]
            on_demand = tuple(
                macros.text(
                    "_on_demand_statement",
                    features=features,
                    relation=ARGUMENTS,
                    options={"full_feature_names": service.full_feature_names, "defaults": defaults, "tried": tried},
                )
                for defaults, tried in ((True, False), (False, False), (True, True))
            )
        found[name] = StoredService(requests, service.full_feature_names, on_demand)
    return found
