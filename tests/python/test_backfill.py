"""Histories that dbt builds in batches: windows are whole in them, and a backfill finds and runs what is missing."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from click.testing import CliRunner
from support.dbt import ROOT, Built, copied, failures, results, run_dbt
from support.forks import programs
from support.pages import BLOCK, follow, steps

from pit_join import FeatureStore, PitJoinError, ProjectError, RequestError, WarehouseError
from pit_join.cli.main import main
from pit_join.definitions.connection import Connection
from pit_join.history import fingerprints
from pit_join.history.backfill import Backfill, _Work
from pit_join.history.batches import batch_models
from pit_join.history.fingerprints import Fingerprints
from pit_join.history.ledger import Ledger, read_records
from pit_join.project.dbt_project import Project
from pit_join.project.rendering import Macros
from pit_join.workspace import Console, Workspace

pytestmark = pytest.mark.dbt

EXAMPLE = ROOT / "examples" / "backfill"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
DAYS = [f"2026-03-{day:02}" for day in range(1, 14)]  # the last payment leaves its window of 3 days on the 13th
END = "2026-03-14"
HISTORY = "from payment_history order by account_id, event_timestamp"


def sql(directory: Path, statement: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(directory / "warehouse.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(statement).fetchall()


def at_once(directory: Path, end: str = END) -> list[tuple[Any, ...]]:
    """The history of everything in one query."""
    project = Project(directory)
    macros = Macros(project.manifest(), project.dispatch_order, project.compile)
    return sql(directory, macros.text("window_history", view="payments", end=end))


def backfill(directory: Path, apply: bool = False, wait: float = 30.0, **options: Any) -> Backfill:
    return FeatureStore(directory, wait=wait).backfill(apply=apply, **options)


def planned(found: Backfill) -> dict[str, list[str]]:
    """The batches of a plan by reason."""
    reasons: dict[str, list[str]] = {}
    for plan in found.plans:
        for one in plan.ranges:
            reasons.setdefault(one.reason, []).extend(start.date().isoformat() for start, _ in one.batches)
    return reasons


def change(directory: Path, name: str, old: str, new: str) -> None:
    text = (directory / name).read_text()
    assert old in text
    (directory / name).write_text(text.replace(old, new))


def ledger(directory: Path) -> Path:
    return directory / "warehouse.duckdb.batches.jsonl"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The example as a bare `dbt build` leaves it, with a copy of the macros, which a test may change."""
    directory = tmp_path_factory.mktemp("example") / "example"
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("target", "logs", "dbt_packages", "warehouse*"))
    (directory / "packages.yml").unlink()
    shutil.copytree(ROOT / "pit_join/dbt_package", directory / "dbt_packages/pit_join")
    result = run_dbt(directory, "parse")
    assert result.success, failures(result)
    built = Built(directory, result.result)
    result = built.dbt("build")
    assert result.success, failures(result)
    assert {one.node.name for one in results(result)} == {"raw_payments", "payments"}
    Project(directory).manifest()  # kept for all copies
    return built


