"""The page on schedules and its examples: what they run is run here, in the demo, and what the page says is checked."""

import ast
import configparser
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from click.testing import CliRunner, Result
from servers import running, valkey_binary
from support.dbt import ROOT, Built, copied
from support.forks import programs
from support.pages import BLOCK, DOCS, follow, run, steps, table

from pit_join import FeatureStore
from pit_join.cli.main import main
from pit_join.export.export import Export
from pit_join.monitoring.parity import Parity
from pit_join.online.protocol import Changes

pytestmark = [pytest.mark.dbt, pytest.mark.rest]

PAGE = DOCS / "scheduling.md"
EXAMPLES = ROOT / "examples" / "scheduling"
PLACE = "/srv/features"


@pytest.fixture(scope="module")
def project(demo: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo as it would lie in `PLACE`, on a host that serves; dbt builds one view where nobody names any."""
    directory = tmp_path_factory.mktemp("srv") / "features"
    copied(demo, directory)
    (directory / ".venv").mkdir()
    (directory / ".venv/bin").symlink_to(programs())
    one = {"name": "one", "default": True, "definition": "airport_weather"}
    (directory / "selectors.yml").write_text(yaml.safe_dump({"selectors": [one]}))
    return directory


def example(name: str, project: Path) -> str:
    """An example for a project that lies elsewhere."""
    text = (EXAMPLES / name).read_text()
    assert PLACE in text
    return text.replace(PLACE, str(project))


def settings(unit: str) -> dict[str, list[str]]:
    """The settings of a unit of systemd in order; those that may stand twice have several values."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if line and not line.startswith(("#", "[")):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


def shell(command: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with no other variables than these: a scheduler gives none of a login's."""
    return subprocess.run(
        ["sh", "-c", command], cwd=directory, env={"HOME": str(directory), **variables},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def pit_join(project: Path, *arguments: str, store: Path | None = None, wait: float = 60) -> Result:
    place = ["--store", str(store)] if store else []
    return CliRunner().invoke(main, ["--project-dir", str(project), *place, "--wait", str(wait), *arguments])


@contextmanager
def held(store: Path) -> Iterator[None]:
    """As long as another export is at work."""
    with (store / "export.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# The page -----------------------------------------------------------------------------------------------


def test_the_page_shows_the_examples_as_they_are() -> None:
    shown = {block["text"] for block in BLOCK.finditer(PAGE.read_text()) if block["language"] != "console"}
    assert shown == {path.read_text() for path in EXAMPLES.iterdir() if path.is_file()}


def test_commands_of_the_page(project: Path) -> None:
    assert "the store is as of" in run("pit-join export", project)
    assert follow(steps(PAGE), project) == []


def test_the_page_names_every_field_of_the_json() -> None:
    changes = Changes(1, 2, 3)
    done = Export({"": "online/dev"}, datetime(2026, 3, 1, tzinfo=timezone.utc), False, {"v": changes}, 1.0).as_json()
    assert [name.strip("`") for name, *_ in table(PAGE, "field")] == list(done)
    text = PAGE.read_text()
    assert all(f"`{name}`" in text for name in (*done["views"]["v"], *Parity({}, 0, 0, ()).as_json()))


def test_the_page_names_every_exit_status() -> None:
    listed = {int(status) for status, *_ in table(PAGE, "status")}
    said = re.findall(r"^ +(\d+)  \w", CliRunner().invoke(main, ["--help"]).output, re.MULTILINE)
    assert listed == {int(status) for status in said} == {0, 1, 2, 3, 130}


# The examples -------------------------------------------------------------------------------------------


def crontab(project: Path, name: str = "crontab") -> tuple[dict[str, str], list[str], str]:
    """The variables, the five fields of time and the command."""
    *variables, line = [
        line for line in example(name, project).splitlines() if line and not line.startswith("#")
    ]  # fmt: skip
    *fields, command = line.split(None, 5)
    return dict(variable.split("=", 1) for variable in variables), fields, command


def test_crontab(project: Path) -> None:
    variables, fields, command = crontab(project)
    assert fields == ["7", "*", "*", "*", "*"]
    assert "%" not in command  # which cron would read as the end of a line
    done = shell(command, project, **variables)
    log = (project / "logs/refresh.log").read_text()
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0), log  # so that cron sends no mail
    assert re.search(r"PASS=\d+ WARN=0 ERROR=0", log)
    assert log.splitlines()[-1].endswith(" 0 differences")
    (line,) = (project / "logs/export.jsonl").read_text().splitlines()
    exported = json.loads(line)
    assert exported["store"] == variables["PIT_JOIN_ONLINE_STORE"]
    assert sum(exported["views"]["airport_weather"].values()) == 3


def test_crontab_says_when_a_step_fails(project: Path) -> None:
    variables, _, command = crontab(project)
    with (project / "logs/refresh.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = shell(command, project, **variables)
    assert done.stdout == "refresh of the online store: exit status 75, see logs/refresh.log\n"
    # Stands for a dbt whose models or tests fail: what comes after it must not be run.
    failing = project / "failing"
    failing.mkdir()
    (failing / "dbt").write_text('#!/bin/sh\necho "no build, $PIT_JOIN_REDIS_PASSWORD"\nexit 1\n')
    (failing / "dbt").chmod(0o755)
    (project / "features.env").write_text("PIT_JOIN_REDIS_PASSWORD=secret\n")
    (secrets,) = re.findall(r"`(set -a; [^`]*)`", PAGE.read_text())
    secrets = secrets.replace("/etc/pit-join", str(project))
    (project / "logs/export.jsonl").unlink(missing_ok=True)
    done = shell(f"{secrets} {command}", project, **variables | {"PATH": f"{failing}:{variables['PATH']}"})
    assert done.stdout == "refresh of the online store: exit status 1, see logs/refresh.log\n"
    assert (project / "logs/refresh.log").read_text().endswith("no build, secret\n")
    assert not (project / "logs/export.jsonl").exists()


def test_monitoring(project: Path) -> None:
    """The data of the demo are old, which is mailed, and is in the file for Prometheus."""
    variables, fields, command = crontab(project, "monitor.crontab")
    assert fields == ["37", "*", "*", "*", "*"]
    assert "%" not in command
    assert pit_join(project, "export", store=Path(variables["PIT_JOIN_ONLINE_STORE"])).exit_code == 0
    done = shell(command, project, **variables)
    log = (project / "logs/monitor.log").read_text()
    assert (done.stdout, done.stderr) == ("monitoring: exit status 1, see logs/monitor.log\n", ""), log
    written = (project / "logs/pit_join.prom").read_text()
    assert re.search(r'^pit_join_check_breaches\{.*view="carrier_daily_delay".*\} 4$', written, re.MULTILINE)
    text = (EXAMPLES / "pit_join_monitor.py").read_text()
    compile(text, "pit_join_monitor.py", "exec")
    (task,) = calls(ast.parse(text), "BashOperator")
    assert task["bash_command"].removeprefix(f"{PLACE}/.venv/bin/") in command
    assert task["env"] == {"PIT_JOIN_ONLINE_STORE": f"{PLACE}/online/prod"}


def test_units(project: Path) -> None:
    service = settings(example("pit-join-export.service", project))
    (kind,), (folder,), (variable,) = (service[name] for name in ("Type", "WorkingDirectory", "Environment"))
    assert (kind, folder) == ("oneshot", str(project))
    build, *others = service["ExecStart"]
    # The build takes long, and is that of the crontab.
    assert build.removeprefix(f"{project}/.venv/bin/") in crontab(project)[2]
    outputs = []
    for command in others:  # systemd starts them without a shell
        done = subprocess.run(
            command.split(), cwd=folder, env=dict([variable.split("=", 1)]), capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout)
    exported, verified = outputs
    assert json.loads(exported)["store"] == f"{project}/online/prod"
    assert verified.endswith(" 0 differences\n")


def test_timer() -> None:
    timer = settings((EXAMPLES / "pit-join-export.timer").read_text())
    assert timer["OnCalendar"] == ["*-*-* *:07:00"]
    assert timer["WantedBy"] == ["timers.target"]
    assert "Unit" not in timer, "a timer starts the service of its own name"
    sections = {
        "pit-join-export.service": ["Unit", "Service"],
        "pit-join-export.timer": ["Unit", "Timer", "Install"],
    }
    for name, expected in sections.items():
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.read(EXAMPLES / name)
        assert parser.sections() == expected


def calls(tree: ast.AST, name: str) -> list[dict[str, Any]]:
    """The arguments by name of each call, those that are plain values."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            values = {}
            for keyword in node.keywords:
                try:
                    values[str(keyword.arg)] = ast.literal_eval(keyword.value)
                except ValueError:
                    values[str(keyword.arg)] = ast.unparse(keyword.value)
            found.append(values)
    return found


def test_dag_runs_the_commands_of_the_unit() -> None:
    text = (EXAMPLES / "pit_join_export.py").read_text()
    tree = ast.parse(text)
    compile(tree, "pit_join_export.py", "exec")
    service = settings((EXAMPLES / "pit-join-export.service").read_text())
    tasks = calls(tree, "BashOperator")
    assert [task["bash_command"] for task in tasks] == service["ExecStart"]
    assert [task["task_id"] for task in tasks] == ["build", "export", "verify"]
    assert text.endswith("    build >> export >> verify\n")
    (dag,) = calls(tree, "DAG")
    assert (dag["max_active_runs"], dag["catchup"], dag["schedule"]) == (1, False, "7 * * * *")
    assert f"'cwd': '{PLACE}', 'env': {{'PIT_JOIN_ONLINE_STORE': '{PLACE}/online/prod'}}" in dag["default_args"]


@pytest.mark.redis
def test_workflow(project: Path, tmp_path: Path) -> None:
    text = (EXAMPLES / "refresh-online-store.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow[True]["schedule"] == [{"cron": "7 * * * *"}]  # YAML reads `on` as true
    assert workflow["concurrency"]["cancel-in-progress"] is False
    (job,) = workflow["jobs"].values()
    assert all(set(step) & {"uses", "run"} for step in job["steps"])
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
    # GitHub's shell is `bash -e`, in which a pipe has the status of its last command.
    assert not [step for step in job["steps"] if "|" in step.get("run", "")]
    (project / "requirements.txt").write_text("pit-join[redis]\n")
    with running(valkey_binary(), tmp_path, "--requirepass", "secret", password="secret") as server:
        given = {
            "PIT_JOIN_ONLINE_STORE": server.url,
            "PIT_JOIN_REDIS_PASSWORD": "secret",
            "PIT_JOIN_REDIS_USERNAME": "",
        }
        assert set(job["env"]) == set(given)
        variables = given | {
            "HOME": str(tmp_path),
            "PATH": os.pathsep.join([str(programs()), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PIP_NO_INDEX": "1",  # what is asked for is installed
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        for step in job["steps"]:
            if "run" in step:
                done = subprocess.run(
                    ["bash", "-e", "-c", step["run"]], cwd=project, env=variables, capture_output=True, text=True,
                    timeout=120, check=False,
                )  # fmt: skip
                assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.endswith(" 0 differences\n")
    exported = json.loads((project / "logs/export.json").read_text())
    assert exported["store"] == server.url
    assert exported["views"]["aircraft_facts"]["written"] == 1735


# What the page says -------------------------------------------------------------------------------------


def test_a_second_export_ends_with_status_3(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert pit_join(project, "export", store=store).exit_code == 0
    with held(store):
        result = pit_join(project, "export", store=store, wait=0.3)
    assert result.exit_code == 3
    assert "another export is at work; waiting up to 0.3 s" in result.stderr
    assert "did not end within 0.3 s" in result.stderr
    assert pit_join(project, "export", store=store, wait=0).exit_code == 0


def test_export_and_verify_wait_for_dbt(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert pit_join(project, "export", store=store).exit_code == 0
    code = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(project / "warehouse.duckdb")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        for command in ("export", "verify"):
            result = pit_join(project, command, store=store, wait=0.3)
            assert result.exit_code == 3
            assert "waiting up to 0.3 s" in result.stderr
        other.communicate()
    assert pit_join(project, "verify", "--select", "airport_weather", store=store, wait=0).exit_code == 0


def test_what_is_written_between_export_and_verify_is_a_difference(project: Path, tmp_path: Path) -> None:
    store, warehouse = tmp_path / "store", project / "warehouse.duckdb"
    assert pit_join(project, "export", "--select", "airport_weather", store=store).exit_code == 0
    saved = tmp_path / "warehouse.duckdb"
    shutil.copy(warehouse, saved)
    try:
        with duckdb.connect(str(warehouse)) as connection:
            connection.execute("delete from airport_weather where event_timestamp > '2013-03-01'")
        assert pit_join(project, "verify", store=store).exit_code == 1
    finally:
        shutil.copy(saved, warehouse)
    assert pit_join(project, "verify", store=store).exit_code == 0
    unknown = pit_join(project, "verify", "--select", "carrier_daily_delay", store=store)
    assert (unknown.exit_code, "'carrier_daily_delay' was not exported yet" in unknown.stderr) == (3, True)


def test_an_export_keeps_to_the_lag_and_readers_take_it_by_themselves(project: Path, tmp_path: Path) -> None:
    """carrier_daily_delay: a row for each midnight with a lag of 6 hours."""
    store = tmp_path / "store"
    features = FeatureStore(project, online_store=store)
    reader, known = None, []
    for as_of in ("2013-03-08 05:59:59", "2013-03-08 06:00:00", "2013-03-08 05:59:59"):
        features.export(["carrier_daily_delay"], as_of=as_of)
        reader = reader or features.online_reader(["carrier_daily_delay:carrier_flights_1d"])
        found = reader.get_online_features([{"carrier": "AA"}], now=datetime(2013, 3, 8, 6, tzinfo=timezone.utc))
        known.append(found.event_timestamps["carrier_flights_1d"][0].day)
    assert known == [7, 8, 7]


def test_every_export_writes_the_store(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for _ in range(2):
        assert pit_join(project, "export", "--select", "airport_weather", store=store).exit_code == 0
        assert datetime.now().timestamp() - (store / "data.mdb").stat().st_mtime < 60
        os.utime(store / "data.mdb", (0, 0))
    assert pit_join(project, "export", "--dry-run", store=store).exit_code == 0
    assert (store / "data.mdb").stat().st_mtime == 0
