"""Hypothesis strategies for window views: events with versions, aggregations over windows, and a spine.

As in `generate.py`, of which this is the second half, everything comes from tiny domains: events, lags, windows and
times of the spine lie on one grid or a microsecond beside it, so that T - w = e, s = T and x = T happen all the time.

The generator keeps out of what the rule leaves open: -0.0, and sums that leave their type.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

from generate import (
    GRAIN,
    MICRO,
    OFFSETS,
    STARTS,
    TIME_TYPES,
    VIEW_NAMES,
    Case,
    Column,
    Table,
    World,
    comparable,
    event_time_type,
    fitting,
    key_type,
    keys_met,
    names,
    quote,
    requests_of,
    result_name,
    spines,
    stored,
    table,
    views,
    worlds,
)
from hypothesis import strategies as st
from oracle import Answer, Record, history_instant, look_up, microseconds, nanoseconds, with_defaults
from window_oracle import (
    WIDE,
    Aggregation,
    Version,
    Where,
    WindowView,
    by_key,
    current_versions,
    selected,
)
from window_oracle import look_up as look_up_window

WINDOW_STEPS = tuple(timedelta(**{unit: 1}) for unit in ("hours", "milliseconds", "seconds", "days"))
WINDOW_HAIRS = ((-MICRO, MICRO), (-MICRO, MICRO), (-MICRO, MICRO), (), (-1, 1, MICRO), (500, 501, -MICRO))
UNITS = (
    ("day", "d", timedelta(days=1)),
    ("hour", "h", timedelta(hours=1)),
    ("minute", "m", timedelta(minutes=1)),
    ("second", "s", timedelta(seconds=1)),
    ("millisecond", "ms", timedelta(milliseconds=1)),
)
AGGREGATION_NAMES = ("n", "total", "Newest", "select", "e", "c", "s", "x", "until", "count", "value", "T", "window_1h")
EVENT_PARTS = (("a", 1), ("b", 2), (None, 1), ("a", None), ("a", 2), ("c", 1), ("d", 2), ("e", 1), ("f", 1), ("b", 1))

INTEGERS = ("tinyint", "smallint", "integer", "bigint", "ubigint")
FLOATS = ("double", "float")
LARGE = f"5{34 * '0'}"
# fmt: off
FLAVOURS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "tinyint": ((127, -128, 1, 7),),
    "smallint": ((32767, -32768, 1, 7),),
    "integer": ((2**31 - 1, -(2**31), 1, 7),),
    "bigint": ((1, 2, -1, 7), (2**53 + 1, 2**59, -(2**59), 1), (-(2**59), 2**59 - 1, 3)),
    "ubigint": ((0, 1, 2**59, 2**53 + 1),),
    "decimal(18,2)": (
        (Decimal("1.25"), Decimal("-0.01"), Decimal("10.00")),
        (Decimal("9999999999999999.99"), Decimal("-9999999999999999.99"), Decimal("0.01")),
    ),
    "decimal(38,2)": (  # twenty of these do not fit
        (Decimal(f"{LARGE}.00"), Decimal(f"{LARGE}.01"), Decimal(f"-{LARGE}.00"), Decimal("0.02")),
        tuple(Decimal(f"{LARGE}.0{digit}") for digit in range(3)),
    ),
    "decimal(4,1)": ((Decimal("999.9"), Decimal("-0.1"), Decimal("2.0")),),
    "double": (
        (1e9, 1e9 + 1, 1e9 + 0.1, 1e9 + 2),  # the squares of these cancel
        (1e9 + 1, 1e9 + 3, 1e9 + 2),
        (1e9, -1e9, 0.1, 0.2, 0.3),
        (1e100, -1e100, 1e-9, 1.0, 0.1),
        (1e15, 1e15 + 0.125, -1e15, 0.1),
        (1.0, math.nan, math.inf, -math.inf, 2.5),
        (math.nan, 1.0, math.nan, 2.5),
        (math.nan, 1.0, math.nan, math.inf),
        (1.0, 1e300, -1e300, 1e-300),
        (1e9 + 0.001, 1e9 + 0.0005, 1e9 - 0.001, 1e9),
        (1e12, 1e12 + 0.001, 0.1, 0.101, 0.0),
        (2.0**60, 2.0**60 - 128, 2.0**60 + 256, 2.0**20, -(2.0**20) + 2.0**-33),  # beside the ends of classes of floats
    ),
    "float": (
        (0.5, 1.5, 16777216.0, 1.0),
        (0.10000000149011612, -0.5, 1.0),
        (1.0, math.nan, math.inf, -math.inf),
    ),
    "varchar": (("a", "b", "", "A"), ("é", "🛩", "it's", "a")),
    "boolean": ((True, False),),
    "timestamp": ((datetime(2026, 3, 15, 14, 30), datetime(1969, 12, 31, 23), datetime(2026, 3, 15, 14, 30, 0, 1)),),
    "date": ((date(2026, 3, 15), date(1969, 12, 31), date(2026, 3, 16)),),
}
# fmt: on
"""Values of a column by its type; a column takes them from one of the tuples."""
VALUE_TYPES = (*("double",) * 16, *("bigint",) * 6, *("decimal(18,2)",) * 2, *FLAVOURS)

DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(INTEGERS, 0),
    **dict.fromkeys(FLOATS, -1.5),
    "decimal(38,2)": Decimal("9.99"),
    "decimal(38,1)": Decimal("9.9"),
    "decimal(18,2)": Decimal("9.99"),
    "decimal(4,1)": Decimal("9.9"),
    "varchar": "it's",
    "boolean": False,
    "bigint[]": [0],
    "varchar[]": [],
}


@dataclass(frozen=True)
class Span:
    """A window as YAML has it, its short name, and how long it is (None: lifetime)."""

    text: str
    short: str
    duration: timedelta | None


LIFETIME = Span("lifetime", "lifetime", None)


@dataclass(frozen=True)
class Declaration:
    """An aggregation as YAML has it: one feature, or where the windows are a list one for each of them."""

    name: str
    function: str
    column: str | None
    spans: tuple[Span, ...]
    listed: bool
    where: Where | None = None
    n: int | None = None
    default: Any = None

    def features(self) -> tuple[Aggregation, ...]:
        """The features that this declares."""
        return tuple(
            Aggregation(
                f"{self.name}_{span.short}" if self.listed else self.name,
                *(self.function, self.column, span.duration, self.where, self.n, self.default),
            )
            for span in self.spans
        )

    def yaml(self) -> dict[str, Any]:
        """The entry of `aggregations`."""
        texts = [span.text for span in self.spans]
        entry = {
            "name": self.name,
            "function": self.function,
            "column": self.column,
            "windows" if self.listed else "window": texts if self.listed else texts[0],
            "where": self.where.sql if self.where else None,
            "n": self.n,
            "default": float(self.default) if isinstance(self.default, Decimal) else self.default,
        }
        return {key: value for key, value in entry.items() if value is not None}


@dataclass(frozen=True, repr=False)
class WindowCase(Case):
    """A case with window views among its views. `declarations` are theirs, by the view's name."""

    declarations: Mapping[str, tuple[Declaration, ...]] = field(default_factory=dict)

    @property
    def window_views(self) -> tuple[WindowView, ...]:
        """The window views, each once."""
        return tuple(view for view in self.views if isinstance(view, WindowView))


