"""The client of an online store: features by name, prepared readers, neighbours. It needs no dbt project."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timezone
from functools import cached_property
from typing import Any

from pit_join.errors import RequestError
from pit_join.json_values import time_text
from pit_join.online.protocol import ReadableStore
from pit_join.records.store_manifest import Contents
from pit_join.references import RequestItem, parse_features, parse_role
from pit_join.serving.features import OnlineFeatures
from pit_join.serving.log_entry import ServedLog
from pit_join.serving.neighbours import Neighbour, NeighbourReader, Vector
from pit_join.serving.prepared import PreparedReaders
from pit_join.serving.reader import DEADLINE, OnlineReader
from pit_join.times import parse_instant

__all__ = ["OnlineClient", "describe_entity"]

_FEATURES = 'references such as ["user_activity:login_count_30d"], or the name of a feature service'
_ROLES = 'mappings such as ["dest_weather=weather(airport=dest)"]'


class OnlineClient:
    """A client of an online store, which `open_online` opens at the first use; `log` takes a sample of its reads."""

    def __init__(self, open_online: Callable[[], ReadableStore], log: ServedLog | None) -> None:
        self._open_online, self._log = open_online, log

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy has, also one in another process: not the opened store, nor what is prepared of it."""
        own = vars(self).items()
        return {name: value for name, value in own if not isinstance(getattr(type(self), name, None), cached_property)}

    @cached_property
    def _prepared(self) -> PreparedReaders[tuple[Any, ...]]:
        return PreparedReaders()

    @cached_property
    def _online(self) -> ReadableStore:
        return self._open_online()

    @cached_property
    def _neighbours(self) -> NeighbourReader:
        return NeighbourReader(self._online)

    def online_contents(self) -> Contents:
        """Return the manifest of the online store: its views with their instants, and its feature services.

        Raises:
            StoreError: if the store cannot be used, or nothing was exported.
        """
        _, data = self._online.contents()
        return Contents.from_json(data, "the online store")

    def online_reader(
        self,
        features: str | Sequence[str | Mapping[str, Any]],
        *,
        roles: Iterable[str] = (),
        full_feature_names: bool = False,
        defaults: bool = True,
        strict: bool = False,
        deadline: float | None = DEADLINE,
    ) -> OnlineReader:
        """Return a prepared reader for one set of features.

        Args:
            features: references such as `["user_activity:login_count_30d"]`, or the name of a feature service.
            roles: mappings such as `"dest_weather=weather(airport=dest)"`, for references to `dest_weather:temp`.
            full_feature_names: name every feature `view__feature`.
            defaults: replace nulls by the declared defaults.
            strict: raise an error where a store fails, is late, or lacks a view; by default the values are then the
                declared defaults, and their statuses say why.
            deadline: seconds within which a request is answered; None for no bound.

        Raises:
            StoreError: if the store cannot be used now, or nothing was exported.
            RequestError: if the store does not have what is asked for.
        """
        return self._reader(
            features,
            roles,
            full_feature_names=full_feature_names,
            defaults=defaults,
            strict=strict,
            deadline=deadline,
        )

    def _reader(self, features: Any, roles: Iterable[str], **options: Any) -> OnlineReader:
        service = isinstance(features, str) and ":" not in features
        return OnlineReader(self._online, features if service else _requests(features, roles), log=self._log, **options)

    def get_online_features(
        self,
        features: str | Sequence[str | Mapping[str, Any]],
        entity_rows: Any = ({},),
        *,
        roles: Iterable[str] = (),
        full_feature_names: bool = False,
        defaults: bool = True,
        now: str | date | None = None,
        strict: bool = False,
        deadline: float | None = DEADLINE,
    ) -> OnlineFeatures:
        """Read the latest features of some entity rows, in one read of the online store.

        The last requests stay prepared, in up to 32 MiB: what was asked for before is read at once, and a new export is
        seen.

        Args:
            features: references such as `["user_activity:login_count_30d"]`, or the name of a feature service.
            entity_rows: mappings with a value for every key, such as `[{"user_id": 42}]`; or one mapping of lists, in
                which a single value stands for all rows (`{"user_id": 42, "item_id": [7, 8, 9]}`); or a pandas, polars
                or Arrow table. What it has beside the keys is ignored. By default one row without keys, which is
                enough for views that hold for every row.
            roles: mappings such as `"dest_weather=weather(airport=dest)"`, for references to `dest_weather:temp`.
            full_feature_names: name every feature `view__feature`.
            defaults: replace nulls, and what is missing or too old, by the declared defaults.
            now: the instant at which ages are judged; the clock's by default. Naive is UTC. A warning says where the
                store holds a later export.
            strict: raise an error where a store fails, is late, or lacks a view; by default the values are then the
                declared defaults, and their statuses say why.
            deadline: seconds within which the stores must answer; None for no bound. The first request of a process may
                take longer, since it connects to them: up to a store's own timeout.

        Raises:
            PitJoinError: one of its subclasses, saying what is wrong and what to do.
        """
        given = features if isinstance(features, str) else _listed(features, "features", _FEATURES)
        mapped = tuple(map(str, _listed(roles, "roles", _ROLES)))
        # Mappings and the like may look the same and differ: then what is read of them tells requests apart.
        plain = isinstance(given, str) or {str}.issuperset(map(type, given))
        named = given if plain else json.dumps([one.as_macro_argument() for one in _requests(given, mapped)])
        asked = (plain, named, mapped, full_feature_names, defaults, strict, deadline)
        reader = self._prepared.get(asked)
        if reader is None:
            reader = self._reader(
                given,
                mapped,
                full_feature_names=full_feature_names,
                defaults=defaults,
                strict=strict,
                deadline=deadline,
                connected=bool(self._prepared),
            )
            self._prepared.keep(asked, reader)
        if now is not None:
            reader.warn_of_later_exports(now)
        return reader.get_online_features(entity_rows, now=now)

    def nearest(
        self, view: str, feature: str, vector: Vector, k: int = 10, *, now: str | date | None = None
    ) -> list[Neighbour]:
        """Return the entities whose embedding is nearest to a vector, nearest first; see `NeighbourReader.nearest`."""
        return self._neighbours.nearest(view, feature, vector, k, now=now)


