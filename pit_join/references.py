"""References to features as people write them: `view:feature`, `view:*`, and roles such as `alias=view(key=column)`.

A view of one of dbt's model versions is `view.v2`; `view` alone is the latest version, as for `ref()`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pit_join.errors import RequestError

__all__ = [
    "OnDemandRequest", "Request", "RequestItem", "default_alias", "listed", "model_and_version", "names_of",
    "parse_features", "parse_reference", "parse_role", "ref_text", "split_list",
]  # fmt: skip

_PART = r'("(?:[^"]|"")+"|[^":,=()]+)'
_REFERENCE = re.compile(f"{_PART}:{_PART}")
_ROLE = re.compile(rf"(?:{_PART}=)?{_PART}(?:\((.*)\))?", re.DOTALL)
_ITEM = r'(?:"(?:[^"]|"")*"|\((?:"(?:[^"]|"")*"|[^()"])*\)|[^,"()])*'
_SIGN = re.compile(r'[",:=()]|^\s|\s$')
_MAPPING = re.compile(f"{_PART}={_PART}")
_VERSIONED = re.compile(r"(.+?)\.v(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Request:
    """A request for features of one view in one role.

    `view` may have a version, see `model_and_version`. `join_keys` maps a key of the view to the spine's column where
    the names differ; `features` are names or `*`.
    """

    view: str
    features: tuple[str, ...]
    alias: str
    join_keys: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name(self.alias)

    @property
    def is_role(self) -> bool:
        """Whether the alias is a name of its own, with which the names of the features then begin."""
        return self.alias not in (model_and_version(self.view)[0], default_alias(self.view))

    @property
    def owner(self) -> str:
        """The name of the view or role as references write it: `prefs.v2`, where the alias is `prefs_v2`."""
        return self.view if self.alias == default_alias(self.view) else self.alias

    def as_macro_argument(self) -> dict[str, Any]:
        """Return the request as the `training_set` macro takes it."""
        return {
            "view": self.view,
            "as": self.alias,
            "join_keys": dict(self.join_keys),
            "features": list(self.features),
        }


@dataclass(frozen=True, slots=True)
class OnDemandRequest:
    """A request for an on-demand feature: a macro, evaluated for every row.

    `arguments` maps the macro's arguments to features (`view:feature`) or to columns of the spine and fields of a
    request; an argument that is not in it takes the column or field of the argument's own name. `types`, `returns` and
    `default` are the project's declarations of the macro, see `Registry.check`.
    """

    macro: str
    name: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    returns: str = ""
    default: Any = None

    def __post_init__(self) -> None:
        _check_name(self.name)

    def as_macro_argument(self) -> dict[str, Any]:
        """Return the request as the `training_set` macro takes it."""
        return {
            "on_demand": self.macro,
            "as": self.name,
            "arguments": dict(self.arguments),
            "types": dict(self.types),
            "returns": self.returns,
            "default": self.default,
        }

    def sources(self) -> dict[str, str]:
        """Return the source of each argument: a feature, or a column of the spine and field of a request."""
        return {argument: self.arguments.get(argument, argument) for argument in self.types}


def _check_name(name: str) -> None:
    """Refuse a name that could not stand in a table, or in the name of a column."""
    if not name.isprintable():
        raise RequestError(f"the name {name!a} has characters that cannot be printed; choose another name")


RequestItem = Request | OnDemandRequest
"""A type for one item of a list of requested features."""


def _plain(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part.strip()


def _view(part: str) -> str:
    """Return the name of a view; one that only looks versioned keeps its quotes."""
    plain = _plain(part)
    return part if part.startswith('"') and _VERSIONED.fullmatch(plain) else plain


def model_and_version(view: str) -> tuple[str, str | None]:
    """Return the model of a view, and its version: None for the latest one, or a model without versions.

    >>> model_and_version("prefs.v2"), model_and_version("prefs"), model_and_version('"prefs.v2"')
    (('prefs', '2'), ('prefs', None), ('prefs.v2', None))
    """
    if view.startswith('"'):
        return _plain(view), None
    found = _VERSIONED.fullmatch(view)
    return (found[1], found[2]) if found else (view, None)


def default_alias(view: str) -> str:
    """Return the name of a view's role where a request does not name it: that of dbt's table.

    >>> default_alias("prefs.v2"), default_alias("prefs.v1.5")
    ('prefs_v2', 'prefs_v1_5')
    """
    model, version = model_and_version(view)
    return model if version is None else f"{model}_v{version.replace('.', '_')}"


def ref_text(view: str) -> str:
    """Return the call of `ref()` that reads the model of a view.

    >>> ref_text("prefs"), ref_text("prefs.v2"), ref_text("prefs.v3.0-rc")
    ("ref('prefs')", "ref('prefs', v=2)", "ref('prefs', v='3.0-rc')")
    """
    model, version = model_and_version(view)
    if version is None:
        return f"ref('{model}')"
    return f"ref('{model}', v={version if re.fullmatch('[0-9]+', version) else repr(version)})"


def listed(parts: Iterable[str]) -> str:
    """Write parts of references with commas; a part that holds one of their signs stands in double quotes.

    >>> print(listed(["x", "a, b"]))
    x, "a, b"
    """
    return ", ".join('"' + part.replace('"', '""') + '"' if _SIGN.search(part) else part for part in parts)


def split_list(text: str) -> list[str]:
    """Split a list at the commas outside double quotes and parentheses, and strip its items.

    Raises:
        RequestError: if a quote or parenthesis is left open.

    >>> split_list('a:x, "b,c":y')
    ['a:x', '"b,c":y']
    """
    found = re.fullmatch(rf"{_ITEM}(?:,{_ITEM})*", text)
    if found is None:
        raise RequestError(f"cannot read the references '{text}': a double quote or parenthesis is not closed")
    return [item.strip() for item in re.findall(f"({_ITEM})(?:,|$)", text) if item.strip()]


def names_of(select: Iterable[str]) -> list[str]:
    """Return names of views; one text is a list with commas, as on the command line."""
    return split_list(select) if isinstance(select, str) else list(select)


def parse_reference(text: str) -> tuple[str, str] | None:
    """Return the view or role and the feature of `view:feature`; None if the text has another form.

    >>> parse_reference("weather:temp"), parse_reference("amount")
    (('weather', 'temp'), None)
    """
    found = _REFERENCE.fullmatch(text.strip())
    return (_view(found[1]), _plain(found[2])) if found else None


def parse_role(text: str) -> Request:
    """Read a role without features: `view(key=column)`, `alias=view(key=column,...)` or `alias=view`.

    Raises:
        RequestError: if the text has another form.

    >>> parse_role("dest_weather=weather(airport=dest)")
    Request(view='weather', features=(), alias='dest_weather', join_keys={'airport': 'dest'})
    """
    found = _ROLE.fullmatch(text.strip())
    mappings = [_MAPPING.fullmatch(item) for item in split_list(found[3] or "")] if found else []
    if found is None or not all(mappings) or (found[3] is not None and not mappings):
        raise RequestError(
            f"cannot read the view '{text}'; write view(key=column), alias=view or alias=view(key=column)"
        )
    view = _view(found[2])
    pairs = [(_plain(mapping[1]), _plain(mapping[2])) for mapping in mappings if mapping]
    keys = dict(pairs)
    if len(keys) < len(pairs):
        twice = next(key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1)
        raise RequestError(f"the key '{twice}' is given twice in the view '{text}'")
    return Request(view=view, features=(), alias=_plain(found[1]) if found[1] else default_alias(view), join_keys=keys)


def parse_features(
    features: Sequence[str | Mapping[str, Any]], roles: Iterable[Request] = (), where: str = ""
) -> tuple[RequestItem, ...]:
    """Read a list of references, role mappings and on-demand features into requests, in the order given.

    Items are `"view:feature"`, `"alias:feature"` for one of `roles`, `{view, as, join_keys, features}` or
    `{on_demand, as, arguments}` as in a service's YAML. `where` opens the error message.

    Raises:
        RequestError: naming the item that cannot be read.

    >>> parse_features(["weather:temp"])
    (Request(view='weather', features=('temp',), alias='weather', join_keys={}),)
    """
    by_alias: dict[str, Request] = {}
    for role in roles:
        if role.alias in by_alias:
            raise RequestError(f"{where}the view '{role.alias}' is given twice; name one of them alias=view")
        by_alias[role.alias] = role
    used: set[str] = set()
    requests: list[RequestItem] = []
    for item in features:
        if isinstance(item, Mapping):
            requests.append(_on_demand(item, where) if "on_demand" in item else _mapped(item, where))
            continue
        found = parse_reference(str(item))
        if found is None:
            raise RequestError(
                f"{where}cannot read the reference '{item}'; write view:feature or view:* "
                "(a part that holds , : = ( ) stands in double quotes). A feature service is named alone, not in a list"
            )
        view, feature = found
        alias = view if view in by_alias else default_alias(view)
        used.add(alias)
        role = by_alias.get(alias, Request(view=view, features=(), alias=alias))
        requests.append(Request(view=role.view, features=(feature,), alias=alias, join_keys=role.join_keys))
    if unused := [alias for alias in by_alias if alias not in used]:
        raise RequestError(
            f"{where}no feature of the view '{unused[0]}' is asked for; add for example '{unused[0]}:*' to the features"
        )
    return tuple(requests)


def _on_demand(item: Mapping[str, Any], where: str) -> OnDemandRequest:
    if unknown := sorted(set(item) - {"on_demand", "as", "arguments"}):
        raise RequestError(f"{where}unknown key '{unknown[0]}' in {dict(item)}; allowed are arguments, as, on_demand")
    macro, arguments = item["on_demand"], item.get("arguments") or {}
    name = item.get("as") or str(macro).rsplit(".", 1)[-1]
    if not isinstance(macro, str) or not isinstance(name, str):
        raise RequestError(f"{where}'on_demand' is the name of a macro and 'as' a name, got {dict(item)}")
    if not isinstance(arguments, Mapping) or not all(isinstance(source, str) for source in arguments.values()):
        raise RequestError(
            f"{where}'arguments' of '{name}' maps the macro's arguments to features (view:feature) or to columns of "
            f"the spine, which are the fields of a request, got {arguments!r}"
        )
    for argument, source in arguments.items():
        if ":" in source and (parse_reference(source) or ("", "*"))[1] == "*":
            raise RequestError(
                f"{where}the argument '{argument}' of '{name}' is one feature, view:feature, got '{source}'"
            )
    return OnDemandRequest(macro=macro, name=name, arguments=dict(arguments))


def _mapped(item: Mapping[str, Any], where: str) -> Request:
    allowed = {"view", "as", "join_keys", "features"}
    if unknown := sorted(set(item) - allowed):
        raise RequestError(
            f"{where}unknown key '{unknown[0]}' in {dict(item)}; allowed are as, features, join_keys, view"
        )
    view, features, keys = item.get("view"), item.get("features"), item.get("join_keys") or {}
    alias = item.get("as") or (default_alias(view) if isinstance(view, str) else view)
    if not isinstance(view, str) or not isinstance(alias, str):
        raise RequestError(f"{where}a role needs 'view' with the name of a feature view, got {dict(item)}")
    if not isinstance(features, list) or not features or not all(isinstance(name, str) for name in features):
        raise RequestError(f"{where}the role '{alias}' needs 'features', a list of names or [\"*\"], got {features!r}")
    if not isinstance(keys, Mapping) or not all(isinstance(v, str) for v in keys.values()):
        raise RequestError(
            f"{where}'join_keys' of '{alias}' maps keys of the view to columns of the spine, got {keys!r}"
        )
    return Request(view=view, features=tuple(features), alias=alias, join_keys=dict(keys))
