"""The page on operations: its commands are run, its rules name metrics that exist, its unit starts a server."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from http_servers import serving
from support.dbt import ROOT
from support.pages import DOCS, steps
from support.stores import put

from pit_join.cli.main import main
from pit_join.monitoring.findings import Monitoring
from pit_join.monitoring.freshness import FeatureFreshness, Freshness
from pit_join.monitoring.textfile import write_textfile
from pit_join.online.opening import open_store
from pit_join.statuses import ONLINE

pytestmark = pytest.mark.slow

UNIT = ROOT / "examples/operations/pit-join-serve.service"
ALERTS = ROOT / "examples/operations/alerts.yml"
ASK = {"features": ["activity:n"], "entities": {"user_id": ["a"]}}


def store(folder: Path, value: int) -> None:
    put(open_store(str(folder), create=True), {"activity": {"user_id": ["a"], "n": [value]}})


def test_backup_and_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is served: each answer is of one of the two states, and after a second of the restored one."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    scripts = {step.file: step.text for step in steps(DOCS / "operations.md") if step.file}
    assert list(scripts) == ["backup.sh", "restore.sh"]
    (tmp_path / "online/dev").mkdir(parents=True)
    (tmp_path / "online/dev").chmod(0o2770)
    store(tmp_path / "online/dev", 1)
    with serving(tmp_path / "online/dev") as server:
        for _ in range(2):  # an older copy is replaced
            subprocess.run(["sh", "-c", scripts["backup.sh"]], check=True, stdout=subprocess.DEVNULL)
        store(tmp_path / "online/dev", 2)
        assert server.ask(ASK).json()["results"][1]["values"] == [2]
        for _ in range(2):  # the backup stays
            subprocess.run(["sh", "-c", scripts["restore.sh"]], check=True)
        modes = [oct(path.stat().st_mode)[-4:] for path in (tmp_path / "online/dev", tmp_path / "online/dev/data.mdb")]
        assert modes == ["2770", "0660"], "a copy is as open to a group as the store was"
        seen, until = [2], time.monotonic() + 3
        while time.monotonic() < until:
            (value,) = server.ask(ASK).json()["results"][1]["values"]
            seen += [value] if value != seen[-1] else []
        assert seen == [2, 1]
        found = sorted(path.name.partition("-")[0] for path in (tmp_path / "online").iterdir())
        assert found == ["backup", "dev", "replaced", "replaced"]
        store(tmp_path / "online/dev", 3)
        assert server.ask(ASK).json()["results"][1]["values"] == [3]


def test_alerts_name_metrics_that_exist(tmp_path: Path) -> None:
    store(tmp_path / "online", 1)
    with serving(tmp_path / "online", "--feature-log", str(tmp_path / "log"), "--log-sample", "1") as server:
        assert server.ask(ASK).status_code == 200
        text = server.client.get("/metrics").text
        known = set(re.findall(r"^(pit_join_\w+)", text, re.MULTILINE)) | {"pit_join_feature_log_rows_total"}
    freshness = Freshness(0, (FeatureFreshness("activity", "n", None, None, None, True, None, None),), ())
    write_textfile(Monitoring(freshness=freshness), tmp_path / "pit_join.prom")
    known |= set(re.findall(r"^(pit_join_\w+)", (tmp_path / "pit_join.prom").read_text(), re.MULTILINE))
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len(rules) == len({rule["alert"] for rule in rules}) >= 7
    asked = {name for rule in rules for name in re.findall(r"pit_join_\w+", rule["expr"])}
    assert rules[0]["alert"] == "ServerIsDown", "without it all others may be silent"
    assert asked <= known, asked - known
    assert {name for name in known if "_check_" in name} <= asked, "what is written is alerted on"
    assert 'pit_join_request_seconds_bucket{le="0.025",path="/get-online-features"}' in text
    statuses = {name for rule in rules for name in re.findall(r"[A-Z]{2,}_[A-Z]+", rule["expr"])}
    assert len(statuses) == 3
    assert statuses <= set(ONLINE)


def test_the_unit() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read_string(UNIT.read_text())
    program, command, *options = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/pit-join")
    asked = CliRunner().invoke(main, [command, "--help"]).output
    assert [option for option in options if option.startswith("--") and option not in asked] == []
    processes = int(options[options.index("--workers") + 1])
    assert int(unit["Service"]["LimitNOFILE"]) >= processes * (4096 + 2048)
    assert int(unit["Service"]["TimeoutStopSec"]) > 30
