"""Hypothesis strategies for whole cases: views, their histories, a spine, the requests and a gap.

Everything is drawn from tiny domains, so that ties, equality with T, ttl and lag edges, restated rows and
nearly equal keys happen all the time. `cases()` gives a `Case`; `load` makes DuckDB tables of it;
`expected_records` is what the oracle says, and `fetch` reads a query's result in the same form, so that a
test is one comparison.

The generator keeps out of what the rule leaves open: a null or zeros of two signs compared inside a list, names
that collide even in full, and one column of the spine for two keys of a view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import wraps
from pprint import pformat
from typing import Any, TypeVar

import duckdb
from hypothesis import strategies as st
from oracle import (
    EPOCH,
    Nanoseconds,
    Record,
    Request,
    Row,
    View,
    history_instant,
    microseconds,
    nanoseconds,
    training_set,
)

MICRO = 1_000
SECOND = 1_000_000_000
DAY = 86_400 * SECOND

TIME_TYPES = ("timestamp", "timestamptz", "date", "timestamp_ns", "timestamp_s", "timestamp_ms")
GRAIN = {"timestamp_s": SECOND, "timestamp_ms": 1_000_000, "date": DAY, "timestamp_ns": 1}
"""Nanoseconds a time type can tell apart; those not listed hold microseconds."""
INTEGER_BITS = {"bigint": 63, "integer": 31, "smallint": 15, "hugeint": 127}
OFFSETS = tuple(timezone(timedelta(minutes=minutes)) for minutes in (0, 540, -300, 345))

STARTS = (
    datetime(2026, 3, 15, tzinfo=timezone.utc),
    datetime(2013, 3, 8, 5, tzinfo=timezone.utc),  # New York midnight, two days before the day with 23 hours
    datetime(2013, 11, 1, 4, tzinfo=timezone.utc),  # ... and with 25
    EPOCH - timedelta(days=1),
    datetime(1677, 9, 22, tzinfo=timezone.utc),  # the first day of timestamp_ns
    datetime(2262, 4, 11, 18, tzinfo=timezone.utc),  # its last hours
)
NANOSECONDS_FROM, NANOSECONDS_TO = nanoseconds(date(1677, 9, 22)), 2**63 - 1_000
STEPS = tuple(timedelta(**{unit: 1}) for unit in ("days", "hours", "seconds", "milliseconds", "days"))
HAIRS = ((), (-MICRO, MICRO), (-1, 1, MICRO), (500, 501, MICRO))
"""What lies beside an instant, in nanoseconds."""

# fmt: off
NAMES = (
    "user_id", "value", "event_timestamp", "loaded_at", "available_at", "Origin", "MiXed", "select", "order",
    "from", "left", "e", "c", "k", "t", "rn", "row_number", "spine", "history", "User Id", "a b ", "it's",
    'say "hi"', "x.y", "a,b", "a:b", "f(x)=1", "100%", "1st", "dash-ed", "naïve", "départ 🛩", "\\n", "--",
    "__row",
)
# fmt: on
VIEW_NAMES = ("activity", "Weather", "order", "last_leg", "select")
ALIASES = ("dest", "Orig", "as", "role_4")

# fmt: off
ENTITIES: tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...] = (
    (("a",), ("b",)), (("007",), ("7",)), (("",), (" ",)), (("A",), ("a",)), (("é🛩",), ("O'Hare",)),
    ((1,), (2,)), ((0,), (-1,)), ((7,), (2**40,)),
    (("a|b", "c"), ("a", "b|c")), (("", "a"), ("a", "")), (("1", "11"), ("11", "1")), ((1, 2), (2, 1)),
    ((1, "1"), (2, "2")), (("007", 7, "a"), ("7", 7, "a")), (("a", 1, '"'), ("b", 2, "\\")),
)
# fmt: on
"""Keys of the spine, by two: near enough to be taken for each other by sloppy joins."""

VALUES: dict[str, tuple[Any, ...]] = {
    "bigint": (1, 2, -1, 2**53 + 1, 2**63 - 1),
    "double": (0.5, 1.5, -0.0, 0.0, math.nan, math.inf, -math.inf),
    "varchar": ("a", "b", "", "A", "007", "é", "🛩", "it's"),
    "boolean": (False, True),
    "decimal(12,2)": (Decimal("1.25"), Decimal("-1.25"), Decimal("10.00")),
    "double[]": ([0.5], [0.5, math.nan], [], [0.5, -1.0], [1.5, None], [2.5]),
    "date": (date(2026, 3, 15), date(1969, 12, 31)),
    "timestamp": (datetime(2026, 3, 15, 14, 30), datetime(1677, 9, 22, 0, 0, 0, 1)),
    "timestamptz": (
        datetime(2013, 3, 10, 7, tzinfo=timezone.utc),
        datetime(2013, 3, 10, 3, tzinfo=OFFSETS[2]),
    ),
}
DEFAULTS: dict[str, Any] = {
    "bigint": 0,
    "double": -1.5,
    "varchar": 'it\'s "none" 🛩',
    "boolean": False,
    "decimal(12,2)": Decimal("9.99"),
}


@dataclass(frozen=True)
class Column:
    """A column of a table and its SQL type."""

    name: str
    sql_type: str


@dataclass(frozen=True)
class Table:
    """A table: exact types, rows in the order in which they are stored."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Record, ...]

    def type_of(self, column: str) -> str:
        """The SQL type of a column."""
        return next(each.sql_type for each in self.columns if each.name == column)


