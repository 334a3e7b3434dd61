"""Reading features online: one batch from the store for a whole request, then values, ages and defaults in process.

It loads neither dbt nor DuckDB: the store says itself what it holds.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from pit_join.computed import OnDemand
from pit_join.contents import Contents, Resolved, StoredView
from pit_join.entity_rows import EntityRows
from pit_join.errors import EntityError, ReferenceError, StoreError, suggest
from pit_join.keys import KeyCodec
from pit_join.online import Failed, ReadableStore, Records, how_to_name
from pit_join.records import moment_of
from pit_join.references import Asked, OnDemandRequest
from pit_join.served import LogSource, Served
from pit_join.vectors import Answer, AskedKeys, Column, OnlineFeatures, Part

if TYPE_CHECKING:
    from pit_join.feature_log import FeatureLog

__all__ = ["DEADLINE", "OnlineReader"]

DEADLINE = 0.05
"""Seconds within which an application's request is answered, unless it says otherwise."""

_MOST_EXPORTS = 100  # while one request is read


@dataclass(frozen=True, slots=True)
class _Plan:
    """A request as one state of the store answers it.

    `wanted` are the views that are read and which of the codecs has their keys: first those of `parts`, in order.
    `arguments` are what on-demand features take, each with its place among the wanted. `may_lack` is whether a store
    may say of records that it could not get them, or a view is not exported.
    """

    mark: object
    parts: tuple[Part, ...]
    codecs: tuple[KeyCodec, ...]
    wanted: tuple[tuple[StoredView, int], ...]
    names: tuple[str, ...]
    pick: Callable[[Sequence[Any]], tuple[Any, ...]] | None
    on_demand: OnDemand | None
    arguments: tuple[tuple[Part, int], ...]
    source: LogSource
    may_lack: bool


