"""The online store serves what the offline rule says: generated cases, exported and read, against the oracles.

What is exported is the SQL of the macros by the code of `export`; what must be served is said by `oracle.py` and
`window_oracle.py` alone, in which there is no SQL.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import duckdb
import numpy as np
import pytest
from generate import Case, cases, quote, result_name, storage_order
from generate_windows import WindowCase, agrees, window_cases
from hypothesis import strategies as st
from online_cases import (
    LEAST,
    Exporter,
    Oracle,
    at,
    contents_of,
    dump,
    entity_rows,
    instants,
    loaded,
    plain,
    project_of,
    reading_times,
    requests_of,
)
from support.rule_sql import as_sorted, macro_nodes
from support.runs import for_each, number_of
from window_oracle import WindowView

from pit_join.errors import EntityError, PitJoinError, RequestError
from pit_join.export.snapshot import Snapshot
from pit_join.online.protocol import Changes
from pit_join.project.rendering import Renderer
from pit_join.records.layout import HEADER, Field, Layout, checksum, view_number
from pit_join.records.store_manifest import Contents
from pit_join.records.stored_view import StoredView
from pit_join.references import Request
from pit_join.serving.features import OnlineFeatures
from pit_join.serving.reader import OnlineReader

pytestmark = pytest.mark.slow

PLAIN_EXAMPLES = number_of(12, 300, "ONLINE_EXAMPLES")
WINDOW_EXAMPLES = number_of(5, 60, "ONLINE_WINDOW_EXAMPLES")
SEQUENCES = number_of(6, 20, "ONLINE_SEQUENCES")
NUMBERS = ("int", "uint", "float", "double", "bool", "decimal")

PICK = st.integers(0, 999)
RARELY = st.sampled_from((False, False, False, True))
PICKS = st.one_of(st.tuples(PICK), st.tuples(PICK), st.tuples(PICK), st.tuples(PICK, PICK))


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        duckdb.connect(config={"threads": 1}) as connection,  # faster with so few rows
    ):
        yield Exporter(connection, tmp_path_factory.mktemp("online"), monkeypatch)


# What is served -----------------------------------------------------------------------------------------------


class Seen:
    """What has come up, so that a test cannot pass by never meeting what it is about."""

    def __init__(self) -> None:
        self.statuses: set[tuple[str, bool]] = set()

    def served(self, windowed: bool, statuses: Mapping[str, Sequence[str]]) -> None:
        self.statuses |= {(status, windowed) for each in statuses.values() for status in each}


def check_reads(case: Case, store: Any, instant: int, seen: Seen) -> None:
    """Values, statuses, event times and names of all rows, at the instant and later, by every way to ask for them."""
    rows = entity_rows(case)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    oracle, requests = Oracle(case, instant), requests_of(case)
    wanted_names = [result_name(case, request, name) for request in case.requests for name in request.features]
    for defaults in (True, False):
        reader = OnlineReader(store, requests, full_feature_names=case.full_feature_names, defaults=defaults)
        assert list(reader.names) == wanted_names
        for now in reading_times(case, instant)[: 8 if defaults else 2]:
            found = reader.get_online_features(rows, now=at(now))
            check_answers(case, oracle, rows, found, now, defaults)
            for request in case.requests:
                names = {result_name(case, request, name) for name in request.features}
                windowed = isinstance(request.view, WindowView)
                seen.served(windowed, {name: each for name, each in found.statuses.items() if name in names})
            check_other_forms(reader, found, rows, columns, now)
        check_numbers(case, store, reader, rows, instant, defaults)
    check_turns(case, store, rows, instant)


def check_answers(
    case: Case, oracle: Oracle, rows: Sequence[Mapping[str, Any]], found: OnlineFeatures, now: int, defaults: bool
) -> None:
    values, statuses, times = found.to_dict(), found.statuses, found.event_timestamps
    wrong = []
    for number, row in enumerate(rows):
        for name, (value, status, event_time) in oracle.by_name(row, now, defaults).items():
            given = plain(values[name][number])
            if not agrees(as_sorted(given), value if not isinstance(value, tuple) else as_sorted(value)):
                wrong.append(f"{dict(row)}, {name!r} at {at(now)}: {given} instead of {value}")
            if (statuses[name][number], times[name][number]) != (status, event_time):
                one, other = (statuses[name][number], times[name][number]), (status, event_time)
                wrong.append(f"{dict(row)}, {name!r} at {at(now)}: {one} instead of {other}")
    assert not wrong[:5]


def check_other_forms(
    reader: OnlineReader,
    found: OnlineFeatures,
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Sequence[Any]],
    now: int,
) -> None:
    """One mapping of lists, and one row at a time, give the same."""
    listed = reader.get_online_features(columns, now=at(now))
    assert same(listed.to_dict(True), found.to_dict(True))
    assert listed.statuses == found.statuses
    values = found.to_dict()
    for number, row in enumerate(rows):
        vector = reader.get(row, now=at(now))
        assert list(vector) == list(found.names)
        assert same(vector, {name: values[name][number] for name in found.names})
        assert vector.statuses == {name: found.statuses[name][number] for name in found.names}
        assert vector.event_timestamps == {name: found.event_timestamps[name][number] for name in found.names}
        assert vector.failures == {}


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return list(one) == list(other) and all(plain(one[name]) == plain(other[name]) for name in one)


def check_numbers(
    case: Case, store: Any, reader: OnlineReader, rows: Sequence[Mapping[str, Any]], instant: int, defaults: bool
) -> None:
    """The matrix is the values as float32, NaN for None; what is no number is refused, whether it is there or not."""
    views = contents_of(store).views
    requests = []
    for request in requests_of(case):
        types = {field.name: field.type for field in views[request.view].layout.fields}
        numeric = tuple(name for name in request.features if types[name].startswith(NUMBERS))
        if len(numeric) < len(request.features):
            for asked in (rows, rows[-1:]):
                with pytest.raises(EntityError, match="which is not a number"):
                    reader.get_online_features(asked, now=at(instant)).to_numpy()
        if numeric:
            requests.append(replace(request, features=numeric))
    if not requests:
        return
    numbers = OnlineReader(store, requests, full_feature_names=case.full_feature_names, defaults=defaults)
    for now in reading_times(case, instant)[:4]:
        # A row asked for twice, and only one: neither is laid out like many different ones.
        for asked in ([*rows, *rows[:2]], rows[:1]):
            found = numbers.get_online_features(asked, now=at(now))
            values = found.to_dict()
            with np.errstate(over="ignore"):  # 1e300 is infinite
                wanted = np.array(
                    [[math.nan if value is None else float(value) for value in values[name]] for name in found.names]
                ).astype("float32")
            matrix = found.to_numpy()
            assert matrix.dtype == np.float32
            np.testing.assert_array_equal(matrix, wanted.T)


def check_turns(case: Case, store: Any, rows: Sequence[Mapping[str, Any]], instant: int) -> None:
    """Features asked for one view after the other by turns: each still has its own value."""
    requests = requests_of(case)
    turns = [
        replace(request, features=request.features[turn : turn + 1])
        for turn in range(max(len(request.features) for request in requests))
        for request in requests
        if turn < len(request.features)
    ]
    by_view, by_turn = (
        OnlineReader(store, asked, full_feature_names=case.full_feature_names) for asked in (requests, turns)
    )
    names = {(role, feature): name for (role, feature), name in zip(pairs(requests), by_view.names, strict=True)}
    assert [names[pair] for pair in pairs(turns)] == list(by_turn.names)
    for row in rows:
        wanted = by_view.get(row, now=at(instant))
        found = by_turn.get(row, now=at(instant))
        assert same(found, {name: wanted[name] for name in by_turn.names})
    one, other = (reader.get_online_features(rows, now=at(instant)) for reader in (by_view, by_turn))
    assert same(one.to_dict(), {name: other.to_dict()[name] for name in one.to_dict()})
    try:
        matrix = one.to_numpy("float64")
    except EntityError:
        return
    columns = [by_view.names.index(name) for name in by_turn.names]
    np.testing.assert_array_equal(other.to_numpy("float64"), matrix[:, columns])


def pairs(requests: Sequence[Request]) -> list[tuple[str, str]]:
    return [(request.alias, feature) for request in requests for feature in request.features]


WAYS: set[tuple[str, bool]] = set()
STATUSES = {"PRESENT", "NULL_VALUE", "NOT_FOUND", "NULL_KEY"}


def test_plain_views(exporter: Exporter) -> None:
    """One store, exported as of one instant or of two in any order."""

    def check(case: Case, picks: tuple[int, ...], sql_views: bool, tidy: bool) -> None:
        check_case(exporter, tidied(case) if tidy else case, picks, sql_views, seen)

    def came_up() -> tuple[set[str], set[tuple[str, bool]]]:
        return {status for status, windowed in seen.statuses if not windowed}, WAYS

    WAYS.clear()
    seen = Seen()
    # Every status and both ways to take a snapshot.
    wanted = {*STATUSES, "OUTSIDE_MAX_AGE"}, set(itertools.product(("in one pass", "in general"), (False, True)))
    for_each(
        check,
        PLAIN_EXAMPLES,
        until=lambda: came_up() == wanted,
        case=cases(),
        picks=PICKS,
        sql_views=RARELY,
        tidy=st.booleans(),
    )


def tidied(case: Case) -> Case:
    """The case with its histories in the order in which they should be stored, and without ties."""
    histories = {}
    for view in case.views:
        table = case.histories[view.name]
        rows = {repr(storage_order(view, row)): row for row in table.rows}
        histories[view.name] = replace(
            table, rows=tuple(sorted(rows.values(), key=lambda row: storage_order(view, row)))
        )
    return replace(case, histories=histories)


def test_window_views(exporter: Exporter) -> None:
    """The same of windows, which slide although no event comes; the first instant may be the later one."""

    def check(case: WindowCase, picks: tuple[int, ...], sql_views: bool) -> None:
        check_case(exporter, case, picks, sql_views, seen)

    def came_up() -> set[str]:
        return {status for status, windowed in seen.statuses if windowed}

    seen = Seen()
    for_each(
        check,
        WINDOW_EXAMPLES,
        until=lambda: came_up() == STATUSES,
        case=window_cases(),
        picks=PICKS,
        sql_views=RARELY,
    )


def check_case(exporter: Exporter, case: Case, picks: Sequence[int], sql_views: bool, seen: Seen) -> None:
    manifest, moments = project_of(case), instants(case)
    store = exporter.empty_store()
    with loaded(exporter.connection, case, sql_views):
        for pick in picks:
            instant = moments[pick % len(moments)]
            exporter.run(manifest, instant)
            check_reads(case, store, instant, seen)
        if not sql_views:
            check_both_ways(exporter, manifest, instant, dump(store))


def check_both_ways(
    exporter: Exporter, manifest: Mapping[str, Any], instant: int, stored: Mapping[str, Mapping[bytes, bytes]]
) -> None:
    """Where the table allows a snapshot in one pass, that and the general one are both what the store holds."""
    renderer, connection = Renderer(manifest), exporter.connection
    for view, records in stored.items():
        node = manifest["nodes"][view]["config"]["meta"]["pit_join"]
        if "aggregations" in node:
            continue  # there is one way to take it
        found = connection.execute(renderer.call("_facts_statement", view=view, history=None))
        facts = dict(zip([column[0] for column in found.description], found.fetchall()[0], strict=True))
        ordered = not (facts["unordered"] or facts["tied"] or facts["late"])
        WAYS.add(("in one pass" if ordered else "in general", bool(records)))
        for in_order in (True, False) if ordered else ():
            query = renderer.call(
                "_snapshot_statement", view=view, as_of=at(instant).isoformat(), in_order=in_order, history=None
            )
            table = connection.sql(query).to_arrow_table()
            snapshot = Snapshot(view, tuple(node["join_keys"]), table)
            rows = [pair for batch in snapshot.in_order() for pair in zip(*batch, strict=True)]
            assert rows == sorted((key, record[8:-8]) for key, record in records.items())


# Exports one after another ------------------------------------------------------------------------------------


VARIANTS = ("whole", "absent", "one feature fewer", "retyped")
STEP = st.tuples(st.integers(0, 999), st.lists(st.sampled_from(VARIANTS), min_size=3, max_size=3), st.integers(0, 7))
STEPS = st.lists(STEP, min_size=2, max_size=4)


def varied(manifest: Mapping[str, Any], variants: Sequence[str]) -> dict[str, Any]:
    """The manifest with some views gone, or with another schema; at least one view stays whole."""
    nodes = {}
    for number, (name, node) in enumerate(manifest["nodes"].items()):
        variant = variants[number]
        if variant == "absent" and number:
            continue
        node = json.loads(json.dumps(node))
        meta = node["config"]["meta"]["pit_join"]
        if variant == "one feature fewer" and "aggregations" in meta:
            first = meta["aggregations"][0]
            meta["aggregations"] = meta["aggregations"][1:] or [{**first, "name": "another"}]
        elif variant == "one feature fewer" and len(features := features_of(node)) > 1:
            node["columns"][features[-1]]["config"] = {"meta": {"pit_join": {"exclude": True}}}
        elif variant == "retyped" and "aggregations" not in meta:
            first = features_of(node)[0]
            node["columns"][first] |= {"data_type": "varchar", "config": {}}
            node |= {"relation_name": f"memory.main.{quote(name + ' as text')}", "alias": f"{name} as text"}
        nodes[name] = node
    return {**manifest, "nodes": nodes}


def features_of(node: Mapping[str, Any]) -> list[str]:
    """The columns of a plain view that are features."""
    meta = node["config"]["meta"]["pit_join"]
    special = {*meta["join_keys"], node["config"].get("event_time"), meta.get("created_timestamp"), meta.get("deleted")}
    excluded = {
        name for name, c in node["columns"].items() if c["config"].get("meta", {}).get("pit_join", {}).get("exclude")
    }
    return [name for name in node["columns"] if name not in special | excluded]


def check_sequence(exporter: Exporter, case: Case, steps: Sequence[tuple[int, list[str], int]], each: bool) -> None:
    """An export leaves what a first one would, and touches nothing that is right.

    The last one is of all views; of those of some views that is looked at too if `each`.
    """
    whole, moments = project_of(case), instants(case)
    with loaded(exporter.connection, case):
        for name, node in whole["nodes"].items():
            if "aggregations" not in node["config"]["meta"]["pit_join"]:
                first = quote(features_of(node)[0])
                exporter.connection.execute(
                    f"create or replace table {quote(name + ' as text')} as "
                    f"select * replace ({first}::varchar as {first}) from {quote(name)}"
                )
        store = exporter.empty_store()
        before: dict[str, dict[bytes, bytes]] = {}
        said: list[Contents] = []
        for number, (pick, variants, some) in enumerate([*steps, (steps[0][0] + 1, ["whole"] * 3, 0)]):
            manifest, instant = varied(whole, variants), moments[pick % len(moments)]
            views = [name for bit, name in enumerate(manifest["nodes"]) if some >> bit & 1]
            planned = exporter.run(manifest, instant, views=views, dry_run=True).views if number % 2 else None
            assert (dump(store) if before else {}) == before
            started = time.time_ns() // 1000
            done = exporter.run(manifest, instant, views=views)
            after = dump(store)
            assert planned in (None, done.views)
            check_step(before, after, done.views, started)

            contents = contents_of(store)
            kept = {name for name in before if views and name not in views and name in manifest["nodes"]}
            assert all(after[name] == before[name] for name in kept)
            if each or not views:
                fresh = exporter.empty_store("fresh")
                exporter.run(manifest, instant, "fresh", views=views)
                anew = contents_of(fresh)
                assert set(contents.views) == set(anew.views) | kept
                made = dump(fresh)
                for name in exported(anew):
                    assert unsealed(after[name]) == unsealed(made[name])
                assert views or as_said(contents) == as_said(anew)
            note(said, contents, kept)
            before = after
            said.append(contents)
        again = exporter.run(manifest, instant)
        assert {(changes.written, changes.deleted) for changes in again.views.values()} == {(0, 0)}
        assert dump(store) == before


DONE: set[str] = set()


def note(earlier: Sequence[Contents], now: Contents, kept: set[str]) -> None:
    """Keep in mind what an export did to the views."""
    if kept:
        DONE.add("kept")
    ever = {name for contents in earlier for name in exported(contents)}
    last = exported(earlier[-1]) if earlier else {}
    for name, view in exported(now).items():
        if name in last:
            DONE.update(["another schema"] if view.layout.id != last[name].layout.id else [])
            was, now_is = (each.instant or LEAST for each in (last[name], view))
            DONE.update(["forward"] if now_is > was else ["back"] if now_is < was else [])
        else:
            DONE.add("came back" if name in ever else "came")
    DONE.update(["went"] if set(last) - set(exported(now)) else [])


def exported(contents: Contents) -> dict[str, StoredView]:
    """The views but for those that are only declared."""
    return {name: view for name, view in contents.views.items() if view.instant}


def check_step(
    before: Mapping[str, Mapping[bytes, bytes]],
    after: Mapping[str, Mapping[bytes, bytes]],
    changes: Mapping[str, Changes],
    started: int,
) -> None:
    """An unchanged record stays as it is, written time and all; others say when they were written; all are counted."""
    for name in {*before, *after}:
        old, new = before.get(name, {}), after.get(name, {})
        same = {key for key in old.keys() & new.keys() if old[key][8:-8] == new[key][8:-8]}
        for key, record in new.items():
            assert record[-8:] == checksum(record[:-8], view_number(name), key)
            if key in same:
                assert record == old[key]
            else:
                assert started <= HEADER.unpack_from(record)[0] <= time.time_ns() // 1000
        if name in changes:
            assert changes[name] == Changes(len(new) - len(same), len(same), len(old.keys() - new.keys()))
        else:
            assert old == new


def unsealed(records: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The records without the time at which they were written, and the checksum that depends on it."""
    return {key: record[8:-8] for key, record in records.items()}


