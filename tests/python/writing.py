"""What an export does with snapshots once it has them."""

from __future__ import annotations

from collections.abc import Mapping

from pit_join.online.protocol import Changes, Rows, Writer
from pit_join.records.stored_view import StoredView


def replace_all(
    writer: Writer,
    contents: bytes,
    written: Mapping[str, tuple[StoredView, Rows]],
    kept: Mapping[str, StoredView],
    written_at: int,
    dry_run: bool,
) -> dict[str, Changes]:
    """Make a store hold views with these rows beside those that are kept."""
    for name, (_, rows) in written.items():
        writer.take(name, rows, lambda done, total, view: None)
    views = {name: view for name, (view, _) in written.items()}
    return writer.replace(contents, views, kept, written_at, dry_run, lambda done, total, view: None)
