"""The demo as dbt builds it, the generic tests where they must fail, and the macros in a project of somebody else."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from generate import quote
from support.dbt import ROOT, Built, build, copied, failures, results, run_dbt
from support.runs import sampled

from pit_join import FeatureStore
from pit_join.project.rendering import Renderer

pytestmark = pytest.mark.dbt


def query(built: Built, sql: str, name: str = "warehouse.duckdb") -> list[tuple[Any, ...]]:
    """Run SQL on a project's warehouse; times are UTC."""
    with duckdb.connect(str(built.directory / name), config={"threads": 1}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(sql).fetchall()


def table(built: Built, name: str) -> pa.Table:
    with duckdb.connect(str(built.directory / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.sql(f"from {name}").to_arrow_table()


def nodes(built: Built, kind: str) -> list[Any]:
    return [node for node in built.manifest.nodes.values() if node.resource_type == kind]


# The demo -----------------------------------------------------------------------------------------------


def test_each_clause_of_the_rule_is_a_unit_test(demo: Built) -> None:
    # that they passed is in the fixture: `dbt build` succeeded
    tested = {test.name: test.model for test in demo.manifest.unit_tests.values()}
    for name in (
        *("login_example", "ttl_includes_its_edge", "lag_delays_what_is_known"),
        *("late_and_restated_rows_count_from_when_they_were_loaded", "of_tied_rows_one_wins_whole"),
        *("deleted_ends_the_user_from_when_it_is_known", "null_keys_and_times_match_nothing"),
        *("duplicate_labels_stay", "nulls_of_the_winner_stay"),
    ):
        assert tested[name] == "login_training"
    for name in (
        "login_example_a_day_ahead",
        "gap_moves_the_whole_question_back",
        "every_status",
        "one_view_in_two_roles",
    ):
        assert tested[name] == "login_training_day_ahead"


def test_every_feature_view_is_tested_for_ties_and_future_rows(demo: Built) -> None:
    declared = {
        node.name: node.config.meta["pit_join"] for node in nodes(demo, "model") if "pit_join" in node.config.meta
    }
    # Events without an event_key have no versions: two equal rows are two events.
    events = {name for name, meta in declared.items() if "aggregations" in meta}
    assert (len(declared), len(events)) == (10, 3)
    for name, views in (("unique_feature_rows", declared.keys() - events), ("no_future_rows", declared.keys())):
        tests = [
            test
            for test in nodes(demo, "test")
            if getattr(test, "test_metadata", None) and test.test_metadata.name == name
        ]
        assert {test.attached_node.split(".")[-1] for test in tests} == views


def test_every_feature_view_is_shown_with_its_rows_and_its_newest_event(demo: Built) -> None:
    described = FeatureStore(demo.directory).describe_views()
    assert len(described) == 10
    for view in described:
        name, time = (quote(view[each]) for each in ("name", "event_timestamp"))
        ((rows, newest),) = query(demo, f"select count(*), max({time})::timestamptz from {name}")
        assert (view["rows"], datetime.fromisoformat(view["newest"])) == (rows, newest), view["name"]


def test_the_training_set_of_the_login_example(demo: Built) -> None:
    rows = query(
        demo,
        """
        select user_id, strftime(event_timestamp, '%m-%d %H:%M'), login_count_30d, session_duration_avg
        from login_training
        """,
    )
    assert rows == [
        ("u1", "03-18 14:30", 18, 295.0),
        ("u1", "03-01 05:59", 0, None),  # a second before the lag is over
        ("u1", "04-20 12:00", 7, 120.25),
        ("u2", "03-11 12:00", 3, 45.0),
        ("u2", "03-18 12:00", 4, 50.0),  # restated on the 12th
        ("u2", "03-25 12:00", 5, None),  # of the 10th, loaded on the 20th
        ("u3", "03-10 12:00", 9, 600.0),
        ("u3", "03-21 12:00", 0, None),  # the account was closed on the 20th
        ("u4", "03-18 12:00", 0, None),
    ]


ROLE = "referrer=user_activity(user_id=referred_by)"


@pytest.mark.parametrize(
    ("model", "spine", "features", "options"),
    [
        ("flight_delay_training", "flight_spine", "flight_delay_v1", {}),
        ("login_training", "login_labels", ["user_activity:*"], {}),
        (
            "login_training_day_ahead",
            "login_labels",
            ["user_activity:*", "referrer:login_count_30d"],
            {"roles": [ROLE], "gap": "24h", "full_feature_names": True, "provenance": True, "defaults": False},
        ),
    ],
)
def test_a_model_and_the_package_build_the_same_training_set(
    demo: Built, model: str, spine: str, features: Any, options: dict[str, Any]
) -> None:
    built = FeatureStore(demo.directory).get_historical_features(spine, features, **options).to_arrow()
    stored = table(demo, model)
    assert built.num_rows == stored.num_rows > 0
    assert built.column_names == stored.column_names
    # of the types large and small strings are one
    assert built.cast(stored.schema) == stored


# The generic tests --------------------------------------------------------------------------------------

# What is planted, which test must fail, and on how many rows.
PLANTED = {
    "a_user_twice_at_one_instant": (
        "insert into user_activity select * replace (1 as login_count_30d) from user_activity where user_id = 'u3'",
        "user_activity,test_name:unique_feature_rows",
        2,
    ),
    "an_hour_of_weather_twice": (
        "insert into airport_weather from airport_weather limit 3",
        "airport_weather,test_name:unique_feature_rows",
        3,
    ),
    "a_route_twice_at_one_instant": (
        "insert into route_history from (from route_history limit 1) union all (from route_history limit 1)",
        "route_history,test_name:unique_feature_rows",
        1,
    ),
    "weather_of_tomorrow": (
        "update airport_weather set event_timestamp = now() + interval 1 day where rowid = 5",
        "airport_weather,test_name:no_future_rows",
        1,
    ),
    "a_leg_that_lands_tomorrow": (
        "update aircraft_last_leg set known_at = now() + interval 1 day where rowid < 2",
        "aircraft_last_leg,test_name:no_future_rows",
        2,
    ),
    "a_user_after_the_day_that_the_test_names": (
        "update user_activity set loaded_at = '2026-05-01 00:00:00.000001+00' where login_count_30d = 7",
        "user_activity,test_name:no_future_rows",
        1,
    ),
    # A row that differs is there twice: as it is stored and as it should be.
    "a_value_changed": (
        "update flight_delay_training set last_arr_delay = last_arr_delay + 1 where rowid = ("
        "select min(rowid) from flight_delay_training where last_arr_delay is not null)",
        "flight_delay_training,test_name:point_in_time_correct",
        2,
    ),
    "a_null_filled": (
        "update login_training set session_duration_avg = 1 where user_id = 'u4'",
        "login_training,test_name:point_in_time_correct",
        2,
    ),
    "a_value_from_the_future": (
        """
        update flight_delay_training as training set origin_weather__temp = later.temp
        from (
            select training.rowid as row_number, min_by(weather.temp, weather.event_timestamp) as temp
            from flight_delay_training as training
            inner join airport_weather as weather
                on training.origin = weather.airport and weather.event_timestamp > training.event_timestamp
            where weather.temp <> training.origin_weather__temp
            group by all
            limit 1
        ) as later
        where training.rowid = later.row_number
        """,
        "flight_delay_training,test_name:point_in_time_correct",
        2,
    ),
    "a_row_missing": (
        "delete from flight_delay_training where rowid = 7",
        "flight_delay_training,test_name:point_in_time_correct",
        1,
    ),
    "a_row_twice": (
        "insert into login_training from login_training limit 1",
        "login_training,test_name:point_in_time_correct",
        1,
    ),
    "a_label_changed": (
        "update flight_delay_training set arrived_late = 1 - arrived_late where rowid = 3",
        "flight_delay_training,test_name:point_in_time_correct",
        2,
    ),
    "a_time_of_another_row": (
        "update login_training_day_ahead set user_activity__event_timestamp = '2026-03-03' where user_id = 'u3'",
        "login_training_day_ahead,test_name:point_in_time_correct",
        4,
    ),
}


@pytest.fixture(scope="module")
def workbench(demo: Built, tmp_path_factory: pytest.TempPathFactory) -> Built:
    directory = tmp_path_factory.mktemp("planted") / "demo"
    copied(demo, directory)
    return Built(directory, demo.manifest)


@pytest.fixture
def planted(demo: Built, workbench: Built) -> Built:
    """A copy of the demo with its warehouse as it was built."""
    shutil.copy(demo.directory / "warehouse.duckdb", workbench.directory / "warehouse.duckdb")
    return workbench


@pytest.mark.parametrize("case", sampled(PLANTED, 3))
def test_a_generic_test_finds(planted: Built, case: str) -> None:
    sql, test, rows = PLANTED[case]
    query(planted, sql)
    result = planted.dbt("test", "--select", test)
    assert result.exception is None
    (found,) = results(result)
    assert (found.status, found.failures) == ("fail", rows), found.message


def test_rows_without_a_key_or_a_time_and_restated_rows_are_no_duplicates(planted: Built) -> None:
    restated = "'u1', '2026-03-01', '2026-03-07', 13, 1, false"
    half = ["null, '2026-03-01', '2026-03-01', 1, 1, false", "'u1', null, '2026-03-01', 1, 1, false"]
    half.append("'u1', '2026-03-01', null, 1, 1, false")
    for row in (*half, *half, restated):
        query(planted, f"insert into user_activity values ({row})")
    result = planted.dbt("test", "--select", "user_activity,test_name:unique_feature_rows")
    assert result.success, failures(result)
    assert len(results(result)) == 1


# Another project, which installs the wheel ---------------------------------------------------------------

SHOP = {
    "dbt_project.yml": "{name: shop, version: 1.0.0, profile: shop, flags: {send_anonymous_usage_stats: false}}\n",
    "profiles/profiles.yml": """\
shop: {target: dev, outputs: {dev: {type: duckdb, path: warehouse.duckdb, threads: 2, settings: {TimeZone: UTC}}}}
""",
    "seeds/logins.csv": """\
user_id,event_timestamp,login_count_30d
007,2025-12-28T00:00:00Z,3
007,2026-03-15T00:00:00Z,18
8,2026-03-01T00:00:00Z,5
""",
    "seeds/labels.csv": """\
user_id,event_timestamp,churned
007,2026-01-03T00:00:00Z,0
8,2026-03-02T00:00:00Z,1
007,2026-03-18T14:30:00Z,0
""",
    "models/user_activity.sql": "select * from {{ ref('logins') }} order by user_id, event_timestamp\n",
    "models/churn_training.sql": "{{ pit_join.training_set(ref('labels'), ['user_activity:*']) }}\n",
    "models/churn_training_by_year.sql": """\
{{ config(
    materialized='incremental', incremental_strategy='microbatch',
    event_time='event_timestamp', begin='2026-01-01', batch_size='year'
) }}
{{ pit_join.training_set(ref('labels'), ['user_activity:*']) }}
""",
    "models/models.yml": """\
seeds:
  - name: logins
    config: {column_types: {user_id: varchar, event_timestamp: timestamptz, login_count_30d: bigint}}
  - name: labels
    config:
      event_time: event_timestamp
      column_types: {user_id: varchar, event_timestamp: timestamptz, churned: integer}
models:
  - &user_activity
    name: user_activity
    config:
      materialized: table
      event_time: event_timestamp
      meta: {pit_join: {entity: user, join_keys: [user_id], ttl: 30 days}}
    data_tests: [pit_join.unique_feature_rows, pit_join.no_future_rows: {arguments: {as_of: 2026-04-01}}]
    columns:
      - {name: user_id, data_type: varchar}
      - {name: event_timestamp, data_type: timestamptz}
      - {name: login_count_30d, data_type: bigint, config: {meta: {pit_join: {default: 0}}}}
  - name: churn_training
    config: {materialized: table}
    data_tests:
      - pit_join.point_in_time_correct: {arguments: {spine: ref('labels'), features: ["user_activity:*"]}}
exposures:
  - name: churn_v1
    type: ml
    owner: {name: Growth ML}
    depends_on: [ref('user_activity')]
    config: {meta: {pit_join: {features: ["user_activity:*"]}}}
unit_tests:
  - name: known_at_the_label
    model: churn_training
    overrides: {macros: {pit_join.feature_views: [*user_activity]}}
    given:
      - input: ref('user_activity')
        rows: [{user_id: u, event_timestamp: 2026-03-01, login_count_30d: 12}]
      - input: ref('labels')
        rows: [{user_id: u, event_timestamp: 2026-03-02}, {user_id: u, event_timestamp: 2026-02-02}]
    expect:
      rows:
        - {event_timestamp: 2026-03-02, login_count_30d: 12}
        - {event_timestamp: 2026-02-02, login_count_30d: 0}
""",
}
LABELS = [("007", datetime(2026, 1, 3), 0), ("8", datetime(2026, 3, 2), 1), ("007", datetime(2026, 3, 18, 14, 30), 0)]
CHURN = [
    (user, at.replace(tzinfo=timezone.utc), label, n) for (user, at, label), n in zip(LABELS, (3, 5, 18), strict=True)
]


def run(command: list[str], cwd: Path, **environment: str) -> str:
    result = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@dataclass(frozen=True)
class Installed:
    """The package as the wheel installs it, in a folder of its own."""

    site: Path

    def pit_join(self, *arguments: str, cwd: Path) -> str:
        return run([sys.executable, str(self.site / "bin/pit-join"), *arguments], cwd, PYTHONPATH=str(self.site))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in ("pit_join", "macros"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    # what pip would do, but with the installed hatchling: no network
    run([sys.executable, "-c", "from hatchling.build import build_wheel; build_wheel('.')"], source)
    (wheel,) = source.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    run([*pip, "--no-deps", "--no-index", "--no-compile", "--target", str(site), str(wheel)], source)
    return Installed(site)


@pytest.fixture(scope="session")
def shop(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A project that takes the macros from the wheel, as `dbt deps` and `dbt build` leave it."""
    directory = tmp_path_factory.mktemp("shop")
    for name, text in SHOP.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    package = installed.pit_join("dbt-package-path", cwd=directory).strip()
    assert Path(package).is_relative_to(installed.site)
    (directory / "packages.yml").write_text(f"packages: [{{local: {json.dumps(package)}}}]\n")
    result = run_dbt(directory, "deps")
    assert result.success, result.exception
    return build(directory)


def test_only_macros_come_with_the_package(shop: Built) -> None:
    manifest = shop.manifest
    nodes = [*manifest.nodes.values(), *manifest.unit_tests.values()]
    assert {(node.package_name, node.name) for node in nodes if node.package_name != "shop"} == {
        ("pit_join", "pit_join-on-run-start-0")  # the check of declarations
    }
    names = {macro.name for macro in manifest.macros.values() if macro.package_name == "pit_join"}
    assert {"training_set", "default__point_in_time_join", "duckdb___joined", "test_point_in_time_correct"} <= names


def test_the_macros_work_in_another_project(shop: Built) -> None:
    assert query(shop, "from churn_training") == CHURN


def test_a_batch_reads_the_history_before_it(shop: Built) -> None:
    # dbt cuts what a microbatch model refers to: the spine to the batch, but the history must not be
    (batched,) = [node for node in nodes(shop, "model") if node.name == "churn_training_by_year"]
    assert batched.config.materialized == "incremental"
    assert query(shop, "from churn_training_by_year order by all") == sorted(CHURN)


@pytest.mark.rest
def test_the_installed_command_builds_a_training_set_there(shop: Built, installed: Installed, tmp_path: Path) -> None:
    output = tmp_path / "churn.csv"
    arguments = ["build-training-set", "--spine", "labels", "--service", "churn_v1", "--output", str(output)]
    said = installed.pit_join(*arguments, cwd=shop.directory)
    assert "3 of 3" in said
    assert output.read_text().splitlines()[1:] == [
        "007,2026-01-03T00:00:00Z,0,3",
        "8,2026-03-02T00:00:00Z,1,5",
        "007,2026-03-18T14:30:00Z,0,18",
    ]


@pytest.mark.rest
def test_a_changed_spine_is_seen_at_once_and_a_changed_model_after_a_build(
    shop: Built, copy_of: Callable[[Built], Built], caplog: pytest.LogCaptureFixture
) -> None:
    changed = copy_of(shop)
    caplog.set_level(logging.INFO, "pit_join")

    def counts() -> list[int]:
        store = FeatureStore(changed.directory)
        return store.get_historical_features("labels", "churn_v1").to_arrow()["login_count_30d"].to_pylist()

    assert counts() == [3, 5, 18]
    caplog.clear()
    with (changed.directory / "seeds/labels.csv").open("a") as labels:
        labels.write("8,2026-03-01T00:00:00Z,0\n8,2026-02-28T23:59:59Z,0\n")
    assert counts() == [3, 5, 18, 5, 0]
    assert not [text for text in caplog.messages if "dbt" in text]  # no other command, and no parse either

    model = changed.directory / "models/user_activity.sql"
    model.write_text(model.read_text().replace("*", "* replace (login_count_30d * 10 as login_count_30d)"))
    declared = changed.directory / "models/models.yml"
    declared.write_text(declared.read_text().replace("default: 0", "default: -1").replace("30 days", "3 days"))
    result = run_dbt(changed.directory, "run", "--select", "user_activity")
    assert result.success, failures(result)
    assert counts() == [-1, 50, -1, 50, -1]  # 6 and 3.6 days old, and not yet known


# A project that overrides a macro ------------------------------------------------------------------------

# No history is older than two days in this shop. The renderer knows all that this needs.
KNOWN = """
{% macro duckdb__point_in_time_join(spine, history, features, options) -%}
{%- set longest = 172800000000 -%}
{%- set ttl = [history.ttl or longest, longest] | min -%}
-- overridden
{{ pit_join.default__point_in_time_join(spine, dict(history, ttl=ttl), features, options) }}
{%- endmacro %}
"""
# The same from what only dbt has.
UNKNOWN = "{'dev': var('max_age_days')}[target.name]"


def override(shop: Built, days: str) -> None:
    (shop.directory / "macros").mkdir()
    (shop.directory / "macros/join.sql").write_text(KNOWN.replace("172800000000", f"(({days}) * 86400000000)"))
    with (shop.directory / "dbt_project.yml").open("w") as settings:
        settings.write(SHOP["dbt_project.yml"].replace("}}", "}, vars: {max_age_days: 2}}"))


@pytest.mark.parametrize("order", sampled([None, ["shop", "pit_join"], ["pit_join", "shop"]], 1))
def test_an_override_is_honoured_as_by_dbt(
    shop: Built, copy_of: Callable[[Built], Built], order: list[str] | None
) -> None:
    changed = copy_of(shop)
    override(changed, "2")
    settings = changed.directory / "dbt_project.yml"
    if order:
        entry = json.dumps([{"macro_namespace": "pit_join", "search_order": order}])
        settings.write_text(settings.read_text().replace("{name", f"{{dispatch: {entry}, name"))
    result = run_dbt(changed.directory, "compile", "--select", "churn_training")
    assert result.success, failures(result)
    (node,) = [r.node for r in result.result.results if r.node.name == "churn_training"]  # its tests come along
    manifest = json.loads((changed.directory / "target/manifest.json").read_bytes())
    renderer = Renderer(manifest, {"pit_join": order} if order else None)
    spine = '"warehouse"."main"."labels"'
    assert renderer.call("training_set", spine=spine, features=["user_activity:*"]) == node.compiled_code
    assert ("-- overridden" in node.compiled_code) == (order != ["pit_join", "shop"])


OWN = """
{% macro default__training_set(spine, features, event_timestamp, gap, full_feature_names, provenance, defaults) -%}
-- our own
{{ pit_join.default__training_set(spine, features, event_timestamp, gap, full_feature_names, provenance, defaults) }}
{%- endmacro %}
"""


def test_the_printed_query_is_that_of_an_own_training_set(shop: Built, copy_of: Callable[[Built], Built]) -> None:
    changed = copy_of(shop)
    sql = FeatureStore(changed.directory).get_historical_features("labels", "churn_v1").sql
    assert "our own" not in sql
    assert "typeof" not in sql.partition("history as")[0]  # the type of the spine's time is known
    (changed.directory / "macros").mkdir()
    (changed.directory / "macros/own.sql").write_text(OWN)
    found = FeatureStore(changed.directory).get_historical_features("labels", "churn_v1")
    assert found.sql.startswith("-- our own")
    assert found.to_arrow()["login_count_30d"].to_pylist() == [3, 5, 18]


@pytest.mark.rest
def test_where_an_override_needs_dbt_dbt_is_asked(
    shop: Built, copy_of: Callable[[Built], Built], caplog: pytest.LogCaptureFixture
) -> None:
    changed = copy_of(shop)
    override(changed, UNKNOWN)
    caplog.set_level(logging.INFO, "pit_join")
    store = FeatureStore(changed.directory)
    found = store.get_historical_features("labels", "churn_v1")
    assert found.to_arrow()["login_count_30d"].to_pylist() == [0, 5, 0]
    assert "-- overridden" in found.sql
    assert any("asking dbt" in message for message in caplog.messages)
