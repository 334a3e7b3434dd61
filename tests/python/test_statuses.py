"""The statuses stand in one place, and all that lists them follows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pit_join
from pit_join import statuses
from pit_join.http.openapi import document
from pit_join.statuses import FALLBACKS, OFFLINE, ONLINE, STATUSES

PACKAGE = Path(pit_join.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "statuses.py")
SERVING = [path for path in MODULES if path.relative_to(PACKAGE).parts[0] in ("errors.py", "http", "online", "serving")]
CONSTANTS = {name: value for name, value in vars(statuses).items() if isinstance(value, str) and name.isupper()}


def used(path: Path) -> set[str]:
    """The constants of `statuses` that a module imports."""
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    found = {alias.name for node in imports if node.module == "pit_join.statuses" for alias in node.names}
    return found & set(CONSTANTS)


def test_every_constant_has_a_row() -> None:
    assert {name: name for name in STATUSES} == CONSTANTS
    assert set(ONLINE) | set(OFFLINE) == set(STATUSES)
    assert set(FALLBACKS) <= set(ONLINE) - set(OFFLINE)
    assert len({status.heading for status in STATUSES.values()}) == len(STATUSES)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_other_module_spells_a_status(path: Path) -> None:
    constants = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    assert not [value for value in constants if value in STATUSES]


def test_macros_give_the_statuses_of_training_sets() -> None:
    macros = PACKAGE / "dbt_package" / "macros"
    spelled = {name for path in macros.rglob("*.sql") for name in re.findall(r"'([A-Z]+_?[A-Z_]*)'", path.read_text())}
    assert spelled & set(STATUSES) == set(OFFLINE)


def test_the_document_allows_what_the_server_can_send() -> None:
    schema = document(False)["paths"]["/get-online-features"]["post"]["responses"]["200"]["content"]
    column = schema["application/json"]["schema"]["properties"]["results"]["items"]["properties"]
    allowed = column["statuses"]["items"]["enum"]
    assert set(allowed) == set().union(*map(used, SERVING))
    assert allowed == list(ONLINE)
