"""The dbt projects that tests share, and dbt itself in process.

The demo is copied, parsed and built once a session; a test that changes something takes a copy of that.
"""

import os
import random
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner, dbtRunnerResult
from generate import Case
from support import runs
from support.corpus import keep

ROOT = Path(__file__).parents[2]
LONGEST = ("test_against_oracle", "test_windows_against_oracle", "test_window_history")
DEMO = ("dbt_project.yml", "profiles", "seeds", "models", "macros", "examples/on_demand", "tests/dbt")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="Write tests/python/golden/*.sql anew, instead of comparing."
    )


def pytest_configure() -> None:
    """Choose the seed of generated cases before workers are started, which take it from the environment."""
    os.environ.setdefault("FIRST_SEED", "0" if os.environ.get("CI") == "true" else str(random.randrange(2**32)))


def pytest_report_header() -> str:
    """How to draw the same generated cases again."""
    return f"generated cases: {'all' if runs.LONG else 'few'}, FIRST_SEED={runs.first_seed()}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write out generated cases for which a test failed, so that `scripts/corpus.py add` can take them in."""
    report = yield
    for drawn in runs.failed:
        if isinstance(case := drawn.get("case"), Case):
            path = keep(case, item.nodeid, ROOT / "target" / "failed_cases")
            report.sections.append(("generated case", f"scripts/corpus.py add {path.relative_to(ROOT)}"))
    runs.failed.clear()
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take minutes go first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def run_dbt(directory: Path, *arguments: str, manifest: Any = None) -> dbtRunnerResult:
    """Run dbt in this process; with a manifest it parses nothing."""
    before = Path.cwd()
    os.chdir(directory)  # a relative path of the profile is relative to where dbt runs
    places = ["--project-dir", str(directory), "--profiles-dir", str(directory / "profiles")]
    places += ["--log-path", str(directory / "logs")]
    try:
        return dbtRunner(manifest=manifest).invoke(["--log-level", "none", *arguments, *places])
    finally:
        # dbt keeps the file open until the process ends, and would go on with it in the next project
        DuckDBConnectionManager.close_all_connections()
        os.chdir(before)


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


def build(directory: Path) -> Built:
    """Run `dbt build`, which must succeed."""
    result = run_dbt(directory, "parse")
    assert result.success, failures(result)
    built = Built(directory, result.result)
    result = built.dbt("build")
    assert result.success, failures(result)
    return built


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The demo as `dbt build` leaves it; nobody writes to it."""
    directory = tmp_path_factory.mktemp("demo")
    for name in DEMO:
        source, copy = ROOT / name, directory / name
        if source.is_dir():
            shutil.copytree(source, copy)
        else:
            shutil.copy(source, copy)
    return build(directory)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Built], Built]:
    """A built project to change."""

    def copy(built: Built) -> Built:
        directory = tmp_path / built.directory.name
        shutil.copytree(built.directory, directory)
        return Built(directory, built.manifest)

    return copy
