"""`pit-join check` finds each planted problem, and none in the demo; what it cannot look at yet is said."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from support.dbt import Built
from support.projects import BASE, KEYS, VALUE, make_project, run, view

pytestmark = pytest.mark.dbt

SERVICE = """
exposures:
  - name: risk
    type: ml
    owner: {name: a, email: a@example.com}
    depends_on: [ref('logins'), ref('visits')]
    config: {meta: {pit_join: {features: ["logins:value", "visits:value"]}}}
"""
MACROS = """
macros:
  - {name: lucky, config: {meta: {pit_join: {returns: double}}}, arguments: [{name: amount, type: double}]}
"""


def test_the_demo_has_no_problem(demo: Built) -> None:
    done = run("check", "--project-dir", str(demo.directory))
    assert (done.status, done.out) == (
        0,
        "pit_join, target dev: 10 feature views, 2 services, 3 on-demand features, no problem\n",
    )


def test_declarations_are_all_reported(tmp_path: Path) -> None:
    views = {
        "logins": view(f"{KEYS}, tll: 3 days", f"{BASE}, {VALUE}"),
        "visits": view(KEYS, f"{BASE}, {VALUE}", event_time="moment"),
    }
    shop = make_project(tmp_path / "shop", views)
    done = run("check", cwd=shop)
    assert (done.status, done.err.replace("dbt parses the project\n", "")) == (1, "")
    *problems, not_built, last = done.out.splitlines()
    assert not_built == "not built yet, so their tables were not checked: logins, visits"
    assert [problem.split(": ")[1:3] for problem in problems] == [
        ["logins", "config.meta.pit_join.tll"],
        ["visits", "config.event_time"],
    ]
    assert last == "2 problems"


def test_services_macros_and_tables_are_looked_at(tmp_path: Path) -> None:
    wrong = VALUE.replace("}", ", config: {meta: {pit_join: {default: 1000}}}}").replace("double", "'decimal(4, 2)'")
    views = {
        "logins": view(KEYS, f"{BASE}, {VALUE}"),
        "visits": view(KEYS, f"{BASE}, {VALUE}"),
        "orders": view(KEYS, f"{BASE}, {wrong}"),
        "later": view(KEYS, f"{BASE}, {VALUE}"),
    }
    shop = make_project(tmp_path / "shop", views, SERVICE)
    (shop / "macros").mkdir()
    (shop / "macros" / "macros.yml").write_text(MACROS)
    (shop / "macros" / "lucky.sql").write_text("{% macro lucky(amount) %}{{ amount }} * random(){% endmacro %}")
    columns = "user_id varchar, event_timestamp timestamptz"
    with duckdb.connect(str(shop / "warehouse.duckdb")) as connection:
        connection.execute(f"create table logins ({columns}, value double)")
        connection.execute(f"create table visits ({columns})")
        connection.execute(f"create table orders ({columns}, value decimal(4, 2))")
    done = run("check", "--json", cwd=shop)
    assert done.status == 1
    found = json.loads(done.out)
    assert (found["views"], found["services"], found["on_demand"], found["not_built"]) == (4, 1, 1, ["later"])
    for text, words in zip(sorted(found["problems"]), WANTED, strict=True):
        assert words in text


WANTED = (
    "lucky: random does not give the same value at any time",
    "orders: columns.value.default: 1000 does not fit the type decimal(4, 2)",
    "risk: features: both logins:value and visits:value would be named value",
    "the table of the feature view 'visits' has no column 'value'",
)


def test_what_needs_no_table_is_checked_before_the_first_build(tmp_path: Path) -> None:
    """Of a view all conditions and defaults are judged, and a fault of one view is not that of the next."""
    count = "{{name: {}, function: count, window: 1 day, where: {}}}"
    conditions = {"a": "value >", "b": "value > now()", "c": "value", "d": "value > 3", "e": "unlisted > 3"}
    counts = ", ".join(count.format(name, condition) for name, condition in conditions.items())

    def with_default(kind: str, default: str) -> str:
        return f"{BASE}, {{name: value, data_type: {kind}, config: {{meta: {{pit_join: {{default: {default}}}}}}}}}"

    views = {
        "counted": view(f"{KEYS}, aggregations: [{counts}]", f"{BASE}, {VALUE}"),
        "a_bad": view(KEYS, with_default("uuid", "zzz")),
        "b_good": view(KEYS, with_default("timestamp", "'2026-01-01'")),
        "c_bad": view(KEYS, with_default("timestamp", "'2026-13-01'")),
        "d_enum": view(KEYS, with_default("mood", "glad")),
    }
    shop = make_project(tmp_path / "shop", views)
    wanted = [["a_bad", "columns.value.default"], ["c_bad", "columns.value.default"]]
    wanted += [["counted", f"aggregations.{name}.where"] for name in "abc"]
    for built in (False, True):
        if built:
            types = {
                "counted": "double",
                "a_bad": "uuid",
                "b_good": "timestamp",
                "c_bad": "timestamp",
                "d_enum": "mood",
            }
            with duckdb.connect(str(shop / "warehouse.duckdb")) as connection:
                connection.execute("create type mood as enum ('sad')")
                for name, kind in types.items():
                    connection.execute(
                        f"create table {name} (user_id varchar, event_timestamp timestamptz, value {kind})"
                    )
            wanted.append(["d_enum", "a default does not fit its type"])  # only the warehouse knows its values
        found = json.loads(run("check", "--json", cwd=shop).out)["problems"]
        assert sorted(problem.split(": ")[1:3] for problem in found) == sorted(wanted), found


def test_a_text_feature_is_not_an_argument_of_numbers(tmp_path: Path) -> None:
    mood = VALUE.replace("double", "varchar")
    service = SERVICE.replace('"visits:value"', '{on_demand: lucky, arguments: {amount: "visits:value"}}')
    shop = make_project(
        tmp_path / "shop", {"logins": view(KEYS, f"{BASE}, {VALUE}"), "visits": view(KEYS, f"{BASE}, {mood}")}, service
    )
    (shop / "macros").mkdir()
    (shop / "macros" / "macros.yml").write_text(MACROS)
    (shop / "macros" / "lucky.sql").write_text("{% macro lucky(amount) %}2 * {{ amount }}{% endmacro %}")
    done = run("check", cwd=shop)
    told = "the argument 'amount' of 'lucky' is of type double, and the feature visits:value is of type varchar"
    assert (done.status, told in done.out) == (1, True), done.out
