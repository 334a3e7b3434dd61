"""The macros rendered without dbt against dbt's own compile, byte for byte, and against the SQL on record in golden/.

After a change of a macro that is meant, write the golden files anew and read the difference:

    .venv/bin/python -m pytest tests/python/test_rendering.py --update-golden && git diff tests/python/golden
"""

import copy
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.dbt import ROOT, Built, failures, run_dbt
from support.portable import declared_for
from support.runs import sampled

from pit_join.errors import ProjectError, RequestError
from pit_join.project import rendering
from pit_join.project.rendering import Macros, Renderer
from pit_join.references import parse_features
from pit_join.times import parse_duration

pytestmark = pytest.mark.dbt

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Ref:
    """A `ref()` among the arguments of a call."""

    name: str


@dataclass(frozen=True)
class Call:
    """A call of a macro, for dbt as Jinja and for the renderer as Python."""

    macro: str
    arguments: dict[str, Any] = field(default_factory=dict)
    reads: tuple[str, ...] = ()

    def template(self) -> str:
        """What a dbt file says; a macro that gives data is seen as JSON. `reads` are what no argument names."""
        reads = "".join(f"{{% do ref({name!r}) %}}" for name in self.reads)
        arguments = ", ".join(f"{name}={_jinja(value)}" for name, value in self.arguments.items())
        call = f"pit_join.{self.macro}({arguments})"
        return reads + (f"{{{{ tojson({call}) }}}}" if self.macro in DATA else f"{{{{ {call} }}}}")

    def rendered(self, renderer: Renderer, relations: dict[str, str]) -> str:
        found = renderer.call(self.macro, **{name: _python(v, relations) for name, v in self.arguments.items()})
        return json.dumps(found) if self.macro in DATA else found


def _jinja(value: Any) -> str:
    if isinstance(value, Ref):
        return f"ref({value.name!r})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_jinja(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_jinja, value)) + "]"
    return repr(value)


def _python(value: Any, relations: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _python(item, relations) for key, item in value.items()}
    return relations[value.name] if isinstance(value, Ref) else value


# Macros that return data instead of SQL, and those whose SQL is asked for in another way.
DATA = ("_resolved_requests", "_view_statements")
INDIRECT = {
    "feature_views": "gives nodes of the graph; every call reads the views through it",
    "test_replay_is_clean": "asks dbt's adapter for the target; test_replay.py runs it in dbt on what Python has kept",
    "feature_services": "gives exposures of the graph; calls with a service read them through it",
}

# Views that the demo has no need of: every type of time, odd names, every kind of default. They are never built.
ODD_VIEWS = r"""
version: 2
models:
  - name: odd_names
    config:
      materialized: table
      event_time: select
      meta:
        pit_join:
          entity: odd
          join_keys: {user id: 'User "ID"', "or\"der": "or\"der", 'it''s': 'It''s', "🔑": "🗝 of it"}
          created_timestamp: "Group by"
          deleted: "gelöscht"
          inclusive: false
          lag: 250ms
          ttl: 1 second
    columns:
      - {name: 'User "ID"', data_type: varchar}
      - {name: "or\"der", data_type: bigint}
      - {name: 'It''s', data_type: uuid}
      - {name: "🗝 of it", data_type: blob}
      - {name: select, data_type: timestamp_ns}
      - {name: "Group by", data_type: TIMESTAMPTZ}
      - {name: "gelöscht", data_type: boolean}
      - {name: text, data_type: varchar, config: {meta: {pit_join: {default: "it's \"50%\" {off} \\ 🎉"}}}}
      - {name: empty, data_type: varchar, config: {meta: {pit_join: {default: ""}}}}
      - {name: numeral, data_type: varchar, config: {meta: {pit_join: {default: "007"}}}}
      - {name: truth, data_type: boolean, config: {meta: {pit_join: {default: true}}}}
      - {name: zero, data_type: double, config: {meta: {pit_join: {default: 0.0}}}}
      - {name: small, data_type: double, config: {meta: {pit_join: {default: 1.0e-7}}}}
      - {name: large, data_type: double, config: {meta: {pit_join: {default: 1.0e+22}}}}
      - {name: exact, data_type: "decimal(38, 2)", config: {meta: {pit_join: {default: 12345678901234567890.25}}}}
      - {name: huge, data_type: hugeint, config: {meta: {pit_join: {default: 9223372036854775807}}}}
      - {name: vector, data_type: "float[]", config: {meta: {pit_join: {default: [0.5, 1, -2]}}}}
      - {name: words, data_type: "varchar[]", config: {meta: {pit_join: {default: ["it's", b]}}}}
      - {name: day, data_type: date, config: {meta: {pit_join: {default: 2026-03-01}}}}
      - {name: instant, data_type: timestamp, config: {meta: {pit_join: {default: "2026-03-01 12:00:00"}}}}
      - {name: old place, data_type: integer, meta: {pit_join: {default: 3}}}
      - {name: left_out, data_type: integer, config: {meta: {pit_join: {exclude: true}}}}
      - {name: "a */ b -- c /*", data_type: integer, config: {meta: {pit_join: {default: 1}}}}
  - name: by_date
    config: {materialized: incremental, event_time: day, meta: {pit_join: {entity: a, join_keys: a}}}
    columns: [{name: a, data_type: integer}, {name: day, data_type: date}, {name: x, data_type: integer}]
  - name: by_second
    config: {materialized: table, event_time: at, meta: {pit_join: {entity: a, join_keys: [a], created_timestamp: c}}}
    columns:
      - {name: a, data_type: integer}
      - {name: at, data_type: TIMESTAMP_S}
      - {name: c, data_type: timestamptz_ns}
      - {name: x, data_type: integer}
  - name: untyped_time
    config: {materialized: table, event_time: at, meta: {pit_join: {entity: a, join_keys: [a], lag: 0 days}}}
    columns: [{name: a, data_type: integer}, {name: at}, {name: x, data_type: integer}]
  - name: has_rowid
    config: {materialized: table, event_time: at, meta: {pit_join: {entity: a, join_keys: [a]}}}
    columns: [{name: a, data_type: integer}, {name: at, data_type: timestamp}, {name: RowId, data_type: integer}]
  - name: sql_view
    config: {materialized: view, event_time: at, meta: {pit_join: {entity: a, join_keys: [a], deleted: gone}}}
    columns:
      - {name: a, data_type: integer}
      - {name: at, data_type: timestamp with time zone}
      - {name: gone, data_type: boolean}
      - {name: x, data_type: integer}
  - name: renamed
    config: {materialized: table, alias: other name, event_time: at, meta: {pit_join: {entity: a, join_keys: [a]}}}
    columns: [{name: a, data_type: integer}, {name: at, data_type: timestamp}, {name: x, data_type: integer}]
  - name: versioned
    latest_version: 2
    config: {materialized: table, event_time: at, meta: {pit_join: {entity: a, join_keys: [a], ttl: 2 days}}}
    columns: [{name: a, data_type: integer}, {name: at, data_type: timestamp}, {name: x, data_type: integer}]
    versions:
      - {v: 1, columns: [{include: all}, {name: first_only, data_type: integer}]}
      - {v: 2}
      - {v: 3, columns: [{include: all}, {name: third_only, data_type: integer}]}
  - name: odd_windows
    config:
      materialized: table
      event_time: at
      meta:
        pit_join:
          entity: pair
          join_keys: {"a b": a, id: b c}
          created_timestamp: known
          event_key: [id, a]
          deleted: gone
          closed: right
          lag: 5 minutes
          aggregations:
            - {name: n, function: count, windows: [1 hour, 24h, 7 days, lifetime], where: "x > 1 -- or so"}
            - {name: "of y", function: count, column: "y y", window: 90 seconds}
            - {name: total, function: sum, column: x, windows: [1 hour, 2 hours], default: -1}
            - {name: money sum, function: sum, column: money, window: 1 hour}
            - {name: mean, function: avg, column: "y y", window: 1 hour}
            - {name: spread, function: stddev, column: x, window: 1 hour}
            - {name: kinds, function: count_distinct, column: word, windows: [1 hour, lifetime]}
            - {name: least, function: min, column: x, window: 250 milliseconds}
            - {name: most, function: max, column: "y y", window: 1 hour}
            - {name: earliest, function: first, column: word, window: 1 hour}
            - {name: latest, function: last, column: word, window: lifetime, default: "it's"}
            - {name: some, function: last_n, column: x, n: 3, window: 1 hour}
            - {name: "*/ y -- y", function: sum, column: "y */ y", windows: [1 hour, lifetime]}
    columns:
      - {name: a, data_type: integer}
      - {name: b c, data_type: varchar}
      - {name: at, data_type: timestamp_ns}
      - {name: known, data_type: timestamptz}
      - {name: id, data_type: bigint}
      - {name: gone, data_type: boolean}
      - {name: x, data_type: integer}
      - {name: y y, data_type: double}
      - {name: y */ y, data_type: bigint}
      - {name: money, data_type: "decimal(12, 2)"}
      - {name: word, data_type: varchar}
  - name: no_keys
    config: {materialized: table, event_time: at, meta: {pit_join: {join_keys: [], created_timestamp: c, ttl: 2 days}}}
    columns: [{name: at, data_type: timestamp}, {name: c, data_type: timestamp}, {name: rate, data_type: double}]
  - name: no_keys_at_all
    config: {materialized: view, event_time: at, meta: {pit_join: {join_keys: [], deleted: gone}}}
    columns: [{name: at, data_type: date}, {name: gone, data_type: boolean}, {name: holiday, data_type: varchar}]
  - name: all_events
    config:
      materialized: table
      event_time: at
      meta:
        pit_join:
          join_keys: []
          created_timestamp: c
          event_key: id
          aggregations:
            - {name: events, function: count, window: 1 hour}
            - {name: total_y, function: sum, column: y, windows: [1 day, lifetime]}
            - {name: ids, function: count_distinct, column: id, window: 1 day}
    columns:
      - {name: id, data_type: integer}
      - {name: at, data_type: timestamp}
      - {name: c, data_type: timestamp}
      - {name: y, data_type: double}
  - name: odd_static
    config: {materialized: table, meta: {pit_join: {entity: thing, join_keys: [id, "a \"b"], static: true}}}
    columns:
      - {name: id, data_type: uuid}
      - {name: 'a "b', data_type: blob}
      - {name: x y, data_type: integer, config: {meta: {pit_join: {default: 7}}}}
      - {name: left out, data_type: timestamp, config: {meta: {pit_join: {exclude: true}}}}
      - {name: word, data_type: varchar}
  - name: only_row
    config: {materialized: table, meta: {pit_join: {join_keys: [], static: true}}}
    columns: [{name: rate, data_type: double}, {name: country, data_type: varchar}]
  - name: no_view
    columns: [{name: a, data_type: integer}]
seeds:
  - name: airlines_as_view
    config: {event_time: at, meta: {pit_join: {entity: a, join_keys: [a]}}}
    columns: [{name: a, data_type: integer}, {name: at, data_type: timestamp}, {name: x, data_type: integer}]
"""
ODD_MODELS = (
    "odd_names", "by_date", "by_second", "untyped_time", "has_rowid", "sql_view", "renamed", "odd_windows",
    "no_keys", "no_keys_at_all", "all_events", "odd_static", "only_row", "no_view",
)  # fmt: skip
VERSIONS = ("versioned_v1", "versioned_v2", "versioned_v3")

