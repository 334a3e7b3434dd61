"""The commands on a Spark warehouse, beside the same project on DuckDB: what they say and make is equal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dbt.cli.main import dbtRunner
from pyspark.sql import SparkSession
from support.projects import ROOT, run
from support.spark import INTERPRETED
from support.two_engines import LABELS, NOW, PROJECT, SPINES, UNORDERED, unlike

from pit_join import FeatureStore
from pit_join.errors import PitJoinError, ProjectError, RequestError, WarehouseError
from pit_join.warehouse.spark_session import STAGING, SparkViewSession

TYPES = {"varchar": "string", "timestamptz": "timestamp", "double precision": "double", "integer": "int"}
NO_TESTS = ("--exclude-resource-type", "test", "unit_test")
DAY = datetime(2026, 3, 1, tzinfo=timezone.utc)


pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The project as dbt has built it on Spark, and on DuckDB. Only the names of types in YAML differ."""
    made = {}
    for engine in ("spark", "duckdb"):
        folder = tmp_path_factory.mktemp(engine) / "shop"
        shutil.copytree(PROJECT, folder)
        package = folder / "dbt_packages" / "pit_join"
        shutil.copytree(ROOT / "macros", package / "macros")
        shutil.copy(ROOT / "pit_join" / "dbt_package" / "dbt_project.yml", package)
        (folder / "models" / "days.sql").unlink()  # dbt-spark has another microbatch
        for path in (*folder.glob("models/*.yml"), *folder.glob("seeds/*.yml")):
            text = path.read_text()
            for one, other in TYPES.items() if engine == "spark" else ():
                text = text.replace(one, other)
            start = text.find("  - name: days")
            path.write_text(text if start < 0 else text[:start] + text[text.index("exposures:") :])
        (folder / "profiles.yml").write_text(profile(engine))
        if engine == "spark":
            build_here(folder)
        else:
            dbt = str(Path(sys.executable).with_name("dbt"))
            subprocess.run([dbt, "--quiet", "build", *NO_TESTS], cwd=folder, check=True)
        made[engine] = folder
    return made


def profile(engine: str, **more: Any) -> str:
    spark = {"type": "spark", "method": "session", "schema": "shop", "host": "none", "threads": 1}
    spark["server_side_parameters"] = INTERPRETED
    output = spark if engine == "spark" else {"type": "duckdb", "path": "warehouse.duckdb", "threads": 2}
    return json.dumps({"shop": {"target": "here", "outputs": {"here": output | more}}})