@pytest.fixture(scope="module")
def filled(example: Built, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The example with its whole history; a test that deletes of it lets a backfill repair it."""
    directory = copied(example, tmp_path_factory.mktemp("filled") / "filled").directory
    assert planned(backfill(directory)) == {"missing": DAYS}
    found = backfill(directory, apply=True)
    assert found.complete
    assert found.done == {"payment_history": DAYS}
    return Built(directory, example.manifest)


def test_packages_of_the_example() -> None:
    (package,) = yaml.safe_load((EXAMPLE / "packages.yml").read_text())["packages"]
    assert (EXAMPLE / package["local"]).resolve() == ROOT / "pit_join/dbt_package"


# Windows in batches -------------------------------------------------------------------------------------


def test_batches_hold_the_same_rows_as_one_query(filled: Built) -> None:
    rows = sql(filled.directory, HISTORY)
    assert rows == at_once(filled.directory)
    # late, corrected, moved to another account, cancelled: all of it is there
    spent = {(account, time.strftime("%d %H:%M")): cents for account, time, _, _, cents, _ in rows}
    assert spent["a1", "05 07:00"] == 4400  # p06 of the 3rd, two days late
    assert spent["a2", "03 15:00"] == 700  # p02 is 450, not 500
    assert spent["a3", "05 16:20"] == 700  # p04 never was
    assert spent["a4", "07 19:00"] is None  # p10 was of a3
    assert spent["a3", "07 19:00"] == 1500


@pytest.mark.rest
def test_batches_hold_what_a_run_on_each_day_would_have_made(
    example: Built, filled: Built, copy_of: Callable[[Built], Built]
) -> None:
    daily = copy_of(example)
    sql(daily.directory, "alter table payments rename to all_payments")
    for day, end in zip(DAYS, [*DAYS[1:], END], strict=True):
        sql(
            daily.directory,
            f"create or replace table payments as from all_payments where recorded_at < timestamptz '{end} 00:00:00Z'",
        )
        result = daily.dbt(
            "run", "--select", "payment_history", "--event-time-start", day, "--event-time-end", end
        )  # fmt: skip
        assert result.success, failures(result)
    assert sql(daily.directory, HISTORY) == sql(filled.directory, HISTORY)


MODEL = """
{{{{ config(materialized='incremental', incremental_strategy='microbatch', batch_size='day', begin='2026-03-01',
    lookback=0, event_time='event_timestamp') }}}}
{{%- set batch = model.batch or {{}} %}}
select now.account_id, now.recorded_at as event_timestamp, sum(before.amount_cents) as spent
from {0} as now
inner join {0} as before using (account_id)
where before.recorded_at <= now.recorded_at and before.paid_at > now.recorded_at - interval 3 day
    {{%- if batch %}}
    and now.recorded_at >= '{{{{ batch.event_time_start }}}}' and now.recorded_at < '{{{{ batch.event_time_end }}}}'
    {{%- endif %}}
group by all
"""


def test_a_plain_reference_truncates_windows_and_is_an_error(example: Built, copy_of: Callable[[Built], Built]) -> None:
    directory = copy_of(example).directory
    (directory / "models/cut.sql").write_text(MODEL.format("{{ ref('payments') }}"))
    (directory / "models/uncut.sql").write_text(MODEL.format("{{ ref('payments').render() }}"))
    (directory / "models/whole.sql").write_text(MODEL.format("{{ ref('payments') }}").split("}}", 1)[1])
    arguments = ["--event-time-start", DAYS[0], "--event-time-end", "2026-03-05"]
    result = run_dbt(directory, "run", "--select", "cut", "uncut", "whole", *arguments)
    assert result.success, failures(result)
    until = "where event_timestamp < timestamptz '2026-03-05 00:00:00Z' order by all"
    whole = sql(directory, f"from whole {until}")
    assert sql(directory, f"from uncut {until}") == whole
    assert sql(directory, f"from cut {until}") != whole
    with pytest.raises(ProjectError) as caught:
        backfill(directory)
    (problem,) = caught.value.problems
    assert problem.startswith("models/cut.sql: cut reads the window view payments through ref('payments'), which dbt ")
    assert "cuts to the batch: windows would miss every event before it" in problem


@pytest.mark.rest
def test_a_second_build_runs_no_old_batches(filled: Built, copy_of: Callable[[Built], Built]) -> None:
    again = copy_of(filled)
    result = again.dbt("build")
    assert {one.node.name for one in results(result)} == {"raw_payments", "payments"}
    # asked for without a range dbt runs the last batch up to now, which is empty
    result = again.dbt("run", "--select", "payment_history")
    (one,) = results(result)
    assert len(one.batch_results.successful) == 1
    assert one.batch_results.successful[0][0] > datetime(2026, 3, 14, tzinfo=timezone.utc)
    assert sql(again.directory, HISTORY) == sql(filled.directory, HISTORY)


# What a plan finds --------------------------------------------------------------------------------------


def test_deleted_rows_are_found_and_made_again(filled: Built) -> None:
    directory = filled.directory
    before = sql(directory, HISTORY)
    (plan,) = backfill(directory).plans
    assert (plan.total, plan.batches) == (13, [])
    sql(directory, "delete from payment_history where event_timestamp between '2026-03-04' and '2026-03-06 23:59'")
    assert planned(backfill(directory)) == {"rows changed": DAYS[3:6]}
    (expected,) = backfill(directory).plans[0].ranges
    assert expected.rows == round(len(before) / 13 * 3)
    assert 0 < (expected.seconds or 0) < 60
    assert planned(backfill(directory, start="2026-03-06", end="2026-03-09")) == {"rows changed": DAYS[5:6]}
    assert backfill(directory, apply=True).done == {"payment_history": DAYS[3:6]}
    assert sql(directory, HISTORY) == before
    size = ledger(directory).stat().st_size
    assert backfill(directory, apply=True).done == {}
    assert ledger(directory).stat().st_size == size


@pytest.mark.kill
@pytest.mark.rest
def test_a_changed_definition_or_macro_and_a_kill(filled: Built, copy_of: Callable[[Built], Built]) -> None:
    directory = copy_of(filled).directory
    before = sql(directory, HISTORY)
    change(directory, "models/_models.yml", "function: max", "function: min")
    found = backfill(directory)
    assert planned(found) == {"older definition": DAYS}
    assert [table.name for table in found.plans[0].tables] == ["payments"]  # its YAML is what has changed
    found = backfill(directory, apply=True)
    assert (found.built, found.done) == (("payments",), {"payment_history": DAYS})
    assert sql(directory, HISTORY) == at_once(directory) != before

    macro = "dbt_packages/pit_join/macros/window_history.sql"
    change(directory, macro, "-- The state before, for comparison with the first rows.", "-- The state before.")
    assert planned(backfill(directory)) == {"older definition": DAYS}
    lines = ledger(directory).read_text().count("\n")
    process = subprocess.Popen(
        [programs() / "pit-join", "--project-dir", directory, "backfill", "--apply"],
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
    )
    while ledger(directory).read_text().count("\n") < lines + 4:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = planned(backfill(directory))["older definition"]
    assert 0 < len(left) <= 9
    assert left == DAYS[-len(left) :]
    assert backfill(directory, apply=True).done == {"payment_history": left}
    assert sql(directory, HISTORY) == at_once(directory)
    assert planned(backfill(directory)) == {}


def test_what_changes_a_definition(example: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(example.directory)
    unique_id = "model.backfill_example.payment_history"

    def of(alter: Callable[[dict[str, Any]], Any] = lambda manifest: None, **variables: Any) -> str:
        manifest = project.manifest()
        alter(manifest)
        return Fingerprints(manifest, variables).of(unique_id)

    def node(manifest: dict[str, Any], name: str = "model.backfill_example.payments") -> dict[str, Any]:
        found: dict[str, Any] = manifest["nodes"][name]
        return found

    code = "macro.pit_join._window_events"
    same = [
        of(amount=1),
        of(lambda m: node(m).update(description="else", original_file_path="else.sql", tags=["else"])),
        of(lambda m: node(m)["config"].update(tags=["else"], docs={"show": False})),
        of(lambda m: node(m).update(raw_code="{# else #}" + node(m)["raw_code"])),
        of(lambda m: m["macros"]["macro.pit_join.training_set"].update(macro_sql="else")),
        of(lambda m: node(m, unique_id)["config"].update(begin="2026-02-01", lookback=3)),
        of(lambda m: node(m)["config"]["meta"]["pit_join"].update(online=False)),
        of(lambda m: node(m)["config"]["meta"]["pit_join"]["aggregations"][0].update(max_null_rate=0.1)),
    ]
    assert set(same) == {of()}
    other = [
        of(),
        of(lambda m: node(m).update(raw_code="select 1")),
        of(lambda m: node(m).update(raw_code="select {{ var('days') }}")),
        of(lambda m: node(m).update(raw_code="select {{ var('days') }}"), days=1),
        of(lambda m: node(m).update(raw_code="select {{ var('days') }}"), days=2),
        of(lambda m: node(m).update(raw_code="select {{ var(name) }}"), days=2),
        of(lambda m: node(m).update(raw_code="select {{ var('days') }}"), days="{{ env_var('PIT_DAYS', '1') }}"),
        of(lambda m: node(m).update(raw_code="select {{ var('days') }}"), days="{{ var('more') }}", more=[1]),
        of(lambda m: node(m).update(raw_code="select {{ var('days') }}"), days="{{ var('more') }}", more=[2]),
        of(lambda m: node(m)["config"]["meta"]["pit_join"].update(lag="1 hour")),
        of(lambda m: node(m)["config"]["meta"]["pit_join"]["aggregations"][0].update(window="9 days")),
        of(lambda m: node(m)["columns"]["amount_cents"].update(data_type="double")),
        of(lambda m: m["macros"][code].update(macro_sql=m["macros"][code]["macro_sql"] + "else")),
        # dbt does not list a macro that is handed on and called under another name
        of(lambda m: node(m).update(raw_code="{% set f = pit_join.training_set %}{{ f() }}")),
        of(
            lambda m: (
                node(m).update(raw_code="{% set f = pit_join.training_set %}{{ f() }}"),
                m["macros"]["macro.pit_join.training_set"].update(macro_sql="else"),
            )
        ),
        of(lambda m: node(m, "seed.backfill_example.raw_payments")["config"]["column_types"].update(payment_id="int")),
        of(lambda m: node(m, unique_id)["config"].update(batch_size="hour")),
    ]
    assert len(set(other)) == len(other)
    monkeypatch.setenv("PIT_DAYS", "2")
    changed = of(lambda m: node(m).update(raw_code="select {{ var('days') }}"), days="{{ env_var('PIT_DAYS', '1') }}")
    assert changed not in other


@pytest.mark.rest
def test_a_feature_store_that_lives_on(
    filled: Built, copy_of: Callable[[Built], Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the variables, the environment and the profile as they are, not as they were when it was made."""
    directory = copy_of(filled).directory
    monkeypatch.setenv("PIT_FACTOR", "2")
    change(directory, "models/payments.sql", "amount_cents,", "amount_cents * {{ var('factor', 1) }} as amount_cents,")
    features = FeatureStore(directory)
    assert planned(features.backfill()) == {"older definition": DAYS}
    assert features.backfill(apply=True).complete
    before = sql(directory, HISTORY)
    project = directory / "dbt_project.yml"
    original = project.read_text()
    for factor, times in (("3", 3), ("\"{{ env_var('PIT_FACTOR') }}\"", 2)):
        project.write_text(f"{original}\nvars:\n  factor: {factor}\n")
        assert planned(features.backfill()) == {"older definition": DAYS}
        assert features.backfill(apply=True).built == ("payments",)
        assert planned(features.backfill()) == {}
        assert [row[4] for row in sql(directory, HISTORY)] == [row[4] and row[4] * times for row in before]
    monkeypatch.setenv("PIT_FACTOR", "1")
    assert planned(features.backfill()) == {"older definition": DAYS}
    change(directory, "profiles/profiles.yml", "path: warehouse.duckdb", "path: other.duckdb")
    (plan,) = features.backfill().plans
    assert plan.total == 0  # nothing is built in the other warehouse


def test_our_macros_count_by_the_version_of_the_rule(example: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are written; one that a project has changed or put in the place of ours counts by its text."""
    manifest = Project(example.directory).manifest()
    unique_id = "model.backfill_example.payment_history"

    def of(manifest: dict[str, Any] = manifest) -> str:
        return Fingerprints(manifest, {}).of(unique_id)

    def written_otherwise(name: str, package: str = "pit_join") -> dict[str, Any]:
        found = copy.deepcopy(manifest)
        macro = found["macros"][f"macro.pit_join.{name}"]
        macro["macro_sql"] = macro["macro_sql"].replace("{%- endmacro", "-- else\n{%- endmacro")
        if package != "pit_join":
            found["macros"][f"macro.{package}.{name}"] = {**macro, "package_name": package}
            found["macros"][f"macro.pit_join.{name}"] = manifest["macros"][f"macro.pit_join.{name}"]
        return found

    name = "duckdb__window_history"
    own, edited, overridden = of(), of(written_otherwise(name)), of(written_otherwise(name, "backfill_example"))
    assert len({own, edited, overridden}) == 3
    text = written_otherwise(name)["macros"][f"macro.pit_join.{name}"]["macro_sql"]
    with monkeypatch.context() as patch:  # a release in which it is written otherwise
        patch.setattr(fingerprints, "_texts", lambda path, known=fingerprints._texts: known(path) | {text})
        assert of(written_otherwise(name)) == own
    monkeypatch.setattr(fingerprints, "RULE_VERSION", fingerprints.RULE_VERSION + 1)
    assert of() not in (own, edited, overridden)


@pytest.mark.rest
def test_batches_that_dbt_ran_on_its_own(example: Built, copy_of: Callable[[Built], Built]) -> None:
    directory = copy_of(example).directory
    arguments = ["--select", "payment_history", "--event-time-start", DAYS[0], "--event-time-end", DAYS[4]]
    assert run_dbt(directory, "run", *arguments).success
    assert planned(backfill(directory)) == {"missing": DAYS[4:]}
    (directory / "target/run_results.json").unlink()  # as if another command had been run since
    assert planned(backfill(directory)) == {"missing": DAYS}


# What goes wrong ----------------------------------------------------------------------------------------


DAILY = """
{{ config(materialized='incremental', incremental_strategy='microbatch', batch_size='day', begin='2026-03-02',
    lookback=0, event_time='day') }}
select date_trunc('day', event_timestamp) as day, count(*) as changes from {{ ref('payment_history') }} group by all
"""


@pytest.mark.rest
def test_a_failing_batch_and_a_model_behind_it(example: Built, copy_of: Callable[[Built], Built]) -> None:
    directory = copy_of(example).directory
    (directory / "models/daily.sql").write_text(DAILY)
    path = directory / "models/payment_history.sql"
    good = path.read_text()
    bad = "{% if batch and batch.event_time_start.day in (1, 6) %}select error('no such day'){% else %}"
    path.write_text(good.replace("{{ pit_join.window", bad + "{{ pit_join.window") + "{% endif %}")
    result = CliRunner().invoke(main, ["--project-dir", str(directory), "backfill", "--apply", "--json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["failed"] == {"payment_history": [DAYS[0], DAYS[5]]}
    assert found["done"] == {"payment_history": [*DAYS[1:5], *DAYS[6:]]}
    assert found["not_run"] == {"daily": DAYS[1:]}
    assert any("no such day" in error for error in found["errors"])
    assert "daily was skipped, since a model that it reads failed" in found["errors"]
    assert planned(backfill(directory, select=["payment_history"])) == {"failed": [DAYS[0], DAYS[5]]}
    path.write_text(good)
    found = backfill(directory, apply=True)
    assert found.done == {"payment_history": DAYS, "daily": DAYS[1:]}
    assert planned(backfill(directory)) == {}
    counted = "select date_trunc('day', event_timestamp), count(*) from payment_history where event_timestamp >= '{}'"
    assert sql(directory, "from daily order by all") == sql(
        directory, counted.format(DAYS[1]) + " group by all order by all"
    )


@contextmanager
def reader(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that reads the warehouse."""
    code = f"import duckdb, time; c = duckdb.connect({str(directory / 'warehouse.duckdb')!r}, read_only=True); "
    code += "print('open', flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.rest
def test_a_reader_holds_the_warehouse(
    filled: Built, caplog: pytest.LogCaptureFixture, at_first_pause: Callable[[Callable[[], object]], None]
) -> None:
    directory = filled.directory
    before = sql(directory, HISTORY)
    sql(directory, "delete from payment_history where event_timestamp < '2026-03-02'")
    with reader(directory), pytest.raises(WarehouseError, match=r"another process holds .* within 0 s"):
        backfill(directory, apply=True, wait=0)
    with reader(directory) as other:
        assert planned(backfill(directory)) == {"rows changed": DAYS[:1]}  # a plan only reads
        at_first_pause(lambda: (other.kill(), other.wait()))
        found = FeatureStore(directory, wait=60).backfill(apply=True)
    assert found.done == {"payment_history": DAYS[:1]}
    assert any("waiting up to" in message for message in caplog.messages)
    assert sql(directory, HISTORY) == before


def test_a_reader_comes_while_dbt_starts(filled: Built, tmp_path: Path) -> None:
    class Locked:
        warehouse = tmp_path / "none.duckdb"
        connection = Connection("dev", tmp_path, {})
        starts = 0

        def run(self, *arguments: str, inherited: Any = ()) -> Iterator[dict[str, Any]]:
            self.starts += 1
            if self.starts < 3:
                message = 'Encountered an error:\nIO Error: Could not set lock on file "w.duckdb": Conflicting lock'
                yield {"info": {"name": "MainEncounteredError", "level": "error", "msg": message}, "data": {}}
            yield {"exit": 2 if self.starts < 3 else 0}

    with Ledger.writing(tmp_path / "ledger") as held:
        for wait, starts in ((60.0, 3), (0.0, 1)):
            project: Any = Locked()
            said: list[str] = []
            work = _Work(Workspace(project, Console(wait, warn=said.append)), held, ())
            if wait:
                assert work._dbt(["run"], lambda event: 0, []) == 0
                assert said == [f"another process holds {project.warehouse}; waiting up to 60 s"]
            else:
                with pytest.raises(WarehouseError, match="another process holds"):
                    work._dbt(["run"], lambda event: 0, [])
            assert project.starts == starts


def test_two_backfills_at_once(filled: Built) -> None:
    with (
        Ledger.writing(ledger(filled.directory)),
        pytest.raises(WarehouseError, match="another backfill is at work on this warehouse"),
    ):
        backfill(filled.directory, apply=True, wait=0)


def test_a_torn_line_is_as_if_it_had_not_been_written(filled: Built, tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    whole = ledger(filled.directory).read_bytes()
    path.write_bytes(whole[:-20])
    records = read_records(path)
    assert len(records) == whole.count(b"\n") - 1
    with Ledger.writing(path) as held:
        held.append(records[:1])
    assert read_records(path) == [*records, records[0]]
    path.write_bytes(b'{"model": 1}\n\n[]\n' + whole)
    said: list[str] = []
    assert read_records(path, said.append) == read_records(ledger(filled.directory))
    assert "3 lines cannot be read" in said[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--select", "unknown", "--dry-run"], "'unknown' is unknown; microbatch models: payment_history"),
        (["--select", "payments", "--dry-run"], "'payments' is not a microbatch model"),
        (
            ["--dry-run", "--start", "yesterday"],
            "cannot read the instant 'yesterday'; write for example '2026-03-18 14:30'",
        ),
        (["--apply", "--end", "2026-02-30"], "cannot read the instant '2026-02-30'"),
        (["--dry-run", "--start", "2026-03-05", "--end", "2026-03-05"], "is not before --end"),
        (["--apply", "--start", "2999-01-01"], "lies in the future"),
        (["--dry-run", "--end", "2999-01-01"], "lies in the future"),
        ([], "give --dry-run to see what is to be done, or --apply to do it"),
    ],
)
def test_bad_arguments(filled: Built, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["--project-dir", str(filled.directory), "backfill", *arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_no_microbatch_model(example: Built) -> None:
    manifest = Project(example.directory).manifest()
    del manifest["nodes"]["model.backfill_example.payment_history"]
    with pytest.raises(ProjectError, match="no model with the incremental strategy microbatch"):
        batch_models(manifest, {})
    assert issubclass(RequestError, PitJoinError)


def test_the_plan_on_the_command_line(example: Built, filled: Built) -> None:
    def said(built: Built, *arguments: str) -> str:
        command = ["--project-dir", str(built.directory), "backfill", "--dry-run", *arguments]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0
        return result.stdout

    assert said(filled) == "payment_history: nothing to do, all 13 batches are done\n"
    lines = said(example).splitlines()
    assert lines[2].split() == ["payment_history", DAYS[0], "to", DAYS[-1], "13", "missing", "-", "-"]
    assert lines[3] == "payment_history: 13 of 13 batches to run"
    (model,) = json.loads(said(example, "--json", "--end", "2026-03-02T12:00:00"))["models"]
    assert (model["start"], model["end"]) == ("2026-03-01T00:00:00+00:00", "2026-03-03T00:00:00+00:00")
    assert (model["batches"], model["to_run"], len(model["ranges"])) == (2, 2, 1)


@pytest.mark.rest
def test_the_page(filled: Built, example: Built) -> None:
    page = ROOT / "docs/backfill.md"
    blocks = [(block["language"], block["text"]) for block in BLOCK.finditer(page.read_text())]
    (model, selectors) = (yaml.safe_load(text) for language, text in blocks if language == "yaml")
    _, declared = yaml.safe_load((EXAMPLE / "models/_models.yml").read_text())["models"]
    del declared["description"]
    assert dict(blocks)["jinja"] == (EXAMPLE / "models/payment_history.sql").read_text()
    assert model["models"] == [declared]
    assert selectors == yaml.safe_load((EXAMPLE / "selectors.yml").read_text())
    # the macros are there already; nobody needs the example unfilled after this
    first, *todo = steps(page)
    assert first.command == "dbt deps"
    assert follow(todo, example.directory) == []
