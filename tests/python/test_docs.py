"""The documentation is run: every file, command and shown output of README and tutorial, every `>>>` of docs/python.md.

In a page a line that holds only a name in backticks, before a fenced block, makes the block a file. A `console` block
has commands (`$ ...`) and what they print; a line `...` stands for any lines. Times taken are not compared.
"""

import doctest
import importlib
import pkgutil
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml
from http_servers import serving
from oracle import Request, Status, View, look_up
from support.dbt import Built
from support.pages import BLOCK, DOCS, ROOT, Step, differs, follow, run, steps, table

import pit_join
from pit_join.definitions import aggregations, on_demand, reading
from pit_join.statuses import OFFLINE

pytestmark = pytest.mark.dbt

PAGES = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *DOCS.rglob("*.md")])


BODY = re.compile(r"\{% macro .*?endmacro %\}", re.DOTALL)


# The project of the tutorial before its last sections, which change it: the page on Python is run in between.
LAST_SECTIONS = ("8. As a dbt model", "9. A window", "10. The online store")


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The project as the tutorial leaves it before its last sections, and what was not as the page says."""
    directory = tmp_path_factory.mktemp("tutorial")
    return directory, follow(list(steps(DOCS / "tutorial.md"))[: -len(last_steps())], directory)


def last_steps() -> list[Step]:
    return [step for section in LAST_SECTIONS for step in steps(DOCS / "tutorial.md", section)]


@pytest.fixture
def project(tutorial: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    assert not tutorial[1], "the tutorial did not get to its end"
    monkeypatch.chdir(tutorial[0])
    return tutorial[0]


@pytest.mark.rest
def test_tutorial(tutorial: tuple[Path, list[str]]) -> None:
    assert tutorial[1] == []


@pytest.mark.rest
def test_python_page(project: Path) -> None:
    text = (DOCS / "python.md").read_text()
    examples = doctest.DocTestParser().get_doctest(text, {}, "python.md", "docs/python.md", 0)
    said: list[str] = []
    result = doctest.DocTestRunner().run(examples, out=said.append)
    assert result.attempted > 10
    assert not result.failed, "".join(said)


@pytest.mark.rest
def test_nearest_page(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "churn"
    shutil.copytree(project, copy, symlinks=True)
    page = list(steps(DOCS / "nearest.md"))
    assert len(page) == 6
    assert follow(page, copy) == []


@pytest.mark.rest
def test_last_sections_of_the_tutorial(project: Path, tmp_path: Path) -> None:
    copy, last = tmp_path / "churn", last_steps()
    shutil.copytree(project, copy, symlinks=True, ignore=shutil.ignore_patterns("online"))
    assert last == list(steps(DOCS / "tutorial.md"))[-len(last) :]
    assert [step.command for step in last if step.command][-3].startswith("pit-join export")
    assert follow(last, copy) == []


def test_readme(demo: Built, copy_of: Callable[[Built], Built]) -> None:
    """`make demo`, but for its `dbt build`, which the fixture has done; then the example."""
    directory = copy_of(demo).directory
    (shown,) = (step.text for step in steps(ROOT / "README.md", "Quick start") if step.command == "make demo")
    commands = run("make --no-print-directory --dry-run --old-file=setup demo BIN=.venv/bin", ROOT).splitlines()
    assert [command.split()[:2] for command in commands] == [
        [".venv/bin/dbt", "build"],
        [".venv/bin/pit-join", "build-training-set"],
        [".venv/bin/pit-join", "views"],
        [".venv/bin/pit-join", "export"],
        [".venv/bin/pit-join", "get"],
        [".venv/bin/pit-join", "verify"],
        [".venv/bin/pit-join", "monitor"],
        [".venv/bin/pit-join", "report"],
    ]
    printed = "".join(f"{command}\n{run(command, directory)}" for command in commands[1:])  # make prints each command
    assert differs(shown, printed) == ""
    assert follow(steps(ROOT / "README.md", "An example"), directory) == []


@pytest.mark.rest
def test_online_page(demo: Built, copy_of: Callable[[Built], Built]) -> None:
    assert follow(steps(DOCS / "online.md"), copy_of(demo).directory) == []


@pytest.mark.rest
def test_replay_page(demo: Built, copy_of: Callable[[Built], Built]) -> None:
    assert follow(steps(DOCS / "replay.md"), copy_of(demo).directory) == []


@pytest.mark.rest
def test_report_page(demo: Built, copy_of: Callable[[Built], Built]) -> None:
    page = list(steps(DOCS / "report.md"))
    assert len(page) == 7
    assert follow(page, copy_of(demo).directory) == []


@pytest.mark.rest
def test_serving_page(demo: Built, copy_of: Callable[[Built], Built]) -> None:
    directory = copy_of(demo).directory
    (exported, *asked) = steps(DOCS / "serving.md")
    assert follow([exported], directory) == []
    with serving(directory / "online" / "dev", "--now", "2013-03-10 18:00") as server:
        here = [
            Step(step.file, str(step.command).replace("localhost:6566", f"127.0.0.1:{server.port}"), step.text)
            for step in asked
        ]
        assert len(here) == 10
        assert follow(here, directory) == []


@pytest.mark.rest
def test_on_demand_page(demo: Built, copy_of: Callable[[Built], Built]) -> None:
    directory = copy_of(demo).directory
    assert follow(steps(DOCS / "on-demand.md"), directory) == []
    # What it shows of macros and YAML is that of the demo.
    text = " ".join((DOCS / "on-demand.md").read_text().split())
    assert " ".join(BODY.search((ROOT / "examples/on_demand/minutes_since.sql").read_text())[0].split()) in text
    declared = pit_join.FeatureStore(directory).registry().on_demand["minutes_since"]
    assert all(f"{{name: {name}, type: {kind}}}" in text for name, kind in declared.types.items())


def test_yaml_of_the_readme_is_that_of_the_demo() -> None:
    blocks = BLOCK.finditer((ROOT / "README.md").read_text())
    (text,) = (block["text"] for block in blocks if block["language"] == "yaml")
    (shown,) = yaml.safe_load(text)["models"]
    models = yaml.safe_load((ROOT / "models/features/_features.yml").read_text())["models"]
    (found,) = (model for model in models if model["name"] == shown["name"])
    assert shown["config"]["event_time"] == found["config"]["event_time"]
    assert shown["config"]["meta"] == found["config"]["meta"]
    types = {column["name"]: column["data_type"] for column in found["columns"]}
    assert all(types[column["name"]] == column["data_type"] for column in shown["columns"])


def test_a_wrong_page_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    commands = "$ cat \\\n    a.txt\none\n$ wc -l a.txt\n...\n$ cat a.txt\ntwo\n"
    page.write_text(f"`a.txt`\n\n```text\none\n```\n\n```console\n{commands}```\n")
    assert [step.command for step in steps(page)] == [None, "cat \\\n    a.txt", "wc -l a.txt", "cat a.txt"]
    assert follow(steps(page), tmp_path) == ["$ cat a.txt\n--- the page shows\ntwo\n--- printed\none\n"]


def test_doctests_of_the_package() -> None:
    tried = 0
    for module in pkgutil.walk_packages(pit_join.__path__, "pit_join."):
        result = doctest.testmod(importlib.import_module(module.name))
        assert not result.failed, f"{module.name}: see above"
        tried += result.attempted
    assert tried > 5


def test_worked_example_follows_the_rule() -> None:
    view = View("v", ("k",), "e", ("x",), created_timestamp="c", lag=timedelta(hours=6), ttl=timedelta(days=12))
    history = [
        {"k": 1, "e": datetime.fromisoformat(e), "c": datetime.fromisoformat(c), "x": int(x)}
        for _, e, c, known_from, x in table(DOCS / "concepts.md", "row")
        if datetime.fromisoformat(known_from) == max(datetime.fromisoformat(e) + view.lag, datetime.fromisoformat(c))
    ]
    assert len(history) == 4
    asked = table(DOCS / "concepts.md", "T")
    assert len(asked) == 8
    for t, value, status, why in asked:
        spine_row = {"k": 1, "t": datetime.fromisoformat(t)}
        answer = look_up(Request(view, ("x",)), spine_row, history, "t", timedelta(0))
        assert (answer.values["x"], answer.status) == (int(value) if value else None, Status(status)), (t, why)


def test_concepts_lists_every_setting_and_status() -> None:
    rows = table(DOCS / "concepts.md", "key")
    listed = {(key.strip("`"), owner) for key, owners, *_ in rows for owner in owners.split(", ")}
    assert listed == {
        ("config.event_time", "view"),
        *((key, "view") for key in reading._VIEW_KEYS),
        *((key, "column") for key in reading._COLUMN_KEYS),
        *((key, "aggregation") for key in aggregations._KEYS if key in reading._VIEW_KEYS),
        *((key, "service") for key in reading._SERVICE_KEYS),
        *((key, "on-demand feature") for key in on_demand._KEYS),
    }
    statuses = {status.strip("`") for status, *_ in table(DOCS / "concepts.md", "status")}
    assert statuses == set(OFFLINE)


def test_every_module_has_its_place() -> None:
    page, package = ROOT / "CONTRIBUTING.md", ROOT / "pit_join"
    wings = {row[0].strip("`") for row in table(page, "wing")}
    assert {path.name for path in package.glob("*.py")} - wings == {"__init__.py"}
    assert [wing for wing in wings if not (package / wing).exists()] == []
    places = " ".join(row[0] for row in table(page, "place"))
    assert [path for path in re.findall(r"`([\w./]+)`", places) if "/" in path and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
