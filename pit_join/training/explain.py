"""Explain one value: the rows of its key around a time, and what the rule makes of each.

The atoms of `macros/rule` decide, over a copy of the rows of the key; this module puts their answers into words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from pit_join.definitions.views import Aggregation, FeatureView
from pit_join.errors import EntityError, RequestError, WarehouseError, suggest
from pit_join.records.arrow import event_times, type_name, values_of
from pit_join.records.layout import moment_of
from pit_join.references import Request
from pit_join.statuses import NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE, PRESENT
from pit_join.times import format_duration, gap_text
from pit_join.training.explanation import ExplainedRow, ExplainedWindow, Explanation, Verdict
from pit_join.training.given import read_given
from pit_join.training.joins import units_of
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.workspace import Histories, Workspace

__all__ = ["MOST_AROUND", "Explainer", "first_row", "types_of", "window_words"]

MOST_AROUND = 1_000_000
"""The most rows that an explanation shows on each side."""

_ALIAS, _TIME, _SPINE, _ROWS = "explained", "pit_join_instant", "_pit_spine", "_pit_of_key"


class Explainer:
    """The rows of one key of a view, copied from an open warehouse, and explained at any time.

    Args:
        workspace: the project that declares the view.
        warehouse: its open warehouse.
        view: the view.
        features: the names of the features to explain; all if there are none.
        keys: a value for every key of the view; a text is read as the key's type.

    Raises:
        PitJoinError: see its subclasses; unknown features and keys, and tables that cannot be read.
    """

    def __init__(
        self,
        workspace: Workspace,
        warehouse: DuckDBWarehouse,
        view: FeatureView,
        features: Sequence[str],
        keys: Mapping[str, Any],
    ) -> None:
        known = [feature.name for feature in view.features]
        for name in features:
            if name not in known:
                raise RequestError(f"view '{view.name}' has no feature '{name}'; {suggest(name, known, 'features')}")
        self._macros, self._warehouse, self._view = workspace.macros, warehouse, view
        self._features = tuple(features or known)
        self._what = f"the feature view '{view.name}' cannot be read"
        Histories(warehouse, workspace).check([view])
        read = self._read(keys)
        self.keys, self._types = first_row(read), types_of(read)
        if warehouse.views is not warehouse:
            warehouse.views.give("_pit_keys", warehouse.table("from _pit_keys", self._what))
        statement = workspace.view_macros.text("_key_rows_statement", view=view.name, spine="_pit_keys")
        rows = warehouse.here(statement, self._what)
        numbered = f"select *, row_number() over () as _pit_number from {rows}"
        warehouse.execute(f"create or replace temp table {_ROWS} as {numbered}", self._what)
        self._units: dict[str, Any] = {}
        if view.aggregations:
            facts = self._macros.text("_facts_statement", view=view.name, history=_ROWS)
            self._units = dict(units_of(warehouse.row(facts, self._what)))

    def _read(self, keys: Mapping[str, Any]) -> pa.Table:
        view, types = self._view, self._view.key_types
        if unknown := [name for name in keys if name not in types]:
            raise EntityError(f"view '{view.name}' has no key '{unknown[0]}'; {suggest(unknown[0], types, 'keys')}")
        if missing := [name for name in types if name not in keys]:
            raise EntityError(f"view '{view.name}' needs a value for every key; give {', '.join(missing)}, too")
        return read_given(self._warehouse, "_pit_keys", keys, types, "key").select(list(types))

    def at(self, moment: datetime, gap: str | timedelta | None = None, around: int = 20) -> Explanation:
        """Explain the values at a time.

        Args:
            moment: the time T, with a time zone.
            gap: predict ahead, as in a training set.
            around: the number of rows to show before and after T, or at each edge of a window.
        """
        view, gap = self._view, gap_text(gap)
        if around not in range(MOST_AROUND + 1):
            raise RequestError(f"around is a number of rows from 0 to {MOST_AROUND:,}, and not {around!r}")
        at = moment_of(moment)
        spine = self._macros.text(
            "spine_rows", spine="_pit_asked", event_timestamp=_TIME, gap=gap, data_type="timestamptz"
        )
        asked = f"select *, make_timestamptz({at}) as {_TIME} from _pit_keys"
        self._warehouse.execute(f"create or replace temp table _pit_asked as {asked}", self._what)
        self._warehouse.execute(f"create or replace temp table {_SPINE} as {spine}", self._what)
        time = self._warehouse.row(f"select _pit_time from {_SPINE}", self._what)["_pit_time"]
        status, event, without = self._answer(defaults=False)
        _, _, answer = self._answer(defaults=True)
        stored, values = first_row(without), first_row(answer)
        return Explanation(
            view=view.name,
            keys=self.keys,
            at=at,
            asked=time,
            rule=tuple(_settings(view, gap)),
            statuses={
                name: NULL_VALUE if status == PRESENT and value is None else status for name, value in stored.items()
            },
            event=event,
            values=values,
            defaulted=tuple(name for name in values if stored[name] is None and values[name] is not None),
            rows=() if view.aggregations else tuple(self._rows(around, time, status)),
            counts=self._warehouse.row(self._statement("_explained_counts_statement"), self._what),
            types={**self._types, **types_of(answer)},
            windows=tuple(self._window(one, around, time) for one in view.aggregations if one.name in self._features),
        )

    def _answer(self, *, defaults: bool) -> tuple[str, int | None, pa.Table]:
        """Return status, event time and values by the statements that build a training set."""
        request = Request(self._view.name, self._features, _ALIAS)
        statements = self._macros.data(
            "_view_statements",
            alias=_ALIAS,
            spine=_SPINE,
            features=[request.as_macro_argument()],
            options={
                "full_feature_names": True,
                "provenance": True,
                "defaults": defaults,
                "history": _ROWS,
                # For one instant: the other plan would add up all events of the key.
                "plan": "range",
                "floats": self._units,
            },
        )
        table = self._warehouse.table_later(statements, self._what).result()
        if table.num_rows != 1:
            raise WarehouseError(f"the join returned {table.num_rows} rows for one; please report this")
        values = pa.table({name: table[f"{_ALIAS}__{name}"] for name in self._features})
        (event,) = event_times(table[f"{_ALIAS}__event_timestamp"].combine_chunks()).cast(pa.int64()).to_pylist()
        return table[f"{_ALIAS}__status"][0].as_py(), event, values

    def _statement(self, macro: str, **options: Any) -> str:
        return self._macros.text(macro, view=self._view.name, spine=_SPINE, history=_ROWS, **options)

    def _found(self, table: pa.Table, columns: Sequence[str]) -> list[tuple[dict[str, Any], tuple[Any, ...]]]:
        """Return the rows of a result once each, in the order of event times, with the values of some columns."""
        own = table.select([name for name in table.column_names if name.startswith("_pit_")]).to_pylist()
        values = list(zip(*(values_of(table[name]) for name in columns), strict=True)) if columns else [()] * len(own)
        # The first of several parts counts that have a row: see the macros.
        once = {row["_pit_number"]: (row, shown) for row, shown in reversed(list(zip(own, values, strict=True)))}
        once.pop(None, None)  # nothing is shown
        return sorted(once.values(), key=lambda pair: int(pair[0]["_pit_position"]))

    def _rows(self, around: int, time: int, status: str) -> Iterator[ExplainedRow]:
        statement = self._statement("_explained_statement", around=around)
        found = self._found(self._warehouse.table(statement, self._what), self._features)
        version = ["_pit_event", *(["_pit_created"] if self._view.created_timestamp else [])]
        chosen = next((row for row, _ in found if row["_pit_part"] == "chosen"), None)
        for row, values in found:
            verdict = _unknown(row, time)
            if verdict is None and chosen is row:
                verdict = {OUTSIDE_MAX_AGE: Verdict.TOO_OLD, NOT_FOUND: Verdict.DELETED}.get(status, Verdict.CHOSEN)
            elif verdict is None:
                assert chosen is not None  # some row is known, so one wins
                tied = all(row[column] == chosen[column] for column in version)
                verdict = Verdict.TIE_LOST if tied else Verdict.SUPERSEDED
            event, known_from = row["_pit_event"], row["_pit_available_at"]
            if self._view.static:  # whose rows have no time
                event = known_from = None
            yield ExplainedRow(verdict, row["_pit_position"], event, known_from, values)

    def _window(self, one: Aggregation, around: int, time: int) -> ExplainedWindow:
        statement = self._statement("_explained_events_statement", asked={"feature": one.name, "around": around})
        table, columns = self._warehouse.table(statement, self._what), [one.column] if one.column else []
        rows = []
        for row, values in self._found(table, columns):
            verdict = _unknown(row, time)
            if verdict is None and not row["_pit_inside"]:
                left = Verdict.MISSED if row["_pit_missed"] else Verdict.LEFT
                verdict = Verdict.SUPERSEDED if row["_pit_superseded"] else left
            elif verdict is None:
                verdict = (
                    Verdict.COUNTED
                    if row["_pit_counted"]
                    else Verdict.DELETED
                    if row["_pit_deleted"]
                    else Verdict.NOT_COUNTED
                )
            until = row["_pit_end"] if row["_pit_dated"] and row["_pit_end"] < 2**63 - 1 else None
            times = row["_pit_event"], row["_pit_available_at"]
            rows.append(ExplainedRow(verdict, row["_pit_position"], *times, values, until))
        kind = types_of(table.select(columns)).get(one.column or "")
        return ExplainedWindow(
            one.name, window_words(one), one.column, kind, table["_pit_events"][0].as_py(), tuple(rows)
        )


def first_row(table: pa.Table) -> dict[str, Any]:
    """Return the values of the first row, as a reader of the online store returns them."""
    return {name: values_of(table[name])[0] for name in table.column_names}


def types_of(table: pa.Table) -> dict[str, str]:
    """Return the types of columns (see `records.layout.Field`), empty for one that no record can hold."""
    return {field.name: type_name(field.type) or "" for field in table.schema}


def _unknown(row: Mapping[str, Any], time: int) -> Verdict | None:
    """Return why a row is not known at a time; None if it is."""
    if not row["_pit_dated"]:
        return Verdict.UNDATED
    if row["_pit_known"]:
        return None
    return Verdict.LATER if row["_pit_event"] > time else Verdict.NOT_YET_KNOWN


def _settings(view: FeatureView, gap: str | None) -> Iterator[str]:
    """Yield the settings of a view that decide its answer, each in words."""
    if view.static:
        yield "static: the row of the key counts at any time"
        return
    known = f"{view.event_timestamp} + {format_duration(view.lag)} (lag)" if view.lag else view.event_timestamp
    if view.created_timestamp:
        known = f"the later of {known} and {view.created_timestamp}"
    yield f"known from: {known}"
    if gap:
        yield f"gap: asked {gap} before T"
    then = "at the time asked" if gap else "at T"
    strict = view.closed == "left" if view.aggregations else not view.inclusive
    yield f"a row known exactly {then} does not count" if strict else f"a row known exactly {then} counts"
    if view.ttl:
        yield f"ttl: {format_duration(view.ttl)}"
    if view.event_key:
        yield f"event_key: of the versions of one {', '.join(view.event_key)} the newest known counts"
    if view.deleted:
        yield f"deleted: {view.deleted}"


def window_words(one: Aggregation) -> str:
    """Return a function of a window in words, such as `sum of amount over 7 days`."""
    n = f" ({one.n})" if one.n else ""
    column = f" of {one.column}" if one.column else ""
    window = f"over {format_duration(one.window)}" if one.window else "since the first event"
    return f"{one.function}{n}{column} {window}{f' where {one.where}' if one.where else ''}"
