"""Snapshots of dbt as feature views: dbt's clock in three time zones, deleted keys, and the page that explains them."""

import itertools
import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
from generate import Column, Table, load
from support.corpus import KINDS, Entry, differences, entry_of, generated, read
from support.dbt import ROOT, example
from support.pages import BLOCK, DOCS, follow, steps
from support.rule_sql import macro_nodes
from support.runs import sampled

from pit_join import FeatureStore, PitJoinError, ProjectError
from pit_join.definitions.registry import Registry
from pit_join.project.rendering import Renderer

SECOND = timedelta(seconds=1)
ZONES = ("America/New_York", "Asia/Kolkata", "UTC")
PINNED = "      settings:\n        TimeZone: UTC\n"
TIERS = ["customer_tiers:tier", "customer_tier_history:tier", "customer_cities:city"]


# Real runs of dbt -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A run of dbt, and the time before and after it by the clock of the tests, in UTC."""

    before: datetime
    after: datetime


@dataclass(frozen=True)
class Snapshots:
    """The example after two runs of dbt on a machine in one time zone."""

    zone: str
    directory: Path
    runs: tuple[Run, Run]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.directory / "warehouse.duckdb")) as connection:
            connection.execute("set TimeZone = 'UTC'")
            return connection.execute(sql).fetchall()

    def tiers(self, *moments: datetime) -> list[dict[str, Any]]:
        """What a training set says of c1 and of c2 at some times."""
        asked = [{"customer_id": key, "event_timestamp": at} for key in ("c1", "c2") for at in moments]
        store = FeatureStore(self.directory)
        found = store.get_historical_features(pa.Table.from_pylist(asked), TIERS, full_feature_names=True)
        return [
            {name.split("__")[0]: value for name, value in row.items() if "__" in name}
            for row in found.to_arrow().to_pylist()
        ]


# Not a fork: DuckDB takes the time zone of the machine when a process starts.
BUILD_TWICE = """
import json, sys
from datetime import datetime, timezone
from pathlib import Path
from support.dbt import dbtRunner, failures, inside

times = []
for day in (1, 2):
    before = datetime.now(timezone.utc)
    with inside(Path(sys.argv[1])):
        done = dbtRunner().invoke(["--log-level", "none", "build", "--vars", f"{{day: {day}}}"])
    assert done.success, failures(done)
    times.append([before.isoformat(), datetime.now(timezone.utc).isoformat()])
print(json.dumps(times))
"""


@pytest.fixture(scope="module", params=sampled(ZONES, 1))
def zone(request: pytest.FixtureRequest) -> str:
    """The time zone of the machine."""
    return str(request.param)


def built(directory: Path, zone: str) -> Snapshots:
    """The project after two runs of dbt."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD_TWICE, directory], cwd=ROOT / "tests/python", timeout=300, check=True,
        env={**os.environ, "TZ": zone, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    first, second = (Run(*map(datetime.fromisoformat, each)) for each in json.loads(done.stdout))
    return Snapshots(zone, directory, (first, second))


@pytest.fixture(scope="module")
def pinned(zone: str, tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    """The example as it is."""
    return built(example("snapshots", tmp_path_factory.mktemp("pinned")), zone)


@pytest.fixture(scope="module")
def unpinned(zone: str, tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    """The example without the time zone in its profile."""
    directory = example("snapshots", tmp_path_factory.mktemp("unpinned"))
    profile = (directory / "profiles.yml").read_text()
    assert PINNED in profile
    (directory / "profiles.yml").write_text(profile.replace(PINNED, ""))
    return built(directory, zone)


def shown() -> list[str]:
    """The blocks of YAML and SQL of the page."""
    blocks = BLOCK.finditer((DOCS / "snapshots.md").read_text())
    return [block["text"] for block in blocks if block["language"] in ("yaml", "sql")]


def naive(instant: datetime, zone: str = "UTC") -> datetime:
    """What a clock on a wall in the zone shows."""
    return instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


CLOCKS = """
select 1, dbt_valid_from from customer_tiers where tier = 'free' or (customer_id = 'c2' and dbt_is_deleted = 'False')
union all select 2, dbt_valid_from from customer_tiers where dbt_is_deleted = 'True' or customer_id || tier = 'c1gold'
union all select 2, dbt_valid_to from customer_tiers where dbt_valid_to is not null
union all select 2, dbt_updated_at from customer_tiers where dbt_is_deleted = 'True'
union all select 1, dbt_valid_from from customer_periods where customer_id = 'c2'
union all select 2, dbt_valid_to from customer_periods where customer_id = 'c2'
union all select day, cast(seen_at at time zone '{zone}' as timestamp)
    from customer_cities join (values (1, 'Oslo'), (1, 'Rome'), (2, 'Paris')) as moves (day, city) using (city)