def added_up(case: WindowCase) -> WindowCase:
    """The case with counts and exact sums alone: they have a way of their own through a history."""
    declared = {}
    for view in case.window_views:
        events = case.histories[view.name]
        declared[view.name] = tuple(added(each, events) for each in case.declarations[view.name])
    views = {
        view.name: replace(view, aggregations=tuple(f for each in declared[view.name] for f in each.features()))
        for view in case.window_views
    }
    requests = tuple(replace(each, view=views.get(each.view.name, each.view)) for each in case.requests)
    return replace(case, requests=requests, declarations=declared)


def on_time(case: WindowCase) -> WindowCase:
    """The case with events that are known when they happen: a history takes no value the general way but lists."""
    views = {view.name: replace(view, created_timestamp=None, event_key=(), deleted=None) for view in case.window_views}
    requests = tuple(replace(each, view=views.get(each.view.name, each.view)) for each in case.requests)
    return replace(case, requests=requests)


def added(declared: Declaration, events: Table) -> Declaration:
    """Itself, a sum, or a count."""
    sql_type = None if declared.column is None else events.type_of(declared.column)
    exact = sql_type is not None and (sql_type in INTEGERS or sql_type.startswith("decimal"))
    if exact and declared.function not in ("count", "count_distinct"):
        return replace(
            declared, function=declared.function if declared.function == "avg" else "sum", n=None, default=None
        )
    return replace(declared, function="count", n=None, default=None)