class OnlineReader:
    """Reads the same features again and again; safe to share between threads.

    Args:
        store: an open online store.
        requests: what is wanted; or the name of a feature service.
        full_feature_names: name every feature `view__feature`; a service may say so itself.
        defaults: replace nulls by the declared defaults.
        strict: raise an error where a store fails, is late, or has no export of a view yet; without it the values are
            then the declared defaults, with the status `STORE_FAILED`, `STORE_LATE` or `NOT_EXPORTED`.
        deadline: seconds within which a request is answered; None for no bound. An embedded store is read in
            microseconds, without looking at the clock.
        log: where a sample of what is served is logged.

    `failures` counts by view and status the requests in which defaults stood for what could not be had; the view of
    on-demand features is `on_demand`.

    Raises:
        StoreError: if the store cannot be used, or nothing was exported.
        ReferenceError: if the store does not have what is asked for.
    """

    def __init__(
        self,
        store: ReadableStore,
        requests: Sequence[Asked] | str,
        *,
        full_feature_names: bool = False,
        defaults: bool = True,
        strict: bool = True,
        deadline: float | None = None,
        log: FeatureLog | None = None,
    ) -> None:
        self._store, self._requests, self._log = store, requests, log
        self._full_feature_names, self._defaults = full_feature_names, defaults
        self._strict, self._deadline = strict, deadline
        self.failures: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()
        self._plan = self._make_plan(None)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features in the order asked for, as in a training set of the same request."""
        return self._plan.names

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that every entity row needs."""
        return tuple(dict.fromkeys(column for codec in self._plan.codecs for column in codec.columns))

    @property
    def request_fields(self) -> tuple[str, ...]:
        """What every entity row needs besides the keys: the fields that on-demand features take."""
        return tuple(self._plan.on_demand.fields) if self._plan.on_demand else ()

    @property
    def on_demand(self) -> bool:
        """Whether on-demand features are among those asked for: then a read takes a millisecond, and loads DuckDB."""
        return self._plan.on_demand is not None

    @property
    def key_kinds(self) -> dict[str, str]:
        """The keys that every entity row needs, with their kinds (see `keys.key_kind`)."""
        return {
            name: kind for codec in self._plan.codecs for name, kind in zip(codec.columns, codec.kinds, strict=True)
        }

    def read_keys(self, entity: Mapping[str, str]) -> dict[str, Any]:
        """The keys and request fields of an entity row from text, each read as its type.

        Raises:
            EntityError: if one is unknown or missing, or its text is no value of the type.
        """
        needed = (*self.keys, *self.request_fields)
        if missing := [key for key in needed if key not in entity]:
            raise EntityError(f"what is asked for also needs {', '.join(missing)}; give a value for each")
        if unknown := sorted(set(entity) - set(needed)):
            raise EntityError(
                f"no view that is asked for has the key '{unknown[0]}'; {suggest(unknown[0], needed, 'keys')}"
            )
        on_demand = self._plan.on_demand
        found = {name: on_demand.read_field(name, entity[name]) for name in on_demand.fields} if on_demand else {}
        for codec in self._plan.codecs:
            found |= codec.read(entity)
        return found

    def get_feature_vector(self, entity_row: Mapping[str, Any], *, now: datetime | None = None) -> dict[str, Any]:
        """The features of one entity row, by name.

        Args:
            entity_row: a value for every key and request field, such as `{"user_id": 42, "amount": 9.5}`.
            now: the instant at which ages are judged; the clock's by default. Naive is UTC.

        Raises:
            EntityError: if the row does not fit the keys.
            StoreError: if the store cannot be used, or a record is damaged, and reading is strict.
        """
        moment = moment_of(now)
        plan, keys, records = self._read(lambda plan: [[codec.encode(entity_row) or b""] for codec in plan.codecs])
        values: list[Any] = []
        statuses: Sequence[str] = ()
        try:
            for part, (record, _) in zip(plan.parts, records):  # noqa: B905 strict takes a twentieth of the time
                if record:
                    event, found = part.decoder.read(record, keys[part.codec_number][0])
                    if part.ttl is None or moment - event <= part.ttl:
                        values += part.filled(found) if part.fills else found
                        continue
                values += part.absent
            if plan.on_demand:
                asked = [AskedKeys(each) for each in keys]
                made, statuses = plan.on_demand.one(_arguments(plan, asked, records, moment), entity_row)
                values += made
                self._count_uncomputed([statuses])
        except StoreError:  # a record is damaged
            if self._strict:
                raise
            columns = self.get_online_features([entity_row], now=now).to_dict()
            return {name: columns[name][0] for name in plan.names}
        vector = dict(zip(plan.names, plan.pick(values) if plan.pick else values))  # noqa: B905 as above
        if self._log is not None and self._log.sampled():
            self._log.add(1, partial(_served_row, plan, dict(entity_row), records, moment, vector.copy(), statuses))
        return vector

    def get_online_features(
        self,
        entity_rows: Sequence[Mapping[str, Any]] | Mapping[str, Any],
        *,
        now: datetime | None = None,
    ) -> OnlineFeatures:
        """The features of many entity rows, read from one state of the store.

        Args:
            entity_rows: mappings with a value for every key and request field; or one mapping of lists, in which a
                single value stands for all rows (`{"user_id": 42, "item_id": [7, 8, 9]}`). Repeated keys are read once.
            now: the instant at which ages are judged; the clock's by default. Naive is UTC.

        Raises:
            EntityError: if a row does not fit the keys.
            StoreError: if the store cannot be used, or a record is damaged, and reading is strict.
        """
        moment = moment_of(now)
        rows = EntityRows(entity_rows)
        asked: list[AskedKeys] = []

        def distinct(plan: _Plan) -> list[list[bytes]]:
            asked[:] = [AskedKeys(rows.keys(codec)) for codec in plan.codecs]
            return [keys.distinct for keys in asked]

        plan, keys, found = self._read(distinct)
        records = self._sound(plan, keys, found)
        answers = [
            Answer(part, asked[part.codec_number], several, moment)
            for part, several in zip(plan.parts, records, strict=False)  # the last may be arguments alone
        ]
        computed: Mapping[str, Column] = {}
        if plan.on_demand:
            fields = rows.columns(tuple(plan.on_demand.fields), "on-demand features need")
            computed = plan.on_demand.many(_arguments(plan, asked, records, moment), fields)
            self._count_uncomputed([column.statuses for column in computed.values()])
        if self._log is not None and self._log.sampled():
            given = rows.columns((*self.keys, *self.request_fields))
            self._log.add(len(rows), partial(_served_rows, plan, answers, given, len(rows), computed, moment))
        return OnlineFeatures(plan.names, answers, rows.columns(self.keys), len(rows), computed)

    def _read(
        self, keys_of: Callable[[_Plan], list[list[bytes]]]
    ) -> tuple[_Plan, list[list[bytes]], Sequence[Records]]:
        """The plan that the store fits, for each of its codecs the keys that `keys_of` gives, and their records."""
        until = None if self._deadline is None else time.monotonic() + self._deadline
        plan = self._plan
        try:
            for _ in range(_MOST_EXPORTS):
                keys = keys_of(plan)
                records = self._store.read(plan.mark, [(view, keys[number]) for view, number in plan.wanted], until)
                if records is not None:
                    return plan, keys, self._noted(plan, keys, records) if plan.may_lack else records
                self._plan = plan = self._make_plan(until)
            raise StoreError("the online store changes faster than it can be read; please report this")
        except (StoreError, ReferenceError) as error:
            if self._strict:
                raise
            # A reference that was good when the reader was made: the store has had an export without it.
            status = "NOT_EXPORTED" if isinstance(error, ReferenceError) else error.status
            keys = keys_of(plan)
            failed = [Failed.of(len(keys[number]), status, error) for _, number in plan.wanted]
            return plan, keys, self._noted(plan, keys, failed)

    def _noted(self, plan: _Plan, keys: list[list[bytes]], records: Sequence[Records]) -> list[Records]:
        """The records, with those counted, or in strict reading refused, that could not be had."""
        found = list(records)
        for place, (view, number) in enumerate(plan.wanted):
            if view.instant is None:
                error = StoreError(f"the feature view '{view.name}' was not exported yet; run pit-join export")
                found[place] = Failed.of(len(keys[number]), "NOT_EXPORTED", error)
            failed = found[place]
            if isinstance(failed, Failed):
                if self._strict:
                    raise failed.error
                self._count(view.name, failed.status)
        return found

    def _count_uncomputed(self, statuses: Sequence[Sequence[str]]) -> None:
        if any("COMPUTE_FAILED" in each for each in statuses):
            self._count("on_demand", "COMPUTE_FAILED")

    def _count(self, view: str, status: str) -> None:
        with self._counting:
            self.failures[view, status] += 1

    def _sound(self, plan: _Plan, keys: list[list[bytes]], records: Sequence[Records]) -> list[Records]:
        """The records, of which none is damaged: in strict reading that is an error, else those of its view failed."""
        found = list(records)
        for part, place in (*zip(plan.parts, range(len(plan.parts)), strict=True), *plan.arguments):
            try:
                part.decoder.check(*found[place], keys[part.codec_number])
            except StoreError as error:
                if self._strict:
                    raise
                found[place] = Failed.of(len(keys[part.codec_number]), "STORE_FAILED", error)
                self._count(part.view.name, "STORE_FAILED")
        return found

    def _make_plan(self, until: float | None) -> _Plan:
        mark, data = self._store.contents(until)
        if data is None:
            raise StoreError("nothing was exported to the online store yet; run pit-join export")
        contents = Contents.from_json(data, "the online store")
        requests, full, statements = self._requests, self._full_feature_names, None
        if isinstance(requests, str):
            service = contents.service(requests)
            requests, full = service.requests, full or service.full_feature_names
            statements = service.on_demand
        elif any(isinstance(request, OnDemandRequest) for request in requests):
            raise ReferenceError(
                "on-demand features are read by a feature service; declare one that has them, and export"
            )
        resolved, names, needed = contents.resolve(requests, full)
        column = {name: i for i, name in enumerate(names)}
        codecs: dict[tuple[tuple[str, str], ...], int] = {}
        parts = tuple(
            _part(
                role,
                columns=[column[name] for name in role.names],
                # Roles that have the same keys share them.
                codec_number=codecs.setdefault(_named_kinds(role), len(codecs)),
                defaults=self._defaults,
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
            part = _part(role, columns=[0], codec_number=number, defaults=self._defaults)
            arguments.append((part, wanted.index((role.view, number))))
        on_demand = None
        if statements:
            on_demand = OnDemand(statements, needed, defaults=self._defaults, strict=self._strict)
        kinds = tuple(KeyCodec(kinds) for kinds in codecs)
        name = self._requests if isinstance(self._requests, str) else None
        source = LogSource(name, requests, full, self._defaults, contents)
        for view, _ in wanted:
            if view.store not in self._store.names:
                raise StoreError(
                    f"the feature view '{view.name}' is in the online store '{view.store}', of which no URL is known "
                    f"here; {how_to_name(view.store)}"
                )
        remote = any(self._store.folder(view) is None for view, _ in wanted)
        may_lack = remote or len(self._store.names) > 1 or any(view.instant is None for view, _ in wanted)
        return _Plan(mark, parts, kinds, tuple(wanted), names, pick, on_demand, tuple(arguments), source, may_lack)


def _arguments(plan: _Plan, asked: Sequence[AskedKeys], records: Sequence[Records], moment: int) -> list[Answer]:
    """What the on-demand features of a plan take from records."""
    return [Answer(part, asked[part.codec_number], records[place], moment) for part, place in plan.arguments]


def _served_row(
    plan: _Plan,
    row: Mapping[str, Any],
    records: Sequence[Records],
    moment: int,
    values: Mapping[str, Any],
    statuses: Sequence[str],
) -> Served:
    """What one row was given, for the feature log: here the statuses of stored features are found out, too."""
    asked = [AskedKeys([codec.encode(row)]) for codec in plan.codecs]
    answers = [
        Answer(part, asked[part.codec_number], found, moment) for part, found in zip(plan.parts, records, strict=False)
    ]
    computed = plan.on_demand.columns(values, statuses) if plan.on_demand else {}
    features = OnlineFeatures(plan.names, answers, {}, 1, computed)
    return Served(plan.source, moment, {name: [value] for name, value in row.items()}, features, values)


def _served_rows(
    plan: _Plan,
    answers: Sequence[Answer],
    given: Mapping[str, list[Any]],
    rows: int,
    computed: Mapping[str, Column],
    moment: int,
) -> Served:
    """What many rows were given, for the feature log; from answers of its own, since a caller works with the others."""
    own = [Answer(each.part, each.keys, each.given, moment) for each in answers]
    return Served(plan.source, moment, given, OnlineFeatures(plan.names, own, {}, rows, computed))


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
