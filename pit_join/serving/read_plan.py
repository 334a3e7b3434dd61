"""A request prepared for one state of the store: what is read, by which keys, and what replaces missing values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

import numpy as np

from pit_join.errors import RequestError, StoreError
from pit_join.online.protocol import ReadableStore, Records
from pit_join.online.urls import how_to_name
from pit_join.records.keys import KeyCodec
from pit_join.records.store_manifest import Contents, ResolvedRole
from pit_join.records.stored_view import StoredView
from pit_join.references import OnDemandRequest, RequestItem
from pit_join.serving.log_entry import LogSource
from pit_join.serving.on_demand import OnDemand
from pit_join.serving.role_records import RolePlan, RoleRecords, RowKeys

__all__ = ["ReadPlan", "make_plan"]

_NEVER = 2**63  # microseconds

_log = logging.getLogger("pit_join")

_Codecs = dict[tuple[tuple[str, str], ...], int]
"""The number of each codec, by the names and kinds of its keys; roles that have the same keys share one."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """A request prepared for one state of the store.

    `wanted` are the views to read, each with the number of its keys' codec: first those of `roles`, in order.
    `key_kinds` are the keys that every entity row needs, with their kinds (see `keys.key_kind`). `arguments` are the
    roles that on-demand features take, each with its place among the wanted. `may_lack` is whether a store may
    fail to return records, or a view is not exported; after `fresh_until`, in microseconds, a view is stale.
    """

    mark: object
    roles: tuple[RolePlan, ...]
    codecs: tuple[KeyCodec, ...]
    key_kinds: Mapping[str, str]
    wanted: tuple[tuple[StoredView, int], ...]
    names: tuple[str, ...]
    pick: Callable[[Sequence[Any]], Sequence[Any]] | None
    on_demand: OnDemand | None
    arguments: tuple[tuple[RolePlan, int], ...]
    source: LogSource
    may_lack: bool
    fresh_until: int

    def in_order(self, read: Sequence[Any]) -> Sequence[Any]:
        """Put what was read of each feature, role by role and then the on-demand features, in the order of `names`."""
        return self.pick(read) if self.pick else read

    def stored(self, keys: Sequence[RowKeys], records: Sequence[Records], moment: int) -> list[RoleRecords]:
        """Lay records beside the roles whose features are stored."""
        return [
            RoleRecords(role, keys[role.codec_number], given, moment)
            for role, given in zip(self.roles, records, strict=False)  # the last may be arguments alone
        ]

    def taken(self, keys: Sequence[RowKeys], records: Sequence[Records], moment: int) -> list[RoleRecords]:
        """Lay records beside the roles that on-demand features take."""
        return [RoleRecords(role, keys[role.codec_number], records[place], moment) for role, place in self.arguments]


def make_plan(
    store: ReadableStore,
    requests: Sequence[RequestItem] | str,
    mark: object,
    data: bytes | None,
    *,
    full_feature_names: bool,
    defaults: bool,
    strict: bool,
) -> ReadPlan:
    """Prepare requests, or the service of that name, for a state of the store; see `OnlineReader`.

    `mark` and `data` are those of `store.contents`.

    Raises:
        StoreError: if the contents cannot be used, or nothing was exported.
        RequestError: if the store does not have what is asked for.
    """
    contents = _contents(data)
    source, statements = _source(contents, requests, full_feature_names, defaults)
    resolved, names, needed = source.resolved
    codecs: _Codecs = {}
    place = {name: i for i, name in enumerate(names)}
    roles = tuple(_role_plan(role, [place[name] for name in role.names], codecs, defaults) for role in resolved)
    wanted = [(role.view, role.codec_number) for role in roles]
    arguments = []
    for role in (_role_plan(role, [0], codecs, defaults) for role in needed.roles):
        if (role.view, role.codec_number) not in wanted:
            wanted.append((role.view, role.codec_number))
        arguments.append((role, wanted.index((role.view, role.codec_number))))
    on_demand = None
    if statements:
        _check_duckdb(contents.duckdb)
        on_demand = OnDemand(statements, needed, defaults=defaults, strict=strict)
    _check_stores(store, [view for view, _ in wanted])
    remote = any(store.folder(view) is None for view, _ in wanted)
    read = {name: i for i, name in enumerate([*(name for role in roles for name in role.names), *needed.returns])}
    return ReadPlan(
        mark=mark,
        roles=roles,
        codecs=tuple(KeyCodec(kinds) for kinds in codecs),
        key_kinds={key: kind for kinds in codecs for key, kind in kinds},
        wanted=tuple(wanted),
        names=names,
        pick=None if tuple(read) == names else itemgetter(*(read[name] for name in names)),
        on_demand=on_demand,
        arguments=tuple(arguments),
        source=source,
        may_lack=remote or len(store.names) > 1 or any(view.instant is None for view, _ in wanted),
        fresh_until=min((view.fresh_until or _NEVER for view, _ in wanted), default=_NEVER),
    )


@lru_cache(maxsize=4)
def _contents(data: bytes | None) -> Contents:
    """The contents of a store as they were read last: all readers of one state share them."""
    return Contents.from_json(data, "the online store")


@cache
def _check_duckdb(exported: str) -> None:
    """Warn once if another version of DuckDB exported the store: some expressions have other values there."""
    from pit_join.warehouse.expressions import minor_version

    if exported not in ("", here := minor_version()):
        _log.warning(
            "the online store was exported with DuckDB %s, and on-demand features are computed with DuckDB %s here: "
            "some expressions, such as a division by zero, have other values; use one version",
            exported,
            here,
        )


def _source(
    contents: Contents, requests: Sequence[RequestItem] | str, full_feature_names: bool, defaults: bool
) -> tuple[LogSource, tuple[str, ...] | None]:
    """The requests, if need be those of a service, and the SQL of their on-demand features."""
    named, statements = None, None
    if isinstance(requests, str):
        service = contents.service(requests)
        named, requests, statements = requests, service.requests, service.on_demand
        full_feature_names = full_feature_names or service.full_feature_names
    elif any(isinstance(request, OnDemandRequest) for request in requests):
        raise RequestError("on-demand features are read by a feature service; declare one that has them, and export")
    # Not the contents themselves, which a reader that nobody asks for would hold after the next export.
    resolved = contents.resolve(requests, full_feature_names)
    source = LogSource(named, requests, full_feature_names, defaults, contents.project, contents.target, resolved)
    return source, statements


def _role_plan(role: ResolvedRole, columns: list[int], codecs: _Codecs, defaults: bool) -> RolePlan:
    neighbours = columns == list(range(columns[0], columns[0] + len(columns)))
    view = role.view
    decoder = view.decoder(role.features)
    nothing = (None,) * len(role.features)
    _, declared = decoder.read(view.defaults, b"") if view.defaults and defaults else (None, nothing)
    _, missing = decoder.read(view.missing, b"") if view.missing else (None, nothing)
    absent = tuple(d if m is None else m for d, m in zip(declared, missing, strict=True))
    named_kinds = tuple((role.key_names[key], kind) for key, kind in view.keys.items())
    return RolePlan(
        view=view,
        codec_number=codecs.setdefault(named_kinds, len(codecs)),
        decoder=decoder,
        names=role.names,
        columns=slice(columns[0], columns[0] + len(columns)) if neighbours else np.array(columns),
        ttl=view.ttl,
        defaults=declared,
        absent=absent,
        fills=any(default is not None for default in declared),
    )


def _check_stores(store: ReadableStore, views: Sequence[StoredView]) -> None:
    for view in views:
        if view.store not in store.names:
            raise StoreError(
                f"the feature view '{view.name}' is in the online store '{view.store}', of which no URL is known "
                f"here; {how_to_name(view.store)}"
            )