# What a case means --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Near:
    """A finite double that is right within a tolerance; `size` is the magnitude of what it was computed from."""

    value: float
    tolerance: float
    size: float = field(default=0.0, compare=False)


def agrees(found: tuple[str, Any], wanted: Any, roundings: float = 0.0) -> bool:
    """Whether a comparable value is the wanted one, or near it, by so many roundings of what it is computed from."""
    if not isinstance(wanted, Near):
        return found == wanted
    tolerance = wanted.tolerance + roundings * 2**-53 * wanted.size
    return found[0] == "float" and abs(float(found[1]) - wanted.value) <= tolerance  # NaN is near nothing


def near(view: WindowView, feature: str, value: Any, versions: Sequence[Version], t: int) -> Any:
    """What the value of a feature must be: itself, comparable, or near it. `versions` are those of the key.

    All come of exact sums, so they are right within a few roundings of the result, whatever cancels. Only a sum of
    floats of which some are 2^40 times as large as others may cancel to less than what was rounded of its parts.
    """
    aggregation = next(each for each in view.aggregations if each.name == feature)
    if aggregation.function not in ("sum", "avg", "stddev") or not isinstance(value, float) or not math.isfinite(value):
        return comparable(value)
    values = [version.row[aggregation.column] for version in selected(view, aggregation, versions, t)]
    size = float(sum(abs(Fraction(each)) for each in values))
    if aggregation.function == "sum":
        return Near(value, 5e-16 * abs(value) + 1e-30 * size, size)
    if aggregation.function == "avg":
        return Near(value, 1e-15 * abs(value) + 1e-30 * size / len(values), size / len(values))
    tolerance = 2e-15 * value + 2**-53 * float(max(map(beyond_93_bits, values)))
    return Near(value, tolerance, max(abs(float(each)) for each in values))


def beyond_93_bits(value: Any) -> Fraction:
    """The size of an integer or a decimal that has more bits than deviations keep, else 0."""
    digits = max(0, -int(value.as_tuple().exponent)) if isinstance(value, Decimal) else 0
    whole = 0 if isinstance(value, float) else Fraction(value) * 10**digits
    return abs(Fraction(value)) if abs(whole) >= 2**93 else Fraction(0)


def expected_answers(case: WindowCase) -> list[dict[str, Answer]]:
    """What the oracles say of each row of the spine, by request, before defaults."""
    versions = {view.name: current_versions(view, case.histories[view.name].rows) for view in case.window_views}
    answers = []
    for row in case.spine.rows:
        answers.append({})
        for request in case.requests:
            name = request.view.name
            if name in versions:
                answer = look_up_window(request, row, versions[name], case.event_timestamp, case.gap)
            else:
                answer = look_up(request, row, case.histories[name].rows, case.event_timestamp, case.gap)
            answers[-1][request.name] = answer
    return answers


def expected_records(case: WindowCase, defaults: bool = True, provenance: bool = False) -> list[dict[str, Any]]:
    """The rows of the training set under the names of `result_columns`, each value as `agrees` takes it."""
    of_key = {view.name: by_key(current_versions(view, case.histories[view.name].rows)) for view in case.window_views}
    records = []
    for row, answers in zip(case.spine.rows, expected_answers(case), strict=True):
        record = {name: comparable(value) for name, value in row.items()}
        for request in case.requests:
            found = answers[request.name]
            given = with_defaults(found, request.view) if defaults else found
            for name, value in given.values.items():
                wanted = comparable(value)
                if isinstance(request.view, WindowView) and found.values[name] is not None:
                    keys = tuple(row[request.join_keys.get(key, key)] for key in request.view.keys)
                    versions = of_key[request.view.name].get(keys, [])
                    wanted = near(request.view, name, value, versions, instant(case, row))
                record[result_name(case, request, name)] = wanted
            if provenance:
                record[f"{request.name}__event_timestamp"] = comparable(found.event_time)
                record[f"{request.name}__status"] = comparable(found.status.value)
        records.append(record)
    return records


