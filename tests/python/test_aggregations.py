"""Window views: what may be declared, what it becomes, and what the message says of everything else."""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

import pytest
import yaml
from click.testing import CliRunner

from pit_join import ProjectError, catalog
from pit_join import feature_store as api
from pit_join.cli.main import main
from pit_join.definitions.aggregations import FUNCTIONS, result_type
from pit_join.definitions.field_type import read_type
from pit_join.definitions.registry import Registry
from pit_join.definitions.views import Feature, FeatureView, Limits
from pit_join.times import short_duration
from pit_join.warehouse.duckdb_session import DuckDBWarehouse
from pit_join.warehouse.expressions import problem_of_condition
from pit_join.workspace import Histories, Workspace

TYPES = {
    "carrier": "varchar",
    "at": "timestamptz",
    "landed_at": "timestamptz",
    "flight_id": "bigint",
    "gone": "boolean",
    "delay": "integer",
    "fare": "decimal(10, 2)",
    "distance": "double",
    "tail": "varchar",
    "stops": "varchar[]",
}
COUNT = "{name: flights, function: count, window: 1 day}"
CREATED = "created_timestamp: landed_at"


def manifest(meta: str, columns: Mapping[str, Any] | None = None, service: str = "") -> dict[str, Any]:
    """One view, declared by the YAML of its meta; `columns` are the metas of some columns."""
    declared = yaml.safe_load(f"{{entity: carrier, join_keys: [carrier], {meta}}}")
    node = {
        "name": "flights",
        "resource_type": "model",
        "package_name": "demo",
        "patch_path": "demo://models/events.yml",
        "config": {"event_time": "at", "materialized": "table", "meta": {"pit_join": declared}},
        "columns": {
            name: {"name": name, "data_type": kind, "config": {"meta": {"pit_join": (columns or {}).get(name)}}}
            for name, kind in TYPES.items()
        },
    }
    exposure = {
        "name": "delays",
        "type": "ml",
        "original_file_path": "models/services.yml",
        "depends_on": {"nodes": ["model.demo.flights"]},
        "config": {"meta": {"pit_join": {"features": [service]}}},
    }
    return {
        "metadata": {"project_name": "demo"},
        "nodes": {"model.demo.flights": node},
        "exposures": {"exposure.demo.delays": exposure} if service else {},
    }


def read(meta: str, columns: Mapping[str, Any] | None = None) -> FeatureView:
    return Registry.from_manifest(manifest(meta, columns)).view("flights")


def problems(meta: str, columns: Mapping[str, Any] | None = None, service: str = "") -> tuple[str, ...]:
    with pytest.raises(ProjectError) as raised:
        Registry.from_manifest(manifest(meta, columns, service))
    return raised.value.problems


def of(aggregation: str) -> str:
    return f"aggregations: [{aggregation}]"


# --------------------------------------------------------------------------------------------------- what is right


def test_a_window_view() -> None:
    view = read(
        f"{CREATED}, lag: 1 hour, deleted: gone, event_key: flight_id, closed: right, aggregations: ["
        "{name: late, function: count, window: 24 hours, where: delay > 15}, "
        "{name: delay, function: avg, column: delay, windows: [1 hour, 7d, lifetime], default: 0.5}, "
        "{name: tails, function: last_n, column: tail, n: 3, window: lifetime, default: []}]"
    )
    assert view.features == (
        Feature("late", read_type("bigint")),
        Feature("delay_1h", read_type("double"), 0.5),
        Feature("delay_7d", read_type("double"), 0.5),
        Feature("delay_lifetime", read_type("double"), 0.5),
        Feature("tails", read_type("varchar[]"), []),
    )
    assert [one.name for one in view.aggregations] == [feature.name for feature in view.features]
    assert [one.function for one in view.aggregations] == ["count", "avg", "avg", "avg", "last_n"]
    assert [one.column for one in view.aggregations] == [None, "delay", "delay", "delay", "tail"]
    assert [one.window for one in view.aggregations] == [
        timedelta(days=1), timedelta(hours=1), timedelta(days=7), None, None,
    ]  # fmt: skip
    assert [one.where for one in view.aggregations] == ["delay > 15", None, None, None, None]
    assert [one.n for one in view.aggregations] == [None, None, None, None, 3]
    assert (view.closed, view.event_key, view.deleted) == ("right", ("flight_id",), "gone")
    assert (view.lag, view.ttl, view.inclusive) == (timedelta(hours=1), None, True)


