"""A target of dbt's profiles.yml: every key is used, has no effect on what is read, or is refused."""

from __future__ import annotations

import ast
import hashlib
import os
import pprint
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2.nativetypes import NativeEnvironment

from pit_join.definitions.connection import Connection, Database
from pit_join.errors import PitJoinError, ProjectError, WarehouseError, suggest
from pit_join.project.server_profile import server_connection

__all__ = [
    "ATTACH_KEYS",
    "COPIES",
    "EXTENSION_KEYS",
    "TARGET_KEYS",
    "original_name",
    "read_profile",
    "read_yaml",
    "redirected_profile",
]

_USED = (
    "type", "path", "database", "attach", "config_options", "extensions", "filesystems", "secrets", "settings",
    "use_credential_provider",
)  # fmt: skip
# How dbt works and where it writes: pit-join finds the result in the manifest.
_OF_DBT = (
    "schema", "threads", "external_root", "plugins", "module_paths", "retries", "disable_transactions", "keep_open",
    "is_ducklake", "flights", "motherduck_token",
)  # fmt: skip
_REFUSED = {"remote": "is a server that runs SQL for dbt; pit-join reads a DuckDB file (path: name.duckdb)"}

TARGET_KEYS = (*_USED, *_OF_DBT, *_REFUSED)
"""The known keys of a target, among them all of dbt-duckdb's `DuckDBCredentials`."""

ATTACH_KEYS = ("path", "alias", "type", "secret", "options", "read_only", "is_ducklake")
"""The keys of an item of `attach`; the last two have no effect, since everything is read only."""

EXTENSION_KEYS = ("name", "repo")
"""The keys of an item of `extensions` that is a mapping; dbt has installed it from `repo`."""