def instant(case: Case, row: Record) -> int:
    """The T of a row of the spine with the gap taken off, in microseconds; of a null the earliest there is."""
    t = row[case.event_timestamp]
    return -(2**63) if t is None else nanoseconds(t) // MICRO - microseconds(case.gap)


def result_type(case: WindowCase, view: Any, feature: str) -> str:
    """The type of a feature in every result."""
    if isinstance(view, WindowView):
        aggregation = next(each for each in view.aggregations if each.name == feature)
        return aggregated_type(aggregation.function, case.histories[view.name], aggregation.column)
    return case.histories[view.name].type_of(feature)


def aggregated_type(function: str, events: Table, column: str | None) -> str:
    """The type of an aggregate of a column."""
    if function in ("count", "count_distinct"):
        return "bigint"
    assert column is not None
    sql_type = events.type_of(column)
    if function in ("avg", "stddev") or (function == "sum" and sql_type in FLOATS):
        return "double"
    if function == "sum":
        return "bigint" if sql_type in INTEGERS else f"decimal(38,{sql_type[:-1].split(',')[1]})"
    return f"{sql_type}[]" if function == "last_n" else sql_type


def result_columns(case: WindowCase, provenance: bool = False) -> tuple[Column, ...]:
    """Names and types of the result: the spine, the features as requested, two of provenance a request."""
    columns = list(case.spine.columns)
    for request in case.requests:
        view = request.view
        columns += [
            Column(result_name(case, request, each), result_type(case, view, each)) for each in request.features
        ]
    for request in case.requests if provenance else ():
        kind = event_time_type(request.view, case.histories[request.view.name])
        columns.append(Column(f"{request.name}__event_timestamp", kind))
        columns.append(Column(f"{request.name}__status", "varchar"))
    return tuple(columns)


def without_later(case: WindowCase, t: int) -> WindowCase:
    """The case without the events that nobody can have seen at T: created after it, or known after it for sure.

    Where events have versions, one that lies in the future stays if it was created by T: it may supersede another.
    Written apart from the oracle on purpose.
    """
    histories = dict(case.histories)
    for view in case.window_views:
        latest = t if view.closed == "right" else t - 1
        kept = []
        for row in histories[view.name].rows:
            e, c = row[view.event_timestamp], view.created_timestamp and row[view.created_timestamp]
            future = e is not None and history_instant(e) + microseconds(view.lag) > latest
            unseen = c is not None and history_instant(c) > latest
            if not unseen and not (future and not view.event_key):
                kept.append(row)
        histories[view.name] = replace(histories[view.name], rows=tuple(kept))
    return replace(case, histories=histories)


# Strategies ---------------------------------------------------------------------------------------------------


@st.composite
def window_worlds(draw: st.DrawFn) -> World:
    """The frame of a case: eight steps of a grid and something a hair beside them; one key hot, or two."""
    start = nanoseconds(draw(st.sampled_from(STARTS[:2] * 3 + STARTS)))
    step = draw(st.sampled_from(WINDOW_STEPS))
    regular = [start + index * microseconds(step) * MICRO for index in range(8)]
    hairs = draw(st.sampled_from(WINDOW_HAIRS))
    beside = [regular[index] + hair for index in (2, 3, 4) for hair in hairs]
    fine = "timestamp_ns" if any(hair % MICRO for hair in hairs) else "timestamp"
    world = draw(worlds())
    one, _, *others = world.entities
    return replace(
        world,
        entities=world.entities if draw(st.booleans()) else (one, one, *others),
        step=step,
        history_instants=(*regular[:5], *beside),
        created_instants=(*regular[1:6], *beside),
        spine_instants=(*regular[5:2:-1], *regular[3:], *beside),
        time_type=draw(st.sampled_from((*fitting_types(step), *(fine,) * 6))),
    )