def test_defaults_of_a_window_view() -> None:
    view = read(of(COUNT))
    assert (view.closed, view.event_key) == ("left", ())
    assert read(f"{CREATED}, event_key: [flight_id, tail], {of(COUNT)}").event_key == ("flight_id", "tail")


def test_limits_of_monitoring_of_one_feature() -> None:
    """An aggregation has its own limits, those of the view otherwise; its columns have none."""
    own = "{name: late, function: count, windows: [1 day, 7 days], drift: {psi: 0.05}, max_default_rate: 0.1}"
    meta = f"max_default_rate: 0.5, drift: {{after: 2 runs}}, aggregations: [{own}, {COUNT}]"
    limits = {each.name: each.limits for each in read(meta).features}
    assert limits["late_1d"] == limits["late_7d"] == Limits(default_rate=0.1, psi=0.05, after=2)
    assert limits["flights"] == Limits(default_rate=0.5, after=2)
    assert problems(of("{name: n, function: count, window: 1 day, drift: {psi: 0}}"))[0].endswith(
        "aggregations.n.drift.psi: must be a number over 0, such as 0.2, got 0"
    )


def test_any_other_view_has_none_of_it() -> None:
    view = read(f"{CREATED}, deleted: gone, ttl: 1 day, inclusive: false")
    assert (view.aggregations, view.closed, view.event_key) == ((), "left", ())
    assert [feature.name for feature in view.features] == ["flight_id", "delay", "fare", "distance", "tail", "stops"]


def test_a_feature_may_have_the_name_of_a_column_that_is_none() -> None:
    assert read(of("{name: delay, function: last, column: delay, window: 1 day}")).features[0].name == "delay"


@pytest.mark.parametrize(
    ("written", "short", "window"),
    [
        ("1 hour", "1h", timedelta(hours=1)),
        ("24 hours", "24h", timedelta(hours=24)),
        ("1 day", "1d", timedelta(days=1)),
        ("7d", "7d", timedelta(days=7)),
        ("90 seconds", "90s", timedelta(seconds=90)),
        ("90s", "90s", timedelta(seconds=90)),
        ("5 minutes", "5m", timedelta(minutes=5)),
        ("250 milliseconds", "250ms", timedelta(milliseconds=250)),
        ("250ms", "250ms", timedelta(milliseconds=250)),
        ("lifetime", "lifetime", None),
    ],
)
def test_names_of_expanded_windows(written: str, short: str, window: timedelta | None) -> None:
    """The unit and the number are those written: 24 hours is not renamed to 1 day."""
    view = read(of(f"{{name: flights, function: count, windows: [{written}]}}"))
    assert [(one.name, one.window) for one in view.aggregations] == [(f"flights_{short}", window)]
    assert [one.name for one in read(of(COUNT.replace("1 day", written))).aggregations] == ["flights"]


def test_short_duration_refuses_what_is_no_duration() -> None:
    with pytest.raises(ValueError, match="cannot read the duration 'lifetime'"):
        short_duration("lifetime")


