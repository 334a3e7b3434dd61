"""Nulls, defaults and drift of a project: what is planted is found, each by its name, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
from support.projects import BASE, KEYS, make_project, run, view

from pit_join import DriftedFeature, FeatureLog, FeatureRates, FeatureStore, Monitoring
from pit_join.errors import PitJoinError, RequestError
from pit_join.monitoring.drift import _unlikely

pytestmark = [pytest.mark.dbt, pytest.mark.rest]

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
USERS = 900
LIMITS = "max_null_rate: 0.3, max_default_rate: 0.6"
SECRET = "{name: salary, data_type: double, config: {meta: {pit_join: {sensitive: true}}}}"
VIEWS = {
    "profile": view(
        f"{KEYS}, ttl: 2 days, {LIMITS}",
        f"{BASE}, {{name: age, data_type: bigint}}, {{name: plan, data_type: varchar, config: {{meta: {{pit_join: "
        f"{{default: free, drift: {{psi: 0.1, after: 2 runs}}}}}}}}}}, {SECRET}",
    ),
    "visits": view(
        f"{KEYS}, max_staleness: 1 day, aggregations: [{{name: visits_1d, function: count, window: 1 day}}]",
        BASE,
    ),
    "hidden": view(f"{KEYS}, sensitive: true", f"{BASE}, {{name: word, data_type: varchar}}"),
}
SERVICE = """
exposures:
  - name: churn
    type: ml
    owner: {name: Growth, email: growth@example.com}
    depends_on: [ref('profile'), ref('visits'), ref('hidden')]
    config:
      meta:
        pit_join:
          features: ['profile:*', 'visits:visits_1d', 'hidden:word',
            {on_demand: older, arguments: {age: 'profile:age'}},
            {on_demand: richer, arguments: {salary: 'profile:salary'}}]
  - name: plain
    type: ml
    owner: {name: Growth, email: growth@example.com}
    depends_on: [ref('profile')]
    config:
      meta: {pit_join: {features: ['profile:age', {on_demand: older, arguments: {age: 'profile:age'}}]}}
"""
MACROS = """
{% macro older(age) %}{{ age }} + 1{% endmacro %}
{% macro richer(salary) %}{{ salary }} * 2{% endmacro %}
"""
MACRO_YAML = """
macros:
  - name: older
    config: {meta: {pit_join: {returns: bigint}}}
    arguments: [{name: age, type: bigint}]
  - name: richer
    config: {meta: {pit_join: {returns: double}}}
    arguments: [{name: salary, type: double}]
