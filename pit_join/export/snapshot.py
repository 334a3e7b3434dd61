"""The snapshot of one view for an online store: an Arrow table in a file, read in batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pit_join.errors import StoreError
from pit_join.records.arrow import field_of, int64s, keys_of, records_of
from pit_join.records.keys import ONLY_KEY, key_kind
from pit_join.records.layout import NO_TIME, Layout, checksum, view_number
from pit_join.records.stored_view import Noted
from pit_join.warehouse.spool import Spool

__all__ = ["Snapshot"]

_BATCH_ROWS, _LEAST_ROWS, _BATCH_BYTES = 16_384, 256, 2**19
_LISTS_ROWS = 1024
_EVENT = "_pit_event"


class Snapshot:
    """The rows of one view as known at one instant; see `Rows` of `pit_join.online.protocol`.

    `table` has the columns of the key, `_pit_event` (microseconds UTC) and the features, ascending by key; a spool may
    still be receiving rows. `uuids` are the keys whose texts are UUIDs, as DuckDB writes them.

    Raises:
        StoreError: with every column whose type the store cannot hold.
    """

    def __init__(self, view: str, keys: tuple[str, ...], table: pa.Table | Spool, uuids: Collection[str] = ()) -> None:
        self.view, self._table = view, table
        problems, fields = [], []
        for column in table.schema:
            try:
                field = field_of(column) if column.name != _EVENT else None
            except StoreError as error:
                problems.append(f"{view}: {error}")
                continue
            if field and field.name in keys and key_kind(field.type) is None:
                problems.append(f"{view}: the key '{field.name}' is of type {column.type}, which online keys cannot be")
            elif field:
                fields.append(field)
        if problems:
            raise StoreError("\n".join(problems))
        kinds = {field.name: str(key_kind(field.type)) for field in fields if field.name in keys}
        self.kinds = {key: "uuid" if key in uuids else kinds[key] for key in keys}
        self.layout = Layout([field for field in fields if field.name not in keys])
        self._note_anew()
        self._batch_rows = max(_LEAST_ROWS, min(_BATCH_ROWS, _BATCH_BYTES // self.layout.size))

    @property
    def count(self) -> int:
        """The number of rows."""
        return int(self._table.num_rows)

    def in_order(self) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Yield batches of rows as `Rows` describes."""
        self._note_anew()
        for batch in self._table.to_batches(max_chunksize=self._batch_rows):
            if len(batch):
                self._note(batch)
                yield self._keys(batch), self._records(batch)

    def grouped(
        self, group_of: Callable[[bytes], int], groups: int
    ) -> Callable[[int, int], tuple[list[bytes], list[bytes]]]:
        """Group rows as `Rows` describes."""
        found = np.empty(self.count, dtype=np.int32)
        done = 0
        for batch in self._table.to_batches(max_chunksize=self._batch_rows):
            found[done : done + len(batch)] = list(map(group_of, self._keys(batch)))
            done += len(batch)
        order = np.argsort(found, kind="stable").astype(np.int32)
        starts = np.searchsorted(found[order], np.arange(groups + 1))

        def take(first: int, end: int) -> tuple[list[bytes], list[bytes]]:
            rows = order[starts[first] : starts[end]]
            if not len(rows):
                return [], []
            (batch,) = self._whole().take(int64s(rows.astype(np.int64))).combine_chunks().to_batches()
            return self._keys(batch), self._records(batch)

        return take

    def lists(self, feature: str) -> Iterator[tuple[list[bytes], pa.Array]]:
        """Yield batches of keys, in ascending order, and of a feature's lists, without the rows that have no list."""
        for batch in self._whole().select([*self.kinds, feature]).to_batches(max_chunksize=_LISTS_ROWS):
            known = batch.filter(batch[feature].is_valid())
            if len(known):
                yield self._keys(known), known[feature]

    def _whole(self) -> pa.Table:
        return self._table.whole() if isinstance(self._table, Spool) else self._table

    def record(self, table: pa.Table) -> bytes:
        """Return the record of the only row of a table whose columns are the features."""
        (batch,) = table.combine_chunks().to_batches()
        columns = [batch[field.name] for field in self.layout.fields]
        whole = bytes(8) + records_of(self.layout, int64s(np.zeros(1, dtype=np.int64)), columns)[0]
        return whole + checksum(whole, view_number(self.view), b"")

    def noted(self) -> dict[str, Noted]:
        """Return what is to be noted of each feature; all rows are read for that unless `in_order` has done so."""
        if self._noted_rows != self.count:
            self._note_anew()
            for batch in self._table.to_batches(max_chunksize=self._batch_rows):
                self._note(batch)
        return {
            name: Noted(nulls, None if (newest := self._newest.get(name, NO_TIME)) == NO_TIME else newest)
            for name, nulls in self._nulls.items()
        }

    def _note_anew(self) -> None:
        self._nulls = {field.name: 0 for field in self.layout.fields}
        self._newest: dict[str, int] = {}
        self._noted_rows = 0

    def _note(self, batch: pa.RecordBatch) -> None:
        self._noted_rows += len(batch)
        events = batch[_EVENT]
        newest = pc.max(events).as_py()
        place = None if events.null_count else int(np.argmax(np.from_dlpack(events)))
        for name in self._nulls:
            values, last = batch[name], newest
            self._nulls[name] += values.null_count
            if newest is None or newest <= self._newest.get(name, newest - 1):
                continue  # as most batches, of which to look at every feature takes longer
            if values.null_count and (place is None or not values[place].is_valid):
                last = pc.max(events.filter(values.is_valid())).as_py()
            if last is not None:
                self._newest[name] = max(last, self._newest.get(name, last))

    def _keys(self, batch: pa.RecordBatch) -> list[bytes]:
        if not self.kinds:
            return [ONLY_KEY] * len(batch)
        try:
            return keys_of(list(self.kinds.values()), [batch[key] for key in self.kinds])
        except StoreError as error:
            raise StoreError(f"{self.view}: {error}") from error

    def _records(self, batch: pa.RecordBatch) -> list[bytes]:
        return records_of(self.layout, batch[_EVENT], [batch[field.name] for field in self.layout.fields])
