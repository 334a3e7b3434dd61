"""Reading features online: one batch from the store for a whole request, then values, ages and defaults in process.

It loads neither dbt nor DuckDB: the store says itself what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from pit_join.computed import OnDemand
from pit_join.contents import Contents, Resolved, StoredView
from pit_join.errors import EntityError, ReferenceError, StoreError, suggest
from pit_join.keys import KeyCodec, Single
from pit_join.online import OnlineStore, Records
from pit_join.records import moment_of
from pit_join.references import Asked, OnDemandRequest
from pit_join.served import LogSource, Served
from pit_join.vectors import Answer, AskedKeys, Column, OnlineFeatures, Part

if TYPE_CHECKING:
    from pit_join.feature_log import FeatureLog

__all__ = ["OnlineReader"]

_MOST_EXPORTS = 100  # while one request is read


@dataclass(frozen=True, slots=True)
class _Plan:
    """A request as one state of the store answers it.

    `wanted` are the views that are read and which of the codecs has their keys: first those of `parts`, in order.
    `arguments` are what on-demand features take, each with its place among the wanted.
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


class OnlineReader:
    """Reads the same features again and again; safe to share between threads.

    Args:
        store: an open online store.
        requests: what is wanted; or the name of a feature service.
        full_feature_names: name every feature `view__feature`; a service may say so itself.
        defaults: replace nulls by the declared defaults.
        log: where a sample of what is served is logged.

    Raises:
        StoreError: if the store cannot be used, or nothing was exported.
        ReferenceError: if the store does not have what is asked for.
    """

    def __init__(
        self,
        store: OnlineStore,
        requests: Sequence[Asked] | str,
        *,
        full_feature_names: bool = False,
        defaults: bool = True,
        log: FeatureLog | None = None,
    ) -> None:
        self._store, self._requests, self._log = store, requests, log
        self._full_feature_names, self._defaults = full_feature_names, defaults
        self._plan = self._make_plan()

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
            StoreError: if the store cannot be used, or a record is damaged.
        """
        moment = moment_of(now)
        plan, keys, records = self._read(lambda plan: [[codec.encode(entity_row) or b""] for codec in plan.codecs])
        values: list[Any] = []
        for part, (record, _) in zip(plan.parts, records):  # noqa: B905 strict takes a twentieth of the time
            if record:
                event, found = part.decoder.read(record, keys[part.codec_number][0])
                if part.ttl is None or moment - event <= part.ttl:
                    values += part.filled(found) if part.fills else found
                    continue
            values += part.absent
        if plan.on_demand:
            asked = [AskedKeys(each) for each in keys]
            values += plan.on_demand.one(_arguments(plan, asked, records, moment), entity_row)
        vector = dict(zip(plan.names, plan.pick(values) if plan.pick else values))  # noqa: B905 as above
        if self._log is not None and self._log.sampled():
            self._log.add(1, partial(_served_row, plan, dict(entity_row), records, moment, vector.copy()))
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
            StoreError: if the store cannot be used, or a record is damaged.
        """
        moment = moment_of(now)
        rows = _Rows(entity_rows)
        asked: list[AskedKeys] = []

        def distinct(plan: _Plan) -> list[list[bytes]]:
            asked[:] = [AskedKeys(rows.keys(codec)) for codec in plan.codecs]
            return [keys.distinct for keys in asked]

        plan, keys, records = self._read(distinct)
        answers = []
        for part, (found, lengths) in zip(plan.parts, records, strict=False):  # the last may be arguments alone
            part.decoder.check(found, lengths, keys[part.codec_number])
            answers.append(Answer(part, asked[part.codec_number], found, lengths, moment))
        computed: Mapping[str, Column] = {}
        if plan.on_demand:
            fields = rows.columns(tuple(plan.on_demand.fields), "on-demand features need")
            computed = plan.on_demand.many(_arguments(plan, asked, records, moment), fields)
        if self._log is not None and self._log.sampled():
            given = rows.columns((*self.keys, *self.request_fields))
            self._log.add(len(rows), partial(_served_rows, plan, answers, given, len(rows), computed, moment))
        return OnlineFeatures(plan.names, answers, rows.columns(self.keys), len(rows), computed)

    def _read(self, keys_of: Callable[[_Plan], list[list[bytes]]]) -> tuple[_Plan, list[list[bytes]], list[Records]]:
        """The plan that the store fits, for each of its codecs the keys that `keys_of` gives, and their records."""
        for _ in range(_MOST_EXPORTS):
            plan = self._plan
            keys = keys_of(plan)
            records = self._store.read(plan.mark, [(view, keys[number]) for view, number in plan.wanted])
            if records is not None:
                return plan, keys, records
            self._plan = self._make_plan()
        raise StoreError("the online store changes faster than it can be read; please report this")

    def _make_plan(self) -> _Plan:
        mark, data = self._store.contents()
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
        on_demand = OnDemand(statements[0 if self._defaults else 1], needed) if statements else None
        kinds = tuple(KeyCodec(kinds) for kinds in codecs)
        name = self._requests if isinstance(self._requests, str) else None
        source = LogSource(name, requests, full, self._defaults, contents)
        return _Plan(mark, parts, kinds, tuple(wanted), names, pick, on_demand, tuple(arguments), source)


def _arguments(plan: _Plan, asked: Sequence[AskedKeys], records: Sequence[Records], moment: int) -> list[Answer]:
    """What the on-demand features of a plan take from records."""
    return [Answer(part, asked[part.codec_number], *records[place], moment) for part, place in plan.arguments]


def _served_row(
    plan: _Plan, row: Mapping[str, Any], records: Sequence[Records], moment: int, values: Mapping[str, Any]
) -> Served:
    """What one row was given, for the feature log: here the statuses are found out, too."""
    asked = [AskedKeys([codec.encode(row)]) for codec in plan.codecs]
    answers = [
        Answer(part, asked[part.codec_number], found, lengths, moment)
        for part, (found, lengths) in zip(plan.parts, records, strict=False)
    ]
    computed = plan.on_demand.columns(values) if plan.on_demand else {}
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
    own = [Answer(each.part, each.keys, each.records, each.lengths, moment) for each in answers]
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


class _Rows:
    """Entity rows as the caller wrote them: mappings, or one mapping of lists and single values."""

    def __init__(self, given: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> None:
        self._given = given
        if not isinstance(given, Mapping):
            if not all(isinstance(row, Mapping) for row in given):
                raise EntityError("entity rows are mappings of keys to values, or one mapping of keys to lists")
            self._length = len(given)
            return
        lengths = {name: len(values) for name, values in given.items() if _is_list(values)}
        if len(set(lengths.values())) > 1:
            raise EntityError(f"the lists of the entity rows have different lengths: {lengths}")
        self._length = next(iter(lengths.values()), 1)

    def __len__(self) -> int:
        return self._length

    def keys(self, codec: KeyCodec) -> list[bytes | None]:
        """The key of each row for one view."""
        if not isinstance(self._given, Mapping):
            return [codec.encode(row) for row in self._given]
        missing = [column for column in codec.columns if column not in self._given]
        if missing:
            raise EntityError(f"the entity rows have no '{missing[0]}'; they need {', '.join(codec.columns)}")
        given = [self._given[column] for column in codec.columns]
        return codec.encode_all([_plain(values) if _is_list(values) else Single(values) for values in given], len(self))

    def columns(self, names: Sequence[str], needed: str = "they need") -> dict[str, list[Any]]:
        """Keys, or fields, as lists."""
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
    for method in ("tolist", "to_pylist"):
        if hasattr(values, method):
            return getattr(values, method)()
    return values
