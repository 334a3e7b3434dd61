"""The house: which wing may import what, and what the package exports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import is_dataclass
from inspect import isfunction
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jinja2
import jinja2.nodes
import pytest

import pit_join

PACKAGE = Path(pit_join.__file__).parent

# From the top down: a wing imports only from the rows below its own, and only these packages of other people.
WINGS = {
    ("cli",): {"click", "rich"},
    ("http",): {"cachetools", "httptools", "numpy", "orjson", "prometheus_client", "pyarrow", "starlette", "uvicorn"},
    ("feature_store",): set(),
    ("described",): set(),
    ("catalog",): set(),
    ("report",): {"numpy", "pyarrow"},
    ("audit",): {"numpy", "pyarrow"},
    ("monitoring",): {"numpy", "pyarrow"},
    ("training",): {"numpy", "pandas", "polars", "pyarrow"},
    ("export",): {"numpy", "pyarrow", "xxhash"},
    ("serving",): {"cachetools", "numpy", "pandas", "pyarrow"},
    ("history",): set(),
    ("workspace",): set(),
    ("project",): {"dbt", "jinja2", "msgpack", "yaml"},
    ("warehouse",): {"adbc_driver_postgresql", "duckdb", "fsspec", "py4j", "pyarrow", "pyspark"},
    ("online",): {"cachetools", "circuitbreaker", "lmdb", "numpy", "redis", "usearch", "xxhash"},
    ("definitions",): {"duckdb"},
    ("markup",): set(),
    ("texts",): set(),
    ("records",): {"numpy", "pyarrow", "xxhash"},
    ("frames",): {"pandas", "polars", "pyarrow"},
    ("errors", "files", "json_values", "references", "statuses", "times", "waiting"): set(),
}
ROW_OF = {wing: number for number, row in enumerate(WINGS) for wing in row}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
STORES = {path.stem for path in (PACKAGE / "online" / "stores").glob("*.py")} - {"__init__"}
# Functions of more than 60 lines, each with its reason.
LONG_FUNCTIONS: dict[str, str] = {}
# Methods of exported classes that another wing calls, and no user: what they take and return is not public.
SEAMS = {
    "FeatureLog.add": "readers hand to it what they serve",
    "OnlineClient.online_contents": "the server looks what a store holds",
    "TrainingBuild.run_beside_others": "monitoring joins many in one warehouse",
    "OnlineFeatures.by_role": "the server and the log write them",
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, also inside functions and for type checkers, as full names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "pit_join":
            yield from (f"pit_join.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def wing_of(module: str) -> str:
    return module.split(".")[1]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions of a file with their lengths in lines, docstrings and decorators apart."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first, documented = node.body[0], ast.get_docstring(node, clean=False)
            doc = (first.end_lineno or 0) - first.lineno + 1 if documented is not None else 0
            yield f"{name_of(path)}.{node.name}", (node.end_lineno or 0) - node.lineno + 1 - doc


def test_every_wing_has_a_row() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders | {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"} == set(ROW_OF)


@pytest.mark.parametrize("wing", ROW_OF)
def test_imports_point_down(wing: str) -> None:
    upward = {
        f"{name_of(path)} imports {module}"
        for path in MODULES
        if name_of(path).split(".")[0] == wing
        for module in imported(path)
        if module.startswith("pit_join.") and ROW_OF[wing_of(module)] < ROW_OF[wing]
    }
    assert not upward


def test_modules_import_each_other_in_no_circle() -> None:
    """Also not within a wing."""
    names = {f"pit_join.{name_of(path)}": path for path in MODULES}
    below = {name: set(imported(path)) & set(names) for name, path in names.items()}
    while leaves := {name for name, others in below.items() if not others}:
        below = {name: others - leaves for name, others in below.items() if name not in leaves}
    assert not below


@pytest.mark.parametrize("row", WINGS, ids=" ".join)
def test_packages_of_other_people(row: tuple[str, ...]) -> None:
    found = {
        module.split(".")[0]
        for path in MODULES
        if name_of(path).split(".")[0] in row
        for module in imported(path)
    }  # fmt: skip
    assert found - sys.stdlib_module_names - {"pit_join"} == WINGS[row]


def test_wings_are_folders_with_one_sentence() -> None:
    for path in PACKAGE.glob("*/__init__.py"):
        tree = ast.parse(path.read_text())
        sentence = ast.get_docstring(tree)
        assert sentence, path
        assert len(tree.body) == 1, path
        assert "\n" not in sentence, path
        assert sentence.endswith("."), path


@pytest.mark.parametrize("store", sorted(STORES))
def test_nobody_knows_a_store_by_name(store: str) -> None:
    """To add one is to add one module."""
    users = {path.name for path in PACKAGE.rglob("*.py") if store in path.read_text()}
    assert not users


@pytest.mark.parametrize("module", ["pit_join", *(f"pit_join.{name_of(path)}" for path in MODULES)])
def test_what_is_exported_exists(module: str) -> None:
    loaded = __import__(module, fromlist=["*"])
    assert all(getattr(loaded, name) is not None for name in loaded.__all__)


def public_names(path: Path) -> Iterator[str]:
    """The names that a module defines at its top level, apart from those that start with an underscore."""
    for node in ast.parse(path.read_text()).body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names = [node.name]
        yield from (name for name in names if not name.startswith("_"))


def test_public_names_have_one_meaning() -> None:
    """A store fulfils a protocol by name, and a command is named as what it runs."""
    defined = Counter(
        name
        for path in MODULES
        if path.parent.name not in ("cli", "stores")
        for name in public_names(path)
    )  # fmt: skip
    assert not {name for name, times in defined.items() if times > 1}


def own_types(annotation: Any) -> Iterator[type]:
    """The classes of this package in an annotation."""
    for part in get_args(annotation):
        yield from own_types(part)
    if isinstance(annotation, list):
        for part in annotation:
            yield from own_types(part)
    if isinstance(annotation, type) and annotation.__module__.startswith("pit_join"):
        yield annotation


def signatures(exported: type) -> Iterator[tuple[str, Any]]:
    """The public methods, properties and fields of a class with its bases, each under the name of where it is."""
    for owner in (cls for cls in exported.__mro__ if cls.__module__.startswith("pit_join")):
        if is_dataclass(owner):
            yield owner.__name__, owner
        for name, member in vars(owner).items():
            function = (
                getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
            )
            made = name == "__init__" and owner in (pit_join.FeatureStore, pit_join.FeatureLog)
            if isfunction(function) and (made or not name.startswith("_")):
                yield f"{owner.__name__}.{name}", function


def test_public_names() -> None:
    """Errors, what a user opens, and every type that stands in a signature of these: so many, and no others."""
    modules = [__import__(f"pit_join.{name_of(path)}", fromlist=["*"]) for path in MODULES]
    known = {name: getattr(module, name) for module in modules for name in module.__all__}
    todo: list[type] = [pit_join.FeatureStore, pit_join.FeatureLog]
    public = {each.__name__ for each in todo} | {name for name in pit_join.errors.__all__ if name[0].isupper()}
    seams = set()
    while todo:
        for place, signed in signatures(todo.pop()):
            if place in SEAMS:
                seams.add(place)
                continue
            hints = get_type_hints(signed, {**known, **vars(sys.modules[signed.__module__])})
            found = {found for hint in hints.values() for found in own_types(hint)}
            todo += [each for each in found if each.__name__ not in public]
            public |= {each.__name__ for each in found}
    assert sorted(public) == pit_join.__all__
    assert seams == set(SEAMS)


def test_modules_stay_small() -> None:
    assert not {name_of(path) for path in MODULES if len(path.read_text().splitlines()) > 400}


def test_functions_stay_small() -> None:
    long = {name for path in MODULES for name, lines in functions(path) if lines > 60}
    assert long == set(LONG_FUNCTIONS)


def test_macros_take_four_arguments_at_most() -> None:
    """What may vary beside these is an options mapping; two public macros keep their signatures."""
    files = [path for path in (PACKAGE / "dbt_package/macros").rglob("*.sql") if path.parent.name != "tests"]
    reader = jinja2.Environment(extensions=["jinja2.ext.do"])
    macros = [macro for path in files for macro in reader.parse(path.read_text()).find_all(jinja2.nodes.Macro)]
    assert len(macros) > 90
    many = {macro.name.split("__")[-1] for macro in macros if len(macro.args) > 4}
    assert many == {"training_set", "window_history"}


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
