"""Exporting: the online store becomes the snapshot of one instant.

What a snapshot holds is decided by the macros' SQL alone (`latest_snapshot`); here it is brought to the store.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pit_join.records.store_manifest import Contents, StoredService, StoredView
from pit_join.definitions.views import FeatureView
from pit_join.errors import PitJoinError, StoreError, suggest
from pit_join.warehouse.expressions import ARGUMENTS
from pit_join.export.indexing import Indexes, check_can_index
from pit_join.workspace import check_on_demand
from pit_join.online import (
    Changes,
    OnlineStore,
    OnProgress,
    Writer,
    check_urls,
    folder_of,
    how_to_name,
    open_store,
    store_url,
)
from pit_join.project.dbt_project import Project
from pit_join.references import OnDemandRequest
from pit_join.definitions.registry import Registry
from pit_join.project.rendering import Macros
from pit_join.export.snapshot import Snapshot
from pit_join.warehouse.spool import Restarted
from pit_join.definitions.table_check import check_table
from pit_join.warehouse.duckdb_session import DuckDBWarehouse

__all__ = ["Export", "export"]

# For DuckDB, which puts aside on disk what does not fit; the store's own writing comes after it.
_MEMORY_BYTES = 384 * 2**20


@dataclass(frozen=True, slots=True)
class Export:
    """What an export did, or with `dry_run` would do.

    `stores` are the stores by name, the default one's is empty; `instant` is when the snapshot holds; `views` has the
    changes of each view, those that are no longer in a store among them; `seconds` is the whole time.
    """

    stores: Mapping[str, str]
    instant: datetime
    dry_run: bool
    views: Mapping[str, Changes]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "store": self.stores[""],
            "stores": dict(self.stores),
            "instant": self.instant.isoformat(),
            "dry_run": self.dry_run,
            "views": {name: asdict(changes) for name, changes in self.views.items()},
            "seconds": round(self.seconds, 3),
        }


def export(
    project: Project,
    url: str,
    views: Sequence[str] = (),
    *,
    named: Mapping[str, str] | None = None,
    as_of: datetime | None = None,
    dry_run: bool = False,
    wait: float = 60.0,
    on_message: Callable[[str], None] = lambda message: None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, view: None,
) -> Export:
    """Make the online stores hold what was known of the feature views at an instant.

    Each store is whole at any time; the default one, which says where the views are, changes last.

    Args:
        project: the dbt project that declares the views.
        url: the default store, see `open_store`.
        views: names of views; the others stay as they were exported last. All with `online: true` by default, and then
            nothing else stays in the stores.
        named: the URLs of the other stores by name, see `FeatureView.online_store`.
        as_of: the instant; now by default.
        dry_run: find out what would change, and change nothing.
        wait: seconds to wait for a warehouse that another process holds, and for another export.
        on_message: told what takes time.
        on_progress: told how many rows of how many are compared, and of which view.

    Raises:
        StoreError: if a store cannot be used, or cannot hold a column.
        PitJoinError: see its other subclasses; bad names, tables and projects.
    """
    started = time.monotonic()
    manifest = project.manifest()
    registry = Registry.from_manifest(manifest)
    macros = Macros(manifest, project.dispatch_order, project.compile, project.cache)
    check_on_demand(registry, macros)
    chosen = _chosen(registry, views)
    check_can_index(chosen)
    known = {**(named or {}), "": url}
    check_urls(known)
    urls = _needed(chosen, known)
    stores = {name: open_store(each, create=True) for name, each in urls.items()}
    project.cache.mkdir(parents=True, exist_ok=True)
    with ExitStack() as open_now:
        # All exports take the default store first, so that none waits for one that waits for it.
        writers = {name: open_now.enter_context(stores[name].writing(wait, on_message)) for name in sorted(stores)}
        before = {name: _views_in(store) for name, store in stores.items()}
        kept = {name: _kept(name, before, chosen, registry) for name in stores}
        with DuckDBWarehouse(project.connection, wait=wait, on_wait=on_message) as warehouse:
            instant = as_of or datetime.now(timezone.utc)  # after waiting: all that is known by now
            taken = _Taking(warehouse, macros, project.cache, open_now, instant, on_progress)
            found = {view.name: taken.view(view, writers[view.online_store]) for view in chosen}
            listed = _elsewhere(before[""], chosen, registry) if views else {}
            listed |= taken.declared(_online(registry), {*found, *listed, *kept[""]}, on_message)
        about = Contents(
            project=str(manifest["metadata"]["project_name"]),
            target=project.connection.target,
            exported_at=datetime.now(timezone.utc),
            views=listed,
            services=_services(registry, macros),
        )
        indexes = {
            name: Indexes(folder_of(each), before[name], dry_run=dry_run, on_message=on_message)
            for name, each in urls.items()
        }
        # All that can be wrong with a value is found out before the first store changes.
        written: dict[str, dict[str, StoredView]] = {name: {} for name in stores}
        for view in chosen:
            written[view.online_store][view.name] = indexes[view.online_store].of(view, *found[view.name])
        written_at = time.time_ns() // 1000
        changes: dict[str, Changes] = {}
        for name in sorted(stores, reverse=True):
            described = kept[name] | written[name]
            if name:
                contents = replace(about, views=described, services={})
                listed |= {view: replace(stored, store=name) for view, stored in written[name].items()}
            else:
                contents = replace(about, views=listed | described)
            writer, data = writers[name], contents.to_json()
            done = writer.replace(data, written[name], kept[name], written_at, dry_run, on_progress)
            indexes[name].settle(contents)
            for view_name, each in done.items():
                changes[view_name] = changes[view_name].and_also(each) if view_name in changes else each
    return Export(
        {name: store_url(each) for name, each in urls.items()},
        instant,
        dry_run,
        dict(sorted(changes.items())),
        time.monotonic() - started,
    )


def _needed(chosen: Sequence[FeatureView], urls: Mapping[str, str]) -> dict[str, str]:
    """The stores that an export of some views changes; the default one always."""
    for view in chosen:
        if view.online_store not in urls:
            raise StoreError(
                f"the feature view '{view.name}' has online_store: {view.online_store}, of which no URL is known; "
                f"{how_to_name(view.online_store)}"
            )
    names = {"", *(view.online_store for view in chosen)}
    return {name: url for name, url in urls.items() if name in names}


def _views_in(store: OnlineStore) -> Mapping[str, StoredView]:
    """What a store said of itself until now."""
    _, data = store.contents()
    return {} if data is None else Contents.from_json(data, "the online store").views


def _kept(
    store: str, before: Mapping[str, Mapping[str, StoredView]], chosen: Sequence[FeatureView], registry: Registry
) -> dict[str, StoredView]:
    """The views whose records stay in a store as they are: those that the default one has said to be there.

    One that moves elsewhere stays, too, until the default store has changed, since its readers look for it here.
    """
    online = _online(registry)
    written = {view.name for view in chosen if view.online_store == store or not store}
    return {
        name: view
        for name, view in before[store].items()
        if view.is_here and name in online and name not in written
        if name in before[""] and before[""][name].store == store
    }


def _elsewhere(
    before: Mapping[str, StoredView], chosen: Sequence[FeatureView], registry: Registry
) -> dict[str, StoredView]:
    """The views that the default store lists, and that other stores keep as they are."""
    online = _online(registry).keys() - {view.name for view in chosen}
    return {name: view for name, view in before.items() if view.store and name in online}


def _online(registry: Registry) -> dict[str, FeatureView]:
    return {name: view for name, view in sorted(registry.views.items()) if view.online}


def _chosen(registry: Registry, names: Iterable[str]) -> list[FeatureView]:
    online = _online(registry)
    if not online:
        raise PitJoinError("there is no feature view with online: true (the default) to export")
    problems = [
        f"the feature view '{name}' has config.meta.pit_join.online: false"
        if name in registry.views
        else f"unknown feature view '{name}'; {suggest(name, online, 'feature views')}"
        for name in names
        if name not in online
    ]
    if problems:
        raise PitJoinError("\n".join(problems))
    return [online[name] for name in dict.fromkeys(names)] or list(online.values())


def _services(registry: Registry, macros: Macros) -> dict[str, StoredService]:
    found = {}
    for name, service in registry.services.items():
        requests = registry.check(service.requests)
        on_demand = None
        if any(isinstance(request, OnDemandRequest) for request in requests):
            asked = {
                "features": [request.as_macro_argument() for request in requests],
                "full_feature_names": service.full_feature_names,
                "relation": ARGUMENTS,
            }
            on_demand = tuple(
                macros.text("_on_demand_statement", defaults=defaults, tried=tried, **asked)
                for defaults, tried in ((True, False), (False, False), (True, True))
            )
        found[name] = StoredService(requests, service.full_feature_names, on_demand)
    return found


class _Taking:
    """Takes the snapshots of views, all of one state of the warehouse; what is read again is kept in `files`."""

    def __init__(
        self,
        warehouse: DuckDBWarehouse,
        macros: Macros,
        folder: Path,
        files: ExitStack,
        instant: datetime,
        on_progress: OnProgress,
    ) -> None:
        self._warehouse, self._macros, self._folder, self._files = warehouse, macros, folder, files
        self._instant, self._on_progress = instant, on_progress
        warehouse.spill_to(folder, _MEMORY_BYTES)

    def declared(
        self, views: Mapping[str, FeatureView], known: Collection[str], on_message: Callable[[str], None]
    ) -> dict[str, StoredView]:
        """The views that were never exported, as far as they are built: what their defaults are can be said already."""
        found = {}
        for name, view in views.items():
            if name not in known:
                try:
                    stored, _ = self.view(view)
                    found[name] = replace(stored, instant=None, store=view.online_store)
                except PitJoinError as error:
                    on_message(f"what needs the feature view '{name}' cannot be read, not even defaults: {error}")
        return found

    def view(self, view: FeatureView, writer: Writer | None = None) -> tuple[StoredView, Snapshot]:
        """One view as the store describes it, and its rows, which a writer is given; without one none of them."""
        warehouse, what = self._warehouse, f"the feature view '{view.name}' cannot be exported"
        unreadable = f"the table of the feature view '{view.name}' cannot be read; run dbt build"
        check_table(view, warehouse.columns(f"from {view.relation}", unreadable))
        history = None
        if not warehouse.has_table(view.location):
            # A file or an SQL view: its rows have no numbers.
            history = f"_pit_history_{view.name}"
            some = "" if writer else " limit 0"
            warehouse.execute(f'create temp table "{history}" as from {view.relation}{some}', what)
            history = f'"{history}"'
        in_order = False
        if writer and not history and not view.aggregations:
            facts = warehouse.row(self._macros.text("_facts_statement", view=view.name, history=history), what)
            in_order = not (facts["unordered"] or facts["tied"])
        statement = self._macros.text(
            "_snapshot_statement", view=view.name, as_of=self._instant.isoformat(), in_order=in_order, history=history
        )
        if not writer:
            statement = f"select * from (\n{statement}\n) limit 0"
        types = warehouse.columns(statement, what)
        snapshot = self._snapshot(view, statement, what, in_order, writer)
        substitutes = {
            which: self._substitutes(view, which, types, snapshot)
            for which, declared in {
                "default": any(feature.default is not None for feature in view.features),
                "missing": any(one.function in ("count", "count_distinct") for one in view.aggregations),
            }.items()
            if declared
        }
        stored = StoredView(
            name=view.name,
            entity=view.entity.name,
            keys=snapshot.kinds,
            layout=snapshot.layout,
            ttl=None if view.ttl is None else view.ttl // timedelta(microseconds=1),
            instant=self._instant,
            rows=snapshot.count,
            defaults=substitutes.get("default"),
            missing=substitutes.get("missing"),
        )
        return stored, snapshot

    def _snapshot(
        self, view: FeatureView, statement: str, what: str, in_order: bool, writer: Writer | None
    ) -> Snapshot:
        """The rows of a view, which a writer is given while they come."""
        file = None
        if writer and (not writer.reads_once or any(feature.nearest for feature in view.features)):
            file = self._files.enter_context(tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115 the stack closes it
        coming = self._warehouse.spooled(statement, what, file, one_pass=in_order)
        snapshot = Snapshot(view.name, view.join_keys, coming)
        while writer:
            with suppress(Restarted):
                writer.take(view.name, snapshot, self._on_progress)
                break
        return snapshot

    def _substitutes(self, view: FeatureView, which: str, types: Mapping[str, str], snapshot: Snapshot) -> bytes:
        """What stands for the features of a key without values, as a record."""
        statement = self._macros.text("_defaults_statement", view=view.name, which=which, types=dict(types))
        table = self._warehouse.table(statement, f"the defaults of the feature view '{view.name}' cannot be computed")
        return snapshot.record(table)