RESULT_TYPES = {
    "count": ("bigint",) * 6,
    "count_distinct": ("bigint",) * 6,
    "sum": ("bigint", "decimal(38, 2)", "double", None, None, "bigint"),
    "avg": ("double", "double", "double", None, None, "double"),
    "stddev": ("double", "double", "double", None, None, "double"),
    **dict.fromkeys(
        ("min", "max", "first", "last"), ("integer", "decimal(10, 2)", "double", "varchar", "varchar[]", "bigint")
    ),
    "last_n": ("integer[]", "decimal(10, 2)[]", "double[]", "varchar[]", "varchar[][]", "bigint[]"),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_result_types(function: str) -> None:
    columns = ("delay", "fare", "distance", "tail", "stops", "flight_id")
    for column, expected in zip(columns, RESULT_TYPES[function], strict=True):
        n = ", n: 2" if function == "last_n" else ""
        meta = of(f"{{name: x, function: {function}, column: {column}, window: 1 day{n}}}")
        if expected is None:
            (problem,) = problems(meta)
            assert "aggregations.x.column: " in problem
        else:
            assert read(meta).features == (Feature("x", read_type(expected)),)


@pytest.mark.parametrize(
    ("data_type", "total"),
    [
        ("HUGEINT", "bigint"),
        ("utinyint", "bigint"),
        ("int4", "bigint"),
        ("REAL", "double"),
        ("float8", "double"),
        ("double precision", "double"),
        ("NUMERIC(9,4)", "decimal(38, 4)"),
        ("decimal(9)", "decimal(38, 0)"),
        ("decimal", "decimal(38, 3)"),
    ],
)
def test_sums_of_other_spellings(data_type: str, total: str) -> None:
    assert str(result_type("sum", read_type(data_type))) == total


def test_description() -> None:
    class Nothing:
        @property
        def views(self) -> Any:
            return self

        def has(self, location: tuple[str, str, str]) -> bool:
            return False

    def describe(view: FeatureView) -> dict[str, Any]:
        return catalog._describe(view, Histories(cast(DuckDBWarehouse, Nothing()), cast(Workspace, None)))

    described = describe(read("aggregations: [{name: n, function: count, windows: [24 hours, lifetime]}]"))
    assert described["features"] == ["n_24h", "n_lifetime"]
    assert (described["closed"], described["windows"]) == ("left", {"n_24h": "1 day", "n_lifetime": "lifetime"})
    other = describe(read(""))
    assert (other["closed"], other["windows"]) == (None, None)


def test_views_command_shows_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    described = {
        "name": "flights", "entity": "carrier", "join_keys": ["carrier"], "event_timestamp": "at",
        "created_timestamp": None, "ttl": None, "lag": None, "rows": None, "newest": None, "closed": "left",
        "windows": {"n_24h": "1 day", "m": "1 day", "n_lifetime": "lifetime"}, "features": ["n_24h", "m", "n_lifetime"],
    }  # fmt: skip
    monkeypatch.setattr(api.FeatureStore, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(api.FeatureStore, "describe_views", lambda _: [described])
    monkeypatch.setattr(api.FeatureStore, "describe_services", lambda _: [])
    monkeypatch.setattr(api.FeatureStore, "describe_on_demand", lambda _: [])
    shown = CliRunner().invoke(main, ["views"]).output.splitlines()
    assert shown[-1] == "flights (windows of 1 day, lifetime, closed left): n_24h, m, n_lifetime"
    assert json.loads(CliRunner().invoke(main, ["views", "--json"]).output) == [described]


# --------------------------------------------------------------------------------------------------- what is wrong

# what is wrong -> (the meta, the key that the message names, what it says)
WRONG: dict[str, tuple[str, str, str]] = {
    "no aggregation": ("aggregations: []", "aggregations", r"must be a list of aggregations.*, got \[\]"),
    "aggregations as a mapping": (f"aggregations: {COUNT}", "aggregations", "must be a list .* got {'name': 'flights'"),
    "aggregations without a value": ("aggregations: ", "config.meta.pit_join.aggregations", "is empty"),
    "a typo beside": (f"agregations: [{COUNT}]", "config.meta.pit_join.agregations",
        "unknown key; did you mean 'aggregations'"),
    "ttl": (f"ttl: 1 day, {of(COUNT)}", "ttl", "is not for a view with aggregations; their windows"),
    "inclusive": (f"inclusive: true, {of(COUNT)}", "inclusive", "is not for a view with aggregations; closed: left"),
    "deleted alone": (f"{CREATED}, deleted: gone, {of(COUNT)}", "deleted", "beside aggregations needs event_key"),
    "closed alone": ("closed: left", "closed", "is only for a view with aggregations"),
    "closed both": (f"closed: both, {of(COUNT)}", "closed", "must be left or right, got 'both'"),
    "closed as a list": (f"closed: [left], {of(COUNT)}", "closed", r"must be left or right, got \['left'\]"),
    "event_key alone": (f"{CREATED}, event_key: flight_id", "event_key", "is only for a view with aggregations"),
    "event_key without created": (f"event_key: flight_id, {of(COUNT)}", "event_key", "needs created_timestamp, which"),
    "event_key unlisted": (f"{CREATED}, event_key: [flightid], {of(COUNT)}", "event_key",
        "no column 'flightid' is listed; did you mean 'flight_id'"),
    "event_key twice": (f"{CREATED}, event_key: [tail, tail], {of(COUNT)}", "event_key", "a column is listed twice"),
    "event_key empty": (f"{CREATED}, event_key: [], {of(COUNT)}", "event_key", r"must be a column, or .* got \[\]"),
    "event_key number": (f"{CREATED}, event_key: 7, {of(COUNT)}", "event_key", "must be a column, or .* got 7"),
    "event_key with created": (f"{CREATED}, event_key: [tail, landed_at], {of(COUNT)}", "event_key",
        "'landed_at' differs between versions of one event"),
    "event_key with deleted": (f"{CREATED}, deleted: gone, event_key: [tail, gone], {of(COUNT)}", "event_key",
        "'gone' differs between versions of one event"),
}  # fmt: skip

# what is wrong -> (the aggregation, its key, what it says)
WRONG_AGGREGATIONS: dict[str, tuple[str, str, str]] = {
    "a text": ("count", "", "must be a mapping, got 'count'; allowed keys are name, function, column"),
    "no name": ("{function: count, window: 1 day}", "#1.name", "is missing"),
    "name without a value": ("{name: , function: count, window: 1 day}", "#1.name", "is empty"),
    "a number as name": ("{name: 7, function: count, window: 1 day}", "#1.name", "must be letters .* got 7"),
    "blanks in the name": ("{name: a b, function: count, window: 1 day}", "a b.name", "must be letters .* got 'a b'"),
    "a digit first": ("{name: 7days, function: count, window: 1 day}", "7days.name", "no digit first, got '7days'"),
    "a dash": ("{name: a-b, function: count, window: 1 day}", "a-b.name", "must be letters"),
    "a kept name": ("{name: _PIT_n, function: count, window: 1 day}", "_PIT_n.name", "start with _pit_ are kept"),
    "name of a key": ("{name: Carrier, function: count, window: 1 day}", "Carrier.name",
        "'Carrier' is the name of a join key"),
    "name of the time": ("{name: at, function: count, window: 1 day}", "at.name", "'at' is the name of the event time"),
    "no function": ("{name: x, window: 1 day}", "x.function", "is missing; allowed: count, count_distinct, sum"),
    "unknown function": ("{name: x, function: coutn, window: 1 day}", "x.function",
        "unknown function 'coutn'; did you mean 'count'.* allowed: avg, count"),
    "another word for a function": ("{name: x, function: mean, column: delay, window: 1 day}", "x.function",
        "unknown function 'mean'; did you mean 'avg'"),
    "function as a list": ("{name: x, function: [count], window: 1 day}", "x.function",
        r"unknown function \['count'\]"),
    "unknown key": ("{name: x, function: count, window: 1 day, were: a}", "x.were",
        "unknown key; did you mean 'where'.* allowed: column, default"),
    "another case": ("{name: x, function: count, Window: 1 day, window: 1 day}", "x.Window", "did you mean 'window'"),
    "no column": ("{name: x, function: max, window: 1 day}", "x.column", "is missing; max needs .* columns: at"),
    "absent column": ("{name: x, function: max, column: delays, window: 1 day}", "x.column",
        "no column 'delays' is listed; did you mean 'delay'"),
    "column as a list": ("{name: x, function: max, column: [delay], window: 1 day}", "x.column", "no column '.'delay"),
    "absent column of a count": ("{name: x, function: count, column: y, window: 1 day}", "x.column", "no column 'y'"),
    "sum of text": ("{name: x, function: sum, column: tail, window: 1 day}", "x.column",
        "sum needs an integer, decimal or float column, and 'tail' is varchar"),
    "avg of times": ("{name: x, function: avg, column: at, window: 1 day}", "x.column", "and 'at' is timestamptz"),
    "stddev of marks": ("{name: x, function: stddev, column: gone, window: 1 day}", "x.column", "'gone' is boolean"),
    "no window": ("{name: x, function: count}", "x.window", "is missing; give a duration .* or lifetime, or several"),
    "both": ("{name: x, function: count, window: 1 day, windows: [1 h]}", "x.windows", "stands beside window"),
    "window of 0": ("{name: x, function: count, window: 0 hours}", "x.window", "is '0 hours', so that no event"),
    "window as a number": ("{name: x, function: count, window: 24}", "x.window", "must be a duration .* got 24"),
    "window as a list": ("{name: x, function: count, window: [1 h]}", "x.window", r"must be .* got \['1 h'\]"),
    "unreadable window": ("{name: x, function: count, window: 1 month}", "x.window",
        "cannot read the duration '1 month'; .* or lifetime"),
    "Lifetime": ("{name: x, function: count, window: Lifetime}", "x.window", "cannot read .*; or lifetime"),
    "window without a value": ("{name: x, function: count, window: }", "x.window", "is empty"),
    "windows as a text": ("{name: x, function: count, windows: 1 day}", "x.windows", "must be a list .* got '1 day'"),
    "no windows": ("{name: x, function: count, windows: []}", "x.windows", r"must be a list .* got \[\]"),
    "a bad one of windows": ("{name: x, function: count, windows: [1 h, 1 week]}", "x.windows", "cannot .* '1 week'"),
    "null in windows": ("{name: x, function: count, windows: [1 h, null]}", "x.windows", "must be .* got None"),
    "windows twice": ("{name: x, function: count, windows: [1 h, 1 h]}", "x.windows", "'1 h' and '1 h' are the same"),
    "one window in two units": ("{name: x, function: count, windows: [1 day, 24 hours]}", "x.windows",
        "'24 hours' and '1 day' are the same window"),
    "where as a flag": ("{name: x, function: count, window: 1 day, where: true}", "x.where", "must be a text.* True"),
    "where of blanks": ("{name: x, function: count, window: 1 day, where: ' '}", "x.where", "must be a text.* ' '"),
    "where without a value": ("{name: x, function: count, window: 1 day, where: }", "x.where", "is empty"),
    "no n": ("{name: x, function: last_n, column: tail, window: 1 day}", "x.n", "is missing; last_n needs"),
    "n of 0": ("{name: x, function: last_n, n: 0, column: tail, window: 1 day}", "x.n", "from 1 to 1000, got 0"),
    "n of 1001": ("{name: x, function: last_n, n: 1001, column: tail, window: 1 day}", "x.n", "got 1001"),
    "n as a flag": ("{name: x, function: last_n, n: true, column: tail, window: 1 day}", "x.n", "got True"),
    "half an n": ("{name: x, function: last_n, n: 1.5, column: tail, window: 1 day}", "x.n", "got 1.5"),
    "n of last": ("{name: x, function: last, n: 2, column: tail, window: 1 day}", "x.n",
        "only for last_n, not for last;"),
    "default of a count": ("{name: x, function: count, window: 1 day, default: 0}", "x.default",
        "count is never null, so it has no default"),
    "default of distinct": ("{name: x, function: count_distinct, column: tail, window: 1 day, default: 0}",
        "x.default", "count_distinct is never null"),
    "default of another type": ("{name: x, function: sum, column: delay, window: 1 day, default: 0.5}",
        "x.default", "0.5 is not a whole number, and the type is bigint"),
    "text as default": ("{name: x, function: avg, column: delay, window: 1 day, default: none}",
        "x.default", "'none' is not a number, and the type is double"),
    "one value as default": ("{name: x, function: last_n, n: 2, column: fare, window: 1 day, default: 0}",
        "x.default", r"0 does not fit the type decimal\(10, 2\)\[\]"),
}  # fmt: skip


@pytest.mark.parametrize("title", WRONG)
def test_wrong_declaration(title: str) -> None:
    meta, key, says = WRONG[title]
    (problem,) = problems(meta)
    assert problem.startswith(f"models/events.yml: flights: {key}: ")
    assert re.search(says, problem)


@pytest.mark.parametrize("title", WRONG_AGGREGATIONS)
def test_wrong_aggregation(title: str) -> None:
    aggregation, key, says = WRONG_AGGREGATIONS[title]
    (problem,) = problems(of(aggregation))
    assert problem.startswith(f"models/events.yml: flights: aggregations.{key or '#1'}: ")
    assert re.search(says, problem)


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (COUNT, COUNT, "aggregations.flights.name: 'flights' is a feature of the aggregation #1 already"),
        (COUNT, COUNT.replace("flights", "FLIGHTS"), "'FLIGHTS' is .*#1 already; letter case does not tell"),
        ("{name: a, function: count, windows: [1 hour, 1 day]}", COUNT.replace("flights", "a_1d"), "'a_1d' is .*#1"),
        (COUNT.replace("flights", "a_1H"), "{name: a, function: count, windows: [1 hour, 1 day]}", "'a_1h' is .*#1"),
    ],
)
def test_names_that_collide(first: str, second: str, says: str) -> None:
    (problem,) = problems(f"aggregations: [{first}, {second}]")
    assert re.search(says, problem)