@dataclass(frozen=True, repr=False)
class Case:
    """All of one training set. The history of a view is `histories[view.name]`, a table of that name."""

    spine: Table
    event_timestamp: str
    requests: tuple[Request, ...]
    histories: Mapping[str, Table]
    gap: timedelta
    full_feature_names: bool
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def views(self) -> tuple[View, ...]:
        """Each requested view once."""
        return tuple({request.view.name: request.view for request in self.requests}.values())

    def __repr__(self) -> str:
        return describe(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(f"\n{describe(self)}\n")  # what Hypothesis prints of a failing case


# What a case means ------------------------------------------------------------------------------------------


def expected(case: Case, defaults: bool = True) -> list[Row]:
    """The training set of a case by the oracle."""
    histories = {name: table.rows for name, table in case.histories.items()}
    return training_set(case.spine.rows, case.requests, histories, case.event_timestamp, case.gap, defaults)


def result_name(case: Case, request: Request, feature: str) -> str:
    """The name of a feature in the result: in full for a role always, for others where asked for."""
    full = case.full_feature_names or request.alias is not None
    return f"{request.name}__{feature}" if full else feature


def result_columns(case: Case, provenance: bool = False) -> tuple[Column, ...]:
    """Names and types of the result: the spine, the features as requested, two of provenance a request."""
    columns = list(case.spine.columns)
    for request in case.requests:
        table = case.histories[request.view.name]
        columns += [Column(result_name(case, request, each), table.type_of(each)) for each in request.features]
    for request in case.requests if provenance else ():
        kind = event_time_type(request.view, case.histories[request.view.name])
        columns.append(Column(f"{request.name}__event_timestamp", kind))
        columns.append(Column(f"{request.name}__status", "varchar"))
    return tuple(columns)


def event_time_type(view: Any, history: Table) -> str:
    """The type of a view's event times in results: its own, and some type of the nulls of a static view."""
    return "timestamptz" if view.event_timestamp is None else history.type_of(view.event_timestamp)


def expected_records(case: Case, defaults: bool = True, provenance: bool = False) -> list[dict[str, Any]]:
    """The oracle's rows, flat, under the names of `result_columns`, as comparable values."""
    records = []
    for row in expected(case, defaults):
        record = dict(row.spine)
        for request in case.requests:
            answer = row.answers[request.name]
            record.update({result_name(case, request, name): value for name, value in answer.values.items()})
            if provenance:
                record[f"{request.name}__event_timestamp"] = answer.event_time
                record[f"{request.name}__status"] = answer.status.value
        records.append({name: comparable(value) for name, value in record.items()})
    return records


def comparable(value: Any) -> Any:
    """A value that is equal where the bits are: NaN equals itself, -0.0 is not 0.0, zones do not count."""
    if isinstance(value, list):
        return ("list", tuple(comparable(element) for element in value))
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else repr(value))
    if isinstance(value, datetime) and value.tzinfo is not None:
        return ("datetime with zone", value.astimezone(timezone.utc).replace(tzinfo=None))
    if isinstance(value, int) and not isinstance(value, bool):
        return ("int", int(value))
    return (type(value).__name__, value)


