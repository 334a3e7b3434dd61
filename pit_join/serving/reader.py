"""Prepared readers: one batch from the store for a whole request, then values, ages and defaults in process.

They load neither dbt nor DuckDB, since the store describes itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any

from pit_join.errors import EntityError, RequestError, StoreError, suggest
from pit_join.online.protocol import Failed, ReadableStore, Records
from pit_join.records.layout import moment_of
from pit_join.references import RequestItem
from pit_join.serving.entity_rows import EntityRows
from pit_join.serving.features import OnlineFeatures
from pit_join.serving.log_entry import Served, ServedLog
from pit_join.serving.read_plan import ReadPlan, make_plan
from pit_join.serving.role_records import FeatureColumn, RoleRecords, RowKeys
from pit_join.serving.vector import FeatureVector, OneRow, ReadRow, RowRecords, read_row
from pit_join.statuses import COMPUTE_FAILED, NOT_EXPORTED, STALE, STORE_FAILED
from pit_join.times import parse_instant

__all__ = ["DEADLINE", "OnlineReader", "StoreChangedError", "read_one"]

DEADLINE = 0.05
"""Seconds within which an application's request is answered, unless it says otherwise."""

_MOST_EXPORTS = 100  # while one request is read

_log = logging.getLogger("pit_join")


class StoreChangedError(Exception):
    """An export has changed the store, and the reader must be renewed before it reads."""