def test_expanded_name_of_a_key() -> None:
    meta = "{entity: carrier, join_keys: [n_1d], aggregations: [{name: n, function: count, windows: [1 day]}]}"
    changed = manifest("")
    node = changed["nodes"]["model.demo.flights"]
    node["config"]["meta"]["pit_join"] = yaml.safe_load(meta)
    node["columns"]["n_1d"] = {"name": "n_1d", "data_type": "bigint"}
    with pytest.raises(ProjectError, match=r"aggregations\.n\.name: 'n_1d' is the name of a join key"):
        Registry.from_manifest(changed)


@pytest.mark.parametrize("column", ["delay", "flight_id", "carrier", "at"])
@pytest.mark.parametrize(
    ("meta", "key", "says"),
    [
        ({"default": 0}, "default", "not its columns; put the default on the aggregation"),
        ({"exclude": True}, "exclude", "not its columns; leave it out"),
        ({"freshness_slo": "1 day"}, "freshness_slo", "not its columns; put it on the view"),
        ({"drift": {"psi": 1}}, "drift", "not its columns; put it on the aggregation"),
        ({"defualt": 0}, "config.meta.pit_join.defualt", "unknown key; did you mean 'default'"),
    ],
)
def test_settings_of_a_column(column: str, meta: dict[str, Any], key: str, says: str) -> None:
    (problem,) = problems(f"{CREATED}, event_key: flight_id, {of(COUNT)}", {column: meta})
    assert problem.startswith(f"models/events.yml: flights: columns.{column}.{key}: ")
    assert says in problem