LANDED = ("destinations_7d",)
DAILY = ("carrier_flights_1d", "carrier_dep_delay_1d", "carrier_arr_delay_1d", "carrier_late_share_1d")
ACTIVITY = ["user_activity:*"]
ROLES = [
    {"view": "airport_weather", "as": "origin_weather", "join_keys": {"airport": "origin"}, "features": ["*"]},
    "route_history:route_flights",
    {
        "view": "airport_weather",
        "as": "dest_weather",
        "join_keys": {"airport": "dest"},
        "features": ["temp", "humidity"],
    },
    "carrier_daily_delay:*",
    "route_history:*",
    "aircraft_last_leg:last_dest",
    "aircraft_facts:seats",
]
MOMENT = {"moment": "event_timestamp"}
ON_DEMAND = [
    {"on_demand": "hour_of_day", "arguments": MOMENT, "types": {"moment": "timestamptz"}, "returns": "bigint"},
    {"view": "aircraft_last_leg", "as": 'last "leg', "features": ["last_dest"]},
    {
        "on_demand": "minutes_since",
        "as": "since landing",
        "arguments": {**MOMENT, "earlier": '"last ""leg":landed_at'},
        "types": {"earlier": "timestamptz", "moment": "timestamptz"},
        "returns": "double",
        "default": -1,
    },
    {
        "on_demand": "minutes_since",
        "arguments": {"earlier": "aircraft_last_leg:landed_at", "moment": "aircraft_last_leg:landed_at"},
        "types": {"earlier": "timestamptz", "moment": "timestamptz"},
        "returns": "double",
    },
]
SERVICES = {
    "flight_delay_v1": (
        "airport_weather", "aircraft_last_leg", "carrier_daily_delay", "aircraft_facts", "route_history",
        "origin_departures", "carrier_landings", "aircraft_landings",
    ),
    "flight_delay_v2": ("aircraft_last_leg", "airport_places", "airport_weather", "carrier_landings"),
}  # fmt: skip
KEYS = {"user id": "user id", 'or"der': "order", "it's": 'a "b"', "🔑": "ключ"}
ODD = [
    "odd_names:*",
    {"view": "odd_names", "as": 'se"cond, role', "join_keys": KEYS, "features": ["text", "zero"]},
    '"odd_names":text',
]
KINDS = [f"{name}:x" for name in ("by_date", "by_second", "untyped_time", "renamed", "airlines_as_view")]
KINDS += ["sql_view:*", "has_rowid:RowId"]
NO_KEYS = ["no_keys:*", "no_keys_at_all:*", "all_events:*", {"view": "no_keys", "as": "again", "features": ["rate"]}]
JOIN = {
    "spine": "spine",
    "history": {"relation": "history", "keys": ["user_id"], "event_timestamp": "at", "columns": ["x"]},
    "features": [{"column": "x", "name": "x"}],
    "options": {"join_keys": {"user_id": "customer"}},
}

# Arguments of window_features: a sum and a list over an hour, of events known late.
WINDOWS = {
    "spine": "spine",
    "history": {
        "relation": "events",
        "keys": ["user_id"],
        "event_timestamp": "at",
        "created_timestamp": "known",
        "types": {"at": "timestamptz", "known": "timestamptz"},
        "aggregations": [
            {"name": name, "function": function, "column": "x", "column_type": "double", "where": None,
             "window": 3_600_000_000, "n": 3, "data_type": data_type, "default": None}
            for name, function, data_type in (("total", "sum", "double"), ("some", "last_n", "double[]"))
        ],
    },
    "features": [
        {"column": "total", "name": "total", "default": "0"},
        {"column": "some", "name": "some", "default": None},
    ],
    "options": {"join_keys": {"user_id": "customer"}},
}  # fmt: skip


