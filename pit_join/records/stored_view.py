"""A feature view as a store describes it: keys, fields, age and defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pit_join.errors import StoreError
from pit_join.records.embeddings import StoredIndex
from pit_join.records.keys import KeyCodec
from pit_join.records.layout import Decoder, Layout, moment_of, view_number
from pit_join.statuses import STALE
from pit_join.times import format_duration

__all__ = ["Noted", "StoredView", "view_as_json", "view_from_json"]


class _StaleError(StoreError):
    """A view whose export is older than its max_staleness."""

    status = STALE


class Noted(NamedTuple):
    """The notes of an export on a feature: its nulls, and the newest event time of a value.

    The time is in microseconds; None if all values are null, or the view is static.
    """

    nulls: int
    newest: int | None


@dataclass(frozen=True, slots=True)
class StoredView:
    """One feature view as it was exported.

    `keys` are the columns of the key with their kinds (see `keys.key_kind`); a view that holds for every row has none,
    and its `entity` is empty. `ttl` is in microseconds, `instant` is when the snapshot holds (None: it is declared, and
    not exported yet), `defaults` a record of the declared defaults and `missing` one of what a key without a record has
    although no default is declared (a count of 0); or None if no feature needs them. `nearest` are the indexes of
    embeddings by feature, `store` is the name of the store that has the records, empty for the default one. What is
    served is stale `max_staleness` microseconds after the instant. `noted` is what the export noted of each feature;
    older stores have nothing there. The feature log gets no values of `sensitive` features, and no keys if the view
    `hides_keys`.
    """

    name: str
    entity: str
    keys: Mapping[str, str]
    layout: Layout
    ttl: int | None
    instant: datetime | None
    rows: int
    defaults: bytes | None = None
    missing: bytes | None = None
    nearest: Mapping[str, StoredIndex] = field(default_factory=dict)
    store: str = ""
    max_staleness: int | None = None
    noted: Mapping[str, Noted] = field(default_factory=dict)
    sensitive: tuple[str, ...] = ()
    hides_keys: bool = False

    @property
    def fresh_until(self) -> int | None:
        """The last instant, in microseconds, at which its values may be served; None if there is no such bound."""
        if self.max_staleness is None or self.instant is None:
            return None
        return moment_of(self.instant) + self.max_staleness

    def staleness(self, moment: int) -> StoreError | None:
        """Return the error of serving its values at a moment, in microseconds; None while they are fresh."""
        if self.fresh_until is None or self.instant is None or moment <= self.fresh_until:
            return None
        bound = format_duration(timedelta(microseconds=self.max_staleness or 0))
        return _StaleError(
            f"the export of the feature view '{self.name}' is as of {self.instant:%Y-%m-%d %H:%M:%S} UTC, and its "
            f"max_staleness is {bound}; run pit-join export"
        )

    @property
    def is_here(self) -> bool:
        """Whether the store that describes it has its records."""
        return self.instant is not None and not self.store

    @property
    def features(self) -> tuple[str, ...]:
        """The names of its features, in the order of the model's YAML."""
        return tuple(field.name for field in self.layout.fields)

    def decoder(self, features: Sequence[str]) -> Decoder:
        """Return a decoder of some features of its records."""
        return Decoder(self.layout, features, view_number(self.name))


def view_as_json(view: StoredView) -> dict[str, Any]:
    """Return a view as the store describes it."""
    return {
        "entity": view.entity,
        "keys": dict(view.keys),
        "fields": json.loads(view.layout.describe()),
        "ttl": view.ttl,
        "instant": view.instant.isoformat() if view.instant else None,
        "rows": view.rows,
        "defaults": view.defaults.hex() if view.defaults else None,
        "missing": view.missing.hex() if view.missing else None,
        # What older stores do not say is left out where there is nothing to say.
        **({"store": view.store} if view.store else {}),
        **({"max_staleness": view.max_staleness} if view.max_staleness is not None else {}),
        **({"noted": {name: list(noted) for name, noted in view.noted.items()}} if view.noted else {}),
        **({"nearest": {name: index.as_json() for name, index in view.nearest.items()}} if view.nearest else {}),
        **({"sensitive": list(view.sensitive)} if view.sensitive else {}),
        **({"hides_keys": True} if view.hides_keys else {}),
    }


def view_from_json(name: str, read: Mapping[str, Any]) -> StoredView:
    """Read the view that `view_as_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: if it cannot be read.
    """
    KeyCodec(read["keys"].items())  # which knows the kinds of keys
    if not isinstance(read["ttl"], (int, type(None))):
        raise TypeError(f"the ttl is {read['ttl']!r}")
    bound = read.get("max_staleness")
    if bound is not None and (type(bound) is not int or not 0 < bound < 2**62):
        raise TypeError(f"the max_staleness is {bound!r}")
    sensitive, hides_keys = read.get("sensitive", []), read.get("hides_keys", False)
    if not isinstance(sensitive, list) or not {*map(type, sensitive)} <= {str} or type(hides_keys) is not bool:
        raise TypeError(f"sensitive is {sensitive!r}, and hides_keys {hides_keys!r}")
    if bool(read["keys"]) != bool(read["entity"]):
        raise TypeError(f"the entity is {read['entity']!r}, and the keys are {read['keys']!r}")
    return StoredView(
        name=name,
        entity=read["entity"],
        keys=read["keys"],
        layout=Layout.from_description(json.dumps(read["fields"])),
        ttl=read["ttl"],
        instant=datetime.fromisoformat(read["instant"]) if read["instant"] else None,
        store=read.get("store", ""),
        rows=read["rows"],
        defaults=bytes.fromhex(read["defaults"]) if read["defaults"] else None,
        missing=bytes.fromhex(read["missing"]) if read["missing"] else None,
        nearest={name: StoredIndex.from_json(index) for name, index in read.get("nearest", {}).items()},
        max_staleness=read.get("max_staleness"),
        noted={name: _noted(*noted) for name, noted in read.get("noted", {}).items()},
        sensitive=tuple(sensitive),
        hides_keys=hides_keys,
    )


def _noted(nulls: Any, newest: Any) -> Noted:
    if not all(type(one) is int and abs(one) < 2**63 for one in (nulls, 0 if newest is None else newest)):
        raise TypeError(f"an export noted {[nulls, newest]!r}")
    return Noted(nulls, newest)
