"""Records in an online store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
from writing import replace_all

from pit_join.export.snapshot import Snapshot
from pit_join.online.protocol import Changes, OnlineStore
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView

AT = datetime(2026, 3, 1, tzinfo=timezone.utc)
Table = dict[str, Sequence[Any]]


def put(
    store: OnlineStore,
    tables: dict[str, Table],
    *,
    kept: dict[str, StoredView] | None = None,
    keys: tuple[str, ...] = ("user_id",),
    entity: str = "user",
    dry_run: bool = False,
    written_at: int = 1,
) -> tuple[dict[str, Changes], dict[str, StoredView]]:
    """Replace what the store holds; the first columns of a table are its keys."""
    written = {}
    for name, table in tables.items():
        columns = {**{k: table[k] for k in keys}, "_pit_event": [0] * len(next(iter(table.values())))}
        columns |= {k: v for k, v in table.items() if k not in keys}
        arrow = pa.table(columns)
        if keys:
            arrow = arrow.sort_by([(key, "ascending") for key in keys])
        snapshot = Snapshot(name, keys, arrow)
        view = StoredView(name, entity, snapshot.kinds, snapshot.layout, None, AT, snapshot.count)
        written[name] = (view, snapshot)
    views = (kept or {}) | {name: view for name, (view, _) in written.items()}
    contents = Contents("demo", "dev", AT, views)
    with store.writing(1, lambda message: None) as writer:
        changes = replace_all(writer, contents.to_json(), written, kept or {}, written_at, dry_run)
    return changes, views
