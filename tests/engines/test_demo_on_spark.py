"""The demo on Spark: its models as they are, its training set beside that of DuckDB, and its online store."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from dbt.cli.main import dbtRunner
from pyspark.sql import SparkSession
from servers import running, valkey_binary
from support.projects import ROOT
from support.two_engines import unlike

from pit_join import FeatureStore

TIME = datetime(2013, 3, 10, 18, tzinfo=timezone.utc)
BUILD = ["build", "--profiles-dir", "profiles", "--exclude-resource-type", "test", "unit_test", "--target"]
# dbt's own training sets, which take longer than all else, are those of the command.
SELECTED = ["--exclude", "flight_delay_training", "login_training", "login_training_day_ahead"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, session: SparkSession) -> Path:
    """The demo as dbt has built it on both engines, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("demo")
    for target in ("dev", "spark"):
        (folder / target).mkdir()
        for name in ("dbt_project.yml", "profiles", "seeds", "models", "macros", "examples"):
            (folder / target / name).symlink_to(ROOT / name)
    dbt = str(Path(sys.executable).with_name("dbt"))
    subprocess.run([dbt, "--quiet", *BUILD, "dev", *SELECTED], cwd=folder / "dev", check=True)
    before = Path.cwd()
    os.chdir(folder / "spark")
    try:
        result = dbtRunner().invoke(["--log-level", "none", *BUILD, "spark", *SELECTED])
    finally:
        os.chdir(before)
    assert result.success, result.exception or [one.message for one in result.result.results]
    return folder


def test_the_training_set_is_that_of_duckdb(demo: Path) -> None:
    one, other = (
        FeatureStore(demo / target, target=target).get_historical_features("flight_spine", "flight_delay_v1")
        for target in ("spark", "dev")
    )
    assert one.to_arrow().shape == (2452, 46)
    assert not unlike(one.to_arrow(), other.to_arrow())[:5]
    assert [each.statuses for each in one.coverage] == [each.statuses for each in other.coverage]


# A plain view of two keys and one of windows: the store is another, and the query the same.
@pytest.mark.parametrize(
    ("kind", "select", "keys", "values"),
    [("embedded", [], 6174, 23999), ("valkey", ["route_history", "carrier_landings"], 254, 807)],
)
def test_an_export_is_what_the_rule_says(
    demo: Path, tmp_path: Path, kind: str, select: list[str], keys: int, values: int
) -> None:
    def check(where: str | Path) -> None:
        store = FeatureStore(demo / "spark", target="spark", online_store=where)
        store.export(select, as_of=TIME)
        found = store.verify(select)
        assert (found.found, sum(found.keys.values()), found.values) == (0, keys, values)

    if kind == "embedded":
        check(tmp_path / "online")
        return
    with running(valkey_binary(), tmp_path) as server:
        check(server.url)
