"""Dbt's own record of a parse, `partial_parse.msgpack`: the whole manifest, and checksums of what it was made of.

It can prove that a manifest is of the files as they are now. `manifest.json` beside it cannot: that holds no checksums,
and dbt writes the two at different moments. All is compared by content, never by the times of files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgpack

from pit_join.errors import ProjectError
from pit_join.project.sources import Package, Sources, dbt_macros, environment

__all__ = ["ParseRecord", "find_record"]

# The parts of a manifest that something here reads.
_PARTS = (
    "metadata", "nodes", "sources", "macros", "exposures", "functions", "groups", "metrics", "saved_queries",
    "semantic_models", "env_vars",
)  # fmt: skip
# The parts of a YAML file whose entries describe files.
_DESCRIBING = ("models", "seeds", "snapshots", "analyses", "functions", "data_tests", "macros")


class ParseRecord:
    """A record of a parse.

    Raises:
        OSError: if there is none.
        ValueError: if it is truncated.
    """

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        # Dates stay as they lie there, for `copy`.
        self._record: dict[str, Any] = msgpack.unpackb(self._content, strict_map_key=False)

    def has_settings(self, sources: Sources, packages: Sequence[Package], own: bool) -> bool:
        """Whether dbt would go on with the record (`is_partial_parsable` in dbt/parser/manifest.py), and rightly so.

        It would also if only the name of the default target has changed, if templates ask for an option of the command,
        or if the project has been moved, although the manifest holds the paths of seeds. With `own` the record is of
        a parse that pit-join started with the profile as it is now.
        """
        metadata, state, files = self._record["metadata"], self._record["state_check"], self._record["files"]
        checksums = {name: state[f"{name}_hash"]["checksum"] for name in ("vars", "profile", "project_env_vars")}
        roots = {(file["project_name"], file["path"]["project_root"]) for file in files.values()}
        variables = "".join(f"{name}:{environment(name)}|" for name in sorted(packages[0].variables))
        named = checksums["vars"] == _vars_hash(sources.connection.target)
        if not (
            metadata["dbt_version"] == version("dbt-core")
            and {name: found["checksum"] for name, found in state["project_hashes"].items()}
            == {package.name: _hash(package.settings) for package in packages}
            and {(name, os.path.realpath(root)) for name, root in roots}
            <= {(package.name, os.path.realpath(package.directory)) for package in packages}
            and (named or checksums["vars"] == _vars_hash(""))
            and (own or checksums["profile"] == sources.connection.profile_hash)
            and checksums["project_env_vars"] == _hash(variables)
            and not any(package.variables for package in packages[1:])  # dbt does not note their values
            and all(environment(name) == value for name, value in self._record["env_vars"].items())
        ):
            return False
        asked = {asked for package in sources.packages if not own for asked in package.asks}
        return "command" not in asked and (named or "target" not in asked)

    def changed(self, packages: Sequence[Package]) -> set[str]:
        """Return the ids of files that are not as they were, or were not there, or are no longer."""
        now = {file: _checksum(content) for package in packages for file, content in package.files.items()}
        then = {file: found["checksum"]["checksum"] for file, found in self._record["files"].items()}
        for file in now.keys() & then.keys():
            if file.lower().endswith(".csv"):  # its rows are not in a manifest
                now[file] = then[file]
        return {file for file, _ in now.items() ^ then.items()}

    def copy(self, path: Path, target: str, changed: Set[str]) -> None:
        """Write a copy for dbt's partial parse: of a parse for a target, and with all changes to be found.

        It takes a YAML file for unchanged if its time is that of the record.
        """
        self._record["state_check"]["vars_hash"]["checksum"] = _vars_hash(target)
        for file in changed & self._record["files"].keys():
            self._record["files"][file]["path"]["modification_time"] = 0.0
        path.write_bytes(msgpack.packb(self._record))

    def manifest(self, project: str) -> str:
        """Return the manifest of a project as JSON, as in `manifest.json`, with its `unused_entries`."""
        record = msgpack.unpackb(self._content, strict_map_key=False, ext_hook=lambda _, date: date.decode())
        unused = list(_unused_entries(record["files"], project))
        return json.dumps({part: record[part] for part in _PARTS if part in record} | {"unused_entries": unused})


def find_record(sources: Sources, theirs: Path, own: Path) -> tuple[ParseRecord, set[str]] | None:
    """Return the record, dbt's or our own, from which the fewest files differ, and which do; None if none is usable."""
    found = []
    # A file that dbt has not written may hold anything.
    with contextlib.suppress(ProjectError):
        packages = [*sources.packages, *dbt_macros()]
        for path in (theirs, own):
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
                record = ParseRecord(path)
                if record.has_settings(sources, packages, own=path == own):
                    found.append((record, record.changed(packages)))
                    if not found[-1][1]:
                        break
    return min(found, key=lambda each: len(each[1]), default=None)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(content: bytes) -> str:
    try:
        return _hash(content.decode().strip())
    except UnicodeDecodeError:  # dbt says what is wrong
        return ""


def _vars_hash(target: str) -> str:
    """Return dbt's hash of the variables, the profile and the target of a command that names at most a target."""
    return _hash("\0".join(("{}", "", target, version("dbt-core"))))


def _unused_entries(files: Mapping[str, Any], project: str) -> Iterator[str]:
    """Yield the YAML entries of a project that describe a file which is not there; dbt warns of each only once."""
    for file in files.values():
        if file["project_name"] != project or file["parse_file_type"] != "schema":
            continue
        where = os.path.join(file["path"]["searched_path"], file["path"]["relative_path"])
        used = {unique_id.split(".", 2)[-1] for unique_id in file.get("ndp") or ()}
        for part in _DESCRIBING:
            for entry in (file.get("dfy") or {}).get(part) or ():
                names = [f"{entry['name']}.v{each['v']}" for each in entry.get("versions") or ()] or [entry["name"]]
                for name in names:
                    if name not in (file.get("mcp") or () if part == "macros" else used):
                        yield f"{where}: {name}: this entry of {part} has no file; write one, or remove the entry"
