"""The snapshots of an export, taken from one state of the warehouse."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime, timedelta

from pit_join.definitions.field_type import FieldType
from pit_join.definitions.views import FeatureView
from pit_join.errors import PitJoinError, StoreError
from pit_join.export.places import not_storable
from pit_join.export.snapshot import Snapshot
from pit_join.online.protocol import Writer
from pit_join.records.stored_view import StoredView
from pit_join.warehouse.spool import Restarted
from pit_join.warehouse.sql import identifier
from pit_join.workspace import Histories, Workspace

__all__ = ["SnapshotTaker"]


class SnapshotTaker:
    """A taker of snapshots of views in one state of the warehouse; snapshots that are read twice stay in `files`."""

    def __init__(self, workspace: Workspace, histories: Histories, files: ExitStack, instant: datetime) -> None:
        self._workspace, self._folder, self._console = workspace, workspace.project.cache, workspace.console
        self._histories = histories
        self._files, self._instant = files, instant

    def check(self, views: Collection[FeatureView]) -> None:
        """Check the tables and types of all views, so that all problems are shown at once.

        Raises:
            PitJoinError: with every problem.
        """
        self._histories.check(views)
        if problems := [problem for view in views for problem in not_storable(view)]:
            raise StoreError("\n".join(problems))

    def declared(self, views: Mapping[str, FeatureView], known: Collection[str]) -> dict[str, StoredView]:
        """Return the views that were never exported but are built, so that the store can serve their defaults."""
        found = {}
        for name, view in views.items():
            if name not in known:
                try:
                    stored, _ = self.view(view)
                    found[name] = replace(stored, instant=None, store=view.online_store)
                except PitJoinError as error:
                    self._histories.begin_anew()
                    self._console.warn(
                        f"features that need the feature view '{name}' cannot be served, not even defaults: {error}"
                    )
        return found

    def view(self, view: FeatureView, writer: Writer | None = None) -> tuple[StoredView, Snapshot]:
        """Return a view as the store describes it, and its rows, which a writer takes; without a writer no rows."""
        histories, session = self._histories, self._histories.session
        what = f"the feature view '{view.name}' cannot be exported"
        self.check([view])
        in_order = False
        if writer:
            histories.stage([view])
            if not view.aggregations:
                facts = histories.facts(view)  # which refuses two rows of a static view's key
                in_order = not (facts["unordered"] or facts["tied"])
        statement = self._workspace.view_macros.text(
            "_snapshot_statement",
            view=view.name,
            as_of=self._instant.isoformat(),
            in_order=in_order,
            history=histories.staged(view),
        )
        if not writer:
            statement = f"select * from (\n{statement}\n) as snapshot limit 0"
        types = session.columns(statement, what)
        if enums := [identifier(key) for key in view.join_keys if types[key].name.startswith("ENUM")]:
            # An enum sorts as it was declared, and the store's keys sort as texts.
            texts = ", ".join(f"cast({key} as varchar) as {key}" for key in enums)
            keys, in_order = ", ".join(map(identifier, view.join_keys)), False
            statement = f"select * replace ({texts}) from (\n{statement}\n) as snapshot order by {keys}"
        uuids = [key for key in view.join_keys if types[key].name == "UUID"]
        snapshot = self._snapshot(view, statement, what, in_order, writer, uuids)
        histories.forget(view)
        substitutes = {
            which: self._substitutes(view, which, types, snapshot)
            for which, declared in {
                "default": any(feature.default is not None for feature in view.features),
                "missing": any(one.counts for one in view.aggregations),
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
            noted=snapshot.noted() if writer else {},
            max_staleness=None if view.max_staleness is None else view.max_staleness // timedelta(microseconds=1),
            sensitive=tuple(feature.name for feature in view.features if feature.sensitive),
            hides_keys=view.hides_keys,
        )
        return stored, snapshot

    def _snapshot(
        self,
        view: FeatureView,
        statement: str,
        what: str,
        in_order: bool,
        writer: Writer | None,
        uuids: Collection[str],
    ) -> Snapshot:
        """Return the rows of a view; the writer takes them while DuckDB returns them."""
        file = None
        if writer and (not writer.reads_once or any(feature.nearest for feature in view.features)):
            file = self._files.enter_context(tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115 the stack closes it
        coming = self._histories.session.spooled(statement, what, file, one_pass=in_order)
        snapshot = Snapshot(view.name, view.join_keys, coming, uuids)
        while writer:
            with suppress(Restarted):
                writer.take(view.name, snapshot, self._console.progress)
                break
        return snapshot

    def _substitutes(self, view: FeatureView, which: str, types: Mapping[str, FieldType], snapshot: Snapshot) -> bytes:
        """Return the record of substitutes for the features of a key without values."""
        statement = self._workspace.macros.text(
            "_defaults_statement", view=view.name, which=which, types={name: str(kind) for name, kind in types.items()}
        )
        table = self._histories.warehouse.table(
            statement, f"the defaults of the feature view '{view.name}' cannot be computed"
        )
        return snapshot.record(table)
