"""Dbt made cheap: in this process, each template read once, and projects that are built once for all workers."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import cli, dbtRunner, dbtRunnerResult
from dbt_common.tests import enable_test_caching

from pit_join.project import dbt_project
from pit_join.project.dbt_project import Project

ROOT = Path(__file__).parents[3]
ALONE = [sys.executable, "-c", "from dbt.cli.main import cli; cli()"]

enable_test_caching()  # of templates by their text: most of a parse is the same macros of dbt each time


@contextlib.contextmanager
def inside(directory: Path) -> Iterator[None]:
    """Run dbt in a folder: a relative path of the profile is relative to it."""
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        # dbt keeps the file open until the process ends, and would go on with it in the next project
        DuckDBConnectionManager.close_all_connections()
        os.chdir(before)


def run_dbt(directory: Path, *arguments: str, manifest: Any = None) -> dbtRunnerResult:
    """Run dbt in this process; with a manifest it parses nothing."""
    places = ["--project-dir", str(directory), "--profiles-dir", str(directory / "profiles")]
    places += ["--log-path", str(directory / "logs")]
    with inside(directory):
        return dbtRunner(manifest=manifest).invoke(["--log-level", "none", *arguments, *places])


def failures(result: dbtRunnerResult) -> dict[str, str]:
    """What did not succeed, by name, and dbt's message; an error that is no node's under its type."""
    if result.exception is not None:
        return {type(result.exception).__name__: str(result.exception)}
    return {r.node.name: str(r.message) for r in result.result.results if r.status not in ("success", "pass", "no-op")}


@dataclass(frozen=True)
class Built:
    """A dbt project that has been built, and dbt's manifest of it."""

    directory: Path
    manifest: Any

    def dbt(self, *arguments: str) -> dbtRunnerResult:
        """Run dbt in it as its files were when it was built."""
        return run_dbt(self.directory, *arguments, manifest=self.manifest)


def copied(built: Built, directory: Path) -> Built:
    """Copy a built project, with the manifest that pit_join keeps, so that nothing is parsed until a file changes.

    The place of a project is a part of the manifest's key, and stands in it: dbt notes where each seed lies.
    """
    shutil.copytree(built.directory, directory)
    old, new = (manifest_of(Project(each)) for each in (built.directory, directory))
    if old.is_file():
        new.write_text(old.read_text().replace(json.dumps(str(built.directory)), json.dumps(str(directory))))
    return Built(directory, built.manifest)


def manifest_of(project: Project) -> Path:
    """Where pit_join keeps the manifest of the files as they are now."""
    return project.cache / f"manifest-{project._key()}.json"


def build(directory: Path) -> Built:
    """Run `dbt build`, which must succeed."""
    result = run_dbt(directory, "parse")
    assert result.success, failures(result)
    built = Built(directory, result.result)
    result = built.dbt("build")
    assert result.success, failures(result)
    return built


# The parses of pit_join ---------------------------------------------------------------------------------------


def parses_in_process(patch: pytest.MonkeyPatch) -> None:
    """Let pit_join's parses run in this process instead of one of their own, which imports dbt for two seconds."""
    names = {name: getattr(subprocess, name) for name in ("Popen", "PIPE", "STDOUT")}
    patch.setattr(dbt_project, "subprocess", SimpleNamespace(run=run_or_parse, **names))


def run_or_parse(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; a parse by dbt in this process."""
    if command[: len(ALONE)] != ALONE or "parse" not in command:
        return subprocess.run(command, **options)
    printed, status = io.StringIO(), 0
    with inside(options["cwd"]), contextlib.redirect_stdout(printed):
        try:
            cli.main(args=["--log-level-file", "none", *command[len(ALONE) :]])  # a log would stay open
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return subprocess.CompletedProcess(command, status, printed.getvalue(), "")


# Shared by workers --------------------------------------------------------------------------------------------


def shared(folder: Path, name: str, make: Callable[[], Built]) -> Built:
    """A project that the first worker to come here builds, and the others take as it is; nobody may write to it."""
    stored = folder / f"{name}.pickle"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stored.exists():
            stored.write_bytes(pickle.dumps(make()))
    built: Built = pickle.loads(stored.read_bytes())
    return built