def describe_entity(
    reader: OnlineReader, entity: Mapping[str, str], *, now: str | date | None = None
) -> dict[str, dict[str, Any]]:
    """Return the features of one entity for a person to read: each with value, status, event time, age and export.

    Args:
        reader: a reader of the features.
        entity: a text for every key, read as the key's type.
        now: the instant at which ages are judged; now by default. Naive is UTC.

    Raises:
        PitJoinError: one of its subclasses, saying what is wrong and what to do.
    """
    moment = datetime.now(timezone.utc) if now is None else parse_instant(now)
    reader.warn_of_later_exports(now)
    found = reader.get_online_features([reader.read_keys(entity)], now=moment)
    values, statuses, times, exports = found.to_dict(), found.statuses, found.event_timestamps, found.exported_at
    # NumPy's instants, which are those that Python does not have, do not say that they are UTC.
    in_utc = {
        name for role in found.by_role() for name, kind in zip(role.names, role.types, strict=True) if "UTC" in kind
    }
    return {
        name: {
            "value": time_text(values[name][0], True) if name in in_utc else values[name][0],
            "status": statuses[name][0],
            "event_timestamp": None if (time := times[name][0]) is None else _iso(time),
            "age_seconds": None if time is None else _age(moment, time),
            "exported_at": instant.isoformat() if (instant := exports[name]) else None,
        }
        for name in found.names
    }


def _requests(features: Any, roles: Any) -> tuple[RequestItem, ...]:
    given = _listed(features, "features", _FEATURES)
    return parse_features(given, [parse_role(str(role)) for role in _listed(roles, "roles", _ROLES)])


def _listed(given: Any, name: str, examples: str) -> tuple[Any, ...]:
    """Return several values as a tuple, and one text as the only one."""
    if isinstance(given, str):
        return (given,)
    try:
        return tuple(given)
    except TypeError:
        raise RequestError(f"{name} are {examples}, and not {given!r}") from None


def _iso(event: Any) -> str:
    return event.isoformat() if isinstance(event, datetime) else str(time_text(event, True))


def _age(moment: datetime, event: Any) -> float:
    """Return the seconds since an event time; a numpy.datetime64 has microseconds."""
    if isinstance(event, datetime):
        return (moment - event).total_seconds()
    return moment.timestamp() - int(event.astype("int64")) / 1e6