@st.composite
def window_views(
    draw: st.DrawFn, world: World, name: str
) -> tuple[WindowView, Table, tuple[int, ...], tuple[Declaration, ...]]:
    """A window view, its events, which keys of the spine its own keys meet, and its aggregations as declared."""
    count = len(world.kinds)
    met = draw(keys_met(count, min(count, 2)))
    value_types = draw(st.lists(st.sampled_from(VALUE_TYPES), min_size=1, max_size=3))
    versioned = draw(st.sampled_from((True, True, False)))
    with_created = versioned or draw(st.sampled_from((True, True, False)))
    with_deleted = versioned and draw(st.booleans())
    event, made, deleted, part, number, *rest = names(draw, len(met) + len(value_types) + 5, world.plain, name[0])
    if "event_timestamp" in rest:  # a key of this name would meet the instant of the history
        rest[rest.index("event_timestamp")], event = event, "event_timestamp"
    keys, columns_of_values = rest[: len(met)], rest[len(met) :]

    columns = {key: key_type(draw, world.kinds[index]) for key, index in zip(keys, met, strict=True)}
    columns[event] = window_time_type(draw, world)
    values = {event: all_times(draw, world.history_instants, columns[event])}
    if with_created:
        columns[made] = window_time_type(draw, world)
        values[made] = all_times(draw, world.created_instants, columns[made])
    if with_deleted:
        columns[deleted] = "boolean"
        values[deleted] = (False, False, False, False, None, True)
    event_key: tuple[str, ...] = ()
    if versioned:
        columns[part], columns[number] = "varchar", "integer"
        event_key = draw(st.sampled_from(((part,), (part, number), (part, number), (number, part, *keys[:1]))))
        values[part] = EVENT_PARTS[: draw(st.sampled_from((10, 10, 4)))]
    for column, sql_type in zip(columns_of_values, value_types, strict=True):
        columns[column] = sql_type
        values[column] = (*draw(st.sampled_from(FLAVOURS[sql_type])) * 2, None)

    entities = [tuple(entity[index] for index in met) for entity in world.entities]
    rows = event_rows(draw, entities, {key: columns[key] for key in keys}, values)
    if versioned:
        rows = [{**row, part: row[part][0], number: row[part][1]} for row in rows]
    view = WindowView(
        name=name,
        keys=tuple(keys),
        event_timestamp=event,
        columns=tuple(draw(st.permutations(list(columns)))),
        aggregations=(),
        created_timestamp=made if with_created else None,
        lag=draw(st.sampled_from((0, 0, 0, 1, 2))) * world.step,
        closed=draw(st.sampled_from(("left", "right"))),
        event_key=event_key,
        deleted=deleted if with_deleted else None,
    )
    rows = draw(disturbed(world, view, columns, entities, rows))
    events = table(draw, name, columns, rows)
    declared = draw(declarations(world, view, events, columns_of_values))
    view = replace(view, aggregations=tuple(feature for each in declared for feature in each.features()))
    return view, events, tuple(met), declared


def window_time_type(draw: st.DrawFn, world: World) -> str:
    """A type that tells the steps of the grid apart; now and then any."""
    return draw(st.sampled_from((*(world.time_type,) * 12, *fitting_types(world.step) * 2, *TIME_TYPES)))


def fitting_types(step: timedelta) -> list[str]:
    """The types of time that tell the steps of a grid apart."""
    return [each for each in TIME_TYPES if GRAIN.get(each, MICRO) <= microseconds(step) * MICRO]


def all_times(draw: st.DrawFn, instants: Sequence[int], sql_type: str) -> tuple[Any, ...]:
    """All these instants as values of a time column, and a null."""
    zone = draw(st.sampled_from(OFFSETS)) if sql_type == "timestamptz" else timezone.utc
    return (*(stored(each, sql_type, zone) for each in instants), None)


def event_rows(
    draw: st.DrawFn,
    entities: Sequence[tuple[Any, ...]],
    keys: Mapping[str, str],
    values: Mapping[str, Sequence[Any]],
) -> list[dict[str, Any]]:
    """Rows of few entities. Each column deals its values out like cards, so that most differ: ties come later."""
    count = draw(st.sampled_from((9, 12, 6, 11, 10, 12, 8, 10, 11, 3, 1, 0)))
    whole = [tuple(map(fitting, entity, keys.values())) for entity in entities]
    holed = [tuple(None if index == hole else each for index, each in enumerate(whole[0])) for hole in range(len(keys))]
    columns: dict[str, Sequence[Any]] = {name: draw(st.permutations(cards)) for name, cards in values.items()}
    owners = draw(st.permutations([*whole[:2] * 4, *whole[2:], *holed]))
    return [
        {
            **dict(zip(keys, owners[number % len(owners)], strict=True)),
            **{name: cards[number % len(cards)] for name, cards in columns.items()},
        }
        for number in range(count)
    ]


