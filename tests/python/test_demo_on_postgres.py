"""The demo on PostgreSQL: `make demo-postgres` as users run it, and all of its tables beside those of DuckDB."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import psycopg
import pyarrow as pa
import pytest
from adbc_driver_postgresql.dbapi import connect
from support import postgres
from support.dbt import ROOT
from support.forks import programs
from support.pages import DOCS, differs, environment, run, steps
from support.postgres import running_postgres

pytestmark = [pytest.mark.dbt, pytest.mark.rest]

SCRIPT = ROOT / "scripts" / "with_postgres.py"
SCHEMA = "pit_join_demo"
# No table may depend on what a server, or the role of a user, sets for each session.
ODD_SESSIONS = """
    alter role postgres set TimeZone = 'Asia/Kolkata';
    alter role postgres set DateStyle = 'German, DMY';
    alter role postgres set IntervalStyle = 'sql_standard';
"""


@dataclass(frozen=True)
class Made:
    """A folder in which `make demo-postgres` has run, what it printed, and the server."""

    directory: Path
    printed: str
    url: str

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of pit-join with what dbt has written for PostgreSQL."""
        env = environment() | {"DBT_TARGET_PATH": "target/postgres"}
        return subprocess.run(
            f"pit-join {command}", shell=True, cwd=self.directory, env=env, check=False, text=True, capture_output=True
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    directory = tmp_path_factory.mktemp("postgres") / "demo"
    directory.mkdir()
    for name in ("dbt_project.yml", "profiles", "seeds", "models", "macros", "examples", "tests", "scripts"):
        (directory / name).symlink_to(ROOT / name)
    # The environment is there.
    (directory / "Makefile").write_text(f"include {ROOT / 'Makefile'}\nsetup: ;\n")
    with running_postgres() as url, pytest.MonkeyPatch.context() as patch:
        with psycopg.connect(url) as connection:
            connection.execute(ODD_SESSIONS)
        for variable in ("MAKEFLAGS", "MAKELEVEL"):  # a make within a make says which folder it enters
            patch.delenv(variable, raising=False)
        patch.setenv("PIT_JOIN_DEMO_HOST", "127.0.0.1")
        patch.setenv("PIT_JOIN_DEMO_PORT", str(urlsplit(url).port))
        yield Made(directory, run(f"make demo-postgres BIN={programs()}", directory), url)


def test_make_demo_postgres(made: Made) -> None:
    """All commands succeed, and the last one has found both training sets equal."""
    (shown,) = (step.text for step in steps(DOCS / "engines.md") if step.command == "make demo-postgres")
    assert differs(shown, made.printed) == ""


def test_tables_are_equal(made: Made) -> None:
    """Each seed and model, row by row, in the same types; floats, too, to the last bit."""
    path = str(made.directory / "warehouse.duckdb")
    with duckdb.connect(path, read_only=True) as on_duckdb, connect(made.url) as server, server.cursor() as cursor:
        on_duckdb.execute("set TimeZone = 'UTC'")
        names = [name for (name,) in on_duckdb.sql("select name from (show tables)").fetchall()]
        cursor.execute("set DateStyle = 'ISO'")  # as dbt's driver does: a view that writes dates as text follows it
        cursor.execute(f"select table_name from information_schema.tables where table_schema = '{SCHEMA}'")
        assert sorted(names) == sorted(name for (name,) in cursor.fetchall())
        assert len(names) == 26
        for name in names:
            expected = on_duckdb.sql(f"from {name}").to_arrow_table()
            cursor.execute(f"select * from {SCHEMA}.{name}")
            assert contents(cursor.fetch_arrow_table()) == contents(expected), name


def contents(table: pa.Table) -> tuple[list[str], list[str]]:
    """The columns with their types, and the rows in an order that is the same on both engines."""
    types = [f"{field.name} {field.type}" for field in table.schema]
    return types, sorted(map(repr, zip(*(column.to_pylist() for column in table.columns), strict=True)))


def test_a_difference_is_found(made: Made, tmp_path: Path) -> None:
    """One value less on the server: another training set, and a store that the rule no longer meets."""
    with psycopg.connect(made.url) as connection:
        connection.execute(f"update {SCHEMA}.carrier_landings set arr_delay = arr_delay + 1 where carrier = 'B6'")
    other = tmp_path / "other.parquet"
    options = "--spine flight_spine --service flight_delay_v1 --target postgres"
    assert made.run(f"build-training-set {options} --output {other}").returncode == 0
    found = made.run(f"diff --tolerance 1e-12 target/flight_delay.parquet {other}")
    assert found.returncode == 1
    assert "carrier_arr_delay_7d" in found.stdout
    assert made.run("verify --all --target postgres").returncode == 1


def test_a_server_of_its_own() -> None:
    """Without a name of a server the script starts one, hands on the command's status, and leaves nothing behind."""
    program = (
        "import os, psycopg; name = 'PIT_JOIN_DEMO_{}'.format; "
        "psycopg.connect(host=os.environ[name('HOST')], port=os.environ[name('PORT')], user=os.environ[name('USER')]); "
        "print(os.environ[name('PORT')]); raise SystemExit(7)"
    )
    plain = {name: value for name, value in environment().items() if not name.startswith("PIT_JOIN_DEMO")}
    command = [sys.executable, SCRIPT, sys.executable, "-c", program]
    done = subprocess.run(command, env=plain, check=False, text=True, capture_output=True)
    assert done.returncode == 7, done.stderr
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", port=int(done.stdout), user="postgres")


def test_a_missing_server_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says what to install, and that a server can be named."""
    monkeypatch.delenv("PIT_JOIN_DEMO_HOST", raising=False)
    monkeypatch.setattr(postgres, "server_folder", lambda: Path(postgres._folder_of("no_such_package")))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "true"])
    assert runpy.run_path(str(SCRIPT))["main"]() == 2
    said = capsys.readouterr().err
    assert "apt-get install postgresql" in said
    assert "profiles/profiles.yml" in said