"""


@pytest.mark.dbt
@pytest.mark.rest
def test_a_pinned_profile_makes_dbt_write_utc(pinned: Snapshots) -> None:
    clocks = pinned.rows(CLOCKS.format(zone="UTC"))
    assert len(clocks) == 12
    for number, clock in clocks:
        run = pinned.runs[number - 1]
        assert naive(run.before) <= clock <= naive(run.after)


@pytest.mark.dbt
@pytest.mark.rest
def test_otherwise_dbt_writes_the_time_of_the_machine(unpinned: Snapshots) -> None:
    clocks = unpinned.rows(CLOCKS.format(zone=unpinned.zone))
    assert len(clocks) == 12
    for number, clock in clocks:
        run = unpinned.runs[number - 1]
        assert naive(run.before, unpinned.zone) <= clock <= naive(run.after, unpinned.zone)


GONE: dict[str, Any] = {"customer_tiers": None, "customer_tier_history": None}


@pytest.mark.dbt
@pytest.mark.rest
def test_rows_count_from_the_instant_of_the_run(pinned: Snapshots, caplog: pytest.LogCaptureFixture) -> None:
    """And what dbt copies, the city from January, from when dbt saw it."""
    first, second = pinned.runs
    caplog.set_level(logging.WARNING, "pit_join")
    asked = (first.before, first.after, second.before, second.after)
    nothing = {**GONE, "customer_cities": None}
    free = {"customer_tiers": "free", "customer_tier_history": "free", "customer_cities": "Oslo"}
    gold = {"customer_tiers": "gold", "customer_tier_history": "gold"}
    assert pinned.tiers(*asked) == [
        *(nothing, free, free, {**gold, "customer_cities": "Paris"}),
        *(nothing, {**gold, "customer_cities": "Rome"}, {**gold, "customer_cities": "Rome"}),
        {**GONE, "customer_cities": "Rome"},
    ]
    assert caplog.messages == []


@pytest.mark.dbt
@pytest.mark.rest
def test_deleted_keys_leave_the_store(pinned: Snapshots, tmp_path: Path) -> None:
    store = FeatureStore(pinned.directory, online_store=tmp_path / "store")
    for run, expected in ((pinned.runs[0], ["free", "gold"]), (pinned.runs[1], ["gold", None])):
        store.export(as_of=run.after)
        assert store.verify(sample=None).found == 0
        for view in ("customer_tiers", "customer_tier_history"):
            found = store.get_online_features([f"{view}:tier"], {"customer_id": ["c1", "c2"]}, now=run.after)
            assert found.to_dict()["tier"] == expected
            assert found.statuses["tier"][1] == ("NOT_FOUND" if expected[1] is None else "PRESENT")


@pytest.mark.dbt
@pytest.mark.rest
def test_each_command_warns_once_of_each_view(
    unpinned: Snapshots, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FeatureStore(unpinned.directory, online_store=tmp_path / "store")
    caplog.set_level(logging.WARNING, "pit_join")
    commands = {
        "training set": lambda: unpinned.tiers(unpinned.runs[1].after),
        "export": lambda: store.export(as_of=unpinned.runs[1].after),
        "verify": lambda: store.verify(sample=None),
        "views": lambda: store.describe_views(),
    }
    for name, command in commands.items():
        caplog.clear()
        command()
        warned = sorted(
            message.split(": dbt_valid_from of a snapshot is read as UTC")[0] for message in caplog.messages
        )
        assert warned == ["models/_models.yml: customer_tier_history", "snapshots/_snapshots.yml: customer_tiers"], name
        for message in caplog.messages:
            assert "'settings: {TimeZone: UTC}' in the target 'dev' of profiles.yml" in message
            assert "'clock_time_zone: UTC' in config.meta.pit_join" in message


@pytest.mark.dbt
@pytest.mark.rest
def test_a_command_does_not_warn_of_views_that_it_does_not_read(
    unpinned: Snapshots, caplog: pytest.LogCaptureFixture
) -> None:
    spine = pa.Table.from_pylist([{"customer_id": "c1", "event_timestamp": unpinned.runs[1].after}])
    caplog.set_level(logging.WARNING, "pit_join")
    found = FeatureStore(unpinned.directory).get_historical_features(spine, ["customer_cities:city"]).to_arrow()
    assert (found["city"].to_pylist(), caplog.messages) == (["Paris"], [])


@pytest.mark.dbt
@pytest.mark.rest
def test_the_conversion_of_the_page_mends_what_was_stored(
    unpinned: Snapshots, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And a view that says so is trusted."""
    (sql,) = (text for text in shown() if text.startswith("update "))
    directory = tmp_path / "mended"
    subprocess.run(["cp", "-r", str(unpinned.directory), str(directory)], check=True)
    mended = replace(unpinned, directory=directory)
    mended.rows(sql.replace("America/New_York", unpinned.zone))
    declared = directory / "snapshots/_snapshots.yml"
    declared.write_text(declared.read_text().replace("deleted: dbt_", "clock_time_zone: UTC, deleted: dbt_"))
    first, second = unpinned.runs
    caplog.set_level(logging.WARNING, "pit_join")
    found = [row["customer_tiers"] for row in mended.tiers(first.before, first.after, second.before, second.after)]
    assert found == [None, "free", "free", "gold", None, "gold", "gold", None]
    assert [message.split(": ")[1] for message in caplog.messages] == ["customer_tier_history"]