@st.composite
def disturbed(
    draw: st.DrawFn,
    world: World,
    view: WindowView,
    columns: Mapping[str, str],
    entities: Sequence[tuple[Any, ...]],
    rows: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Events with some doubled, tied or corrected, prompt or late."""
    if not rows:
        return rows
    rows = list(rows)
    created = view.created_timestamp
    whole = {key: fitting(value, columns[key]) for key, value in zip(view.keys, entities[-1], strict=True)}
    for _ in range(draw(st.sampled_from((3, 4, 5, 2, 0)))):
        one, other = (rows[draw(st.integers(0, len(rows) - 1))] for _ in range(2))
        kind = draw(
            st.sampled_from(
                (*("twin",) * 4, "double", "tie", "tie", *("value", "time", "key", "null key", "delete") * 2)
            )
        )
        if kind == "double":
            rows.append(dict(one))
            continue
        row = {**one, **{name: other[name] for name in columns if name not in special(view)}}
        if kind == "tie" and view.deleted is not None:
            row[view.deleted] = not one[view.deleted]
        elif kind == "twin":  # another event at the same time
            row.update({name: other[name] for name in view.event_key if name not in view.keys})
        elif kind == "time":
            row[view.event_timestamp] = other[view.event_timestamp]
        elif kind == "key":
            row.update(whole)
        elif kind == "null key" and view.keys:
            row[view.keys[0]] = None
        elif kind == "delete" and view.deleted is not None:
            row[view.deleted] = True
        if created is not None and kind != "tie" and (kind != "twin" or draw(st.booleans())):
            row[created] = stored(draw(st.sampled_from(world.created_instants[2:])), columns[created])
        rows.append(row)
    if created is not None and draw(st.sampled_from((False, False, True))):
        rows = [prompt(view, columns, row, row[view.event_timestamp]) for row in rows]
    return rows


def special(view: WindowView) -> set[str | None]:
    """The columns that are more than values."""
    return {*view.keys, *view.event_key, view.event_timestamp, view.created_timestamp, view.deleted}


def prompt(view: WindowView, columns: Mapping[str, str], row: dict[str, Any], e: Any) -> dict[str, Any]:
    """The row, created at its event time."""
    assert view.created_timestamp is not None
    created = None if e is None else stored(nanoseconds(e), columns[view.created_timestamp])
    return {**row, view.created_timestamp: created}


@st.composite
def declarations(
    draw: st.DrawFn, world: World, view: WindowView, events: Table, values: list[str]
) -> tuple[Declaration, ...]:
    """Several functions of one column, and some of others; no two features of one name."""
    taken = {name.casefold() for name in (*view.keys, view.event_timestamp)}
    found: list[Declaration] = []
    lengths = draw(st.sampled_from(((3, 2, 5, 1, 24), (3, None, 2, 5, 1, 24))))
    chosen = draw(st.permutations(functions_for(events, values[0])))[: draw(st.sampled_from((5, 4, 6, 2)))]
    wanted = [(values[0], function) for function in chosen]
    for _ in range(draw(st.integers(0, 2))):  # the newest event time and the keys seen are values as well
        column = draw(st.sampled_from([*values[1:] * 6, *view.columns]))
        wanted.append((column, draw(st.sampled_from(functions_for(events, column)))))
    # a feature may have the name of a column that it reads
    own = [values[0]] if values[0].isidentifier() and values[0].isascii() else []
    cards = draw(st.permutations([*own, *AGGREGATION_NAMES]))
    for name, (column, function) in zip(cards, wanted, strict=False):
        spans, listed = draw(windows(world, lengths))
        sql_type = aggregated_type(function, events, column)
        default = DEFAULTS.get(sql_type) if function not in ("count", "count_distinct") else None
        declaration = Declaration(
            name=name,
            function=function,
            column=None if function == "count" and draw(st.booleans()) else column,
            spans=spans,
            listed=listed,
            where=draw(conditions(events, values)) if draw(st.sampled_from((False, True, False))) else None,
            n=draw(st.sampled_from((1, 2, 3, 1000))) if function == "last_n" else None,
            default=default if draw(st.booleans()) else None,
        )
        names_ = {feature.name.casefold() for feature in declaration.features()}
        if not names_ & taken:
            taken |= names_
            found.append(declaration)
    return tuple(found) or (Declaration("rows_seen", "count", None, (LIFETIME,), False),)


def functions_for(events: Table, column: str) -> list[str]:
    """What a column can be aggregated by."""
    sql_type = events.type_of(column)
    found = []
    if sql_type in (*INTEGERS, *FLOATS) or sql_type.startswith("decimal"):
        found += ["stddev", "sum", "avg"]
    if sql_type != "timestamp_ns":  # a list of these cannot be read back
        found.append("last_n")
    return [*found, "first", "max", "count_distinct", "last", "min", "count"]


@st.composite
def windows(draw: st.DrawFn, world: World, lengths: Sequence[int | None]) -> tuple[tuple[Span, ...], bool]:
    """One window, or a list of some, of so many steps each."""
    listed = draw(st.sampled_from((False, False, True)))
    steps = st.sampled_from(lengths)
    count = draw(st.integers(1, 3)) if listed else 1
    chosen = draw(st.lists(steps, min_size=count, max_size=count, unique=True))
    return tuple(LIFETIME if each is None else draw(span(each * world.step)) for each in chosen), listed


@st.composite
def span(draw: st.DrawFn, duration: timedelta) -> Span:
    """A window in any unit that divides it, in short or in words."""
    units = [unit for unit in UNITS if not duration % unit[2]]
    word, short, size = draw(st.sampled_from(units[:2]))
    count = duration // size
    words = f"{count} {word}{'' if count == 1 else 's'}"
    return Span(draw(st.sampled_from((words, f"{count}{short}"))), f"{count}{short}", duration)


OF_ANY: dict[str, Callable[[Any], bool | None]] = {
    "@ is not null": lambda value: value is not None,
    "(@ is null) is not null": lambda value: True,
    "@ is null": lambda value: value is None,
    "1 = 0": lambda value: False,
}
OF_NUMBERS: dict[str, Callable[[Any], bool | None]] = {
    "@ > 1": lambda value: None if value is None else greater(value, 1),
    "not @ > 1": lambda value: None if value is None else not greater(value, 1),
    "@ is null or @ > 1": lambda value: value is None or greater(value, 1),  # `and` binds closer than `or`
    "@ <= 1 -- a comment": lambda value: None if value is None else not greater(value, 1),
}
OF_TEXT: dict[str, Callable[[Any], bool | None]] = {
    "@ = 'a'": lambda value: None if value is None else value == "a",
    "@ <> 'it''s'\n": lambda value: None if value is None else value != "it's",
    "@ like '%a%' or @ is null": lambda value: value is None or "a" in value,
}
OF_BOOLEANS: dict[str, Callable[[Any], bool | None]] = {
    "@": lambda value: value,
    "not @": lambda value: None if value is None else not value,
}
CONDITIONS = OF_ANY | OF_NUMBERS | OF_TEXT | OF_BOOLEANS
"""Conditions of a column, written `@`, and what each says of a value: true, false or null."""


@st.composite
def conditions(draw: st.DrawFn, events: Table, values: list[str]) -> Where:
    """A condition over a value: true, false or null."""
    column = draw(st.sampled_from(values[::-1]))
    sql_type = events.type_of(column)
    choices = list(OF_ANY)
    if sql_type in (*INTEGERS, *FLOATS) or sql_type.startswith("decimal"):
        choices += [*OF_NUMBERS] * 2
    elif sql_type == "varchar":
        choices += [*OF_TEXT] * 2
    elif sql_type == "boolean":
        choices += [*OF_BOOLEANS] * 2
    return condition(draw(st.sampled_from(choices)), column)


def condition(text: str, column: str) -> Where:
    """One of the conditions above, of a column."""
    return Where(text.replace("@", quote(column)), functools.partial(on_column, CONDITIONS[text], column))


def on_column(holds: Callable[[Any], bool | None], column: str, row: Record) -> bool | None:
    """A condition over a value, of a row."""
    return holds(row[column])


def greater(value: Any, limit: int) -> bool:
    """Whether a number is greater, as in SQL: NaN is greater than all others."""
    return value != value or value > limit


@st.composite
def window_cases(draw: st.DrawFn, plain_views: bool = True) -> WindowCase:
    """A whole case: one or two window views, now and then with a plain one beside."""
    world = draw(window_worlds())
    spine, spine_keys, event_timestamp = draw(spines(world))
    chosen = draw(st.lists(st.sampled_from(VIEW_NAMES), min_size=2, max_size=3, unique=True))
    made: list[Any] = [draw(window_views(world, name)) for name in chosen[1:]]
    declared = {view.name: declarations_ for view, _, _, declarations_ in made}
    made = [(view, events, met) for view, events, met, _ in made]
    if plain_views and draw(st.integers(0, 4)) == 0:
        made.append(draw(views(world, chosen[0])))
    requests = [
        replace(request, features=request.view.features) if draw(st.booleans()) else request
        for request in draw(requests_of(world, spine_keys, made))
    ]
    case = WindowCase(
        spine=spine,
        event_timestamp=event_timestamp,
        requests=tuple(requests),
        histories={view.name: history for view, history, _ in made},
        gap=draw(st.sampled_from((0, 0, 0, 1))) * world.step,
        full_feature_names=draw(st.booleans()),
        settings={
            "TimeZone": draw(st.sampled_from(("UTC", "America/New_York", "Asia/Tokyo", "America/New_York"))),
            # below the threshold DuckDB joins by a nested loop and its ASOF operator would never be tested
            "asof_loop_join_threshold": draw(st.sampled_from(("0", "64"))),
        },
        declarations=declared,
    )
    result = [column.name.casefold() for column in result_columns(case, provenance=True)]
    return case if len(set(result)) == len(result) else replace(case, full_feature_names=True)


# More rows ----------------------------------------------------------------------------------------------------


def enlarged(case: WindowCase, number: int, events: int, labels: int) -> WindowCase:
    """The case with many more events, most of them of the keys it has most, and more rows in the spine.

    Every column takes the values that the case has, so that ties, corrections and special values go on; times lie
    anywhere between, to the microsecond.
    """
    source = random.Random(number)
    histories = dict(case.histories)
    for view in case.window_views:
        histories[view.name] = with_more_events(source, view, histories[view.name], events)
    rows = list(case.spine.rows)
    if rows:
        column = case.event_timestamp
        instants = [nanoseconds(row[column]) for row in rows if row[column] is not None] or [0]
        for _ in range(labels):
            at = between(source, instants)
            rows.append({**source.choice(rows), column: stored(at, case.spine.type_of(column))})
    return replace(case, histories=histories, spine=replace(case.spine, rows=tuple(rows)))


def with_more_events(source: random.Random, view: WindowView, events: Table, count: int) -> Table:
    """A table of events with as many more, integers made smaller so that their sums stay in range."""
    bounds = {
        column: [nanoseconds(row[column]) for row in events.rows if row[column] is not None]
        for column in (view.event_timestamp, view.created_timestamp)
        if column is not None
    }
    if not events.rows or not all(bounds.values()):
        return events
    rows = [{name: smaller(value) for name, value in row.items()} for row in events.rows]
    base = list(rows)
    for number in range(count):
        row = {column.name: source.choice(base)[column.name] for column in events.columns}
        for column, instants in bounds.items():
            at = source.choice(instants) if source.random() < 0.3 else between(source, instants)
            row[column] = stored(at, events.type_of(column))
        if view.event_key and source.random() < 0.8:
            text = next(column for column in view.event_key if events.type_of(column) == "varchar")
            row[text] = f"event {number}"
        rows.append(row)
    return replace(events, rows=tuple(rows))


def smaller(value: Any) -> Any:
    """A large number cut to one of which many thousands can be added."""
    if isinstance(value, Decimal) and abs(value) > 10**20:
        return WIDE.multiply(value, Decimal("1e-4")).quantize(Decimal("0.01"), context=WIDE)
    return value >> 12 if type(value) is int and abs(value) > 2**52 else value


def between(source: random.Random, instants: Sequence[int]) -> int:
    """An instant between the first and the last, in nanoseconds, on a microsecond."""
    return source.randint(min(instants) // MICRO, max(instants) // MICRO) * MICRO
