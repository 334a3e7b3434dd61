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


def build(project: Path, target: str) -> dict[str, str]:
    """What `dbt build` says of each model and test."""
    places = ["--project-dir", str(project), "--profiles-dir", str(project / "profiles"), "--target", target]
    before = Path.cwd()
    os.chdir(project)
    try:
        result = dbtRunner().invoke(["--log-level", "none", "build", "--target-path", f"target/{target}", *places])
    finally:
        os.chdir(before)
    assert result.exception is None, result.exception
    results = [one for one in result.result.results if one.node.resource_type != "operation"]
    return {one.node.name: f"{one.status} {one.message or ''}" for one in results}


def plain(value: Any) -> Any:
    """A value as both engines return it: instants as UTC, floats to 12 digits."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(timezone.utc).replace(tzinfo=None)
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def rows_of(table: Any) -> list[list[Any]]:
    """The rows of an Arrow table by its columns' names, in an order of their own."""
    names = sorted(table.column_names)
    return sorted(([(name, plain(row[name])) for name in names] for row in table.to_pylist()), key=repr)


def test_build_passes_and_has_the_rows_of_duckdb(project: Path, session: SparkSession) -> None:
    for name, value in {"spark.sql.session.timeZone": "Asia/Tokyo", **spark.INTERPRETED}.items():
        session.conf.set(name, value)
    on_spark, on_duckdb = build(project, "spark"), build(project, "duckdb")
    assert {name: said for name, said in on_spark.items() if not said.startswith(("success", "pass"))} == {}
    assert on_spark.keys() == on_duckdb.keys()
    assert len(on_spark) == len(MODELS) + 3 + 5
    with duckdb.connect(str(project / "warehouse.duckdb")) as connection:
        for model in MODELS:
            wanted = rows_of(connection.sql(f"from {model}").to_arrow_table())
            assert len(wanted) > 2
            assert rows_of(session.table(f"engines.{model}").toArrow()) == wanted, model
    assert not {"metastore_db", "spark-warehouse", "derby.log"} & {path.name for path in project.iterdir()}