def without_unknown(case: Case, at: int) -> Case:
    """The case without the history that is not yet known at `at`.

    `at` is in microseconds, with the gap already taken off.
    """
    histories = {}
    for view in case.views:
        table = case.histories[view.name]
        rows = tuple(row for row in table.rows if is_known(view, row, at))
        histories[view.name] = replace(table, rows=rows)
    return replace(case, histories=histories)


def is_known(view: View, row: Record, at: int) -> bool:
    """Whether a history row is known at a microsecond; written apart from the oracle on purpose."""
    times = [(view.event_timestamp, microseconds(view.lag)), (view.created_timestamp, 0)]
    for column, delay in times:
        if column is None:
            continue
        if row[column] is None:
            return False
        instant = history_instant(row[column]) + delay
        if instant > at or (instant == at and not view.inclusive):
            return False
    return True


def describe(case: Case) -> str:
    """A case as text: every option and every row."""
    settings = ", ".join(f"{key}={value}" for key, value in case.settings.items())
    lines = [f"gap {case.gap}, full_feature_names {case.full_feature_names}, {settings}"]
    for request in case.requests:
        keys = ", ".join(f"{key} = {column}" for key, column in request.join_keys.items())
        lines.append(f"request {request.name!r} of {request.view.name!r} on {keys}: {list(request.features)}")
    for view in case.views:
        lines += ["", pformat(view, width=118), describe_table(case.histories[view.name])]
    lines += ["", f"spine, event_timestamp {case.event_timestamp!r}", describe_table(case.spine)]
    return "\n".join(lines)


def describe_table(table: Table) -> str:
    """A table as text: a line for the columns, one a row."""
    head = ", ".join(f"{column.name!r} {column.sql_type}" for column in table.columns)
    rows = [f"  {tuple(row[column.name] for column in table.columns)!r}" for row in table.rows]
    return "\n".join([f"table {table.name!r} ({head}), {len(rows)} rows", *rows])


# DuckDB -----------------------------------------------------------------------------------------------------


Made = TypeVar("Made")


def same_again(make: Callable[..., Made]) -> Callable[..., Made]:
    """Gives what it made last once more if it is asked for the same objects: the plans of a case share a renderer."""
    last: tuple[tuple[Any, ...], Made] | None = None

    @wraps(make)
    def made(*given: Any, **named: Any) -> Made:
        nonlocal last
        asked = (*given, *named, *named.values())
        if last is None or len(last[0]) != len(asked) or any(a is not b for a, b in zip(last[0], asked, strict=True)):
            last = asked, make(*given, **named)
        return last[1]

    return made


