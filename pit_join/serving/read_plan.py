"""A request prepared for one state of the store: what is read, by which keys, and what stands for what is not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from pit_join.errors import RequestError, StoreError
from pit_join.online.protocol import ReadableStore, Records
from pit_join.online.urls import how_to_name
from pit_join.records.keys import KeyCodec
from pit_join.records.store_manifest import Contents, Resolved, StoredView
from pit_join.references import Asked, OnDemandRequest
from pit_join.serving.answers import Answer, AskedKeys, Part
from pit_join.serving.log_entry import LogSource
from pit_join.serving.on_demand import OnDemand

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A request as one state of the store answers it.

    `wanted` are the views that are read and which of the codecs has their keys: first those of `parts`, in order.
    `key_kinds` are the keys that every entity row needs, with their kinds (see `keys.key_kind`). `arguments` are what
    on-demand features take, each with its place among the wanted. `may_lack` is whether a store may say of records that
    it could not get them, or a view is not exported.
    """

    mark: object
    parts: tuple[Part, ...]
    codecs: tuple[KeyCodec, ...]
    key_kinds: Mapping[str, str]
    wanted: tuple[tuple[StoredView, int], ...]
    names: tuple[str, ...]
    pick: Callable[[Sequence[Any]], tuple[Any, ...]] | None
    on_demand: OnDemand | None
    arguments: tuple[tuple[Part, int], ...]
    source: LogSource
    may_lack: bool

    def answers(self, asked: Sequence[AskedKeys], records: Sequence[Records], moment: int) -> list[Answer]:
        """What the records are to the features that are stored."""
        return [
            Answer(part, asked[part.codec_number], found, moment)
            for part, found in zip(self.parts, records, strict=False)  # the last may be arguments alone
        ]

    def taken(self, asked: Sequence[AskedKeys], records: Sequence[Records], moment: int) -> list[Answer]:
        """What the on-demand features take from the records."""
        return [Answer(part, asked[part.codec_number], records[place], moment) for part, place in self.arguments]


def make_plan(
    store: ReadableStore,
    asked: Sequence[Asked] | str,
    *,
    full_feature_names: bool,
    defaults: bool,
    strict: bool,
    until: float | None,
) -> Plan:
    """Prepare what is asked for, or the service of that name, as the store is now; see `serving.OnlineReader`.

    Raises:
        StoreError: if the store cannot be used, or nothing was exported.
        RequestError: if the store does not have what is asked for.
    """
    mark, data = store.contents(until)
    if data is None:
        raise StoreError("nothing was exported to the online store yet; run pit-join export")
    contents = Contents.from_json(data, "the online store")
    requests, full, statements = asked, full_feature_names, None
    if isinstance(requests, str):
        service = contents.service(requests)
        requests, full = service.requests, full or service.full_feature_names
        statements = service.on_demand
    elif any(isinstance(request, OnDemandRequest) for request in requests):
        raise RequestError("on-demand features are read by a feature service; declare one that has them, and export")
    resolved, names, needed = contents.resolve(requests, full)
    column = {name: i for i, name in enumerate(names)}
    codecs: dict[tuple[tuple[str, str], ...], int] = {}
    parts = tuple(
        _part(
            role,
            columns=[column[name] for name in role.names],
            # Roles that have the same keys share them.
            codec_number=codecs.setdefault(_named_kinds(role), len(codecs)),
            defaults=defaults,
        )
        for role in resolved
    )
    together = {name: i for i, name in enumerate([*(n for part in parts for n in part.names), *needed.returns])}
    pick = None if tuple(together) == names else itemgetter(*(together[name] for name in names))
    wanted = [(part.view, part.codec_number) for part in parts]
    arguments = []
    for role in needed.roles:
        number = codecs.setdefault(_named_kinds(role), len(codecs))
        if (role.view, number) not in wanted:
            wanted.append((role.view, number))
        part = _part(role, columns=[0], codec_number=number, defaults=defaults)
        arguments.append((part, wanted.index((role.view, number))))
    on_demand = OnDemand(statements, needed, defaults=defaults, strict=strict) if statements else None
    key_kinds = {key: kind for kinds in codecs for key, kind in kinds}
    name = asked if isinstance(asked, str) else None
    source = LogSource(name, requests, full, defaults, contents)
    for view, _ in wanted:
        if view.store not in store.names:
            raise StoreError(
                f"the feature view '{view.name}' is in the online store '{view.store}', of which no URL is known "
                f"here; {how_to_name(view.store)}"
            )
    remote = any(store.folder(view) is None for view, _ in wanted)
    may_lack = remote or len(store.names) > 1 or any(view.instant is None for view, _ in wanted)
    return Plan(
        mark=mark,
        parts=parts,
        codecs=tuple(KeyCodec(kinds) for kinds in codecs),
        key_kinds=key_kinds,
        wanted=tuple(wanted),
        names=names,
        pick=pick,
        on_demand=on_demand,
        arguments=tuple(arguments),
        source=source,
        may_lack=may_lack,
    )


def _named_kinds(role: Resolved) -> tuple[tuple[str, str], ...]:
    """The keys as the request calls them, and their kinds."""
    return tuple((role.key_names[key], kind) for key, kind in role.view.keys.items())


def _part(role: Resolved, columns: list[int], codec_number: int, defaults: bool) -> Part:
    neighbours = columns == list(range(columns[0], columns[0] + len(columns)))
    view = role.view
    decoder = view.decoder(role.features)
    nothing = (None,) * len(role.features)
    _, declared = decoder.read(view.defaults, b"") if view.defaults and defaults else (None, nothing)
    _, missing = decoder.read(view.missing, b"") if view.missing else (None, nothing)
    absent = tuple(d if m is None else m for d, m in zip(declared, missing, strict=True))
    return Part(
        view=view,
        codec_number=codec_number,
        decoder=decoder,
        names=role.names,
        columns=slice(columns[0], columns[0] + len(columns)) if neighbours else np.array(columns),
        ttl=view.ttl,
        defaults=declared,
        absent=absent,
        fills=any(default is not None for default in declared),
    )
