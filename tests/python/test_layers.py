"""Imports point down: a module of the package imports only from rows below its own. And what the package exports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pit_join

PACKAGE = Path(pit_join.__file__).parent

ROWS = (
    ("cli",),
    ("api", "backfill_report"),
    ("backfill", "catalog", "training"),  # one use case each
    ("backfill_plan", "results", "spines"),  # parts of one
    ("tables",),
    ("files", "ledger", "project", "rendering", "warehouse"),  # one outside world each
    ("batches", "registry"),
    ("aggregations", "fingerprints"),
    ("checks", "definitions"),
    ("connection", "durations", "references"),
    ("errors",),
)
ROW_OF = {module: number for number, row in enumerate(ROWS) for module in row}


def imports_of(module: str) -> set[str]:
    """The modules of the package that a module imports, also inside functions and for type checkers."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "pit_join":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pit_join."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pit_join.")}
    return found


def test_every_module_has_a_row() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"} == set(ROW_OF)


@pytest.mark.parametrize("module", ROW_OF)
def test_imports_point_down(module: str) -> None:
    assert not {other for other in imports_of(module) if ROW_OF[other] <= ROW_OF[module]}


def test_only_the_command_line_knows_click() -> None:
    users = {path.stem for path in PACKAGE.glob("*.py") if "click" in path.read_text()}
    assert users == {"cli"}


@pytest.mark.parametrize("module", ["pit_join", *(f"pit_join.{module}" for module in ROW_OF)])
def test_what_is_exported_exists(module: str) -> None:
    loaded = __import__(module, fromlist=["*"])
    assert all(getattr(loaded, name) is not None for name in loaded.__all__)


def test_public_names() -> None:
    assert sorted(pit_join.__all__) == [
        "Coverage", "FeatureStore", "PitJoinError", "ProjectError", "ReferenceError", "SpineError", "TrainingSet",
        "WarehouseError",
    ]  # fmt: skip


def test_modules_stay_small() -> None:
    long = {path.name for path in PACKAGE.glob("*.py") if len(path.read_text().splitlines()) > 400}
    assert not long


def test_importing_the_package_loads_neither_dbt_nor_duckdb() -> None:
    code = "import sys, pit_join; print([m for m in ('dbt', 'duckdb', 'pyarrow', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
