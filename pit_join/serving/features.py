"""Feature vectors as they were read: values, statuses and event times, as mappings, frames or one matrix."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from pit_join.errors import EntityError, with_extra
from pit_join.frames import Dtypes, as_pandas
from pit_join.online.protocol import Failed
from pit_join.records.layout import CHECK, HEADER, SCALARS, converter, instant
from pit_join.serving.role_records import FeatureColumn, RoleColumns, RolePlan, RoleRecords, failures_of
from pit_join.statuses import NULL_VALUE, PRESENT, STALE

__all__ = ["OnlineFeatures"]


_MOST_SHOWN = 5  # rows, in a notebook

_LaidOut = tuple[Sequence[RoleRecords], Mapping[str, FeatureColumn]]
"""The records of each role, and the on-demand features by name."""


class OnlineFeatures:
    """The features of some entity rows, all read from one state of the store.

    A value that is null, missing or too old is the declared default, if there is one; its status says so. On-demand
    features, which are `computed`, have no event time.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        keys: dict[str, list[Any]],
        rows: int,
        lay_out: Callable[[], _LaidOut],
    ) -> None:
        self._names, self._keys, self._rows, self._lay_out = names, keys, rows, lay_out

    def __len__(self) -> int:
        return self._rows

    def __repr__(self) -> str:
        return f"<OnlineFeatures: {self._rows} rows of {reprlib.repr(self._names)}>"

    def _repr_html_(self) -> str:
        # Imported here, since a service shows nothing.
        from pit_join.markup import notebook, notes, table

        roles, head = self.by_role(), ["feature", *self._row_titles(), "statuses", ""]
        rows = dict(row for role in roles for row in _shown_features(role, len(head) - 3))
        listed = table(head, [[name, *rows[name]] for name in self._names])
        hidden = f" (the first {len(head) - 3} are shown)" if self._rows > len(head) - 3 else ""
        title = f"OnlineFeatures: {self._rows:,} rows{hidden}, {len(self._names):,} features"
        return notebook(title, listed, notes(f"{view}: {why}" for view, why in self.failures.items()))

    def _row_titles(self) -> list[str]:
        """Return the keys of the first rows, or their numbers where views have none."""
        from pit_join.texts import shown

        return [
            ", ".join(f"{name}={shown(column[row])}" for name, column in self._keys.items()) or f"row {row + 1}"
            for row in range(min(self._rows, _MOST_SHOWN))
        ]

    @cached_property
    def _laid_out(self) -> _LaidOut:
        return self._lay_out()

    @property
    def _roles(self) -> Sequence[RoleRecords]:
        return self._laid_out[0]

    @property
    def _computed(self) -> Mapping[str, FeatureColumn]:
        return self._laid_out[1]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features in the order asked for."""
        return self._names

    def by_role(self) -> list[RoleColumns]:
        """Return values, statuses and event times role by role; faster than one property after the other."""
        found = [
            RoleColumns(column.view, (name,), (column.type,), [column.values], [column.statuses], column.times)
            for name, column in self._computed.items()
        ]
        for read in self._roles:
            role = read.role
            rows = read.by_row(read.results)
            statuses = [status for status, _, _ in rows]
            nothing = (None,) * len(role.names)
            stored = [values or nothing for _, _, values in rows]
            columns = list(zip(*stored, strict=True)) if rows else [()] * len(role.names)
            known = [statuses] * len(columns)
            whole = statuses.count(PRESENT) == len(rows)
            # Most records are there and have no nulls, and then nothing has to be replaced.
            if not whole or any(None in values for values in stored):
                known = [_with_nulls(statuses, column) if None in column else statuses for column in columns]
                if not whole or role.fills:
                    columns = list(zip(*(role.served(status, values) for status, _, values in rows), strict=True))
            times = [event for _, event, _ in rows]
            found.append(RoleColumns(role.view.name, role.names, role.types, columns, known, times))
        return found

    @property
    def failures(self) -> dict[str, str]:
        """The views that could not be read, or are stale, with the sentence that says why; defaults stand for them."""
        return failures_of((read.role, read.given) for read in self._roles)

    @cached_property
    def statuses(self) -> dict[str, list[str]]:
        """For every feature the status of each row.

        It is `PRESENT`, `NULL_VALUE`, `NOT_FOUND` (no record of the key), `NULL_KEY`, `OUTSIDE_MAX_AGE` (older than
        the ttl); or `STORE_FAILED`, `STORE_LATE`, `NOT_EXPORTED`, `STALE` (see `failures`), which on-demand features
        take over from their arguments; or, of on-demand features, `COMPUTE_FAILED`.
        """
        found = {name: column.statuses for name, column in self._computed.items()}
        for read in self._roles:
            for i, name in enumerate(read.role.names):
                found[name] = read.by_row(
                    [
                        NULL_VALUE if values is not None and values[i] is None else status
                        for status, _, values in read.results
                    ]
                )
        return {name: found[name] for name in self._names}

    @cached_property
    def event_timestamps(self) -> dict[str, list[datetime | None]]:
        """For every feature the event time of each row's record (UTC, microseconds); None where there is none."""
        found: dict[str, list[datetime | None]] = {name: [None] * self._rows for name in self._computed}
        for read in self._roles:
            times = [None if event is None else instant(event) for _, event, _ in read.results]
            found |= dict.fromkeys(read.role.names, read.by_row(times))
        return {name: found[name] for name in self._names}

    @property
    def exported_at(self) -> dict[str, datetime | None]:
        """For every feature the instant of its view's export (UTC); None for on-demand features, and without one."""
        found: dict[str, datetime | None] = dict.fromkeys(self._computed)
        for read in self._roles:
            found |= dict.fromkeys(read.role.names, read.role.view.instant)
        return {name: found[name] for name in self._names}

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, list[Any]]:
        """Return keys and features as lists, one item a row.

        With `include_event_timestamps` also `<feature>__ts`: whole seconds since 1970, 0 where there is none.
        """
        found: dict[str, list[Any]] = {}
        found |= {name: list(column.values) for name, column in self._computed.items()}
        for read in self._roles:
            found |= read.columns()
        result = {**self._keys, **{name: found[name] for name in self._names}}
        if include_event_timestamps:
            for name, times in self.event_timestamps.items():
                result[f"{name}__ts"] = [0 if moment is None else int(moment.timestamp()) for moment in times]
        return result

    def to_df(self, include_event_timestamps: bool = False, dtypes: Dtypes = "nullable") -> Any:
        """Return keys and features as a pandas DataFrame (needs pandas); dtypes are those of a training set.

        Raises:
            PitJoinError: if pandas would change an integer above 2^53.
        """
        with with_extra("pandas", "to_df()"):
            import pandas
        # Imported here, since only frames need it.
        import pyarrow as pa

        from pit_join.records.arrow import arrow_values

        values: dict[str, pa.Array] = {}
        for role in self.by_role():
            values |= {name: arrow_values(role.types[i], role.columns[i]) for i, name in enumerate(role.names)}
        features = as_pandas(pa.table({name: values[name] for name in self._names}), dtypes, "to_dict()")
        parts = [pandas.DataFrame(self._keys, index=features.index), features]
        if include_event_timestamps:
            found = self.to_dict(include_event_timestamps)
            parts.append(pandas.DataFrame({f"{name}__ts": found[f"{name}__ts"] for name in self._names}))
        return pandas.concat(parts, axis=1)

    def to_numpy(self, dtype: Any = "float32", out: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        """Return the features as one matrix of floats, rows by features in the order asked for.

        A null is NaN, and a number beyond the floats of the matrix infinite.

        Args:
            dtype: a float type; not used with `out`.
            out: a matrix to fill, whose rows are contiguous.

        Raises:
            EntityError: if a feature is not a number, or `out` has another shape.
        """
        shape = (self._rows, len(self._names))
        if out is None:
            out = np.empty(shape, dtype=dtype)
        if out.shape != shape or not np.issubdtype(out.dtype, np.floating):
            raise EntityError(f"the matrix must be of floats and of shape {shape}, got {out.dtype} and {out.shape}")
        for read in self._roles:
            columns, records = read.role.columns, len(read.lengths)
            if isinstance(columns, slice) and records == self._rows:
                _fill(out[:, columns], read)
                continue
            block = np.empty((records, len(read.role.names)), dtype=out.dtype)
            _fill(block, read)
            out[:, columns] = block if records == 1 else block[read.keys.positions]
        for name, column in self._computed.items():
            if not all(value is None or isinstance(value, (int, float, Decimal)) for value in column.values):
                raise EntityError(
                    f"the feature '{name}' is of type {column.type}, which is not a number; "
                    "leave it out, or use to_dict()"
                )
            out[:, self._names.index(name)] = _numbers(tuple(column.values))
        return out


def _shown_features(role: RoleColumns, rows: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the features of a role, each with the cells of its first rows and the counts of its statuses."""
    from pit_join.json_values import with_zone
    from pit_join.markup import bar, cell
    from pit_join.texts import moment_text, shown

    for name, kind, values, statuses in zip(role.names, role.types, role.columns, role.statuses, strict=True):
        cells = []
        for value, status, time in zip(values[:rows], statuses, role.times, strict=False):
            title = status if time is None else f"{status}, {moment_text(time)} UTC"
            cells.append(cell(shown(with_zone(value, kind)), faint=status != PRESENT, title=title))
        counts = {PRESENT: 0} | Counter(statuses)  # in this order, so that only what is present is dark
        text = ", ".join(f"{number:,} {status}" for status, number in counts.items() if number)
        yield name, [*cells, text, bar(counts)]


def _with_nulls(statuses: list[str], column: Sequence[Any]) -> list[str]:
    """Return the statuses of rows as those of one feature."""
    pairs = zip(column, statuses, strict=True)
    return [NULL_VALUE if value is None and status == PRESENT else status for value, status in pairs]


def _fill(out: np.ndarray[Any, Any], read: RoleRecords) -> None:
    """Write the features of a role's records into a matrix, a row a record."""
    role, layout = read.role, read.role.decoder.layout
    runs = _runs(role)  # first of all: a feature that is not a number is refused even if no record has it
    lengths = np.array(read.lengths, dtype=np.int64)
    rows: Any = slice(None)
    if not lengths.all():
        out[:] = _numbers(role.absent)
        if isinstance(read.given, Failed) and read.given.status == STALE:
            # Of a null key it is known that there is no record.
            out[[place for place in read.given.lost if read.keys.distinct[place]]] = _numbers(role.defaults)
        rows = np.flatnonzero(lengths)
    if not read.records:
        return
    records, count, width = read.records, np.count_nonzero(lengths), layout.size + CHECK
    if layout.varying:
        ends = np.cumsum(lengths[rows])
        starts = (ends - lengths[rows]).tolist()
        records = b"".join([records[start : start + width] for start in starts])
    cells = np.frombuffer(records, dtype=np.uint8).reshape(count, width)
    values = out if isinstance(rows, slice) else np.empty((count, out.shape[1]), dtype=out.dtype)
    for first, end, start, dtype, scale in runs:
        found = cells[:, start : start + (end - first) * dtype.itemsize].view(dtype)
        with np.errstate(over="ignore"):  # a double beyond the floats of `out` is infinite there
            values[:, first:end] = _scaled(found, scale)
    if cells[:, HEADER.size - 4].any():
        bitmap = cells[:, layout.bitmap : layout.bitmap + -(-len(layout.fields) // 8)]
        bits = np.unpackbits(bitmap, axis=1, bitorder="little")
        nulls = bits[:, role.decoder.bits].view(bool)
        np.copyto(values, _numbers(role.defaults).astype(values.dtype), where=nulls)
    if role.ttl is not None:
        too_old = cells[:, 8:16].view("<i8")[:, 0] < read.moment - role.ttl
        if too_old.any():
            values[too_old] = _numbers(role.absent)
    if values is not out:
        out[rows] = values


def _numbers(values: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    return np.array([np.nan if value is None else float(value) for value in values])


def _scaled(found: np.ndarray[Any, Any], scale: int | None) -> np.ndarray[Any, Any]:
    if scale is None:
        return found
    if found.dtype.itemsize == 16:
        halves = np.ascontiguousarray(found).view("<u8").reshape(*found.shape, 2)
        low, high = halves[..., 0], halves[..., 1]
        # The magnitude first: as floats, the halves of a small negative number would cancel each other out.
        negative = high >> np.uint64(63) == 1
        low = np.where(negative, ~low + np.uint64(1), low)
        high = np.where(negative, ~high + (low == 0), high)
        found = np.where(negative, -1.0, 1.0) * (high * 2.0**64 + low)
    return np.asarray(found / 10.0**scale)


@lru_cache(maxsize=1024)
def _runs(role: RolePlan) -> list[tuple[int, int, int, np.dtype[Any], int | None]]:
    """Find runs of features of one type that are adjacent both in the request and in the records.

    Each is (first, end, where the first lies in a record, type, digits after the point, None unless it is a decimal).
    """
    layout, names = role.decoder.layout, role.decoder.names
    types = {field.name: field.type for field in layout.fields}
    runs: list[tuple[int, int, int, np.dtype[Any], int | None]] = []
    for i, name in enumerate(names):
        kind, code, offset = types[name], layout.codes[name], layout.offsets[name]
        if kind.startswith("decimal"):
            dtype, scale = np.dtype("<i8" if code == "q" else "V16"), int(kind[:-1].split(", ")[1])
        elif kind in SCALARS and converter(kind) is None:
            dtype, scale = np.dtype(f"<{code}"), None
        else:
            raise EntityError(
                f"the feature '{role.names[i]}' is of type {kind}, which is not a number; "
                "leave it out, or use to_dict()"
            )
        if runs:
            first, end, start, *of = runs[-1]
            if of == [dtype, scale] and offset == start + (end - first) * dtype.itemsize:
                runs[-1] = (first, end + 1, start, dtype, scale)
                continue
        runs.append((i, i + 1, offset, dtype, scale))
    return runs