def quote(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def load(connection: duckdb.DuckDBPyConnection, case: Case, filler: int = 0) -> None:
    """Make the tables of a case, replacing those of the same names, and set its settings.

    `filler` rows of a key that no spine has, or of no time, follow in every history. They change no result; more than
    2,048 take a plan over the edge of a DuckDB vector.
    """
    for key, value in case.settings.items():
        connection.execute(f"set {key} = '{value}'")
    for table in (case.spine, *case.histories.values()):
        columns = [f"{unnested(column.sql_type)} as {quote(column.name)}" for column in table.columns]
        values = [[bound(row[column.name]) for row in table.rows] for column in table.columns]
        query = f"create or replace table {quote(table.name)} as select {', '.join(columns)}"
        connection.execute(query, values)
    for view in case.views if filler else ():
        fill(connection, view, case.histories[view.name], filler)


def fill(connection: duckdb.DuckDBPyConnection, view: View, history: Table, count: int) -> None:
    """Append rows of one strange key to a history, in order of time, their features null; without keys, of no time.

    The history of a view with neither keys nor a time is left alone: it has one row.
    """
    values = {key: "'~~~'" if history.type_of(key) == "varchar" else "32000" for key in view.keys}
    for column in (view.event_timestamp, view.created_timestamp):
        if column is not None:
            values[column] = (
                f"(timestamp '2000-01-01' + to_seconds(range))::{history.type_of(column)}" if view.keys else "null"
            )
    if not values:
        return
    names_ = ", ".join(map(quote, values))
    rows = f"select {', '.join(values.values())} from range({count})"
    connection.execute(f"insert into {quote(view.name)} ({names_}) {rows}")


def unnested(sql_type: str) -> str:
    """The SQL that makes a column of a bound list, of exactly this type."""
    if sql_type.startswith("double"):
        return f"unnest(?::{sql_type.replace('double', 'varchar')}[]::{sql_type}[])"
    return "make_timestamp_ns(unnest(?::bigint[]))" if sql_type == "timestamp_ns" else f"unnest(?::{sql_type}[])"


def bound(value: Any) -> Any:
    """A value as DuckDB takes it; floats as text, since some versions make a bound NaN a null."""
    if isinstance(value, list):
        return [bound(element) for element in value]
    if isinstance(value, float):
        return repr(value)
    return int(value) if isinstance(value, Nanoseconds) else value


def fetch(connection: duckdb.DuckDBPyConnection, query: str, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The rows of a query as comparable values, read by name; `columns` may be any of the result."""
    reads = [f"epoch_ns({quote(c.name)})" if c.sql_type == "timestamp_ns" else quote(c.name) for c in columns]
    rows = connection.execute(f"select {', '.join(reads)} from ({query})").fetchall()
    return [{c.name: comparable(value) for c, value in zip(columns, row, strict=True)} for row in rows]


# Strategies -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """What the tables of a case share. Instants are in nanoseconds; an entity has one value a key."""

    step: timedelta
    history_instants: tuple[int, ...]
    created_instants: tuple[int, ...]
    spine_instants: tuple[int, ...]
    time_type: str
    kinds: tuple[str, ...]
    entities: tuple[tuple[Any, ...], ...]
    plain: bool


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """The frame of a case: a start and a few steps, something a hair beside them, and four entities."""
    start = nanoseconds(draw(st.sampled_from(STARTS[:2] * 2 + STARTS)))
    step = draw(st.sampled_from(STEPS))
    regular = [start + index * microseconds(step) * MICRO for index in range(6)]
    hairs = draw(st.sampled_from(HAIRS))
    beside = [regular[index] + hair for index in (2, 3) for hair in hairs]
    fine = "timestamp_ns" if any(hair % MICRO for hair in hairs) else "timestamp"
    one, two = draw(st.sampled_from(ENTITIES))
    crossed = [
        tuple(pair[(index + first) % 2] for index, pair in enumerate(zip(one, two, strict=True))) for first in (0, 1)
    ]
    return World(
        step=step,
        history_instants=(*regular[:4], *beside),
        created_instants=(*regular[1:5], *beside),
        spine_instants=(*regular[2:], *regular[3:], *beside),
        time_type=draw(st.sampled_from((*TIME_TYPES, fine, fine, fine, fine))),
        kinds=tuple("text" if isinstance(key, str) else "integer" for key in one),
        entities=(one, two, *crossed),
        plain=draw(st.booleans()),
    )


@st.composite
def spines(draw: st.DrawFn, world: World) -> tuple[Table, tuple[str, ...], str]:
    """A spine with labels and duplicate rows, the names of its keys and of its time column."""
    label_types = draw(st.lists(st.sampled_from(tuple(VALUES)), max_size=2))
    event_timestamp, *rest = names(draw, 1 + len(world.kinds) + len(label_types), world.plain, "s")
    keys, labels = rest[: len(world.kinds)], rest[len(world.kinds) :]
    columns = {key: key_type(draw, kind) for key, kind in zip(keys, world.kinds, strict=True)}
    columns[event_timestamp] = time_type(draw, world)
    columns.update(zip(labels, label_types, strict=True))
    values = {event_timestamp: times(draw, world.spine_instants, columns[event_timestamp])}
    values.update({label: values_of(columns[label]) for label in labels})
    rows = rows_of(draw, world.entities, {key: columns[key] for key in keys}, values, most=6)
    if rows:
        rows += [rows[index] for index in draw(st.lists(st.integers(0, len(rows) - 1), max_size=2))]
    return table(draw, "spine", columns, rows), tuple(keys), event_timestamp


@st.composite
def keys_met(draw: st.DrawFn, count: int, most: int) -> list[int]:
    """The numbers of the spine's keys that a view has; now and then none, so that it holds for every row."""
    if draw(st.integers(0, 5)) == 5:
        return []
    return draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=most, unique=True))


