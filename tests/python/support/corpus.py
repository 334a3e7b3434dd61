"""The corpus: cases that are worth keeping, with what the oracle says of them, as files in `tests/python/corpus/`.

There is one file a kind: `rule` (feature views), `windows` (window views in training sets), `history` (histories of
window views). An entry says which broken variants it is the first case to catch, holds the case as it was generated and
the results by the oracle, so that a change of the generator or of the oracle cannot change them unseen.
`scripts/corpus.py` writes the files.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from generate import Case, Column, Table, cases, comparable, expected_records, fetch, load, result_columns
from generate_windows import (
    CONDITIONS,
    Declaration,
    Near,
    Span,
    WindowCase,
    added_up,
    condition,
    instant,
    near,
    window_cases,
)
from generate_windows import expected_records as expected_window_records
from generate_windows import result_columns as window_result_columns
from hypothesis.strategies import SearchStrategy
from oracle import EPOCH, MICROSECOND, Nanoseconds, Record, Request, View, look_up, microseconds, spine_instant
from window_oracle import Aggregation, Where, WindowView, by_key, current_versions, history, snapshot

from support import rule_sql, window_sql
from support.runs import RUN, for_each
from support.window_sql import INSTANT, as_text, columns_of, unlike

CORPUS = Path(__file__).parents[1] / "corpus"
HOUR = timedelta(hours=1)
Json = Any
SNAPSHOTS = ("snapshot", "unnumbered snapshot", "export")
UNNUMBERED = ("unnumbered", "unnumbered snapshot")
"""Plans for a view that is not a stored table, so that its rows have no numbers of their own."""


# What a case is asked for -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sheet:
    """One result of a case: what it is called, its columns, and where it is not the training set, what is asked."""

    name: str
    columns: tuple[Column, ...]
    view: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    ordered: bool = False


def rule_sheets(case: Case) -> Iterator[Sheet]:
    """The training set; a snapshot of each view as of up to three times of the spine."""
    yield Sheet("training set", result_columns(case, provenance=True), ordered=True)
    times = [row[case.event_timestamp] for row in case.spine.rows]
    instants = sorted({spine_instant(t) - case.gap // MICROSECOND for t in times if t is not None})
    for view in case.views:
        for at in instants[:: max(1, len(instants) // 3)][:3]:
            names = (*view.keys, view.event_timestamp, *view.features)
            columns = tuple(c for c in case.histories[view.name].columns if c.name in names)
            yield Sheet(f"{view.name} as of {as_text(at)}", columns, view, {"as_of": as_text(at)})


def window_sheets(case: WindowCase) -> Iterator[Sheet]:
    """The training set; a snapshot of each window view as of up to two times of the spine."""
    yield Sheet("training set", window_result_columns(case, provenance=True), ordered=True)
    instants = sorted({instant(case, row) for row in case.spine.rows if row[case.event_timestamp] is not None})
    for view in case.window_views:
        event_time = Column(view.event_timestamp, case.histories[view.name].type_of(view.event_timestamp))
        for at in instants[:2]:
            columns = tuple(columns_of(case, view, event_time))
            yield Sheet(f"{view.name} as of {as_text(at)}", columns, view, {"as_of": as_text(at), "at": at})


def history_sheets(case: WindowCase) -> Iterator[Sheet]:
    """The history of each view at change points and on a grid of an hour, whole and two hours of it.

    Averages are left out: they are right within a tolerance, so that which rows repeat the one before is up to them.
    """
    for view in case.window_views:
        averages = {each.name for each in view.aggregations if each.function == "avg"}
        columns = tuple(column for column in columns_of(case, view, INSTANT) if column.name not in averages)
        for text, grid in ((None, None), ("1 hour", HOUR)):
            rows = history(view, case.histories[view.name].rows, grid)
            middle = sorted(at for _, at, _ in rows)[len(rows) // 2] if rows else 0
            for part in ({}, {"start": as_text(middle), "end": as_text(middle + microseconds(2 * HOUR))}):
                options = {"grid": text, **part}
                name = ", ".join([view.name, *(f"{key} {value}" for key, value in options.items() if value)])
                yield Sheet(name, columns, view, options)


def rule_wanted(case: Case, sheet: Sheet) -> list[Record]:
    """What the oracle says."""
    if sheet.view is None:
        return expected_records(case, True, True)
    view = replace(sheet.view, ttl=None)
    rows = case.histories[view.name].rows
    at = datetime.fromisoformat(sheet.options["as_of"].removesuffix("Z"))
    records = []
    for keys in {tuple(row[key] for key in view.keys): None for row in rows}:
        spine_row = {**dict(zip(view.keys, keys, strict=True)), "as of": at}
        answer = look_up(Request(view, view.features), spine_row, rows, "as of", timedelta(0))
        if answer.status.value in ("PRESENT", "NULL_VALUE"):
            record = {**spine_row, view.event_timestamp: answer.event_time, **answer.values}
            records.append({column.name: comparable(record[column.name]) for column in sheet.columns})
    return records


def window_wanted(case: WindowCase, sheet: Sheet) -> list[Record]:
    """What the oracle says."""
    if sheet.view is None:
        return expected_window_records(case, True, True)
    view, at = sheet.view, sheet.options["at"]
    rows = case.histories[view.name].rows
    versions = by_key(current_versions(view, rows))
    records = []
    for found in snapshot(view, rows, at):
        record = {name: comparable(value) for name, value in found.items()}
        of_key = versions[tuple(found[key] for key in view.keys)]
        record |= {name: near(view, name, found[name], of_key, at) for name in view.features}
        records.append({column.name: record[column.name] for column in sheet.columns})
    return records


def history_wanted(case: WindowCase, sheet: Sheet) -> list[Record]:
    """What the oracle says."""
    view, bounds = sheet.view, {key: sheet.options.get(key) for key in ("start", "end")}
    records = []
    for keys, at, values in history(view, case.histories[view.name].rows, HOUR if sheet.options["grid"] else None):
        text = as_text(at)
        if bounds["start"] is None or bounds["start"] <= text < bounds["end"]:
            record = {**dict(zip(view.keys, keys, strict=True)), INSTANT.name: EPOCH + at * MICROSECOND, **values}
            records.append({column.name: comparable(record[column.name]) for column in sheet.columns})
    return records


def rule_query(case: Case, sheet: Sheet, plan: str, connection: Any, macros: Mapping[str, Any] | None) -> str:
    """The SQL of a sheet."""
    materialized = "ephemeral" if plan in UNNUMBERED else "table"
    renderer = rule_sql.renderer_of(case, materialized, macros)
    if plan == "export":
        return rule_sql.exported(renderer, connection, sheet.view, **sheet.options)
    if sheet.view is not None:
        return str(renderer.call("latest_snapshot", view=sheet.view.name, **sheet.options))
    if plan in ("staged", "pruned"):
        return rule_sql.staged(case, renderer, connection, True, True, pruned=plan == "pruned")
    return rule_sql.whole(case, renderer, True, True, rule_sql.PORTABLE if plan == "portable" else None)


def window_query(case: WindowCase, sheet: Sheet, plan: str, connection: Any, macros: Mapping[str, Any] | None) -> str:
    """The SQL of a sheet."""
    renderer = window_sql.renderer_of(case, macros)
    if sheet.view is not None:
        return str(renderer.call("latest_snapshot", view=sheet.view.name, as_of=sheet.options["as_of"]))
    if plan == "pruned":
        return window_sql.pruned(case, renderer, connection)
    return window_sql.training_set_of(case, renderer, plan)


def history_query(case: WindowCase, sheet: Sheet, plan: str, connection: Any, macros: Mapping[str, Any] | None) -> str:
    """The SQL of a sheet."""
    renderer = window_sql.renderer_of(case, macros)
    return str(renderer.call("window_history", view=sheet.view.name, **sheet.options))


@dataclass(frozen=True)
class Kind:
    """A kind of cases: its plans, its results, what the oracle says of them, and their SQL by a plan."""

    plans: tuple[str, ...]
    sheets: Callable[[Any], Iterator[Sheet]]
    wanted: Callable[[Any, Sheet], list[Record]]
    query: Callable[..., str]


KINDS = {
    "rule": Kind(
        ("asof", "portable", "staged", "pruned", "unnumbered", *SNAPSHOTS), rule_sheets, rule_wanted, rule_query
    ),
    "windows": Kind(("range", "stacked", "pruned", "snapshot"), window_sheets, window_wanted, window_query),
    "history": Kind(("history",), history_sheets, history_wanted, history_query),
}


# Entries ------------------------------------------------------------------------------------------------------


@dataclass
class Entry:
    """A case of the corpus, the results by the oracle under the names of their sheets, and what it catches."""

    kind: str
    case: Any
    wanted: Mapping[str, Sequence[Record]]
    catches: list[str]


def entry_of(kind: str, case: Any) -> Entry:
    """An entry with the results of the oracle."""
    made = KINDS[kind]
    return Entry(kind, case, {sheet.name: made.wanted(case, sheet) for sheet in made.sheets(case)}, [])


def differences(
    entry: Entry, plan: str, connection: duckdb.DuckDBPyConnection, macros: Mapping[str, Any] | None = None
) -> list[str]:
    """Where a plan gives other than what is stored; the tables of the case must have been loaded."""
    kind, found = KINDS[entry.kind], []
    for sheet in kind.sheets(entry.case):
        if not asks(entry.kind, plan, sheet):
            continue
        query = kind.query(entry.case, sheet, plan, connection, macros)
        columns = [c for c in sheet.columns if plan != "export" or c.name != sheet.view.event_timestamp]
        rows: list[Record] = fetch(connection, query, columns)
        wanted = [{column.name: record[column.name] for column in columns} for record in entry.wanted[sheet.name]]
        if not sheet.ordered:
            rows, wanted = in_order(rows), in_order(wanted)
        found += [f"{sheet.name}, {each}" for each in unlike(rows, wanted)]
    return found


def asks(kind: str, plan: str, sheet: Sheet) -> bool:
    """Whether a plan is one for a result: those of snapshots for these, the others for the rest."""
    return kind == "history" or (plan in SNAPSHOTS) == (sheet.view is not None)


def in_order(rows: Sequence[Record]) -> list[Record]:
    """Rows in the order of what is exact in them, without the sign of zeros that sorting loses."""
    records = [{name: rule_sql.as_sorted(value) for name, value in row.items()} for row in rows]
    return sorted(records, key=lambda record: [repr(value) for value in record.values() if is_exact(value)])


def is_exact(value: Any) -> bool:
    """Whether a value must be met exactly; no float is sorted by, since it may be right within a tolerance."""
    return not isinstance(value, Near) and value[0] != "float"


def catches(entry: Entry, plan: str, connection: duckdb.DuckDBPyConnection, macros: Mapping[str, Any]) -> bool:
    """Whether these macros, in a plan, give other than what is stored."""
    load(connection, entry.case)
    return bool(differences(entry, plan, connection, macros))


def generated(kind: str, count: int) -> Iterator[Any]:
    """Yield cases of a kind, always the same: those that chance seldom finds first."""
    if kind == "rule":
        yield rule_sql.clock_change()
        yield from drawn(cases(doubled=True), count)
    else:
        drawn_cases = drawn(window_cases(plain_views=False), count)
        for case in itertools.chain([window_sql.three_magnitudes()], drawn_cases):
            yield case if kind == "windows" else added_up(case)


def drawn(strategy: SearchStrategy[Any], count: int) -> Iterator[Any]:
    """Yield cases of a strategy, always the same."""
    for number in range(count // RUN):
        yield from one_run(strategy, number)


def one_run(strategy: SearchStrategy[Any], number: int) -> list[Any]:
    """The cases of the run with that seed."""
    found: list[Any] = []

    def collect(case: Any) -> None:
        found.append(case)

    for_each(collect, RUN, first=number, case=strategy)
    return found


# Files --------------------------------------------------------------------------------------------------------


def read(kind: str) -> list[Entry]:
    """The entries of a kind as they are stored."""
    return [decoded(kind, entry) for entry in json.loads((CORPUS / f"{kind}.json").read_text())]


def write(kind: str, entries: Sequence[Entry]) -> None:
    """Store the entries of a kind."""
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{kind}.json").write_text(layout([encoded(entry) for entry in entries]) + "\n")


def keep(case: Case, reason: str, folder: Path) -> Path:
    """Write a case for which a test failed to a file, and return its path."""
    kind = "rule"
    if isinstance(case, WindowCase):
        kind = "history" if "window_history" in reason else "windows"
    text = layout({"kind": kind, "catches": [f"failed: {reason}"], "case": encoded_case(case)}) + "\n"
    path = folder / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def kept(path: Path) -> Entry:
    """An entry for the case of such a file."""
    stored = json.loads(path.read_text())
    entry = entry_of(stored["kind"], decoded_case(stored["case"]))
    return replace(entry, catches=stored["catches"])


def layout(value: Json, indent: int = 0) -> str:
    """JSON with everything on one line that fits there, for people who read differences."""
    text = json.dumps(value, ensure_ascii=False)
    parts = [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    row = not all(isinstance(part, (dict, list, str)) for part in parts)
    if len(text) + indent <= 118 or row or not parts:
        return text
    inner = " " * (indent + 1)
    if isinstance(value, dict):
        lines = [f"{json.dumps(key, ensure_ascii=False)}: {layout(part, indent + 1)}" for key, part in value.items()]
        return "{\n" + ",\n".join(inner + line for line in lines) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(inner + layout(part, indent + 1) for part in parts) + "\n" + " " * indent + "]"


def encoded(entry: Entry) -> Json:
    """An entry as JSON."""
    wanted = {}
    for sheet in KINDS[entry.kind].sheets(entry.case):
        rows = [[found(row[c.name], c.sql_type) for c in sheet.columns] for row in entry.wanted[sheet.name]]
        wanted[sheet.name] = {"columns": [c.name for c in sheet.columns], "rows": rows}
    return {"catches": entry.catches, "case": encoded_case(entry.case), "wanted": wanted}


def decoded(kind: str, entry: Json) -> Entry:
    """An entry of JSON."""
    case, wanted = decoded_case(entry["case"]), {}
    types = {sheet.name: {c.name: c.sql_type for c in sheet.columns} for sheet in KINDS[kind].sheets(case)}
    for name, sheet in entry["wanted"].items():
        wanted[name] = [
            {
                column: wanted_value(value, types[name][column])
                for column, value in zip(sheet["columns"], row, strict=True)
            }
            for row in sheet["rows"]
        ]
    return Entry(kind, case, wanted, entry["catches"])


def found(value: Any, sql_type: str) -> Json:
    """A comparable value, or one that is right within a tolerance, as JSON."""
    if isinstance(value, Near):
        return {"near": value.value, "within": value.tolerance}
    return as_json(plain(value), sql_type)


def wanted_value(value: Json, sql_type: str) -> Any:
    """The same of JSON."""
    return Near(value["near"], value["within"]) if isinstance(value, dict) else comparable(of_json(value, sql_type))


def plain(value: tuple[str, Any]) -> Any:
    """The value that `comparable` was given."""
    kind, inner = value
    if kind == "list":
        return [plain(each) for each in inner]
    if kind == "float":
        return float(inner)
    return inner.replace(tzinfo=timezone.utc) if kind == "datetime with zone" else inner


def as_json(value: Any, sql_type: str) -> Json:
    """A value of a column as JSON."""
    if isinstance(value, list):
        return [as_json(each, sql_type.removesuffix("[]")) for each in value]
    if isinstance(value, float):
        text = repr(value)
        return text if text in ("nan", "inf", "-inf", "-0.0") else value
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def of_json(value: Json, sql_type: str) -> Any:
    """A value of a column of JSON."""
    if value is None:
        return None
    if isinstance(value, list):
        return [of_json(each, sql_type.removesuffix("[]")) for each in value]
    if sql_type in ("double", "float"):
        return float(value)
    if sql_type.startswith("decimal"):
        return Decimal(value)
    if sql_type == "timestamp_ns":
        return Nanoseconds(value)
    if sql_type == "date":
        return date.fromisoformat(value)
    return datetime.fromisoformat(value) if sql_type.startswith("timestamp") else value


def encoded_case(case: Case) -> Json:
    """A case as JSON."""
    declarations = case.declarations if isinstance(case, WindowCase) else {}
    return {
        "spine": encoded_table(case.spine),
        "event_timestamp": case.event_timestamp,
        "gap": microseconds(case.gap),
        "full_feature_names": case.full_feature_names,
        "settings": dict(case.settings),
        "requests": [
            {"view": r.view.name, "as": r.alias, "join_keys": dict(r.join_keys), "features": list(r.features)}
            for r in case.requests
        ],
        "views": [encoded_view(each, case.histories[each.name], declarations.get(each.name)) for each in case.views],
    }


def decoded_case(value: Json) -> Case:
    """A case of JSON."""
    made = [decoded_view(each) for each in value["views"]]
    views = {view.name: view for view, _, _ in made}
    given: dict[str, Any] = {
        "spine": decoded_table(value["spine"]),
        "event_timestamp": value["event_timestamp"],
        "requests": tuple(
            Request(views[each["view"]], tuple(each["features"]), each["as"], each["join_keys"])
            for each in value["requests"]
        ),
        "histories": {view.name: table for view, table, _ in made},
        "gap": value["gap"] * MICROSECOND,
        "full_feature_names": value["full_feature_names"],
        "settings": value["settings"],
    }
    declarations = {view.name: declared for view, _, declared in made if declared}
    return WindowCase(**given, declarations=declarations) if declarations else Case(**given)


def encoded_table(table: Table) -> Json:
    """A table as JSON."""
    rows = [[as_json(row[column.name], column.sql_type) for column in table.columns] for row in table.rows]
    return {"name": table.name, "columns": {column.name: column.sql_type for column in table.columns}, "rows": rows}


def decoded_table(value: Json) -> Table:
    """A table of JSON."""
    columns = tuple(Column(*pair) for pair in value["columns"].items())
    rows = tuple(
        {column.name: of_json(each, column.sql_type) for column, each in zip(columns, row, strict=True)}
        for row in value["rows"]
    )
    return Table(value["name"], columns, rows)


SAME = ("name", "event_timestamp", "created_timestamp", "deleted")
LISTS = ("keys", "features", "columns", "event_key")


def encoded_view(view: Any, table: Table, declared: Sequence[Declaration] | None) -> Json:
    """A view and its history as JSON; what it does not declare is left out."""
    encoded_ = {name: getattr(view, name) for name in SAME}
    if isinstance(view, WindowView):
        encoded_ |= {"keys": view.keys, "columns": view.columns, "event_key": view.event_key, "closed": view.closed}
        encoded_["declarations"] = [encoded_declaration(each) for each in declared or ()]
    else:
        encoded_ |= {"keys": view.keys, "features": view.features, "inclusive": view.inclusive}
        encoded_["ttl"] = None if view.ttl is None else microseconds(view.ttl)
        encoded_["defaults"] = {name: as_json(value, table.type_of(name)) for name, value in view.defaults.items()}
    encoded_["lag"] = microseconds(view.lag) or None
    given = {name: list(value) if name in LISTS else value for name, value in encoded_.items()}
    return {name: value for name, value in given.items() if value not in (None, [], {})} | {
        "history": encoded_table(table)
    }


def decoded_view(value: Json) -> tuple[Any, Table, tuple[Declaration, ...]]:
    """A view of JSON, its history and its declarations."""
    table, declared = decoded_table(value["history"]), tuple(map(decoded_declaration, value.get("declarations", ())))
    given = {"event_timestamp": None} | {name: value[name] for name in SAME if name in value}
    given |= {name: tuple(value[name]) for name in LISTS if name in value}
    given.setdefault("keys", ())
    given["lag"] = value.get("lag", 0) * MICROSECOND
    if declared:
        features: tuple[Aggregation, ...] = tuple(feature for each in declared for feature in each.features())
        return WindowView(**given, closed=value["closed"], aggregations=features), table, declared
    defaults = {name: of_json(each, table.type_of(name)) for name, each in value.get("defaults", {}).items()}
    ttl = value["ttl"] * MICROSECOND if "ttl" in value else None
    return View(**given, ttl=ttl, inclusive=value["inclusive"], defaults=defaults), table, ()


def encoded_declaration(declared: Declaration) -> Json:
    """Aggregations as JSON, each window as its text, its short name and its length."""
    default, where = declared.default, declared.where
    value = {
        "name": declared.name,
        "function": declared.function,
        "column": declared.column,
        "windows": [
            [span.text, span.short, None if span.duration is None else microseconds(span.duration)]
            for span in declared.spans
        ],
        "listed": declared.listed,
        "where": None if where is None else encoded_condition(where),
        "n": declared.n,
        "default": {"decimal": str(default)} if isinstance(default, Decimal) else default,
    }
    return {name: each for name, each in value.items() if each is not None}


def decoded_declaration(value: Json) -> Declaration:
    """Aggregations of JSON."""
    default = value.get("default")
    return Declaration(
        name=value["name"],
        function=value["function"],
        column=value.get("column"),
        spans=tuple(
            Span(text, short, None if length is None else length * MICROSECOND)
            for text, short, length in value["windows"]
        ),
        listed=value["listed"],
        where=condition(*value["where"]) if "where" in value else None,
        n=value.get("n"),
        default=Decimal(default["decimal"]) if isinstance(default, dict) else default,
    )


def encoded_condition(where: Where) -> Json:
    """A condition as its text and its column."""
    column = where.holds.args[1]  # type: ignore[attr-defined]
    return next([text, column] for text in CONDITIONS if condition(text, column).sql == where.sql)
