"""Render the macros as `dbt compile` would, from the manifest with plain Jinja, in a tenth of a second.

Outside world: Jinja. Only what our macros use of dbt's context is here; a macro that needs more raises
`CannotRender`, and the caller asks dbt.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.utils import missing

from pit_join.definitions.nodes import Nodes
from pit_join.errors import ProjectError

__all__ = ["CannotRender", "Macros", "Renderer", "arguments_of"]

_PACKAGE = "pit_join"


class CannotRender(Exception):
    """A macro uses something of dbt that this renderer does not know."""


class _Undefined(jinja2.ChainableUndefined):
    """A missing key or attribute is empty, as in dbt; a name that nobody defined is one that only dbt has."""

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = missing,
        name: str | None = None,
        exc: type[jinja2.TemplateRuntimeError] = jinja2.UndefinedError,
    ) -> None:
        super().__init__(hint, obj, name, exc)
        if hint is None and obj is missing:
            raise CannotRender(f"'{name}' is dbt's own")


_ENVIRONMENT = jinja2.Environment(extensions=["jinja2.ext.do"], undefined=_Undefined, autoescape=False)


_codes: dict[str, CodeType] = {}
"""Compiled macros by their text."""


def _code(macro_sql: str, cache: Path | None) -> CodeType:
    """Compile a macro, unless this process has, or the folder `cache` holds it from another."""
    if macro_sql in _codes:
        return _codes[macro_sql]
    # Jinja does not export names that start with an underscore, so every macro gets a prefix, as in dbt.
    source = re.sub(r"(\{%-?\s*macro\s+)", r"\1dbt_macro__", macro_sql, count=1)
    kept = jinja2.FileSystemBytecodeCache(str(cache), "macro-%s") if cache and cache.is_dir() else None
    # The key is the text itself, so that no macro can get the code of another.
    bucket = kept.get_bucket(_ENVIRONMENT, source, None, source) if kept else None
    code = bucket.code if bucket else None
    if code is None:
        try:
            code = _ENVIRONMENT.compile(source)
        except jinja2.TemplateError as error:  # a filter or a tag of dbt's
            raise CannotRender(str(error)) from error
        if kept and bucket:
            bucket.code = code
            with contextlib.suppress(OSError):  # the cache is only for speed
                kept.set_bucket(bucket)
    _codes[macro_sql] = code
    return code


class _Partial:
    """A part of one of dbt's objects."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise CannotRender(f"'{name}' of {type(self).__name__[1:].lower()}")


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class _Relation(_Partial):
    """A table as `ref()` returns it; its full name in SQL."""

    is_cte = False

    def __init__(self, node: Mapping[str, Any]) -> None:
        self.database, self.schema = node.get("database"), node.get("schema")
        self.identifier = node.get("alias") or node["name"]
        self.name = self.identifier
        self._text = str(node["relation_name"])

    def __str__(self) -> str:
        return self._text

    def render(self) -> str:
        return self._text


class _Namespace(dict[str, Any]):
    """The macros of a package, or a part of dbt's context; an unknown name is an error."""

    def __missing__(self, name: str) -> Any:
        raise CannotRender(f"there is no '{name}'")


class _Adapter(_Partial):
    def __init__(self, renderer: Renderer, kind: str) -> None:
        self._renderer, self._kind = renderer, kind

    def dispatch(self, macro_name: str, macro_namespace: str | None = None) -> Any:
        return self._renderer.dispatch(macro_name, macro_namespace, (self._kind, "default"))

    def type(self) -> str:
        return self._kind

    def quote(self, name: str) -> str:
        return f'"{name}"'


class _Exceptions(_Partial):
    @staticmethod
    def raise_compiler_error(message: str, node: Any = None) -> None:
        raise ProjectError(message)