@pytest.mark.dbt
def test_a_mark_that_is_neither_true_nor_false_is_an_error(pinned: Snapshots, tmp_path: Path) -> None:
    directory = tmp_path / "marked"
    subprocess.run(["cp", "-r", str(pinned.directory), str(directory)], check=True)
    marked = replace(pinned, directory=directory)
    marked.rows("update customer_tiers set dbt_is_deleted = 'yes' where dbt_is_deleted = 'True'")
    message = "customer_tiers.*'neither true nor false: yes'"
    with pytest.raises(PitJoinError, match=message):
        marked.tiers(pinned.runs[1].after)
    with pytest.raises(PitJoinError, match=message):
        FeatureStore(directory, online_store=tmp_path / "store").export(as_of=pinned.runs[1].after)
    marked.rows("update customer_tiers set dbt_is_deleted = null where dbt_is_deleted = 'yes'")
    assert [row["customer_tiers"] for row in marked.tiers(pinned.runs[1].after)] == ["gold", "gold"]
    marked.rows("alter table customer_tiers alter dbt_is_deleted type boolean using true")
    with pytest.raises(
        PitJoinError, match="the column 'dbt_is_deleted' is declared varchar, and the table's is BOOLEAN"
    ):
        marked.tiers(pinned.runs[1].after)


@pytest.mark.dbt
@pytest.mark.rest
def test_the_page(tmp_path: Path) -> None:
    directory = example("snapshots", tmp_path)
    page = list(steps(DOCS / "snapshots.md"))
    assert len([step for step in page if step.command]) == 6
    assert follow(page, directory) == []
    # What it shows is that of the example; only the conversion of stored times is not in it.
    files = [path for path in (ROOT / "examples/snapshots").rglob("*.*") if "target" not in path.parts]
    stored = "\n".join(path.read_text() for path in files if path.suffix in (".yml", ".sql"))
    assert [text.split()[0] for text in shown() if text not in stored] == ["update"]
    assert len(shown()) == 6


# Which columns hold dbt's clock -----------------------------------------------------------------------------

CHECK = {"strategy": "check", "updated_at": None, "hard_deletes": None}
COPIED = {"strategy": "timestamp", "updated_at": "changed_at"}
RENAMED = {"snapshot_meta_column_names": {"dbt_valid_from": "Since", "dbt_valid_to": None}}


