"""The fingerprint of a model: one hash of everything that decides its rows.

It covers the model's code, settings and macros, and those of everything that it reads. Source: the files of our own
macros, and dbt's manifest. The manifest holds no compiled code of a microbatch model, and compiled code would hold
dates.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["RULE_VERSION", "Fingerprints", "without_comments"]

RULE_VERSION = 2
"""The version of our macros' results. Raise it when results change, and only then: stored history is built again."""

_PACKAGE = Path(__file__).parents[1] / "dbt_package"

# Settings of when, where or how a model is built, or who may use it; they do not change its rows.
_CONFIG_WITHOUT_EFFECT = {
    "access", "begin", "concurrent_batches", "docs", "enabled", "freshness", "full_refresh", "grants", "group",
    "lookback", "meta", "on_configuration_change", "on_schema_change", "packages", "persist_docs", "static_analysis",
    "tags",
}  # fmt: skip
_META_WITHOUT_EFFECT = {
    *("online", "online_store", "freshness_slo", "max_staleness", "nearest"),
    *("max_null_rate", "max_default_rate", "drift", "sensitive"),
}
_DBT = ("dbt", "dbt_duckdb")
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_VAR = re.compile(r"\bvar\(\s*['\"]([^'\"]+)['\"]")
_COMPUTED_VAR = re.compile(r"\bvar\(\s*[^'\"\s]")
_WORD = re.compile(r"\w+")
_MACRO = re.compile(r"\{%-?\s*(macro|test)\s.*?\{%-?\s*end\1\s*-?%\}", re.DOTALL)
_ENV_VAR = re.compile(r"env_var\(\s*['\"]([^'\"]+)['\"]")


def without_comments(code: str) -> str:
    """Return code without its Jinja comments.

    >>> without_comments("select 1 {#- why -#} as one")
    'select 1  as one'
    """
    return _COMMENT.sub("", code)