def test_all_problems_at_once() -> None:
    found = problems(
        "ttl: 1 day, inclusive: false, closed: middle, event_key: [nope], deleted: gone, aggregations: ["
        "{name: a, function: coun, window: 0d, where: 7}, "
        "{name: b, function: sum, column: tail, windows: [soon, 0 h], n: 3}, "
        "7, "
        "{function: last_n, column: nope, widow: 1 day}, "
        f"{COUNT}, {COUNT}]",
        {"delay": {"default": 0}},
    )
    keys = sorted(problem.removeprefix("models/events.yml: flights: ").split(": ")[0] for problem in found)
    assert keys == [
        "aggregations.#3", "aggregations.#4.column", "aggregations.#4.n", "aggregations.#4.name",
        "aggregations.#4.widow", "aggregations.#4.window", "aggregations.a.function", "aggregations.a.where",
        "aggregations.a.window", "aggregations.b.column", "aggregations.b.n", "aggregations.b.windows",
        "aggregations.b.windows", "aggregations.flights.name", "closed", "columns.delay.default", "event_key",
        "event_key", "inclusive", "ttl",
    ]  # fmt: skip


def test_a_service_of_a_broken_window_view_is_not_reported_as_well() -> None:
    """A feature is known by its name, whatever else is wrong with it."""
    (problem,) = problems(of("{name: x, function: coun, window: 1 day}"), service="flights:x")
    assert problem.startswith("models/events.yml: flights: aggregations.x.function: ")
    (problem,) = problems(of(COUNT), service="flights:delay")
    assert "view 'flights' has no feature 'delay'; features: flights" in problem