@st.composite
def views(draw: st.DrawFn, world: World, name: str, doubled: bool = False) -> tuple[View, Table, tuple[int, ...]]:
    """A view, its history, and which keys of the spine its own keys meet, by number.

    Now and then it is static; with `doubled` a key of it may have several rows, which commands refuse.
    """
    static = draw(st.integers(0, 5)) == 5
    count = len(world.kinds)
    met = draw(keys_met(count, count))
    feature_types = draw(st.lists(st.sampled_from(tuple(VALUES)), min_size=1, max_size=3))
    created, deleted, extra = (draw(st.booleans()) for _ in range(3))
    created, deleted = created and not static, deleted and not static
    event_name, created_name, deleted_name, extra_name, *rest = names(
        draw, len(met) + len(feature_types) + 4, world.plain, name[0]
    )
    if "event_timestamp" in rest:  # as a feature its full name would be that of the provenance
        rest[rest.index("event_timestamp")], event_name = event_name, "event_timestamp"
    keys, features = rest[: len(met)], rest[len(met) :]

    columns = {key: key_type(draw, world.kinds[index]) for key, index in zip(keys, met, strict=True)}
    values: dict[str, st.SearchStrategy[Any]] = {}
    if not static:
        columns[event_name] = time_type(draw, world)
        values[event_name] = times(draw, world.history_instants, columns[event_name])
    if created:
        columns[created_name] = time_type(draw, world)
        values[created_name] = times(draw, world.created_instants, columns[created_name])
    if deleted:
        columns[deleted_name] = "boolean"
        values[deleted_name] = st.sampled_from((False, False, False, None, True))
    if extra:
        columns[extra_name] = "varchar"
        values[extra_name] = values_of("varchar")
    columns.update(zip(features, feature_types, strict=True))
    values.update({feature: values_of(columns[feature]) for feature in features})

    view = View(
        name=name,
        keys=tuple(keys),
        event_timestamp=None if static else event_name,
        features=tuple(features),
        created_timestamp=created_name if created else None,
        lag=0 * world.step if static else draw(st.sampled_from((0, 0, 0, 1, 2))) * world.step,
        ttl=None if static else draw(st.sampled_from((None, None, world.step, 2 * world.step, 3 * world.step))),
        inclusive=static or draw(st.sampled_from((True, True, False))),
        deleted=deleted_name if deleted else None,
        defaults={
            each: DEFAULTS[columns[each]] for each in features if columns[each] in DEFAULTS and draw(st.booleans())
        },
    )
    entities = [tuple(entity[index] for index in met) for entity in world.entities]
    rows = rows_of(draw, entities, {key: columns[key] for key in keys}, values, most=8)
    rows = draw(disturbed(view, columns, rows))
    if static and not (doubled and draw(st.booleans())):
        rows = single(view, rows)
    made = table(draw, name, columns, rows)
    order = [column.name for column in made.columns if column.name in features]
    return replace(view, features=tuple(order)), made, tuple(met)