def node(name: str, columns: dict[str, str], reads: tuple[str, ...] = (), **config: Any) -> dict[str, Any]:
    kind = "snapshot" if "strategy" in config else "model"
    return {
        "resource_type": kind, "package_name": "shop", "name": name, "relation_name": f'"w"."main"."{name}"',
        "original_file_path": f"{name}.yml", "config": config, "depends_on": {"nodes": list(reads)},
        "columns": {column: {"name": column, "data_type": type_} for column, type_ in columns.items()},
    }  # fmt: skip


def manifest(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"project_name": "shop", "adapter_type": "duckdb"},
        "macros": macro_nodes(),
        "nodes": {f"{each['resource_type']}.shop.{each['name']}": each for each in nodes},
        "exposures": {},
    }


def view(name: str, event_time: str, kind: str = "timestamp", meta: str = "", **config: Any) -> dict[str, Any]:
    declared = {"entity": "user", "join_keys": ["k"], **json.loads(meta or "{}")}
    columns = {"k": "varchar", event_time: kind, "value": "double"}
    columns |= {declared[key]: kind for key in ("created_timestamp",) if key in declared}
    reads = config.pop("reads", ())
    return node(name, columns, reads, event_time=event_time, meta={"pit_join": declared}, **config)


SNAPSHOT_CLOCKS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "check": (view("s", "dbt_valid_from", **CHECK), ("dbt_valid_from",)),
    "check with zones": (view("s", "dbt_valid_from", "timestamptz", **CHECK), ()),
    "check as dates": (view("s", "dbt_updated_at", "date", **CHECK), ("dbt_updated_at",)),
    "check of a time of the source": (view("s", "loaded_at", **CHECK), ()),
    "check, created": (
        view("s", "loaded_at", meta='{"created_timestamp": "DBT_VALID_FROM"}', **CHECK),
        ("DBT_VALID_FROM",),
    ),
    "check with updated_at": (view("s", "dbt_valid_from", **{**CHECK, "updated_at": "changed_at"}), ()),
    "renamed": (view("s", "since", **CHECK, **RENAMED), ("since",)),
    "renamed, and a column of the old name": (view("s", "dbt_valid_from", **CHECK, **RENAMED), ()),
    "said to be UTC": (view("s", "dbt_valid_from", meta='{"clock_time_zone": "UTC"}', **CHECK), ()),
    "timestamp": (view("s", "dbt_valid_from", **COPIED), ()),
    "timestamp, ignore": (view("s", "dbt_valid_from", **COPIED, hard_deletes="ignore"), ()),
    "timestamp, invalidate": (view("s", "dbt_valid_from", **COPIED, hard_deletes="invalidate"), ()),
    "timestamp, new_record": (view("s", "dbt_valid_from", **COPIED, hard_deletes="new_record"), ("dbt_valid_from",)),
    "a strategy of its own": (view("s", "dbt_valid_from", strategy="mine"), ("dbt_valid_from",)),
}


@pytest.mark.parametrize("case", SNAPSHOT_CLOCKS)
def test_times_of_a_snapshot_that_hold_dbts_clock(case: str) -> None:
    declared, expected = SNAPSHOT_CLOCKS[case]
    assert Registry.from_manifest(manifest(declared)).views["s"].clock_times == expected


@pytest.mark.parametrize(
    ("config", "event_time", "expected"),
    [
        (CHECK, "dbt_valid_from", ("dbt_valid_from",)),
        (CHECK, "valid_from", ()),
        (COPIED, "dbt_valid_from", ()),
        # The ends of rows, which hold dbt's clock, may have become rows.
        ({**COPIED, "hard_deletes": "invalidate"}, "dbt_valid_from", ("dbt_valid_from",)),
        ({**COPIED, "invalidate_hard_deletes": True}, "dbt_valid_from", ("dbt_valid_from",)),
    ],
)
def test_times_of_a_model_made_from_a_snapshot(
    config: dict[str, Any], event_time: str, expected: tuple[str, ...]
) -> None:
    """Also through another model; dbt's graph has no circle, but sources and nodes of other projects are not in it."""
    nodes = [
        node("s", {}, ("source.shop.raw", "model.shop.other"), **config),
        node("between", {}, ("snapshot.shop.s", "model.elsewhere.m"), materialized="view"),
        view("m", event_time, reads=("model.shop.between",)),
        view("apart", event_time, reads=("source.shop.raw",)),
    ]
    views = Registry.from_manifest(manifest(*nodes)).views
    assert (views["m"].clock_times, views["apart"].clock_times) == (expected, ())