def as_said(contents: Contents) -> dict[str, Any]:
    """What a store says of itself, apart from when it was exported."""
    said = json.loads(contents.to_json())
    del said["exported_at"], said["checksum"]
    return said


@pytest.mark.rest
def test_any_sequence_of_exports_leaves_what_the_last_one_would(exporter: Exporter) -> None:
    def check(case: Case, steps: list[tuple[int, list[str], int]]) -> None:
        check_sequence(exporter, case, steps, each=True)

    # All that an export may do to a view.
    wanted = {"came", "went", "came back", "kept", "another schema", "forward", "back"}
    DONE.clear()
    for_each(check, SEQUENCES, until=lambda: wanted == DONE, case=cases(), steps=STEPS)


@pytest.mark.rest
def test_any_sequence_of_exports_of_windows(exporter: Exporter) -> None:
    def check(case: WindowCase, steps: list[tuple[int, list[str], int]]) -> None:
        check_sequence(exporter, case, steps, each=False)

    for_each(check, SEQUENCES // 2, case=window_cases(), steps=st.lists(STEP, min_size=1, max_size=1))


# Names --------------------------------------------------------------------------------------------------------

# Features whose names meet: in another case, and as the full name of another's.
COLUMNS = {"a": ("x", "y", "b__x"), "b": ("X", "y", "z"), "r": ("x", "a__y", "w")}
KEYS = {"a": ("k",), "b": ("k", "l"), "r": ("k",)}


def asked() -> st.SearchStrategy[Request]:
    """A request that mostly makes sense."""

    def of(view: str) -> st.SearchStrategy[Request]:
        names = st.sampled_from((*COLUMNS[view] * 4, "*", "*", "nothing"))
        return st.builds(
            Request,
            view=st.just(view),
            features=st.lists(names, min_size=1, max_size=3).map(tuple),
            alias=st.sampled_from((view, view, "r", "b", "R2")),
            join_keys=st.sampled_from(({}, {}, {}, {}, {"k": "other"}, {"l": "other"})),
        )

    return st.sampled_from(tuple(COLUMNS)).flatmap(of)


@pytest.mark.rest
def test_names_are_those_of_the_training_set() -> None:
    """What the macro refuses the store refuses; else names, their order, keys and features are the same."""

    def check(requests: list[Request], full: bool) -> None:
        arguments = {"features": [each.as_macro_argument() for each in requests], "full_feature_names": full}
        try:
            plan = NAMED.call("_resolved_requests", **arguments)
        except PitJoinError as error:
            with pytest.raises(RequestError) as refused:
                STORED.resolve(requests, full)
            NAMES.update(word for word in REFUSALS if word in str(error) and word in str(refused.value))
            return
        resolved, names, _ = STORED.resolve(requests, full)
        assert list(names) == plan["names"]
        assert [
            (role.alias, role.view.name, dict(role.key_names), list(zip(role.features, role.names, strict=True)))
            for role in resolved
        ] == [
            (one["alias"], one["view"], one["keys"], [(each["column"], each["name"]) for each in one["features"]])
            for one in plan["requests"]
        ]
        NAMES.add("full" if full else "short")

    check([Request("a", ("x",), "a"), Request("b", ("X",), "b")], False)  # letter case does not tell them apart
    check([Request("a", ("y",), "a"), Request("b", ("X",), "b"), Request("a", ("x", "y"), "a")], True)
    wanted = {*REFUSALS, "full", "short"}
    for_each(
        check,
        number_of(100, 400),
        until=lambda: wanted == NAMES,
        requests=st.lists(asked(), min_size=1, max_size=4),
        full=st.booleans(),
    )


REFUSALS = ("would be named", "another name", "has no feature", "has no join key")
NAMES: set[str] = set()
NAMED = Renderer(
    {
        "metadata": {"project_name": "pit_join", "adapter_type": "duckdb"},
        "macros": macro_nodes(),
        "nodes": {
            view: {
                "resource_type": "model",
                "package_name": "pit_join",
                "name": view,
                "relation_name": f"memory.main.{view}",
                "columns": {
                    name: {"name": name, "data_type": "timestamp" if name == "e" else "varchar", "config": {}}
                    for name in (*KEYS[view], "e", *COLUMNS[view])
                },
                "config": {
                    "materialized": "table",
                    "event_time": "e",
                    "meta": {"pit_join": {"entity": view, "join_keys": list(KEYS[view])}},
                },
            }
            for view in COLUMNS
        },
        "exposures": {},
    }
)
STORED = Contents(
    "pit_join",
    "dev",
    datetime(2026, 3, 15, tzinfo=timezone.utc),
    {
        view: StoredView(
            view,
            view,
            dict.fromkeys(KEYS[view], "string"),
            Layout([Field(name, "string") for name in names]),
            None,
            datetime(2026, 3, 15, tzinfo=timezone.utc),
            0,
        )
        for view, names in COLUMNS.items()
    },
)
