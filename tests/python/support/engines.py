"""Generated cases (`generate.py`) as an engine that is not DuckDB can hold and read them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

from generate import Case, Column, Table, comparable
from oracle import EPOCH, Nanoseconds, Record
from window_oracle import WindowView

from pit_join.project.rendering import Renderer
from support.portable import with_portable_conditions

AnyCase = TypeVar("AnyCase", bound=Case)


def held(case: AnyCase) -> AnyCase:
    """The case with portable conditions, and times of whole microseconds: finer ones rounded, those of histories up."""
    histories = {name: _held_table(table, round_up=True) for name, table in case.histories.items()}
    return replace(with_portable_conditions(case), spine=_held_table(case.spine, round_up=False), histories=histories)


def _held_table(table: Table, *, round_up: bool) -> Table:
    columns = tuple(replace(each, sql_type=each.sql_type.replace("_ns", "")) for each in table.columns)
    rows = tuple({name: _held_value(value, round_up) for name, value in row.items()} for row in table.rows)
    return replace(table, columns=columns, rows=rows)


def _held_value(value: Any, round_up: bool) -> Any:
    if not isinstance(value, Nanoseconds):
        return value
    microseconds = -(-value // 1000) if round_up else value // 1000
    return (EPOCH + timedelta(microseconds=int(microseconds))).replace(tzinfo=None)


def value_of(value: Any, column: Column) -> Any:
    """A comparable value of a column; an integer that the engine holds as a decimal is an integer."""
    if isinstance(value, list):
        return ("list", tuple(value_of(each, column) for each in value))
    wide = isinstance(value, Decimal) and not column.sql_type.startswith("decimal")
    return comparable(int(value) if wide else value)


def by_spine(case: Case, rows: Sequence[Record]) -> list[Record]:
    """Rows in an order that follows from the columns of the spine alone: rows equal in these are equal in all."""
    return sorted(rows, key=lambda row: [repr(row[column.name]) for column in case.spine.columns])


def renderer_for(
    adapter_type: str, manifest: Mapping[str, Any], relation: Callable[[str], str], type_of: Callable[[str], str]
) -> Renderer:
    """A renderer of the manifest of a case for an engine, which has its own relations and types."""
    changed = json.loads(json.dumps(manifest))
    changed["metadata"]["adapter_type"] = adapter_type
    for node in changed["nodes"].values():
        node["relation_name"] = relation(node["name"])
        for column in node["columns"].values():
            column["data_type"], column["quote"] = type_of(column["data_type"]), True
    return Renderer(changed)


# Many data sets in one case -----------------------------------------------------------------------------------

SET = "data set"
"""The key that tells the data sets of a case apart."""
_MOST = 12
# Of more rows, sums of the values that the generator draws leave their types.


def in_sets(case: AnyCase, count: int, number: int) -> AnyCase:
    """The case with more data of the same declarations: an engine takes a second for a query, however little it reads.

    The first data set is that of the case. In each other one the rows are dealt anew from its values, so that ties and
    equal times are as frequent. A key of their own, which all tables have, keeps several apart.
    """
    if count == 1:
        return case
    source = random.Random(number)
    views = {}
    for view in case.views:
        changed: dict[str, Any] = {"keys": (*view.keys, SET)}
        if isinstance(view, WindowView):
            changed["columns"] = (*view.columns, SET)
            changed["event_key"] = (*view.event_key, SET) if view.event_key else ()
        views[view.name] = replace(view, **changed)
    return replace(
        case,
        spine=_in_sets(source, case.spine, count),
        histories={name: _in_sets(source, table, count) for name, table in case.histories.items()},
        requests=tuple(
            replace(each, view=views[each.view.name], join_keys={**each.join_keys, SET: SET}) for each in case.requests
        ),
    )


def _in_sets(source: random.Random, table: Table, count: int) -> Table:
    rows = [{**row, SET: 0} for row in table.rows]
    for number in range(1, count):
        rows += [{**row, SET: number} for row in _dealt(source, table.rows)]
    return replace(table, columns=(*table.columns, Column(SET, "integer")), rows=tuple(rows))


def _dealt(source: random.Random, rows: Sequence[Record]) -> list[Record]:
    """So many rows or some more or less, each like one of these, or with columns of several of them."""
    if not rows:
        return []
    dealt = []
    for _ in range(min(_MOST, source.randint(1, len(rows) + 3))):
        row = dict(source.choice(rows))
        for name in row if source.random() < 0.7 else ():
            if source.random() < 0.5:
                row[name] = source.choice(rows)[name]
        dealt.append(row)
    return dealt