# What is refused, by the command line and by dbt --------------------------------------------------------------


def refused(declared: dict[str, Any], problem: str, by_dbt: str) -> None:
    with pytest.raises(ProjectError, match=problem):
        Registry.from_manifest(manifest(declared))
    with pytest.raises(ProjectError, match=by_dbt):
        Renderer(manifest(declared)).call("latest_snapshot", view="s")


@pytest.mark.parametrize("zone", ['"America/New_York"', '"utc"', "true", "[]"])
def test_a_clock_in_another_zone_is_refused(zone: str) -> None:
    declared = view("s", "dbt_valid_from", meta=f'{{"clock_time_zone": {zone}}}', **CHECK)
    said = re.escape(repr(json.loads(zone)))
    message = (
        rf"clock_time_zone: must be UTC, got {said}; stored times are never shifted: .*timezone\('America/New_York'"
    )
    refused(declared, message, "clock_time_zone: must be UTC, got")


@pytest.mark.parametrize(("config", "column"), [({}, "dbt_valid_to"), ({}, "DBT_VALID_TO"), (RENAMED, "dbt_valid_to")])
def test_the_end_of_a_row_is_not_a_feature(config: dict[str, Any], column: str) -> None:
    declared = view("s", "dbt_valid_from", **CHECK, **config)
    declared["columns"][column] = {"name": column, "data_type": "timestamp"}
    refused(
        declared,
        f"columns.{column}: dbt fills it in when a row ends",
        f"columns.{column}: dbt fills it in when a row ends",
    )
    excluded = {"name": column, "data_type": "timestamp", "config": {"meta": {"pit_join": {"exclude": True}}}}
    declared["columns"][column] = excluded
    assert [feature.name for feature in Registry.from_manifest(manifest(declared)).views["s"].features] == ["value"]
    assert column not in Renderer(manifest(declared)).call("latest_snapshot", view="s")
    # A model may compute a column of that name as it likes.
    declared["columns"][column] = {"name": column, "data_type": "timestamp"}
    assert (
        Registry.from_manifest(manifest({**declared, "resource_type": "model"})).views["s"].features[1].name == column
    )


# Marks that are texts, in every plan --------------------------------------------------------------------------

SPELLINGS = itertools.cycle([("True", "False"), ("true", "false"), ("TRUE", "FALSE")])


def in_text(entry: Entry) -> Entry | None:
    """The same case with texts as marks; None if it has no marks."""
    marks = {one.name: one.deleted for one in entry.case.views if one.deleted is not None}
    histories = {}
    for name, table in entry.case.histories.items():
        mark = marks.get(name)
        spelled = dict(zip((True, False), next(SPELLINGS), strict=True))
        columns = tuple(Column(each.name, "varchar" if each.name == mark else each.sql_type) for each in table.columns)
        rows = tuple({**row, mark: spelled.get(row[mark])} if mark else row for row in table.rows)
        histories[name] = Table(table.name, columns, rows)
    return replace(entry, case=replace(entry.case, histories=histories)) if marks else None


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "more"), [("rule", 0), ("windows", 30)])
@pytest.mark.rest
def test_a_text_marks_as_a_boolean_does(kind: str, more: int) -> None:
    """Cases, whose results are the oracle's, in every plan; a history reads events as windows do."""
    entries = [*read(kind), *(entry_of(kind, case) for case in generated(kind, more))]
    changed = [entry for entry in map(in_text, entries) if entry]
    assert len(changed) > 5
    wrong = {}
    with duckdb.connect() as connection:
        for number, entry in enumerate(sampled(changed, 5)):
            load(connection, entry.case)
            for plan in KINDS[kind].plans:
                if found := differences(entry, plan, connection):
                    wrong[f"{kind}[{number}], {plan}"] = found[:5]
    assert not wrong
