"""Dbt made cheap: in this process or a fork, each template read once, projects built once for all workers."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import marshal
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import yaml
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt_common.clients.jinja import MacroFuzzEnvironment
from dbt_common.tests import enable_test_caching

from pit_join.project.dbt_project import Project
from support.forks import programs

ROOT = Path(__file__).parents[3]


def keep_templates() -> None:
    """Keep what dbt makes of a template's text: most of a parse and of a run are the same macros each time.

    What is parsed stays in the process; what is compiled in the folder of the forks, for all processes.
    """
    compile_anew = MacroFuzzEnvironment.compile
    folder = functools.cache(lambda: os.environ["FORKS"])

    def compiled(environment: Any, source: Any, *arguments: Any, **options: Any) -> CodeType:
        if not isinstance(source, str) or "{%" not in source:
            return compile_anew(environment, source, *arguments, **options)
        text = f"{environment.code_generator_class} {arguments} {options} {source}"
        path = Path(folder(), f"template-{hashlib.sha256(text.encode()).hexdigest()}")
        if not path.exists():
            code = compile_anew(environment, source, *arguments, **options)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(marshal.dumps(code))
            os.rename(file.name, path)
        found: CodeType = marshal.loads(path.read_bytes())
        return found

    enable_test_caching()
    MacroFuzzEnvironment.compile = compiled


keep_templates()


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


def results(result: dbtRunnerResult) -> list[Any]:
    """What became of each node, without the hooks of packages."""
    return [one for one in result.result.results if one.node.resource_type != "operation"]


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


def example(name: str, tmp_path: Path) -> Path:
    """A copy of an example with the macros, as `dbt deps` would leave it."""
    directory = tmp_path / name
    leftovers = shutil.ignore_patterns("target", "logs", "dbt_packages", "online", "*.duckdb", "_columns.yml")
    shutil.copytree(ROOT / "examples" / name, directory, ignore=leftovers)
    (package,) = yaml.safe_load((directory / "packages.yml").read_text())["packages"]
    assert (ROOT / "examples" / name / package["local"]).resolve() == ROOT / "pit_join/dbt_package"
    (directory / "packages.yml").unlink()
    shutil.copytree(ROOT / "pit_join/dbt_package", directory / "dbt_packages/pit_join")
    return directory


def manifest_of(project: Project) -> Path:
    """Where pit_join keeps the manifest of the files as they are now."""
    return project.cache / f"manifest-{project._sources().key}.json"


def build(directory: Path) -> Built:
    """Run `dbt build`, which must succeed."""
    result = run_dbt(directory, "parse")
    assert result.success, failures(result)
    built = Built(directory, result.result)
    result = built.dbt("build")
    assert result.success, failures(result)
    return built


class Forked:
    """`sys` as pit_join sees it when it starts dbt: Python is a fork that has loaded dbt, which takes seconds."""

    platform = sys.platform

    @property
    def executable(self) -> str:
        return str(programs() / "python")


def unpickled(path: Path) -> Any:
    """A pickled manifest of dbt.

    dbt forgets one field when it pickles, so that every lookup stands in the place of another; it makes new ones.
    """
    manifest = pickle.loads(path.read_bytes())
    manifest.fixtures = {}
    for name in vars(manifest):
        if name.endswith("_lookup"):
            setattr(manifest, name, None)
    return manifest


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