"""


@dataclass
class Bank:
    """A project with 900 users, its store, and what that has served."""

    folder: Path

    @property
    def store(self) -> FeatureStore:
        return FeatureStore(self.folder)

    def fill(self, *, nulls: float = 0.1, age: float = 40, plan: str = "free", at: datetime = NOON) -> None:
        """Fill the tables with users as of an hour before a time; of the first only so many ages are null."""
        rng = np.random.default_rng(11)
        frame = pd.DataFrame(
            {
                "user_id": [f"u{number}" for number in range(USERS)],
                "event_timestamp": at - timedelta(hours=1),
                "age": pd.array(np.round(rng.normal(age, 10, USERS)).astype(int), dtype="Int64"),
                "plan": np.where(rng.random(USERS) < 0.7, plan, "paid"),
                "salary": rng.normal(5000, 1000, USERS),
                "word": np.where(rng.random(USERS) < 0.5, "s3cret", "other"),
            }
        )
        frame.loc[rng.random(USERS) < nulls, "age"] = pd.NA
        with duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
            connection.execute("set TimeZone = 'UTC'")
            connection.execute("create or replace table profile as select * exclude (word) from frame")
            connection.execute("create or replace table visits as select user_id, event_timestamp from frame")
            connection.execute("create or replace table hidden as select user_id, event_timestamp, word from frame")

    def serve(
        self, log: str, *, unknown: int = 0, now: datetime = NOON, users: Sequence[str] = (), service: str = "churn"
    ) -> Path:
        """Serve all users or those named, and some that the store does not have."""
        folder = self.folder / log
        feature_log = FeatureLog(folder, 1.0)
        known = users or [f"u{number}" for number in range(USERS)]
        asked = [{"user_id": user} for user in (*known, *(f"x{i}" for i in range(unknown)))]
        store = FeatureStore(self.folder, feature_log=feature_log)
        store.online_reader(service).get_online_features(asked, now=now)
        assert feature_log.close()
        return folder

    def train(self, name: str, times: int = 2, users: Sequence[str] = (), features: Any = "churn", **more: Any) -> Path:
        """Build a training set in which every user, or those named, have some rows."""
        known = list(users) or [f"u{number}" for number in range(USERS)]
        rows = [pd.DataFrame({"user_id": known, "event_timestamp": NOON, **more})] * times
        path = self.folder / name
        self.store.get_historical_features(pd.concat(rows, ignore_index=True), features).write(path)
        return path

    def monitor(self, *arguments: Any, **options: Any) -> Monitoring:
        return self.store.monitor(*arguments, now=NOON, **options)

    def run(self, *arguments: str) -> Any:
        return run("--project-dir", str(self.folder), "monitor", "--now", "2026-03-01 12:00", *arguments)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    folder = make_project(tmp_path_factory.mktemp("bank") / "bank", VIEWS, SERVICE)
    (folder / "macros").mkdir()
    (folder / "macros" / "m.sql").write_text(MACROS)
    (folder / "macros" / "m.yml").write_text(MACRO_YAML)
    return Bank(folder)


@pytest.fixture
def bank(project: Bank, tmp_path: Path) -> Bank:
    shutil.copytree(project.folder, tmp_path / "bank")
    made = Bank(tmp_path / "bank")
    made.fill()
    made.store.export(as_of=NOON)
    return made


def breaches(found: Monitoring) -> dict[tuple[str, str], str]:
    return {(each.check, f"{each.place or '-'} {each.view}:{each.feature}"): each.text for each in found.breaches}


def rates_of(found: Monitoring) -> tuple[FeatureRates, ...]:
    assert found.rates is not None
    return found.rates.features


def drifts_of(found: Monitoring) -> tuple[DriftedFeature, ...]:
    assert found.drift is not None
    return found.drift.features


# Nulls and defaults -----------------------------------------------------------------------------------------------


def test_nothing_planted_is_nothing_found(bank: Bank) -> None:
    log, training = bank.serve("log"), bank.train("set.parquet")
    found = bank.monitor(log, baseline=training)
    assert (breaches(found), found.found, found.unchecked) == ({}, False, ())
    rates = {(each.view, each.feature, each.place): each for each in rates_of(found)}
    assert {place for _, _, place in rates} == {"offline", "stored", "served"}
    share = rates["profile", "age", "offline"].null_rate
    assert share == rates["profile", "age", "stored"].null_rate == rates["profile", "age", "served"].null_rate
    assert share == pytest.approx(0.1, abs=0.04)
    assert rates["on_demand", "older", "served"].null_rate == share
    assert rates["visits", "visits_1d", "served"].default_rate == 0


def test_planted_nulls_are_named_where_they_are(bank: Bank) -> None:
    bank.fill(nulls=0.5)  # and not exported yet
    assert list(breaches(bank.monitor())) == [("nulls", "offline profile:age")]
    bank.store.export(as_of=NOON)
    found = bank.monitor(bank.serve("log"), checks=["rates"])
    assert list(breaches(found)) == [("nulls", f"{place} profile:age") for place in ("offline", "stored", "served")]
    assert "nulls served is over 30.0%: PRESENT " in breaches(found)["nulls", "served profile:age"]
    done = bank.run("--check", "rates")
    assert (done.status, done.out.count("! profile:age")) == (1, 2)


def test_planted_defaults_are_named(bank: Bank) -> None:
    """Users whom the store does not have, and values that become older than the ttl while they are stored."""
    log = bank.serve("log", unknown=2000)
    assert {place for _, place in breaches(bank.monitor(log, checks=["rates"]))} == {
        f"served profile:{feature}" for feature in ("age", "plan", "salary")
    }
    late = bank.store.monitor(checks=["rates"], now=NOON + timedelta(days=3))
    assert {place for _, place in breaches(late)} == {f"offline profile:{name}" for name in ("age", "plan", "salary")}


def test_few_served_rows_are_not_judged(bank: Bank) -> None:
    feature_log = FeatureLog(bank.folder / "few", 1.0)
    reader = FeatureStore(bank.folder, feature_log=feature_log).online_reader("churn")
    reader.get_online_features([{"user_id": "nobody"}] * 20, now=NOON)
    assert feature_log.close()
    found = bank.monitor(bank.folder / "few", checks=["rates"])
    assert not found.breaches
    assert "profile:age was served in 20 rows, too few to judge its rates" in found.unchecked
    assert bank.run("--check", "rates", "--log", str(bank.folder / "few")).status == 3


def test_the_store_and_the_log_are_counted_without_the_warehouse(bank: Bank) -> None:
    log = bank.serve("log")
    (bank.folder / "warehouse.duckdb").unlink()
    found = bank.monitor(log, checks=["rates"])
    assert {each.place for each in rates_of(found)} == {"stored", "served"}
    assert [each.split(":")[0] for each in found.unchecked] == ["the warehouse"]


# Drift ------------------------------------------------------------------------------------------------------------


def drifted(found: Monitoring) -> set[str]:
    return {f"{each.view}:{each.feature}" for each in drifts_of(found) if each.breached}


def test_a_planted_drift_is_named_and_nothing_else(bank: Bank) -> None:
    training = bank.train("set.parquet")
    bank.fill(age=50)
    bank.store.export(as_of=NOON)
    found = bank.monitor(bank.serve("log"), checks=["drift"], baseline=training)
    assert drifted(found) == {"profile:age", "on_demand:older"}  # which is computed from it
    assert "PSI" in breaches(found)["drift", "- profile:age"]
    done = bank.run("--check", "drift", "--log", str(bank.folder / "log"), "--baseline", str(training))
    assert (done.status, done.out.count("drifted"), done.out.count("! ")) == (1, 2, 2)


def test_values_that_are_not_found_are_a_drift(bank: Bank) -> None:
    training = bank.train("set.parquet")
    found = bank.monitor(bank.serve("log", unknown=400), checks=["drift"], baseline=training)
    assert "missing 0.0% -> 30.8%" in breaches(found)["drift", "- profile:age"]
    assert "profile:plan" in drifted(found)  # an alarm after two runs, where runs are kept


def test_a_log_against_an_earlier_one(bank: Bank) -> None:
    before = bank.serve("before")
    bank.fill(age=50, at=NOON + timedelta(days=1))
    bank.store.export(as_of=NOON + timedelta(days=1))
    now = bank.serve("now", now=NOON + timedelta(days=1))
    assert drifted(bank.monitor(now, checks=["drift"], baseline=before)) == {"profile:age", "on_demand:older"}
    for path in before.glob("*.parquet"):
        shutil.copy(path, now)
    spans = {"start": NOON + timedelta(hours=1), "baseline_end": NOON + timedelta(hours=1)}
    whole = bank.monitor(now, checks=["drift"], baseline=now, **spans)
    assert drifted(whole) == {"profile:age", "on_demand:older"}
    assert drifted(bank.monitor(now, checks=["drift"], baseline=now)) == set()


def test_a_snapshot_against_an_earlier_one(bank: Bank) -> None:
    with duckdb.connect(str(bank.folder / "warehouse.duckdb")) as connection:
        connection.execute(
            "insert into profile select * replace "
            "(event_timestamp + interval 3 hours as event_timestamp, age + 10 as age) from profile"
        )
    later = NOON + timedelta(hours=3)
    found = bank.store.monitor(checks=["drift"], now=later, baseline_as_of=NOON)
    assert drifted(found) == {"profile:age"}
    assert drifted(bank.store.monitor(checks=["drift"], now=NOON, baseline_as_of=NOON)) == set()
    done = run(
        "--project-dir", str(bank.folder), "monitor", "--check", "drift", "--baseline-as-of", "2026-03-01 12:00",
        "--now", "2026-03-01 15:00", "--json",
    )  # fmt: skip
    assert done.status == 1
    features = {each["feature"]: each for each in json.loads(done.out)["drift"]["features"]}
    assert (features["age"]["breached"], features["plan"]["breached"]) == (True, False)


def test_a_drift_that_has_to_last_is_an_alarm_in_the_second_run(bank: Bank) -> None:
    training = bank.train("set.parquet")
    bank.fill(plan="gratis")
    bank.store.export(as_of=NOON)
    log = bank.serve("log")
    options: dict[str, Any] = {"checks": ["drift"], "baseline": training, "results": bank.folder / "kept"}
    first = bank.monitor(log, **options)
    assert (drifted(first), first.found) == (set(), False)
    (plan,) = [each for each in drifts_of(first) if each.feature == "plan"]
    assert (plan.over, plan.text.endswith("; run 1 in a row, and 2 are an alarm")) == (True, True)
    assert drifted(bank.monitor(log, **options)) == {"profile:plan"}
    assert drifted(bank.monitor(log, **{**options, "results": None})) == {"profile:plan"}  # nothing to wait for
    bank.monitor(log, **{**options, "baseline": log})  # against another baseline
    assert drifted(bank.monitor(log, **options)) == {"profile:plan"}
    bank.fill()
    bank.store.export(as_of=NOON)
    bank.monitor(bank.serve("good"), **options)  # nothing is over
    assert drifted(bank.monitor(log, **options)) == set()


def test_a_training_set_of_another_program_is_profiled_from_its_rows(bank: Bank) -> None:
    training = bank.train("set.parquet")
    pq.write_table(pq.read_table(training).replace_schema_metadata(None), bank.folder / "plain.parquet")
    log = bank.serve("log")
    assert drifted(bank.monitor(log, checks=["drift"], baseline=bank.folder / "plain.parquet")) == set()
    bank.fill(age=50)
    bank.store.export(as_of=NOON)
    found = bank.monitor(bank.serve("moved"), checks=["drift"], baseline=bank.folder / "plain.parquet")
    assert drifted(found) == {"profile:age", "on_demand:older"}


def test_ks_is_exact_where_the_rows_of_the_set_are_there(bank: Bank) -> None:
    training = bank.train("set.parquet")
    before = pq.read_table(training)["age"].drop_null().to_numpy()
    bank.fill(age=42)
    bank.store.export(as_of=NOON)
    log = bank.serve("log")
    with duckdb.connect(str(bank.folder / "warehouse.duckdb"), read_only=True) as connection:
        now = connection.execute("select age from profile where age is not null").fetchnumpy()["age"]
    exact = scipy.stats.ks_2samp(before, now).statistic

    def measured(path: Path) -> tuple[float | None, float | None]:
        found = drifts_of(bank.monitor(log, checks=["drift"], baseline=path))
        (drift,) = (each.drift for each in found if each.feature == "age")
        return drift.ks, drift.ks_error

    assert measured(training) == (pytest.approx(exact, abs=1e-9), 0)
    table = pq.read_table(training)
    pq.write_table(table.replace_schema_metadata(None), bank.folder / "plain.parquet")
    assert measured(bank.folder / "plain.parquet") == (pytest.approx(exact, abs=1e-9), 0)
    # The rows of a feature with a default hide which values are defaults.
    said = json.loads(table.schema.metadata[b"pit_join"])
    said["views"]["profile"]["settings"]["default of age"] = "0"
    pq.write_table(table.replace_schema_metadata({b"pit_join": json.dumps(said)}), bank.folder / "defaults.parquet")
    ks, error = measured(bank.folder / "defaults.parquet")
    assert ks is not None
    assert error is not None
    assert error > 0
    assert ks - 1e-9 <= exact <= ks + error


def test_what_cannot_be_compared_is_said(bank: Bank) -> None:
    log, training = bank.serve("log"), bank.train("set.parquet", times=1)
    table = pq.read_table(training)
    pq.write_table(table.drop_columns(["age"]).replace_schema_metadata(None), bank.folder / "less.parquet")
    found = bank.monitor(log, checks=["drift"], baseline=bank.folder / "less.parquet")
    assert found.unchecked == ("profile:age is not in the baseline",)
    assert bank.run("--check", "drift", "--log", str(log), "--baseline", str(bank.folder / "less.parquet")).status == 3
    small = bank.store.get_historical_features(pd.DataFrame({"user_id": ["u1"] * 20, "event_timestamp": NOON}), "churn")
    small.write(bank.folder / "small.parquet")
    found = bank.monitor(log, checks=["drift"], baseline=bank.folder / "small.parquet")
    assert found.unchecked == (
        "profile has 20 rows on one side, too few to judge a drift of plan",  # which declares a bound
        "drift: no feature has enough values on both sides to be judged",
    )
    for arguments, problem in (
        ({"checks": ["drift"]}, "the check drift needs earlier values"),
        ({"checks": ["drift"], "baseline": training}, "a training set is compared with what was served"),
        ({"checks": ["rates"], "baseline_as_of": NOON}, "has no effect on these checks"),
    ):
        with pytest.raises(PitJoinError, match=problem):
            bank.monitor(**arguments)
    with pytest.raises(RequestError, match="unknown feature view 'profil'"):
        bank.monitor(checks=["rates"], select=["profil"])


def test_rows_of_one_user_are_one_piece_of_evidence(bank: Bank) -> None:
    """Thirty users differ from all by chance, however often each is served, or stands in the training set."""
    few = [f"u{number}" for number in range(30)] * 40
    log = bank.serve("log", users=few, service="plain")  # which has no hidden keys
    found = bank.monitor(log, checks=["drift"], baseline=bank.train("set.parquet", features="plain"))
    far = {each.feature: each.drift.psi for each in drifts_of(found)}
    assert min(far["age"], far["older"]) > 0.2
    assert drifted(found) == set()
    statistics = json.loads(pq.read_metadata(bank.train("few.parquet", 1, few, "plain")).metadata[b"pit_join"])[
        "statistics"
    ]
    for name in ("age", "older"):
        profile = statistics[name]["profile"]
        assert profile["noise"] > 10 * (profile["bins"] - 1) / profile["rows"]


def test_what_a_training_set_did_not_find_either_is_no_drift(bank: Bank) -> None:
    unknown = [*(f"u{number}" for number in range(USERS)), *(f"x{number}" for number in range(USERS // 2))]
    training = bank.train("set.parquet", 1, unknown)
    log = bank.serve("log", unknown=USERS // 2)
    found = bank.monitor(log, checks=["drift"], baseline=training)
    assert drifted(found) == set()
    shares = {each.feature: each.drift.baseline_missing for each in drifts_of(found)}
    assert shares["plan"] == shares["age"] == USERS // 2


def test_a_column_of_another_view_or_of_the_spine_is_not_the_feature(bank: Bank) -> None:
    log = bank.serve("log")
    training = bank.train("set.parquet", features=["visits:visits_1d"], age=1.0)
    found = bank.monitor(log, checks=["drift"], baseline=training)
    assert "profile:age is not in the baseline" in found.unchecked
    assert {each.feature for each in drifts_of(found)} == {"visits_1d"}


def test_a_set_without_profiles_is_written_all_the_same(bank: Bank, caplog: pytest.LogCaptureFixture) -> None:
    spine = pd.DataFrame({"user_id": ["u1", "u2"], "event_timestamp": NOON})
    built = bank.store.get_historical_features(spine, ["profile:age"])

    def failing(table: pa.Table) -> dict[str, Any]:
        raise PitJoinError("a type that nobody knows")

    replace(built, profiler=failing).write(bank.folder / "odd.parquet")
    assert "no profiles for the check drift: a type that nobody knows" in caplog.text
    statistics = json.loads(pq.read_metadata(bank.folder / "odd.parquet").metadata[b"pit_join"])["statistics"]
    assert statistics["age"] == {"rows": 2, "nulls": 0}


def test_chance_is_judged_for_all_features_together() -> None:
    assert list(_unlikely({"a": 3.2})) == ["a"]
    assert list(_unlikely({"a": 3.2, **{f"f{number}": 0.0 for number in range(500)}})) == []
    assert list(_unlikely({"a": 5.0, "b": 4.7, **{f"f{number}": 0.0 for number in range(500)}})) == ["a", "b"]


def test_a_stale_export_is_no_value(bank: Bank) -> None:
    found = bank.store.monitor(checks=["rates"], now=NOON + timedelta(days=1, seconds=1))
    rates = {(each.view, each.place): each.default_rate for each in rates_of(found)}
    assert (rates["visits", "stored"], rates["hidden", "stored"]) == (1.0, 0.0)


def test_the_fewest_rows_are_declared(bank: Bank) -> None:
    training = bank.train("set.parquet")
    bank.fill(plan="gratis", age=60)
    bank.store.export(as_of=NOON)
    log = bank.serve("log", users=[f"u{number}" for number in range(200)])
    options: dict[str, Any] = {"checks": ["drift"], "baseline": training}
    assert drifted(bank.monitor(log, **options)) == set()
    yaml = bank.folder / "models" / "models.yml"
    yaml.write_text(yaml.read_text().replace("after: 2 runs", "after: 2 runs, min_rows: 200"))
    assert drifted(bank.monitor(log, **options)) == {"profile:plan"}


def test_one_check_that_fails_hides_no_other(bank: Bank) -> None:
    bank.fill(nulls=0.5)
    results = bank.folder / "monitoring" / "dev"
    results.mkdir(parents=True)
    (results / "results-2026-01.parquet").write_bytes(b"PAR1")
    for arguments, reason in (
        (["--log", "nowhere"], "skew: there is no feature log in"),
        (["--baseline-as-of", "2026-03-01 11:30"], "results: "),
        (["--results", str(bank.folder / "models" / "models.yml")], "results: "),
    ):
        done = bank.run(*arguments)
        assert (done.status, "! profile:age" in done.out, reason in done.err) == (1, True, True), done.err
    log = bank.serve("log")
    nothing = bank.monitor(log, checks=["drift", "rates", "skew"], baseline=log, start=NOON + timedelta(days=1))
    assert {each.split(":")[0] for each in nothing.unchecked} >= {"drift", "rates", "skew"}


# Sensitive --------------------------------------------------------------------------------------------------------


def test_sensitive_values_are_nowhere(bank: Bank) -> None:
    training = bank.train("set.parquet")
    said = pq.read_metadata(training).metadata[b"pit_join"].decode()
    statistics = json.loads(said)["statistics"]
    for name in ("salary", "richer", "word"):
        assert statistics[name]["profile"]["kind"] == "other"
        assert set(statistics[name]) == {"rows", "nulls", "profile"}
    assert "s3cret" not in said
    assert statistics["age"]["mean"] == pytest.approx(40, abs=2)
    with duckdb.connect(str(bank.folder / "warehouse.duckdb")) as connection:
        connection.execute("update hidden set word = null")
        connection.execute("update profile set salary = salary * 3")
    bank.store.export(as_of=NOON)
    log = bank.serve("log")
    done = bank.run("--log", str(log), "--baseline", str(training), "--json", "--check", "drift,rates,skew")
    assert "s3cret" not in done.out
    found = bank.monitor(log, checks=["drift"], baseline=training)
    assert drifted(found) == {"hidden:word"}  # of the salary only nulls are counted
    assert "null 0.0% -> 100.0%" in breaches(found)["drift", "- hidden:word"]


# In dbt -----------------------------------------------------------------------------------------------------------

PROFILED = """{{{{ config(materialized='table') }}}}
-- depends_on: {{{{ ref('profile') }}}}
{{{{ pit_join.{macro}('profile', {arguments}) }}}}
"""
TESTS = """    data_tests:
      - pit_join.fresh_within: {arguments: {within: 2 hours, as_of: '2026-03-01 12:00'}}
      - pit_join.null_rate_below: {arguments: {rate: 0.3, as_of: '2026-03-01 12:00', features: [age, plan]}}
      - pit_join.default_rate_below: {arguments: {rate: 0.6, as_of: '2026-03-01 12:00'}}
      - pit_join.no_drift_from: {arguments: {profile: "ref('profile_then')", as_of: '2026-03-01 12:00'}}
