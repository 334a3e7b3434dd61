"""Files and settings that a parse of a dbt project depends on, read once. Outside world: files and the environment."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import jinja2

from pit_join.definitions.connection import Connection
from pit_join.errors import ProjectError
from pit_join.project.profile import read_yaml

__all__ = ["Package", "Sources", "dbt_macros", "environment"]

# What dbt searches the folders of each setting for (`get_file_types_for_project` in dbt/parser/read_files.py). It
# searches all of them for YAML, and for documentation, too.
_SEARCHED = {
    "model-paths": ("models", (".sql", ".py")),
    "seed-paths": ("seeds", (".csv",)),
    "macro-paths": ("macros", (".sql",)),
    "test-paths": ("tests", (".sql",)),
    "snapshot-paths": ("snapshots", (".sql",)),
    "analysis-paths": ("analyses", (".sql",)),
    "function-paths": ("functions", (".sql", ".py")),
}
_BESIDE = ("packages.yml", "dependencies.yml", "package-lock.yml", ".dbtignore")
_ENV_VAR = re.compile(r"env_var\(\s*['\"]([^'\"]+)['\"]")
# Names by which templates ask for what differs between commands of dbt, or for the target; dbt's own hash of the
# profile covers some attributes of that.
_OF_COMMAND = {"flags", "invocation_args_dict", "dbt_metadata_envs", "should_full_refresh"}
_OF_TARGET = {"target", "generate_schema_name_for_env"}
_HASHED = {"database", "path", "schema", "type"}
_ASKING = re.compile("|".join(_OF_COMMAND | _OF_TARGET))


def environment(name: str) -> str:
    """Return the value of an environment variable as dbt notes it."""
    return os.environ.get(name, "DBT_DEFAULT_PLACEHOLDER")


@dataclass(frozen=True, slots=True)
class Package:
    """A dbt project, or a package of one: the text of its dbt_project.yml, and its files by dbt's ids.

    CSV files are empty here, since no row of them is in a manifest.
    """

    name: str
    directory: Path
    settings: str
    files: Mapping[str, bytes]

    @classmethod
    def read(cls, directory: Path) -> Package:
        """Read the files that dbt reads; one that cannot be read is empty, and dbt says what is wrong with it.

        Raises:
            ProjectError: if dbt_project.yml cannot be read.
        """
        path = directory / "dbt_project.yml"
        settings = read_yaml(path)
        name = str(settings.get("name"))
        files = {f"{name}://{file}": _content(directory / file) for file in sorted({*_found(directory, settings)})}
        return cls(name, directory, path.read_text("utf-8"), files)

    @property
    def variables(self) -> set[str]:
        """The environment variables that dbt_project.yml names."""
        return set(_ENV_VAR.findall(self.settings))

    @property
    def asks(self) -> set[str]:
        """Questions of templates while dbt parses: `command` for its options, `target` for its name."""
        texts = [self.settings, *(content.decode("utf-8", "replace") for content in self.files.values())]
        return {asked for text in texts if _ASKING.search(text) for asked in _asked(text)}


@dataclass(frozen=True, slots=True)
class Sources:
    """A project and its packages as the manifest of a target depends on them; the project comes first.

    `key` is a hash of everything, and `state` of what no checksum of a file covers: versions, target and profile. It is
    `complete` if dbt ignores none of the files, and as many packages are installed as are asked for.
    """

    connection: Connection
    packages: tuple[Package, ...]
    state: str
    key: str
    complete: bool

    @classmethod
    def read(cls, directory: Path, packages: Path, profiles: Path, connection: Connection) -> Sources:
        """Read a project, the packages that are installed in a folder, and profiles.yml.

        Raises:
            ProjectError: if a dbt_project.yml cannot be read.
        """
        installed = [path for path in packages.glob("*") if path.is_dir() and not path.name.startswith("__")]
        found = tuple(Package.read(each) for each in (directory, *sorted(installed)))
        versions = [version(name) for name in ("dbt-core", "dbt-adapters", "dbt-duckdb")]
        state = _digest([*versions, connection.target, str(profiles), _content(profiles)])
        beside = {name: _content(directory / name) for name in _BESIDE}
        parts: list[str | bytes] = [*beside.values()]
        for package in found:
            parts += [str(package.directory), package.settings]
            parts += [part for file in package.files.items() for part in file]
        try:
            asked = sum(len(read_yaml(directory / name).get("packages") or ()) for name in _BESIDE[:2] if beside[name])
        except ProjectError:  # dbt says what is wrong
            asked = len(found)
        return cls(connection, found, state, _digest([state, *parts]), not beside[".dbtignore"] and asked < len(found))


def dbt_macros() -> Iterator[Package]:
    """Yield the packages that come with dbt and dbt-duckdb.

    Raises:
        ProjectError: if they are not where wheels install them.
    """
    for name, folder in (("dbt-adapters", "global_project"), ("dbt-duckdb", "duckdb")):
        yield Package.read(Path(str(distribution(name).locate_file(f"dbt/include/{folder}"))))


def _content(path: Path) -> bytes:
    try:
        return b"" if path.suffix.lower() == ".csv" else path.read_bytes()
    except OSError:
        return b""


def _digest(parts: Sequence[str | bytes]) -> str:
    """Return a hash of texts, and of the environment variables that they name."""
    digest = hashlib.sha256()
    names: set[str] = set()
    for part in parts:
        content = part if isinstance(part, bytes) else part.encode()
        digest.update(b"%d\0%b" % (len(content), content))
        names.update(_ENV_VAR.findall(content.decode("utf-8", "replace")))
    for name in sorted(names):
        digest.update(f"\0{name}={os.environ.get(name)}".encode())
    return digest.hexdigest()[:24]


def _found(directory: Path, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files that dbt searches a project for, as their ids name them."""
    wanted: dict[str, set[str]] = {}
    for setting, (default, endings) in _SEARCHED.items():
        for folder in settings.get(setting) or [default]:
            wanted.setdefault(str(folder).rstrip("/"), {".yml", ".yaml"}).update(endings)
    for folder in settings.get("docs-paths") or [*wanted]:
        wanted.setdefault(str(folder).rstrip("/"), set()).add(".md")
    for folder in settings.get("test-paths") or ["tests"]:
        wanted.setdefault(os.path.join(folder, "fixtures"), set()).add(".csv")
    for folder, searched in wanted.items():
        for root, _, names in os.walk(directory / folder):
            below = os.path.relpath(root, directory / folder)
            for name in names:
                if name[0] not in ".#~" and name.lower().endswith(tuple(searched)):
                    yield os.path.join(folder, os.path.normpath(os.path.join(below, name)))


def _asked(text: str) -> Iterator[str]:
    """Yield what a template asks for, `command` or `target`.

    >>> [*_asked("{{ target.schema }} {% if execute and flags.WHICH %} target")], [*_asked("{{ target.name }}")]
    ([], ['target'])
    """
    try:
        words = [value for _, kind, value in jinja2.Environment().lex(text) if kind in ("name", "operator", "string")]
    except jinja2.TemplateSyntaxError:
        yield "command"
        return
    if "context" in words:  # by which a macro may have any name as text
        words = [word.strip("'\"") for word in words]
    for at, word in enumerate(words):
        if word in _OF_COMMAND:
            before = ["", "", "", *words][at : at + 3]
            if before[1:] != ["execute", "and"] or before[0] == "not":  # while dbt parses, `execute` is false
                yield "command"
        elif word in _OF_TARGET:
            attribute = words[at + 2] if words[at + 1 : at + 2] == ["."] else ""
            if word == "target" and attribute in ("", "threads"):  # the option --threads
                yield "command"
            elif attribute not in _HASHED:
                yield "target"