class Fingerprints:
    """The hashes of all nodes of a manifest; `variables` are the `vars` of dbt_project.yml, which no manifest holds.

    A hash covers code, settings, declared columns, `meta.pit_join`, the macros used directly or indirectly, the
    variables that the code names, and the hashes of all parents. Descriptions, tags, paths, Jinja comments and the rows
    of seeds do not matter. Our own macros enter as `RULE_VERSION` and not as text, as long as they are those of this
    release.
    """

    def __init__(self, manifest: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        self._nodes: Mapping[str, Any] = {**manifest["sources"], **manifest["nodes"]}
        self._macros: Mapping[str, Any] = manifest["macros"]
        self._variables = dict(_flat(variables))
        self._known: dict[str, str] = {}
        # dbt lists the macro that it would dispatch to now; later it may choose that of another adapter or package.
        self._dispatched: dict[str, list[str]] = {}
        self._named: dict[str, list[str]] = {}
        for unique_id, macro in self._macros.items():
            self._named.setdefault(macro["name"], []).append(unique_id)
            if "__" in macro["name"]:
                self._dispatched.setdefault(macro["name"].split("__", 1)[1], []).append(unique_id)

    def of(self, unique_id: str) -> str:
        """Return the hash of a model, seed, snapshot or source."""
        if unique_id not in self._known:
            self._known[unique_id] = _digest(self._contents(unique_id))
        return self._known[unique_id]

    def own(self, unique_id: str) -> str:
        """Return the hash of a node without its parents, what `meta.pit_join` declares, and the rows of a seed."""
        contents = self._contents(unique_id)
        if isinstance(contents, dict):
            contents = {key: value for key, value in contents.items() if key not in ("meta", "columns", "parents")}
        return _digest(contents)

    def family(self, unique_id: str) -> dict[str, list[str]]:
        """Return the parents of a node and of all that it reads, directly or not."""
        found: dict[str, list[str]] = {}
        waiting = [unique_id]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found[node] = list(((self._nodes.get(node) or {}).get("depends_on") or {}).get("nodes") or [])
                waiting += found[node]
        return found

    def code(self, unique_id: str) -> list[str]:
        """Return the code of a node and of the macros that it reaches, except our own; without comments."""
        own, macros, _ = self._code(self._nodes.get(unique_id) or {})
        return [own, *macros.values()]

    def _contents(self, unique_id: str) -> Any:
        node = self._nodes.get(unique_id)
        if node is None:  # a function or another new kind of dbt's, of which only the name is known
            return unique_id
        if node["resource_type"] == "source":
            return [node.get("database"), node.get("schema"), node.get("identifier"), node.get("external")]
        config = node.get("config") or {}
        depends = node.get("depends_on") or {}
        own, macros, ours = self._code(node)
        variables, text = self._read_variables("\n".join([own, *macros.values()]))
        return {
            "code": own,
            "config": {key: value for key, value in config.items() if key not in _CONFIG_WITHOUT_EFFECT},
            "meta": _meta(config.get("meta")),
            "columns": [
                [name, column.get("data_type"), _meta((column.get("config") or {}).get("meta") or column.get("meta"))]
                for name, column in (node.get("columns") or {}).items()
            ],
            "macros": macros,
            "rule": RULE_VERSION if ours else None,
            "variables": variables,
            "environment": {name: os.environ.get(name) for name in _ENV_VAR.findall(text)},
            "parents": {parent: self.of(parent) for parent in depends.get("nodes") or []},
        }

    def _code(self, node: Mapping[str, Any]) -> tuple[str, dict[str, str], bool]:
        """Return a node's own code, that of the macros it reaches, and whether it reaches our own, left out here."""
        own = without_comments(node.get("raw_code") or "").strip()
        macros = self._reached([*((node.get("depends_on") or {}).get("macros") or []), *self._mentioned(own)])
        code = {
            one: without_comments(self._macros[one]["macro_sql"]).strip()
            for one in macros
            if not _is_ours(self._macros[one])
        }
        return own, code, len(code) < len(macros)

    def _read_variables(self, code: str) -> tuple[dict[str, Any], str]:
        """Return the variables that code reads, and the code with their values, which are templates, too."""
        found: dict[str, Any] = {}
        text = code
        while True:
            names = self._variables.keys() if _COMPUTED_VAR.search(text) else set(_VAR.findall(text))
            read = {name: values for name, values in self._variables.items() if name in names}
            if read == found:
                return found, text
            found, text = read, "\n".join([code, *_strings(read)])

    def _mentioned(self, code: str) -> list[str]:
        """Return the macros that code names: dbt lists those that are called, not those passed as arguments."""
        return [macro for word in set(_WORD.findall(code)) for macro in self._named.get(word, [])]

    def _reached(self, first: Iterable[str]) -> list[str]:
        """Return some macros and those they use, directly or not, except dbt's own, which change only with dbt."""
        found: set[str] = set()
        waiting = list(first)
        while waiting:
            unique_id = waiting.pop()
            macro = self._macros.get(unique_id)
            if macro is None or unique_id in found or macro["package_name"] in _DBT:
                continue
            found.add(unique_id)
            waiting += macro["depends_on"]["macros"]
            waiting += self._dispatched.get(macro["name"], [])
            waiting += self._mentioned(without_comments(macro["macro_sql"]))
        return sorted(found)


def _is_ours(macro: Mapping[str, Any]) -> bool:
    """Return whether a macro is one of this release, unchanged; a project may have our name, or an edited copy."""
    return macro["package_name"] == "pit_join" and macro["macro_sql"].strip() in _texts(_PACKAGE / macro["path"])


@functools.cache
def _texts(path: Path) -> frozenset[str]:
    """Return the macros of one of our files."""
    return (
        frozenset(found[0] for found in _MACRO.finditer(path.read_text(encoding="utf-8")))
        if path.is_file()
        else frozenset()
    )


def _meta(meta: Any) -> Any:
    ours = (meta or {}).get("pit_join")
    if not isinstance(ours, Mapping):
        return ours
    return _with_effect(ours) | {
        key: [_with_effect(one) if isinstance(one, Mapping) else one for one in value]
        for key, value in ours.items()
        if key == "aggregations" and isinstance(value, list)
    }


def _with_effect(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in _META_WITHOUT_EFFECT}


def _strings(value: Any) -> Iterator[str]:
    """Yield the texts in a value of YAML."""
    if isinstance(value, str):
        yield value
    for item in (*value, *value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _strings(item)


def _flat(variables: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield every variable with all its values; a mapping may be a variable, or the variables of a package."""
    values: dict[str, list[Any]] = {}
    for name, value in variables.items():
        values.setdefault(name, []).append(value)
        for inner, own in value.items() if isinstance(value, Mapping) else ():
            values.setdefault(str(inner), []).append([name, own])
    yield from values.items()


def _digest(contents: Any) -> str:
    text = json.dumps(contents, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