def single(view: View, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first row of each key; of keys with a null, which meet nothing, all."""
    seen: set[tuple[Any, ...]] = set()
    found = []
    for row in rows:
        keys = tuple(row[key] for key in view.keys)
        if None in keys or keys not in seen:
            found.append(row)
        seen.add(keys)
    return found


@st.composite
def disturbed(
    draw: st.DrawFn, view: View, columns: Mapping[str, str], rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A history with some rows doubled, tied or restated, prompt or late, sorted as stored or not."""
    if not rows:
        return rows
    rows = list(rows)
    number = st.integers(0, len(rows) - 1)
    same = {*view.keys, view.event_timestamp}
    kept: dict[str, set[Any]] = {
        "double": set(columns),
        "tie": same | {view.created_timestamp},
        "restate": same,
        "move": {*columns} - {view.event_timestamp},
    }
    for kind, one, other in draw(st.lists(st.tuples(st.sampled_from(tuple(kept)), number, number), max_size=4)):
        rows.append({name: rows[one if name in kept[kind] else other][name] for name in columns})
    if view.created_timestamp is not None:
        delay = draw(st.sampled_from((None, None, timedelta(0), view.lag)))
        if delay is not None:
            rows = [prompt(view, columns, row, delay) for row in rows]
    if draw(st.booleans()):
        rows.sort(key=lambda row: storage_order(view, row))
    return rows


def prompt(view: View, columns: Mapping[str, str], row: dict[str, Any], delay: timedelta) -> dict[str, Any]:
    """The row, created at its event time or a delay after it: nothing is late."""
    if row[view.event_timestamp] is None or view.created_timestamp is None:
        return row
    created = nanoseconds(row[view.event_timestamp]) + microseconds(delay) * MICRO
    return {**row, view.created_timestamp: stored(created, columns[view.created_timestamp])}


def storage_order(view: View, row: Record) -> list[tuple[Any, ...]]:
    """The order in which the product stores history: keys, event time, created time, nulls last."""
    ordered: list[tuple[Any, ...]] = [(row[key] is None, "" if row[key] is None else row[key]) for key in view.keys]
    for column in (view.event_timestamp, view.created_timestamp):
        if column is not None:
            value = row[column]
            ordered.append((True, 0) if value is None else (False, nanoseconds(value)))
    return ordered


@st.composite
def requests_of(
    draw: st.DrawFn,
    world: World,
    spine_keys: Sequence[str],
    made: Sequence[tuple[View, Table, tuple[int, ...]]],
) -> tuple[Request, ...]:
    """One or two requests for each view; the second and some of the first in a role, maybe by other keys."""
    requests: list[Request] = []
    for view, _, met in made:
        for number in range(draw(st.sampled_from((1, 1, 2)))):
            some = draw(st.lists(st.sampled_from(view.features), min_size=1, max_size=3, unique=True))
            role = number > 0 or draw(st.sampled_from((False, False, True)))
            columns = other_keys(draw, world.kinds, met) if role and draw(st.booleans()) else met
            alias = (*ALIASES, "five", "six")[len(requests)] if role else None
            join_keys = {key: spine_keys[index] for key, index in zip(view.keys, columns, strict=True)}
            requests.append(Request(view, tuple(some), alias, join_keys))
    return tuple(requests)


def other_keys(draw: st.DrawFn, kinds: Sequence[str], met: Sequence[int]) -> tuple[int, ...]:
    """Keys of the spine of the same kinds as those given, each at most once."""
    free = draw(st.permutations(range(len(kinds))))
    chosen = []
    for wanted in met:
        index = next(index for index in free if kinds[index] == kinds[wanted])
        free.remove(index)
        chosen.append(index)
    return tuple(chosen)


@st.composite
def cases(draw: st.DrawFn, doubled: bool = False) -> Case:
    """A whole case: one to three views; see `views` for `doubled`."""
    world = draw(worlds())
    spine, spine_keys, event_timestamp = draw(spines(world))
    chosen = draw(st.lists(st.sampled_from(VIEW_NAMES), min_size=1, max_size=3, unique=True))
    made = [draw(views(world, name, doubled)) for name in chosen]
    case = Case(
        spine=spine,
        event_timestamp=event_timestamp,
        requests=draw(requests_of(world, spine_keys, made)),
        histories={view.name: history for view, history, _ in made},
        gap=draw(st.sampled_from((0, 0, 0, 1))) * world.step,
        full_feature_names=draw(st.booleans()),
        settings={
            "TimeZone": draw(st.sampled_from(("UTC", "America/New_York", "Asia/Tokyo", "America/New_York"))),
            # below the threshold DuckDB joins by a nested loop and its ASOF operator would never be tested
            "asof_loop_join_threshold": draw(st.sampled_from(("0", "64"))),
        },
    )
    result = [column.name.casefold() for column in result_columns(case, provenance=True)]
    return case if len(set(result)) == len(result) else replace(case, full_feature_names=True)


# Columns and rows -------------------------------------------------------------------------------------------


def names(draw: st.DrawFn, count: int, plain: bool, prefix: str) -> list[str]:
    """Distinct column names: dull ones, or some of the nasty."""
    if plain:
        return [f"{prefix}{index}" for index in range(count)]
    return draw(st.lists(st.sampled_from(NAMES), min_size=count, max_size=count, unique_by=str.casefold))


def time_type(draw: st.DrawFn, world: World) -> str:
    """The usual time type of the case, or any other."""
    return draw(st.sampled_from((world.time_type,) * len(TIME_TYPES) + TIME_TYPES))


def key_type(draw: st.DrawFn, kind: str) -> str:
    """Text, or an integer of any width: widths must not matter."""
    return "varchar" if kind == "text" else draw(st.sampled_from(tuple(INTEGER_BITS)))


def times(draw: st.DrawFn, instants: Sequence[int], sql_type: str) -> st.SearchStrategy[Any]:
    """Values of a time column, with a seldom null."""
    zone = draw(st.sampled_from(OFFSETS)) if sql_type == "timestamptz" else timezone.utc
    values = [stored(instant, sql_type, zone) for instant in instants]
    return st.sampled_from([*values, None])


def values_of(sql_type: str) -> st.SearchStrategy[Any]:
    """Values of a feature or a label; nulls are common."""
    return st.sampled_from([*VALUES[sql_type], None])


def rows_of(
    draw: st.DrawFn,
    entities: Sequence[tuple[Any, ...]],
    keys: Mapping[str, str],
    values: Mapping[str, st.SearchStrategy[Any]],
    most: int,
) -> list[dict[str, Any]]:
    """Rows with the keys of few entities, mostly the first two, seldom with a null; now and then none."""
    whole = [
        tuple(fitting(each, sql_type) for each, sql_type in zip(entity, keys.values(), strict=True))
        for entity in entities
    ]
    holed = [tuple(None if index == hole else each for index, each in enumerate(whole[0])) for hole in range(len(keys))]
    entity = st.sampled_from(whole[:2] * 4 + whole[2:] + holed)
    row = st.tuples(entity, st.fixed_dictionaries(dict(values)))
    drawn = draw(st.lists(row, min_size=draw(st.sampled_from((3, 4, 2, 1, 0))), max_size=most))
    return [{**dict(zip(keys, entity_keys, strict=True)), **rest} for entity_keys, rest in drawn]


def fitting(key: Any, sql_type: str) -> Any:
    """The key, or a smaller one where its type cannot hold it."""
    bits = INTEGER_BITS.get(sql_type)
    return key if bits is None or abs(key) < 2**bits else 3


def table(draw: st.DrawFn, name: str, columns: Mapping[str, str], rows: Sequence[Record]) -> Table:
    """A table of these rows, its columns in any order."""
    ordered = draw(st.permutations(list(columns.items())))
    return Table(name, tuple(Column(*pair) for pair in ordered), tuple(rows))


def stored(instant: int, sql_type: str, zone: timezone = timezone.utc) -> Any:
    """An instant in nanoseconds as a value of a time type, cut to what the type holds."""
    if sql_type == "timestamp_ns":
        return Nanoseconds(min(max(instant, NANOSECONDS_FROM), NANOSECONDS_TO))
    grain = GRAIN.get(sql_type, MICRO)
    moment = EPOCH + timedelta(microseconds=instant // grain * grain // MICRO)
    if sql_type == "date":
        return moment.date()
    return moment.astimezone(zone) if sql_type == "timestamptz" else moment.replace(tzinfo=None)
