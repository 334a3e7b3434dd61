"""Entity rows as callers write them: mappings, one mapping of lists and single values, or a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from pit_join.errors import EntityError
from pit_join.frames import columns_of, table_of
from pit_join.records.keys import KeyCodec, Single

__all__ = ["EntityRows"]

_EXACT = 2**53  # from here on floats do not tell integers apart


class EntityRows:
    """The rows of one request."""

    def __init__(self, given: Any) -> None:
        if not isinstance(given, (Mapping, list)):
            if (table := table_of(given)) is not None:
                given = dict(columns_of(table))
            elif isinstance(given, Iterable):  # a generator, say
                with suppress(TypeError):  # an array without dimensions
                    given = list(given)
        self._given: Sequence[Mapping[str, Any]] | Mapping[str, Any] = given
        if not isinstance(given, Mapping):
            if not isinstance(given, list) or not all(isinstance(row, Mapping) for row in given):
                raise EntityError(
                    "entity rows are mappings of keys to values, one mapping of keys to lists, or a table in memory"
                )
            self._length = len(given)
            return
        lengths = {name: len(values) for name, values in given.items() if _is_list(values)}
        if len(set(lengths.values())) > 1:
            raise EntityError(f"the lists of the entity rows have different lengths: {lengths}")
        self._length = next(iter(lengths.values()), 1)

    def __len__(self) -> int:
        return self._length

    @property
    def only(self) -> Mapping[str, Any] | None:
        """The row, where there is one and it is a mapping of single values."""
        if not isinstance(self._given, Mapping):
            return self._given[0] if self._length == 1 else None
        return None if any(map(_is_list, self._given.values())) else self._given

    @property
    def mappings(self) -> Sequence[Mapping[str, Any]]:
        """The rows as mappings, or the one mapping of lists."""
        return [self._given] if isinstance(self._given, Mapping) else self._given

    def keys(self, codec: KeyCodec) -> list[bytes | None]:
        """Return the key of each row for one view."""
        if not isinstance(self._given, Mapping):
            return [codec.encode(row) for row in self._given]
        missing = [column for column in codec.columns if column not in self._given]
        if missing:
            raise EntityError(f"the entity rows have no '{missing[0]}'; they need {', '.join(codec.columns)}")
        given = [self._given[column] for column in codec.columns]
        return codec.encode_all([_plain(values) if _is_list(values) else Single(values) for values in given], len(self))

    def columns(self, names: Sequence[str], needed: str = "they need") -> dict[str, list[Any]]:
        """Return keys, or fields, as lists."""
        given = self._given
        try:
            if not isinstance(given, Mapping):
                return {name: [row[name] for row in given] for name in names}
            return {
                name: list(_plain(given[name])) if _is_list(given[name]) else [given[name]] * self._length
                for name in names
            }
        except KeyError as error:
            raise EntityError(f"the entity rows have no {error}; {needed} {', '.join(names)}") from None


def _is_list(values: Any) -> bool:
    return hasattr(values, "__len__") and not isinstance(values, (str, bytes, Mapping))


def _plain(values: Any) -> Any:
    # NumPy's and Arrow's own scalars are slow to read, and not all of them are Python's. Of instants `tolist` may make
    # numbers.
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return list(values)
    if hasattr(values, "isna"):
        return _of_pandas(values)
    for method in ("tolist", "to_pylist", "to_list"):
        if hasattr(values, method):
            return getattr(values, method)()
    return values


def _of_pandas(column: Any) -> list[Any]:
    """Return a column of pandas, in which whole numbers beside a missing value are floats, with None and integers."""
    missing, values = column.isna(), list(column.tolist())
    if not missing.any():
        return values
    values = [None if gone else value for gone, value in zip(missing, values, strict=True)]
    known = [value for value in values if value is not None]
    if all(isinstance(value, float) and value.is_integer() and abs(value) < _EXACT for value in known):
        return [None if value is None else int(value) for value in values]
    return values
