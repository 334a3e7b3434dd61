"""The dbt projects that tests share, and dbt in this process or in a fork.

The demo is copied, parsed and built once a session; a test that changes something takes a copy of that.
"""

import gc
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from generate import Case
from hypothesis import core
from support import runs
from support.corpus import keep
from support.dbt import ROOT, Built, Forked, build, copied, shared
from support.forks import prepare

from pit_join import waiting
from pit_join.project import dbt_project
from pit_join.project.dbt_project import Project

LONGEST = ("test_windows_against_oracle", "test_online_robustness", "test_backfill", "test_against_oracle")
DEMO = (
    "dbt_project.yml",
    "profiles",
    "seeds",
    "models",
    "macros",
    "examples/on_demand",
    "examples/engines",
    "tests/dbt",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="Write tests/python/golden/*.sql anew, instead of comparing."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of generated cases, and write the programs of forks, before workers are started."""
    os.environ.setdefault("FIRST_SEED", str(runs.new_seed()))
    core.global_force_seed = runs.first_seed()  # for what Hypothesis runs itself
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="forks-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        prepare(Path(folder.name))


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


def pytest_collection_finish() -> None:
    """Collect garbage seldom, and never look at what was imported: dbt alone is a million objects."""
    gc.set_threshold(100_000, 50, 100)
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest go first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def _forked_dbt() -> Iterator[None]:
    """Forks for the dbt that pit_join starts; `real_dbt` is for tests that are about the process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbt_project, "sys", Forked())
        yield


@pytest.fixture
def real_dbt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that start from nothing for dbt, as users have them."""
    monkeypatch.setattr(dbt_project, "sys", sys)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The demo as `dbt build` leaves it; nobody writes to it. One worker builds it, and each has a copy."""

    def make() -> Built:
        directory = folder / "built" / "demo"
        for name in DEMO:
            source, copy = ROOT / name, directory / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy)
            else:
                shutil.copy(source, copy)
        built = build(directory)
        Project(directory).manifest()  # kept for all copies
        return built

    base = tmp_path_factory.getbasetemp()
    folder = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    built = shared(folder, "demo", make)
    return copied(built, tmp_path_factory.mktemp("copy") / "demo")


@pytest.fixture
def at_first_pause(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """What to do when the code waits for the first time for what another process holds."""

    def set_to(act: Callable[[], object]) -> None:
        def sleep(seconds: float) -> None:
            monkeypatch.setattr(waiting, "time", time)
            act()

        monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))

    return set_to


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Built], Built]:
    """A built project to change."""

    def copy(built: Built) -> Built:
        return copied(built, tmp_path / built.directory.name)

    return copy
