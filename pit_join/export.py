"""Exporting: the online store becomes the snapshot of one instant.

What a snapshot holds is decided by the macros' SQL alone (`latest_snapshot`); here it is brought to the store.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pit_join.contents import Contents, StoredService, StoredView
from pit_join.definitions import FeatureView
from pit_join.errors import PitJoinError, suggest
from pit_join.expressions import ARGUMENTS
from pit_join.indexing import Indexes, check_can_index
from pit_join.on_demand_check import check_on_demand
from pit_join.online import Changes, OnlineStore, open_store, store_url
from pit_join.project import Project
from pit_join.references import OnDemandRequest
from pit_join.registry import Registry
from pit_join.rendering import Macros
from pit_join.snapshots import Snapshot
from pit_join.tables import check_table
from pit_join.warehouse import DuckDBWarehouse

__all__ = ["Export", "export"]

# For DuckDB, which puts aside on disk what does not fit; the store's own writing comes after it.
_MEMORY_BYTES = 384 * 2**20


@dataclass(frozen=True, slots=True)
class Export:
    """What an export did, or with `dry_run` would do.

    `instant` is when the snapshot holds; `views` has the changes of each view, those that are no longer in the store
    among them; `seconds` is the whole time.
    """

    store: str
    instant: datetime
    dry_run: bool
    views: Mapping[str, Changes]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "store": self.store,
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
    as_of: datetime | None = None,
    dry_run: bool = False,
    wait: float = 60.0,
    on_message: Callable[[str], None] = lambda message: None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, view: None,
) -> Export:
    """Make the online store hold what was known of the feature views at an instant.

    Args:
        project: the dbt project that declares the views.
        url: the store, see `open_store`.
        views: names of views; the others stay as they were exported last. All with `online: true` by default, and then
            nothing else stays in the store.
        as_of: the instant; now by default.
        dry_run: find out what would change, and change nothing.
        wait: seconds to wait for a warehouse that another process holds, and for another export.
        on_message: told what takes time.
        on_progress: told how many rows of how many are compared, and of which view.

    Raises:
        StoreError: if the store cannot be used, or cannot hold a column.
        PitJoinError: see its other subclasses; bad names, tables and projects.
    """
    started = time.monotonic()
    manifest = project.manifest()
    registry = Registry.from_manifest(manifest)
    macros = Macros(manifest, project.dispatch_order, project.compile, project.cache)
    check_on_demand(registry, macros)
    chosen = _chosen(registry, views)
    check_can_index(chosen)
    store = open_store(url, create=True)
    project.cache.mkdir(parents=True, exist_ok=True)
    with store.writing(wait, on_message) as writer, ExitStack() as files:
        with DuckDBWarehouse(project.connection, wait=wait, on_wait=on_message) as warehouse:
            instant = as_of or datetime.now(timezone.utc)  # after waiting: all that is known by now
            taken = _Taking(warehouse, macros, project.cache, files, instant)
            stored = {view.name: taken.view(view) for view in chosen}
        indexes = Indexes(store, dry_run=dry_run, on_message=on_message)
        stored = {view.name: (indexes.of(view, *stored[view.name]), stored[view.name][1]) for view in chosen}
        kept = _kept(store, views, registry) if views else {}
        contents = Contents(
            project=str(manifest["metadata"]["project_name"]),
            target=project.connection.target,
            exported_at=datetime.now(timezone.utc),
            views=kept | {name: view for name, (view, _) in stored.items()},
            services=_services(registry, macros),
        )
        written_at = time.time_ns() // 1000
        changes = writer.replace(contents.to_json(), stored, kept, written_at, dry_run, on_progress)
        indexes.settle(contents)
    return Export(store_url(url), instant, dry_run, changes, time.monotonic() - started)


def _chosen(registry: Registry, names: Iterable[str]) -> list[FeatureView]:
    online = {name: view for name, view in sorted(registry.views.items()) if view.online}
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


def _kept(store: OnlineStore, views: Sequence[str], registry: Registry) -> dict[str, StoredView]:
    """The views that stay in the store as they are."""
    _, data = store.contents()
    if data is None:
        return {}
    contents = Contents.from_json(data, "the online store")
    return {
        name: view
        for name, view in contents.views.items()
        if name not in views and name in registry.views and registry.views[name].online
    }


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
            with_defaults, without = (
                macros.text("_on_demand_statement", defaults=defaults, **asked) for defaults in (True, False)
            )
            on_demand = with_defaults, without
        found[name] = StoredService(requests, service.full_feature_names, on_demand)
    return found


class _Taking:
    """Takes the snapshots of views, all of one state of the warehouse, each into an unnamed file in `folder`."""

    def __init__(
        self, warehouse: DuckDBWarehouse, macros: Macros, folder: Path, files: ExitStack, instant: datetime
    ) -> None:
        self._warehouse, self._macros, self._folder, self._files = warehouse, macros, folder, files
        self._instant = instant
        warehouse.spill_to(folder, _MEMORY_BYTES)

    def view(self, view: FeatureView) -> tuple[StoredView, Snapshot]:
        """One view as the store describes it, and its rows."""
        warehouse, what = self._warehouse, f"the feature view '{view.name}' cannot be exported"
        unreadable = f"the table of the feature view '{view.name}' cannot be read; run dbt build"
        check_table(view, warehouse.columns(f"from {view.relation}", unreadable))
        history = None
        if not warehouse.has_table(view.location):
            # A file or an SQL view: its rows have no numbers.
            history = f"_pit_history_{view.name}"
            warehouse.execute(f'create temp table "{history}" as from {view.relation}', what)
            history = f'"{history}"'
        facts = warehouse.row(self._macros.text("_facts_statement", view=view.name, history=history), what)
        in_order = not (history or view.aggregations or facts["unordered"] or facts["tied"])
        statement = self._macros.text(
            "_snapshot_statement", view=view.name, as_of=self._instant.isoformat(), in_order=in_order, history=history
        )
        types = warehouse.columns(statement, what)
        file = self._files.enter_context(tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115 the stack closes it
        snapshot = Snapshot(view.name, view.join_keys, warehouse.spooled(statement, what, file))
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

    def _substitutes(self, view: FeatureView, which: str, types: Mapping[str, str], snapshot: Snapshot) -> bytes:
        """What stands for the features of a key without values, as a record."""
        statement = self._macros.text("_defaults_statement", view=view.name, which=which, types=dict(types))
        table = self._warehouse.table(statement, f"the defaults of the feature view '{view.name}' cannot be computed")
        return snapshot.record(table)