# What dbt hashes of a target (`_connection_keys` in dbt/adapters/duckdb/credentials.py), with its defaults.
_HASHED: dict[str, Any] = {
    "schema": "main", "config_options": None, "extensions": None, "settings": {}, "external_root": ".",
    "use_credential_provider": None, "attach": None, "filesystems": None, "remote": None, "plugins": None,
    "disable_transactions": False,
}  # fmt: skip
_HASHED_OF_ITEMS: dict[str, dict[str, Any]] = {
    "attach": dict.fromkeys(ATTACH_KEYS) | {"read_only": False},
    "plugins": dict.fromkeys(("module", "alias", "config")),
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A URL, or a path with its kind in front: sqlite:x.db, ducklake:x.ducklake, s3://x/y.duckdb.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9_]+:")
_MOTHERDUCK = ("md:", "motherduck:")

_Wrong = Callable[[str, str], None]


def read_profile(path: Path, name: Any, target: str | None, directory: Path) -> Connection:
    """Read a target of a profile; relative paths start at `directory`, in which dbt is usually run.

    Raises:
        ProjectError: with every problem, each naming the file, the target and the key.
        WarehouseError: if the target's database is not a file.
    """
    profiles = read_yaml(path)
    name = _render(name, path)
    if name not in profiles:
        raise ProjectError(
            f"{path} has no profile '{name}', which dbt_project.yml asks for; it has {', '.join(profiles)}"
        )
    profile = profiles[name] or {}
    if not isinstance(profile, dict):
        raise ProjectError(f"{path}: the profile '{name}' must be a mapping, got {type(profile).__name__}")
    chosen = target or _render(profile.get("target", "default"), path)
    outputs = profile.get("outputs")
    if not isinstance(outputs, dict):
        raise ProjectError(f"{path}: the profile '{name}' needs 'outputs', a mapping of targets, got {outputs!r}")
    if chosen not in outputs:
        raise ProjectError(f"{path}: the profile '{name}' has no target '{chosen}'; it has {', '.join(outputs)}")
    output = _render(outputs[chosen], path)
    where = f"{path}: the target '{chosen}'"
    if not isinstance(output, dict):
        raise ProjectError(f"{where} must be a mapping, got {output!r}")
    if output.get("type") in ("postgres", "spark"):
        return server_connection(where, output, directory, chosen)
    if output.get("type") != "duckdb":
        raise ProjectError(f"{where} is of type {output.get('type')}; pit-join reads duckdb, postgres and spark")
    file = str(output.get("path") or ":memory:")
    if file.startswith(":memory:") or _SCHEME.match(file):
        raise WarehouseError(f"{where} lies in {_shown(file)}; pit-join reads a DuckDB file (path: name.duckdb)")
    return _Target(where, output, directory).connection(chosen, file)


COPIES = "_pit_copies"
"""The name of a database with copies of inputs that a build cannot read where they are."""


def original_name(number: int) -> str:
    """Return the name under which a redirected profile attaches the project's own databases, read only."""
    return f"_pit_original_{number}"


def redirected_profile(
    path: Path, name: Any, connection: Connection, databases: Mapping[str, str], copies: str
) -> dict[str, dict[str, Any]]:
    """Return a profile in which other files have the names of a target's databases.

    Templates stay templates, so that a password of the environment stands in no other file.
    """
    name = _render(name, path)
    output = dict(read_yaml(path)[name]["outputs"][connection.target])
    own, *attached = databases
    items = [{"path": connection.databases[own].path}, *(output.get("attach") or [])]
    output["path"] = databases[own]
    output["attach"] = [{"path": databases[alias], "alias": alias} for alias in attached] + [
        {"path": copies, "alias": COPIES, "read_only": True},
        *(
            {**item, "path": database.path if database.is_file else item["path"]}
            | {"alias": original_name(number), "read_only": True}
            for number, (item, database) in enumerate(zip(items, connection.databases.values(), strict=True))
        ),
    ]
    return {name: {"target": connection.target, "outputs": {connection.target: output}}}


class _Target:
    """The keys of a target as they are read, and every problem that was found."""

    def __init__(self, where: str, output: Mapping[str, Any], directory: Path) -> None:
        self._where, self._output, self._directory = where, output, directory
        self._problems: list[str] = []

    def connection(self, target: str, file: str) -> Connection:
        self._check_keys("", self._output, TARGET_KEYS)
        for key in _REFUSED.keys() & self._output.keys():
            self._wrong(key, _REFUSED[key])
        attached = dict(self._attached())
        named = str(self._output.get("database") or _name_of(file))
        # A target may name an attached database as the one in which dbt builds models.
        databases = {
            _name_of(file) if named in attached else named: Database(self._path(file), {"type": "duckdb"})
        } | attached
        found = Connection(
            target=target,
            directory=self._directory,
            databases=databases,
            configuration=self._mapping("config_options"),
            settings=self._mapping("settings"),
            extensions=tuple(self._extensions()),
            secrets=tuple(self._secrets()),
            filesystems=tuple(item for _, item in self._items("filesystems", "fs")),
            plugins=tuple(str(item["module"]) for _, item in self._items("plugins", "module")),
            profile_hash=_profile_hash(self._output, file),
            database=named,
            schema=str(self._output.get("schema") or "main"),
        )
        if self._problems:
            raise ProjectError(self._problems)
        return found

    def _wrong(self, key: str, problem: str) -> None:
        self._problems.append(f"{self._where}: {key}: {problem}")

    def _check_keys(self, where: str, given: Mapping[str, Any], allowed: Iterable[str]) -> None:
        for key in given:
            if key not in allowed:
                self._wrong(f"{where}{key}", f"unknown key; {suggest(str(key), allowed, 'allowed')}")

    def _path(self, file: str) -> str:
        return str(self._directory / Path(file).expanduser())

    def _mapping(self, key: str) -> Mapping[str, Any]:
        value = self._output.get(key) or {}
        if not isinstance(value, dict):
            self._wrong(key, f"must be a mapping of names to values, got {type(value).__name__}")
            return {}
        return value

    def _items(self, key: str, needed: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the mappings of a list, each with its place; a mapping without the needed key is a problem."""
        listed = self._output.get(key) or []
        if not isinstance(listed, list):
            self._wrong(key, f"must be a list, got {type(listed).__name__}")
            return
        for number, item in enumerate(listed, 1):
            # The message shows no values, which may be passwords.
            if not isinstance(item, dict) or not isinstance(item.get(needed), str):
                self._wrong(f"{key}.#{number}", f"must be a mapping with '{needed}', a text")
            else:
                yield f"{key}.#{number}.", item

    def _attached(self) -> Iterator[tuple[str, Database]]:
        for where, item in self._items("attach", "path"):
            self._check_keys(where, item, ATTACH_KEYS)
            options = item.get("options") or {}
            if not isinstance(options, dict) or not all(_NAME.fullmatch(str(key)) for key in options):
                self._wrong(f"{where}options", "must be a mapping of names to values")
                continue
            for key in {"type", "secret"} & options.keys():
                if item.get(key):
                    self._wrong(f"{where}options.{key}", f"is given beside {where}{key}; leave one out")
            options = {str(key).lower(): value for key, value in options.items()}
            options |= {key: item[key] for key in ("type", "secret") if item.get(key)}
            options.pop("read_only", None)
            path, kind = item["path"], str(options.get("type") or "duckdb").lower()
            if path.startswith(_MOTHERDUCK) or kind == "motherduck":
                self._wrong(f"{where}path", f"is in MotherDuck, which pit-join does not read, got {_shown(path)}")
                continue
            is_file = kind in ("duckdb", "sqlite") and not _SCHEME.match(path)
            name = str(item.get("alias") or _name_of(path))
            yield (
                name,
                Database(self._path(path), {"type": kind} | options) if is_file else Database(path, options, False),
            )

    def _extensions(self) -> Iterator[str]:
        listed = self._output.get("extensions") or []
        if not isinstance(listed, list):
            self._wrong("extensions", f"must be a list, got {type(listed).__name__}")
            return
        for number, item in enumerate(listed, 1):
            if isinstance(item, dict):
                self._check_keys(f"extensions.#{number}.", item, EXTENSION_KEYS)
                item = item.get("name")
            if not isinstance(item, str):
                self._wrong(f"extensions.#{number}", f"must be a name, or a mapping with 'name', got {item!r}")
            else:
                yield item

    def _secrets(self) -> Iterator[Mapping[str, Any]]:
        for where, item in self._items("secrets", "type"):
            for key in item:
                if not _NAME.fullmatch(str(key)):
                    self._wrong(f"{where}{key}", "must be the name of an option of DuckDB's `create secret`")
            yield item
        provider = self._output.get("use_credential_provider")
        if provider == "aws":
            yield {"type": "s3", "provider": "credential_chain"}
        elif provider:
            self._wrong("use_credential_provider", f"must be aws, got {provider!r}")


def _profile_hash(output: Mapping[str, Any], file: str) -> str:
    """Return the hash by which dbt sees a change of a target, as `build_manifest_state_check` (dbt/parser/manifest.py).

    Of a value that dbt converts it is another hash, which only means that dbt is asked.
    """
    hashed = _HASHED | {"database": _name_of(file), "path": file}
    hashed |= {key: output[key] for key in hashed if output.get(key) is not None}
    for key, defaults in _HASHED_OF_ITEMS.items():
        if isinstance(hashed[key], list):
            hashed[key] = [defaults | item if isinstance(item, dict) else item for item in hashed[key]]
    return hashlib.sha256(pprint.pformat(sorted(hashed.items())).encode()).hexdigest()


def _name_of(path: str) -> str:
    """Return DuckDB's own name of a database, from its path."""
    return re.split(r"[/\\:]", path)[-1].lstrip(".").split(".")[0]


def _shown(path: str) -> str:
    """Return a path without the token that a MotherDuck URL may hold."""
    return path.split("?")[0]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ProjectError: if it cannot be read, or holds anything else.
    """
    try:
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ProjectError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise ProjectError(f"{path} holds no mapping")
    return content


def _render(value: Any, path: Path) -> Any:
    """Fill in `env_var()` and other Jinja in the values of a profile, as dbt does."""
    if isinstance(value, dict):
        return {key: _render(item, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_render(item, path) for item in value]
    if not isinstance(value, str) or "{" not in value:
        return value

    def env_var(name: str, default: str | None = None) -> str:
        found = os.environ.get(name, default)
        if found is None:
            raise ProjectError(f"{path} needs the environment variable {name}, which is not set")
        return found

    try:
        template = _ENVIRONMENT.from_string(value)
        parts = list(template.root_render_func(template.new_context({"env_var": env_var})))
    except PitJoinError:
        raise
    except Exception as error:  # Jinja's, or any that an expression may raise
        raise ProjectError(f"{path}: cannot render {value!r}: {error}") from error
    # Text stays text, so that the password 0123 does not become a number.
    return parts[0] if len(parts) == 1 else "".join(map(str, parts))


def _native(text: Any) -> Any:
    try:
        return ast.literal_eval(str(text))
    except (ValueError, SyntaxError, MemoryError):
        return text


_ENVIRONMENT = NativeEnvironment(undefined=jinja2.StrictUndefined)
_ENVIRONMENT.filters |= {"as_bool": _native, "as_native": _native, "as_number": _native, "as_text": str}