def changed(
    arguments: dict[str, Any], history: dict[str, Any] | None = None, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Arguments of a join or of windows, with these entries of its mappings."""
    return {
        **arguments,
        "history": {**arguments["history"], **(history or {})},
        "options": {**arguments["options"], **(options or {})},
    }


def _calls() -> Iterator[Call]:
    for features, (gap, full, provenance, defaults) in product(
        (ACTIVITY, ROLES, ODD), product((None, "90 minutes"), (False, True), (False, True), (True, False))
    ):
        spine = Ref("login_labels" if features is ACTIVITY else "flight_spine")
        options = {"gap": gap, "full_feature_names": full, "provenance": provenance, "defaults": defaults}
        yield Call("training_set", {"spine": spine, "features": features, **options})
    yield Call("training_set", {"spine": Ref("login_labels"), "features": ACTIVITY})
    yield Call("training_set", {"spine": Ref("login_labels"), "features": []})
    for service, reads in SERVICES.items():
        yield Call("training_set", {"spine": Ref("flight_spine"), "service": service}, reads)
    yield Call("training_set", {"spine": Ref("login_labels"), "features": KINDS, "full_feature_names": True})
    yield Call("training_set", {"spine": "(select 1 as a)", "features": ACTIVITY, "event_timestamp": 'the "time"'})
    yield from (Call("spine_rows", {"spine": Ref("login_labels"), "gap": gap}) for gap in (None, "0s", "1 day", "7ms"))
    for kind in (None, "date", "timestamp", "TIMESTAMP_NS", "timestamp with time zone", "timestamptz_ns", "varchar"):
        yield Call("spine_rows", {"spine": "s", "event_timestamp": "at", "data_type": kind, "gap": "1h"})
    views = ("user_activity", "airport_weather", "aircraft_last_leg", "aircraft_facts", "odd_names")
    instants = (None, "2026-03-18", "2026-03-18 14:30", "2026-03-18T14:30:00.123456+05:30", "2026-03-18T14:30Z")
    yield from (Call("latest_snapshot", {"view": v, "as_of": at}) for v, at in product(views, instants))
    yield Call("point_in_time_join", JOIN)
    for ties, late, physical, provenance in product((True, False), (True, False), (True, False), (None, "role")):
        history = {"created_timestamp": "created", "physical": physical}
        options = {"ties": ties, "late": late, "provenance": provenance}
        yield Call("point_in_time_join", changed(JOIN, history, options))
    yield Call("point_in_time_join", changed(JOIN, {"lag": 5, "ttl": 7, "deleted": "gone", "columns": ["x", "y"]}))
    yield Call("point_in_time_join", changed(JOIN, {"types": {"at": "date"}, "inclusive": False}))
    for physical, plan in product((True, False), (None, "portable")):
        yield Call(
            "point_in_time_join",
            changed(JOIN, {"keys": {"user_id": 'User "ID"'}, "physical": physical}, {"plan": plan}),
        )
    for step in ("match", "values"):
        yield Call("point_in_time_join", changed(JOIN, {"physical": True}, {"step": step}))
    for plan, created, deleted in product((None, "portable"), (None, "created"), (None, "gone")):
        history = {"created_timestamp": created, "deleted": deleted, "lag": 1, "ttl": 2}
        history |= {"types": {"at": "timestamp_ns", "created": "timestamp"}}
        yield Call("point_in_time_join", changed(JOIN, history, {"plan": plan, "provenance": "n"}))
    for view in ("user_activity", "aircraft_facts", "odd_names", "by_second"):
        yield Call("test_unique_feature_rows", {"model": Ref(view)})
        for at in (None, "2026-03-18 14:30"):
            yield Call("test_no_future_rows", {"model": Ref(view), "as_of": at})
            yield Call("feature_profile", {"view": view, "as_of": at})
            yield Call("drift", {"view": view, "profile": Ref("login_training"), "as_of": at})
            for test in ("null_rate_below", "default_rate_below"):
                yield Call(f"test_{test}", {"model": Ref(view), "rate": 0.1, "as_of": at})
            yield Call("test_no_drift_from", {"model": Ref(view), "profile": Ref("login_training"), "as_of": at})
    for at, features in product((None, "2026-03-18"), (None, ["login_count_30d"])):
        arguments = {"within": "1 day", "as_of": at, "features": features}
        yield Call("test_fresh_within", {"model": Ref("user_activity"), **arguments})
    yield from _static_calls()
    for features, provenance in product((ACTIVITY, ROLES), (False, True)):
        arguments = {"model": Ref("login_training"), "spine": Ref("login_labels"), "features": features}
        yield Call("test_point_in_time_correct", {**arguments, "provenance": provenance, "gap": "1 day"})
    yield from _window_calls()
    yield from _calls_without_keys()
    for defaults, full in product((True, False), (True, False)):
        asked = {"features": ON_DEMAND, "full_feature_names": full, "defaults": defaults}
        yield Call("training_set", {"spine": Ref("flight_spine"), **asked})
        options = {"full_feature_names": full, "defaults": defaults}
        on_demand = {"features": ON_DEMAND, "relation": "_pit_arguments"}
        for tried in (False, True):
            yield Call("_on_demand_statement", {**on_demand, "options": {**options, "tried": tried}})
    yield Call("_resolved_requests", {"features": ON_DEMAND})
    yield Call("_on_demand_expression", {"path": "pit_join.hour_of_day", "arguments": {"moment": "at"}})
    # What the command line asks for, one statement at a time.
    for features in (ACTIVITY, ROLES, ODD):
        yield Call(
            "_resolved_requests", {"features": features, "full_feature_names": True, "defaults": features is not ODD}
        )
    for alias, history in product(("origin_weather", "dest_weather", "route_history"), (None, "_pit_history_0")):
        asked = {"alias": alias, "spine": "_pit_spine", "features": ROLES}
        yield Call("_view_statements", {**asked, "options": {"ties": False, "history": history}})
        yield Call("_view_statements", {**asked, "options": {"ties": history is None, "pruned": True}})
        yield Call("_share_statement", {**asked, "options": {"history": history, "percent": "0.5"}})
    parts = {"origin_weather": "_pit_part_0", "dest_weather": "_pit_part_1", "route_history": "_pit_part_2"}
    asked = {"features": ROLES, "parts": parts, "columns": ['_pit_spine."a b" as "a b"', '_pit_spine."c"']}
    for options in ({}, {"provenance": True, "full_feature_names": True, "defaults": False}):
        yield Call("_set_statement", {**asked, "options": options})
    spine = {"spine": Ref("login_labels"), "event_timestamp": "event_timestamp", "gap": "1 day", "data_type": "date"}
    yield Call("_stored_spine", spine)
    for status in ("_pit_status", 'of "it"__status'):
        yield Call("_statuses_statement", {"part": "_pit_part_0", "status": status})
    yield Call("_ages_statement", {"part": "_pit_part_0"})
    for view in ("user_activity", "route_history", "odd_names", "has_rowid"):
        yield Call("_facts_statement", {"view": view, "history": None})
        yield Call("_keys_statement", {"view": view, "sample": None if view == "odd_names" else 1000})
        for in_order, history in ((True, None), (False, None), (False, "_pit_history_0")):
            asked = {"view": view, "as_of": "2026-03-18T14:30:00+00:00", "in_order": in_order, "history": history}
            yield Call("_snapshot_statement", asked)

    for view, types in (("has_rowid", {"RowId": "INTEGER"}), ("carrier_daily_delay", dict.fromkeys(DAILY, "DOUBLE"))):
        for which in ("default", "missing"):
            yield Call("_defaults_statement", {"view": view, "which": which, "types": types})


def _static_calls() -> Iterator[Call]:
    features = ["odd_static:*", {"view": "odd_static", "as": "other", "join_keys": {"id": "it"}, "features": ["word"]}]
    for gap, provenance, defaults in product((None, "1 day"), (False, True), (True, False)):
        options = {"gap": gap, "provenance": provenance, "defaults": defaults}
        asked = {"spine": Ref("login_labels"), "features": [*ACTIVITY, *features, "only_row:*"]}
        yield Call("training_set", {**asked, **options})
    for view, at in product(("odd_static", "only_row"), (None, "2026-03-18 14:30")):
        yield Call("latest_snapshot", {"view": view, "as_of": at})
        yield Call("test_unique_feature_rows", {"model": Ref(view)})
    arguments = {"model": Ref("login_training"), "spine": Ref("login_labels"), "features": features}
    yield Call("test_point_in_time_correct", arguments)
    history = {"event_timestamp": None, "static": True}
    for ties, physical, plan in product((True, False), (True, False), (None, "portable")):
        yield Call("point_in_time_join", changed(JOIN, {**history, "physical": physical}, {"ties": ties, "plan": plan}))
    for step in ("match", "values"):
        yield Call("point_in_time_join", changed(JOIN, {**history, "physical": True}, {"step": step}))
    for view, copy_ in product(("odd_static", "only_row"), (None, "_pit_history_0")):
        yield Call("_facts_statement", {"view": view, "history": copy_})
        yield Call("_doubled_statement", {"view": view, "history": copy_})
        asked = {"alias": "other", "spine": "_pit_spine", "features": features}
        yield Call("_view_statements", {**asked, "options": {"ties": False, "provenance": True, "history": copy_}})
    for in_order, copy_ in ((True, None), (False, None), (False, "_pit_history_0")):
        asked = {"view": "odd_static", "as_of": "2026-03-18T14:30:00+00:00", "in_order": in_order, "history": copy_}
        yield Call("_snapshot_statement", asked)


def _window_calls() -> Iterator[Call]:
    windows = {"view": "odd_windows", "join_keys": {"id": "b"}, "features": ["*"]}
    for options in ({}, {"gap": "1 day", "provenance": True}, {"full_feature_names": True, "defaults": False}):
        features = [windows, "carrier_landings:*", "aircraft_landings:destinations_7d", "odd_names:*"]
        yield Call("training_set", {"spine": Ref("login_labels"), "features": features[: 3 + len(options)], **options})
    for plan, late, closed in product(("range", "stacked"), (True, False), ("left", "right")):
        yield Call("window_features", changed(WINDOWS, {"closed": closed}, {"plan": plan, "late": late}))
    history = {"event_key": ["id"], "types": {"at": "timestamptz", "known": "timestamptz", "x": "double"}}
    yield Call("window_features", changed(WINDOWS, history, {"provenance": "n"}))
    for view, at in product(("odd_windows", "carrier_landings"), (None, "2026-03-18 14:30")):
        yield Call("latest_snapshot", {"view": view, "as_of": at})
    for view, grid, start in product(("odd_windows", "carrier_landings"), (None, "1 day"), (None, "2026-03-18")):
        yield Call("window_history", {"view": view, "grid": grid, "start": start, "end": start and "2026-03-19"})
    yield Call("window_history", {"view": "carrier_landings", "grid": "1 hour", "dense": True, "start": "2026-03-18"})
    yield Call("test_unique_feature_rows", {"model": Ref("odd_windows")})
    yield Call(
        "_defaults_statement", {"view": "aircraft_landings", "which": "missing", "types": dict.fromkeys(LANDED, "INT")}
    )
    for plan in (None, "range", "stacked"):
        asked = {"alias": "odd_windows", "spine": "_pit_spine", "features": [windows]}
        yield Call("_view_statements", {**asked, "options": {"provenance": True, "plan": plan}})
    yield Call("_view_statements", {**asked, "options": {"pruned": True}})
    yield Call("_share_statement", {**asked, "options": {}})
    for view, history in product(("odd_windows", "carrier_landings"), (None, "_pit_history_0")):
        yield Call("_facts_statement", {"view": view, "history": history})
        asked = {"view": view, "as_of": "2026-03-18T14:30:00+00:00", "in_order": False, "history": history}
        yield Call("_snapshot_statement", asked)
        features = [{"view": view, "as": "w", "features": ["*"]}]
        asked = {"alias": "w", "spine": "_pit_spine", "features": features}
        yield Call("_pairs_statement", {**asked, "options": {"full_feature_names": True, "history": history}})


def _calls_without_keys() -> Iterator[Call]:
    for features, provenance in product((NO_KEYS, [*ACTIVITY, *NO_KEYS]), (False, True)):
        asked = {"features": features, "provenance": provenance}
        yield Call("training_set", {"spine": Ref("login_labels"), **asked})
        yield Call(
            "test_point_in_time_correct", {"model": Ref("login_training"), "spine": Ref("login_labels"), **asked}
        )
    for plan in (None, "portable"):
        yield Call("point_in_time_join", changed(JOIN, {"keys": []}, {"join_keys": {}, "plan": plan}))
    for view in ("no_keys", "no_keys_at_all", "all_events"):
        yield Call("latest_snapshot", {"view": view, "as_of": "2026-03-18"})
        yield Call("_facts_statement", {"view": view, "history": None})
        for in_order, history in ((True, None), (False, None), (False, "_pit_history_0")):
            asked = {"view": view, "as_of": "2026-03-18T14:30:00+00:00", "in_order": in_order, "history": history}
            yield Call("_snapshot_statement", asked)
        for plan in (None, "range") if view == "all_events" else (None,):
            asked = {"alias": view, "spine": "_pit_spine", "features": NO_KEYS}
            yield Call("_view_statements", {**asked, "options": {"plan": plan, "pruned": plan is None}})
    yield Call("_pairs_statement", {"alias": "all_events", "spine": "_pit_spine", "features": NO_KEYS, "options": {}})
    for grid, start in product((None, "1 day"), (None, "2026-03-18")):
        yield Call("window_history", {"view": "all_events", "grid": grid, "start": start})
    for view in ("no_keys", "all_events"):
        yield Call("test_unique_feature_rows", {"model": Ref(view)})
    yield Call("_resolved_requests", {"features": NO_KEYS})


CALLS = tuple(_calls())
ASKED = tuple(sampled(CALLS, 40))
# The macro says what is wrong, in the same words here and there.
WRONG = {
    "no_feature": Call("training_set", {"spine": "s", "features": ["user_activity:logins"]}),
    "no_view": Call("training_set", {"spine": "s", "features": ["no_view:a"]}),
    "no_key": Call(
        "training_set",
        {"spine": "s", "features": [{"view": "user_activity", "join_keys": {"user": "a"}, "features": ["*"]}]},
    ),
    "no_keys": Call(
        "training_set", {"spine": "s", "features": [{"view": "no_keys", "join_keys": {"at": "a"}, "features": ["*"]}]}
    ),
    "two_meanings": Call(
        "training_set",
        {"spine": "s", "features": ["user_activity:*", {"view": "by_date", "as": "user_activity", "features": ["*"]}]},
    ),
    "one_name": Call("training_set", {"spine": "s", "features": ["by_date:x", "by_second:x"]}),
    "static_future": Call("test_no_future_rows", {"model": Ref("odd_static")}),
    "static_windows": Call("window_history", {"view": "odd_static"}),
    "as_of": Call("latest_snapshot", {"view": "user_activity", "as_of": "yesterday"}),
    "two_keys": Call(
        "training_set",
        {
            "spine": "s",
            "features": [
                "user_activity:login_count_30d",
                {"view": "user_activity", "join_keys": {"user_id": "a"}, "features": ["*"]},
            ],
        },
    ),
}


@dataclass(frozen=True)
class Compiled:
    manifest: dict[str, Any]
    texts: list[str]
    errors: dict[str, str]

    @property
    def relations(self) -> dict[str, str]:
        return {node["name"]: node.get("relation_name") for node in self.manifest["nodes"].values()}


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest that dbt wrote, its generic tests as macros, so that they can be called."""
    manifest = json.loads((directory / "target/manifest.json").read_bytes())
    for macro in manifest["macros"].values():
        if macro["package_name"] == "pit_join" and macro["name"].startswith("test_"):
            source = macro["macro_sql"].replace("{% test ", "{% macro test_").replace("{% endtest", "{% endmacro")
            macro["macro_sql"] = source
    return manifest


@pytest.fixture(scope="session")
def compiled(demo: Built, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """All the calls, rendered by one run of dbt."""
    directory = tmp_path_factory.mktemp("calls") / "demo"
    shutil.copytree(demo.directory, directory)
    odd = directory / "models/odd"
    odd.mkdir()
    (odd / "odd.yml").write_text(ODD_VIEWS)
    for name in (*ODD_MODELS, *VERSIONS):
        (odd / f"{name}.sql").write_text("select 1 as a")
    (directory / "seeds/airlines_as_view.csv").write_text("a,at,x\n")
    folder = directory / "analyses"
    folder.mkdir()
    for number, call in enumerate(ASKED):
        (folder / f"call_{number}.sql").write_text(call.template())
    wrong = directory / "models/wrong"
    wrong.mkdir()
    for name, call in WRONG.items():
        # Models, since `dbt compile` stops at the first error, and `dbt run` does not.
        (wrong / f"wrong_{name}.sql").write_text(call.template())
    result = run_dbt(directory, "compile", "--select", "resource_type:analysis")
    assert result.exception is None, getattr(result.exception, "msg", result.exception)
    # Some odd views are refused at the start of a run; here they are rendered all the same.
    result = run_dbt(directory, "run", "--select", "path:models/wrong", "--vars", "{pit_join_check: false}")
    assert result.result is not None, failures(result)
    errors = {r.node.name.removeprefix("wrong_"): r.message for r in result.result.results}
    output = directory / "target/compiled/pit_join/analyses"
    texts = [(output / f"call_{number}.sql").read_bytes().decode() for number in range(len(ASKED))]
    return Compiled(read_manifest(directory), texts, errors)


def test_every_call_is_rendered_as_dbt_compiles_it(compiled: Compiled) -> None:
    renderer = Renderer(compiled.manifest)
    relations = compiled.relations
    for call, text in zip(ASKED, compiled.texts, strict=True):
        assert call.rendered(renderer, relations) == text, call
        assert text or not call.arguments.get("features", True)


COMMENT = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|/\*(.*?)\*/|--(.*?)$""", re.DOTALL | re.MULTILINE)
NUMBER_IN_WORDS = re.compile(
    r"[a-z ]+: \d+ [a-z]+|before all|always|never|finite when squared|no keys|(above )?\d+ bits of \w+"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? (UTC|[+-]\d\d:\d\d)"
)


def test_no_text_of_a_user_stands_in_a_comment(compiled: Compiled) -> None:
    """Names hold `*/` and `--`: what is a comment says only what our numbers mean, or stands in our macros."""
    sources = "".join(path.read_text() for path in (ROOT / "macros").rglob("*.sql"))
    conditions = re.compile(r"case when \(x > 1 -- or so\n")  # that text is SQL of the user's, and comes back as it is
    inline, lines = set(), set()
    for call, text in zip(ASKED, compiled.texts, strict=True):
        for _, words, line in [] if call.macro in DATA else COMMENT.findall(conditions.sub("", text)):
            inline.add(words.strip())
            lines.add(re.sub(r"\d+", "N", line.strip()))
    assert {words for words in inline if words and not NUMBER_IN_WORDS.fullmatch(words)} == set()
    known = {re.sub(r"\{\{.*?\}\}|\d+", "N", line.strip()) for line in re.findall(r"-- (.*)$", sources, re.MULTILINE)}
    promise = re.search(r"macro _in_stored_order.*?\n(.*)\n", sources)
    assert promise is not None
    assert lines - {"", promise[1]} <= known
    assert any(words and NUMBER_IN_WORDS.fullmatch(words) for words in inline)
    if ASKED == CALLS:
        assert {"ttl: 1 second", "lag: 250 milliseconds", "34 bits of count", "window: 1 hour"} <= inline


@pytest.mark.parametrize("name", WRONG)
def test_a_macro_says_the_same_of_what_is_wrong(compiled: Compiled, name: str) -> None:
    with pytest.raises(ProjectError) as caught:
        WRONG[name].rendered(Renderer(compiled.manifest), compiled.relations)
    assert str(caught.value) in compiled.errors[name]


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"view": "user_activity", "joinkeys": {"user_id": "a"}, "features": ["*"]}, "unknown key 'joinkeys' in"),
        ({"view": "user_activity", "features": "login_count_30d"}, "cannot read"),
        ({"view": "user_activity", "features": []}, "cannot read"),
        ({"view": "user_activity"}, "cannot read"),
        ({"as": "user_activity", "features": ["*"]}, "cannot read"),
        (["user_activity", "*"], "cannot read"),
        ("user_activity", "cannot read the reference 'user_activity'"),
    ],
)
def test_a_list_of_features_is_read_strictly(compiled: Compiled, item: Any, says: str) -> None:
    with pytest.raises(ProjectError, match=says):
        Renderer(compiled.manifest).call("training_set", spine="s", features=[item])


@pytest.mark.parametrize(
    ("place", "change", "says"),
    [
        ("view", {"ttl_days": 30}, "config.meta.pit_join.ttl_days: unknown key"),
        ("view", {"ttl": 0}, "cannot read the duration '0'"),
        ("view", {"ttl": "0 days"}, "ttl: is '0 days', so that no value"),
        ("view", {"lag": "6 hrs"}, "lag: cannot read the duration '6 hrs'"),
        ("view", {"inclusive": "false"}, "inclusive: must be true or false, got 'false'"),
        ("view", {"created_timestamp": "loadedat"}, "created_timestamp: no column 'loadedat' is listed"),
        ("view", {"deleted": "gone"}, "deleted: no column 'gone' is listed"),
        ("view", {"join_keys": ["user"]}, "join_keys: no column 'user' is listed"),
        ("view", {"join_keys": {"user": "userid"}}, "join_keys: no column 'userid' is listed"),
        (
            "view",
            {"join_keys": {"user": None}},
            "join_keys: must list .* or map each of its keys .* got {'user': None}",
        ),
        ("view", {"join_keys": {}}, "join_keys: must list .* got {}"),
        ("view", {"join_keys": {"a": "user_id", "b": "user_id"}}, "join_keys: two columns have one name"),
        ("view", {"join_keys": {"a": "user_id", "A": "loaded_at"}}, "join_keys: two keys have one name"),
        (
            "view",
            {"join_keys": {"Login_Count_30d": "user_id"}},
            "the key 'Login_Count_30d' has the name of another col",
        ),
        ("view", {"join_keys": {"loaded_at": "user_id"}}, "the key 'loaded_at' has the name of another column"),
        ("view", {"join_keys": None}, r"join_keys: must list the columns .* \[\] is for a view that holds"),
        ("view", {"join_keys": []}, r"entity: a view with join_keys: \[\] holds for every row, .* leave entity out"),
        ("view", {"static": "yes"}, "static: must be true or false, got 'yes'"),
        ("view", {"static": True}, "created_timestamp: is not for a view with static: true, whose rows have no time"),
        ("time", None, "config.event_time: is missing; .* says static: true"),
        ("static", {}, "static: is true, so that the rows have no time, and config.event_time is 'event_timestamp'"),
        *(
            ("static", setting, f"{next(iter(setting))}: is not for a view with static: true, whose rows have no time")
            for setting in (
                {"created_timestamp": "loaded_at"},
                {"lag": "1 day"},
                {"ttl": "1 day"},
                {"inclusive": True},
                {"freshness_slo": "1 day"},
                {"deleted": "gone"},
                {"clock_time_zone": "UTC"},
                {"aggregations": [{"name": "n", "function": "count", "window": "1 day"}]},
                {"aggregations": [], "closed": "left"},
                {"aggregations": [], "event_key": "user_id"},
            )
        ),
        (
            "static column",
            {"freshness_slo": "1 day"},
            r"columns\..*\.freshness_slo: is not for a view with static: true",
        ),
        ("column", {"defualt": 0}, "columns.login_count_30d.config.meta.pit_join.defualt: unknown key"),
        ("column", {"exclude": "false"}, "columns.login_count_30d.exclude: must be true or false"),
    ],
)
def test_a_typo_in_a_view_is_an_error_in_a_dbt_model_too(
    compiled: Compiled, place: str, change: dict[str, Any], says: str
) -> None:
    node = copy.deepcopy(compiled.manifest["nodes"]["model.pit_join.user_activity"])
    config = node["columns"]["login_count_30d"]["config"] if "column" in place else node["config"]
    if place in ("static", "static column"):
        node["config"]["meta"]["pit_join"] = {"entity": "user", "join_keys": "user_id", "static": True}
        for column in node["columns"].values():
            column["config"]["meta"].get("pit_join", {}).pop("freshness_slo", None)
    if change is None:
        node["config"]["event_time"] = None
    config["meta"]["pit_join"].update(change or {})
    manifest = {**compiled.manifest, "nodes": {**compiled.manifest["nodes"], "model.pit_join.user_activity": node}}
    with pytest.raises(ProjectError, match=says):
        Renderer(manifest).call("training_set", spine="s", features=ACTIVITY)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"event_timestamp": None}, r"needs a relation, keys .* and an event_timestamp, or static: true"),
        ({"static": True}, "is static, so that its rows have no time, and has the key event_timestamp"),
        *(
            ({"static": True, "event_timestamp": None, **setting}, f"no time, and has the key {next(iter(setting))}")
            for setting in ({"created_timestamp": "c"}, {"lag": 5}, {"ttl": 5}, {"inclusive": False}, {"deleted": "x"})
        ),
    ],
)
def test_a_history_by_hand_is_static_or_has_times(compiled: Compiled, change: dict[str, Any], says: str) -> None:
    with pytest.raises(ProjectError, match=says):
        Renderer(compiled.manifest).call("point_in_time_join", **changed(JOIN, change))


def public_macros() -> set[str]:
    """One a file; a generic test's macro has `test_` before its name."""
    names = {path.stem for path in (ROOT / "macros").glob("*.sql") if not path.name.startswith("_")}
    return names | {f"test_{path.stem}" for path in (ROOT / "macros/tests").glob("*.sql")}


def test_every_public_macro_is_among_the_calls() -> None:
    assert public_macros() - {call.macro for call in CALLS} == set(INDIRECT)


def test_every_public_macro_is_documented(demo: Built) -> None:
    ours = [m for m in demo.manifest.macros.values() if m.package_name == "pit_join" and m.path.startswith("macros/")]
    macros = {m.name: m for m in ours}
    assert {name for name, macro in macros.items() if macro.description} == public_macros()
    for name in public_macros():
        signature = re.search(rf"(?:macro|test) {name.removeprefix('test_')}\((.*?)\)", macros[name].macro_sql)
        assert signature is not None
        arguments = [argument.split("=")[0] for argument in signature[1].split(", ") if argument]
        assert [argument.name for argument in macros[name].arguments] == arguments
        assert all(argument.description for argument in macros[name].arguments), name


# A project may override a macro. What only dbt knows makes the renderer give up, never guess.

ONLY_DBT = [
    *(
        "{{ var('x') }}",
        "{{ target.name }}",
        "{{ 1 if target.name == 'prod' else 2 }}",
        "{{ this }}",
        "{{ model.name }}",
    ),
    *("{{ env_var('HOME') }}", "{{ flags.FULL_REFRESH }}", "{{ config.get('x') }}", "{{ source('a', 'b') }}"),
    *(
        "{{ run_query('select 1') }}",
        "{% call statement('x') %}{% endcall %}",
        "{{ is_incremental() }}",
        "{{ log('x') }}",
    ),
    *("{{ adapter.get_relation('a', 'b', 'c') }}", "{{ adapter.config }}", "{{ api.Relation }}", "{{ graph.metrics }}"),
    *("{{ modules.datetime.datetime.now() }}", "{{ modules.pytz.utc }}", "{{ exceptions.warn('x') }}"),
    *(
        "{{ dbt.type_string() }}",
        "{{ tojson({}) }}",
        "{{ invocation_id }}",
        "{{ 'x' | as_native }}",
        "{% set x %}{{ y }}{% endset %}{{ x }}",
    ),
    *(
        "{{ ref('login_labels').include(database=false) }}",
        "{{ ref('login_labels').type }}",
        "{{ pit_join.no_such_macro() }}",
    ),
]


def overridden(manifest: dict[str, Any], body: str) -> dict[str, Any]:
    """The manifest of a project `shop` that has these macros installed and overrides one."""
    macro = {"package_name": "shop", "name": "duckdb___materialized"}
    macro["macro_sql"] = "{% macro duckdb___materialized() %}" + body + "{% endmacro %}"
    macros = {**manifest["macros"], "macro.shop.duckdb___materialized": macro}
    return {**manifest, "macros": macros, "metadata": {**manifest["metadata"], "project_name": "shop"}}


@pytest.mark.parametrize("body", ONLY_DBT)
def test_what_only_dbt_knows_is_left_to_dbt(compiled: Compiled, body: str) -> None:
    asked: list[str] = []
    macros = Macros(overridden(compiled.manifest, body), {}, lambda template: asked.append(template) or "what dbt says")
    text = macros.text("training_set", spine='(select 1) as "it\'s"', features=ACTIVITY, gap=None, provenance=True)
    assert text == "what dbt says"
    assert asked == [
        """{{ pit_join.training_set(spine='(select 1) as "it\\'s"', """
        """features=['user_activity:*'], gap=None, provenance=True) }}"""
    ]


@pytest.mark.parametrize(
    ("body", "gives"),
    [
        ("not {{ 'MATERIALIZED' | lower }}", "not materialized"),
        ("{{ return(pit_join.default___materialized()) }}", ""),
        ("{% set words = ['a', 'b'] %}{% for word in words %}{{ word }}{{ loop.index }}{% endfor %}", "a1b2"),
        ("{{ adapter.type() }} {{ ref('login_labels').identifier }}", "duckdb login_labels"),
    ],
)
def test_an_override_within_reach_is_rendered(compiled: Compiled, body: str, gives: str) -> None:
    renderer = Renderer(overridden(compiled.manifest, body))
    assert renderer.call("training_set", spine="s", features=ACTIVITY).startswith(
        " ".join(["with _pit_spine as", *gives.split(), "("])
    )
    searched = Renderer(overridden(compiled.manifest, body), {"pit_join": ["pit_join", "shop"]})
    assert searched.call("training_set", spine="s", features=ACTIVITY).startswith("with _pit_spine as materialized (")


# The package reads durations and references for the command line, the macros read them for a dbt model: one language.

DURATIONS = [
    *("30 days", "1 day", "1 days", "7d", "6 hours", "1 hour", "6h", "5 minutes", "5m", "90 seconds", "90 s", "250ms"),
    *("250 milliseconds", "1 millisecond", "0 days", "0", "00007 d", "  7 d ", "\t7 d\n", "7  d", "7\td", "7\u00a0d"),
    *(
        "",
        " ",
        "d",
        "5",
        "5.5 h",
        "5,5 h",
        "-5 h",
        "+5 h",
        "1 h 30 m",
        "5 H",
        "5 Days",
        "5 month",
        "5 mo",
        "5 week",
        "5 w",
    ),
    *(
        "5 us",
        "1_000 s",
        "1e3 s",
        "5 dayss",
        "days 5",
        "P1D",
        "5 m/s",
        "\u0665 d",
        "\uff15 d",
        "5 d\n5 d",
        "None",
        "30",
    ),
    *("106751991 days", "106751992 days", "999999999 days", "1000000000 days", "99999999999999999999 ms"),
]


@pytest.mark.parametrize("text", DURATIONS)
def test_a_macro_reads_a_duration_as_the_package_does(compiled: Compiled, text: str) -> None:
    wanted: int | str
    try:
        wanted = parse_duration(text) // timedelta(microseconds=1)
    except ValueError as error:
        wanted = f"the ttl: {error}"
    try:
        found = Renderer(compiled.manifest).call("_duration", text, "the ttl")
    except ProjectError as error:
        found = str(error)
    assert found == wanted


REFERENCES = [
    *(
        "a:x",
        "a:*",
        " a : x ",
        "a:x\n",
        'a:"*"',
        '"a":"x"',
        ' "a:b":"x,y" ',
        '"a ""b""":x',
        "a b:c d",
        "ä:🎉",
        "select:from",
    ),
    *(
        "",
        "a",
        ":",
        "a:",
        ":x",
        "a:x:y",
        "a,b:x",
        "a=b:x",
        "a(b):x",
        '"a:x',
        'a":x',
        '"":x',
        'a "b":x',
        '"a"b:x',
        'a:"x"y',
    ),
    *('"a" :x', 'a: "x"', "a::x", "a:*,b:*"),
]


@pytest.mark.parametrize("text", REFERENCES)
def test_a_macro_reads_a_reference_as_the_package_does(compiled: Compiled, text: str) -> None:
    try:
        (wanted,) = parse_features([text])
    except RequestError:
        with pytest.raises(ProjectError, match="cannot read the reference"):
            Renderer(compiled.manifest).call("_reference", text)
    else:
        assert Renderer(compiled.manifest).call("_reference", text) == [wanted.view, *wanted.features]


# The SQL on record, as text and by what it gives.

RECORDED = {
    "training_set": Call(
        "training_set",
        {
            "spine": Ref("login_labels"),
            "features": [
                "user_activity:*",
                {
                    "view": "user_activity",
                    "as": "referrer",
                    "join_keys": {"user_id": "referred_by"},
                    "features": ["login_count_30d"],
                },
            ],
            "gap": "1 day",
            "provenance": True,
        },
    ),
    "spine_rows": Call("spine_rows", {"spine": Ref("login_labels"), "gap": "1 day", "data_type": "timestamptz"}),
    "point_in_time_join": Call(
        "point_in_time_join",
        {
            "spine": "spine",
            "history": {
                "relation": Ref("user_activity"),
                "keys": ["user_id"],
                "event_timestamp": "event_timestamp",
                "created_timestamp": "loaded_at",
                "lag": 21_600_000_000,
                "ttl": 2_592_000_000_000,
                "deleted": "is_deleted",
                "columns": ["login_count_30d", "session_duration_avg"],
                "types": {"event_timestamp": "timestamptz", "loaded_at": "timestamptz"},
                "physical": True,
            },
            "features": [{"column": "login_count_30d", "name": "logins", "default": "0"}],
            "options": {},
        },
    ),
    "latest_snapshot": Call("latest_snapshot", {"view": "user_activity", "as_of": "2026-03-21"}),
    "test_unique_feature_rows": Call("test_unique_feature_rows", {"model": Ref("user_activity")}),
    "test_no_future_rows": Call("test_no_future_rows", {"model": Ref("user_activity"), "as_of": "2026-04-01 02:00"}),
    "test_fresh_within": Call(
        "test_fresh_within", {"model": Ref("user_activity"), "within": "15 days", "as_of": "2026-03-21"}
    ),
    "test_null_rate_below": Call(
        "test_null_rate_below", {"model": Ref("user_activity"), "rate": 0.6, "as_of": "2026-03-21"}
    ),
    "test_default_rate_below": Call(
        "test_default_rate_below", {"model": Ref("user_activity"), "rate": 0.6, "as_of": "2026-03-21"}
    ),
    "feature_profile": Call("feature_profile", {"view": "user_activity", "as_of": "2026-03-21"}),
    "drift": Call("drift", {"view": "user_activity", "profile": "user_activity_then", "as_of": "2026-03-21"}),
    "test_no_drift_from": Call(
        "test_no_drift_from",
        {"model": Ref("user_activity"), "profile": "user_activity_then", "as_of": "2026-03-21", "min_rows": 2},
    ),
    "test_point_in_time_correct": Call(
        "test_point_in_time_correct",
        {"model": Ref("login_training"), "spine": Ref("login_labels"), "features": ["user_activity:*"]},
    ),
}
ACTIVITY_WINDOWS = {
    **WINDOWS,
    "history": {
        **WINDOWS["history"],
        "relation": Ref("user_activity"),
        "aggregations": [
            {**aggregation, "column": "session_duration_avg", "window": 864_000_000_000}
            for aggregation in WINDOWS["history"]["aggregations"]
        ],
        "event_timestamp": "event_timestamp",
        "created_timestamp": "loaded_at",
        "types": {"event_timestamp": "timestamptz", "loaded_at": "timestamptz"},
    },
    "options": {},
}
RECORDED["window_features"] = Call("window_features", ACTIVITY_WINDOWS)
RECORDED["window_features.range"] = Call("window_features", changed(ACTIVITY_WINDOWS, options={"plan": "range"}))
RECORDED["window_history"] = Call("window_history", {"view": "carrier_landings", "grid": "1 day"})
RECORDED["window_history.part"] = Call(
    "window_history", {"view": "aircraft_landings", "start": "2026-03-03", "end": "2026-03-05"}
)
# The same join where somebody looked and found the history in order: what the command line runs.
RECORDED["point_in_time_join.in_order"] = Call(
    "point_in_time_join", changed(RECORDED["point_in_time_join"].arguments, options={"ties": False, "late": False})
)
# A history that holds for every row of the spine.
RECORDED["point_in_time_join.no_keys"] = Call(
    "point_in_time_join", changed(RECORDED["point_in_time_join"].arguments, {"keys": []})
)
# The look-up of a static view.
RECORDED["point_in_time_join.static"] = Call(
    "point_in_time_join",
    {
        "spine": "spine",
        "history": {
            "relation": Ref("user_activity"),
            "keys": ["user_id"],
            "static": True,
            "columns": ["login_count_30d", "session_duration_avg"],
            "physical": True,
        },
        "features": [{"column": "session_duration_avg", "name": "seconds"}],
    },
)
# What other engines run, too; all else is DuckDB's.
PORTABLE = (
    "test_null_rate_below",
    "test_default_rate_below",
    "training_set",
    "spine_rows",
    "point_in_time_join",
    "point_in_time_join.no_keys",
    "point_in_time_join.static",
    "window_features",
    "window_history",
    "window_history.part",
    "latest_snapshot",
    "test_unique_feature_rows",
    "test_no_future_rows",
    "test_point_in_time_correct",
)
ENGINES = ("duckdb", "postgres", "spark")
DUCKDB_ONLY = "(drift|feature_profile) runs on DuckDB, and not on"
RECORDS = [(name, leaf) for name in RECORDED for leaf in ENGINES if leaf == "duckdb" or name in PORTABLE]


def recorded(manifest: dict[str, Any], relations: dict[str, str], name: str, leaf: str) -> str:
    return RECORDED[name].rendered(Renderer(declared_for(leaf, manifest)), relations) + "\n"


@pytest.mark.parametrize(("name", "leaf"), RECORDS)
def test_the_sql_is_the_one_on_record(compiled: Compiled, request: pytest.FixtureRequest, name: str, leaf: str) -> None:
    path = GOLDEN / f"{name}.{leaf}.sql"
    text = recorded(compiled.manifest, compiled.relations, name, leaf)
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
    assert path.is_file(), "not recorded yet: run the tests with --update-golden"
    assert path.read_bytes().decode() == text, "if the change is meant, run the tests with --update-golden"


OTHER_PLANS = {"point_in_time_join.in_order", "window_features.range", "test_fresh_within"}
"""The same statements as without a choice of DuckDB's, or like another."""


@pytest.mark.parametrize("name", sorted(RECORDED.keys() - set(PORTABLE) - OTHER_PLANS))
@pytest.mark.parametrize("leaf", ["postgres", "spark", "other"])
@pytest.mark.refuses("spark", "feature_profile", "drift", "no_drift_from")
def test_no_other_engine_is_given_what_only_duckdb_runs(compiled: Compiled, name: str, leaf: str) -> None:
    with pytest.raises(ProjectError, match=DUCKDB_ONLY):
        recorded(compiled.manifest, compiled.relations, name, leaf)


@pytest.mark.parametrize(
    ("name", "leaf"),
    [*((name, "spark") for name in PORTABLE), ("point_in_time_join", "other"), ("latest_snapshot", "other")],
)
def test_rows_are_numbered_in_a_total_order(compiled: Compiled, name: str, leaf: str) -> None:
    """An engine may compute a CTE each time it is read, and must then number its rows alike; Spark demands an order."""
    assert "over ()" not in recorded(compiled.manifest, compiled.relations, name, leaf)


def test_every_public_macro_is_on_record_and_nothing_else() -> None:
    assert {name.split(".")[0] for name in RECORDED} == public_macros() - set(INDIRECT)
    assert {path.name for path in GOLDEN.glob("*.sql")} == {f"{name}.{leaf}.sql" for name, leaf in RECORDS}


@pytest.mark.rest
def test_compiled_macros_are_kept_and_may_be_lost(compiled: Compiled, tmp_path: Path) -> None:
    """A kept file that is broken is made anew; what is rendered is the same with and without them."""

    def rendered(cache: Path | None) -> str:
        rendering._codes.clear()  # as in another process
        return Renderer(compiled.manifest, cache=cache).call("training_set", spine="s", features=ACTIVITY)

    wanted = rendered(None)
    assert rendered(tmp_path / "missing") == rendered(tmp_path) == wanted
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert kept
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pit_join.project.rendering._ENVIRONMENT.compile", lambda source: pytest.fail("compiled again"))
        assert rendered(tmp_path) == wanted
    for path, content in kept.items():
        path.write_bytes(content[: len(content) // 2])
    assert rendered(tmp_path) == wanted
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept


HISTORY = """
    ('u1', '2026-03-01 00:00:00+00', '2026-03-01 02:00:00+00', 12, 310.5, false),
    ('u1', '2026-03-15 00:00:00+00', '2026-03-15 02:00:00+00', 18, 295, false),
    ('u1', '2026-04-01 00:00:00+00', '2026-04-01 02:00:00+00', 7, 120.25, false),
    ('u2', '2026-03-05 00:00:00+00', '2026-03-05 02:00:00+00', 3, 45, false),
    ('u2', '2026-03-05 00:00:00+00', '2026-03-12 09:00:00+00', 4, 50, false),
    ('u2', '2026-03-10 00:00:00+00', '2026-03-20 09:00:00+00', 5, null, false),
    ('u3', '2026-03-02 00:00:00+00', '2026-03-02 02:00:00+00', 9, 600, false),
    ('u3', '2026-03-20 00:00:00+00', '2026-03-20 02:00:00+00', null, null, true)
"""
LABELS = """
    ('u1', null, '2026-03-18 14:30:00+00', 0),
    ('u2', 'u1', '2026-03-13 12:00:00+00', 1),
    ('u2', 'u3', '2026-03-25 00:00:00+00', 0),
    ('u1', 'u9', '2026-03-02 05:59:59+00', 1),
    ('u1', 'u2', '2026-05-03 00:00:00+00', 0),
    ('u1', null, '2026-03-18 14:30:00+00', 0)
"""
TRAINING = """
    ('u1', null, '2026-03-18 14:30:00+00', 0, 18, 295),
    ('u2', 'u1', '2026-03-13 12:00:00+00', 1, 4, 50),
    ('u2', 'u3', '2026-03-25 00:00:00+00', 0, 5, null),
    ('u1', 'u9', '2026-03-02 05:59:59+00', 1, 12, 310.5),
    ('u1', 'u2', '2026-05-03 00:00:00+00', 0, 0, null),
    ('u1', null, '2026-03-18 14:30:00+00', 0, 18, 295)
"""
# What makes a test fail that passes on these tables.
PLANTED = {
    "test_unique_feature_rows": """
        insert into user_activity
        select * replace (1 as login_count_30d) from user_activity where login_count_30d = 9
    """,
    "test_no_future_rows": """
        insert into user_activity values
            ('u4', '2026-04-01 02:00:01+00', '2026-04-01 02:00:01+00', 1, 1, false),
            ('u4', '2026-04-01 00:00:00+00', '2026-04-01 02:00:01+00', 2, null, true),
            ('u4', '2026-04-01 02:00:00+00', '2026-04-01 02:00:00+00', 3, 1, true)
    """,
    "test_fresh_within": "delete from user_activity where user_id = 'u1' and session_duration_avg > 290",
    "test_null_rate_below": "update user_activity set session_duration_avg = null",
    "test_default_rate_below": "update user_activity set session_duration_avg = null",
    "test_no_drift_from": "delete from user_activity_then where feature = 'login_count_30d'",
    "test_point_in_time_correct": "update login_training set login_count_30d = 99 where login_count_30d = 4",
}
HOUR = 3_600_000_000
NOTHING = -(1 - 2 / 9) / math.sqrt(2 / 9)  # the score of no difference at all, with one degree of freedom
BELOW = {value: value - value * 2.3e-16 for value in (5, 18, 295)}  # where the bin before a frequent value ends
RESULTS = {
    "training_set": [
        ("u1", None, "03-18 14:30:00", 0, 18, 295.0, 0, "03-15 00:00:00", "PRESENT", None, "NULL_KEY"),
        ("u2", "u1", "03-13 12:00:00", 1, 4, 50.0, 12, "03-05 00:00:00", "PRESENT", "03-01 00:00:00", "PRESENT"),
        ("u2", "u3", "03-25 00:00:00", 0, 5, None, 0, "03-10 00:00:00", "PRESENT", None, "NOT_FOUND"),
        ("u1", "u9", "03-02 05:59:59", 1, 0, None, 0, None, "NOT_YET_KNOWN", None, "NOT_FOUND"),
        (
            "u1",
            "u2",
            "05-03 00:00:00",
            0,
            0,
            None,
            0,
            *("04-01 00:00:00", "OUTSIDE_MAX_AGE"),
            "03-10 00:00:00",
            "OUTSIDE_MAX_AGE",
        ),
        ("u1", None, "03-18 14:30:00", 0, 18, 295.0, 0, "03-15 00:00:00", "PRESENT", None, "NULL_KEY"),
    ],
    "spine_rows": [
        ("u1", None, "03-18 14:30:00", 0, 1, 1_773_757_800_000_000),
        ("u2", "u1", "03-13 12:00:00", 1, 2, 1_773_316_800_000_000),
        ("u2", "u3", "03-25 00:00:00", 0, 3, 1_774_310_400_000_000),
        ("u1", "u9", "03-02 05:59:59", 1, 4, 1_772_344_799_000_000),
        ("u1", "u2", "05-03 00:00:00", 0, 5, 1_777_680_000_000_000),
        ("u1", None, "03-18 14:30:00", 0, 6, 1_773_757_800_000_000),
    ],
    "point_in_time_join": [
        (1, 62 * HOUR + HOUR // 2, 18, "PRESENT"),
        (2, 180 * HOUR, 4, "PRESENT"),
        (3, 336 * HOUR, 5, "PRESENT"),
        (4, None, 0, "NOT_YET_KNOWN"),
        (5, None, 0, "OUTSIDE_MAX_AGE"),
        (6, 62 * HOUR + HOUR // 2, 18, "PRESENT"),
    ],
    # Of the rows of a user the one with the most logins, whole, whatever the time.
    "point_in_time_join.static": [
        (1, None, 295.0, "PRESENT"),
        (2, None, None, "NULL_VALUE"),
        (3, None, None, "NULL_VALUE"),
        (4, None, 295.0, "PRESENT"),
        (5, None, 295.0, "PRESENT"),
        (6, None, 295.0, "PRESENT"),
    ],
    "point_in_time_join.no_keys": [
        (1, 62 * HOUR + HOUR // 2, 18, "PRESENT"),
        (2, 180 * HOUR, 4, "PRESENT"),
        (3, None, 0, "NOT_FOUND"),
        (4, None, 0, "NOT_YET_KNOWN"),
        (5, None, 0, "OUTSIDE_MAX_AGE"),
        (6, 62 * HOUR + HOUR // 2, 18, "PRESENT"),
    ],
    "window_features": [
        (1, 62 * HOUR + HOUR // 2, 295.0, [295.0], "PRESENT"),
        (2, 180 * HOUR, 95.0, [50.0, 45.0], "PRESENT"),
        (3, None, 0.0, None, "NULL_VALUE"),
        (4, 6 * HOUR - 1_000_000, 310.5, [310.5], "PRESENT"),
        (5, None, 0.0, None, "NULL_VALUE"),
        (6, 62 * HOUR + HOUR // 2, 295.0, [295.0], "PRESENT"),
    ],
    "window_history": [
        ("AA", "03-02 00:00:00", 1, 1, 20.0, 20.0, 1, 1),
        ("AA", "03-03 00:00:00", 0, 1, None, 20.0, 0, 1),
        ("AA", "03-04 00:00:00", 1, 2, 10.0, 15.0, 0, 1),
        ("AA", "03-05 00:00:00", 0, 2, None, 15.0, 0, 1),
        ("AA", "03-09 00:00:00", 0, 1, None, 10.0, 0, 0),
        ("AA", "03-11 00:00:00", 0, 0, None, None, 0, 0),
    ],
    "window_history.part": [("N1", "03-03 12:00:00", 2), ("N1", "03-04 10:00:00", 1)],
    "latest_snapshot": [("u1", "03-15 00:00:00", 18, 295.0), ("u2", "03-10 00:00:00", 5, None)],
    "test_unique_feature_rows": [("u3", "03-02 00:00:00", "03-02 02:00:00", 2)],
    "test_no_future_rows": [
        ("u4", "04-01 02:00:01", "04-01 02:00:01", 1, 1.0, False),
        ("u4", "04-01 00:00:00", "04-01 02:00:01", 2, None, True),
    ],
    # Of u1 and u2 there are 18 and 5, and 295 and a null.
    "feature_profile": [
        (
            "login_count_30d",
            "number",
            2,
            0,
            0,
            0,
            5,
            11.5,
            [BELOW[5], 5, BELOW[18], 18],
            None,
            [0, 1, 0, 1, 0, 0, 0, 0],
            2,
            10,
            None,
            0.5,
            0.25,
        ),
        (
            "session_duration_avg",
            "number",
            2,
            1,
            0,
            0,
            295,
            295,
            [BELOW[295], 295],
            None,
            [0, 1, 0, 0, 1, 0],
            2,
            10,
            None,
            0.5,
            0.25,
        ),
    ],
    "drift": [
        (
            "login_count_30d",
            "number",
            2,
            2,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            NOTHING,
            [0.5, 0.5],
            [0.5, 0.5],
            [5, 18],
            [None, None],
        ),
        (
            "session_duration_avg",
            "number",
            2,
            2,
            1,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            NOTHING,
            [0.5, 0.5],
            [0.5, 0.5],
            [295, None],
            [None, "null"],
        ),
    ],
    "test_fresh_within": [("session_duration_avg", "03-05 00:00:00")],
    "test_null_rate_below": [("session_duration_avg", 2, 2)],
    "test_default_rate_below": [("session_duration_avg", 2, 2)],
    "test_no_drift_from": [("login_count_30d", "the profile does not have the feature", None, None, None, 0)],
    "test_point_in_time_correct": [
        ("recomputed, not stored", "u2", "u1", "03-13 12:00:00", 1, 4, 50.0),
        ("stored, not recomputed", "u2", "u1", "03-13 12:00:00", 1, 99, 50.0),
    ],
}


@pytest.fixture
def warehouse() -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """Runs SQL on the tables of the records; times come as text without the year, so that tables are easy to read."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute(f"""
            set TimeZone = 'UTC';
            attach ':memory:' as warehouse;
            use warehouse;
            create table user_activity (
                user_id varchar, event_timestamp timestamptz, loaded_at timestamptz,
                login_count_30d bigint, session_duration_avg double, is_deleted boolean
            );
            create table login_labels (
                user_id varchar, referred_by varchar, event_timestamp timestamptz, churned integer
            );
            create table login_training (
                user_id varchar, referred_by varchar, event_timestamp timestamptz, churned integer,
                login_count_30d bigint, session_duration_avg double
            );
            create table carrier_landings (carrier varchar, event_timestamp timestamptz, arr_delay integer);
            insert into carrier_landings
            values ('AA', '2026-03-01 10:00:00+00', 20), ('AA', '2026-03-03 12:00:00+00', 10);
            create table aircraft_landings (tailnum varchar, event_timestamp timestamptz, dest varchar);
            insert into aircraft_landings
            values
                ('N1', '2026-02-25 10:00:00+00', 'BOS'), ('N1', '2026-03-03 12:00:00+00', 'JFK'),
                ('N2', '2026-03-01 10:00:00+00', 'BOS'), ('N2', '2026-03-03 00:00:00+00', 'BOS');
            insert into user_activity values {HISTORY};
            insert into login_labels values {LABELS};
            insert into login_training values {TRAINING};
        """)
        connection.execute(f"create table user_activity_then as {(GOLDEN / 'feature_profile.duckdb.sql').read_text()}")

        def short(value: Any) -> Any:
            if isinstance(value, datetime):
                assert (value.year, value.microsecond, value.utcoffset()) == (2026, 0, timedelta(0))
                return f"{value:%m-%d %H:%M:%S}"
            return value

        def run(sql: str) -> list[tuple[Any, ...]]:
            return [tuple(map(short, row)) for row in connection.execute(sql).fetchall()]

        yield run


@pytest.mark.parametrize("name", RECORDED)
def test_the_sql_on_record_gives(warehouse: Callable[[str], list[tuple[Any, ...]]], name: str) -> None:
    sql = (GOLDEN / f"{name}.duckdb.sql").read_text()
    if name.startswith(("point_in_time_join", "window_features")):
        warehouse(f"create temp table spine as {(GOLDEN / 'spine_rows.duckdb.sql').read_text()}")
        assert sorted(warehouse(sql)) == RESULTS.get(name, RESULTS[name.split(".")[0]])
        return
    if name in PLANTED:
        assert warehouse(sql) == []
        warehouse(PLANTED[name])
    assert sorted(warehouse(sql), key=str) == sorted(RESULTS[name], key=str)