COLUMNS = {
    name: read_type(kind)
    for name, kind in {
        "delay": "double",
        "day": "date",
        "landed_at": "timestamp",
        "kind": "varchar",
        "tags": "varchar[]",
    }.items()
}
CONDITIONS = {
    "delay": "it is of type DOUBLE; a condition is true or false, so compare it",
    "kind || 'x'": "it is of type VARCHAR",
    "day > 3": "it cannot be read: Binder Error",
    "random() < 0.5": "random does not give the same value at any time",
    "landed_at > now()": "now does not give the same value at any time",
    "day < current_date": "current_date does not give the same value",
    "getvariable('x') = 1": "getvariable reads the session",
    "row_number() over () = 1": "row_number looks at more than one row",
    "sum(delay) > 3": "sum looks at more than one row",
    "unnest([1, 2]) > 0": "unnest looks at more than one row, or makes several; a condition is about the",
    "exists (select 1)": "it holds a subquery",
    "(select 1) = 1": "it holds a subquery",
    "delay > 1) or (true": "it is not an SQL expression",
    "true) then 1 end -- ": "it is not an SQL expression",
    "delay > 1; drop table x": "it is not an SQL expression",
    "delay > 1, true": "it must be one SQL expression",
    "delay > 1 from x": "it is not an SQL expression",
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_that_is_not_about_one_event(condition: str) -> None:
    problem = problem_of_condition(condition, COLUMNS)
    assert problem is not None
    assert problem.startswith(CONDITIONS[condition])


@pytest.mark.parametrize(
    "condition",
    [
        "delay > 15",
        "kind in ('a)', 'b') -- a comment",
        "not cancelled and (a or b)",  # which the YAML does not list
        "a_mood = 'good'",
        "list_contains(tags, 'x')",
        "Current_Date > 1",
    ],
)
def test_a_condition(condition: str) -> None:
    types = COLUMNS | {"current_date": read_type("integer"), "a_mood": read_type("mood")}
    assert problem_of_condition(condition, types) is None