"""


def _dbt(bank: Bank, *arguments: str) -> dict[str, str]:
    """The outcome of each node of a run of dbt."""
    command = [sys.executable, "-m", "dbt.cli.main", *arguments, "--profiles-dir", "profiles"]
    done = subprocess.run(command, cwd=bank.folder, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stdout
    results = json.loads((bank.folder / "target" / "run_results.json").read_text())["results"]
    outcomes = {each["unique_id"].split(".")[2]: each["status"] for each in results}
    return {name: status for name, status in outcomes.items() if "on-run-start" not in name}


@pytest.mark.proves(
    "duckdb", "feature_profile", "drift", "no_drift_from", "fresh_within", "null_rate_below", "default_rate_below"
)
def test_the_same_in_dbt(bank: Bank) -> None:
    models = bank.folder / "models"
    (models / "profile_then.sql").write_text(PROFILED.format(macro="feature_profile", arguments="'2026-03-01 12:00'"))
    drift = PROFILED.format(macro="drift", arguments="ref('profile_then'), '2026-03-01 15:00'")
    (models / "profile_drift.sql").write_text(drift)
    declared = (models / "models.yml").read_text()
    (models / "models.yml").write_text(declared.replace('  - name: "visits"', f'{TESTS}  - name: "visits"'))
    assert _dbt(bank, "run", "--select", "profile_then") == {"profile_then": "success"}
    outcome = _dbt(bank, "test")
    assert (len(outcome), set(outcome.values())) == (4, {"pass"})
    with duckdb.connect(str(bank.folder / "warehouse.duckdb")) as connection:
        connection.execute(
            "insert into profile select * replace "
            "(event_timestamp + interval 3 hours as event_timestamp, age + 10 as age) from profile"
        )
    assert _dbt(bank, "run", "--select", "profile_drift") == {"profile_drift": "success"}
    with duckdb.connect(str(bank.folder / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.sql("select feature, psi, js, ks, noise from profile_drift").fetchall()
    found = bank.store.monitor(checks=["drift"], select=["profile"], now=NOON + timedelta(hours=3), baseline_as_of=NOON)
    assert found.drift is not None
    by_python = {each.feature: each.drift for each in drifts_of(found)}
    assert {row[0] for row in rows} == set(by_python) == {"age", "plan", "salary"}
    for feature, *measured in rows:
        one = by_python[feature]
        assert measured == pytest.approx([one.psi, one.js, one.ks, one.noise])
    bank.fill(age=50, nulls=0.7, at=NOON - timedelta(hours=4))
    outcome = _dbt(bank, "test")
    assert set(outcome.values()) == {"fail"}