def build_here(folder: Path) -> None:
    """Run `dbt build` in this process, whose Spark keeps the tables."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        result = dbtRunner().invoke(["--log-level", "none", "build", *NO_TESTS, "--profiles-dir", "."])
    finally:
        os.chdir(before)
    assert result.success, result.exception or [one.message for one in result.result.results]


def copied(folder: Path, to: Path, **more: Any) -> Path:
    """The project on Spark with another profile."""
    shutil.copytree(folder, to / "shop", ignore=shutil.ignore_patterns("online", "target"))
    (to / "shop" / "profiles.yml").write_text(profile("spark", **more))
    return to / "shop"


def store(folder: Path, **more: Any) -> FeatureStore:
    return FeatureStore(folder, **{"online_store": folder / "online", **more})


def both(shops: dict[str, Path], ask: Any) -> tuple[Any, Any]:
    return ask(store(shops["spark"])), ask(store(shops["duckdb"]))


@pytest.mark.parametrize("spine", ["model", "frame", "no rows"])
def test_training_sets_are_equal(shops: dict[str, Path], spine: str) -> None:
    one, other = both(shops, lambda s: s.get_historical_features(SPINES[spine], "everything", provenance=True))
    order = list(LABELS.columns) if spine in UNORDERED else None
    assert not unlike(one.to_arrow(), other.to_arrow(), order)[:5]
    assert [each.statuses for each in one.coverage] == [each.statuses for each in other.coverage]


def test_the_order_of_a_spine_is_kept_over_many_parts(shops: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(
        shops["spark"], tmp_path, server_side_parameters=INTERPRETED | {"spark.sql.shuffle.partitions": "16"}
    )
    many = LABELS.sample(20_000, replace=True, random_state=2).reset_index(drop=True)
    one, other = both({**shops, "spark": folder}, lambda s: s.get_historical_features(many, ["rates:*"]))
    assert not unlike(one.to_arrow(), other.to_arrow())[:5]


def test_options_mean_the_same(shops: dict[str, Path]) -> None:
    asked: dict[str, Any] = {
        "features": ["activity:plan", "friend:*"],
        "roles": ["friend=activity(user_id=friend_id)"],
        "gap": "1 day",
        "defaults": False,
        "full_feature_names": True,
    }
    spine = LABELS.assign(friend_id=LABELS["user_id"].shift(1))
    one, other = both(shops, lambda s: s.get_historical_features(spine, **asked))
    assert not unlike(one.to_arrow(), other.to_arrow())[:5]


def test_a_set_is_written_and_audited(shops: dict[str, Path]) -> None:
    asked = ("build-training-set", "--spine", SPINES["csv"], "--service", "everything", "--output")
    for folder in shops.values():
        done = run("--project-dir", str(folder), *asked, str(folder / "set.parquet"))
        assert done.status == 0, done.err
    assert not unlike(*(pq.read_table(each / "set.parquet").replace_schema_metadata() for each in shops.values()))
    audited = run("--project-dir", str(shops["spark"]), "audit", str(shops["spark"] / "set.parquet"))
    assert audited.status == 0, audited.out + audited.err


def test_an_export_is_what_the_rule_says(shops: dict[str, Path], tmp_path: Path) -> None:
    here, there = (store(shops[each], online_store=tmp_path / each) for each in ("spark", "duckdb"))
    assert sum(each.written for each in here.export(as_of=DAY).views.values()) > 170
    found = here.verify()
    assert (found.found, found.values > 1000) == (0, True)
    there.export(as_of=DAY)
    rows = [{"user_id": f"u{number}"} for number in range(70)]
    now = datetime(2026, 3, 1, 1, tzinfo=timezone.utc)
    said = [each.online_reader("everything").get_online_features(rows, now=now) for each in (here, there)]
    assert not unlike(*(pa.table(each.to_dict()) for each in said))[:5]


def test_a_changed_row_is_found(shops: dict[str, Path], session: SparkSession, tmp_path: Path) -> None:
    features = store(shops["spark"], online_store=tmp_path / "online")
    features.export(["rates"], as_of=DAY)
    session.sql("create table shop.kept as select * from shop.rates")
    try:
        session.sql("insert into shop.rates values (timestamp '2026-02-28 00:00:00Z', 7.0)")
        assert {each.feature for each in features.verify().differences} == {"event time", "rate"}
    finally:
        session.sql("insert overwrite shop.rates select * from shop.kept")
        session.sql("drop table shop.kept")
    assert features.verify().found == 0


@pytest.mark.parametrize("feature", ["activity:logins", "events:total_7d", "facts:tier"])
def test_explanations_are_equal(shops: dict[str, Path], feature: str) -> None:
    one, other = both(shops, lambda s: s.explain(feature, {"user_id": "u1"}, "2026-02-01").as_json())
    for each in (one, other):
        each.pop("online", None)
    assert one == other


def test_commands_that_look(shops: dict[str, Path]) -> None:
    for command in (
        ["views"],
        ["check"],
        ["monitor", "--check", "freshness,rates", "--now", NOW],
        ["monitor", "--check", "drift", "--now", NOW, "--baseline-as-of", "2026-02-01"],
        ["build-training-set", "--spine", "labels", "--service", "everything", "--explain-plan"],
    ):
        one, other = (run("--project-dir", str(folder), *command) for folder in shops.values())
        assert one.status == other.status, one.err
        if command[0] in ("views", "monitor"):
            assert one.out == other.out
    report = run("--project-dir", str(shops["spark"]), "report", "--output", str(shops["spark"] / "report.html"))
    assert report.status == 0, report.err
    assert "activity" in (shops["spark"] / "report.html").read_text()


def test_what_is_not_there_is_refused(shops: dict[str, Path]) -> None:
    for command in (["backfill", "--dry-run"], ["audit", "--replay"]):
        done = run("--project-dir", str(shops["spark"]), *command)
        assert (done.status, "is of type spark" in done.err) == (2, True), done.err
    with pytest.raises(RequestError, match="no query of the warehouse has on-demand features, which DuckDB computes"):
        store(shops["spark"]).prepare_training_set("labels", "everything").sql()
    with pytest.raises(WarehouseError, match="not made as a table on Spark, which has no transaction; write a file"):
        store(shops["spark"]).prepare_training_set("labels", ["rates:*"]).create_table("kept")


# Errors -----------------------------------------------------------------------------------------------------------


def test_every_type_comes_back_as_it_is(shops: dict[str, Path]) -> None:
    query = (
        "select timestamp '9999-12-31 23:59:59.999999Z' a, timestamp_ntz '0001-01-01' b, date '0001-01-01' c, "
        "cast('nan' as double) d, cast(0.1 as float) e, cast(repeat('9', 38) as decimal(38, 0)) f, array(1, null) g, "
        "map('k', 1.5d) h, x'00' i, cast(-128 as tinyint) j, concat('a', char(0), 'é') k, cast(null as string) l, "
        "true m, timestamp '1500-03-01 00:00:00Z' n"
    )
    with store(shops["spark"])._workspace().warehouse() as warehouse:
        types = warehouse.views.columns(query, "")
        warehouse.give("found", warehouse.views.table_later([query], "").result())
        assert {name: kind.family for name, kind in warehouse.columns("from found", "").items()} == {
            name: kind.family for name, kind in types.items()
        }
        row = warehouse.row("select * replace (a::varchar as a, b::varchar as b, n::varchar as n) from found", "")
    assert (row["a"], row["b"], row["n"]) == (
        *("9999-12-31 23:59:59.999999+00", "0001-01-01 00:00:00", "1500-03-01 00:00:00+00"),
    )
    assert (row["c"].year, row["d"] != row["d"], row["f"], row["g"]) == (1, True, 10**38 - 1, [1, None])
    assert (row["h"], row["i"], row["j"], row["k"], row["l"], row["m"]) == (
        *({"k": 1.5}, b"\0", -128, "a\0é", None, True),
    )


def test_rows_that_are_given_keep_their_types(shops: dict[str, Path]) -> None:
    table = pa.table(
        {
            "t": pa.array([datetime(1500, 3, 1, tzinfo=timezone.utc), None], pa.timestamp("us", "UTC")),
            "n": pa.array([datetime(2026, 1, 1), None], pa.timestamp("ns")),
            "d": pa.array([1, None], pa.decimal128(38, 0)),
            "s": pa.array(["é\0", ""], pa.string()),
        }
    )
    with store(shops["spark"])._workspace().warehouse() as warehouse:
        warehouse.views.give("_pit_given", table)
        back = warehouse.views.table_later(["select * from _pit_given order by s desc"], "").result()
        warehouse.views.give("_pit_given", table[:0])
        assert len(warehouse.views.table_later(["select * from _pit_given"], "").result()) == 0
    assert back.to_pylist() == table.to_pylist()


@pytest.mark.parametrize(
    ("query", "kind", "says"),
    [
        ("select 1 / 0 as x", "QueryError", "here: Division by zero"),
        ("select 1 / (id - id) as x from range(3)", "QueryError", "here: Division by zero"),
        ("select raise_error('two sentences. yes') as x from range(3)", "QueryError", "here: two sentences. yes$"),
        ("select * from shop.nowhere", "WarehouseError", "here: The table or view `shop`.`nowhere` cannot be found"),
        ("select nothing from shop.rates", "WarehouseError", "here: A column.*`nothing` cannot be resolved"),
    ],
)
def test_an_error_is_one_sentence(shops: dict[str, Path], query: str, kind: str, says: str) -> None:
    with (
        pytest.raises(WarehouseError, match=says) as caught,
        store(shops["spark"])._workspace().warehouse() as warehouse,
    ):
        warehouse.views.table_later([query], "here").result()
    assert type(caught.value).__name__ == kind
    assert "\n" not in str(caught.value)
    assert "SQLSTATE" not in str(caught.value)


def test_an_interrupt_ends_the_job(shops: dict[str, Path], session: SparkSession) -> None:
    forever = "select sum(a.id * b.id) as x from range(10000000) a cross join range(10000000) b"

    def interrupted() -> None:
        with store(shops["spark"])._workspace().warehouse() as warehouse:
            warehouse.views.rows_later(forever, "here")
            while not session.sparkContext.statusTracker().getActiveJobsIds():
                pass
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not session.sparkContext.statusTracker().getActiveJobsIds()


@pytest.mark.parametrize(
    ("more", "kind", "says"),
    [
        (
            {"method": "thrift", "host": "h"},
            ProjectError,
            "method: thrift sends SQL to a server; pit-join reads Spark in",
        ),
        ({"methud": "session"}, ProjectError, "the target 'here': methud: unknown key; did you mean 'method'"),
        ({"server_side_parameters": ["a"]}, ProjectError, "server_side_parameters: must be a mapping, got"),
        ({"schema": "empty"}, WarehouseError, "the table of the feature view 'activity' cannot be read; run dbt build"),
    ],
)
def test_a_profile_that_cannot_be_used(
    shops: dict[str, Path], tmp_path: Path, more: dict[str, Any], kind: type[PitJoinError], says: str
) -> None:
    folder = copied(shops["spark"], tmp_path, **more)
    with pytest.raises(kind, match=says):
        store(folder).get_historical_features(LABELS, ["activity:*"])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match=f"{STAGING}: /nowhere is not a folder of this machine"):
        SparkViewSession({STAGING: "/nowhere"}, tmp_path, print)


def test_without_java_the_error_says_so(shops: dict[str, Path]) -> None:
    command = [str(Path(sys.executable).with_name("pit-join")), "--project-dir", str(shops["spark"]), "views"]
    done = subprocess.run(
        command, env=os.environ | {"JAVA_HOME": "/nowhere"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Error: Spark cannot be started: " in done.stderr) == (3, True), done.stderr
    assert "it needs Java 17 or 21" in done.stderr
    assert "Traceback" not in done.stderr
