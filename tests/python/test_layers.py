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
    ("cli_monitor", "cli_online", "cli_serve"),
    ("server",),
    ("http_app",),
    ("http_docs", "http_nearest"),
    ("http_answers",),
    ("http_metrics", "http_requests"),
    ("api", "backfill_report", "cli_output"),
    ("online_client", "skew"),
    ("offline_rule", "parity"),  # compare use cases
    ("backfill", "catalog", "export", "neighbours", "serving", "training"),  # one use case each
    ("plans",),
    ("computed", "feature_log", "indexing", "tiers"),
    ("log_reader", "log_rows", "monitoring"),
    ("served",),
    ("backfill_plan", "results", "skew_findings", "snapshots", "spines", "vectors"),  # parts of one
    ("encoding", "entity_rows", "on_demand_check", "record_cache", "tables"),
    # one outside world each
    ("expressions", "files", "index_files", "ledger", "online", "project", "rendering", "warehouse"),
    ("batches", "contents", "delta", "locks", "registry", "spool"),
    ("aggregations", "embeddings", "fingerprints", "keys", "on_demand"),
    ("checks", "definitions", "records"),
    ("connection", "durations", "references"),
    ("errors",),
)
ROW_OF = {module: number for number, row in enumerate(ROWS) for module in row}
STORES = {path.stem for path in (PACKAGE / "online").glob("*.py")} - {"__init__"}


def imports_of(module: str) -> set[str]:
    """The modules of the package that a module imports, also inside functions and for type checkers."""
    found = set()
    paths = [PACKAGE / f"{module}.py"] if module != "online" else list((PACKAGE / "online").glob("*.py"))
    for node in (node for path in paths for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.module == "pit_join":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pit_join."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pit_join.")}
    return found - {"online"} if module == "online" else found


def test_every_module_has_a_row() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"} | packages == set(ROW_OF)


@pytest.mark.parametrize("module", ROW_OF)
def test_imports_point_down(module: str) -> None:
    assert not {other for other in imports_of(module) if ROW_OF[other] <= ROW_OF[module]}


@pytest.mark.parametrize("store", sorted(STORES))
def test_nobody_knows_a_store_by_name(store: str) -> None:
    """To add one is to add one module."""
    users = {path.name for path in PACKAGE.rglob("*.py") if store in path.read_text()}
    assert not users


def test_only_the_command_line_knows_click() -> None:
    users = {path.stem for path in PACKAGE.rglob("*.py") if "click" in path.read_text()}
    assert users == {"cli", "cli_monitor", "cli_online", "cli_output", "cli_serve"}


@pytest.mark.parametrize("module", ["pit_join", *(f"pit_join.{module}" for module in ROW_OF)])
def test_what_is_exported_exists(module: str) -> None:
    loaded = __import__(module, fromlist=["*"])
    assert all(getattr(loaded, name) is not None for name in loaded.__all__)


def test_public_names() -> None:
    assert sorted(pit_join.__all__) == [
        "Coverage", "EntityError", "Export", "FeatureLog", "FeatureStore", "Monitoring", "Neighbour", "OnlineFeatures",
        "OnlineReader", "Parity", "PitJoinError", "ProjectError", "ReferenceError", "SpineError", "StoreError",
        "TrainingSet", "WarehouseError",
    ]  # fmt: skip


def test_modules_stay_small() -> None:
    long = {path.name for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > 400}
    assert not long


def test_importing_the_package_loads_neither_dbt_nor_duckdb() -> None:
    code = "import sys, pit_join; print([m for m in ('dbt', 'duckdb', 'pyarrow', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_reading_online_loads_neither_dbt_nor_duckdb(tmp_path: Path) -> None:
    """Nor Arrow, Jinja or YAML: a service starts quickly and stays small."""
    code = """
import sys
from pit_join import FeatureStore, StoreError
try:
    FeatureStore(online_store=sys.argv[1]).get_online_features("churn_v1", [{"user_id": 42}])
except StoreError as error:
    print(error)
print([m for m in ("dbt", "duckdb", "jinja2", "pandas", "pyarrow", "redis", "yaml") if m in sys.modules])
"""
    command = [sys.executable, "-c", code, str(tmp_path / "online")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stdout.splitlines() == [f"there is no online store in {tmp_path}/online; run pit-join export", "[]"]