class OnlineReader:
    """A prepared reader for one set of features; safe to share between threads.

    Args:
        store: an open online store.
        requests: roles with their features; or the name of a feature service.
        full_feature_names: name every feature `view__feature`; a service may say so itself.
        defaults: replace nulls by the declared defaults.
        strict: raise an error where a store fails, is late, or has no export of a view yet; without it the values are
            then the declared defaults, with the status `STORE_FAILED`, `STORE_LATE` or `NOT_EXPORTED`. Stale values
            never raise one: they are the defaults, with the status `STALE`.
        deadline: seconds within which a request is answered; None for no bound. An embedded store is read in
            microseconds, without looking at the clock.
        log: the log of a sample of what is served.
        connected: whether the store has answered before. Then it must say what it has within the deadline, too.

    After an export the reader prepares itself anew with the next read; if `renews` is set to False, that read raises
    `StoreChangedError` instead, for a caller that calls `renew` in another thread.

    `failures` counts by view and status the requests that were served defaults because of a failure; the view of
    on-demand features is `on_demand`.

    Raises:
        StoreError: if the store cannot be used, or nothing was exported.
        RequestError: if the store does not have what is asked for.
    """

    def __init__(
        self,
        store: ReadableStore,
        requests: Sequence[RequestItem] | str,
        *,
        full_feature_names: bool = False,
        defaults: bool = True,
        strict: bool = True,
        deadline: float | None = None,
        log: ServedLog | None = None,
        connected: bool = False,
    ) -> None:
        self._store, self._strict, self._deadline, self._log = store, strict, _seconds(deadline), log
        self._prepare = partial(
            make_plan, store, requests, full_feature_names=full_feature_names, defaults=defaults, strict=strict
        )
        self.renews = True
        # The mark of a state of the store that does not have what is asked for, and the error that says so.
        self._refusal: tuple[object, StoreError | RequestError] | None = None
        self.failures: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()
        self._plan = self._prepare(*store.contents(self._until() if connected else None))

    def renew(self, until: float | None = None) -> None:
        """Prepare the reader anew for the present state of the store, which must answer before `until`.

        If that state does not have what is asked for, reads say so until the store changes again.

        Raises:
            StoreError: if the store cannot be used.
        """
        mark, data = self._store.contents(until)
        try:
            self._plan, self._refusal = self._prepare(mark, data), None
        except (StoreError, RequestError) as error:
            self._refusal = mark, error

    def is_current(self, other: OnlineReader) -> bool:
        """Return whether two readers of one store were prepared for the same state of it."""
        return bool(self._mark == other._mark)

    @property
    def _mark(self) -> object:
        refusal = self._refusal  # once: another thread may renew the reader
        return refusal[0] if refusal else self._plan.mark

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features in the order asked for, as in a training set of the same request."""
        return self._plan.names

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that every entity row needs."""
        return tuple(self._plan.key_kinds)

    @property
    def request_fields(self) -> tuple[str, ...]:
        """The fields that on-demand features take: every entity row needs them besides the keys."""
        return tuple(self._plan.on_demand.fields) if self._plan.on_demand else ()

    @property
    def on_demand(self) -> bool:
        """Whether on-demand features are among those asked for: then a read takes a millisecond, and loads DuckDB."""
        return self._plan.on_demand is not None

    def load(self) -> None:
        """Load what the first computation of on-demand features would wait for."""
        if self._plan.on_demand:
            self._plan.on_demand.load()

    @property
    def key_kinds(self) -> Mapping[str, str]:
        """The keys that every entity row needs, with their kinds (see `keys.key_kind`)."""
        return self._plan.key_kinds

    def read_keys(self, entity: Mapping[str, str]) -> dict[str, Any]:
        """Read the keys and request fields of an entity row from text.

        Raises:
            EntityError: if one is unknown or missing, or its text does not fit the type.
        """
        needed = (*self.keys, *self.request_fields)
        if unknown := sorted(set(entity) - set(needed)):
            raise EntityError(f"no requested view has the key '{unknown[0]}'; {suggest(unknown[0], needed, 'keys')}")
        if missing := [key for key in needed if key not in entity]:
            raise EntityError(f"the requested features need {', '.join(missing)}; give a value for each")
        on_demand = self._plan.on_demand
        found = {name: on_demand.read_field(name, entity[name]) for name in on_demand.fields} if on_demand else {}
        for codec in self._plan.codecs:
            found |= codec.read(entity)
        return found

    def warn_of_later_exports(self, now: str | date | None) -> None:
        """Log a warning if an export that is read is later than `now`; None is the present."""
        if now is None:
            return
        moment = parse_instant(now)
        later = {view.name: view.instant for view, _ in self._plan.wanted if view.instant and view.instant > moment}
        if later:
            _log.warning(
                "the online store holds the export of %s, which is later than %s: values of %s may not have been known "
                "then; export as of that time",
                max(later.values()), moment, ", ".join(later),
            )  # fmt: skip

    def get(self, entity_row: Mapping[str, Any], *, now: str | date | None = None) -> FeatureVector:
        """Read the features of one entity row: a dict of values by name, with `statuses` and `event_timestamps`.

        Args:
            entity_row: a value for every key and request field, such as `{"user_id": 42, "amount": 9.5}`.
            now: the instant at which ages are judged; the clock's by default. Naive is UTC.

        Raises:
            EntityError: if the row does not fit the keys.
            StoreError: if the store cannot be used, or a record is damaged, and reading is strict.
            ComputeError: if on-demand features cannot be computed, and reading is strict.
        """
        try:
            row = self._row(partial(_keys_of, entity_row), entity_row, moment_of(now))
        except (TypeError, AttributeError, IndexError):
            if isinstance(entity_row, Mapping):
                raise
            raise EntityError(
                "an entity row is one mapping of keys to values; get_online_features takes more"
            ) from None
        plan, _, values, _, _ = row
        vector = FeatureVector(zip(plan.names, plan.pick(values) if plan.pick else values))  # noqa: B905 as in `read_row`
        vector._row = row
        return vector

    def get_online_features(
        self,
        entity_rows: Any,
        *,
        now: str | date | None = None,
        deadline: float | None = None,
    ) -> OnlineFeatures:
        """Read the features of many entity rows from one state of the store.

        Args:
            entity_rows: mappings with a value for every key and request field; or one mapping of lists, in which a
                single value stands for all rows (`{"user_id": 42, "item_id": [7, 8, 9]}`); or a pandas, polars or Arrow
                table. Repeated keys are read once.
            now: the instant at which ages are judged; the clock's by default. Naive is UTC.
            deadline: seconds within which the stores must answer; by default the reader's.

        Raises:
            EntityError: if a row does not fit the keys.
            StoreError: if the store cannot be used, or a record is damaged, and reading is strict.
        """
        rows, deadline = EntityRows(entity_rows), _seconds(deadline)
        moment = moment_of(now)
        if (only := rows.only) is not None:
            row = self._row(partial(_keys_of, only), only, moment, deadline)
            return OneRow(row, {name: only[name] for name in row[0].key_kinds}, moment)
        try:
            return self._many_rows(rows, moment, deadline)
        except EntityError as error:
            raise self._with_unknown_key(error, rows.mappings) from None

    def _many_rows(self, rows: EntityRows, moment: int, deadline: float | None) -> OnlineFeatures:
        row_keys: list[RowKeys] = []

        def distinct(plan: ReadPlan) -> list[list[bytes]]:
            row_keys[:] = [RowKeys(rows.keys(codec)) for codec in plan.codecs]
            return [keys.distinct for keys in row_keys]

        plan, keys, found = self._read(distinct, moment, deadline)
        records = self._sound(plan, keys, found)
        stored = plan.stored(row_keys, records, moment)
        computed: Mapping[str, FeatureColumn] = {}
        if plan.on_demand:
            fields = rows.columns(tuple(plan.on_demand.fields), "on-demand features need")
            computed = plan.on_demand.many(plan.taken(row_keys, records, moment), fields)
            self._count_uncomputed([column.statuses for column in computed.values()])
        if self._log is not None and self._log.sampled():
            given = rows.columns((*self.keys, *self.request_fields))
            self._log.add(len(rows), partial(_served_rows, plan, stored, given, len(rows), computed, moment))
        return OnlineFeatures(plan.names, rows.columns(self.keys), len(rows), lambda: (stored, computed))

    def _row(
        self,
        keys_of: Callable[[ReadPlan], list[list[bytes]]],
        entity_row: Mapping[str, Any],
        moment: int,
        deadline: float | None = None,
    ) -> ReadRow:
        """Read one entity row; see `get`, and `_read` for `keys_of`."""
        try:
            plan, keys, records = self._read(keys_of, moment, deadline)
            try:
                row = read_row(plan, keys, records, entity_row, moment)
            except StoreError:  # a record is damaged
                records = self._sound(plan, keys, records)
                row = read_row(plan, keys, records, entity_row, moment)
        except EntityError as error:
            raise self._with_unknown_key(error, [entity_row]) from None
        if plan.on_demand:
            self._count_uncomputed([row[-1]])
        if self._log is not None and self._log.sampled():
            self._log.add(1, partial(_served_row, row, dict(entity_row), moment))
        return row

    def _read(
        self, keys_of: Callable[[ReadPlan], list[list[bytes]]], moment: int, deadline: float | None
    ) -> tuple[ReadPlan, list[list[bytes]], Sequence[Records]]:
        """Return a plan of the present state, the keys from `keys_of` for each of its codecs, and their records.

        Records that are stale at `moment` are left out.
        """
        until = self._until(deadline)
        try:
            for _ in range(_MOST_EXPORTS):
                plan, refusal = self._plan, self._refusal
                if refusal is not None:
                    mark, error = refusal
                    if self._store.read(mark, (), until) is not None:
                        raise error.with_traceback(None)  # which would grow with each read
                else:
                    keys = keys_of(plan)
                    records = self._store.read(plan.mark, [(view, keys[number]) for view, number in plan.wanted], until)
                    if records is not None:
                        if plan.may_lack or moment > plan.fresh_until:
                            records = self._noted(plan, keys, records, moment)
                        return plan, keys, records
                if not self.renews:
                    raise StoreChangedError
                self.renew(until)
            raise StoreError("the online store changes faster than it can be read; please report this")
        except (StoreError, RequestError) as error:
            if self._strict:
                raise
            # The reference existed when the reader was made: an export has removed it since.
            status = NOT_EXPORTED if isinstance(error, RequestError) else error.status
            keys = keys_of(plan)
            failed = [Failed.of(len(keys[number]), status, error) for _, number in plan.wanted]
            return plan, keys, self._noted(plan, keys, failed, moment)

    def _until(self, deadline: float | None = None) -> float | None:
        deadline = self._deadline if deadline is None else deadline
        return None if deadline is None else time.monotonic() + deadline

    def _noted(self, plan: ReadPlan, keys: list[list[bytes]], records: Sequence[Records], moment: int) -> list[Records]:
        """Leave out what is stale, and count what could not be read; strict reading raises its error."""
        found = list(records)
        for place, (view, number) in enumerate(plan.wanted):
            if view.instant is None:
                error = StoreError(f"the feature view '{view.name}' was not exported yet; run pit-join export")
                found[place] = Failed.of(len(keys[number]), NOT_EXPORTED, error)
            if isinstance(failed := found[place], Failed) and self._strict:
                raise failed.error
            whole = not isinstance(failed, Failed) or len(failed.lost) < len(keys[number])  # or in part
            if whole and (stale := view.staleness(moment)):
                found[place] = failed = Failed.of(len(keys[number]), STALE, stale)
            if isinstance(failed, Failed):
                self._count(view.name, failed.status)
        return found

    def _with_unknown_key(self, error: EntityError, rows: Iterable[Mapping[str, Any]]) -> EntityError:
        """Return the error of entity rows; where one lacks a key, with the unknown keys that may be meant for it."""
        needed = {*self.keys, *self.request_fields}
        for row in rows:
            if not needed <= row.keys():
                unknown = [f"'{name}'" for name in row if name not in needed]
                listed = ", ".join(unknown[:5])
                return EntityError(f"{error}; the requested features have no key {listed}") if unknown else error
        return error

    def _count_uncomputed(self, statuses: Sequence[Sequence[str]]) -> None:
        if any(COMPUTE_FAILED in each for each in statuses):
            self._count("on_demand", COMPUTE_FAILED)

    def _count(self, view: str, status: str) -> None:
        with self._counting:
            self.failures[view, status] += 1

    def _sound(self, plan: ReadPlan, keys: list[list[bytes]], records: Sequence[Records]) -> list[Records]:
        """Replace damaged records by `Failed`, with all others of their view; raise an error in strict reading."""
        found = list(records)
        for role, place in (*zip(plan.roles, range(len(plan.roles)), strict=True), *plan.arguments):
            try:
                role.decoder.check(*found[place], keys[role.codec_number])
            except StoreError as error:
                if self._strict:
                    raise
                found[place] = Failed.of(len(keys[role.codec_number]), STORE_FAILED, error)
                self._count(role.view.name, STORE_FAILED)
        return found