class Renderer:
    """A renderer of the macros of a manifest.

    `dispatch_order` is the project's own `dispatch` setting: a list of packages to search, by macro namespace; `cache`
    a folder in which compiled macros are kept.
    """

    def __init__(
        self,
        manifest: Mapping[str, Any],
        dispatch_order: Mapping[str, Sequence[str]] | None = None,
        cache: Path | None = None,
    ) -> None:
        self._manifest, self._cache = manifest, cache
        self._project = manifest["metadata"]["project_name"]
        self._dispatch_order = dispatch_order or {}
        self._declared = {(macro["package_name"], macro["name"]): macro for macro in manifest["macros"].values()}
        self._sources: dict[tuple[str, str], str] = {name: each["macro_sql"] for name, each in self._declared.items()}
        self._compiled: dict[tuple[str, str], Any] = {}
        self._dispatched: dict[tuple[str, str | None, tuple[str, ...]], Any] = {}
        self._nodes = Nodes(manifest)
        self._context = self._make_context(manifest["metadata"].get("adapter_type") or "duckdb")
        # A plain mapping: Jinja copies it for every macro, and copies its own chain of two name by name.
        self._globals = {**_ENVIRONMENT.globals, **self._context}

    def call(self, macro: str, *arguments: Any, **named: Any) -> Any:
        """Call a macro of this package and return its result, as dbt would.

        Raises:
            CannotRender: if it needs something that only dbt has.
            ProjectError: if the macro itself raises an error.
        """
        return self._context[_PACKAGE][macro](*arguments, **named)

    def macro(self, name: str) -> Any:
        """Return a macro of this package as a function, to pass it to another macro."""
        return self._context[_PACKAGE][name]

    def dispatch(self, name: str, namespace: str | None, prefixes: tuple[str, ...]) -> Any:
        """Return the implementation that dbt would choose: by search order, the adapter's before the default."""
        asked = name, namespace, prefixes
        if asked in self._dispatched:
            return self._dispatched[asked]
        package = namespace or self._project
        for candidate in self._dispatch_order.get(package, (self._project, package)):
            for prefix in prefixes:
                if (candidate, f"{prefix}__{name}") in self._sources:
                    self._dispatched[asked] = self._function(candidate, f"{prefix}__{name}")
                    return self._dispatched[asked]
        raise CannotRender(f"no implementation of '{name}' in {package}")

    def _make_context(self, adapter_type: str) -> dict[str, Any]:
        def give(value: Any = None) -> None:
            raise _Return(value)

        context: dict[str, Any] = {
            "adapter": _Adapter(self, adapter_type),
            "exceptions": _Exceptions(),
            "execute": True,
            "graph": _Namespace({part: self._manifest.get(part, {}) for part in ("nodes", "sources", "exposures")}),
            "modules": _Namespace(re=re),
            "ref": self._ref,
            "return": give,
        }
        packages: dict[str, _Namespace] = {}
        for package, name in self._sources:
            packages.setdefault(package, _Namespace())[name] = self._function(package, name)
        context.update(packages.get("dbt", {}))
        context.update(packages.get(self._project, {}))
        context.update(packages)
        context["context"] = context  # for a macro that calls another by its name
        if _PACKAGE not in packages:
            raise ProjectError(
                "the project does not have the pit_join macros; add to packages.yml the local package whose path "
                "`pit-join dbt-package-path` prints, then run dbt deps"
            )
        return context

    def _function(self, package: str, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            macro = self._compiled.get((package, name))
            if macro is None:
                macro = self._compiled[package, name] = self._compile(package, name)
            try:
                return str(macro(*arguments, **named))
            except _Return as given:
                return given.value
            except (jinja2.UndefinedError, TypeError) as error:  # TypeError: an argument that the macro does not have
                raise CannotRender(f"{package}.{name}: {error}") from error

        call.macro = self._declared[package, name]  # type: ignore[attr-defined]  # its YAML, as dbt's have it
        return call

    def _compile(self, package: str, name: str) -> Any:
        code = _code(self._sources[package, name], self._cache)
        template = jinja2.Template.from_code(_ENVIRONMENT, code, self._globals)
        return getattr(template.module, f"dbt_macro__{name}")

    def _ref(self, *names: str, v: Any = None, version: Any = None) -> _Relation:
        package, name = (None, names[0]) if len(names) == 1 else (names[0], names[1])
        wanted = version if v is None else v
        node = self._nodes.find(name, None if wanted is None else str(wanted), package)
        if node is None:
            which = "" if wanted is None else f" with the version {wanted}"
            raise ProjectError(f"there is no model, seed or snapshot named '{name}'{which}")
        return _Relation(node)


class Macros:
    """The macros of pit-join, rendered here, or by dbt where a project overrides one beyond this renderer.

    `ask_dbt` renders a template with dbt itself; `cache` is a folder in which compiled macros are kept.
    """

    def __init__(
        self,
        manifest: Mapping[str, Any],
        dispatch_order: Mapping[str, Sequence[str]],
        ask_dbt: Callable[[str], str],
        cache: Path | None = None,
    ) -> None:
        self._renderer, self._ask_dbt = Renderer(manifest, dispatch_order, cache), ask_dbt

    def text(self, macro: str, **arguments: Any) -> str:
        """Return the SQL of a macro."""
        try:
            return str(self._renderer.call(macro, **arguments))
        except CannotRender:
            return self._ask_dbt(f"{{{{ pit_join.{macro}({_as_jinja(arguments)}) }}}}")

    def data(self, macro: str, **arguments: Any) -> Any:
        """Return the plain value that a macro returns."""
        try:
            return self._renderer.call(macro, **arguments)
        except CannotRender:
            return json.loads(self._ask_dbt(f"{{{{ tojson(pit_join.{macro}({_as_jinja(arguments)})) }}}}"))


def arguments_of(code: str, macro: str, name: str, position: int) -> Iterator[Any]:
    """Yield an argument of every call of a macro in a template.

    It is None where it is not given, and `...` where only dbt can say what it is.

    >>> list(arguments_of("{{ a.b('x', '1 day') }} {{ b('x', c=var('y')) }} {{ b() }}", "b", "c", 1))
    ['1 day', Ellipsis, None]
    """
    try:
        calls = list(_ENVIRONMENT.parse(code).find_all(nodes.Call))
    except jinja2.TemplateSyntaxError:  # a tag of dbt's
        yield from [...] if macro in code else []
        return
    for call in calls:
        if macro not in (getattr(call.node, "name", None), getattr(call.node, "attr", None)):
            continue
        given = [one.value for one in call.kwargs if one.key == name] or call.args[position : position + 1]
        try:
            yield ... if call.dyn_args or call.dyn_kwargs else given[0].as_const() if given else None
        except nodes.Impossible:
            yield ...


def _as_jinja(arguments: Mapping[str, Any]) -> str:
    # Python's literals of texts, numbers, lists, mappings, True, False and None are Jinja's too.
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
