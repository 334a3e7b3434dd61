"""`dbt build` on Spark: all models and tests of a small project pass, and tables have the rows that DuckDB has."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dbt.cli.main import dbtRunner
from pyspark.sql import SparkSession
from support import spark

ROOT = Path(__file__).parents[2]
MODELS = ("training", "logins_now", "orders_now", "orders_history")
WARNING = [
    f"pit_join_{name}"
    for name in ("fresh_within", "no_future_rows", "null_rate_below", "point_in_time_correct_training")
]
DIGITS = 12


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, with the package where `dbt deps` would put it."""
    folder = tmp_path_factory.mktemp("dbt") / "project"
    shutil.copytree(ROOT / "tests/engines/project", folder)
    package = folder / "dbt_packages/pit_join"
    shutil.copytree(ROOT / "macros", package / "macros")
    shutil.copy(ROOT / "pit_join/dbt_package/dbt_project.yml", package)
    return folder


def build(project: Path, target: str) -> dict[str, Any]:
    """What became of each model and test of a `dbt build`, with the number of rows that a test found."""
    places = ["--project-dir", str(project), "--profiles-dir", str(project / "profiles"), "--target", target]
    before = Path.cwd()
    os.chdir(project)
    try:
        result = dbtRunner().invoke(["--log-level", "none", "build", "--target-path", f"target/{target}", *places])
    finally:
        os.chdir(before)
    assert result.exception is None, result.exception
    results = [one for one in result.result.results if one.node.resource_type != "operation"]
    assert not [one.message for one in results if one.status not in ("success", "pass", "warn")]
    return {one.node.name: (str(one.status), one.failures) for one in results}


def plain(value: Any) -> Any:
    """A value as both engines return it: instants as UTC, floats to 12 digits."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(timezone.utc).replace(tzinfo=None)
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def rows_of(table: Any) -> list[list[Any]]:
    """The rows of an Arrow table by its columns' names, in an order of their own."""
    names = sorted(table.column_names)
    return sorted(([(name, plain(row[name])) for name in names] for row in table.to_pylist()), key=repr)


@pytest.mark.proves(
    "spark",
    "point_in_time_correct",
    "unique_feature_rows",
    "no_future_rows",
    "fresh_within",
    "null_rate_below",
    "default_rate_below",
)
def test_build_passes_and_has_the_rows_of_duckdb(project: Path, session: SparkSession) -> None:
    for name, value in {"spark.sql.session.timeZone": "Asia/Tokyo", **spark.INTERPRETED}.items():
        session.conf.set(name, value)
    on_spark = build(project, "spark")
    assert on_spark == build(project, "duckdb")
    assert len(on_spark) == len(MODELS) + 3 + 12
    assert sorted(name.split("_logins")[0] for name, (status, _) in on_spark.items() if status == "warn") == WARNING
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        for model in MODELS:
            wanted = rows_of(connection.sql(f"from {model}").to_arrow_table())
            assert len(wanted) > 2
            assert rows_of(session.table(f"engines.{model}").toArrow()) == wanted, model
    assert not {"metastore_db", "spark-warehouse", "derby.log"} & {path.name for path in project.iterdir()}