def read_one(
    reader: OnlineReader,
    entity_row: Mapping[str, Any],
    *,
    now: str | date | None = None,
    deadline: float | None = None,
) -> RowRecords:
    """Read one entity row as `OnlineReader.get` does, without a dict."""
    return RowRecords(*reader._row(partial(_keys_of, entity_row), entity_row, moment_of(now), deadline))


def _seconds(deadline: Any) -> float | None:
    if deadline is None or (isinstance(deadline, (int, float)) and not isinstance(deadline, bool) and deadline >= 0):
        return deadline
    raise RequestError(f"a deadline is a number of seconds, such as 0.05, or None for no bound, and not {deadline!r}")


def _keys_of(entity_row: Mapping[str, Any], plan: ReadPlan) -> list[list[bytes]]:
    return [[codec.encode(entity_row) or b""] for codec in plan.codecs]


def _served_row(row: ReadRow, given: dict[str, Any], moment: int) -> Served:
    """One row for the feature log, whose thread finds the statuses of stored features."""
    features = OneRow(row, given, moment)
    values = dict(zip(features.names, features.values, strict=True))
    return Served(row[0].source, moment, {name: [value] for name, value in given.items()}, features, values)


def _served_rows(
    plan: ReadPlan,
    stored: Sequence[RoleRecords],
    given: Mapping[str, list[Any]],
    rows: int,
    computed: Mapping[str, FeatureColumn],
    moment: int,
) -> Served:
    """Many rows for the feature log; with records of their own, since the caller uses the others at the same time."""
    own = [RoleRecords(each.role, each.keys, each.given, moment) for each in stored]
    return Served(plan.source, moment, given, OnlineFeatures(plan.names, {}, rows, lambda: (own, computed)))
